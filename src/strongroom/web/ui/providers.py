"""Signing in with an identity provider: away to it, and back (OpenID Connect Core 1.0, authorization code flow).

The browser leaves by a link, since a form that ends elsewhere would need a weaker policy of all pages. What it left
with is in a cookie of its own, which comes back with the redirection from there (SameSite=Lax); the cookie of the
session does not (Strict), so that the page after it goes on by itself: then the request is one of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from strongroom.archive.federation import NO_ACCOUNT, NO_COMMON_SCOPE, NO_ROLE, PROOF_OF_ANOTHER, USER_DISABLED
from strongroom.archive.people import State, digest_of
from strongroom.archive.ports import Providers
from strongroom.errors import NotFound, PeerUnavailable, Throttled, Unauthenticated
from strongroom.web.auth import cookie_of
from strongroom.web.call import Call
from strongroom.web.operation import PREFIX, Operation, Parameter
from strongroom.web.ui.entering import next_step, sign_in_page, wait_words
from strongroom.web.ui.failing import SIGN_IN
from strongroom.web.ui.forms import secret_of, where_of, with_session
from strongroom.web.ui.pages import local_path, page, see_other

P = ParamSpec("P")
T = TypeVar("T")

LEAVE: Final = f"{SIGN_IN}/with/{{provider}}"
COME_BACK: Final = f"{LEAVE}/back"
FLOW_COOKIE: Final = "__Host-provider"
AGAIN_KEY: Final = "again"
FLOW_AGE_S: Final = 600
_FLAGS: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_IN_ADDRESSES: Final = "/?#[]@!$&()*+,;=:%-._~"

AGAIN: Final = "Signing in there did not work. Begin again."
AWAY: Final = "{label} does not answer at this moment. Try again later, or sign in with a passcode if you have one."
NOT_LET_IN: Final = "{label} did not let you in, or you left. Nothing has changed here."
WITHOUT_ROLE: Final = (
    "{label} knows you, but says nothing that lets you in here. Whoever runs this archive can tell you what is needed."
)
WITHOUT_ACCOUNT: Final = "{label} knows you, but you have no account here. Whoever runs this archive can give you one."
DISABLED: Final = "Your account here is disabled. Whoever runs this archive can tell you more."
OF_ANOTHER: Final = "{label} has let in somebody else than who is signed in here. Nothing has changed here."
_WORDS: Final = {
    PROOF_OF_ANOTHER: OF_ANOTHER,
    "provider-refused": NOT_LET_IN,
    NO_COMMON_SCOPE: WITHOUT_ROLE,
    NO_ROLE: WITHOUT_ROLE,
    NO_ACCOUNT: WITHOUT_ACCOUNT,
    USER_DISABLED: DISABLED,
}
"""What is said of a reason. Of all others nothing is: they are in the trail."""


async def leave(call: Call) -> Response:
    """Send the browser to the provider. Pages of others send nobody there."""
    providers, name = _providers(call), call.path["provider"]
    wanted = local_path(call.request.query_params.get("next", "/"))
    label = _label(providers, name)
    if call.request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return see_other(SIGN_IN)
    before = digest_of(secret_of(call)) if call.request.query_params.get(AGAIN_KEY) else ""
    came_by = call.base_url.removesuffix(PREFIX)
    redirect_uri = came_by + COME_BACK.format(provider=name)
    try:
        departure = await _run(call, providers.depart, name, redirect_uri, wanted, before)
    except PeerUnavailable:
        return sign_in_page(call, wanted, status=503, wrong=AWAY.format(label=label))
    response = RedirectResponse(departure.url, 303)
    response.headers.append("set-cookie", f"{FLOW_COOKIE}={departure.sealed}; Max-Age={FLOW_AGE_S}; {_FLAGS}")
    return response


async def come_back(call: Call) -> Response:
    """Let in whom the provider sends back."""
    providers, name = _providers(call), call.path["provider"]
    label, sealed = _label(providers, name), cookie_of(call.request.headers, FLOW_COOKIE)
    try:
        parameters = call.request.query_params.multi_items()
        arrival = await _run(call, providers.arrive, name, sealed, parameters, where_of(call))
    except Throttled as error:
        response = sign_in_page(call, "/", status=429, wrong=wait_words(error))
        response.headers["retry-after"] = str(error.retry_after_s)
    except Unauthenticated as error:
        wrong = _WORDS.get(error.reason, AGAIN).format(label=label)
        response = sign_in_page(call, "/", status=403, wrong=wrong)
    except PeerUnavailable:
        response = sign_in_page(call, "/", status=503, wrong=AWAY.format(label=label))
    else:
        place = quote(next_step(arrival.entered.state, arrival.wanted), safe=_IN_ADDRESSES)
        is_open = arrival.entered.state is State.OPEN
        response = with_session(page("arrived.html", place=place, is_open=is_open), arrival.entered)
    response.headers.append("set-cookie", f"{FLOW_COOKIE}=; Max-Age=0; {_FLAGS}")
    return response


def _providers(call: Call) -> Providers:
    if call.services.providers is None:
        raise NotFound("nobody signs in here")
    return call.services.providers


def _label(providers: Providers, name: str) -> str:
    """What a provider is called. Raises NotFound."""
    for each in providers.shown():
        if each.name == name:
            return each.label
    raise NotFound("no such provider")


def _run(call: Call, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    run_provider = call.services.run_provider or call.services.run_blocking
    return run_provider(work, *args, **kwargs)


OPERATIONS: Final = (
    Operation(
        "leaveForProvider", "GET", LEAVE, leave, "Go to an identity provider to sign in.",
        parameters=(
            Parameter("next", "query", "The path to go to afterwards."),
            Parameter(AGAIN_KEY, "query", "That somebody who is signed in is to prove who he is."),
        ),
        produces=("text/html",), statuses=(303, 503), public=True, is_page=True,
    ),
    Operation(
        "comeBackFromProvider", "GET", COME_BACK, come_back, "Come back from it (RFC 6749 4.1.2).",
        parameters=(
            Parameter("code", "query", "What the archive asks the provider with."),
            Parameter("state", "query", "What the browser left with."),
            Parameter("iss", "query", "The provider (RFC 9207)."),
            Parameter("error", "query", "Why there is no code."),
        ),
        produces=("text/html",), statuses=(200, 403, 429, 503), public=True, is_page=True,
    ),
)  # fmt: skip
