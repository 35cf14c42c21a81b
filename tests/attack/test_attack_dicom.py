"""Data sets made to hurt: every one ends in a named error or a result, in little time and little memory."""

import io
import struct
import time
import tracemalloc
import zlib

import pytest

from strongroom.dicom.canonical import canonical_sha256
from strongroom.dicom.convert import convert
from strongroom.dicom.dicomdir import parse_dicomdir
from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.elements import HeaderScan, RawElement, ScanLimits
from strongroom.dicom.jsonmodel import to_json
from strongroom.dicom.part10 import encode_file_meta, parse_file_header
from strongroom.dicom.text import decode, normalise_pn, parse_charsets
from strongroom.dicom.tree import parse_dataset, parse_items
from strongroom.errors import LimitExceeded, MalformedDataset, StrongroomError

WANTED = frozenset({0x00080005, 0x00081115, 0x00100010, 0x00100020})
SEQUENCE = b"\x08\x00\x15\x11"
UNDEFINED = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
JPEG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]


class Budget:
    """A piece of work that has to stay under a number of seconds and of bytes."""

    def __init__(self, seconds, mebibytes=0):
        self.seconds, self.bytes = seconds, mebibytes << 20

    def __enter__(self):
        if self.bytes:  # tracing makes everything several times slower
            tracemalloc.start()
        self.start = time.process_time()

    def __exit__(self, *failure):
        spent = time.process_time() - self.start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if failure[0] is None:
            assert spent < self.seconds, f"{spent:.1f} s"
            assert peak <= self.bytes, f"{peak >> 20} MiB"


def feed_all(walk, pieces):
    for piece in pieces:
        walk.feed(piece)


def readers(data, syntax):
    """Everything that reads a data set, as thunks."""

    def scan():
        walk = HeaderScan(syntax, WANTED)
        walk.feed(data)
        walk.finish()

    return [
        scan,
        lambda: parse_dataset(data, syntax),
        lambda: list(convert([data], syntax, EXPLICIT_VR_LITTLE_ENDIAN)),
        lambda: canonical_sha256(lambda offset, length: data[offset : offset + length], len(data), syntax),
    ]


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN])
def test_sequences_nested_100_000_deep(syntax):
    vr = b"SQ\0\0" if syntax.explicit else b""
    bomb = (SEQUENCE + vr + UNDEFINED + ITEM + UNDEFINED) * 100_000
    for read in readers(bomb, syntax):
        with Budget(2, 32), pytest.raises(LimitExceeded) as caught:
            read()
        assert caught.value.limit_name == "max_element_depth"


def test_sequences_of_defined_length_nested_deep():
    data = b""
    for _ in range(500):
        data = SEQUENCE + (len(data) + 8).to_bytes(4, "little") + ITEM + len(data).to_bytes(4, "little") + data
    for read in readers(data, IMPLICIT_VR_LITTLE_ENDIAN)[1:]:
        with Budget(2, 32), pytest.raises(LimitExceeded):
            read()
    value = data[8:]
    with pytest.raises(LimitExceeded):
        to_json({0x00081115: RawElement(b"SQ", value)}, (), IMPLICIT_VR_LITTLE_ENDIAN)


