"""From an error to a status and ``application/problem+json`` (RFC 9457), by one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from strongroom.archive.access import NO_RIGHT
from strongroom.archive.tokens import RIGHTS
from strongroom.errors import (
    Busy,
    CodecFailed,
    ConfigError,
    Denied,
    IntegrityError,
    InvalidQuery,
    LimitExceeded,
    MalformedDataset,
    MalformedRequest,
    NotAcceptable,
    NotFound,
    Refused,
    StorageUnavailable,
    StrongroomError,
    Throttled,
    Unauthenticated,
    UnsupportedMediaType,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(NamedTuple):
    """What a kind of error is answered with. ``says_why``: its message may be told, or ``remedy`` instead."""

    status: int
    title: str
    says_why: bool = True
    remedy: str = ""


PROBLEMS: Mapping[type[StrongroomError], Problem] = {
    MalformedRequest: Problem(400, "Malformed request"),
    MalformedDataset: Problem(400, "Malformed data set"),
    InvalidQuery: Problem(400, "Invalid query"),
    Unauthenticated: Problem(401, "No valid token or certificate", says_why=False),
    Throttled: Problem(429, "Too many bad credentials: try again later", says_why=False),
    Denied: Problem(403, "Not allowed"),
    NotFound: Problem(404, "Not found", remedy="Nothing of that name is here, or you may not know of it."),
    NotAcceptable: Problem(406, "Not acceptable"),
    Refused: Problem(409, "Refused"),
    LimitExceeded: Problem(413, "Over a limit"),
    UnsupportedMediaType: Problem(415, "Unsupported media type"),
    IntegrityError: Problem(500, "The object is damaged", says_why=False),
    ConfigError: Problem(500, "Misconfigured", says_why=False),
    StorageUnavailable: Problem(503, "Storage is unavailable", says_why=False),
    CodecFailed: Problem(500, "The image could not be decoded or encoded"),
    Busy: Problem(503, "Busy: ask again later"),
}
"""By the class of the error, or the nearest class above it. What is not here is a bug, and answered with 500."""

_BUG = Problem(500, "Internal error", says_why=False)


def problem_of(error: BaseException) -> Problem:
    """What an error is answered with."""
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return _BUG


def problem_response(error: Exception) -> Response:
    """The answer to a request that failed. Says sizes, names of limits and media types, never a patient's value."""
    found = problem_of(error)
    if found is _BUG:
        log.error("a request failed: %s", type(error).__name__, exc_info=error)
    extra: dict[str, object] = {}
    if isinstance(error, LimitExceeded):
        extra["limit"] = error.limit_name
    if isinstance(error, NotAcceptable):
        extra["available"] = list(error.available)
    if isinstance(error, UnsupportedMediaType) and error.supported:
        extra["supported"] = list(error.supported)
    if isinstance(error, InvalidQuery) and error.parameter:
        extra["parameter"] = error.parameter
    detail = str(error) if found.says_why and not found.remedy else found.remedy
    if isinstance(error, Denied):
        detail += _what_to_do(error.reason)
    retry = {"retry_after": str(error.retry_after_s)} if isinstance(error, Busy | Throttled) else {}
    return plain_problem(found.status, found.title, detail, extra, **retry)


def _what_to_do(reason: str) -> str:
    """Who is known and may not is told by whom it can be changed, and how."""
    if not reason.startswith(NO_RIGHT):
        return ""
    right = reason.removeprefix(NO_RIGHT)
    word = next((word for word, granted in RIGHTS.items() if granted == right), right)
    return f". The operator can grant it: `strongroom token add --allow {word}`, `strongroom peer add --allow {right}`"


def plain_problem(
    status: int, title: str, detail: str = "", extra: Mapping[str, object] | None = None, **headers: str
) -> Response:
    """A problem that is no error of ours."""
    members = {"detail": detail} if detail else {}
    if status == 401:
        headers["www_authenticate"] = 'Bearer realm="strongroom"'
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(encode_problem(status, title, members | dict(extra or {})), status, named, MEDIA_TYPE)


def encode_problem(status: int, title: str, members: Mapping[str, object]) -> bytes:
    """The body of a problem (RFC 9457 3)."""
    return msgspec.json.encode({"status": status, "title": title, **members})
