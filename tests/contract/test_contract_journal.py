"""An index with a journal, beside other processes and after crashes: what was acknowledged is there, and only once."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness import instances
from harness.instances import (
    MASTER_ID,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    MasterKeys,
    Shelf,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive.model import Action, Event, Level, NewInstance, Outcome
from strongroom.errors import ConfigError, StaleKey, StorageUnavailable
from strongroom.store import backlog as backlog_module
from strongroom.store import database as database_module
from strongroom.store import turns as turns_module
from strongroom.store.backlog import Backlog, decode_frame, encode_frame
from strongroom.store.deletion import StudyDeletion
from strongroom.store.index import Index
from strongroom.store.keys import KeyRing
from strongroom.store.rewrapping import Rewrapping
from strongroom.store.transaction import ACTIVE_MASTER, Shared, Transaction
from strongroom.store.turns import Turns
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record

DATA_KEY = new_ring().new_data_key()
SERIES = {STUDY_INSTANCE_UID: ["2.25.1"], SERIES_INSTANCE_UID: ["2.25.1.1"]}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Rows are written when somebody asks for them, and not before."""
    monkeypatch.setattr(backlog_module, "LINGER_TIMES", 10**9)
    (tmp_path / "data").mkdir()
    shelf = Shelf.journalled(tmp_path / "data" / "index.db")
    yield shelf
    for index in shelf.opened:
        if index.backlog is not None:
            index.backlog._ends = True
    shelf.close()


def put(index: Index, number: int) -> tuple[NewInstance, Event]:
    new = instance({**SERIES, SOP_INSTANCE_UID: [f"2.25.1.1.{number}"]}, DATA_KEY)
    return new, stored_event(new)


def add(index: Index, *numbers: int) -> list[NewInstance]:
    added = []
    for number in numbers:
        new, event = put(index, number)
        assert index.add(new, event)
        added.append(new)
    return added


def waiting(index: Index) -> int:
    assert index.backlog is not None
    return len(index.backlog._waiting)


def numbers_in(index: Index) -> set[int]:
    return {number for number in range(20) if index.find_object(f"2.25.1.1.{number}")}


def copy_as_after_a_crash(shelf: Shelf, folder: Path) -> Shelf:
    assert shelf.journal_folder is not None
    shutil.copytree(shelf.journal_folder, folder)
    return Shelf(lambda: Shelf.open_file(folder / "index.db"), folder)


def records(index: Index) -> int:
    reader = TrailReader(index.database.dialect)
    with index.database.read() as cursor:
        return sum(reader.head(cursor, log).size for log in reader.logs(cursor))  # type: ignore[union-attr]  # it has one


def test_an_ordinary_object_waits_in_the_journal_and_is_found_all_the_same(shelf: Shelf) -> None:
    index = shelf.index("first")
    add(index, 0)
    assert waiting(index) == 0, "the first of a series is no ordinary object"
    news = add(index, 1, 2)
    assert waiting(index) == 2
    found = index.find_object(news[1].stored.sop_uid)
    assert found == news[1].stored
    assert waiting(index) == 0


def test_what_waits_is_known_already(shelf: Shelf) -> None:
    index = shelf.index("first")
    add(index, 0, 1)
    again, event = put(index, 1)
    add(index, 2)
    before = waiting(index)
    assert not index.add(again, event)
    assert before > waiting(index) == 0
    assert numbers_in(index) == {0, 1, 2}
    assert records(index) == 3


def test_another_process_sees_what_was_acknowledged(shelf: Shelf) -> None:
    index = shelf.index("first")
    other = shelf.index("second")
    add(index, 0, 1, 2)
    assert waiting(index)
    # Whoever serves looks after those who wait whenever something comes, and when nothing does its thread does.
    reading = threading.Thread(target=lambda: results.append(numbers_in(other)))
    results: list[set[int]] = []
    assert index.backlog is not None
    reading.start()
    while not index.backlog._turns.is_wanted():
        threading.Event().wait(0.001)
    add(index, 3)
    reading.join(20)
    assert results
    assert results[0] >= {0, 1, 2}


