"""How often a refused stranger is written down: each one, until one address makes a flood of it; then by the count.

Without a cap, whoever may only knock could fill the trail's disk. Nothing is lost but the single lines: what was not
written one by one is in the sum that follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WINDOW_S = 10.0
MAX_RECORDS_PER_WINDOW = 100
MAX_KEYS = 1024
"""Addresses and reasons watched at a time; beyond that, the oldest one's sum is written early."""

Key = tuple[str, str]
"""Address and reason."""


@dataclass(slots=True)
class _Window:
    started: float
    recorded: int = 0
    unrecorded: int = 0


class RefusalMeter:
    """Counts refusals by address and reason. Not thread-safe; times are seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._windows: dict[Key, _Window] = {}

    def is_to_be_recorded(self, key: Key, now: float) -> bool:
        """Count one refusal; whether it gets a record of its own."""
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
        if window.recorded < MAX_RECORDS_PER_WINDOW:
            window.recorded += 1
            return True
        window.unrecorded += 1
        return False

    def sums(self, now: float) -> Iterator[tuple[Key, int]]:
        """Yield how many refusals of each window that is over had no record of their own; it is then forgotten."""
        over = [key for key, window in self._windows.items() if now - window.started >= WINDOW_S]
        over += list(self._windows)[: max(0, len(self._windows) - len(over) - MAX_KEYS)]
        for key in dict.fromkeys(over):
            unrecorded = self._windows.pop(key).unrecorded
            if unrecorded:
                yield key, unrecorded

    def all_sums(self) -> Iterator[tuple[Key, int]]:
        """Yield what every window still holds: for the end of the service."""
        return self.sums(float("inf"))