def test_un_within_un_does_not_escape_the_depth():
    data = b""
    for _ in range(100):
        data = SEQUENCE + b"UN\0\0" + UNDEFINED + ITEM + UNDEFINED + data
    for read in readers(data, EXPLICIT_VR_LITTLE_ENDIAN):
        with pytest.raises(StrongroomError):
            read()


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("vr", [b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC"])
@pytest.mark.parametrize("tag", [b"\x10\x00\x10\x00", b"\x09\x00\x01\x10", b"\xe0\x7f\x10\x00"])
def test_lengths_of_4_gib_reserve_nothing(tag, vr, length):
    data = tag + vr + b"\0\0" + struct.pack("<L", length) + b"some bytes"
    for read in readers(data, EXPLICIT_VR_LITTLE_ENDIAN):
        with Budget(1, 16), pytest.raises(StrongroomError):
            read()


def test_4_gib_lengths_of_items_and_fragments():
    for inner in (ITEM + b"\xfe" + UNDEFINED[1:], ITEM + UNDEFINED):
        for data, syntax in (
            (SEQUENCE + b"SQ\0\0" + UNDEFINED + inner, EXPLICIT_VR_LITTLE_ENDIAN),
            (b"\xe0\x7f\x10\x00OB\0\0" + UNDEFINED + inner, JPEG),
        ):
            for read in readers(data, syntax):
                with Budget(1, 16), pytest.raises(StrongroomError):
                    read()


def deflate(pieces):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join([compressor.compress(piece) for piece in pieces] + [compressor.flush()])


def test_a_deflate_bomb_stops_at_the_cap():
    head = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 1 << 30)
    bomb = deflate([head, *[bytes(1 << 20)] * 300])
    assert len(bomb) < 1 << 20
    for read in readers(bomb, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN):
        with Budget(3, 32), pytest.raises(LimitExceeded) as caught:
            read()
        assert caught.value.limit_name in {"max_inflate_ratio", "max_inflated_bytes"}


def test_a_deflate_bomb_fed_a_byte_at_a_time_stops_too():
    bomb = deflate([bytes(1 << 20)] * 40)[:60_000]
    walk = HeaderScan(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, WANTED, ScanLimits(max_inflated_bytes=1 << 20))
    with Budget(2, 16), pytest.raises((LimitExceeded, MalformedDataset)):
        feed_all(walk, (bomb[position : position + 1] for position in range(len(bomb))))


def test_a_million_elements_stop_at_the_cap():
    bomb = b"\x08\x00\x01\x00UL\0\0" * 1_000_000
    for read in readers(bomb, EXPLICIT_VR_LITTLE_ENDIAN):
        with Budget(4), pytest.raises(LimitExceeded) as caught:
            read()
        assert caught.value.limit_name == "max_element_count"


def test_a_million_empty_items_stop_at_the_cap():
    value = (ITEM + bytes(4)) * 1_000_000
    with Budget(4), pytest.raises(LimitExceeded):
        parse_items(value, HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, frozenset())._coding)


def test_wanted_values_that_are_huge_or_many_are_not_kept():
    big = b"\x10\x00\x10\x00UT\0\0" + struct.pack("<L", 1 << 29) + bytes(1000)
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    with Budget(1, 8), pytest.raises(LimitExceeded) as caught:
        walk.feed(big)
    assert caught.value.limit_name == "max_element_value_bytes"
    many = b"".join(struct.pack("<HH2sH", 0x0010, tag, b"LO", 0xF000) + bytes(0xF000) for tag in range(200))
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, frozenset(0x00100000 + tag for tag in range(200)))
    with Budget(1, 16), pytest.raises(LimitExceeded) as caught:
        walk.feed(many)
    assert caught.value.limit_name == "max_kept_bytes"


@pytest.mark.parametrize("length", [10, 0xF000, 0xFFFE])
def test_a_wanted_tag_again_and_again_is_kept_once(length):
    element = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", length)
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    with Budget(2, 4):
        walk.feed(element + b"A" * length)
        feed_all(walk, (element + b"B" * length for _ in range(1000)))
        walk.finish()
    assert walk.elements[0x00100010].value == b"A" * length
    assert walk.irregularities == {"duplicate tag": 1000}


def test_a_sequence_that_never_ends_is_kept_up_to_the_cap():
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    walk.feed(SEQUENCE + b"SQ\0\0" + UNDEFINED)
    piece = ITEM + struct.pack("<L", 60_000) + bytes(60_000)
    with Budget(1, 8), pytest.raises(LimitExceeded) as caught:
        feed_all(walk, [piece] * 1000)
    assert caught.value.limit_name == "max_element_value_bytes"


