"""Breaking the glass, and looking at it afterwards (45 CFR 164.312(a)(2)(ii), emergency access procedure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from strongroom.archive.access import any_of, require
from strongroom.archive.emergencies import MAX_STANDING, MIN_REASON_CHARS, Candidate, LookedAt, Opening, may_break
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.reasons import parse_reason
from strongroom.archive.values import short_text
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.database import Database
from strongroom.store.emergencies import EmergencyTable
from strongroom.store.people import PeopleTable
from strongroom.types import NOTHING, Principal, Right

MAX_LISTED: Final = 1000
MAX_TEXT_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class EmergencyPorts:
    """What it needs. ``announce`` is told of the alert, and does not block; ``looked_at`` reads the trail; ``clock`` is
    seconds since 1970."""

    database: Database
    clock: Callable[[], float]
    announce: Callable[[Event], None]
    looked_at: Callable[[Opening], LookedAt]


class Emergencies:
    """``archive.ports.BreakGlass`` on the index; an opening holds for ``lasts_s``. Thread-safe; every call blocks."""

    def __init__(self, ports: EmergencyPorts, lasts_s: float) -> None:
        self._ports = ports
        self.lasts_s = int(lasts_s)
        self._table = EmergencyTable(ports.database.dialect)
        self._people = PeopleTable(ports.database.dialect)

    def look(self, principal: Principal, text: str) -> list[Candidate]:
        """The patients that somebody may mean by a Patient ID or accession number; that he asked is in the trail.

        Raises Denied, ConfigError.
        """
        self._require_glass(principal)
        wanted = short_text(text)
        if not wanted or len(wanted) > MAX_TEXT_CHARS:
            raise ConfigError("write the whole Patient ID or accession number")
        with self._ports.database.read() as cursor:
            found = self._table.candidates(cursor, wanted)
        details: dict[str, Detail] = {"what": "look", "results": len(found)}
        event = Event(Action.BREAK_GLASS, Outcome.SUCCESS, principal, details)
        self._ports.database.write(lambda transaction: transaction.record(event))
        return found

    def break_glass(self, principal: Principal, candidate: tuple[str, str], reason: str) -> Opening:
        """Let somebody see a patient (Patient ID, issuer) from now on, for a time; alert in the same transaction.

        Raises Denied, NotFound, ConfigError.
        """
        self._require_glass(principal)
        because, now_us = parse_reason(reason, MIN_REASON_CHARS), self._now_us()
        (patient_id, issuer), person = candidate, principal.user
        told: list[Event] = []

        def work(transaction: Any) -> Opening:
            cursor = transaction.cursor
            if not patient_id or not self._table.studies(cursor, patient_id, issuer):
                raise NotFound("no such patient")
            standing = self._table.standing(cursor, person, now_us)
            for each in standing:
                if (each.patient_id, each.issuer) == candidate:
                    return each
            if len(standing) >= MAX_STANDING:
                raise ConfigError(f"{MAX_STANDING} emergencies at a time: end one that is over")
            number, ends_us = self._table.next_number(cursor), now_us + self.lasts_s * 1_000_000
            opening = Opening(number, person, patient_id, issuer, because, now_us, ends_us)
            self._require_sound(cursor, person, [*standing, opening])
            self._table.add(cursor, opening)
            details = _details("open", opening)
            more: dict[str, Detail] = {"what": "break-glass", "reason": "break-glass", "severity": "high"}
            told[:] = [
                Event(Action.BREAK_GLASS, Outcome.SUCCESS, principal, details),
                Event(Action.ALERT, Outcome.WARNING, principal, {**details, **more}),
            ]
            for event in told:
                transaction.record(event)
            return opening

        try:
            opening: Opening = self._ports.database.write(work)
        except NotFound:  # who tries out numbers without looking for them first is to be seen
            details: dict[str, Detail] = {"what": "open", "reason": "no-such-patient"}
            event = Event(Action.BREAK_GLASS, Outcome.REFUSED, principal, details)
            self._ports.database.write(lambda transaction: transaction.record(event))
            raise
        for event in told:
            self._ports.announce(event)
        return opening

    def standing(self, principal: Principal) -> list[Opening]:
        """Somebody's own emergencies that hold now. Raises Denied."""
        require(principal, Right.BREAK_GLASS)
        with self._ports.database.reading() as cursor:
            return self._table.standing(cursor, principal.user, self._now_us())

    def has_glass(self, principal: Principal) -> bool:
        """Whether there is anything that somebody would not see without one."""
        with self._ports.database.reading() as cursor:
            person = self._people.person(cursor, principal.user)
        return person is not None and may_break(person)

    def end(self, principal: Principal, number: int) -> None:
        """End one of somebody's own emergencies. Raises Denied, NotFound."""
        require(principal, Right.BREAK_GLASS)
        now_us = self._now_us()

        def work(transaction: Any) -> None:
            opening = self._table.opening(transaction.cursor, number)
            if opening is None or opening.person != principal.user:
                raise NotFound("no such emergency")
            if opening.stands(now_us):
                self._table.end(transaction.cursor, number, now_us)
                event = Event(Action.BREAK_GLASS, Outcome.SUCCESS, principal, _details("end", opening))
                transaction.record(event)

        self._ports.database.write(work)

    def openings(self, principal: Principal | None) -> list[Opening]:
        """The newest emergencies of everybody, for who reviews them; None is this machine's operator. Raises Denied."""
        if principal is not None:
            require(principal, Right.REVIEW)
        with self._ports.database.reading() as cursor:
            return self._table.openings(cursor, MAX_LISTED)

    def opening(self, principal: Principal, number: int) -> tuple[Opening, LookedAt]:
        """One emergency with what was looked at; that it was shown is in the trail. Raises Denied, NotFound."""
        require(principal, Right.REVIEW)
        with self._ports.database.reading() as cursor:
            opening = self._table.opening(cursor, number)
        if opening is None:
            raise NotFound("no such emergency")
        looked_at = self._ports.looked_at(opening)
        event = Event(Action.BREAK_GLASS, Outcome.SUCCESS, principal, {"what": "show", "emergency": number})
        self._ports.database.write(lambda transaction: transaction.record(event))
        return opening, looked_at

    def review(self, principal: Principal, number: int, remark: str) -> None:
        """Sign an emergency off, once; never one's own. Raises Denied, NotFound, ConfigError."""
        require(principal, Right.REVIEW)
        self.sign_off(principal, principal.user, number, remark)

    def sign_off(self, principal: Principal, reviewer: str, number: int, remark: str) -> None:
        """The same, for somebody whose passcode this machine has taken."""
        said, now_us = parse_reason(remark, MIN_REASON_CHARS), self._now_us()

        def work(transaction: Any) -> None:
            opening = self._table.opening(transaction.cursor, number)
            if opening is None:
                raise NotFound("no such emergency")
            if opening.person.casefold() == reviewer.casefold():
                raise Denied("same-person")
            if opening.stands(now_us):
                raise ConfigError("it is not over yet: what was looked at is known when it is")
            if opening.reviewed_us:
                raise ConfigError(f"{opening.reviewed_by} has reviewed it already")
            self._table.review(transaction.cursor, number, reviewer, now_us, said)
            details = _details("review", opening) | {"user": reviewer, "remark": said}
            transaction.record(Event(Action.BREAK_GLASS, Outcome.SUCCESS, principal, details))

        try:
            self._ports.database.write(work)
        except Denied as refusal:
            details: dict[str, Detail] = {"what": "review", "emergency": number, "reason": refusal.reason}
            event = Event(Action.BREAK_GLASS, Outcome.REFUSED, principal, details)
            self._ports.database.write(lambda transaction: transaction.record(event))
            raise

    def _require_sound(self, cursor: Any, name: str, openings: Sequence[Opening]) -> None:
        """Return if somebody's scope can be put together with these, else he would see nothing. Raises ConfigError."""
        person = self._people.person(cursor, name)
        try:
            any_of(person.scope if person else NOTHING, *(each.scope for each in openings))
        except Denied:
            raise ConfigError("your scope has too many parts to add one: ask an administrator") from None

    def _require_glass(self, principal: Principal) -> None:
        require(principal, Right.BREAK_GLASS)
        if principal.via != VIA_SESSION or not self.has_glass(principal):
            raise Denied("no-scope-to-look-beyond")

    def _now_us(self) -> int:
        return int(self._ports.clock() * 1e6)


def _details(what: str, opening: Opening) -> dict[str, Detail]:
    """What the trail says of it: who and why, never which patient; the studies that are opened say that."""
    return {
        "what": what,
        "emergency": opening.number,
        "person": opening.person,
        "because": opening.reason,
        "ends_us": opening.ends_us,
    }
