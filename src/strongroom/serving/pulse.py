"""The pulse of a process that `serve` has started: a byte a second through a pipe, for as long as it goes on working.

To the kernel, a process that is stopped, or whose threads wait for each other, lives like any other. It keeps the
connections that it has, and perhaps a lock that everybody waits for, until somebody ends it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

PULSE_INTERVAL_S: Final = 1.0
MAX_SILENCE_S: Final = 20.0
"""A process without a pulse for so long is killed. Whoever waits for the turn that it may hold (``store.turns``) gives
up after 30 s, and is to get it before."""
MAX_PATIENCE_S: Final = 120.0
"""The same for a process that works only while nobody else does: on a busy machine it is silent for a while."""
MAX_ROUND_S: Final = 600.0
"""A thread that is to come by every second and has not for so long waits for something that does not come. What a round
of it waits for, the turn or a database that is away, has deadlines that are far less together."""
_BEAT, _READY = b".", b"ready\n"
_CHUNK = 4096


class Pulse:
    """The end of the process itself. ``beat`` belongs to its main thread, ``came_by`` to another."""

    def __init__(self, fd: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that only go forward."""
        os.set_blocking(fd, False)  # a parent that is stopped itself keeps nobody from working
        self._fd, self._clock = fd, clock
        self._came_by = clock()
        self._next = 0.0

    def ready(self) -> None:
        """Say that it has begun its work."""
        self._say(_READY)

    def came_by(self) -> None:
        """A thread that goes through what all others go through has done so once more."""
        self._came_by = self._clock()

    def beat(self) -> None:
        """Say that it goes on, if both do; called every second or more often."""
        now = self._clock()
        if now >= self._next and now - self._came_by < MAX_ROUND_S:
            self._next = now + PULSE_INTERVAL_S / 2
            self._say(_BEAT)

    def _say(self, word: bytes) -> None:
        with suppress(BlockingIOError, BrokenPipeError):  # nobody listens
            os.write(self._fd, word)

    def close(self) -> None:
        """Say that it ends. Safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def keep_beating(fd: int) -> None:
    """Have a thread say that this process goes on, until it ends: it is not stopped, and its interpreter runs."""
    pulse, pause = Pulse(fd), threading.Event()

    def run() -> None:
        while True:
            pulse.came_by()
            pulse.beat()
            pause.wait(PULSE_INTERVAL_S)

    threading.Thread(target=run, name="pulse", daemon=True).start()


class Hearing:
    """The parent's end. Belongs to one thread; ``silence_s`` may be asked by any."""

    def __init__(self, fd: int) -> None:
        self.silence_s = 0.0
        """For how long nothing was heard, at least. Counted in waits and not by the clock: who was stopped together
        with all the others, or slept with the machine, takes nobody for dead."""
        self.is_over = False
        """Whether the process has closed its end: it has ended, or is about to."""
        self._was_heard = False
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def listen(self) -> bytes:
        """What is said within PULSE_INTERVAL_S, b"" if nothing is."""
        if not self._poll.poll(PULSE_INTERVAL_S * 1000):
            self.silence_s += PULSE_INTERVAL_S
            return b""
        said = os.read(self._fd, _CHUNK)
        self.silence_s, self._was_heard = 0.0, True
        self.is_over = not said
        return said

    def is_ready(self, deadline: float) -> bool:
        """Whether the process begins its work before ``deadline``, on the monotonic clock."""
        while not self.is_over and time.monotonic() < deadline:
            if _READY in self.listen():
                return True
        return False

    def is_lost(self, stopping: threading.Event, start_s: float, silence_s: float = MAX_SILENCE_S) -> bool:
        """Whether the process falls silent for ``silence_s``, or for ``start_s`` before its first word; else returns
        when it ends, or ``stopping`` is set."""
        while not self.is_over and not stopping.is_set():
            self.listen()
            if self.silence_s >= (silence_s if self._was_heard else start_s):
                return True
        return False

    def close(self) -> None:
        """Listen no more. Safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
