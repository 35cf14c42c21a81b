"""The durable logs: records, their tree and its checkpoints in the database, written in the caller's transaction.

Everything works on a raw DBAPI cursor with statements compiled once, because one C-STORE has no time for more. The
caller owns connection, transaction and commit; what is written here is durable exactly when the act it records is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    text,
    union,
)
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql import ClauseElement

from strongroom.archive.model import Action, Event
from strongroom.errors import ConfigError, IntegrityError, LocalProtocolError, NotFound, StorageUnavailable
from strongroom.trail.note import MAX_NOTE_CHARS, Checkpoint, Signer, origin_of, parse_note
from strongroom.trail.record import MAX_RECORD_BYTES, SALT_BYTES, encode_event, format_time, parse_log_name
from strongroom.trail.tree import HASH_BYTES, MAX_SIZE, Frontier, leaf_hash

Cursor = DBAPICursor
MAX_PAGE: Final = 1024
"""Rows that one read may ask for: the bound on what a reader keeps in memory."""
MAX_LOGS: Final = 4096
ALERT_START: Final = f'{{"action":"{Action.ALERT.value}",'.encode()
"""How the record of an alert begins."""
MAX_FRONTIER_BYTES: Final = 8 + 64 * HASH_BYTES
_PAGE: Final = 256

metadata = MetaData()
_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
_BIG: Final = BigInteger().with_variant(Integer(), "sqlite")

trail_log = Table(
    "trail_log",
    metadata,
    Column("name", _TEXT, primary_key=True),
    Column("size", _BIG, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Without a row id a row lies in its primary key's own tree: one page to write in a commit where it would be two.
trail_record = Table(
    "trail_record",
    metadata,
    Column("log", _TEXT, primary_key=True),
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Alerts are few among many: these rows alone are in the index. The words are those of the statement, or it is not used.
_IS_ALERT: Final = {
    name: text(f"substr(record, 1, {len(ALERT_START)}) = {literal}")
    for name, literal in (
        ("sqlite", f"X'{ALERT_START.hex()}'"),
        ("postgresql", f"decode('{ALERT_START.hex()}', 'hex')"),
    )
}
Index(
    "trail_alert",
    trail_record.c.log,
    trail_record.c.seq,
    sqlite_where=_IS_ALERT["sqlite"],
    postgresql_where=_IS_ALERT["postgresql"],
)

trail_checkpoint = Table(
    "trail_checkpoint",
    metadata,
    Column("log", _TEXT, primary_key=True),
    Column("size", _BIG, primary_key=True, autoincrement=False),
    Column("note", _TEXT, nullable=False),
)

_LOG_COLUMNS: Final = (trail_log.c.name, trail_record.c.log, trail_checkpoint.c.log)


def _compile(statement: ClauseElement, dialect: Dialect, *names: str) -> str:
    """Return the statement's text for ``dialect``, its parameters by position in the order of ``names``."""
    compiled: Any = statement.compile(dialect=dialect)
    if not compiled.positional or tuple(compiled.positiontup or ()) != names:
        raise ConfigError('the trail needs positional parameters: create the engine with paramstyle="format"')
    return str(compiled)


def _capped(column: Column[Any], limit: int) -> Any:
    # One over the limit, so that a reader sees that it was passed; whoever can write to the database can also store a
    # gigabyte in one row, and it must not reach memory.
    return func.substr(column, literal_column("1"), literal_column(str(limit + 1)))


class StoredRecord(NamedTuple):
    """One row of a log, as it is stored: ``raw`` is what parse_record takes, ``leaf`` its 32-byte hash."""

    seq: int
    raw: bytes
    leaf: bytes


class Head(NamedTuple):
    """How far a log has come: its size in records and its tree's frontier, as Frontier.parse takes it."""

    size: int
    frontier: bytes


class StoredCheckpoint(NamedTuple):
    """One checkpoint kept beside its log: the size it is filed under and the note's text."""

    size: int
    note: str


