"""What each fact about a running archive means."""

from __future__ import annotations

from strongroom.archive.posture import Line, State, worst_of


def test_the_worst_line_is_what_counts() -> None:
    assert worst_of(()) is State.OK
    lines = [Line("", "", state, "") for state in (State.OK, State.ACT, State.LOOK)]
    assert worst_of(lines) is State.ACT
    assert worst_of(lines[::2]) is State.LOOK
