"""Versions compared, versions read out of names, and a table in which every row can be meant."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.probe.judging.vulnerable import (
    faults_of,
    known_faults,
    parse_known_faults,
    version_key,
    version_of_implementation,
)

IN_ORDER = [
    "0.9", "1.4.17", "1.5.0-rc1", "1.5.0", "1.5.0b", "1.5.0c", "1.5.1", "1.5.10", "1.12.2", "1.12.11-rc1", "1.12.11",
    "1.12.11.1", "3.6.9", "3.6.10", "3.7", "10.0",
]  # fmt: skip


def test_versions_are_compared_by_number_and_letter() -> None:
    keys = [version_key(version) for version in IN_ORDER]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("one", "same"), [("3.6", "3.6.0"), ("v1.2", "1.2"), (" 1.12.3 ", "1.12.3.0")])
def test_the_same_version_is_the_same_however_it_is_written(one: str, same: str) -> None:
    assert version_key(one) == version_key(same)


@pytest.mark.parametrize("text", ["", "mainline", "unknown", "Doe^Jane", "-", "."])
def test_what_is_no_version_is_never_vulnerable(text: str) -> None:
    assert version_key(text) == ()
    assert faults_of("orthanc", text) == ()


@given(st.text(max_size=40))
def test_any_text_is_a_version_or_none(text: str) -> None:
    assert isinstance(version_key(text), tuple)
    version_of_implementation(text)


@pytest.mark.parametrize(
    ("name", "product", "version"),
    [
        ("OFFIS_DCMTK_369", "dcmtk", "3.6.9"),
        ("OFFIS_DCMTK_3610", "dcmtk", "3.6.10"),
        ("PYNETDICOM_304", "pynetdicom", "3.0.4"),
        ("PYNETDICOM_210", "pynetdicom", "2.1.0"),
        ("dcm4che-5.29.0", "dcm4chee", "5.29.0"),
        ("CONQUEST 1.5.0c", "conquest", "1.5.0c"),
    ],
)
def test_a_version_is_read_out_of_an_implementation_version_name(name: str, product: str, version: str) -> None:
    assert version_of_implementation(name) == (product, version)


@pytest.mark.parametrize("name", ["", "OFFIS_DCMTK", "DCMTK_36", "DCMTK_361234", "MERGECOM3_390", "9.9.9"])
def test_a_name_without_a_version_has_none(name: str) -> None:
    assert version_of_implementation(name) is None


@pytest.mark.parametrize(
    ("product", "version", "expected"),
    [
        ("orthanc", "1.10.1", {"CVE-2026-5437", "CVE-2023-33466"}),
        ("orthanc", "1.12.11", set()),
        ("orthanc", "1.5.7+dfsg-1", {"CVE-2026-5437", "CVE-2023-33466", "CVE-2025-0896"}),
        ("dcmtk", "3.6.9", {"CVE-2026-50003", "CVE-2026-5663", "CVE-2025-9732"}),
        ("dcmtk", "3.6.10", {"CVE-2026-50003", "CVE-2026-5663", "CVE-2025-9732"}),
        ("dcmtk", "3.7.1", set()),
        ("pynetdicom", "3.0.3", {"CVE-2026-56445"}),
        ("pynetdicom", "0.9.9", set()),
        ("pynetdicom", "3.0.4", set()),
        ("conquest", "1.4.17", {"CVE-2020-35308"}),
        ("conquest", "1.5.0c", set()),
        ("dicoogle", "2.5.0", {"CVE-2018-25113"}),
        ("dicoogle", "3.3.1", set()),
        ("nobody", "1.0", set()),
    ],
)
def test_a_fault_is_known_of_the_versions_it_is_in(product: str, version: str, expected: set[str]) -> None:
    assert {fault.cve[0] for fault in faults_of(product, version)} == expected


def test_the_worst_comes_first() -> None:
    assert [fault.severity for fault in faults_of("orthanc", "1.10.1")] == ["critical", "high"]


def test_the_table_has_a_day_and_no_fault_twice() -> None:
    table = known_faults()
    assert table.as_of == "2026-11-22"
    listed = [(fault.product, cve) for fault in table.faults for cve in fault.cve]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(cve=[]),
        lambda row: row.update(cve=["CVE-26-1"]),
        lambda row: row.update(severity="awful"),
        lambda row: row.update(below="soon"),
        lambda row: row.update(source=""),
        lambda row: row.update(colour="red"),
        lambda row: row.pop("what"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(change: Any) -> None:
    raw = tomllib.loads((files("strongroom.probe.judging") / "vulnerable.toml").read_text("utf-8"))
    change(raw["fault"][0])
    with pytest.raises(ValueError, match=r"."):
        parse_known_faults(raw)
