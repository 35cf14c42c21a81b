"""Memory that the requests of one worker share: each has a limit of its own, and all of them together have one."""

from __future__ import annotations

from threading import Lock
from typing import Final

from strongroom.errors import Busy

RETRY_AFTER_S: Final = 10


class Room:
    """Bytes that may be held at a time. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._taken = 0

    def take(self, count: int) -> None:
        """Hold ``count`` bytes more. Raises Busy, and holds none of them, if there is no room."""
        with self._lock:
            if self._taken + count > self._max_bytes:
                raise Busy("too much is held in memory for others", RETRY_AFTER_S)
            self._taken += count

    def give(self, count: int) -> None:
        """Hold ``count`` bytes less."""
        with self._lock:
            self._taken -= count
