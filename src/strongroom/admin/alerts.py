"""Alerts as somebody reads them: what happened, where it came from, what to do and where more of it stands."""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from strongroom.admin.quarantine import conflict_of
from strongroom.admin.trail import first_since, snapshot
from strongroom.app import Archive
from strongroom.archive.door import SCREENING
from strongroom.archive.model import Action, Event
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded
from strongroom.store.backlog import JOURNAL_DAMAGED
from strongroom.trail.log import MAX_PAGE
from strongroom.trail.record import Record, parse_record

_ALERT_START: Final = f'{{"action":"{Action.ALERT.value}",'.encode()
_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_BEFORE_S: Final = 60.0
"""Clocks of processes are set now and then: so much earlier a log is read."""

TIME_STAMP: Final = "time stamp"


class Advice(NamedTuple):
    """Of one kind of alert: what has happened, what to do, and how bad it is where the record does not say."""

    what: str
    do: str
    severity: str = ""


_ASK: Final = "ask the sender which object is right, and look for others of the same sender"
_HELD: Final = "decide with a second person: `strongroom quarantine release` or `destroy`"
_CHECK: Final = Advice(
    "the background check found what is not as it was stored",
    "keep everything as it is, run `strongroom check`, and restore the study from a backup",
    "critical",
)
_ADVICE: Final[Mapping[str, Advice]] = {
    SCREENING: Advice(
        "something that does not belong into an image was found in an object",
        "find out how it got into the image; disarm a copy with `strongroom disarm` if the image is needed",
    ),
    "unverified": Advice(
        "an instance came late to a closed study, from where nothing of it had come; it is stored",
        "compare it with the other instances of its series, and ask who sent it",
    ),
    "pixels-of-another-patient": Advice(
        "the same picture is stored under another patient", "compare the two instances: a mix-up, or a forgery"
    ),
    "signature-invalid": Advice(
        "a digital signature in a stored object does not hold", "ask the signer; the object was changed after signing"
    ),
    "break-glass": Advice(
        "somebody sees a patient outside his scope, in an emergency",
        "when it is over, somebody else reviews it: `strongroom break-glass review`, or the page",
    ),
    "share-locked": Advice(
        "the code of a shared study was guessed at, until its link was locked",
        "ask who made it whom he gave the link; a new share needs a new link",
    ),
    JOURNAL_DAMAGED: Advice(
        "objects that were acknowledged before a crash may be lost: the journal was damaged",
        "have the senders of that time send again; run `strongroom check`",
        "critical",
    ),
    TIME_STAMP: Advice(
        "the time stamp authority gives no stamp", "see that it answers, and what `trail.timestamp_url` names", "medium"
    ),
}
"""By reason, or by what the record says that it is about."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of the trail. ``kind`` is its reason; ``more`` are commands and records that say more about it."""

    log: str
    seq: int
    time: datetime
    event: Event
    kind: str
    severity: str
    what: str
    do: str
    more: tuple[str, ...]

    def detail(self, name: str) -> str:
        """A detail of the record as text, "" if it has none."""
        value = self.event.details.get(name, "")
        return ", ".join(value) if isinstance(value, tuple) else str(value)


def parse_since(text: str, now: datetime) -> datetime:
    """The time that ``text`` names: ISO 8601, UTC unless it has a zone, or how long ago (30m, 24h, 7d, 2w).

    Raises ConfigError.
    """
    try:
        if (found := _AGO.fullmatch(text)) is not None:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigError("--since takes a time (2026-11-22T08:00+01:00) or how long ago: 30m, 24h, 7d, 2w") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def alerts(archive: Archive, since: datetime | None = None) -> Iterator[Alert]:
    """Yield every alert of the trail from ``since`` on, in the order of their times. Raises StorageUnavailable.

    A record that cannot be read is passed over: `strongroom trail verify` names it.
    """
    start_s = 0.0 if since is None else since.timestamp()
    with snapshot(archive.index.database) as cursor:
        logs = [_alerts_of(archive, cursor, log, start_s) for log in archive.trail_reader.logs(cursor)]
        for record in heapq.merge(*logs, key=lambda record: record.time):
            yield _explained(record)


def _alerts_of(archive: Archive, cursor: Any, log: str, start_s: float) -> Iterator[Record]:
    reader = archive.trail_reader
    seq = first_since(archive, cursor, log, start_s - _BEFORE_S) if start_s else 0
    while rows := reader.read(cursor, log, seq, MAX_PAGE):
        for row in rows:
            if row.raw.startswith(_ALERT_START):
                with contextlib.suppress(IntegrityError, LimitExceeded):
                    record = parse_record(row.raw)
                    if record.time.timestamp() >= start_s:
                        yield record
        seq = rows[-1].seq + 1


def _explained(record: Record) -> Alert:
    details = record.event.details
    about, reason = str(details.get("what", "")), str(details.get("reason", ""))
    kind = about if about in (JOURNAL_DAMAGED, TIME_STAMP) else reason
    advice = _advice(kind, about)
    held = str(details.get("quarantine", ""))
    do = _HELD if held else advice.do
    more = [f"strongroom quarantine show {held}"] if held else []
    if about == "background check":
        more.append("strongroom check --last")
    if kind == "signature-invalid":
        more.append(f"strongroom signatures --sop {details.get('sop_uid', '')}")
    more.append(f"record {record.seq} of log {record.log} of `strongroom trail export`")
    severity = str(details.get("severity", "")) or advice.severity
    return Alert(record.log, record.seq, record.time, record.event, kind, severity, advice.what, do, tuple(more))


def _advice(kind: str, about: str) -> Advice:
    if conflict := conflict_of(kind):
        return Advice(conflict, _ASK)
    if kind in _ADVICE:
        return _ADVICE[kind]
    return _CHECK if about == "background check" else Advice("see the record", "see the record")
