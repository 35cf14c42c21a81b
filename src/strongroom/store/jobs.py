"""Long work, as whoever does it has said last: one row each, in the index, so that other processes see it.

Commands, and what people take out, keep no room from each other: anybody can begin a download.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, delete, insert, not_, or_, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.oversight import COMMANDS, Job
from strongroom.store.database import Sql
from strongroom.store.schema.tables import JOB

KEPT_JOBS: Final = 200
"""Of commands, and of what people take out: when another begins, what is over goes before what goes on, and what is old
before what is new. The trail has them for good."""
SILENT_US: Final = 300_000_000
"""Who has not said anything for so long has probably been killed."""


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
        is_command: Any = or_(*(row.kind == kind for kind in COMMANDS))
        goes_on = case((and_(row.state == "running", row.said_us >= bindparam("heard_us")), 0), else_=1)
        self._of_commands, self._of_others = (
            _Kept(is_kind, (goes_on, row.started_us.desc()), dialect) for is_kind in (is_command, not_(is_command))
        )

    def begin(self, cursor: Any, name: str, job: Job) -> None:
        """Note that something has begun."""
        kept = self._of_commands if job.kind in COMMANDS else self._of_others
        kept.drop.run(cursor, heard_us=job.started_us - SILENT_US)
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

    def newest(self, cursor: Any, count: int, now_us: int) -> Sequence[Job]:
        """At most ``count`` commands, then as many of the rest; of each what goes on, then the newest."""
        asked = {"count": count, "heard_us": now_us - SILENT_US}
        rows = [
            row for kept in (self._of_commands, self._of_others) for row in kept.first.run(cursor, **asked).fetchall()
        ]
        return [_job(*row) for row in rows]


class _Kept:
    """Statements on the jobs that are ``of_kind``, in the ``order`` in which they are worth keeping."""

    def __init__(self, of_kind: Any, order: Sequence[Any], dialect: Dialect) -> None:
        self.first = Sql(select(JOB).where(of_kind).order_by(*order).limit(bindparam("count")), dialect)
        kept = select(JOB.c.name).where(of_kind).order_by(*order).limit(KEPT_JOBS).subquery()
        self.drop = Sql(delete(JOB).where(of_kind, JOB.c.name.not_in(select(kept.c.name))), dialect)


def _job(_name: str, kind: str, person: str, state: str, unit: str, result: str, *numbers: int) -> Job:
    started_us, said_us, ended_us, done, total = map(int, numbers)
    return Job(kind, state, person, started_us, said_us, ended_us, done, total, unit, result)
