"""What was done while somebody had broken the glass, by the trail."""

from __future__ import annotations

import contextlib
from typing import Final

from strongroom.admin.trail import first_since, snapshot, time_s
from strongroom.app import Archive
from strongroom.archive.emergencies import LookedAt, Opening
from strongroom.archive.model import EMERGENCY, Action, Event
from strongroom.errors import IntegrityError
from strongroom.store.emergencies import EmergencyTable
from strongroom.trail.log import MAX_PAGE
from strongroom.trail.record import parse_record

MAX_RECORDS: Final = 200_000
"""Of one log in the time of an emergency; what comes after them is not looked at, which is said."""

MAX_STUDIES: Final = 500
_SLACK_S: Final = 60.0
"""Clocks of processes are set now and then: so much earlier and later a log is read."""

_MARK: Final = f'"{EMERGENCY}":['.encode()


def looked_at(archive: Archive, opening: Opening) -> LookedAt:
    """What somebody did in an emergency. Raises StorageUnavailable."""
    table = EmergencyTable(archive.backend.dialect)
    events: list[Event] = []
    is_whole = True
    with snapshot(archive.index.database) as cursor:
        of_patient = table.studies(cursor, opening.patient_id, opening.issuer)
        for log in archive.trail_reader.logs(cursor):
            start = first_since(archive, cursor, log, opening.opened_us / 1e6 - _SLACK_S)
            end_s, last = opening.ends_us / 1e6 + _SLACK_S, start + MAX_RECORDS
            seq, is_over = start, False
            while not is_over and (rows := archive.trail_reader.read(cursor, log, seq, MAX_PAGE)):
                seq = rows[-1].seq + 1
                for row in rows:
                    if _MARK in row.raw:
                        with contextlib.suppress(IntegrityError):
                            events.append(parse_record(row.raw).event)
                is_over = time_s(rows[-1].raw) > end_s
                if not is_over and seq >= last:
                    is_over, is_whole = True, False
    return _summed([each for each in events if _is_of(each, opening)], of_patient, is_whole=is_whole)


def _is_of(event: Event, opening: Opening) -> bool:
    marks = event.details.get(EMERGENCY)
    return isinstance(marks, tuple) and str(opening.number) in marks and event.principal.user == opening.person


def _summed(events: list[Event], of_patient: set[str], *, is_whole: bool) -> LookedAt:
    studies: set[str] = set()
    counts = dict.fromkeys((Action.QUERY, Action.RETRIEVE, Action.EXPORT), 0)
    others = 0
    for event in events:
        if event.action not in counts:
            others += 1
            continue
        if event.details.get("phase") == "end":
            continue
        counts[event.action] += 1
        named = event.details.get("studies", ())
        studies.update(named if isinstance(named, tuple) else ())
    own = sorted(studies & of_patient)
    return LookedAt(
        studies=tuple(own[:MAX_STUDIES]),
        other_studies=len(studies - of_patient),
        searches=counts[Action.QUERY],
        retrievals=counts[Action.RETRIEVE] + counts[Action.EXPORT],
        other_acts=others,
        is_whole=is_whole and len(own) <= MAX_STUDIES,
    )
