"""What people see when something does not work: a page, and the way to sign in for who has not."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from strongroom.archive.access import NO_RIGHT
from strongroom.errors import Busy, Denied, ProofNeeded, Throttled, Unauthenticated
from strongroom.web.operation import PREFIX
from strongroom.web.problem import problem_of
from strongroom.web.ui.pages import is_navigation, page

SIGN_IN = "/sign-in"
PROVE = "/account/prove"

_MAY_NOT: Final = (
    "Your role in this archive does not include this. An administrator can change your roles, at “People”."
)
_DENIED: Final = {
    "request-of-another-origin": "This did not come from a page of this archive. Open the page here, and try again.",
    "not-this-step": "You have done this step of signing in, or have one before it to do.",
    "own-account": "Nobody changes his own account like this: ask another administrator.",
    "same-person": "It takes another person than the one who asked for it.",
    "request-lapsed": "It has waited too long, and has lapsed: somebody has to ask for it again.",
    "scope-of-parts-of-studies": "Your scope has a part of this study only: it takes somebody who may see all of it.",
    "too-many-passkeys": "You have as many passkeys as anybody may: remove one first.",
}


def page_of(request: Request, error: Exception) -> Response | None:
    """The answer to somebody with a browser, None for any other client and for requests of DICOMweb.

    Whoever has not signed in is sent to do so wherever he goes: he does not learn which paths there are.
    """
    path: str = request.url.path
    if not is_navigation(request) or path == PREFIX or path.startswith(f"{PREFIX}/"):
        return None
    if isinstance(error, ProofNeeded):
        return _on_to(request, f"{PROVE}?next={quote(error.resume, safe='/')}")
    if isinstance(error, Unauthenticated) and not isinstance(error, Throttled):
        return _to_sign_in(request)
    found = problem_of(error)
    if found.status == 500:
        return None  # recorded with its problem
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Busy | Throttled) else {}
    detail = _words(error.reason) if isinstance(error, Denied) else found.remedy
    answer = page("failed.html", status=found.status, title=found.title, detail=detail)
    answer.headers.update(headers)
    return answer


def _words(reason: str) -> str:
    """What somebody is told who may not, "" where a word for the trail is all that is known."""
    return _MAY_NOT if reason.startswith(NO_RIGHT) else _DENIED.get(reason, "")


def _to_sign_in(request: Request) -> Response:
    query: str = request.url.query
    wanted = request.url.path + (f"?{query}" if query else "")
    more = "" if wanted == "/" or request.method != "GET" else f"?next={quote(wanted, safe='/')}"
    return _on_to(request, SIGN_IN if request.headers.get("hx-request") else SIGN_IN + more)


def _on_to(request: Request, place: str) -> Response:
    if request.headers.get("hx-request"):
        # A script asked for a part of a page: the whole page has to go there.
        return Response(status_code=204, headers={"hx-redirect": place})
    return Response(status_code=303, headers={"location": place})
