"""Metadata that are to be stored: what is refused, and what is encoded says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.samples import sample_files
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dicom.elements import PIXEL_DATA, ScanLimits
from strongroom.dicom.jsonmodel import tree_to_json
from strongroom.dicom.metadata import (
    BulkValue,
    MetadataLimits,
    around_fragment,
    around_value,
    assemble,
    checked,
    native_pixel_bytes,
    parse_json,
)
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, MalformedDataset, Refused

LIMITS = MetadataLimits(max_metadata_values=1000, max_element_depth=3)
ROOMY = MetadataLimits(max_metadata_values=1_000_000, max_element_depth=32)
SCAN = ScanLimits(max_element_value_bytes=1 << 30, max_kept_bytes=1 << 30)


def read_back(raw: bytes) -> dict[str, Any]:
    return tree_to_json(
        parse_dataset(raw, EXPLICIT_VR_LITTLE_ENDIAN, SCAN), (), EXPLICIT_VR_LITTLE_ENDIAN, max_inline_bytes=1 << 30
    )


def without(dataset: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: attribute for name, attribute in dataset.items() if name not in names}


def plain(dataset: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """A data set as it comes back: no group lengths, no empty sequences' difference, no inner character sets."""
    result = {}
    for name in sorted(dataset):
        attribute = dict(dataset[name])
        if name.endswith("0000") or (depth and name == "00080005"):
            continue
        if attribute["vr"] == "SQ" and "Value" in attribute:
            attribute["Value"] = [plain(item, depth + 1) for item in attribute["Value"]]
        result[name] = attribute
    return result


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_every_sample_as_json_is_encoded_and_says_the_same(path: Path) -> None:
    raw = path.read_bytes()
    try:
        header = parse_file_header(raw)
        syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
        elements = parse_dataset(raw[header.data_set_offset :], syntax, SCAN)
    except (MalformedDataset, LimitExceeded, Refused, KeyError):
        pytest.skip("not a data set")
    dataset = tree_to_json(elements, (), syntax, max_inline_bytes=1 << 30)
    (found,) = parse_json(json.dumps([dataset]).encode(), ROOMY)
    if any(int(name[:4], 16) < 8 for name in dataset):  # a DICOMDIR, or what cannot be in a data set at all
        with pytest.raises(MalformedDataset):
            checked(found, ROOMY)
        return
    (encoded,) = assemble(checked(found, ROOMY)) or [b""]
    assert isinstance(encoded, bytes)
    assert without(read_back(encoded), {"00080005"}) == without(plain(dataset), {"00080005"})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[",
        b"[{]",
        b"\xff",
        b"\xef\xbb\xbf[]",
        '[{"00100020": {"vr": "LO"}}]'.encode("utf-16"),
        b'[{"00100020": {"vr": "LO"}, "00100020": {"vr": "LO"}}]',
        b'[{"00100020": {"vr": "LO", "vr": "SH"}}]',
        b'[{"00280010": {"vr": "DS", "Value": [NaN]}}]',
        b'[{"00280010": {"vr": "DS", "Value": [Infinity]}}]',
        b'[{"00280010": {"vr": "DS", "Value": [-Infinity]}}]',
        b'[{"00280010": {"vr": "DS", "Value": [1e999]}}]',
        b'[{"00280010": {"vr": "IS", "Value": [' + b"9" * 10_000 + b"]}}]",
        b'[{"00280010": {"vr": "DS", "Value": [1.' + b"9" * 10_000 + b"]}}]",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedDataset):
        parse_json(raw, LIMITS)


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        (b"[" * 100_000, "max_metadata_values"),
        (b"[" * 5000 + b"]" * 5000, "max_element_depth"),
        (b"[" + b"1," * 1000 + b"1]", "max_metadata_values"),
        (b"[" + b"[]," * 1000 + b"[]]", "max_metadata_values"),
    ],
)
def test_json_is_limited_before_memory_is_taken(raw: bytes, limit: str) -> None:
    with pytest.raises(LimitExceeded) as over:
        parse_json(raw, LIMITS if limit == "max_metadata_values" else ROOMY)
    assert over.value.limit_name == limit


def attribute(vr: str, *values: object, **other: object) -> dict[str, Any]:
    return {"00100020": {"vr": vr} | ({"Value": list(values)} if values else {}) | other}


