"""The processes that serve associations, as the serving process sees them: each connection is passed on to one of them.

This process accepts, counts, and writes the index, so that whatever holds for one process holds for all together:
limits, refusals, the order of the trail, one group of commits. All else of an association is its worker's: TLS, DIMSE,
screening, sealing, and the file of a large object. What a worker dies of ends its associations and nothing else.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from strongroom.app import Archive
from strongroom.errors import StrongroomError
from strongroom.net.associations import Visitor
from strongroom.net.farplace import keep_place, new_link
from strongroom.net.places import OwnPlace
from strongroom.serving.dicomworker import (
    LAST_MOMENT_S,
    MAX_WORD_BYTES,
    READY,
    WAKE,
    WRITER,
    Handed,
    Orders,
    drain_s,
)
from strongroom.serving.errands import Errands
from strongroom.serving.keeping import KeptWorker, start_all
from strongroom.serving.reporting import Reporter, place_of_dicom_worker
from strongroom.serving.weborders import TAKER
from strongroom.store.remote import serve_writes

log = logging.getLogger(__name__)

LOG_NAME = "dicom"
"""Trail logs: one per worker, ``dicom-1`` and so on, for the little that it writes itself."""


class _Worker(KeptWorker):
    """One of them, and what it says over its control socket."""

    module, kind = "strongroom.serving.dicomworker", "DICOM"

    def __init__(
        self, number: int, archive: Archive, stopping: threading.Event, wake: Callable[[], None], reporter: Reporter
    ) -> None:
        super().__init__(f"{LOG_NAME}-{number}", archive, stopping, reporter)
        self._wake = wake
        self._place = place_of_dicom_worker(archive.config, number)
        self._control: socket.socket | None = None
        self._ready: socket.socket | None = None
        self._ends: tuple[socket.socket, ...] = ()
        self._links: set[socket.socket] = set()
        self._keeper: socket.socket | None = None
        self._is_released = False
        self._keeping = threading.Lock()  # for these two
        self._errands = Errands()
        """What is done for a process of this place, and ends with it."""

    @property
    def load(self) -> tuple[bool, int]:
        """Whether its process is still to say that it takes connections, or may hang, and how many it has."""
        return self._ready is not self._control or self.is_silent, len(self._links)

    def inherited(self) -> tuple[int]:
        for end in self._ends:  # of a process that is gone, or that never was
            end.close()
        self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return (self._ends[1].fileno(),)

    def orders(self, ready_fd: int) -> Orders:
        control, theirs = self._ends
        with theirs:
            self._errands.start(f"{self.name}-words", self._listen, control)
            # Not before: what is handed to a process that cannot be told to take it would wait for ever.
            self._control = control
            self._keep_taking()
            archive, board = self._archive, self._reporter.board
            home, control_fd = str(archive.home.root), theirs.fileno()
            return Orders(home, archive.config, self.name, control_fd, ready_fd, board.fd, board.count, self._place)

    def await_errands(self, deadline: float) -> None:
        """Return when all that a process which has ended asked for is done."""
        if not self._errands.await_end(deadline):
            log.error("%s has ended, and something that it asked for has not", self.name)
            return
        for end in self._ends:
            end.close()

    def _listen(self, control: socket.socket) -> None:
        """Do what one process says, until it ends."""
        with control:
            try:
                while True:
                    word, descriptors, *_ = socket.recv_fds(control, MAX_WORD_BYTES, 1)
                    if word == WRITER and descriptors:
                        self._serve_writes(socket.socket(fileno=descriptors[0]))
                    elif word == WAKE:
                        self._wake()
                    elif word == READY:
                        self._ready = control
                    elif not word:
                        return
            except OSError:
                return

    def _serve_writes(self, link: socket.socket) -> None:
        try:
            self._errands.start("index-calls", serve_writes, self._archive.index, link)
        except RuntimeError:  # there is no thread to be had: whoever called is told that nothing was stored
            link.close()

    def hand_over(self, visitor: Visitor, place: OwnPlace) -> None:
        """Have it serve a connection. Raises OSError if it cannot be told."""
        control = self._control
        if control is None:
            raise OSError("no process")
        handed = msgspec.msgpack.encode(Handed(visitor.host, visitor.context is not None, visitor.plaintext_peer))
        mine, theirs = new_link()
        with theirs:
            try:
                # At once or not at all: nobody else is accepted meanwhile.
                socket.send_fds(control, [handed], [visitor.raw.fileno(), theirs.fileno()], socket.MSG_DONTWAIT)
            except OSError:
                mine.close()
                raise
        self._links.add(mine)
        try:
            threading.Thread(target=self._keep_place, args=(mine, place), name="dicom-place", daemon=True).start()
        except RuntimeError:
            self._links.discard(mine)
            mine.close()
            place.cut_off()
            place.leave()

    def _keep_taking(self) -> None:
        """A process ends after those who have it take objects in: as if this one were one of them, until `release`."""
        mine, theirs = socket.socketpair()
        with self._keeping:
            before, self._keeper = self._keeper, mine
            if self._is_released:  # while this process was being started
                mine.close()
        if before is not None:
            before.close()
        with theirs, suppress(OSError):
            self.hand_taker(theirs)

    def release(self) -> None:
        """Nobody has it take objects in any more."""
        with self._keeping:
            self._is_released = True
            if self._keeper is not None:
                self._keeper.close()

    def hand_taker(self, link: socket.socket) -> None:
        """Have it take objects in that come over ``link``. Raises OSError if it cannot be told."""
        control = self._control
        if control is None:
            raise OSError("no process")
        socket.send_fds(control, [TAKER], [link.fileno()], socket.MSG_DONTWAIT)

    def _keep_place(self, link: socket.socket, place: OwnPlace) -> None:
        try:
            keep_place(link, place)
        finally:
            self._links.discard(link)


class DicomWorkers:
    """As many as ``dicom.workers`` says."""

    def __init__(self, archive: Archive, wake_reports: Callable[[], None], reporter: Reporter) -> None:
        self._archive = archive
        self._stopping = threading.Event()
        self._workers = [
            _Worker(number, archive, self._stopping, wake_reports, reporter)
            for number in range(1, archive.config.dicom.workers + 1)
        ]
        self._turns = itertools.cycle(range(len(self._workers)))

    def start(self) -> None:
        """Return when all of them are ready. Raises ConfigError if one does not start."""
        try:
            start_all(self._workers)
        except StrongroomError:
            self.release()
            self.stop(0)
            raise

    def serve(self, visitor: Visitor) -> None:
        """Pass a connection on to the worker that has the fewest; if none takes it, it is closed.

        One that is being started comes last: were it to die of that, again and again, connections would die with it.
        """
        place = visitor.place
        assert isinstance(place, OwnPlace)
        with visitor.raw:
            for worker in sorted(self._workers, key=lambda each: each.load):
                with suppress(OSError):
                    worker.hand_over(visitor, place)
                    return
        place.refuse("no-worker", {})
        place.leave()

    def take_in(self, link: socket.socket) -> None:
        """Have a worker take objects in that come over ``link``, each in its turn; without one it is closed."""
        turn = next(self._turns)
        with link:
            for worker in sorted(self._workers[turn:] + self._workers[:turn], key=lambda each: each.load[0]):
                with suppress(OSError):
                    worker.hand_taker(link)
                    return

    def release(self) -> None:
        """Nobody has them take objects in any more. Before this they do not end."""
        for worker in self._workers:
            worker.release()

    def stop(self, grace_s: float) -> None:
        """Let requests under way end for so long, `dicom.drain_timeout_s`, and every worker with them."""
        self._stopping.set()
        for worker in self._workers:
            worker.end()
        deadline = time.monotonic() + max(grace_s, drain_s(self._archive.config)) + LAST_MOMENT_S
        for worker in self._workers:
            worker.wait(deadline)
        deadline = time.monotonic() + LAST_MOMENT_S
        for worker in self._workers:
            worker.await_errands(deadline)
