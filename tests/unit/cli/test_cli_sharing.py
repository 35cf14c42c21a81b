"""``share``, ``break-glass`` and ``unsafe`` as a shell sees them, and what the trail says of an emergency."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.archives import add_peer, change_config, new_home, opened, serving, trail_events
from harness.ingesting import Sample, store
from harness.quarantines import PASSCODE, add_officers
from harness.shell import Shell, shell
from strongroom.admin import users
from strongroom.admin.access import emergencies_of, shares_of
from strongroom.admin.emergencies import looked_at
from strongroom.app import Archive, now_utc
from strongroom.archive.emergencies import Opening
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.archive.sharing import NewShare
from strongroom.config import Home
from strongroom.store.emergencies import EmergencyTable
from strongroom.types import Emergency, Principal

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2
SAMPLE = Sample(1, study=1)
PHYSICIAN = Principal("jdoe", "ab" * 32, "jdoe", "192.0.2.1", RIGHTS_OF[Role.PHYSICIAN], via=VIA_SESSION)
HOUR_US = 3_600_000_000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two officers, a physician who shares a study, and one emergency that is over."""
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        add_officers(archive, "ann", "bob")
        users.add(archive, "jdoe", PASSCODE, Role.PHYSICIAN)
        store(archive, SAMPLE)
        shares_of(archive).make(PHYSICIAN, NewShare(SAMPLE.study_uid, "=1+1@b.example", "second opinion", 86_400))
        add(archive, opening())
    return home


def opening(person: str = "jdoe", number: int = 1) -> Opening:
    now_us = int(time.time() * 1e6)
    return Opening(number, person, "4711", "", "unconscious, at once", now_us - 2 * HOUR_US, now_us - 1)


def add(archive: Archive, new: Opening) -> None:
    table = EmergencyTable(archive.backend.dialect)
    archive.index.database.write(lambda transaction: table.add(transaction.cursor, new))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home) -> Shell:
    monkeypatch.setenv("STRONGROOM_HOME", str(home.root))
    monkeypatch.setenv("STRONGROOM_PASSCODE", PASSCODE)
    return shell(capsys, monkeypatch)


def test_shares_are_listed_and_revoked(run: Shell, home: Home) -> None:
    listed = run("share", "list")
    assert listed.code == GOOD
    assert "open" in listed.out
    assert run("share", "revoke", "1").code == GOOD
    (share,) = json.loads(run("share", "list", "--format", "json").out)
    assert (share["standing"], share["number"], share["openings"]) == ("revoked", 1, 0)
    assert run("share", "revoke", "2").code == COULD_NOT_RUN
    with opened(home) as archive:
        changes = [event for event in trail_events(archive) if event.action is Action.SHARE]
    assert [event.details["what"] for event in changes] == ["make", "revoke"]


def test_an_emergency_is_listed_until_somebody_else_has_reviewed_it(run: Shell, home: Home) -> None:
    listed = run("break-glass", "list")
    assert listed.code == BAD_NEWS
    assert "TO BE REVIEWED" in listed.out
    assert "4711" not in listed.out
    assert run("break-glass", "review", "1", "--by", "ann", "--remark", "fine").code == COULD_NOT_RUN
    assert run("break-glass", "review", "1", "--by", "jdoe", "--remark", "as it should be").code == COULD_NOT_RUN
    assert run("break-glass", "review", "1", "--by", "ann", "--remark", "as it should be").code == GOOD
    (found,) = json.loads(run("break-glass", "list", "--format", "json").out)
    assert (found["reviewed_by"], found["remark"]) == ("ann", "as it should be")
    assert run("break-glass", "list").code == GOOD


def test_nobody_reviews_his_own(run: Shell, home: Home) -> None:
    with opened(home) as archive:
        add(archive, opening("ANN", 2))
    refused = run("break-glass", "review", "2", "--by", "ann", "--remark", "as it should be")
    assert refused.code == COULD_NOT_RUN
    assert "somebody else" in refused.err


def test_what_was_looked_at_is_read_from_the_trail(home: Home) -> None:
    with opened(home) as archive:
        with archive.index.database.read() as cursor:
            ((patient, issuer),) = {
                tuple(row) for row in cursor.execute("SELECT patient_id, issuer FROM patient").fetchall()
            }
        mine = replace(opening(), number=3, patient_id=patient, issuer=issuer, ends_us=int(time.time() * 1e6) + HOUR_US)
        in_it = replace(PHYSICIAN, emergencies=(Emergency(3, mine.ends_us),))
        for who, studies in ((in_it, (SAMPLE.study_uid, "2.25.9")), (PHYSICIAN, ("2.25.8",))):
            archive.index.record(
                Event(Action.QUERY, Outcome.SUCCESS, who, {"results": 1}),
                Event(Action.RETRIEVE, Outcome.SUCCESS, who, {"phase": "begin", "studies": studies}),
                Event(Action.RETRIEVE, Outcome.SUCCESS, who, {"phase": "end"}),
                Event(Action.STORE, Outcome.SUCCESS, who, {}),
            )
        found = looked_at(archive, mine)
        assert emergencies_of(archive).openings(None)
    assert (found.studies, found.other_studies) == ((SAMPLE.study_uid,), 1)
    assert (found.searches, found.retrievals, found.other_acts, found.is_whole) == (1, 1, 1, True)


def test_an_exception_is_not_in_effect_until_two_have_agreed(run: Shell, home: Home) -> None:
    exception = {
        "peer": "OLD1", "addresses": "127.0.0.1/32", "expires": now_utc().date() + timedelta(days=9), "reason": "why",
        "port": 0,
    }  # fmt: skip
    change_config(home, {"unsafe_plaintext": [exception], "https": {"workers": 0}})
    with opened(home) as archive:
        add_peer(archive, "OLD1", "echo")
        users.add(archive, "cyd", PASSCODE, Role.ADMINISTRATOR)
        users.add(archive, "dan", PASSCODE, Role.ADMINISTRATOR)
    listed = run("unsafe", "list")
    assert listed.code == BAD_NEWS
    assert "NOT IN EFFECT" in listed.out
    with serving(home) as running:
        assert running.plaintext_ports == []
        assert "unsafe_plaintext=NOT-APPROVED peer=OLD1" in running.output
    digest = listed.out[:16]
    assert run("unsafe", "approve", digest, "--by", "cyd").code == GOOD
    assert run("unsafe", "approve", digest, "--by", "cyd").code == COULD_NOT_RUN
    assert "proposed by cyd" in run("unsafe", "list").out
    assert run("unsafe", "approve", digest, "--by", "jdoe").code == COULD_NOT_RUN
    assert "agreed to by cyd and dan" in run("unsafe", "approve", digest, "--by", "dan").out
    (found,) = json.loads(run("unsafe", "list", "--format", "json").out)
    assert (found["agreed"], found["peer"]) == (True, "OLD1")
    with serving(home) as running:
        assert len(running.plaintext_ports) == 1
