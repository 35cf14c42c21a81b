"""Breaking the glass: the search, the confirmation, the end; and the review of it by somebody else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from strongroom.archive.emergencies import MIN_REASON_CHARS
from strongroom.archive.ports import BreakGlass
from strongroom.archive.reasons import MAX_REASON_CHARS, parse_reason
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Operation
from strongroom.web.ui.entering import run
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.pages import number_of, page, see_other

GLASS: Final = "/break-glass"
REVIEW: Final = "/review/break-glass"


def glass_of(call: Call) -> BreakGlass:
    """What does it. Raises NotFound where there is none."""
    if call.services.break_glass is None:
        raise NotFound("there is no glass here")
    return call.services.break_glass


async def show_glass(call: Call) -> Response:
    """The search, and what stands."""
    return await _glass(call, {}, "", 200)


async def look(call: Call) -> Response:
    """The patients that somebody may mean, to be confirmed."""
    form = await read_form(call.request)
    number, reason = form.get("number", ""), form.get("reason", "")
    try:
        parse_reason(reason, MIN_REASON_CHARS)
        found = await run(call, glass_of(call).look, call.principal, number)
    except ConfigError as error:
        return await _glass(call, form, _sentence(error), 403)
    if not found:
        return await _glass(call, form, "Nobody has that Patient ID, and no study that accession number.", 404)
    return page("break_glass_confirm.html", call, found=found, reason=reason.strip(),
                hours=_hours(call))  # fmt: skip


async def break_it(call: Call) -> Response:
    """Break it."""
    form = await read_form(call.request)
    candidate = (form.get("patient", ""), form.get("issuer", ""))
    try:
        await run(call, glass_of(call).break_glass, call.principal, candidate, form.get("reason", ""))
    except ConfigError as error:
        return await _glass(call, form, _sentence(error), 403)
    return see_other(GLASS)


async def end(call: Call) -> Response:
    """End one of one's own."""
    number = number_of((await read_form(call.request)).get("emergency", ""))
    await run(call, glass_of(call).end, call.principal, number)
    return see_other(GLASS)


async def _glass(call: Call, form: Mapping[str, str], wrong: str, status: int) -> Response:
    glass = glass_of(call)
    standing = await call.services.run_blocking(glass.standing, call.principal)
    has_glass = await call.services.run_blocking(glass.has_glass, call.principal)
    return page("break_glass.html", call, status, standing=standing, has_glass=has_glass, form=form,
                wrong=wrong, least=MIN_REASON_CHARS, most=MAX_REASON_CHARS, hours=_hours(call))  # fmt: skip


async def show_reviews(call: Call) -> Response:
    """Every time that somebody broke it."""
    openings = await call.services.run_blocking(glass_of(call).openings, call.principal)
    return page("break_glass_reviews.html", call, openings=openings, now_us=int(time.time() * 1e6))


async def show_review(call: Call) -> Response:
    """One, with what was looked at."""
    return await _review(call, "", "", 200)


async def review(call: Call) -> Response:
    """Sign one off."""
    remark = (await read_form(call.request)).get("remark", "")
    number = number_of(call.path["emergency"])
    try:
        await run(call, glass_of(call).review, call.principal, number, remark)
    except ConfigError as error:
        return await _review(call, remark, _sentence(error), 403)
    except Denied as error:
        if error.reason != "same-person":
            raise
        return await _review(call, remark, "It was you: somebody else has to look at it.", 403)
    return see_other(REVIEW)


async def _review(call: Call, remark: str, wrong: str, status: int) -> Response:
    number = number_of(call.path["emergency"])
    opening, looked_at = await call.services.run_blocking(glass_of(call).opening, call.principal, number)
    is_own = opening.person.casefold() == call.principal.user.casefold()
    return page("break_glass_review.html", call, status, opening=opening, looked_at=looked_at, remark=remark,
                wrong=wrong, is_own=is_own, least=MIN_REASON_CHARS, most=MAX_REASON_CHARS,
                stands=opening.stands(int(time.time() * 1e6)))  # fmt: skip


def _hours(call: Call) -> str:
    minutes = glass_of(call).lasts_s // 60
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


OPERATIONS: Final = (
    Operation(
        "pageBreakGlass", "GET", GLASS, show_glass, "To see a patient outside one's scope in an emergency.",
        Right.BREAK_GLASS, produces=("text/html",), is_page=True,
    ),
    Operation(
        "lookBreakGlass", "POST", f"{GLASS}/look", look, "The patients that may be meant.", Right.BREAK_GLASS,
        consumes=(FORM,), produces=("text/html",), statuses=(200, 403, 404), is_page=True,
    ),
    Operation(
        "breakGlass", "POST", GLASS, break_it, "Break the glass for one patient.", Right.BREAK_GLASS,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 403, 404), is_page=True,
    ),
    Operation(
        "endBreakGlass", "POST", f"{GLASS}/end", end, "End an emergency of one's own.", Right.BREAK_GLASS,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 404), is_page=True,
    ),
    Operation(
        "pageReviewsBreakGlass", "GET", REVIEW, show_reviews, "Emergencies to be reviewed.", Right.REVIEW,
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageReviewBreakGlass", "GET", f"{REVIEW}/{{emergency}}", show_review, "One emergency, and what was looked at.",
        Right.REVIEW, produces=("text/html",), statuses=(200, 404), is_page=True, proof_for=f"{REVIEW}/{{emergency}}",
    ),
    Operation(
        "reviewBreakGlass", "POST", f"{REVIEW}/{{emergency}}", review, "Sign an emergency off.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 403, 404), is_page=True,
        proof_for=f"{REVIEW}/{{emergency}}",
    ),
)  # fmt: skip
