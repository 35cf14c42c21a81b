"""What scopes are together and have in common: parts of the archive, put together and intersected. Pure.

Nothing here widens by accident: what leaves nothing is denied, and never becomes a scope that limits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from strongroom.errors import Denied
from strongroom.types import Part, Scope

T = TypeVar("T")

NO_COMMON_SCOPE: Final = "user-scope-outside-peer-scope"
"""Why somebody is refused at a machine that may see nothing of what he may."""

MAX_SCOPE_VALUES: Final = 1000
"""Values of one scope together: each is a parameter of every statement."""

MAX_PARTS: Final = 64
"""Parts of one scope: each is a condition of every statement."""

MAX_JOINED_VALUES: Final = 4 * MAX_SCOPE_VALUES
"""Values of scopes put together; every database takes at least 32,766 parameters, and no value is more than five."""

MAX_REFERRING: Final = 100
"""Referring physicians of a scope, put together or not: each is three searches of an index."""

SCOPE_TOO_LARGE: Final = "scope-too-large"
"""Why somebody is refused whose scopes, put together, are more than a statement can hold."""

NAME_ENDS: Final = ("^", "=")
"""What comes after a component of a name if anything does: another component, or another group of them."""

EARLIEST_DATE: Final = "00000000"
LATEST_DATE: Final = "99999999"


def any_of(*scopes: Scope | None) -> Scope | None:
    """What lies in one of the scopes at least; None, no limit, if one of them is. Raises Denied: scope-too-large."""
    parts: list[Part] = []
    for scope in scopes:
        if scope is None:
            return None
        parts += scope.parts
    return _joined(parts)


def common_scope(one: Scope | None, other: Scope | None) -> Scope | None:
    """What lies in both scopes. Raises Denied if nothing can, or scope-too-large."""
    if one is None or other is None:
        return other if one is None else one
    both = [_common_part(each, another) for each in one.parts for another in other.parts]
    common = _joined(part for part in both if part is not None)
    if not common.parts:
        raise Denied(NO_COMMON_SCOPE)
    return common


def _joined(parts: Iterable[Part]) -> Scope:
    """A scope of these parts, each once."""
    scope = Scope(tuple(dict.fromkeys(parts)))
    names = sum(len(part.referring) for part in scope.parts)
    if len(scope.parts) > MAX_PARTS or sum(map(size_of, scope.parts)) > MAX_JOINED_VALUES or names > MAX_REFERRING:
        raise Denied(SCOPE_TOO_LARGE)
    return scope


def size_of(part: Part) -> int:
    """How many values a part has, dates apart."""
    return sum(map(len, (part.patients, part.studies, part.modalities, part.institutions, part.referring)))


def _common_part(one: Part, other: Part) -> Part | None:
    """What lies in both parts, None if nothing can."""
    last = min(filter(None, (one.last_date, other.last_date)), default="")
    first = max(one.first_date, other.first_date)
    common = (
        _both(one.patients, other.patients, _common_patients(one, other)),
        _both(one.studies, other.studies, _members_of_both(one.studies, other.studies)),
        _both(one.modalities, other.modalities, _members_of_both(one.modalities, other.modalities)),
        _both(one.institutions, other.institutions, _members_of_both(one.institutions, other.institutions)),
        _both(one.referring, other.referring, _common_names(one.referring, other.referring)),
    )
    patients, studies, modalities, institutions, referring = common
    if None in common or (last and first > last):
        return None
    return Part(patients or (), studies or (), modalities or (), institutions or (), referring or (), first, last)


def _both(one: tuple[T, ...], other: tuple[T, ...], common: tuple[T, ...]) -> tuple[T, ...] | None:
    """Two limits as one, given what they have in common; None if that leaves nothing."""
    if one and other:
        return common or None
    return one or other


def _members_of_both(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    members = frozenset(other)
    return tuple(each for each in one if each in members)


def _common_patients(one: Part, other: Part) -> tuple[tuple[str, str | None], ...]:
    """A patient of any issuer and one of a named issuer have the latter in common."""
    both = [
        (patient_id, issuer if other_issuer is None else other_issuer)
        for patient_id, issuer in one.patients
        for other_id, other_issuer in other.patients
        if patient_id == other_id and (issuer is None or other_issuer is None or issuer == other_issuer)
    ]
    return tuple(dict.fromkeys(both))


def _common_names(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Of two names of which one begins with the other, what both have in common is the longer one."""
    both = [
        each if is_name_within(each, another) else another
        for each in one
        for another in other
        if is_name_within(each, another) or is_name_within(another, each)
    ]
    return tuple(dict.fromkeys(both))


def is_name_within(text: str, name: str) -> bool:
    """Whether a stored name is the one that a scope has: the same, or with more components or groups after it.

    Both are ``values.name_text``. So ``smith^anna`` has ``smith^anna^^dr`` in it, and ``smith`` has every Smith, as a
    single value has in C-FIND (PS3.4 C.2.2.2.1).
    """
    return text == name or text.startswith(tuple(name + end for end in NAME_ENDS))


def whole_studies(scope: Scope) -> Scope:
    """The parts of a scope that have a study as a whole or not at all.

    Of the others, those of some modalities or institutions, what is seen of a study may not be all of it.
    """
    return Scope(tuple(part for part in scope.parts if not (part.modalities or part.institutions)))


def is_dated(part: Part) -> bool:
    """Whether dates are limited; then a study without a date is outside."""
    return bool(part.first_date or part.last_date)


def date_range(part: Part) -> tuple[str, str]:
    """First and last date of a part, both in it; no date at all compares as less than the first."""
    return part.first_date or EARLIEST_DATE, part.last_date or LATEST_DATE
