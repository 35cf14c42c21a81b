"""Who may do what, and with which part of the archive. Every path, DIMSE or other, asks here; what is not granted is
denied.

A right says what a principal may do, a scope with what. What lies outside a scope is to its holder as if it were not
stored. A scope is written as terms, which all have to hold: ``patient=123`` (of one issuer: ``patient=123\\HOSPITAL``),
``study=1.2.3``, ``modality=CT,MR``, ``date=20240101-20241231``. Terms on patients, studies or modalities that are
given again add to each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Final, TypeVar

from strongroom.archive.keys import COLUMNS
from strongroom.archive.model import Level, NewInstance
from strongroom.archive.people import Person
from strongroom.archive.roles import rights_of
from strongroom.archive.values import short_text
from strongroom.errors import ConfigError, Denied, IntegrityError, MalformedDataset, Refused
from strongroom.types import Principal, Right, Scope, Uid

T = TypeVar("T")

ALL: Final = "all"
"""The one term that stands for no limit."""

NO_RIGHT: Final = "no-right-"
"""How a refusal begins that names the right which was missing."""

OUTSIDE_SCOPE: Final = "outside-scope"
"""Why an object is refused, whether or not there is anything stored that its sender may not know of."""

NO_COMMON_SCOPE: Final = "user-scope-outside-peer-scope"
"""Why somebody is refused at a machine that may see nothing of what he may."""

MAX_SCOPE_VALUES: Final = 1000
"""Patients, studies and modalities of one scope together: each is a parameter of every statement."""

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


def narrowed_to_person(principal: Principal, person: Person) -> Principal:
    """The principal of a machine that somebody works at: what both may do, with what both may see.

    Raises Denied if there is nothing that both may see.
    """
    rights = principal.rights & rights_of(person.roles)
    return replace(principal, user=person.name, rights=rights, scope=common_scope(principal.scope, person.scope))


def common_scope(one: Scope | None, other: Scope | None) -> Scope | None:
    """What lies in both scopes. Raises Denied if nothing can."""
    if one is None or other is None:
        return one or other
    first, last = max(one.first_date, other.first_date), min(filter(None, (one.last_date, other.last_date)), default="")
    common = Scope(
        patients=_common(one.patients, other.patients, _common_patients(one, other)),
        studies=_common(one.studies, other.studies, tuple(uid for uid in one.studies if uid in other.studies)),
        modalities=_common(
            one.modalities, other.modalities, tuple(each for each in one.modalities if each in other.modalities)
        ),
        first_date=first,
        last_date=last,
    )
    if last and first > last:
        raise Denied(NO_COMMON_SCOPE)
    return common


def _common(one: tuple[T, ...], other: tuple[T, ...], both: tuple[T, ...]) -> tuple[T, ...]:
    if one and other and not both:
        raise Denied(NO_COMMON_SCOPE)
    return both if one and other else one or other


def _common_patients(one: Scope, other: Scope) -> tuple[tuple[str, str | None], ...]:
    """A patient of any issuer and one of a named issuer have the latter in common."""
    both = [
        (patient_id, issuer if other_issuer is None else other_issuer)
        for patient_id, issuer in one.patients
        for other_id, other_issuer in other.patients
        if patient_id == other_id and (issuer is None or other_issuer is None or issuer == other_issuer)
    ]
    return tuple(dict.fromkeys(both))


def require_whole_studies(scope: Scope | None) -> None:
    """Return if a scope has a study as a whole or not at all: to delete is to delete a whole study.

    Raises Denied for one of some modalities: what its holder sees of a study may not be all of it.
    """
    if scope is not None and scope.modalities:
        raise Denied("scope-of-parts-of-studies")


def require_in_scope(scope: Scope | None, new: NewInstance) -> None:
    """Return if an object lies in a scope by what it says of itself. Raises Refused."""
    if scope is None:
        return
    patient_id, issuer, *_ = new.levels[Level.PATIENT].columns
    study_date = new.levels[Level.STUDY].columns[_STUDY_DATE]
    first, last = date_range(scope)
    admitted = (
        (not scope.patients or (patient_id, issuer) in scope.patients or (patient_id, None) in scope.patients)
        and (not scope.studies or new.stored.study_uid in scope.studies)
        and (not scope.modalities or new.modality in scope.modalities)
        and (not is_dated(scope) or first <= study_date <= last)
    )
    if not admitted:
        raise Refused(OUTSIDE_SCOPE)


def is_dated(scope: Scope) -> bool:
    """Whether dates are limited; then a study without a date is outside."""
    return bool(scope.first_date or scope.last_date)


def date_range(scope: Scope) -> tuple[str, str]:
    """First and last date of a scope, both in it; no date at all compares as less than the first."""
    return scope.first_date or EARLIEST_DATE, scope.last_date or LATEST_DATE


def parse_scope(terms: Sequence[str]) -> Scope | None:
    """The scope that terms describe, None for the single term ``all``.

    Raises ConfigError for no term at all, and for whatever a scope cannot express: nothing is left out.
    """
    if [term.strip() for term in terms] == [ALL]:
        return None
    if not terms:
        raise ConfigError(f"a scope needs a term; the term {ALL} stands for no limit")
    found: dict[str, list[str]] = {}
    for term in terms:
        if len(term) > MAX_TERM_CHARS:
            raise ConfigError(f"a term of a scope has at most {MAX_TERM_CHARS} characters")
        name, equals, value = term.partition("=")
        if name not in _READERS or not equals:
            raise ConfigError(f"a scope is patient=ID, study=UID, modality=CT,MR, date=20240101-20241231 or {ALL}")
        found.setdefault(name, []).extend(_READERS[name](value))
    if len(found.get("date", ())) > 2:
        raise ConfigError("a scope has one range of dates")
    if sum(map(len, found.values())) > MAX_SCOPE_VALUES:
        raise ConfigError(f"a scope has at most {MAX_SCOPE_VALUES} values")
    first, last = found.get("date") or ("", "")
    return Scope(
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
    if scope is None:
        return (ALL,)
    patients = [each if issuer is None else f"{each}\\{issuer}" for each, issuer in scope.patients]
    terms = [f"patient={patient}" for patient in patients] + [f"study={uid}" for uid in scope.studies]
    if scope.modalities:
        terms.append(f"modality={','.join(scope.modalities)}")
    if is_dated(scope):
        terms.append(f"date={scope.first_date}-{scope.last_date}")
    return tuple(terms)


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
    if scope is None:
        return (ALL,)
    terms = tuple(term for term in scope_terms(scope) if not term.startswith("patient="))
    return ((f"patients={len(scope.patients)}",) if scope.patients else ()) + terms
