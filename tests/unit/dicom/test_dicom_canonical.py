"""One digest for one data set, whatever its encoding; another one for anything else."""

import hashlib
import zlib
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from strongroom.dicom.canonical import canonical_sha256
from strongroom.dicom.convert import convert
from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.elements import DEFAULT_LIMITS
from strongroom.dicom.encode import encode_json, encode_values
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, MalformedDataset

UNREADABLE = {"MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm", "DICOMDIR-nooffset"}
JPEG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]


def digest(data, syntax, limits=DEFAULT_LIMITS):
    return canonical_sha256(lambda offset, length: data[offset : offset + length], len(data), syntax, limits)


def deflate(data):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def samples():
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name not in UNREADABLE | {"meta_missing_tsyntax.dcm"}:
            raw = path.read_bytes()
            if raw[128:132] == b"DICM":
                header = parse_file_header(raw)
                yield pytest.param(
                    raw[header.data_set_offset :], TRANSFER_SYNTAXES[header.transfer_syntax], id=path.name
                )


SAMPLES = list(samples())


@pytest.mark.parametrize(("data", "syntax"), SAMPLES)
def test_a_copy_of_a_sample_in_explicit_vr_has_the_same_digest(data, syntax):
    own = digest(data, syntax)
    if syntax.encapsulated:
        return
    copy = b"".join(convert([data], syntax, EXPLICIT_VR_LITTLE_ENDIAN))
    assert digest(copy, EXPLICIT_VR_LITTLE_ENDIAN) == own
    assert digest(deflate(copy), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN) == own


def has_vr_that_implicit_loses(elements):
    for element in elements:
        if element.items is not None and any(has_vr_that_implicit_loses(item) for item in element.items):
            return True
        if element.tag & 0x10000 and element.vr not in (b"UN", b"SQ") and not 0x10 <= element.tag & 0xFFFF <= 0xFF:
            return True
    return False


@pytest.mark.parametrize(("data", "syntax"), [sample for sample in SAMPLES if not sample.values[1].encapsulated])
def test_a_copy_in_implicit_vr_has_it_too_where_the_vrs_are_known(data, syntax):
    copy = b"".join(convert([data], syntax, IMPLICIT_VR_LITTLE_ENDIAN))
    same = digest(copy, IMPLICIT_VR_LITTLE_ENDIAN) == digest(data, syntax)
    assert same or has_vr_that_implicit_loses(parse_dataset(data, syntax))


