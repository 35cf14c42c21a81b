"""The quarantine, in the index's own database: what is held, its keys, and who has asked for what.

Nothing here is joined with what is stored, and no query, retrieval or count reads these tables. A held object has a
data key of its own, kept and destroyed like those of studies: see ``strongroom.store.deletion``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from strongroom.archive.model import DataKey, Event, Held
from strongroom.archive.ports import BlobReader, BlobStore
from strongroom.errors import ConfigError, LimitExceeded, NotFound, StorageUnavailable
from strongroom.store.database import Database, Sql
from strongroom.store.deletion import overwriting_pages
from strongroom.store.keys import WRAPPED_BYTES, KeyRing
from strongroom.store.schema.tables import DESTROYED_KEY, HELD, HELD_KEY, HELD_REQUEST
from strongroom.store.transaction import ACTIVE_MASTER, Transaction
from strongroom.types import Principal

LAST_NUMBER: Final = "quarantine_last"
"""``meta`` value: the number that was given last. None is ever given again, so that the trail stays unambiguous."""

_ID = re.compile(r"[Qq]([1-9][0-9]{0,15})")


class What(StrEnum):
    """What can be done with a held object."""

    RELEASE = "release"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """Caps on all that is held together."""

    max_objects: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """What one person has asked for; it takes another one to do it. ``asked_us`` is microseconds since 1970."""

    what: What
    user: str
    reason: str
    asked_us: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A held object as it stands in the index. ``times`` says how often its sender has sent it.

    ``findings`` is empty where entries are listed. ``sender`` has no rights and no scope.
    """

    number: int
    object_id: bytes
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax: str
    data_bytes: int
    sha256: bytes
    received_us: int
    reason: str
    severity: str
    sender: Principal
    times: int
    is_small: bool
    requests: tuple[Request, ...] = ()
    findings: bytes = field(default=b"", repr=False)

    @property
    def id(self) -> str:
        """What people and senders call it."""
        return quarantine_id(self.number)


def quarantine_id(number: int) -> str:
    """The id of a number."""
    return f"Q{number}"


def parse_quarantine_id(text: str) -> int:
    """The number of an id. Raises ConfigError if it is none."""
    found = _ID.fullmatch(text)
    if found is None or not text.isascii():
        raise ConfigError("a quarantine id is Q and a number, for example Q17: `strongroom quarantine list` has them")
    return int(found[1])


_DESCRIBED = tuple(column for column in HELD.c if column.name not in ("findings", "sealed"))