_Row = TypeVar("_Row", Head, StoredRecord, StoredCheckpoint)
_ROW_TYPES: Final = {Head: (int, bytes), StoredRecord: (int, bytes, bytes), StoredCheckpoint: (int, str)}


def _row(kind: type[_Row], values: Sequence[Any]) -> _Row:
    # SQLite keeps a text in an integer column if somebody puts it there.
    if tuple(map(type, values)) != _ROW_TYPES[kind]:
        raise IntegrityError(f"the trail holds a {kind.__name__} with values of the wrong type")
    return kind(*values)


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
        self._last_note = _compile(_checkpoints_of_log(descending=True), dialect, "log", "size", "count")
        self._insert_note = _compile(insert(trail_checkpoint), dialect, "log", "size", "note")

    def append(
        self, cursor: Cursor, events: Sequence[Event], times_s: Sequence[float], *, random: Callable[[int], bytes]
    ) -> list[int]:
        """Append one record per event in the cursor's open transaction and return their sequence numbers.

        ``times_s`` say when each happened, in seconds since 1970; ``random(n)`` returns n random bytes. On SQLite the
        caller holds BEGIN IMMEDIATE; on PostgreSQL the log's head stays locked until the caller's transaction ends.

        Raises:
            StorageUnavailable: the database did not take it; the act must fail and its transaction be rolled back.
            IntegrityError: the head does not parse, or its next number is taken: somebody rewrote the trail.
        """
        if not events:
            return []
        try:
            times = [format_time(datetime.fromtimestamp(time_s, UTC)) for time_s in times_s]
            return self._append(cursor, events, times, random(SALT_BYTES * len(events)))
        except self._driver.IntegrityError as error:
            raise IntegrityError(f"the head of trail log {self.name} is behind its records") from error
        except self._driver.Error as error:
            raise StorageUnavailable(f"trail log {self.name} cannot be appended to") from error

    def _append(self, cursor: Cursor, events: Sequence[Event], times: Sequence[str], salts: bytes) -> list[int]:
        name = self.name
        # Read and parsed anew each time: a frontier kept in memory would outlive a rollback, or miss another process.
        frontier = self._locked_frontier(cursor)
        seq = first = frontier.size
        rows = []
        for at, event in enumerate(events):
            salt = salts[SALT_BYTES * at : SALT_BYTES * (at + 1)]
            raw = encode_event(event, name, seq, times[at], salt)
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
        head = _row(Head, row)
        frontier = Frontier.parse(head.frontier)
        if frontier.size != head.size:
            raise IntegrityError(f"the head of trail log {self.name} contradicts itself")
        return frontier

    def checkpoint(self, cursor: Cursor, signer: Signer, archive_id: str, now: float) -> str | None:
        """Sign the log's present head, store the note in the caller's transaction and return its text.

        Returns None if the last stored checkpoint states this size already, or nothing was ever recorded. ``now`` is
        in seconds since 1970; the caller holds the transaction as for append. The note protects nothing until it has
        left this host.

        Raises:
            IntegrityError: the log is shorter than, or not the same as, what its last checkpoint states: such a head
                is never signed.
            StorageUnavailable: the database did not take it.
        """
        try:
            frontier = self._locked_frontier(cursor)
            root = frontier.root()
            cursor.execute(self._last_note, (self.name, MAX_SIZE, 1))
            last = cursor.fetchone()
            if last is not None:
                stated = parse_note(_row(StoredCheckpoint, last).note).checkpoint
                if stated.size > frontier.size or (stated.size == frontier.size and stated.root != root):
                    raise IntegrityError(f"trail log {self.name} is not what its checkpoint at {stated.size} states")
            if frontier.size == (0 if last is None else last[0]):
                return None
            origin = origin_of(archive_id, self.name)
            note = signer.sign(Checkpoint(origin, frontier.size, root, datetime.fromtimestamp(now, UTC)))
            cursor.execute(self._insert_note, (self.name, frontier.size, note))
        except self._driver.Error as error:
            raise StorageUnavailable(f"no checkpoint of trail log {self.name} could be stored") from error
        return note


