"""The index: what is stored, read back. One encrypted SQLite file or PostgreSQL, with the same answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Select, and_, bindparam, exists, false, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement

from strongroom.archive import keys as kept
from strongroom.archive.access import OUTSIDE_SCOPE
from strongroom.archive.constraint import Single, UidList
from strongroom.archive.listing import StudyList, StudyPage
from strongroom.archive.model import Added, Condition, DataKey, Event, Level, NewInstance, SearchRow, StoredObject
from strongroom.archive.oversight import Job
from strongroom.archive.ports import Clock
from strongroom.archive.prefilter import Prefilter
from strongroom.archive.query import Query, Retrieval
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, NotFound, Refused, StorageUnavailable
from strongroom.store.backlog import Backlog
from strongroom.store.condition import condition_of
from strongroom.store.database import Backend, Database, Sql
from strongroom.store.journal import Journal
from strongroom.store.keys import KeyRing
from strongroom.store.listing import list_studies
from strongroom.store.places import PlaceCache
from strongroom.store.provenance import alerts_of
from strongroom.store.registry import Registry
from strongroom.store.schema.tables import DATA_KEY, DIGEST, INSTANCE, SERIES, SMALL_OBJECT, STUDY
from strongroom.store.scope import (
    TABLES,
    ScopeShape,
    is_study_visible,
    joined,
    require_place,
    shape_of,
    values_of,
    visible,
)
from strongroom.store.search import count, search
from strongroom.store.texts import StudyTexts
from strongroom.store.totals import Totals
from strongroom.store.transaction import Shared, TrailAppender, Transaction, WriteStatements
from strongroom.store.turns import Turns
from strongroom.store.underway import UnderWay
from strongroom.types import Scope

FETCH_ROWS = 256
OBJECT_ID_PAGE = 4096
MAX_ROW_ID = 2**63 - 1
_STORED_COLUMNS = (
    INSTANCE.c.object_id,
    INSTANCE.c.sop_class,
    INSTANCE.c.sop_uid,
    SERIES.c.series_uid,
    STUDY.c.study_uid,
    INSTANCE.c.transfer_syntax,
    INSTANCE.c.data_bytes,
    INSTANCE.c.sha256,
    INSTANCE.c.received_us,
    INSTANCE.c.is_small * INSTANCE.c.id,
    DATA_KEY.c.key_id,
    DATA_KEY.c.wrapped,
    DATA_KEY.c.master_id,
)


class Writer(Protocol):
    """Who adds and records, if it is another process (`store.remote`)."""

    def add(self, new: NewInstance, event: Event) -> Added:
        """See ``archive.ports.Index``."""

    def record(self, *events: Event) -> None:
        """See ``archive.ports.Index``."""


class Index:
    """The adapter of ``archive.ports.Index``. Thread-safe."""

    def __init__(
        self, backend: Backend, trail: TrailAppender, keys: KeyRing, clock: Clock, random: Callable[[int], bytes]
    ) -> None:
        shared = Shared(WriteStatements(backend.dialect), PlaceCache(), trail, keys, clock, random)
        self.database = Database(backend, lambda cursor: Transaction(cursor, shared))
        self.backlog: Backlog | None = None
        self.announce: Callable[[Event], None] = lambda _: None
        """Told of every event that `add` or `record` has made durable, and of what else is in the transaction of what
        it is about; for `serve` to set."""
        self.writer: Writer | None = None
        """Adds and records instead of this process, if it is set."""
        self._shared = shared
        self._keys = keys
        self._dialect = backend.dialect
        self.registry = Registry(backend.dialect)
        self._totals = Totals(backend.dialect, self.registry)
        self.texts = StudyTexts(backend.dialect)
        self._digested = Sql(select(func.count()).select_from(DIGEST), self._dialect)
        self._small_object = Sql(
            select(SMALL_OBJECT.c.sealed).where(SMALL_OBJECT.c.id == bindparam("a")), self._dialect
        )
        self._study_key = Sql(
            select(DATA_KEY.c.key_id, DATA_KEY.c.wrapped, DATA_KEY.c.master_id)
            .join_from(DATA_KEY, STUDY)
            .where(STUDY.c.study_uid == bindparam("a"))
            .limit(1),
            backend.dialect,
        )

        older = select(INSTANCE.c.id, INSTANCE.c.object_id).where(INSTANCE.c.id < bindparam("before"))
        self._older_objects = Sql(older.order_by(INSTANCE.c.id.desc()).limit(bindparam("row_limit")), backend.dialect)

        self._newest_row = Sql(select(func.max(INSTANCE.c.id)), backend.dialect)
        undigested = (
            select(INSTANCE.c.id, *_STORED_COLUMNS)
            .select_from(joined(Level.IMAGE).join(DATA_KEY))
            .where(INSTANCE.c.id > bindparam("after"), ~exists().where(DIGEST.c.id == INSTANCE.c.id))
        )
        self._undigested = Sql(undigested.order_by(INSTANCE.c.id).limit(bindparam("row_limit")), backend.dialect)

    def use_journal(self, journal: Journal, turns: Turns) -> None:
        """Write the rows of what a crash left in the journal; `Backlog.start` has more go through it.

        Raises StorageUnavailable, IntegrityError.
        """
        self.backlog = Backlog(self.database, journal, turns, self._shared)
        self.backlog.replay()

    def erase_journal(self) -> bool:
        """Have the journal forget what was ever in it; False if it could not be written."""
        try:
            if self.backlog is not None:
                self.backlog.erase()
        except StorageUnavailable:
            return False
        return True

    def add(self, new: NewInstance, event: Event) -> Added:
        """Make an instance visible, with its event in the trail, as ``ports.Index.add`` says.

        Where the event's principal has a scope, what is outside it is neither touched nor told of.
        """
        if self.writer is not None:
            return self.writer.add(new, event)
        scope = event.principal.scope
        if scope is None and self.backlog is not None and self.backlog.take(new, event):
            self.announce(event)
            return Added.ADDED

        def work(transaction: Transaction) -> Added:
            return transaction.add(new, event) if scope is None else self._add_within(scope, transaction, new, event)

        added = self.database.write(work)
        for each in (event, *alerts_of(new, added, event)) if added else ():
            self.announce(each)
        return added

    def _add_within(self, scope: Scope, transaction: Transaction, new: NewInstance, event: Event) -> Added:
        require_place(transaction.cursor, self._dialect, scope, new)
        try:
            return transaction.add(new, event)
        except Refused:
            if is_study_visible(transaction.cursor, self._dialect, scope, new.stored.study_uid):
                raise
            raise Refused(OUTSIDE_SCOPE) from None

    def restore(self, first: StoredObject, copy: NewInstance, event: Event) -> bool:
        """Let the row of ``first`` point to ``copy``; False if it is not as ``first`` says any more."""

        def work(transaction: Transaction) -> bool:
            if not transaction.restore(first, copy):
                return False
            transaction.record(event)
            return True

        return self.database.write(work)

    def record(self, *events: Event) -> None:
        """Append to the trail; durable on return."""
        if self.writer is not None:
            self.writer.record(*events)
            return

        def work(transaction: Transaction) -> None:
            for event in events:
                transaction.record(event)

        self.database.write(work)
        for event in events:
            self.announce(event)

    def study_key(self, study_uid: str) -> DataKey | None:
        """The data key for new objects of a study, if the study is here."""
        with self.database.read() as cursor:
            row = self._study_key.run(cursor, a=study_uid).fetchone()
        return self._data_key(*row) if row else None

    def find_object(self, sop_uid: str, scope: Scope | None = None) -> StoredObject | None:
        """The stored object of a SOP Instance UID, if it is in scope."""
        statement = _find_sql(self._dialect, shape_of(scope))
        with self.database.read() as cursor:
            row = statement.run(cursor, a=sop_uid, **values_of(scope)).fetchone()
        return self._stored(row) if row else None

    def find_objects(self, retrieval: Retrieval, limit: int, scope: Scope | None = None) -> Sequence[StoredObject]:
        """The objects in scope that a retrieval names, in order of arrival. Raises LimitExceeded beyond ``limit``.

        One whose data key does not open is among them, with an empty key: to open it fails, the others are as they are.
        """
        shape, values = _unique_keys(retrieval)
        statement = _retrieve_sql(self._dialect, shape, shape_of(scope))
        with self.database.read() as cursor:
            rows = statement.run(cursor, **values, **values_of(scope), row_limit=limit + 1).fetchall()
        if len(rows) > limit:
            raise LimitExceeded("max_retrieve_objects", limit)
        return [self._stored(row, self._data_key_or_none) for row in rows]

    def undigested(self, after: int, limit: int) -> list[tuple[int, StoredObject]]:
        """Objects without a row in ``DIGEST``, and their rows, which follow ``after``, in order of arrival.

        What waits in the journal for its row is not among them yet; what does not open has an empty key.
        """
        with self.database.reading() as cursor:
            rows = self._undigested.run(cursor, after=after, row_limit=limit).fetchall()
        return [(row[0], self._stored(row[1:], self._data_key_or_none)) for row in rows]

    def newest_row(self) -> int:
        """The number of the last object that has its row, 0 if there is none."""
        with self.database.reading() as cursor:
            return self._newest_row.run(cursor).fetchone()[0] or 0

    def small_object(self, row: int) -> bytes:
        """The sealed bytes of a small object. Raises NotFound."""
        with self.database.reading() as cursor:  # whoever knows the row has seen it
            found = self._small_object.run(cursor, a=row).fetchone()
        if found is None:
            raise NotFound("the row of a small object is gone")
        return bytes(found[0])

    def search(
        self, query: Query, narrowed: Prefilter, limit: int | None, scope: Scope | None = None
    ) -> Iterator[SearchRow]:
        """Rows in scope of the query's level that meet the conditions, in order of arrival, at most ``limit``.

        With a limit, the first ``query.offset`` of them are left out; without one the caller does that.
        """
        with self.database.read() as cursor:
            rows, make = search(cursor, self._dialect, query, narrowed, limit, scope)
            while some := rows.fetchmany(FETCH_ROWS):
                yield from map(make, some)

    def under_way(self, kind: str, person: str, total: int) -> UnderWay:
        """Something that somebody has begun with so many objects."""
        return UnderWay(self.database, Job(kind, "running", person, total=total, unit="objects"))

    def list_studies(self, wanted: StudyList, scope: Scope | None) -> StudyPage:
        """One page of the list of studies in scope."""
        with self.database.read() as cursor:
            return list_studies(cursor, self._dialect, wanted, scope, self.texts)

    def catch_up(self) -> None:
        """Have what lists of studies search in memory, and nothing of what was deleted; for `serve`, once a second.

        Before anybody has searched it does nothing. Raises StorageUnavailable.
        """
        with self.database.reading() as cursor:
            self.texts.catch_up(cursor)

    def condition(self, sop_uid: str) -> Condition:
        """What is known of an instance beside what it says."""
        with self.database.read() as cursor:
            return condition_of(cursor, self._dialect, sop_uid)

    def count(self, query: Query, narrowed: Prefilter, scope: Scope | None = None) -> int:
        """How many rows in scope meet the conditions, whatever the query's limit and offset."""
        with self.database.read() as cursor:
            if scope is None and not narrowed.conditions:
                return self._totals.of(cursor, query.level)
            return count(cursor, self._dialect, query, narrowed, scope)

    def totals(self) -> dict[Level, int]:
        """How many records there are of each level, without what waits in the journal."""
        with self.database.reading() as cursor:
            return {level: self._totals.of(cursor, level) for level in Level}

    def digested(self) -> int:
        """How many objects have their digests."""
        with self.database.reading() as cursor:
            return int(self._digested.run(cursor).fetchone()[0])

    def object_ids(self) -> Generator[list[bytes], None, None]:
        """Yield the ids of all stored objects, the newest first, a page at a time."""
        before = MAX_ROW_ID
        with self.database.read() as cursor:
            while rows := self._older_objects.run(cursor, before=before, row_limit=OBJECT_ID_PAGE).fetchall():
                yield [bytes(row[1]) for row in rows]
                before = rows[-1][0]

    def set_meta(self, name: str, value: str) -> None:
        """Set a value that goes with the index."""
        self.database.write(lambda transaction: self.registry.set_meta(transaction.cursor, name, value))

    def _stored(
        self, row: Sequence[Any], data_key: Callable[[bytes, bytes, str], DataKey] | None = None
    ) -> StoredObject:
        object_id, sop_class, sop_uid, series, study, syntax, size, sha256, received_us, small_row, *key = row
        return StoredObject(
            object_id=bytes(object_id),
            sop_class=sop_class,
            sop_uid=sop_uid,
            series_uid=series,
            study_uid=study,
            transfer_syntax=syntax,
            data_bytes=size,
            sha256=bytes(sha256),
            key=(data_key or self._data_key)(*key),
            received_us=received_us,
            small_row=small_row,
        )

    def _data_key(self, key_id: bytes, wrapped: bytes, master_id: str) -> DataKey:
        key_id, wrapped = bytes(key_id), bytes(wrapped)
        return DataKey(key_id, self._keys.unwrap(key_id, wrapped, master_id), wrapped, master_id)

    def _data_key_or_none(self, key_id: bytes, wrapped: bytes, master_id: str) -> DataKey:
        try:
            return self._data_key(key_id, wrapped, master_id)
        except (IntegrityError, ConfigError):
            return DataKey(bytes(key_id), b"", bytes(wrapped), master_id)


