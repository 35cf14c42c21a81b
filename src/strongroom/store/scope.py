"""A scope as SQL: which records of a level lie in it, what is computed within it, where it lets an object go.

The unit of a scope is the series. Patients, studies, dates and referring physicians are told by the rows above it, so a
part of a scope without modalities and institutions has every study whole or not at all; only one with them has to look
at the series of a study.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, cast, false, func, not_, or_, select, true, union_all
from sqlalchemy.engine import Dialect

from strongroom.archive import keys as kept
from strongroom.archive.access import OUTSIDE_SCOPE, takes_series
from strongroom.archive.model import Level, NewInstance
from strongroom.archive.scopes import date_range, is_dated
from strongroom.errors import Refused
from strongroom.store.database import Sql
from strongroom.store.schema.tables import INSTANCE, PATIENT, SERIES, STUDY
from strongroom.types import Part, Scope

ENDS: Final = {"itself": "", "caret": "^", "after_caret": "_", "equals": "=", "after_equals": ">"}
"""What is put to the end of a name for where it lies in an index, and for where what begins with it begins and ends:
``_`` and ``>`` are the characters after ``^`` and ``=`` (``scopes.NAME_ENDS``)."""

TABLES: Final = {Level.PATIENT: PATIENT, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: INSTANCE}

_STUDIES: Final = STUDY.alias("scoped_study")
_SERIES: Final = SERIES.alias("scoped_series")
_INSTANCES: Final = INSTANCE.alias("scoped_instance")
_IN_PATIENT: Final = PATIENT.alias("patient_in_part")
_IN_STUDY: Final = STUDY.alias("study_in_part")
_IN_NAME: Final = STUDY.alias("study_of_physician")
_IN_SERIES: Final = SERIES.alias("series_in_part")
_ROW: Final = (PATIENT, STUDY)
"""What a subquery has from the row that it is of."""


class PartShape(NamedTuple):
    """What of a part of a scope decides its SQL text: which one it is, and how many values it has of each kind."""

    number: int
    patients: int
    patients_of_issuers: tuple[int, ...]
    """Of each issuer in turn."""
    studies: int
    modalities: int
    institutions: int
    referring: int
    is_dated: bool

    @property
    def limits_series(self) -> bool:
        """Whether it may have some series of a study and not others."""
        return self.modalities > 0 or self.institutions > 0

    @property
    def is_narrow(self) -> bool:
        """Whether an index leads to what is in it, which is little of the archive."""
        return self.patients + sum(self.patients_of_issuers) + self.studies + self.referring > 0

    def name(self, kind: str) -> str:
        """What the parameters of a kind are called."""
        return f"scope_{self.number}_{kind}"


ScopeShape = tuple[PartShape, ...]
"""Of each part in turn; empty for a scope in which there is nothing."""


def shape_of(scope: Scope | None) -> ScopeShape | None:
    """The shape of a scope; None of none."""
    if scope is None:
        return None
    return tuple([_part_shape(number, part) for number, part in enumerate(scope.parts)])


def _part_shape(number: int, part: Part) -> PartShape:
    by_issuer = _by_issuer(part)
    return PartShape(
        number=number,
        patients=len(by_issuer.pop(None, ())),
        patients_of_issuers=tuple(map(len, by_issuer.values())),
        studies=len(part.studies),
        modalities=len(part.modalities),
        institutions=len(part.institutions),
        referring=len(part.referring),
        is_dated=is_dated(part),
    )


def _by_issuer(part: Part) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for patient_id, issuer in part.patients:
        found.setdefault(issuer, []).append(patient_id)
    return found


def values_of(scope: Scope | None) -> dict[str, str]:
    """The parameters of every statement made of the scope's shape."""
    values: dict[str, str] = {}
    for number, part in enumerate(scope.parts if scope else ()):
        name, by_issuer = _part_shape(number, part).name, _by_issuer(part)
        values |= _numbered(name("patient"), by_issuer.pop(None, ()))
        values |= _numbered(name("issuer"), by_issuer)
        for place, patients in enumerate(by_issuer.values()):
            values |= _numbered(name(f"patient_of_{place}"), patients)
        values |= _numbered(name("study"), part.studies)
        values |= _numbered(name("modality"), part.modalities)
        values |= _numbered(name("institution"), part.institutions)
        for end in ENDS:
            values |= _numbered(name(f"referring_{end}"), [text + ENDS[end] for text in part.referring])
        if is_dated(part):
            values[name("first")], values[name("last")] = date_range(part)
    return values


