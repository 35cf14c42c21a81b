"""What one person proposes and another one agrees to: the form to propose a deletion, and the list to decide upon."""

from __future__ import annotations

import time
from typing import Final

from starlette.responses import Response

from strongroom.archive.proposals import MACHINES_ADMINISTRATOR, Proposal, Stage
from strongroom.archive.reasons import MAX_REASON_CHARS
from strongroom.errors import ConfigError, Denied
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.delete import REVIEW_PROPOSALS
from strongroom.web.operation import FORM, Operation
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.pages import number_of, page, see_other

DELETE: Final = "/studies/{study}/delete"
ONE: Final = f"{REVIEW_PROPOSALS}/{{proposal}}"
REFUSALS: Final = {
    "same-person": "You have proposed this yourself: it takes somebody else.",
    "request-lapsed": "It lapsed, or was decided, meanwhile.",
    "role-may-not": "Your role may not decide this.",
    MACHINES_ADMINISTRATOR: "A program has proposed this, and administrators make the tokens of programs: it takes "
    "somebody who reviews and is none. Or decline it, and propose it yourself for somebody else to agree to.",
}


async def show_delete(call: Call) -> Response:
    """The form to propose that a study be deleted, or what waits already."""
    return await _delete_page(call, "", "", 200)


async def propose(call: Call) -> Response:
    """Propose it."""
    reason = (await read_form(call.request)).get("reason", "")
    study, services = call.uids["study"], call.services
    try:
        await services.run_storing(services.decisions.propose_deletion, call.principal, study, reason)
    except ConfigError as error:
        return await _delete_page(call, reason, _sentence(error), 403)
    return see_other(DELETE.format(study=study))


async def _delete_page(call: Call, reason: str, wrong: str, status: int) -> Response:
    study, services = call.uids["study"], call.services
    waiting = await services.run_blocking(services.decisions.waiting_deletion, call.principal, study)
    return page("delete.html", call, status, study=str(study), waiting=waiting, reason=reason, wrong=wrong,
                most=MAX_REASON_CHARS)  # fmt: skip


async def show_proposals(call: Call) -> Response:
    """What is to be decided, and what was."""
    found = await call.services.run_blocking(call.services.decisions.proposals, call.principal)
    now_us = int(time.time() * 1e6)
    staged = [(each, each.stage(now_us).value) for each in found]
    return page("proposals.html", call, proposals=staged)


async def show_proposal(call: Call) -> Response:
    """One, with the two ways to decide."""
    return await _proposal_page(call, "", 200)


async def agree(call: Call) -> Response:
    """Carry it out."""
    return await _decide(call, is_agreed=True)


async def decline(call: Call) -> Response:
    """Leave it."""
    return await _decide(call, is_agreed=False)


async def _decide(call: Call, *, is_agreed: bool) -> Response:
    remark = (await read_form(call.request)).get("remark", "")
    decisions, number = call.services.decisions, number_of(call.path["proposal"])
    try:
        work = decisions.agree if is_agreed else decisions.decline
        await call.services.run_storing(work, call.principal, number, remark)
    except ConfigError as error:
        return await _proposal_page(call, _sentence(error), 403)
    except Denied as error:
        if error.reason not in REFUSALS:
            raise
        return await _proposal_page(call, REFUSALS[error.reason], 403)
    return see_other(REVIEW_PROPOSALS)


async def _proposal_page(call: Call, wrong: str, status: int) -> Response:
    decisions, number = call.services.decisions, number_of(call.path["proposal"])

    def found() -> tuple[Proposal, bool]:
        proposal = decisions.proposal(call.principal, number)
        return proposal, decisions.may_agree(call.principal, proposal)

    proposal, may_agree = await call.services.run_blocking(found)
    stage = proposal.stage(int(time.time() * 1e6))
    return page("proposal.html", call, status, proposal=proposal, stage=stage.value, may_agree=may_agree,
                waits=stage is Stage.WAITS, wrong=wrong, most=MAX_REASON_CHARS)  # fmt: skip


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


OPERATIONS: Final = (
    Operation(
        "pageDelete", "GET", DELETE, show_delete, "The form to propose that a study be deleted.", Right.PROPOSE,
        produces=("text/html",), statuses=(200, 403, 404), is_page=True, proof_for=DELETE,
    ),
    Operation(
        "proposeDeletion", "POST", DELETE, propose, "Propose that a study be deleted.", Right.PROPOSE, consumes=(FORM,),
        produces=("text/html",), statuses=(303, 403, 404), is_page=True, proof_for=DELETE,
    ),
    Operation(
        "pageProposals", "GET", REVIEW_PROPOSALS, show_proposals, "What waits for a second person.", Right.REVIEW,
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageProposal", "GET", ONE, show_proposal, "One proposal, to be decided.", Right.REVIEW,
        produces=("text/html",), statuses=(200, 404), is_page=True, proof_for=ONE,
    ),
    Operation(
        "agreeToProposal", "POST", f"{ONE}/agree", agree, "Carry out what somebody else has proposed.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 403, 404), is_page=True, proof_for=ONE,
    ),
    Operation(
        "declineProposal", "POST", f"{ONE}/decline", decline, "Decline what somebody has proposed.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 403, 404), is_page=True, proof_for=ONE,
    ),
)  # fmt: skip
