"""One stored object as a worker sees it: what its header says of the image, and where its frames are (PS3.3 C.7.6.3).

Everything comes through a ``Read`` of the plain data set. Nothing is believed: sizes are computed from the header and
held against the caps and against what is there before any memory is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH, HeaderScan, RawElement, ScanLimits, coding_of
from strongroom.dicom.frames import FragmentFrames, PixelData, native_frame
from strongroom.dicom.outline import Bulk
from strongroom.dicom.stream import Read
from strongroom.dicom.text import decode, parse_charsets
from strongroom.dicom.tree import Element, parse_items
from strongroom.errors import LimitExceeded, MalformedDataset, NotFound, NotRepresentable
from strongroom.pixels.wire import CHUNK_BYTES, PixelLimits

CHARACTER_SET: Final = 0x00080005
SAMPLES: Final = 0x00280002
PHOTOMETRIC: Final = 0x00280004
PLANAR: Final = 0x00280006
FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
REPRESENTATION: Final = 0x00280103
PADDING_VALUE: Final = 0x00280120
PADDING_LIMIT: Final = 0x00280121
WINDOW_CENTER: Final = 0x00281050
WINDOW_WIDTH: Final = 0x00281051
RESCALE_INTERCEPT: Final = 0x00281052
RESCALE_SLOPE: Final = 0x00281053
VOI_FUNCTION: Final = 0x00281056
PALETTE_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
PALETTE_DATA: Final = (0x00281201, 0x00281202, 0x00281203)
SEGMENTED_PALETTE_DATA: Final = (0x00281221, 0x00281222, 0x00281223)
ICC_PROFILE: Final = 0x00282000
LOSSY: Final = 0x00282110
LOSSY_RATIO: Final = 0x00282112
LOSSY_METHOD: Final = 0x00282114
MODALITY_LUT_SEQUENCE: Final = 0x00283000
LUT_DESCRIPTOR: Final = 0x00283002
LUT_DATA: Final = 0x00283006
VOI_LUT_SEQUENCE: Final = 0x00283010
REPRESENTATIVE_FRAME: Final = 0x00286010
PRESENTATION_LUT_SHAPE: Final = 0x20500020
SHARED_GROUPS: Final = 0x52009229
PER_FRAME_GROUPS: Final = 0x52009230
FRAME_TIME_MS: Final = 0x00181063
CINE_RATE: Final = 0x00180040
DISPLAY_RATE: Final = 0x00082144
OFFSET_TABLES: Final = (0x7FE00001, 0x7FE00002)

ANNOTATED: Final = {
    "name": 0x00100010, "id": 0x00100020, "birth": 0x00100030, "sex": 0x00100040, "study_date": 0x00080020,
    "study_time": 0x00080030, "modality": 0x00080060, "series": 0x0008103E, "series_number": 0x00200011,
    "number": 0x00200013, "thickness": 0x00180050, "kvp": 0x00180060, "current": 0x00181151, "position": 0x00200032,
}  # fmt: skip

WANTED: Final = frozenset(
    {
        CHARACTER_SET, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, HIGH_BIT,
        REPRESENTATION, PADDING_VALUE, PADDING_LIMIT, WINDOW_CENTER, WINDOW_WIDTH, RESCALE_INTERCEPT, RESCALE_SLOPE,
        VOI_FUNCTION, *PALETTE_DESCRIPTORS, *PALETTE_DATA, *SEGMENTED_PALETTE_DATA, ICC_PROFILE, LOSSY, LOSSY_RATIO,
        LOSSY_METHOD, MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE, REPRESENTATIVE_FRAME, PRESENTATION_LUT_SHAPE,
        SHARED_GROUPS, PER_FRAME_GROUPS, FRAME_TIME_MS, CINE_RATE, DISPLAY_RATE, *OFFSET_TABLES,
        *ANNOTATED.values(),
    }
)  # fmt: skip

_BYTES_PER_CPU_S: Final = 2_000_000
"""Of decoded pixels: what the slowest codec does on a slow machine."""
_ALLOCATED: Final = (1, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Form:
    """How one frame's samples are laid out (PS3.5 8.1 and 8.2)."""

    rows: int
    columns: int
    samples: int
    photometric: str
    is_planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    @property
    def native_bits(self) -> int:
        """Bits of one native frame; YBR_FULL_422 has two samples a pixel on average (PS3.3 C.7.6.3.1.2)."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one frame as an array."""
        return self.rows * self.columns * self.samples * max(8, self.bits_allocated) // 8


