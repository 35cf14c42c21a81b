"""``strongroom alerts`` as a shell sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import Sample, arrival_of, store
from harness.quarantines import PASSCODE, infected
from harness.shell import Shell, shell
from strongroom.admin import users
from strongroom.admin.alerts import parse_since
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.roles import Role
from strongroom.config import Home
from strongroom.errors import ConfigError, Refused
from strongroom.types import Principal

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2
SAMPLE = Sample(1, patient_name="Planted^Name")
SENDER = Principal("CT1", "ab" * 32, "", "192.0.2.7")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    return shell(capsys, monkeypatch)


def refused(archive: Archive, data: bytes) -> None:
    ingest = archive.new_ingest(arrival_of(SAMPLE, SENDER))
    ingest.write(data)
    with pytest.raises(Refused):
        ingest.commit()
    ingest.abort()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Something hidden was held, and an altered copy was."""
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        refused(archive, infected(SAMPLE))
        store(archive, SAMPLE)
        refused(archive, SAMPLE.dataset[:-2] + b"\xff\xff")
    return home


def test_without_alerts_there_is_no_bad_news(run: Shell, tmp_path: Path) -> None:
    empty = new_home(tmp_path / "empty").root
    ran = run("alerts", "--home", empty)
    assert (ran.code, ran.out) == (GOOD, "0 alerts\n")
    ran = run("alerts", "--home", empty, "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (GOOD, [])


def test_each_says_when_what_whence_which_and_what_to_do(run: Shell, home: Home) -> None:
    ran = run("alerts", "--home", home.root)
    assert ran.code == BAD_NEWS
    hidden, altered, total = ran.out.split("\n\n")
    assert hidden.splitlines()[0].startswith(f"{datetime.now(UTC):%Y-%m-%d} ")
    assert hidden.splitlines()[0].endswith(" UTC  critical  screening")
    for word in ("SR-PE-001", "CT1, 192.0.2.7, certificate abababababababab", SAMPLE.sop_uid, SAMPLE.study_uid):
        assert word in hidden
    assert "strongroom quarantine show Q1" in hidden
    assert "another object, with other pixels, is stored under its SOP Instance UID" in altered
    assert "strongroom quarantine show Q2" in altered
    assert total == "2 alerts: 2 critical\n"
    assert "Planted" not in ran.out


def test_as_json(run: Shell, home: Home) -> None:
    ran = run("alerts", "--home", home.root, "--format", "json")
    assert ran.code == BAD_NEWS
    hidden, altered = json.loads(ran.out)
    assert [each["reason"] for each in (hidden, altered)] == ["screening", "sop-instance-altered"]
    assert hidden["sender"] == {
        "aet": "CT1", "user": "", "address": "192.0.2.7", "via": "", "certificate_sha256": "ab" * 32,
    }  # fmt: skip
    assert (hidden["details"]["sop_uid"], hidden["details"]["quarantine"]) == (SAMPLE.sop_uid, "Q1")
    assert hidden["time"] < altered["time"]
    assert hidden["time"].endswith("Z")


def test_one_is_acknowledged_by_who_may_and_is_not_about_it(
    run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home) as archive:
        for name, role in (("ann", Role.ADMINISTRATOR), ("bob", Role.SECURITY_OFFICER), ("jdoe", Role.PHYSICIAN)):
            users.add(archive, name, PASSCODE, role)
        told = {"what": "break-glass", "reason": "break-glass", "severity": "high"}
        archive.index.record(Event(Action.ALERT, Outcome.WARNING, Principal("Bob", "", "Bob", "192.0.2.7"), told))
    monkeypatch.setenv("STRONGROOM_PASSCODE", PASSCODE)
    command = ["alerts", "--home", home.root]
    first, second, own = [f"{each['log']}:{each['seq']}" for each in json.loads(run(*command, "--format", "json").out)]
    assert f"--acknowledge {first}" in run(*command).out

    def acknowledged(place: str, by: str = "bob", *remark: str) -> str:
        """What the command complains of."""
        ran = run(*command, "--acknowledge", place, "--by", by, *(remark or ("--remark", "a test file")))
        assert (ran.code == GOOD) == (not ran.err)
        return ran.err

    assert "role" in acknowledged(first, "jdoe")
    assert "yourself" in acknowledged(own)
    assert "--remark" in acknowledged(first, "bob", "--remark", "")
    for nothing in ("local:0", "nowhere:1", f"{first}0000", "x", ":1", "local:-1"):
        assert acknowledged(nothing), nothing
    assert acknowledged(first) == ""
    assert "already" in acknowledged(first)
    text = run(*command)
    assert text.code == BAD_NEWS
    assert "seen    by bob, " in text.out
    assert text.out.endswith("3 alerts: 2 critical, 1 high; 1 seen to\n")
    seen, still_open, _ = json.loads(run(*command, "--format", "json").out)
    assert (seen["seen"]["by"], seen["seen"]["remark"], still_open["seen"]) == ("bob", "a test file", None)
    assert acknowledged(second) == ""
    assert acknowledged(own, "ann") == ""
    assert run(*command).code == run(*command, "--format", "json").code == GOOD
    with opened(home) as archive:
        by = [event.details for event in trail_events(archive) if event.action is Action.ALERT_SEEN]
    assert [f"{each['log']}:{each['seq']}" for each in by] == [first, second, own]


def test_since_leaves_out_what_came_before(run: Shell, home: Home) -> None:
    _, second = json.loads(run("alerts", "--home", home.root, "--format", "json").out)
    ran = run("alerts", "--home", home.root, "--format", "json", "--since", second["time"])
    assert [each["seq"] for each in json.loads(ran.out)] == [second["seq"]]
    assert run("alerts", "--home", home.root, "--since", "1h").code == BAD_NEWS
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert run("alerts", "--home", home.root, "--since", later).code == GOOD


def test_a_time_that_is_none_is_said(run: Shell, home: Home) -> None:
    ran = run("alerts", "--home", home.root, "--since", "yesterday")
    assert ran.code == COULD_NOT_RUN
    assert "24h" in ran.err


@pytest.mark.parametrize(
    ("about", "severity", "word"),
    [
        ({"what": "journal-damaged", "why": "a frame is cut", "found": 3}, "critical", "may be lost"),
        ({"what": "time stamp", "reason": "no answer", "checkpoint_sha256": "00"}, "medium", "authority"),
        ({"what": "background check", "reason": "object-altered", "sop_uid": "2.25.1"}, "critical", "check --last"),
        ({"reason": "unverified", "severity": "high", "sop_uid": "2.25.1"}, "high", "closed study"),
        (
            {"reason": "pixels-of-another-patient", "severity": "high", "sop_uid": "1.2", "other_sop_uid": "1.3"},
            "high",
            "other   SOP instance 1.3",
        ),
        ({"reason": "signature-invalid", "severity": "high", "sop_uid": "2.25.1"}, "high", "--sop 2.25.1"),
        ({"reason": "of-another-version"}, "-", "see the record"),
    ],
)
def test_every_kind_has_its_words(
    run: Shell, tmp_path: Path, about: dict[str, str | int], severity: str, word: str
) -> None:
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        archive.index.record(Event(Action.ALERT, Outcome.FAILED, archive.principal, about))
    ran = run("alerts", "--home", home.root)
    assert ran.code == BAD_NEWS
    assert severity in ran.out.splitlines()[0]
    assert word in ran.out


def test_alerts_of_all_logs_stand_in_the_order_of_their_times(run: Shell, tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    for log, reason in (("serve", "a"), ("https-1", "b"), ("serve", "c")):
        with opened(home, log=log) as archive:
            archive.index.record(Event(Action.ALERT, Outcome.WARNING, SENDER, {"reason": reason}))
    found = json.loads(run("alerts", "--home", home.root, "--format", "json").out)
    assert [each["reason"] for each in found] == ["a", "b", "c"]


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T08:00+02:00", datetime(2026, 11, 22, 6, tzinfo=UTC)),
    ],
)
def test_what_since_takes(text: str, time: datetime) -> None:
    assert parse_since(text, NOW) == time


@pytest.mark.parametrize("text", ["", "0h", "-1h", "1y", "99999999h", "999999w", "2026-13-01"])
def test_what_since_does_not_take(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_since(text, NOW)
