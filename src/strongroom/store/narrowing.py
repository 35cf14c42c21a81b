"""The list of studies by institution and by referring physician.

People look for an institution by a piece of its name, in whatever case. There are few, and many series of each: the
names that occur are looked at, one step of an index each, and series are found by whole names. A physician is found by
what his name begins with, which an index tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Dialect

from strongroom.archive.listing import StudyList
from strongroom.archive.values import fold
from strongroom.store.database import Sql
from strongroom.store.schema.tables import PATIENT, SERIES, STUDY
from strongroom.store.scope import ScopeShape, visible_series

MAX_NAMES: Final = 500
"""Names of institutions that are looked at. Where there are more, one is found by its whole name, as it is written."""
STEP: Final = 16
"""How many names more make another statement."""
FEW: Final = 3000
"""Studies that are looked up and put in order afterwards. Where there are more, each study is asked in the order of the
list: of so many some are among the first."""

INSTITUTION: Final = "institution"
REFERRING: Final = "referring"
_OFTEN: Final = "_often"
_LAST_CHARACTER: Final = "\U0010ffff"

_OF_INSTITUTION: Final = SERIES.alias("series_of_institution")
_IN_INSTITUTION: Final = SERIES.alias("series_in_institution")
_REFERRED: Final = STUDY.alias("study_referred")


class Narrowed(NamedTuple):
    """What a list is narrowed to: which terms its SQL has, how many names of institutions, and the parameters."""

    terms: frozenset[str]
    institutions: int
    values: Mapping[str, str]


def narrowed(cursor: Any, dialect: Dialect, wanted: StudyList) -> Narrowed | None:
    """What is asked for of institution and physician; None if nothing has that institution."""
    names = _institutions_with(cursor, dialect, wanted.institution) if wanted.institution else ()
    if wanted.institution and not names:
        return None
    values = {f"{INSTITUTION}_{number}": name for number, name in enumerate(names)}
    terms = set()
    if names:
        is_often = _many_series_sql(dialect, len(names)).run(cursor, few=FEW, **values).fetchone()
        terms.add(INSTITUTION + _OFTEN * bool(is_often))
    if wanted.referring:
        values |= {REFERRING: wanted.referring, f"after_{REFERRING}": wanted.referring + _LAST_CHARACTER}
        is_often = _many_studies_sql(dialect).run(cursor, few=FEW, **values).fetchone()
        terms.add(REFERRING + _OFTEN * bool(is_often))
    return Narrowed(frozenset(terms), len(names), values)


def narrowing(terms: frozenset[str], institutions: int, scope: ScopeShape | None) -> list[Any]:
    """The conditions of a row of the study that ``narrowed`` says; series are those in scope."""
    found: list[Any] = []
    referred = select(_REFERRED.c.id).where(*_begins(_REFERRED.c.referring))
    if REFERRING in terms:
        found.append(STUDY.c.id.in_(referred))
    elif REFERRING + _OFTEN in terms:
        found.append(referred.where(_REFERRED.c.id == STUDY.c.id).correlate(STUDY).exists())
    if INSTITUTION in terms:
        found.append(STUDY.c.id.in_(select(_OF_INSTITUTION.c.study).where(_is_of(_OF_INSTITUTION, institutions))))
    if INSTITUTION + _OFTEN in terms or (INSTITUTION in terms and scope is not None):
        seen = [_IN_INSTITUTION.c.study == STUDY.c.id, _is_of(_IN_INSTITUTION, institutions)]
        if scope is not None:
            seen.append(visible_series(scope, _IN_INSTITUTION))
        found.append(select(_IN_INSTITUTION.c.id).where(*seen).correlate(PATIENT, STUDY).exists())
    return found


def _institutions_with(cursor: Any, dialect: Dialect, text: str) -> Sequence[str]:
    """The institutions in whose names a text occurs, some more than once: they are a multiple of ``STEP``."""
    names = [name for (name,) in _names_sql(dialect).run(cursor, count=MAX_NAMES + 1).fetchall() if name]
    wanted = fold(text)
    found = [name for name in names if wanted in fold(name)] if len(names) <= MAX_NAMES else [text]
    return [*found, *[found[-1]] * (-len(found) % STEP)] if found else []


def _is_of(series: Any, institutions: int) -> Any:
    return series.c.institution.in_([bindparam(f"{INSTITUTION}_{number}") for number in range(institutions)])


def _begins(name: Any) -> tuple[Any, Any]:
    return name >= bindparam(REFERRING), name < bindparam(f"after_{REFERRING}")


@lru_cache(4)
def _names_sql(dialect: Dialect) -> Sql:
    """Each name that occurs, by steps from one to the next."""
    first, after = SERIES.alias("first_institution"), SERIES.alias("next_institution")
    names = select(func.min(first.c.institution).label("name")).where(first.c.institution > "")
    found = names.cte("institutions", recursive=True)
    following = select(func.min(after.c.institution)).where(after.c.institution > found.c.name).scalar_subquery()
    found = found.union_all(select(following.label("name")).where(found.c.name.is_not(None)))
    return Sql(select(found.c.name).limit(bindparam("count")), dialect)


@lru_cache(64)
def _many_series_sql(dialect: Dialect, institutions: int) -> Sql:
    """A row if there are more than ``few``."""
    found = select(_OF_INSTITUTION.c.study).where(_is_of(_OF_INSTITUTION, institutions))
    return Sql(found.limit(1).offset(bindparam("few")), dialect)


@lru_cache(4)
def _many_studies_sql(dialect: Dialect) -> Sql:
    """A row if there are more than ``few``."""
    return Sql(select(_REFERRED.c.id).where(*_begins(_REFERRED.c.referring)).limit(1).offset(bindparam("few")), dialect)
