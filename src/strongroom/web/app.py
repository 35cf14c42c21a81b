"""The ASGI application: from a request to its operation in the table, and from whatever it raises to a problem.

Nobody unknown learns which paths there are: the caller is found first, then the operation.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from strongroom.archive.access import require, require_fresh_proof
from strongroom.archive.people import VIA_SESSION
from strongroom.errors import Denied, MalformedDataset, MalformedRequest, NotFound, Unauthenticated
from strongroom.types import Principal, Uid
from strongroom.web.auth import refuse_query_credentials
from strongroom.web.call import Call, RunBlocking, Services
from strongroom.web.exchange import CERTIFICATE, Message, Receive, Scope, Send
from strongroom.web.operation import FORM, PREFIX, Operation
from strongroom.web.origin import require_same_origin
from strongroom.web.problem import plain_problem, problem_response
from strongroom.web.ui.failing import page_of

HTTPS_PORT: Final = 443
OPERATION: Final = "strongroom.operation"
"""Key of the ASGI scope: the name of the operation that answers."""
NO_OPERATION: Final = "none"
UID_NAMES: Final = frozenset({"study", "series", "instance"})
SECURITY_HEADERS: Final = (
    (b"strict-transport-security", b"max-age=31536000"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"private, no-cache"),
)
"""On every answer that does not say otherwise itself. Nothing is kept by a proxy, and nothing here is a page."""

_PORT: Final = re.compile(r":[0-9]+\Z")


@dataclass(slots=True)
class _Node:
    """One step of a path: what may follow it, and the operations that end here by method."""

    literal: dict[str, _Node] = field(default_factory=dict)
    name: str = ""
    variable: _Node | None = None
    takes_rest: bool = False
    operations: dict[str, Operation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """The operations at one path, by method, and the variable parts of the path."""

    operations: Mapping[str, Operation]
    parts: Mapping[str, str]


class Router:
    """From a path to the operations at it."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        node = self._root
        for part in operation.path.removeprefix("/").split("/"):
            if not part.startswith("{"):
                node = node.literal.setdefault(part, _Node())
                continue
            name, _, kind = part[1:-1].partition(":")
            if node.variable is None:
                node.variable = _Node(takes_rest=kind == "path")
                node.name = name
            assert node.name == name, f"{operation.path}: one place in a path has one name"
            node = node.variable
        assert operation.method not in node.operations, f"{operation.method} {operation.path} is there twice"
        node.operations[operation.method] = operation

    def match(self, raw_path: bytes) -> Match:
        """The operations at a path. Raises NotFound, MalformedRequest for a path that hides what it names."""
        node, parts = self._root, {}
        steps = _parts(raw_path)
        for number, part in enumerate(steps):
            following = node.literal.get(part)
            if following is None:
                following = node.variable
                if following is None or not part:
                    raise NotFound("no such path")
                if following.takes_rest:
                    parts[node.name] = "/".join(steps[number:])
                    node = following
                    break
                parts[node.name] = part
            node = following
        if not node.operations:
            raise NotFound("no such path")
        return Match(node.operations, parts)


def _parts(raw_path: bytes) -> list[str]:
    """The parts of a path, percent-decoded. A slash or a step upwards that is encoded is one that is hidden."""
    if not raw_path.startswith(b"/"):
        raise MalformedRequest("the request target is no path")
    parts = []
    for raw in raw_path[1:].split(b"/"):
        try:
            part = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedRequest("the path is not UTF-8") from None
        if part in (".", "..") or "/" in part or "\\" in part or not part.isprintable():
            raise MalformedRequest("the path has a part that names no resource")
        parts.append(part)
    return parts


@dataclass(slots=True)
class _UnderWay:
    """A request that is answered. ``is_over``: its caller may not have the answer any more."""

    request: Request
    principal: Principal
    may_be_cancelled: bool
    """Not while a thread looks up what is asked for: what it finds has a beginning in the trail, and needs its end."""
    is_over: bool = False