@pytest.mark.parametrize(
    "dataset",
    [
        [],
        "text",
        None,
        {"0010002": {"vr": "LO"}},
        {"0x100020": {"vr": "LO"}},
        {"PatientID": {"vr": "LO"}},
        {"00000010": {"vr": "LO"}},
        {"00040010": {"vr": "LO"}},
        {"FFFEE000": {"vr": "LO"}},
        {"0010002a": {"vr": "LO"}, "0010002A": {"vr": "LO"}},
        {"00100020": "text"},
        {"00100020": {}},
        {"00100020": {"vr": "XX"}},
        {"00100020": {"vr": 5}},
        {"00100020": {"vr": ["LO"]}},
        {"00100020": {"vr": "LO", "Value": "text"}},
        {"00100020": {"vr": "LO", "Value": {}}},
        {"00100020": {"vr": "LO", "Values": ["x"]}},
        attribute("OB", "x", InlineBinary="AAAA"),
        attribute("OB", InlineBinary="AAAA", BulkDataURI="x"),
        attribute("OB", 1),
        attribute("LO", InlineBinary="AAAA"),
        attribute("OB", InlineBinary=5),
        attribute("OB", BulkDataURI=5),
        attribute("OB", BulkDataURI=""),
        attribute("SQ", BulkDataURI="x"),
        attribute("SQ", "x"),
        attribute("SQ", [{}]),
        attribute("LO", 5),
        attribute("LO", True),
        attribute("LO", ["x"]),
        attribute("LO", {"Alphabetic": "x"}),
        attribute("LO", "two\\values"),
        attribute("LO", "\ud800"),
        attribute("PN", "x"),
        attribute("PN", {"Other": "x"}),
        attribute("PN", {"Alphabetic": 5}),
        attribute("PN", {"Alphabetic": "x=y"}),
        attribute("PN", {"Alphabetic": "x\\y"}),
        attribute("US", 1.5),
        attribute("US", True),
        attribute("US", None),
        attribute("US", "1.5"),
        attribute("FD", None),
        attribute("FD", True),
        attribute("AT", "0010"),
        attribute("AT", 5),
    ],
)
def test_what_no_encoder_should_guess_at_is_refused(dataset: object) -> None:
    with pytest.raises(MalformedDataset):
        checked(dataset, LIMITS)


@pytest.mark.parametrize(
    "dataset",
    [
        attribute("US", 70_000),
        attribute("US", -1),
        attribute("SV", "99999999999999999999"),
        attribute("FL", 1e300),
        attribute("FD", "much"),
        attribute("OB", InlineBinary="not base64"),
        attribute("CS", "Ä"),
    ],
)
def test_values_that_do_not_fit_are_refused_when_they_are_encoded(dataset: dict[str, Any]) -> None:
    with pytest.raises(MalformedDataset):
        assemble(checked(dataset, LIMITS))


def nested(depth: int, inner: dict[str, Any]) -> dict[str, Any]:
    return inner if not depth else {"00081140": {"vr": "SQ", "Value": [nested(depth - 1, inner)]}}


def test_depth_is_limited() -> None:
    assert checked(nested(3, attribute("LO", "x")), LIMITS)
    with pytest.raises(LimitExceeded):
        checked(nested(4, attribute("LO", "x")), LIMITS)


def test_what_belongs_to_files_and_groups_is_left_out() -> None:
    dataset = {
        "00020010": {"vr": "UI", "Value": ["1.2"]},
        "00100000": {"vr": "UL", "Value": [4]},
        **attribute("LO", "x"),
    }
    assert checked(dataset, LIMITS) == attribute("LO", "x")


def test_the_character_set_is_that_of_the_text_written() -> None:
    utf_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert "00080005" not in checked(attribute("LO", "ascii"), LIMITS)
    for dataset in (
        attribute("LO", "Müller"),
        attribute("PN", {"Alphabetic": "Yamada", "Ideographic": "山田"}),
        nested(2, attribute("LO", "Müller")),
        {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, **attribute("LO", "ascii")},
        {**nested(1, {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, **attribute("LO", "Müller")})},
    ):
        found = checked(dataset, LIMITS)
        assert found["00080005"] == utf_8
        assert next(iter(found)) == "00080005"
        (encoded,) = assemble(found)
        assert isinstance(encoded, bytes)
        assert read_back(encoded) == found