class QuarantineStore:
    """The adapter of ``archive.ports.Quarantine``, and what its operator does. Thread-safe."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        blobs: BlobStore,
        limits: QuarantineLimits,
        announce: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """Hold objects whose files are in ``blobs``, their keys wrapped by ``keys``; ``announce`` is told of events."""
        self._database, self._keys, self._blobs, self._limits = database, keys, blobs, limits
        self._announce = announce
        self._statements = _Statements(database.dialect)

    # -- taking in

    def hold(self, held: Held, event: Event, *alerts: Event) -> str:
        """Keep an object, with its events and the id it got in the trail; durable on return. Returns that id.

        The sealed bytes are the quarantine's then; of the same data set from the same sender it keeps those that came
        first. The detail ``held`` of the event says "new" or "again". Raises LimitExceeded, StorageUnavailable.
        """

        def named(alert: Event, number: int) -> Event:
            return replace(alert, details={**alert.details, "quarantine": quarantine_id(number)})

        def work(transaction: Transaction) -> tuple[int, bytes]:
            number, object_id = self._known(transaction, held, event.principal) or (0, held.object_id)
            is_new = not number
            if is_new:
                number = self._add(transaction, held, event.principal)
            details = {**event.details, "quarantine": quarantine_id(number), "held": "new" if is_new else "again"}
            transaction.record(replace(event, details=details))
            for alert in alerts:
                transaction.record(named(alert, number))
            return number, object_id

        try:
            number, kept = self._database.write(work)
        finally:
            # A server never opens what it holds, so a key that is destroyed later is in no memory of its.
            self._keys.forget(held.key.key_id)
        for each in (event, *alerts):
            self._announce(named(each, number))
        if kept != held.object_id and not held.sealed:
            with suppress(StorageUnavailable):  # a file without a row: the next start removes it
                self._blobs.delete(held.object_id)
        return quarantine_id(number)

    def _known(self, transaction: Transaction, held: Held, sender: Principal) -> tuple[int, bytes] | None:
        """Number and object of the same data set from the same sender, counted once more."""
        sql, cursor = self._statements, transaction.cursor
        row = sql.same.run(
            cursor,
            digest=held.sha256,
            uid=held.sop_uid,
            syntax=held.transfer_syntax,
            aet=sender.aet,
            how=sender.via,
        ).fetchone()
        if row is None:
            return None
        sql.count_again.run(cursor, a=row[0])
        return int(row[0]), bytes(row[1])

    def _add(self, transaction: Transaction, held: Held, sender: Principal) -> int:
        sql, cursor, limits = self._statements, transaction.cursor, self._limits
        objects, size = sql.size.run(cursor).fetchone()
        if objects >= limits.max_objects:
            raise LimitExceeded("max_quarantine_objects", limits.max_objects)
        if int(size or 0) + held.data_bytes > limits.max_bytes:
            raise LimitExceeded("max_quarantine_bytes", limits.max_bytes)
        key = self._under_active_master(transaction, held.key)
        number = int(transaction.meta(LAST_NUMBER) or "0") + 1
        transaction.set_meta(LAST_NUMBER, str(number))
        sql.add.run(
            cursor,
            number=number,
            object_id=held.object_id,
            sop_class=held.sop_class,
            sop_uid=held.sop_uid,
            series_uid=held.series_uid,
            study_uid=held.study_uid,
            transfer_syntax=held.transfer_syntax,
            data_bytes=held.data_bytes,
            sha256=held.sha256,
            received_us=held.received_us,
            reason=held.reason,
            severity=held.severity,
            sender=sender.aet,
            fingerprint=sender.fingerprint,
            user_name=sender.user,
            address=sender.address,
            via=sender.via,
            times=1,
            is_small=int(bool(held.sealed)),
            findings=held.findings,
            sealed=held.sealed,
        )
        sql.add_key.run(cursor, key_id=key.key_id, held=number, wrapped=key.wrapped, master_id=key.master_id)
        return number

    def _under_active_master(self, transaction: Transaction, key: DataKey) -> DataKey:
        """The key as it may be stored: the master key may have been rotated since it was made."""
        active = transaction.meta(ACTIVE_MASTER)
        if key.master_id == active:
            return key
        self._keys.activate(active)
        return self._keys.rewrap(key.key_id, key.wrapped, key.master_id)

    # -- looking

    def entries(self) -> list[Entry]:
        """Everything that is held, the oldest first, without findings."""
        with self._database.read() as cursor:
            rows = self._statements.list_all.run(cursor).fetchall()
            asked = self._statements.all_requests.run(cursor).fetchall()
        requests: dict[int, list[Request]] = {}
        for number, *request in asked:
            requests.setdefault(number, []).append(_request(*request))
        return [_entry(row, tuple(requests.get(row[0], ()))) for row in rows]

    def find(self, number: int) -> Entry:
        """One held object, with its findings. Raises NotFound."""
        with self._database.read() as cursor:
            return self.find_in(cursor, number)

    def find_in(self, cursor: Any, number: int) -> Entry:
        """The same in the caller's transaction. Raises NotFound."""
        row = self._statements.find.run(cursor, a=number).fetchone()
        if row is None:
            raise NotFound(f"nothing is held as {quarantine_id(number)}")
        requests = tuple(_request(*each) for each in self._statements.requests.run(cursor, a=number).fetchall())
        return replace(_entry(row[:-1], requests), findings=bytes(row[-1]))

    def open(self, entry: Entry) -> BlobReader:
        """The bytes of a held object. Raises NotFound, IntegrityError, StorageUnavailable."""
        with self._database.read() as cursor:
            row = self._statements.open.run(cursor, a=entry.number).fetchone()
        if row is None:
            raise NotFound(f"nothing is held as {entry.id}")
        key_id, wrapped, master_id, sealed = row
        key = self._keys.unwrap(bytes(key_id), bytes(wrapped), master_id)
        if entry.is_small:
            return self._blobs.open_small(entry.object_id, key, bytes(sealed))
        return self._blobs.open(entry.object_id, key)

    def size(self) -> tuple[int, int]:
        """How many objects are held, and the bytes of their data sets."""
        with self._database.reading() as cursor:
            count, data_bytes = self._statements.size.run(cursor).fetchone()
        return int(count), int(data_bytes or 0)

    def object_ids(self) -> list[bytes]:
        """The ids of all held objects."""
        with self._database.read() as cursor:
            return [bytes(row[0]) for row in self._statements.object_ids.run(cursor).fetchall()]

    def of_study(self, study_uid: str) -> int:
        """How many objects of a study are held."""
        with self._database.read() as cursor:
            return int(self._statements.of_study.run(cursor, a=study_uid).fetchone()[0])

    # -- what two people do, on the caller's transaction

    def ask(self, transaction: Transaction, number: int, request: Request) -> None:
        """Note a request, in the place of any that was there for the same."""
        cursor = transaction.cursor
        self._statements.drop_request.run(cursor, a=number, b=request.what.value)
        self._statements.add_request.run(
            cursor,
            held=number,
            what=request.what.value,
            user_name=request.user,
            reason=request.reason,
            asked_us=request.asked_us,
        )

    def take_out(self, transaction: Transaction, number: int) -> bytes:
        """Destroy the key of a held object and remove its row, so that nothing opens it; returns the key's id.

        A file of it is still there. Raises NotFound with nothing written.
        """
        sql, cursor = self._statements, transaction.cursor
        row = sql.key.run(cursor, a=number).fetchone()
        if row is None:
            raise NotFound(f"nothing is held as {quarantine_id(number)}")
        with overwriting_pages(cursor, self._database.dialect):
            sql.destroy_key.run(cursor, a=number, nothing=bytes(WRAPPED_BYTES))
            sql.drop_requests.run(cursor, a=number)
            sql.drop.run(cursor, a=number)
        sql.note_destroyed.run(cursor, key_id=bytes(row[0]))
        return bytes(row[0])


