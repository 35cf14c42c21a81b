"""A scope as SQL: which records of a level lie in it, what is computed within it, where it lets an object go.

The unit of a scope is the series. Patients, studies and dates are told by the rows above it, so a scope without
modalities has every study whole or not at all; only one with modalities has to look at the series of a study.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, cast, func, not_, or_, select, true
from sqlalchemy.engine import Dialect

from strongroom.archive import keys as kept
from strongroom.archive.access import OUTSIDE_SCOPE, date_range, is_dated
from strongroom.archive.model import Level, NewInstance
from strongroom.errors import Refused
from strongroom.store.database import Sql
from strongroom.store.schema.tables import INSTANCE, PATIENT, SERIES, STUDY
from strongroom.types import Scope

TABLES: Final = {Level.PATIENT: PATIENT, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: INSTANCE}

_STUDIES: Final = STUDY.alias("scoped_study")
_SERIES: Final = SERIES.alias("scoped_series")
_INSTANCES: Final = INSTANCE.alias("scoped_instance")


class ScopeShape(NamedTuple):
    """What of a scope decides its SQL text: how many values it has of each kind."""

    patients: int
    patients_of_issuer: int
    studies: int
    modalities: int
    is_dated: bool


def shape_of(scope: Scope | None) -> ScopeShape | None:
    """The shape of a scope; None of none."""
    if scope is None:
        return None
    of_any = sum(issuer is None for _, issuer in scope.patients)
    return ScopeShape(of_any, len(scope.patients) - of_any, len(scope.studies), len(scope.modalities), is_dated(scope))


def values_of(scope: Scope | None) -> dict[str, str]:
    """The parameters of every statement made of the scope's shape."""
    if scope is None:
        return {}
    values: dict[str, str] = {}
    values |= _numbered("scope_patient", [each for each, issuer in scope.patients if issuer is None])
    values |= _numbered("scope_id", [each for each, issuer in scope.patients if issuer is not None])
    values |= _numbered("scope_issuer", [issuer for _, issuer in scope.patients if issuer is not None])
    values |= _numbered("scope_study", scope.studies)
    values |= _numbered("scope_modality", scope.modalities)
    if is_dated(scope):
        values["scope_first"], values["scope_last"] = date_range(scope)
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
    """True of the records of ``level``, over ``joined(level)``, that a series in scope is, or lies over or above."""
    terms = [_of_patient(shape)]
    if level is Level.PATIENT:
        if shape.studies or shape.is_dated or shape.modalities:
            below = [_STUDIES.c.patient == PATIENT.c.id, *_of_study(shape, _STUDIES), *_with_series(shape, _STUDIES)]
            terms.append(select(_STUDIES.c.id).where(*below).correlate(PATIENT).exists())
        return and_(*terms)
    terms += _of_study(shape, STUDY)
    if level is Level.STUDY:
        terms += _with_series(shape, STUDY)
    else:
        terms += _of_series(shape, SERIES)
    return and_(*terms)


def _of_patient(shape: ScopeShape) -> Any:
    """True of the patients in scope; of all if patients are not limited."""
    columns = PATIENT.c
    either: list[Any] = []
    if shape.patients:
        either.append(columns.patient_id.in_(_parameters("scope_patient", shape.patients)))
    pairs = zip(
        _parameters("scope_id", shape.patients_of_issuer),
        _parameters("scope_issuer", shape.patients_of_issuer),
        strict=True,
    )
    either += [and_(columns.patient_id == each, columns.issuer == issuer) for each, issuer in pairs]
    return or_(*either) if either else true()


def _of_study(shape: ScopeShape, study: Any) -> list[Any]:
    terms = []
    if shape.studies:
        terms.append(study.c.study_uid.in_(_parameters("scope_study", shape.studies)))
    if shape.is_dated:
        # Not BETWEEN: SQLAlchemy writes it with a COLLATE that PostgreSQL does not read.
        terms += [study.c.study_date >= bindparam("scope_first"), study.c.study_date <= bindparam("scope_last")]
    return terms


def _of_series(shape: ScopeShape, series: Any) -> list[Any]:
    return [series.c.modality.in_(_parameters("scope_modality", shape.modalities))] if shape.modalities else []


