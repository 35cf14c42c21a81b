"""From a prefilter to one SELECT. The statement is compiled once per shape of query, values are always parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Select, and_, bindparam, cast, func, or_, select
from sqlalchemy.engine import Dialect

from strongroom.archive import keys as kept
from strongroom.archive.model import Level, SearchRow
from strongroom.archive.prefilter import LIKE_ESCAPE, Between, Condition, Equal, In, Like, Prefilter, Prefix
from strongroom.archive.query import Query
from strongroom.store.database import Sql
from strongroom.store.schema.tables import INSTANCE, PATIENT, SERIES, STUDY
from strongroom.store.scope import TABLES, ScopeShape, computed, joined, shape_of, values_of, visible
from strongroom.types import Scope

_LAST_CHARACTER = chr(0x10FFFF)
"""No stored text begins with it: a prefix, and everything that follows it, lies between the prefix and this."""


class Shape(NamedTuple):
    """What of a query decides its SQL text: all but the values."""

    level: Level
    attributes: tuple[Level, ...]
    computed: tuple[int, ...]
    conditions: tuple[tuple[str, Level, str, int], ...]
    limited: bool
    skips: bool
    scope: ScopeShape | None


class Computed(NamedTuple):
    """A computed attribute: the column it comes from and how that becomes an element's values."""

    column: Any
    vr: str
    values: Callable[[Any], list[Any]]


def _parts(text: str | None) -> list[str]:
    return sorted({part for part in (text or "").split("\\") if part})


def _one(value: Any) -> list[Any]:
    return [value]


_STUDIES = STUDY.alias("studies")


def _over_studies(value: Any) -> Any:
    """A patient's totals, added up when asked for: kept counters would cost every store one page more to write."""
    return select(cast(value, BigInteger)).where(_STUDIES.c.patient == PATIENT.c.id).scalar_subquery()


COMPUTED = {
    0x00201200: Computed(_over_studies(func.count()), "IS", _one),
    0x00201202: Computed(_over_studies(func.sum(_STUDIES.c.num_series)), "IS", _one),
    0x00201204: Computed(_over_studies(func.sum(_STUDIES.c.num_instances)), "IS", _one),
    kept.MODALITIES_IN_STUDY: Computed(STUDY.c.modalities, "CS", _parts),
    kept.SOP_CLASSES_IN_STUDY: Computed(STUDY.c.sop_classes, "UI", _parts),
    0x00201206: Computed(STUDY.c.num_series, "IS", _one),
    0x00201208: Computed(STUDY.c.num_instances, "IS", _one),
    0x00201209: Computed(SERIES.c.num_instances, "IS", _one),
    kept.AVAILABLE_TRANSFER_SYNTAX_UID: Computed(INSTANCE.c.transfer_syntax, "UI", _one),
}


def search(
    cursor: Any, dialect: Dialect, query: Query, narrowed: Prefilter, limit: int | None, scope: Scope | None
) -> tuple[Any, Callable[[Sequence[Any]], SearchRow]]:
    """Run the SELECT; returns the cursor and what makes a SearchRow of one of its rows."""
    shape = Shape(
        query.level,
        _levels(query, exact=narrowed.exact),
        tuple(sorted(query.computed)),
        tuple(map(_shape_of, narrowed.conditions)),
        limit is not None,
        limit is not None and query.offset > 0,
        shape_of(scope),
    )
    values = values_of(scope) | _values(narrowed) | {"row_limit": limit, "row_offset": query.offset}
    _statement(dialect, shape).run(cursor, **values)
    return cursor, _row_maker(shape)


def count(cursor: Any, dialect: Dialect, query: Query, narrowed: Prefilter, scope: Scope | None) -> int:
    """How many rows of the query's level meet the conditions."""
    conditions = tuple(map(_shape_of, narrowed.conditions))
    statement = _counting(dialect, query.level, conditions, shape_of(scope))
    return int(statement.run(cursor, **values_of(scope), **_values(narrowed)).fetchone()[0])


def _values(narrowed: Prefilter) -> dict[str, Any]:
    return {
        f"c{number}_{at}": value
        for number, condition in enumerate(narrowed.conditions)
        for at, value in enumerate(_values_of(condition))
    }


