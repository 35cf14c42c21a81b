"""Where the frames of pixel data lie: in native pixel data by arithmetic, in fragments by offset tables or by a walk.

DICOM PS3.5 8.1, 8.2 and A.4. Nothing is believed that the bytes do not bear out: an offset table is used only as far as
it leads to items, and a frame is never taken from outside of the pixel data.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import lt
from struct import Struct
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import ITEM, PIXEL_DATA, SEQUENCE_DELIMITER, UNDEFINED_LENGTH, coding_of
from strongroom.dicom.outline import PIXEL_TAGS, Bulk, Outlined
from strongroom.dicom.stream import Read
from strongroom.dicom.tree import Element
from strongroom.errors import LimitExceeded, MalformedDataset, NotFound

MAX_FRAMES: Final = (1 << 31) - 1
"""What VR IS has room for."""
MAX_FRAGMENTS_OF_FRAME: Final = 65_536
"""Of one frame that an offset table tells; with more, its fragments are walked from the first on."""

_SAMPLES_PER_PIXEL: Final = 0x00280002
_PHOTOMETRIC: Final = 0x00280004
_NUMBER_OF_FRAMES: Final = 0x00280008
_ROWS: Final = 0x00280010
_COLUMNS: Final = 0x00280011
_BITS_ALLOCATED: Final = 0x00280100
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002

_ITEM_HEADER_BYTES: Final = 8
_MARKER_BYTES: Final = 4
_ITEM: Final = Struct("<HHL")
_OFFSET: Final = Struct("<L")
_EXTENDED: Final = Struct("<Q")
# Chroma is shared by neighbouring pixels: how many samples one has on the average, in halves (PS3.3 C.7.6.3.1.2).
_HALF_SAMPLES: Final[Mapping[str, int]] = {"YBR_FULL_422": 4, "YBR_PARTIAL_422": 4, "YBR_PARTIAL_420": 3}
_RLE: Final = "1.2.840.10008.1.2.5"
_BOXES: Final = b"\0\0\0\x0c"
_BEGINNINGS: Final = (
    (range(50, 82), (b"\xff\xd8\xff",)),
    (range(90, 94), (b"\xff\x4f\xff\x51", _BOXES)),
    (range(110, 113), (b"\xff\x0a", _BOXES)),
    (range(201, 204), (b"\xff\x4f\xff\x51", _BOXES)),
)
"""How code streams begin, by the last number of the transfer syntaxes 1.2.840.10008.1.2.4.n: JPEG and JPEG-LS,
JPEG 2000, JPEG XL, HTJ2K."""


def _beginnings(uid: str) -> tuple[bytes, ...]:
    family, _, number = uid.rpartition(".")
    if family != "1.2.840.10008.1.2.4":
        return ()
    return next((beginnings for numbers, beginnings in _BEGINNINGS if int(number) in numbers), ())


class Span(NamedTuple):
    """Some bytes of the data set."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PixelData:
    """The pixel data of an instance and what describes it."""

    value: Bulk
    frames: int
    frame_bits: int
    """Of one frame of native pixel data; 0 if its attributes do not say."""
    bits_allocated: int
    extended_offsets: Span | bytes = b""
    extended_lengths: Span | bytes = b""

    @property
    def is_encapsulated(self) -> bool:
        """Whether it is in fragments."""
        return self.value.length == UNDEFINED_LENGTH


