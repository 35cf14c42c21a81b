"""Which files were imported already: one mark per file, put in the same transaction as the object that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from strongroom.store.database import Sql
from strongroom.store.schema.tables import IMPORTED


class ImportMarks:
    """Statements on the marks; a mark is 32 bytes that stand for one file in one state. Thread-safe."""

    def __init__(self, dialect: Dialect) -> None:
        insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self._find = Sql(select(IMPORTED.c.source).where(IMPORTED.c.source == bindparam("a")), dialect)
        self._add = Sql(insert(IMPORTED).on_conflict_do_nothing(), dialect)
        self._clear = Sql(delete(IMPORTED), dialect)

    def known(self, cursor: Any, marks: Sequence[bytes]) -> set[bytes]:
        """Those of ``marks`` that are there."""
        return {mark for mark in marks if self._find.run(cursor, a=mark).fetchone()}

    def add(self, cursor: Any, mark: bytes) -> None:
        """Put a mark; nothing happens if it is there."""
        self._add.run(cursor, source=mark)

    def clear(self, cursor: Any) -> None:
        """Drop every mark."""
        self._clear.run(cursor)