def test_a_waiting_process_is_let_in_though_nothing_more_comes(shelf: Shelf) -> None:
    index, other = shelf.index("first"), shelf.index("second")
    add(index, 0, 1)
    assert waiting(index)
    assert numbers_in(other) == {0, 1}


def test_a_crash_loses_nothing_and_repeats_nothing(shelf: Shelf, tmp_path: Path) -> None:
    index = shelf.index("first")
    add(index, 0, 1, 2)
    numbers_in(index)  # writes the rows, and syncs nothing
    add(index, 3, 4)
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    again = crashed.index("first")
    assert numbers_in(again) == {0, 1, 2, 3, 4}
    assert records(again) == 5
    times = crashed.index("third")
    assert numbers_in(times) == {0, 1, 2, 3, 4}
    assert records(times) == 5
    add(again, 5, 6)
    assert numbers_in(again) == {0, 1, 2, 3, 4, 5, 6}
    crashed.close()


def test_rows_that_never_reached_the_disk_come_from_the_journal(shelf: Shelf, tmp_path: Path) -> None:
    """A commit that is not synced may be gone after a power failure; the journal was synced."""
    index = shelf.index("first")
    add(index, 0)
    assert shelf.journal_folder is not None
    early = tmp_path / "early"
    shutil.copytree(shelf.journal_folder, early)
    add(index, 1, 2)
    assert numbers_in(index) == {0, 1, 2}
    shutil.copy(shelf.journal_folder / "journal", early / "journal")
    crashed = Shelf(lambda: Shelf.open_file(early / "index.db"), early)
    assert numbers_in(crashed.index("first")) == {0, 1, 2}
    crashed.close()


def test_what_is_replayed_keeps_its_time(shelf: Shelf, tmp_path: Path) -> None:
    index = shelf.index("first")
    news = add(index, 0, 1)
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    again = crashed.index("other")
    reader = TrailReader(again.database.dialect)
    with again.database.read() as cursor:
        raw = reader.read(cursor, "other", 0, 10)[0].raw
    assert parse_record(raw).time.timestamp() == pytest.approx(news[1].stored.received_us / 1e6)
    crashed.close()


def test_a_deletion_erases_the_journal_and_what_waited_goes_with_it(shelf: Shelf, tmp_path: Path) -> None:
    index, other = shelf.index("first"), shelf.index("second")
    add(index, 0, 1, 2)
    assert waiting(index)
    deleted = other.database.write(lambda unit: StudyDeletion(unit.sql.dialect, other.registry).run(unit, "2.25.1"))
    assert len(deleted.objects) == 3
    assert other.erase_journal()
    assert shelf.journal_folder is not None
    assert numbers_in(index) == set()
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    assert numbers_in(crashed.index("first")) == set()
    crashed.close()
    with pytest.raises(StaleKey):
        index.add(*put(index, 3))


