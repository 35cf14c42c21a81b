"""Signing in: a passcode or a sign-in link, a one-time code, and a second factor set up where there has to be one.

These pages are for anybody; what each of them does, ``archive.ports.SignIn`` does for who shows the right thing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import quote

import segno
from markupsafe import Markup
from starlette.responses import Response

from strongroom.archive.federation import OF_PROVIDER, ProviderShown, is_of_provider
from strongroom.archive.passcodes import MIN_CHARS
from strongroom.archive.people import Entered, State, Ways
from strongroom.archive.ports import SignIn
from strongroom.errors import ConfigError, Denied, NotFound, Throttled, Unauthenticated
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Handler, Method, Operation
from strongroom.web.ui.failing import SIGN_IN
from strongroom.web.ui.forms import read_form, secret_of, where_of, with_session, without_session
from strongroom.web.ui.pages import local_path, page, see_other

P = ParamSpec("P")
T = TypeVar("T")

CODE: Final = f"{SIGN_IN}/code"
SET_UP: Final = "/second-factor"
WRONG: Final = "That name and passcode do not go together."
WRONG_CODE: Final = "That code is not right, or was used before. Wait for the next one."


def sign_in_of(call: Call) -> SignIn:
    """What does it. Raises NotFound where people cannot sign in."""
    if call.services.sign_in is None:
        raise NotFound("nobody signs in here")
    return call.services.sign_in


def run(call: Call, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Do a step of signing in on a thread for that. Raises Busy when too many wait."""
    run_sign_in = call.services.run_sign_in or call.services.run_blocking
    return run_sign_in(work, *args, **kwargs)


def site_of(call: Call) -> dict[str, Any]:
    """What a page says of passkeys: whether they work under the name that it was called by, and where they do."""
    passkeys, request = call.services.passkeys, call.request
    if passkeys is None:
        return {"passkeys_here": False, "passkeys_at": ""}
    place = passkeys.place(request.scope["server"][1])
    return {"passkeys_here": passkeys.is_here(request.url.hostname or ""), "passkeys_at": place}


def sign_in_page(call: Call, wanted: str, *, status: int = 200, name: str = "", wrong: str = "") -> Response:
    """The form, with what was wrong; ``wanted`` is the path to go to afterwards."""
    providers = call.services.providers.shown() if call.services.providers else ()
    more = "" if wanted == "/" else f"?next={quote(wanted, safe='/')}"
    values = {"next": wanted, "name": name, "wrong": wrong, "providers": providers, "more": more, **site_of(call)}
    return page("sign_in.html", status=status, **values)


async def code_page(call: Call, wanted: str, wrong: str = "", status: int = 200) -> Response:
    """The form of the second step. Raises Unauthenticated, Denied for who is at another one."""
    ways = await run(call, _ways_at_code, call)
    return page("code.html", status=status, next=wanted, wrong=wrong, ways=ways, **site_of(call))


def _ways_at_code(call: Call) -> Ways:
    sign_in = sign_in_of(call)
    session, person = sign_in.whoever(secret_of(call), where_of(call))
    if session.state is not State.FACTOR:
        raise Denied("not-this-step")
    return sign_in.ways(person.name)


async def show_sign_in(call: Call) -> Response:
    """The form."""
    return sign_in_page(call, local_path(call.request.query_params.get("next", "/")))


def provider_of(call: Call, person: str) -> ProviderShown | None:
    """The provider that somebody comes from, None for accounts of our own."""
    known = call.services.providers.shown() if call.services.providers and is_of_provider(person) else ()
    return next((each for each in known if person.startswith(f"{each.name}{OF_PROVIDER}")), None)


async def sign_in(call: Call) -> Response:
    """The first step."""
    form = await read_form(call.request)
    name, wanted = form.get("name", "").strip()[:200], local_path(form.get("next", "/"))
    try:
        entered = await run(call, sign_in_of(call).begin, name, form.get("passcode", ""), where_of(call))
    except Throttled as error:
        return wait_for(error, sign_in_page(call, wanted, status=429, name=name, wrong=wait_words(error)))
    except Unauthenticated:
        return sign_in_page(call, wanted, status=403, name=name, wrong=WRONG)
    return go_on(entered, wanted)


async def show_code(call: Call) -> Response:
    """The form for a one-time code."""
    return await code_page(call, local_path(call.request.query_params.get("next", "/")))


async def enter_code(call: Call) -> Response:
    """The second step."""
    form = await read_form(call.request)
    wanted = local_path(form.get("next", "/"))
    await run(call, _ways_at_code, call)
    try:
        entered = await run(call, sign_in_of(call).complete, secret_of(call), form.get("code", "")[:40], where_of(call))
    except Throttled as error:
        return wait_for(error, await code_page(call, wanted, wait_words(error), 429))
    except Unauthenticated:
        return await code_page(call, wanted, WRONG_CODE, 403)
    return go_on(entered, wanted)


