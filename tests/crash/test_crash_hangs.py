"""Processes of a server at work, stopped where they stand: each is found out, killed and replaced, others go on.

A stopped process lives, as far as the kernel knows, and keeps its connections and its locks.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from senders import SUCCESS, association, send, send_in_parallel

from harness.archives import (
    RunningArchive,
    add_peer,
    children,
    command_line,
    new_home,
    opened,
    serving,
    trail_events,
)
from harness.ingesting import Sample, store, stored_digest
from harness.web import WebClient, client_of
from strongroom.admin.check import check
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import Home

PEER = "CT1"
SENDERS, PER_SENDER, BEFORE_IT_HANGS = 4, 60, 20
TIMEOUT_S = 60.0
SILENCE_S = 6.0
"""For the tests; long enough for a machine that has much to do."""
IMPATIENT = f"""
import strongroom.serving.keeping as keeping, strongroom.serving.digestservice as digests
import strongroom.serving.checkservice as checks
keeping.MAX_SILENCE_S = digests.MAX_PATIENCE_S = checks.MAX_PATIENCE_S = {SILENCE_S}
checks.START_DELAY_S = 0
from strongroom.cli import main
main()
"""


@contextmanager
def impatient(home: Home) -> Iterator[RunningArchive]:
    """The server, with less patience."""
    with serving(home, [sys.executable, "-c", IMPATIENT, "serve", "--home", str(home.root)]) as running:
        yield running


def until(is_so: Callable[[], bool], what: str) -> None:
    """Return once something is so; fails when it does not come about."""
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, what
        pause.wait(0.05)


def processes(running: RunningArchive, module: bytes) -> list[int]:
    assert running.process is not None
    return [child for child in children(running.process.pid) if module in command_line(child)]


def is_hang(event: Event) -> bool:
    return event.action is Action.SERVICE_STOP and event.outcome is Outcome.FAILED


def assert_sound(archive: Archive, acknowledged: dict[str, Sample]) -> None:
    assert check(archive, lambda *_: None).findings == ()
    for uid, sample in acknowledged.items():
        assert stored_digest(archive, uid) == sample.sha256, uid


def test_a_dicom_worker_hangs_while_four_send(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"dicom": {"workers": 2}})
    with opened(home) as archive:
        add_peer(archive, PEER)
    acknowledged: dict[str, Sample] = {}
    with impatient(home) as running:
        victim, survivor = running.dicom_workers()
        left, lock = BEFORE_IT_HANGS, threading.Lock()

        def note(sample: Sample) -> None:
            nonlocal left
            with lock:
                acknowledged[sample.sop_uid] = sample
                left -= 1
                if not left:
                    os.kill(victim, signal.SIGSTOP)

        shares = [
            [Sample(1000 * sender + number, study=sender, series=sender) for number in range(PER_SENDER)]
            for sender in range(SENDERS)
        ]
        send_in_parallel(running.port, running.credentials(PEER), shares, note)
        whole = [each for each in shares if all(sample.sop_uid in acknowledged for sample in each)]
        assert 0 < len(whole) < SENDERS, "its own associations end, and no others"
        until(lambda: len(set(running.dicom_workers()) - {victim}) == 2, "no worker took its place")
        assert survivor in running.dicom_workers()
        for number in range(4):
            with association(running.port, running.credentials(PEER)) as connection:
                sample = Sample(9000 + number, study=9, series=9)
                assert send(connection, sample) == SUCCESS
                acknowledged[sample.sop_uid] = sample
        details = running.wait_for_event(is_hang).details
        assert (details["what"], details["status"]) == ("dicom worker hung", -signal.SIGKILL)
        assert "hangs: it has shown no sign of life" in running.output
        assert running.stop() == 0
    with serving(home), opened(home) as archive:
        assert_sound(archive, acknowledged)


def test_all_else_that_serve_has_started_hangs(tmp_path: Path) -> None:
    """A worker for HTTPS while the other answers, what computes digests, and what checks by itself."""
    home = new_home(
        tmp_path / "home",
        {
            "https": {"workers": 2},
            "dicom": {"workers": 0},
            "screening": {"digests": True},
            "check": {"every_days": 0.0001, "max_bytes_per_s": 1},
        },
    )
    with opened(home) as archive:
        store(archive, Sample(1))

    def digests() -> int:
        with opened(home) as archive:
            return sum(event.action is Action.DIGEST for event in trail_events(archive))

    with impatient(home) as running:
        until(lambda: digests() == 1, "digests are not computed")
        until(lambda: bool(processes(running, b"checkworker")), "nothing is checked")
        victim, survivor = processes(running, b"webworker")
        (digest,), (checks, *_) = processes(running, b"digestworker"), processes(running, b"checkworker")
        for each in (victim, digest, checks):
            os.kill(each, signal.SIGSTOP)
        until(lambda: answers(client_of(running)), "the other answers")
        until(lambda: len(set(processes(running, b"webworker")) - {victim}) == 2, "no worker took its place")
        assert survivor in processes(running, b"webworker")
        assert running.wait_for_event(is_hang).details["what"] == "https worker hung"
        watcher = client_of(running, running.add_token("watcher", "metrics"))
        until(lambda: hangs(watcher) == 1, "it is not counted")
        with opened(home) as archive:
            store(archive, Sample(2))
        until(lambda: digests() == 2, "nobody took the place of what computes digests")
        assert "the process that computes digests hangs, and is killed" in running.output
        until(lambda: "the background check hangs, and is killed" in running.output, "it is not noticed")
        until(lambda: checks not in processes(running, b"checkworker"), "it is still there")
        assert running.stop() == 0


def answers(client: WebClient) -> bool:
    try:
        return client.get("/health").content == b"ok\n"
    except OSError:  # it came to the one that hangs
        return False


def hangs(watcher: WebClient) -> int:
    """How many workers have hung, as Prometheus reads it."""
    lines = watcher.get("/metrics").content.decode().splitlines()
    counted = [line.rpartition(" ")[2] for line in lines if line.startswith("strongroom_worker_hangs_total{")]
    return sum(map(int, counted))


def test_a_worker_that_hangs_when_the_server_is_stopped_ends_with_it(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"dicom": {"workers": 1, "drain_timeout_s": 0.5}})
    with serving(home) as running:
        (victim,) = running.dicom_workers()
        os.kill(victim, signal.SIGSTOP)
        assert running.stop() == 0
        assert not Path(f"/proc/{victim}").exists()


def test_a_worker_that_takes_the_place_of_another_is_configured_as_that_was(tmp_path: Path) -> None:
    """What `config.toml` says meanwhile holds from the next start on, for all alike."""
    home = new_home(
        tmp_path / "home", {"dicom": {"workers": 1}, "https": {"workers": 1}, "screening": {"digests": True}}
    )
    with opened(home) as archive:
        add_peer(archive, PEER)
    text = home.config.read_text()
    with serving(home) as running:
        until(lambda: bool(processes(running, b"digestworker")), "it is not started")
        for change in (text.replace('aet = "STRONGROOM"', 'aet = "OTHER"'), "no TOML"):
            assert change != text
            home.config.write_text(change)
            for module in (b"dicomworker", b"webworker", b"digestworker"):
                (victim,) = processes(running, module)
                os.kill(victim, signal.SIGKILL)

            def is_served() -> bool:
                try:
                    with association(running.port, running.credentials(PEER)) as connection:
                        assert send(connection, Sample(1)) == SUCCESS
                    return client_of(running).get("/health").content == b"ok\n"
                except Exception:
                    return False

            until(is_served, "no worker took its place")
            until(lambda: len(processes(running, b"digestworker")) == 1, "nor what computes digests")
        assert "no TOML" not in running.output
        home.config.write_text(text)
        assert running.stop() == 0
