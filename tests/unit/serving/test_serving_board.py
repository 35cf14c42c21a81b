"""board: each process sees whole reports of the others, and a place outlives who wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from strongroom.metrics.tally import Report
from strongroom.serving.board import PLACE_BYTES, Board

MOST_READS = 1_000_000
CHILD = """
import sys
from strongroom.metrics.tally import Report
from strongroom.serving.board import Board
Board(int(sys.argv[1]), 2).write(1, Report("https-1", 2.0, [("queries_total", (), 5.0)]))
"""


def test_what_a_child_wrote_is_there_after_its_end() -> None:
    board = Board.new(2)
    try:
        assert list(board.reports()) == []
        subprocess.run([sys.executable, "-c", CHILD, str(board.fd)], pass_fds=[board.fd], check=True, timeout=60)
        assert list(board.reports()) == [Report("https-1", 2.0, [("queries_total", (), 5.0)])]
    finally:
        board.close()
        board.close()


def test_nobody_reads_half_a_report() -> None:
    board = Board.new(1)
    reports = [Report("serve", float(n), [("queries_total", (), float(n))] * (1 + n % 7 * 50)) for n in range(50)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for report in reports:
                board.write(0, report)

    thread = threading.Thread(target=write)
    thread.start()
    seen: set[float] = set()
    try:
        for _ in range(MOST_READS):
            report = board.read(0)
            assert report is None or report in reports
            seen |= set() if report is None else {report.time_s}
            if len(seen) > 5:
                break
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 5
    board.close()


def test_a_report_that_is_too_long_leaves_the_one_before() -> None:
    board = Board.new(2)
    board.write(0, Report("serve", 1.0, []))
    assert not board.write(0, Report("serve", 2.0, [("refusals_total", ("store", "x" * 60), 1.0)] * 5000))
    assert board.read(0) == Report("serve", 1.0, [])
    assert board.read(1) is None
    assert os.fstat(board.fd).st_size == 2 * PLACE_BYTES
    board.close()
