"""How people watch over a served archive: ``archive.oversight`` on an open archive, in a worker of the HTTPS service.

Each of these asks for the right, and says in the trail who looked at what before anybody sees it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from strongroom.admin import alerts, jobs, quarantine, receipts, trailsearch
from strongroom.admin.alerts import Alert
from strongroom.admin.comparing import compared
from strongroom.admin.two_people import Order, now_us
from strongroom.app import Archive
from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.oversight import (
    AlertPage,
    AlertShown,
    Asked,
    Decided,
    Form,
    HeldDetails,
    HeldFinding,
    HeldShown,
    Job,
    Proof,
    Seen,
    TrailEntry,
    TrailPage,
    TrailQuery,
)
from strongroom.archive.reasons import parse_reason
from strongroom.errors import Busy, ConfigError, NotFound
from strongroom.store.quarantine import Entry, What, parse_quarantine_id
from strongroom.types import Principal, Right

US_PER_DAY: Final = 86_400_000_000
BUSY_S: Final = 5
"""When to ask again for a proof: it reads all leaves before it once."""


class Oversight:
    """The adapter of ``archive.oversight.Oversight``. Thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._proving = threading.Lock()

    # -- the trail

    def trail(self, principal: Principal, query: TrailQuery, older: str) -> TrailPage:
        """As the port."""
        require(principal, Right.AUDIT)
        page = trailsearch.search(self._archive, query, older)
        more: dict[str, Detail] = {"what": "search", "by": query.asked, "found": len(page.entries)}
        self._record(Action.TRAIL_READ, principal, more)
        return page

    def record(self, principal: Principal, log: str, seq: int) -> TrailEntry:
        """As the port."""
        require(principal, Right.AUDIT)
        entry = trailsearch.one(self._archive, log, seq)
        self._record(Action.TRAIL_READ, principal, {"what": "record", "log": log, "seq": seq})
        return entry

    def proof(self, principal: Principal, log: str, seq: int) -> Proof:
        """As the port."""
        return receipts.proof_of(self.receipt(principal, log, seq))

    def receipt(self, principal: Principal, log: str, seq: int) -> bytes:
        """As the port."""
        require(principal, Right.AUDIT)
        if not self._proving.acquire(blocking=False):
            raise Busy("another record is being proved", BUSY_S)
        try:
            return receipts.make_receipt(self._archive, receipts.Place(log, seq), principal)
        finally:
            self._proving.release()

    def all_of_trail(self, principal: Principal, query: TrailQuery, form: Form) -> Iterator[tuple[TrailEntry, ...]]:
        """As the port."""
        require(principal, Right.AUDIT)
        self._record(Action.TRAIL_EXPORT, principal, {"format": form, "by": query.asked})
        return trailsearch.everything(self._archive, query)

    # -- what waits for somebody

    def alerts(self, principal: Principal, older: str, *, everything: bool) -> AlertPage:
        """As the port."""
        require(principal, Right.REVIEW)
        found, following = alerts.newest(self._archive, older, everything=everything)
        self._record(Action.TRAIL_READ, principal, {"what": "alerts", "found": len(found)})
        return AlertPage(tuple(_alert_shown(alert, seen) for alert, seen in found), following)

    def see_to(self, principal: Principal, log: str, seq: int, remark: str) -> None:
        """As the port."""
        require(principal, Right.REVIEW)
        seen = Seen(principal.user, parse_reason(remark), now_us())
        alerts.see_to(self._archive, (log, seq), seen, principal)

    def held(self, principal: Principal) -> list[HeldShown]:
        """As the port."""
        require(principal, Right.REVIEW)
        entries = self._archive.quarantine.entries()
        self._record(Action.QUARANTINE, principal, {"what": "list", "found": len(entries)})
        return [self._held_shown(entry) for entry in reversed(entries)]

    def held_object(self, principal: Principal, name: str) -> HeldDetails:
        """As the port."""
        require(principal, Right.REVIEW)
        entry = self._archive.quarantine.find(_number(name))
        differs = compared(self._archive, entry)
        self._record(Action.QUARANTINE, principal, {"what": "show", "quarantine": entry.id})
        differences = None
        if differs is not None and not differs.problem:
            differences = tuple(
                (f"({each.tag >> 16:04X},{each.tag & 0xFFFF:04X})", each.keyword, each.how)
                for each in differs.differences
            )
        findings = tuple(
            HeldFinding(**{name: getattr(each, name) for name in HeldFinding.__slots__})
            for each in quarantine.explained(entry)
        )
        return HeldDetails(self._held_shown(entry), findings, differences, differs.problem if differs else "")

    def decide(self, principal: Principal, name: str, what: str, reason: str) -> Decided:
        """As the port."""
        require(principal, Right.REVIEW)
        if what not in tuple(What):
            raise NotFound("no such decision")
        order = Order(What(what), _number(name), principal.user, parse_reason(reason), now_us(), principal)
        act = quarantine.release if order.what is What.RELEASE else quarantine.destroy
        done = act(self._archive, order)
        return Decided(done.step.value, done.problems)

    def jobs(self, principal: Principal) -> list[Job]:
        """As the port."""
        require(principal, Right.REVIEW)
        return jobs.jobs(self._archive)

    def _held_shown(self, entry: Entry) -> HeldShown:
        lapse_us = self._archive.config.screening.request_days * US_PER_DAY
        asked = tuple(
            Asked(each.what.value, each.user, each.reason, each.asked_us, each.asked_us + lapse_us)
            for each in entry.requests
        )
        return HeldShown(
            id=entry.id,
            received_us=entry.received_us,
            sender=entry.sender,
            severity=entry.severity,
            reason=quarantine.conflict_of(entry.reason) or entry.reason,
            data_bytes=entry.data_bytes,
            sop_class=quarantine.class_name(entry),
            times=entry.times,
            asked=tuple(each for each in asked if each.lapses_us > now_us()),
            sop_uid=entry.sop_uid,
            series_uid=entry.series_uid,
            study_uid=entry.study_uid,
            encoding=quarantine.encoding_of(entry),
            sha256=entry.sha256.hex(),
        )

    def _record(self, action: Action, principal: Principal, details: dict[str, Detail]) -> None:
        self._archive.index.record(Event(action, Outcome.SUCCESS, principal, details))


def _alert_shown(alert: Alert, seen: Seen | None) -> AlertShown:
    return AlertShown(
        log=alert.log,
        seq=alert.seq,
        time_us=round(alert.time.timestamp() * 1e6),
        kind=alert.kind,
        severity=alert.severity,
        what=alert.what,
        do=alert.do,
        who=alert.event.principal,
        details=alert.event.details,
        seen=seen,
    )


def _number(name: str) -> int:
    """The number of a held object. Raises NotFound."""
    try:
        return parse_quarantine_id(name)
    except ConfigError:
        raise NotFound("nothing is held under that name") from None
