"""How many studies a server gives away: estimates hold what is there, and the way they are made is gentle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.probe_dicom import Conduct, Scp, scp
from harness.probe_planted import PATIENT_ID, STUDY_DATE, STUDY_UID, study
from harness.probe_runs import Operator, Ran, operator

pytestmark = pytest.mark.interop
CAP = 1000
STUDIES, PER_PATIENT, IMAGES = 6000, 2, 120


@pytest.fixture
def prober() -> Iterator[Operator]:
    """Somebody with a key."""
    with operator() as made:
        yield made


def archive(studies: int) -> Conduct:
    """So many studies, evenly over the years from 2016, two of each patient, of 120 images each."""
    answers = []
    for number in range(studies):
        made = dict(study(number % 5000))
        made[STUDY_DATE] = f"{2016 + number % 10}{number // 10 % 12 + 1:02d}{number // 120 % 28 + 1:02d}".encode()
        made[STUDY_UID] = f"1.2.826.0.1.3680043.9.99.{number}".encode()
        made[PATIENT_ID] = f"MR{number // PER_PATIENT}".encode()
        answers.append(made)
    return Conduct(answers=tuple(answers))


def counted(prober: Operator, mock: Scp) -> tuple[Ran, dict[str, tuple[int, int | None]], dict[str, Any]]:
    """A run at L2, its estimates, and what it noted of its count."""
    ran = prober.probe({"name": "archive", "addresses": ["127.0.0.1"], "dicom_ports": [mock.port]}, level="L2")
    estimates = {each["what"]: (each["low"], each["high"]) for each in ran.target("archive")["estimates"]}
    (seen,) = [each for each in ran.report["observations"] if each["step"] == "dicom.find_count"]
    return ran, estimates, seen["details"]


def test_a_small_archive_is_counted_exactly(prober: Operator) -> None:
    with scp(archive(130)) as mock:
        _, estimates, details = counted(prober, mock)
    assert estimates["studies"] == (130, 130)
    assert estimates["patients"] == (65, 65)
    assert estimates["images"] == (130 * IMAGES, 130 * IMAGES)
    assert "cancelled" not in details
    assert not mock.requests("C-CANCEL") or len(mock.requests("C-CANCEL")) <= 3


def test_of_a_large_archive_there_is_a_bound_that_holds_and_a_guess(prober: Operator) -> None:
    """It is cancelled at the cap. That a fast server has sent more by then is no fault of it."""
    with scp(archive(STUDIES)) as mock:
        _, estimates, details = counted(prober, mock)
    low, high = estimates["studies"]
    assert CAP <= low <= STUDIES
    assert high is None or high >= STUDIES
    assert details["cancelled"] == "kept"
    assert details["slices"] == 8
    assert STUDIES / 3 < details["estimated_studies"] < 3 * STUDIES
    asked = [each.identifier[STUDY_DATE] for each in mock.requests("C-FIND") if STUDY_DATE in each.identifier]
    weeks = {each for each in asked if b"-" in each}
    assert len(weeks) == 7


def test_a_server_that_does_not_stop_is_cut_off(prober: Operator) -> None:
    with scp(Conduct(answers=archive(50).answers, endless=True)) as mock:
        ran, estimates, details = counted(prober, mock)
    assert details["cancelled"] == "ignored"
    low, high = estimates["studies"]
    assert low == 50
    assert high is None
    assert ran.peak_bytes < 160 << 20
    assert max(visit.sent_bytes for visit in mock.listener.visits) < 32 << 20
