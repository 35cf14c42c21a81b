"""Callers whom the HTTPS service refuses are written down by a thread of its own, with the time of their call."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

from strongroom.archive.model import Action, Event, Outcome
from strongroom.serving.webcallers import _RefusalLog
from strongroom.types import Principal

REFUSAL = Event(
    Action.AUTHENTICATION, Outcome.REFUSED, Principal("", address="192.0.2.7"), {"reason": "no-credentials"}
)


class BusyIndex:
    """One that is busy until it is told otherwise."""

    def __init__(self) -> None:
        self.is_free = threading.Event()
        self.recorded: list[Event] = []

    def record(self, *events: Event) -> None:
        assert self.is_free.wait(60)
        self.recorded += events


def test_a_refusal_has_the_time_of_the_call_and_not_that_of_the_writing() -> None:
    index = BusyIndex()
    archive: Any = SimpleNamespace(index=index)
    log = _RefusalLog(archive)
    between_s = [time.time()]
    for _ in range(3):
        log.record(REFUSAL)
        between_s.append(time.time())
    index.is_free.set()
    log.close()
    assert len(index.recorded) == 3
    for before_s, event, after_s in zip(between_s[:-1], index.recorded, between_s[1:], strict=True):
        assert event.at_s is not None
        assert before_s <= event.at_s <= after_s
