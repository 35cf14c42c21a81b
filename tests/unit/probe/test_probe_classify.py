"""Traps, phantoms, demonstrations, synthetic objects, people."""

from __future__ import annotations

import pytest

from harness.probe_observed import seen, shape
from strongroom.probe.judging.classify import classify


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("real-looking", {"looked_at": 20, "has_name": 20}),
        ("real-looking", {"looked_at": 20, "phantom": 17}),
        ("phantom", {"looked_at": 20, "phantom": 18}),
        ("demo", {"looked_at": 20, "demo_uids": 20}),
        ("demo", {"looked_at": 20, "teaching": 19}),
        ("synthetic", {"looked_at": 20, "synthetic": 20}),
        ("unknown", {"looked_at": 0}),
    ],
)
def test_the_kind(kind: str, counts: dict[str, int]) -> None:
    found = classify([seen("dicom.find_shape", **shape(**counts))])
    assert found.kind == kind
    assert found.reasons


def test_nothing_looked_at_is_unknown() -> None:
    assert classify([seen("dicom.echo")]).kind == "unknown"


def test_one_patient_everywhere_and_everybody_let_in_is_a_trap() -> None:
    same = seen("dicom.find_shape", **shape(looked_at=9, has_name=9, identical=True))
    assert classify([same]).kind == "real-looking"
    assert classify([same, seen("dicom.called_title"), seen("dicom.calling_title")]).kind == "honeypot"


def test_both_doors_are_looked_at_together() -> None:
    dimse = seen("dicom.find_shape", **shape(looked_at=10, phantom=10))
    web = seen("http.qido_shape", **shape(looked_at=10))
    assert classify([dimse, web]).kind == "real-looking"
