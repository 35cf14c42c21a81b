"""Read what a stored data set says, and step over what is bulk: its values are placed, not read (DICOM PS3.18 8.6.2).

Only the bytes that hold element headers and inline values are asked for, so that of a sealed object only the segments
before its pixel data are opened. Which values are bulk follows from the data set and the limits alone: whoever walks it
again finds the same ones at the same paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax, vr_of
from strongroom.dicom.elements import (
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
from strongroom.dicom.stream import Read
from strongroom.dicom.tree import Element
from strongroom.errors import LimitExceeded, MalformedDataset

PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
"""Float Pixel Data, Double Float Pixel Data, Pixel Data: bulk whatever their length."""

_GROUP_FFFE: Final = 0xFFFE0000
_WINDOW_BYTES: Final = 32768
_SPARSE_BYTES: Final = 4096
"""Read at a time where nearly all is passed over."""
_ENDLESS: Final = 1 << 63
_BINARY_VRS: Final = frozenset(b"OB OD OF OL OV OW UN".split())
_BULK_VRS: Final = _BINARY_VRS | frozenset(b"DS FD FL IS LT SL SS ST SV UC UL US UT UV".split())
"""VRs whose value a Bulkdata URI may stand for (PS3.18 10.4.3.3.2)."""


@dataclass(frozen=True, slots=True)
class OutlineLimits:
    """Which values are bulk, and the caps of the walk.

    Bulk are binary values over ``max_inline_bytes`` and others that may be over ``max_inline_value_bytes``; and once
    ``max_inline_total_bytes`` are inline, everything over ``least_bulk_bytes``: whatever comes in, little is held.
    """

    max_inline_bytes: int = 1024
    max_inline_value_bytes: int = 65_536
    max_inline_total_bytes: int = 4 << 20
    least_bulk_bytes: int = 64
    scan: ScanLimits = field(default_factory=ScanLimits)


DEFAULT_LIMITS: Final = OutlineLimits()


class Bulk(NamedTuple):
    """A value that was stepped over: where it is, and the path that names it in the data set.

    ``path`` is its tag, behind the tags and item numbers (from 1) that lead to it: ``54000100/2/54001010``.
    """

    tag: int
    vr: bytes
    offset: int
    length: int
    """As encoded: 0xFFFFFFFF for fragments."""
    path: str
    coding: Coding
    """What the value is encoded in, which its surroundings decide."""


Outlined = Element | Bulk
"""An element of an outline. The items of a sequence hold outlined elements too."""


def outline(
    read: Read, size: int | None, transfer_syntax: TransferSyntax, limits: OutlineLimits = DEFAULT_LIMITS
) -> list[Outlined]:
    """Return every element of a data set of ``size`` bytes (None if only its end tells) in its order.

    ``read`` is of the data set as it was before any deflation, and is asked with rising offsets only. Raises
    MalformedDataset, or LimitExceeded for ``max_element_depth`` or ``max_element_count``, and what ``read`` raises.
    """
    walk = _Walk(read, size, limits)
    return list(walk.elements(walk.size, coding_of(transfer_syntax), 0, ""))


def outline_to_pixels(
    read: Read, size: int | None, transfer_syntax: TransferSyntax, limits: OutlineLimits = DEFAULT_LIMITS
) -> list[Outlined]:
    """Return the elements up to the pixel data, which is the last one if there is any. Raises as ``outline`` does."""
    walk = _Walk(read, size, limits)
    found = []
    for element in walk.elements(walk.size, coding_of(transfer_syntax), 0, "", skip_pixels=False):
        found.append(element)
        if element.tag in PIXEL_TAGS and isinstance(element, Bulk):
            break
    return found


def bulk_values(elements: Iterable[Outlined]) -> Iterator[Bulk]:
    """Yield every bulk value of an outline, those in items too, in the order of the data set."""
    for element in elements:
        if isinstance(element, Bulk):
            yield element
        elif element.items is not None:
            for item in element.items:
                yield from bulk_values(item)


class ForwardReader:
    """A ``Read`` of bytes that come in chunks, an inflated data set: offsets must not fall below those read before."""

    __slots__ = ("_base", "_chunks", "_held")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._base = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``, fewer only at the end.

        What lies from ``offset`` on stays held, at most a chunk beyond ``length``. Raises what the chunks raise.
        """
        assert offset >= self._base, "a forward reader was asked to go back"
        end = offset + length
        parts, held_to = [self._held], self._base + len(self._held)
        while held_to < end:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            if held_to <= offset:
                # Nothing of what came before is wanted any more.
                parts, self._base = [], held_to
            parts.append(chunk)
            held_to += len(chunk)
        held = parts[0] if len(parts) == 1 else b"".join(parts)
        drop = min(offset - self._base, len(held))
        self._held, self._base = (held[drop:] if drop else held), self._base + drop
        return self._held[:length] if offset == self._base else b""


