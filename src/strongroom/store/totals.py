"""How many records a level has, without counting all of them each time.

Rows are added in the order of their ids and taken away by deletions only, which move the generation on: so what was
counted up to one id stays right, and only what came later is counted again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Dialect

from strongroom.archive.model import Level
from strongroom.store.database import Sql
from strongroom.store.registry import Registry
from strongroom.store.scope import TABLES
from strongroom.store.transaction import GENERATION


class _Counted(NamedTuple):
    generation: str
    up_to_id: int
    rows: int


class Totals:
    """Counts of whole levels. Thread-safe: each call works with what it finds and leaves something that is right."""

    def __init__(self, dialect: Dialect, registry: Registry) -> None:
        self._registry = registry
        self._counted: dict[Level, _Counted] = {}
        self._sql = {
            level: Sql(select(func.count(), func.max(table.c.id)).where(table.c.id > bindparam("after")), dialect)
            for level, table in TABLES.items()
        }

    def of(self, cursor: Any, level: Level) -> int:
        """The number of records of ``level`` in the cursor's transaction."""
        generation = self._registry.get_meta(cursor, GENERATION)
        known = self._counted.get(level)
        if known is None or known.generation != generation:
            known = _Counted(generation, 0, 0)
        more, last_id = self._sql[level].run(cursor, after=known.up_to_id).fetchone()
        if more:
            known = _Counted(generation, int(last_id), known.rows + int(more))
            self._counted[level] = known
        return known.rows
