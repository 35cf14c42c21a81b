"""A data set as a tree of places in its source, to be changed here and there and written again (PS3.5 7).

Nothing is decoded and hardly anything held: an element that is not changed is copied from where it stands. What is
written has no group lengths, is in tag order, and its sequences are of undefined length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from strongroom.dicom.convert import is_length_of_others
from strongroom.dicom.elements import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Coding,
    ScanLimits,
)
from strongroom.dicom.frames import Span
from strongroom.dicom.stream import Kind, Read, SeekableSource, Step, walk
from strongroom.errors import MalformedDataset, Refused

_PIECE_BYTES: Final = 1 << 20
_MAX_SHORT_LENGTH: Final = 0xFFFE
_PADDED_WITH_ZERO: Final = frozenset({b"UI", *LONG_VRS}) - {b"UC", b"UR", b"UT"}

Content = Sequence[bytes | Span]
"""A value in its order: bytes as they are, and bytes of the source."""


@dataclass(slots=True, eq=False)
class Node:
    """One element. ``content`` replaces its value, ``items`` and ``fragments`` are those of the source.

    ``path`` is as in ``findings.Place``; ``offset`` and ``length`` are of the value in the source, up to the delimiter
    if its length was undefined.
    """

    tag: int
    vr: bytes
    coding: Coding
    path: str
    offset: int
    length: int
    items: list[list[Node]] | None = None
    fragments: list[Span] | None = None
    content: Content | None = None
    is_unknown_sequence: bool = False
    """Written as UN of undefined length: its items are in implicit VR."""
    is_delimited: bool = False
    is_gone: bool = False
    """Left out when the data set is written."""

    @property
    def end(self) -> int:
        """Where in the source the next element begins."""
        return self.offset + self.length + (8 if self.is_delimited else 0)

    @property
    def inner_coding(self) -> Coding:
        """How the items are encoded."""
        return IMPLICIT_LITTLE if self.is_unknown_sequence else self.coding


@dataclass(slots=True)
class Tree:
    """The elements of one data set behind ``read``, and where in it they end."""

    read: Read
    coding: Coding
    elements: list[Node]
    end: int

    def find(self, tag: int) -> Node | None:
        """Return the top-level element with that tag."""
        return next((node for node in self.elements if node.tag == tag and not node.is_gone), None)

    def value(self, tag: int, most: int = 65536) -> bytes:
        """Return the value of a top-level element, b"" if it is absent, has items, or is longer than ``most``."""
        node = self.find(tag)
        if node is None or node.items is not None or node.fragments is not None or node.length > most:
            return b""
        return self.read(node.offset, node.length)

    def text(self, tag: int) -> str:
        """Return the value of a top-level element as ASCII, padding removed."""
        return self.value(tag).decode("ascii", "replace").strip(" \0")

    def number(self, tag: int) -> int:
        """Return the first number of a top-level element of VR US, 0 if it is absent."""
        is_big = self.coding.short_header.format.startswith(">")
        return int.from_bytes(self.value(tag)[:2], "big" if is_big else "little")

    def by_path(self) -> dict[str, tuple[Node, list[Node]]]:
        """Return every element that is not gone with those beside it, by its path; of several the first one."""
        found: dict[str, tuple[Node, list[Node]]] = {}
        open_lists = [self.elements]
        for elements in open_lists:
            for node in elements:
                if not node.is_gone:
                    found.setdefault(node.path, (node, elements))
                    open_lists += node.items or ()
        return found

    def pieces(self) -> Iterator[bytes]:
        """Yield the data set as it is now, 1 MiB at most at a time."""
        yield from _elements(self.elements, self.read)


def parse_tree(read: Read, start: int, end: int, coding: Coding, limits: ScanLimits) -> Tree:
    """Return the tree of the data set between two offsets.

    Where elements end within bytes that are none, and Pixel Data has been, the tree ends before them: ``end`` of it
    says where. Raises MalformedDataset or LimitExceeded if the data set does not hold together before.
    """
    builder = _Builder(coding)
    try:
        for step in walk(SeekableSource(read, start, end), coding, limits):
            if builder.is_complete and step.kind is not Kind.SEQUENCE_END and step.tag <= builder.top[-1].tag:
                break
            builder.add(step)
    except MalformedDataset:
        if builder.ends_behind(end):
            builder.top.pop()
        elif not builder.is_complete or builder.top[-1].end > end:
            raise
    return Tree(read, coding, builder.top, builder.top[-1].end if builder.top else start)


class _Builder:
    """Puts the steps of a walk together."""

    def __init__(self, coding: Coding) -> None:
        self.top: list[Node] = []
        self.open_sequences: list[Node] = []
        self._coding = coding
        self._open_items: list[list[Node]] = [self.top]

    @property
    def is_complete(self) -> bool:
        """Pixel Data, or what may stand behind it, was the last element, and it is over."""
        return bool(self.top) and not self.open_sequences and self.top[-1].tag >= PIXEL_DATA

    def ends_behind(self, end: int) -> bool:
        """Pixel Data was the last element but one, and the last one is none: it would not end in time."""
        is_whole = len(self.top) > 1 and self.top[-2].tag >= PIXEL_DATA
        return is_whole and not self.open_sequences and self.top[-1].end > end

    def add(self, step: Step) -> None:
        """Take the next step."""
        kind = step.kind
        if kind is Kind.ITEM:
            item: list[Node] = []
            items = self.open_sequences[-1].items
            assert items is not None
            items.append(item)
            self._open_items.append(item)
        elif kind is Kind.ITEM_END:
            self._open_items.pop()
        elif kind is Kind.SEQUENCE_END:
            node = self.open_sequences.pop()
            if node.length == UNDEFINED_LENGTH:
                node.length, node.is_delimited = step.offset - 8 - node.offset, True
        elif kind is Kind.FRAGMENT:
            fragments = self.open_sequences[-1].fragments
            assert fragments is not None
            fragments.append(Span(step.offset, step.length))
        else:
            self._open(step)

    def _open(self, step: Step) -> None:
        coding = self.open_sequences[-1].inner_coding if self.open_sequences else self._coding
        node = Node(step.tag, step.vr, coding, self._path(step.tag), step.offset, step.length)
        self._open_items[-1].append(node)
        if step.kind is Kind.SEQUENCE:
            node.items = []
            node.is_unknown_sequence = step.coding is not coding
        elif step.kind is Kind.FRAGMENTS:
            node.fragments = []
        if step.kind is not Kind.VALUE:
            self.open_sequences.append(node)

    def _path(self, tag: int) -> str:
        name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        if not self.open_sequences:
            return name
        above = self.open_sequences[-1]
        return f"{above.path}[{len(above.items or ())}].{name}"


# -- writing


def _elements(elements: list[Node], read: Read) -> Iterator[bytes]:
    for node in sorted(elements, key=attrgetter("tag")):
        if not node.is_gone and not is_length_of_others(node.tag):
            yield from _element(node, read)


def _element(node: Node, read: Read) -> Iterator[bytes]:
    if node.items is not None and node.content is None:
        inner = node.inner_coding
        yield _header(node.coding, node.tag, b"UN" if node.is_unknown_sequence else b"SQ", UNDEFINED_LENGTH)
        for item in node.items:
            yield _item(inner, ITEM, UNDEFINED_LENGTH)
            yield from _elements(item, read)
            yield _item(inner, ITEM_DELIMITER, 0)
        yield _item(inner, SEQUENCE_DELIMITER, 0)
        return
    if node.fragments is not None:
        yield _header(node.coding, node.tag, node.vr, UNDEFINED_LENGTH)
        yield from content_pieces(node.content or (Span(node.offset, node.length),), read)
        yield _item(node.coding, SEQUENCE_DELIMITER, 0)
        return
    content = (Span(node.offset, node.length),) if node.content is None else node.content
    length = content_length(content)
    yield _header(node.coding, node.tag, node.vr, length + (length & 1))
    yield from content_pieces(content, read)
    if length & 1:
        yield b"\0" if node.vr in _PADDED_WITH_ZERO else b" "


def content_length(content: Content) -> int:
    """Return how many bytes ``content`` is."""
    return sum(part.length if isinstance(part, Span) else len(part) for part in content)


def content_pieces(content: Content, read: Read) -> Iterator[bytes]:
    """Yield the bytes of ``content``. Raises Refused if the source has become shorter."""
    for part in content:
        if isinstance(part, bytes):
            yield part
            continue
        for start in range(0, part.length, _PIECE_BYTES):
            size = min(_PIECE_BYTES, part.length - start)
            piece = read(part.offset + start, size)
            if len(piece) != size:
                raise Refused("changed", "the file has changed while it was read")
            yield piece


def _header(coding: Coding, tag: int, vr: bytes, length: int) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if not coding.explicit:
        return coding.long_header.pack(group, element, length)
    if vr not in LONG_VRS and length > _MAX_SHORT_LENGTH:
        vr = b"UN"
    if vr in LONG_VRS:
        return coding.short_header.pack(group, element, vr, 0) + coding.long_length.pack(length)
    return coding.short_header.pack(group, element, vr, length)


def _item(coding: Coding, tag: int, length: int) -> bytes:
    return coding.long_header.pack(tag >> 16, tag & 0xFFFF, length)


def item_header(coding: Coding, length: int) -> bytes:
    """Return the header of an item or a fragment of defined length."""
    return _item(coding, ITEM, length)
