"""Storage commitment: requests read, reports that are true, the ledger on both databases, deliveries that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pynetdicom.dsutils import decode, encode

from harness.instances import Shelf, instance, new_ring
from strongroom.archive.commitment import (
    MAX_BACKOFF_S,
    Commitment,
    CommitmentLimits,
    Commitments,
    FailureReason,
    Reference,
    Report,
)
from strongroom.archive.model import Event, Outcome, StoredObject
from strongroom.archive.peers import Binding, Peer
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from strongroom.dimse import NEventReportRsp
from strongroom.errors import (
    Denied,
    IntegrityError,
    LimitExceeded,
    MalformedDataset,
    NotFound,
    PeerUnavailable,
    Refused,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.net.commitment_scp import CommitmentSender, encode_report, parse_request
from strongroom.net.services import STORAGE_COMMITMENT
from strongroom.store.commitments import CommitmentLedger
from strongroom.store.index import Index
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record
from strongroom.types import AeTitle, Principal, Right, Scope, Uid
from strongroom.ul import Negotiated, PresentationContext

CT, MR, PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.5"
SYNTAXES = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
START = 1_800_000_000.0


def action_information(transaction_uid: str | None, references: list[tuple[str, str]] | None) -> Dataset:
    dataset = Dataset()
    if transaction_uid is not None:
        dataset.TransactionUID = transaction_uid
    if references is not None:
        items = []
        for sop_class, sop_uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
            items.append(item)
        dataset.ReferencedSOPSequence = Items(items)
    return dataset


# -- what is asked for, what is told

UIDS = st.from_regex(r"[1-9][0-9]{0,8}(\.[1-9][0-9]{0,8}){1,5}", fullmatch=True)


@settings(max_examples=30, deadline=None)
@given(UIDS, st.lists(st.tuples(UIDS, UIDS), min_size=1, max_size=20), st.sampled_from(SYNTAXES))
def test_a_request_is_read_as_it_was_written(
    transaction_uid: str, references: list[tuple[str, str]], syntax: TransferSyntax
) -> None:
    raw = encode(action_information(transaction_uid, references), not syntax.explicit, True)
    assert raw is not None
    assert parse_request(raw, syntax) == (transaction_uid, references)


@pytest.mark.parametrize(
    "information",
    [
        action_information(None, [(CT, "1.2")]),
        action_information("1.2", None),
        action_information("1.2", []),
        action_information("1.2", [(CT, "")]),
    ],
)
def test_a_request_with_a_part_missing_is_refused(information: Dataset) -> None:
    raw = encode(information, False, True)
    with pytest.raises(MalformedDataset):
        parse_request(raw or b"", EXPLICIT_VR_LITTLE_ENDIAN)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    with suppress(MalformedDataset, LimitExceeded):
        parse_request(raw, IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_report_says_what_was_found(syntax: TransferSyntax) -> None:
    report = Report((Reference(CT, "1.1"),), ((Reference(MR, "1.2"), FailureReason.CLASS_INSTANCE_CONFLICT),))
    raw = encode_report(commitment(), report, AeTitle("STRONGROOM"), syntax)
    told = decode(BytesIO(raw), not syntax.explicit, True)
    assert told.TransactionUID == "9.9"
    assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == ["1.1"]
    assert [(item.ReferencedSOPClassUID, item.FailureReason) for item in told.FailedSOPSequence] == [(MR, 0x0119)]


# -- the truth


def commitment(*references: tuple[str, str], tries: int = 0) -> Commitment:
    wanted = tuple(Reference(*each) for each in references)
    return Commitment(1, "SCU", "9.9", wanted, int(START * 1e6), tries)


class Stored:
    """An index and objects: UID -> (SOP class, size in the index, size on disk or what opening raises)."""

    def __init__(self, objects: dict[str, tuple[str, int, int | Exception]]) -> None:
        self.objects = objects

    def find_object(self, sop_uid: str, scope: Scope | None) -> StoredObject | None:
        if sop_uid not in self.objects:
            return None
        sop_class, size, _ = self.objects[sop_uid]
        new = instance({0x00080016: [sop_class], 0x00080018: [sop_uid]}, new_ring().new_data_key())
        return replace(new.stored, data_bytes=size)

    def open_object(self, stored: StoredObject) -> Any:
        found = self.objects[stored.sop_uid][2]
        if isinstance(found, Exception):
            raise found

        class Blob:
            size = found

            def close(self) -> None:
                pass

        return Blob()


def commitments(stored: Any, ledger: Any = None, clock: Callable[[], float] = lambda: START) -> Commitments:
    limits = CommitmentLimits(max_pending_per_peer=3, retry_s=60.0, max_tries=4)
    return Commitments(ledger, stored, getattr(stored, "open_object", None), {CT, MR}, limits, clock)


def test_only_what_is_here_as_a_whole_is_committed_to() -> None:
    stored = Stored(
        {
            "1.1": (CT, 100, 100),
            "1.2": (CT, 100, 100),
            "1.3": (CT, 100, 99),
            "1.4": (CT, 100, NotFound("gone")),
            "1.5": (CT, 100, IntegrityError("header")),
            "1.6": (CT, 100, StorageUnavailable("disk")),
            "1.7": (PRIVATE, 100, 100),
        }
    )
    wanted = [(CT, "1.1"), (MR, "1.2"), (CT, "1.3"), (CT, "1.4"), (CT, "1.5"), (CT, "1.6"), (PRIVATE, "1.7")]
    wanted += [(CT, "1.8"), (PRIVATE, "1.9")]
    report = commitments(stored).report(commitment(*wanted), None)
    assert [each.sop_uid for each in report.committed] == ["1.1", "1.7"]
    assert {reference.sop_uid: int(reason) for reference, reason in report.failed} == {
        "1.2": 0x0119,
        "1.3": 0x0110,
        "1.4": 0x0110,
        "1.5": 0x0110,
        "1.6": 0x0110,
        "1.8": 0x0112,
        "1.9": 0x0122,
    }


def test_what_is_deleted_before_the_report_is_told_is_not_promised() -> None:
    stored = Stored({"1.1": (CT, 100, 100)})
    asked = commitment((CT, "1.1"))
    assert commitments(stored).report(asked, None).committed
    del stored.objects["1.1"]
    assert not commitments(stored).report(asked, None).committed


# -- the ledger


@pytest.fixture(params=["sqlcipher", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "sqlcipher":
        place = Shelf.sqlcipher(tmp_path / "index.db")
    else:
        place = Shelf.postgresql(request.getfixturevalue("new_postgres_url")())
    yield place
    place.close()


SCU = Principal("SCU", rights=frozenset({Right.COMMIT}))
REFERENCES = [Reference(CT, "1.1"), Reference(CT, "1.2"), Reference(CT, "1.1")]


def trail_of(index: Index) -> list[Event]:
    reader = TrailReader(index.database.dialect)
    with index.database.read() as cursor:
        return [
            parse_record(row.raw).event
            for log in reader.logs(cursor)
            for page in reader.pages(cursor, log)
            for row in page
        ]


def test_a_request_is_owed_until_it_is_settled_and_the_trail_says_both(shelf: Shelf) -> None:
    index = shelf.index()
    owed = commitments(index, CommitmentLedger(index.database))
    new = owed.accept(SCU, "9.1", REFERENCES)
    assert new.references == (Reference(CT, "1.1"), Reference(CT, "1.2"))
    owed.delivered(new, SCU, Report(new.references, ()), "called")
    owed.delivered(new, SCU, Report(new.references, ()), "same-association")
    told = [(event.outcome, event.details["phase"]) for event in trail_of(index)]
    assert told == [(Outcome.SUCCESS, "begin"), (Outcome.SUCCESS, "end")]
    assert owed.wait_s() is None


def test_a_restart_forgets_nothing(shelf: Shelf) -> None:
    index = shelf.index()
    new = commitments(index, CommitmentLedger(index.database)).accept(SCU, "9.1", REFERENCES)
    again = commitments(None, CommitmentLedger(shelf.index().database), lambda: START + 61)
    assert list(again.due(10)) == [new]


def test_a_transaction_uid_is_taken_while_its_report_is_owed_and_by_its_peer_only(shelf: Shelf) -> None:
    index = shelf.index()
    owed = commitments(index, CommitmentLedger(index.database))
    first = owed.accept(SCU, "9.1", REFERENCES)
    owed.accept(replace(SCU, aet="OTHER"), "9.1", REFERENCES)
    with pytest.raises(Refused, match="duplicate-transaction-uid"):
        owed.accept(SCU, "9.1", REFERENCES)
    owed.give_up(first, "test")
    owed.accept(SCU, "9.1", REFERENCES)


def test_a_peer_can_have_only_so_many_pending(shelf: Shelf) -> None:
    index = shelf.index()
    owed = commitments(index, CommitmentLedger(index.database))
    for number in range(3):
        owed.accept(SCU, f"9.{number}", REFERENCES)
    with pytest.raises(LimitExceeded) as over:
        owed.accept(SCU, "9.9", REFERENCES)
    assert over.value.limit_name == "max_pending_commitments_per_peer"
    owed.accept(replace(SCU, aet="OTHER"), "9.9", REFERENCES)
    assert len(trail_of(index)) == 4  # what was refused has left nothing


def test_without_the_right_nothing_is_owed(shelf: Shelf) -> None:
    index = shelf.index()
    owed = commitments(index, CommitmentLedger(index.database))
    with pytest.raises(Denied):
        owed.accept(Principal("SCU", rights=frozenset(Right) - {Right.COMMIT}), "9.1", REFERENCES)
    assert owed.wait_s() is None


def test_two_processes_do_not_make_the_same_try(shelf: Shelf) -> None:
    index = shelf.index()
    ours = commitments(index, CommitmentLedger(index.database), lambda: START + 100)
    theirs = commitments(None, CommitmentLedger(shelf.index().database), lambda: START + 100)
    new = commitments(index, CommitmentLedger(index.database)).accept(SCU, "9.1", REFERENCES)
    assert list(ours.due(1)) == list(theirs.due(1)) == [new]
    assert ours.claim(new)
    assert not theirs.claim(new)
    assert list(theirs.due(1)) == []


# -- deliveries


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Called:
    """A peer that is called: answers with the statuses given, or raises."""

    peer_fingerprint = "f" * 64

    def __init__(self, *answers: int | StrongroomError, accepts: bool = True) -> None:
        context = PresentationContext(1, STORAGE_COMMITMENT, Uid(EXPLICIT_VR_LITTLE_ENDIAN.uid), False, True)
        title = AeTitle("X")
        self.negotiated = Negotiated({1: context} if accepts else {}, {}, title, title, 0, None, "", 0)
        self.told: list[tuple[int, Dataset]] = []
        self._answers = iter(answers)

    def __enter__(self) -> Called:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def report_event(self, _: Uid, __: Uid, event_type: int, data: bytes) -> NEventReportRsp:
        answer = next(self._answers)
        if isinstance(answer, StrongroomError):
            raise answer
        self.told.append((event_type, decode(BytesIO(data), False, True)))
        return NEventReportRsp(1, answer)


class Caller:
    """Stands for PeerCaller."""

    aet = AeTitle("STRONGROOM")

    def __init__(self, called: Called | StrongroomError, rights: frozenset[Right] = frozenset(Right)) -> None:
        self.called, self.calls, self.denied = called, 0, ""
        self._peer = Peer(AeTitle("SCU"), rights, Binding.FINGERPRINT, "", "", "", "127.0.0.1", 1)

    def find(self, aet: str) -> Peer:
        if self.denied:
            raise Denied(self.denied)
        return self._peer

    def call(self, *_: object) -> Called:
        self.calls += 1
        if isinstance(self.called, StrongroomError):
            raise self.called
        return self.called


@pytest.fixture
def owed(tmp_path: Path) -> Iterator[tuple[Commitments, Clock, Index]]:
    place = Shelf.sqlcipher(tmp_path / "index.db")
    index, clock = place.index(), Clock()
    yield commitments(index, CommitmentLedger(index.database), clock), clock, index
    place.close()


def ends_of(index: Index) -> list[tuple[Outcome, Any]]:
    return [
        (event.outcome, event.details.get("reason", event.details.get("way")))
        for event in trail_of(index)
        if event.details["phase"] == "end"
    ]


Owed = tuple[Commitments, Clock, Index]


def test_all_that_a_peer_is_owed_goes_over_one_association(owed: Owed) -> None:
    accounts, clock, index = owed
    for number in range(3):
        accounts.accept(SCU, f"9.{number}", REFERENCES)
    caller = Caller(Called(0, 0, 0))
    sender = CommitmentSender(accounts, caller)  # type: ignore[arg-type]
    sender.send_due()
    assert caller.calls == 0  # the association that it was asked for on comes first
    clock.now += 61
    sender.send_due()
    assert caller.calls == 1
    assert isinstance(caller.called, Called)
    assert [(event_type, told.TransactionUID) for event_type, told in caller.called.told] == [
        (2, "9.0"), (2, "9.1"), (2, "9.2"),
    ]  # fmt: skip
    assert ends_of(index) == [(Outcome.WARNING, "called")] * 3
    assert accounts.wait_s() is None


@pytest.mark.parametrize(
    "called",
    [
        PeerUnavailable("away"),
        Denied("certificate-not-of-peer"),
        Called(accepts=False),
        Called(*[0x0110] * 4),
        Called(*[PeerUnavailable("gone")] * 4),
    ],
)
def test_tries_are_spaced_out_counted_and_end(owed: Owed, called: Called | StrongroomError) -> None:
    accounts, clock, index = owed
    accounts.accept(SCU, "9.1", REFERENCES)
    caller = Caller(called)
    sender = CommitmentSender(accounts, caller)  # type: ignore[arg-type]
    waits = []
    while (wait_s := accounts.wait_s()) is not None:
        waits.append(wait_s)
        clock.now += wait_s + 1
        sender.send_due()
    assert waits == [pytest.approx(each, abs=2) for each in (60, 60, 120, 240)]
    assert caller.calls == 4
    assert [outcome for outcome, _ in ends_of(index)] == [Outcome.FAILED]


def test_no_wait_is_longer_than_an_hour() -> None:
    class Noting:
        waits: list[float] = []  # noqa: RUF012

        def reschedule(self, _: Commitment, next_try_us: int, tries: int) -> bool:
            self.waits.append(next_try_us / 1e6 - START)
            return True

    for tries in (0, 10, 10_000):
        assert commitments(None, Noting()).claim(commitment(tries=tries))
    assert Noting.waits == [60.0, MAX_BACKOFF_S, MAX_BACKOFF_S]


@pytest.mark.parametrize("reason", ["peer-revoked", "unknown-peer", "no-address"])
def test_who_cannot_be_called_any_more_is_owed_nothing(owed: Owed, reason: str) -> None:
    accounts, clock, index = owed
    accounts.accept(SCU, "9.1", REFERENCES)
    clock.now += 61
    caller = Caller(PeerUnavailable("not called"))
    caller.denied = reason
    CommitmentSender(accounts, caller).send_due()  # type: ignore[arg-type]
    assert ends_of(index) == [(Outcome.FAILED, reason)]
    assert caller.calls == 0


def test_who_lost_the_right_is_told_nothing(owed: Owed) -> None:
    accounts, clock, index = owed
    accounts.accept(SCU, "9.1", REFERENCES)
    clock.now += 61
    caller = Caller(PeerUnavailable("not called"), rights=frozenset({Right.STORE}))
    CommitmentSender(accounts, caller).send_due()  # type: ignore[arg-type]
    assert ends_of(index) == [(Outcome.FAILED, "no-right-commit")]
    assert caller.calls == 0


def test_a_peer_that_dies_between_two_reports_is_told_the_second_later(owed: Owed) -> None:
    accounts, clock, index = owed
    for number in range(2):
        accounts.accept(SCU, f"9.{number}", REFERENCES)
    clock.now += 61
    sender = CommitmentSender(accounts, Caller(Called(0, PeerUnavailable("gone"))))  # type: ignore[arg-type]
    sender.send_due()
    assert [each.transaction_uid for each in accounts.ledger.due(2**60, 9)] == ["9.1"]
    assert len(ends_of(index)) == 1


def test_the_sender_can_be_stopped_at_any_time(owed: Owed) -> None:
    accounts, _, _ = owed
    never_started = CommitmentSender(accounts, Caller(PeerUnavailable("away")))  # type: ignore[arg-type]
    never_started.stop(1.0)
    for _ in range(20):
        sender = CommitmentSender(accounts, Caller(PeerUnavailable("away")))  # type: ignore[arg-type]
        sender.start()
        sender.stop(10.0)
        assert not sender._thread.is_alive()
