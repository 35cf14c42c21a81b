"""pulse: a process says that it goes on, and whoever listens knows when it does not, and when it only ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from strongroom.serving import pulse
from strongroom.serving.pulse import MAX_ROUND_S, Hearing, Pulse

SOON_S = 0.01
LATER = 60.0


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hearing, int]]:
    """One end that waits for a hundredth of a second, and the descriptor of the other."""
    monkeypatch.setattr(pulse, "PULSE_INTERVAL_S", SOON_S)
    heard, told = os.pipe()
    hearing = Hearing(heard)
    yield hearing, told
    hearing.close()
    with suppress(OSError):  # the test has
        os.close(told)


def test_silence_is_counted_and_ends_with_a_word(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    for _ in range(3):
        assert hearing.listen() == b""
    assert hearing.silence_s == pytest.approx(3 * SOON_S)
    Pulse(told).beat()
    assert hearing.listen()
    assert hearing.silence_s == 0
    assert not hearing.is_over


def test_who_falls_silent_is_lost_and_who_ends_is_not(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    stopping = threading.Event()
    Pulse(told).ready()
    assert hearing.is_lost(stopping, LATER, 5 * SOON_S)
    hearing.silence_s = 0
    os.close(told)
    assert not hearing.is_lost(stopping, LATER, 5 * SOON_S)
    assert hearing.is_over


def test_who_has_not_begun_is_given_more_time(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    timer = threading.Timer(20 * SOON_S, os.close, (told,))
    timer.start()
    assert not hearing.is_lost(threading.Event(), LATER, 5 * SOON_S)
    timer.join()


def test_nobody_is_lost_when_the_service_stops(pipe: tuple[Hearing, int]) -> None:
    hearing, _ = pipe
    stopping = threading.Event()
    stopping.set()
    assert not hearing.is_lost(stopping, 0, 0)


def test_who_was_stopped_with_all_others_takes_nobody_for_dead(
    pipe: tuple[Hearing, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock says that an hour has gone by, and nobody has run in it."""
    hearing, _ = pipe
    monkeypatch.setattr(time, "monotonic", lambda: 3600.0)
    hearing.listen()
    assert hearing.silence_s <= SOON_S


def test_a_beat_before_it_is_ready_is_not_taken_for_that(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    process = Pulse(told)
    process.beat()
    assert not hearing.is_ready(time.monotonic() + 5 * SOON_S)
    process.beat()
    process.ready()
    assert hearing.is_ready(time.monotonic() + LATER)
    os.close(told)
    assert not hearing.is_ready(time.monotonic() + LATER), "and who ends before is not waited for"


def test_it_says_nothing_while_one_of_its_threads_does_not_come_by(pipe: tuple[Hearing, int]) -> None:
    """Two that wait for each other's lock do not keep the others from running."""
    hearing, told = pipe
    now = [0.0]
    process = Pulse(told, lambda: now[0])
    for at, is_heard in ((1.0, True), (MAX_ROUND_S - 1, True), (MAX_ROUND_S + 1, False), (2 * MAX_ROUND_S, False)):
        now[0] = at
        process.beat()
        assert bool(hearing.listen()) is is_heard, at
    process.came_by()
    process.beat()
    assert hearing.listen()


def test_it_says_no_more_than_needs_to_be_heard(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    process = Pulse(told, lambda: 1.0)
    for _ in range(1000):
        process.beat()
    assert hearing.listen() == b"."


def test_a_parent_that_hears_nothing_or_is_gone_keeps_nobody_from_working(pipe: tuple[Hearing, int]) -> None:
    hearing, told = pipe
    now = [0.0]
    process = Pulse(told, lambda: now[0])
    for _ in range(70_000):  # more than a pipe holds
        now[0] += 1
        process.came_by()
        process.beat()
    hearing.close()
    now[0] += 1
    process.beat()
    process.close()
    process.close()
