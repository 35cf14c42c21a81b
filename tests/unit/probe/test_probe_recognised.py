"""Products and versions, from what servers say of themselves."""

from __future__ import annotations

import pytest

from harness.probe_observed import DONE, REFUSED, TLS, seen
from strongroom.probe.judging.recognised import recognise
from strongroom.probe.model import Answer, Identity


def test_a_page_says_more_than_an_implementation_uid() -> None:
    found = recognise([
        seen("dicom.associate", implementation_uid="1.2.276.0.7230010.3.0.3 (DCMTK)",
             implementation_version="OFFIS_DCMTK_367"),
        seen("http.paths", product="Orthanc", version="1.12.11"),
    ])  # fmt: skip
    assert found.products == ("orthanc", "dcmtk")


def test_what_is_built_on_dcmtk_may_be_orthanc() -> None:
    said = seen("dicom.associate", implementation_uid="1.2.276.0.7230010.3.0.3 (DCMTK)")
    assert recognise([said, seen("http.root", REFUSED, status=401)]).products == ("dcmtk", "orthanc")


def test_what_is_built_on_dcmtk_and_has_no_web_interface_is_no_orthanc() -> None:
    said = seen("dicom.associate", implementation_uid="1.2.276.0.7230010.3.0.3 (DCMTK)")
    assert recognise([said]).products == ("dcmtk",)
    assert recognise([said, seen("http.root", Answer.UNREACHABLE)]).products == ("dcmtk",)


@pytest.mark.parametrize(
    ("version", "verdict"), [("1.12.8", "vulnerable"), ("1.12.10", "vulnerable"), ("1.12.11", "named"), ("2", "silent")]
)
def test_versions_are_compared_as_numbers(version: str, verdict: str) -> None:
    assert recognise([seen("http.root"), seen("http.paths", product="Orthanc", version=version)]).version == verdict


def test_the_version_of_dcmtk_is_in_its_name() -> None:
    found = recognise([seen("dicom.associate", implementation_version="OFFIS_DCMTK_371")])
    assert (found.version, found.faults) == ("named", ())
    older = recognise([seen("dicom.associate", implementation_version="OFFIS_DCMTK_366")])
    assert older.version == "vulnerable"
    assert any("CVE-2022-2119, CVE-2022-2120 and 5 more" in words for words in older.faults)


def test_the_version_of_tls_is_no_version_of_a_product() -> None:
    found = recognise([seen("http.root"), seen("tls.handshake", version="TLS 1.3")])
    assert found.version == "silent"


def test_a_version_of_one_product_is_not_held_against_another() -> None:
    found = recognise([seen("http.root", server="nginx/1.22.1"), seen("http.paths", product="Orthanc")])
    assert found.version == "named"


def test_what_is_told_to_those_who_have_a_certificate_is_not_told_to_strangers() -> None:
    known = seen("dicom.associate", DONE, Identity.CERTIFICATE, TLS, implementation_version="OFFIS_DCMTK_399")
    assert recognise([known, seen("dicom.associate", REFUSED, over=TLS)]).version == "silent"
    vulnerable = seen("dicom.associate", DONE, Identity.CERTIFICATE, TLS, implementation_version="OFFIS_DCMTK_360")
    assert recognise([vulnerable]).version == "vulnerable"


def test_a_server_that_says_nothing_is_silent_and_one_that_nobody_asked_is_unknown() -> None:
    assert recognise([seen("dicom.associate", implementation_version="AAA")]).version == "silent"
    assert recognise([seen("tcp.connect")]).version == "unknown"


@pytest.mark.parametrize("told", ["DCMTK_999.99.999", "DCMTK_999", "Orthanc/9.9.9"])
def test_the_shape_of_a_number_is_no_version(told: str) -> None:
    found = recognise([seen("dicom.associate", implementation_version=told)])
    assert (found.version, found.faults) == ("silent", ())
