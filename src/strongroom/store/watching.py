"""What people watch, beside the trail: which alerts somebody has seen to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.engine import Dialect

from strongroom.archive.oversight import Seen
from strongroom.errors import Refused
from strongroom.store.database import Sql
from strongroom.store.schema.tables import ALERT_SEEN


class SeenAlerts:
    """Statements on the table of alerts that were seen to; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        row = ALERT_SEEN.c
        self._one = Sql(
            select(row.person, row.remark, row.seen_us).where(row.log == bindparam("a"), row.seq == bindparam("b")),
            dialect,
        )
        self._of_log = Sql(
            select(row.seq, row.person, row.remark, row.seen_us).where(
                row.log == bindparam("a"), row.seq >= bindparam("first"), row.seq <= bindparam("last")
            ),
            dialect,
        )
        self._add = Sql(insert(ALERT_SEEN), dialect)

    def between(self, cursor: Any, log: str, first: int, last: int) -> Mapping[int, Seen]:
        """Who has seen to the alerts of a log with these numbers, by number."""
        rows = self._of_log.run(cursor, a=log, first=first, last=last).fetchall()
        return {int(seq): Seen(person, remark, int(seen_us)) for seq, person, remark, seen_us in rows}

    def add(self, cursor: Any, log: str, seq: int, seen: Seen) -> None:
        """Note that somebody has seen to one. Raises Refused if somebody had."""
        if self._one.run(cursor, a=log, b=seq).fetchone() is not None:
            raise Refused("alert-seen", "somebody has seen to this alert already")
        self._add.run(cursor, log=log, seq=seq, person=seen.person, remark=seen.remark, seen_us=seen.seen_us)