class _Walk:
    """One walk: a window of bytes that moves forward over the data set."""

    __slots__ = ("_base", "_buffer", "_count", "_inline", "_limits", "_read", "position", "size")

    def __init__(self, read: Read, size: int | None, limits: OutlineLimits) -> None:
        self._read, self._limits = read, limits
        self.size = _ENDLESS if size is None else size
        self.position = 0
        self._buffer, self._base = b"", 0
        self._count = self._inline = 0

    def _fill(self, length: int, window_bytes: int = _WINDOW_BYTES) -> bool:
        """Have ``length`` bytes from the position on in the window; False if the data set ends before."""
        if self.position + length > self._base + len(self._buffer):
            self._base = self.position
            self._buffer = self._read(self.position, max(length, window_bytes))
        return len(self._buffer) - (self.position - self._base) >= length

    def elements(
        self, end: int, coding: Coding, depth: int, path: str, *, skip_pixels: bool = True, delimited: bool = False
    ) -> Iterator[Outlined]:
        """Yield the elements up to ``end`` or, if ``delimited``, an item delimiter; the position is then behind it."""
        while self.position < end:
            if coding.explicit and (plain := self._plain(end, coding)) is not None:
                yield plain
                continue
            if depth == 0 and end == _ENDLESS and not self._fill(1):
                return
            at = self.position
            tag, vr, length = self._header(end, coding)
            if tag >= _GROUP_FFFE:
                if delimited and tag == ITEM_DELIMITER:
                    return
                raise MalformedDataset("an item outside a sequence", tag=tag, offset=self.position - 8)
            if length != UNDEFINED_LENGTH and length > end - self.position:
                raise MalformedDataset("a value runs past the end", tag=tag, offset=self.position)
            if vr == b"SQ" or (length == UNDEFINED_LENGTH and not _is_fragments(tag, vr, coding)):
                yield self._sequence_or_bulk((tag, vr, length), end, coding, depth, path)
            elif self._is_bulk(tag, vr, length):
                yield Bulk(tag, vr, self.position, length, f"{path}{tag:08X}", coding)
                if skip_pixels or tag not in PIXEL_TAGS:
                    self._skip(tag, length, coding)
            else:
                yield Element(tag, vr, self._value(tag, length), None, at)
        if delimited:
            raise MalformedDataset("an item is not closed", offset=self.position)

    def _plain(self, end: int, coding: Coding) -> Element | None:
        """Take the next element if it is as most are: of a VR with a short length, little, and in the window whole."""
        at = self.position
        start = at - self._base
        if len(self._buffer) - start < 8:
            return None
        group, number, vr, length = coding.short_header.unpack_from(self._buffer, start)
        stop = start + 8 + length
        if vr not in SHORT_VRS or length > self._limits.least_bulk_bytes or stop > len(self._buffer) or group == 0xFFFE:
            return None
        if at + 8 + length > end or self._count >= self._limits.scan.max_element_count:
            return None  # which the long way says what is wrong with
        self._count += 1
        self._inline += length
        self.position = at + 8 + length
        return Element(group << 16 | number, vr, self._buffer[start + 8 : stop], None, at)

    def _header(self, end: int, coding: Coding) -> tuple[int, bytes, int]:
        """Take an element's header; a delimiter has the VR UN."""
        self._count += 1
        if self._count > self._limits.scan.max_element_count:
            raise LimitExceeded("max_element_count", self._limits.scan.max_element_count)
        at = self.position
        # The window mostly holds the twelve bytes that a header may have: one comparison then.
        if at + 12 > self._base + len(self._buffer) and not self._fill(8):
            raise MalformedDataset("the bytes end within an element header", offset=at)
        buffer, start = self._buffer, at - self._base
        group, number, length = coding.long_header.unpack_from(buffer, start)
        tag = group << 16 | number
        header_bytes = 8
        if not coding.explicit or tag >= _GROUP_FFFE:
            vr = vr_of(tag)
        else:
            vr = buffer[start + 4 : start + 6]
            if vr in SHORT_VRS:
                length = coding.short_header.unpack_from(buffer, start)[3]
            elif vr in LONG_VRS:
                if not self._fill(12):
                    raise MalformedDataset("the bytes end within an element header", tag=tag, offset=at)
                (length,) = coding.long_length.unpack_from(self._buffer, at - self._base + 8)
                header_bytes = 12
            else:
                raise MalformedDataset("an unknown VR", tag=tag, offset=at)
        self.position = at + header_bytes
        if self.position > end:
            raise MalformedDataset("an element header runs past its item", tag=tag, offset=at)
        return tag, vr, length

    def _is_bulk(self, tag: int, vr: bytes, length: int) -> bool:
        limits = self._limits
        if length <= limits.least_bulk_bytes:
            return tag in PIXEL_TAGS and length > 0
        if length == UNDEFINED_LENGTH or tag in PIXEL_TAGS or self._inline + length > limits.max_inline_total_bytes:
            return True
        if vr in _BINARY_VRS:
            return length > limits.max_inline_bytes
        # What the standard gives no Bulkdata URI is inline up to any length that it can have in good faith.
        return length > limits.max_inline_value_bytes * (1 if vr in _BULK_VRS else 16)

    def _value(self, tag: int, length: int) -> bytes:
        if not self._fill(length):
            raise MalformedDataset("a value runs past the end", tag=tag, offset=self.position)
        start = self.position - self._base
        self.position += length
        self._inline += length
        return self._buffer[start : start + length]

    def _skip(self, tag: int, length: int, coding: Coding) -> None:
        if length == UNDEFINED_LENGTH:
            self._skip_fragments(coding)
            return
        self.position += length
        if self.size == _ENDLESS:  # else the header was held against it
            self.position -= 1
            if not self._fill(1):
                raise MalformedDataset("a value runs past the end", tag=tag, offset=self.position)
            self.position += 1

    def _skip_fragments(self, coding: Coding) -> None:
        """Pass over fragments. They are not counted: a slide may have any number, and nothing is kept of them."""
        while True:
            at = self.position
            if not self._fill(8, _SPARSE_BYTES):
                raise MalformedDataset("pixel data fragments are not closed", offset=at)
            group, number, length = coding.long_header.unpack_from(self._buffer, at - self._base)
            tag = group << 16 | number
            self.position = at + 8
            if tag == SEQUENCE_DELIMITER:
                return
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise MalformedDataset("neither a fragment nor the expected delimiter", tag=tag, offset=at)
            self.position += length
            if self.position > self.size:
                raise MalformedDataset("a fragment runs past the end", tag=tag, offset=at)

    def _sequence_or_bulk(
        self, header: tuple[int, bytes, int], within: int, coding: Coding, depth: int, path: str
    ) -> Outlined:
        """Return a sequence; one of known length whose items do not hold together, or are too many, is bulk.

        On its way in nobody looked into it, and what else the instance says is not to be lost for it.
        """
        tag, _, length = header
        start, count = self.position, self._count
        try:
            return self._sequence(header, within, coding, depth, path)
        except (MalformedDataset, LimitExceeded):
            if length == UNDEFINED_LENGTH or depth:
                raise
        self.position, self._count = start, count  # nothing is read there again: what follows lies behind the value
        self._skip(tag, length, coding)
        return Bulk(tag, b"UN", start, length, f"{path}{tag:08X}", coding)

    def _sequence(self, header: tuple[int, bytes, int], within: int, coding: Coding, depth: int, path: str) -> Element:
        tag, vr, length = header
        if coding.explicit and vr not in (b"SQ", b"UN"):
            raise MalformedDataset("undefined length where the VR allows none", tag=tag, offset=self.position)
        if depth >= self._limits.scan.max_element_depth:
            raise LimitExceeded("max_element_depth", self._limits.scan.max_element_depth)
        is_unknown = coding.explicit and vr == b"UN"
        inner = IMPLICIT_LITTLE if is_unknown else coding
        start = self.position
        end = within if length == UNDEFINED_LENGTH else start + length
        items: list[tuple[Outlined, ...]] = []
        while self.position < end:
            item_tag, _, item_length = self._header(end, inner)
            if item_tag == SEQUENCE_DELIMITER and length == UNDEFINED_LENGTH:
                break
            if item_tag != ITEM:
                raise MalformedDataset("neither an item nor the expected delimiter", tag=item_tag, offset=start)
            is_open = item_length == UNDEFINED_LENGTH
            item_end = end if is_open else self.position + item_length
            if item_end > end:
                raise MalformedDataset("an item runs past the end", tag=tag, offset=self.position)
            place = f"{path}{tag:08X}/{len(items) + 1}/"
            items.append(tuple(self.elements(item_end, inner, depth + 1, place, delimited=is_open)))
        else:
            if length == UNDEFINED_LENGTH:
                raise MalformedDataset("a sequence is not closed", tag=tag, offset=start)
        found = tuple(items)
        return Element(tag, b"UN" if is_unknown else b"SQ", b"", found, start)  # type: ignore[arg-type]  # may be bulk


def _is_fragments(tag: int, vr: bytes, coding: Coding) -> bool:
    return tag == PIXEL_DATA or (coding.explicit and vr in (b"OB", b"OW"))
