"""What takes two different people: the first one asks, the second one does it.

Who they are is an account with a passcode and a role that may. Both names are in the trail, with every request, every
refusal and every act. Each transaction looks again whether what it does is still agreed upon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from strongroom.admin.recovery import expect_orphans, orphans_gone
from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.refusals import reason_of
from strongroom.archive.roles import Role, stored_roles
from strongroom.errors import Denied, NotFound, StorageUnavailable, StrongroomError
from strongroom.store.accounts import Accounts
from strongroom.store.quarantine import Entry, Request, What, quarantine_id
from strongroom.store.transaction import Transaction
from strongroom.types import Principal

OFFICERS: Final = frozenset({Role.SECURITY_OFFICER, Role.ADMINISTRATOR})
"""Whose accounts may ask and agree. Who works with images all day is not the one whom a false mail has to convince."""

_US_PER_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants done with a held object, and why. ``user`` is a name that `verified` gave; ``now_us`` is
    microseconds since 1970."""

    what: What
    number: int
    user: str
    reason: str
    now_us: int
    by: Principal | None = None
    """Who acts, if it is not this machine's operator."""

    @property
    def details(self) -> dict[str, Detail]:
        """What the trail says of whatever comes of it."""
        return {"what": self.what.value, "quarantine": quarantine_id(self.number), "user": self.user}


@dataclass(frozen=True, slots=True)
class TakenOut:
    """What was held until this transaction; a file of it is still there. ``mark`` is for `TwoPeople.remove_file`."""

    entry: Entry
    asked: Request
    key_id: bytes
    mark: str


def now_us() -> int:
    """The present time."""
    return time.time_ns() // 1000


def authenticated(archive: Archive, name: str, passcode: str) -> str:
    """Return ``name`` if this is the passcode of its account, whatever its roles. Raises Denied, and records it."""
    with archive.index.database.read() as cursor:
        accounts = {known: (hashed, not off) for known, hashed, _, _, off in archive.index.registry.accounts(cursor)}
    if not Accounts(accounts.get).verify(name, passcode.encode()):
        details: dict[str, Detail] = {"user": name} if name in accounts else {}
        archive.record(Action.PROPOSAL, {**details, "reason": "user-or-passcode-wrong"}, Outcome.REFUSED)
        raise Denied("user-or-passcode-wrong")
    return name


def verified(archive: Archive, name: str, passcode: str) -> str:
    """Return ``name`` if this is its account's passcode, and its role may. Raises Denied, and records it."""
    with archive.index.database.read() as cursor:
        accounts = {known: (hashed, not off) for known, hashed, _, _, off in archive.index.registry.accounts(cursor)}
    try:
        if not Accounts(accounts.get).verify(name, passcode.encode()):
            raise Denied("user-or-passcode-wrong")
        with archive.index.database.read() as cursor:
            _require_officer(archive, cursor, name)
    except Denied as refusal:
        _record_refusal(archive, {"user": name}, refusal, archive.principal)
        raise
    return name


def decide(requests: Sequence[Request], order: Order, counts: Callable[[Request], bool]) -> Request | None:
    """The request of somebody else that ``order`` completes, None if there is none that ``counts``.

    Raises Denied if it is this person's own: names that differ in case only are one person.
    """
    for request in requests:
        if request.what is order.what and counts(request):
            if request.user.casefold() == order.user.casefold():
                raise Denied("same-person")
            return request
    return None


