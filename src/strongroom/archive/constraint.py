"""What one key of a query asks of a value, parsed from its text (DICOM PS3.4 C.2.2.2).

A key without a constraint (universal matching, C.2.2.2.3) parses to None. Values are kept in canonical form
(``archive.values``) and left out of every ``repr``: they are a patient's.

Choices the standard leaves to the archive:

* PN: case, accents and width do not count. A key with fewer components than the record, or an empty one, leaves the
  others free: ``SMITH`` finds ``Smith^John``. ``*`` and ``?`` run over the whole component group. A key of one group
  is compared with the alphabetic group, and with all three as soon as it holds a character outside ASCII or no letter.
  With fuzzy matching negotiated, a record matches too when every word of the key begins some word of its name.
* Several values in a key other than UI: any of them, as C.2.2.2.8 has it.
* TM and DT of less than full precision stand for the whole span they name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from strongroom.archive.values import (
    MAX_COMPARED_CHARS,
    date_text,
    fold,
    instant_span,
    long_text,
    name_groups,
    number_text,
    short_text,
    time_span,
)
from strongroom.errors import InvalidQuery, LimitExceeded, MalformedDataset
from strongroom.types import Uid

WILDCARD_VRS: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
LONG_TEXT_VRS: Final = frozenset(("LT", "ST", "UC", "UR", "UT"))
SHORT_TEXT_VRS: Final = frozenset(("AE", "AS", "CS", "LO", "SH"))
NUMBER_VRS: Final = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))

_STARS: Final = re.compile(r"\*+")
_DATE_RANGE: Final = re.compile(r"([0-9.]{8,10})?\s*-\s*([0-9.]{8,10})?")
_TIME_RANGE: Final = re.compile(r"([0-9.:]{2,15})?\s*-\s*([0-9.:]{2,15})?")
_DATE_TIME_END: Final = r"([0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?)?"
_DATE_TIME_RANGE: Final = re.compile(rf"{_DATE_TIME_END}\s*-\s*{_DATE_TIME_END}")


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Caps on what a stranger may ask; each is checked before the work it bounds."""

    max_query_keys: int = 256
    """Keys in one identifier, those in sequence items included."""
    max_query_depth: int = 4
    """Sequences inside sequences."""
    max_query_uids: int = 2000
    """UIDs in one list."""
    max_query_values: int = 64
    """Values in one key that is not a UID list."""
    max_query_value_chars: int = 10_240
    """Characters of one value: the most that LT allows (PS3.5 6.2)."""
    max_query_pattern_chars: int = MAX_COMPARED_CHARS - 1
    """Characters of one value with wildcards, runs of ``*`` counted once."""


