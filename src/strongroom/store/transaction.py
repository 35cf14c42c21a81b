"""The unit of work: what one transaction may do to the index, and the trail records that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from strongroom.archive.keys import COLUMNS
from strongroom.archive.listing import search_text
from strongroom.archive.model import Added, DataKey, Event, Level, NewInstance, StoredObject
from strongroom.archive.ports import Clock
from strongroom.errors import Refused, StaleKey
from strongroom.store.database import ManyRows, Sql
from strongroom.store.places import PlaceCache, SeriesPlace
from strongroom.store.provenance import LATE, Provenance, alerts_of, as_late
from strongroom.store.schema.tables import DATA_KEY, DESTROYED_KEY, INSTANCE, META, PATIENT, SERIES, SMALL_OBJECT, STUDY

GENERATION = "generation"
ARCHIVE_ID = "archive_id"
"""``meta`` value: whose index this is, set when it is made."""
ACTIVE_MASTER = "active_master"
"""``meta`` value: the master key that new data keys are wrapped under, set first by a rotation."""

INSTANCE_COLUMNS = (
    "series", "sop_uid", "sop_class", "instance_number", "transfer_syntax", "object_id",
    "key_id", "data_bytes", "sha256", "received_us", "is_small", "attributes",
)  # fmt: skip
COLUMN_NAMES = {level: tuple(c.name for c in columns if not c.maintained) for level, columns in COLUMNS.items()}


class Waiting(Protocol):
    """An object whose row is still to be written (`backlog.Waiting`)."""

    new: NewInstance
    event: Event
    place: SeriesPlace


ANOTHER_STUDY = "series-in-another-study"


class TrailAppender(Protocol):
    """Appends events to this process's trail within the caller's transaction."""

    def append(
        self, cursor: Any, events: Sequence[Event], times_s: Sequence[float], *, random: Callable[[int], bytes]
    ) -> list[int]: ...


class KeyWrapper(Protocol):
    """Wraps data keys under the active master key."""

    def activate(self, master_id: str) -> None: ...

    def rewrap(self, key_id: bytes, wrapped: bytes, master_id: str) -> DataKey: ...


class WriteStatements:
    """Every hot statement, compiled once for the dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.provenance = Provenance(dialect)
        self._prepare_looking(dialect)
        self._prepare_adding(dialect)
        self._prepare_changing(dialect)

    def _prepare_looking(self, dialect: Dialect) -> None:
        identity = (PATIENT.c.patient_id, PATIENT.c.issuer)
        kinds = (STUDY.c.modalities, STUDY.c.sop_classes)
        self.last_row = Sql(select(func.max(INSTANCE.c.id)), dialect)
        self.meta = Sql(select(META.c.value).where(META.c.name == bindparam("a")), dialect)
        self.has_instance = Sql(select(INSTANCE.c.id).where(INSTANCE.c.sop_uid == bindparam("a")), dialect)
        self.row_of_object = Sql(
            select(INSTANCE.c.id).where(INSTANCE.c.sop_uid == bindparam("a"), INSTANCE.c.object_id == bindparam("b")),
            dialect,
        )
        self.find_patient = Sql(
            select(PATIENT.c.id).where(PATIENT.c.patient_id == bindparam("a"), PATIENT.c.issuer == bindparam("b")),
            dialect,
        )
        self.name_of = Sql(
            select(PATIENT.c.patient_name, PATIENT.c.patient_id).where(PATIENT.c.id == bindparam("a")), dialect
        )
        self.find_study = Sql(
            select(STUDY.c.id, STUDY.c.patient, *kinds, *identity)
            .join_from(STUDY, PATIENT)
            .where(STUDY.c.study_uid == bindparam("a")),
            dialect,
        )
        self.find_series = Sql(
            select(SERIES.c.id, SERIES.c.study).where(SERIES.c.series_uid == bindparam("a")), dialect
        )
        self.kinds_of_study = Sql(select(*kinds).where(STUDY.c.id == bindparam("a")), dialect)
        self.keys_of_study = Sql(select(DATA_KEY.c.key_id).where(DATA_KEY.c.study == bindparam("a")), dialect)
        self.has_key = Sql(
            select(DATA_KEY.c.key_id).where(DATA_KEY.c.key_id == bindparam("a"), DATA_KEY.c.study.is_not(None)), dialect
        )
        self.is_destroyed = Sql(select(DESTROYED_KEY.c.key_id).where(DESTROYED_KEY.c.key_id == bindparam("a")), dialect)

    def _prepare_adding(self, dialect: Dialect) -> None:
        upsert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self.add_patient = Sql(insert(PATIENT).returning(PATIENT.c.id), dialect)
        self.add_study = Sql(insert(STUDY).returning(STUDY.c.id), dialect)
        self.add_series = Sql(insert(SERIES).returning(SERIES.c.id), dialect)
        self.add_key = Sql(upsert(DATA_KEY).on_conflict_do_nothing(), dialect)
        self.add_instance = Sql(upsert(INSTANCE).on_conflict_do_nothing().returning(INSTANCE.c.id), dialect)
        self.add_instances = ManyRows(insert(INSTANCE), ("id", *INSTANCE_COLUMNS), dialect)
        self.add_smalls = ManyRows(insert(SMALL_OBJECT), ("id", "sealed"), dialect)
        self.add_small = Sql(insert(SMALL_OBJECT).values(id=bindparam("row"), sealed=bindparam("bytes")), dialect)

    def _prepare_changing(self, dialect: Dialect) -> None:
        def counter(table: Any, name: str) -> Sql:
            more = {name: table.c[name] + bindparam("more")}
            return Sql(update(table).where(table.c.id == bindparam("row")).values(more), dialect)

        self.count_study_series = counter(STUDY, "num_series")
        self.count_study = counter(STUDY, "num_instances")
        self.count_series = counter(SERIES, "num_instances")
        upsert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        keep = upsert(META).values(name=bindparam("name"), value=bindparam("value"))
        self.set_meta = Sql(
            keep.on_conflict_do_update(index_elements=[META.c.name], set_={"value": keep.excluded.value}), dialect
        )
        self.set_kinds = Sql(
            update(STUDY)
            .where(STUDY.c.id == bindparam("row"))
            .values(modalities=bindparam("m"), sop_classes=bindparam("s")),
            dialect,
        )
        self.drop_small = Sql(delete(SMALL_OBJECT).where(SMALL_OBJECT.c.id == bindparam("a")), dialect)
        self.point_to = Sql(
            update(INSTANCE)
            .where(INSTANCE.c.id == bindparam("a"))
            .values(object_id=bindparam("new_object"), key_id=bindparam("new_key"), is_small=bindparam("small")),
            dialect,
        )


