"""DICOM JSON, compared with pydicom's on every sample file; the kinds of difference are named, and no other exists."""

from pathlib import Path

import pydicom
import pydicom.data
import pytest

from strongroom.dicom.dictionary import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.elements import HeaderScan, RawElement, ScanLimits
from strongroom.dicom.jsonmodel import to_json, tree_to_json
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.text import parse_charsets
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, MalformedDataset

ROOMY = ScanLimits(max_element_value_bytes=1 << 30, max_kept_bytes=1 << 30)
# Not to be read as they declare themselves (see test_dicom_elements), or not by pydicom's to_json_dict (badVR).
SKIPPED = {"MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm", "DICOMDIR-nooffset", "badVR.dcm"}


def samples():
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != "meta_missing_tsyntax.dcm":
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM" and path.name not in SKIPPED:
                    yield path


def is_explained(key, ours, theirs, big_endian):
    """Whether a difference is one of those that are meant."""
    tag = int(key, 16)
    if tag == 0x00080005:
        return ours == {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8 and says so
    if theirs == {"vr": "SQ", "Value": []}:
        return ours == {"vr": "SQ"}  # what is empty has no "Value" (PS3.18 F.2.5)
    if tag & 0x10000 and ours["vr"] == "UN":
        return True  # pydicom has a dictionary of private elements
    if big_endian and ours["vr"] == theirs["vr"] == "OW":
        return True  # InlineBinary is little endian (PS3.18 F.2.7), pydicom passes on what is stored
    if ours["vr"] == theirs["vr"] in {"CS", "LO"}:
        # insignificant spaces stay in pydicom's, and it has "" where PS3.18 F.2.5 has null
        return ours["Value"] == [value.strip() or None for value in theirs["Value"]]
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", list(samples()), ids=lambda path: path.name)
def test_json_of_a_sample_is_that_of_pydicom(path):
    raw = path.read_bytes()
    header = parse_file_header(raw)
    syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
    elements = parse_dataset(raw[header.data_set_offset :], syntax, ROOMY)
    charsets = next((parse_charsets(element.value) for element in elements if element.tag == 0x00080005), ())
    ours = tree_to_json(elements, charsets, syntax, max_inline_bytes=1 << 30)
    theirs = pydicom.dcmread(path).to_json_dict(bulk_data_threshold=1 << 30)

    def compare(mine, other):
        assert mine.keys() == other.keys()
        for key, attribute in mine.items():
            reference = other[key]
            if attribute["vr"] == reference["vr"] == "SQ" and "Value" in attribute:
                for item, reference_item in zip(attribute["Value"], reference["Value"], strict=True):
                    compare(item, reference_item)
            elif attribute != reference:
                assert is_explained(key, attribute, reference, not syntax.little_endian), (key, attribute, reference)

    compare(ours, theirs)
    if path.name != "UN_sequence.dcm":  # of a private sequence in UN, the scan keeps bytes where the tree has items
        walk = HeaderScan(syntax, frozenset(element.tag for element in elements), ROOMY)
        walk.feed(raw[header.data_set_offset :])
        walk.finish()
        assert to_json(walk.elements, charsets, syntax, 1 << 30) == ours


def one(vr, value, syntax=EXPLICIT_VR_LITTLE_ENDIAN, tag=0x00091001, charsets=(), **more):
    return to_json({tag: RawElement(vr, value)}, charsets, syntax, **more)[f"{tag:08X}"]


@pytest.mark.parametrize(
    ("vr", "value", "values"),
    [
        (b"IS", b"12 ", [12]),
        (b"IS", b" -3\\+4\\", [-3, 4, None]),
        (b"IS", b"1_0\\1.5\\ab", ["1_0", "1.5", "ab"]),
        (b"IS", b"9" * 400, ["9" * 400]),
        (b"DS", b"1.50\\-2e3\\ 7 ", [1.5, -2000.0, 7.0]),
        (b"DS", b"nan\\inf\\1e999\\1_0\\", ["nan", "inf", "1e999", "1_0", None]),
        (b"CS", b" A\\B ", ["A", "B"]),
        (b"UI", b"1.2.3\0", ["1.2.3"]),
        (b"LT", b" a\\b \r\n ", [" a\\b \r\n"]),
        (b"UT", b"x\\y", ["x\\y"]),
        (b"UR", b"http://a\\b", ["http://a\\b"]),
        (b"UC", b"a \\ b ", ["a", " b"]),
        (b"US", b"\1\0", [1]),
        (b"US", b"\1\0\2\0", [1, 2]),
        (b"SS", b"\xff\xff", [-1]),
        (b"UV", b"\xff" * 8, [2**64 - 1]),
        (b"FD", b"\0\0\0\0\0\0\xf8\x3f", [1.5]),
        (b"FL", b"\0\0\xc0\x7f\0\0\x80\x7f\0\0\x80\xff", ["NaN", "inf", "-inf"]),
        (b"AT", b"\x10\0\x20\0\x08\0\x05\0", ["00100020", "00080005"]),
        (b"PN", b"A^B=\\C", [{"Alphabetic": "A^B"}, {"Alphabetic": "C"}]),
        (b"PN", b"A\\", [{"Alphabetic": "A"}, None]),
        (b"PN", b"=B=C", [{"Ideographic": "B", "Phonetic": "C"}]),
    ],
)
def test_values(vr, value, values):
    assert one(vr, value) == {"vr": vr.decode(), "Value": values}


def test_binary_is_inline_when_small_and_little_endian():
    assert one(b"OB", b"\1\2\3") == {"vr": "OB", "InlineBinary": "AQID"}
    assert one(b"OW", b"\1\2\3\4", EXPLICIT_VR_BIG_ENDIAN) == {"vr": "OW", "InlineBinary": "AgEEAw=="}
    assert one(b"OB", bytes(5000)) == {"vr": "OB"}
    assert one(b"US", b"\0\1", EXPLICIT_VR_BIG_ENDIAN)["Value"] == [1]


def test_empty_and_only_padding_have_no_value():
    assert one(b"LO", b"") == one(b"LO", b"  ") == {"vr": "LO"}
    assert one(b"SQ", b"") == {"vr": "SQ"}
    assert one(b"UN", b"", tag=0x00100010) == {"vr": "PN"}


def test_un_is_read_as_the_dictionary_knows_it():
    item = bytes.fromhex("feff00e00a000000") + bytes.fromhex("0800600002000000") + b"CT"
    assert one(b"UN", b"A^B ", tag=0x00100010) == {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}
    assert one(b"UN", item, tag=0x00081115) == {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]}
    assert one(b"UN", b"junk", tag=0x00081115) == {"vr": "UN", "InlineBinary": "anVuaw=="}


