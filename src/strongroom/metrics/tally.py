"""Numbers of one process, and of several together. Pure but for one lock.

To count is a dictionary and a lock that hardly anybody else holds: some 2 us for an object that is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from strongroom.metrics.families import FAMILIES

MAX_SERIES: Final = 1000
"""Of one counter in one process; what more there would be is counted under the label ``other``."""
OTHER: Final = "other"

Key = tuple[str, tuple[str, ...]]
"""Name of a family, and the values of its labels."""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What one process says of itself at ``time_s`` (seconds since 1970)."""

    process: str
    time_s: float
    series: list[tuple[str, tuple[str, ...], float]]


class Tally:
    """The numbers of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Key, float] = {}
        self._kinds: dict[str, int] = {}

    def add(self, name: str, *labels: str, by: float = 1) -> None:
        """Count something."""
        self.add_all((((name, labels), by),))

    def add_all(self, counts: Iterable[tuple[Key, float]]) -> None:
        """Count several things at once."""
        values = self._values
        with self._lock:
            for key, by in counts:
                if key in values:
                    values[key] += by
                else:
                    key = self._new(*key)
                    values[key] = values.get(key, 0) + by

    def _new(self, name: str, labels: tuple[str, ...]) -> Key:
        assert len(FAMILIES[name].labels) == len(labels), name
        known = self._kinds.get(name, 0)
        if known >= MAX_SERIES:
            return name, (OTHER,) * len(labels)
        self._kinds[name] = known + 1
        return name, labels

    def set(self, name: str, *labels: str, to: float) -> None:
        """Say how much there is of something now."""
        assert len(FAMILIES[name].labels) == len(labels), name
        with self._lock:
            self._values[name, labels] = float(to)

    def replace(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Say how much there is now, by labels, and that there is nothing else of the kind."""
        with self._lock:
            for key in [key for key in self._values if key[0] == name]:
                del self._values[key]
            self._values.update({(name, labels): value for labels, value in values.items()})

    def report(self, process: str, time_s: float) -> Report:
        """All of it."""
        with self._lock:
            return Report(process, time_s, [(name, labels, value) for (name, labels), value in self._values.items()])

    def go_on(self, report: Report) -> None:
        """Count on from what another process of this name had counted: a counter never goes back."""
        for name, labels, value in report.series:
            family = FAMILIES.get(name)
            if family is None or family.kind != "counter" or len(family.labels) != len(labels):
                continue
            if "process" not in family.labels:  # those begin anew with it
                self.add(name, *labels, by=value)


def together(reports: Iterable[Report], alive_since_s: float) -> dict[Key, float]:
    """Sums over processes; of one that has said nothing since ``alive_since_s`` only what it had counted."""
    sums: dict[Key, float] = {}
    for report in reports:
        for name, labels, value in report.series:
            family = FAMILIES.get(name)
            if family is not None and (family.kind == "counter" or report.time_s >= alive_since_s):
                sums[name, labels] = sums.get((name, labels), 0) + value
    return sums
