"""What was found of the digital signatures of stored objects: one row an object, beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from strongroom.archive.model import Event
from strongroom.store.database import Database, Sql
from strongroom.store.schema.tables import INSTANCE, SIGNATURE
from strongroom.store.transaction import Transaction

PAGE_ROWS = 256


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The last check of an object. ``report`` is JSON; ``validity`` and ``trust`` are the words in it."""

    validity: str
    trust: str
    checked_us: int
    report: bytes


class SignatureReports:
    """Reports by object. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.backend.dialect
        insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        columns = ("validity", "trust", "checked_us", "report")
        row = select(INSTANCE.c.id, *[bindparam(name) for name in columns]).where(
            INSTANCE.c.object_id == bindparam("object_id")
        )
        statement = insert(SIGNATURE).from_select(["id", *columns], row)
        self._keep = Sql(
            statement.on_conflict_do_update(
                index_elements=["id"], set_={name: literal_column(f"excluded.{name}") for name in columns}
            ),
            dialect,
        )
        self._of = Sql(
            select(*[SIGNATURE.c[name] for name in columns])
            .join_from(SIGNATURE, INSTANCE)
            .where(INSTANCE.c.sop_uid == bindparam("sop_uid")),
            dialect,
        )
        self._page = Sql(
            select(SIGNATURE.c.id, INSTANCE.c.sop_uid, *[SIGNATURE.c[name] for name in columns])
            .join_from(SIGNATURE, INSTANCE)
            .where(SIGNATURE.c.id > bindparam("after"))
            .order_by(SIGNATURE.c.id)
            .limit(bindparam("row_limit")),
            dialect,
        )

    def keep(self, object_id: bytes, kept: KeptReport, *events: Event) -> None:
        """Put a report in the place of the last one of that object, with its events; durable on return.

        An object that is gone by now has none. Raises StorageUnavailable.
        """

        def work(transaction: Transaction) -> None:
            self._keep.run(
                transaction.cursor,
                object_id=object_id,
                validity=kept.validity,
                trust=kept.trust,
                checked_us=kept.checked_us,
                report=kept.report,
            )
            for event in events:
                transaction.record(event)

        self._database.write(work)

    def of(self, sop_uid: str) -> KeptReport | None:
        """The last report of an object; None if it has none, as objects without signatures do."""
        with self._database.read() as cursor:
            row = self._of.run(cursor, sop_uid=sop_uid).fetchone()
        return KeptReport(row[0], row[1], row[2], bytes(row[3])) if row else None

    def all(self) -> Iterator[tuple[str, KeptReport]]:
        """Every report, with the SOP Instance UID of its object, in order of arrival."""
        after, rows = 0, [()]
        while rows:
            with self._database.read() as cursor:
                rows = self._page.run(cursor, after=after, row_limit=PAGE_ROWS).fetchall()
            for row_id, sop_uid, validity, trust, checked_us, report in rows:
                after = row_id
                yield sop_uid, KeptReport(validity, trust, checked_us, bytes(report))
