"""What is computed of objects after they were stored: one row each, and who else shows the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from strongroom.archive.integrity import Digests
from strongroom.archive.model import Event, Flag
from strongroom.store.database import Database, Sql
from strongroom.store.provenance import Provenance
from strongroom.store.schema.tables import DIGEST, INSTANCE, PATIENT, SERIES, STUDY
from strongroom.store.transaction import Transaction

COPIED = Flag("pixels-of-another-patient", "high")
"""An instance whose picture stands under another patient as well: a mix-up, or a copy that was passed off."""


@dataclass(frozen=True, slots=True)
class Computed:
    """The digests of one object, and the events that say so: ``copied`` only if another patient has its picture; it
    gets the UIDs of that one."""

    row: int
    object_id: bytes
    digests: Digests
    is_blank: bool
    event: Event
    copied: Event
    computed_us: int


class DigestTable:
    """Digests by row of the index. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.backend.dialect
        self._provenance = Provenance(dialect)
        upsert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        names = ("canonical", "clinical", "pixels", "is_blank")
        here = (INSTANCE.c.id == bindparam("row"), INSTANCE.c.object_id == bindparam("object_id"))
        row = select(INSTANCE.c.id, *[bindparam(name) for name in names]).where(*here)
        self._keep = Sql(
            upsert(DIGEST).from_select(["id", *names], row).on_conflict_do_nothing().returning(DIGEST.c.id), dialect
        )
        placed = select(INSTANCE.c.sop_uid, STUDY.c.study_uid).join_from(INSTANCE, SERIES).join(STUDY)
        patient = select(STUDY.c.patient).join_from(INSTANCE, SERIES).join(STUDY).where(INSTANCE.c.id == bindparam("a"))
        self._twin = Sql(
            placed.join(DIGEST, DIGEST.c.id == INSTANCE.c.id)
            .join(PATIENT, PATIENT.c.id == STUDY.c.patient)
            .where(DIGEST.c.pixels == bindparam("pixels"), STUDY.c.patient != patient.scalar_subquery())
            .order_by(DIGEST.c.id)
            .limit(1),
            dialect,
        )

    def keep(self, computed: Sequence[Computed]) -> list[Event]:
        """Keep what was computed, with its events; returns the alerts: of pictures under another patient as well.

        Of an object that is gone, or has its digests already, nothing is kept. Raises StorageUnavailable.
        """

        def work(transaction: Transaction) -> list[Event]:
            return [alert for each in computed if (alert := self._keep_one(transaction, each)) is not None]

        return self._database.write(work)

    def _keep_one(self, transaction: Transaction, each: Computed) -> Event | None:
        """The alert, if there is one."""
        cursor, digests = transaction.cursor, each.digests
        row = self._keep.run(
            cursor, row=each.row, object_id=each.object_id, canonical=digests.canonical, clinical=digests.clinical,
            pixels=digests.pixels, is_blank=int(each.is_blank),
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        transaction.record(each.event)
        twin = None if each.is_blank else self._twin.run(cursor, a=each.row, pixels=digests.pixels).fetchone()
        if twin is None:
            return None
        self._provenance.flag(cursor, each.row, COPIED, each.computed_us)
        named = {**each.copied.details, "other_sop_uid": twin[0], "other_study_uid": twin[1]}
        alert = replace(each.copied, details=named)
        transaction.record(alert)
        return alert
