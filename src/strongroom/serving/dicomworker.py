"""One process that serves associations: an archive of its own, open on the same home, which another process writes.

``python -P -m strongroom.serving.dicomworker`` is started by ``dicomworkers`` and by nobody else. Its standard input is
one line that says what to do, and stays open until it is to finish what is under way; its control socket stays open as
long as the parent lives, and gives it connections.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from strongroom.app import Archive
from strongroom.config import Config, Home
from strongroom.door import new_memory
from strongroom.errors import StrongroomError
from strongroom.metrics.tally import Tally
from strongroom.net.associations import LAST_MOMENT_S as ASSOCIATIONS_LAST_MOMENT_S
from strongroom.net.associations import Associations, Visitor
from strongroom.net.farplace import FarPlace
from strongroom.serving.announcing import Announcer
from strongroom.serving.board import Board
from strongroom.serving.child import follow_parent, read_orders
from strongroom.serving.dicomparts import DicomParts
from strongroom.serving.farstore import Takers
from strongroom.serving.logs import log_to_stderr, log_uncaught
from strongroom.serving.pulse import PULSE_INTERVAL_S, Pulse
from strongroom.serving.reporting import Reporter, counted
from strongroom.serving.weborders import LAST_MOMENT_S as HTTPS_LAST_MOMENT_S
from strongroom.serving.weborders import TAKER
from strongroom.store.remote import RemoteWriter

log = logging.getLogger(__name__)

WRITER: Final = b"writer"
"""Said with a descriptor: whoever writes the index is to serve it there."""
READY: Final = b"ready"
"""Said once: connections are taken from now on."""
WAKE: Final = b"wake"
"""Said when a commitment report is due."""
MAX_WORD_BYTES: Final = 1024
WATCH_INTERVAL_S: Final = 1.0
"""How long what an operator has changed may go unnoticed."""
LAST_MOMENT_S: Final = ASSOCIATIONS_LAST_MOMENT_S + 5.0
"""After the time for draining: a worker that has not ended by then ends at once."""


def drain_s(config: Config) -> float:
    """How long a worker may take to let end what is under way: associations, and what HTTPS workers store."""
    return max(config.dicom.drain_timeout_s, config.https.drain_timeout_s + HTTPS_LAST_MOMENT_S)


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parent writes: descriptors are numbers of inherited ones; ``config`` is what `serve` was started with,
    ``place`` is on the board of ``places``."""

    home: str
    config: Config
    log: str
    control_fd: int
    ready_fd: int
    board_fd: int
    places: int
    place: int


class Handed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A connection: where it comes from and, if it has no TLS, who alone it may be. With two descriptors, its own and
    that of its place."""

    host: str
    is_tls: bool
    plaintext_peer: str


class Worker:
    """One worker on an open archive."""

    def __init__(self, archive: Archive, control: socket.socket, reporter: Reporter, pulse: Pulse) -> None:
        self._archive, self._reporter, self._pulse = archive, reporter, pulse
        self._control = control
        archive.index.writer = RemoteWriter(self._new_link)
        archive.index.announce = counted(reporter.tally, Announcer(time.monotonic))
        self._parts = DicomParts(archive)
        self.takers = Takers(archive.new_ingest, new_memory)
        self.associations: Associations = self._parts.associations(lambda: self._say(WAKE))

    def _new_link(self) -> socket.socket:
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [WRITER], [theirs.fileno()])
            except OSError:
                mine.close()
                raise
        return mine

    def _say(self, word: bytes) -> None:
        with suppress(OSError):  # the parent is gone; who comes after it looks for what is due
            self._control.send(word)

    def take_connections(self) -> None:
        """Serve what the parent hands over, until it is gone."""
        self._say(READY)
        comes = select.poll()
        comes.register(self._control, select.POLLIN)
        while True:
            self._pulse.beat()
            if not comes.poll(PULSE_INTERVAL_S * 1000):
                continue
            try:
                handed, descriptors, *_ = socket.recv_fds(self._control, MAX_WORD_BYTES, 2)
            except OSError:
                return
            if not handed:
                return
            if handed == TAKER and len(descriptors) == 1:
                self.takers.begin(socket.socket(fileno=descriptors[0]))
                continue
            if len(descriptors) != 2:  # this process had none left: the parent's end of the place closes with ours
                for each in descriptors:
                    os.close(each)
                continue
            try:
                self._begin(handed, descriptors)
            except Exception:
                log.exception("a bug ended a connection before its association")

    def _begin(self, handed: bytes, descriptors: list[int]) -> None:
        with ExitStack() as left:
            raw, link = [left.enter_context(socket.socket(fileno=each)) for each in descriptors]
            told = msgspec.msgpack.decode(handed, type=Handed)
            context = self._parts.directory.server_context if told.is_tls else None
            self.associations.begin(Visitor(raw, told.host, FarPlace(link), context, told.plaintext_peer))
            left.pop_all()

    def watch(self, stopped: threading.Event) -> None:
        """See to what others change, and say what was counted, once a second, until ``stopped``."""
        works: tuple[Callable[[], object], ...] = (
            lambda: self.associations.end_sessions(self._parts.why_over),
            self._parts.use_new_identity,
            self._archive.forget_deleted,
        )
        self._reporter.report(is_ready=True)
        while not stopped.wait(WATCH_INTERVAL_S):
            self._pulse.came_by()
            is_current = True
            for work in works:
                try:
                    work()
                except StrongroomError as error:
                    log.error("what has changed could not be read: %s", error)
                    is_current = False
                except Exception:
                    log.exception("what has changed could not be read")
                    is_current = False
            self._reporter.report(is_ready=is_current)


def serve(orders: Orders, stopped: threading.Event) -> None:
    """Serve until ``stopped``, and let requests under way end. Raises ConfigError, StorageUnavailable."""
    archive = Archive(Home(Path(orders.home)), orders.log, orders.config)
    log_to_stderr(archive.config.log.format)
    board = Board(orders.board_fd, orders.places)
    reporter = Reporter(board, orders.place, orders.log, Tally())
    pulse = Pulse(orders.ready_fd)
    try:
        worker = Worker(archive, socket.socket(fileno=orders.control_fd), reporter, pulse)

        def take() -> None:
            try:
                worker.take_connections()
            finally:  # nobody is left who could make durable what this process has, or it would take nothing more
                os._exit(1)

        threading.Thread(target=take, name="connections", daemon=True).start()
        watch = threading.Thread(target=worker.watch, args=(stopped,), name="watch", daemon=True)
        watch.start()
        pulse.ready()
        stopped.wait()
        deadline = time.monotonic() + drain_s(archive.config)
        worker.associations.stop(archive.config.dicom.drain_timeout_s)
        worker.takers.await_end(deadline)
        watch.join(WATCH_INTERVAL_S)
        reporter.report(is_ready=False)
    finally:
        archive.close()
        board.close()


def main() -> int:
    """Read the orders, serve, return the exit code."""
    log_to_stderr()
    log_uncaught()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # both reach the whole group: the parent says when
    orders = msgspec.json.decode(read_orders(), type=Orders)
    stopped = threading.Event()
    try:
        follow_parent(stopped.set, drain_s(orders.config) + LAST_MOMENT_S)
        serve(orders, stopped)
    except StrongroomError as error:
        log.error("a DICOM worker ended: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
