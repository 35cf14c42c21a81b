"""The Native DICOM Model: there and back for every sample and any data set, and what XML is refused."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.samples import sample_files
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.jsonmodel import tree_to_json
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.tree import parse_dataset
from strongroom.dicom.xmlmodel import NAMESPACE, from_xml, to_xml
from strongroom.errors import LimitExceeded, MalformedDataset, Refused


def test_a_tag_of_a_million_attributes_is_not_read_to_its_end() -> None:
    """It would take seconds, and hundreds of megabytes, before the model could refuse the first of them."""
    many = " ".join(f'a{number}="1"' for number in range(1_000_000))
    began = time.process_time()
    with pytest.raises(MalformedDataset, match="tag of more than"):
        from_xml(document(f'<DicomAttribute tag="00100020" vr="LO" {many}/>'))
    assert time.process_time() - began < 0.5


def test_a_long_text_is_no_long_tag() -> None:
    text = "x" * 500_000
    read = from_xml(attribute(f'<Value number="1">{text}</Value>', vr="UT"), ROOMY)
    assert read["00100020"]["Value"] == [text]


ROOMY = ScanLimits(max_element_value_bytes=1 << 30, max_kept_bytes=1 << 30)
SMALL = ScanLimits(max_element_depth=3, max_element_count=20)


def document(inner: str) -> bytes:
    return f'<NativeDicomModel xmlns="{NAMESPACE}">{inner}</NativeDicomModel>'.encode()


def attribute(inner: str, tag: str = "00100020", vr: str = "LO") -> bytes:
    return document(f'<DicomAttribute tag="{tag}" vr="{vr}">{inner}</DicomAttribute>')


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.name)
def test_every_sample_goes_there_and_back(path: Path) -> None:
    raw = path.read_bytes()
    try:
        header = parse_file_header(raw)
        syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
        elements = parse_dataset(raw[header.data_set_offset :], syntax, ROOMY)
    except (MalformedDataset, LimitExceeded, Refused, KeyError):
        pytest.skip("not a data set")
    dataset = tree_to_json(elements, (), syntax, max_inline_bytes=1 << 30)
    written = to_xml(dataset)
    assert from_xml(written, ROOMY) == normal(dataset)
    assert ET.fromstring(written).tag == f"{{{NAMESPACE}}}NativeDicomModel"


def normal(dataset):
    """What a data set is once it has been XML: trailing carets mean nothing, and control characters are gone."""
    result = {}
    for name in sorted(dataset):
        element = dict(dataset[name])
        if element["vr"] == "PN" and "Value" in element:
            element["Value"] = [
                {group: clean(text).rstrip("^") for group, text in (value or {}).items() if text.strip("^")} or None
                for value in element["Value"]
            ]
        elif element["vr"] == "SQ" and "Value" in element:
            element["Value"] = [normal(item) for item in element["Value"]]
        elif "Value" in element:
            element["Value"] = [clean(value) if isinstance(value, str) else value for value in element["Value"]]
        result[name] = element
    return result


def clean(text):
    return "".join(
        char if char in "\t\n\r" or (char >= " " and char not in "\ufffe\uffff") else "\ufffd" for char in text
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAME = st.lists(TEXT.map(lambda text: text.replace("^", "")), min_size=1, max_size=5).map("^".join)
LEAF = st.one_of(
    st.lists(st.none() | TEXT, min_size=1, max_size=3).map(lambda values: {"vr": "LO", "Value": values}),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda values: {"vr": "SV", "Value": values}),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1).map(lambda v: {"vr": "DS", "Value": v}),
    st.sampled_from([["NaN"], ["inf", 1.5], ["-inf"]]).map(lambda values: {"vr": "FD", "Value": values}),
    st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), NAME, min_size=1).map(
        lambda name: {"vr": "PN", "Value": [name, None]}
    ),
    st.sampled_from([{"vr": "OB", "InlineBinary": "AAEC"}, {"vr": "OW", "BulkDataURI": "a?b=1&c=<\"'>"}, {"vr": "SQ"}]),
    st.just({"vr": "AT", "Value": ["00100020", "7FE00010"]}),
)
TAGS = st.integers(0x00080000, 0x7FE0FFFF).map(lambda tag: f"{tag:08X}")
DATASETS = st.recursive(
    st.dictionaries(TAGS, LEAF, max_size=4),
    lambda inner: st.dictionaries(
        TAGS, st.lists(inner, min_size=1, max_size=2).map(lambda items: {"vr": "SQ", "Value": items}), max_size=2
    ),
    max_leaves=6,
)


@given(DATASETS)
def test_any_data_set_goes_there_and_back(dataset) -> None:
    assert from_xml(to_xml(dataset)) == normal(dataset)


def test_is_written_as_the_standard_shows_it() -> None:
    dataset = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00090010": {"vr": "LO", "Value": ['A "creator" & co']},
        "00091001": {"vr": "UN", "InlineBinary": "AAAA"},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO"},
        "00280010": {"vr": "US", "Value": [512]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://archive/1"},
    }
    assert to_xml(dataset).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
        '<DicomAttribute tag="00080005" vr="CS" keyword="SpecificCharacterSet">'
        '<Value number="1">ISO_IR 192</Value></DicomAttribute>'
        '<DicomAttribute tag="00090010" vr="LO" keyword="PrivateCreator">'
        '<Value number="1">A &quot;creator&quot; &amp; co</Value></DicomAttribute>'
        '<DicomAttribute tag="00091001" vr="UN" privateCreator="A &quot;creator&quot; &amp; co">'
        "<InlineBinary>AAAA</InlineBinary></DicomAttribute>"
        '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1">'
        "<Alphabetic><FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic>"
        "</PersonName></DicomAttribute>"
        '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"/>'
        '<DicomAttribute tag="00280010" vr="US" keyword="Rows"><Value number="1">512</Value></DicomAttribute>'
        '<DicomAttribute tag="7FE00010" vr="OW" keyword="PixelData"><BulkData uri="http://archive/1"/></DicomAttribute>'
        "</NativeDicomModel>\n"
    )


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ('<Value number="1">a</Value><Value number="3">c</Value>', ["a", None, "c"]),
        ('\n  <Value number="1"> a&#13; </Value>\n', [" a\r "]),
        ('<!-- a remark --><Value number="1"><![CDATA[<&>]]></Value>', ["<&>"]),
    ],
)
def test_what_others_write_is_read(inner: str, expected: list[str | None]) -> None:
    assert from_xml(attribute(inner)) == {"00100020": {"vr": "LO", "Value": expected}}


def test_private_attributes_find_their_block() -> None:
    private = '<DicomAttribute tag="{}" vr="LO" privateCreator="{}"><Value number="1">x</Value></DicomAttribute>'
    reserved = '<DicomAttribute tag="00090010" vr="LO"><Value number="1">FIRST</Value></DicomAttribute>'
    found = from_xml(document(reserved + private.format("00090001", "FIRST") + private.format("000900FF", "SECOND")))
    assert {name: element["Value"] for name, element in found.items()} == {
        "00090010": ["FIRST"], "00090011": ["SECOND"], "00091001": ["x"], "000911FF": ["x"],
    }  # fmt: skip


LAUGHS = b'<!DOCTYPE n [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no xml",
        b"<NativeDicomModel>",
        b"<NativeDicomModel/><NativeDicomModel/>",
        b"<other/>",
        b'<x:NativeDicomModel xmlns:x="urn:other"/>',
        b"<!DOCTYPE NativeDicomModel><NativeDicomModel/>",
        b'<!DOCTYPE n SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        LAUGHS + b"<NativeDicomModel>&b;</NativeDicomModel>",
        b"<NativeDicomModel>&a;</NativeDicomModel>",
        b'<?xml version="1.0"?><?target do?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="UTF-16"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="ISO-8859-1"?><NativeDicomModel/>',
        '<?xml version="1.0"?><NativeDicomModel/>'.encode("utf-16"),
        b"<NativeDicomModel>\xff</NativeDicomModel>",
        document("text"),
        document('<Item number="1"/>'),
        document("<Value/>"),
        document('<DicomAttribute tag="0010002" vr="LO"/>'),
        document('<DicomAttribute tag="00100020" vr="XX"/>'),
        document('<DicomAttribute tag="00100020"/>'),
        document('<DicomAttribute tag="00100020" vr="LO"/>' * 2),
        attribute("text"),
        attribute("<Value>x</Value>"),
        attribute('<Value number="0">x</Value>'),
        attribute('<Value number="-1">x</Value>'),
        attribute('<Value number="²">x</Value>'),
        attribute('<Value number="2">x</Value><Value number="1">x</Value>'),
        attribute('<Value number="1"><Value number="1">x</Value></Value>'),
        attribute('<Item number="1"/>'),
        attribute('<Value number="1">x</Value>', vr="SQ"),
        attribute('<Value number="1">x</Value>', vr="PN"),
        attribute('<Value number="1">x</Value>', vr="US"),
        attribute('<Value number="1">1.5</Value>', vr="US"),
        attribute('<Value number="1">1_0</Value>', vr="UL"),
        attribute(f'<Value number="1">{"9" * 5000}</Value>', vr="UL"),
        attribute("<BulkData/>", vr="OB"),
        attribute('<BulkData uuid="1.2.3"/>', vr="OB"),
        attribute('<BulkData uri="a"/><InlineBinary>AAAA</InlineBinary>', vr="OB"),
        attribute('<Value number="1">x</Value><InlineBinary>AAAA</InlineBinary>'),
    ],
)
def test_refuses(raw: bytes) -> None:
    with pytest.raises(MalformedDataset):
        from_xml(raw)


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        (document("".join(f'<DicomAttribute tag="0011{n:04X}" vr="LO"/>' for n in range(30))), "max_element_count"),
        (attribute("".join(f'<Value number="{n}">x</Value>' for n in range(1, 30))), "max_element_count"),
        (attribute('<Value number="999999999">x</Value>'), "max_element_count"),
        (
            document(
                '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 4 + "</Item></DicomAttribute>" * 4
            ),
            "max_element_depth",
        ),
    ],
)  # fmt: skip
def test_names_the_limit(raw: bytes, limit: str) -> None:
    with pytest.raises(LimitExceeded) as over:
        from_xml(raw, SMALL)
    assert over.value.limit_name == limit


@pytest.mark.parametrize("dataset", [{"x": {"vr": "LO"}}, {"00100020": {}}, {"00100020": {"vr": "LO", "Value": [[]]}}])
def test_what_is_no_data_set_is_not_written(dataset) -> None:
    with pytest.raises(MalformedDataset):
        to_xml(dataset)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_data_set_or_a_named_refusal(body: bytes) -> None:
    for raw in (body, document("").replace(b"></", b">" + body + b"</")):
        try:
            from_xml(raw, SMALL)
        except (MalformedDataset, LimitExceeded):
            continue