@dataclass(frozen=True, slots=True)
class Shared:
    """What every transaction of a process shares."""

    sql: WriteStatements
    cache: PlaceCache
    trail: TrailAppender
    keys: KeyWrapper
    clock: Clock
    random: Callable[[int], bytes]

    def place_of(self, new: NewInstance) -> SeriesPlace | None:
        """Where an instance goes, if all that changes there is that it is one more."""
        place, stored = self.cache.places.get(new.stored.series_uid), new.stored
        if (
            place is None
            or place.study_uid != stored.study_uid
            or place.patient_identity != _identity(new)
            or stored.key.key_id not in place.keys
            or stored.sop_class not in place.sop_classes
            or new.modality not in place.modalities
            or new.source.words not in place.sources
            or new.flag is not None
        ):
            return None
        return place

    def is_current(self, generation: str) -> None:
        """Forget remembered places if they are of another generation than the index."""
        self.cache.use(generation)


class Transaction:
    """One transaction on the index and the trail. Belongs to the thread that runs the batch."""

    def __init__(self, cursor: Any, shared: Shared) -> None:
        self.cursor = cursor
        self.sql = shared.sql
        self._shared = shared
        self._events: list[Event] = []
        self._times_s: list[float] = []
        self._added: dict[int, tuple[SeriesPlace, int]] = {}
        self._generation_checked = False

    # -- what jobs do

    def add(self, new: NewInstance, event: Event) -> Added:
        """Index an instance and record it, with its alerts; nothing if it is not new. Raises as ``store``."""
        added = self.store(new)
        if added:
            self.record(event if added is Added.ADDED else as_late(event))
            for alert in alerts_of(new, added, event):
                self.record(alert)
        return added

    def record(self, event: Event, at_s: float | None = None) -> None:
        """Append to the trail when the transaction ends; if that fails, so does everything in it.

        ``at_s`` is when it happened, in seconds since 1970; without it what the event says, or now.
        """
        self._events.append(event)
        known_s = event.at_s if at_s is None else at_s
        self._times_s.append(self._shared.clock() if known_s is None else known_s)

    def meta(self, name: str) -> str:
        """One value of the ``meta`` table, "" if there is none."""
        row = self.sql.meta.run(self.cursor, a=name).fetchone()
        return row[0] if row else ""

    def set_meta(self, name: str, value: str) -> None:
        """Set one value of the ``meta`` table."""
        self.sql.set_meta.run(self.cursor, name=name, value=value)

    def add_waiting(self, waiting: Sequence[Waiting]) -> None:
        """Index objects that have their places and are known to be new, and record them: SQLite only."""
        sql, cursor = self.sql, self.cursor
        row = (sql.last_row.run(cursor).fetchone()[0] or 0) + 1
        instances, small = [], []
        for each in waiting:
            new = each.new
            instances.append((row, *_columns(new, each.place)))
            if new.sealed:
                small.append((row, new.sealed))
            series = each.place.series
            self._added[series] = (each.place, self._added.get(series, (each.place, 0))[1] + 1)
            self.record(each.event, new.stored.received_us / 1e6)
            row += 1
        sql.add_instances.run(cursor, instances)
        sql.add_smalls.run(cursor, small)

    def store(self, new: NewInstance) -> Added:
        """Index an instance; ``NOT_NEW``, with nothing written, if its SOP Instance UID is there already.

        Raises Refused if its study stands under another patient, or its series in another study: nothing is merged
        silently.
        """
        stored = new.stored
        try:
            place = self._known_place(new)
        except Refused as refusal:
            # The same answer as where the place is not remembered: what is known of the object comes first.
            if refusal.reason == ANOTHER_STUDY and self._is_stored(new):
                return Added.NOT_NEW
            raise
        if place is None or stored.key.key_id not in place.keys:
            if self._is_stored(new):  # asked before its place or its key is written
                self._require_same_patient(new)
                return Added.NOT_NEW
            key = self._usable_key(stored)  # may raise, so it comes before anything is written
            place = place or self._new_place(new)
            self._add_key(key, place)
        provenance, cursor = self.sql.provenance, self.cursor
        is_late = provenance.is_late(cursor, place, new.source)
        row = self._add_instance(new, place)
        if not row:
            return Added.NOT_NEW
        provenance.note(cursor, place, new.source)
        for flag in filter(None, (new.flag, LATE if is_late else None)):
            provenance.flag(cursor, row, flag, int(self._shared.clock() * 1e6))
        self._added[place.series] = (place, self._added.get(place.series, (place, 0))[1] + 1)
        if new.modality not in place.modalities or stored.sop_class not in place.sop_classes:
            self._add_kinds(place, new.modality, stored.sop_class)
        return Added.UNVERIFIED if is_late else Added.ADDED

    def begin_generation(self) -> None:
        """Rely on no remembered place from here on: rows are about to be deleted, and their ids will be used again.

        The caller moves ``GENERATION`` on in the same transaction, which tells every other process.
        """
        self._count()
        self._shared.cache.clear()
        self._generation_checked = False

    def restore(self, first: StoredObject, copy: NewInstance) -> bool:
        """Point the row of ``first`` to the sealed bytes of ``copy``, the same data set.

        False, with nothing written, if that row has changed or is gone. Raises StaleKey.
        """
        sql, cursor, new = self.sql, self.cursor, copy.stored
        row = sql.row_of_object.run(cursor, a=first.sop_uid, b=first.object_id).fetchone()
        if row is None:
            return False
        place = self._known_place(copy) or self._new_place(copy)
        if new.key.key_id not in place.keys:
            self._add_key(self._usable_key(new), place)
        sql.drop_small.run(cursor, a=row[0])
        if copy.sealed:
            sql.add_small.run(cursor, row=row[0], bytes=copy.sealed)
        sql.point_to.run(
            cursor, a=row[0], new_object=new.object_id, new_key=new.key.key_id, small=int(bool(copy.sealed))
        )
        return True

    @property
    def gathered(self) -> int:
        """How many records wait for ``flush``."""
        return len(self._events)

    def flush(self) -> None:
        """Bring the counters up to date and write the trail; called once, before the commit."""
        self._count()
        if self._events:
            shared = self._shared
            shared.trail.append(self.cursor, self._events, self._times_s, random=shared.random)

    def _count(self) -> None:
        sql, cursor = self.sql, self.cursor
        for series in sorted(self._added):
            place, more = self._added[series]
            sql.count_series.run(cursor, row=series, more=more)
            sql.count_study.run(cursor, row=place.study, more=more)
        self._added.clear()

    def rolled_back(self) -> None:
        """Forget every place: some may have been made by the transaction that is gone."""
        self._shared.cache.clear()

    # -- where an instance goes

    def _known_place(self, new: NewInstance) -> SeriesPlace | None:
        cache = self._shared.cache
        if not self._generation_checked:
            cache.use(self.meta(GENERATION))
            self._generation_checked = True
        place = cache.places.get(new.stored.series_uid)
        if place is not None:
            self._check_place(new, place.patient_identity, place.study_uid == new.stored.study_uid)
        return place

    @staticmethod
    def _check_place(new: NewInstance, patient_identity: tuple[str, str], same_study: bool) -> None:
        if not same_study:
            raise Refused(ANOTHER_STUDY)
        if patient_identity != _identity(new):
            raise Refused("study-of-another-patient")

    def _is_stored(self, new: NewInstance) -> bool:
        return self.sql.has_instance.run(self.cursor, a=new.stored.sop_uid).fetchone() is not None

    def _require_same_patient(self, new: NewInstance) -> None:
        study = self.sql.find_study.run(self.cursor, a=new.stored.study_uid).fetchone()
        if study:
            self._check_place(new, (study[4], study[5]), same_study=True)

    def _new_place(self, new: NewInstance) -> SeriesPlace:
        sql, cursor, stored = self.sql, self.cursor, new.stored
        identity = _identity(new)
        study = sql.find_study.run(cursor, a=stored.study_uid).fetchone()
        series = sql.find_series.run(cursor, a=stored.series_uid).fetchone()
        if study:
            self._check_place(new, (study[4], study[5]), same_study=True)
        if series:
            self._check_place(new, identity, bool(study) and series[1] == study[0])
        place = SeriesPlace(identity, stored.study_uid)
        if study:
            place.study, place.patient = study[0], study[1]
            place.modalities, place.sop_classes = _split(study[2]), _split(study[3])
            place.keys = {bytes(row[0]) for row in sql.keys_of_study.run(cursor, a=place.study).fetchall()}
        else:
            place.patient = self._patient(new)
            more: dict[str, int | str] = {"patient": place.patient, "num_series": 0, "num_instances": 0}
            more.update(modalities="", sop_classes="", search_text=self._search_text(place.patient, new))
            place.study = self._insert_level(sql.add_study, Level.STUDY, new, more)
        if series:
            place.series = series[0]
        else:
            parent = {"study": place.study, "num_instances": 0}
            place.series = self._insert_level(sql.add_series, Level.SERIES, new, parent)
            sql.count_study_series.run(cursor, row=place.study, more=1)
        self._shared.cache.put(stored.series_uid, place)
        return place

    def _patient(self, new: NewInstance) -> int:
        """The patient of a new study. One without a Patient ID is nobody's twin: each such study has its own."""
        patient_id, issuer = _identity(new)
        row = self.sql.find_patient.run(self.cursor, a=patient_id, b=issuer).fetchone() if patient_id else None
        if row:
            return int(row[0])
        return self._insert_level(self.sql.add_patient, Level.PATIENT, new, {})

    def _search_text(self, patient: int, new: NewInstance) -> str:
        """What is searched of a new study; the patient's name is the one that is shown, not that of this object."""
        study = dict(zip(COLUMN_NAMES[Level.STUDY], new.levels[Level.STUDY].columns, strict=True))
        name, patient_id = self.sql.name_of.run(self.cursor, a=patient).fetchone()
        return search_text(name, patient_id, study["accession"], study["description"])

    def _insert_level(self, statement: Sql, level: Level, new: NewInstance, more: Mapping[str, int | str]) -> int:
        """Insert a row of an upper level: its columns, its attributes and ``more``; returns its id."""
        kept = new.levels[level]
        values: dict[str, Any] = dict(zip(COLUMN_NAMES[level], kept.columns, strict=True))
        values.update(more, attributes=kept.attributes)
        return int(statement.run(self.cursor, **values).fetchone()[0])

    def _usable_key(self, stored: StoredObject) -> DataKey:
        """The object's data key under the active master key. Raises StaleKey if it was destroyed with its study."""
        key = stored.key
        if self.sql.is_destroyed.run(self.cursor, a=key.key_id).fetchone():
            raise StaleKey("the study was deleted while this object arrived: send it again")
        active = self.meta(ACTIVE_MASTER)
        # The master key was rotated after this data key was made; if the key has its row, the rotation has seen to it,
        # and the old master key may be gone.
        if key.master_id != active and not self.sql.has_key.run(self.cursor, a=key.key_id).fetchone():
            self._shared.keys.activate(active)
            key = self._shared.keys.rewrap(key.key_id, key.wrapped, key.master_id)
        return key

    def _add_key(self, key: DataKey, place: SeriesPlace) -> None:
        if key.key_id not in place.keys:
            self.sql.add_key.run(
                self.cursor, key_id=key.key_id, study=place.study, wrapped=key.wrapped, master_id=key.master_id
            )
            place.keys.add(key.key_id)

    def _add_instance(self, new: NewInstance, place: SeriesPlace) -> int:
        """Insert its row; returns the row's id, 0 if its SOP Instance UID has one."""
        values = dict(zip(INSTANCE_COLUMNS, _columns(new, place), strict=True))
        self.sql.add_instance.run(self.cursor, **values)
        row = self.cursor.fetchone()
        if row is None:
            return 0
        if new.sealed:
            self.sql.add_small.run(self.cursor, row=row[0], bytes=new.sealed)
        return int(row[0])

    def _add_kinds(self, place: SeriesPlace, modality: str, sop_class: str) -> None:
        # Another series of the same study has a place of its own: read the row, not the cache.
        row = self.sql.kinds_of_study.run(self.cursor, a=place.study).fetchone()
        place.modalities = _split(row[0]) | ({modality} if modality else set())
        place.sop_classes = _split(row[1]) | {sop_class}
        self.sql.set_kinds.run(self.cursor, row=place.study, m=_join(place.modalities), s=_join(place.sop_classes))
        place.modalities.add(modality)


def _columns(new: NewInstance, place: SeriesPlace) -> tuple[Any, ...]:
    """The values of an instance's row, in the order of INSTANCE_COLUMNS."""
    stored, level = new.stored, new.levels[Level.IMAGE]
    return (
        place.series, stored.sop_uid, stored.sop_class, level.columns[2], stored.transfer_syntax, stored.object_id,
        stored.key.key_id, stored.data_bytes, stored.sha256, stored.received_us, int(bool(new.sealed)),
        level.attributes,
    )  # fmt: skip


def _identity(new: NewInstance) -> tuple[str, str]:
    """A patient is (Patient ID, Issuer of Patient ID)."""
    patient_id, issuer, *_ = new.levels[Level.PATIENT].columns
    return patient_id, issuer


def _split(text: str) -> set[str]:
    return {part for part in text.split("\\") if part}


def _join(parts: set[str]) -> str:
    """``\\A\\B\\``: a value is found with its delimiters, so CT never matches inside PET-CT."""
    return "\\" + "\\".join(sorted(parts)) + "\\" if parts else ""
