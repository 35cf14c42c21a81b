"""The process that computes the digests of what is stored, with the least priority, while others work.

``python -P -m strongroom.digestworker`` is started by ``digestservice`` and by nobody else. The first line of its
standard input names the archive; that it stays open says that the parent lives.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from strongroom.app import Archive
from strongroom.config import Home
from strongroom.digesting import BATCH
from strongroom.errors import StrongroomError

log = logging.getLogger(__name__)

LOG_NAME: Final = "digest"
"""Its trail log."""
IDLE_S: Final = 1.0
"""Between two looks when there was nothing to do: what came lately is done with its neighbours, at one go."""
NICENESS: Final = 19


def work(archive: Archive, stopped: threading.Event) -> None:
    """Compute until ``stopped``. Raises StorageUnavailable."""
    digesting = archive.digesting()
    while not stopped.is_set():
        if digesting.step() < BATCH:
            archive.forget_deleted()
            stopped.wait(IDLE_S)


def _be_last() -> None:
    """Let everybody else have the processor, and the disk, first."""
    os.nice(NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> int:
    """Run as a process; returns the exit code."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent says when
    home = Home(Path(os.fsdecode(sys.stdin.buffer.readline().rstrip(b"\n"))))
    _be_last()
    stopped = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        stopped.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
    archive = Archive(home, LOG_NAME)
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
