"""Long work on a terminal and without one."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.cli import progress
from strongroom.cli.progress import State, Work, duration, printable, size


class Clock:
    """``time.monotonic`` that goes as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_without_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Work("import", "files") as work:
        for done in range(1, 101):
            clock.now += 0.2
            work.show(State(done, 100, done * 1_000_000, 100_000_000))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "import: 25 of 100 files, 5/s, 25 MB of 100 MB, 5 MB/s, 15 s left"
    assert lines[-1] == "import: 100 of 100 files, 5/s, 100 MB of 100 MB, 5 MB/s"


def test_of_steps_that_take_all_sorts_of_time_it_is_not_told_when_the_last_is_done(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Work("probe", "steps", is_even=False) as work:
        clock.now += 9.0
        work.show(State(1, 17))
    assert capsys.readouterr().err == "probe: 1 of 17 steps\n"


def test_work_that_ends_at_once_says_nothing(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Work("delete", "files") as work:
        work.show(State(1, 1))
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_standard_output_stays_clean(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Work("import", "files") as work:
        print("refused a")
        work.show(State(10, 10, 5000, 5000))
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "10 of 10 files" in drawn
    assert "100 %" in drawn
    assert capsys.readouterr().out == "refused a\n"


@given(st.text())
def test_what_is_printable_commands_no_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()


def test_printable_changes_nothing_that_can_be_seen() -> None:
    assert printable("/media/Größe 日本/IM 001.dcm") == "/media/Größe 日本/IM 001.dcm"
    assert printable("a\u202eb\udcff") == "a\\u202eb\\udcff"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (25e6, "25 MB"), (1.5e9, "1.5 GB"), (2e13, "20000.0 GB")],
)
def test_sizes(amount: float, text: str) -> None:
    assert size(amount) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