def _numbered(name: str, texts: Any) -> dict[str, str]:
    return {f"{name}_{number}": text for number, text in enumerate(texts)}


def _parameters(name: str, count: int) -> list[Any]:
    return [bindparam(f"{name}_{number}") for number in range(count)]


def joined(level: Level) -> Any:
    """The tables of ``level`` and above, joined."""
    tables: Any = PATIENT
    for table in (STUDY, SERIES, INSTANCE)[: int(level)]:
        tables = tables.join(table)
    return tables


# -- what is visible


def visible(shape: ScopeShape, level: Level) -> Any:
    """True of the records of ``level``, over ``joined(level)``, that a series in scope is, or lies over or above.

    Of several parts those that indexes lead to are looked up once, together. As conditions of every record, they would
    have most of the archive read by whoever has little of it.
    """
    if len(shape) == 1 and not (level is Level.PATIENT and shape[0].is_narrow):
        return _visible(shape[0], level)
    either = [_visible(part, level) for part in shape if not part.is_narrow]
    if narrow := [_numbers(part, level) for part in shape if part.is_narrow]:
        number = {Level.PATIENT: PATIENT.c.id, Level.STUDY: STUDY.c.id}.get(level, SERIES.c.id)
        either.append(number.in_(union_all(*narrow)))
    return _any(either)


def _numbers(part: PartShape, level: Level) -> Any:
    """The row numbers of patients, studies or, for the levels below, series in a part."""
    of_study = _IN_PATIENT.join(_IN_STUDY, _IN_STUDY.c.patient == _IN_PATIENT.c.id)
    if level > Level.STUDY:
        of_series = of_study.join(_IN_SERIES, _IN_SERIES.c.study == _IN_STUDY.c.id)
        return select(_IN_SERIES.c.id).select_from(of_series).where(*_terms(part, _IN_STUDY, _IN_SERIES, _IN_PATIENT))
    number = _IN_PATIENT.c.id if level is Level.PATIENT else _IN_STUDY.c.id
    terms = _terms(part, _IN_STUDY, patient=_IN_PATIENT) + _with_series(part, _IN_STUDY)
    return select(number).select_from(of_study).where(*terms)


def _any(either: Iterable[Any]) -> Any:
    """One of these at least; of none, nothing."""
    return or_(false(), *either)


def _visible(part: PartShape, level: Level) -> Any:
    if level is Level.PATIENT:
        terms = _of_patient(part)
        if below := _of_study(part, _STUDIES) + _with_series(part, _STUDIES):
            study = select(_STUDIES.c.id).where(_STUDIES.c.patient == PATIENT.c.id, *below)
            terms.append(study.correlate(PATIENT).exists())
        return _all(terms)
    return _visible_study(part, STUDY) if level is Level.STUDY else _all(_terms(part, STUDY, SERIES))


def visible_series(shape: ScopeShape, series: Any) -> Any:
    """True of the series of an alias that are in scope, within a row of a patient and a study."""
    return _any(_all(_terms(part, STUDY, series)) for part in shape)


def _all(terms: list[Any]) -> Any:
    return and_(true(), *terms)


def _visible_study(part: PartShape, study: Any) -> Any:
    return _all([*_terms(part, study), *_with_series(part, study)])


