"""Encoding: read back by pydicom and by ourselves, and never a wrong data set from a wrong value."""

import io

import pydicom
import pytest

from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from strongroom.dicom.encode import encode_answer, encode_json, encode_values
from strongroom.dicom.jsonmodel import tree_to_json
from strongroom.dicom.part10 import encode_file_meta
from strongroom.dicom.text import parse_charsets
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, LocalProtocolError, MalformedDataset

BOTH = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
ANSWER = {
    "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080020": {"vr": "DA", "Value": ["20200101"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jo", "Ideographic": "山田"}]},
    "00100020": {"vr": "LO"},
    "00081030": {"vr": "LO", "Value": ["odd"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00201208": {"vr": "IS", "Value": [3, None, -4]},
    "00180050": {"vr": "DS", "Value": [1.5, 0.1]},
    "00280010": {"vr": "US", "Value": [512]},
    "00189073": {"vr": "FD", "Value": [1.25, "inf"]},
    "00089215": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}, {}]},
    "00280009": {"vr": "AT", "Value": ["00181063"]},
    "00282000": {"vr": "OB", "InlineBinary": "AQIDBA=="},
    "00081190": {"vr": "UR", "Value": ["https://x"]},
}


def read(data, syntax):
    return pydicom.dcmread(io.BytesIO(encode_file_meta("1.2", "1.2.3", syntax.uid, "1.2", "T") + data))


@pytest.mark.parametrize("syntax", BOTH, ids=lambda syntax: syntax.name)
def test_json_makes_the_round_trip(syntax):
    data = encode_json(ANSWER, syntax)
    elements = parse_dataset(data, syntax)
    tags = [element.tag for element in elements]
    assert tags == sorted(tags)
    assert all(len(element.value) % 2 == 0 for element in elements)
    assert tree_to_json(elements, ("ISO_IR 192",), syntax) == ANSWER


@pytest.mark.parametrize("syntax", BOTH, ids=lambda syntax: syntax.name)
def test_pydicom_reads_it(syntax):
    dataset = read(encode_json(ANSWER, syntax), syntax)
    assert dataset.PatientName.alphabetic == "Müller^Jo"
    assert dataset.PatientName.ideographic == "山田"
    assert dataset.ModalitiesInStudy == ["CT", "SR"]
    assert dataset[0x00089215].value[0].CodeValue == "X"
    assert dataset.Rows == 512
    assert dataset.FrameIncrementPointer == 0x00181063
    assert dataset.ICCProfile == b"\1\2\3\4"


@pytest.mark.parametrize("syntax", BOTH, ids=lambda syntax: syntax.name)
def test_plain_values(syntax):
    values = {
        0x00100010: "A^B",
        0x00080052: "STUDY",
        0x00100020: None,
        0x00280010: 7,
        0x00180050: 0.1234567890123456789,
        0x00201208: [1, 2],
        0x00089215: [{0x00080100: "X"}],
        0x00282000: b"\1",
        0x00280009: 0x00181063,
    }
    dataset = read(encode_values(values, syntax), syntax)
    assert (dataset.PatientName, dataset.QueryRetrieveLevel, dataset.PatientID) == ("A^B", "STUDY", "")
    assert dataset.NumberOfStudyRelatedInstances == [1, 2]
    assert abs(float(dataset.SliceThickness) - 0.12345678901234568) < 1e-13
    assert len(str(dataset.SliceThickness.original_string)) <= 16
    assert dataset.ICCProfile == b"\1\0"


@pytest.mark.parametrize("number", [0.1, -1 / 3, 1e-300, -1.7976931348623157e308, 123456789.123456789, 1e16, 5.0])
def test_a_decimal_string_fits(number):
    (element,) = parse_dataset(encode_values({0x00180050: number}, BOTH[0]), BOTH[0])
    text = element.value.decode().strip()
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8)


def charset_of(data):
    return next(
        (element.value.decode().strip() for element in parse_dataset(data, BOTH[0]) if element.tag == 0x80005), ""
    )


def test_an_answer_is_in_the_set_asked_for_if_that_has_it():
    assert charset_of(encode_answer({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}, BOTH[0])) == ""
    umlaut = {**ANSWER, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}}
    latin = encode_answer(umlaut, BOTH[0], ("ISO_IR 100",))
    assert charset_of(latin) == "ISO_IR 100"
    assert b"M\xfcller" in latin
    assert charset_of(encode_answer(ANSWER, BOTH[0], ("ISO_IR 100",))) == "ISO_IR 192"
    assert charset_of(encode_answer(ANSWER, BOTH[0])) == "ISO_IR 192"
    japanese = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada", "Ideographic": "山田^太郎"}]}}
    data = encode_answer(japanese, BOTH[0], ("", "ISO 2022 IR 87"))
    assert charset_of(data) == "\\ISO 2022 IR 87"
    assert read(data, BOTH[0]).PatientName.ideographic == "山田^太郎"
    assert parse_charsets(b"\\ISO 2022 IR 87") == ("", "ISO 2022 IR 87")


def test_a_value_too_long_for_its_vr_becomes_un_in_explicit_vr():
    long = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "x" * 70_000}]}}
    (element,) = parse_dataset(encode_json(long, BOTH[0]), BOTH[0])
    assert (element.vr, len(element.value)) == (b"UN", 70_000)


@pytest.mark.parametrize(
    "dataset",
    [
        {"nonsense": {"vr": "CS"}},
        {"00100010": {"vr": "XX"}},
        {"00100010": {}},
        {"00100010": None},
        {"00280010": {"vr": "US", "Value": [70_000]}},
        {"00280010": {"vr": "US", "Value": ["x"]}},
        {"00280010": {"vr": "US", "Value": [None]}},
        {"00100010": {"vr": "LO", "Value": [{"Alphabetic": "x"}]}},
        {"00100010": {"vr": "AT", "Value": ["zz"]}},
        {"00282000": {"vr": "OB", "InlineBinary": "!!"}},
        {"00282000": {"vr": "OB", "InlineBinary": 5}},
    ],
)
def test_what_cannot_be_encoded_is_a_named_error(dataset):
    with pytest.raises(MalformedDataset):
        encode_json(dataset, BOTH[0])
    with pytest.raises(MalformedDataset):
        encode_answer(dataset, BOTH[0])


def test_an_answer_never_fails_on_text_that_its_vr_cannot_have():
    stored = {"00080060": {"vr": "CS", "Value": ["\ufffd", "MR"]}, "00100010": {"vr": "PN", "Value": ["Müller"]}}
    with pytest.raises(MalformedDataset):
        encode_json(stored, BOTH[0])
    for requested in ((), ("ISO_IR 100",)):
        given = {
            element.tag: element.value for element in parse_dataset(encode_answer(stored, BOTH[0], requested), BOTH[0])
        }
        assert given[0x00080060].strip() == b"?\\MR"
        assert b"ller" in given[0x00100010]


def test_nesting_is_bounded():
    nested = {}
    for _ in range(40):
        nested = {"00089215": {"vr": "SQ", "Value": [nested]}}
    with pytest.raises(LimitExceeded):
        encode_json(nested, BOTH[0])


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN])
def test_only_plain_little_endian_is_written(syntax):
    with pytest.raises(LocalProtocolError):
        encode_json({}, syntax)
