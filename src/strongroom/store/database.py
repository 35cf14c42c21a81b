"""Connections and transactions: one encrypted SQLite file, or PostgreSQL, behind the same few calls.

Writers use group commit (`groups`), so that concurrent commits share one sync. Statements are SQLAlchemy Core, compiled
once per dialect and run on the driver's own cursor: executing through SQLAlchemy costs more than the statement itself
(measured: 40 against 6 us).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy
from sqlalchemy import bindparam
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.expression import ClauseElement, Insert

from strongroom.errors import ConfigError, StorageUnavailable, StrongroomError
from strongroom.store.groups import GroupCommit, Job

T = TypeVar("T")
MAX_IDLE_READERS = 8
BUSY_TIMEOUT_MS = 30_000
DOOR_WAIT_S = 30.0
"""The longest wait for this process's other writers, each of which may wait for another process as long."""
TAKE_WRITE_LOCK = "SELECT pg_advisory_xact_lock(8319400234579358317)"
"""What BEGIN IMMEDIATE is on SQLite: one writer at a time, of all processes, so that no two make the same study."""

WAL_PAGES = 8192
"""4 MiB of write-ahead log before it is copied back. A larger one writes fresh pages of the page cache for longer,
which costs each sync 50 us more than copying back more often does."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One database engine: how to connect with the driver itself, and what SQLAlchemy needs to compile for it.

    ``changes`` counts, by a cursor, what its connection has written so far, and asks nobody. ``wal`` is the write-ahead
    log that has to be synced after a commit; None where the commit itself is durable.
    """

    dialect: Dialect
    connect: Callable[[], Any]
    error: type[Exception]
    engine: Engine
    changes: Callable[[Any], int]
    wal: Path | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether transactions are begun by hand, with the write lock taken first."""
        return self.dialect.name == "sqlite"


_HOLDS_VALUES = frozenset({"DataError", "IntegrityError"})
"""Errors (PEP 249) whose words may repeat what was to be stored."""
_PASSWORD = re.compile(r"(password\s*=\s*)\S+|(://[^\s:/@]*:)[^\s/]*(?=@)", re.IGNORECASE)


def said_by(error: BaseException) -> str:
    """What a driver's error says, in one line without a password and without a patient's values."""
    error = getattr(error, "orig", None) or error
    name = type(error).__name__
    if any(kind.__name__ in _HOLDS_VALUES for kind in type(error).__mro__):
        return name
    lines = str(error).strip().splitlines()
    line = _PASSWORD.sub(lambda found: (found[1] or found[2]) + "***", lines[0])[:300] if lines else ""
    return f"{line} ({name})" if line else name


class Sql:
    """One statement compiled for one dialect: ``text`` and, in order, the names of the parameters it takes."""

    __slots__ = ("_constants", "names", "text")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        options: dict[str, Any] = {}
        if isinstance(statement, Insert):  # row ids are the database's to give
            options["column_keys"] = [column.name for column in statement.table.columns if column.name != "id"]
        compiled: Any = statement.compile(dialect=dialect, **options)
        self.text = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        # Values that stand in the statement itself, which SQLAlchemy turns into parameters as well.
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def run(self, cursor: Any, **values: Any) -> Any:
        """Execute with named values; returns the cursor."""
        if self._constants:
            values = self._constants | values
        cursor.execute(self.text, tuple([values[name] for name in self.names]))
        return cursor


_ROWS_AT_ONCE = (32, 8, 1)


class ManyRows:
    """An INSERT of many rows: one statement for 32 at a time, since each statement is a chance to lose the
    interpreter lock to whoever waits for it."""

    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        sql = Sql(statement.values({name: bindparam(f"v_{name}") for name in columns}), dialect)
        ordered = [f"v_{name}" for name in columns]
        if sorted(sql.names) != sorted(ordered):
            raise ConfigError("an INSERT takes other columns than were named")
        self._order = tuple(ordered.index(name) for name in sql.names)
        row = "(" + ", ".join("?" * len(ordered)) + ")"
        self._texts = {count: sql.text + f", {row}" * (count - 1) for count in _ROWS_AT_ONCE}

    def run(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert all rows, their values in the order of the columns."""
        order, at = self._order, 0
        for count in _ROWS_AT_ONCE:
            while len(rows) - at >= count:
                some = rows[at : at + count]
                cursor.execute(self._texts[count], [row[number] for row in some for number in order])
                at += count


