"""Wrapping the data keys of an index under another master key, some in each transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, bindparam, func, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.model import DataKey
from strongroom.errors import IntegrityError
from strongroom.store.database import Sql
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY, HELD_KEY

BATCH_KEYS = 500
"""Keys in one transaction: some 10 ms, in which nothing else is stored."""

_REWRITE = (  # temporary tables are in memory
    "CREATE TEMP TABLE kept_key AS SELECT key_id, study, wrapped, master_id FROM data_key",
    "DELETE FROM data_key",
    "INSERT INTO data_key (key_id, study, wrapped, master_id) SELECT * FROM kept_key ORDER BY rowid",
    "DROP TABLE kept_key",
    "CREATE TEMP TABLE kept_key AS SELECT key_id, held, wrapped, master_id FROM held_key",
    "DELETE FROM held_key",
    "INSERT INTO held_key (key_id, held, wrapped, master_id) SELECT * FROM kept_key ORDER BY rowid",
    "DROP TABLE kept_key",
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did. ``last`` is where the next one begins, None at the end; ``unopened`` key ids stay."""

    rewrapped: int
    unopened: tuple[bytes, ...]
    last: bytes | None


class Rewrapping:
    """The statements, on the caller's cursor: keys of studies first, then those of held objects."""

    def __init__(self, dialect: Dialect) -> None:
        self._is_sqlite = dialect.name == "sqlite"
        self._tables = (_Table(DATA_KEY, DATA_KEY.c.study, dialect), _Table(HELD_KEY, HELD_KEY.c.held, dialect))

    def counts(self, cursor: Any) -> dict[str, int]:
        """How many data keys are wrapped under each master key."""
        total: Counter[str] = Counter()
        for table in self._tables:
            total.update(dict(table.counts.run(cursor).fetchall()))
        return dict(total)

    def sample(self, cursor: Any, master_id: str) -> tuple[bytes, bytes] | None:
        """The id of some data key under a master key, and it wrapped; None if there is none."""
        for table in self._tables:
            row = table.sample.run(cursor, master=master_id).fetchone()
            if row:
                return bytes(row[0]), bytes(row[1])
        return None

    def batch(self, cursor: Any, ring: KeyRing, after: bytes) -> Batch:
        """Wrap the next data keys that are not under the ring's active master key, in order of their ids.

        A row that does not open is left as it is. Raises ConfigError, with nothing written, if a master key is missing.
        """
        # Ids are random and of one length: both tables go through the same range, each as far as the other one.
        rows = sorted(
            (bytes(key_id), bytes(wrapped), master_id, table)
            for table, found in enumerate(self._tables)
            for key_id, wrapped, master_id in found.others.run(cursor, active=ring.active_id, after=after).fetchall()
        )
        some = rows[:BATCH_KEYS]
        rewrapped: list[tuple[int, DataKey]] = []
        unopened: list[bytes] = []
        for key_id, wrapped, master_id, table in some:
            try:
                rewrapped.append((table, ring.rewrap(key_id, wrapped, master_id)))
            except IntegrityError:
                unopened.append(key_id)
        for table, key in rewrapped:
            self._tables[table].put.run(cursor, which=key.key_id, bytes=key.wrapped, master=key.master_id)
        return Batch(len(rewrapped), tuple(unopened), some[-1][0] if len(some) == BATCH_KEYS else None)

    def rewrite(self, cursor: Any) -> None:
        """Write the tables anew, each row behind the one before, and overwrite where it was.

        Needed where rows have grown: SQLite has moved some then, and may have left wrapped keys behind that a deletion
        would not find (see ``strongroom.store.deletion``). PostgreSQL leaves every version behind, and cannot be told.
        """
        if not self._is_sqlite:
            return
        cursor.execute("PRAGMA secure_delete = ON").fetchone()
        for statement in _REWRITE:
            cursor.execute(statement)
        cursor.execute("PRAGMA secure_delete = FAST").fetchone()


class _Table:
    """A table of wrapped keys; ``owner`` is null in the row of a key that was destroyed."""

    def __init__(self, table: Table, owner: Column[Any], dialect: Dialect) -> None:
        key = table.c
        in_use = owner.is_not(None)
        others = select(key.key_id, key.wrapped, key.master_id).where(
            in_use, key.master_id != bindparam("active"), key.key_id > bindparam("after")
        )
        self.others = Sql(others.order_by(key.key_id).limit(BATCH_KEYS), dialect)
        self.put = Sql(
            update(table)
            .where(key.key_id == bindparam("which"))
            .values(wrapped=bindparam("bytes"), master_id=bindparam("master")),
            dialect,
        )
        self.counts = Sql(select(key.master_id, func.count()).where(in_use).group_by(key.master_id), dialect)
        one = select(key.key_id, key.wrapped).where(in_use, key.master_id == bindparam("master"))
        self.sample = Sql(one.limit(1), dialect)
