"""One digest for one data set, whichever uncompressed transfer syntax a copy of it is in.

The canonical form is Explicit VR Little Endian with defined lengths, tags ascending in every item, private elements
kept; without group lengths and Length to End of four bytes, and at the top level without File Meta Information and
Data Set Trailing Padding (FFFC,FFFC). Pixel data fragments stay as encoded. Where a copy in implicit VR cannot tell
which of several VRs was meant (US or SS, OB or OW), the form has always the same one; values written as UN count as
what the dictionary knows them to be. Private elements count as UN, whichever VR one copy has for them, and as
sequences if they hold items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final

from strongroom.dicom.byteorder import BITS_ALLOCATED, swapped, word_bytes_of
from strongroom.dicom.convert import explicit_header, is_length_of_others
from strongroom.dicom.dictionary import TransferSyntax, entry_of
from strongroom.dicom.elements import (
    DEFAULT_LIMITS,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    Coding,
    ScanLimits,
    coding_of,
)
from strongroom.dicom.stream import Kind, Read, SeekableSource, Step, inflated, walk
from strongroom.errors import LimitExceeded, MalformedDataset

_TRAILING_PADDING: Final = 0xFFFCFFFC
_FILE_META: Final = 2
_LENGTH_BYTES: Final = 4
_PIECE_BYTES: Final = 1 << 20
_FRAGMENTS: Final = b""  # stands for the VR of encapsulated pixel data
_SEQUENCE_END: Final = IMPLICIT_LITTLE.long_header.pack(0xFFFE, 0xE0DD, 0)
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_HEADER_BYTES: Final = 8
_MAX_SURPLUS_BYTES: Final = 3 << 20
_MAX_INFLATE_PASSES: Final = 8


@dataclass(slots=True)
class _Node:
    """One element: where its value stands, or the items it has. ``length`` is canonical once ``_measure`` has run."""

    tag: int
    vr: bytes
    offset: int
    length: int
    word_bytes: int = 0
    items: list[list[_Node]] | None = None


def canonical_sha256(
    read: Read, size_bytes: int, transfer_syntax: TransferSyntax, limits: ScanLimits = DEFAULT_LIMITS
) -> bytes:
    """Return the SHA-256 of the canonical form of the data set behind ``read``, ``size_bytes`` as stored.

    Values are read 1 MiB at a time and in ascending order if the data set is; what is kept is one entry an element,
    up to ``max_element_count``. Raises MalformedDataset or LimitExceeded (``max_inflate_passes`` if a deflated data set
    is so far out of order that it would have to be inflated again and again).
    """
    digest = sha256()
    read, size_bytes, elements = _measured(read, size_bytes, transfer_syntax, limits)
    _Digest(read, size_bytes, digest.update).add(elements)
    return digest.digest()


def canonical_parts(
    read: Read,
    size_bytes: int,
    transfer_syntax: TransferSyntax,
    part_of: Callable[[int], int | None],
    limits: ScanLimits = DEFAULT_LIMITS,
) -> tuple[bytes, dict[int, bytes]]:
    """Return the SHA-256 of the canonical form, and of each part of it: ``part_of`` has the part of a tag, or None.

    Only top-level elements are told apart. Each value is read once. Raises as ``canonical_sha256``.
    """
    whole = sha256()
    parts: dict[int, Any] = {}
    read, size_bytes, elements = _measured(read, size_bytes, transfer_syntax, limits)
    digest = _Digest(read, size_bytes, whole.update)
    for element in elements:
        part = part_of(element.tag)
        digest.also = None if part is None else parts.setdefault(part, sha256()).update
        digest.add([element])
    return whole.digest(), {part: each.digest() for part, each in parts.items()}


def _measured(
    read: Read, size_bytes: int, transfer_syntax: TransferSyntax, limits: ScanLimits
) -> tuple[Read, int, list[_Node]]:
    """The data set inflated, and its elements in canonical order, with their lengths."""
    if transfer_syntax.deflated:
        inflated = _InflatedReader(read, size_bytes, limits)
        read, size_bytes = inflated.read, inflated.measure()
    index = _Index(read, limits, big_endian=not transfer_syntax.little_endian)
    elements = index.elements(0, size_bytes, coding_of(transfer_syntax))
    _measure(elements)
    return read, size_bytes, elements


class _Index:
    """Reads where everything stands; holds what that needs, and the number of elements so far."""

    __slots__ = ("_big_endian", "_bits", "_count", "_levels", "_limits", "_read")

    def __init__(self, read: Read, limits: ScanLimits, *, big_endian: bool) -> None:
        self._read = read
        self._limits = limits
        self._big_endian = big_endian
        self._count = 0
        self._levels = 0
        self._bits = [0]
        """Bits Allocated of what is open, the data set first."""

    def elements(self, start: int, end: int, coding: Coding) -> list[_Node]:
        """Return the elements between two offsets, without those that the canonical form leaves out."""
        top: list[_Node] = []
        self._collect(walk(SeekableSource(self._read, start, end), coding, self._limits), [top], [])
        return top

    def _collect(self, steps: Iterable[Step], open_items: list[list[_Node]], open_sequences: list[_Node]) -> None:
        for step in steps:
            kind = step.kind
            if kind is Kind.ITEM:
                self._levels += 1
                if self._levels > 2 * self._limits.max_element_depth:
                    raise LimitExceeded("max_element_depth", self._limits.max_element_depth)
                item: list[_Node] = []
                sequence = open_sequences[-1]
                assert sequence.items is not None
                sequence.items.append(item)
                open_items.append(item)
                self._bits.append(0)
            elif kind is Kind.ITEM_END:
                self._levels -= 1
                open_items.pop()
                self._bits.pop()
            elif kind is Kind.SEQUENCE_END:
                node = open_sequences.pop()
                if node.items is None:  # fragments: the bytes up to the delimiter just passed
                    node.length = step.offset - 8 - node.offset
            elif kind is not Kind.FRAGMENT:
                node = self._node(step)
                if kind is not Kind.VALUE:
                    open_sequences.append(node)
                if not _is_left_out(step, is_top=not self._levels):
                    open_items[-1].append(node)

    def _node(self, step: Step) -> _Node:
        self._count += 1
        if self._count > self._limits.max_element_count:
            raise LimitExceeded("max_element_count", self._limits.max_element_count)
        if step.kind is Kind.SEQUENCE:
            return _Node(step.tag, b"SQ", step.offset, 0, items=[])
        if step.kind is Kind.FRAGMENTS:
            return _Node(step.tag, _FRAGMENTS, step.offset, 0)
        known = entry_of(step.tag).vrs
        word_bytes = self._word_bytes(step) if self._big_endian and step.coding.explicit else 0
        node = _Node(step.tag, step.vr, step.offset, step.length, word_bytes)
        if known[0] == b"UN":
            node.vr = b"UN"
            if self._read(node.offset, len(_ITEM)) == _ITEM and node.length >= _ITEM_HEADER_BYTES and not word_bytes:
                node.vr = b"SQ"
                self._read_unknown_items(node, step)
        elif step.vr in known:
            node.vr = known[0]
        elif step.vr == b"UN" and known[0] != b"UN":
            # UN holds the value in implicit VR little endian (PS3.5 6.2.2 note 2).
            node.vr = known[0]
            if node.vr == b"SQ":
                self._read_unknown_items(node, step)
        return node

    def _word_bytes(self, step: Step) -> int:
        if step.tag == BITS_ALLOCATED:
            self._bits[-1] = int.from_bytes(self._read(step.offset, 2), "big")
        return word_bytes_of(step.tag, step.vr, self._bits[-1])

    def _read_unknown_items(self, node: _Node, step: Step) -> None:
        """Give ``node`` the items that a sequence written as UN holds; it stays UN if none can be read.

        That is also so if they are too many or too deep: the door takes such values for the bytes that they are.
        """
        count, levels, opened = self._count, self._levels, len(self._bits)
        node.items = []
        source = SeekableSource(self._read, node.offset, node.offset + node.length)
        within = step._replace(kind=Kind.SEQUENCE, coding=IMPLICIT_LITTLE)
        try:
            self._collect(walk(source, IMPLICIT_LITTLE, self._limits, within), [], [node])
        except (MalformedDataset, LimitExceeded):
            self._count, self._levels = count, levels
            del self._bits[opened:]
            node.vr, node.items = b"UN", None


def _is_left_out(step: Step, *, is_top: bool) -> bool:
    """Whether an element says nothing: lengths of others, which no conversion keeps, and, only where a file may have
    them, its meta information and its padding. Whatever else stands under their tags counts."""
    if is_length_of_others(step.tag):
        return step.length == _LENGTH_BYTES
    return is_top and (step.tag == _TRAILING_PADDING or step.tag >> 16 == _FILE_META)


def _measure(elements: list[_Node]) -> int:
    """Sort ``elements`` and those of their items, set the canonical lengths, and return that of all."""
    elements.sort(key=attrgetter("tag"))
    total = 0
    for node in elements:
        if node.items is not None:
            node.length = sum(8 + _measure(item) for item in node.items)
        total += len(_header(node)) + node.length
        if node.vr == _FRAGMENTS:
            total += len(_SEQUENCE_END)
    return total


def _header(node: _Node) -> bytes:
    if node.vr == _FRAGMENTS:
        return explicit_header(node.tag, b"OB", UNDEFINED_LENGTH)
    return explicit_header(node.tag, node.vr, node.length)


class _Digest:
    """Feeds the canonical form to ``update`` and ``also``, reading ahead as long as offsets ascend."""

    __slots__ = ("_read", "_size_bytes", "_source", "_update", "also")

    def __init__(self, read: Read, size_bytes: int, update: Callable[[bytes], None]) -> None:
        self._read = read
        self._size_bytes = size_bytes
        self._source = SeekableSource(read, 0, size_bytes)
        self._update = update
        self.also: Callable[[bytes], None] | None = None

    def add(self, elements: list[_Node]) -> None:
        """Add ``elements``, measured before."""
        for node in elements:
            self._feed(_header(node))
            if node.items is not None:
                for item in node.items:
                    self._feed(IMPLICIT_LITTLE.long_header.pack(0xFFFE, 0xE000, _length_of(item)))
                    self.add(item)
                continue
            pieces = self._value(node.offset, node.length)
            for piece in swapped(pieces, node.word_bytes) if node.word_bytes else pieces:
                self._feed(piece)
            if node.vr == _FRAGMENTS:
                self._feed(_SEQUENCE_END)

    def _feed(self, piece: bytes) -> None:
        self._update(piece)
        if self.also is not None:
            self.also(piece)

    def _value(self, offset: int, length: int) -> Iterator[bytes]:
        if offset < self._source.position:
            self._source = SeekableSource(self._read, offset, self._size_bytes)
        self._source.skip(offset - self._source.position)
        return self._source.pieces(length)


def _length_of(item: list[_Node]) -> int:
    return sum(len(_header(node)) + node.length + (8 if node.vr == _FRAGMENTS else 0) for node in item)


class _InflatedReader:
    """Random access to a deflated data set: forward from where it stands, else from the beginning again."""

    def __init__(self, read: Read, size_bytes: int, limits: ScanLimits) -> None:
        self._deflated = (read, size_bytes)
        self._limits = limits
        self._passes = 0
        self._window = bytearray()
        self._window_at = 0
        self._pieces: Iterator[bytes] = iter(())
        self._restart()

    def _restart(self) -> None:
        self._passes += 1
        if self._passes > _MAX_INFLATE_PASSES:
            raise LimitExceeded("max_inflate_passes", _MAX_INFLATE_PASSES)
        self._window, self._window_at = bytearray(), 0
        read, size_bytes = self._deflated
        chunks = SeekableSource(read, 0, size_bytes).pieces(size_bytes)
        self._pieces = inflated(chunks, self._limits)

    def measure(self) -> int:
        """Return the size of all, in bytes."""
        while self._advance():
            pass
        return self._window_at + len(self._window)

    def _advance(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._window += piece
        surplus = len(self._window) - _PIECE_BYTES  # a reader that looks back a little finds what it asks for
        if surplus > _MAX_SURPLUS_BYTES:
            del self._window[:surplus]
            self._window_at += surplus
        return True

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes as ``stream.Read`` has them."""
        if offset < self._window_at:
            self._restart()
        while self._window_at + len(self._window) < offset + length and self._advance():
            pass
        start = offset - self._window_at
        return bytes(self._window[start : start + length])