class WebApp:
    """The application of one worker: ASGI 3, HTTP only."""

    def __init__(self, operations: Iterable[Operation], services: Services) -> None:
        self._router = Router(operations)
        self._services = services
        self._under_way: dict[asyncio.Task[Any], _UnderWay] = {}

    async def end_revoked(self, run_blocking: RunBlocking) -> None:
        """End every answer under way whose caller is not known any more, or may do or see something else now.

        A look that takes its time goes through ``run_blocking``: it is not to wait behind the very answers.
        """
        for task, under_way in tuple(self._under_way.items()):
            try:
                is_same = await self._authenticate(under_way.request, run_blocking) == under_way.principal
            except (Unauthenticated, Denied):
                is_same = False
            if not is_same:
                under_way.is_over = True
                if under_way.may_be_cancelled:
                    task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        is_head = scope["method"] == "HEAD"
        began = time.monotonic()

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_s = time.monotonic() - began
                self._services.count_request(scope.get(OPERATION, NO_OPERATION), message["status"], took_s)
                if (under_way := self._under_way.get(_task())) is not None:
                    if under_way.is_over:
                        raise asyncio.CancelledError
                    under_way.may_be_cancelled = True
                message["headers"] = _with_defaults(message.get("headers", ()))
            await send(message)

        request = Request(scope, receive)
        try:
            try:
                response = await self._answer(request, "GET" if is_head else scope["method"])
            except Exception as error:
                response = page_of(request, error) or problem_response(error)
            await response(scope, receive, send_guarded)
        finally:
            self._under_way.pop(_task(), None)

    async def _answer(self, request: Request, method: str) -> Response:
        raw_path: bytes = request.scope["raw_path"]
        match, trouble = self._match(raw_path)
        operation = match.operations.get(method) if match else None
        if operation is not None:
            request.scope[OPERATION] = operation.name
        principal = Principal("", address=_address(request))
        if operation is None or not operation.public:
            principal = await self._authenticate(request)
            refuse_query_credentials(request.query_params.keys())
            takes_body = operation is not None and bool(operation.consumes)
            if operation is None or not operation.ends_caller:
                self._under_way[_task()] = _UnderWay(request, principal, takes_body)
        if match is None:
            raise trouble or NotFound("no such path")
        if method == "OPTIONS" and operation is None:
            return Response(status_code=204, headers={"allow": _allow(match)})
        if operation is None:
            allowed = _allow(match)
            return plain_problem(405, "Method not allowed", f"Allowed here: {allowed}.", allow=allowed)
        if operation.right is not None:
            try:
                require(principal, operation.right)
            except Denied as error:
                self._services.authenticator.denied(principal, error.reason)
                raise
        if operation.method != "GET" and (principal.via == VIA_SESSION or FORM in operation.consumes):
            require_same_origin(request.headers)
        if operation.proof_for:
            resume = operation.proof_for.format(**{name: quote(part, safe="") for name, part in match.parts.items()})
            if operation.method == "GET" and (query := request.url.query):
                resume += f"?{query}"
            require_fresh_proof(principal, int(time.time() * 1e6), self._services.proof_max_age_us, resume)
        _require_no_body(request, operation)
        return await operation.handler(self._call(request, principal, match))

    def _match(self, raw_path: bytes) -> tuple[Match | None, Exception | None]:
        try:
            return self._router.match(raw_path), None
        except (NotFound, MalformedRequest) as error:
            return None, error

    async def _authenticate(self, request: Request, run_blocking: RunBlocking | None = None) -> Principal:
        services, certificate_der = self._services, request.scope[CERTIFICATE]
        authenticate = services.authenticator.authenticate
        if services.index_is_remote:
            run_blocking = run_blocking or services.run_blocking
            return await run_blocking(authenticate, request.headers, certificate_der, _address(request))
        # A look into a file, some 30 us: less than it takes to hand it over to a thread.
        return authenticate(request.headers, certificate_der, _address(request))

    def _call(self, request: Request, principal: Principal, match: Match) -> Call:
        uids: dict[str, Uid] = {}
        try:
            for name in UID_NAMES & match.parts.keys():
                uids[name] = Uid.parse(match.parts[name])
        except MalformedDataset:
            raise MalformedRequest(f"{name} in the path is no UID") from None
        others = {name: part for name, part in match.parts.items() if name not in UID_NAMES}
        return Call(request, principal, self._services, f"https://{_authority(request)}{PREFIX}", uids, others)


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    own = list(headers)
    said = {name for name, _ in own}
    return own + [header for header in SECURITY_HEADERS if header[0] not in said]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _authority(request: Request) -> str:
    """Host and port for links. Clients have to name the port if it is not 443 (RFC 9110 7.2), and some do not."""
    host: str = request.headers.get("host", "")
    port: int = request.scope["server"][1]
    return host if port == HTTPS_PORT or _PORT.search(host) else f"{host}:{port}"


def _allow(match: Match) -> str:
    methods = set(match.operations) | {"OPTIONS"}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _require_no_body(request: Request, operation: Operation) -> None:
    if operation.consumes:
        return
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise MalformedRequest("this operation takes no body")
