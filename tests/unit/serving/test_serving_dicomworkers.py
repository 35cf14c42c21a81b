"""The processes that serve associations: what held for one process holds for all of them together."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import msgspec
import pytest

from harness.archives import RunningArchive, add_peer, children, new_home, new_reporter, opened, trail_events
from harness.wire import (
    A_ASSOCIATE_AC,
    C_FIND_RQ,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    P_DATA_TF,
    STUDY_ROOT_FIND,
    VERIFICATION,
    Asks,
    RawPeer,
    command,
    ct_image,
    identifier,
    store_command,
)
from strongroom.app import SERVER_SECRET, now_utc
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import ConfigError
from strongroom.net.associations import Visitor
from strongroom.net.certificates import SERVER_DAYS, issue
from strongroom.net.places import PlaceLimits, Places
from strongroom.serving import dicomworkers
from strongroom.serving.dicomparts import DicomParts
from strongroom.serving.dicomworker import READY, WRITER, Handed, Worker
from strongroom.serving.dicomworkers import DicomWorkers
from strongroom.serving.pulse import Pulse
from strongroom.serving.weborders import TAKER
from strongroom.store.remote import RemoteWriter
from strongroom.types import Principal

ArchiveFactory = Callable[..., RunningArchive]
CONTEXTS = [(VERIFICATION, (IMPLICIT,)), (CT_IMAGE_STORAGE, (EXPLICIT,)), (STUDY_ROOT_FIND, (IMPLICIT,))]
STORE, FIND = 3, 5
TWO = {"workers": 2}
TIMEOUT_S = 20.0
NOBODY = Principal("CT1")
_numbers = count(1)


def until(is_so: Callable[[], bool], what: str) -> None:
    """Return once something is so; fails when it does not come about."""
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, what
        pause.wait(0.02)


def associated(archive: RunningArchive, aet: str = "CT1") -> RawPeer:
    peer = RawPeer(archive.port, archive.credentials(aet))
    assert peer.associate(Asks(aet, contexts=CONTEXTS))[0] == A_ASSOCIATE_AC
    return peer


def stored(peer: RawPeer, number: int | None = None) -> tuple[int, str]:
    """Store one image; returns the status and its SOP Instance UID."""
    sop, image = ct_image(next(_numbers) if number is None else number)
    peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image, context_id=STORE)
    return peer.read_status(), sop


def answers(peer: RawPeer, study_uid: str) -> int:
    """How many studies a C-FIND finds."""
    keys = identifier("STUDY", {0x0020000D: study_uid.encode()})
    peer.ask(command(C_FIND_RQ, 1, STUDY_ROOT_FIND, dataset=True), keys, context_id=FIND)
    found = 0
    while (status := peer.read_status()) == 0xFF00:
        assert peer.read_pdu()[0] == P_DATA_TF
        found += 1
    assert status == 0
    return found


@pytest.fixture
def archive(running_archive: ArchiveFactory) -> RunningArchive:
    return running_archive(peers={"CT1": "echo,store,find", "CT2": "echo,store,find"}, dicom=TWO)


def test_associations_are_spread_over_the_workers(archive: RunningArchive) -> None:
    first, second = archive.dicom_workers()

    def threads(pid: int) -> int:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))

    idle = threads(first), threads(second)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(associated(archive)).echo()
        assert threads(first) - idle[0] == threads(second) - idle[1] == 2


def test_what_one_worker_has_stored_is_found_by_the_other_at_once(archive: RunningArchive) -> None:
    with associated(archive) as one, associated(archive, "CT2") as other:
        for _ in range(10):
            status, sop = stored(one)
            assert status == 0
            assert answers(other, f"{sop.removesuffix('.3')}.1") == 1


def test_the_same_object_from_two_sides_is_stored_once(archive: RunningArchive) -> None:
    with associated(archive) as one, associated(archive, "CT2") as other:
        for number in range(100, 105):
            assert (stored(one, number)[0], stored(other, number)[0]) == (0, 0)
    said = [event.details["verdict"] for event in archive.served_events() if event.action is Action.STORE]
    assert said == ["stored", "resent"] * 5


def test_the_trail_of_all_workers_is_one_log_in_order(archive: RunningArchive) -> None:
    since = len(archive.served_events())
    for aet in ("CT1", "CT2"):
        with associated(archive, aet) as peer:
            stored(peer)
            peer.release()
        archive.wait_for_event(lambda event: event.details.get("phase") == "end", since)
        events = archive.served_events(since)
        assert [(event.action, event.principal.aet) for event in events] == [
            (Action.ASSOCIATION, aet), (Action.STORE, aet), (Action.ASSOCIATION, aet),
        ]  # fmt: skip
        since += len(events)


def test_a_worker_that_dies_takes_its_associations_only_and_is_started_again(archive: RunningArchive) -> None:
    with associated(archive) as one, associated(archive, "CT2") as other:
        victim, survivor = archive.dicom_workers()
        os.kill(victim, signal.SIGKILL)
        (readable,) = select.select([one.sock, other.sock], [], [], TIMEOUT_S)[0]
        ended, kept = (one, other) if readable is one.sock else (other, one)
        assert ended.ends()
        assert stored(kept)[0] == 0
        until(lambda: len(set(archive.dicom_workers()) - {victim}) == 2, "no worker took its place")
        assert survivor in archive.dicom_workers()

        def is_end(event: Event) -> bool:
            return event.action is Action.SERVICE_STOP and event.outcome is Outcome.FAILED

        assert archive.wait_for_event(is_end).details["status"] == -signal.SIGKILL
        assert "dicom-" in archive.output
        assert "ended with status -9" in archive.output
        with associated(archive) as again:
            assert again.echo() == 0


def test_the_places_of_a_worker_that_dies_are_free(running_archive: ArchiveFactory) -> None:
    archive = running_archive(peers={"CT1": "echo"}, dicom={"workers": 1}, limits={"max_associations_per_peer": 1})
    with RawPeer(archive.port, archive.credentials("CT1")) as peer:
        assert peer.associate(Asks("CT1"))[0] == A_ASSOCIATE_AC
        os.kill(archive.dicom_workers()[0], signal.SIGKILL)
        assert peer.ends()

    def gets_in() -> bool:
        try:
            with RawPeer(archive.port, archive.credentials("CT1")) as again:
                return again.associate(Asks("CT1"))[0] == A_ASSOCIATE_AC
        except OSError:  # no worker yet
            return False

    until(gets_in, "the place is still taken")


def test_workers_go_when_their_parent_is_killed(archive: RunningArchive) -> None:
    assert archive.process is not None
    pids = archive.dicom_workers()
    with associated(archive) as peer:
        archive.process.kill()
        assert peer.ends()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "a worker outlived its parent")


def test_an_idle_association_is_ended_with_the_server(archive: RunningArchive) -> None:
    assert archive.process is not None
    with associated(archive) as peer:
        assert stored(peer)[0] == 0
        archive.process.send_signal(signal.SIGTERM)
        assert peer.ends()
    assert archive.process.wait(TIMEOUT_S) == 0
    assert "Traceback" not in archive.output
    with opened(archive.home) as after:
        *_, end, stop = [e for e in trail_events(after, "serve") if e.outcome is not Outcome.REFUSED]
    assert (end.details["end"], end.details["stored"]) == ("service-stop", 1)
    assert stop.action is Action.SERVICE_STOP


def test_workers_log_as_the_server_does(running_archive: ArchiveFactory) -> None:
    """What the worker itself announces: an object that it keeps apart, for it is another than the first of its UID."""
    archive = running_archive(peers={"CT1": "echo,store"}, dicom=TWO, log={"format": "json"})
    with associated(archive) as peer:
        assert stored(peer, 900)[0] == 0
        sop, altered = ct_image(900, pixels=1024)
        peer.ask(store_command(2, CT_IMAGE_STORAGE, sop), altered, context_id=STORE)
        assert peer.read_status() != 0
    until(lambda: '"event": "alert"' in archive.output, "nothing was said of it")
    (said,) = [json.loads(line) for line in archive.output.splitlines() if '"event": "alert"' in line]
    assert said["process"] in archive.dicom_workers()
    assert said["aet"] == "CT1"


def test_a_revoked_peer_is_out_of_every_worker(archive: RunningArchive) -> None:
    with associated(archive) as one, associated(archive) as two, associated(archive, "CT2") as other:
        archive.revoke_peer("CT1")
        assert one.ends()
        assert two.ends()
        assert other.echo() == 0
    ends = [event for event in archive.served_events() if event.details.get("end") == "peer-revoked"]
    assert len(ends) == 2


def test_no_process_is_started_that_is_not_wanted(running_archive: ArchiveFactory) -> None:
    archive = running_archive(peers={"CT1": "echo"}, dicom={"workers": 0})
    assert archive.process is not None
    assert children(archive.process.pid) == []
    with RawPeer(archive.port, archive.credentials("CT1")) as peer:
        assert peer.associate(Asks("CT1"))[0] == A_ASSOCIATE_AC
        assert peer.echo() == 0


def test_a_connection_that_no_worker_takes_is_closed_and_recorded(tmp_path: Path) -> None:
    events: list[Event] = []
    places = Places(PlaceLimits(9, 9, 9, 9, 9), events.append)
    with opened(new_home(tmp_path / "home", {"dicom": TWO})) as archive:
        workers = DicomWorkers(archive, lambda: None, new_reporter(archive))
        ours, theirs = socket.socketpair()
        with ours:
            place = places.knock(theirs, "192.0.2.1")
            assert place is not None
            workers.serve(Visitor(theirs, "192.0.2.1", place))
            assert ours.recv(1) == b""
        assert [event.details for event in events] == [{"reason": "no-worker"}]
        assert not places._knocking


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[DicomParts]:
    with opened(new_home(tmp_path / "home")) as archive:
        add_peer(archive, "CT1")
        yield DicomParts(archive)


def test_a_certificate_that_another_process_renewed_is_presented(parts: DicomParts) -> None:
    archive, before = parts._archive, parts.directory.server_context()
    parts.use_new_identity()
    assert parts.directory.server_context() is before
    authority = archive.issued("authority")
    new = issue(authority, archive.aet, ["localhost"], now_utc() + dt.timedelta(seconds=1), SERVER_DAYS)
    archive.secrets.put(SERVER_SECRET, archive.ring.seal_secret(SERVER_SECRET, new.certificate_pem + new.key_pem))
    parts.use_new_identity()
    assert parts.directory.server_context() is not before


class Started:
    """A worker of an archive as its parent sees it, with this test in the place of its process."""

    def __init__(self, worker: dicomworkers._Worker) -> None:
        self.worker = worker
        (number,) = worker.inherited()
        self.control = socket.socket(fileno=os.dup(number))
        self.control.settimeout(TIMEOUT_S)
        worker.orders(-1)
        word, (keeper,), *_ = socket.recv_fds(self.control, 1024, 1)
        assert word == TAKER
        with socket.socket(fileno=keeper) as link:
            self.is_kept = not select.select((link,), (), (), 0)[0]
        worker.release()

    def say(self, word: bytes, *descriptors: int) -> None:
        socket.send_fds(self.control, [word], descriptors)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[DicomWorkers]:
    with opened(new_home(tmp_path / "home", {"dicom": TWO}), "serve") as archive:
        yield DicomWorkers(archive, lambda: None, new_reporter(archive))


def knock(workers: DicomWorkers) -> tuple[socket.socket, list[Event]]:
    """Have a connection served; returns its other end, and what was recorded of it."""
    events: list[Event] = []
    places = Places(PlaceLimits(9, 9, 9, 9, 9), events.append)
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    place = places.knock(theirs, "192.0.2.1")
    assert place is not None
    workers.serve(Visitor(theirs, "192.0.2.1", place))
    return ours, events


def test_nothing_is_handed_to_a_process_that_could_not_be_started(
    workers: DicomWorkers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would wait in a queue that nobody reads."""

    def out_of_memory(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", out_of_memory)
        with pytest.raises(ConfigError, match="did not start"):
            workers.start()
    assert "Cannot allocate memory" in caplog.text
    ours, events = knock(workers)
    with ours:
        assert ours.recv(1) == b""
    assert [event.details for event in events] == [{"reason": "no-worker"}]


def test_a_process_that_cannot_be_told_what_to_do_is_ended(
    workers: DicomWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for its orders, and whoever waits for its end to start another, for ever."""
    worker = workers._workers[0]

    def no_thread(_: int) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker, "orders", no_thread)
    with pytest.raises(ConfigError, match="did not start"):
        worker.start(time.monotonic() + TIMEOUT_S)
    process = worker._process
    assert process is not None
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL
    assert process.stdin is not None
    process.stdin.close()
    for end in worker._ends:
        end.close()


def test_a_process_that_takes_connections_comes_before_one_that_is_being_started(workers: DicomWorkers) -> None:
    """One that dies at its start, again and again, has the fewest connections at any time."""
    first, second = map(Started, workers._workers)
    with first.control, second.control:
        second.say(READY)
        until(lambda: not second.worker.load[0], "it is not ready")
        for _ in range(3):
            ours, _ = knock(workers)
            ours.close()
        for _ in range(3):
            handed, descriptors, *_ = socket.recv_fds(second.control, 1024, 2)
            assert handed
            for each in descriptors:
                os.close(each)
        first.control.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.control.recv(1)
    for worker in workers._workers:
        worker.await_errands(time.monotonic() + TIMEOUT_S)


def test_a_process_that_is_started_while_the_archive_stops_is_not_kept(workers: DicomWorkers) -> None:
    """It would wait for somebody who has it take objects in, and the archive for it."""
    workers.release()
    started = Started(workers._workers[0])
    assert not started.is_kept
    started.control.close()
    started.worker.await_errands(time.monotonic() + TIMEOUT_S)


def test_the_end_waits_for_what_a_process_asked_for(workers: DicomWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written behind the record that the service has stopped, nor into files that are being closed."""
    begun, done = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        begun.set()
        done.wait(TIMEOUT_S)

    started = Started(workers._workers[0])
    assert started.is_kept
    monkeypatch.setattr(started.worker._archive.index, "record", slow)
    mine, theirs = socket.socketpair()
    writer = RemoteWriter(mine.dup)
    with started.control, mine, theirs:
        started.say(WRITER, theirs.fileno())
        caller = threading.Thread(target=writer.record, args=(Event(Action.ECHO, Outcome.SUCCESS, NOBODY),))
        caller.start()
        assert begun.wait(TIMEOUT_S)
    ending = threading.Thread(target=workers.stop, args=(0,))
    ending.start()
    ending.join(0.2)
    assert ending.is_alive()
    done.set()
    ending.join(TIMEOUT_S)
    assert not ending.is_alive()
    caller.join(TIMEOUT_S)
    writer.close()


def test_what_is_no_connection_costs_a_worker_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose thread for new ones has died would be handed the most, since it has the fewest."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    begun: list[Visitor] = []
    with opened(new_home(tmp_path / "home")) as archive, theirs, ExitStack() as stack:
        heard, told = os.pipe()
        worker = Worker(archive, control, new_reporter(archive), Pulse(told))
        worker.associations.begin = begun.append  # type: ignore[method-assign]
        taking = threading.Thread(target=worker.take_connections)
        taking.start()
        with control:
            for handed in (b"\xc1 no words", msgspec.msgpack.encode(Handed("192.0.2.1", False, "OLD"))):
                ends = [stack.enter_context(each) for pair in range(2) for each in socket.socketpair()]
                socket.send_fds(theirs, [handed], [ends[1].fileno(), ends[3].fileno()])
            until(lambda: bool(begun), "nothing is taken any more")
            theirs.shutdown(socket.SHUT_RDWR)
            taking.join(TIMEOUT_S)
        begun[0].raw.close()
        begun[0].place.leave()
    assert os.read(heard, 1) == b".", "it goes on"
    os.close(heard)
    os.close(told)
    assert [visitor.plaintext_peer for visitor in begun] == ["OLD"]
    assert "a bug ended a connection" in caplog.text