def _levels(query: Query, *, exact: bool) -> tuple[Level, ...]:
    """The levels whose attributes an answer, or the exact matcher, looks at."""
    tags = [key.tag for key in query.returned]
    if not exact:
        tags += [key.tag for key in query.keys]
        tags.append(kept.TIMEZONE_OFFSET_FROM_UTC)
    needed = {kept.LEVEL_OF[tag] for tag in tags if tag in kept.LEVEL_OF and tag not in kept.COMPUTED_TAGS}
    return tuple(sorted(level for level in needed if level <= query.level))


def _row_maker(shape: Shape) -> Callable[[Sequence[Any]], SearchRow]:
    count = len(shape.attributes)
    computed = [(f"{tag:08X}", COMPUTED[tag].vr, COMPUTED[tag].values) for tag in shape.computed]

    def make(row: Sequence[Any]) -> SearchRow:
        added = {
            name: {"vr": vr, "Value": values(value)}
            for (name, vr, values), value in zip(computed, row[count:], strict=False)
        }
        return SearchRow(tuple(map(bytes, row[:count])), added)

    return make


def _shape_of(condition: Condition) -> tuple[str, Level, str, int]:
    column = condition.column
    return type(condition).__name__, column.level, column.name, len(_values_of(condition))


def _values_of(condition: Condition) -> tuple[str, ...]:
    match condition:
        case Equal(_, text):
            return (text,)
        case In(_, texts):
            return texts
        case Prefix(_, text):
            return text, text + _LAST_CHARACTER
        case Like(_, patterns):
            return patterns
        case Between(_, low, high):
            return low, high


@lru_cache(512)
def _statement(dialect: Dialect, shape: Shape) -> Sql:
    level = shape.level
    columns: list[Any] = [TABLES[each].c.attributes.label(f"attributes_{each.name}") for each in shape.attributes]
    columns += [_computed_column(shape, tag).label(f"computed_{tag:08x}") for tag in shape.computed]
    columns.append(TABLES[level].c.id.label("row_id"))
    statement: Select[Any] = select(*columns).select_from(joined(level))
    terms = [_term(number, *condition) for number, condition in enumerate(shape.conditions)]
    if shape.scope is not None:
        terms.append(visible(shape.scope, level))
    number = TABLES[level].c.id
    if shape.scope is None or not shape.limited:
        return Sql(_page(statement.where(*terms), shape, number), dialect)
    # Which rows first, and then what they have: where a database finds those in scope by an index of something else, it
    # would work out all of them to sort them.
    page = _page(select(number).select_from(joined(level)).where(*terms), shape, number)
    return Sql(statement.where(number.in_(page.subquery("page").select())).order_by(number), dialect)


def _page(statement: Select[Any], shape: Shape, number: Any) -> Select[Any]:
    """In order of arrival, from where a page begins and as many as it has."""
    statement = statement.order_by(number)
    if shape.limited:
        statement = statement.limit(bindparam("row_limit"))
    if shape.skips:
        statement = statement.offset(bindparam("row_offset"))
    return statement


@lru_cache(512)
def _counting(
    dialect: Dialect, level: Level, conditions: tuple[tuple[str, Level, str, int], ...], scope: ScopeShape | None
) -> Sql:
    terms = [_term(number, *condition) for number, condition in enumerate(conditions)]
    if scope is not None:
        terms.append(visible(scope, level))
    # Every record has those above it: without a condition on them there is no need to look them up.
    alone = scope is None and all(each[1] is level for each in conditions)
    tables = TABLES[level] if alone else joined(level)
    return Sql(select(func.count()).select_from(tables).where(*terms), dialect)


def _computed_column(shape: Shape, tag: int) -> Any:
    within = None if shape.scope is None else computed(shape.scope, tag)
    return COMPUTED[tag].column if within is None else within


def _term(number: int, kind: str, level: Level, name: str, count: int) -> Any:
    column = TABLES[level].c[name]
    values: list[Any] = [bindparam(f"c{number}_{at}") for at in range(count)]
    if kind == "Equal":
        return column == values[0]
    if kind == "In":
        return column.in_(values)
    if kind == "Like":
        return or_(*[column.like(value, escape=LIKE_ESCAPE) for value in values])
    return and_(column >= values[0], column <= values[1])
