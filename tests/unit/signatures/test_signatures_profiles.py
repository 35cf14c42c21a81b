"""What the profiles of PS3.15 annex C demand."""

from __future__ import annotations

import pytest

from strongroom.dicom.dictionary import tag_of
from strongroom.signatures.profiles import AUTHORIZATION, CREATOR, STRUCTURED_REPORT, met_by


def tags(*keywords: str) -> set[int]:
    found = {tag_of(keyword) for keyword in keywords}
    assert None not in found
    return {tag for tag in found if tag is not None}


IDENTITY = tags("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IMAGE = IDENTITY | tags("Rows", "Columns", "PixelData", "InstanceNumber")


def met(signed: set[int], present: set[int], purpose: str = "", *, is_verified: bool = False) -> list[str]:
    return list(met_by(signed, present, purpose=purpose, is_verified=is_verified))


def test_an_image_with_all_that_is_demanded() -> None:
    assert met(IMAGE, IMAGE | tags("PatientName")) == [CREATOR, AUTHORIZATION]


@pytest.mark.parametrize("left_out", ["Rows", "PixelData", "SOPInstanceUID", "InstanceNumber"])
def test_what_is_left_out_of_an_image(left_out: str) -> None:
    assert met(IMAGE - tags(left_out), IMAGE) == []


def test_the_creator_signs_the_equipment_and_the_time() -> None:
    for keyword in ("Manufacturer", "StationName", "InstanceCreationDate"):
        assert met(IMAGE, IMAGE | tags(keyword)) == [AUTHORIZATION]


@pytest.mark.parametrize("tag", [0x60003000, 0x60020010, 0x50003000])
def test_overlays_and_curves(tag: int) -> None:
    assert met(IMAGE, IMAGE | {tag}) == []
    assert met(IMAGE | {tag}, IMAGE | {tag}) == [CREATOR, AUTHORIZATION]


def test_private_elements_of_raw_data_only() -> None:
    raw = tags("CreatorVersionUID")
    assert met(IMAGE, IMAGE | {0x00091001}) == [CREATOR, AUTHORIZATION]
    assert met(IMAGE | raw, IMAGE | raw | {0x00091001}) == []


def test_reports() -> None:
    report = IDENTITY | tags("ValueType", "ContentSequence")
    assert met(report, report, "1") == [CREATOR, AUTHORIZATION, STRUCTURED_REPORT]
    assert STRUCTURED_REPORT not in met(report, report)
    assert STRUCTURED_REPORT not in met(report - tags("ContentSequence"), report, "1")
    assert met(report - tags("SOPInstanceUID"), report, "1") == [STRUCTURED_REPORT]


def test_signatures_that_verify_a_report() -> None:
    verified = tags("VerificationFlag", "VerifyingObserverSequence")
    report = IDENTITY | tags("ValueType", "ContentSequence") | verified
    assert STRUCTURED_REPORT in met(report, report, "5", is_verified=True)
    assert STRUCTURED_REPORT not in met(report - verified, report, "5", is_verified=True)
    assert STRUCTURED_REPORT in met(report - verified, report, "1", is_verified=True)
