"""The journal's file and the turn to write it: what a crash, a torn write or another process leaves of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import StorageUnavailable
from strongroom.store import turns as turns_module
from strongroom.store.journal import EPOCH_BYTES, Journal
from strongroom.store.turns import Turns

KEY = bytes(range(32))
SIZE = 4096


def made(path: Path, payloads: list[bytes], key: bytes = KEY) -> None:
    with closing(Journal(path, key, SIZE)) as journal:
        journal.make()
        for payload in payloads:
            assert journal.has_room(payload)
            journal.write(payload)
        journal.sync()


def found(path: Path, key: bytes = KEY) -> list[bytes]:
    with closing(Journal(path, key, SIZE)) as journal:
        return [payload for _, payload in journal.frames()]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_read_in_order(tmp_path_factory, payloads: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    made(path, payloads)
    assert found(path) == payloads


@given(st.integers(0, 700), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_costs_its_frame_and_is_told_of(tmp_path_factory, at: int, flip: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    payloads = [bytes([number]) * 100 for number in range(5)]
    made(path, payloads)
    data = bytearray(path.read_bytes())
    data[at] ^= flip
    path.write_bytes(data)
    with closing(Journal(path, KEY, SIZE)) as journal:
        frames, damage = [payload for _, payload in journal.frames()], journal.damage()
    hit, within = divmod(at - EPOCH_BYTES, 120)
    if at < EPOCH_BYTES:  # the key of all of them
        assert frames == []
    elif hit >= 5:
        assert (frames, damage) == (payloads, "")
    elif within < 4:  # its length: where the next one begins is not known
        assert frames == payloads[:hit]
    else:
        assert frames == payloads[:hit] + payloads[hit + 1 :]
        assert damage == ("1 objects among those in the journal cannot be read" if hit < 4 else "")


def test_a_journal_that_is_missing_or_cut_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path, KEY, SIZE)) as journal:
        assert journal.damage() == "the journal is missing"
    made(path, [b"a" * 100, b"b" * 100])
    os.truncate(path, 200)
    with closing(Journal(path, KEY, SIZE)) as journal:
        assert list(journal.frames()) == [(0, b"a" * 100)]
        assert journal.damage() == "the journal was cut to 200 bytes"


def test_frames_cannot_change_places(tmp_path: Path) -> None:
    made(tmp_path / "journal", [b"a" * 100, b"b" * 100])
    data = (tmp_path / "journal").read_bytes()
    first, second = data[32:152], data[152:272]
    (tmp_path / "journal").write_bytes(data[:32] + second + first + data[272:])
    assert found(tmp_path / "journal") == []


def test_a_new_epoch_erases_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    made(path, [b"secret" * 10])
    old = path.read_bytes()
    with closing(Journal(path, KEY, SIZE)) as journal:
        journal.begin()
        journal.write(b"new")
        journal.sync()
    assert found(path) == [b"new"]
    # What is left of the old frames is sealed under a key that nobody has any more.
    path.write_bytes(path.read_bytes()[:32] + old[32:])
    assert found(path) == []
    path.write_bytes(old)
    assert found(path, bytes(32)) == []


def test_another_process_sees_a_new_epoch(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    made(path, [b"one"])
    with closing(Journal(path, KEY, SIZE)) as first, closing(Journal(path, KEY, SIZE)) as second:
        assert list(first.frames()) == [(0, b"one")]
        name = first.name
        assert not first.refresh()
        second.begin()
        assert first.refresh()
        assert first.name == second.name != name
        assert first.number == 0
        first.write(b"two")
    assert found(path) == [b"two"]


def test_a_failed_write_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    write = os.pwrite
    with closing(Journal(path, KEY, SIZE)) as journal:
        journal.make()
        journal.write(b"one")
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:10], at))
        with pytest.raises(StorageUnavailable):
            journal.write(b"torn" * 10)
        monkeypatch.undo()
        journal.write(b"two")
    assert found(path) == [b"one", b"two"]


def test_there_is_room_for_so_much_and_no_more(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal", KEY, SIZE)) as journal:
        journal.make()
        room = SIZE - EPOCH_BYTES - 20
        assert journal.has_room(bytes(room))
        assert not journal.has_room(bytes(room + 1))
        journal.write(bytes(room))
        assert not journal.has_room(b"")
    assert (tmp_path / "journal").stat().st_size == SIZE


def test_an_archive_that_was_never_served_has_no_journal(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal", KEY, SIZE)) as journal:
        assert not journal.is_there
        assert list(journal.frames()) == []
        assert not journal.refresh()
    assert not (tmp_path / "journal").exists()


# --- turns


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Turns, Turns]]:
    """The turn as two processes see it: flock belongs to a descriptor, so two in one process do as well."""
    paths = tmp_path / "queue", tmp_path / "turn"
    with closing(Turns(*paths)) as first, closing(Turns(*paths)) as second:
        yield first, second


def test_who_has_the_turn_sees_that_it_is_wanted_and_the_other_comes_first(two: tuple[Turns, Turns]) -> None:
    first, second = two
    assert first.take()
    assert not first.is_wanted()
    order: list[str] = []

    def other() -> None:
        second.take()
        order.append("second")
        second.leave()

    thread = threading.Thread(target=other)
    thread.start()
    while not first.is_wanted():
        threading.Event().wait(0.001)
    first.leave()
    first.take()
    order.append("first")
    thread.join()
    assert order == ["second", "first"]


def test_who_died_in_its_turn_is_noticed(two: tuple[Turns, Turns]) -> None:
    first, second = two
    first.take()
    first.mark_unfinished()
    first.close()
    assert not second.wait()
    assert not second.take()
    second.leave()
    assert not second.wait(), "whoever only looks does not say that it was seen to"
    second.take()
    second.mark_unfinished()
    second.leave()
    assert second.wait()


def test_who_reads_does_not_wait_for_a_turn_that_is_stuck(two: tuple[Turns, Turns]) -> None:
    first, second = two
    first.take()
    first.mark_unfinished()
    first.mark_stuck()
    assert second.wait()
    first.mark_unfinished()
    first.leave()
    assert second.wait()
    first.take()
    first.mark_stuck()
    first.close()
    assert not second.wait(), "who died so has to be seen to as well"
    assert not second.take()
    second.mark_finished()
    second.leave()
    assert second.wait()


def test_who_writes_waits_a_little_for_a_turn_that_is_stuck(
    two: tuple[Turns, Turns], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    monkeypatch.setattr(turns_module, "STUCK_WAIT_S", 0.0)
    first.take()
    first.mark_stuck()
    with pytest.raises(StorageUnavailable, match="disk is full"):
        second.take()
    first.mark_finished()
    first.leave()
    assert second.take()


def test_nobody_waits_for_ever(two: tuple[Turns, Turns], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two
    first.take()
    monkeypatch.setattr(turns_module, "WAIT_S", 0.0)
    with pytest.raises(StorageUnavailable):
        second.wait()
    with pytest.raises(StorageUnavailable):
        second.take()
    first.leave()
    assert second.take()
