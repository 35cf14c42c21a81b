"""webworker: its looks at what has changed go on however busy its threads are, and are seen to go on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from starlette.responses import PlainTextResponse, Response

from harness.archives import new_home, opened
from strongroom.errors import Unauthenticated
from strongroom.metrics.tally import Tally
from strongroom.serving import webworker
from strongroom.serving.board import Board
from strongroom.serving.pulse import Pulse
from strongroom.serving.reporting import Reporter
from strongroom.serving.webcallers import Callers
from strongroom.serving.webworker import Worker
from strongroom.types import Principal
from strongroom.web.app import WebApp
from strongroom.web.call import Call
from strongroom.web.exchange import CERTIFICATE
from strongroom.web.operation import Operation

DEADLINE_S = 60
ANSWERS = 3


class Counted(Pulse):
    """Counts how often its thread has come by."""

    times = 0

    def came_by(self) -> None:
        """Once more."""
        self.times += 1
        super().came_by()


class EndedCaller:
    """Is known until ``is_over``; then each look notes what the pulse has counted."""

    def __init__(self, pulse: Counted) -> None:
        self._pulse = pulse
        self.is_over = False
        self.looks: list[int] = []

    def authenticate(self, _headers: object, _certificate: bytes, address: str) -> Principal:
        """Somebody, or nobody any more."""
        if self.is_over:
            self.looks.append(self._pulse.times)
            raise Unauthenticated("token-revoked")
        return Principal("KNOWN", address=address)

    def denied(self, *_: object) -> None:
        """Nobody is."""


@pytest.fixture
def pulse() -> Iterator[Counted]:
    hearing, told = os.pipe()
    made = Counted(told)
    yield made
    made.close()
    os.close(hearing)


@pytest.fixture
def worker(tmp_path: Path, pulse: Counted) -> Iterator[Worker]:
    with opened(new_home(tmp_path / "home"), "https-1") as archive:
        board = Board.new(1)
        callers = Callers(archive)
        yield Worker(archive, callers, Reporter(board, 0, "https-1", Tally()), pulse)
        callers.close()
        board.close()


async def slow(_call: Call) -> Response:
    """An answer that goes on for ever once it has begun."""

    class Endless(PlainTextResponse):
        async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()

    return Endless("")


def scope() -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": "/slow", "raw_path": b"/slow", "query_string": b"", "headers": [],
        "client": ("192.0.2.7", 0), "server": ("pacs", 8443), "scheme": "https", CERTIFICATE: b"",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip


def test_answers_of_who_is_gone_end_although_every_thread_is_busy(
    worker: Worker, pulse: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many slow downloads each is a look, one after the other: a worker that makes them is one that works."""
    monkeypatch.setattr(webworker, "REFRESH_INTERVAL_S", 0.0)
    caller, free = EndedCaller(pulse), threading.Event()
    services = replace(worker._services(), authenticator=caller, index_is_remote=True)
    app = worker._app = WebApp((Operation("slow", "GET", "/slow", slow, ""),), services)

    async def run() -> None:
        begun = asyncio.Semaphore(0)

        async def send(_message: object) -> None:
            begun.release()

        async def receive() -> NoReturn:
            raise AssertionError("nothing is read")

        answers = [asyncio.create_task(app(scope(), receive, send)) for _ in range(ANSWERS)]
        for _ in answers:
            await asyncio.wait_for(begun.acquire(), DEADLINE_S)
        busy = [worker._run_blocking(free.wait, DEADLINE_S) for _ in range(worker._pool._max_workers)]
        caller.is_over = True
        refreshing = asyncio.create_task(worker._refresh())
        try:
            ended, _ = await asyncio.wait(answers, timeout=DEADLINE_S / 4)
        finally:
            free.set()
            refreshing.cancel()
            await asyncio.gather(*busy)
        assert [each.cancelled() for each in ended] == [True] * ANSWERS

    asyncio.run(run())
    assert len(set(caller.looks)) == ANSWERS, "and each says that it has come by"