def test_a_full_journal_begins_anew(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    index = shelf.index("first")
    add(index, 0)
    assert index.backlog is not None
    journal = index.backlog._journal
    monkeypatch.setattr(journal, "_size", journal._end + 3000)
    name = journal.name
    add(index, *range(1, 12))
    assert journal.name != name
    assert numbers_in(index) == set(range(12))
    assert records(index) == 12


def test_senders_wait_for_the_index_when_too_much_waits(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "MAX_WAITING", 3)
    index = shelf.index("first")
    add(index, *range(9))
    assert 0 < waiting(index) <= 3
    assert numbers_in(index) == set(range(9))


def test_after_a_failed_sync_nothing_is_promised(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    index = shelf.index("first")
    add(index, 0, 1)

    def fail() -> None:
        raise StorageUnavailable("the journal cannot be made durable: EIO")

    assert index.backlog is not None
    monkeypatch.setattr(index.backlog._journal, "sync", fail)
    for number in (2, 3):
        with pytest.raises(StorageUnavailable):
            index.add(*put(index, number))
    monkeypatch.undo()
    with pytest.raises(StorageUnavailable):
        index.add(*put(index, 4))


def test_a_row_that_cannot_be_written_sends_the_next_objects_to_the_index(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = shelf.index("first")
    add(index, 0, 1)
    write = Backlog.write

    def full(self: Backlog, unit: object) -> int:
        raise StorageUnavailable("the index cannot be written: database or disk is full")

    monkeypatch.setattr(Backlog, "write", full)
    assert numbers_in(index) == {0}, "what has its row can be read, whatever else goes wrong"
    with pytest.raises(StorageUnavailable):
        index.add(*put(index, 2))
    monkeypatch.setattr(Backlog, "write", write)
    add(index, 2, 3)
    assert numbers_in(index) == {0, 1, 2, 3}


def test_what_stops_waiting_while_its_copy_comes_in_is_not_taken_twice(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of the first copy is written after the second one has looked for it."""
    index = shelf.index("first")
    add(index, 0, 1)
    place_of = Shared.place_of

    def late(self: Shared, new: NewInstance) -> object:
        index.database.write_waiting()
        return place_of(self, new)

    monkeypatch.setattr(Shared, "place_of", late)
    assert not index.add(*put(index, 1))
    add(index, 2)
    assert numbers_in(index) == {0, 1, 2}
    assert records(index) == 3


def test_a_failed_sync_fails_everybody_whom_it_was_for(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a failure once: who syncs next is told that all is well."""
    index = shelf.index("first")
    add(index, 0)
    assert index.backlog is not None
    journal, sync = index.backlog._journal, os.fdatasync
    begun, go_on, syncs = threading.Event(), threading.Event(), []

    def fail_once(fd: int) -> None:
        if fd != journal._fd:
            sync(fd)
            return
        syncs.append(fd)
        if len(syncs) == 1:
            begun.set()
            go_on.wait(10)
            raise OSError(errno.EIO, "EIO")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    results: dict[int, bool] = {}

    def send(number: int) -> None:
        try:
            results[number] = index.add(*put(index, number))
        except StorageUnavailable:
            results[number] = False

    threads = [threading.Thread(target=send, args=(number,)) for number in (1, 2)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    while journal._written < 2:
        threading.Event().wait(0.001)
    threading.Event().wait(0.05)  # in which the second one would end, if it did not wait for the first
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert results == {1: False, 2: False}


def test_who_only_reads_does_not_wait_for_rows_that_cannot_be_written(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, other = shelf.index("first"), shelf.index("second")
    add(index, 0, 1)
    write = Backlog.write

    def full(self: Backlog, unit: object) -> int:
        raise StorageUnavailable("the index cannot be written: database or disk is full")

    monkeypatch.setattr(Backlog, "write", full)
    monkeypatch.setattr(turns_module, "WAIT_S", 1.0)
    assert numbers_in(index) == {0}
    assert numbers_in(other) == {0}
    monkeypatch.setattr(Backlog, "write", write)
    assert numbers_in(index) == {0, 1}
    assert numbers_in(other) == {0, 1}
    add(index, 2)
    assert numbers_in(other) == {0, 1, 2}


def test_rows_are_tried_again_though_nothing_more_comes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full in the evening has its space again at night, when nobody sends."""
    index, other = shelf.index("first"), shelf.index("second")
    assert index.backlog is not None
    monkeypatch.setattr(backlog_module, "STUCK_RETRY_S", 0.01)
    monkeypatch.setattr(backlog_module, "LINGER_TIMES", 0)
    write, tries, enough = Backlog.write, [], threading.Event()

    def full(self: Backlog, unit: object) -> int:
        tries.append(unit)
        if len(tries) >= 3:
            enough.set()
        raise StorageUnavailable("the index cannot be written: database or disk is full")

    add(index, 0)
    monkeypatch.setattr(Backlog, "write", full)
    add(index, 1)
    assert enough.wait(10)
    assert [record.getMessage()[:32] for record in caplog.records] == ["what is stored cannot be indexed"]
    monkeypatch.setattr(Backlog, "write", write)
    other.database.write(lambda unit: None)  # who writes gets the turn
    assert numbers_in(other) == {0, 1}


def test_what_was_stuck_at_a_crash_is_written(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = shelf.index("first")
    add(index, 0, 1)
    with monkeypatch.context() as disk:
        disk.setattr(Backlog, "write", lambda *_: 1 // 0)
        assert numbers_in(index) == {0}
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    assert (tmp_path / "crashed" / "turn.lock").read_bytes() == b"S"
    assert numbers_in(crashed.index("first")) == {0, 1}
    assert (tmp_path / "crashed" / "turn.lock").read_bytes() == b"F"
    crashed.close()


@pytest.mark.parametrize(
    ("damage", "left"), [("missing", {0}), ("cut", {0, 1}), ("gap", {0, 1, 3}), ("", {0, 1, 2, 3})]
)
def test_a_journal_that_lost_what_waited_is_told_of(shelf: Shelf, tmp_path: Path, damage: str, left: set[int]) -> None:
    """What is left of it is indexed, and the trail has an alert."""
    index = shelf.index("first")
    add(index, 0, 1)
    assert index.backlog is not None
    ends = [index.backlog._journal._end]
    add(index, 2)
    ends.append(index.backlog._journal._end)
    add(index, 3)
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    path = tmp_path / "crashed" / "journal"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, ends[0] + 100)
    elif damage == "gap":
        content = bytearray(path.read_bytes())
        content[ends[1] - 1] ^= 1
        path.write_bytes(content)
    again = crashed.index("other")
    assert numbers_in(again) == left
    reader = TrailReader(again.database.dialect)
    with again.database.read() as cursor:
        events = [parse_record(row.raw).event for row in reader.read(cursor, "other", 0, 20)]
    alerts = [event.details["why"] for event in events if event.action is Action.ALERT]
    assert len(alerts) == bool(damage)
    crashed.close()
    assert numbers_in(crashed.index("third")) == left
    crashed.close()


def test_a_journal_from_before_a_deletion_does_not_keep_the_archive_shut(shelf: Shelf, tmp_path: Path) -> None:
    """A backup of a running archive has its files of different moments."""
    index, other = shelf.index("first"), shelf.index("second")
    add(index, 0, 1, 2)
    assert shelf.journal_folder is not None
    mixed = tmp_path / "mixed"
    shutil.copytree(shelf.journal_folder, mixed)
    other.database.write(lambda unit: StudyDeletion(unit.sql.dialect, other.registry).run(unit, "2.25.1"))
    assert other.erase_journal()
    key, another = index._keys.new_data_key(), {STUDY_INSTANCE_UID: ["2.25.2"], SERIES_INSTANCE_UID: ["2.25.2.1"]}
    for number in (1, 2):
        new = instance({**another, SOP_INSTANCE_UID: [f"2.25.2.1.{number}"]}, key)
        assert index.add(new, stored_event(new))
    assert index.find_object("2.25.2.1.2")
    for name in ("index.db", "index.db-wal"):
        shutil.copy(shelf.journal_folder / name, mixed / name)
    (mixed / "index.db-shm").unlink(missing_ok=True)
    restored = Shelf(lambda: Shelf.open_file(mixed / "index.db"), mixed)
    again = restored.index("first")
    assert numbers_in(again) == set()
    assert again.find_object("2.25.2.1.2")
    reader = TrailReader(again.database.dialect)
    with again.database.read() as cursor:
        last = parse_record(reader.read(cursor, "first", 0, 20)[-1].raw).event
    assert (last.outcome, "verdict" in last.details) == (Outcome.REFUSED, False)
    restored.close()


def test_what_waited_at_a_crash_needs_no_master_key_from_before_a_rotation(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, other = shelf.index("first"), shelf.index("second")
    add(index, 0, 1)
    other._keys.activate("mk-next")

    def rotate(unit: Transaction) -> None:
        unit.set_meta(ACTIVE_MASTER, "mk-next")
        assert Rewrapping(unit.sql.dialect).batch(unit.cursor, other._keys, b"").rewrapped == 1

    other.database.write(rotate)
    assert other.erase_journal()
    add(index, 2)
    assert waiting(index), "its key is as this process has got it before"

    class Left(MasterKeys):
        def load(self, key_id: str) -> bytes:
            if key_id == MASTER_ID:
                raise ConfigError("the old master key was destroyed")
            return super().load(key_id)

    monkeypatch.setattr(instances, "new_ring", lambda: KeyRing(Left(), "mk-next"))  # type: ignore[arg-type]
    crashed = copy_as_after_a_crash(shelf, tmp_path / "crashed")
    assert numbers_in(crashed.index("first")) == {0, 1, 2}
    crashed.close()


def test_senders_do_not_wait_one_after_the_other_for_a_process_that_hangs(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = shelf.index("first")
    add(index, 0)
    assert shelf.journal_folder is not None
    monkeypatch.setattr(turns_module, "WAIT_S", 0.5)
    monkeypatch.setattr(database_module, "DOOR_WAIT_S", 0.5)
    waits: list[float] = []

    def send(number: int) -> None:
        since = time.monotonic()
        with pytest.raises(StorageUnavailable):
            index.add(*put(index, number))
        waits.append(time.monotonic() - since)

    with closing(Turns(shelf.journal_folder / "queue.lock", shelf.journal_folder / "turn.lock")) as other:
        assert other.take()
        threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(waits) == 8
    assert max(waits) < 2
    add(index, 9)
    assert numbers_in(index) == {0, 9}


@pytest.mark.parametrize("details", [{"bytes": 2**60}, {"what": ("a", "b")}, {"what": "\ud800"}])
def test_what_the_trail_might_not_take_is_no_ordinary_object(details: dict[str, object]) -> None:
    new = instance({}, DATA_KEY)
    event = stored_event(new)
    assert encode_frame(new, event)
    assert not encode_frame(new, Event(event.action, event.outcome, event.principal, details))  # type: ignore[arg-type]


def test_the_journal_holds_no_key_even_wrapped() -> None:
    """A rotation, and a deletion that is killed before it erases the journal, leave nothing that opens a study."""
    new = instance({}, DATA_KEY)
    event = stored_event(new)
    payload = encode_frame(new, event)
    again, same = decode_frame(payload)
    assert DATA_KEY.key not in payload
    assert DATA_KEY.wrapped not in payload
    assert again.levels == new.levels
    assert (again.stored.sop_uid, again.stored.sha256) == (new.stored.sop_uid, new.stored.sha256)
    assert again.stored.key.key_id == DATA_KEY.key_id
    assert (same.action, same.outcome, same.details) == (event.action, event.outcome, event.details)


def test_a_frame_of_a_version_with_fewer_columns_has_them_made_of_its_attributes() -> None:
    new = instance({0x00080080: ["St. Mary's"]}, DATA_KEY)
    series = new.levels[Level.SERIES]
    short = replace(series, columns=series.columns[:-1])
    old = replace(new, levels=(*new.levels[: Level.SERIES], short, new.levels[Level.IMAGE]))
    again, _ = decode_frame(encode_frame(old, stored_event(new)))
    assert again.levels == new.levels
    assert "St. Mary's" in again.levels[Level.SERIES].columns
