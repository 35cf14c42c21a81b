"""A data set as rows: all of it, in order, cut where it is long, and what somebody looks for in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.web.ui import attributes
from strongroom.web.ui.attributes import MAX_VALUE_CHARS, rows_of

DATASET: dict[str, Any] = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
    "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["2.25.1"]}}, {}]},
    "00204000": {"vr": "LT", "Value": ["x" * (MAX_VALUE_CHARS + 7)]},
    "00280010": {"vr": "US", "Value": [512]},
    "00091001": {"vr": "UN", "InlineBinary": "QUJD"},
    "7FE00010": {"vr": "OW", "BulkDataURI": "https://pacs.example/x"},
}


def test_every_element_is_a_row_in_the_order_of_tags() -> None:
    rows, is_cut = rows_of(DATASET)
    assert not is_cut
    assert [(row.depth, row.tag, row.keyword, row.value) for row in rows if row.keyword != "ImageComments"] == [
        (0, "(0008,0008)", "ImageType", "ORIGINAL\\\\AXIAL"),
        (0, "(0008,0016)", "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2 (CT Image Storage)"),
        (0, "(0008,1140)", "ReferencedImageSequence", "2 items"),
        (1, "", "Item 1", ""),
        (2, "(0008,1155)", "ReferencedSOPInstanceUID", "2.25.1"),
        (1, "", "Item 2", ""),
        (0, "(0009,1001)", "", "Base64: QUJD"),
        (0, "(0010,0010)", "PatientName", "Yamada^Tarou=山田^太郎"),
        (0, "(0028,0010)", "Rows", "512"),
        (0, "(7FE0,0010)", "PixelData", "bulk data, not shown here"),
    ]


def test_what_is_long_is_cut_and_says_so() -> None:
    (row,) = (row for row in rows_of(DATASET)[0] if row.keyword == "ImageComments")
    assert (row.value, row.cut_chars) == ("x" * MAX_VALUE_CHARS, 7)


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("(0028,0010)", "Rows"), ("00280010", "Rows"), ("rows", "Rows"), ("512", "Rows"), ("YAMADA", "PatientName"),
        ("太郎", "PatientName"), ("ct image", "SOPClassUID"), (" 2.25.1 ", "ReferencedSOPInstanceUID"),
        ("x" * (MAX_VALUE_CHARS + 1), "ImageComments"),
    ],
)  # fmt: skip
def test_one_finds_by_tag_keyword_and_value(text: str, keyword: str) -> None:
    assert [row.keyword for row in rows_of(DATASET, text)[0]] == [keyword]


def test_there_is_an_end_to_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MAX_ROWS", 3)
    rows, is_cut = rows_of(DATASET)
    assert (len(rows), is_cut) == (3, True)


@given(
    st.dictionaries(
        st.integers(0, 0xFFFFFFFF).map("{:08X}".format),
        st.fixed_dictionaries({"vr": st.text(max_size=3), "Value": st.lists(st.none() | st.text() | st.integers())}),
    ),
    st.text(max_size=8),
)
def test_whatever_a_data_set_says_makes_rows(dataset: dict[str, Any], text: str) -> None:
    dataset = {tag: element for tag, element in dataset.items() if element["vr"] != "SQ"}
    everything = rows_of(dataset)[0]
    assert len(everything) == len(dataset)
    assert set(rows_of(dataset, text)[0]) <= set(everything)
