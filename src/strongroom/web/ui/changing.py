"""What somebody changes of how he signs in: passcode, authenticator app, recovery codes."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from strongroom.archive.passcodes import MIN_CHARS
from strongroom.archive.ports import OwnAccount
from strongroom.errors import ConfigError, Denied, NotFound, ProofNeeded, Throttled, Unauthenticated
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Handler, Method, Operation
from strongroom.web.ui.entering import run, sign_in_of, wait_for, wait_words
from strongroom.web.ui.forms import read_form, secret_of, where_of
from strongroom.web.ui.pages import page, see_other

ACCOUNT: Final = "/account"
PASSCODE: Final = f"{ACCOUNT}/passcode"
APP: Final = f"{ACCOUNT}/app/remove"
CODES: Final = f"{ACCOUNT}/recovery-codes"
LAST_FACTOR: Final = "Your role needs a second factor: set up another one first."
NO_FACTOR: Final = "Recovery codes stand in for a passkey or an app: set up one of these first."
DIFFERENT: Final = "The two new passcodes differ."
WRONG: Final = "That is not the passcode that you have now."


def own_account_of(call: Call) -> OwnAccount:
    """What does it. Raises NotFound where people cannot sign in."""
    if call.services.own_account is None:
        raise NotFound("nobody signs in here")
    return call.services.own_account


async def show_passcode(call: Call) -> Response:
    """The form for another passcode."""
    return _passcode_page(call)


async def change_passcode(call: Call) -> Response:
    """Change it."""
    form = await read_form(call.request)
    fresh, work = form.get("passcode", ""), own_account_of(call).change_passcode
    if fresh != form.get("again", ""):
        return _passcode_page(call, DIFFERENT, 403)
    try:
        await run(call, work, secret_of(call), form.get("current", ""), fresh, where_of(call))
    except Throttled as error:
        return wait_for(error, _passcode_page(call, wait_words(error), 429))
    except ConfigError as error:
        return _passcode_page(call, f"{str(error)[:1].upper()}{str(error)[1:]}.", 403)
    except Unauthenticated as error:
        if error.reason != "passcode-wrong":
            raise
        return _passcode_page(call, WRONG, 403)
    return see_other(ACCOUNT)


def _passcode_page(call: Call, wrong: str = "", status: int = 200) -> Response:
    return page("passcode.html", call, status, wrong=wrong, least=MIN_CHARS)


async def show_remove_app(call: Call) -> Response:
    """Ask whether it is meant."""
    return _remove_app_page(call)


async def remove_app(call: Call) -> Response:
    """Remove the authenticator app."""
    await read_form(call.request)
    try:
        await run(call, own_account_of(call).remove_totp, secret_of(call), where_of(call))
    except ProofNeeded:
        raise
    except Denied:
        return _remove_app_page(call, LAST_FACTOR, 403)
    return see_other(ACCOUNT)


def _remove_app_page(call: Call, wrong: str = "", status: int = 200) -> Response:
    text = "The app on your telephone goes on making codes, and they are good for nothing."
    heading = "Remove the authenticator app?"
    return page("take_away.html", call, status, heading=heading, text=text, action=APP, wrong=wrong)


async def show_recovery_codes(call: Call) -> Response:
    """Say what they are, and ask whether it is meant."""
    ways = await run(call, sign_in_of(call).ways, call.principal.user)
    wrong = "" if ways.has_second_factor else NO_FACTOR
    return page("recovery_codes.html", call, codes=(), left=ways.recovery_codes, wrong=wrong)


async def make_recovery_codes(call: Call) -> Response:
    """Make them, and show them this once."""
    await read_form(call.request)
    try:
        codes = await run(call, own_account_of(call).new_recovery_codes, secret_of(call), where_of(call))
    except ProofNeeded:
        raise
    except Denied:
        return page("recovery_codes.html", call, 403, codes=(), left=0, wrong=NO_FACTOR)
    return page("recovery_codes.html", call, codes=codes, left=0, wrong="")


def _operation(name: str, method: Method, path: str, handler: Handler, summary: str) -> Operation:
    statuses = (200,) if method == "GET" else (200, 303, 403, 404, 429)
    return Operation(
        name,
        method,
        path,
        handler,
        summary,
        consumes=(FORM,) if method == "POST" else (),
        produces=("text/html",),
        statuses=statuses,
        is_page=True,
        proof_for=path,
    )


OPERATIONS: Final = (
    _operation("pagePasscode", "GET", PASSCODE, show_passcode, "The form for another passcode."),
    _operation("changePasscode", "POST", PASSCODE, change_passcode, "Change one's passcode."),
    _operation("pageRemoveApp", "GET", APP, show_remove_app, "Whether to remove the authenticator app."),
    _operation("removeApp", "POST", APP, remove_app, "Remove the authenticator app."),
    _operation("pageRecoveryCodes", "GET", CODES, show_recovery_codes, "What recovery codes are."),
    _operation("makeRecoveryCodes", "POST", CODES, make_recovery_codes, "New recovery codes."),
)
