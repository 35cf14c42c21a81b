"""Lines of a server's own log, read for when, who and under which title. Pure: lines come in, sightings go out.

A line counts if it names the probe: by the address it came from, by its calling title, or by its user agent. What else
stands in it is dropped at once, for a server's log may hold patients' names.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

MAX_LINE_CHARS: Final = 65_536
"""Of a longer line the rest is not looked at."""
AGENT: Final = "strongroom-probe"


class LogKind(StrEnum):
    """Whose log it is."""

    STRONGROOM = "strongroom"
    """The trail, as ``strongroom trail export`` writes it."""
    ORTHANC = "orthanc"
    DCMTK = "dcmtk"
    """dcmqrscp, storescp and others of their kind."""
    PYNETDICOM = "pynetdicom"
    NGINX = "nginx"
    """An access log in the combined format, of nginx or Apache."""
    TEXT = "text"
    """Any lines with time stamps."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A line that may be about the probe. ``at_us`` is 0 if the line has no time, ``path`` that of a request or ""."""

    at_us: int
    addresses: frozenset[str]
    titles: frozenset[str]
    is_agent: bool
    is_http: bool
    path: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a log: whose it is, the titles to look for, and what its times leave out.

    ``zone`` is that of times that name none, ``year`` that of times without one.
    """

    kind: LogKind
    titles: frozenset[str]
    zone: dt.tzinfo
    year: int


def sightings(lines: Iterable[str], reading: Reading) -> Iterator[Sighting]:
    """Yield what may be about somebody, in the order of the log. A title of the last line without a time goes along."""
    read = _record if reading.kind is LogKind.STRONGROOM else _line
    for line in lines:
        found = read(line[:MAX_LINE_CHARS], reading)
        if found is not None:
            yield found


def why_untellable(lines: Iterable[str], reading: Reading) -> str:
    """Return why a log cannot tell whether somebody called: none of its lines is of its kind, or none says when or who.

    Empty if it can; then no more lines are taken than it needs to see that.
    """
    is_read = False
    for line in lines:
        short = line[:MAX_LINE_CHARS]
        if reading.kind is LogKind.STRONGROOM:
            if _record(short, reading) is not None:
                return ""
            continue
        if not _FORM[reading.kind].search(short):
            continue
        is_read = True
        words = re.split(r"[^A-Za-z0-9_.-]+", short)
        if _time(short, reading) or not reading.titles.isdisjoint(words) or any(_addresses(short)):
            return ""
    if is_read:
        return "it has neither times nor addresses nor titles: whether the probe stands in it cannot be told"
    return f"no line of it could be read as one of kind {reading.kind}"


def _record(line: str, reading: Reading) -> Sighting | None:
    """A record of the trail (docs/trail-format.md)."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("time"), str):
        return None
    at_us = _iso(record["time"], reading.zone)
    address, aet = str(record.get("address", "")), str(record.get("aet", ""))
    details = record.get("details")
    # Who was refused has no title that counts, and the one that was said stands in the details.
    said = str(details.get("calling", "")) if isinstance(details, dict) else ""
    is_http = str(record.get("log", "")).startswith("https")
    titles = frozenset({aet, said}) & reading.titles
    return Sighting(at_us, frozenset({address} - {""}), titles, is_agent=False, is_http=is_http)


_CANDIDATE: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}")
_HTTP: Final = re.compile(r"\b(?:GET|POST|OPTIONS|HEAD|PUT) (/[^\s?\"]{0,200})")
_ACCESS: Final[Mapping[LogKind, re.Pattern[str]]] = {
    LogKind.ORTHANC: re.compile(r"AET |association|\(http\)|Incoming|reject|refus", re.IGNORECASE),
    LogKind.DCMTK: re.compile(r"Association|Calling|Received|Refus|Reject|peer", re.IGNORECASE),
    LogKind.PYNETDICOM: re.compile(r"Association|Calling|connection|Received|Reject|request", re.IGNORECASE),
    LogKind.NGINX: _HTTP,
    LogKind.TEXT: re.compile(""),
}
"""Lines of a kind of log that speak of access; others may hold anything."""


def _line(line: str, reading: Reading) -> Sighting | None:
    if not _ACCESS[reading.kind].search(line):
        return None
    addresses = frozenset(_addresses(line))
    words = frozenset(re.split(r"[^A-Za-z0-9_.-]+", line))
    request = _HTTP.search(line)
    path = request[1] if request else ""
    titles = words & reading.titles
    if not (addresses or titles or AGENT in line or path):
        return None
    return Sighting(_time(line, reading), addresses, titles, AGENT in line, bool(path), path)


def _addresses(line: str) -> Iterator[str]:
    for candidate in _CANDIDATE.findall(line):
        try:
            yield str(ip_address(candidate))
        except ValueError:
            continue


_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})([.,][0-9]{1,9})?\s?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_ORTHANC: Final = re.compile(r"^[A-Z]([0-9]{2})([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{6})")
_COMBINED: Final = re.compile(r"\[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\]")
_SYSLOG: Final = re.compile(r"\b([A-Z][a-z]{2}) {1,2}([0-9]{1,2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})\b")
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


_LEVEL: Final = re.compile(r"(?:^|\s)[FEWIDT]: |\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_FORM: Final[Mapping[LogKind, re.Pattern[str]]] = {
    LogKind.ORTHANC: _ORTHANC,
    LogKind.DCMTK: _LEVEL,
    LogKind.PYNETDICOM: _LEVEL,
    LogKind.NGINX: _COMBINED,
    LogKind.TEXT: re.compile(r"[0-9]:[0-9]{2}:[0-9]{2}"),
}
"""What a line looks like, whatever it says, that is of a kind of log."""


def _time(line: str, reading: Reading) -> int:
    """Return the first time in a line in microseconds since 1970, 0 if there is none that can be read."""
    for pattern, read in _TIMES:
        if found := pattern.search(line):
            try:
                return read(found, reading)
            except ValueError:
                continue
    return 0


def _micros(at: dt.datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _iso(text: str, zone: dt.tzinfo) -> int:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return 0
    return _micros(at if at.tzinfo else at.replace(tzinfo=zone))


def _of_iso(found: re.Match[str], reading: Reading) -> int:
    day, clock, part, zone = found.groups()
    part = (part or ".0").replace(",", ".")[:7]
    return _iso(f"{day}T{clock}{part.ljust(7, '0')}{zone or ''}", reading.zone)


def _of_orthanc(found: re.Match[str], reading: Reading) -> int:
    month, day, clock, part = found.groups()
    return _iso(f"{reading.year}-{month}-{day}T{clock}.{part}", reading.zone)


def _of_combined(found: re.Match[str], reading: Reading) -> int:
    day, month, rest = found[1].split("/", 2)
    year, clock = rest.split(":", 1)
    number = _MONTHS.index(month) // 3 + 1
    return _iso(f"{year}-{number:02}-{day}T{clock.replace(' ', '')}", reading.zone)


def _of_syslog(found: re.Match[str], reading: Reading) -> int:
    month, day, clock = found.groups()
    number = _MONTHS.index(month) // 3 + 1
    return _iso(f"{reading.year}-{number:02}-{int(day):02}T{clock}", reading.zone)


_TIMES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Reading], int]], ...]] = (
    (_ISO, _of_iso),
    (_ORTHANC, _of_orthanc),
    (_COMBINED, _of_combined),
    (_SYSLOG, _of_syslog),
)
