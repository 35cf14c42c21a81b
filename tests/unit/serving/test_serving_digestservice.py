"""digestservice: the process that computes digests does so, is started again, and ends with the server."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from harness import archives
from harness.archives import new_home, opened, trail_events
from harness.ingesting import Sample, store
from strongroom.app import Archive
from strongroom.archive.model import Action
from strongroom.serving.digestservice import DigestService
from strongroom.serving.digestworker import LONGEST_WAIT_S, Patience

TRIES, PAUSE_S = 600, 0.05


def await_(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    assert any(is_so() or pause.wait(PAUSE_S) for _ in range(TRIES)), "it did not come to that"


def digested(archive: Archive) -> int:
    return sum(event.action is Action.DIGEST for event in trail_events(archive))


def children() -> list[int]:
    listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(number) for each in listed for number in each.read_text().split()]


def workers() -> list[int]:
    return [number for number in children() if b"digestworker" in Path(f"/proc/{number}/cmdline").read_bytes()]


def test_it_computes_and_is_started_again(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        service = DigestService(home, archive.config)
        service.start()
        try:
            store(archive, Sample(1))
            await_(lambda: digested(archive) == 1)
            (first,) = workers()
            assert os.getpriority(os.PRIO_PROCESS, first) == 19
            os.kill(first, signal.SIGKILL)
            store(archive, Sample(2))
            await_(lambda: digested(archive) == 2)
            assert workers() != [first]
        finally:
            service.stop()
        assert workers() == []


def test_serve_has_one_if_it_is_wanted(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"screening": {"digests": True}})
    with opened(home) as archive:
        store(archive, Sample(1))
    with archives.serving(home) as running:
        running.wait_for_event(lambda event: event.action is Action.DIGEST, log="digest", timeout_s=30)
        assert running.stop() == 0
        assert "Traceback" not in running.output


def test_senders_come_first_but_not_for_ever() -> None:
    now = [0.0]
    patience = Patience(lambda: now[0])
    assert patience.is_over(0), "nothing has come"
    assert [patience.is_over(row) for row in (1, 2, 3)] == [False] * 3
    assert patience.is_over(3), "nothing has come since"
    patience.begin_again()
    for row in range(4, 4 + int(LONGEST_WAIT_S)):
        now[0] += 1
        assert not patience.is_over(row)
    now[0] += 1
    assert [patience.is_over(row) for row in (1000, 1001)] == [True, True], "until all is done"
    patience.begin_again()
    assert not patience.is_over(1002)
