"""A process that stores: run by test_crash_store under strace, which fails or kills it at one of its system calls.

    python storing_process.py HOME COUNT WAY

Stores COUNT instances, small and large ones in turn, and says ``ACK n`` or ``FAIL n`` after each. Before each it makes
a directory in a place where none can be, which a trace shows. WAY is "index", or "journal" for what `serve` does: there
no row is written but by what opens the archive next, or "rows" if they are to be written at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store
from strongroom.app import LOCAL_LOG, Archive
from strongroom.config import Home
from strongroom.errors import StrongroomError
from strongroom.store import backlog

MARK = "/nowhere/strongroom-mark"


def sample(number: int) -> Sample:
    """Instance ``number`` of this process: two series, small and large in turn."""
    return Sample(number, study=1, series=number // 4, pixel_bytes=LARGE_PIXELS if number % 2 else SMALL_PIXELS)


def main() -> None:
    """Store and say so."""
    home, count = Home(Path(sys.argv[1])), int(sys.argv[2])
    archive = Archive(home, LOCAL_LOG)
    if sys.argv[3] != "index":
        backlog.LINGER_TIMES = 0 if sys.argv[3] == "rows" else 10**9
        assert archive.index.backlog is not None
        archive.index.backlog.start()
    for number in range(count):
        with contextlib.suppress(OSError):
            os.mkdir(MARK)
        try:
            store(archive, sample(number))
        except StrongroomError:
            print("FAIL", number, flush=True)
        else:
            print("ACK", number, flush=True)
    # Like a process that is killed: nothing is put in order.
    os._exit(0)


if __name__ == "__main__":
    main()
