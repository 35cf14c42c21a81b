"""Proving once more who one is, before what matters most: an operation with ``proof_for`` sends people here who last
did so a while ago, and on from here."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from strongroom.errors import Throttled, Unauthenticated
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Operation
from strongroom.web.ui.entering import provider_of, run, sign_in_of, site_of, wait_for, wait_words
from strongroom.web.ui.failing import PROVE
from strongroom.web.ui.forms import read_form, secret_of, where_of, with_session
from strongroom.web.ui.pages import local_path, page, see_other

WRONG: Final = "That is not right. Nothing was changed."


async def show_prove(call: Call) -> Response:
    """The form."""
    return await prove_page(call, local_path(call.request.query_params.get("next", "/account")))


async def prove(call: Call) -> Response:
    """Take the proof, and go on."""
    form = await read_form(call.request)
    wanted = local_path(form.get("next", "/account"))
    shown = (form.get("passcode", ""), form.get("code", "")[:40])
    try:
        entered = await run(call, sign_in_of(call).prove, secret_of(call), *shown, where_of(call))
    except Throttled as error:
        return wait_for(error, await prove_page(call, wanted, wait_words(error), 429))
    except Unauthenticated:
        return await prove_page(call, wanted, WRONG, 403)
    return with_session(see_other(wanted), entered)


async def prove_page(call: Call, wanted: str, wrong: str = "", status: int = 200) -> Response:
    """The form, to go on at ``wanted`` after it."""
    ways = await run(call, sign_in_of(call).ways, call.principal.user)
    provider = provider_of(call, call.principal.user)
    again = f"?again=1&next={quote(wanted, safe='/')}"
    values: dict[str, Any] = {"next": wanted, "wrong": wrong, "ways": ways, "provider": provider, "again": again}
    values |= site_of(call)
    return page("prove.html", call, status, **values)


OPERATIONS: Final = (
    Operation(
        "pageProve", "GET", PROVE, show_prove, "The form to prove who one is.", produces=("text/html",), is_page=True,
    ),
    Operation(
        "prove", "POST", PROVE, prove, "Prove who one is.", consumes=(FORM,), produces=("text/html",),
        statuses=(303, 403, 429), is_page=True, ends_caller=True,
    ),
)  # fmt: skip
