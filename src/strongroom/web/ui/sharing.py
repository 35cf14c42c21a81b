"""Sharing a study: the form, what is shown once, the lists, and the door for whom it is shared with."""

from __future__ import annotations

import time
from typing import Final

from starlette.responses import Response

from strongroom.archive.ports import Sharing
from strongroom.archive.reasons import MAX_REASON_CHARS
from strongroom.archive.sharing import CODE_DIGITS, MAX_LABEL_CHARS, NewShare, Share
from strongroom.errors import ConfigError, NotFound, Throttled, Unauthenticated
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import FORM, PREFIX, Operation
from strongroom.web.ui.entering import run, wait_words
from strongroom.web.ui.forms import read_form, where_of, with_session
from strongroom.web.ui.pages import number_of, page, see_other

SHARES: Final = "/shares"
REVIEW_SHARES: Final = "/review/shares"
DOOR: Final = "/shared"
DAY_S: Final = 86_400
DAYS: Final = (1, 3, 7, 14, 30)
WRONG_CODE: Final = "That is not the code. Ask who sent you the link; after a few wrong ones it is void."


def sharing_of(call: Call) -> Sharing:
    """What does it. Raises NotFound where nobody shares."""
    if call.services.sharing is None:
        raise NotFound("nothing is shared here")
    return call.services.sharing


async def show_form(call: Call) -> Response:
    """The form for one study."""
    return await _form(call, {}, "", 200)


async def make(call: Call) -> Response:
    """Share it. The link and the code are in this answer, and nowhere else."""
    form = await read_form(call.request)
    days = form.get("days", "")
    new = NewShare(
        str(call.uids["study"]),
        form.get("recipient", ""),
        form.get("reason", ""),
        int(days) * DAY_S if days in map(str, DAYS) else 0,
    )
    try:
        made = await run(call, sharing_of(call).make, call.principal, new)
    except ConfigError as error:
        return await _form(call, dict(form), f"{str(error)[:1].upper()}{str(error)[1:]}.", 403)
    url = f"{call.base_url.removesuffix(PREFIX)}{DOOR}/{made.link}"
    half = CODE_DIGITS // 2
    return page("share_made.html", call, share=made.share, url=url,
                code=f"{made.code[:half]} {made.code[half:]}")  # fmt: skip


async def _form(call: Call, form: dict[str, str], wrong: str, status: int) -> Response:
    study, sharing = str(call.uids["study"]), sharing_of(call)
    days = [each for each in DAYS if each * DAY_S <= sharing.max_s]
    return page("share.html", call, status, study=study, days=days, form=form, wrong=wrong,
                label_chars=MAX_LABEL_CHARS, reason_chars=MAX_REASON_CHARS)  # fmt: skip


async def show_own(call: Call) -> Response:
    """What somebody shares."""
    return await _list(call, of_all=False)


async def show_all(call: Call) -> Response:
    """What everybody shares."""
    return await _list(call, of_all=True)


async def _list(call: Call, *, of_all: bool) -> Response:
    now_us = int(time.time() * 1e6)

    def found() -> list[tuple[Share, str]]:
        shares = sharing_of(call).shares(call.principal, of_all=of_all)
        return [(each, each.standing(now_us).value) for each in shares]

    shares = await call.services.run_blocking(found)
    return page("shares.html", call, shares=shares, of_all=of_all, here=REVIEW_SHARES if of_all else SHARES)


async def revoke_own(call: Call) -> Response:
    """End one of somebody's own shares."""
    return await _revoke(call, of_all=False)


async def revoke_any(call: Call) -> Response:
    """End anybody's share."""
    return await _revoke(call, of_all=True)


async def _revoke(call: Call, *, of_all: bool) -> Response:
    number = number_of((await read_form(call.request)).get("share", ""))
    await run(call, lambda: sharing_of(call).revoke(call.principal, number, of_all=of_all))
    return see_other(REVIEW_SHARES if of_all else SHARES)


async def show_door(call: Call) -> Response:
    """The form for the code. To look at it opens nothing: programs that read mail do that too."""
    try:
        await run(call, sharing_of(call).require_good, call.path["link"])
    except NotFound:
        return page("shared.html", status=404, is_good=False, wrong="")
    return page("shared.html", is_good=True, wrong="")


async def enter(call: Call) -> Response:
    """Open the study for who has link and code."""
    code = (await read_form(call.request)).get("code", "")[:32]
    sharing, link = sharing_of(call), call.path["link"]
    try:
        share = await run(call, sharing.require_good, link)
        entered = await run(call, sharing.open, link, code, where_of(call))
    except NotFound:
        return page("shared.html", status=404, is_good=False, wrong="")
    except Throttled as error:
        answer = page("shared.html", status=429, is_good=True, wrong=wait_words(error))
        answer.headers["retry-after"] = str(error.retry_after_s)
        return answer
    except Unauthenticated:
        return page("shared.html", status=403, is_good=True, wrong=WRONG_CODE)
    return with_session(see_other(f"/studies/{share.study_uid}"), entered)


OPERATIONS: Final = (
    Operation(
        "pageShare", "GET", "/studies/{study}/share", show_form, "The form to share a study.", Right.SHARE,
        produces=("text/html",), is_page=True, proof_for="/studies/{study}/share",
    ),
    Operation(
        "share", "POST", "/studies/{study}/share", make, "Share a study: the link and its code, shown once.",
        Right.SHARE, consumes=(FORM,), produces=("text/html",), statuses=(200, 403, 404),
        is_page=True, proof_for="/studies/{study}/share",
    ),
    Operation(
        "pageShares", "GET", SHARES, show_own, "What one shares.", Right.SHARE, produces=("text/html",), is_page=True,
    ),
    Operation(
        "revokeShare", "POST", f"{SHARES}/revoke", revoke_own, "End one of one's own shares.", Right.SHARE,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 404), is_page=True,
    ),
    Operation(
        "pageAllShares", "GET", REVIEW_SHARES, show_all, "What everybody shares.", Right.REVIEW,
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "revokeAnyShare", "POST", f"{REVIEW_SHARES}/revoke", revoke_any, "End anybody's share.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 404), is_page=True,
    ),
    Operation(
        "pageShared", "GET", f"{DOOR}/{{link}}", show_door, "The form for the code of a shared study.",
        produces=("text/html",), statuses=(200, 404), public=True, is_page=True,
    ),
    Operation(
        "openShared", "POST", f"{DOOR}/{{link}}", enter, "Open a shared study with its code.", consumes=(FORM,),
        produces=("text/html",), statuses=(303, 403, 404, 429), public=True, is_page=True,
    ),
)  # fmt: skip
