"""Frames without what no decoder reads: what is cut, what stays, and that pixels come out the same."""

from __future__ import annotations

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest

from harness import hidden
from strongroom.screen.stripping import (
    Stripped,
    codec_of,
    strip_jpeg,
    strip_jpeg_2000,
    strip_movie,
    strip_rle,
)

PLANE = hidden.ROWS * hidden.COLUMNS


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", 0xFF00 | marker, len(body) + 2) + body


def after_start(stream: bytes, *segments: bytes) -> bytes:
    return stream[:2] + b"".join(segments) + stream[2:]


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L4s", len(body) + 8, kind) + body


def stripped(found: Stripped | None) -> Stripped:
    assert found is not None
    return found


JPEG_LS = stripped(strip_jpeg(hidden.jpeg_ls())).data
"""Without the SPIFF header that its encoder writes, and DICOM has no use for."""


@pytest.mark.parametrize(
    ("strip", "frame"),
    [
        (strip_jpeg, JPEG_LS),
        (strip_jpeg_2000, stripped(strip_jpeg_2000(hidden.jpeg_2000())).data),
        (lambda raw: strip_rle(raw, PLANE), hidden.rle_frame()),
    ],
    ids=["JPEG-LS", "JPEG 2000", "RLE"],
)
def test_a_frame_with_nothing_beside_stays_as_it_is(strip: Callable[[bytes], Stripped | None], frame: bytes) -> None:
    assert strip(frame) == Stripped(frame, ())


def test_application_segments_and_comments_go_but_for_those_that_colours_depend_on() -> None:
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    frame = after_start(hidden.jpeg(), segment(0xE1, b"Exif\0\0"), adobe, segment(0xFE, b"word"), segment(0xED, b"\0"))
    found = stripped(strip_jpeg(frame + b"behind"))
    assert [cut.what for cut in found.cuts] == [
        "application segment APP1",
        "comment of the code stream",
        "application segment APP13",
        "bytes behind the code stream",
    ]
    assert adobe in found.data
    for cut in found.cuts:
        assert (frame + b"behind")[cut.start : cut.start + len(cut.data)] == cut.data
    assert np.array_equal(imagecodecs.jpeg8_decode(found.data), imagecodecs.jpeg8_decode(hidden.jpeg()))


def test_a_thumbnail_goes_and_its_header_stays() -> None:
    plain = hidden.jpeg()
    assert plain[2:4] == b"\xff\xe0"
    rest = plain[4 + int.from_bytes(plain[4:6], "big") :]
    with_thumbnail = plain[:2] + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\1MZMZMZ") + rest
    found = stripped(strip_jpeg(with_thumbnail))
    assert b"MZ" not in found.data[:30]
    assert found.data[2:4] == b"\xff\xe0"
    assert np.array_equal(imagecodecs.jpeg8_decode(found.data), imagecodecs.jpeg8_decode(plain))


def test_the_colour_transform_of_jpeg_ls_stays() -> None:
    frame = after_start(JPEG_LS, segment(0xE8, b"mrfx\1"))
    assert stripped(strip_jpeg(frame)) == Stripped(frame, ())


@pytest.mark.parametrize("end", range(0, len(hidden.jpeg()) - 1, 7))
def test_a_jpeg_that_ends_early_is_none(end: int) -> None:
    assert strip_jpeg(hidden.jpeg()[:end]) is None


def test_restart_markers_and_stuffed_bytes_do_not_end_a_scan() -> None:
    scan = segment(0xDA, bytes(6)) + b"\x12\xff\0\x34\xff\xd0\x56\xff\xff\xd7\x78"
    frame = b"\xff\xd8" + scan + b"\xff\xd9"
    assert stripped(strip_jpeg(frame + b"\0")) == Stripped(frame, ())


def test_boxes_that_are_not_for_decoding_go() -> None:
    boxes = hidden.jpeg_2000(boxes=True)
    at = boxes.index(b"jp2c") - 4
    found = stripped(strip_jpeg_2000(boxes[:at] + box(b"xml ", b"<a/>") + boxes[at:] + box(b"uuid", bytes(20))))
    assert {cut.what for cut in found.cuts} >= {"a box that is not for decoding"}
    assert b"xml " not in found.data
    assert b"uuid" not in found.data
    assert np.array_equal(imagecodecs.jpeg2k_decode(found.data), hidden.gradient())


def test_a_box_within_boxes_is_no_code_stream() -> None:
    boxes = hidden.jpeg_2000(boxes=True)
    at = boxes.index(b"jp2c") - 4
    assert strip_jpeg_2000(boxes[:at] + box(b"jp2c", boxes)) is None


def test_what_stands_between_rle_segments_goes() -> None:
    plane = hidden.rle_frame()[64:]
    first, second = 64, 64 + len(plane) + 6
    frame = struct.pack("<16L", 2, first, second, *[7] * 13) + plane + b"hidden" + plane + b"behind"
    found = stripped(strip_rle(frame, PLANE))
    assert [cut.data for cut in found.cuts[:2]] == [b"hidden", b"behind"]
    assert found.data == struct.pack("<16L", 2, 64, 64 + len(plane), *[0] * 13) + plane + plane


@pytest.mark.parametrize(
    "offsets", [(1, 60), (16, *range(64, 124, 4)), (2, 64, 64), (1, 0), (2, 4000, 64), (1, 64, 9)], ids=str
)
def test_an_rle_header_that_leads_nowhere_is_none(offsets: tuple[int, ...]) -> None:
    header = struct.pack("<16L", *offsets[:16], *[0] * (16 - len(offsets)))
    found = strip_rle(header + bytes(100), PLANE)
    assert found is None


def test_spare_boxes_of_a_movie_are_blanked_where_they_are() -> None:
    movie = box(b"ftyp", b"isom") + box(b"free", b"MZ hidden") + box(b"mdat", b"\1" * 9)
    found = strip_movie(movie)
    assert len(found.data) == len(movie)
    assert b"hidden" not in found.data
    assert [cut.data for cut in found.cuts] == [b"MZ hidden"]
    assert strip_movie(b"\0\0\1\xb3 MPEG-2").cuts == ()


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.1", "1.2.3", "1.2.840.10008.1.2.4.x"])
def test_other_transfer_syntaxes_have_no_codec_here(uid: str) -> None:
    assert codec_of(uid, PLANE) is None
