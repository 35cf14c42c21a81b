"""One answer on a connection that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from strongroom.web.exchange import POUR, ClientGone, Exchange, Make, Message, Receive, Scope, Send

PIECES = [b"a" * 1000, b"b" * 1000, b"c" * 1000]
LENGTH = (b"content-length", b"3000")


class HastyWire:
    """A client that closes as soon as it has the whole answer, and a connection that sends one piece at a time."""

    def __init__(self, whole_bytes: int) -> None:
        self.sent = b""
        self.whole_bytes = whole_bytes
        self.is_sent = True
        self.is_broken = self.is_completed = False

    def write(self, data: bytes | memoryview) -> None:
        self.sent += data

    async def drained(self) -> None:
        if len(self.sent.partition(b"\r\n\r\n")[2]) >= self.whole_bytes:
            raise ClientGone

    async def pour(self, make: Make, _run_blocking: object) -> bool:
        made = make()
        self.sent += b"".join(made or ())
        return made is None

    def is_all_sent(self) -> bool:
        return self.is_sent

    def take_more(self) -> None:
        pass

    def completed(self, _exchange: Exchange) -> None:
        self.is_completed = True

    def broken(self) -> None:
        self.is_broken = True

    def date(self) -> bytes:
        return b"today"


def answered(wire: HastyWire, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> Exchange:
    """An exchange that has been run."""
    scope: dict[str, Any] = {"method": "GET", "http_version": "1.1"}
    exchange = Exchange(app, wire, scope, keep_alive=True, expects_100=False)
    exchange.body_ended = True
    asyncio.run(exchange.run())
    return exchange


def pouring(pieces: list[bytes], *headers: tuple[bytes, bytes]) -> Callable[..., Awaitable[None]]:
    """An application that has its answer poured."""
    waiting = iter(pieces)

    def make() -> list[bytes] | None:
        piece = next(waiting, None)
        return None if piece is None else [piece]

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        message: Message = {"type": POUR, "make": make, "run_blocking": None}
        await send(message)

    return app


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((LENGTH,), b"".join(PIECES)),
        ((), b"".join(b"3e8\r\n%s\r\n" % piece for piece in PIECES) + b"0\r\n\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_a_client_that_closes_when_it_has_all_has_been_answered(
    headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    """Else the trail would say that a delivery failed which nothing was missing of."""
    wire = HastyWire(len(body))
    exchange = answered(wire, pouring(PIECES, *headers))
    assert wire.sent.partition(b"\r\n\r\n")[2] == body
    assert exchange.complete
    assert wire.is_completed
    assert not wire.is_broken


def test_a_client_that_closes_before_has_not(caplog: pytest.LogCaptureFixture) -> None:
    wire = HastyWire(2000)
    assert not answered(wire, pouring(PIECES, LENGTH)).complete
    assert wire.is_broken
    assert not caplog.records, "that is no error of ours"


@pytest.mark.parametrize("pieces", [[*PIECES, b"d"], PIECES[:2]], ids=["longer", "shorter"])
def test_an_answer_that_is_not_as_long_as_it_says_is_cut(pieces: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    wire = HastyWire(10_000)
    assert not answered(wire, pouring(pieces, LENGTH)).complete
    assert wire.is_broken
    assert "not as long as" in caplog.text


def test_a_client_that_goes_before_the_last_bytes_have_left_has_not_been_answered() -> None:
    wire = HastyWire(3000)
    wire.is_sent = False
    assert not answered(wire, pouring(PIECES, LENGTH)).complete
    assert wire.is_broken