def pixel_data_of(elements: Sequence[Outlined], transfer_syntax: TransferSyntax) -> PixelData:
    """Return the pixel data among the elements of a data set. Raises NotFound if it has none."""
    found = {element.tag: element for element in reversed(elements)}
    value = next((found[tag] for tag in sorted(PIXEL_TAGS, reverse=True) if tag in found), None)
    if not isinstance(value, Bulk):
        raise NotFound("the instance has no pixel data")
    order = "little" if transfer_syntax.little_endian else "big"

    def number(tag: int) -> int:
        element = found.get(tag)
        raw = element.value[:2] if isinstance(element, Element) else b""
        return int.from_bytes(raw, "little" if order == "little" else "big")

    photometric = _text(found.get(_PHOTOMETRIC))
    samples = number(_SAMPLES_PER_PIXEL) or 1
    half_samples = _HALF_SAMPLES.get(photometric, 2 * samples) if samples == 3 else 2 * samples
    bits_allocated = number(_BITS_ALLOCATED)
    return PixelData(
        value,
        _number_of_frames(found.get(_NUMBER_OF_FRAMES)),
        number(_ROWS) * number(_COLUMNS) * half_samples * bits_allocated // 2,
        bits_allocated,
        _table(found.get(_EXTENDED_OFFSETS)),
        _table(found.get(_EXTENDED_LENGTHS)),
    )


def _text(element: Outlined | None) -> str:
    return element.value.decode("ascii", "replace").strip(" \0") if isinstance(element, Element) else ""


def _number_of_frames(element: Outlined | None) -> int:
    """Return Number of Frames, 1 if it is absent or no number: it is required only where there may be several."""
    text = _text(element)
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) <= 10 else 1


def _table(element: Outlined | None) -> Span | bytes:
    if isinstance(element, Bulk) and element.length != UNDEFINED_LENGTH:
        return Span(element.offset, element.length)
    return element.value if isinstance(element, Element) else b""


class NativeFrame(NamedTuple):
    """One frame of native pixel data: its bytes, and by how many bits it begins within the first of them."""

    span: Span
    bits: int
    shift: int