class TwoPeople:
    """One order, on its way through transactions."""

    def __init__(self, archive: Archive, order: Order) -> None:
        self._archive = archive
        self._lapse_us = archive.config.screening.request_days * _US_PER_DAY
        self.order = order
        self.principal = order.by or archive.principal

    @property
    def lapses_us(self) -> int:
        """When the order is no longer good as a request."""
        return self.order.now_us + self._lapse_us

    def ask(self) -> bool:
        """Note the order as a request, and record it; False, with nothing written, if it completes somebody else's.

        Raises Denied or NotFound, and records it; StorageUnavailable.
        """
        archive, order = self._archive, self.order

        def work(transaction: Transaction) -> bool:
            entry = archive.quarantine.find_in(transaction.cursor, order.number)
            if self._completed(transaction, entry) is not None:
                return False
            request = Request(order.what, order.user, order.reason, order.now_us)
            archive.quarantine.ask(transaction, order.number, request)
            details = {**order.details, "what": f"ask-{order.what.value}", "because": order.reason}
            transaction.record(Event(Action.QUARANTINE, Outcome.SUCCESS, self.principal, details))
            return True

        return bool(self.write(work))

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        """The result of a transaction, which somebody else may have come before. Raises as ``ask``."""
        try:
            return self._archive.index.database.write(work)
        except (Denied, NotFound) as refusal:
            _record_refusal(self._archive, self.order.details, refusal, self.principal)
            raise

    def require(self, transaction: Transaction) -> tuple[Entry, Request]:
        """What is held, and the request that the order completes. Raises NotFound, Denied; writes nothing."""
        entry = self._archive.quarantine.find_in(transaction.cursor, self.order.number)
        asked = self._completed(transaction, entry)
        if asked is None:
            raise Denied("request-lapsed")
        return entry, asked

    def details(self, entry: Entry, asked: Request) -> dict[str, Detail]:
        """What the trail says of the act, beside what the object is."""
        return {
            **self.order.details,
            "because": self.order.reason,
            "asked_by": asked.user,
            "asked_because": asked.reason,
            "sender": entry.sender.aet,
            "sender_address": entry.sender.address,
            "received_us": entry.received_us,
        }

    def take_out(self, transaction: Transaction, entry: Entry, asked: Request) -> TakenOut:
        """Destroy the key of what is held, and its row. If its file is not removed after that, the next start does."""
        mark = expect_orphans(self._archive, transaction, () if entry.is_small else (entry.object_id,))
        return TakenOut(entry, asked, self._archive.quarantine.take_out(transaction, entry.number), mark)

    def remove_file(self, taken: TakenOut) -> list[str]:
        """Remove the sealed file of what was taken out, if it is one; returns problems."""
        archive, entry = self._archive, taken.entry
        archive.ring.forget(taken.key_id)
        if entry.is_small:
            return []
        try:
            archive.blobs.delete(entry.object_id)
            orphans_gone(archive, taken.mark)
        except StorageUnavailable:
            return ["the sealed file is still there: nothing opens it, and the next start removes it"]
        return []

    def _completed(self, transaction: Transaction, entry: Entry) -> Request | None:
        archive, cursor, now = self._archive, transaction.cursor, self.order.now_us
        _require_officer(archive, cursor, self.order.user)

        def counts(request: Request) -> bool:
            """A request of somebody who may no longer ask is none, nor one from the time to come."""
            is_in_time = 0 <= now - request.asked_us <= self._lapse_us
            return is_in_time and _is_officer(archive, cursor, request.user)

        return decide(entry.requests, self.order, counts)


def _require_officer(archive: Archive, cursor: Any, name: str) -> None:
    for known, _, role, _, disabled_us in archive.index.registry.accounts(cursor):
        if known == name:
            if disabled_us:
                raise Denied("user-disabled")
            if OFFICERS.isdisjoint(stored_roles(role)):
                raise Denied("role-may-not")
            return
    raise Denied("user-unknown")


def _is_officer(archive: Archive, cursor: Any, name: str) -> bool:
    try:
        _require_officer(archive, cursor, name)
    except Denied:
        return False
    return True


def _record_refusal(
    archive: Archive, details: dict[str, Detail], refusal: StrongroomError, principal: Principal
) -> None:
    told = {**details, "reason": reason_of(refusal)}
    archive.index.record(Event(Action.QUARANTINE, Outcome.REFUSED, principal, told))