def test_a_large_wanted_value_in_single_bytes_takes_linear_time():
    data = b"\x10\x00\x10\x00UT\0\0" + struct.pack("<L", 500_000) + b"x" * 500_000
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    view = memoryview(data)
    start = time.process_time()
    for position in range(len(data)):
        walk.feed(view[position : position + 1])
    walk.finish()
    assert time.process_time() - start < 5
    assert len(walk.elements[0x00100010].value) == 500_000


def test_numbers_in_text_do_not_become_long_work():
    digits = b"9" * 900_000
    with Budget(1, 16):
        result = to_json(
            {0x00201208: RawElement(b"IS", digits), 0x00180050: RawElement(b"DS", digits)},
            (),
            EXPLICIT_VR_LITTLE_ENDIAN,
        )
    assert isinstance(result["00201208"]["Value"][0], str)


def test_text_full_of_escapes_and_delimiters_takes_linear_time():
    charsets = parse_charsets(b"\\ISO 2022 IR 87\\ISO 2022 IR 149")
    with Budget(3):
        text = decode(b"\x1b$B\x1b$)C^=\\\xff" * 60_000, charsets, b"PN")
        normalise_pn(text)
    assert "\ufffd" in text


@pytest.mark.parametrize(
    "preamble",
    [b"MZ" + bytes(126), b"#!/bin/sh\n".ljust(128, b"\0"), b"II*\0".ljust(128, b"\0"), b"%PDF-1.4".ljust(128, b"\0")],
)
def test_a_preamble_is_never_looked_into(preamble):
    meta = encode_file_meta("1.2", "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN.uid, "1.2", "T")
    assert parse_file_header(preamble + meta[128:]).data_set_offset == len(meta)


def test_meta_information_without_end_is_bounded():
    meta = encode_file_meta("1.2", "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN.uid, "1.2", "T")[:144]
    endless = meta + (b"\x02\x00\x03\x00UI\0\0" * 10_000_000)
    with Budget(1, 100), pytest.raises(StrongroomError):
        parse_file_header(endless + b"\x02")


def test_a_dicomdir_with_a_loop_of_offsets_is_read_once():
    record = b"".join(
        [
            b"\x04\x00\x00\x14UL\x04\0" + struct.pack("<L", 400),
            b"\x04\x00\x20\x14UL\x04\0" + struct.pack("<L", 400),
            b"\x04\x00\x30\x14CS\x06\0IMAGE ",
            b"\x04\x00\x00\x15CS\x02\0A ",
        ]
    )
    items = (ITEM + struct.pack("<L", len(record)) + record) * 3
    raw = encode_file_meta("1.2.840.10008.1.3.10", "1.2", EXPLICIT_VR_LITTLE_ENDIAN.uid, "1.2", "T")
    raw += b"\x04\x00\x20\x12SQ\0\0" + struct.pack("<L", len(items)) + items
    assert [entry.path for entry in parse_dicomdir(raw).files] == [("A",)] * 3


def test_errors_name_sizes_and_tags_and_never_values():
    secret = b"GEHEIM^PATIENT"
    data = b"\x10\x00\x10\x00PN" + struct.pack("<H", len(secret)) + secret + b"\x10\x00\x20\x00zz\x04\x00" + secret
    for read in readers(data, EXPLICIT_VR_LITTLE_ENDIAN):
        with pytest.raises(MalformedDataset) as caught:
            read()
        assert "GEHEIM" not in str(caught.value)
        assert "(0010,0020)" in str(caught.value)


def test_a_chunk_generator_that_ends_early_is_malformed():
    data = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 1 << 20)
    with pytest.raises(MalformedDataset):
        for _ in convert(iter([data, bytes(1000)]), EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
            pass
    stream = io.BytesIO(data)

    def short_read(offset, length):
        stream.seek(offset)
        return stream.read(length)

    with pytest.raises(MalformedDataset):
        canonical_sha256(short_read, len(data) + (1 << 20), EXPLICIT_VR_LITTLE_ENDIAN)
