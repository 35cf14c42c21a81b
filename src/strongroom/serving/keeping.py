"""Worker processes as the serving process sees them: started, started again when they die, ended.

They are started anew, never forked: no lock, thread or key of this process is in them but what they open themselves.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.errors import ConfigError, StrongroomError
from strongroom.serving.reporting import Reporter

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Before a worker that died is started again; doubled each time, unless it lived for longer than the longest."""


class KeptWorker(ABC):
    """One place for a worker: a process, and another when it ends."""

    module: ClassVar[str]
    """What it runs."""
    kind: ClassVar[str]
    """What it is called where people read it."""

    def __init__(self, name: str, archive: Archive, stopping: threading.Event, reporter: Reporter) -> None:
        """``name`` is that of its trail log; it is started again until ``stopping``, and ``reporter`` counts that."""
        self.name = name
        self._archive, self._stopping, self._reporter = archive, stopping, reporter
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @abstractmethod
    def inherited(self) -> Sequence[int]:
        """Descriptors that a new process is to have from this one."""

    @abstractmethod
    def orders(self, ready_fd: int) -> msgspec.Struct:
        """What a process that has just been started is told on its standard input; it writes ``ready`` to ``ready_fd``.

        It has by now what it inherits.
        """

    def start(self, deadline: float) -> None:
        """Return when it accepts. Raises ConfigError if it does not."""
        try:
            is_ready = _is_told(self._spawn(), deadline)
        except (OSError, RuntimeError) as error:
            log.error("%s cannot be started: %s", self.name, error)
            is_ready = False
        if not is_ready:
            raise ConfigError(f"a worker for {self.kind} did not start: what it said stands above")
        self._thread.start()

    def _spawn(self) -> int:
        """Start a process; returns the descriptor on which it says that it accepts.

        Raises OSError or RuntimeError, and no process is left, if there is no memory, descriptor or thread for it.
        """
        ready, told = os.pipe()
        try:
            with self._lock:
                if self._stopping.is_set():  # `end` has been here, and nobody would tell it to end
                    raise OSError("the service is ending")
                self._process = subprocess.Popen(
                    # -P: a folder of our name, wherever we were started, is not our code.
                    [sys.executable, "-P", "-m", self.module],
                    stdin=subprocess.PIPE,
                    pass_fds=(*self.inherited(), told, self._reporter.board.fd),
                )
                self._tell(self._process, told)
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(told)
        return ready

    def _tell(self, process: subprocess.Popen[bytes], told: int) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(self.orders(told)) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            log.error("%s ended before it had begun", self.name)
        except BaseException:
            process.kill()  # it would wait for its orders for ever
            raise

    def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            assert self._process is not None
            status = self._process.wait()
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - began
            pause_s = FIRST_PAUSE_S if lived_s > LONGEST_PAUSE_S else min(pause_s * 2, LONGEST_PAUSE_S)
            log.error("%s ended with status %d after %.0f s: it is started again", self.name, status, lived_s)
            self._record(status)
            self._reporter.tally.add("worker_restarts_total", self.name)
            while not self._is_started_after(pause_s):
                if self._stopping.is_set():
                    return
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _is_started_after(self, pause_s: float) -> bool:
        if self._stopping.wait(pause_s):
            return False
        try:
            os.close(self._spawn())
        except (OSError, RuntimeError) as error:  # no memory, descriptor or thread: then later
            log.error("%s cannot be started: %s", self.name, error)
            return False
        return True

    def _record(self, status: int) -> None:
        details: dict[str, Detail] = {"what": f"{self.kind.lower()} worker ended", "log": self.name, "status": status}
        try:
            self._archive.record(Action.SERVICE_STOP, details, Outcome.FAILED)
        except StrongroomError as error:
            log.error("the end of %s could not be recorded: %s", self.name, error)

    def end(self) -> None:
        """Ask it to finish what is under way and end."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def wait(self, deadline: float) -> None:
        """Return when it has ended, by force after ``deadline``."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("%s did not end in time and was killed", self.name)
            process.kill()
            process.wait()


def start_all(workers: Sequence[KeptWorker]) -> None:
    """Start them at the same time; returns when all accept. Raises ConfigError if one does not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    problems: list[StrongroomError] = []
    threads = [threading.Thread(target=_gather, args=(each.start, deadline, problems)) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def _gather(start: Callable[[float], None], deadline: float, problems: list[StrongroomError]) -> None:
    try:
        start(deadline)
    except StrongroomError as error:
        problems.append(error)


def _is_told(ready: int, deadline: float) -> bool:
    """Whether something is written to a pipe before its other end is closed, or the time is over."""
    told = threading.Event()
    said: list[bytes] = []

    def read() -> None:
        said.append(os.read(ready, 16))
        os.close(ready)
        told.set()

    threading.Thread(target=read, daemon=True).start()
    return told.wait(max(0.0, deadline - time.monotonic())) and said == [b"ready\n"]
