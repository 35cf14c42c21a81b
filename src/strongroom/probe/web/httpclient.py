"""HTTP/1.1 as one who asks and trusts nobody: a request, and what may be taken of the answer to it.

``httptools`` splits the bytes; how much of each part, and how long it may take, is decided here. A body is cut at its
cap and what is compressed stays so, redirects are the caller's to look at, and no cookie is ever sent back. Several
questions may go over one connection, each when it is due: the rate of a run is one of questions and not of connections.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httptools

from strongroom.errors import ConfigError, Unanswered
from strongroom.net.tls import Identity as TlsIdentity
from strongroom.net.tls import probing_context
from strongroom.probe.model import Answer, Channel, Identity

if TYPE_CHECKING:
    from strongroom.probe.line import Line
    from strongroom.probe.session import Session

MAX_HEAD_BYTES: Final = 32 * 2**10
MAX_HEADERS: Final = 100
MAX_INTERIM: Final = 4
"""Answers of the kind 1xx before the one that counts."""
MAX_BODY_BYTES: Final = 256 * 2**10
WHOLE_ANSWER_TIMES: Final = 3
"""How many times as long as for its first byte is waited for the last one."""
MAX_ENDLESS: Final = 4
"""Answers that go on beyond ``MAX_BODY_BYTES``, after which a server is asked no more."""
MAX_CONNECTION_S: Final = 120.0
"""The longest life of a connection over which several questions go."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``target`` is an absolute path with its query, ``max_body_bytes`` what is taken of the answer."""

    target: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    max_body_bytes: int = MAX_BODY_BYTES

    def encoded(self, host: str, user_agent: str) -> bytes:
        """The bytes of the request. ``host`` is the value of its Host header."""
        headers = [("Host", host), ("User-Agent", user_agent), ("Accept-Encoding", "identity")]
        if not any(name == "Accept" for name, _ in self.headers):
            headers.append(("Accept", "*/*"))
        headers += self.headers
        if self.body or self.method in ("POST", "PUT"):
            headers.append(("Content-Length", str(len(self.body))))
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Header names are lower case. ``cut`` says that the body was longer than what was taken of it."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: bool = False
    keeps_alive: bool = False

    def header(self, name: str) -> str:
        """The value of the first header of that name, or ""."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> tuple[str, ...]:
        """The values of all headers of that name."""
        return tuple(value for known, value in self.headers if known == name)


class ResponseReader:
    """Reads one response from its bytes, however they are cut. Holds its head and ``max_body_bytes``."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._max_body_bytes = max_body_bytes
        self._started = bytearray()
        self._headers: list[tuple[str, str]] = []
        self._head_bytes = self._interim = 0
        self._body = bytearray()
        self._in_head = True
        self._failure: Unanswered | None = None
        self.response: Response | None = None
        """The response, once it is complete."""

    def feed(self, raw: bytes) -> bool:
        """Take bytes; return whether the response is complete.

        Raises:
            Unanswered: it is not HTTP (``OTHER``), or breaks a limit or HTTP itself (``HOSTILE``).
        """
        if len(self._started) < 5:
            self._started += raw[: 5 - len(self._started)]
            if not b"HTTP/".startswith(bytes(self._started)):
                raise Unanswered(Answer.OTHER, "not HTTP")
        if self._in_head:
            self._count_head(len(raw))
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            self._failure = Unanswered(Answer.HOSTILE, "another protocol that nobody asked for")
        except httptools.HttpParserError:
            self._failure = self._failure or Unanswered(Answer.HOSTILE, "malformed HTTP")
        if self.response is not None:
            return True
        if self._failure is not None:
            raise self._failure
        return False

    def end(self) -> Response:
        """Return what there is once the connection is closed: a body may end so. Raises Unanswered."""
        if self.response is None and not self._in_head:
            declared = any(name == "content-length" for name, _ in self._headers)
            self._complete(cut=declared, keeps_alive=False)
        if self.response is None:
            raise Unanswered(Answer.CLOSED, "connection closed")
        return self.response

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer of a chunked body, which counts and is not kept."""
        self._count_head(len(name) + len(value) if not self._in_head else 0)
        if self._in_head:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
            if len(self._headers) > MAX_HEADERS:
                raise self._fail(Unanswered(Answer.HOSTILE, "more headers than any answer has"))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.response is not None or 100 <= self._parser.get_status_code() < 200:
            return
        self._body += body[: self._max_body_bytes - len(self._body) + 1]
        if len(self._body) > self._max_body_bytes:
            del self._body[self._max_body_bytes :]
            self._complete(cut=True, keeps_alive=False)

    def on_message_complete(self) -> None:
        """The response is complete, or an interim one is."""
        if self.response is not None:
            return
        if 100 <= self._parser.get_status_code() < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise self._fail(Unanswered(Answer.HOSTILE, "answers without an end"))
            self._headers.clear()
            self._in_head = True
            return
        self._complete(cut=False, keeps_alive=self._parser.should_keep_alive())

    def _complete(self, *, cut: bool, keeps_alive: bool) -> None:
        status = self._parser.get_status_code()
        self.response = Response(status, tuple(self._headers), bytes(self._body), cut, keeps_alive)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        # A head may come in one piece with a body, which is no longer than what was received at once.
        if self._head_bytes > MAX_HEAD_BYTES + (1 << 16):
            raise self._fail(Unanswered(Answer.HOSTILE, "a head that is longer than any"))

    def _fail(self, failure: Unanswered) -> Unanswered:
        """Keep what is wrong: the parser only says that a callback failed."""
        self._failure = failure
        return failure


class HttpClient:
    """Asks one port over one channel. Use it in a ``with`` block: it has a connection, or none."""

    def __init__(
        self, session: Session, port: int, channel: Channel, identity: Identity = Identity.STRANGER, *, most: int = 40
    ) -> None:
        """``most`` is how many connections may be opened before ``ask`` raises."""
        self._session, self._port, self._channel = session, port, channel
        self._most = most
        target = session.target
        self.shows: TlsIdentity | tuple[str, str] | None = None
        """The client certificate that is shown if one is asked for."""
        if identity is Identity.CERTIFICATE:
            self.shows = (target.certificate, target.certificate_key)
        self._line: Line | None = None
        self._endless = 0
        self.connections = self.requests = 0

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def scheme(self) -> str:
        """The scheme of the URLs that it asks."""
        return "https" if self._channel is Channel.TLS else "http"

    @property
    def keeps_alive(self) -> bool:
        """Whether more than one question goes over a connection, as far as can be told."""
        return self.requests < 3 or self.connections < self.requests - 1

    def ask(self, request: Request) -> Response:
        """Return the answer to ``request``, over the open connection if it still answers.

        Raises:
            Unanswered: no connection, no answer in time, none at all (``CLOSED``), or not HTTP; or ``NOT_ASKED``, if
                no more connections may be opened.
        """
        if self._line is not None and self._line.received_bytes > self._session.limits.max_received_bytes // 4:
            self._close()  # what one connection may receive, a second one may as well
        if self._line is not None:
            self._session.pace()
            try:
                return self._exchange(self._line, request)
            except Unanswered as error:
                self._close()
                if error.answer != Answer.CLOSED:
                    raise
                # A server may close a connection that it has kept whenever it likes (RFC 9112 9.5).
        if self.connections >= self._most:
            raise Unanswered(Answer.NOT_ASKED, "as many connections were opened as this step may")
        self.connections += 1
        try:
            self._line = self._open()
            return self._exchange(self._line, request)
        except Unanswered:
            self._close()
            raise

    def _open(self) -> Line:
        limits = replace(self._session.limits, connection_s=max(self._session.limits.connection_s, MAX_CONNECTION_S))
        context = None
        if self._channel is Channel.TLS:
            try:
                context = probing_context(self.shows)
            except ConfigError as error:
                raise Unanswered(Answer.NOT_ASKED, str(error)) from None
        return self._session.line(self._port, framing="http", tls=context, limits=limits)

    def _exchange(self, line: Line, request: Request) -> Response:
        self.requests += 1
        limits = self._session.limits
        line.settimeout(limits.answer_s)
        line.send_all(request.encoded(self._host(), self._session.user_agent))
        until = time.monotonic() + WHOLE_ANSWER_TIMES * limits.answer_s
        reader = ResponseReader(min(request.max_body_bytes, limits.max_received_bytes // 2))
        while raw := line.receive():
            if reader.feed(raw):
                break
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise Unanswered(Answer.TIMEOUT, "the answer does not end")
            line.settimeout(min(left_s, limits.answer_s))
        response = reader.end()
        if not response.keeps_alive or response.cut:
            self._close()
        self._endless += response.cut and len(response.body) >= MAX_BODY_BYTES
        if self._endless > MAX_ENDLESS:
            raise Unanswered(Answer.HOSTILE, "answers without an end")
        return response

    def _host(self) -> str:
        host = self._session.host
        with suppress(ValueError):
            host = f"[{host}]" if ip_address(host).version == 6 else host
        usual = 443 if self._channel is Channel.TLS else 80
        return host if self._port == usual else f"{host}:{self._port}"

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
