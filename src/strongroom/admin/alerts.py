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
from strongroom.admin.trailsearch import encode_position, parse_position
from strongroom.app import Archive
from strongroom.archive.door import SCREENING
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.oversight import Seen
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, NotFound, Refused
from strongroom.store.backlog import JOURNAL_DAMAGED
from strongroom.store.transaction import Transaction
from strongroom.store.watching import SeenAlerts
from strongroom.trail.log import ALERT_START, MAX_PAGE
from strongroom.trail.record import MAX_INTEGER, Record, parse_record
from strongroom.types import Principal

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
    "passkey-counter-went-back": Advice(
        "a passkey was shown that somebody may have a copy of; it did not sign anybody in",
        "ask its owner; have it removed at /account, or `strongroom user reset` the account",
    ),
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


def parse_place(text: str) -> tuple[str, int]:
    """The log and the number of an alert, as the list names it: ``serve:17``. Raises ConfigError."""
    log, _, number = text.rpartition(":")
    if not log or not (number.isascii() and number.isdecimal() and len(number) < 16):
        raise ConfigError("an alert is named by its log and its number, as `strongroom alerts` has it: serve:17")
    return log, int(number)


def alerts(archive: Archive, since: datetime | None = None) -> Iterator[tuple[Alert, Seen | None]]:
    """Yield every alert of the trail from ``since`` on, in the order of their times, and who has seen to it.

    Raises StorageUnavailable. A record that cannot be read is passed over: `strongroom trail verify` names it.
    """
    start_s = 0.0 if since is None else since.timestamp()
    with snapshot(archive.index.database) as cursor:
        logs = [_alerts_of(archive, cursor, log, start_s) for log in archive.trail_reader.logs(cursor)]
        for record, seen in heapq.merge(*logs, key=lambda each: each[0].time):
            yield _explained(record), seen


def _alerts_of(archive: Archive, cursor: Any, log: str, start_s: float) -> Iterator[tuple[Record, Seen | None]]:
    reader, table = archive.trail_reader, SeenAlerts(archive.backend.dialect)
    seq = first_since(archive, cursor, log, start_s - _BEFORE_S) if start_s else 0
    while rows := reader.read(cursor, log, seq, MAX_PAGE):
        seen = table.between(cursor, log, rows[0].seq, rows[-1].seq)
        for row in rows:
            if row.raw.startswith(ALERT_START):
                with contextlib.suppress(IntegrityError, LimitExceeded):
                    record = parse_record(row.raw)
                    if record.time.timestamp() >= start_s:
                        yield record, seen.get(row.seq)
        seq = rows[-1].seq + 1


PAGE_ALERTS: Final = 50
MAX_LOOKED_AT: Final = 2000
"""Alerts that one request reads."""


def newest(
    archive: Archive, older: str, *, everything: bool = False, count: int = PAGE_ALERTS
) -> tuple[list[tuple[Alert, Seen | None]], str]:
    """The newest alerts that nobody has seen to, or all, with who has; and where to go on, "" at the end.

    Raises MalformedRequest for another ``older``, StorageUnavailable.
    """
    found: list[tuple[Alert, Seen | None]] = []
    with snapshot(archive.index.database) as cursor:
        known = parse_position(older) if older else dict.fromkeys(archive.trail_reader.logs(cursor), MAX_INTEGER)
        positions = dict(known)
        logs = [_alerts_back(archive, cursor, log, stop) for log, stop in known.items()]
        newest_first = heapq.merge(*logs, key=lambda each: each[0].time, reverse=True)
        for looked_at, (record, seen) in enumerate(newest_first):
            if looked_at == MAX_LOOKED_AT or len(found) == count:
                return found, encode_position(positions)
            positions[record.log] = record.seq
            if everything or seen is None:
                found.append((_explained(record), seen))
    return found, ""


def see_to(archive: Archive, at: tuple[str, int], seen: Seen, by: Principal) -> None:
    """Note that somebody has seen to the alert ``at`` a log and a number. Raises NotFound, Refused."""
    log, seq = at
    table = SeenAlerts(archive.backend.dialect)
    with archive.index.database.read() as cursor:
        rows = archive.trail_reader.read(cursor, log, seq, 1)
    if not rows or rows[0].seq != seq or not rows[0].raw.startswith(ALERT_START):
        raise NotFound("no such alert")
    caused_by = parse_record(rows[0].raw).event.principal.user
    if caused_by and caused_by.casefold() == by.user.casefold():
        raise Refused("it is about what you did yourself: somebody else has to see to it")

    def work(transaction: Transaction) -> None:
        table.add(transaction.cursor, log, seq, seen)
        details: dict[str, Detail] = {"log": log, "seq": seq, "remark": seen.remark}
        transaction.record(Event(Action.ALERT_SEEN, Outcome.SUCCESS, by, details))

    archive.index.database.write(work)


def _alerts_back(archive: Archive, cursor: Any, log: str, stop: int) -> Iterator[tuple[Record, Seen | None]]:
    """The alerts of a log, last one first, with who has seen to each."""
    reader, table = archive.trail_reader, SeenAlerts(archive.backend.dialect)
    while rows := reader.alerts_back(cursor, log, stop, PAGE_ALERTS):
        seen = table.between(cursor, log, rows[-1].seq, rows[0].seq)
        for row in rows:
            with contextlib.suppress(IntegrityError, LimitExceeded):
                yield parse_record(row.raw), seen.get(row.seq)
        stop = rows[-1].seq


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