def _terms(part: PartShape, study: Any, series: Any | None = None, patient: Any = PATIENT) -> list[Any]:
    """What holds of a study that may have a series in a part or, given series, of a series in it."""
    terms = [*_of_patient(part, patient), *_of_study(part, study)]
    return terms if series is None else terms + _of_series(part, series)


def _of_patient(part: PartShape, patient: Any = PATIENT) -> list[Any]:
    """What holds of the patients in a part."""
    columns = patient.c
    either: list[Any] = []
    if part.patients:
        either.append(columns.patient_id.in_(_parameters(part.name("patient"), part.patients)))
    for place, count in enumerate(part.patients_of_issuers):
        those = columns.patient_id.in_(_parameters(part.name(f"patient_of_{place}"), count))
        either.append(and_(columns.issuer == bindparam(part.name(f"issuer_{place}")), those))
    return [or_(*either)] if either else []


def _of_study(part: PartShape, study: Any) -> list[Any]:
    terms = []
    if part.studies:
        terms.append(study.c.study_uid.in_(_parameters(part.name("study"), part.studies)))
    if part.referring:
        terms.append(study.c.id.in_(_with_name(part)))
    if part.is_dated:
        # Not BETWEEN: SQLAlchemy writes it with a COLLATE that PostgreSQL does not read.
        terms += [
            study.c.study_date >= bindparam(part.name("first")),
            study.c.study_date <= bindparam(part.name("last")),
        ]
    return terms


def _of_series(part: PartShape, series: Any) -> list[Any]:
    terms = []
    if part.modalities:
        terms.append(series.c.modality.in_(_parameters(part.name("modality"), part.modalities)))
    if part.institutions:
        terms.append(series.c.institution.in_(_parameters(part.name("institution"), part.institutions)))
    return terms


def _with_name(part: PartShape) -> Any:
    """The numbers of studies whose referring physician ``scopes.is_name_within`` finds in the part.

    Each range by itself: so many in one condition, and SQLite would rather read every study.
    """
    name, names = _IN_NAME.c.referring, {e: _parameters(part.name(f"referring_{e}"), part.referring) for e in ENDS}
    either: list[Any] = [name.in_(names["itself"])]
    for first, last in (("caret", "after_caret"), ("equals", "after_equals")):
        either += [and_(name >= low, name < high) for low, high in zip(names[first], names[last], strict=True)]
    return union_all(*[select(_IN_NAME.c.id).where(each) for each in either])


def _with_series(part: PartShape, study: Any) -> list[Any]:
    if not part.limits_series:
        return []
    inside = select(_SERIES.c.id).where(_SERIES.c.study == study.c.id, *_of_series(part, _SERIES))
    return [inside.correlate(study).exists()]


# -- what is computed


def computed(shape: ScopeShape, tag: int) -> Any | None:
    """The column of a computed attribute within the scope; None where that is what it is without one."""
    if tag in _OVER_STUDIES:
        return _over_studies(shape, tag)
    return _over_series(shape, tag) if _has_parts_of_studies(shape) else None


_OVER_STUDIES: Final = frozenset((0x00201200, 0x00201202, 0x00201204))


def _has_parts_of_studies(shape: ScopeShape) -> bool:
    return any(part.limits_series for part in shape)


def _over_studies(shape: ScopeShape, tag: int) -> Any:
    of_patient = _STUDIES.c.patient == PATIENT.c.id
    if tag == 0x00201200 or not _has_parts_of_studies(shape):
        counts = {0x00201202: _sum(_STUDIES.c.num_series), 0x00201204: _sum(_STUDIES.c.num_instances)}
        studies = [of_patient, _any(_visible_study(part, _STUDIES) for part in shape)]
        return _count(counts.get(tag, func.count()), _STUDIES, studies)
    # By study, and not both tables joined: a database without statistics takes all series of a modality, and looks for
    # the patient among them.
    value = func.count() if tag == 0x00201202 else _sum(_SERIES.c.num_instances)
    terms = [_SERIES.c.study == _STUDIES.c.id, _any(_all(_terms(part, _STUDIES, _SERIES)) for part in shape)]
    inside = select(value).select_from(_SERIES).where(*terms).correlate(PATIENT, _STUDIES).scalar_subquery()
    return _count(_sum(inside), _STUDIES, [of_patient])


