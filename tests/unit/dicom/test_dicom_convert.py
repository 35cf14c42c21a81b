"""Conversion between transfer syntaxes: pydicom reads source and result as the same data set."""

import io
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from strongroom.dicom.byteorder import swapped
from strongroom.dicom.convert import convert
from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.encode import encode_values
from strongroom.dicom.part10 import encode_file_meta, parse_file_header
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, MalformedDataset, Refused

TARGETS = [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN]
UNREADABLE = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset", "meta_missing_tsyntax.dcm"}


def samples():
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name not in UNREADABLE:
            raw = path.read_bytes()
            if raw[128:132] == b"DICM" and not TRANSFER_SYNTAXES[parse_file_header(raw).transfer_syntax].encapsulated:
                yield path


def read(data, syntax):
    return pydicom.dcmread(io.BytesIO(encode_file_meta("1.2", "1.2.3", syntax.uid, "1.2", "T") + data))


def assert_same(source: Dataset, result: Dataset, source_syntax, target):
    def tags(dataset):
        return {tag for tag in dataset.keys() if tag.element and tag != 0x00080001}  # noqa: SIM118

    assert tags(source) == tags(result)
    for tag in tags(source):
        one, other = source[tag], result[tag]
        if one.VR == "SQ":
            for item, other_item in zip(one.value, other.value, strict=True):
                assert_same(item, other_item, source_syntax, target)
        elif tag.is_private and target is IMPLICIT_VR_LITTLE_ENDIAN and one.VR != other.VR:
            pass  # implicit VR has no place for it, and pydicom then asks its own dictionary
        elif one.VR in {"OB", "OW"} and source_syntax is EXPLICIT_VR_BIG_ENDIAN:
            word_bytes = max(2, source.get("BitsAllocated", 16) // 8 if tag == 0x7FE00010 else 2)
            assert other.value == (b"".join(swapped([one.value], word_bytes)) if one.VR == "OW" else one.value)
        elif one.VR in {"OB", "OW"}:
            assert one.value == other.value
        else:
            assert one == other, tag


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("path", list(samples()), ids=lambda path: path.name)
def test_a_sample_is_the_same_data_set_after_conversion(path, target):
    raw = path.read_bytes()
    header = parse_file_header(raw)
    syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
    data = raw[header.data_set_offset :]
    result = b"".join(convert([data], syntax, target))
    assert_same(pydicom.dcmread(path), read(result, target), syntax, target)
    if len(data) < 50_000:
        pieces = [memoryview(data)[start : start + 13] for start in range(0, len(data), 13)]
        assert b"".join(convert(pieces, syntax, target)) == result
    # to the other side and back again nothing more changes
    back = b"".join(convert([b"".join(convert([result], target, target))], target, target))
    assert back == b"".join(convert([result], target, target))


def convert_values(values, target=EXPLICIT_VR_LITTLE_ENDIAN):
    source = encode_values(values, IMPLICIT_VR_LITTLE_ENDIAN)
    return {
        element.tag: element
        for element in parse_dataset(b"".join(convert([source], IMPLICIT_VR_LITTLE_ENDIAN, target)), target)
    }


@pytest.mark.parametrize(("representation", "vr"), [(0, b"US"), (1, b"SS")])
def test_pixel_representation_decides_on_signed_numbers(representation, vr):
    found = convert_values({0x00280103: representation, 0x00280106: 5, 0x00283010: [{0x00283002: [1, 2, 3]}]})
    assert found[0x00280106].vr == vr
    assert found[0x00283010].items[0][0].vr == vr, "an item inherits it"


def test_lut_data_of_one_entry_is_a_number():
    one = convert_values({0x00283002: [1, 0, 16], 0x00283006: b"\1\0"})
    many = convert_values({0x00283002: [2, 0, 16], 0x00283006: b"\1\0\2\0"})
    assert (one[0x00283006].vr, many[0x00283006].vr) == (b"US", b"OW")


def test_a_value_too_long_for_its_vr_becomes_un():
    found = convert_values({0x00081030: "x" * 65_534, 0x00081040: "x" * 65_536})
    assert (found[0x00081030].vr, found[0x00081040].vr) == (b"LO", b"UN")
    assert len(found[0x00081040].value) == 65_536


def test_private_values_without_a_vr_become_un_and_keep_their_bytes():
    source = bytes.fromhex("0900010004000000") + b"abcd" + bytes.fromhex("09000110ffffffff")
    source += bytes.fromhex("feff00e0ffffffff") + bytes.fromhex("0800600002000000") + b"CT"
    source += bytes.fromhex("feff0de000000000") + bytes.fromhex("feffdde000000000")
    result = b"".join(convert([source], IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
    unknown, sequence = parse_dataset(result, EXPLICIT_VR_LITTLE_ENDIAN)
    assert (unknown.vr, unknown.value) == (b"UN", b"abcd")
    assert (sequence.vr, sequence.items[0][0].vr) == (b"SQ", b"CS")
    assert b"".join(convert([result], EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)) == source


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"], EXPLICIT_VR_LITTLE_ENDIAN),
        (EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES["1.2.840.10008.1.2.5"]),
        (EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN),
        (EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_what_needs_a_codec_or_is_no_target_is_refused(source, target):
    with pytest.raises(Refused) as caught:
        list(convert([b""], source, target))
    assert caught.value.reason == "not-convertible"


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (EXPLICIT_VR_BIG_ENDIAN, bytes.fromhex("00091001") + b"UN" + bytes.fromhex("000000000004") + b"abcd"),
        (
            EXPLICIT_VR_LITTLE_ENDIAN,
            bytes.fromhex("e07f1000") + b"OB" + bytes.fromhex("0000ffffffff") + bytes.fromhex("feffdde000000000"),
        ),
    ],
)
def test_what_would_be_wrong_in_the_target_is_refused(syntax, data):
    with pytest.raises(Refused):
        list(convert([data], syntax, EXPLICIT_VR_LITTLE_ENDIAN))


def test_words_cut_by_chunks_are_swapped_whole():
    assert b"".join(swapped([b"\1", b"\2\3", b"\4\5\6\7", b"\x08"], 4)) == b"\4\3\2\1\x08\7\6\5"
    with pytest.raises(MalformedDataset):
        list(swapped([b"\1\2\3"], 2))


def test_pixel_data_of_any_size_flows_through():
    head = bytes.fromhex("e07f10004f570000") + (256 << 20).to_bytes(4, "little")
    block = bytes(1 << 20)

    def source():
        yield head
        for _ in range(256):
            yield block

    largest = total = 0
    for chunk in convert(source(), EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        largest, total = max(largest, len(chunk)), total + len(chunk)
    assert total == (256 << 20) + 8
    assert largest <= (1 << 20) + 65536


def test_limits_hold():
    with pytest.raises(MalformedDataset):
        list(convert([bytes.fromhex("1000100050 4e0400".replace(" ", "")) + b"A"], *TARGETS[::-1]))
    deep = (bytes.fromhex("08001511ffffffff") + bytes.fromhex("feff00e0ffffffff")) * 100
    with pytest.raises(LimitExceeded):
        list(convert([deep], *TARGETS))


@pytest.mark.parametrize("target", TARGETS, ids=["implicit", "explicit"])
def test_samples_of_32_bits_in_big_endian_show_what_the_same_dose_in_little_endian_does(target):
    """The dose is there in both, from one maker: OW, and whole samples in big endian."""
    path = Path(pydicom.data.get_testdata_file("rtdose_expb.dcm"))
    raw = path.read_bytes()
    data = raw[parse_file_header(raw).data_set_offset :]
    converted = read(b"".join(convert([data], EXPLICIT_VR_BIG_ENDIAN, target)), target)
    other = pydicom.dcmread(pydicom.data.get_testdata_file("rtdose.dcm"))
    assert (converted.BitsAllocated, converted.PixelData) == (32, other.PixelData)


def test_the_words_of_an_icon_are_its_own():
    """32 bits around it say nothing of an icon of 16, nor the other way round."""
    pixels, header = b"\1\2\3\4", bytes.fromhex("002801005553 0002".replace(" ", ""))
    data = pixel_data = bytes.fromhex("7fe000104f5700000000 0004".replace(" ", "")) + pixels
    icon = header + b"\0\x10" + pixel_data
    sequence = bytes.fromhex("00880200 5351 0000 ffffffff fffee000 ffffffff".replace(" ", "")) + icon
    sequence += bytes.fromhex("fffee00d00000000fffee0dd00000000")
    data = header + b"\0\x20" + sequence + pixel_data
    values = {
        element.tag: element
        for element in parse_dataset(
            b"".join(convert([data], EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)), EXPLICIT_VR_LITTLE_ENDIAN
        )
    }
    assert values[0x7FE00010].value == b"\4\3\2\1"
    ((_, inner),) = values[0x00880200].items
    assert inner.value == b"\2\1\4\3"