def test_signed_pixels_make_ambiguous_numbers_signed_in_implicit_vr():
    signed = {0x00280103: RawElement(b"US", b"\1\0"), 0x00280106: RawElement(b"US", b"\xff\xff")}
    assert to_json(signed, (), IMPLICIT_VR_LITTLE_ENDIAN)["00280106"] == {"vr": "SS", "Value": [-1]}
    assert to_json(signed, (), EXPLICIT_VR_LITTLE_ENDIAN)["00280106"] == {"vr": "US", "Value": [65535]}


def test_an_item_may_have_its_own_character_set():
    inner = bytes.fromhex("080005004353 0a00".replace(" ", "")) + b"ISO_IR 144" + bytes.fromhex("10001000504e0200")
    item = bytes.fromhex("feff00e0") + (len(inner) + 2).to_bytes(4, "little") + inner + b"\xbb\xee"
    elements = {0x00080005: RawElement(b"CS", b"ISO_IR 100"), 0x00081115: RawElement(b"SQ", item)}
    result = to_json(elements, ("ISO_IR 100",), EXPLICIT_VR_LITTLE_ENDIAN)
    value = result["00081115"]["Value"][0]
    assert value["00100010"]["Value"] == [{"Alphabetic": "Лю"}]
    assert result["00080005"]["Value"] == value["00080005"]["Value"] == ["ISO_IR 192"]


def test_bad_items_are_named_errors():
    with pytest.raises(MalformedDataset):
        one(b"SQ", b"no items here")
    deep = b""
    for _ in range(40):
        deep = (
            bytes.fromhex("0800151153510000")
            + (len(deep) + 8).to_bytes(4, "little")
            + (bytes.fromhex("feff00e0") + len(deep).to_bytes(4, "little") + deep)
        )
    with pytest.raises(LimitExceeded):
        one(b"SQ", bytes.fromhex("feff00e0") + len(deep).to_bytes(4, "little") + deep)
