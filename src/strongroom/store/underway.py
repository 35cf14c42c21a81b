"""What may take its time, as others see it among the jobs once it does: nothing is written of what is over soon."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from strongroom.archive.oversight import Job
from strongroom.errors import StrongroomError
from strongroom.store.database import Database
from strongroom.store.jobs import JobTable
from strongroom.store.transaction import Transaction

AFTER_S: Final = 5.0
"""What has gone on for so long is told of."""
SAY_INTERVAL_S: Final = 5.0
"""Between two words of it: each is a write."""


class UnderWay:
    """One thing that goes on. ``archive.ports.Progress``; not thread-safe. What cannot be written is not said."""

    def __init__(self, database: Database, job: Job, clock: Callable[[], float] = time.monotonic) -> None:
        """``job`` says what it is, who does it, and of how many; ``clock`` counts seconds."""
        self._database, self._clock = database, clock
        self._job = replace(job, state="running", started_us=_now_us())
        self._table = JobTable(database.dialect)
        self._number = ""
        self._due_s = clock() + AFTER_S

    def say(self, done: int) -> None:
        """So many are done; written every few seconds, once it has gone on for a while."""
        self._job = replace(self._job, done=done)
        if self._clock() < self._due_s:
            return
        if not self._number:
            self._number = secrets.token_hex(16)
            self._write(lambda transaction: self._table.begin(transaction.cursor, self._number, self._job))
        self._write_far()
        self._due_s = self._clock() + SAY_INTERVAL_S

    def end(self, result: str, *, is_good: bool) -> None:
        """That it is over, and how, in words without anything of a patient."""
        if not self._number:
            return
        self._write_far()
        state = "done" if is_good else "failed"
        job = replace(self._job, state=state, result=result, ended_us=_now_us())
        self._write(lambda transaction: self._table.end(transaction.cursor, self._number, job))

    def _write_far(self) -> None:
        job = replace(self._job, said_us=_now_us())
        self._write(lambda transaction: self._table.say(transaction.cursor, self._number, job))

    def _write(self, work: Callable[[Transaction], None]) -> None:
        with suppress(StrongroomError):
            self._database.write(work)


def _now_us() -> int:
    return time.time_ns() // 1000
