"""The list of studies as SQL: one index in its order, walked until a page is full.

``study_listed`` has all that is looked at: the order, and the text that is searched. No record is opened that is not
shown, and a word is compared once a study. Where this process has the texts in memory (`store.texts`), the studies that
have the words are found there, and the same is asked of them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, bindparam, select, tuple_
from sqlalchemy.engine import Dialect

from strongroom.archive.listing import StudyList, StudyPage
from strongroom.archive.model import Level, SearchRow
from strongroom.archive.prefilter import LIKE_ESCAPE, escaped
from strongroom.store.database import Sql
from strongroom.store.narrowing import narrowed, narrowing
from strongroom.store.schema.tables import PATIENT, SERIES, STUDY
from strongroom.store.scope import ScopeShape, computed, joined, shape_of, values_of, visible, visible_series
from strongroom.store.search import COMPUTED
from strongroom.store.texts import DIALECT, StudyTexts
from strongroom.types import Scope

FETCHED: Final = 64
"""Records in one SELECT."""
AMONG: Final = (64, 256)
"""Studies found in memory that one SELECT looks at: the fewest that will do, so that there are few statements."""

_IN_MEMORY: Final = frozenset(("first_date", "last_date", "start"))
"""What is asked beside words and can be told by the texts in memory."""
_SHOWN: Final = (0x00080061, 0x00201206, 0x00201208)
_OF_MODALITY: Final = SERIES.alias("series_of_modality")


class ListShape(NamedTuple):
    """What of a list decides its SQL text."""

    words: int
    terms: frozenset[str]
    is_backwards: bool
    scope: ScopeShape | None
    institutions: int = 0
    """How many names of institutions are asked for."""
    among: int = 0
    """The studies that are looked at; 0 are all."""


def list_studies(cursor: Any, dialect: Dialect, wanted: StudyList, scope: Scope | None, texts: StudyTexts) -> StudyPage:
    """One page; from the beginning if the study that it goes on from is not here any more."""
    texts.want()
    values = _values(wanted) | values_of(scope)
    start = wanted.older_than or wanted.newer_than
    if start:
        found = _place_sql(dialect, shape_of(scope)).run(cursor, uid=start, **values_of(scope)).fetchone()
        if found is None:
            wanted, start = replace(wanted, older_than="", newer_than=""), ""
        else:
            values |= {"start_date": found[0], "start_id": found[1]}
    named = ("study_uid", "modality", "first_date", "last_date", "patient_of")
    terms = frozenset(name for name in named if values.get(name)) | ({"start"} if start else frozenset())
    narrow = narrowed(cursor, dialect, wanted)
    if narrow is None:
        return StudyPage(())
    values |= narrow.values
    asked = (len(wanted.words), terms | narrow.terms, bool(wanted.newer_than))
    shape = ListShape(*asked, shape_of(scope), narrow.institutions)
    values["row_limit"] = wanted.limit + 1
    numbers = _numbers(cursor, dialect, shape, values, texts)
    there_are_more = len(numbers) > wanted.limit
    shown = _records(cursor, dialect, numbers[: wanted.limit], scope)
    if wanted.newer_than:
        return StudyPage(shown[::-1], has_newer=there_are_more, has_older=True)
    return StudyPage(shown, has_newer=bool(start), has_older=there_are_more)


def _numbers(cursor: Any, dialect: Dialect, shape: ListShape, values: dict[str, Any], texts: StudyTexts) -> list[int]:
    """The numbers of the studies of one page and of one more, those nearest to where it begins first."""
    limit = values["row_limit"]
    if shape.words:
        # All of them are shown, if nothing is asked that memory does not know.
        most = min(limit, AMONG[-1]) if shape.scope is None and shape.terms <= _IN_MEMORY else AMONG[-1]
        in_memory = _statement(DIALECT, ListShape(shape.words, shape.terms & _IN_MEMORY, shape.is_backwards, None))
        some = texts.find(cursor, in_memory, values | {"row_limit": most})
        if some is not None:
            found = _those(cursor, dialect, shape, values, some)
            if len(some) < most or len(found) == limit:
                return found
    return [row[0] for row in _statement(dialect, shape).run(cursor, **values).fetchall()]


def _those(cursor: Any, dialect: Dialect, shape: ListShape, values: dict[str, Any], some: Sequence[int]) -> list[int]:
    """The same of these studies alone."""
    if not some:
        return []
    among = next(most for most in AMONG if len(some) <= most)
    named = {f"study_{number}": each for number, each in enumerate([*some, *[0] * among][:among])}
    statement = _statement(dialect, shape._replace(among=among))
    return [row[0] for row in statement.run(cursor, **values, **named).fetchall()]


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
        "last_date": wanted.last_date, "patient_of": wanted.patient_of,
    }  # fmt: skip
    for number, word in enumerate(wanted.words):
        values[f"word_{number}"] = f"%{escaped(word)}%"
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
    found: Select[Any] = select(STUDY.c.id).where(*_terms(shape))
    if shape.scope is not None:
        found = found.select_from(joined(Level.STUDY)).where(visible(shape.scope, Level.STUDY))
    words: list[Any] = [bindparam(f"word_{number}") for number in range(shape.words)]
    if shape.among:
        found = found.where(STUDY.c.id.in_([bindparam(f"study_{number}") for number in range(shape.among)]))
    found = found.where(*(STUDY.c.search_text.like(word, escape=LIKE_ESCAPE) for word in words))
    return Sql(found.order_by(*_nearest_first(shape)).limit(bindparam("row_limit")), dialect)


def _nearest_first(shape: ListShape) -> tuple[Any, Any]:
    if shape.is_backwards:
        return STUDY.c.study_date.asc(), STUDY.c.id.asc()
    return STUDY.c.study_date.desc(), STUDY.c.id.desc()


def _shown(scope: ScopeShape | None, tag: int) -> Any:
    within = None if scope is None else computed(scope, tag)
    return COMPUTED[tag].column if within is None else within


def _terms(shape: ListShape) -> list[Any]:
    """What is asked of every study beside its words."""
    terms = narrowing(shape.terms, shape.institutions, shape.scope)
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
