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

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail
from strongroom.errors import ConfigError, StrongroomError
from strongroom.serving.keeping import KeptWorker, start_all
from strongroom.serving.reporting import Reporter
from strongroom.serving.weborders import LAST_MOMENT_S, Orders

log = logging.getLogger(__name__)

LOG_NAME = "https"
"""Trail logs: one per worker, ``https-1`` and so on."""

BACKLOG = 1024
BIND_TIMEOUT_S = 5.0
"""Workers of a server that was killed let go of the port within this time."""


class _Worker(KeptWorker):
    module, kind = "strongroom.serving.webworker", "HTTPS"

    def __init__(
        self, number: int, archive: Archive, listener: socket.socket, stopping: threading.Event, reporter: Reporter
    ) -> None:
        super().__init__(f"{LOG_NAME}-{number}", archive, stopping, reporter)
        self._listener, self._number = listener, number

    def inherited(self) -> tuple[int]:
        return (self._listener.fileno(),)

    def orders(self, ready_fd: int) -> Orders:
        archive, listener_fd, board = self._archive, self._listener.fileno(), self._reporter.board
        home = str(archive.home.root)
        return Orders(home, archive.config, self.name, listener_fd, ready_fd, board.fd, board.count, self._number)


class WebService:
    """The HTTPS listener of an open archive and the processes behind it."""

    def __init__(self, archive: Archive, reporter: Reporter) -> None:
        """``reporter`` is that of this process; its board has a place for each worker."""
        self._archive, self._reporter = archive, reporter
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
            _Worker(number, self._archive, listener, self._stopping, self._reporter)
            for number in range(1, https.workers + 1)
        ]
        try:
            start_all(self._workers)
        except StrongroomError:
            self.stop()
            raise
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
