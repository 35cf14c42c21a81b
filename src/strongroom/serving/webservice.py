"""The HTTPS service of an open archive, as the serving process sees it: one listening socket and its workers.

Workers are processes of their own, so that readers over HTTPS and uploads over DIMSE never wait for one interpreter,
and what goes wrong in one request costs at most its worker.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail
from strongroom.errors import ConfigError, StrongroomError
from strongroom.serving.keeping import KeptWorker, start_all
from strongroom.serving.reporting import Reporter
from strongroom.serving.weborders import LAST_MOMENT_S, TAKER, Orders

log = logging.getLogger(__name__)

LOG_NAME = "https"
"""Trail logs: one per worker, ``https-1`` and so on."""

BACKLOG = 1024
BIND_TIMEOUT_S = 5.0
"""Workers of a server that was killed let go of the port within this time."""


class _Worker(KeptWorker):
    module, kind = "strongroom.serving.webworker", "HTTPS"

    def __init__(self, number: int, service: WebService, listener: socket.socket, stopping: threading.Event) -> None:
        super().__init__(f"{LOG_NAME}-{number}", service.archive, stopping, service.reporter)
        self._listener, self._number, self._take_in = listener, number, service.take_in
        self._ends: tuple[socket.socket, ...] = ()

    def inherited(self) -> tuple[int, ...]:
        for end in self._ends:  # of a process that is gone, or that never was
            end.close()
        if self._take_in is None:
            return (self._listener.fileno(),)
        self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return (self._listener.fileno(), self._ends[1].fileno())

    def orders(self, ready_fd: int) -> Orders:
        archive, board, control_fd = self._archive, self._reporter.board, -1
        if self._take_in is not None:
            control, theirs = self._ends
            control_fd = theirs.fileno()
            threading.Thread(target=self._listen, args=(control,), name=f"{self.name}-words", daemon=True).start()
            theirs.close()
        return Orders(
            str(archive.home.root), archive.config, self.name, self._listener.fileno(), ready_fd, board.fd, board.count,
            self._number, control_fd,
        )  # fmt: skip

    def _listen(self, control: socket.socket) -> None:
        """Do what one process says, until it ends."""
        assert self._take_in is not None
        with control, suppress(OSError):
            while True:
                word, descriptors, *_ = socket.recv_fds(control, len(TAKER), 1)
                if not word:
                    return
                try:
                    for link in [socket.socket(fileno=each) for each in descriptors]:
                        self._take_in(link)
                except Exception:
                    log.exception("%s could not be given who takes objects in", self.name)


class WebService:
    """The HTTPS listener of an open archive and the processes behind it."""

    def __init__(
        self, archive: Archive, reporter: Reporter, take_in: Callable[[socket.socket], None] | None = None
    ) -> None:
        """``reporter`` is that of this process; its board has a place for each worker. ``take_in`` has another process
        take objects in that come over a socket; without it workers do."""
        self.archive, self.reporter, self.take_in = archive, reporter, take_in
        self._stopping = threading.Event()
        self._workers: list[_Worker] = []
        self._listener: socket.socket | None = None

    def start(self) -> str:
        """Listen and start the workers; returns ``https=ADDRESS:PORT`` when all accept, "" if none are wanted.

        Raises ConfigError if the address cannot be listened on or a worker does not start.
        """
        https = self.archive.config.https
        if not https.workers:
            return ""
        self._listener = listener = _bound(https.bind, https.port)
        self._workers = [_Worker(number, self, listener, self._stopping) for number in range(1, https.workers + 1)]
        try:
            start_all(self._workers)
        except StrongroomError:
            self.stop()
            raise
        port = listener.getsockname()[1]
        address = f"[{https.bind}]:{port}" if ":" in https.bind else f"{https.bind}:{port}"
        details: dict[str, Detail] = {"listening": (f"https={address}",), "workers": https.workers}
        self.archive.record(Action.SERVICE_START, details)
        return f"https={address}"

    def stop(self) -> None:
        """Stop accepting, let requests under way end, and every worker with them."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.close()
        for worker in self._workers:
            worker.end()
        deadline = time.monotonic() + self.archive.config.https.drain_timeout_s + LAST_MOMENT_S
        for worker in self._workers:
            worker.wait(deadline)


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