def test_gaps_stand_where_bulk_data_belong() -> None:
    icon = {"7FE00010": {"vr": "OB", "BulkDataURI": "icon"}, "00280010": {"vr": "US", "Value": [2]}}
    dataset = checked(
        {
            "7FE00010": {"vr": "OW", "BulkDataURI": "pixels"},
            "00100020": {"vr": "LO", "Value": ["x"]},
            "00880200": {"vr": "SQ", "Value": [icon, {}]},
        },
        LIMITS,
    )
    pieces = assemble(dataset)
    gaps = [piece for piece in pieces if isinstance(piece, BulkValue)]
    assert gaps == [BulkValue(PIXEL_DATA, b"OB", "icon", True), BulkValue(PIXEL_DATA, b"OW", "pixels")]
    whole = b""
    for piece in pieces:
        if isinstance(piece, BulkValue):
            before, behind = around_value(piece, 3)
            whole += before + b"abc" + behind
        else:
            whole += piece
    found = read_back(whole)
    assert found["7FE00010"] == {"vr": "OW", "InlineBinary": "YWJjAA=="}
    assert found["00880200"]["Value"][0]["7FE00010"] == {"vr": "OB", "InlineBinary": "YWJjAA=="}
    assert found["00880200"]["Value"][1] == {}


@pytest.mark.parametrize("size", [0, 3, 4, 65_534, 70_001])
def test_a_value_is_as_long_as_its_header_says(size: int) -> None:
    for vr in (b"OB", b"UT", b"DS", b"UI"):
        before, behind = around_value(BulkValue(0x00091010, vr, "x"), size)
        (element,) = parse_dataset(before + b"1" * size + behind, EXPLICIT_VR_LITTLE_ENDIAN, SCAN)
        assert len(element.value) == size + size % 2


def test_a_fragment_is_encapsulated() -> None:
    before, behind = around_fragment(3)
    (element,) = parse_dataset(before + b"abc" + behind, EXPLICIT_VR_LITTLE_ENDIAN)
    assert (element.vr, element.value) == (
        b"OB",
        b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\4\0\0\0abc\0",
    )


def test_what_no_length_field_can_say_is_refused() -> None:
    for around in (lambda: around_value(BulkValue(PIXEL_DATA, b"OW", "x"), 2**32 - 2), lambda: around_fragment(2**32)):
        with pytest.raises(MalformedDataset):
            around()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"00280010": 4, "00280011": 3, "00280100": 16}, 24),
        ({"00280010": 4, "00280011": 3, "00280100": 8, "00280002": 3, "00280008": "5"}, 180),
        ({"00280010": 3, "00280011": 3, "00280100": 1}, 2),
        ({"00280010": 4, "00280011": 3}, None),
        ({"00280010": 4, "00280100": 16}, None),
        ({"00280010": "x", "00280011": 3, "00280100": 16}, None),
        ({"00280010": -4, "00280011": 3, "00280100": 16}, None),
    ],
)
def test_the_length_of_pixel_data_is_foreseen(values: dict[str, object], expected: int | None) -> None:
    dataset = {name: {"vr": "US", "Value": [value]} for name, value in values.items()}
    assert native_pixel_bytes(dataset) == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "InlineBinary", "BulkDataURI", "00100020"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(JSON_VALUES)
def test_any_json_is_encoded_or_refused_by_name(value: Any) -> None:
    for dataset in (value, {"00100020": value}, {"00081140": {"vr": "SQ", "Value": [{"00100010": value}]}}):
        try:
            assemble(checked(dataset, LIMITS))
        except (MalformedDataset, LimitExceeded):
            continue


@given(st.sampled_from(["AE", "CS", "LO", "PN", "DS", "IS", "US", "FD", "AT", "SQ", "OB", "UT"]), JSON_VALUES)
def test_any_value_of_any_vr_is_encoded_or_refused_by_name(vr: str, value: Any) -> None:
    try:
        (encoded,) = assemble(checked({"00100020": {"vr": vr, "Value": [value]}}, LIMITS)) or [b""]
    except (MalformedDataset, LimitExceeded):
        return
    assert isinstance(encoded, bytes)
    parse_dataset(encoded, EXPLICIT_VR_LITTLE_ENDIAN)
