"""Who may do what, and with which part of the archive. Every path, DIMSE or other, asks here; what is not granted is
denied.

A right says what a principal may do, a scope with what. What lies outside a scope is to its holder as if it were not
stored. A scope is written as terms, which all have to hold: ``patient=123`` (of one issuer: ``patient=123\\HOSPITAL``),
``study=1.2.3``, ``modality=CT,MR``, ``date=20240101-20241231``. Terms on patients, studies or modalities that are
given again add to each other. The term ``or`` begins another part of the archive, beside the one that the terms before
it describe; ``none`` alone is no part of it, ``all`` alone no limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Final, TypeVar

from strongroom.archive.keys import COLUMNS
from strongroom.archive.model import Level, NewInstance
from strongroom.archive.people import VIA_SESSION, Person
from strongroom.archive.roles import rights_of
from strongroom.archive.values import short_text
from strongroom.errors import ConfigError, Denied, IntegrityError, MalformedDataset, ProofNeeded, Refused
from strongroom.types import NOTHING, Part, Principal, Right, Scope, Uid

T = TypeVar("T")

ALL: Final = "all"
"""The one term that stands for no limit."""

NONE: Final = "none"
"""The one term that stands for nothing of what is stored."""

OR: Final = "or"
"""The term between two parts of a scope."""

NO_RIGHT: Final = "no-right-"
"""How a refusal begins that names the right which was missing."""

OUTSIDE_SCOPE: Final = "outside-scope"
"""Why an object is refused, whether or not there is anything stored that its sender may not know of."""

NO_COMMON_SCOPE: Final = "user-scope-outside-peer-scope"
"""Why somebody is refused at a machine that may see nothing of what he may."""

MAX_SCOPE_VALUES: Final = 1000
"""Patients, studies and modalities of one scope together: each is a parameter of every statement."""

MAX_PARTS: Final = 64
"""Parts of one scope: each is a condition of every statement."""

MAX_JOINED_VALUES: Final = 8 * MAX_SCOPE_VALUES
"""Values of scopes put together; every database takes at least 32,766 parameters, and no value is more than two."""

SCOPE_TOO_LARGE: Final = "scope-too-large"
"""Why somebody is refused whose scopes, put together, are more than a statement can hold."""

MAX_REMEMBERED: Final = 1024
"""Stored scopes that are not read again: every request over HTTPS comes with one."""

MAX_TERM_CHARS: Final = 4096
MAX_ID_CHARS: Final = 256
EARLIEST_DATE: Final = "00000000"
LATEST_DATE: Final = "99999999"

_MODALITY: Final = re.compile("[A-Z0-9][A-Z0-9_ ]{0,15}")
_DATES: Final = re.compile("([0-9]{8})?(-)?([0-9]{8})?", re.ASCII)
_STUDY_DATE: Final = [column.name for column in COLUMNS[Level.STUDY] if not column.maintained].index("study_date")


def require(principal: Principal, right: Right) -> None:
    """Return if the principal holds the right. Raises Denied."""
    if right not in principal.rights:
        raise Denied(f"{NO_RIGHT}{right.value}")


def require_fresh_proof(principal: Principal, now_us: int, max_age_us: int, resume: str) -> None:
    """Return if somebody is here with a session and has proved a short while ago who he is.

    Raises Denied for whoever is no person, ProofNeeded, which is one, for who has to do so again.
    """
    if principal.via != VIA_SESSION:
        raise Denied("no-session")
    if now_us - principal.proved_us >= max_age_us:
        raise ProofNeeded(resume)


def narrowed_to_person(principal: Principal, person: Person) -> Principal:
    """The principal of a machine that somebody works at: what both may do, with what both may see.

    Raises Denied if there is nothing that both may see.
    """
    rights = principal.rights & rights_of(person.roles)
    return replace(principal, user=person.name, rights=rights, scope=common_scope(principal.scope, person.scope))


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
    if len(scope.parts) > MAX_PARTS or sum(map(_size, scope.parts)) > MAX_JOINED_VALUES:
        raise Denied(SCOPE_TOO_LARGE)
    return scope


def _size(part: Part) -> int:
    return len(part.patients) + len(part.studies) + len(part.modalities)


def _common_part(one: Part, other: Part) -> Part | None:
    """What lies in both parts, None if nothing can."""
    last = min(filter(None, (one.last_date, other.last_date)), default="")
    first = max(one.first_date, other.first_date)
    common = (
        _both(one.patients, other.patients, _common_patients(one, other)),
        _both(one.studies, other.studies, _members_of_both(one.studies, other.studies)),
        _both(one.modalities, other.modalities, _members_of_both(one.modalities, other.modalities)),
    )
    patients, studies, modalities = common
    if patients is None or studies is None or modalities is None or (last and first > last):
        return None
    return Part(patients, studies, modalities, first, last)


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


def whole_studies(scope: Scope) -> Scope:
    """The parts of a scope that have a study as a whole or not at all.

    Of the others, those of some modalities, what is seen of a study may not be all of it.
    """
    return Scope(tuple(part for part in scope.parts if not part.modalities))


def require_in_scope(scope: Scope | None, new: NewInstance) -> None:
    """Return if an object lies in a scope by what it says of itself. Raises Refused."""
    if scope is None:
        return
    patient_id, issuer, *_ = new.levels[Level.PATIENT].columns
    study_date = new.levels[Level.STUDY].columns[_STUDY_DATE]
    for part in scope.parts:
        first, last = date_range(part)
        if (
            (not part.patients or (patient_id, issuer) in part.patients or (patient_id, None) in part.patients)
            and (not part.studies or new.stored.study_uid in part.studies)
            and takes_series(part, new)
            and (not is_dated(part) or first <= study_date <= last)
        ):
            return
    raise Refused(OUTSIDE_SCOPE)


def takes_series(part: Part, new: NewInstance) -> bool:
    """Whether a series that begins with this object is, as a series, in a part, wherever it lies."""
    return not part.modalities or new.modality in part.modalities


def is_dated(part: Part) -> bool:
    """Whether dates are limited; then a study without a date is outside."""
    return bool(part.first_date or part.last_date)


def date_range(part: Part) -> tuple[str, str]:
    """First and last date of a part, both in it; no date at all compares as less than the first."""
    return part.first_date or EARLIEST_DATE, part.last_date or LATEST_DATE


def parse_scope(terms: Sequence[str]) -> Scope | None:
    """The scope that terms describe, None for the single term ``all``.

    Raises ConfigError for no term at all, and for whatever a scope cannot express: nothing is left out.
    """
    bare = [term.strip() for term in terms]
    if bare in ([ALL], [NONE]):
        return None if bare == [ALL] else NOTHING
    groups: list[list[str]] = [[]]
    for term, word in zip(terms, bare, strict=True):
        if word == OR:
            groups.append([])
        else:
            groups[-1].append(term)
    if len(groups) > MAX_PARTS:
        raise ConfigError(f"a scope has at most {MAX_PARTS} parts")
    parts = tuple(map(_parse_part, groups))
    if sum(map(_size, parts)) > MAX_SCOPE_VALUES:
        raise ConfigError(f"a scope has at most {MAX_SCOPE_VALUES} values")
    return Scope(tuple(dict.fromkeys(parts)))


def _parse_part(terms: Sequence[str]) -> Part:
    if not terms:
        raise ConfigError(f"a scope needs a term; the term {ALL} stands for no limit, {NONE} for nothing")
    found: dict[str, list[str]] = {}
    for term in terms:
        if len(term) > MAX_TERM_CHARS:
            raise ConfigError(f"a term of a scope has at most {MAX_TERM_CHARS} characters")
        name, equals, value = term.partition("=")
        if name not in _READERS or not equals:
            raise ConfigError(
                f"a scope is patient=ID, study=UID, modality=CT,MR, date=20240101-20241231, {OR} between such terms, "
                f"{ALL} or {NONE}"
            )
        found.setdefault(name, []).extend(_READERS[name](value))
    if len(found.get("date", ())) > 2:
        raise ConfigError("a scope has one range of dates")
    first, last = found.get("date") or ("", "")
    return Part(
        patients=tuple(dict.fromkeys(map(_patient, found.get("patient", ())))),
        studies=tuple(dict.fromkeys(found.get("study", ()))),
        modalities=tuple(dict.fromkeys(found.get("modality", ()))),
        first_date=first,
        last_date=last,
    )


def _read_patient(text: str) -> list[str]:
    parts = text.split("\\")
    if not short_text(parts[0]) or len(parts) > 2 or max(map(len, parts)) > MAX_ID_CHARS or "\0" in text:
        raise ConfigError("patient=ID names one Patient ID, or patient=ID\\ISSUER one of one issuer")
    if "*" in text or "?" in text:
        raise ConfigError("a scope has no wildcards: name each patient with a term of its own")
    return ["\\".join(map(short_text, parts))]


def _patient(text: str) -> tuple[str, str | None]:
    patient_id, backslash, issuer = text.partition("\\")
    return patient_id, issuer if backslash else None


def _read_studies(text: str) -> list[str]:
    try:
        return [str(Uid.parse(part.strip(" "))) for part in text.split(",")]
    except MalformedDataset:
        raise ConfigError("study=UID takes Study Instance UIDs, with commas between them") from None


def _read_modalities(text: str) -> list[str]:
    modalities = [short_text(part) for part in text.split(",")]
    if not all(map(_MODALITY.fullmatch, modalities)):
        raise ConfigError("modality=CT,MR takes codes of upper-case letters, digits and _, with commas between them")
    return modalities


def _read_dates(text: str) -> list[str]:
    found = _DATES.fullmatch(text.replace(" ", ""))
    first, dash, last = found.groups(default="") if found else ("", "", "")
    if not (first or last) or (last and not dash):
        raise ConfigError("date= takes a day, or a range: 20240101, 20240101-20241231, 20240101- or -20241231")
    last = last if dash else first
    try:
        is_upside_down = date.fromisoformat(first or "00010101") > date.fromisoformat(last or "99991231")
    except ValueError:
        raise ConfigError("date= takes days of the calendar") from None
    if is_upside_down:
        raise ConfigError("date= takes the earlier day first")
    return [first, last]


_READERS: Final[dict[str, Callable[[str], list[str]]]] = {
    "patient": _read_patient,
    "study": _read_studies,
    "modality": _read_modalities,
    "date": _read_dates,
}


def scope_terms(scope: Scope | None) -> tuple[str, ...]:
    """The terms that ``parse_scope`` makes this scope of. They may hold Patient IDs: not for the trail."""
    return _terms(scope, _patient_terms)


def _terms(scope: Scope | None, patients: Callable[[Part], Sequence[str]]) -> tuple[str, ...]:
    if scope is None or not scope.parts:
        return (ALL,) if scope is None else (NONE,)
    terms: list[str] = []
    for part in scope.parts:
        if terms:
            terms.append(OR)
        terms += patients(part)
        terms += [f"study={uid}" for uid in part.studies]
        if part.modalities:
            terms.append(f"modality={','.join(part.modalities)}")
        if is_dated(part):
            terms.append(f"date={part.first_date}-{part.last_date}")
    return tuple(terms)


def _patient_terms(part: Part) -> list[str]:
    return [f"patient={each}" if issuer is None else f"patient={each}\\{issuer}" for each, issuer in part.patients]


def _patient_count(part: Part) -> list[str]:
    return [f"patients={len(part.patients)}"] if part.patients else []


def encode_scope(scope: Scope | None) -> str:
    """A scope as it is stored: a JSON list of its terms, "" for None."""
    return "" if scope is None else json.dumps(scope_terms(scope))


@lru_cache(MAX_REMEMBERED)
def decode_scope(text: str) -> Scope | None:
    """The scope in what ``encode_scope`` made. Raises IntegrityError: what cannot be read is not taken for no limit."""
    if not text:
        return None
    try:
        scope = parse_scope(json.loads(text))
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError("a stored scope cannot be read") from error
    if scope is None:
        raise IntegrityError("a stored scope limits nothing")
    return scope


def scope_details(scope: Scope | None) -> tuple[str, ...]:
    """A scope as the trail may say it: how many patients, never which."""
    return _terms(scope, _patient_count)
