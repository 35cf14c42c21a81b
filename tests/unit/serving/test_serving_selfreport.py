"""What `serve` says of itself in the index: who answers, who was here, what is free, when it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from harness.archives import opened
from strongroom.app import Archive
from strongroom.config import Home
from strongroom.metrics.tally import Tally
from strongroom.serving import selfreport
from strongroom.serving.board import Board
from strongroom.serving.selfreport import SelfReport
from strongroom.store.served import MAX_DAYS, Served, read_served, with_free


@pytest.fixture
def archive(archive_home: Callable[[], Home]) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        yield found


@pytest.fixture
def board() -> Iterator[Board]:
    found = Board.new(2)
    yield found
    found.close()


def say(board: Board, place: int, process: str, ago_s: float, **counts: float) -> None:
    tally = Tally()
    tally.set("ready", process, to=1)
    for peer, count in counts.items():
        tally.add("peer_associations_total", peer, by=count)
    assert board.write(place, tally.report(process, time.time() - ago_s))


def test_a_process_that_is_silent_does_not_answer(archive: Archive, board: Board) -> None:
    say(board, 0, "serve", 0)
    say(board, 1, "https-1", 45)
    report = SelfReport(archive, board)
    report.start(["dicom=127.0.0.1:1"])
    said = read_served(archive.index)
    report.stop()
    assert {each.name: each.is_ready for each in said.processes} == {"serve": True, "https-1": False}
    assert said.listening == ("dicom=127.0.0.1:1",)
    assert said.disks.keys() == {str(archive.home.data)}
    assert not said.stopped_s
    assert read_served(archive.index).stopped_s >= said.started_s


def test_who_was_here_is_remembered_by_the_next_one(
    archive: Archive, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfreport, "LOOK_INTERVAL_S", 0.01)
    say(board, 0, "serve", 0, CT_1=2)
    first = SelfReport(archive, board)
    first.start([])
    first.stop()
    seen = read_served(archive.index).seen
    assert seen.keys() == {"CT_1"}
    second = SelfReport(archive, Board.new(1))
    second.start([])
    assert read_served(archive.index).seen == seen
    second.stop()


def test_what_cannot_be_read_is_as_if_nothing_had_been_said(archive: Archive) -> None:
    assert read_served(archive.index) == Served()
    archive.index.set_meta("served", "{")
    assert read_served(archive.index) == Served()


def test_no_disk_is_remembered_for_ever() -> None:
    disks: dict[str, dict[int, int]] = {}
    for day in range(MAX_DAYS + 5):
        disks = with_free(disks, "/data", day, day)
    assert sorted(disks["/data"]) == list(range(5, MAX_DAYS + 5))
    assert with_free(disks, "/data", MAX_DAYS + 4, 7)["/data"][MAX_DAYS + 4] == 7
