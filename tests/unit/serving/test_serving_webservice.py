"""The HTTPS service and its worker processes: started, watched, ended."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.archives import RunningArchive, opened, trail_events
from harness.web import WebClient, client_of
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import ConfigError
from strongroom.metrics.tally import Tally
from strongroom.serving.board import Board
from strongroom.serving.reporting import Reporter
from strongroom.serving.webservice import WebService

ArchiveFactory = Callable[..., RunningArchive]
ONE_WORKER = {"workers": 1, "drain_timeout_s": 1.0}
TIMEOUT_S = 20.0


def children(process_id: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == process_id and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def workers(archive: RunningArchive) -> list[int]:
    assert archive.process is not None
    return children(archive.process.pid)


def until(is_so: Callable[[], bool], what: str) -> None:
    """Return once something is so; fails when it does not come about."""
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, what
        pause.wait(0.02)


def answers(client: WebClient) -> bool:
    try:
        return client.get("/health").content == b"ok\n"
    except OSError:
        return False


def test_a_worker_that_dies_is_started_again_and_the_trail_says_so(running_archive: ArchiveFactory) -> None:
    archive = running_archive(https=ONE_WORKER)
    client = client_of(archive)
    assert answers(client)
    (first,) = workers(archive)
    os.kill(first, signal.SIGKILL)
    until(lambda: answers(client), "no worker took its place")
    assert workers(archive) != [first]

    def is_end(event: Event) -> bool:
        return event.action is Action.SERVICE_STOP and event.outcome is Outcome.FAILED

    assert archive.wait_for_event(is_end).details["status"] == -signal.SIGKILL
    assert "https-1 ended with status -9" in archive.output


def test_workers_go_when_their_parent_is_killed(running_archive: ArchiveFactory) -> None:
    archive = running_archive(https={"workers": 2, "drain_timeout_s": 1.0})
    assert archive.process is not None
    pids = workers(archive)
    assert len(pids) == 2
    archive.process.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "a worker outlived its parent")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", archive.https_port), timeout=TIMEOUT_S).close()


def test_the_service_ends_in_order(running_archive: ArchiveFactory) -> None:
    archive = running_archive(https=ONE_WORKER)
    pids = workers(archive)
    assert archive.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "Traceback" not in archive.output
    with opened(archive.home) as after:
        started = [event for event in trail_events(after) if event.action is Action.SERVICE_START]
    assert started[-1].details == {"listening": (f"https=127.0.0.1:{archive.https_port}",), "workers": 1}


def test_a_port_that_is_taken_is_said(archive_home: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.serving.webservice.BIND_TIMEOUT_S", 0.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        home = archive_home(https={"workers": 1, "port": taken.getsockname()[1]})
        with opened(home) as archive, pytest.raises(ConfigError, match="cannot listen on https"):  # type: ignore[arg-type]
            WebService(archive, Reporter(Board.new(2), 0, "serve", Tally())).start()


def test_a_revoked_peer_is_out_within_a_second(running_archive: ArchiveFactory) -> None:
    archive = running_archive(peers={"READER": "find,get"}, https=ONE_WORKER)
    client = client_of(archive, certificate=archive.home.peers / "READER")
    assert client.get("/studies").status == 204
    archive.revoke_peer("READER")
    assert client.get("/studies").status == 401


def test_a_peer_that_is_added_while_it_runs_gets_in(running_archive: ArchiveFactory) -> None:
    archive = running_archive(https=ONE_WORKER)
    archive.add_peer("LATER", "find")
    client = client_of(archive, certificate=archive.home.peers / "LATER")
    assert client.get("/studies").status == 204


def test_no_workers_mean_no_https(running_archive: ArchiveFactory) -> None:
    archive = running_archive(https={"workers": 0})
    assert "https=" not in archive.output
    assert workers(archive) == []