def _records_of_log(*columns: Any) -> Any:
    """The columns of at most ``count`` records of ``log`` from ``start`` on."""
    record = trail_record.c
    chosen = select(*columns).where(record.log == bindparam("log"), record.seq >= bindparam("start"))
    return chosen.order_by(record.seq).limit(bindparam("count")).offset(literal_column("0"))


def _checkpoints_of_log(*, descending: bool = False) -> Any:
    """At most ``count`` checkpoints of ``log`` over (descending: up to) ``size``."""
    size = trail_checkpoint.c.size
    chosen = select(size, _capped(trail_checkpoint.c.note, MAX_NOTE_CHARS)).where(
        trail_checkpoint.c.log == bindparam("log"),
        size <= bindparam("size") if descending else size > bindparam("size"),
    )
    ordered = chosen.order_by(size.desc() if descending else size)
    # A literal offset, because SQLAlchemy gives SQLite a bound one of its own.
    return ordered.limit(bindparam("count")).offset(literal_column("0"))


class TrailReader:
    """Reads every log of a database. Holds no state but its statements: thread-safe.

    What it returns is what is stored, by whomever: nothing is verified, only the size of each value is bounded. To
    see one state throughout, the caller keeps one read transaction open (on PostgreSQL REPEATABLE READ).
    """

    def __init__(self, dialect: Dialect) -> None:
        """``dialect`` is that of the engine whose cursors will be given. Raises ConfigError if it names parameters."""
        self._driver: Any = dialect.dbapi
        record, head = trail_record.c, trail_log.c
        raw, leaf = _capped(record.record, MAX_RECORD_BYTES), _capped(record.leaf, HASH_BYTES)
        page = ("log", "start", "count")
        self._rows = _compile(_records_of_log(record.seq, raw, leaf), dialect, *page)
        self._leaves = _compile(_records_of_log(record.seq, leaf), dialect, *page)
        back = select(record.seq, raw, leaf).where(record.log == bindparam("log"), record.seq < bindparam("stop"))
        back = back.order_by(record.seq.desc()).limit(bindparam("count")).offset(literal_column("0"))
        self._back = _compile(back, dialect, "log", "stop", "count")
        alerts = back.where(_IS_ALERT[dialect.name])
        self._alerts_back = _compile(alerts, dialect, "log", "stop", "count")
        if dialect.name == "sqlite":  # which would rather read a whole log
            by_index = "FROM trail_record INDEXED BY trail_alert"
            self._alerts_back = self._alerts_back.replace("FROM trail_record", by_index)
        heads = select(head.size, _capped(head.frontier, MAX_FRONTIER_BYTES)).where(head.name == bindparam("log"))
        self._head = _compile(heads, dialect, "log")
        # The least name over the last one, by the primary keys: a log is found by whatever it left behind.
        names = (select(func.min(column)).where(column > bindparam("after")) for column in _LOG_COLUMNS)
        least = union(*names).order_by(literal_column("1"))
        self._names = _compile(least, dialect, *["after"] * len(_LOG_COLUMNS))
        self._notes = _compile(_checkpoints_of_log(), dialect, "log", "size", "count")
        self._last_notes = _compile(_checkpoints_of_log(descending=True), dialect, "log", "size", "count")

    def logs(self, cursor: Cursor) -> list[str]:
        """Return the name of every log that has a head, a record or a checkpoint, in order, at most MAX_LOGS."""
        names: list[str] = []
        after = ""
        while len(names) < MAX_LOGS:
            found = [row[0] for row in self._fetch(cursor, self._names, (after,) * len(_LOG_COLUMNS))]
            least = next((name for name in found if isinstance(name, str)), None)
            if least is None:
                break
            names.append(least)
            after = least
        return names

    def head(self, cursor: Cursor, log: str) -> Head | None:
        """Return the log's head, or None if it has none."""
        rows = self._fetch(cursor, self._head, (log,))
        return _row(Head, rows[0]) if rows else None

    def read(self, cursor: Cursor, log: str, start: int, count: int) -> list[StoredRecord]:
        """Return up to ``count`` (at most MAX_PAGE) records of ``log`` whose number is ``start`` or more, in order."""
        if not 0 < count <= MAX_PAGE:
            raise LocalProtocolError(f"a page of the trail has 1 to {MAX_PAGE} records")
        return [_row(StoredRecord, row) for row in self._fetch(cursor, self._rows, (log, start, count))]

    def read_back(self, cursor: Cursor, log: str, stop: int, count: int) -> list[StoredRecord]:
        """Return up to ``count`` (at most MAX_PAGE) records of ``log`` of a number below ``stop``, last first."""
        if not 0 < count <= MAX_PAGE:
            raise LocalProtocolError(f"a page of the trail has 1 to {MAX_PAGE} records")
        return [_row(StoredRecord, row) for row in self._fetch(cursor, self._back, (log, stop, count))]

    def alerts_back(self, cursor: Cursor, log: str, stop: int, count: int) -> list[StoredRecord]:
        """Return as ``read_back``, of those that are alerts, whose index it reads and nothing else."""
        if not 0 < count <= MAX_PAGE:
            raise LocalProtocolError(f"a page of the trail has 1 to {MAX_PAGE} records")
        return [_row(StoredRecord, row) for row in self._fetch(cursor, self._alerts_back, (log, stop, count))]

    def pages(self, cursor: Cursor, log: str) -> Iterator[list[StoredRecord]]:
        """Yield all records of ``log`` in order of their numbers, a page at a time, whatever numbers they have."""
        start = -MAX_SIZE - 1
        while rows := self.read(cursor, log, start, _PAGE):
            yield rows
            if rows[-1].seq >= MAX_SIZE:
                break
            start = rows[-1].seq + 1

    def leaves(self, cursor: Cursor, log: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the stored leaf hashes from ``start`` up to ``stop``. Raises IntegrityError if one is missing."""
        while start < stop:
            rows = self._fetch(cursor, self._leaves, (log, start, min(MAX_PAGE, stop - start)))
            if not rows:
                raise IntegrityError(f"trail log {log} has no record {start}")
            for seq, leaf in rows:
                if seq != start or not isinstance(leaf, bytes) or len(leaf) != HASH_BYTES:
                    raise IntegrityError(f"trail log {log} has no record {start}")
                yield leaf
                start += 1

    def checkpoints(self, cursor: Cursor, log: str, above: int, count: int) -> list[StoredCheckpoint]:
        """Return up to ``count`` (at most MAX_PAGE) stored checkpoints of ``log`` over the size ``above``, in order."""
        if not 0 < count <= MAX_PAGE:
            raise LocalProtocolError(f"a page of the trail has 1 to {MAX_PAGE} checkpoints")
        return [_row(StoredCheckpoint, row) for row in self._fetch(cursor, self._notes, (log, above, count))]

    def last_checkpoint(self, cursor: Cursor, log: str, size: int = MAX_SIZE) -> StoredCheckpoint | None:
        """Return the stored checkpoint of ``log`` with the greatest size up to ``size``, or None."""
        rows = self._fetch(cursor, self._last_notes, (log, size, 1))
        return _row(StoredCheckpoint, rows[0]) if rows else None

    def export(self, cursor: Cursor, log: str) -> Iterator[bytes]:
        """Yield the log as JSON lines, many at a time: each record's exact bytes, last {"checkpoint": note}.

        The note is the last one stored; there is no such line if there is none. A leaf hash can be recomputed from its
        line without the line feed. Raises NotFound if there is no such log.
        """
        head = self.head(cursor, log)
        if head is None:
            raise NotFound("no such trail log")
        for page in self.pages(cursor, log):
            yield b"".join([row.raw + b"\n" for row in page])
        last = self.last_checkpoint(cursor, log)
        if last is not None:
            yield msgspec.json.encode({"checkpoint": last.note}) + b"\n"

    def _fetch(self, cursor: Cursor, statement: str, parameters: tuple[object, ...]) -> list[Any]:
        try:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
        except self._driver.Error as error:
            raise StorageUnavailable("the trail cannot be read") from error
