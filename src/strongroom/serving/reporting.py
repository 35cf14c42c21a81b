"""How one process of `serve` says on the board what it has counted, and whether it can do its work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from strongroom.archive.model import Event
from strongroom.config import Config
from strongroom.metrics.counting import count_event
from strongroom.metrics.exposition import exposition
from strongroom.metrics.tally import Tally, together
from strongroom.serving.board import Board

ALIVE_S: Final = 30.0
"""A process that has said nothing for so long is taken for gone, or for stuck."""
SERVE_PLACE: Final = 0
"""Of the board: HTTPS workers have those after it, by their numbers, and then DICOM workers."""

Announce = Callable[[Event], None]


def board_places(config: Config) -> int:
    """How many processes there are that count."""
    return 1 + config.https.workers + config.dicom.workers


def place_of_dicom_worker(config: Config, number: int) -> int:
    """On the board; numbers begin with 1."""
    return SERVE_PLACE + config.https.workers + number


def counted(tally: Tally, announce: Announce) -> Announce:
    """What counts an event and then announces it."""

    def take(event: Event) -> None:
        count_event(tally, event)
        announce(event)

    return take


class Reporter:
    """One process's tally and its place on the board."""

    def __init__(self, board: Board, place: int, process: str, tally: Tally) -> None:
        """Count on from what the process had counted that was in this place before."""
        self.tally = tally
        self.board = board
        self._place, self._process = place, process
        if (before := board.read(place)) is not None:
            tally.go_on(before)

    def report(self, *, is_ready: bool) -> None:
        """Say all of it now."""
        now, tally, process = time.time(), self.tally, self._process
        tally.set("ready", process, to=is_ready)
        tally.set("last_report_time_seconds", process, to=round(now))
        tally.set("resident_memory_bytes", process, to=resident_bytes())
        tally.set("cpu_seconds_total", process, to=round(time.process_time(), 2))
        self.board.write(self._place, tally.report(process, now))

    def exposition(self) -> str:
        """What all processes have said, as Prometheus reads it."""
        return exposition(together(self.board.reports(), time.time() - ALIVE_S))

    def is_served(self) -> bool:
        """Whether the process that all workers are children of has lately said that it can do its work."""
        report = self.board.read(SERVE_PLACE)
        if report is None or report.time_s < time.time() - ALIVE_S:
            return False
        return ("ready", (report.process,), 1.0) in report.series


def resident_bytes() -> int:
    """Memory of this process."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
