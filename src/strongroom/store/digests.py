"""What is computed of objects after they were stored: one row each, and who else shows the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """The digests of one object, and the events that say so: ``copied`` only if another patient has its picture."""

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
        placed = select(INSTANCE.c.sop_uid, STUDY.c.patient).join_from(INSTANCE, SERIES).join(STUDY)
        patient = select(STUDY.c.patient).join_from(INSTANCE, SERIES).join(STUDY).where(INSTANCE.c.id == bindparam("a"))
        self._twin = Sql(
            placed.join(DIGEST, DIGEST.c.id == INSTANCE.c.id)
            .join(PATIENT, PATIENT.c.id == STUDY.c.patient)
            .where(DIGEST.c.pixels == bindparam("pixels"), STUDY.c.patient != patient.scalar_subquery())
            .limit(1),
            dialect,
        )

    def keep(self, computed: Sequence[Computed]) -> list[Event]:
        """Keep what was computed, with its events; returns the alerts: of pictures under another patient as well.

        Of an object that is gone, or has its digests already, nothing is kept. Raises StorageUnavailable.
        """

        def work(transaction: Transaction) -> list[Event]:
            return [each.copied for each in computed if self._keep_one(transaction, each)]

        return self._database.write(work)

    def _keep_one(self, transaction: Transaction, each: Computed) -> bool:
        cursor, digests = transaction.cursor, each.digests
        row = self._keep.run(
            cursor, row=each.row, object_id=each.object_id, canonical=digests.canonical, clinical=digests.clinical,
            pixels=digests.pixels, is_blank=int(each.is_blank),
        ).fetchone()  # fmt: skip
        if row is None:
            return False
        transaction.record(each.event)
        if each.is_blank or not self._twin.run(cursor, a=each.row, pixels=digests.pixels).fetchone():
            return False
        self._provenance.flag(cursor, each.row, COPIED, each.computed_us)
        transaction.record(each.copied)
        return True
