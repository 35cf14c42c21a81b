"""archive.door: what becomes of an object in which something is found, as the policy says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, SENDER, Sample
from harness.quarantines import infected
from strongroom.app import Archive
from strongroom.archive.door import Policy
from strongroom.archive.ingest import Arrival, Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import LimitExceeded, Quarantined, Refused, StorageUnavailable
from strongroom.store.quarantine import QuarantineLimits

SAMPLE = Sample(1)
Opener = Callable[..., Archive]


@pytest.fixture
def open_with(tmp_path: Path) -> Iterator[Opener]:
    """Opens an archive with one policy for all severities, and what else is said."""
    with ExitStack() as stack:

        def open_(policy: str, **more: Any) -> Archive:
            section = dict.fromkeys(("low", "medium", "high", "critical"), policy) | more
            return stack.enter_context(opened(new_home(tmp_path / "home", {"screening": section})))

        yield open_


def send(archive: Archive, data: bytes, *, is_released: bool = False) -> Verdict:
    syntax = TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]
    ingest = archive.new_ingest(Arrival(CT_IMAGE_STORAGE, SAMPLE.sop_uid, syntax, SENDER, is_released=is_released))
    try:
        for start in range(0, len(data), 1000):
            ingest.write(data[start : start + 1000])
        return ingest.commit()
    except Refused as error:
        ingest.refuse(error.reason)
        raise
    finally:
        ingest.abort()


def events(archive: Archive, action: Action) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is action]


def flags(archive: Archive) -> list[Any]:
    with archive.index.database.read() as cursor:
        return cursor.execute("SELECT reason, severity, findings FROM flagged").fetchall()


def test_what_is_clean_is_stored_whatever_the_policy(open_with: Opener) -> None:
    archive = open_with("refuse")
    assert send(archive, SAMPLE.dataset) is Verdict.STORED
    assert flags(archive) == events(archive, Action.ALERT) == []


def test_accept(open_with: Opener) -> None:
    archive = open_with("accept")
    assert send(archive, infected(SAMPLE)) is Verdict.STORED
    assert flags(archive) == events(archive, Action.ALERT) == []


def test_flag_stores_it_and_puts_it_before_somebody(open_with: Opener) -> None:
    archive = open_with("flag")
    assert send(archive, infected(SAMPLE)) is Verdict.STORED
    assert archive.index.find_object(SAMPLE.sop_uid) is not None
    ((reason, severity, findings),) = flags(archive)
    assert (reason, severity) == ("screening", "critical")
    assert b"SR-PE-001" in findings
    (alert,) = events(archive, Action.ALERT)
    assert alert.details["sop_uid"] == SAMPLE.sop_uid
    (stored,) = events(archive, Action.STORE)
    assert (stored.details["flagged"], stored.details["severity"]) == ("screening", "critical")


def test_quarantine_holds_it_and_nobody_finds_it(open_with: Opener) -> None:
    archive = open_with("quarantine")
    with pytest.raises(Quarantined) as raised:
        send(archive, infected(SAMPLE))
    assert archive.index.find_object(SAMPLE.sop_uid) is None
    (entry,) = archive.quarantine.entries()
    assert (entry.id, entry.reason, entry.severity) == (raised.value.quarantine_id, "screening", "critical")
    (held,) = events(archive, Action.QUARANTINE)
    assert "SR-PE-001" in held.details["rules"]
    assert events(archive, Action.STORE) == []
    assert len(events(archive, Action.ALERT)) == 1


def test_refuse_keeps_nothing(open_with: Opener) -> None:
    archive = open_with("refuse")
    with pytest.raises(Refused, match="screening") as raised:
        send(archive, infected(SAMPLE))
    assert not isinstance(raised.value, Quarantined)
    assert archive.index.find_object(SAMPLE.sop_uid) is None
    assert list(archive.blobs.ids()) == archive.quarantine.entries() == []
    (refused,) = events(archive, Action.STORE)
    assert (refused.outcome, refused.details["reason"]) == (Outcome.REFUSED, "screening")
    assert len(events(archive, Action.ALERT)) == 1


def test_nobody_screens_where_that_is_configured(open_with: Opener) -> None:
    archive = open_with("refuse", enabled=False)
    assert send(archive, infected(SAMPLE)) is Verdict.STORED


def test_what_two_people_released_is_not_asked_again(open_with: Opener) -> None:
    archive = open_with("refuse")
    assert send(archive, infected(SAMPLE), is_released=True) is Verdict.STORED


@pytest.mark.parametrize("altered", ["quarantine", "refuse"])
def test_altered_copies_are_held_or_refused(open_with: Opener, altered: str) -> None:
    archive = open_with("accept", altered=altered)
    send(archive, SAMPLE.dataset)
    with pytest.raises(Refused) as raised:
        send(archive, SAMPLE.dataset[:-2] + b"\xff\xff")
    assert raised.value.reason == "sop-instance-altered"
    assert isinstance(raised.value, Quarantined) is (altered == "quarantine")
    assert len(archive.quarantine.entries()) == (altered == "quarantine")
    (alert,) = events(archive, Action.ALERT)
    assert (alert.details["reason"], alert.details["severity"]) == ("sop-instance-altered", "critical")


def test_altered_copies_are_told_of_when_the_quarantine_is_full(open_with: Opener) -> None:
    archive = open_with("accept")
    send(archive, SAMPLE.dataset)
    archive.quarantine._limits = QuarantineLimits(0, 0)
    with pytest.raises(LimitExceeded):
        send(archive, SAMPLE.dataset[:-2] + b"\xff\xff")
    (alert,) = events(archive, Action.ALERT)
    assert (alert.details["reason"], alert.details["severity"]) == ("sop-instance-altered", "critical")


def test_policies_are_the_words_of_the_configuration() -> None:
    assert {policy.value for policy in Policy} == {"accept", "flag", "quarantine", "refuse"}


# --- engines of the operator's


RULE = 'rule planted { meta: severity = "critical" strings: $a = "PLANTED-BY-A-TEST" condition: $a }'


def planted() -> bytes:
    """An instance that only the operator's own rule finds something in."""
    return SAMPLE.dataset[:-18] + b"PLANTED-BY-A-TEST!"


def test_a_rule_of_the_operators_holds_an_object(tmp_path: Path, open_with: Opener) -> None:
    pytest.importorskip("yara_x")
    rules = tmp_path / "house.yar"
    rules.write_text(RULE)
    archive = open_with("quarantine", yara_rules=[str(rules)])
    with pytest.raises(Quarantined):
        send(archive, planted())
    (held,) = events(archive, Action.QUARANTINE)
    assert held.details["rules"] == ("SR-YARA-001",)


@pytest.mark.parametrize("policy", ["accept", "flag", "quarantine", "refuse"])
def test_an_engine_that_is_away(open_with: Opener, policy: str) -> None:
    archive = open_with("accept", clamd="tcp:127.0.0.1:1", engine_failure=policy)
    if policy == "refuse":
        with pytest.raises(StorageUnavailable, match="clamd"):
            send(archive, SAMPLE.dataset)
    elif policy == "quarantine":
        with pytest.raises(Quarantined):
            send(archive, SAMPLE.dataset)
    else:
        assert send(archive, SAMPLE.dataset) is Verdict.STORED
        assert len(flags(archive)) == (policy == "flag")
