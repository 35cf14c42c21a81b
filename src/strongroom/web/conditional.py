"""Conditional requests and ranges: what If-Match, If-None-Match, If-Range and Range ask for (RFC 9110 13 and 14).

Pure: header values in, a decision out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

MAX_HEADER_CHARS: Final = 8192
"""Of one conditional header field; a longer one is passed over, which the client notices by a whole answer."""

_TAG: Final = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGES: Final = re.compile(r"bytes[ \t]*=[ \t]*(.+)", re.IGNORECASE)
_RANGE: Final = re.compile(r"(\d{0,18})[ \t]*-[ \t]*(\d{0,18})", re.ASCII)


class Precondition(Enum):
    """What the conditions of a request say about its target."""

    GO_ON = 200
    NOT_MODIFIED = 304
    FAILED = 412


class ByteRange(NamedTuple):
    """Bytes ``start`` to ``stop`` of a representation, ``stop`` not included."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A Range that names nothing of the representation, or too much of it: 416."""

    reason: str


def strong_tag(*parts: bytes | str) -> str:
    """Return a strong entity tag: a digest of all that decides on every byte of a representation."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return f'"{digest.hexdigest()[:40]}"'


def check_conditions(if_match: str | None, if_none_match: str | None, tag: str) -> Precondition:
    """Return what a GET with these conditions comes to (RFC 9110 13.2.2); ``tag`` is the strong tag of the target."""
    if if_match is not None and not _names(if_match, tag, weakly=False):
        return Precondition.FAILED
    if if_none_match is not None and _names(if_none_match, tag, weakly=True):
        return Precondition.NOT_MODIFIED
    return Precondition.GO_ON


def _names(field: str, tag: str, *, weakly: bool) -> bool:
    """Return whether a list of entity tags has ``tag`` in it, by weak or by strong comparison (RFC 9110 8.8.3.2)."""
    if field.strip() == "*":
        return True
    return any(opaque == tag and (weakly or not weak) for weak, opaque in _tags(field))


def _tags(field: str) -> Iterable[tuple[str, str]]:
    position, field = 0, field[:MAX_HEADER_CHARS]
    while found := _TAG.match(field, position):
        yield found[1] or "", found[2]
        position = found.end()


def ranges_of(
    range_field: str | None, if_range: str | None, tag: str, size: int, max_ranges: int
) -> tuple[ByteRange, ...] | Unsatisfiable:
    """Return the ranges to send of ``size`` bytes, ascending and apart; none if the whole is to be sent.

    What cannot be read as byte ranges is passed over, like ranges of another version (If-Range), as RFC 9110 14.2 has
    it. Ranges that overlap or touch become one, so that no byte is ever sent twice.
    """
    found = _RANGES.fullmatch(range_field.strip()) if range_field and len(range_field) <= MAX_HEADER_CHARS else None
    if found is None or (if_range is not None and if_range.strip() != tag):
        return ()
    specs = [spec.strip(" \t") for spec in found[1].split(",")]
    asked = []
    for spec in filter(None, specs):
        parsed = _parse_range(spec, size)
        if parsed is None:
            return ()
        asked.append(parsed)
    if len(asked) > max_ranges:
        return Unsatisfiable(f"more than {max_ranges} ranges")
    merged: list[ByteRange] = []
    for one in sorted(each for each in asked if each.start < each.stop):
        if merged and one.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, one.stop))
        else:
            merged.append(one)
    return tuple(merged) or Unsatisfiable("no such range")


def _parse_range(spec: str, size: int) -> ByteRange | None:
    """Return one range, empty if it lies behind the end, None if it is none."""
    found = _RANGE.fullmatch(spec)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return ByteRange(max(0, size - int(found[2])), size)
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return None
    return ByteRange(min(start, size), min(int(found[2]) + 1, size) if found[2] else size)
