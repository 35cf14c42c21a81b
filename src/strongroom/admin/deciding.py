"""Proposals as pages and machines see them: made, shown, agreed to, declined."""

from __future__ import annotations

import logging
import time

from strongroom.admin.agreeing import Agreement, Wish, proposals
from strongroom.admin.deleting import require_study
from strongroom.admin.deletion import delete_study
from strongroom.app import Archive
from strongroom.archive.access import require
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.proposals import Matter, Proposal, require_may_agree
from strongroom.archive.reasons import parse_reason
from strongroom.errors import Denied, NotFound
from strongroom.store.proposals import ProposalTable
from strongroom.types import Principal, Right

log = logging.getLogger(__name__)


class Decisions:
    """``archive.ports.Decisions`` on an archive. Thread-safe; every call blocks."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._table = ProposalTable(archive.backend.dialect)

    def propose_deletion(self, principal: Principal, study_uid: str, reason: str) -> Proposal:
        """Propose that a study be deleted; what somebody has proposed already and still waits is given back.

        Raises Denied, NotFound, ConfigError.
        """
        is_person = principal.via == VIA_SESSION
        require(principal, Right.PROPOSE if is_person else Right.DELETE)
        wish = require_study(self._archive, self._wish(principal, Matter.DELETE_STUDY, study_uid, reason))
        return Agreement(self._archive, wish).propose_only()

    def waiting_deletion(self, principal: Principal, study_uid: str) -> Proposal | None:
        """What waits for a study. Raises Denied; NotFound if it is not there for who asks."""
        require(principal, Right.PROPOSE)
        wish = require_study(self._archive, self._wish(principal, Matter.DELETE_STUDY, study_uid, "-"))
        return Agreement(self._archive, wish).waiting()

    def proposals(self, principal: Principal) -> list[Proposal]:
        """The newest of everybody. Raises Denied."""
        require(principal, Right.REVIEW)
        return proposals(self._archive)

    def proposal(self, principal: Principal, number: int) -> Proposal:
        """One. Raises Denied, NotFound."""
        require(principal, Right.REVIEW)
        with self._archive.index.database.reading() as cursor:
            found = self._table.proposal(cursor, number)
        if found is None:
            raise NotFound("no such proposal")
        return found

    def agree(self, principal: Principal, number: int, remark: str) -> None:
        """Carry out what somebody else has proposed. Raises Denied, NotFound, ConfigError, StorageUnavailable."""
        proposal = self.proposal(principal, number)
        wish = self._wish(principal, proposal.matter, proposal.subject, parse_reason(remark))
        agreement = Agreement(self._archive, wish)
        if proposal.matter is Matter.UNSAFE:
            agreement.agree_alone()
            return
        agreement.require_now()
        done = delete_study(self._archive, proposal.subject, wish.reason, lambda _done, _of: None, principal, agreement)
        for problem in done.problems:  # the keys are gone: the study is deleted, whatever is left to tidy up
            log.warning("proposal %d: the study is deleted, and this is left to do: %s", number, problem)

    def decline(self, principal: Principal, number: int, remark: str) -> None:
        """Decline what somebody has proposed, oneself too. Raises Denied, NotFound, ConfigError."""
        proposal = self.proposal(principal, number)
        wish = self._wish(principal, proposal.matter, proposal.subject, parse_reason(remark))
        Agreement(self._archive, wish).decline(number)

    def may_agree(self, principal: Principal, proposal: Proposal) -> bool:
        """Whether somebody is another person, and may."""
        try:
            require_may_agree(proposal, principal.user, principal.rights)
        except Denied:
            return False
        return True

    def _wish(self, principal: Principal, matter: Matter, subject: str, reason: str) -> Wish:
        return Wish(matter, subject, name_of(principal), reason, principal, time.time_ns() // 1000)


def name_of(principal: Principal) -> str:
    """Who proposes: an account, or a machine under a name that no account has."""
    if principal.via == VIA_SESSION:
        return principal.user
    kind = principal.via or "peer"
    return f"{kind} {principal.user if kind == 'jwt' else principal.aet}"
