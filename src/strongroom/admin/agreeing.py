"""What one person proposes and another one carries out: the rule of the quarantine's two people, for other matters.

Each transaction looks again at who proposed, who agrees, and whether both may.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.proposals import (
    MAY_AGREE,
    MAY_PROPOSE,
    Matter,
    Proposal,
    Stage,
    is_machine,
    require_may_agree,
)
from strongroom.archive.refusals import reason_of
from strongroom.archive.roles import rights_of
from strongroom.errors import Denied, NotFound
from strongroom.store.people import PeopleTable
from strongroom.store.proposals import ProposalTable
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Right

T = TypeVar("T")

MAX_LISTED: Final = 1000
_US_PER_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done and why. ``name`` is an account whose passcode or session was shown, or a machine's;
    ``principal`` is who the trail says it was; ``now_us`` is microseconds since 1970."""

    matter: Matter
    subject: str
    name: str
    reason: str
    principal: Principal
    now_us: int

    @property
    def details(self) -> dict[str, Detail]:
        """What the trail says of whatever comes of it."""
        return {"matter": self.matter.value, "subject": self.subject, "user": self.name, "because": self.reason}


class Agreement:
    """One wish, on its way through transactions."""

    def __init__(self, archive: Archive, wish: Wish) -> None:
        self._archive = archive
        self._table = ProposalTable(archive.backend.dialect)
        self._people = PeopleTable(archive.backend.dialect)
        self.wish = wish

    def propose(self) -> Proposal | None:
        """Note the wish as a proposal, and record it; None, with nothing written, if it completes somebody else's.

        Raises Denied, and records it.
        """

        def work(transaction: Transaction) -> Proposal | None:
            waiting = self._waiting(transaction.cursor)
            if waiting is not None:
                self._require_may_agree(transaction.cursor, waiting)
                return None
            return self._propose(transaction)

        return self._written(work)

    def propose_only(self) -> Proposal:
        """The same for one who does nothing else: what waits already, whoever proposed it, is given back."""
        return self._written(lambda transaction: self._waiting(transaction.cursor) or self._propose(transaction))

    def waiting(self) -> Proposal | None:
        """What waits for this matter and subject."""
        with self._archive.index.database.reading() as cursor:
            return self._waiting(cursor)

    def require_now(self) -> None:
        """Return if the wish completes a proposal of somebody else now. Raises Denied, and records it."""
        self._written(self.require)

    def require(self, transaction: Transaction) -> Proposal:
        """The proposal of somebody else that the wish completes. Raises Denied; writes nothing."""
        waiting = self._waiting(transaction.cursor)
        if waiting is None:
            raise Denied("request-lapsed")
        self._require_may_agree(transaction.cursor, waiting)
        return waiting

    def carry_out(self, transaction: Transaction, proposal: Proposal) -> Proposal:
        """In the transaction that does it: what ``require`` gave is agreed to."""
        return self._decided(transaction, proposal, Stage.AGREED)

    def agree_alone(self) -> Proposal:
        """Agree where there is nothing else to do. Raises Denied, and records it."""
        return self._written(lambda transaction: self.carry_out(transaction, self.require(transaction)))

    def decline(self, number: int) -> Proposal:
        """Decline a proposal, or take one's own back. Raises Denied, NotFound, and records it."""

        def work(transaction: Transaction) -> Proposal:
            proposal = self._table.proposal(transaction.cursor, number)
            if proposal is None or proposal.stage(self.wish.now_us) is not Stage.WAITS:
                raise NotFound("nothing of that number waits")
            if proposal.proposer != self.wish.name:
                self._require_right(transaction.cursor, MAY_AGREE[proposal.matter])
            return self._decided(transaction, proposal, Stage.DECLINED)

        return self._written(work)

    def _propose(self, transaction: Transaction) -> Proposal:
        wish = self.wish
        if not is_machine(wish.name):
            self._require_right(transaction.cursor, MAY_PROPOSE[wish.matter])
        number = self._table.next_number(transaction.cursor)
        lapses_us = wish.now_us + self._archive.config.screening.request_days * _US_PER_DAY
        made = Proposal(number, wish.matter, wish.subject, wish.name, wish.reason, wish.now_us, lapses_us)
        self._table.add(transaction.cursor, made)
        self._record(transaction, "propose", made)
        return made

    def _written(self, work: Callable[[Transaction], T]) -> T:
        """The result of a transaction; a refusal is recorded."""
        try:
            return self._archive.index.database.write(work)
        except (Denied, NotFound) as refusal:
            details = {**self.wish.details, "reason": reason_of(refusal)}
            self._archive.index.record(Event(Action.PROPOSAL, Outcome.REFUSED, self.wish.principal, details))
            raise

    def _waiting(self, cursor: Any) -> Proposal | None:
        """What waits for this subject. A proposal of somebody who may no longer propose is none."""
        for each in self._table.of_subject(cursor, self.wish.matter, self.wish.subject):
            may = is_machine(each.proposer) or MAY_PROPOSE[each.matter] in self._rights(cursor, each.proposer)
            if each.stage(self.wish.now_us) is Stage.WAITS and may:
                return each
        return None

    def _require_may_agree(self, cursor: Any, proposal: Proposal) -> None:
        require_may_agree(proposal, self.wish.name, self._rights(cursor, self.wish.name))

    def _require_right(self, cursor: Any, right: Right) -> None:
        if right not in self._rights(cursor, self.wish.name):
            raise Denied("role-may-not")

    def _rights(self, cursor: Any, name: str) -> frozenset[Right]:
        person = self._people.person(cursor, name)
        return rights_of(person.roles) if person is not None and not person.disabled_us else frozenset()

    def _decided(self, transaction: Transaction, proposal: Proposal, stage: Stage) -> Proposal:
        wish = self.wish
        decided = replace(
            proposal, decided_us=wish.now_us, decided_by=wish.name, decision=stage.value, remark=wish.reason
        )
        self._table.decide(transaction.cursor, decided)
        self._record(transaction, "agree" if stage is Stage.AGREED else "decline", decided)
        return decided

    def _record(self, transaction: Transaction, what: str, proposal: Proposal) -> None:
        details: dict[str, Detail] = {
            "what": what,
            "proposal": proposal.number,
            "proposed_by": proposal.proposer,
            "matter": proposal.matter.value,
            "subject": proposal.subject,
            "user": self.wish.name,
            "because": self.wish.reason,
        }
        transaction.record(Event(Action.PROPOSAL, Outcome.SUCCESS, self.wish.principal, details))


def proposals(archive: Archive) -> list[Proposal]:
    """The newest proposals of everybody."""
    table = ProposalTable(archive.backend.dialect)
    with archive.index.database.reading() as cursor:
        return table.proposals(cursor, MAX_LISTED)
