"""Who may do what, and with which part of the archive. Every path, DIMSE or other, asks here; what is not granted is
denied.

A right says what a principal may do, a scope with what. What lies outside a scope is to its holder as if it were not
stored. A scope is written as terms, which all have to hold: ``patient=123`` (of one issuer: ``patient=123\\HOSPITAL``),
``study=1.2.3``, ``modality=CT,MR``, ``institution=St. Mary's``, ``referring=Smith^Anna``,
``date=20240101-20241231``. Terms of one kind that are given again add to each other, but for dates. The term ``or``
begins another part of the archive, beside the one that the terms before it describe; ``none`` alone is no part of it,
``all`` alone no limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Final

from strongroom.archive.keys import COLUMNS
from strongroom.archive.model import Level, NewInstance
from strongroom.archive.people import VIA_SESSION, Person
from strongroom.archive.roles import rights_of
from strongroom.archive.scopes import (
    MAX_PARTS,
    MAX_REFERRING,
    MAX_SCOPE_VALUES,
    date_range,
    is_dated,
    is_name_within,
    size_of,
)
from strongroom.archive.scopes import any_of as any_of
from strongroom.archive.scopes import common_scope as common_scope
from strongroom.archive.values import name_text, short_text
from strongroom.errors import ConfigError, Denied, IntegrityError, MalformedDataset, ProofNeeded, Refused
from strongroom.types import NOTHING, Part, Principal, Right, Scope, Uid

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

MAX_ISSUERS: Final = 100
"""Issuers of the patients of one part: each is a condition, and SQLite bounds how many can stand together."""

MAX_REMEMBERED: Final = 1024
"""Stored scopes that are not read again: every request over HTTPS comes with one."""

MAX_TERM_CHARS: Final = 4096
MAX_ID_CHARS: Final = 256
_MODALITY: Final = re.compile("[A-Z0-9][A-Z0-9_ ]{0,15}")
_DATES: Final = re.compile("([0-9]{8})?(-)?([0-9]{8})?", re.ASCII)


def _column(level: Level, name: str) -> int:
    return [column.name for column in COLUMNS[level] if not column.maintained].index(name)


_STUDY_DATE: Final = _column(Level.STUDY, "study_date")
_REFERRING: Final = _column(Level.STUDY, "referring")
_INSTITUTION: Final = _column(Level.SERIES, "institution")


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


def require_in_scope(scope: Scope | None, new: NewInstance) -> None:
    """Return if an object lies in a scope by what it says of itself. Raises Refused."""
    if scope is None:
        return
    patient_id, issuer, *_ = new.levels[Level.PATIENT].columns
    study = new.levels[Level.STUDY].columns
    study_date, referring = study[_STUDY_DATE], study[_REFERRING]
    for part in scope.parts:
        first, last = date_range(part)
        if (
            (not part.patients or (patient_id, issuer) in part.patients or (patient_id, None) in part.patients)
            and (not part.studies or new.stored.study_uid in part.studies)
            and takes_series(part, new)
            and (not part.referring or any(is_name_within(referring, name) for name in part.referring))
            and (not is_dated(part) or first <= study_date <= last)
        ):
            return
    raise Refused(OUTSIDE_SCOPE)


def takes_series(part: Part, new: NewInstance) -> bool:
    """Whether a series that begins with this object is, as a series, in a part, wherever it lies."""
    institution = new.levels[Level.SERIES].columns[_INSTITUTION]
    return (not part.modalities or new.modality in part.modalities) and (
        not part.institutions or institution in part.institutions
    )


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
    if sum(map(size_of, parts)) > MAX_SCOPE_VALUES:
        raise ConfigError(f"a scope has at most {MAX_SCOPE_VALUES} values")
    if sum(len(part.referring) for part in parts) > MAX_REFERRING:
        raise ConfigError(f"a scope has at most {MAX_REFERRING} referring physicians")
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
                "a scope is patient=ID, study=UID, modality=CT,MR, institution=NAME, referring=NAME, "
                f"date=20240101-20241231, {OR} between such terms, {ALL} or {NONE}"
            )
        found.setdefault(name, []).extend(_READERS[name](value))
    if len(found.get("date", ())) > 2:
        raise ConfigError("a part of a scope has one range of dates")
    patients = tuple(dict.fromkeys(map(_patient, found.get("patient", ()))))
    if len({issuer for _, issuer in patients}) > MAX_ISSUERS:
        raise ConfigError(f"a part of a scope has patients of at most {MAX_ISSUERS} issuers")
    first, last = found.get("date") or ("", "")
    return Part(
        patients=patients,
        studies=tuple(dict.fromkeys(found.get("study", ()))),
        modalities=tuple(dict.fromkeys(found.get("modality", ()))),
        institutions=tuple(dict.fromkeys(found.get("institution", ()))),
        referring=tuple(dict.fromkeys(found.get("referring", ()))),
        first_date=first,
        last_date=last,
    )


def _read_patient(text: str) -> list[str]:
    parts = text.split("\\")
    if not short_text(parts[0]) or len(parts) > 2 or max(map(len, parts)) > MAX_ID_CHARS or "\0" in text:
        raise ConfigError("patient=ID names one Patient ID, or patient=ID\\ISSUER one of one issuer")
    _require_no_wildcard(text)
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


def _read_institution(text: str) -> list[str]:
    name = short_text(text)
    if not name or len(text) > MAX_ID_CHARS or "\0" in text or "\\" in text:
        raise ConfigError("institution=NAME takes one Institution Name, as images have it")
    _require_no_wildcard(text)
    return [name]


def _read_referring(text: str) -> list[str]:
    name = name_text(text)
    # Folded text is what is stored and read again: full-width forms have become what they stand for.
    is_readable = "\\" not in name and "\0" not in text and name_text(name) == name
    if not name.strip("^= ") or not is_readable or max(len(text), len(name)) > MAX_ID_CHARS:
        raise ConfigError("referring=NAME takes one name with carets between its components: referring=Smith^Anna")
    _require_no_wildcard(name)
    return [name]


def _require_no_wildcard(text: str) -> None:
    if "*" in text or "?" in text:
        raise ConfigError("a scope has no wildcards: name each one with a term of its own")


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
    "institution": _read_institution,
    "referring": _read_referring,
    "date": _read_dates,
}


def scope_terms(scope: Scope | None) -> tuple[str, ...]:
    """The terms that ``parse_scope`` makes this scope of. They may hold Patient IDs: not for the trail."""
    return _terms(scope, _names)


def _terms(scope: Scope | None, names: Callable[[Part], Sequence[str]]) -> tuple[str, ...]:
    if scope is None or not scope.parts:
        return (ALL,) if scope is None else (NONE,)
    terms: list[str] = []
    for part in scope.parts:
        if terms:
            terms.append(OR)
        terms += names(part)
        terms += [f"study={uid}" for uid in part.studies]
        if part.modalities:
            terms.append(f"modality={','.join(part.modalities)}")
        terms += [f"institution={name}" for name in part.institutions]
        if is_dated(part):
            terms.append(f"date={part.first_date}-{part.last_date}")
    return tuple(terms)


def _names(part: Part) -> list[str]:
    patients = [each if issuer is None else f"{each}\\{issuer}" for each, issuer in part.patients]
    return [f"patient={patient}" for patient in patients] + [f"referring={name}" for name in part.referring]


def _counts(part: Part) -> list[str]:
    counted = {"patients": len(part.patients), "referring": len(part.referring)}
    return [f"{name}={count}" for name, count in counted.items() if count]


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
    """A scope as the trail may say it: how many patients and referring physicians, never which."""
    return _terms(scope, _counts)
