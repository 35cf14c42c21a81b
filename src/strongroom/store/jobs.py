"""Long work, as whoever does it has said last: one row each, in the index, so that other processes see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.oversight import Job
from strongroom.store.database import Sql
from strongroom.store.schema.tables import JOB

KEPT_JOBS: Final = 200
"""The newest; older ones go when another begins. The trail has them for good."""


class JobTable:
    """Statements on the table of jobs; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        row = JOB.c
        this: Any = row.name == bindparam("a")
        self._add = Sql(insert(JOB), dialect)
        named = ("said_us", "done", "total", "unit")
        self._say = Sql(update(JOB).where(this).values({each: bindparam(f"new_{each}") for each in named}), dialect)
        ends = ("said_us", "ended_us", "state", "result")
        self._end = Sql(update(JOB).where(this).values({each: bindparam(f"new_{each}") for each in ends}), dialect)
        self._newest = Sql(select(JOB).order_by(row.started_us.desc()).limit(bindparam("count")), dialect)
        oldest = select(row.started_us).order_by(row.started_us.desc()).limit(1).offset(KEPT_JOBS)
        self._drop = Sql(delete(JOB).where(row.started_us <= oldest.scalar_subquery()), dialect)

    def begin(self, cursor: Any, name: str, job: Job) -> None:
        """Note that something has begun."""
        self._drop.run(cursor)
        self._add.run(
            cursor, name=name, kind=job.kind, person=job.person, state=job.state, unit=job.unit, result="",
            started_us=job.started_us, said_us=job.started_us, ended_us=0, done=0, total=job.total,
        )  # fmt: skip

    def say(self, cursor: Any, name: str, job: Job) -> None:
        """Note how far it is."""
        self._say.run(
            cursor, a=name, new_said_us=job.said_us, new_done=job.done, new_total=job.total, new_unit=job.unit
        )

    def end(self, cursor: Any, name: str, job: Job) -> None:
        """Note how it ended."""
        self._end.run(
            cursor, a=name, new_said_us=job.ended_us, new_ended_us=job.ended_us, new_state=job.state,
            new_result=job.result,
        )  # fmt: skip

    def newest(self, cursor: Any, count: int) -> Sequence[Job]:
        """The last ``count`` that have begun, the newest first."""
        return [_job(*row) for row in self._newest.run(cursor, count=count).fetchall()]


def _job(_name: str, kind: str, person: str, state: str, unit: str, result: str, *numbers: int) -> Job:
    started_us, said_us, ended_us, done, total = map(int, numbers)
    return Job(kind, state, person, started_us, said_us, ended_us, done, total, unit, result)
