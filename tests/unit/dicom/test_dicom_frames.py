"""Where frames lie: of well-formed pixel data, and of pixel data that lies about itself."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from harness.ingesting import element
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH
from strongroom.dicom.frames import (
    FragmentFrames,
    NativeFrame,
    PixelData,
    Span,
    aligned,
    native_frame,
    pixel_data_of,
)
from strongroom.dicom.outline import outline_to_pixels
from strongroom.errors import LimitExceeded, MalformedDataset, NotFound

JPEG, RLE = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"], TRANSFER_SYNTAXES["1.2.840.10008.1.2.5"]
SOI = b"\xff\xd8\xff\xe0"


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def us(tag: int, value: int) -> bytes:
    return element(tag, "US", struct.pack("<H", value))


def ov(tag: int, values: Sequence[int]) -> bytes:
    raw = struct.pack(f"<{len(values)}Q", *values)
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"OV", 0, len(raw)) + raw


@dataclass
class Image:
    """Pixel data in a data set, and what was read of it."""

    fragments: Sequence[bytes] = ()
    frames: int = 1
    table: bytes = b""
    extended: tuple[Sequence[int], Sequence[int]] | None = None
    syntax: object = JPEG
    end: bytes = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    max_fragments: int = 1000
    reads: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        head = element(0x00280008, "IS", str(self.frames))
        if self.extended:
            head += ov(0x7FE00001, self.extended[0]) + ov(0x7FE00002, self.extended[1])
        head += struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED_LENGTH)
        self.raw = head + item(self.table) + b"".join(map(item, self.fragments)) + self.end
        elements = outline_to_pixels(self.read, len(self.raw), self.syntax)  # type: ignore[arg-type]
        self.pixels = pixel_data_of(elements, self.syntax)  # type: ignore[arg-type]
        self.located = FragmentFrames.of(self.pixels, self.syntax, len(self.raw), self.max_fragments)  # type: ignore[arg-type]
        self.reads.clear()

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        self.reads.append((offset, length))
        return self.raw[offset : offset + length]

    def frame(self, number: int) -> bytes:
        return b"".join(self.raw[at : at + length] for at, length in self.located.locate(self.read, number))

    def all(self) -> list[bytes]:
        return [self.frame(number) for number in range(1, self.frames + 1)]


def basic_table(fragments: Sequence[bytes], firsts: Sequence[int]) -> bytes:
    offsets = [sum(8 + len(each) for each in fragments[:first]) for first in firsts]
    return struct.pack(f"<{len(offsets)}L", *offsets)


THREE = [SOI + bytes([number]) * (2 * number) for number in (10, 20, 30)]
SPLIT = [SOI + b"aa", b"bbbb", SOI + b"cc", SOI + b"dd", b"ee"]
FRAMES_OF_SPLIT = [SOI + b"aabbbb", SOI + b"cc", SOI + b"ddee"]


@pytest.mark.parametrize("syntax", [JPEG, RLE])
@pytest.mark.parametrize("table", [b"", basic_table(THREE, (0, 1, 2))])
def test_one_fragment_a_frame(syntax: object, table: bytes) -> None:
    assert Image(THREE, 3, table, syntax=syntax).all() == THREE


@pytest.mark.parametrize("table", [b"", basic_table(SPLIT, (0, 2, 3))])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 1)])
def test_several_fragments_a_frame_in_any_order(table: bytes, order: Sequence[int]) -> None:
    image = Image(SPLIT, 3, table)
    assert [image.frame(number) for number in order] == [FRAMES_OF_SPLIT[number - 1] for number in order]


def test_a_single_frame_is_all_of_its_fragments() -> None:
    assert Image([b"ab", b"cd", b"ef"], 1).all() == [b"abcdef"]
    assert Image([b"ab", b"cd"], 1, basic_table([b"ab"], (0,))).all() == [b"abcd"]


def test_streams_that_begin_in_no_known_way_are_one_fragment_a_frame() -> None:
    assert Image([b"1234", b"5678"], 2).all() == [b"1234", b"5678"]
    with pytest.raises(MalformedDataset):
        Image([b"1234", b"5678", b"90"], 2).all()


def test_the_extended_table_gives_exact_lengths_and_reads_nothing_else() -> None:
    fragments = [SOI + b"abcd", SOI + b"e\0"]
    image = Image(fragments, 2, extended=((0, 16), (8, 5)))
    assert image.frame(2) == SOI + b"e"
    assert sum(length for _, length in image.reads) < 64
    assert image.frame(1) == SOI + b"abcd"


@pytest.mark.parametrize(
    "extended",
    [
        ((0, 2**63), (8, 6)),  # far outside
        ((0, 2**64 - 8), (8, 6)),  # negative, for who reads it so
        ((0, 17), (8, 6)),  # within a fragment
        ((0, 16), (8, 2**40)),  # longer than the fragment
        ((0, 16), (8, 1)),  # shorter by more than the padding
        ((0,), (8,)),  # fewer than there are frames
        ((0, 16), (8,)),
    ],
)
def test_an_extended_table_that_is_not_borne_out_is_left_alone(extended: tuple[Sequence[int], Sequence[int]]) -> None:
    fragments = [SOI + b"abcd", SOI + b"ef"]
    assert Image(fragments, 2, extended=extended).frame(2) == SOI + b"ef"


@pytest.mark.parametrize(
    "table",
    [
        struct.pack("<3L", 0, 0, 0),
        struct.pack("<3L", 0, 32, 16),
        struct.pack("<3L", 0, 5, 9),
        struct.pack("<3L", 0, 16, 0xFFFFFFF0),
        struct.pack("<3L", 8, 16, 24),
        struct.pack("<2L", 0, 16),
        struct.pack("<5L", 0, 16, 32, 48, 64),
        b"\0\0\0",
    ],
)
def test_a_basic_table_that_is_not_borne_out_is_left_alone(table: bytes) -> None:
    image = Image(SPLIT, 3, table)
    assert image.all() == FRAMES_OF_SPLIT


def test_frames_that_are_not_there() -> None:
    for number in (0, -1, 4, 2**31):
        with pytest.raises(NotFound):
            Image(THREE, 3).frame(number)
    with pytest.raises(NotFound):
        pixel_data_of([], EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    "image",
    [
        Image(THREE[:2], 3),
        Image(THREE, 3, end=b""),
        Image(THREE, 3, end=struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)),
        Image(THREE, 3, end=struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFF0)),
        Image(THREE, 3, end=struct.pack("<HHL", 0x0008, 0x0060, 4)),
    ],
)
def test_fragments_that_do_not_hold_together(image: Image) -> None:
    with pytest.raises(MalformedDataset):
        image.frame(3)


def test_more_fragments_than_may_be_walked_are_over_a_limit() -> None:
    with pytest.raises(LimitExceeded, match="max_pixel_fragments"):
        Image([b""] * 2000, 2).frame(1)


def test_a_frame_near_the_beginning_is_found_without_a_walk_to_the_end() -> None:
    image = Image([SOI + bytes(1000)] * 500, 500)
    image.frame(2)
    assert len(image.reads) < 8
    assert image.located.held_bytes < 1000
    image.frame(500)
    image.reads.clear()
    image.frame(250)
    assert not image.reads, "what was walked once is remembered"


def test_video_is_all_fragments_in_a_row() -> None:
    image = Image([b"ab", b"cd", b"ef"], 1000, basic_table([b"ab"], (0,)))
    assert image.located.all_fragments(image.read) == tuple(
        Span(image.raw.index(each), 2) for each in (b"ab", b"cd", b"ef")
    )


# -- native pixel data


def native(
    length: int, *, frames: int = 1, bits: int = 8, side: int = 4, samples: int = 1, kind: str = "MONO"
) -> PixelData:
    raw = us(0x00280002, samples) + element(0x00280004, "CS", kind) + element(0x00280008, "IS", str(frames))
    raw += us(0x00280010, side) + us(0x00280011, side) + us(0x00280100, bits) + element(PIXEL_DATA, "OW", bytes(length))
    elements = outline_to_pixels(lambda at, size: raw[at : at + size], len(raw), EXPLICIT_VR_LITTLE_ENDIAN)
    return pixel_data_of(elements, EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    ("pixels", "frame_bytes"),
    [
        (native(48, frames=3), 16),
        (native(96, frames=3, bits=16), 32),
        (native(144, frames=3, samples=3, kind="RGB"), 48),
        (native(96, frames=3, samples=3, kind="YBR_FULL_422"), 32),
        (native(72, frames=3, samples=3, kind="YBR_PARTIAL_420"), 24),
        (native(192, frames=3, bits=32), 64),
    ],
)
def test_native_frames_follow_each_other(pixels: PixelData, frame_bytes: int) -> None:
    start = pixels.value.offset
    for number in (1, 2, 3):
        wanted = NativeFrame(Span(start + (number - 1) * frame_bytes, frame_bytes), 8 * frame_bytes, 0)
        assert native_frame(pixels, number) == wanted
    for number in (0, 4):
        with pytest.raises(NotFound):
            native_frame(pixels, number)


def test_frames_of_single_bits_begin_within_bytes() -> None:
    pixels = native(4, frames=3, bits=1, side=3)  # nine bits each
    bits = [*map(int, "100000001010000010111000111")]
    raw = sum(bit << place for place, bit in enumerate(bits)).to_bytes(4, "little")
    start = pixels.value.offset
    for number in (1, 2, 3):
        frame = native_frame(pixels, number)
        found = aligned(raw[frame.span.offset - start :][: frame.span.length], frame.bits, frame.shift)
        wanted = bits[9 * (number - 1) : 9 * number]
        assert [found[place // 8] >> place % 8 & 1 for place in range(16)] == wanted + [0] * 7


def test_pixel_data_that_is_too_short_lacks_its_last_frames() -> None:
    pixels = native(40, frames=3)
    assert native_frame(pixels, 2).span.length == 16
    with pytest.raises(NotFound):
        native_frame(pixels, 3)


def test_a_single_frame_of_another_length_is_what_is_there() -> None:
    assert native_frame(native(10), 1).span.length == 10
    assert native_frame(native(20), 1).span.length == 16


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "99999999999", "1.5", "\u0663"])
def test_a_number_of_frames_that_is_none_is_one(text: str) -> None:
    raw = element(0x00280008, "IS", text) + element(PIXEL_DATA, "OW", bytes(2))
    elements = outline_to_pixels(lambda at, size: raw[at : at + size], len(raw), EXPLICIT_VR_LITTLE_ENDIAN)
    assert pixel_data_of(elements, EXPLICIT_VR_LITTLE_ENDIAN).frames == 1


@pytest.mark.parametrize(
    ("uid", "beginning"),
    [
        ("1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf7"),
        ("1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51"),
        ("1.2.840.10008.1.2.4.201", b"\xff\x4f\xff\x51"),
        ("1.2.840.10008.1.2.4.91", b"\0\0\0\x0cjP  "),
        ("1.2.840.10008.1.2.4.110", b"\xff\x0a"),
    ],
)
def test_each_family_of_codecs_begins_in_its_own_way(uid: str, beginning: bytes) -> None:
    others = [SOI if beginning[:2] != b"\xff\xd8" else b"\xff\x4f\xff\x51"]
    fragments = [beginning, *others, beginning + b"2", *others]
    image = Image(fragments, 2, syntax=TRANSFER_SYNTAXES[uid])
    assert image.all() == [b"".join(fragments[:2]), b"".join(fragments[2:])]
