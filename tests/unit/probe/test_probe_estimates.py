"""Numbers with their bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_observed import DONE, REFUSED, seen, shape
from strongroom.probe.judging.estimates import estimate, wilson
from strongroom.probe.judging.findings import Estimate
from strongroom.probe.model import Identity


def found(what: str, *observations: object) -> Estimate:
    (one,) = [each for each in estimate(observations) if each.what == what]  # type: ignore[arg-type]
    return one


def test_a_count_to_the_end_is_exact() -> None:
    counted = found("studies", seen("dicom.find_count", studies=1234, images=9, capped=False))
    assert (counted.low, counted.high, str(counted)) == (1234, 1234, "1,234")


def test_a_count_that_was_cancelled_is_a_lower_bound() -> None:
    capped = seen("dicom.find_count", studies=500, capped=True, from_date="20200101", to_date="20201231",
                  estimated_studies=9000)  # fmt: skip
    counted = found("studies", capped)
    assert (counted.low, counted.high, str(counted)) == (500, None, "at least 500")
    assert "20200101 to 20201231" in counted.how
    assert "about 9,000" in counted.how


def test_a_small_archive_does_not_stand_for_a_large_one_beside_it() -> None:
    small = seen("dicom.find_count", port=104, studies=10, capped=False)
    large = seen("dicom.find_count", port=11112, studies=1000, capped=True)
    counted = found("studies", small, large)
    assert (counted.low, counted.high) == (1000, None)


def test_a_sample_of_a_count_that_broke_off_bounds_nothing() -> None:
    counted = seen("dicom.find_count", studies=10, capped=True)
    looked = seen("dicom.find_shape", **shape(looked_at=10, ssn_shaped=4))
    ssn = found("studies with SSN-shaped numbers", counted, looked)
    assert (ssn.low, ssn.high) == (4, None)


def test_the_servers_own_count_stands_for_a_capped_one() -> None:
    capped = seen("dicom.find_count", studies=500, capped=True)
    own = seen("http.rest", studies=812, patients=300, instances=40_000)
    assert found("studies", capped, own).low == 812
    assert found("images", capped, own).high == 40_000
    assert "own counts" in found("patients", capped, own).how


def test_what_only_a_certificate_could_count_is_said_to_be_so() -> None:
    known = seen("dicom.find_count", DONE, Identity.CERTIFICATE, studies=900, capped=False)
    assert "strangers are not" in found("studies", known).how
    stranger = seen("dicom.find_count", studies=3, capped=False)
    assert found("studies", known, stranger).low == 3


def test_a_count_that_got_nowhere_says_nothing() -> None:
    assert estimate([seen("dicom.find_count", studies=0, capped=True)]) == ()


def test_where_the_server_says_no_number_of_images_none_is_made_up() -> None:
    counted = seen("dicom.find_count", studies=3, patients=3, images=0, capped=False, keys=("no image counts",))
    assert [each.what for each in estimate([counted])] == ["patients", "studies"]
    assert "does not say how many images" in found("studies", counted).how
    some = seen("dicom.find_count", studies=3, images=7, capped=False, keys=("some without image counts",))
    assert (found("images", some).low, found("images", some).high) == (7, None)
    assert "does not say how many images" in found("images", some).how


def test_more_patients_than_studies_are_explained() -> None:
    counted = found("patients", seen("dicom.find_count", studies=1, patients=2, capped=False))
    assert "some study is said to be of several Patient IDs" in counted.how
    assert "several" not in found("patients", seen("dicom.find_count", studies=2, patients=2, capped=False)).how


def test_a_count_without_the_probes_own_objects_stands_for_the_servers_own() -> None:
    own = seen("http.rest", studies=9, patients=4, instances=11)
    counted = seen("http.qido_count", studies=7, patients=2, images=5, capped=False, keys=("canaries left out",))
    assert found("studies", own, counted).low == 7
    assert "probe's own are not in it" in found("patients", own, counted).how
    capped = seen("http.qido_count", studies=7, capped=True, keys=("canaries left out",))
    assert found("studies", own, capped).low == 9


def test_a_refused_count_is_none() -> None:
    assert estimate([seen("dicom.find_count", REFUSED)]) == ()


def test_numbers_shaped_like_ssns_are_a_share_of_a_sample() -> None:
    counted = found(
        "studies with SSN-shaped numbers",
        seen("dicom.find_count", studies=1000, capped=False),
        seen("dicom.find_shape", **shape(looked_at=25, ssn_shaped=5, ssn_bare=2)),
    )
    low, high = wilson(5, 25)
    assert counted.low >= 1000 * low
    assert counted.high is not None
    assert counted.low <= 200 <= counted.high <= 1000 * high
    assert "not a random one" in counted.how


def test_without_a_count_a_sample_is_only_what_was_seen() -> None:
    counted = found("studies with SSN-shaped numbers", seen("dicom.find_shape", **shape(looked_at=25, ssn_shaped=5)))
    assert (counted.low, counted.high) == (5, None)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341), (1, 25, 0.00710, 0.19540)],
)
def test_the_interval_is_that_of_wilson(hits: int, of: int, low: float, high: float) -> None:
    """Values of the score interval as published tables have them."""
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500))
def test_the_interval_holds_the_share_and_grows_with_it(looked_at: int) -> None:
    bounds = [wilson(hits, looked_at) for hits in range(looked_at + 1)]
    for hits, (low, high) in enumerate(bounds):
        assert 0 <= low <= hits / looked_at <= high <= 1
    assert all(low <= later for (low, _), (later, _) in pairwise(bounds))
