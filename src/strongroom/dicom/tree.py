"""Parse a small data set whole, as a tree of elements (DICOM PS3.5 7): identifiers, items of a sequence, a DICOMDIR.

Everything is checked against the same limits as in ``elements``; what is read here is in memory already, and the tree
holds slices of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax, vr_of
from strongroom.dicom.elements import (
    DEFAULT_LIMITS,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
    ScanLimits,
    coding_of,
)
from strongroom.dicom.inflate import Inflater
from strongroom.errors import LimitExceeded, MalformedDataset

_GROUP_FFFE: Final = 0xFFFE0000


class Element(NamedTuple):
    """One element. ``value`` is as encoded; ``items`` is None for all but a sequence, whose ``value`` is empty.

    Encapsulated pixel data keeps its fragments, item headers included and sequence delimiter not, in ``value``.

    """

    tag: int
    vr: bytes
    value: bytes
    items: tuple[tuple[Element, ...], ...] | None
    offset: int
    """Of the element's header, or for the items of a sequence of their first element, into the parsed bytes."""


def parse_dataset(
    raw: bytes | memoryview, transfer_syntax: TransferSyntax, limits: ScanLimits = DEFAULT_LIMITS
) -> list[Element]:
    """Return every element of the data set ``raw``, in its order.

    Raises MalformedDataset, or LimitExceeded for ``max_element_depth``, ``max_element_count`` or ``max_inflated_bytes``
    (of which no more than ``max_kept_bytes`` count here, since all is kept).
    """
    data = bytes(raw)
    if transfer_syntax.deflated:
        data = _inflate(data, limits)
    walk = _Walk(data, limits)
    elements, _ = walk.elements(0, len(data), coding_of(transfer_syntax), 0, delimited=False)
    return elements


def parse_items(
    raw: bytes | memoryview, coding: Coding, limits: ScanLimits = DEFAULT_LIMITS
) -> tuple[tuple[Element, ...], ...]:
    """Return the items of a sequence value as ``elements.RawElement`` keeps it. Raises as ``parse_dataset`` does."""
    data = bytes(raw)
    items, _ = _Walk(data, limits).items(0, len(data), coding, 1, delimited=False)
    return items


def _inflate(raw: bytes, limits: ScanLimits) -> bytes:
    inflater = Inflater(min(limits.max_inflated_bytes, limits.max_kept_bytes), limits.max_inflate_ratio)
    data = b"".join(inflater.inflate(raw))
    inflater.require_end()
    return data


class _Walk:
    """The bytes, the limits and the number of elements so far."""

    __slots__ = ("count", "data", "limits")

    def __init__(self, data: bytes, limits: ScanLimits) -> None:
        self.data = data
        self.limits = limits
        self.count = 0

    def elements(
        self, position: int, end: int, coding: Coding, depth: int, *, delimited: bool
    ) -> tuple[list[Element], int]:
        """Return the elements up to ``end`` or, if ``delimited``, an item delimiter, and the position behind."""
        found: list[Element] = []
        while position < end:
            tag, vr, length, value = self._header(position, end, coding)
            if tag >= _GROUP_FFFE:
                if delimited and tag == ITEM_DELIMITER:
                    return found, value
                raise MalformedDataset("an item outside a sequence", tag=tag, offset=position)
            element, following = self._element((tag, vr, length, value), end, coding, depth)
            found.append(element._replace(offset=position))
            position = following
        if delimited:
            raise MalformedDataset("an item is not closed", offset=end)
        return found, position

    def _header(self, position: int, end: int, coding: Coding) -> tuple[int, bytes, int, int]:
        """Return tag, VR, length and the value's position; VR UN stands for a delimiter's."""
        self.count += 1
        if self.count > self.limits.max_element_count:
            raise LimitExceeded("max_element_count", self.limits.max_element_count)
        if end - position < 8:
            raise MalformedDataset("the bytes end within an element header", offset=position)
        group, number, length = coding.long_header.unpack_from(self.data, position)
        tag = group << 16 | number
        if not coding.explicit or tag >= _GROUP_FFFE:
            return tag, vr_of(tag), length, position + 8
        vr = self.data[position + 4 : position + 6]
        if vr in SHORT_VRS:
            return tag, vr, coding.short_header.unpack_from(self.data, position)[3], position + 8
        if vr not in LONG_VRS:
            raise MalformedDataset("an unknown VR", tag=tag, offset=position)
        if end - position < 12:
            raise MalformedDataset("the bytes end within an element header", offset=position)
        return tag, vr, coding.long_length.unpack_from(self.data, position + 8)[0], position + 12

    def _element(
        self, header: tuple[int, bytes, int, int], end: int, coding: Coding, depth: int
    ) -> tuple[Element, int]:
        tag, vr, length, value = header
        if length != UNDEFINED_LENGTH:
            following = value + length
            if following > end:
                raise MalformedDataset("a value runs past the end", tag=tag, offset=value)
            if vr != b"SQ":
                return Element(tag, vr, self.data[value:following], None, 0), following
            items, _ = self.items(value, following, coding, depth + 1, delimited=False)
            return Element(tag, vr, b"", items, 0), following
        if tag == PIXEL_DATA or (coding.explicit and vr in (b"OB", b"OW")):
            following = self._fragments(value, end, coding)
            return Element(tag, vr, self.data[value : following - 8], None, 0), following
        if coding.explicit and vr not in (b"SQ", b"UN"):
            raise MalformedDataset("undefined length where the VR allows none", tag=tag, offset=value)
        inner = IMPLICIT_LITTLE if coding.explicit and vr == b"UN" else coding
        items, following = self.items(value, end, inner, depth + 1, delimited=True)
        return Element(tag, b"SQ" if inner is coding else b"UN", b"", items, 0), following

    def items(
        self, position: int, end: int, coding: Coding, depth: int, *, delimited: bool
    ) -> tuple[tuple[tuple[Element, ...], ...], int]:
        """Return the items up to ``end`` or, if ``delimited``, a sequence delimiter, and the position behind."""
        if depth > self.limits.max_element_depth:
            raise LimitExceeded("max_element_depth", self.limits.max_element_depth)
        found: list[tuple[Element, ...]] = []
        while position < end:
            tag, _, length, value = self._header(position, end, coding)
            if tag == SEQUENCE_DELIMITER and delimited:
                return tuple(found), value
            if tag != ITEM:
                raise MalformedDataset("neither an item nor the expected delimiter", tag=tag, offset=position)
            if length == UNDEFINED_LENGTH:
                item, position = self.elements(value, end, coding, depth, delimited=True)
            else:
                position = value + length
                if position > end:
                    raise MalformedDataset("an item runs past the end", tag=tag, offset=value)
                item, _ = self.elements(value, position, coding, depth, delimited=False)
            found.append(tuple(item))
        if delimited:
            raise MalformedDataset("a sequence is not closed", offset=end)
        return tuple(found), position

    def _fragments(self, position: int, end: int, coding: Coding) -> int:
        """Return the position behind the sequence delimiter that ends the fragments."""
        while True:
            tag, _, length, value = self._header(position, end, coding)
            if tag == SEQUENCE_DELIMITER:
                return value
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise MalformedDataset("neither a fragment nor the expected delimiter", tag=tag, offset=position)
            position = value + length
            if position > end:
                raise MalformedDataset("a fragment runs past the end", tag=tag, offset=value)
