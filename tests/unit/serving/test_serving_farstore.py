"""Objects that another process takes in: what becomes of them is what it is at the door itself, whatever happens."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import LARGE_PIXELS, SENDER, SMALL_PIXELS, Sample, arrival_of, visible_sop_uids
from harness.media import part10
from harness.web import multipart
from strongroom.app import Archive
from strongroom.archive.ingest import Arrival, Incoming, Memory, Verdict
from strongroom.archive.model import Action, Outcome
from strongroom.archive.refusals import comment_of, reason_of, store_status
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.door import new_memory
from strongroom.errors import (
    Busy,
    ConfigError,
    Denied,
    EngineFailed,
    IntegrityError,
    LimitExceeded,
    LocalProtocolError,
    MalformedDataset,
    NotRepresentable,
    Quarantined,
    Refused,
    StaleKey,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.serving import farstore
from strongroom.serving.farstore import BUFFER_BYTES, FarStore, Takers
from strongroom.types import Part, Principal, Right, Scope
from strongroom.web.multipart import MultipartLimits, MultipartReader
from strongroom.web.storing import MAX_UNSETTLED, DicomParts, Door

TIMEOUT_S = 10.0
NAMED = "far"


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so, and not for ever."""
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, what
        pause.wait(0.01)


class Pair:
    """An archive that takes in what comes over sockets, and the store that passes it on."""

    def __init__(self, archive: Archive, new_ingest: Callable[[Arrival], Incoming] | None = None) -> None:
        self.archive = archive
        self.links: list[socket.socket] = []
        self.takers = Takers(new_ingest or archive.new_ingest, new_memory)
        self.store = FarStore(self.connect, archive.new_ingest, archive.index.record)

    def connect(self) -> socket.socket:
        """What `FarStore` does for a new link."""
        mine, theirs = socket.socketpair()
        self.links.append(theirs)
        self.takers.begin(theirs)
        return mine

    def die(self) -> None:
        """End what takes objects in."""
        for link in self.links:
            link.shutdown(socket.SHUT_RDWR)
        self.takers.await_end(time.monotonic() + TIMEOUT_S)

    def begin(self, sample: Sample, principal: Principal = SENDER) -> Incoming:
        """One object on its way."""
        return self.store.new_ingest(arrival_of(sample, principal))

    def verdict(self, sample: Sample, piece_bytes: int = 50_000) -> Verdict:
        """What becomes of an object that comes in pieces."""
        ingest, data = self.begin(sample), sample.dataset
        try:
            for start in range(0, len(data), piece_bytes):
                ingest.write(memoryview(data)[start : start + piece_bytes])
            verdict = ingest.commit()
            assert (ingest.study_uid, ingest.series_uid) == (sample.study_uid, sample.series_uid)
            return verdict
        finally:
            ingest.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with opened(new_home(tmp_path / "home"), NAMED) as archive:
        made = Pair(archive)
        yield made
        made.store.close()
        made.takers.await_end(time.monotonic() + TIMEOUT_S)


def test_what_is_passed_on_is_stored_as_if_it_had_come_here(pair: Pair) -> None:
    samples = [
        Sample(number, pixel_bytes=size)
        for number, size in enumerate((SMALL_PIXELS, LARGE_PIXELS, 3 * BUFFER_BYTES + 1))
    ]
    for sample in samples:
        assert pair.verdict(sample) is Verdict.STORED
        found = pair.archive.index.find_object(sample.sop_uid)
        assert found is not None
        with closing(pair.archive.reader.open(found)) as blob:
            assert b"".join(blob.chunks()) == sample.dataset
    assert pair.verdict(samples[1], 7) is Verdict.RESENT
    assert visible_sop_uids(pair.archive) == {sample.sop_uid for sample in samples}
    stored = [event for event in trail_events(pair.archive, NAMED) if event.action is Action.STORE]
    assert [event.details["verdict"] for event in stored] == ["stored"] * 3 + ["resent"]
    assert len(pair.links) == 1, "one after the other, they share a socket"


def test_who_stores_is_known_there_with_all_that_limits_him(pair: Pair) -> None:
    sample = Sample(1)
    limited = replace(
        arrival_of(sample).principal,
        rights=frozenset({Right.STORE}),
        scope=Scope((Part(patients=(("nobody", None),)),)),
    )
    ingest = pair.begin(sample, principal=limited)
    ingest.write(sample.dataset)
    with pytest.raises(Refused) as refused:
        ingest.commit()
    assert reason_of(refused.value) == "outside-scope"
    ingest.refuse("outside-scope")
    ingest.close()
    (event,) = [each for each in trail_events(pair.archive, NAMED) if each.action is Action.STORE]
    assert (event.outcome, event.principal.aet) == (Outcome.REFUSED, limited.aet)
    assert event.details["reason"] == "outside-scope"
    assert event.details["bytes"] == len(sample.dataset)


