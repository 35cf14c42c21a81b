"""An index that another process writes: what it adds and records there, and what it is told when that fails."""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import SENDER, Sample, arrival_of, store, visible_sop_uids
from strongroom.app import SERVE_LOG, Archive
from strongroom.archive.ingest import Verdict
from strongroom.archive.model import Action, Added, Event, NewInstance, Outcome
from strongroom.errors import Refused, StaleKey, StorageUnavailable, StrongroomError
from strongroom.store import remote
from strongroom.store.index import Index
from strongroom.store.remote import RemoteWriter, serve_writes
from strongroom.types import Part, Principal, Right, Scope

TIMEOUT_S = 10.0


class Two:
    """An archive that writes, and the same one open a second time, which has it write."""

    def __init__(self, writing: Archive, far: Archive) -> None:
        self.writing, self.far = writing, far
        self.links: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.writer = RemoteWriter(self.connect)
        far.index.writer = self.writer

    def connect(self) -> socket.socket:
        """What `RemoteWriter` does for a new link."""
        mine, theirs = socket.socketpair()
        self.links.append(theirs)
        self.threads.append(threading.Thread(target=serve_writes, args=(self.writing.index, theirs), daemon=True))
        self.threads[-1].start()
        return mine

    def die(self) -> None:
        """End what serves the links."""
        for link in self.links:
            link.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(TIMEOUT_S)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    home = new_home(tmp_path / "home")
    with opened(home, SERVE_LOG) as writing, opened(home, "dicom-1") as far:
        assert writing.index.backlog is not None
        writing.index.backlog.start()
        pair = Two(writing, far)
        yield pair
        pair.writer.close()
        for thread in pair.threads:
            thread.join(TIMEOUT_S)


def test_an_object_is_added_and_recorded_by_who_writes(two: Two) -> None:
    samples = [Sample(number, pixel_bytes=size) for number, size in enumerate((64, 64, 200_000, 64))]
    for sample in samples:
        assert store(two.far, sample) is Verdict.STORED
        assert two.far.index.find_object(sample.sop_uid) is not None, "what is stored is found, at once"
    assert store(two.far, samples[0]) is Verdict.RESENT
    assert visible_sop_uids(two.writing) == {sample.sop_uid for sample in samples}
    assert [event.action for event in trail_events(two.writing, "dicom-1")] == []
    stored = [event for event in trail_events(two.writing, SERVE_LOG) if event.action is Action.STORE]
    assert [event.details["verdict"] for event in stored] == ["stored"] * 4 + ["resent"]
    assert {event.principal.aet for event in stored} == {SENDER.aet}


def test_after_the_first_of_a_series_objects_go_through_the_one_journal(two: Two) -> None:
    taken = []
    assert two.writing.index.backlog is not None
    take = two.writing.index.backlog.take
    two.writing.index.backlog.take = lambda *new: taken.append(take(*new)) or taken[-1]  # type: ignore[func-returns-value,method-assign]
    for number in range(3):
        store(two.far, Sample(number))
    assert taken == [False, True, True]


def test_every_word_of_an_event_comes_over(two: Two) -> None:
    told: list[Event] = []
    two.writing.index.announce = told.append
    scope = Scope((Part(patients=(("P1", None), ("P2", "I")), first_date="20260101"),))
    principal = Principal("CT1", "ab" * 32, "somebody", "192.0.2.1", frozenset({Right.STORE}), scope, "jwt")
    events = (
        Event(Action.QUERY, Outcome.REFUSED, principal, {"text": "a", "number": 7, "is": True, "many": ("b", "c")}),
        Event(Action.ALERT, Outcome.WARNING, SENDER),
    )
    two.far.index.record(*events)
    assert tuple(told) == events
    assert [event.details for event in trail_events(two.writing, SERVE_LOG)][-2:] == [dict(e.details) for e in events]


@pytest.mark.parametrize(
    ("raised", "found"),
    [
        (Refused("series-in-another-study"), Refused),
        (StaleKey("deleted meanwhile"), StaleKey),
        (StorageUnavailable("the disk is full"), StorageUnavailable),
        (StrongroomError("something else"), StorageUnavailable),
        (ZeroDivisionError("a bug"), StorageUnavailable),
    ],
)
def test_what_fails_there_fails_here(
    two: Two, monkeypatch: pytest.MonkeyPatch, raised: Exception, found: type[Exception]
) -> None:
    def fails(*_: object) -> Added:
        raise raised

    sample = Sample(1)
    with monkeypatch.context() as patched:
        patched.setattr(two.writing.index, "add", fails)
        ingest = two.far.new_ingest(arrival_of(sample))
        ingest.write(sample.dataset)
        new = ingest._described()
        with pytest.raises(found) as failure:
            two.far.index.add(new, ingest._event(Outcome.SUCCESS, {}))
        ingest.abort()
    assert type(failure.value) is found
    if isinstance(raised, Refused):
        assert failure.value.reason == raised.reason  # type: ignore[attr-defined]
    assert store(two.far, sample) is Verdict.STORED, "the link goes on"
    assert len(two.links) == 1