class UnitOfWork(Protocol):
    """What the jobs of one transaction work on."""

    @property
    def gathered(self) -> int:
        """How much waits for `flush`."""

    def flush(self) -> None:
        """Write what was gathered; called once, before the commit."""

    def rolled_back(self) -> None:
        """Forget everything learnt in this transaction."""


class _HasWritten(Exception):  # not an error: why a transaction is begun again without a job
    """A job has raised after it wrote something."""

    def __init__(self, job: Job[Callable[[Any], Any]]) -> None:
        super().__init__()
        self.job = job


class Beforehand(Protocol):
    """What has to be written before anything else is: see `backlog`. Called by whoever may write, and one at a time."""

    def begin(self) -> None:
        """Wait until this process may write. Raises StorageUnavailable."""

    def write(self, unit: Any) -> int:
        """Within a transaction, write what waits; returns a mark for it."""

    def written(self, mark: int) -> None:
        """The transaction is committed."""

    def end(self) -> None:
        """Nothing more is to be written for now."""

    def settle(self) -> None:
        """Return when everything that was acknowledged can be read, whichever process acknowledged it."""

    def close(self) -> None:
        """Write what waits, and end."""


class Database:
    """Connections to one index, and its writer. Thread-safe."""

    def __init__(self, backend: Backend, unit_of_work: Callable[[Any], UnitOfWork]) -> None:
        self.backend = backend
        self.dialect = backend.dialect
        self.beforehand: Beforehand | None = None
        self._door = threading.Lock()
        """Held by whoever decides what is written: one transaction, or one frame of the journal."""
        self._unit_of_work = unit_of_work
        self._commits: GroupCommit[Callable[[Any], Any]] = GroupCommit(self._run_group)
        self._writer_lock = threading.Lock()
        self._writing_thread = 0
        self._writer: Any = None
        self._wal_fd = -1
        self._failed = False
        self._is_committing = False
        self._readers: deque[Any] = deque()

    @contextmanager
    def read(self) -> Iterator[Any]:
        """A cursor in a read transaction. Raises StorageUnavailable when the database fails."""
        if self.beforehand is not None:
            self.beforehand.settle()
        with self.reading() as cursor:
            yield cursor

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """The same, without a wait for what lies in the journal: objects, their counts and their trail records."""
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self.connect()
        keep = False
        try:
            cursor = connection.cursor()
            if self.backend.is_sqlite:
                cursor.execute("BEGIN")
            yield cursor
            keep = True
        except self.backend.error as error:
            raise StorageUnavailable(f"the index cannot be read: {said_by(error)}") from error
        except (StrongroomError, GeneratorExit):
            keep = True
            raise
        finally:
            if keep and _rolled_back(connection) and len(self._readers) < MAX_IDLE_READERS:
                self._readers.append(connection)
            else:
                _close(connection)

    def write(self, work: Callable[[Any], T]) -> T:
        """Run ``work(unit)`` in a transaction that is durable when this returns, together with whatever else waits.

        ``work`` may run more than once, so it has no effect besides the transaction. Of one that raises nothing is
        written. Raises StorageUnavailable when the transaction cannot be committed.
        """
        return cast(T, self._commits.do(work))

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold the door. Raises StorageUnavailable if others hold it for too long."""
        if not self._door.acquire(timeout=DOOR_WAIT_S):
            raise StorageUnavailable("the index is being written by others for too long")
        try:
            yield
        finally:
            self._door.release()

    def _run_group(self, batch: Sequence[Job[Callable[[Any], Any]]]) -> None:
        try:
            with self.deciding():
                if self.beforehand is not None:
                    self.beforehand.begin()
                try:
                    with self._writing():
                        self._run(batch)
                finally:
                    if self.beforehand is not None:
                        self.beforehand.end()
        except BaseException as error:
            for job in batch:
                if not job.done:
                    job.error, job.done = error, True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._writer_lock:
            self._writing_thread = threading.get_ident()
            try:
                yield
            finally:
                self._writing_thread = 0

    def is_writing_here(self) -> bool:
        """Whether this thread is in a transaction."""
        return self._writing_thread == threading.get_ident()

    def write_alone(self, work: Callable[[Any], None]) -> None:
        """Run ``work(unit)`` in a durable transaction of its own, for one who holds the door. Raises its errors."""
        job: Job[Callable[[Any], Any]] = Job(work)
        with self._writing():
            self._run([job])
        if job.error is not None:
            raise job.error

    def write_waiting(self, *, durable: bool = False) -> None:
        """Write what waits beforehand, and nothing else; ``durable`` also syncs the log. Raises StorageUnavailable."""
        with self._writing():
            try:
                self._transact([], durable=durable)
            except BaseException as error:
                named = self._named(error)
                if isinstance(named, StorageUnavailable):
                    raise named from error
                self._failed = True
                raise

    def sync(self) -> None:
        """Return when what was committed is on disk. Raises StorageUnavailable, also for every write after it.

        Within the writer lock: what queues up meanwhile becomes one transaction, and shares the next sync.
        """
        if self.backend.wal is None:
            return
        try:
            os.fdatasync(self._wal())
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            self.fail()
            raise StorageUnavailable(f"the index cannot be made durable: {name}") from error

    def fail(self) -> None:
        """Write no more: what reached the disk is unknown to everybody, and nothing may be promised on top of it."""
        self._failed = True

    @property
    def is_sound(self) -> bool:
        """Whether it is known what reached the disk."""
        return not self._failed

    def require_sound(self) -> None:
        """Raise StorageUnavailable if it is unknown what reached the disk."""
        if self._failed:
            raise StorageUnavailable("the index could not be made durable: restart the archive")

    def _wal(self) -> int:
        """The log's file descriptor. The log exists as long as the writer's connection does."""
        if self._wal_fd < 0:
            assert self.backend.wal is not None
            self._wal_fd = os.open(self.backend.wal, os.O_RDONLY | os.O_CLOEXEC)
        return self._wal_fd

    def _run(self, batch: Sequence[Job[Callable[[Any], Any]]]) -> None:
        try:
            self._transact(batch)
        except _HasWritten as undone:  # nothing is left of it; its neighbours did nothing wrong
            undone.job.done = True
            if others := [job for job in batch if job is not undone.job]:
                self._run(others)
            return
        except BaseException as error:
            if len(batch) > 1 and not self._is_committing:  # one job's failure must not fail its neighbours
                for job in batch:
                    self._run([job])
                return
            # What a commit that failed has left is not known: to run its jobs again could find their own rows.
            named = self._named(error)
            for job in batch:
                job.error = job.error or named
        for job in batch:
            job.done = True

    def _transact(self, batch: Sequence[Job[Callable[[Any], Any]]], *, durable: bool = True) -> None:
        self._is_committing = False
        self.require_sound()
        if self._writer is None:
            self._writer = self.connect()
        connection = self._writer
        cursor = connection.cursor()
        unit = self._unit_of_work(cursor)
        mark = 0
        try:
            cursor.execute("BEGIN IMMEDIATE" if self.backend.is_sqlite else TAKE_WRITE_LOCK)
            if self.beforehand is not None:
                mark = self.beforehand.write(unit)
            for job in batch:
                self._do(job, unit, cursor)
            unit.flush()
            self._is_committing = True
            connection.commit()
        except BaseException:
            unit.rolled_back()
            if not _rolled_back(connection):
                self._writer = None
                _close(connection)
                self._forget_wal()
            raise
        if durable:
            self.sync()
        if self.beforehand is not None:
            self.beforehand.written(mark)

    def _do(self, job: Job[Callable[[Any], Any]], unit: UnitOfWork, cursor: Any) -> None:
        """Do one job of a transaction. Most that raise have written nothing by then, and cost their neighbours nothing:
        a savepoint for each would be two more statements in every transaction, this is two counters."""
        changes, job.error = self.backend.changes, None
        before = changes(cursor), unit.gathered
        try:
            job.result = job.work(unit)
        except StrongroomError as error:
            job.error = error
            if (changes(cursor), unit.gathered) != before:
                raise _HasWritten(job) from error

    def connect(self) -> Any:
        """A connection of the caller's own. Raises StorageUnavailable."""
        try:
            return self.backend.connect()
        except self.backend.error as error:
            raise StorageUnavailable(f"the index cannot be opened: {said_by(error)}") from error

    def _named(self, error: BaseException) -> BaseException:
        if not isinstance(error, self.backend.error):
            return error
        named = StorageUnavailable(f"the index cannot be written: {said_by(error)}")
        named.__cause__ = error
        return named

    def close(self) -> None:
        """Close every connection. No call may be under way."""
        if self.beforehand is not None:
            self.beforehand.close()
        while self._readers:
            _close(self._readers.pop())
        if self._writer is not None:
            _close(self._writer)
            self._writer = None
        self._forget_wal()

    def _forget_wal(self) -> None:
        """The last connection to close removes the log; the next one begins another file of the same name."""
        if self._wal_fd >= 0:
            os.close(self._wal_fd)
            self._wal_fd = -1


