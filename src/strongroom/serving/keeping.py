"""Worker processes as the serving process sees them: started, started again when they die or hang, ended.

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
from strongroom.serving.pulse import MAX_SILENCE_S, Hearing
from strongroom.serving.reporting import Reporter

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Before a worker that died is started again; doubled each time, unless it lived for longer than the longest."""
SILENT_S = 3.0
"""A worker that has said nothing for so long may hang: others come first."""


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
        self._hearing: Hearing | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @abstractmethod
    def inherited(self) -> Sequence[int]:
        """Descriptors that a new process is to have from this one."""

    @abstractmethod
    def orders(self, ready_fd: int) -> msgspec.Struct:
        """What a process that has just been started is told on its standard input; ``ready_fd`` is for its pulse.

        It has by now what it inherits.
        """

    @property
    def is_silent(self) -> bool:
        """Whether its process has not been heard of lately."""
        return self._hearing is not None and self._hearing.silence_s >= SILENT_S

    def start(self, deadline: float) -> None:
        """Return when it accepts. Raises ConfigError if it does not."""
        try:
            self._hearing = hearing = Hearing(self._spawn())
            is_ready = hearing.is_ready(deadline)
            if not is_ready:
                hearing.close()
        except (OSError, RuntimeError) as error:
            log.error("%s cannot be started: %s", self.name, error)
            is_ready = False
        if not is_ready:
            raise ConfigError(f"a worker for {self.kind} did not start: what it said stands above")
        self._thread.start()

    def _spawn(self) -> int:
        """Start a process; returns the descriptor on which it says that it accepts, and goes on.

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
            status, hung = self._attend()
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - began
            pause_s = FIRST_PAUSE_S if lived_s > LONGEST_PAUSE_S else min(pause_s * 2, LONGEST_PAUSE_S)
            log.error("%s ended with status %d after %.0f s: it is started again", self.name, status, lived_s)
            self._record(status, hung=hung)
            self._reporter.tally.add("worker_restarts_total", self.name)
            while not self._is_started_after(pause_s):
                if self._stopping.is_set():
                    return
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _attend(self) -> tuple[int, bool]:
        """Return the status with which the process has ended, and whether it hung: then it is killed."""
        hearing, process = self._hearing, self._process
        assert hearing is not None
        assert process is not None
        try:
            hung = hearing.is_lost(self._stopping, START_TIMEOUT_S, MAX_SILENCE_S)
        finally:
            hearing.close()
        if hung:
            log.error("%s hangs: it has shown no sign of life for %.0f s, and is killed", self.name, hearing.silence_s)
            self._reporter.tally.add("worker_hangs_total", self.name)
            process.kill()
        while True:
            try:
                return process.wait(START_TIMEOUT_S), hung
            except subprocess.TimeoutExpired:
                if not self._stopping.is_set():  # else `wait` says when
                    process.kill()

    def _is_started_after(self, pause_s: float) -> bool:
        if self._stopping.wait(pause_s):
            return False
        try:
            self._hearing = Hearing(self._spawn())
        except (OSError, RuntimeError) as error:  # no memory, descriptor or thread: then later
            log.error("%s cannot be started: %s", self.name, error)
            return False
        return True

    def _record(self, status: int, *, hung: bool) -> None:
        what = f"{self.kind.lower()} worker {'hung' if hung else 'ended'}"
        details: dict[str, Detail] = {"what": what, "log": self.name, "status": status}
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