class StoredImage:
    """The image in one object. Raises what its reading raises: MalformedDataset, LimitExceeded, NotRepresentable."""

    def __init__(self, read: Read, size: int, uid: str, limits: PixelLimits) -> None:
        self.syntax = TRANSFER_SYNTAXES[uid]
        self.size = size
        self._read_raw = read
        self._limits = limits
        scan_limits = ScanLimits(
            max_element_value_bytes=limits.max_header_bytes, max_kept_bytes=limits.max_header_bytes
        )
        scan = HeaderScan(self.syntax, WANTED, scan_limits)
        offset = 0
        while offset < size and scan.pixel_data_offset is None:
            chunk = read(offset, min(65_536, size - offset))
            if not chunk:
                break
            scan.feed(chunk)
            offset += len(chunk)
        self.elements = scan.elements
        self._value_at = scan.pixel_data_offset
        self._value_length = scan.pixel_data_length or 0
        self._value_vr = scan.pixel_data_vr

    @property
    def has_pixels(self) -> bool:
        """Whether there is a Pixel Data element; Float Pixel Data is none."""
        return self._value_at is not None and self._value_vr in (b"OB", b"OW", b"UN")

    @property
    def is_encapsulated(self) -> bool:
        """Whether the frames are code streams."""
        return self._value_length == UNDEFINED_LENGTH

    @property
    def header_end(self) -> int:
        """Where the header of Pixel Data begins."""
        assert self._value_at is not None
        return self._value_at - (12 if self.syntax.explicit else 8)

    @cached_property
    def form(self) -> Form:
        """How the frames are laid out."""
        if not self.has_pixels:
            raise NotRepresentable("the object has no pixel data")
        form = Form(
            rows=self.number(ROWS),
            columns=self.number(COLUMNS),
            samples=self.number(SAMPLES, 1),
            photometric=self.text(PHOTOMETRIC) or "MONOCHROME2",
            is_planar=self.number(PLANAR, 0) == 1,
            bits_allocated=self.number(BITS_ALLOCATED),
            bits_stored=self.number(BITS_STORED, self.number(BITS_ALLOCATED)),
            high_bit=self.number(HIGH_BIT, self.number(BITS_STORED, self.number(BITS_ALLOCATED)) - 1),
            is_signed=self.number(REPRESENTATION, 0) == 1,
        )
        if not (form.rows and form.columns):
            raise MalformedDataset("an image of no rows or no columns")
        if form.bits_allocated not in _ALLOCATED or not 0 < form.bits_stored <= form.bits_allocated:
            raise NotRepresentable("pixels of a size that is not decoded")
        if not form.bits_stored - 1 <= form.high_bit < form.bits_allocated:
            raise MalformedDataset("High Bit does not fit Bits Stored")
        if form.samples not in (1, 3):
            raise NotRepresentable("neither one nor three samples per pixel")
        if form.decoded_bytes > self._limits.max_frame_bytes:
            raise LimitExceeded("max_frame_bytes", self._limits.max_frame_bytes, form.decoded_bytes)
        return form

    @cached_property
    def frame_count(self) -> int:
        """Number of Frames; 1 if it does not say."""
        text = self.text(FRAMES)
        if not text:
            return 1
        if not text.isdecimal() or not 0 < int(text) < 1 << 31:
            raise MalformedDataset("Number of Frames is no number of frames")
        return int(text)

    @cached_property
    def representative(self) -> int:
        """The frame that stands for all: the one that the object names, or the one in the middle."""
        named = self.number(REPRESENTATIVE_FRAME, 0)
        return named if 0 < named <= self.frame_count else (self.frame_count + 1) // 2

    @property
    def frame_cpu_s(self) -> int:
        """Processor time that one frame may take: by its size, so that a small one cannot ask for as much as a large.

        CharLS takes seconds for some broken code streams of a hundred bytes.
        """
        return min(self._limits.pixel_frame_cpu_s, 2 + self.form.decoded_bytes // _BYTES_PER_CPU_S)

    def number(self, tag: int, default: int | None = None) -> int:
        """The first value of an unsigned short. Raises MalformedDataset if there is none and no default."""
        element = self.elements.get(tag)
        if element is None or len(element.value) < 2:
            if default is None:
                raise MalformedDataset("an image without an attribute that every image has", tag=tag)
            return default
        return int.from_bytes(element.value[:2], self.byte_order)

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """Of numbers: "little" or "big"."""
        return "little" if self.syntax.little_endian else "big"

    def text(self, tag: int) -> str:
        """The value of an attribute in the default repertoire, "" if there is none."""
        element = self.elements.get(tag)
        return "" if element is None else element.value.decode("ascii", "replace").strip(" \0")

    def words(self, tag: int) -> str:
        """The value of an attribute in the object's character set."""
        element = self.elements.get(tag)
        if element is None:
            return ""
        charsets = parse_charsets(self.elements[CHARACTER_SET].value if CHARACTER_SET in self.elements else b"")
        return decode(element.value, charsets, element.vr).strip(" \0")

    def items(self, tag: int) -> Sequence[Sequence[Element]]:
        """The items of a sequence, none if it is not there."""
        element: RawElement | None = self.elements.get(tag)
        if element is None or element.vr != b"SQ":
            return ()
        return parse_items(element.value, coding_of(self.syntax))

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes of the data set, inflated if it is deflated. Raises MalformedDataset."""
        parts = []
        while length:
            part = self._read_raw(offset, min(length, CHUNK_BYTES))
            if not part:
                raise MalformedDataset("pixel data ends before its time", offset=offset)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def native_frame(self, number: int) -> tuple[bytes, int]:
        """The bytes that hold frame ``number``, from 1, and the bit of the first that it begins with."""
        try:
            frame = native_frame(self._pixels, number)
        except NotFound:
            raise MalformedDataset("pixel data is shorter than its frames") from None
        offset, length = frame.span
        if frame.bits != self.form.native_bits or offset + length > self.size:
            raise MalformedDataset("pixel data is shorter than its frames")
        if self.form.bits_allocated == 8 and not self.syntax.little_endian and self._value_vr == b"OW":
            # The words of OW are swapped, whatever they hold: what a frame begins and ends with may be half of one.
            lead = (offset - self._pixels.value.offset) & 1
            words = bytearray(self.read(offset - lead, lead + length + (lead + length & 1)))
            words[::2], words[1::2] = words[1::2], words[::2]
            return bytes(words[lead : lead + length]), 0
        return self.read(offset, length), frame.shift

    def encapsulated_frame(self, number: int) -> bytes:
        """The code stream of frame ``number``, from 1."""
        spans = self._fragments.locate(self._read_raw, number)
        total = sum(span.length for span in spans)
        if total > self._limits.max_frame_bytes:
            raise LimitExceeded("max_frame_bytes", self._limits.max_frame_bytes, total)
        return b"".join(self.read(span.offset, span.length) for span in spans)

    @cached_property
    def end_of_pixels(self) -> int:
        """Where the next element after Pixel Data begins."""
        if not self.is_encapsulated:
            return self._pixels.value.offset + self._value_length
        spans = self._fragments.all_fragments(self._read_raw)
        last = spans[-1].offset + spans[-1].length if spans else self._pixels.value.offset + 8
        return last + 8

    @cached_property
    def _pixels(self) -> PixelData:
        assert self._value_at is not None
        value = Bulk(PIXEL_DATA, self._value_vr, self._value_at, self._value_length, "7FE00010", coding_of(self.syntax))
        tables = [self.elements[tag].value if tag in self.elements else b"" for tag in OFFSET_TABLES]
        return PixelData(value, self.frame_count, self.form.native_bits, self.form.bits_allocated, *tables)

    @cached_property
    def _fragments(self) -> FragmentFrames:
        return FragmentFrames.of(self._pixels, self.syntax, self.size, self._limits.max_pixel_fragments)
