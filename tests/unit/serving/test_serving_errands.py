"""Threads whose end is waited for."""

from __future__ import annotations

import threading
import time

import pytest

from strongroom.serving.errands import Errands

TIMEOUT_S = 10.0


def test_the_end_of_all_is_waited_for_and_not_longer_than_until_a_deadline() -> None:
    errands, may_end, ended = Errands(), threading.Event(), list[int]()

    def work(number: int) -> None:
        assert may_end.wait(TIMEOUT_S)
        ended.append(number)

    assert errands.await_end(time.monotonic())
    for number in range(3):
        errands.start("one", work, number)
    assert not errands.await_end(time.monotonic())
    threading.Timer(0.05, may_end.set).start()
    assert errands.await_end(time.monotonic() + TIMEOUT_S)
    assert sorted(ended) == [0, 1, 2]


def test_what_fails_and_what_finds_no_thread_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    errands, failed = Errands(), list[object]()
    monkeypatch.setattr(threading, "excepthook", failed.append)
    errands.start("fails", lambda: 1 / 0)
    assert errands.await_end(time.monotonic() + TIMEOUT_S)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(RuntimeError):
        errands.start("none", print)
    assert errands.await_end(time.monotonic())


def test_a_thread_that_is_about_to_begin_is_waited_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python lets nobody join it."""
    errands, begins, done = Errands(), threading.Event(), list[bool]()
    start = threading.Thread.start

    def late(thread: threading.Thread) -> None:
        if thread.name == "late":
            begins.set()
            threading.Event().wait(0.05)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", late)
    threading.Thread(target=errands.start, args=("late", lambda: done.append(True))).start()
    assert begins.wait(TIMEOUT_S)
    assert errands.await_end(time.monotonic() + TIMEOUT_S)
    assert done == [True]