class _Statements:
    """Every statement, compiled once for the dialect."""

    def __init__(self, dialect: Dialect) -> None:
        upsert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        row, key, asked = HELD.c, HELD_KEY.c, HELD_REQUEST.c
        this: Any = row.number == bindparam("a")
        of_this: Any = asked.held == bindparam("a")
        request = (asked.what, asked.user_name, asked.reason, asked.asked_us)
        same = (
            row.sha256 == bindparam("digest"),
            row.sop_uid == bindparam("uid"),
            row.transfer_syntax == bindparam("syntax"),
            row.sender == bindparam("aet"),
            row.via == bindparam("how"),
        )
        self.same = Sql(select(row.number, row.object_id).where(*same), dialect)
        self.count_again = Sql(update(HELD).where(this).values(times=row.times + 1), dialect)
        self.size = Sql(select(func.count(), func.sum(row.data_bytes)).select_from(HELD), dialect)
        self.add = Sql(insert(HELD), dialect)
        self.add_key = Sql(insert(HELD_KEY), dialect)
        self.list_all = Sql(select(*_DESCRIBED).order_by(row.number), dialect)
        self.all_requests = Sql(select(asked.held, *request).order_by(asked.asked_us), dialect)
        self.find = Sql(select(*_DESCRIBED, row.findings).where(this), dialect)
        self.requests = Sql(select(*request).where(of_this).order_by(asked.asked_us), dialect)
        self.open = Sql(
            select(key.key_id, key.wrapped, key.master_id, row.sealed)
            .join_from(HELD, HELD_KEY, key.held == row.number)
            .where(this),
            dialect,
        )
        self.object_ids = Sql(select(row.object_id), dialect)
        self.of_study = Sql(select(func.count()).where(row.study_uid == bindparam("a")), dialect)
        self.drop_request = Sql(delete(HELD_REQUEST).where(of_this, asked.what == bindparam("b")), dialect)
        self.add_request = Sql(insert(HELD_REQUEST), dialect)
        self.key = Sql(select(key.key_id).where(key.held == bindparam("a")), dialect)
        self.destroy_key = Sql(
            update(HELD_KEY).where(key.held == bindparam("a")).values(held=null(), wrapped=bindparam("nothing")),
            dialect,
        )
        self.drop_requests = Sql(delete(HELD_REQUEST).where(of_this), dialect)
        self.drop = Sql(delete(HELD).where(this), dialect)
        self.note_destroyed = Sql(upsert(DESTROYED_KEY).on_conflict_do_nothing(), dialect)


def _entry(row: Sequence[Any], requests: tuple[Request, ...]) -> Entry:
    number, object_id, sop_class, sop_uid, series, study, syntax, size, digest, received_us, *more = row
    reason, severity, sender, fingerprint, user, address, via, times, is_small = more
    return Entry(
        number=int(number),
        object_id=bytes(object_id),
        sop_class=sop_class,
        sop_uid=sop_uid,
        series_uid=series,
        study_uid=study,
        transfer_syntax=syntax,
        data_bytes=int(size),
        sha256=bytes(digest),
        received_us=int(received_us),
        reason=reason,
        severity=severity,
        sender=Principal(sender, fingerprint, user, address, via=via),
        times=int(times),
        is_small=bool(is_small),
        requests=requests,
    )


def _request(what: str, user: str, reason: str, asked_us: int) -> Request:
    return Request(What(what), user, reason, int(asked_us))
