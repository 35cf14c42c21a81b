"""``strongroom probe diff`` and ``strongroom probe noticed``, on directories of runs as the probe leaves them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.probe_observed import REFUSED, STARTED_US, facts, seen
from harness.shell import Shell, shell
from strongroom.probe.judging.judge import judge
from strongroom.probe.model import Channel, Level, Observation
from strongroom.probe.reporting.report_json import report_json
from strongroom.probe.session import as_json

made_shell = pytest.fixture(shell, name="strongroom")

OPEN = (seen("dicom.associate"), seen("dicom.find_empty", status=0))
SHUT = (seen("dicom.associate", REFUSED),)
AT = dt.datetime.fromtimestamp(STARTED_US / 1_000_000, dt.UTC)


def run_in(folder: Path, observations: Sequence[Observation]) -> Path:
    """The directory of a run: a report, and a log in which each observation has a connection of its own."""
    folder.mkdir(mode=0o700)
    (folder / "report.json").write_text(report_json(judge(observations, facts(Level.COUNT))))
    with (folder / "run.jsonl").open("w") as log:
        for number, observation in enumerate(observations):
            connect, told = 2 * number + 1, replace(observation, entries=(2 * number + 1,))
            entry = {
                "n": connect,
                "kind": "connect",
                "at_us": STARTED_US + 10_000_000 * number,
                "port": told.endpoint.port,
            }
            log.write(json.dumps(entry) + "\n")
            log.write(json.dumps({"n": connect + 1, "kind": "observation", **as_json(told)}) + "\n")
    return folder


def log_of(folder: Path, *seconds: int, zone_h: int = 0) -> Path:
    """A server's log that names the probe at these seconds of the run."""
    times = (AT + dt.timedelta(seconds=second, hours=zone_h) for second in seconds)
    log = folder / "server.log"
    log.write_text("".join(f"{at:%Y-%m-%d %H:%M:%S} I: 192.0.2.99 STRONGROOM-PRB association\n" for at in times))
    return log


def test_diff_says_what_became_of_it(strongroom: Shell, tmp_path: Path) -> None:
    opened, shut = run_in(tmp_path / "opened", OPEN), run_in(tmp_path / "shut", SHUT)
    worse = strongroom("probe", "diff", shut, opened)
    assert worse.code == 1
    assert worse.out.startswith("UGLY: ")
    assert "SP-010  critical  new:" in worse.out
    assert strongroom("probe", "diff", shut / "report.json", opened / "report.json").out == worse.out