def test_the_canonical_form_is_the_encoding_that_the_module_describes():
    values = {
        0x00080060: "CT",
        0x00100010: "A^B",
        0x00089215: [{0x00080100: "X"}, {}],
        0x00282000: b"\1\2",
        0x00280010: 5,
    }
    canonical = encode_values(values, EXPLICIT_VR_LITTLE_ENDIAN)
    assert digest(canonical, EXPLICIT_VR_LITTLE_ENDIAN) == hashlib.sha256(canonical).digest()
    assert digest(encode_values(values, IMPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN) == digest(
        canonical, EXPLICIT_VR_LITTLE_ENDIAN
    )


NAME = bytes.fromhex("1000100050 4e0400".replace(" ", "")) + b"A^B "
ID = bytes.fromhex("100020004c4f0200") + b"1 "


def test_order_group_lengths_and_trailing_padding_do_not_count():
    own = digest(NAME + ID, EXPLICIT_VR_LITTLE_ENDIAN)
    group_length = bytes.fromhex("10000000554c0400") + b"\x16\0\0\0"
    padding = bytes.fromhex("fcfffcff4f420000") + b"\x04\0\0\0" + bytes(4)
    assert digest(ID + NAME, EXPLICIT_VR_LITTLE_ENDIAN) == own
    assert digest(group_length + NAME + ID + padding, EXPLICIT_VR_LITTLE_ENDIAN) == own


def element(tag, vr, value):
    header = tag.to_bytes(4, "big")
    header = header[1::-1] + header[:1:-1] + vr
    if vr in (b"OB", b"UN", b"SQ"):
        return header + b"\0\0" + len(value).to_bytes(4, "little") + value
    return header + len(value).to_bytes(2, "little") + value


def in_item(content):
    return b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content


HIDDEN = {
    "group 2": (0x00020102, b"OB"),
    "trailing padding": (0xFFFCFFFC, b"OB"),
    "a group length that is none": (0x00090000, b"OB"),
    "a length to end that is none": (0x00080001, b"LO"),
}


@pytest.mark.parametrize("what", HIDDEN)
def test_nothing_is_left_out_below_the_top_level_that_could_hold_anything(what):
    """Neither in items nor in a private value that only looks like items."""
    tag, vr = HIDDEN[what]

    def found(value):
        yield digest(element(0x00091010, b"SQ", in_item(element(tag, vr, value))), EXPLICIT_VR_LITTLE_ENDIAN)
        implicit = tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + len(value).to_bytes(4, "little")
        yield digest(element(0x00091010, b"UN", in_item(implicit + value)), EXPLICIT_VR_LITTLE_ENDIAN)

    for one, other in zip(found(b"first1"), found(b"second"), strict=True):
        assert one != other


def test_at_the_top_level_file_meta_and_true_group_lengths_do_not_count():
    own = digest(NAME, EXPLICIT_VR_LITTLE_ENDIAN)
    meta, length = element(0x00020016, b"AE", b"CT1 "), element(0x00100000, b"UL", b"\x0c\0\0\0")
    assert digest(meta + length + NAME, EXPLICIT_VR_LITTLE_ENDIAN) == own
    assert digest(element(0x00100000, b"OB", b"payload!") + NAME, EXPLICIT_VR_LITTLE_ENDIAN) != own


def test_every_byte_that_means_something_counts():
    data = NAME + ID
    own = digest(data, EXPLICIT_VR_LITTLE_ENDIAN)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        try:
            assert digest(bytes(changed), EXPLICIT_VR_LITTLE_ENDIAN) != own
        except MalformedDataset:
            continue
    assert digest(NAME, EXPLICIT_VR_LITTLE_ENDIAN) != own
    assert digest(NAME + NAME + ID, EXPLICIT_VR_LITTLE_ENDIAN) != own


def test_fragments_count_as_encoded():
    head = bytes.fromhex("e07f10004f420000ffffffff")
    end = bytes.fromhex("feffdde000000000")

    def fragment(value):
        return bytes.fromhex("feff00e0") + len(value).to_bytes(4, "little") + value

    one = NAME + head + fragment(b"") + fragment(b"abcd") + end
    assert digest(one, JPEG) == hashlib.sha256(one).digest()
    two = NAME + head + fragment(b"") + fragment(b"ab") + fragment(b"cd") + end
    assert digest(two, JPEG) != digest(one, JPEG)


def test_a_sequence_written_as_un_counts_as_the_sequence():
    item = bytes.fromhex("feff00e00a000000") + bytes.fromhex("0800600002000000") + b"CT"
    as_un = bytes.fromhex("08001511") + b"UN\0\0" + len(item).to_bytes(4, "little") + item + NAME
    as_sequence = encode_json(
        {
            "00081115": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        },
        EXPLICIT_VR_LITTLE_ENDIAN,
    )
    assert digest(as_un, EXPLICIT_VR_LITTLE_ENDIAN) == digest(as_sequence, EXPLICIT_VR_LITTLE_ENDIAN)
    junk = bytes.fromhex("08001511") + b"UN\0\0\4\0\0\0junk"
    assert digest(junk, EXPLICIT_VR_LITTLE_ENDIAN) == hashlib.sha256(junk).digest()


def test_big_endian_words_count_as_little_endian():
    big = bytes.fromhex("00280010") + b"US\0\2\1\2" + bytes.fromhex("7fe00010") + b"OW\0\0\0\0\0\4\1\2\3\4"
    little = b"".join(convert([big], EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
    assert digest(big, EXPLICIT_VR_BIG_ENDIAN) == hashlib.sha256(little).digest()


def test_memory_stays_bounded_and_reads_small():
    size = 64 << 20
    head = NAME + bytes.fromhex("e07f10004f570000") + (size).to_bytes(4, "little")
    asked = []

    def read(offset, length):
        asked.append(length)
        end = min(offset + length, len(head) + size)
        return (head[offset:end] + bytes(end - max(offset, len(head)))) if offset < len(head) else bytes(end - offset)

    found = canonical_sha256(read, len(head) + size, EXPLICIT_VR_LITTLE_ENDIAN)
    assert found == hashlib.sha256(head + bytes(size)).digest()
    assert max(asked) <= 1 << 20


def test_a_deflated_data_set_far_out_of_order_is_not_inflated_for_ever():
    block = b"".join(
        (0x0009 + 2 * group).to_bytes(2, "little") + b"\1\x10UN\0\0" + (2 << 20).to_bytes(4, "little") + bytes(2 << 20)
        for group in range(24, 0, -1)
    )
    with pytest.raises(LimitExceeded) as caught:
        digest(deflate(block), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, limits_for_zeros())
    assert caught.value.limit_name == "max_inflate_passes"


def limits_for_zeros():
    return DEFAULT_LIMITS.__class__(max_inflate_ratio=5000)


def test_limits_hold():
    with pytest.raises(LimitExceeded):
        digest(NAME * 3, EXPLICIT_VR_LITTLE_ENDIAN, DEFAULT_LIMITS.__class__(max_element_count=2))
    with pytest.raises(MalformedDataset):
        digest(NAME[:-1], EXPLICIT_VR_LITTLE_ENDIAN)
