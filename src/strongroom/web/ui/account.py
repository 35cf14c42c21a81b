"""What somebody sees of himself: how he signs in, and where he is signed in."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from strongroom.archive.sharing import share_number
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Operation
from strongroom.web.ui.entering import provider_of, run, sign_in_of
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.pages import page, see_other

ACCOUNT: Final = "/account"
RIGHT_WORDS: Final = {
    Right.FIND: "search for studies",
    Right.GET: "see and download images",
    Right.STORE: "upload",
    Right.MOVE: "send images on over DICOM",
    Right.SHARE: "share a study",
    Right.BREAK_GLASS: "see another patient in an emergency",
    Right.PROPOSE: "propose to delete a study",
    Right.REVIEW: "decide on what waits for review",
    Right.AUDIT: "read the trail",
    Right.ADMINISTER: "administer people, peers and tokens",
}
"""What somebody may do, in words for him. What is not here means something to programs only."""


async def show_account(call: Call) -> Response:
    """The page; whoever came by a share has no account."""
    if share_number(call.principal.user) is not None:
        return see_other("/")
    found = await run(call, _found, call)
    rights = [words for right, words in RIGHT_WORDS.items() if right in call.principal.rights]
    return page("account.html", call, rights=rights, **found)


def _found(call: Call) -> dict[str, Any]:
    sign_in, passkeys, person = sign_in_of(call), call.services.passkeys, call.principal
    return {
        "provider": provider_of(call, person.user),
        "sessions": sign_in.sessions(person),
        "ways": sign_in.ways(person.user),
        "passkeys": passkeys.passkeys(person.user) if passkeys else [],
        "passkeys_for": passkeys.domain if passkeys else "",
    }


async def end_session(call: Call) -> Response:
    """End one of somebody's own sessions."""
    form = await read_form(call.request)
    await run(call, sign_in_of(call).end_session, call.principal, form.get("session", ""))
    return see_other(ACCOUNT)


OPERATIONS: Final = (
    Operation(
        "pageAccount", "GET", ACCOUNT, show_account, "One's own sessions.", produces=("text/html",), is_page=True,
    ),
    Operation(
        "endSession", "POST", f"{ACCOUNT}/sessions/end", end_session, "End one of one's own sessions.",
        consumes=(FORM,), produces=("text/html",), statuses=(303,), is_page=True, ends_caller=True,
    ),
)  # fmt: skip
