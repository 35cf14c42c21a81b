"""How a command tells the index what it does, while it does it, so that others see how far it is.

That keeps nobody from work: what cannot be written is not said.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from strongroom.app import Archive
from strongroom.archive.oversight import Command, Job
from strongroom.errors import StrongroomError
from strongroom.store.jobs import JobTable
from strongroom.store.transaction import Transaction

SAY_INTERVAL_S: Final = 2.0
"""Between two words of one job: each is a write."""


class Say(Protocol):
    """Says how far something is."""

    def __call__(self, done: int, total: int, unit: str = "") -> None:
        """So many ``done`` of ``total``, 0 if nobody knows."""


class Telling:
    """One job of this process, as it tells the index. Not thread-safe."""

    def __init__(self, archive: Archive, job: Job) -> None:
        self._archive, self._job = archive, job
        self._table = JobTable(archive.backend.dialect)
        self._number = secrets.token_hex(16)
        self._said_s = time.monotonic()
        self._write(lambda transaction: self._table.begin(transaction.cursor, self._number, job))

    def say(self, done: int, total: int, unit: str = "") -> None:
        """How far it is; written every few seconds."""
        self._job = replace(self._job, done=done, total=total, unit=unit or self._job.unit)
        if time.monotonic() - self._said_s >= SAY_INTERVAL_S:
            self._said_s = time.monotonic()
            self._say()

    def _say(self) -> None:
        job = replace(self._job, said_us=now_us())
        self._write(lambda transaction: self._table.say(transaction.cursor, self._number, job))

    def end(self, state: str, result: str) -> None:
        """That it is over."""
        self._say()
        job = replace(self._job, state=state, result=result, ended_us=now_us())
        self._write(lambda transaction: self._table.end(transaction.cursor, self._number, job))

    def _write(self, work: Callable[[Transaction], None]) -> None:
        with suppress(StrongroomError):
            self._archive.index.database.write(work)


@dataclass(slots=True)
class Told:
    """What a job's owner holds: ``result`` is what is known of it in the end, in words."""

    say: Say
    result: str = ""


@contextmanager
def telling(archive: Archive, kind: Command, unit: str) -> Iterator[Told]:
    """Say that something runs, and how it ended. The end of the block is the end of the job."""
    by = archive.principal.user or archive.principal.aet
    began_us = now_us()
    job = Telling(archive, Job(kind, "running", by, began_us, began_us, unit=unit))
    told = Told(job.say)
    try:
        yield told
    except BaseException as error:
        job.end("failed", type(error).__name__)
        raise
    job.end("done", told.result)


def now_us() -> int:
    """The present time."""
    return time.time_ns() // 1000
