"""Disarming: what is written anew, what goes with what, and what is refused in which words."""

from __future__ import annotations

import struct
import time
import zlib

import pytest

from harness import hidden, payloads
from harness.hidden import DataSet, Fragments
from strongroom.dicom.part10 import parse_file_header
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.screen.disarm import Disarmed, disarm
from strongroom.screen.screening import screen_bytes
from strongroom.screen.stripping import Stripped, strip_jpeg

PROGRAM = payloads.pe()


def disarmed(data: bytes) -> tuple[Disarmed, bytes]:
    made = disarm(lambda offset, length: data[offset : offset + length], len(data))
    return made, b"".join(made.pieces())


def image_with(extra: DataSet) -> bytes:
    return hidden.file_of(hidden.encode(hidden.image() | extra))


def test_a_clean_file_loses_nothing() -> None:
    made, copy = disarmed(image_with({}))
    assert made.removed == ()
    assert copy.endswith(hidden.encode(hidden.image()))


def test_preamble_and_meta_are_written_anew() -> None:
    meta = hidden.encode({0x00020016: ("AE", b"MODALITY"), 0x00020100: ("UI", b"2.25.9"), 0x00020102: ("OB", PROGRAM)})
    data = hidden.file_of(hidden.encode(hidden.image()), preamble=b"#!/bin/sh\n", meta=meta)
    made, copy = disarmed(data)
    assert copy[:132] == bytes(128) + b"DICM"
    header = parse_file_header(copy)
    assert (header.sop_uid, header.transfer_syntax) == ("2.25.1.4", hidden.EXPLICIT)
    assert header.source_aet == "MODALITY"
    assert header.irregularities == ()
    assert {each.path for each in made.removed} == {"preamble", "(0002,0100)", "(0002,0102)"}


def test_an_overlay_goes_whole() -> None:
    made, copy = disarmed(hidden.BINARY_SURFACES["overlay"](PROGRAM))
    assert struct.pack("<H", 0x6000) + struct.pack("<H", 0x0010) not in copy
    assert {each.path for each in made.removed} >= {"(6000,0010)", "(6000,0011)", "(6000,3000)"}


def test_a_private_creator_goes_with_what_it_reserves() -> None:
    data = image_with(
        {
            0x00290010: ("LO", b"<script>alert(1)</script>"),
            0x00291001: ("LO", b"of it"),
            0x00290011: ("LO", b"ANOTHER"),
            0x00291101: ("LO", b"of another"),
        }
    )
    made, copy = disarmed(data)
    assert {each.path for each in made.removed} == {"(0029,0010)", "(0029,1001)"}
    assert b"of another" in copy


def test_text_that_nobody_computes_with_is_emptied_and_listed() -> None:
    made, copy = disarmed(image_with({0x00204000: ("LT", b"<script>alert(1)</script>")}))
    assert [each.path for each in made.removed] == ["(0020,4000)"]
    assert struct.pack("<HH2sH", 0x0020, 0x4000, b"LT", 0) in copy


@pytest.mark.parametrize(
    "extra",
    [{0x00100010: ("PN", b"<script>alert(1)</script>")}, {0x00100020: ("LO", b"../../etc/passwd")}],
    ids=["name", "ID"],
)
def test_who_the_patient_is_is_never_altered(extra: DataSet) -> None:
    with pytest.raises(Refused, match="another object") as refused:
        disarmed(image_with(extra))
    assert refused.value.reason == "payload-in-object"
    assert "alert" not in str(refused.value)
    assert "passwd" not in str(refused.value)


def test_a_palette_that_gives_the_pixels_their_colours_is_refused_and_an_unused_one_goes() -> None:
    with pytest.raises(Refused, match="PaletteColor"):
        disarmed(hidden.BINARY_SURFACES["palette"](PROGRAM))
    made, _ = disarmed(hidden.BINARY_SURFACES["unused palette"](PROGRAM))
    assert [each.path for each in made.removed] == ["(0028,1201)"]


def test_fragments_become_one_a_frame_behind_a_true_table() -> None:
    stream = hidden.jpeg()
    assert strip_jpeg(stream) == Stripped(stream, ())
    stream += b"\0" * (len(stream) & 1)
    parts = (stream[:100], stream[100:])
    pixels = Fragments((struct.pack("<LL", 0, 9999), *parts, stream))
    data = hidden.file_of(hidden.encode(hidden.image(pixels, frames=2)), hidden.JPEG)
    made, copy = disarmed(data)
    table = struct.pack("<HHLLL", 0xFFFE, 0xE000, 8, 0, len(stream) + 8)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(stream)) + stream
    assert copy.endswith(table + item + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    assert [each.what for each in made.removed] == ["an offset table, written again"]


def test_frames_that_are_not_all_there_are_refused() -> None:
    pixels = Fragments((b"", hidden.jpeg_ls()))
    data = hidden.file_of(hidden.encode(hidden.image(pixels, frames=3)), hidden.JPEG_LS)
    with pytest.raises(Refused, match="1 frames are there and 3 are declared"):
        disarmed(data)


def test_an_element_that_is_there_twice_stays_once() -> None:
    base = hidden.encode({tag: each for tag, each in hidden.image().items() if tag < 0x00200000})
    rest = hidden.encode({tag: each for tag, each in hidden.image().items() if tag >= 0x00200000})
    twice = hidden.encode({0x00100040: ("CS", b"F")})
    made, copy = disarmed(hidden.file_of(base + twice + rest))
    assert [each.path for each in made.removed] == ["(0010,0040)"]
    head, signed, tail = copy.partition(base)
    assert head
    assert signed
    assert tail.endswith(rest)


def test_a_deflated_data_set_stays_deflated_and_loses_its_tail() -> None:
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(hidden.encode(hidden.image())) + packer.flush()
    made, copy = disarmed(hidden.file_of(body + PROGRAM, hidden.DEFLATED))
    header = parse_file_header(copy)
    unpacker = zlib.decompressobj(-15)
    inflated = unpacker.decompress(copy[header.data_set_offset :])
    image = hidden.image()
    assert inflated.startswith(hidden.encode({tag: image[tag] for tag in image if tag < 0x0018A001}))
    assert inflated.endswith(hidden.encode({tag: image[tag] for tag in image if tag > 0x0018A001}))
    assert len(unpacker.unused_data) <= 1
    assert [(each.path, each.length) for each in made.removed] == [("deflated", len(PROGRAM))]


def test_hostile_files_are_refused_at_once() -> None:
    opened = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    packer = zlib.compressobj(wbits=-15)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(600)]) + packer.flush()
    long = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE) + bytes(100)
    files = {
        "deep": hidden.file_of(opened * 100_000),
        "bomb": hidden.file_of(bomb, hidden.DEFLATED),
        "length": hidden.file_of(hidden.encode({0x00080016: ("UI", b"1.2")}) + long),
    }
    for name, data in files.items():
        started = time.monotonic()
        with pytest.raises((LimitExceeded, MalformedDataset, Refused)):
            disarmed(data)
        assert time.monotonic() - started < 5, name


def test_many_findings_take_no_more_than_one_look_each() -> None:
    item = {0x00290010: ("LO", b"TEST VENDOR"), 0x00291010: ("OB", PROGRAM)}
    data = image_with({0x00081140: ("SQ", [dict(item) for _ in range(300)])})
    made, copy = disarmed(data)
    assert len(made.removed) == 300
    assert screen_bytes(copy).findings == ()
