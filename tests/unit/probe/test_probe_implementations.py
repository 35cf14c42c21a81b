"""Implementation UIDs and version names: what is known is named, and nothing else is shown as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_planted import GIVEN, PLAIN_SSN
from strongroom.probe.dimse.implementations import shown_uid, shown_version


@pytest.mark.parametrize(
    ("uid", "shown"),
    [
        ("1.2.276.0.7230010.3.0.3.6.7", "1.2.276.0.7230010.3.0.3 (DCMTK)"),
        ("1.2.826.0.1.3680043.9.3811.3.0.4", "1.2.826.0.1.3680043.9.3811 (pynetdicom)"),
        ("1.2.40.0.13.1.3", "1.2.40.0.13.1 (dcm4che)"),
        ("1.2.40.0.13.11", "9.9.99.9.99.99"),
        (f"1.2.826.0.1.3680043.10.{PLAIN_SSN}", "9.9.999.9.9.999.99.999"),
    ],
)
def test_a_known_prefix_is_named_and_the_rest_is_not_shown(uid: str, shown: str) -> None:
    assert shown_uid(uid) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("OFFIS_DCMTK_367", "OFFIS_DCMTK_367"),
        ("PYNETDICOM_304", "PYNETDICOM_304"),
        ("dcm4che-5.29.0", "dcm4che-5.29.0"),
        ("ORTHANC", "ORTHANC"),
        (f"{GIVEN}_1", "AAA_9"),
        (PLAIN_SSN, "999"),
        ("219-37-4581", "999-99-999"),
    ],
)
def test_a_version_name_of_a_known_product_is_shown(name: str, shown: str) -> None:
    assert shown_version(name) == shown


@given(st.text(max_size=80))
def test_whatever_is_shown_can_be_printed(text: str) -> None:
    for shown in (shown_uid(text), shown_version(text)):
        assert shown.isascii()
        assert shown.isprintable() or not shown
