"""The process that computes the digests of what is stored, with the least priority, while others work.

``python -P -m strongroom.serving.digestworker`` is started by ``digestservice`` and by nobody else. Its standard input
is one line that says what to do, and stays open as long as the parent lives.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from strongroom.app import Archive
from strongroom.config import Config, Home
from strongroom.digesting import BATCH
from strongroom.errors import StrongroomError
from strongroom.serving.announcing import Announcer
from strongroom.serving.child import follow_parent, read_orders
from strongroom.serving.logs import log_to_stderr, log_uncaught
from strongroom.serving.pulse import keep_beating

log = logging.getLogger(__name__)

LOG_NAME: Final = "digest"
"""Its trail log."""
IDLE_S: Final = 1.0
"""Between two looks when there was nothing to do: what came lately is done with its neighbours, at one go."""
LONGEST_WAIT_S: Final = 300.0
"""While objects arrive; then what came is done all the same, to the end."""
NICENESS: Final = 19


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parent writes: ``config`` is what `serve` was started with, ``pulse_fd`` an inherited descriptor."""

    home: str
    config: Config
    pulse_fd: int


class Patience:
    """Says when to work: while nothing arrives, or when what arrives has kept us waiting for too long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds that only go forward."""
        self._clock = clock
        self._newest = 0
        self._waiting_since = clock()

    def is_over(self, newest: int) -> bool:
        """Whether to work now. ``newest`` is the last row of the index."""
        arrives, self._newest = newest != self._newest, newest
        return not arrives or self._clock() - self._waiting_since > LONGEST_WAIT_S

    def begin_again(self) -> None:
        """Nothing is left to do."""
        self._waiting_since = self._clock()


def work(archive: Archive, stopped: threading.Event) -> None:
    """Compute until ``stopped``. Raises StorageUnavailable."""
    digesting, patience = archive.digesting(), Patience(time.monotonic)
    while not stopped.is_set():
        if patience.is_over(archive.index.newest_row()):
            if digesting.step() == BATCH:
                continue
            patience.begin_again()
            archive.forget_deleted()
        stopped.wait(IDLE_S)


def _be_last() -> None:
    """Let everybody else have the processor, and the disk, first."""
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> int:
    """Run as a process; returns the exit code."""
    log_to_stderr()
    log_uncaught()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent says when
    orders = msgspec.json.decode(read_orders(), type=Orders)
    _be_last()
    stopped = threading.Event()
    follow_parent(stopped.set)
    keep_beating(orders.pulse_fd)
    archive = Archive(Home(Path(orders.home)), LOG_NAME, orders.config)
    log_to_stderr(archive.config.log.format)
    archive.index.announce = Announcer(time.monotonic)
    try:
        work(archive, stopped)
    except StrongroomError as error:
        log.error("digests could not be computed: %s", error)
        return 1
    finally:
        archive.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
