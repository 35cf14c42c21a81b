"""The whole index as it is at one moment, in an SQLCipher file of its own, and back into a database.

Whatever database an archive has, a snapshot is one kind of file under the archive's own index key: nothing of a
PostgreSQL is on a backup medium in the clear, and a snapshot can be tried where there is no server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from strongroom.errors import StorageUnavailable
from strongroom.store.database import Backend, Sql, open_sqlcipher, said_by
from strongroom.store.examine import LEAST_ID
from strongroom.store.schema.migrate import upgrade
from strongroom.store.schema.tables import DATA_KEY, HELD, HELD_KEY, INSTANCE, PATIENT, SERIES, STUDY

CACHE_MIB: Final = 16
PAGE_ROWS: Final = 1000
_ROWS_AT_ONCE: Final = 200
"""Copied together: a row may hold a small object."""
_SCHEMA_VERSION: Final = "alembic_version"


class Content(NamedTuple):
    """What a snapshot says of one instance."""

    row: int
    sop_uid: str
    sha256: bytes
    data_bytes: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How much an index holds. ``files`` are objects that are files of their own, held ones among them."""

    patients: int
    studies: int
    series: int
    instances: int
    data_bytes: int
    held: int
    files: int


def open_snapshot(path: Path, key: bytes) -> Backend:
    """A snapshot as a database, to be read. ``key`` is the archive's index key, 48 bytes."""
    return open_sqlcipher(path, key, cache_mib=CACHE_MIB)


def write_snapshot(source: Backend, path: Path, key: bytes) -> None:
    """Write what ``source`` holds at this moment to the new file ``path``, while others go on writing to it.

    The caller has what waits in the journal written first, and makes the file durable. Raises StorageUnavailable.
    """
    target = open_snapshot(path, key)
    try:
        if source.is_sqlite:
            _copy_pages(source, target)
        else:
            upgrade(target.engine)
            _copy_rows(source, target)
    except (source.error, target.error, SQLAlchemyError) as error:
        raise StorageUnavailable(f"the index cannot be copied: {said_by(error)}") from error


def load_snapshot(path: Path, key: bytes, target: Backend) -> None:
    """Put a snapshot into an empty database of a server, all of it or nothing. Raises StorageUnavailable."""
    source = open_snapshot(path, key)
    try:
        upgrade(source.engine)
        upgrade(target.engine)
        _copy_rows(source, target)
    except (source.error, target.error, SQLAlchemyError) as error:
        raise StorageUnavailable(f"the index cannot be copied: {said_by(error)}") from error


def _copy_pages(source: Backend, target: Backend) -> None:
    ours, copy = source.connect(), target.connect()
    try:
        ours.backup(copy)  # in one step: a writer that came in between would have it begin again
    finally:
        copy.close()
        ours.close()


def _copy_rows(source: Backend, target: Backend) -> None:
    known = sqlalchemy.MetaData()
    known.reflect(target.engine)
    tables = [table for table in known.sorted_tables if table.name != _SCHEMA_VERSION]
    with _reading(source) as ours, target.engine.begin() as copy:
        for table in reversed(tables):
            copy.execute(table.delete())
        for table in tables:
            rows = ours.execute(select(table).order_by(*table.primary_key), execution_options=_STREAMED)
            for some in rows.mappings().partitions(_ROWS_AT_ONCE):
                copy.execute(table.insert(), [dict(row) for row in some])
        if not target.is_sqlite:
            _go_on_counting(copy, tables)


_STREAMED: Final = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}


def _reading(backend: Backend) -> Connection:
    """A connection that sees one state of the database from its first statement on."""
    connection = backend.engine.connect()
    if not backend.is_sqlite:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _go_on_counting(copy: Connection, tables: list[sqlalchemy.Table]) -> None:
    """Have PostgreSQL give new rows numbers behind those that were copied."""
    for table in tables:
        for column in table.primary_key:
            name = copy.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
            last = copy.scalar(select(func.max(column))) if name else None
            if last is not None:
                copy.execute(select(func.setval(name, last)))


class Snapshot:
    """What a snapshot, or an index in use, says of itself. Raises StorageUnavailable."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        instances = select(INSTANCE.c.id, INSTANCE.c.object_id).where(INSTANCE.c.is_small == 0)
        self._instances = self._paged(instances, INSTANCE.c.id)
        held = select(HELD.c.number, HELD.c.object_id).where(HELD.c.is_small == 0)
        self._held = self._paged(held, HELD.c.number)
        contents = select(INSTANCE.c.id, INSTANCE.c.sop_uid, INSTANCE.c.sha256, INSTANCE.c.data_bytes)
        self._contents = self._paged(contents, INSTANCE.c.id)

    def _paged(self, statement: Any, number: Any) -> Sql:
        paged = statement.where(number > bindparam("after")).order_by(number).limit(PAGE_ROWS)
        return Sql(paged, self._backend.dialect)

    def files(self) -> Iterator[bytes]:
        """Yield the id of every object that is a file of its own, stored and held, in order of arrival."""
        for statement in (self._instances, self._held):
            for row in self._rows(statement):
                yield bytes(row[1])

    def contents(self) -> Iterator[Content]:
        """Yield every instance, in order of arrival."""
        for row, sop_uid, sha256, size in self._rows(self._contents):
            yield Content(row, sop_uid, bytes(sha256), size)

    def _rows(self, statement: Sql) -> Iterator[Any]:
        connection = self._backend.connect()
        try:
            cursor, after = connection.cursor(), LEAST_ID
            while rows := statement.run(cursor, after=after).fetchall():
                yield from rows
                after = rows[-1][0]
        except self._backend.error as error:
            raise StorageUnavailable(f"the snapshot cannot be read: {said_by(error)}") from error
        finally:
            connection.close()

    def counts(self) -> Counts:
        """How much there is."""
        files = select(func.count()).where(INSTANCE.c.is_small == 0)
        held_files = select(func.count()).where(HELD.c.is_small == 0)
        size = select(func.coalesce(func.sum(INSTANCE.c.data_bytes), 0))
        rows = [select(func.count()).select_from(table) for table in (PATIENT, STUDY, SERIES, INSTANCE)]
        held = select(func.count()).select_from(HELD)
        *levels, data_bytes, held_count, filed, held_filed = (
            int(each[0][0]) for each in self._all(*rows, size, held, files, held_files)
        )
        patients, studies, series, instances = levels
        return Counts(patients, studies, series, instances, data_bytes, held_count, filed + held_filed)

    def masters(self) -> set[str]:
        """The master keys that data keys are wrapped under."""
        keys = [select(each.c.master_id).distinct() for each in (DATA_KEY, HELD_KEY)]
        in_use = (keys[0].where(DATA_KEY.c.study.is_not(None)), keys[1].where(HELD_KEY.c.held.is_not(None)))
        return {row[0] for rows in self._all(*in_use) for row in rows}

    def _all(self, *statements: Any) -> list[Any]:
        connection = self._backend.connect()
        try:
            cursor = connection.cursor()
            return [Sql(each, self._backend.dialect).run(cursor).fetchall() for each in statements]
        except self._backend.error as error:
            raise StorageUnavailable(f"the snapshot cannot be read: {said_by(error)}") from error
        finally:
            connection.close()
