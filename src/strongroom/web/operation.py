"""What an operation of the HTTPS service is, as data: route, right, and what its description says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.responses import Response

from strongroom.types import Right
from strongroom.web.call import Call

Handler = Callable[[Call], Awaitable[Response]]
Method = Literal["GET", "POST", "PUT", "DELETE", "OPTIONS"]

PREFIX = "/dicomweb"
"""The root of the DICOMweb service (PS3.18 8.2)."""

FORM = "application/x-www-form-urlencoded"
"""What pages send. A page of any other origin can send it too: see ``web.origin``."""

COMMON_STATUSES = (400, 401, 403, 404, 405, 406, 408, 413, 414, 417, 421, 429, 431, 500, 501, 503, 505)
"""What every operation may answer, beside its own statuses; each with a problem (RFC 9457)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation beside those of its path, as OpenAPI 3.1 describes it."""

    name: str
    place: Literal["query", "header"]
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: a method on a path, what right it takes and who does it.

    In ``path``, ``{study}``, ``{series}`` and ``{instance}`` are UIDs, any other ``{name}`` is one part of the path as
    it came, and ``{name:path}``, at the end, the rest of it. ``right`` None: anybody who is known. ``public``: anybody.
    ``consumes`` and ``produces`` are media types; ``statuses`` what it answers, beside ``COMMON_STATUSES``. HEAD, and
    OPTIONS for the methods of a path, need no operation of their own.
    """

    name: str
    method: Method
    path: str
    handler: Handler
    summary: str
    right: Right | None = None
    parameters: tuple[Parameter, ...] = ()
    consumes: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)
    public: bool = False
    is_page: bool = False
    """Whether it is for people with a browser: no part of the service that the descriptions are of."""
    proof_for: str = ""
    """Where people go on after they have proved once more that it is they, which this takes if they last did so a while
    ago: a path that may name parts of the operation's own; the query of a page stays. "": this does not take it."""
    ends_caller: bool = False
    """Whether it ends the session that it is called with: its answer is for somebody who is not known any more."""
    more: str = ""
    """What its description says beside the summary."""
