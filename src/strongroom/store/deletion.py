"""Deleting a study from the index: its rows, and above all its data keys, leave no copy behind.

An object without its key is noise, wherever copies of it are. So what has to be thorough here is the destruction of a
few bytes: the wrapped data keys. SQLite overwrites what is deleted if told so, but not what it leaves behind when it
moves rows to another page, and deleting rows is what makes it move their neighbours. So a row with a wrapped key never
moves: rows are only appended, and a destroyed key is overwritten in its place. (With rows that were deleted, 3 of 2,900
destroyed keys were still found in pages of the file.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, exists, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from strongroom.archive.scopes import whole_studies
from strongroom.errors import Denied, NotFound
from strongroom.store.database import Backend, Sql
from strongroom.store.keys import WRAPPED_BYTES
from strongroom.store.registry import Registry
from strongroom.store.schema.tables import (
    DATA_KEY,
    DESTROYED_KEY,
    DIGEST,
    FLAGGED,
    INSTANCE,
    PATIENT,
    SERIES,
    SERIES_SOURCE,
    SIGNATURE,
    SMALL_OBJECT,
    STUDY,
)
from strongroom.store.scope import is_study_visible
from strongroom.store.texts import note_gone
from strongroom.store.transaction import Transaction
from strongroom.types import Scope

CLEAR_WAIT_S = 30.0
"""How long readers of the running server may keep old pages in the write-ahead log before we give up."""
_CLEAR_TRY_MS = 50
_CLEAR_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class DeletedObject:
    """An object whose row is gone. ``in_file`` says that its sealed bytes are a file, which is still there."""

    object_id: bytes
    sop_uid: str
    sha256: bytes
    data_bytes: int
    in_file: bool


@dataclass(frozen=True, slots=True)
class DeletedStudy:
    """What a deletion took out of the index."""

    objects: tuple[DeletedObject, ...]
    key_ids: tuple[bytes, ...]


class StudyDeletion:
    """The statements of a deletion, on the caller's transaction."""

    def __init__(self, dialect: Dialect, registry: Registry) -> None:
        insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        study: BindParameter[Any] = bindparam("a")
        series = select(SERIES.c.id).where(SERIES.c.study == study)
        instances = select(INSTANCE.c.id).where(INSTANCE.c.series.in_(series))
        columns = (INSTANCE.c.object_id, INSTANCE.c.sop_uid, INSTANCE.c.sha256, INSTANCE.c.data_bytes)
        self._registry = registry
        self._dialect = dialect
        self._study = Sql(select(STUDY.c.id, STUDY.c.patient).where(STUDY.c.study_uid == study), dialect)
        self._objects = Sql(select(*columns, INSTANCE.c.is_small).where(INSTANCE.c.series.in_(series)), dialect)
        self._keys = Sql(select(DATA_KEY.c.key_id).where(DATA_KEY.c.study == study), dialect)
        # Whatever refers to a row goes before it.
        self._deletions = tuple(
            Sql(statement, dialect)
            for statement in (
                *[delete(each).where(each.c.id.in_(instances)) for each in (SMALL_OBJECT, DIGEST, FLAGGED, SIGNATURE)],
                delete(SERIES_SOURCE).where(SERIES_SOURCE.c.series.in_(series)),
                delete(INSTANCE).where(INSTANCE.c.series.in_(series)),
                delete(SERIES).where(SERIES.c.study == study),
                update(DATA_KEY).where(DATA_KEY.c.study == study).values(study=null(), wrapped=bindparam("nothing")),
                delete(STUDY).where(STUDY.c.id == study),
            )
        )
        lone = PATIENT.c.id == bindparam("a")
        self._patient = Sql(delete(PATIENT).where(lone, ~exists().where(STUDY.c.patient == PATIENT.c.id)), dialect)
        self._destroyed = Sql(insert(DESTROYED_KEY).on_conflict_do_nothing(), dialect)

    def run(self, transaction: Transaction, study_uid: str, scope: Scope | None = None) -> DeletedStudy:
        """Take a study, and its patient if it was the last one, out of the index; its keys can never come back.

        Raises NotFound, no such study or none in scope, or Denied, not all of it may be in scope, with nothing written.
        """
        cursor = transaction.cursor
        row = self._study.run(cursor, a=study_uid).fetchone()
        if row is None or (scope and not is_study_visible(cursor, self._dialect, scope, study_uid)):
            raise NotFound(f"no study {study_uid}")
        if scope and not is_study_visible(cursor, self._dialect, whole_studies(scope), study_uid):
            raise Denied("scope-of-parts-of-studies")
        study, patient = row
        transaction.begin_generation()
        objects = tuple(
            DeletedObject(bytes(object_id), sop_uid, bytes(digest), size, not is_small)
            for object_id, sop_uid, digest, size, is_small in self._objects.run(cursor, a=study).fetchall()
        )
        key_ids = tuple(bytes(row[0]) for row in self._keys.run(cursor, a=study).fetchall())
        with overwriting_pages(cursor, self._dialect):
            for deletion in self._deletions:
                deletion.run(cursor, a=study, nothing=bytes(WRAPPED_BYTES))
            self._patient.run(cursor, a=patient)
        for key_id in key_ids:
            self._destroyed.run(cursor, key_id=key_id)
        note_gone(cursor, self._registry, study)
        return DeletedStudy(objects, key_ids)


@contextmanager
def overwriting_pages(cursor: Any, dialect: Dialect) -> Iterator[None]:
    """Have SQLite overwrite freed pages as well, and not only what it deletes within a page."""
    if dialect.name != "sqlite":
        yield
        return
    cursor.execute("PRAGMA secure_delete = ON").fetchone()
    yield
    cursor.execute("PRAGMA secure_delete = FAST").fetchone()


def clear_log(backend: Backend, wait_s: float = CLEAR_WAIT_S) -> bool:
    """Empty SQLite's write-ahead log, where pages are kept as they were before; False if readers kept it busy.

    On PostgreSQL nothing can be done from here: it keeps old rows in its files and its log until it reuses them, and
    the answer is False.
    """
    if not backend.is_sqlite:
        return False
    connection = backend.connect()
    try:
        cursor = connection.cursor()
        # While it waits for readers SQLite holds up writers: rather many short waits than a long one.
        cursor.execute(f"PRAGMA busy_timeout = {_CLEAR_TRY_MS}")
        deadline = time.monotonic() + wait_s
        while True:
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_CLEAR_PAUSE_S)
    except backend.error:
        return False
    finally:
        connection.close()
