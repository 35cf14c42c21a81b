"""The matching language: what it matches, what it does not, and that what cannot be meant is an error."""

from __future__ import annotations

import pytest

from harness.probe_observed import DONE, FAILED, TLS, seen
from strongroom.probe.judging.conditions import BadCondition, Case, parse_condition
from strongroom.probe.judging.findings import Verdict
from strongroom.probe.model import Answer, Detail, Identity, Observation


def holds(raw: dict[str, object], *observations: Observation) -> bool:
    return parse_condition(raw).holds(Case(observations, {}, {}))


ECHO = seen("dicom.echo", DONE, Identity.STRANGER, status=0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"step": "dicom.echo"}, True),
        ({"step": "dicom.find_empty"}, False),
        ({"step": ["dicom.find_empty", "dicom.echo"]}, True),
        ({"step": "*", "answer": "done"}, True),
        ({"step": "dicom.echo", "as": "anyone"}, True),
        ({"step": "dicom.echo", "as": "named"}, False),
        ({"step": "dicom.echo", "as": ["named", "stranger"]}, True),
        ({"step": "dicom.echo", "over": "tls"}, False),
        ({"step": "dicom.echo", "over": "plain"}, True),
        ({"step": "dicom.echo", "answer": "no"}, False),
        ({"step": "dicom.echo", "answer": "reply"}, True),
        ({"step": "dicom.echo", "status": 0}, True),
        ({"step": "dicom.echo", "status": "= 0"}, True),
        ({"step": "dicom.echo", "status": "> 0"}, False),
        ({"step": "dicom.echo", "abort": "absent"}, True),
        ({"step": "dicom.echo", "status": "absent"}, False),
    ],
)
def test_an_observation_is_matched_by_all_that_is_named(raw: dict[str, object], expected: bool) -> None:
    assert holds(raw, ECHO) is expected


@pytest.mark.parametrize(
    ("accepted", "comparison", "expected"),
    [
        (("find", "store"), "has find", True),
        (("find", "store"), "has get|store", True),
        (("find",), "has fin", False),
        (("find",), "lacks store", True),
        (("find",), "lacks find", False),
        ((), "empty", True),
        (("find",), "not empty", True),
        (None, "lacks find", False),
        (None, "empty", False),
    ],
)
def test_lists_of_words(accepted: Detail | None, comparison: str, expected: bool) -> None:
    details = {} if accepted is None else {"accepted": accepted}
    assert holds({"step": "dicom.services", "accepted": comparison}, seen("dicom.services", **details)) is expected


@pytest.mark.parametrize(("bits", "expected"), [(0, False), (1, True), (2047, True), (2048, False)])
def test_a_range_includes_both_ends(bits: int, expected: bool) -> None:
    assert holds({"step": "tls.suites", "dh_bits": "1 to 2047"}, seen("tls.suites", dh_bits=bits)) is expected


def test_a_number_is_no_truth_value() -> None:
    one = seen("http.listing", listing=True, dicom_files=1)
    assert holds({"step": "http.listing", "listing": True}, one)
    assert not holds({"step": "http.listing", "dicom_files": True}, one)
    assert not holds({"step": "http.listing", "listing": "> 0"}, one)


def test_all_details_have_to_be_of_one_observation() -> None:
    raw = {"step": "tls.suites", "dh_bits": "> 0", "ecdhe_bits": "> 0"}
    apart = (seen("tls.suites", dh_bits=1024, ecdhe_bits=0), seen("tls.suites", dh_bits=0, ecdhe_bits=256))
    assert not holds(raw, *apart)


def test_facts_and_verdicts() -> None:
    case = Case((), {"vantage": "internet"}, {"SP-001": Verdict.PASS})
    assert parse_condition({"fact": "vantage", "is": ["lan", "internet"]}).holds(case)
    assert not parse_condition({"fact": "posture", "is": "closed"}).holds(case)
    assert parse_condition({"check": "SP-001", "verdict": "pass"}, ["SP-001"]).holds(case)
    assert not parse_condition({"check": "SP-001", "verdict": ["fail", "warn"]}, ["SP-001"]).holds(case)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"step": "dicom.nothing"},
        {"step": "dicom.echo", "colour": "red"},
        {"step": ["dicom.echo", "dicom.idle"], "seconds": "> 1"},
        {"step": "*", "status": 0},
        {"step": "dicom.echo", "as": "somebody"},
        {"step": "dicom.echo", "as": "anyone ", "over": "plain"},
        {"step": "dicom.echo", "answer": "maybe"},
        {"step": "dicom.echo", "over": "stranger"},
        {"step": "dicom.echo", "status": "0"},
        {"step": "dicom.echo", "status": "> x"},
        {"step": "dicom.echo", "status": 1.5},
        {"step": "dicom.echo", "status": []},
        {"step": 7},
        {"fact": "weather", "is": "fine"},
        {"fact": "vantage"},
        {"fact": "vantage", "is": "lan", "status": 0},
        {"check": "SP-999", "verdict": "pass"},
        {"check": "SP-001", "verdict": "good"},
    ],
)
def test_what_cannot_be_meant_is_an_error(raw: dict[str, object]) -> None:
    with pytest.raises((BadCondition, ValueError)):
        parse_condition(raw, ["SP-001"])


def test_evidence_is_what_matched() -> None:
    other = seen("dicom.echo", FAILED, over=TLS, status=1)
    case = Case((ECHO, other), {}, {})
    assert parse_condition({"step": "dicom.echo", "answer": "failed"}).matches(case) == (other,)
    assert parse_condition({"step": "dicom.echo", "answer": "hostile"}).matches(case) == ()
    assert Answer.DONE in {each.answer for each in parse_condition({"step": "*"}).matches(case)}
