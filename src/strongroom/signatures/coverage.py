"""The bytes that a signature is of (DICOM PS3.3 C.12.1.1.3.1), from a data set in whatever transfer syntax it is now.

Each signed element goes in with its tag, VR, length and value in the MAC Calculation Transfer Syntax; a sequence or
encapsulated pixel data with tag and VR, the tag of each item without a length, what is in it, and the tag of the
sequence delimiter, whether there is one or not. The item of the signature itself follows, without the certificate, the
signature and the timestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, Literal

from strongroom.dicom.byteorder import WORD_BYTES, swapped
from strongroom.dicom.convert import MAX_SHORT_LENGTH, is_length_of_others
from strongroom.dicom.dictionary import TransferSyntax, entry_of
from strongroom.dicom.elements import PIXEL_DATA, SHORT_VRS
from strongroom.dicom.stream import SeekableSource
from strongroom.errors import Refused
from strongroom.signatures.contents import MAC_PARAMETERS, Contents, Node

NEVER_OF_THE_ITEM: Final = frozenset({0x04000115, 0x04000120, 0x04000305, 0x04000310})
"""Certificate of Signer, Signature, Certified Timestamp Type and Certified Timestamp."""

_ITEM: Final = (0xFFFE, 0xE000)
_DELIMITER: Final = (0xFFFE, 0xE0DD)
_TAG: Final = {True: Struct("<HH"), False: Struct(">HH")}
_SHORT_HEADER: Final = {True: Struct("<HH2sH"), False: Struct(">HH2sH")}
_LONG_HEADER: Final = {True: Struct("<HH2sHL"), False: Struct(">HH2sHL")}

_PIXEL_REPRESENTATION: Final = 0x00280103

Update = Callable[[bytes], None]


def is_content(node: Node) -> bool:
    """Whether an element says something: no length of others, no padding, nothing of signatures."""
    return 0x0008 <= node.tag >> 16 < 0xFFFA and node.tag != MAC_PARAMETERS and not is_length_of_others(node.tag)


def is_signable(node: Node) -> bool:
    """Whether an element may be part of what is signed (PS3.3 C.12.1.1.3.1.1)."""
    return node.vr != b"UN" and is_content(node)


def holds_unknown(node: Node) -> bool:
    """Whether the element is of VR UN, or holds one that is, at any depth: its bytes are not known to be as signed."""
    return node.vr == b"UN" or any(holds_unknown(each) for item in node.items or () for each in item)


class Coverage:
    """Feeds what a signature is of to a MAC. ``transfer_syntax`` is that of the MAC, ``big_endian`` says how the data
    set is encoded now."""

    def __init__(self, contents: Contents, transfer_syntax: TransferSyntax, *, big_endian: bool) -> None:
        self._contents = contents
        self._is_little = transfer_syntax.little_endian
        self._is_encapsulated = transfer_syntax.encapsulated
        self._was_little = not big_endian
        self._source = SeekableSource(contents.read, 0, contents.size_bytes)
        self._is_signed = self._has_signed_pixels(contents.elements)

    def add(self, elements: Iterable[Node], level: Sequence[Node], update: Update) -> None:
        """Feed ``elements``, those of ``level`` that are signed.

        Raises:
            Refused: what has to be fed is not known: "transcoded", "unknown-vr", "value-too-long".
            MalformedDataset: a value in big endian is no whole number of words.
        """
        is_signed = self._has_signed_pixels(level, default=self._is_signed)
        for node in elements:
            is_of_image = node.tag == PIXEL_DATA and level is self._contents.elements
            if is_of_image and node.is_encapsulated != self._is_encapsulated:
                raise Refused("transcoded", "the pixel data are no longer in the transfer syntax that was signed")
            if holds_unknown(node):
                raise Refused("unknown-vr", "the VR of a signed element is not known any more")
            for piece in self._element(node, is_signed):
                update(piece)

    def _has_signed_pixels(self, level: Sequence[Node], *, default: bool = False) -> bool:
        """Whether numbers that may be US or SS are SS there (PS3.6 note 2)."""
        for node in level:
            if node.tag == _PIXEL_REPRESENTATION and node.length == 2:
                order: Literal["little", "big"] = "little" if self._was_little else "big"
                return int.from_bytes(self._contents.read(node.offset, 2), order) == 1
        return default

    def _element(self, node: Node, is_signed: bool) -> Iterator[bytes]:
        group_and_number = (node.tag >> 16, node.tag & 0xFFFF)
        vr = node.vr
        if vr == b"US" and is_signed and not node.coding.explicit and b"SS" in entry_of(node.tag).vrs:
            vr = b"SS"
        if node.items is None and not node.is_encapsulated:
            yield self._header(node, vr)
            yield from self._value(node, vr)
            return
        yield _LONG_HEADER[self._is_little].pack(*group_and_number, vr, 0, 0)[:8]
        if node.is_encapsulated:
            yield from self._fragments(node)
        for item in node.items or ():
            yield self._tag(_ITEM)
            within = self._has_signed_pixels(item, default=is_signed)
            for each in item:
                if is_signable(each):
                    yield from self._element(each, within)
        yield self._tag(_DELIMITER)

    def _header(self, node: Node, vr: bytes) -> bytes:
        group, number = node.tag >> 16, node.tag & 0xFFFF
        if vr in SHORT_VRS:
            if node.length > MAX_SHORT_LENGTH:
                raise Refused("value-too-long", "a signed value does not fit the transfer syntax of the signature")
            return _SHORT_HEADER[self._is_little].pack(group, number, vr, node.length)
        return _LONG_HEADER[self._is_little].pack(group, number, vr, 0, node.length)

    def _tag(self, tag: tuple[int, int]) -> bytes:
        return _TAG[self._is_little].pack(*tag)

    def _seek(self, offset: int) -> SeekableSource:
        if offset < self._source.position:
            self._source = SeekableSource(self._contents.read, offset, self._contents.size_bytes)
        self._source.skip(offset - self._source.position)
        return self._source

    def _value(self, node: Node, vr: bytes) -> Iterator[bytes]:
        pieces = self._seek(node.offset).pieces(node.length)
        was_little = self._was_little or not node.coding.explicit
        word_bytes = WORD_BYTES.get(vr, 0)
        return swapped(pieces, word_bytes) if word_bytes and was_little != self._is_little else pieces

    def _fragments(self, node: Node) -> Iterator[bytes]:
        end = node.offset + node.length
        source = self._seek(node.offset)
        while source.position < end:
            _, _, length = node.coding.long_header.unpack(source.take(8))
            yield self._tag(_ITEM)
            yield from source.pieces(length)
