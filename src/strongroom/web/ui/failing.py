"""What people see when something does not work: a page, and the way to sign in for who has not."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from strongroom.errors import Busy, ProofNeeded, Throttled, Unauthenticated
from strongroom.web.operation import PREFIX
from strongroom.web.problem import problem_of
from strongroom.web.ui.pages import is_navigation, page

SIGN_IN = "/sign-in"
PROVE = "/account/prove"


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
    answer = page("failed.html", status=found.status, title=found.title, detail=found.remedy)
    answer.headers.update(headers)
    return answer


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