def _rolled_back(connection: Any) -> bool:
    try:
        connection.rollback()
    except Exception:
        return False
    return not getattr(connection, "closed", False)


def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):  # a connection that cannot even be closed is gone
        connection.close()


def open_sqlcipher(path: Path, key: bytes, *, cache_mib: int) -> Backend:
    """An SQLCipher file under a 48-byte raw key (32 key, 16 salt): no passphrase to stretch, so opening is instant."""
    import sqlcipher3.dbapi2 as driver

    if len(key) != 48:
        raise ConfigError("the index key has the wrong size")

    def connect() -> Any:
        connection = driver.connect(str(path), isolation_level=None, check_same_thread=False, cached_statements=256)
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        # SHA-256 has processor instructions that SHA-512, the default, lacks: half the time per page written.
        cursor.execute("PRAGMA cipher_hmac_algorithm = HMAC_SHA256")
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        # MEMORY: no temporary file ever holds index pages. NORMAL: syncs whenever the log is copied back, and leaves
        # the sync after each commit to Database, which shares it; FULL would hold the write lock meanwhile.
        cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        # What leaves a page is overwritten: else a wrapped key would stay in it when its row moves to another.
        cursor.execute("PRAGMA secure_delete = FAST").fetchone()
        cursor.execute(f"PRAGMA cache_size = -{cache_mib * 1024}")
        return connection

    engine = sqlalchemy.create_engine(
        "sqlite+pysqlite://", module=driver, creator=connect, poolclass=NullPool, hide_parameters=True
    )
    wal = path.with_name(path.name + "-wal")
    return Backend(engine.dialect, connect, driver.Error, engine, lambda cursor: cursor.connection.total_changes, wal)


def open_in_memory() -> Any:
    """A connection to a database that is in no file and that nobody else has; what is deleted in it is overwritten.

    Whichever thread may use it, one at a time.
    """
    import sqlcipher3.dbapi2 as driver

    connection = driver.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.cursor().execute("PRAGMA secure_delete = ON").fetchone()
    return connection
