"""The application: from a path to its operation, and in which order anybody learns what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import pytest
from starlette.responses import PlainTextResponse, Response

from strongroom.errors import MalformedRequest, NotFound, StorageUnavailable, Unauthenticated
from strongroom.types import Principal, Right
from strongroom.web.app import Router, WebApp
from strongroom.web.call import Call, Services
from strongroom.web.exchange import CERTIFICATE
from strongroom.web.operation import Operation
from strongroom.web.operations import OPERATIONS
from strongroom.web.parameters import parse_query

KNOWN = {b"authorization": b"Bearer known"}


async def handler(call: Call) -> Response:
    """Says what it was called with."""
    return PlainTextResponse(f"{call.principal.aet} {dict(call.uids)} {dict(call.path)} {call.base_url}")


async def failing(_call: Call) -> Response:
    """Fails as storage does."""
    raise StorageUnavailable("/secret/place: disk full")


async def buggy(_call: Call) -> Response:
    """Has a bug."""
    raise KeyError("PatientName=Muster")


TABLE = (
    Operation("open", "GET", "/health", handler, "", public=True),
    Operation("series", "GET", "/dicomweb/studies/{study}/series", handler, "", Right.FIND),
    Operation("store", "POST", "/dicomweb/studies/{study}", handler, "", Right.STORE, consumes=("application/dicom",)),
    Operation("frames", "GET", "/dicomweb/studies/{study}/frames/{frames}", handler, "", Right.FIND),
    Operation("bulk", "GET", "/dicomweb/studies/{study}/bulkdata/{pointer:path}", handler, "", Right.FIND),
    Operation("failing", "GET", "/dicomweb/failing", failing, ""),
    Operation("buggy", "GET", "/dicomweb/buggy", buggy, ""),
)


class OneCaller:
    """Knows one bearer, who may search."""

    def authenticate(self, headers: Mapping[str, str], _certificate: bytes, address: str) -> Principal:
        """The one."""
        if headers.get("authorization") != "Bearer known":
            raise Unauthenticated("no-credentials")
        return Principal("KNOWN", address=address, rights=frozenset({Right.FIND}))

    def __init__(self) -> None:
        self.refused: list[tuple[str, str, str]] = []

    def denied(self, principal: Principal, reason: str) -> None:
        """Whom, from where and why."""
        self.refused.append((principal.aet, principal.address, reason))


STUB = {"count_request": staticmethod(lambda *_: None)}


class Asked:
    """One request without a network, and what came back."""

    def __init__(self, app: WebApp, method: str, path: str, headers: Mapping[bytes, bytes] = KNOWN) -> None:
        self.body = b""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        raw_path, _, query = path.encode().partition(b"?")
        scope: dict[str, Any] = {
            "type": "http", "method": method, "path": path, "raw_path": raw_path, "query_string": query,
            "headers": [(b"host", b"pacs:8443"), *headers.items()], "client": ("192.0.2.7", 0), "server": ("", 0),
            "scheme": "https", CERTIFICATE: b"", "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        asyncio.run(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message["body"]


@pytest.fixture
def caller() -> OneCaller:
    return OneCaller()


@pytest.fixture
def app(caller: OneCaller) -> WebApp:
    services = cast(Services, type("Stub", (), STUB | {"authenticator": caller, "index_is_remote": False})())
    return WebApp(TABLE, services)


def test_a_handler_gets_uids_parsed_and_other_parts_as_they_came(app: WebApp) -> None:
    asked = Asked(app, "GET", "/dicomweb/studies/1.2/frames/1%2C2")
    assert asked.body == b"KNOWN {'study': '1.2'} {'frames': '1,2'} https://pacs:8443/dicomweb"
    rest = Asked(app, "GET", "/dicomweb/studies/1.2/bulkdata/00400275/0/00400009")
    assert b"{'pointer': '00400275/0/00400009'}" in rest.body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/dicomweb/studies/1.2/series", 401),
        ("GET", "/dicomweb/studies/not-a-uid/series", 401),
        ("GET", "/dicomweb/nothing", 401),
        ("GET", "/dicomweb/%2e%2e/", 401),
        ("POST", "/health", 401),
        ("OPTIONS", "/dicomweb/studies/1.2/series", 401),
        ("DELETE", "/dicomweb/studies/1.2/series", 401),
    ],
)
def test_who_is_not_known_learns_nothing(app: WebApp, method: str, path: str, status: int) -> None:
    asked = Asked(app, method, path, {})
    assert asked.status == status
    if status == 401:
        assert (b"www-authenticate", b'Bearer realm="strongroom"') in asked.headers
        assert asked.body == b'{"status":401,"title":"No valid token or certificate"}'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dicomweb/studies/1.2/series", 200),
        ("HEAD", "/dicomweb/studies/1.2/series", 200),
        ("OPTIONS", "/dicomweb/studies/1.2/series", 204),
        ("PUT", "/dicomweb/studies/1.2/series", 405),
        ("POST", "/dicomweb/studies/1.2", 403),
        ("GET", "/dicomweb/studies/1.2", 405),
        ("GET", "/dicomweb/studies/x/series", 400),
        ("GET", "/dicomweb/nothing", 404),
    ],
)
def test_who_is_known_is_told(app: WebApp, method: str, path: str, status: int) -> None:
    assert Asked(app, method, path).status == status


def test_what_a_known_caller_may_not_do_is_recorded(app: WebApp, caller: OneCaller) -> None:
    assert Asked(app, "GET", "/dicomweb/studies/1.2/series").status == 200
    assert caller.refused == []
    assert Asked(app, "POST", "/dicomweb/studies/1.2").status == 403
    assert caller.refused == [("KNOWN", "192.0.2.7", "no-right-store")]


def test_a_problem_says_what_can_be_done(app: WebApp) -> None:
    denied = Asked(app, "POST", "/dicomweb/studies/1.2").body
    assert b"no-right-store" in denied
    assert b"strongroom token add --allow store" in denied
    assert b"Allowed here: GET, HEAD, OPTIONS." in Asked(app, "PUT", "/dicomweb/studies/1.2/series").body
    assert b"you may not know of it" in Asked(app, "GET", "/dicomweb/nothing").body


def test_a_remote_index_is_asked_on_a_thread() -> None:
    """No event loop waits for a round trip to PostgreSQL."""
    asked: list[str] = []

    async def run_blocking(work: Callable[..., object], *arguments: object) -> object:
        asked.append(work.__name__)
        return work(*arguments)

    stub = STUB | {"authenticator": OneCaller(), "run_blocking": staticmethod(run_blocking), "index_is_remote": True}
    app = WebApp(TABLE, cast(Services, type("Stub", (), stub)()))
    assert Asked(app, "GET", "/dicomweb/studies/1.2/series").status == 200
    assert Asked(app, "GET", "/dicomweb/studies/1.2/series", {}).status == 401
    assert asked == ["authenticate", "authenticate"]


def test_a_failure_of_ours_says_nothing_of_the_inside(app: WebApp) -> None:
    failed, broken = Asked(app, "GET", "/dicomweb/failing"), Asked(app, "GET", "/dicomweb/buggy")
    assert (failed.status, broken.status) == (503, 500)
    assert b"secret" not in failed.body
    assert b"Muster" not in broken.body


def test_every_answer_has_the_headers_that_harden_it(app: WebApp) -> None:
    for asked in (Asked(app, "GET", "/health", {}), Asked(app, "GET", "/x", {}), Asked(app, "GET", "/dicomweb/buggy")):
        names = {name for name, _ in asked.headers}
        assert {b"strict-transport-security", b"x-content-type-options", b"content-security-policy"} <= names
        assert not {name for name in names if name.startswith((b"access-control", b"server", b"set-cookie"))}


def test_a_body_where_none_belongs_is_refused(app: WebApp) -> None:
    assert Asked(app, "GET", "/dicomweb/studies/1.2/series", KNOWN | {b"content-length": b"1"}).status == 400


def test_the_whole_table_can_be_routed() -> None:
    router = Router(OPERATIONS)
    for operation in OPERATIONS:
        path = operation.path.replace("{study}", "1.2").replace("{series}", "1.3").replace("{instance}", "1.4")
        path = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        assert router.match(path.encode()).operations[operation.method] is operation


@pytest.mark.parametrize("path", [b"/a/%2e%2e", b"/a/..", b"/a/%2F", b"/a/%5c", b"/a/%00", b"/a/%ff", b"a", b"/a/."])
def test_a_path_that_hides_what_it_names_is_malformed(path: bytes) -> None:
    with pytest.raises(MalformedRequest):
        Router(()).match(path)


@pytest.mark.parametrize("path", [b"/", b"//", b"/dicomweb/", b"/dicomweb/studies/1.2/series/", b"/dicomweb//series"])
def test_a_path_that_is_none_of_ours_is_not_found(path: bytes) -> None:
    with pytest.raises(NotFound):
        Router(TABLE).match(path)


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", []),
        (b"a=1&b=2", [("a", "1"), ("b", "2")]),
        (b"a", [("a", "")]),
        (b"a=b=c&&d=", [("a", "b=c"), ("d", "")]),
        (b"a=x+y%2Bz", [("a", "x y+z")]),
        (b"a=%E5%B1%B1", [("a", "山")]),
    ],
)
def test_a_query_is_decoded(raw: bytes, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(raw, 10) == pairs


@pytest.mark.parametrize("raw", [b"a=%", b"a=%zz", b"a=%ff", b"a=%00", b"%0a=1", b"a=%7f"])
def test_a_query_that_is_not_encoded_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_query(raw, 10)


def test_a_field_that_may_have_several_lines_has_them_and_no_other_control_character() -> None:
    raw = b"scope=a%0D%0Ab&name=x"
    assert parse_query(raw, 10, frozenset({"scope"})) == [("scope", "a\r\nb"), ("name", "x")]
    for wrong, texts in ((raw, frozenset[str]()), (b"name=a%0Ab&scope=", {"scope"}), (b"scope=a%00", {"scope"})):
        with pytest.raises(MalformedRequest):
            parse_query(wrong, 10, frozenset(texts))


@pytest.mark.parametrize("ends_caller", [True, False])
def test_who_signs_out_gets_the_answer_although_nobody_knows_him_any_more(
    caller: OneCaller, monkeypatch: pytest.MonkeyPatch, ends_caller: bool
) -> None:
    def nobody(*_: object) -> Principal:
        raise Unauthenticated("session-ended")

    def not_needed(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a look into a file needs no thread")

    async def sign_out(_call: Call) -> Response:
        """Ends the session; the look at what has changed comes before the answer has left."""
        monkeypatch.setattr(caller, "authenticate", nobody)
        await app.end_revoked(not_needed)
        return PlainTextResponse("gone")

    services = cast(Services, type("Stub", (), STUB | {"authenticator": caller, "index_is_remote": False})())
    operation = Operation("out", "POST", "/out", sign_out, "", consumes=("text/plain",), ends_caller=ends_caller)
    app = WebApp((operation,), services)
    if ends_caller:
        assert Asked(app, "POST", "/out").body == b"gone"
    else:
        with pytest.raises(asyncio.CancelledError):
            Asked(app, "POST", "/out")
