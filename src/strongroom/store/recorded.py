"""The index against the trail: every instance has the record of its storing, every such record its instance.

A bit for each row and one indexed look-up for each record: memory does not grow with what is stored, only with how many
studies were deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Dialect

from strongroom.store.check import Finding, Findings
from strongroom.store.database import Sql
from strongroom.store.schema.tables import INSTANCE, SERIES, STUDY

AT_ONCE: Final = 64
MAX_ROW_ID: Final = 2**36
"""Beyond it a bit for each row would not fit memory; ids are given in order, so a greater one was put there."""
_PAGE: Final = 4096

Facts = tuple[str, str, str, int, str]
"""Of one object: SHA-256 in hex, SOP Class, transfer syntax, size in bytes and Study Instance UID."""
_FACTS: Final = ("SHA-256", "SOP Class", "transfer syntax", "size", "study")


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A trail record that says that an object was stored, and ``where`` it stands."""

    where: str
    time: datetime
    sop_uid: str
    facts: Facts


class RecordedCheck:
    """One comparison, in the cursor's read transaction. ``deleted`` says when a study was deleted last."""

    def __init__(self, cursor: Any, dialect: Dialect, findings: Findings, deleted: dict[str, datetime]) -> None:
        self._cursor, self._findings, self._deleted = cursor, findings, deleted
        columns = (
            INSTANCE.c.id,
            INSTANCE.c.sop_uid,
            INSTANCE.c.sha256,
            INSTANCE.c.sop_class,
            INSTANCE.c.transfer_syntax,
            INSTANCE.c.data_bytes,
            STUDY.c.study_uid,
        )
        placed = (
            select(*columns)
            .join_from(INSTANCE, SERIES, INSTANCE.c.series == SERIES.c.id, isouter=True)
            .join(STUDY, SERIES.c.study == STUDY.c.id, isouter=True)
        )
        names: list[Any] = [bindparam(f"u{number}") for number in range(AT_ONCE)]
        self._find = Sql(placed.where(INSTANCE.c.sop_uid.in_(names)), dialect)
        after = INSTANCE.c.id > bindparam("after")
        listed = placed.where(after).order_by(INSTANCE.c.id).limit(bindparam("count"))
        self._list = Sql(listed, dialect)
        ids = select(INSTANCE.c.id).where(after).order_by(INSTANCE.c.id).limit(bindparam("count"))
        self._ids = Sql(ids, dialect)
        greatest = Sql(select(func.max(INSTANCE.c.id)), dialect).run(cursor).fetchone()[0] or 0
        self._recorded = bytearray((min(greatest, MAX_ROW_ID) >> 3) + 1)

    def take(self, records: Iterable[StoreRecord]) -> None:
        """Hold store records against the rows."""
        batch: list[StoreRecord] = []
        for record in records:
            batch.append(record)
            if len(batch) == AT_ONCE:
                self._take(batch)
                batch = []
        if batch:
            self._take(batch)

    def _take(self, batch: Sequence[StoreRecord]) -> None:
        values = {f"u{number}": batch[min(number, len(batch) - 1)].sop_uid for number in range(AT_ONCE)}
        rows = {row[1]: row for row in self._find.run(self._cursor, **values).fetchall()}
        for record in batch:
            self._compare(record, rows.get(record.sop_uid))

    def _compare(self, record: StoreRecord, row: Sequence[Any] | None) -> None:
        differing = [] if row is None else _differing(record.facts, row)
        study_uid = record.facts[-1]
        if row is not None and not differing:
            self._mark(row[0])
        elif self._deleted.get(study_uid, record.time) > record.time:
            return
        elif row is not None:
            self._mark(row[0])
            what = f"the row is not what {record.where} says was stored: {', '.join(differing)}"
            self._report("row-altered", what, record.sop_uid, study_uid)
        else:
            what = f"the row was removed: {record.where} says that it was stored"
            self._report("row-missing", what, record.sop_uid, study_uid)

    def _mark(self, row_id: int) -> None:
        if 0 <= row_id <= MAX_ROW_ID:
            self._recorded[row_id >> 3] |= 1 << (row_id & 7)

    def finish(self) -> None:
        """Report every row that no record accounts for."""
        for row_id in self._unrecorded():
            for row in self._list.run(self._cursor, after=row_id - 1, count=1).fetchall():
                self._report("row-unrecorded", "no trail record says that this was stored", str(row[1]), row[6] or "")

    def _unrecorded(self) -> Iterator[int]:
        after = -(2**63) + 1
        while rows := self._ids.run(self._cursor, after=after, count=_PAGE).fetchall():
            for (row_id,) in rows:
                if not 0 <= row_id <= MAX_ROW_ID or not self._recorded[row_id >> 3] >> (row_id & 7) & 1:
                    yield row_id
            after = rows[-1][0]

    def _report(self, kind: str, what: str, sop_uid: str, study_uid: str) -> None:
        self._findings.add(Finding(kind, what, study_uid=study_uid, sop_uid=sop_uid))


def _differing(facts: Facts, row: Sequence[Any]) -> list[str]:
    """The names of the facts in which a row differs from its record."""
    _, _, sha256, *others = row
    stored = (sha256.hex() if isinstance(sha256, bytes) else "", *others)
    return [name for name, said, is_now in zip(_FACTS, facts, stored, strict=True) if said != is_now]
