"""What the index may be asked before the exact matcher runs: conditions on columns that no answer fails.

Each condition is true of every record that ``matching`` accepts (a superset), on any database: LIKE may or may not see
case, a pattern may be weaker than the key. ``Prefilter.exact`` says that the conditions alone already are the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from strongroom.archive.constraint import (
    AnyOf,
    Empty,
    InstantRange,
    Match,
    Range,
    SequenceMatch,
    Single,
    UidList,
    Wildcard,
)
from strongroom.archive.keys import COLUMN_OF, Column
from strongroom.archive.matching import is_alphabetic_only, words_of
from strongroom.archive.query import Query
from strongroom.archive.values import US_PER_DAY

LIKE_ESCAPE: Final = "!"
"""The escape character of every LIKE pattern here."""

_MAX_LIKE_RUNS: Final = 8
_WIDEST_ZONES_DAYS: Final = 2
"""Two local times of one instant are at most -14:59 and +14:59 apart: less than two days."""
_EARLIEST_DATE: Final = "00000000"
_LATEST_DATE: Final = "99999999"
_EARLIEST_TIME: Final = "000000000000"
_LATEST_TIME: Final = "999999999999"
_LITERAL_RUN: Final = re.compile(r"[^*?^]+")
_WILDCARD_OR_EMPTY_COMPONENT: Final = re.compile(r"[*?]|\^\^")
_LIKE_SPECIAL: Final = re.compile(r"[!%_]")


@dataclass(frozen=True, slots=True)
class Equal:
    """``column = text``."""

    column: Column
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class In:
    """``column IN (texts)``; at least two texts."""

    column: Column
    texts: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prefix:
    """``column`` begins with ``text``, which is not empty."""

    column: Column
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Like:
    """``column LIKE pattern ESCAPE '!'`` for one of ``patterns`` at least."""

    column: Column
    patterns: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Between:
    """``column BETWEEN lo AND hi``, compared character by character."""

    column: Column
    lo: str = field(repr=False)
    hi: str = field(repr=False)


Condition = Equal | In | Prefix | Like | Between


@dataclass(frozen=True, slots=True)
class Prefilter:
    """Conditions that all have to hold, and whether nothing else has to."""

    conditions: tuple[Condition, ...]
    exact: bool


def sql_conditions(query: Query) -> Prefilter:
    """Return what the index is to be asked for ``query``; where not ``exact``, ``matching`` decides on each row."""
    conditions: list[Condition] = []
    exact = True
    for key in query.keys:
        column = COLUMN_OF.get(key.tag)
        if column is None:
            exact = False
            continue
        found, decided = _conditions(column, key.match, query.fuzzy)
        conditions += found
        exact = exact and decided
    return Prefilter(tuple(conditions), exact)


def _conditions(column: Column, match: Match, fuzzy: bool) -> tuple[list[Condition], bool]:
    """Return the conditions of one key and whether they decide it."""
    if isinstance(match, Empty):
        return [], False
    if column.maintained:
        return _members(column, match), False
    if column.vr == "PN":
        return _names(column, match, fuzzy), False
    match match:
        case SequenceMatch():  # no column holds a sequence
            return [], False
        case Single(value):
            return [Equal(column, value)], True
        case UidList(values):
            return [In(column, values)], True
        case Range(lo, hi) if column.vr == "TM":
            return [Between(column, lo or _EARLIEST_TIME, hi or _LATEST_TIME)], True
        case Range(lo, hi):
            return [Between(column, lo or _EARLIEST_DATE, hi or _LATEST_DATE)], True
        case InstantRange(lo_us, hi_us, lo_zone, hi_zone):
            lo_date = _EARLIEST_DATE if lo_us is None else _day(lo_us, 0 if lo_zone is None else -_WIDEST_ZONES_DAYS)
            hi_date = _LATEST_DATE if hi_us is None else _day(hi_us, 0 if hi_zone is None else _WIDEST_ZONES_DAYS)
            return [Between(column, lo_date, hi_date)], False
        case AnyOf(matches):
            values = tuple(each.value for each in matches if isinstance(each, Single))
            if len(values) == len(matches):
                return [In(column, values)], True
            return [Like(column, tuple(map(_like, matches)))], False
        case Wildcard(pattern):
            head = pattern[:-1]
            is_prefix = pattern.endswith("*") and "*" not in head and "?" not in head
            return [Prefix(column, head) if is_prefix else Like(column, (_like(match),))], False


def _members(column: Column, match: Match) -> list[Condition]:
    """Return the condition on a maintained column, whose values stand between backslashes."""
    alternatives = match.matches if isinstance(match, AnyOf) else (match,)
    patterns = [f"%\\{_like(each)}\\%" for each in alternatives if isinstance(each, Single | Wildcard)]
    return [Like(column, tuple(patterns))]


def _names(column: Column, match: Match, fuzzy: bool) -> list[Condition]:
    match match:
        case Single(value) if fuzzy:
            # The words of the key are in the name in both ways of matching, in no order.
            return [Like(column, (f"%{escaped(word)}%",)) for word in words_of(value)[:_MAX_LIKE_RUNS]]
        case Single(text) | Wildcard(text):
            first, *others = text.split("=")
            if others or is_alphabetic_only(first):
                conditions = _first_group(column, first)
            else:
                conditions = _any_group(column, first)
            for group in others:
                conditions += _any_group(column, group)
            return conditions
    return []


def _first_group(column: Column, group: str) -> list[Condition]:
    """Return conditions for the group that the column begins with."""
    # A key's group ends in a character asked for or in "*", so a record that matches has every caret of the head.
    head = "" if group.startswith("^") else _WILDCARD_OR_EMPTY_COMPONENT.split(group, maxsplit=1)[0]
    conditions: list[Condition] = [Prefix(column, head)] if head else []
    return conditions + (_any_group(column, group) if _LITERAL_RUN.search(group, len(head)) else [])


def _any_group(column: Column, group: str) -> list[Condition]:
    """Return the condition that what is literal in a group occurs in the column, in its order."""
    runs = _LITERAL_RUN.findall(group)[:_MAX_LIKE_RUNS]
    return [Like(column, ("%" + "".join(escaped(run) + "%" for run in runs),))] if runs else []


def _like(match: Single | Wildcard) -> str:
    if isinstance(match, Single):
        return escaped(match.value)
    return escaped(match.pattern).replace("*", "%").replace("?", "_")


def escaped(text: str) -> str:
    """``text`` as it stands for itself in a LIKE pattern."""
    return _LIKE_SPECIAL.sub(r"!\g<0>", text)


def _day(local: int, add_days: int) -> str:
    ordinal = local // US_PER_DAY + add_days
    if ordinal < 1:
        return _EARLIEST_DATE
    if ordinal > date.max.toordinal():
        return _LATEST_DATE
    return date.fromordinal(ordinal).isoformat().replace("-", "")