def test_what_is_wrong_with_the_bytes_is_said_at_the_end_and_recorded(pair: Pair) -> None:
    sample = Sample(1)
    ingest = pair.begin(sample)
    ingest.write(b"\xff" * 3 * BUFFER_BYTES)
    ingest.write(sample.dataset)
    with pytest.raises(MalformedDataset) as malformed:
        ingest.commit()
    ingest.refuse(reason_of(malformed.value))
    ingest.close()
    assert not visible_sop_uids(pair.archive)
    (event,) = [each for each in trail_events(pair.archive, NAMED) if each.action is Action.STORE]
    assert event.details["reason"] == reason_of(malformed.value)
    assert pair.verdict(Sample(2)) is Verdict.STORED, "the next one comes over the same socket"
    assert len(pair.links) == 1


ERRORS: Sequence[StrongroomError] = (
    Refused("some-reason"),
    Refused("some-reason", "in other words"),
    Quarantined("screening", "q123"),
    Denied("no-right"),
    LimitExceeded("max_elements", 7),
    LimitExceeded("max_elements", 7, 9),
    MalformedDataset("a wrong length", tag=0x00100010, offset=12),
    MalformedDataset("a wrong length"),
    StorageUnavailable("cannot write an object: ENOSPC"),
    IntegrityError("segment 1 of 2 does not open"),
    StaleKey("a key that was destroyed"),
    EngineFailed("clamav", "does not answer"),
    LocalProtocolError("a bug on this side"),
    Busy("too many images wait to be decoded"),
    ConfigError("a key that is not there"),
    NotRepresentable("no decoder"),
)


class Failing:
    """An ingest whose commit fails."""

    memory: Memory | None = None
    study_uid = "1.2"
    series_uid = "1.2.3"

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.done: list[str] = []

    def write(self, _data: bytes | memoryview) -> None:
        self.done.append("write")

    def commit(self) -> Verdict:
        raise self.error

    def refuse(self, reason: str) -> None:
        self.done.append(f"refuse {reason}")

    def abort(self) -> None:
        self.done.append("abort")

    def close(self) -> None:
        self.done.append("close")


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_every_failure_is_the_same_here(pair: Pair, error: StrongroomError) -> None:
    far = Pair(pair.archive, lambda _arrival: Failing(error))
    ingest = far.begin(Sample(1))
    with pytest.raises(type(error)) as raised:
        ingest.commit()
    assert (ingest.study_uid, ingest.series_uid) == ("1.2", "1.2.3")
    for said in (str, reason_of, comment_of, store_status):
        assert said(raised.value) == said(error)
    ingest.close()
    far.store.close()


