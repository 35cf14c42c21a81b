"""Good, bad, ugly: what became of findings from one report to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from harness.probe_observed import DONE, FAILED, REFUSED, TLS, facts, seen
from strongroom.errors import ConfigError
from strongroom.probe.judging.judge import judge
from strongroom.probe.model import Answer, Level, Observation
from strongroom.probe.reporting.diff import Change, compare, difference_json, difference_text, parse_report
from strongroom.probe.reporting.report_json import report_json

OPEN = [seen("dicom.associate"), seen("dicom.find_empty", status=0)]
SHUT = [seen("dicom.associate", REFUSED), seen("dicom.find_empty", REFUSED, status=0x0124)]
HALF = [seen("dicom.associate"), seen("dicom.find_empty", FAILED, status=0xC000)]


def raw(observations: Sequence[Observation], level: Level = Level.COUNT) -> bytes:
    return report_json(judge(observations, facts(level))).encode()


def changes(old: bytes, new: bytes) -> dict[str, Change]:
    return {each.check: each.change for each in compare(parse_report(old), parse_report(new)).changes}


def test_what_was_closed_is_good() -> None:
    found = changes(raw(OPEN), raw(SHUT))
    assert found["SP-010"] is Change.GOOD
    assert found[""] is Change.GOOD


def test_what_is_still_open_is_bad() -> None:
    difference = compare(parse_report(raw(OPEN)), parse_report(raw(OPEN)))
    assert {each.change for each in difference.changes} == {Change.BAD}
    assert difference.exit_status == 1


def test_what_is_new_is_ugly() -> None:
    found = changes(raw(SHUT), raw(OPEN))
    assert found["SP-010"] is Change.UGLY
    assert found[""] is Change.UGLY


def test_what_is_worse_is_ugly_and_what_is_less_bad_is_still_bad() -> None:
    assert changes(raw(HALF), raw(OPEN))["SP-010"] is Change.UGLY
    assert changes(raw(OPEN), raw(HALF))["SP-010"] is Change.BAD


def test_what_nobody_looked_at_again_is_not_closed() -> None:
    difference = compare(parse_report(raw(OPEN)), parse_report(raw([seen("dicom.associate")], Level.ASSOCIATE)))
    (found,) = [each for each in difference.changes if each.check == "SP-010"]
    assert found.change is Change.BAD
    assert "not tested this time" in found.words
    assert "levels differ: L2 before, L1 now" in difference_text(difference)


def test_a_target_that_does_not_answer_any_more_is_told() -> None:
    found = compare(parse_report(raw(OPEN)), parse_report(raw([])))
    assert found.exit_status == 1
    assert any("no answer this time" in each.words for each in found.changes)


def test_a_new_target_that_is_open_is_ugly() -> None:
    assert changes(raw([]), raw(OPEN))[""] is Change.UGLY


def test_nothing_is_said_of_what_stayed_good() -> None:
    shut = [seen("dicom.associate", REFUSED, over=seen("dicom.associate").channel)]
    assert "SP-010" not in changes(raw(shut), raw(shut))


def test_ugly_comes_first_and_the_worst_of_it() -> None:
    difference = compare(parse_report(raw(SHUT)), parse_report(raw([*OPEN, seen("dicom.echo", DONE, status=0)])))
    severities = [each.severity for each in difference.changes if each.change is Change.UGLY]
    assert severities[0] == "critical"
    assert difference_text(difference).startswith("UGLY")


def test_json_says_the_same() -> None:
    difference = compare(parse_report(raw(OPEN)), parse_report(raw(SHUT)))
    told = json.loads(difference_json(difference))
    assert told["counts"] == {
        str(change): sum(each.change is change for each in difference.changes) for change in Change
    }
    assert len(told["changes"]) == len(difference.changes)


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"[]", b"{}", b"null", b'{"format": "other/1"}', b'{"format": "strongroom-probe-report/1"}',
        b'{"format": "strongroom-probe-report/1", "run": {"level": "L1"}, "targets": [{"target": "x"}]}',
        b'{"format": "strongroom-probe-report/1", "targets": [], '
        b'"run": {"level": "L1", "stopped": "", "postures": []}}',
        b"[" * 100_000, b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(bad: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_report(bad)


HUNG = [seen("tcp.connect"), seen("dicom.associate", Answer.TIMEOUT), seen("dicom.find_empty", Answer.TIMEOUT)]
GONE = [seen("tcp.connect", Answer.UNREACHABLE, reason="refused")]
IN_THE_CLEAR = [seen("tcp.connect"), *SHUT]


@pytest.mark.parametrize("now", [HUNG, GONE], ids=["hung", "gone"])
@pytest.mark.parametrize("before", [OPEN, SHUT, IN_THE_CLEAR])
def test_nothing_is_good_of_what_is_out_of_sight(before: Sequence[Observation], now: Sequence[Observation]) -> None:
    difference = compare(parse_report(raw(before)), parse_report(raw(now)))
    assert {each.change for each in difference.changes} == {Change.BAD}
    assert difference.exit_status == 1


def test_who_falls_silent_as_the_scope_expects_is_good() -> None:
    closed = report_json(judge(GONE, facts(postures={"archive": "closed"}))).encode()
    difference = compare(parse_report(raw(OPEN)), parse_report(closed))
    assert Change.GOOD in {each.change for each in difference.changes}
    assert "as the scope expects" in difference_text(difference)


def test_what_a_lower_level_could_not_have_seen_is_not_called_new() -> None:
    offered = [seen("tcp.connect"), seen("dicom.associate"), seen("dicom.find_empty", REFUSED, status=0x0124)]
    stored = [*offered, seen("dicom.store_canary", status=0)]
    found = changes(raw(offered, Level.COUNT), raw(stored, Level.CANARY))
    assert found["SP-017"] is Change.BAD
    assert found[""] is Change.BAD


def test_a_run_that_was_stopped_is_no_measure() -> None:
    stopped = report_json(judge(OPEN, facts(stopped="the operator ended it"))).encode()
    text = difference_text(compare(parse_report(stopped), parse_report(raw(OPEN, Level.CANARY))))
    assert text.startswith("the run before is not complete: the operator ended it")


def test_what_was_mended_is_good_at_a_level_that_gives_no_letter() -> None:
    old, new = (
        [seen("tcp.connect"), seen("tls.versions", over=TLS, accepted=versions, preferred="TLS 1.2")]
        for versions in (("TLS 1.0", "TLS 1.2"), ("TLS 1.2",))
    )
    assert changes(raw(old, Level.CONNECT), raw(new, Level.CONNECT))["SP-038"] is Change.GOOD
