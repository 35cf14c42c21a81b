"""Rules of the operator's: which match, where it is said that they do, and what is wrong with rules."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness import hidden
from strongroom.errors import ConfigError
from strongroom.screen.engine import Engines
from strongroom.screen.findings import Report, Severity
from strongroom.screen.yara import OVERLAP_BYTES, WINDOW_BYTES

RULES = """
rule wanted : test {
    meta:
        severity = "critical"
        description = "what the test wants"
    strings:
        $mark = "harmless-test-mark"
    condition:
        $mark
}
rule with_a_severity_that_is_none { meta: severity = "urgent" strings: $a = "second-mark" condition: $a }
rule without_strings { condition: filesize == 7 }
private rule not_reported { strings: $b = "harmless" condition: $b }
"""
MARK = b"harmless-test-mark"


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    (tmp_path / "ours.yar").write_text(RULES)
    return Engines.load([str(tmp_path / "ours.yar")])


def screened(engines: Engines, data: bytes, piece: int = 1 << 20) -> Report:
    screening = engines.screening()
    for start in range(0, len(data), piece):
        screening.feed(bytearray(data[start : start + piece]))
    return screening.finish()


def matched(report: Report) -> list[tuple[Severity, str, int, int]]:
    found = [each for each in report.findings if each.rule.id == "SR-YARA-001"]
    return [(each.severity, each.place.path, each.place.offset, each.place.length) for each in found]


@pytest.mark.parametrize("piece", [1, 4096, 1 << 20])
def test_a_match_is_a_finding_at_its_element(engines: Engines, piece: int) -> None:
    data = hidden.BINARY_SURFACES["private OB"](bytes(50) + MARK)
    report = screened(engines, data, piece)
    (found,) = [each for each in report.findings if each.rule.id == "SR-YARA-001"]
    assert found.severity is Severity.CRITICAL
    assert (found.place.offset, found.place.length) == (data.index(MARK), len(MARK))
    assert found.place.path == "(0029,1010)"
    assert found.what == "rule ours:wanted, $mark matches: what the test wants"
    assert report.counts["SR-YARA-001"] == 1
    assert report.failures == ()


def test_what_has_no_severity_of_ours_is_high(engines: Engines) -> None:
    assert [each[0] for each in matched(screened(engines, b"....second-mark...."))] == [Severity.HIGH]


def test_a_rule_without_strings_is_about_all_of_it(engines: Engines) -> None:
    assert matched(screened(engines, b"7 bytes")) == [(Severity.HIGH, "file", 0, 7)]


def test_our_own_findings_are_there_as_well(engines: Engines) -> None:
    report = screened(engines, hidden.file_of(hidden.encode(hidden.image())) + MARK)
    assert {"SR-YARA-001", "SR-TRAIL-001"} <= set(report.counts)
    assert [each.severity for each in report.findings] == sorted((f.severity for f in report.findings), reverse=True)


@pytest.mark.parametrize("at", [WINDOW_BYTES - 9, WINDOW_BYTES + 100_000, 2 * WINDOW_BYTES - OVERLAP_BYTES + 5])
def test_objects_longer_than_a_window_are_seen_through(engines: Engines, at: int) -> None:
    """The element is known as well where its header is long gone."""
    pixels = bytearray(random.Random(4).randbytes(WINDOW_BYTES * 2))
    pixels[at : at + len(MARK)] = MARK
    elements = hidden.image() | {0x00280010: ("US", b"\0\x10"), 0x00280011: ("US", b"\0\x10")}
    data = hidden.file_of(hidden.encode(elements | {0x7FE00010: ("OW", bytes(pixels))}))
    place = data.index(MARK)
    assert matched(screened(engines, data)) == [(Severity.CRITICAL, "(7FE0,0010)", place, len(MARK))]


def test_memory_is_that_of_a_window(engines: Engines) -> None:
    screening = engines.screening()
    for _ in range(64):
        screening.feed(bytes(1 << 20))
    ((_, scan),) = screening._scans  # type: ignore[union-attr]
    assert len(scan._window) <= WINDOW_BYTES  # type: ignore[attr-defined]


def test_folders_and_several_files_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text('rule one { strings: $a = "first" condition: $a }')
    (tmp_path / "b.yara").write_text('include "more/c.inc"\nrule one { strings: $a = "second" condition: $a }')
    (tmp_path / "notes.txt").write_text("no rule")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.inc").write_text('rule two { strings: $a = "third" condition: $a }')
    report = screened(Engines.load([str(tmp_path)]), b"first second third")
    said = sorted(each.what.split(",")[0] for each in report.findings if each.rule.id == "SR-YARA-001")
    assert said == ["rule a:one", "rule b:one", "rule b:two"]


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"rule x { condition: nothing }", "unknown identifier"), (b"\xff\xfe", "cannot be read")],
)
def test_rules_that_cannot_be_used_are_refused_with_their_place(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "bad.yar").write_bytes(text)
    with pytest.raises(ConfigError, match=f"bad.yar.*{words}"):
        Engines.load([str(tmp_path / "bad.yar")])


def test_rules_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Engines.load([str(tmp_path / "none.yar")])
    with pytest.raises(ConfigError, match="there are no YARA rules"):
        Engines.load([str(tmp_path)])


def test_a_rule_that_takes_too_long_is_a_failure_of_the_engine(tmp_path: Path) -> None:
    (tmp_path / "slow.yar").write_text(
        "rule slow { condition: for all i in (0..filesize) : (for all j in (0..filesize) : (uint8(i) + j >= 0)) }"
    )
    report = screened(Engines.load([str(tmp_path)], timeout_s=1), bytes(1 << 20))
    assert [(each.engine, each.reason) for each in report.failures] == [("yara", "timeout")]


def test_a_deflated_data_set_is_shown_inflated_as_well(engines: Engines) -> None:
    data = hidden.BINARY_SURFACES["private, deflated"](MARK)
    assert MARK not in data
    report = screened(engines, data)
    (found,) = [each for each in report.findings if each.rule.id == "SR-YARA-001"]
    assert (found.place.path, found.place.inflated, found.place.length) == ("(0029,1010)", True, len(MARK))
    assert report.failures == ()


def test_what_is_not_deflated_is_looked_at_once(engines: Engines) -> None:
    data = hidden.BINARY_SURFACES["private OB"](bytes(50) + MARK)
    assert [each[1] for each in matched(screened(engines, data))] == ["(0029,1010)"]
