"""Records of the trail that somebody looks for, the newest first, of all logs together.

Nothing is kept beside the trail for it: records are read backwards, and each request reads so many and no more. Where
it stopped, in each log, is what the next one goes on from: what is recorded meanwhile moves nothing.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from strongroom.admin.trail import first_since, snapshot
from strongroom.app import Archive
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.matching import compile_matcher
from strongroom.archive.model import Level, Outcome
from strongroom.archive.oversight import TrailEntry, TrailPage, TrailQuery
from strongroom.archive.prefilter import sql_conditions
from strongroom.archive.qido import parse_search
from strongroom.archive.read import merged
from strongroom.errors import IntegrityError, MalformedRequest, NotFound
from strongroom.trail.log import MAX_PAGE, StoredRecord
from strongroom.trail.record import MAX_INTEGER, parse_log_name, parse_record, parse_time
from strongroom.types import Principal

PAGE_ENTRIES: Final = 50
MAX_LOOKED_AT: Final = 20_000
"""Records that one request reads: some tenths of a second."""
MAX_STUDIES: Final = 1000
"""Of one patient."""

UNREADABLE: Final = "unreadable"
"""In the place of an action."""

_AT_ONCE: Final = 256
_CLOCKS_S: Final = 60.0
"""Clocks are set now and then: so much further is read."""
_POSITION: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9]{1,16})")
_MAX_POSITION_CHARS: Final = 4096


class _Line(msgspec.Struct, frozen=True, gc=False):
    """What a record is chosen by, before it is read as a whole."""

    action: str
    outcome: str
    time: str
    user: str = ""
    aet: str = ""
    address: str = ""
    fingerprint: str = ""


_decode = msgspec.json.Decoder(_Line).decode
_decode_details = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_STUDY_UID: Final = "0020000D"
_EARLIEST: Final = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class _Found:
    """One record on its way back through its log. ``line`` None: it cannot be read."""

    log: str
    row: StoredRecord
    time: datetime
    line: _Line | None


@dataclass(slots=True)
class _Walk:
    """Where a search is in each log; ``left`` is how many records it may still read."""

    positions: dict[str, int]
    left: int
    time: datetime = _EARLIEST
    entries: list[TrailEntry] = field(default_factory=list)


def search(archive: Archive, query: TrailQuery, older: str = "", count: int = PAGE_ENTRIES) -> TrailPage:
    """The newest ``count`` records that are wanted, from ``older`` of an earlier page on.

    Raises MalformedRequest if no page says so, StorageUnavailable.
    """
    since = datetime.fromtimestamp(query.since_us / 1e6, UTC) if query.since_us else _EARLIEST
    is_wanted = _chooser(archive, query)
    with snapshot(archive.index.database) as cursor:
        walk = _Walk(parse_position(older) if older else _newest(archive, cursor, query), MAX_LOOKED_AT)
        logs = [_back(archive, cursor, log, walk) for log in walk.positions]
        for found in heapq.merge(*logs, key=lambda each: each.time, reverse=True):
            if found.time.timestamp() < since.timestamp() - _CLOCKS_S:
                walk.positions = {}
                break
            if walk.left <= 0 or len(walk.entries) >= count:
                break
            walk.left -= 1
            walk.positions[found.log], walk.time = found.row.seq, found.time
            if found.time >= since and is_wanted(found):
                walk.entries.append(_entry(found.log, found.row))
        else:
            walk.positions = {}
    back_to_us = round(walk.time.timestamp() * 1e6)
    return TrailPage(tuple(walk.entries), encode_position(walk.positions), MAX_LOOKED_AT - walk.left, back_to_us)


def everything(archive: Archive, query: TrailQuery) -> Iterator[tuple[TrailEntry, ...]]:
    """Every record that is wanted, some at a time. Raises StorageUnavailable."""
    older = ""
    while True:
        page = search(archive, query, older, MAX_PAGE)
        yield page.entries
        if not (older := page.older):
            return


def one(archive: Archive, log: str, seq: int) -> TrailEntry:
    """One record. Raises NotFound, IntegrityError if it cannot be read, StorageUnavailable."""
    with archive.index.database.read() as cursor:
        rows = archive.trail_reader.read(cursor, log, seq, 1)
    if not rows or rows[0].seq != seq:
        raise NotFound("no such record of the trail")
    return _entry(log, rows[0], is_strict=True)


def parse_position(text: str) -> dict[str, int]:
    """``serve:12~https-1:7`` -> the number in each log before which to go on. Raises MalformedRequest."""
    parts = [_POSITION.fullmatch(part) for part in text[:_MAX_POSITION_CHARS].split("~")]
    if len(text) > _MAX_POSITION_CHARS or not all(parts):
        raise MalformedRequest("no page of the trail goes on there")
    return {parse_log_name(part[1]): int(part[2]) for part in parts if part}


def encode_position(positions: Mapping[str, int]) -> str:
    """The same the other way round; logs that are done are left out."""
    return "~".join(f"{log}:{seq}" for log, seq in positions.items() if seq)


def _newest(archive: Archive, cursor: Any, query: TrailQuery) -> dict[str, int]:
    """Behind the last record of each log that can be wanted."""
    positions = {}
    for log in archive.trail_reader.logs(cursor):
        head = archive.trail_reader.head(cursor, log)
        size = MAX_INTEGER if head is None else head.size
        if query.until_us and size:
            size = first_since(archive, cursor, log, query.until_us / 1e6 + _CLOCKS_S)
        positions[log] = size
    return positions


def _back(archive: Archive, cursor: Any, log: str, walk: _Walk) -> Iterator[_Found]:
    """The records of a log, last one first. One that does not say its time stands with the one after it."""
    stop, time = walk.positions[log], datetime.now(UTC)
    while rows := archive.trail_reader.read_back(cursor, log, stop, _AT_ONCE):
        for row in rows:
            line = None
            try:
                line = _decode(row.raw)
                time = parse_time(line.time)
            except (msgspec.DecodeError, ValueError):
                pass
            yield _Found(log, row, time, line)
        stop = rows[-1].seq


def _chooser(archive: Archive, query: TrailQuery) -> Callable[[_Found], bool]:
    """Whether a record is wanted, the cheapest question first."""
    about = msgspec.json.encode(query.about) if query.about else b""
    studies = _studies_of(archive, query.patient) if query.patient else frozenset()
    until_s = query.until_us / 1e6 if query.until_us else float("inf")

    def is_wanted(found: _Found) -> bool:
        line, raw = found.line, found.row.raw
        if line is None:  # whoever looks at everything sees that it is there
            return not query.asked
        return (
            query.action in ("", line.action)
            and query.outcome in ("", line.outcome)
            and line.address.startswith(query.address)
            and query.user.casefold() in line.user.casefold()
            and _is_of_peer(line, query.peer)
            and about in raw
            and found.time.timestamp() < until_s
            and (not query.patient or not studies.isdisjoint(_texts(raw)))
        )

    return is_wanted


def _is_of_peer(line: _Line, peer: str) -> bool:
    return not peer or peer.casefold() in line.aet.casefold() or line.fingerprint.startswith(peer.casefold())


def _texts(raw: bytes) -> Iterator[str]:
    """All texts of a record's details."""
    try:
        details = parse_record(raw).event.details
    except IntegrityError:
        return
    for value in details.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from value


