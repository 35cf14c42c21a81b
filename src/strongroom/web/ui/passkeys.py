"""Passkeys in the browser: what it is asked, and the forms that bring its answers; ``passkeys.js`` is between them."""

from __future__ import annotations

import secrets
from typing import Any, Final

from starlette.responses import Response

from strongroom.archive.federation import PROVIDER_NEEDED
from strongroom.archive.people import SECRET_BYTES, State, is_secret, new_secret, parse_passkey_name
from strongroom.archive.ports import Passkeys
from strongroom.errors import ConfigError, Denied, NotFound, ProofNeeded, Throttled, Unauthenticated
from strongroom.web.auth import cookie_of
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Handler, Operation
from strongroom.web.ui.changing import ACCOUNT, LAST_FACTOR
from strongroom.web.ui.entering import (
    CODE,
    SET_UP,
    code_page,
    go_on,
    run,
    sign_in_of,
    sign_in_page,
    site_of,
    wait_for,
    wait_words,
)
from strongroom.web.ui.failing import PROVE, SIGN_IN
from strongroom.web.ui.forms import COOKIE_FLAGS, read_form, secret_of, where_of, with_session
from strongroom.web.ui.pages import local_path, page, see_other, shown
from strongroom.web.ui.proving import prove_page

CEREMONY_COOKIE: Final = "__Host-ceremony"
"""What binds a challenge to the browser of somebody who has not signed in."""

ADD: Final = f"{SET_UP}/passkey"
REMOVE: Final = f"{ACCOUNT}/passkeys/{{passkey}}/remove"
AFTER_PROVIDER: Final = "Sign in with your provider first: your passkey is for what comes after it."
NOT_TAKEN: Final = "That passkey was not taken. Try again, or sign in another way."
NOT_ADDED: Final = "That passkey was not taken. Try again, or add another one."
TOO_MANY: Final = "You have as many passkeys as one can have: remove one first."


def passkeys_of(call: Call) -> Passkeys:
    """What does it. Raises NotFound where people cannot sign in."""
    if call.services.passkeys is None:
        raise NotFound("nobody signs in here")
    return call.services.passkeys


async def options(call: Call) -> Response:
    """What the browser is to ask for."""
    form = await read_form(call.request)
    purpose, bound = form.get("purpose", ""), secret_of(call)
    headers = {"cache-control": "no-store"}
    if purpose == "sign-in":
        bound = cookie_of(call.request.headers, CEREMONY_COOKIE)
        if not is_secret(bound):
            bound = new_secret(secrets.token_bytes(SECRET_BYTES))
            headers["set-cookie"] = f"{CEREMONY_COOKIE}={bound}; {COOKIE_FLAGS}"
    asked = await run(call, passkeys_of(call).options, purpose, bound, where_of(call))
    return Response(asked, headers=headers, media_type="application/json")


async def sign_in(call: Call) -> Response:
    """The only step, with a passkey."""
    form = await read_form(call.request)
    wanted, bound = local_path(form.get("next", "/")), cookie_of(call.request.headers, CEREMONY_COOKIE)
    try:
        entered = await run(call, passkeys_of(call).sign_in, form.get("answer", ""), bound, where_of(call))
    except Throttled as error:
        return wait_for(error, sign_in_page(call, wanted, status=429, wrong=wait_words(error)))
    except Unauthenticated as error:
        wrong = AFTER_PROVIDER if error.reason == PROVIDER_NEEDED else NOT_TAKEN
        return sign_in_page(call, wanted, status=403, wrong=wrong)
    return go_on(entered, wanted)


async def complete(call: Call) -> Response:
    """The second step."""
    form = await read_form(call.request)
    wanted, work = local_path(form.get("next", "/")), passkeys_of(call).complete
    try:
        entered = await run(call, work, secret_of(call), form.get("answer", ""), where_of(call))
    except Throttled as error:
        return wait_for(error, await code_page(call, wanted, wait_words(error), 429))
    except Unauthenticated:
        return await code_page(call, wanted, NOT_TAKEN, 403)
    return go_on(entered, wanted)


async def prove(call: Call) -> Response:
    """Prove once more who one is."""
    form = await read_form(call.request)
    wanted = local_path(form.get("next", ACCOUNT))
    try:
        entered = await run(call, passkeys_of(call).prove, secret_of(call), form.get("answer", ""), where_of(call))
    except Throttled as error:
        return wait_for(error, await prove_page(call, wanted, wait_words(error), 429))
    except Unauthenticated:
        return await prove_page(call, wanted, NOT_TAKEN, 403)
    return with_session(see_other(wanted), entered)


