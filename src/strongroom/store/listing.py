"""The list of studies as SQL: one index in its order, walked until a page is full.

What many studies have is found among the newest: those are looked at first, each with its patient. What few have, or
none, is found by what is narrow: the names and the numbers of patients are read in their indexes, which gives those who
match, and then all studies in ``study_listed``, which has everything that is looked at. Neither opens a record that is
not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, bindparam, func, or_, select, tuple_, union_all
from sqlalchemy.engine import Dialect

from strongroom.archive.listing import StudyList, StudyPage
from strongroom.archive.model import Level, SearchRow
from strongroom.archive.prefilter import LIKE_ESCAPE, escaped
from strongroom.store.database import Sql
from strongroom.store.schema.tables import PATIENT, SERIES, STUDY
from strongroom.store.scope import ScopeShape, computed, joined, shape_of, values_of, visible, visible_series
from strongroom.store.search import COMPUTED
from strongroom.types import Scope

NEWEST: Final = 2000
"""Studies that are looked at before all are."""

FETCHED: Final = 64
"""Records in one SELECT."""

_SHOWN: Final = (0x00080061, 0x00201206, 0x00201208)
_NAMED: Final = PATIENT.alias("named_patient")
_OF_MODALITY: Final = SERIES.alias("series_of_modality")


class ListShape(NamedTuple):
    """What of a list decides its SQL text."""

    words: int
    terms: frozenset[str]
    is_backwards: bool
    among_newest: bool
    scope: ScopeShape | None


def list_studies(cursor: Any, dialect: Dialect, wanted: StudyList, scope: Scope | None) -> StudyPage:
    """One page; from the beginning if the study that it goes on from is not here any more."""
    values = _values(wanted) | values_of(scope)
    start = wanted.older_than or wanted.newer_than
    if start:
        found = _place_sql(dialect, shape_of(scope)).run(cursor, uid=start, **values_of(scope)).fetchone()
        if found is None:
            wanted, start = replace(wanted, older_than="", newer_than=""), ""
        else:
            values |= {"start_date": found[0], "start_id": found[1]}
    terms = {name for name in ("study_uid", "modality", "first_date", "last_date", "patient_of") if values.get(name)}
    if start:
        terms.add("start")
    is_open = bool(wanted.words) and scope is None
    shape = ListShape(len(wanted.words), frozenset(terms), bool(wanted.newer_than), is_open, shape_of(scope))
    values["row_limit"] = wanted.limit + 1
    rows = _statement(dialect, shape).run(cursor, **values).fetchall()
    if shape.among_newest and len(rows) <= wanted.limit:
        rows = _statement(dialect, shape._replace(among_newest=False)).run(cursor, **values).fetchall()
    numbers = [row[0] for row in rows]
    there_are_more = len(numbers) > wanted.limit
    shown = _records(cursor, dialect, numbers[: wanted.limit], scope)
    if wanted.newer_than:
        return StudyPage(shown[::-1], has_newer=there_are_more, has_older=True)
    return StudyPage(shown, has_newer=bool(start), has_older=there_are_more)


def _records(cursor: Any, dialect: Dialect, numbers: Sequence[int], scope: Scope | None) -> list[SearchRow]:
    """The records of these studies, in that order."""
    statement, values = _records_sql(dialect, shape_of(scope)), values_of(scope)
    found: dict[int, SearchRow] = {}
    for start in range(0, len(numbers), FETCHED):
        some = [*numbers[start : start + FETCHED], *[0] * FETCHED][:FETCHED]
        asked = {f"study_{number}": each for number, each in enumerate(some)}
        found |= {row[0]: _row(row) for row in statement.run(cursor, **asked, **values).fetchall()}
    return [found[number] for number in numbers if number in found]


def _values(wanted: StudyList) -> dict[str, Any]:
    values: dict[str, Any] = {
        "study_uid": wanted.study_uid, "modality": wanted.modality, "first_date": wanted.first_date,
        "last_date": wanted.last_date, "patient_of": wanted.patient_of, "newest": NEWEST,
    }  # fmt: skip
    for number, word in enumerate(wanted.words):
        values[f"name_{number}"] = f"%{escaped(word.in_name)}%"
        values[f"text_{number}"] = f"%{escaped(word.elsewhere)}%"
    return values


def _row(row: Sequence[Any]) -> SearchRow:
    added = {
        f"{tag:08X}": {"vr": COMPUTED[tag].vr, "Value": COMPUTED[tag].values(value)}
        for tag, value in zip(_SHOWN, row[3:], strict=True)
    }
    return SearchRow((bytes(row[1]), bytes(row[2])), added)


@lru_cache(256)
def _place_sql(dialect: Dialect, scope: ScopeShape | None) -> Sql:
    found = select(STUDY.c.study_date, STUDY.c.id).select_from(joined(Level.STUDY))
    terms = [STUDY.c.study_uid == bindparam("uid")]
    if scope is not None:
        terms.append(visible(scope, Level.STUDY))
    return Sql(found.where(*terms), dialect)


@lru_cache(256)
def _records_sql(dialect: Dialect, scope: ScopeShape | None) -> Sql:
    columns = [STUDY.c.id, PATIENT.c.attributes.label("of_patient"), STUDY.c.attributes.label("of_study")]
    columns += [_shown(scope, tag).label(f"computed_{tag:08x}") for tag in _SHOWN]
    named: list[Any] = [bindparam(f"study_{number}") for number in range(FETCHED)]
    return Sql(select(*columns).select_from(joined(Level.STUDY)).where(STUDY.c.id.in_(named)), dialect)


@lru_cache(512)
def _statement(dialect: Dialect, shape: ListShape) -> Sql:
    """The numbers of the studies of one page and of one more, those nearest to where it begins first."""
    ordered = _nearest_first(shape)
    words = range(shape.words)
    found: Select[Any] = select(STUDY.c.id).where(*_terms(shape))
    if shape.among_newest:
        columns = (STUDY.c.id, STUDY.c.patient, STUDY.c.study_date, STUDY.c.accession, STUDY.c.description)
        near = select(*columns).where(*_terms(shape)).order_by(*ordered).limit(bindparam("newest")).subquery("near")
        found = select(near.c.id).select_from(near.join(PATIENT, PATIENT.c.id == near.c.patient))
        found = found.where(*(_has_word(dialect, number, near, by_patient=True) for number in words))
        ordered = _nearest_first(shape, near)
    else:
        if shape.scope is not None:
            found = found.select_from(joined(Level.STUDY)).where(visible(shape.scope, Level.STUDY))
        found = found.where(*(_has_word(dialect, number, STUDY, by_patient=False) for number in words))
    return Sql(found.order_by(*ordered).limit(bindparam("row_limit")), dialect)


def _nearest_first(shape: ListShape, study: Any = STUDY) -> tuple[Any, Any]:
    if shape.is_backwards:
        return study.c.study_date.asc(), study.c.id.asc()
    return study.c.study_date.desc(), study.c.id.desc()


def _shown(scope: ScopeShape | None, tag: int) -> Any:
    within = None if scope is None else computed(scope, tag)
    return COMPUTED[tag].column if within is None else within


def _terms(shape: ListShape) -> list[Any]:
    """What is asked of every study beside its words."""
    terms: list[Any] = []
    if "study_uid" in shape.terms:
        terms.append(STUDY.c.study_uid == bindparam("study_uid"))
    if "modality" in shape.terms:
        inside = [_OF_MODALITY.c.study == STUDY.c.id, _OF_MODALITY.c.modality == bindparam("modality")]
        if shape.scope is not None:
            inside.append(visible_series(shape.scope, _OF_MODALITY))
        terms.append(select(_OF_MODALITY.c.id).where(*inside).correlate(PATIENT, STUDY).exists())
    if "first_date" in shape.terms:
        terms.append(STUDY.c.study_date >= bindparam("first_date"))
    if "last_date" in shape.terms:
        terms += [STUDY.c.study_date <= bindparam("last_date"), STUDY.c.study_date != ""]
    if "patient_of" in shape.terms:
        one = STUDY.alias("study_of_patient")
        terms.append(
            STUDY.c.patient == select(one.c.patient).where(one.c.study_uid == bindparam("patient_of")).scalar_subquery()
        )
    if "start" in shape.terms:
        here, start = tuple_(STUDY.c.study_date, STUDY.c.id), tuple_(bindparam("start_date"), bindparam("start_id"))
        terms.append(here > start if shape.is_backwards else here < start)
    return terms


def _has_word(dialect: Dialect, number: int, study: Any, *, by_patient: bool) -> Any:
    """True of the studies in which a word occurs; ``by_patient``: their patients are joined already."""

    def in_name(column: Any) -> Any:
        return column.like(bindparam(f"name_{number}"), escape=LIKE_ESCAPE)

    def in_text(column: Any) -> Any:
        # LIKE of SQLite sees no case of A to Z by itself, and that of PostgreSQL does.
        folded = column if dialect.name == "sqlite" else func.lower(column)
        return folded.like(bindparam(f"text_{number}"), escape=LIKE_ESCAPE)

    of_study = [in_text(study.c.accession), in_text(study.c.description)]
    if by_patient:
        return or_(in_name(PATIENT.c.patient_name), in_text(PATIENT.c.patient_id), *of_study)
    # Two looks, each into an index that has nothing else: an OR would have every patient's record read.
    whose = union_all(
        select(_NAMED.c.id).where(in_name(_NAMED.c.patient_name)),
        select(_NAMED.c.id).where(in_text(_NAMED.c.patient_id)),
    )
    return or_(study.c.patient.in_(whose), *of_study)
