"""HTTP/1.1 on one connection (RFC 9112): what a stranger may send, how much of it, and how slowly.

``httptools`` (llhttp, in its strict mode) splits the bytes. It refuses what smuggling is made of: folded headers, bare
line feeds, spaces before colons, two lengths, a length beside a transfer coding, chunk sizes that are none. What it
lets through, and how much of everything, is decided here. ``check`` is called once a second and ends what takes too
long: no connection has timers of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

import httptools

from strongroom.config import LimitsSection
from strongroom.web.exchange import CERTIFICATE, App, ClientGone, Exchange, Make, Scope
from strongroom.web.problem import encode_problem

if TYPE_CHECKING:
    from strongroom.web.call import RunBlocking
    from strongroom.web.server import WebServer
    from strongroom.web.transport import TlsTransport

log = logging.getLogger(__name__)

MAX_PIPELINED: Final = 8
"""Requests that may wait behind the one that is being answered."""

CHECKED_EVERY_S: Final = 10.0
"""Over how long the rate of a slow client is taken."""

MAX_DISCARDED_BYTES: Final = 4 * 2**20
"""Of a body that nobody wants, taken so that the client reads the answer; then the connection is cut."""

DISCARD_TIMEOUT_S: Final = 5.0


class _Unfit(Exception):
    """A request that is not taken; becomes the answer."""

    def __init__(self, status: int, title: str, limit: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.limit = status, title, limit


class Connection(asyncio.Protocol):
    """One client connection after its TLS handshake. Lives on the event loop only."""

    def __init__(self, app: App, server: WebServer, limits: LimitsSection, address: str) -> None:
        self._app, self._server, self._limits = app, server, limits
        self._address = address
        self._certificate = b""
        self._transport: TlsTransport = cast("TlsTransport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._current: Exchange | None = None
        self._arriving: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._is_closing = False
        self._is_reading = True
        self._writable: asyncio.Future[None] | None = None
        self._since = self._loop.time()
        self._in_head = False
        self._silent_bytes = 0
        self._received = 0
        self._window = (self._since, 0, 0)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._unfit: _Unfit | None = None
        self._unfit_next: _Unfit | None = None
        """What is wrong with the request behind those that are answered."""
        self._ends_at = 0.0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        self._transport = cast("TlsTransport", transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""
        self._since = self._loop.time()
        self._server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection is over."""
        self._server.connections.discard(self)
        self._server.left(self._address)
        self._is_closing = True
        for exchange in (self._current, *self._waiting):
            if exchange is not None and not exchange.complete:
                exchange.lose()
        self._waiting.clear()
        self.resume_writing()

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes of the client; they are not kept."""
        if self._is_closing:
            return
        self._received += len(data)
        if self._ends_at:  # an answer was given already; what still comes is not looked at
            self._discard(len(data))
            return
        if self._unfit_next is not None:
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._silent_bytes > self._limits.max_request_header_bytes and (self._in_head or self._arriving):
                self._refuse(_Unfit(431, "Over a limit", "max_request_header_bytes"))
        except httptools.HttpParserUpgrade:
            about = self._waiting[-1] if self._waiting else self._current
            self._refuse(_Unfit(400, "Upgrading to another protocol is not possible"), about)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(_Unfit(501, "Unknown method"))
        except httptools.HttpParserError:
            self._refuse(self._unfit or _Unfit(400, "Malformed request"))

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._writable = self._writable or self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if self._current is None and not self._is_closing and not self._ends_at:
            self._go_on()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._since = self._loop.time()
        self._url, self._headers, self._header_bytes = b"", [], 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url
        if len(self._url) > self._limits.max_request_target_bytes:
            raise self._stop(_Unfit(414, "Over a limit", "max_request_target_bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer of a chunked body, which is counted and not kept."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._limits.max_request_header_bytes:
            raise self._stop(_Unfit(431, "Over a limit", "max_request_header_bytes"))
        self._headers.append((name.lower(), value))
        if len(self._headers) > self._limits.max_request_headers:
            raise self._stop(_Unfit(431, "Over a limit", "max_request_headers"))

    def on_headers_complete(self) -> None:
        """The head of a request is complete: it is answered, or waits until those before it are."""
        self._in_head = False
        self._silent_bytes = 0
        try:
            scope = self._scope()
        except _Unfit as unfit:
            raise self._stop(unfit) from None
        expects = dict(scope["headers"]).get(b"expect", b"").lower()
        if expects not in (b"", b"100-continue"):
            raise self._stop(_Unfit(417, "Expectation failed"))
        keep_alive = scope["http_version"] == "1.1" and self._parser.should_keep_alive()
        exchange = Exchange(self._app, self, scope, keep_alive=keep_alive, expects_100=bool(expects))
        self._arriving = exchange
        if self._current is None and self._writable is None:
            self._start(exchange)
        elif len(self._waiting) < MAX_PIPELINED:
            self._waiting.append(exchange)
            self._pause_reading()
        else:
            raise self._stop(_Unfit(429, "Too many requests at once"))

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._silent_bytes = 0
        exchange = self._arriving
        if exchange is not None and not exchange.feed(body):
            self._pause_reading()

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._silent_bytes = 0
        exchange, self._arriving = self._arriving, None
        if exchange is not None:
            exchange.end_body()

    # What an exchange calls.

    def write(self, data: bytes | memoryview) -> None:
        """Send, or keep until it can be."""
        self._transport.write(data)

    async def drained(self) -> None:
        """Return once the client has taken most of what was written. Raises ClientGone."""
        if self._writable is not None:
            await self._writable
        else:
            await asyncio.sleep(0)  # whoever is answered from memory still lets others have their turn
        if self._is_closing or self._transport.is_closing():
            raise ClientGone

    async def pour(self, make: Make, run_blocking: RunBlocking) -> bool:
        """Send some of what is made on a thread; whether that was all."""
        return await self._transport.pour(make, run_blocking)

    def is_all_sent(self) -> bool:
        """Whether the system has all that was poured."""
        return self._transport.is_all_sent()

    def take_more(self) -> None:
        """Read on."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._begin_window(self._loop.time())
            self._transport.resume_reading()

    def date(self) -> bytes:
        """The value of a Date header."""
        return self._server.date

    def completed(self, exchange: Exchange) -> None:
        """Begin the next request, or end the connection. The next one waits until most of this answer is taken: else
        the answers to a client that asks and never reads would pile up."""
        self._current = None
        self._since = self._loop.time()
        if self._is_closing:
            return
        if not exchange.keep_alive or self._server.is_draining:
            self._close_after(exchange)
        elif self._writable is None:
            self._go_on()
        else:
            self._pause_reading()

    def broken(self) -> None:
        """Cut the connection: a response that ends otherwise would look whole."""
        self._is_closing = True
        self._transport.abort()

    # What the server calls.

    def check(self, now: float) -> None:
        """End the connection if the client takes longer than it may."""
        limits = self._limits
        if self._is_closing:
            self._check_sent(now)
        elif self._ends_at:
            if now > self._ends_at:
                self.broken()
        elif self._writable is not None or (self._current and not self._current.body_ended and self._is_reading):
            self._check_rates(now)
        elif self._current is not None:
            self._begin_window(now)
        elif self._in_head:
            if now - self._since > limits.http_header_timeout_s:
                self._refuse(_Unfit(408, "The request did not come in time", "http_header_timeout_s"))
        elif now - self._since > limits.http_idle_timeout_s:
            self.close()

    def _check_rates(self, now: float) -> None:
        if self._writable is not None:
            self._check_sent(now)
            return
        since, received, _ = self._window
        if now - since >= CHECKED_EVERY_S:
            self._begin_window(now)
            if self._received - received < self._limits.min_receive_bytes_per_s * (now - since):
                self._refuse(_Unfit(408, "The body came too slowly", "min_receive_bytes_per_s"))

    def _check_sent(self, now: float) -> None:
        since, _, sent = self._window
        if now - since >= CHECKED_EVERY_S:
            self._begin_window(now)
            if self._window[2] - sent < self._limits.min_send_bytes_per_s * (now - since):
                self.broken()

    def _begin_window(self, now: float) -> None:
        self._window = (now, self._received, self._transport.taken_bytes())

    def drain(self) -> None:
        """Answer what is under way and close then; close now if nothing is."""
        if self._current is None:
            self.close()
        else:
            self._current.keep_alive = False

    def close(self) -> None:
        """Close once everything written is sent, or the client takes it too slowly."""
        self._is_closing = True
        self._begin_window(self._loop.time())
        self._transport.close()

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self._begin_window(self._loop.time())
        exchange.task = task = self._loop.create_task(exchange.run())
        self._server.answering.add(task)
        task.add_done_callback(self._server.answering.discard)

    def _go_on(self) -> None:
        if self._waiting:
            self._start(self._waiting.popleft())
        elif self._unfit_next is not None:
            unfit, self._unfit_next = self._unfit_next, None
            self._refuse(unfit)
        else:
            self.take_more()

    def _pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _stop(self, unfit: _Unfit) -> _Unfit:
        """Keep what is wrong: the parser only says that a callback failed."""
        self._unfit = unfit
        return unfit

    def _refuse(self, unfit: _Unfit, about: Exchange | None = None) -> None:
        """Answer and close, if no other answer is under way; what came before ``about`` is answered first."""
        about = about or self._arriving
        if self._current is not None and about is not self._current:
            if about is not None and about in self._waiting:  # where there was room for it
                self._waiting.remove(about)
            self._arriving, self._unfit_next = None, unfit
            self._pause_reading()
            return
        if self._current is not None and self._current.started:
            self.broken()
            return
        body = encode_problem(unfit.status, unfit.title, {"limit": unfit.limit} if unfit.limit else {})
        head = (
            f"HTTP/1.1 {unfit.status} {unfit.title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.write(head.encode("ascii") + body)
        if self._current is not None:
            self._current.lose()
        if unfit.status == 408 and self._in_head:
            self.close()  # it sends nothing: what was written reaches it
        else:
            self._linger()

    def _close_after(self, exchange: Exchange) -> None:
        if exchange.body_ended:
            self.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Wait for the client to read the answer: closing at once, with bytes unread, would take it away again."""
        self._ends_at = self._loop.time() + DISCARD_TIMEOUT_S
        self._received = 0
        self.take_more()

    def _discard(self, count: int) -> None:
        if self._received > MAX_DISCARDED_BYTES or not count:
            self.broken()

    def _scope(self) -> Scope:
        """The request as ASGI has it. Raises _Unfit."""
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Unfit(505, "HTTP version not supported")
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/") or b"#" in self._url:
            raise _Unfit(400, "The request target is no path")
        named: dict[bytes, list[bytes]] = {}
        for name, value in self._headers:
            named.setdefault(name, []).append(value)
        hosts = named.get(b"host", [])
        if len(hosts) != 1:
            raise _Unfit(400, "One Host header is needed")
        if not self._server.is_own_host(hosts[0]):
            raise _Unfit(421, "This is not a name of the archive: add it to https.names")
        codings = named.get(b"transfer-encoding", [])
        if codings and (len(codings) != 1 or codings[0].lower() != b"chunked" or version == "1.0"):
            raise _Unfit(501, "Unknown transfer coding")
        if len(named.get(b"content-length", [])) + len(codings) > 1:
            raise _Unfit(400, "A body has one length")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "https",
            "path": unquote(path.decode("ascii"), errors="replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": (self._address, 0),
            "server": self._server.address,
            "state": {},
            CERTIFICATE: self._certificate,
        }
