"""The HTTPS service of an open archive, as the serving process sees it: one listening socket and its workers.

Workers are processes of their own, so that readers over HTTPS and uploads over DIMSE never wait for one interpreter,
and what goes wrong in one request costs at most its worker. They are started anew, never forked: no lock, thread or key
of this process is in them but what they open themselves.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.errors import ConfigError, StrongroomError
from strongroom.serving.webworker import LAST_MOMENT_S, Orders

log = logging.getLogger(__name__)

LOG_NAME = "https"
"""Trail logs: one per worker, ``https-1`` and so on."""

START_TIMEOUT_S = 60.0
BACKLOG = 1024
BIND_TIMEOUT_S = 5.0
"""Workers of a server that was killed let go of the port within this time."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Before a worker that died is started again; doubled each time, unless it lived for longer than the longest."""


class _Worker:
    """One place for a worker: a process, and another when it ends."""

    def __init__(self, number: int, archive: Archive, listener: socket.socket, stopping: threading.Event) -> None:
        self._name = f"{LOG_NAME}-{number}"
        self._archive, self._listener, self._stopping = archive, listener, stopping
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=self._name, daemon=True)

    def start(self, deadline: float) -> None:
        """Return when it accepts. Raises ConfigError if it does not."""
        ready = self._spawn()
        if not _is_told(ready, deadline):
            raise ConfigError("a worker for HTTPS did not start: what it said stands above")
        self._thread.start()

    def _spawn(self) -> int:
        """Start a process; returns the descriptor on which it says that it accepts."""
        ready, told = os.pipe()
        with self._lock:
            try:
                listener_fd = self._listener.fileno()
                self._process = process = subprocess.Popen(
                    # -P: a folder of our name, wherever we were started, is not our code.
                    [sys.executable, "-P", "-m", "strongroom.serving.webworker"],
                    stdin=subprocess.PIPE,
                    pass_fds=(listener_fd, told),
                )
            finally:
                os.close(told)
        orders = Orders(str(self._archive.home.root), self._name, listener_fd, told)
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(orders) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            log.error("%s ended before it had begun", self._name)
        return ready

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
            log.error("%s ended with status %d after %.0f s: it is started again", self._name, status, lived_s)
            self._record(status)
            if self._stopping.wait(pause_s):
                return
            os.close(self._spawn())

    def _record(self, status: int) -> None:
        details: dict[str, Detail] = {"what": "https worker ended", "log": self._name, "status": status}
        try:
            self._archive.record(Action.SERVICE_STOP, details, Outcome.FAILED)
        except StrongroomError as error:
            log.error("the end of %s could not be recorded: %s", self._name, error)

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
            log.error("%s did not end in time and was killed", self._name)
            process.kill()
            process.wait()


class WebService:
    """The HTTPS listener of an open archive and the processes behind it."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._stopping = threading.Event()
        self._workers: list[_Worker] = []
        self._listener: socket.socket | None = None

    def start(self) -> str:
        """Listen and start the workers; returns ``https=ADDRESS:PORT`` when all accept, "" if none are wanted.

        Raises ConfigError if the address cannot be listened on or a worker does not start.
        """
        https = self._archive.config.https
        if not https.workers:
            return ""
        self._listener = listener = _bound(https.bind, https.port)
        self._workers = [
            _Worker(number, self._archive, listener, self._stopping) for number in range(1, https.workers + 1)
        ]
        deadline = time.monotonic() + START_TIMEOUT_S
        problems: list[StrongroomError] = []
        threads = [threading.Thread(target=_gather, args=(each.start, deadline, problems)) for each in self._workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if problems:
            self.stop()
            raise problems[0]
        port = listener.getsockname()[1]
        address = f"[{https.bind}]:{port}" if ":" in https.bind else f"{https.bind}:{port}"
        details: dict[str, Detail] = {"listening": (f"https={address}",), "workers": https.workers}
        self._archive.record(Action.SERVICE_START, details)
        return f"https={address}"

    def stop(self) -> None:
        """Stop accepting, let requests under way end, and every worker with them."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.close()
        for worker in self._workers:
            worker.end()
        deadline = time.monotonic() + self._archive.config.https.drain_timeout_s + LAST_MOMENT_S
        for worker in self._workers:
            worker.wait(deadline)


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


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + BIND_TIMEOUT_S
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigError(f"cannot listen on https {host}:{port}: {error.strerror}") from None
            threading.Event().wait(0.1)
