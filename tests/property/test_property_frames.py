"""Frames are found by tables and by walking alike, and whatever pixel data claims nothing outside of it is read."""

from __future__ import annotations

import struct
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dicom.elements import UNDEFINED_LENGTH, coding_of
from strongroom.dicom.frames import FragmentFrames, PixelData, aligned, native_frame
from strongroom.dicom.outline import Bulk, OutlineLimits, bulk_values, outline
from strongroom.errors import LimitExceeded, MalformedDataset, NotFound

JPEG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]
SOI = b"\xff\xd8\xff\xe0"
LEAD = b"\x08\0\x60\0CS\x02\0CT"
CODING = coding_of(EXPLICIT_VR_LITTLE_ENDIAN)


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def located(raw: bytes, frames: int, offsets: bytes = b"", lengths: bytes = b"") -> FragmentFrames:
    value = Bulk(0x7FE00010, b"OB", len(LEAD), UNDEFINED_LENGTH, "7FE00010", CODING)
    return FragmentFrames.of(PixelData(value, frames, 0, 8, offsets, lengths), JPEG, len(raw), 1000)


FRAMES = st.lists(
    st.lists(st.binary(max_size=6).map(lambda raw: raw + b"\0" * (len(raw) % 2)), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)


@given(FRAMES, st.sampled_from(["none", "basic"]), st.data())
def test_frames_are_what_was_put_in_by_table_and_by_walk_in_any_order(
    frames: list[list[bytes]], table: str, data: st.DataObject
) -> None:
    # A fragment within a frame that begins as a frame does cannot be told from one, and no encoder makes it.
    frames = [[part for part in parts if not part.startswith(SOI[:3])] or [b""] for parts in frames]
    whole = [[SOI + parts[0], *parts[1:]] for parts in frames]
    sizes = [sum(8 + len(part) for part in parts) for parts in whole]
    starts = [0, *accumulate(sizes)][:-1]
    offsets = struct.pack(f"<{len(starts)}L", *starts) if table == "basic" else b""
    body = b"".join(item(part) for parts in whole for part in parts)
    raw = LEAD + item(offsets) + body + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + b"behind"
    found = located(raw, len(whole))
    for number in data.draw(st.permutations(range(1, len(whole) + 1))):
        spans = found.locate(lambda at, size: raw[at : at + size], number)
        assert b"".join(raw[at : at + size] for at, size in spans) == b"".join(whole[number - 1])


@given(
    st.binary(max_size=300),
    st.integers(1, 2**31 - 1),
    st.binary(max_size=64),
    st.binary(max_size=64),
    st.integers(-5, 2**33),
)
def test_nothing_outside_the_pixel_data_is_ever_read(
    body: bytes, frames: int, offsets: bytes, lengths: bytes, number: int
) -> None:
    raw = LEAD + body

    def read(offset: int, length: int) -> bytes:
        assert offset >= len(LEAD)
        assert length >= 0
        return raw[offset : offset + length]

    try:
        spans = located(raw, frames, offsets, lengths).locate(read, number)
    except (NotFound, MalformedDataset, LimitExceeded):
        return
    assert all(len(LEAD) <= at and at + size <= len(raw) for at, size in spans)


@given(st.integers(1, 5), st.integers(1, 70), st.binary(min_size=1, max_size=60))
def test_frames_of_bits_are_the_bits_in_their_order(frames: int, bits: int, raw: bytes) -> None:
    value = Bulk(0x7FE00010, b"OB", 0, len(raw), "7FE00010", CODING)
    pixels = PixelData(value, frames, bits, 1)
    stream = "".join(f"{byte:08b}"[::-1] for byte in raw)
    for number in range(1, frames + 1):
        wanted = stream[(number - 1) * bits : number * bits]
        try:
            frame = native_frame(pixels, number)
        except NotFound:
            assert len(wanted) < bits
            continue
        if frame.bits != bits:
            assert frames == 1  # a single frame that is shorter is all there is
            continue
        found = aligned(raw[frame.span.offset :][: frame.span.length], frame.bits, frame.shift)
        assert "".join(f"{byte:08b}"[::-1] for byte in found)[:bits] == wanted
        assert len(found) == (bits + 7) // 8


@given(st.binary(max_size=400))
def test_outlines_of_anything_lie_within_it(raw: bytes) -> None:
    limits = OutlineLimits(max_inline_bytes=4, max_inline_value_bytes=8, least_bulk_bytes=2)
    try:
        found = outline(lambda at, size: raw[at : at + size], len(raw), EXPLICIT_VR_LITTLE_ENDIAN, limits)
    except (MalformedDataset, LimitExceeded):
        return
    for value in bulk_values(found):
        assert value.offset <= len(raw)
        assert value.length == UNDEFINED_LENGTH or value.offset + value.length <= len(raw)
