"""Wrapping the data keys of an index under another master key, some in each transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.model import DataKey
from strongroom.errors import IntegrityError
from strongroom.store.database import Sql
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY

BATCH_KEYS = 500
"""Keys in one transaction: some 10 ms, in which nothing else is stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did. ``last`` is where the next one begins, None at the end; ``unopened`` key ids stay."""

    rewrapped: int
    unopened: tuple[bytes, ...]
    last: bytes | None


class Rewrapping:
    """The statements, on the caller's cursor."""

    def __init__(self, dialect: Dialect) -> None:
        key = DATA_KEY.c
        self._is_sqlite = dialect.name == "sqlite"
        others = select(key.key_id, key.wrapped, key.master_id).where(
            key.study.is_not(None), key.master_id != bindparam("active"), key.key_id > bindparam("after")
        )
        self._others = Sql(others.order_by(key.key_id).limit(BATCH_KEYS), dialect)
        self._put = Sql(
            update(DATA_KEY)
            .where(key.key_id == bindparam("which"))
            .values(wrapped=bindparam("bytes"), master_id=bindparam("master")),
            dialect,
        )
        counts = select(key.master_id, func.count()).where(key.study.is_not(None)).group_by(key.master_id)
        self._counts = Sql(counts, dialect)
        one = select(key.key_id, key.wrapped).where(key.study.is_not(None), key.master_id == bindparam("master"))
        self._sample = Sql(one.limit(1), dialect)

    def counts(self, cursor: Any) -> dict[str, int]:
        """How many data keys are wrapped under each master key."""
        return dict(self._counts.run(cursor).fetchall())

    def sample(self, cursor: Any, master_id: str) -> tuple[bytes, bytes] | None:
        """The id of some data key under a master key, and it wrapped; None if there is none."""
        row = self._sample.run(cursor, master=master_id).fetchone()
        return (bytes(row[0]), bytes(row[1])) if row else None

    def batch(self, cursor: Any, ring: KeyRing, after: bytes) -> Batch:
        """Wrap the next data keys that are not under the ring's active master key, in order of their ids.

        A row that does not open is left as it is. Raises ConfigError, with nothing written, if a master key is missing.
        """
        rows = self._others.run(cursor, active=ring.active_id, after=after).fetchall()
        rewrapped: list[DataKey] = []
        unopened: list[bytes] = []
        for key_id, wrapped, master_id in rows:
            try:
                rewrapped.append(ring.rewrap(bytes(key_id), bytes(wrapped), master_id))
            except IntegrityError:
                unopened.append(bytes(key_id))
        for key in rewrapped:
            self._put.run(cursor, which=key.key_id, bytes=key.wrapped, master=key.master_id)
        return Batch(len(rewrapped), tuple(unopened), bytes(rows[-1][0]) if len(rows) == BATCH_KEYS else None)

    def rewrite(self, cursor: Any) -> None:
        """Write the whole table anew, each row behind the one before, and overwrite where it was.

        Needed where rows have grown: SQLite has moved some then, and may have left wrapped keys behind that a deletion
        would not find (see ``strongroom.store.deletion``). PostgreSQL leaves every version behind, and cannot be told.
        """
        if not self._is_sqlite:
            return
        cursor.execute("PRAGMA secure_delete = ON").fetchone()
        # Temporary tables are in memory.
        cursor.execute("CREATE TEMP TABLE kept_key AS SELECT key_id, study, wrapped, master_id FROM data_key")
        cursor.execute("DELETE FROM data_key")
        cursor.execute("INSERT INTO data_key (key_id, study, wrapped, master_id) SELECT * FROM kept_key ORDER BY rowid")
        cursor.execute("DROP TABLE kept_key")
        cursor.execute("PRAGMA secure_delete = FAST").fetchone()
