"""Two people: a study is deleted, and an exception takes effect, only as one has proposed and another one agreed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import Sample, store, visible_sop_uids
from harness.quarantines import PASSCODE
from strongroom.admin import users
from strongroom.admin.agreeing import MAX_LISTED, Agreement, Wish, proposals
from strongroom.admin.deciding import Decisions
from strongroom.admin.deleting import propose_or_delete
from strongroom.admin.deletion import Deletion
from strongroom.admin.exceptions import approve, digest_of_exception, exceptions, is_agreed
from strongroom.app import Archive, now_utc
from strongroom.archive.model import Action, Outcome
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.proposals import Matter, Proposal, Stage, exception_digest
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.config import UnsafePlaintext
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.proposals import ProposalTable
from strongroom.store.transaction import Transaction
from strongroom.types import Part, Principal, Right, Scope

SAMPLE, OTHER = Sample(1, study=1), Sample(2, study=2)
NOW_US, DAY_US = 1_800_000_000_000_000, 86_400_000_000
TOKEN = Principal("loader", "ab" * 32, "", "192.0.2.9", frozenset({Right.DELETE}), via="token")
EXCEPTION = {
    "peer": "OLD1", "addresses": "127.0.0.1/32", "expires": now_utc().date() + dt.timedelta(days=9), "reason": "why",
    "port": 11112,
}  # fmt: skip


PEOPLE = {
    "ann": Role.ADMINISTRATOR, "bob": Role.SECURITY_OFFICER, "jdoe": Role.PHYSICIAN, "root": Role.ADMINISTRATOR,
    "eve": Role.VIEWER,
}  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home")) as archive:
        for name, role in PEOPLE.items():
            users.add(archive, name, PASSCODE, role)
        for sample in (SAMPLE, OTHER):
            store(archive, sample)
        yield archive


@pytest.fixture
def excepted(tmp_path: Path) -> Iterator[Archive]:
    """One with an exception, to which two people have agreed."""
    with opened(new_home(tmp_path / "excepted", {"unsafe_plaintext": [EXCEPTION]})) as archive:
        for name, role in PEOPLE.items():
            users.add(archive, name, PASSCODE, role)
        yield archive


def wish(archive: Archive, name: str, now_us: int = NOW_US, reason: str = "wrong patient") -> Wish:
    return Wish(Matter.DELETE_STUDY, SAMPLE.study_uid, name, reason, archive.principal, now_us)


def delete(archive: Archive, name: str, now_us: int = NOW_US) -> Proposal | Deletion:
    return propose_or_delete(archive, wish(archive, name, now_us), lambda _done, _of: None)


def principal(name: str, role: Role, scope: Scope | None = None) -> Principal:
    return Principal(name, "ab" * 32, name, "192.0.2.1", RIGHTS_OF[role], scope, VIA_SESSION)


def is_there(archive: Archive) -> bool:
    return SAMPLE.sop_uid in visible_sop_uids(archive)


def details(archive: Archive, action: Action) -> list[dict[str, Any]]:
    return [dict(event.details) for event in trail_events(archive) if event.action is action]


def test_one_proposes_and_another_one_deletes(archive: Archive) -> None:
    proposed = delete(archive, "jdoe")
    assert isinstance(proposed, Proposal)
    assert is_there(archive)
    assert isinstance(delete(archive, "bob"), Deletion)
    assert visible_sop_uids(archive) == {OTHER.sop_uid}
    (done,) = details(archive, Action.DELETE)
    assert (done["user"], done["proposed_by"], done["proposal"]) == ("bob", "jdoe", 1)
    assert [each["what"] for each in details(archive, Action.PROPOSAL)] == ["propose", "agree"]
    (kept,) = proposals(archive)
    assert (kept.stage(NOW_US), kept.decided_by) == (Stage.AGREED, "bob")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [("bob", "bob", "same-person"), ("bob", "jdoe", "role-may-not"), ("eve", "bob", "role-may-not"),
     ("nobody", "bob", "role-may-not")],
)  # fmt: skip
def test_nobody_else_can(archive: Archive, first: str, second: str, reason: str) -> None:
    with suppress(Denied):
        delete(archive, first)
    with pytest.raises(Denied, match=reason):
        delete(archive, second if first in ("bob",) else first)
    assert is_there(archive)
    refused = [event for event in trail_events(archive) if event.outcome is Outcome.REFUSED]
    assert {event.details["reason"] for event in refused} == {reason}


def test_a_name_in_other_case_is_the_same_person(archive: Archive) -> None:
    delete(archive, "bob")
    users.add(archive, "BOB", PASSCODE, Role.SECURITY_OFFICER)
    with pytest.raises(Denied, match="same-person"):
        delete(archive, "BOB")


def test_a_proposal_lapses_and_ends_with_its_account(archive: Archive) -> None:
    delete(archive, "bob")
    assert isinstance(delete(archive, "ann", NOW_US + 8 * DAY_US), Proposal)
    users.disable(archive, "ann")
    again = delete(archive, "root", NOW_US + 8 * DAY_US + 1)
    assert isinstance(again, Proposal)
    assert again.number == 3
    assert is_there(archive)


def test_the_transaction_looks_again(archive: Archive) -> None:
    """What was agreed upon a moment ago may have been declined since."""
    delete(archive, "jdoe")
    agreement = Agreement(archive, wish(archive, "bob"))
    agreement.require_now()
    Agreement(archive, wish(archive, "jdoe")).decline(1)
    with pytest.raises(Denied, match="request-lapsed"):
        archive.index.database.write(agreement.require)
    assert is_there(archive)


def test_a_machine_proposes_only_however_often(archive: Archive) -> None:
    decisions = Decisions(archive)
    first = decisions.propose_deletion(TOKEN, SAMPLE.study_uid, "retention")
    second = decisions.propose_deletion(replace(TOKEN, aet="other"), SAMPLE.study_uid, "retention")
    assert first == second
    assert first.proposer == "token loader"
    assert is_there(archive)
    officer = principal("bob", Role.SECURITY_OFFICER)
    decisions.agree(officer, first.number, "seen")
    assert not is_there(archive)
    with pytest.raises(NotFound):
        decisions.propose_deletion(TOKEN, SAMPLE.study_uid, "retention")


def test_who_makes_tokens_does_not_agree_with_one(archive: Archive) -> None:
    """One administrator alone: a token that may delete, a request with it, and his own consent."""
    decisions, ann = Decisions(archive), principal("ann", Role.ADMINISTRATOR)
    for machine in (TOKEN, replace(TOKEN, via=""), replace(TOKEN, via="jwt", user="svc")):
        proposed = decisions.propose_deletion(machine, SAMPLE.study_uid, "retention")
        number = proposed.number
        assert not decisions.may_agree(ann, proposed)
        with pytest.raises(Denied, match="administrator-of-machines"):
            decisions.agree(ann, number, "seen")
        with pytest.raises(Denied, match="administrator-of-machines"):
            delete(archive, "ann", proposed.made_us + 1)
        decisions.decline(ann, number, "I would rather be asked by somebody")
    assert is_there(archive)


def test_whoever_does_not_see_all_of_a_study_proposes_nothing(archive: Archive) -> None:
    decisions = Decisions(archive)
    outside = Scope((Part(studies=(OTHER.study_uid,)),))
    for scope, error in ((outside, NotFound), (Scope((Part(modalities=("CT", "MR", "OT")),)), Denied)):
        if error is Denied and not is_there(archive):
            continue
        with pytest.raises((error, NotFound)):
            decisions.propose_deletion(replace(TOKEN, scope=scope), SAMPLE.study_uid, "x")
        with pytest.raises((error, NotFound)):
            decisions.propose_deletion(principal("jdoe", Role.PHYSICIAN, scope), SAMPLE.study_uid, "x")
    with pytest.raises(Denied):
        decisions.propose_deletion(principal("eve", Role.VIEWER), SAMPLE.study_uid, "x")
    assert proposals(archive) == []


def test_it_is_declined_by_who_reviews_or_taken_back(archive: Archive) -> None:
    decisions, officer = Decisions(archive), principal("bob", Role.SECURITY_OFFICER)
    number = decisions.propose_deletion(principal("jdoe", Role.PHYSICIAN), SAMPLE.study_uid, "x").number
    with pytest.raises(Denied):
        decisions.decline(principal("jdoe", Role.PHYSICIAN), number, "no")
    with pytest.raises(ConfigError):
        decisions.decline(officer, number, "")
    decisions.decline(officer, number, "it is the right patient")
    with pytest.raises(Denied):
        decisions.agree(principal("ann", Role.ADMINISTRATOR), number, "yes")
    assert is_there(archive)


def test_one_that_is_older_than_what_is_listed_is_found(archive: Archive) -> None:
    decisions, officer = Decisions(archive), principal("bob", Role.SECURITY_OFFICER)
    oldest = decisions.propose_deletion(principal("jdoe", Role.PHYSICIAN), SAMPLE.study_uid, "x")
    table = ProposalTable(archive.backend.dialect)

    def propose_others(transaction: Transaction) -> None:
        for number in range(oldest.number + 1, oldest.number + 1 + MAX_LISTED):
            table.add(transaction.cursor, replace(oldest, number=number, subject=f"2.25.{number}"))

    archive.index.database.write(propose_others)
    assert oldest not in decisions.proposals(officer)
    assert decisions.proposal(officer, oldest.number) == oldest
    for number in (0, oldest.number + 1 + MAX_LISTED):
        with pytest.raises(NotFound):
            decisions.proposal(officer, number)
    with pytest.raises(Denied):
        decisions.proposal(principal("jdoe", Role.PHYSICIAN), oldest.number)


def test_an_exception_takes_two_administrators_and_each_word(excepted: Archive) -> None:
    (said,) = excepted.config.unsafe_plaintext
    other = UnsafePlaintext(**{**EXCEPTION, "port": 11113})
    assert is_agreed(excepted, said), "the harness agrees to what a test sets up"
    assert not is_agreed(excepted, other)
    assert exception_digest("a", {"x": 1}) != exception_digest("b", {"x": 1})
    digest = digest_of_exception(said)
    with pytest.raises(NotFound):
        approve(excepted, digest_of_exception(other), "ann", NOW_US)
    with pytest.raises(NotFound):
        approve(excepted, digest[:7], "ann", NOW_US)
    with pytest.raises(Denied, match="role-may-not"):
        approve(excepted, digest, "bob", NOW_US)
    assert approve(excepted, digest[:8], "ann", NOW_US).decision == ""
    with pytest.raises(Denied, match="same-person"):
        approve(excepted, digest, "ann", NOW_US)
    assert approve(excepted, digest, "root", NOW_US).decided_by == "root"
    assert [each.is_agreed for each in exceptions(excepted)] == [True]


def test_an_exception_that_was_declined_is_in_effect_no_more(excepted: Archive) -> None:
    (said,) = excepted.config.unsafe_plaintext
    proposed = approve(excepted, digest_of_exception(said), "ann", NOW_US)
    Agreement(excepted, Wish(Matter.UNSAFE, proposed.subject, "root", "no", excepted.principal, NOW_US)).decline(
        proposed.number
    )
    assert not is_agreed(excepted, said)