@dataclass(frozen=True, slots=True)
class Single:
    """Single value matching (C.2.2.2.1) with a canonical value."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UidList:
    """List of UID matching (C.2.2.2.2), in the order given and without doubles."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wildcard matching (C.2.2.2.4): ``*`` is any run of characters, ``?`` is any one character."""

    pattern: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching of DA (YYYYMMDD) or TM (HHMMSSFFFFFF), both ends included (C.2.2.2.5); None is open."""

    lo: str | None = field(repr=False)
    hi: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class InstantRange:
    """Range matching of DT, or of a date and its time as one, both ends included (C.2.2.2.5); None is open.

    Ends are microseconds since day 0 in local time; ``lo_zone_us`` and ``hi_zone_us`` are their offsets from UTC or
    None. They are compared in UTC where the record has an offset as well, and as local times otherwise.
    ``time_tag`` is the time attribute of a combined pair, 0 for a DT.
    """

    lo_us: int | None = field(repr=False)
    hi_us: int | None = field(repr=False)
    lo_zone_us: int | None = None
    hi_zone_us: int | None = None
    time_tag: int = 0


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Several values in one key: any of them (C.2.2.2.8)."""

    matches: tuple[Single | Wildcard, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """Empty value matching (C.2.2.2.7): the attribute is missing, or has no value."""


@dataclass(frozen=True, slots=True)
class SequenceMatch:
    """Sequence matching (C.2.2.2.6): one stored item that meets every key."""

    keys: tuple[Key, ...]


Match = Single | UidList | Wildcard | Range | InstantRange | AnyOf | Empty | SequenceMatch

EMPTY: Final = '""'
"""The value of a key that asks for no value, where that was negotiated."""


@dataclass(frozen=True, slots=True)
class Key:
    """A constraint on one attribute."""

    tag: int
    vr: str
    match: Match


def parse_match(
    tag: int, vr: str, texts: Sequence[str], limits: QueryLimits, zone_us: int | None = None
) -> Match | None:
    """Return the constraint that the decoded values ``texts`` of a key put on ``tag``, None for universal matching.

    ``zone_us`` is the query's offset from UTC in microseconds, for DT values that have none.

    Raises:
        InvalidQuery: the value is not one that ``vr`` can be matched with.
        LimitExceeded: too many or too long values.
    """
    if vr == "UI":
        return _parse_uids(tag, texts, limits)
    values = _present(texts, limits)
    if not values:
        return None
    if vr == "DA":
        return _parse_date(tag, _only(tag, values))
    if vr == "TM":
        return _parse_time(tag, _only(tag, values))
    if vr == "DT":
        return _parse_date_time(tag, _only(tag, values), zone_us)
    matches: list[Single | Wildcard] = []
    for value in values:
        match = _parse_text(tag, vr, value, limits)
        if match is None:
            return None
        if match not in matches:
            matches.append(match)
    return matches[0] if len(matches) == 1 else AnyOf(tuple(matches))


def invalid(tag: int, why: str) -> InvalidQuery:
    """Return the error for a key at ``tag``; ``why`` holds no value."""
    return InvalidQuery(f"key ({tag >> 16:04X},{tag & 0xFFFF:04X}): {why}")


def _present(texts: Sequence[str], limits: QueryLimits) -> list[str]:
    if len(texts) > limits.max_query_values:
        raise LimitExceeded("max_query_values", limits.max_query_values, len(texts))
    for text in texts:
        if len(text) > limits.max_query_value_chars:
            raise LimitExceeded("max_query_value_chars", limits.max_query_value_chars, len(text))
    return [text for text in texts if text.strip(" \0")]


def _only(tag: int, values: list[str]) -> str:
    if len(values) != 1:
        raise invalid(tag, "more than one date or time")
    return values[0].strip(" \0")


def _parse_uids(tag: int, texts: Sequence[str], limits: QueryLimits) -> Single | UidList | None:
    uids: dict[str, None] = {}
    count = 0
    for text in texts:
        # A UID is at most 64 characters: what is longer than the longest list is refused before it is split.
        if len(text) > limits.max_query_uids * 66:
            raise LimitExceeded("max_query_uids", limits.max_query_uids)
        parts = text.split("\\")
        count += len(parts)
        if count > limits.max_query_uids:
            raise LimitExceeded("max_query_uids", limits.max_query_uids, count)
        for part in parts:
            bare = part.strip(" \0")
            if not bare:
                continue
            try:
                uids[Uid.parse(bare)] = None
            except MalformedDataset:
                raise invalid(tag, "not a UID; wildcards do not apply to one") from None
    values = tuple(str(uid) for uid in uids)
    if not values:
        return None
    return Single(values[0]) if len(values) == 1 else UidList(values)


def _parse_date(tag: int, text: str) -> Range:
    whole = _DATE_RANGE.fullmatch(text)
    lo_text, hi_text = (whole[1], whole[2]) if whole else (text, text)
    lo, hi = (None if end is None else _date(tag, end) for end in (lo_text, hi_text))
    if lo is None and hi is None:
        raise invalid(tag, "a range needs an end")
    return Range(lo, hi)


def _date(tag: int, text: str) -> str:
    date = date_text(text)
    if not date or not "01" <= date[4:6] <= "12" or not "01" <= date[6:] <= "31":
        raise invalid(tag, "a date is YYYYMMDD, in full and without wildcards")
    return date


def _parse_time(tag: int, text: str) -> Range:
    whole = _TIME_RANGE.fullmatch(text)
    lo_text, hi_text = (whole[1], whole[2]) if whole else (text, text)
    lo = None if lo_text is None else time_span(lo_text)
    hi = None if hi_text is None else time_span(hi_text)
    if (lo is None and lo_text is not None) or (hi is None and hi_text is not None):
        raise invalid(tag, "a time is HHMMSS.FFFFFF, cut at any component, without wildcards and offset")
    if lo is None and hi is None:
        raise invalid(tag, "a range needs an end")
    return Range(lo and lo[0], hi and hi[1])


def _parse_date_time(tag: int, text: str, zone_us: int | None) -> InstantRange:
    # "20240101-0500" is one value with an offset, not a range: no year before 1500 is meant (C.2.2.2.5).
    span = instant_span(text)
    if span:
        zone = zone_us if span[2] is None else span[2]
        return InstantRange(span[0], span[1], zone, zone)
    whole = _DATE_TIME_RANGE.fullmatch(text)
    if not whole or whole[1] == whole[2] is None:
        raise invalid(tag, "a date-time is YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut at any component, without wildcards")
    lo = None if whole[1] is None else instant_span(whole[1])
    hi = None if whole[2] is None else instant_span(whole[2])
    if (lo is None and whole[1] is not None) or (hi is None and whole[2] is not None):
        raise invalid(tag, "no such date-time")
    lo_zone = zone_us if lo is None or lo[2] is None else lo[2]
    hi_zone = zone_us if hi is None or hi[2] is None else hi[2]
    return InstantRange(lo and lo[0], hi and hi[1], lo_zone, hi_zone)


def _parse_text(tag: int, vr: str, text: str, limits: QueryLimits) -> Single | Wildcard | None:
    """Return the match of one non-empty value, None if it is universal."""
    if vr in NUMBER_VRS:
        number = number_text(text)
        if not number:
            raise invalid(tag, "not a number")
        return Single(number)
    if vr not in WILDCARD_VRS and vr != "AS":
        raise invalid(tag, f"VR {vr} cannot be matched")
    if vr == "PN":
        text = fold(text)
    if vr in WILDCARD_VRS and ("*" in text or "?" in text):
        text = _STARS.sub("*", text)
        # Cut like a plain value, a pattern would lose its end and match more than was asked for.
        if len(text) > limits.max_query_pattern_chars:
            raise LimitExceeded("max_query_pattern_chars", limits.max_query_pattern_chars, len(text))
    if vr == "PN":
        return _parse_name(text)
    value = long_text(text) if vr in LONG_TEXT_VRS else short_text(text)
    if vr == "AS" or not ("*" in value or "?" in value):
        return Single(value)
    return None if value == "*" else Wildcard(value)


def _parse_name(text: str) -> Single | Wildcard | None:
    groups = [_without_free_tail(group) for group in name_groups(text)]
    value = "=".join("" if group == "*" else group for group in groups).rstrip("=")
    if not value:
        return None
    return Wildcard(value) if "*" in value or "?" in value else Single(value)


def _without_free_tail(group: str) -> str:
    """Return a component group of a key without the components at its end that ask for nothing."""
    while group.endswith(("^", "^*")):
        group = group.removesuffix("*").rstrip("^")
    return group