def test_a_verdict_may_take_longer_than_to_pass_bytes_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are asked and copies are compared before it: given up, its object would be refused, and stored."""
    monkeypatch.setattr(farstore, "SEND_TIMEOUT_S", 1)

    class Slow(Failing):
        def commit(self) -> Verdict:
            threading.Event().wait(1.5)
            return Verdict.STORED

    far = Pair(pair.archive, lambda _arrival: Slow(OSError()))
    ingest = far.begin(Sample(1))
    assert ingest.commit() is Verdict.STORED
    ingest.close()
    far.store.close()


def test_a_bug_there_costs_its_object_and_says_nothing_here(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    far = Pair(pair.archive, lambda _arrival: Failing(ZeroDivisionError("of somebody")))
    ingest = far.begin(Sample(1))
    with pytest.raises(StrongroomError) as raised:
        ingest.commit()
    assert str(raised.value) == "a bug failed it"
    ingest.close()
    far.store.close()
    assert "ZeroDivisionError" in caplog.text


def test_when_the_other_process_dies_nothing_is_stored_by_halves_and_the_refusal_is_recorded(pair: Pair) -> None:
    sample = Sample(1, pixel_bytes=8 * BUFFER_BYTES)
    ingest, data = pair.begin(sample), sample.dataset
    ingest.write(data[:1000])
    pair.die()
    with pytest.raises(StorageUnavailable):
        ingest.write(data[1000:])
    with pytest.raises(StorageUnavailable):
        ingest.commit()
    ingest.refuse("StorageUnavailable")
    ingest.abort()
    ingest.close()
    assert not list(pair.archive.blobs.ids())
    (event,) = [each for each in trail_events(pair.archive, NAMED) if each.action is Action.STORE]
    assert event.details["reason"] == "StorageUnavailable"
    assert event.details["bytes"] == 1000
    assert event.details["verdict"] == "unknown", "it was to be committed"
    assert pair.verdict(Sample(2)) is Verdict.STORED, "another one takes the next"


def test_a_socket_whose_other_end_has_gone_meanwhile_is_not_used_again(pair: Pair) -> None:
    assert pair.verdict(Sample(1)) is Verdict.STORED
    pair.die()
    assert pair.verdict(Sample(2)) is Verdict.STORED
    assert len(pair.links) == 2


def test_where_nobody_takes_objects_in_that_is_said(pair: Pair) -> None:
    def refused() -> socket.socket:
        raise OSError

    with pytest.raises(StorageUnavailable):
        FarStore(refused, pair.archive.new_ingest, pair.archive.index.record).new_ingest(arrival_of(Sample(1)))


def test_who_goes_away_in_the_middle_leaves_nothing(pair: Pair) -> None:
    sample = Sample(1, pixel_bytes=8 * BUFFER_BYTES)
    ingest = pair.begin(sample)
    ingest.write(sample.dataset[:-100])
    assert isinstance(ingest, farstore.FarIngest)
    assert ingest._link is not None
    ingest._link.close()
    pair.takers.await_end(time.monotonic() + TIMEOUT_S)
    assert not list(pair.archive.blobs.ids())
    assert not visible_sop_uids(pair.archive)


@pytest.mark.parametrize(
    "said", [b"", b"\x02", b"\x00\xff\xff\xff\xff", b"\x00\x00\x00\x00\x03abc", b"\x63\x00\x00\x00\x00"]
)
def test_what_is_no_message_ends_its_socket_and_nothing_else(pair: Pair, said: bytes) -> None:
    link = pair.connect()
    link.settimeout(TIMEOUT_S)
    link.sendall(said)
    link.shutdown(socket.SHUT_WR)
    assert link.recv(1) == b""
    link.close()
    assert pair.verdict(Sample(1)) is Verdict.STORED


def test_what_earlier_objects_have_taught_is_forgotten_in_time_and_for_anybody_else(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Memory | None] = []
    made: list[Memory] = []

    def new_ingest(arrival: Arrival) -> Incoming:
        used.append(arrival.memory)
        return pair.archive.new_ingest(arrival)

    def counted() -> Memory:
        made.append(new_memory())
        return made[-1]

    far = Pair(pair.archive, new_ingest)
    far.takers = Takers(new_ingest, counted)
    for number in range(2):
        far.verdict(Sample(number))
    assert used[0] is used[1]
    other = replace(arrival_of(Sample(3)).principal, aet="OTHER")
    far.begin(Sample(3), principal=other).close()
    monkeypatch.setattr(farstore, "IDLE_S", 0.05)
    far.verdict(Sample(4))
    before = len(made)
    until(lambda: len(made) > before, "nothing is forgotten")
    far.verdict(Sample(5))
    assert len({id(memory) for memory in used}) == 4
    far.store.close()


def test_many_at_once_have_a_socket_each_up_to_a_limit_and_the_others_are_taken_in_here(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farstore, "MAX_LINKS", 3)
    samples = [Sample(number) for number in range(5)]
    for _ in range(2):
        begun = [pair.begin(sample) for sample in samples]
        assert [type(each) is farstore.FarIngest for each in begun] == [True] * 3 + [False] * 2
        for each, sample in zip(begun, samples, strict=True):
            each.write(sample.dataset)
            assert each.commit() in (Verdict.STORED, Verdict.RESENT)
            each.close()
    assert len(pair.links) == 3
    pair.die()
    again = pair.begin(Sample(9))
    assert type(again) is farstore.FarIngest, "those that are gone count no more"
    again.close()


def test_after_many_at_once_few_sockets_are_kept(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farstore, "MAX_IDLE_LINKS", 2)
    begun = [pair.begin(Sample(number)) for number in range(5)]
    for each in begun:
        each.close()
    assert pair.store._links == 2
    assert pair.verdict(Sample(9)) is Verdict.STORED
    assert len(pair.links) == 5, "one of those that were kept"


def test_a_body_of_many_small_instances_takes_few_sockets(pair: Pair) -> None:
    samples = [Sample(number, pixel_bytes=2) for number in range(300)]
    headers, body = multipart([("application/dicom", part10(sample)) for sample in samples])
    boundary = headers["Content-Type"].rpartition("boundary=")[2].strip('"').encode()
    who = replace(arrival_of(samples[0]).principal, rights=frozenset({Right.STORE}))
    door = Door(pair.store.new_ingest, pair.archive.reader, who, STORAGE_SOP_CLASSES)
    parts = DicomParts(door, MultipartReader(boundary, MultipartLimits(1000, 16384, 32)))
    parts.feed(body)
    parts.finish()
    for each in parts.complete:
        each.settle()
    assert visible_sop_uids(pair.archive) == {sample.sop_uid for sample in samples}
    assert len(pair.links) <= MAX_UNSETTLED + 2