async def show_link(call: Call) -> Response:
    """The form of a sign-in link. To look at it does not use it up: programs that read mail do that too."""
    name = await run(call, sign_in_of(call).invited, call.path["link"])
    return page("welcome.html", name=name, least=MIN_CHARS, wrong="")


async def use_link(call: Call) -> Response:
    """The first step, with a link and the passcode to have from now on."""
    form = await read_form(call.request)
    passcode, again, link = form.get("passcode", ""), form.get("again", ""), call.path["link"]
    name = await run(call, sign_in_of(call).invited, link)
    if passcode != again:
        return page("welcome.html", status=403, name=name, least=MIN_CHARS, wrong="The two passcodes differ.")
    try:
        entered = await run(call, sign_in_of(call).redeem, link, passcode, where_of(call))
    except ConfigError as error:
        wrong = f"{str(error)[:1].upper()}{str(error)[1:]}."
        return page("welcome.html", status=403, name=name, least=MIN_CHARS, wrong=wrong)
    return go_on(entered, "/")


async def show_set_up(call: Call) -> Response:
    """A second factor to set up."""
    return await _set_up_page(call, "", 200)


async def set_up(call: Call) -> Response:
    """Take it."""
    form = await read_form(call.request)
    try:
        code = form.get("code", "")[:16]
        entered = await run(call, sign_in_of(call).confirm_totp, secret_of(call), code, where_of(call))
    except Throttled as error:
        return await _set_up_page(call, wait_words(error), 429)
    except Unauthenticated as error:
        if error.reason != "code-wrong":
            raise
        return await _set_up_page(call, WRONG_CODE, 403)
    return go_on(entered, "/")


async def sign_out(call: Call) -> Response:
    """End this session."""
    await read_form(call.request)
    await run(call, sign_in_of(call).sign_out, call.principal)
    return without_session(see_other(SIGN_IN))


async def _set_up_page(call: Call, wrong: str, status: int) -> Response:
    offered = await run(call, sign_in_of(call).offer_totp, secret_of(call), where_of(call))
    drawn = segno.make(offered.uri, error="m").svg_inline(scale=5, border=4, dark="#000", light="#fff", omitsize=True)
    in_fours = " ".join(offered.secret[at : at + 4] for at in range(0, len(offered.secret), 4))
    session, _ = await run(call, sign_in_of(call).whoever, secret_of(call), where_of(call))
    values = {"secret": in_fours, "wrong": wrong, "is_setup": session.state is State.SETUP, **site_of(call)}
    return page("second_factor.html", status=status, qr=Markup(drawn), **values)  # noqa: S704  # ours


def go_on(entered: Entered, wanted: str) -> Response:
    """Where a step leads: to the next one, or to where somebody wanted to go."""
    return with_session(see_other(next_step(entered.state, wanted)), entered)


def next_step(state: State, wanted: str) -> str:
    """The path to go to from a step of signing in that has got so far; ``wanted`` is where all of it leads."""
    more = "" if wanted == "/" else f"?next={quote(wanted, safe='/')}"
    return {State.OPEN: wanted, State.FACTOR: CODE + more, State.SETUP: SET_UP}[state]


def wait_for(error: Throttled, answer: Response) -> Response:
    """The answer, with when to try again."""
    answer.headers["retry-after"] = str(error.retry_after_s)
    return answer


def wait_words(error: Throttled) -> str:
    """What is said to who has to wait."""
    minutes = -(-error.retry_after_s // 60)
    return f"There were too many attempts. Try again in {minutes} minute{'s' if minutes != 1 else ''}."


def _operation(name: str, method: Method, path: str, handler: Handler, summary: str) -> Operation:
    consumes = (FORM,) if method == "POST" else ()
    statuses = (200, 303) if method == "GET" else (303, 403, 429)
    return Operation(
        name,
        method,
        path,
        handler,
        summary,
        consumes=consumes,
        produces=("text/html",),
        statuses=statuses,
        public=True,
        is_page=True,
    )


OPERATIONS: Final = (
    _operation("pageSignIn", "GET", SIGN_IN, show_sign_in, "The form to sign in."),
    _operation("signIn", "POST", SIGN_IN, sign_in, "Sign in with a passcode."),
    _operation("pageCode", "GET", CODE, show_code, "The form for a one-time code."),
    _operation("enterCode", "POST", CODE, enter_code, "Sign in with a one-time code as well."),
    _operation("pageLink", "GET", "/welcome/{link}", show_link, "The form of a sign-in link."),
    _operation("useLink", "POST", "/welcome/{link}", use_link, "Sign in with a link, and choose a passcode."),
    _operation("pageSecondFactor", "GET", SET_UP, show_set_up, "A second factor to set up."),
    _operation("setUpSecondFactor", "POST", SET_UP, set_up, "Set up a second factor."),
    Operation(
        "signOut", "POST", "/sign-out", sign_out, "End this session.", consumes=(FORM,), produces=("text/html",),
        statuses=(303,), is_page=True, ends_caller=True,
    ),
)  # fmt: skip
