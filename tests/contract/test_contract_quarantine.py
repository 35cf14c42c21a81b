"""What every database must do the same for what is held: the contract of ``archive.ports.Quarantine``."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.instances import MASTER_ID, Shelf, new_ring
from strongroom.archive.model import Action, Event, Held, Outcome
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, NotFound, StorageUnavailable
from strongroom.store.blobs import SealedBlobStore
from strongroom.store.database import Database
from strongroom.store.keys import KeyRing
from strongroom.store.quarantine import (
    QuarantineLimits,
    QuarantineStore,
    Request,
    What,
    parse_quarantine_id,
)
from strongroom.store.rewrapping import Rewrapping
from strongroom.store.transaction import ACTIVE_MASTER
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record
from strongroom.types import Principal

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
SENDER = Principal("CT1", "f" * 64, "ann", "192.0.2.7", via="")
FINDINGS = b'[{"rule":"SR-PE-001","severity":"critical"}]'
LARGE = 100_000


class Ward:
    """A quarantine on one database, opened as often as there are processes."""

    def __init__(self, shelf: Shelf, folder: Path) -> None:
        self.shelf = shelf
        self.folder = folder
        folder.mkdir()
        self.database: Database
        self.ring: KeyRing
        self.blobs: SealedBlobStore
        self.quarantine: QuarantineStore
        self.open()

    def open(self, limits: QuarantineLimits | None = None) -> QuarantineStore:
        """The quarantine as another process has it."""
        index = self.shelf.index()
        self.database, self.ring = index.database, index._keys
        self.blobs = SealedBlobStore(self.folder, small_bytes=32_768)
        caps = limits or QuarantineLimits(100, 10 * LARGE)
        self.quarantine = QuarantineStore(index.database, self.ring, self.blobs, caps)
        return self.quarantine

    def sealed(self, data: bytes, **more: object) -> Held:
        """An object with these bytes, sealed under a key of its own as the door does it."""
        key, object_id = self.ring.new_data_key(), secrets.token_bytes(16)
        writer = self.blobs.create(object_id, key.key)
        writer.write(data)
        raw = writer.commit()
        held = Held(
            object_id=object_id,
            sop_class="1.2.840.10008.5.1.4.1.1.2",
            sop_uid="2.25.1",
            series_uid="2.25.2",
            study_uid="2.25.3",
            transfer_syntax="1.2.840.10008.1.2.1",
            data_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
            key=key,
            received_us=1_800_000_000_000_000,
            reason="screening",
            severity="critical",
            findings=FINDINGS,
            sealed=raw,
        )
        return replace(held, **more)  # type: ignore[arg-type]

    def hold(self, data: bytes, sender: Principal = SENDER, **more: object) -> str:
        return self.quarantine.hold(self.sealed(data, **more), event(sender))

    def take_out(self, number: int) -> bytes:
        return self.database.write(lambda transaction: self.quarantine.take_out(transaction, number))

    def read(self, number: int) -> bytes:
        reader = self.quarantine.open(self.quarantine.find(number))
        try:
            return b"".join(reader.chunks())
        finally:
            reader.close()

    def files(self) -> set[bytes]:
        return {object_id for object_id, _ in self.blobs.ids()}

    def events(self) -> list[Event]:
        reader = TrailReader(self.database.dialect)
        with self.database.read() as cursor:
            return [
                parse_record(row.raw).event
                for log in reader.logs(cursor)
                for page in reader.pages(cursor, log)
                for row in page
            ]

    def rows(self, table: str) -> list[tuple[object, ...]]:
        with self.database.read() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            return list(cursor.fetchall())


def event(sender: Principal = SENDER) -> Event:
    return Event(Action.QUARANTINE, Outcome.REFUSED, sender, {"sop_uid": "2.25.1", "reason": "screening"})


@pytest.fixture(params=["sqlcipher", "journal", POSTGRESQL])
def ward(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ward]:
    if request.param == "postgresql":
        shelf = Shelf.at(str(request.getfixturevalue("new_postgres_url")()))
    else:
        shelf = Shelf.at(("journal:" if request.param == "journal" else "") + str(tmp_path / "index.db"))
    yield Ward(shelf, tmp_path / "objects")
    shelf.close()


# -- taking in


@pytest.mark.parametrize("size", [1000, LARGE])
def test_what_is_held_is_read_back_as_it_came_by_another_process(ward: Ward, size: int) -> None:
    data = secrets.token_bytes(size)
    held = ward.sealed(data)
    assert ward.quarantine.hold(held, event()) == "Q1"
    ward.open()
    entry = ward.quarantine.find(1)
    assert ward.read(1) == data
    assert (entry.id, entry.object_id, entry.sha256) == ("Q1", held.object_id, held.sha256)
    assert (entry.sop_class, entry.sop_uid) == (held.sop_class, held.sop_uid)
    assert (entry.series_uid, entry.study_uid) == (held.series_uid, held.study_uid)
    assert (entry.transfer_syntax, entry.data_bytes) == (held.transfer_syntax, size)
    assert (entry.received_us, entry.reason, entry.severity) == (held.received_us, "screening", "critical")
    assert (entry.sender, entry.times, entry.requests) == (SENDER, 1, ())
    assert entry.findings == FINDINGS
    assert entry.is_small == (size == 1000)
    assert ward.quarantine.object_ids() == [held.object_id]


def test_the_record_is_in_the_same_transaction_and_names_the_id(ward: Ward) -> None:
    ward.hold(b"one")
    (found,) = ward.events()
    assert found.action is Action.QUARANTINE
    assert found.principal.aet == "CT1"
    assert found.details == {"sop_uid": "2.25.1", "reason": "screening", "quarantine": "Q1", "held": "new"}


def test_without_its_record_nothing_is_held(ward: Ward, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("no trail")

    with monkeypatch.context() as patch:
        patch.setattr(TrailReader, "head", fail)
        patch.setattr("strongroom.trail.log.TrailLog.append", fail)
        with pytest.raises(StorageUnavailable):
            ward.hold(b"one")
    assert ward.quarantine.entries() == []
    assert ward.rows("held_key") == []
    assert ward.hold(b"one") == "Q1"


def test_entries_are_listed_in_order_and_without_findings(ward: Ward) -> None:
    for number in range(3):
        ward.hold(b"object %d" % number)
    entries = ward.quarantine.entries()
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert {entry.findings for entry in entries} == {b""}
    assert ward.quarantine.of_study("2.25.3") == 3
    assert ward.quarantine.of_study("2.25.4") == 0


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_sender_that_repeats_costs_no_row_and_no_file(ward: Ward, size: int) -> None:
    data = secrets.token_bytes(size)
    first = ward.sealed(data)
    assert ward.quarantine.hold(first, event()) == "Q1"
    for _ in range(5):
        assert ward.hold(data) == "Q1"
    assert ward.files() == (set() if size == 1000 else {first.object_id})
    assert len(ward.rows("held")) == len(ward.rows("held_key")) == 1
    assert ward.quarantine.find(1).times == 6
    assert ward.read(1) == data
    assert [found.details["held"] for found in ward.events()] == ["new"] + ["again"] * 5


@pytest.mark.parametrize(
    "other",
    [
        {"sop_uid": "2.25.99"},
        {"transfer_syntax": "1.2.840.10008.1.2"},
        {"sha256": bytes(32)},
    ],
)
def test_what_differs_is_held_beside_it(ward: Ward, other: dict[str, object]) -> None:
    assert ward.hold(b"same") == "Q1"
    assert ward.hold(b"same", **other) == "Q2"


def test_two_senders_of_the_same_bytes_are_two_entries(ward: Ward) -> None:
    assert ward.hold(b"same") == "Q1"
    assert ward.hold(b"same", Principal("MR1")) == "Q2"
    assert ward.hold(b"same", Principal("CT1", via="token")) == "Q3"
    assert ward.hold(b"same", Principal("CT1", "another certificate", "bob", "192.0.2.8")) == "Q1"


def test_threads_that_hold_the_same_keep_one_and_others_get_each_their_own(ward: Ward) -> None:
    same = secrets.token_bytes(LARGE)
    pieces = [ward.sealed(same) for _ in range(6)] + [ward.sealed(b"%d" % number) for number in range(6)]
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda held=held: ids.append(ward.quarantine.hold(held, event()))) for held in pieces
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 12
    assert len(set(ids)) == 7
    assert len(ward.files()) == 1


def test_held_twice_by_accident_an_object_does_not_remove_itself(ward: Ward) -> None:
    held = ward.sealed(secrets.token_bytes(LARGE))
    assert ward.quarantine.hold(held, event()) == ward.quarantine.hold(held, event()) == "Q1"
    assert ward.files() == {held.object_id}


# -- limits


def test_max_quarantine_objects_holds_and_a_repetition_still_gets_its_id(ward: Ward) -> None:
    ward.open(QuarantineLimits(2, 10 * LARGE))
    ward.hold(b"one")
    ward.hold(b"two")
    with pytest.raises(LimitExceeded) as caught:
        ward.hold(b"three")
    assert caught.value.limit_name == "max_quarantine_objects"
    assert ward.hold(b"two") == "Q2"
    ward.take_out(1)
    assert ward.hold(b"three") == "Q3"


def test_max_quarantine_bytes_counts_what_was_sent(ward: Ward) -> None:
    ward.open(QuarantineLimits(100, 2000))
    ward.hold(b"1" * 1500)
    with pytest.raises(LimitExceeded) as caught:
        ward.hold(b"2" * 501)
    assert caught.value.limit_name == "max_quarantine_bytes"
    assert ward.hold(b"3" * 500) == "Q2"


def test_what_is_over_a_limit_leaves_no_row_and_no_record(ward: Ward) -> None:
    ward.open(QuarantineLimits(100, 10))
    with pytest.raises(LimitExceeded):
        ward.hold(b"1" * 1500)
    assert ward.events() == []
    assert ward.rows("held_key") == ward.rows("held") == []


# -- keys


def test_each_object_has_a_key_that_opens_no_other(ward: Ward) -> None:
    first, second = ward.sealed(b"a" * LARGE), ward.sealed(b"b" * LARGE)
    for held in (first, second):
        ward.quarantine.hold(held, event())
    assert first.key.key != second.key.key
    with pytest.raises(IntegrityError):
        ward.blobs.open(first.object_id, second.key.key).read(0, 10)


def test_the_process_that_holds_it_keeps_no_key(ward: Ward) -> None:
    held = ward.sealed(b"one")
    ward.quarantine.hold(held, event())
    assert held.key.key_id not in ward.ring._data_keys


def test_a_key_from_before_a_rotation_is_wrapped_under_the_new_master_key(ward: Ward) -> None:
    held = ward.sealed(b"one")
    ward.database.write(lambda transaction: transaction.set_meta(ACTIVE_MASTER, "mk-other"))
    ward.quarantine.hold(held, event())
    assert [row[3] for row in ward.rows("held_key")] == ["mk-other"]
    ward.open()
    assert ward.read(1) == b"one"


def test_rotation_wraps_the_keys_of_held_objects_anew(ward: Ward) -> None:
    for number in range(3):
        ward.hold(b"object %d" % number)
    ward.take_out(2)
    statements = Rewrapping(ward.database.dialect)
    with ward.database.read() as cursor:
        assert statements.counts(cursor) == {MASTER_ID: 2}
        sample = statements.sample(cursor, MASTER_ID)
    assert sample is not None
    ring = new_ring()
    ring.activate("mk-other")
    batch = ward.database.write(lambda transaction: statements.batch(transaction.cursor, ring, b""))
    ward.database.write(lambda transaction: statements.rewrite(transaction.cursor))
    assert (batch.rewrapped, batch.unopened, batch.last) == (2, (), None)
    with ward.database.read() as cursor:
        assert statements.counts(cursor) == {"mk-other": 2}
        assert statements.sample(cursor, MASTER_ID) is None
    ward.open()
    assert (ward.read(1), ward.read(3)) == (b"object 0", b"object 2")


# -- taking out


@pytest.mark.parametrize("size", [1000, LARGE])
def test_taken_out_it_is_gone_its_key_is_overwritten_and_its_number_never_comes_back(ward: Ward, size: int) -> None:
    held = ward.sealed(b"x" * size)
    ward.quarantine.hold(held, event())
    before = ward.quarantine.find(1)
    request = Request(What.DESTROY, "ann", "malware", 1)
    ward.database.write(lambda transaction: ward.quarantine.ask(transaction, 1, request))
    assert ward.take_out(1) == held.key.key_id
    assert ward.rows("held") == ward.rows("held_request") == []
    assert ward.rows("held_key") == [(held.key.key_id, None, bytes(60), held.key.master_id)]
    assert ward.rows("destroyed_key") == [(held.key.key_id,)]
    for look in (lambda: ward.quarantine.find(1), lambda: ward.quarantine.open(before), lambda: ward.take_out(1)):
        with pytest.raises(NotFound):
            look()
    assert ward.quarantine.object_ids() == []
    assert ward.hold(b"next") == "Q2"


def test_a_request_takes_the_place_of_the_one_before_and_both_kinds_stand_beside_each_other(ward: Ward) -> None:
    ward.hold(b"one")
    ward.hold(b"two")
    requests = [
        Request(What.DESTROY, "ann", "malware", 10),
        Request(What.RELEASE, "bob", "a vendor's blob", 20),
        Request(What.DESTROY, "cid", "malware indeed", 30),
    ]
    for request in requests:
        ward.database.write(lambda transaction, request=request: ward.quarantine.ask(transaction, 1, request))
    assert ward.quarantine.find(1).requests == tuple(requests[1:])
    assert [entry.requests for entry in ward.quarantine.entries()] == [tuple(requests[1:]), ()]


# -- ids


@pytest.mark.parametrize(("text", "number"), [("Q1", 1), ("q17", 17), ("Q9999999999999999", 9999999999999999)])
def test_an_id_is_what_it_was_given_as(text: str, number: int) -> None:
    assert parse_quarantine_id(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "Q", "17", "Q0", "Q01", "Q-1", "Q1.5", "Q 1", "Q1\n", "../Q1", "Q1/../../x", "Q1;DROP TABLE held", "*"),
        *("Q\u0661", "Q" + "9" * 17, "Q" * 10_000),
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_quarantine_id(text)