def _studies_of(archive: Archive, patient_id: str) -> frozenset[str]:
    """The studies that are stored under a Patient ID, of whatever issuer."""
    exact = "".join(character for character in patient_id if character not in "*?\\")
    query = parse_search(Level.STUDY, {}, [("PatientID", exact)], QueryLimits()).query
    matches = compile_matcher(query)
    rows = list(archive.index.search(query, sql_conditions(query), MAX_STUDIES, None))
    answers = [answer for row in rows if matches(answer := merged(row))]
    values = [answer.get(_STUDY_UID, {}).get("Value") or [""] for answer in answers]
    return frozenset(str(each[0]) for each in values)


def _entry(log: str, row: StoredRecord, *, is_strict: bool = False) -> TrailEntry:
    """A record as it is shown. Raises IntegrityError if it cannot be read and has to be."""
    try:
        record = parse_record(row.raw)
    except IntegrityError:
        if is_strict:
            raise
        return _unreadable(log, row)
    event = record.event
    time_us = round(record.time.timestamp() * 1e6)
    return TrailEntry(
        log, row.seq, time_us, event.action.value, event.outcome.value, event.principal, event.details, row.raw
    )


def _unreadable(log: str, row: StoredRecord) -> TrailEntry:
    """What is there of a record that is none: `trail verify` says more."""
    return TrailEntry(log, row.seq, 0, UNREADABLE, Outcome.FAILED.value, Principal(""), {}, row.raw)
