"""Storage commitment (DICOM PS3.4 annex J): what the archive answers for, and the reports that it owes for it.

A report is made when it is about to be told and not when it was asked for: between the two may lie a night, and what
was deleted in it must not be promised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome, StoredObject
from strongroom.archive.ports import BlobReader, Clock, Index
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.types import Principal, Right, Scope

MAX_BACKOFF_S: Final = 3600.0
"""The longest time between two tries to deliver a report."""


class FailureReason(IntEnum):
    """Why an instance is not committed to: Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122


class Reference(NamedTuple):
    """An instance that somebody wants to be sure of."""

    sop_class: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request that a report is owed for. ``number`` is the ledger's; ``tries`` counts those to reach the peer."""

    number: int
    peer: str
    transaction_uid: str
    references: tuple[Reference, ...]
    next_try_us: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What holds now: the instances that are here, and those that are not with the reason."""

    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, FailureReason], ...]


class Ledger(Protocol):
    """The reports that are owed. Each change is durable on return, together with its event. Thread-safe.

    All may raise StorageUnavailable.
    """

    def add(self, new: Commitment, max_pending: int, event: Event) -> Commitment:
        """Note a new one; returns it with its number.

        Raises Refused ("duplicate-transaction-uid") while the peer has one of that UID, LimitExceeded beyond
        ``max_pending`` of one peer.
        """

    def due(self, now_us: int, limit: int) -> Sequence[Commitment]:
        """Those whose next try is not after ``now_us``, longest overdue first."""

    def next_due_us(self) -> int | None:
        """When the next one is due, None if there is none."""

    def reschedule(self, commitment: Commitment, next_try_us: int, tries: int) -> bool:
        """Set time and count; False if it is gone or somebody else did since ``commitment`` was read."""

    def settle(self, commitment: Commitment, event: Event) -> bool:
        """Forget one, recording why; False, with nothing recorded, if it is gone already."""


@dataclass(frozen=True, slots=True)
class CommitmentLimits:
    """Caps on what one peer can have pending, and how often it is called."""

    max_pending_per_peer: int
    retry_s: float
    max_tries: int


@dataclass(frozen=True, slots=True)
class Commitments:
    """Takes requests, finds out what holds, keeps account of the reports. Thread-safe."""

    ledger: Ledger
    index: Index = field(repr=False)
    open_object: Callable[[StoredObject], BlobReader] = field(repr=False)
    sop_classes: Collection[str] = field(repr=False)
    limits: CommitmentLimits
    clock: Clock = field(repr=False)

    def now_us(self) -> int:
        """The clock, in microseconds since 1970."""
        return int(self.clock() * 1e6)

    def accept(self, principal: Principal, transaction_uid: str, references: Sequence[Reference]) -> Commitment:
        """Note that a report is owed, in the trail as well. Raises Denied, and what ``Ledger.add`` does."""
        require(principal, Right.COMMIT)
        wanted = tuple(dict.fromkeys(references))
        # Until then the report goes over the association that it was asked for on.
        next_try_us = self.now_us() + int(self.limits.retry_s * 1e6)
        new = Commitment(0, principal.aet, transaction_uid, wanted, next_try_us)
        details: dict[str, Detail] = {
            "phase": "begin",
            "transaction_uid": transaction_uid,
            "instances": len(wanted),
        }
        event = Event(Action.COMMITMENT, Outcome.SUCCESS, principal, details)
        return self.ledger.add(new, self.limits.max_pending_per_peer, event)

    def report(self, commitment: Commitment, scope: Scope | None) -> Report:
        """What holds of a request at this moment, for a peer with this scope; to it, what is outside is not stored.

        Raises StorageUnavailable if the index cannot be asked.
        """
        committed: list[Reference] = []
        failed: list[tuple[Reference, FailureReason]] = []
        for reference in commitment.references:
            reason = self._check(reference, scope)
            if reason is None:
                committed.append(reference)
            else:
                failed.append((reference, reason))
        return Report(tuple(committed), tuple(failed))

    def _check(self, reference: Reference, scope: Scope | None) -> FailureReason | None:
        """Why the archive cannot answer for an instance, None if it can: indexed, and all its bytes in their place.

        What is indexed was durable before. That every byte is still as it was, ``strongroom check`` finds out.
        """
        try:
            stored = self.index.find_object(reference.sop_uid, scope)
        except (IntegrityError, ConfigError):
            return FailureReason.PROCESSING_FAILURE
        if stored is None:
            known = reference.sop_class in self.sop_classes
            return FailureReason.NO_SUCH_OBJECT_INSTANCE if known else FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
        if stored.sop_class != reference.sop_class:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        try:
            blob = self.open_object(stored)
        except (IntegrityError, NotFound, StorageUnavailable):
            return FailureReason.PROCESSING_FAILURE
        size = blob.size
        blob.close()
        return None if size == stored.data_bytes else FailureReason.PROCESSING_FAILURE

    def due(self, limit: int) -> Sequence[Commitment]:
        """The requests whose report is to be tried now."""
        return self.ledger.due(self.now_us(), limit)

    def wait_s(self) -> float | None:
        """Seconds until there is something to deliver, None if nothing is owed."""
        next_due_us = self.ledger.next_due_us()
        return None if next_due_us is None else max(0.0, next_due_us / 1e6 - self.clock())

    def hasten(self, commitment: Commitment) -> bool:
        """Have the report delivered to the peer's address from now on."""
        return self.ledger.reschedule(commitment, self.now_us(), commitment.tries)

    def claim(self, commitment: Commitment) -> bool:
        """Count a try that is about to be made and set the time of the next; False if somebody else is at it."""
        backoff_s = min(self.limits.retry_s * 2.0 ** min(commitment.tries, 32), MAX_BACKOFF_S)
        return self.ledger.reschedule(commitment, self.now_us() + int(backoff_s * 1e6), commitment.tries + 1)

    def delivered(self, commitment: Commitment, principal: Principal, report: Report, way: str) -> None:
        """The peer has the report: the trail says what was told, and nothing is owed any more."""
        details: dict[str, Detail] = {
            "committed": len(report.committed),
            "failed": len(report.failed),
            "way": way,
        }
        if report.failed:
            details["reasons"] = tuple(sorted({f"{reason:04X}" for _, reason in report.failed}))
            details["failed_uids"] = tuple(reference.sop_uid for reference, _ in report.failed[:64])
        outcome = Outcome.WARNING if report.failed else Outcome.SUCCESS
        self._settle(commitment, principal, outcome, details)

    def undelivered(self, commitment: Commitment, reason: str) -> None:
        """A claimed try has failed: the last one of all ends it, recorded."""
        if commitment.tries + 1 >= self.limits.max_tries:
            self.give_up(commitment, reason)

    def give_up(self, commitment: Commitment, reason: str) -> None:
        """End a request whose report cannot be delivered, recorded."""
        self._settle(commitment, Principal(commitment.peer), Outcome.FAILED, {"reason": reason})

    def _settle(
        self, commitment: Commitment, principal: Principal, outcome: Outcome, more: Mapping[str, Detail]
    ) -> None:
        details: dict[str, Detail] = {"phase": "end", "transaction_uid": commitment.transaction_uid, **more}
        self.ledger.settle(commitment, Event(Action.COMMITMENT, outcome, principal, details))