def native_frame(pixels: PixelData, number: int) -> NativeFrame:
    """Return where frame ``number`` (from 1) of native pixel data lies; the bits of frames follow without a gap.

    Raises NotFound if there is no such frame, or the pixel data ends before it does.
    """
    value = pixels.value
    bits = pixels.frame_bits
    if pixels.frames == 1 and number == 1 and (not bits or bits > 8 * value.length):
        return NativeFrame(Span(value.offset, value.length), 8 * value.length, 0)  # all there is
    first_bit = (number - 1) * bits
    if not 1 <= number <= pixels.frames or not bits or first_bit + bits > 8 * value.length:
        raise NotFound("no such frame")
    start, shift = divmod(first_bit, 8)
    return NativeFrame(Span(value.offset + start, (shift + bits + 7) // 8), bits, shift)


def aligned(raw: bytes, bits: int, shift: int) -> bytes:
    """Return ``bits`` bits of ``raw`` from bit ``shift`` on, the first one in the lowest bit, unused ones 0."""
    if not shift and bits == 8 * len(raw):
        return raw
    number = int.from_bytes(raw, "little") >> shift & ((1 << bits) - 1)
    return number.to_bytes((bits + 7) // 8, "little")


Frame = tuple[Span, ...]
"""The fragments of one frame, item headers not included, in their order."""


class Marks:
    """Where each frame found so far begins and ends, as fragments: 16 bytes each. Grows as the walk goes on."""

    __slots__ = ("firsts", "lengths", "offsets")

    def __init__(self) -> None:
        self.offsets, self.lengths = array("Q"), array("L")
        self.firsts = array("L")
        """By frame: the number of its first fragment."""

    @property
    def held_bytes(self) -> int:
        """Memory that they take."""
        return sum(len(each) * each.itemsize for each in (self.offsets, self.lengths, self.firsts))


@dataclass(slots=True)
class FragmentFrames:
    """The frames of one encapsulated pixel data. Not thread-safe; ``read`` is handed in each time, so it may be kept.

    A frame is found by the Extended Offset Table, by the Basic Offset Table, or by walking the fragments up to where
    the next frame begins; what was walked is remembered, ``max_fragments`` of it at most.
    """

    pixels: PixelData
    is_rle: bool
    beginnings: tuple[bytes, ...]
    """With which of these the first fragment of a frame begins."""
    end: int
    """Where the data set ends, in bytes."""
    max_fragments: int = 1 << 20
    _first_item: int = -1
    _table_entries: int = 0
    _table_at: int = 0
    _offsets: array[int] | None = None
    _marks: Marks = field(default_factory=Marks)
    _walked_to: int = -1
    _is_walked: bool = False

    @classmethod
    def of(cls, pixels: PixelData, transfer_syntax: TransferSyntax, end: int, max_fragments: int) -> FragmentFrames:
        """Prepare to find the frames of ``pixels``; nothing is read yet."""
        assert coding_of(transfer_syntax).explicit
        uid = transfer_syntax.uid
        return cls(pixels, uid == _RLE, _beginnings(uid), end, max_fragments)

    @property
    def held_bytes(self) -> int:
        """Memory that what was walked takes."""
        return self._marks.held_bytes + 8 * len(self._offsets or ())

    def locate(self, read: Read, number: int) -> Frame:
        """Return the fragments of frame ``number`` (from 1).

        Raises NotFound if there is no such frame, MalformedDataset if the fragments do not hold together, LimitExceeded
        for ``max_pixel_fragments``.
        """
        if not 1 <= number <= self.pixels.frames:
            raise NotFound("no such frame")
        if self._first_item < 0:
            self._begin(read)
        if self.pixels.frames > 1:
            by_table = self._by_extended_table(read, number) or self._by_basic_table(read, number)
            if by_table:
                return by_table
        return self._by_walk(read, number)

    def all_fragments(self, read: Read) -> Frame:
        """Return every fragment, the offset table left out: the stream of a video. Raises as ``locate`` does."""
        if self._first_item < 0:
            self._begin(read)
        self._walk(read, None)
        return tuple(map(Span, self._marks.offsets, self._marks.lengths))

    def _begin(self, read: Read) -> None:
        """Read the header of the Basic Offset Table, the first item, which may be empty (PS3.5 A.4)."""
        offset = self.pixels.value.offset
        item = self._item(read, offset)
        if item is None:
            raise MalformedDataset("pixel data without an offset table", tag=PIXEL_DATA, offset=offset)
        self._table_at, length, _ = item
        self._table_entries = length // _OFFSET.size
        self._first_item = self._walked_to = self._table_at + length

    def _item(self, read: Read, offset: int) -> tuple[int, int, bytes] | None:
        """Return where the value of the item at ``offset`` lies, its length and first bytes; None for the delimiter."""
        raw = read(offset, _ITEM_HEADER_BYTES + _MARKER_BYTES) if 0 <= offset < self.end else b""
        if len(raw) < _ITEM_HEADER_BYTES:
            raise MalformedDataset("pixel data fragments are not closed", tag=PIXEL_DATA, offset=offset)
        group, element, length = _ITEM.unpack_from(raw)
        tag = group << 16 | element
        if tag == SEQUENCE_DELIMITER:
            return None
        start = offset + _ITEM_HEADER_BYTES
        if tag != ITEM or length == UNDEFINED_LENGTH or length > self.end - start:
            raise MalformedDataset("neither a fragment nor the expected delimiter", tag=tag, offset=offset)
        return start, length, raw[_ITEM_HEADER_BYTES : _ITEM_HEADER_BYTES + length]

    def _is_item(self, read: Read, offset: int) -> tuple[int, int, bytes] | None:
        """Return the item at ``offset`` if there is one: what a table says is a claim."""
        try:
            return self._item(read, offset)
        except MalformedDataset:
            return None

    def _by_extended_table(self, read: Read, number: int) -> Frame | None:
        """One frame is one fragment here, whose exact length is given (PS3.3 C.7.6.3.1.8)."""
        entry = _entry(read, self.pixels.extended_offsets, number, _EXTENDED, self.pixels.frames)
        exact = _entry(read, self.pixels.extended_lengths, number, _EXTENDED, self.pixels.frames)
        if entry is None or exact is None:
            return None
        item = self._is_item(read, self._first_item + entry)
        if item is None or not item[1] - 1 <= exact <= item[1]:
            return None
        return (Span(item[0], exact),)

    def _by_basic_table(self, read: Read, number: int) -> Frame | None:
        """From one frame's offset to the next one's, item by item."""
        offsets = self._basic_table(read)
        if not offsets:
            return None
        offset = self._first_item + offsets[number - 1]
        stop = self._first_item + offsets[number] if number < len(offsets) else None
        spans: list[Span] = []
        while offset != stop:
            item = self._is_item(read, offset)
            if item is None or len(spans) == MAX_FRAGMENTS_OF_FRAME:
                break
            spans.append(Span(item[0], item[1]))
            offset = item[0] + item[1]
        is_whole = offset == stop if stop is not None else bool(spans) and self._is_end(read, offset)
        return tuple(spans) if is_whole else None

    def _basic_table(self, read: Read) -> array[int]:
        """The offsets of the Basic Offset Table, none if they are not one for each frame and ascending.

        Those of pixel data beyond 4 GiB wrap, and do not ascend.
        """
        if self._offsets is None:
            self._offsets = array("L")
            if self._table_entries == self.pixels.frames <= self.max_fragments:
                raw = read(self._table_at, self._table_entries * _OFFSET.size)
                offsets = [offset for (offset,) in _OFFSET.iter_unpack(raw)]
                if all(map(lt, offsets, islice(offsets, 1, None))):
                    self._offsets.extend(offsets)
        return self._offsets

    def _is_end(self, read: Read, offset: int) -> bool:
        try:
            return self._item(read, offset) is None
        except MalformedDataset:
            return False

    def _by_walk(self, read: Read, number: int) -> Frame:
        frames, marks = self.pixels.frames, self._marks
        if frames == 1:
            self._walk(read, None)
            return tuple(map(Span, marks.offsets, marks.lengths))
        self._walk(read, number)
        if self._is_walked and len(marks.firsts) != frames:
            if len(marks.offsets) != frames:
                raise MalformedDataset("the fragments do not tell where frames begin", tag=PIXEL_DATA)
            return (Span(marks.offsets[number - 1], marks.lengths[number - 1]),)
        first = marks.firsts[number - 1]
        last = marks.firsts[number] if number < len(marks.firsts) else len(marks.offsets)
        return tuple(map(Span, marks.offsets[first:last], marks.lengths[first:last]))

    def _walk(self, read: Read, number: int | None) -> None:
        """Walk on until the frame after ``number`` begins, or to the end."""
        marks, rle = self._marks, self.is_rle
        while not self._is_walked and (number is None or len(marks.firsts) <= number):
            item = self._item(read, self._walked_to)
            if item is None:
                self._is_walked = True
                return
            if len(marks.offsets) == self.max_fragments:
                raise LimitExceeded("max_pixel_fragments", self.max_fragments)
            start, length, marker = item
            if rle or marker.startswith(self.beginnings):  # a frame of RLE is one fragment (PS3.5 A.4.2)
                marks.firsts.append(len(marks.offsets))
            marks.offsets.append(start)
            marks.lengths.append(length)
            self._walked_to = start + length


def _entry(read: Read, table: Span | bytes, number: int, layout: Struct, frames: int) -> int | None:
    """Return entry ``number`` (from 1) of an offset table, None if the table does not have one for each frame."""
    at = (number - 1) * layout.size
    if isinstance(table, bytes):
        raw = table[at : at + layout.size] if len(table) >= frames * layout.size else b""
    else:
        raw = read(table.offset + at, layout.size) if table.length >= frames * layout.size else b""
    return int(layout.unpack(raw)[0]) if len(raw) == layout.size else None