def test_when_who_writes_has_died_nothing_is_acknowledged(two: Two) -> None:
    store(two.far, Sample(1))
    two.die()
    with pytest.raises(StorageUnavailable, match="has ended"):
        store(two.far, Sample(2))

    def gone() -> socket.socket:
        raise ConnectionResetError

    two.far.index.writer = RemoteWriter(gone)
    with pytest.raises(StorageUnavailable, match="has ended"):
        two.far.index.record(Event(Action.ECHO, Outcome.SUCCESS, SENDER))
    assert visible_sop_uids(two.writing) == {Sample(1).sop_uid}


def test_a_call_larger_than_any_is_not_made(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_CALL_BYTES", 100)
    with pytest.raises(StorageUnavailable, match="larger"):
        store(two.far, Sample(1))
    assert two.links == []


def test_the_data_key_of_a_study_stays_with_who_seals(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens a study is forgotten when it is deleted: who writes the index must not have it lying about."""
    add, added = two.writing.index.add, []

    def noted(new: NewInstance, event: Event) -> Added:
        added.append(new)
        return add(new, event)

    monkeypatch.setattr(two.writing.index, "add", noted)
    for number in range(2):
        store(two.far, Sample(number))
    assert [new.stored.key.key for new in added] == [b"", b""]
    found = two.writing.index.find_object(Sample(0).sop_uid)
    assert found is not None
    with closing(two.writing.reader.open(found)) as reader:
        assert reader.read(0, found.data_bytes) == Sample(0).dataset


def test_nothing_of_an_object_stays_with_who_writes_once_it_is_stored(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for the next call must not keep the last one for as long as its sender is silent."""
    received, calls = remote._received, []

    def noted(link: socket.socket) -> memoryview:
        call = received(link)
        calls.append(weakref.ref(call))
        return call

    monkeypatch.setattr(remote, "_received", noted)
    store(two.far, Sample(0))
    assert calls
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while any(call() is not None for call in calls):
        assert time.monotonic() < deadline, "kept"
        pause.wait(0.01)


@pytest.mark.parametrize("behind", [b"\x00", b"\x00\x00\x00\x01\xc0"], ids=["a byte", "an answer"])
def test_a_link_that_says_more_than_it_was_asked_is_used_no_more(behind: bytes) -> None:
    """An answer too many would be taken for that to the next call: stored, where it was not."""
    links: list[socket.socket] = []

    def connect() -> socket.socket:
        mine, theirs = socket.socketpair()
        answer = msgspec.msgpack.encode((1, "", ""))
        theirs.sendall(len(answer).to_bytes(4, "big") + answer + behind)
        links.extend((mine, theirs))
        return mine

    writer = RemoteWriter(connect)
    with pytest.raises(StorageUnavailable):
        writer.record(Event(Action.ECHO, Outcome.SUCCESS, SENDER))
    assert links[0].fileno() == -1
    links[1].close()


@pytest.mark.parametrize(
    "sent", [b"\x00", b"\x00\x00\x00\x05ab", b"\xff\xff\xff\xff" + bytes(64)], ids=["length", "cut", "huge"]
)
def test_what_is_no_call_ends_the_link(sent: bytes) -> None:
    mine, theirs = socket.socketpair()
    mine.sendall(sent)
    mine.shutdown(socket.SHUT_WR)
    mine.settimeout(TIMEOUT_S)
    index: Index = None  # type: ignore[assignment]  # nobody gets that far
    serve_writes(index, theirs)
    with mine:
        assert mine.recv(1) == b""


def test_threads_have_a_link_each(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = threading.Barrier(3)
    add: Callable[..., Added] = two.writing.index.add

    def together(*new: object) -> Added:
        meet.wait(TIMEOUT_S)
        return add(*new)

    monkeypatch.setattr(two.writing.index, "add", together)
    threads = [threading.Thread(target=store, args=(two.far, Sample(number, study=number))) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(visible_sop_uids(two.writing)) == 3
    assert len(two.links) == 3
