"""What forms send, and the cookies that they are answered with."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from strongroom.archive.people import Entered, Where
from strongroom.errors import LimitExceeded, UnsupportedMediaType
from strongroom.web.auth import DEVICE_COOKIE, SESSION_COOKIE, cookie_of
from strongroom.web.call import Call
from strongroom.web.exchange import CERTIFICATE
from strongroom.web.operation import FORM
from strongroom.web.parameters import parse_query

MAX_FORM_BYTES: Final = 16_384
MAX_FIELDS: Final = 16
DEVICE_AGE_S: Final = 365 * 86_400

COOKIE_FLAGS: Final = "Path=/; Secure; HttpOnly; SameSite=Strict"


async def read_form(
    request: Request, max_fields: int = MAX_FIELDS, texts: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """The fields of a form by name, the last one of each; those in ``texts`` may have several lines.

    Raises UnsupportedMediaType, LimitExceeded, MalformedRequest.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise LimitExceeded("max_form_bytes", MAX_FORM_BYTES)
    if body and content_type != FORM:
        raise UnsupportedMediaType("a form is sent as it stands", (FORM,))
    return dict(parse_query(body, max_fields, texts))


def where_of(call: Call) -> Where:
    """Where a request comes from."""
    request = call.request
    certificate_der: bytes = request.scope[CERTIFICATE]
    return Where(
        request.client.host if request.client else "",
        sha256(certificate_der).hexdigest() if certificate_der else "",
        request.headers.get("user-agent", ""),
        cookie_of(request.headers, DEVICE_COOKIE),
        request.scope["server"][1],
    )


def secret_of(call: Call) -> str:
    """The secret of the session that a request shows, "" if none."""
    return cookie_of(call.request.headers, SESSION_COOKIE)


def with_session(response: Response, entered: Entered) -> Response:
    """The response with the cookie of a session that has begun; it goes when the browser is closed."""
    response.headers.append("set-cookie", f"{SESSION_COOKIE}={entered.secret}; {COOKIE_FLAGS}")
    if entered.device:
        response.headers.append(
            "set-cookie", f"{DEVICE_COOKIE}={entered.device}; Max-Age={DEVICE_AGE_S}; {COOKIE_FLAGS}"
        )
    return response


def without_session(response: Response) -> Response:
    """The response that takes the cookie of a session away, and what the browser has kept of the images that were seen.

    Frames may lie in its cache, to be asked about before they are shown again (Clear Site Data, W3C); who takes the
    workstation next could read them there.
    """
    response.headers.append("set-cookie", f"{SESSION_COOKIE}=; Max-Age=0; {COOKIE_FLAGS}")
    response.headers["clear-site-data"] = '"cache"'
    return response
