"""Walk a data set's elements as its bytes arrive, and keep the few that are wanted (DICOM PS3.5 7 and annex A).

``HeaderScan`` reads every element header of the top level, steps over values by their lengths without buffering them,
walks into what has an undefined length, and holds no more than its limits allow whatever the bytes say. Any chunking
of the same bytes gives the same result.

What is structurally impossible is an error: a value that runs past the end, a VR that leaves the width of the length
field unknown, an item outside a sequence, nesting over the cap. What the field merely writes wrong is counted in
``HeaderScan.irregularities`` and read anyway: odd lengths, tags out of order, duplicates (the first one is kept).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import count as counter
from struct import Struct
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax, vr_of
from strongroom.dicom.inflate import Inflater
from strongroom.errors import LimitExceeded, MalformedDataset

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD

SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""VRs with a 16-bit length in explicit VR (PS3.5 7.1.2, table 7.1-2)."""

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs with two reserved bytes and a 32-bit length in explicit VR (PS3.5 7.1.2, table 7.1-1)."""

FIRST_PIXEL_TAG: Final = 0x7FE00008  # Float Pixel Data, Double Float Pixel Data, Pixel Data
_GROUP_FFFE: Final = 0xFFFE0000
# Groups 0000 to 0003 belong to messages and files, never to a data set: to start above them makes the order check
# report them without a test of its own.
_BELOW_DATA_SETS: Final = 0x0003FFFF

# Values that lie in the bytes at hand are sliced out of a copy of this size: large enough for the header of nearly
# every image, small enough that copying it costs a few microseconds.
_WINDOW_BYTES: Final = 65536


class RawElement(NamedTuple):
    """A kept element: its VR (from the dictionary where the encoding has none) and its value as encoded.

    For a sequence ``value`` is its items, with item headers and without the sequence delimiter.
    """

    vr: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """Caps of one walk. ``max_element_depth`` counts nested sequences, ``max_element_value_bytes`` is of one kept
    value, ``max_kept_bytes`` of all together; ``max_inflate_ratio`` holds once 16 MiB have come out."""

    max_element_depth: int = 32
    max_element_count: int = 200_000
    max_element_value_bytes: int = 1 << 20
    max_kept_bytes: int = 4 << 20
    max_inflate_ratio: int = 200
    max_inflated_bytes: int = 4 << 30


DEFAULT_LIMITS: Final = ScanLimits()


class Coding(NamedTuple):
    """The three header layouts of one byte order: group+element+VR+length16, group+element+length32, length32."""

    explicit: bool
    short_header: Struct
    long_header: Struct
    long_length: Struct


EXPLICIT_LITTLE: Final = Coding(True, Struct("<HH2sH"), Struct("<HHL"), Struct("<L"))
EXPLICIT_BIG: Final = Coding(True, Struct(">HH2sH"), Struct(">HHL"), Struct(">L"))
IMPLICIT_LITTLE: Final = EXPLICIT_LITTLE._replace(explicit=False)


def coding_of(transfer_syntax: TransferSyntax) -> Coding:
    """Return how ``transfer_syntax`` encodes element headers."""
    if not transfer_syntax.explicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if transfer_syntax.little_endian else EXPLICIT_BIG


class _Plan(NamedTuple):
    vrs: dict[int, bytes]
    last_wanted: int
    ceiling: int


@lru_cache(maxsize=32)
def _plan(wanted: frozenset[int]) -> _Plan:
    last = max(wanted, default=0)
    return _Plan({tag: vr_of(tag) for tag in wanted}, last, min(last + 1, FIRST_PIXEL_TAG))


class _Frame(NamedTuple):
    """What is open in the walk: a sequence, an item of one, or a run of pixel data fragments; of undefined length."""

    kind: int
    coding: Coding


_IN_SEQUENCE: Final = 0
_IN_ITEM: Final = 1
_IN_FRAGMENTS: Final = 2


def open_frame(tag: int, vr: bytes | None, coding: Coding, offset: int) -> _Frame:
    """Return what an element of undefined length opens. ``vr`` is None in implicit VR.

    UN of undefined length is a sequence in implicit VR little endian, whatever surrounds it (PS3.5 6.2.2 note 2).

    Raises MalformedDataset for a VR that cannot have one.
    """
    if tag == PIXEL_DATA or vr == b"OB" or vr == b"OW":
        return _Frame(_IN_FRAGMENTS, coding)
    if vr is None or vr == b"SQ":
        return _Frame(_IN_SEQUENCE, coding)
    if vr == b"UN":
        return _Frame(_IN_SEQUENCE, IMPLICIT_LITTLE)
    raise MalformedDataset("undefined length where the VR allows none", tag=tag, offset=offset)


class HeaderScan:
    """One walk over one data set. Not thread-safe.

    ``wanted`` are top-level tags; ``elements`` fills with those found, in the order of the data set. Offsets are into
    the data set, inflated if it is deflated. The caller keeps the buffers it feeds.
    """

    __slots__ = (
        "_base",
        "_capture",
        "_capture_from",
        "_capture_tag",
        "_capture_vr",
        "_ceiling",
        "_coding",
        "_count",
        "_inflater",
        "_kept",
        "_last_wanted",
        "_limits",
        "_offset",
        "_previous",
        "_skip",
        "_stack",
        "_tail",
        "_wanted",
        "elements",
        "end_of_header",
        "irregularities",
        "pixel_data_length",
        "pixel_data_offset",
        "pixel_data_vr",
    )

    def __init__(
        self, transfer_syntax: TransferSyntax, wanted: frozenset[int], limits: ScanLimits = DEFAULT_LIMITS
    ) -> None:
        self.elements: dict[int, RawElement] = {}
        self.end_of_header = False
        """A top-level tag beyond the largest wanted one was seen."""
        self.irregularities: dict[str, int] = {}
        self.pixel_data_vr = b""
        self.pixel_data_offset: int | None = None
        self.pixel_data_length: int | None = None
        """As encoded: 0xFFFFFFFF for fragments."""
        self._wanted, self._last_wanted, self._ceiling = _plan(wanted)
        self._limits = limits
        self._coding = coding_of(transfer_syntax)
        self._inflater = (
            Inflater(limits.max_inflated_bytes, limits.max_inflate_ratio) if transfer_syntax.deflated else None
        )
        self._offset = self._base = 0  # of the next byte to come, and of the window's first byte
        self._tail = b""
        self._skip = 0
        self._stack: list[_Frame] = []
        self._previous = _BELOW_DATA_SETS
        self._count = self._kept = 0
        self._capture: bytearray | None = None
        self._capture_tag = self._capture_from = 0
        self._capture_vr = b""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they may be reused when this returns.

        Raises MalformedDataset or LimitExceeded; the scan is of no further use then.
        """
        if self._inflater is None:
            self._feed(data if isinstance(data, memoryview) else memoryview(data))
        else:
            for piece in self._inflater.inflate(data):
                self._feed(memoryview(piece))
            if self._inflater.has_trailing_bytes:
                self.irregularities["bytes after the deflate stream"] = 1

    def finish(self) -> None:
        """Declare the end of the data set. Raises MalformedDataset if anything is still open."""
        if self._inflater is not None:
            self._inflater.require_end()
        if self._skip:
            raise MalformedDataset("a value runs past the end", offset=self._offset)
        if self._stack:
            raise MalformedDataset("a sequence or item is not closed", offset=self._offset)
        if self._tail:
            raise MalformedDataset("the data set ends within an element header", offset=self._offset)

    def _feed(self, view: memoryview) -> None:
        start, size = 0, len(view)
        while start < size:
            if self._skip:
                step = min(self._skip, size - start)
                if self._capture is not None:
                    self._extend_capture(view[start : start + step])
                start += step
                self._offset += step
                self._skip -= step
                if not (self._skip or self._stack) and self._capture is not None:
                    self._keep_capture()
                continue
            stop = min(start + _WINDOW_BYTES, size)
            buffer = self._tail + view[start:stop] if self._tail else bytes(view[start:stop])
            self._base = self._offset - len(self._tail)
            self._offset += stop - start
            start = stop
            end = len(buffer)
            position = self._scan(buffer)
            if position > end:
                self._skip, self._tail = position - end, b""
            else:
                self._tail = buffer[position:]

    def _note(self, irregularity: str) -> None:
        self.irregularities[irregularity] = self.irregularities.get(irregularity, 0) + 1

    def _scan(self, buffer: bytes) -> int:
        """Walk ``buffer``; returns where the walk stands, which may lie beyond its end."""
        position = self._capture_from = 0
        while True:
            if self._stack:
                position = self._scan_nested(buffer, position)
                if self._stack:
                    break
                if self._capture is not None:
                    self._extend_capture(buffer[self._capture_from : position - 8])
                    self._keep_capture()
            position = self._scan_top(buffer, position)
            if not self._stack:
                break
        if self._capture is not None:
            self._extend_capture(buffer[self._capture_from : position])
        return position

    def _scan_top(self, buffer: bytes, position: int) -> int:
        """Walk top-level elements until the buffer ends or one is open."""
        return self._walk(buffer, position, len(buffer))

    def _walk(self, buffer: bytes, position: int, last: int) -> int:
        """Walk top-level elements that begin at ``last`` or before, until the buffer ends or one is open."""
        last = min(last, len(buffer) - 8)
        return (self._walk_explicit if self._coding.explicit else self._walk_implicit)(buffer, position, last)

    def _walk_explicit(self, buffer: bytes, position: int, last: int) -> int:
        unpack, unpack_long = self._coding.short_header.unpack_from, self._coding.long_length.unpack_from
        short_vrs = SHORT_VRS
        wanted, elements, make = self._wanted, self.elements, RawElement
        previous, ceiling, max_value = self._previous, self._ceiling, self._limits.max_element_value_bytes
        kept, end, max_element_count = self._kept, len(buffer), self._limits.max_element_count
        for count in counter(self._count):
            if position > last:
                break
            group, element, vr, length = unpack(buffer, position)
            value = position + 8
            tag = group << 16 | element
            if vr not in short_vrs:
                if vr not in LONG_VRS:
                    raise self._unknown_vr(tag, position)
                value += 4
                if value > end:
                    break
                (length,) = unpack_long(buffer, value - 4)
            if count == max_element_count:
                raise LimitExceeded("max_element_count", max_element_count)
            if previous < tag < ceiling:
                previous = tag
            else:
                previous = self._look_closer(tag, previous, vr, value, length)
                ceiling = self._ceiling
            following = value + length
            if following > end:  # so does every undefined length
                position, count = self._open_value(tag, vr, value, length), count + 1
                break
            if length & 1:
                self._note("odd length")
            if tag in wanted and tag not in elements:
                if length > max_value:
                    raise LimitExceeded("max_element_value_bytes", max_value, length)
                elements[tag] = make(vr, buffer[value:following])
                kept += length
            position = following
        self._count, self._previous = count, previous
        self._set_kept(kept)
        return position

    def _walk_implicit(self, buffer: bytes, position: int, last: int) -> int:
        unpack = self._coding.long_header.unpack_from
        vr_of_wanted, elements, make = self._wanted.get, self.elements, RawElement
        previous, ceiling, max_value = self._previous, self._ceiling, self._limits.max_element_value_bytes
        kept, end, max_element_count = self._kept, len(buffer), self._limits.max_element_count
        for count in counter(self._count):
            if position > last:
                break
            group, element, length = unpack(buffer, position)
            tag = group << 16 | element
            value = position + 8
            if count == max_element_count:
                raise LimitExceeded("max_element_count", max_element_count)
            if previous < tag < ceiling:
                previous = tag
            else:
                previous = self._look_closer(tag, previous, None, value, length)
                ceiling = self._ceiling
            following = value + length
            if following > end:
                position, count = self._open_value(tag, None, value, length), count + 1
                break
            if length & 1:
                self._note("odd length")
            vr = vr_of_wanted(tag)
            if vr is not None and tag not in elements:
                if length > max_value:
                    raise LimitExceeded("max_element_value_bytes", max_value, length)
                elements[tag] = make(vr, buffer[value:following])
                kept += length
            position = following
        self._count, self._previous = count, previous
        self._set_kept(kept)
        return position

    def _unknown_vr(self, tag: int, position: int) -> MalformedDataset:
        what = "an item outside a sequence" if tag >= _GROUP_FFFE else "an unknown VR"
        return MalformedDataset(what, tag=tag, offset=self._base + position)

    def _look_closer(self, tag: int, previous: int, vr: bytes | None, value: int, length: int) -> int:
        """Judge a top-level tag that is out of order or beyond the wanted ones; returns the largest tag so far."""
        if tag >= _GROUP_FFFE:
            raise MalformedDataset("an item outside a sequence", tag=tag, offset=self._base + value)
        if tag > self._last_wanted:
            self.end_of_header = True
            self._ceiling = FIRST_PIXEL_TAG if tag < FIRST_PIXEL_TAG else _GROUP_FFFE
        if FIRST_PIXEL_TAG <= tag <= PIXEL_DATA and self.pixel_data_offset is None:
            self.pixel_data_vr = vr or vr_of(tag)
            self.pixel_data_offset, self.pixel_data_length = self._base + value, length
        if tag > previous:
            return tag
        self._note("duplicate tag" if tag == previous or tag in self.elements else "tag out of order")
        return previous

    def _open_value(self, tag: int, vr: bytes | None, value: int, length: int) -> int:
        """Begin a value whose end is not in the buffer; returns the position behind it, or within it if unknown."""
        if tag in self._wanted and tag not in self.elements:
            if length != UNDEFINED_LENGTH and length > self._limits.max_element_value_bytes:
                raise LimitExceeded("max_element_value_bytes", self._limits.max_element_value_bytes, length)
            self._capture, self._capture_tag, self._capture_from = bytearray(), tag, value
            self._capture_vr = vr or self._wanted[tag]
        if length != UNDEFINED_LENGTH:
            if length & 1:
                self._note("odd length")
            return value + length
        if vr is None and tag != PIXEL_DATA:
            self._capture_vr = b"SQ"  # whatever the dictionary says: nothing else is of undefined length there
        self._stack.append(open_frame(tag, vr, self._coding, self._base + value))
        return value

    def _scan_nested(self, buffer: bytes, position: int) -> int:
        """Walk what is open until it is closed or the buffer ends; only undefined lengths are walked into."""
        stack, limits, end = self._stack, self._limits, len(buffer)
        while stack and position + 8 <= end:
            kind, coding = stack[-1]
            group, element, length = coding.long_header.unpack_from(buffer, position)
            tag = group << 16 | element
            value = position + 8
            if kind == _IN_ITEM and tag < _GROUP_FFFE:
                vr = None
                if coding.explicit:
                    vr = buffer[position + 4 : position + 6]
                    if vr in SHORT_VRS:
                        length = coding.short_header.unpack_from(buffer, position)[3]
                    elif vr in LONG_VRS:
                        value += 4
                        if value > end:
                            break
                        (length,) = coding.long_length.unpack_from(buffer, value - 4)
                    else:
                        raise self._unknown_vr(tag, position)
                if length == UNDEFINED_LENGTH:
                    if len(stack) >= 2 * limits.max_element_depth:
                        raise LimitExceeded("max_element_depth", limits.max_element_depth)
                    stack.append(open_frame(tag, vr, coding, self._base + value))
                    length = 0
            else:
                length = self._item_length(tag, length, position)
            if kind != _IN_FRAGMENTS:  # a slide may have any number of those, and nothing is kept of them
                if self._count == limits.max_element_count:
                    raise LimitExceeded("max_element_count", limits.max_element_count)
                self._count += 1
            position = value + length
        return position

    def _item_length(self, tag: int, length: int, position: int) -> int:
        """Open or close an item, a fragment or a sequence; returns how many bytes to step over."""
        stack = self._stack
        kind, coding = stack[-1]
        if tag == ITEM and kind != _IN_ITEM:
            if length != UNDEFINED_LENGTH:
                return length
            if kind == _IN_SEQUENCE:
                stack.append(_Frame(_IN_ITEM, coding))
                return 0
            raise MalformedDataset("a fragment of undefined length", tag=tag, offset=self._base + position)
        if tag == (ITEM_DELIMITER if kind == _IN_ITEM else SEQUENCE_DELIMITER):
            if length:
                self._note("delimiter with a length")
            stack.pop()
            return 0
        raise MalformedDataset("neither an item nor the expected delimiter", tag=tag, offset=self._base + position)

    def _extend_capture(self, part: bytes | memoryview) -> None:
        capture = self._capture
        assert capture is not None
        if len(capture) + len(part) > self._limits.max_element_value_bytes:
            raise LimitExceeded("max_element_value_bytes", self._limits.max_element_value_bytes)
        self._set_kept(self._kept + len(part))
        capture += part

    def _keep_capture(self) -> None:
        assert self._capture is not None
        self.elements[self._capture_tag] = RawElement(self._capture_vr, bytes(self._capture))
        self._capture = None

    def _set_kept(self, kept: int) -> None:
        self._kept = kept
        if kept > self._limits.max_kept_bytes:
            raise LimitExceeded("max_kept_bytes", self._limits.max_kept_bytes)
