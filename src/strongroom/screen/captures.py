"""Parts of a file that are held until they are whole, to be looked at as one: never more than their caps."""

from __future__ import annotations

from collections.abc import Callable

Sink = Callable[[int, bytes], None]
"""Takes the offset and the bytes of a part."""


class _Capture:
    __slots__ = ("next", "parts", "sink", "start", "stop")

    def __init__(self, start: int, stop: int, sink: Sink) -> None:
        self.start = self.next = start
        self.stop = stop
        self.sink = sink
        self.parts: list[bytes] = []


class Captures:
    """What is awaited. Not thread-safe."""

    __slots__ = ("_held", "_max_held", "_open")

    def __init__(self, max_held_bytes: int) -> None:
        self._open: list[_Capture] = []
        self._held = 0
        self._max_held = max_held_bytes

    def want(self, start: int, length: int, sink: Sink) -> None:
        """Have ``sink`` called with the ``length`` bytes at ``start``, or those of them that come."""
        length = min(length, self._max_held - self._held)
        if length > 0:
            self._held += length
            self._open.append(_Capture(start, start + length, sink))

    def feed(self, data: bytes, base: int) -> None:
        """Take from ``data``, whose first byte is at ``base``, what is wanted of it."""
        if not self._open:
            return
        end = base + len(data)
        done = []
        for capture in self._open:
            stop = min(capture.stop, end)
            if base <= capture.next < stop:
                capture.parts.append(data[capture.next - base : stop - base])
                capture.next = stop
            if capture.next >= capture.stop or capture.next < base:
                done.append(capture)
        for capture in done:
            self._open.remove(capture)
            self._release(capture)

    def finish(self) -> None:
        """Hand out what has come of what is still awaited."""
        while self._open:
            self._release(self._open.pop(0))

    def _release(self, capture: _Capture) -> None:
        self._held -= capture.stop - capture.start
        if capture.parts:
            capture.sink(capture.start, b"".join(capture.parts))