def test_nothing_in_a_report_is_obeyed_by_a_terminal(strongroom: Shell, tmp_path: Path) -> None:
    opened, shut = run_in(tmp_path / "opened", OPEN), run_in(tmp_path / "shut", SHUT)
    report = json.loads((opened / "report.json").read_text())
    report["targets"][0]["target"] = "archive\x1b]0;owned\x07"
    report["targets"][0]["findings"][0]["says"] = "\x1b[2J\u202e"
    (opened / "report.json").write_text(json.dumps(report))
    told = strongroom("probe", "diff", opened, shut).out
    assert not [character for character in told if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize(
    "wrong",
    [{"run": []}, {"postures": []}, {"noticed": {"archive": 7}}, {"started_us": "x"}, {"level": 7}, {"contact": None}],
)
def test_a_report_that_was_altered_is_told_from_one(
    strongroom: Shell, tmp_path: Path, wrong: dict[str, object]
) -> None:
    opened = run_in(tmp_path / "opened", OPEN)
    report = json.loads((opened / "report.json").read_text())
    report = {**report, **wrong} if "run" in wrong else {**report, "run": {**report["run"], **wrong}}
    (opened / "report.json").write_text(json.dumps(report))
    ran = strongroom("probe", "noticed", opened, "--log", log_of(tmp_path, 1))
    assert (ran.code, "not a report of the probe" in ran.err) == (2, True)


@pytest.mark.parametrize("line", ["[]", "{}", '{"kind": "observation"}', '{"n": [], "kind": "connect"}', "9" * 5000])
def test_a_log_that_was_altered_is_told_from_one(strongroom: Shell, tmp_path: Path, line: str) -> None:
    opened = run_in(tmp_path / "opened", OPEN)
    with (opened / "run.jsonl").open("a") as log:
        log.write(line + "\n")
    assert strongroom("probe", "noticed", opened, "--log", log_of(tmp_path, 1)).code == 2


def test_diff_as_json(strongroom: Shell, tmp_path: Path) -> None:
    opened = run_in(tmp_path / "opened", OPEN)
    told = strongroom("probe", "diff", opened, opened, "--format", "json")
    assert told.code == 1
    assert json.loads(told.out)["counts"]["good"] == 0


def test_diff_of_what_is_good_and_stays_so_is_good_news(strongroom: Shell, tmp_path: Path) -> None:
    nobody = run_in(tmp_path / "nobody", ())
    assert strongroom("probe", "diff", nobody, nobody).code == 0


@pytest.mark.parametrize("missing", ["report.json", "."])
def test_diff_of_what_is_no_run_cannot_be_told(strongroom: Shell, tmp_path: Path, missing: str) -> None:
    told = strongroom("probe", "diff", tmp_path / "nothing" / missing, tmp_path)
    assert told.code == 2
    assert "cannot be read" in told.err


def test_noticed_says_what_the_log_shows_and_judges_again(strongroom: Shell, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    told = strongroom("probe", "noticed", folder, "--log", log_of(tmp_path, 1, 12))
    assert told.code == 0, told.err
    assert "2 of 2 associations and requests stand in the log" in told.out
    assert "delay: 1.5 s in the middle, 2.0 s at most" in told.out
    assert json.loads((folder / "noticed.json").read_text())["noticed"] == 2
    report = json.loads((folder / "report.json").read_text())
    (finding,) = [each for each in report["targets"][0]["findings"] if each["check"] == "SP-035"]
    assert finding["verdict"] == "pass"
    assert "All that the probe did stands" in (folder / "report.html").read_text()


def test_what_was_missed_is_bad_news_with_a_remedy(strongroom: Shell, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    log = log_of(tmp_path, 1)
    told = strongroom("probe", "noticed", folder, "--log", log, "--kind", "dcmtk", "--format", "json")
    assert told.code == 1
    assert [each["noticed"] for each in json.loads(told.out)["each"]] == [True, False]
    assert told.err.startswith("What was missed (SP-035) would be in the log with this: ")
    assert "log configuration with time stamps" in told.err


def test_times_are_in_the_zone_that_is_named(strongroom: Shell, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    log = log_of(tmp_path, 1, 11, zone_h=2)
    assert strongroom("probe", "noticed", folder, "--log", log).code == 1
    assert strongroom("probe", "noticed", folder, "--log", log, "--zone", "+02:00").code == 0


def test_an_address_that_is_given_is_the_only_one(strongroom: Shell, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run", (seen("dicom.calling_title", tried=2),))
    log = tmp_path / "server.log"
    log.write_text(f"{AT:%Y-%m-%d %H:%M:%S} association from 192.0.2.99\n")
    assert strongroom("probe", "noticed", folder, "--log", log, "--from", "192.0.2.98").code == 1
    assert strongroom("probe", "noticed", folder, "--log", log, "--from", "192.0.2.99").code == 0


def test_one_target_of_several(strongroom: Shell, tmp_path: Path) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    log = log_of(tmp_path, 1, 12)
    assert strongroom("probe", "noticed", folder, "--log", log, "--target", "archive").code == 0
    other = strongroom("probe", "noticed", folder, "--log", log, "--target", "other")
    assert other.code == 2
    assert "no association and no request of other" in other.err


def test_one_log_is_not_held_against_several_targets(strongroom: Shell, tmp_path: Path) -> None:
    elsewhere = replace(OPEN[0], endpoint=replace(OPEN[0].endpoint, target="second", address="192.0.2.11"))
    folder = run_in(tmp_path / "run", (*OPEN, elsewhere))
    before = (folder / "report.json").read_bytes()
    told = strongroom("probe", "noticed", folder, "--log", log_of(tmp_path, 1, 12))
    assert told.code == 2
    assert "say with --target whose log it is: archive, second" in told.err
    assert (folder / "report.json").read_bytes() == before
    assert strongroom("probe", "noticed", folder, "--log", log_of(tmp_path, 1, 12), "--target", "archive").code == 0


def test_an_address_that_called_at_the_right_time_is_suggested_and_nothing_judged(
    strongroom: Shell, tmp_path: Path
) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    before = (folder / "report.json").read_bytes()
    log = tmp_path / "server.log"
    log.write_text(f"{AT:%Y-%m-%d %H:%M:%S} refused 192.0.2.99\n{AT:%Y-%m-%d} 23:59:59 refused 192.0.2.7\n")
    told = strongroom("probe", "noticed", folder, "--log", log)
    assert told.code == 2
    assert "for instance --from 192.0.2.99" in told.err
    assert "192.0.2.7" not in told.err
    assert (folder / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "lines", "why"),
    [
        ("text", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n", "no line of it could be read"),
        ("strongroom", "strongroom: refused\n", "no line of it could be read as one of kind strongroom"),
        ("dcmtk", '192.0.2.9 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1\n', "of kind dcmtk"),
        ("nginx", "2026-03-01 10:00:00 I: Association Received\n", "of kind nginx"),
        ("orthanc", "", "of kind orthanc"),
        ("dcmtk", "I: Association Received\n" * 37, "neither times nor addresses nor titles"),
    ],
)
def test_a_log_that_cannot_tell_is_no_verdict(
    strongroom: Shell, tmp_path: Path, kind: str, lines: str, why: str
) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    before = (folder / "report.json").read_bytes()
    log = tmp_path / "server.log"
    log.write_text(lines)
    told = strongroom("probe", "noticed", folder, "--log", log, "--kind", kind, "--from", "192.0.2.99")
    assert told.code == 2
    assert why in told.err
    assert (folder / "report.json").read_bytes() == before


def test_the_grade_says_that_the_log_was_looked_at(strongroom: Shell, tmp_path: Path) -> None:
    place = {"over": Channel.TLS, "port": 443, "status": 401}
    login = [seen("http.root", REFUSED, hsts=True, **place), seen("http.qido", REFUSED, **place)]
    folder = run_in(tmp_path / "run", [seen("tcp.connect", port=443), *login])
    assert "That the server's log shows the probe was not tested" in (folder / "report.json").read_text()
    log = tmp_path / "server.log"
    log.write_text(f"{AT + dt.timedelta(seconds=11):%Y-%m-%d %H:%M:%S} GET / HTTP/1.1 401 192.0.2.99\n")
    assert strongroom("probe", "noticed", folder, "--log", log, "--from", "192.0.2.99").code == 1
    assert "Some of the probe stands in the server's log" in (folder / "report.json").read_text()
    assert "That the server's log shows the probe was not tested" not in (folder / "report.json").read_text()


@pytest.mark.parametrize("wrong", [("--zone", "noon"), ("--log", "/nonexistent"), ("--from", "bogus")])
def test_noticed_needs_what_it_can_read(strongroom: Shell, tmp_path: Path, wrong: tuple[str, str]) -> None:
    folder = run_in(tmp_path / "run", OPEN)
    told = strongroom("probe", "noticed", folder, "--log", log_of(tmp_path, 1), *wrong)
    assert told.code == 2