def _unique_keys(retrieval: Retrieval) -> tuple[tuple[tuple[str, str, int], ...], dict[str, str]]:
    """Column and number of values of every key, and the values by parameter name."""
    shape, values = [], {}
    for key in retrieval.keys:
        column = kept.COLUMN_OF[key.tag]
        wanted = key.match.values if isinstance(key.match, UidList) else (_single(key.match),)
        shape.append((column.level.name, column.name, len(wanted)))
        values.update({f"{column.name}_{number}": value for number, value in enumerate(wanted)})
    return tuple(shape), values


def _single(match: object) -> str:
    assert isinstance(match, Single)
    return match.value


@lru_cache(256)
def _find_sql(dialect: Dialect, scope: ScopeShape | None) -> Sql:
    return Sql(_stored_objects(scope).where(INSTANCE.c.sop_uid == bindparam("a")), dialect)


@lru_cache(256)
def _retrieve_sql(dialect: Dialect, shape: tuple[tuple[str, str, int], ...], scope: ScopeShape | None) -> Sql:
    terms: list[ColumnElement[bool]] = [
        TABLES[Level[level]].c[name].in_([bindparam(f"{name}_{number}") for number in range(count)])
        for level, name, count in shape
    ]
    statement = _stored_objects(scope).where(and_(*terms) if terms else false())
    return Sql(statement.order_by(INSTANCE.c.id).limit(bindparam("row_limit")), dialect)


def _stored_objects(scope: ScopeShape | None) -> Select[Any]:
    found = select(*_STORED_COLUMNS).select_from(joined(Level.IMAGE).join(DATA_KEY))
    return found if scope is None else found.where(visible(scope, Level.IMAGE))
