"""One canonical text per attribute value, so that a query, a column of the index and a stored record compare as text.

The same functions run at ingest (columns), on a query's keys and in the exact matcher: whatever they throw away is
thrown away on every side, and the index answers the same on every database. Input is one entry of ``Value`` of the
DICOM JSON model (PS3.18 F.2) or the decoded text of a key; anything that is no such value comes out as ``""``, which
no key matches.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from math import isfinite
from typing import Final
from unicodedata import normalize

MAX_COMPARED_CHARS: Final = 512
"""Characters of a short value that are compared and indexed. The longest short VR, PN, allows 3 x 64 (PS3.5 6.2);
the cap keeps a hostile name within what a B-tree page of every database takes."""

MAX_LONG_TEXT_CHARS: Final = 10_240
"""Characters of an LT, ST, UC, UR or UT value that are compared: the most that LT allows (PS3.5 6.2)."""

US_PER_DAY: Final = 86_400_000_000

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_MAX_NUMBER_CHARS: Final = 64
_LATIN_GREEK_CYRILLIC_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
_LEGACY_DATE: Final = re.compile(r"([0-9]{4})[.-]([0-9]{2})[.-]([0-9]{2})")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]|60)(?:\.([0-9]{1,6}))?)?)?")
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"([+-][0-9]{4})?"
)
_OFFSET: Final = re.compile(r"([+-])(0[0-9]|1[0-4])([0-5][0-9])")


def short_text(value: object) -> str:
    """Return the significant characters of an AE, AS, CS, LO, SH or UI value: no padding, NUL or lone surrogate."""
    if not isinstance(value, str):
        return ""
    text = value[:MAX_COMPARED_CHARS].strip(" \0")
    if "\0" in text:  # PostgreSQL cannot hold one, and LIKE of SQLite stops there
        text = text.replace("\0", "")
    if not text.isascii():
        text = text.encode("utf-8", "ignore").decode()
    return text


def long_text(value: object) -> str:
    """Return the significant characters of an LT, ST, UC, UR or UT value: only trailing padding goes (PS3.5 6.2)."""
    if not isinstance(value, str):
        return ""
    text = value[:MAX_LONG_TEXT_CHARS].replace("\0", "").rstrip(" ")
    return text if text.isascii() else text.encode("utf-8", "ignore").decode()


def fold(text: str) -> str:
    """Return ``text`` without case, accents and width, as person names are compared.

    Accents of Latin, Greek and Cyrillic letters go; vowel and voicing marks of other scripts stay, because there they
    make another name. Full-width and half-width forms become the common ones.
    """
    if text.isascii():
        return text.lower()
    bare = normalize("NFKD", normalize("NFKD", text).casefold())
    return normalize("NFC", _LATIN_GREEK_CYRILLIC_ACCENTS.sub("", bare))[:MAX_COMPARED_CHARS]


def _component_group(group: str) -> str:
    """Return a folded component group without the spaces around its components and without trailing carets."""
    if " " in group:
        group = "^".join([component.strip(" ") for component in group.split("^")])
    return group.rstrip("^")


def name_groups(value: object) -> list[str]:
    """Return the one to three folded component groups of a PN value: alphabetic, ideographic, phonetic (PS3.5 6.2.1).

    ``value`` is the object of PS3.18 F.2.2, or the text with ``=`` between groups.
    """
    if isinstance(value, dict):
        parts = [value.get("Alphabetic"), value.get("Ideographic"), value.get("Phonetic")]
        value = "=".join([part if isinstance(part, str) else "" for part in parts]).rstrip("=")
    # Folding comes before the split: it turns the full-width forms of "=" and "^" into the delimiters.
    return [_component_group(group) for group in fold(short_text(value)).split("=")[:3]]


def name_text(value: object) -> str:
    """Return the folded component groups of a PN value joined by ``=``, without trailing empty ones."""
    return "=".join(name_groups(value)).rstrip("=")


def number_text(value: object) -> str:
    """Return a number (IS, DS or a binary number) in one spelling: ``"007"``, ``7`` and ``"7.0"`` all give ``"7"``."""
    if isinstance(value, str):
        text = value.strip(" \0")
        if len(text) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(text):
            return ""
        value = float(text)
    elif not isinstance(value, int | float):
        return ""
    if not -1e15 < value < 1e15:  # beyond, a float no longer holds every integer; NaN ends here too
        return repr(float(value)) if isinstance(value, float) and isfinite(value) else ""
    return str(int(value)) if value == int(value) else repr(value)


def date_text(value: object) -> str:
    """Return a DA value as YYYYMMDD; the delimiters of old ACR-NEMA dates are taken out."""
    if not isinstance(value, str):
        return ""
    text = value.strip(" \0")
    if len(text) == 10 and (legacy := _LEGACY_DATE.fullmatch(text)):
        text = legacy[1] + legacy[2] + legacy[3]
    return text if len(text) == 8 and text.isascii() and text.isdigit() else ""


def time_text(value: object) -> str:
    """Return the first microsecond of a TM value as twelve digits HHMMSSFFFFFF; HH:MM:SS is taken too."""
    if not isinstance(value, str):
        return ""
    text = value.strip(" \0")
    found = _TIME.fullmatch(text)
    if not found:
        return ""
    hours, minutes, seconds, fraction = found.groups("")
    return (hours + minutes + seconds).ljust(6, "0") + fraction.ljust(6, "0")


def time_span(text: str) -> tuple[str, str] | None:
    """Return the first and last microsecond that a TM of any precision covers, as twelve digits; None if it is none."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds, fraction = found.groups("")
    last = hours + (minutes or "59") + (seconds or "59") + fraction.ljust(6, "9")
    return time_text(text), last


def offset_us(text: str) -> int | None:
    """Return an offset from UTC (``+0130``, as in (0008,0201)) in microseconds; None if it is none."""
    found = _OFFSET.fullmatch(text)
    if not found:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return (-minutes if found[1] == "-" else minutes) * 60_000_000


def local_us(day: str, time: str) -> int | None:
    """Return microseconds since day 0 of a YYYYMMDD date and a twelve-digit time; None if there is no such day."""
    try:
        ordinal = date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal()
    except ValueError:
        return None
    # A leap second stays on its day, so that whoever narrows by date alone never loses it.
    seconds = int(time[:2]) * 3600 + int(time[2:4]) * 60 + min(int(time[4:6]), 59)
    return ordinal * US_PER_DAY + seconds * 1_000_000 + int(time[6:])


def instant_span(value: object) -> tuple[int, int, int | None] | None:
    """Return what a DT value of any precision covers: first and last microsecond, local, and its offset from UTC.

    The offset is in microseconds, None if the value has none (PS3.5 6.2). Returns None if ``value`` is no DT.
    """
    if not isinstance(value, str) or not (found := _DATE_TIME.fullmatch(value.strip(" \0"))):
        return None
    year, month, day, hours, minutes, seconds, fraction, zone = found.groups("")
    zone_us = offset_us(zone) if zone else None
    if (zone and zone_us is None) or not time_span((hours or "00") + minutes + seconds):
        return None
    if not 1 <= int(month or 1) <= 12 or int(year) == 0:
        return None
    start = (hours + minutes + seconds).ljust(6, "0") + fraction.ljust(6, "0")
    last_day = day or str(monthrange(int(year), int(month or 12))[1])
    end = (hours or "23") + (minutes or "59") + (seconds or "59") + fraction.ljust(6, "9")
    first = local_us(year + (month or "01") + (day or "01"), start)
    last = local_us(year + (month or "12") + last_day, end)
    return None if first is None or last is None else (first, last, zone_us)
