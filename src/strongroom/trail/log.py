"""The durable logs: records, their tree and its checkpoints in the database, written in the caller's transaction.

Everything works on a raw DBAPI cursor with statements compiled once, because one C-STORE has no time for more. The
caller owns connection, transaction and commit; what is written here is durable exactly when the act it records is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, Text, bindparam, insert, select
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql import ClauseElement

from strongroom.archive.model import Event
from strongroom.errors import ConfigError, IntegrityError, StorageUnavailable
from strongroom.trail.record import SALT_BYTES, Record, encode_record, parse_log_name
from strongroom.trail.tree import Frontier, leaf_hash

Cursor = DBAPICursor
MAX_PAGE: Final = 1024
"""Rows that one read may ask for: the bound on what a reader keeps in memory."""

metadata = MetaData()

trail_log = Table(
    "trail_log",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Without a row id a row lies in its primary key's own tree: one page to write in a commit where it would be two.
trail_record = Table(
    "trail_record",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

trail_checkpoint = Table(
    "trail_checkpoint",
    metadata,
    Column("log", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)


def _compile(statement: ClauseElement, dialect: Dialect, *names: str) -> str:
    """Return the statement's text for ``dialect``, its parameters by position in the order of ``names``."""
    compiled: Any = statement.compile(dialect=dialect)
    if not compiled.positional or tuple(compiled.positiontup or ()) != names:
        raise ConfigError('the trail needs positional parameters: create the engine with paramstyle="format"')
    return str(compiled)


class TrailLog:
    """One log to append to. Holds no state but its statements: thread-safe, and safe against any rollback."""

    def __init__(self, name: str, dialect: Dialect) -> None:
        """``dialect`` is that of the engine whose cursors will be given. Raises ConfigError if it names parameters."""
        self.name = parse_log_name(name)
        self._driver: Any = dialect.dbapi
        head = select(trail_log.c.size, trail_log.c.frontier).where(trail_log.c.name == bindparam("name"))
        # SQLite has no FOR UPDATE and compiles it away: there the caller's BEGIN IMMEDIATE is the lock.
        self._head = _compile(head.with_for_update(), dialect, "name")
        fresh = postgresql.insert(trail_log) if dialect.name == "postgresql" else sqlite.insert(trail_log)
        self._create = _compile(fresh.on_conflict_do_nothing(), dialect, "name", "size", "frontier")
        self._insert = _compile(insert(trail_record), dialect, "log", "seq", "record", "leaf")
        self._advance = _compile(
            update_of(trail_log)
            .where(trail_log.c.name == bindparam("log"))
            .values(size=bindparam("size"), frontier=bindparam("frontier")),
            dialect,
            "size",
            "frontier",
            "log",
        )

    def append(
        self, cursor: Cursor, events: Sequence[Event], *, now: float, random: Callable[[int], bytes]
    ) -> list[int]:
        """Append one record per event in the cursor's open transaction and return their sequence numbers.

        ``now`` is in seconds since 1970, ``random(n)`` returns n random bytes. On SQLite the caller holds BEGIN
        IMMEDIATE; on PostgreSQL the log's head stays locked until the caller's transaction ends.

        Raises:
            StorageUnavailable: the database did not take it; the act must fail and its transaction be rolled back.
            IntegrityError: the head does not parse, or its next number is taken: somebody rewrote the trail.
        """
        if not events:
            return []
        try:
            return self._append(cursor, events, datetime.fromtimestamp(now, UTC), random(SALT_BYTES * len(events)))
        except self._driver.IntegrityError as error:
            raise IntegrityError(f"the head of trail log {self.name} is behind its records") from error
        except self._driver.Error as error:
            raise StorageUnavailable(f"trail log {self.name} cannot be appended to") from error

    def _append(self, cursor: Cursor, events: Sequence[Event], time: datetime, salts: bytes) -> list[int]:
        name = self.name
        # Read and parsed anew each time: a frontier kept in memory would outlive a rollback, or miss another process.
        frontier = self._locked_frontier(cursor)
        seq = first = frontier.size
        rows = []
        for at, event in enumerate(events):
            salt = salts[SALT_BYTES * at : SALT_BYTES * (at + 1)]
            raw = encode_record(Record(name, seq, time, salt, event))
            leaf = leaf_hash(raw)
            frontier.append(leaf)
            rows.append((name, seq, raw, leaf))
            seq += 1
        if len(rows) == 1:
            cursor.execute(self._insert, rows[0])
        else:
            cursor.executemany(self._insert, rows)
        cursor.execute(self._advance, (seq, frontier.to_bytes(), name))
        return list(range(first, seq))

    def _locked_frontier(self, cursor: Cursor) -> Frontier:
        cursor.execute(self._head, (self.name,))
        row = cursor.fetchone()
        if row is None:
            # Two processes may both find no head: the second insert then waits for the first and does nothing.
            cursor.execute(self._create, (self.name, 0, Frontier().to_bytes()))
            cursor.execute(self._head, (self.name,))
            row = cursor.fetchone()
        if row is None:
            raise StorageUnavailable(f"trail log {self.name} has no head")
        frontier = Frontier.parse(row[1])
        if frontier.size != row[0]:
            raise IntegrityError(f"the head of trail log {self.name} contradicts itself")
        return frontier
