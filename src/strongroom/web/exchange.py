"""One request and its response on a connection: the ASGI side of it (``receive`` and ``send``).

A response leaves in as few writes as it has parts: each write is a TLS record of its own. Whoever sends to a client
that is gone gets ``ClientGone``, an OSError as ASGI has it since 2.4, and stops at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from strongroom.web.call import RunBlocking

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Make = Callable[[], Sequence[bytes | memoryview] | None]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CERTIFICATE: Final = "strongroom.certificate"
"""Key of the ASGI scope: the certificate that the connection has shown, DER, b"" if none."""

POUR: Final = "strongroom.pour"
"""Type of a message beside those of ASGI: the whole body, as ``make`` makes it, a Sequence of pieces at a time and then
None, on threads that ``run_blocking`` gives."""

MAX_BUFFERED_BODY_BYTES: Final = 262_144
"""Of a request's body, held until the handler takes it; then reading stops."""

JOINED_BYTES: Final = 16_384
"""What is smaller leaves together with what comes before or after it, as a copy: each that leaves alone is a TLS record
of its own at least."""

_NOT_IN_HEADER: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}


class ClientGone(OSError):
    """The client has closed the connection, or was cut off."""


class Wire(Protocol):
    """The connection, as an exchange sees it."""

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data``, or keep it, unchanged, until it can be."""

    async def drained(self) -> None:
        """Return once the client has taken most of what was written. Raises ClientGone."""

    async def pour(self, make: Make, run_blocking: RunBlocking) -> bool:
        """Send some of what ``make`` gives; whether that was all. Raises what it raises."""

    def is_all_sent(self) -> bool:
        """Whether the system has all that was poured."""

    def take_more(self) -> None:
        """Read on: the body's buffer is empty."""

    def completed(self, exchange: Exchange) -> None:
        """The response is on its way whole."""

    def broken(self) -> None:
        """The response cannot be finished: whoever reads it must see that."""

    def date(self) -> bytes:
        """The value of a Date header."""


class Exchange:
    """One request, whose body arrives while it is answered."""

    __slots__ = (
        "_app", "_arrived", "_chunked", "_head", "_held_bytes", "_left", "_pieces", "_told_end", "_wire", "body_ended",
        "complete", "expects_100", "gone", "keep_alive", "scope", "started", "task",
    )  # fmt: skip

    def __init__(self, app: App, wire: Wire, scope: Scope, *, keep_alive: bool, expects_100: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_100 = expects_100
        self.body_ended = False
        self.started = False
        self.complete = False
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        self._app, self._wire = app, wire
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._told_end = False
        self._head = b""
        self._chunked = False
        self._left = 0

    async def run(self) -> None:
        """Let the application answer. Leaves the connection as the answer says, or broken."""
        try:
            await self._app(self.scope, self.receive, self.send)
        except ClientGone:
            pass
        except Exception as error:
            if not self.gone:
                # The application answers every error of ours itself; this one came in the middle of an answer.
                log.error("an answer broke off: %s", type(error).__name__, exc_info=error)
        finally:
            if not self.complete:
                self._wire.broken()

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body; whether reading may go on."""
        if not self.complete:
            self._pieces.append(data)
            self._held_bytes += len(data)
            self._arrived.set()
        return self._held_bytes < MAX_BUFFERED_BODY_BYTES

    def end_body(self) -> None:
        """The body is complete."""
        self.body_ended = True
        self._arrived.set()

    def lose(self) -> None:
        """The client is gone."""
        self.gone = True
        self._arrived.set()

    async def receive(self) -> Message:
        """The next piece of the body; once all that has come is taken, that the client is gone."""
        if self.expects_100 and not self.started and not self.body_ended:
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.expects_100 = False
        while not (self._has_news() or self.gone or self.complete):
            self._arrived.clear()
            self._wire.take_more()
            await self._arrived.wait()
        if self.complete or not self._has_news():
            return {"type": "http.disconnect"}
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._held_bytes = [], 0
        self._told_end = self.body_ended
        self._wire.take_more()
        return {"type": "http.request", "body": body, "more_body": not self.body_ended}

    def _has_news(self) -> bool:
        return bool(self._pieces) or (self.body_ended and not self._told_end)

    async def send(self, message: Message) -> None:
        """Send a part of the response. Raises ClientGone."""
        if self.gone or (self.complete and self.scope["method"] == "HEAD"):
            raise ClientGone
        if message["type"] == "http.response.start":
            assert not self.started
            self.started = True
            # It leaves with the first piece of the body.
            self._head = self._encode_head(message["status"], message.get("headers", ()))
            return
        assert self.started
        assert not self.complete
        if message["type"] == POUR:
            await self._pour(message["make"], message["run_blocking"])
        else:
            self._write_body(message.get("body", b""), is_last=not message.get("more_body", False))
        if self.complete:
            self._arrived.set()
            self._wire.completed(self)
        else:
            await self._wire.drained()

    def _encode_head(self, status: int, headers: Any) -> bytes:
        lines = [_STATUS_LINES[status], b"date: ", self._wire.date(), b"\r\n"]
        length = -1
        for name, value in headers:
            if _NOT_IN_HEADER.search(value):
                raise ValueError(f"a control character in the header {name.decode('latin-1')}")
            if name == b"content-length":
                length = int(value)
            lines += (name, b": ", value, b"\r\n")
        has_body = status >= 200 and status not in (204, 304) and self.scope["method"] != "HEAD"
        self._left = length if has_body and length >= 0 else 0
        if has_body and length < 0:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._left, self.keep_alive = -1, False
        if not self.body_ended:  # what is still to come of the body is not read to its end
            self.keep_alive = False
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    async def _pour(self, make: Make, run_blocking: RunBlocking) -> None:
        head, self._head = self._head, b""
        self._wire.write(head)
        is_over = False

        def framed() -> Sequence[bytes | memoryview] | None:
            nonlocal is_over
            if is_over:
                return None
            made = make()
            is_over = made is None
            pieces = self._framed(made or (), is_last=is_over)
            if not (is_over or self._chunked or self._left):
                # As long as was said: a client that has it may close before anybody asks for the end.
                made = make()
                is_over = made is None
                self._framed(made or (), is_last=is_over)
            return pieces

        await self._wire.drained()
        while not (await self._wire.pour(framed, run_blocking) or (is_over and self._wire.is_all_sent())):
            await self._wire.drained()
        self.complete = True

    def _write_body(self, body: bytes | memoryview, *, is_last: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self._wire.write(head)
            self.complete = True
            return
        pieces = self._framed((body,) if body else (), is_last=is_last)
        self.complete = is_last
        if sum(map(len, pieces)) < JOINED_BYTES or self._chunked:
            pieces = (b"".join((head, *pieces)),)
        elif head:
            self._wire.write(head)
        for piece in pieces:
            self._wire.write(piece)

    def _framed(self, pieces: Sequence[bytes | memoryview], *, is_last: bool) -> Sequence[bytes | memoryview]:
        """These pieces of the body as they leave. Raises ValueError if the body is not as long as was said."""
        length = sum(map(len, pieces))
        if self._chunked:
            size = (b"%x\r\n" % length, *pieces, b"\r\n") if length else ()
            return (*size, b"0\r\n\r\n") if is_last else size
        if self._left >= 0:
            self._left -= length
            if self._left < 0 or (is_last and self._left):
                raise ValueError("an answer is not as long as its header says")
        return pieces