def _with_series(shape: ScopeShape, study: Any) -> list[Any]:
    if not shape.modalities:
        return []
    inside = select(_SERIES.c.id).where(_SERIES.c.study == study.c.id, *_of_series(shape, _SERIES))
    return [inside.correlate(study).exists()]


# -- what is computed


def computed(shape: ScopeShape, tag: int) -> Any | None:
    """The column of a computed attribute within the scope; None where that is what it is without one."""
    if tag in _OVER_STUDIES:
        return _over_studies(shape, tag)
    return _over_series(shape, tag) if shape.modalities else None


_OVER_STUDIES: Final = frozenset((0x00201200, 0x00201202, 0x00201204))


def _over_studies(shape: ScopeShape, tag: int) -> Any:
    studies: list[Any] = [_STUDIES.c.patient == PATIENT.c.id, *_of_study(shape, _STUDIES)]
    if not shape.modalities:
        counts = {0x00201202: _sum(_STUDIES.c.num_series), 0x00201204: _sum(_STUDIES.c.num_instances)}
        return _count(counts.get(tag, func.count()), _STUDIES, studies, PATIENT)
    if tag == 0x00201200:
        return _count(func.count(), _STUDIES, studies + _with_series(shape, _STUDIES), PATIENT)
    value = func.count() if tag == 0x00201202 else _sum(_SERIES.c.num_instances)
    both = _STUDIES.join(_SERIES, _SERIES.c.study == _STUDIES.c.id)
    return _count(value, both, studies + _of_series(shape, _SERIES), PATIENT)


def _over_series(shape: ScopeShape, tag: int) -> Any | None:
    inside: list[Any] = [_SERIES.c.study == STUDY.c.id, *_of_series(shape, _SERIES)]
    match tag:
        case 0x00201206:
            return _count(func.count(), _SERIES, inside, STUDY)
        case 0x00201208:
            return _count(_sum(_SERIES.c.num_instances), _SERIES, inside, STUDY)
        case kept.MODALITIES_IN_STUDY:
            return _set_of(_SERIES.c.modality, _SERIES, inside)
        case kept.SOP_CLASSES_IN_STUDY:
            both = _SERIES.join(_INSTANCES, _INSTANCES.c.series == _SERIES.c.id)
            return _set_of(_INSTANCES.c.sop_class, both, inside)
    return None


def _sum(column: Any) -> Any:
    return func.coalesce(func.sum(column), 0)


def _count(value: Any, tables: Any, terms: list[Any], of: Any) -> Any:
    return select(cast(value, BigInteger)).select_from(tables).where(*terms).correlate(of).scalar_subquery()


def _set_of(column: Any, tables: Any, terms: list[Any]) -> Any:
    """The distinct values with backslashes between them, in no order."""
    distinct = select(column.label("value")).select_from(tables).where(*terms).distinct().correlate(STUDY).subquery()
    return select(func.string_agg(distinct.c.value, "\\")).correlate(STUDY).scalar_subquery()


# -- where an object may go


def require_place(cursor: Any, dialect: Dialect, scope: Scope, new: NewInstance) -> None:
    """Return if the study, series and instance of these UIDs are in scope or not there.

    Raises Refused with the one reason that says nothing of what is there. A study in which the scope has no series yet
    takes its first one: that belongs to nobody else.
    """
    shape, values, stored = _checked_shape(scope), values_of(scope), new.stored
    uids = {Level.STUDY: stored.study_uid, Level.SERIES: stored.series_uid, Level.IMAGE: stored.sop_uid}
    for level, uid in uids.items():
        if _outside_sql(dialect, shape, level).run(cursor, uid=uid, **values).fetchone():
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
    terms = [_of_patient(shape), *_of_study(shape, STUDY)]
    if level > Level.STUDY:
        terms += _of_series(shape, SERIES)
    found = select(TABLES[level].c.id).select_from(joined(level))
    return Sql(found.where(_UID_COLUMNS[level] == bindparam("uid"), not_(and_(*terms))), dialect)


@lru_cache(256)
def _study_sql(dialect: Dialect, shape: ScopeShape) -> Sql:
    found = select(STUDY.c.id).select_from(joined(Level.STUDY))
    return Sql(found.where(STUDY.c.study_uid == bindparam("uid"), visible(shape, Level.STUDY)), dialect)
