"""Group commit: whoever comes first leads, and does what has queued up meanwhile together with its own.

So concurrent commits share one sync. Then the first that came since leads; nobody waits for a timer or a thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

W = TypeVar("W")

MAX_BATCH = 64
"""Jobs of one group: beyond some dozens the shared sync is paid for, and a longer one only adds latency."""


class Job(Generic[W]):
    """One thing to do: ``work``, and how it ended, ``result`` or ``error``."""

    __slots__ = ("done", "error", "gate", "result", "work")

    def __init__(self, work: W) -> None:
        self.work = work
        self.result: object = None
        self.error: BaseException | None = None
        self.done = False
        self.gate = threading.Lock()
        self.gate.acquire()


class GroupCommit(Generic[W]):
    """A queue of jobs and whoever leads it. Thread-safe."""

    def __init__(self, run: Callable[[Sequence[Job[W]]], None]) -> None:
        """``run`` does a group, by one thread at a time, and leaves in each job how it ended; it raises nothing."""
        self._run = run
        self._queue: deque[Job[W]] = deque()
        self._lock = threading.Lock()
        self._is_led = False

    def do(self, work: W) -> object:
        """Return the result when the group is done that ``work`` was in, or raise its error."""
        job = Job(work)
        with self._lock:
            leads = not self._is_led
            self._is_led = True
            self._queue.append(job)
        if not leads:
            job.gate.acquire()  # opened when the job is done, or when it is this thread's turn to lead
        if not job.done:
            self._lead()
        if job.error is not None:
            raise job.error
        return job.result

    def _lead(self) -> None:
        """Do what has queued up, this thread's own job first, and pass the lead on to the first that came since."""
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
        try:
            self._run(batch)
        finally:
            with self._lock:
                following = self._queue[0] if self._queue else None
                self._is_led = following is not None
            # The next leader first: its work is what the others will wait for.
            for waiting in (following, *batch[1:]):
                if waiting is not None:
                    waiting.gate.release()