def _over_series(shape: ScopeShape, tag: int) -> Any | None:
    inside = [_SERIES.c.study == STUDY.c.id, visible_series(shape, _SERIES)]
    match tag:
        case 0x00201206:
            return _count(func.count(), _SERIES, inside)
        case 0x00201208:
            return _count(_sum(_SERIES.c.num_instances), _SERIES, inside)
        case kept.MODALITIES_IN_STUDY:
            return _set_of(_SERIES.c.modality, _SERIES, inside)
        case kept.SOP_CLASSES_IN_STUDY:
            both = _SERIES.join(_INSTANCES, _INSTANCES.c.series == _SERIES.c.id)
            return _set_of(_INSTANCES.c.sop_class, both, inside)
    return None


def _sum(column: Any) -> Any:
    return func.coalesce(func.sum(column), 0)


def _count(value: Any, tables: Any, terms: list[Any]) -> Any:
    return select(cast(value, BigInteger)).select_from(tables).where(*terms).correlate(*_ROW).scalar_subquery()


def _set_of(column: Any, tables: Any, terms: list[Any]) -> Any:
    """The distinct values with backslashes between them, in no order."""
    distinct = select(column.label("value")).select_from(tables).where(*terms).distinct().correlate(*_ROW).subquery()
    return select(func.string_agg(distinct.c.value, "\\")).correlate(*_ROW).scalar_subquery()


# -- where an object may go


def require_place(cursor: Any, dialect: Dialect, scope: Scope, new: NewInstance) -> None:
    """Return if the study, series and instance of these UIDs are in scope or not there.

    Raises Refused with the one reason that says nothing of what is there. A study in which the scope has no series yet
    takes its first one: that belongs to nobody else.
    """
    stored = new.stored
    uids = {Level.STUDY: stored.study_uid, Level.SERIES: stored.series_uid, Level.IMAGE: stored.sop_uid}
    for level, uid in uids.items():
        # Whether a study may take the series is told by the object, not by the other series that are there.
        parts = tuple(part for part in scope.parts if level > Level.STUDY or takes_series(part, new))
        within = Scope(parts)
        if (
            not parts
            or _outside_sql(dialect, _checked_shape(within), level).run(cursor, uid=uid, **values_of(within)).fetchone()
        ):
            raise Refused(OUTSIDE_SCOPE)


def is_study_visible(cursor: Any, dialect: Dialect, scope: Scope, study_uid: str) -> bool:
    """Whether a study is here and has a series in scope."""
    statement = _study_sql(dialect, _checked_shape(scope))
    return bool(statement.run(cursor, uid=study_uid, **values_of(scope)).fetchone())


def _checked_shape(scope: Scope) -> ScopeShape:
    shape = shape_of(scope)
    assert shape is not None
    return shape


_UID_COLUMNS: Final = {
    Level.STUDY: STUDY.c.study_uid, Level.SERIES: SERIES.c.series_uid, Level.IMAGE: INSTANCE.c.sop_uid,
}  # fmt: skip


@lru_cache(256)
def _outside_sql(dialect: Dialect, shape: ScopeShape, level: Level) -> Sql:
    series = SERIES if level > Level.STUDY else None
    inside = _any(_all(_terms(part, STUDY, series)) for part in shape)
    found = select(TABLES[level].c.id).select_from(joined(level))
    return Sql(found.where(_UID_COLUMNS[level] == bindparam("uid"), not_(inside)), dialect)


@lru_cache(256)
def _study_sql(dialect: Dialect, shape: ScopeShape) -> Sql:
    found = select(STUDY.c.id).select_from(joined(Level.STUDY))
    return Sql(found.where(STUDY.c.study_uid == bindparam("uid"), visible(shape, Level.STUDY)), dialect)
