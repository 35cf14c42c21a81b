"""What the index says of instances, held against their objects: who can write to it may have edited a name.

What an object says is read from its header as on the way in (``archive.attributes.describe``); of the levels above the
instance, from the object that came first of each, since that is the one that made the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Final

import msgspec
from sqlalchemy import Table, and_, bindparam, func, literal_column, select
from sqlalchemy.engine import Dialect

from strongroom.archive import keys as kept
from strongroom.archive.attributes import (
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    WANTED,
    Description,
    decode_attributes,
    describe,
)
from strongroom.archive.model import Level, LevelAttributes
from strongroom.archive.ports import BlobStore
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax, keyword_of
from strongroom.dicom.elements import HeaderScan, RawElement, ScanLimits
from strongroom.errors import StrongroomError
from strongroom.store import inventory
from strongroom.store.check import Finding, Findings, Progress
from strongroom.store.database import Sql
from strongroom.store.examine import LEAST_ID, MAX_SMALL_BYTES
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY, INSTANCE, PATIENT, SERIES, SMALL_OBJECT, STUDY

PAGE_ROWS: Final = 16
"""Rows come with the attributes of all their levels: this and the next bound memory."""
MAX_ATTRIBUTES_BYTES: Final = 4 << 20
MOST_NAMED: Final = 5

_TABLES: Final = {Level.PATIENT: PATIENT, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: INSTANCE}
_COLUMNS: Final = {level: [each for each in kept.COLUMNS[level] if not each.maintained] for level in Level}
_NOT_READABLE: Final = (msgspec.MsgspecError, StrongroomError, ValueError, KeyError, TypeError, IndexError)


def _capped(column: Any, limit: int) -> Any:
    return func.substr(column, literal_column("1"), literal_column(str(limit + 1)))


def _is_least(table: Table, above: Table) -> Any:
    """Whether a row is the first of those below the row above it."""
    others = table.alias()
    return table.c.id == select(func.min(others.c.id)).where(others.c[above.name] == above.c.id).scalar_subquery()


def _row() -> Any:
    first = [_is_least(INSTANCE, SERIES), _is_least(SERIES, STUDY), _is_least(STUDY, PATIENT)]
    shown = [
        column
        for level in Level
        for column in (
            *(_TABLES[level].c[each.name] for each in _COLUMNS[level]),
            _capped(_TABLES[level].c.attributes, MAX_ATTRIBUTES_BYTES),
        )
    ]
    return (
        select(
            INSTANCE.c.id, STUDY.c.study_uid, SERIES.c.series_uid, INSTANCE.c.sop_uid, INSTANCE.c.object_id,
            INSTANCE.c.transfer_syntax, INSTANCE.c.is_small, _capped(SMALL_OBJECT.c.sealed, MAX_SMALL_BYTES),
            DATA_KEY.c.key_id, DATA_KEY.c.wrapped, DATA_KEY.c.master_id,
            and_(*first), and_(*first[:2]), first[0], *shown,
        )
        .join_from(INSTANCE, SERIES, INSTANCE.c.series == SERIES.c.id)
        .join(STUDY, SERIES.c.study == STUDY.c.id)
        .join(PATIENT, STUDY.c.patient == PATIENT.c.id)
        .join(DATA_KEY, INSTANCE.c.key_id == DATA_KEY.c.key_id)
        .join(SMALL_OBJECT, SMALL_OBJECT.c.id == INSTANCE.c.id, isouter=True)
    )  # fmt: skip


_PLACE_COLUMNS: Final = 14
_IDENTITY_COLUMNS: Final = 2
"""Of a patient: Patient ID and its issuer."""


class DescribedCheck:
    """Checks what rows say of their objects; what it finds goes to ``findings``.

    Rows without what belongs to them, and objects that do not open, are for ``StoreCheck`` to name.
    """

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Any]],
        dialect: Dialect,
        blobs: BlobStore,
        keys: KeyRing,
        findings: Findings,
        limits: ScanLimits,
    ) -> None:
        """``read`` gives a cursor in a read transaction."""
        self._read, self._blobs, self._keys, self._findings, self._limits = read, blobs, keys, findings, limits
        page = _row().where(INSTANCE.c.id > bindparam("after")).order_by(INSTANCE.c.id).limit(bindparam("count"))
        self._page = Sql(page, dialect)
        self._again = Sql(_row().where(INSTANCE.c.id == bindparam("row")), dialect)
        self.objects = 0

    def check(self, progress: Progress, *, patients: bool) -> None:
        """Go through all rows. Without ``patients`` those of patients are left out: the study that made one may have
        been deleted since, and another one of the patient may have other words. Raises StorageUnavailable.
        """
        after = LEAST_ID
        while rows := self._rows(after):
            for row in rows:
                self._check_one(row, patients)
            self.objects += len(rows)
            progress("descriptions", self.objects, self.objects)
            after = rows[-1][0]

    def _rows(self, after: int) -> list[Sequence[Any]]:
        with self._read() as cursor:
            return [tuple(row) for row in self._page.run(cursor, after=after, count=PAGE_ROWS).fetchall()]

    def _check_one(self, row: Sequence[Any], patients: bool) -> None:
        if not list(self._differences(row, patients)):
            return
        with self._read() as cursor:
            again = self._again.run(cursor, row=row[0]).fetchone()
        if again is None:
            return  # deleted meanwhile
        for level, tags in self._differences(tuple(again), patients):
            named = ", ".join(keyword_of(tag) or f"{tag:08X}" for tag in tags[:MOST_NAMED])
            more = f" and {len(tags) - MOST_NAMED} more" if len(tags) > MOST_NAMED else ""
            what = f"what the index says of the {_WORDS[level]} is not what the object says: {named}{more}"
            study_uid, series_uid, sop_uid = map(str, again[1:4])
            self._findings.add(Finding("row-differs", what, study_uid, series_uid, sop_uid, again[4].hex()))

    def _differences(self, row: Sequence[Any], patients: bool) -> Iterator[tuple[Level, list[int]]]:
        """The levels whose rows do not say what the object says, and the attributes."""
        of_patient, of_study, of_series = row[_PLACE_COLUMNS - 3 : _PLACE_COLUMNS]
        is_asked = {
            Level.PATIENT: patients and of_patient, Level.STUDY: of_study, Level.SERIES: of_series, Level.IMAGE: True,
        }  # fmt: skip
        described = self._described(row)
        if described is None:
            return
        at = _PLACE_COLUMNS
        for level in Level:
            stated, at = row[at : at + len(_COLUMNS[level]) + 1], at + len(_COLUMNS[level]) + 1
            tags = _differing(level, stated, described.levels[level]) if is_asked[level] else []
            if level is Level.PATIENT and not tags and of_study:  # whoever's words: all studies have one identity
                tags = _of_columns(level, stated[:_IDENTITY_COLUMNS], described.levels[level])
            if level is Level.IMAGE and (row[1], row[2]) != (described.study_uid, described.series_uid):
                tags += (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
            if tags:
                yield level, sorted(set(tags))

    def _described(self, row: Sequence[Any]) -> Description | None:
        """What the object says, None if it does not open, or says nothing that the archive would take today."""
        _, _, _, _, object_id, syntax_uid, is_small, sealed, key_id, wrapped, master_id, *_ = row
        syntax = TRANSFER_SYNTAXES.get(syntax_uid)
        if syntax is None or not isinstance(wrapped, bytes) or not isinstance(object_id, bytes):
            return None
        if len(object_id) != inventory.ID_BYTES:
            return None
        try:
            key = self._keys.unwrap(key_id, wrapped, master_id)
            blobs = self._blobs
            reader = blobs.open_small(object_id, key, sealed or b"") if is_small else blobs.open(object_id, key)
            with closing(reader):
                return describe(_header(reader.chunks(), syntax, self._limits), syntax)
        except (StrongroomError, TypeError):
            return None


_WORDS: Final = {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}


def _header(chunks: Iterator[bytes], syntax: TransferSyntax, limits: ScanLimits) -> dict[int, RawElement]:
    scan = HeaderScan(syntax, WANTED, limits)
    for chunk in chunks:
        scan.feed(chunk)
        if scan.pixel_data_offset is not None:
            break
    return scan.elements


def _differing(level: Level, stated: Sequence[Any], said: LevelAttributes) -> list[int]:
    """The tags of what a row states otherwise than its object, in its columns or in its attributes."""
    *columns, attributes = stated
    tags = set(_of_columns(level, columns, said))
    if attributes != said.attributes:
        own_values = decode_attributes(said.attributes)
        try:
            values = decode_attributes(bytes(attributes))
        except _NOT_READABLE:
            values = {}
        names = values.keys() | own_values.keys()
        tags |= {int(name, 16) for name in names if values.get(name) != own_values.get(name)}
    return sorted(tags)


def _of_columns(level: Level, columns: Sequence[Any], said: LevelAttributes) -> list[int]:
    """The same of the first ``columns`` of a row alone."""
    return [
        column.tag for column, value, own in zip(_COLUMNS[level], columns, said.columns, strict=False) if value != own
    ]
