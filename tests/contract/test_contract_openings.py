"""What every database must do the same for shares and emergencies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.opening import DAY_S, OTHER, OTHER_PATIENT, PATIENT, STUDY, World, world
from strongroom.archive.emergencies import Candidate, Opening
from strongroom.archive.people import Where
from strongroom.archive.proposals import Matter, Proposal, Stage
from strongroom.archive.sharing import NewShare, Share
from strongroom.store.emergencies import EmergencyTable
from strongroom.store.proposals import ProposalTable
from strongroom.store.shares import ShareTable
from strongroom.types import Part, Scope

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
SHARE = Share(1, STUDY, "d1", "m1", "jdoe", "a@b.example", "why", 100, 5000)
OPENING = Opening(1, "jdoe", PATIENT, "", "a good reason", 100, 200)


@pytest.fixture(params=["sqlcipher", POSTGRESQL])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    is_file = request.param == "sqlcipher"
    with world(tmp_path / "index.db" if is_file else request.getfixturevalue("new_postgres_url")()) as found:
        yield found


def test_a_share_is_kept_counted_and_ended_once(there: World) -> None:
    table = ShareTable(there.index.database.dialect)
    assert there.do(table.next_number) == 1
    there.do(table.add, SHARE)
    there.do(table.add, replace(SHARE, number=2, digest="d2", maker="other"))
    assert there.do(table.next_number) == 3
    there.do(table.count_wrong_code, 1)
    there.do(table.count_opening, 1, 300)
    assert there.do(table.revoke, 1, 400, "officer")
    assert not there.do(table.revoke, 1, 500, "other")
    kept = replace(SHARE, wrong_codes=1, openings=1, opened_us=300, revoked_us=400, revoked_by="officer")
    assert there.do(table.share, 1) == there.do(table.by_digest, "d1") == kept
    assert there.do(table.share, 9) is there.do(table.by_digest, "d9") is None
    assert [each.number for each in there.do(table.shares, 10)] == [2, 1]
    assert [each.number for each in there.do(table.shares, 1)] == [2]
    assert there.do(table.shares, 10, "jdoe") == [kept]


def test_an_emergency_is_kept_ended_and_reviewed(there: World) -> None:
    table = EmergencyTable(there.index.database.dialect)
    there.do(table.add, OPENING)
    there.do(table.add, replace(OPENING, number=2, person="other"))
    assert there.do(table.next_number) == 3
    assert there.do(table.standing, "jdoe", 199) == [OPENING]
    assert there.do(table.standing, "jdoe", 200) == []
    there.do(table.end, 1, 150)
    there.do(table.review, 1, "officer", 300, "fine")
    assert there.do(table.opening, 1) == replace(
        OPENING, ends_us=150, reviewed_by="officer", reviewed_us=300, remark="fine"
    )
    assert [each.number for each in there.do(table.openings, 10)] == [2, 1]


def test_a_patient_is_found_by_the_whole_number_only(there: World) -> None:
    table = EmergencyTable(there.index.database.dialect)
    assert there.do(table.candidates, PATIENT) == [Candidate(PATIENT, "", 1)]
    assert there.do(table.candidates, PATIENT[:-1]) == []
    assert there.do(table.studies, OTHER_PATIENT, "") == {OTHER}


def test_both_work_from_end_to_end(there: World) -> None:
    who = there.add(scope=Scope((Part(patients=((PATIENT, None),)),)))
    made = there.shares.make(who, NewShare(STUDY, "a@b.example", "why", DAY_S))
    assert there.shares.open(made.link, made.code, Where("192.0.2.1")).person == "share 1"
    there.opening(who)
    assert len(there.who("jdoe").emergencies) == 1


def test_a_proposal_is_decided_once_and_the_newest_decision_counts(there: World) -> None:
    table = ProposalTable(there.index.database.dialect)
    first = Proposal(1, Matter.UNSAFE, "ab", "ann", "why", 100, 500)
    there.do(table.add, first)
    assert not there.do(table.is_agreed, Matter.UNSAFE, "ab")
    agreed = replace(first, decided_us=200, decided_by="bob", decision=Stage.AGREED.value, remark="seen")
    assert there.do(table.decide, agreed)
    assert not there.do(table.decide, replace(agreed, decision=Stage.DECLINED.value))
    assert there.do(table.proposal, 1) == agreed
    assert there.do(table.is_agreed, Matter.UNSAFE, "ab")
    assert not there.do(table.is_agreed, Matter.DELETE_STUDY, "ab")
    there.do(table.add, replace(first, number=there.do(table.next_number)))
    assert there.do(table.is_agreed, Matter.UNSAFE, "ab")
    there.do(table.decide, replace(agreed, number=2, decision=Stage.DECLINED.value))
    assert not there.do(table.is_agreed, Matter.UNSAFE, "ab")
    assert [each.number for each in there.do(table.of_subject, Matter.UNSAFE, "ab")] == [2, 1]
    assert [each.number for each in there.do(table.proposals, 1)] == [2]
