"""Threads that do one thing each for somebody else, and whose end is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class Errands:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0

    def start(self, name: str, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do ``work`` on a thread; returns at once. Raises RuntimeError if there is none to be had."""

        def run() -> None:
            try:
                work(*args, **kwargs)
            finally:
                self._count(-1)

        self._count(1)
        try:
            threading.Thread(target=run, name=name, daemon=True).start()
        except RuntimeError:
            self._count(-1)
            raise

    def _count(self, change: int) -> None:
        with self._changed:
            self._under_way += change
            self._changed.notify_all()

    def await_end(self, deadline: float) -> bool:
        """Return when none is under way, or at ``deadline``, in terms of `time.monotonic`; whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, max(0.0, deadline - time.monotonic()))
