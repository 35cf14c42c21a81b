"""`serve` says in the index how it is, for who is another process: what listens, which processes answer, who was here.

Once a minute, and at once when a process stops or begins to answer.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from strongroom import __version__
from strongroom.app import Archive
from strongroom.errors import StrongroomError
from strongroom.metrics.tally import together
from strongroom.serving.board import Board
from strongroom.serving.reporting import ALIVE_S
from strongroom.store.served import META_NAME, Process, Served, encode_served, read_served, with_free

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 2.0
SAY_INTERVAL_S: Final = 60.0
_DAY_S: Final = 86_400


class SelfReport:
    """The report of one `serve`, kept up to date on a thread of its own from ``start`` to ``stop``."""

    def __init__(self, archive: Archive, board: Board) -> None:
        self._archive, self._board = archive, board
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-report", daemon=True)
        self._served = Served()
        self._counted: dict[str, float] = {}
        self._said_s = 0.0

    def start(self, listening: Sequence[str]) -> None:
        """Say what listens, as the ready lines have it, and go on until ``stop``. Raises StorageUnavailable."""
        before, now = read_served(self._archive.index), time.time()
        self._served = Served(
            version=__version__,
            started_s=now,
            listening=tuple(listening),
            seen=before.seen,
            disks=before.disks,
        )
        self._look(now)
        self._say(now)
        self._thread.start()

    def stop(self) -> None:
        """Say that it is over."""
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join()
        self._served = msgspec.structs.replace(self._served, stopped_s=time.time(), processes=())
        with suppress(StrongroomError):  # then its silence says so
            self._say(time.time())

    def _run(self) -> None:
        while not self._stop.wait(LOOK_INTERVAL_S):
            now, before = time.time(), self._served
            try:
                self._look(now)
                if now - self._said_s >= SAY_INTERVAL_S or _states(before) != _states(self._served):
                    self._say(now)
            except (StrongroomError, OSError) as error:
                log.warning("how the server is could not be written down: %s", error)
                self._said_s = now
            except Exception:
                log.exception("how the server is could not be looked up")

    def _look(self, now: float) -> None:
        served, archive = self._served, self._archive
        processes, seen, disks = [], dict(served.seen), dict(served.disks)
        for report in self._board.reports():
            ready = any(name == "ready" and value for name, _, value in report.series)
            is_alive = report.time_s >= now - ALIVE_S
            processes.append(Process(report.process, round(report.time_s), is_alive and ready))
        for (name, labels), count in together(self._board.reports(), now - ALIVE_S).items():
            if name == "peer_associations_total" and count > self._counted.get(labels[0], 0):
                self._counted[labels[0]] = count
                seen[labels[0]] = round(now)
        for folder in (archive.home.data, *archive.checkpoint_folders[1:]):
            with suppress(OSError):
                disk = os.statvfs(folder)
                disks = with_free(disks, str(folder), int(now // _DAY_S), disk.f_bavail * disk.f_frsize)
        self._served = msgspec.structs.replace(served, processes=tuple(processes), seen=seen, disks=disks)

    def _say(self, now: float) -> None:
        self._served = msgspec.structs.replace(self._served, said_s=round(now))
        self._archive.index.set_meta(META_NAME, encode_served(self._served))
        self._said_s = now


def _states(served: Served) -> tuple[object, ...]:
    """What is said at once when it changes."""
    return tuple((each.name, each.is_ready) for each in served.processes), tuple(served.seen)