async def show_add(call: Call) -> Response:
    """The form to add one."""
    return await _add_page(call)


async def add(call: Call) -> Response:
    """Add it."""
    form = await read_form(call.request)
    typed = form.get("name", "")
    try:
        name = parse_passkey_name(typed)
        work = passkeys_of(call).add
        entered = await run(call, work, secret_of(call), form.get("answer", ""), name, where_of(call))
    except ProofNeeded:
        raise
    except ConfigError as error:
        return await _add_page(call, f"{error}.".capitalize(), typed)
    except Denied:
        return await _add_page(call, TOO_MANY, typed)
    except Unauthenticated:
        return await _add_page(call, NOT_ADDED, typed)
    return with_session(see_other(ACCOUNT), entered)


async def _add_page(call: Call, wrong: str = "", name: str = "") -> Response:
    state = await run(call, _state_to_add, call)
    values: dict[str, Any] = {"wrong": wrong, "name": name[:40], "is_setup": state is State.SETUP, **site_of(call)}
    return page("add_passkey.html", status=403 if wrong else 200, **values)


def _state_to_add(call: Call) -> State:
    """How far somebody has come who may add one. Raises Unauthenticated, ProofNeeded."""
    session, _ = sign_in_of(call).require_fresh(secret_of(call), where_of(call), ADD)
    return session.state


async def show_remove(call: Call) -> Response:
    """Ask whether it is meant."""
    return await _remove_page(call)


async def remove(call: Call) -> Response:
    """Remove it."""
    await read_form(call.request)
    try:
        await run(call, passkeys_of(call).remove, secret_of(call), call.path["passkey"], where_of(call))
    except ProofNeeded:
        raise
    except Denied:
        return await _remove_page(call, LAST_FACTOR, 403)
    return see_other(ACCOUNT)


async def _remove_page(call: Call, wrong: str = "", status: int = 200) -> Response:
    known = await run(call, passkeys_of(call).passkeys, call.principal.user)
    found = next((each for each in known if each.number == call.path["passkey"]), None)
    if found is None:
        raise NotFound("no such passkey")
    values = {
        "heading": f"Remove the passkey {shown(found.name)}?",
        "text": "It opens nothing here any more. Remove it from the device too, so that you are not offered it.",
        "action": REMOVE.format(passkey=found.number),
        "wrong": wrong,
    }
    return page("take_away.html", call, status, **values)


def _door(name: str, path: str, handler: Handler, summary: str) -> Operation:
    """An operation for who has not signed in, or not yet."""
    return Operation(
        name, "POST", path, handler, summary, consumes=(FORM,), produces=("text/html",), statuses=(303, 403, 429),
        public=True, is_page=True,
    )  # fmt: skip


OPERATIONS: Final = (
    Operation(
        "passkeyOptions", "POST", "/passkey/options", options, "What a browser asks a passkey for.", consumes=(FORM,),
        produces=("application/json",), public=True, is_page=True,
    ),
    _door("signInWithPasskey", f"{SIGN_IN}/passkey", sign_in, "Sign in with a passkey."),
    _door("enterPasskey", f"{CODE}/passkey", complete, "Sign in with a passkey as well."),
    _door("addPasskey", ADD, add, "Add a passkey."),
    Operation(
        "pageAddPasskey", "GET", ADD, show_add, "The form to add a passkey.", produces=("text/html",), public=True,
        statuses=(200, 303), is_page=True,
    ),
    Operation(
        "proveWithPasskey", "POST", f"{PROVE}/passkey", prove, "Prove who one is with a passkey.", consumes=(FORM,),
        produces=("text/html",), statuses=(303, 403, 429), is_page=True, ends_caller=True,
    ),
    Operation(
        "pageRemovePasskey", "GET", REMOVE, show_remove, "Whether to remove a passkey.", produces=("text/html",),
        is_page=True, proof_for=REMOVE,
    ),
    Operation(
        "removePasskey", "POST", REMOVE, remove, "Remove a passkey.", consumes=(FORM,), produces=("text/html",),
        statuses=(303, 403), is_page=True, proof_for=REMOVE,
    ),
)  # fmt: skip
