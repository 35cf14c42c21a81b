"""What a delivery says that it has sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from strongroom.archive.model import Outcome
from strongroom.archive.read import Reader
from strongroom.errors import Busy
from strongroom.serving.webworker import _Queue
from strongroom.types import Principal
from strongroom.web.call import RunBlocking
from strongroom.web.streaming import PIECE_BYTES, Delivered, Delivery


def test_a_piece_counts_from_when_it_is_handed_over() -> None:
    """A client that resets within it may have got whole objects: the trail never says less than has left."""
    delivery = Delivery(cast("Reader", None), Principal("A"), 3)
    pieces = [bytes(PIECE_BYTES), bytes(PIECE_BYTES), b"end"]
    delivered = Delivered(delivery, cast("RunBlocking", None), 200, {}, iter(pieces)).begin(is_head=False)
    counted = []
    while (made := delivered._following()) is not None:
        counted.append((sum(map(len, made)), delivery.sent_bytes))
    assert counted == [(PIECE_BYTES, PIECE_BYTES), (PIECE_BYTES, 2 * PIECE_BYTES), (3, 2 * PIECE_BYTES + 3)]


def test_an_answer_that_has_begun_is_finished_however_many_wait_for_its_threads() -> None:
    """Else it would be cut in the middle, and its end be in no trail."""
    ends: list[Outcome] = []
    closed: list[bool] = []
    others_may_end = threading.Event()

    class Trail:
        def ended(self, _principal: Principal, _action: object, outcome: Outcome, _details: object) -> None:
            ends.append(outcome)

    def body() -> Iterator[bytes]:
        try:
            for _ in range(3):
                yield bytes(PIECE_BYTES)
        finally:
            closed.append(True)

    async def answer() -> None:
        queue = _Queue("pixels", 2, 2, "too many")
        delivery = Delivery(cast("Reader", Trail()), Principal("A"), 0)
        delivered = Delivered(delivery, queue.go_on, 200, {}, body())
        await queue.run(delivered.begin, is_head=False)
        others = [asyncio.ensure_future(queue.run(others_may_end.wait, 10.0)) for _ in range(2)]
        while queue.taken < 2:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED, timeout=0.01)

        async def send(message: dict[str, Any]) -> None:
            if "make" in message:
                with pytest.raises(Busy):
                    await queue.run(lambda: None)
                asyncio.get_running_loop().call_soon(others_may_end.set)
                while await message["run_blocking"](message["make"]) is not None:
                    pass

        await delivered(cast("Any", None), cast("Any", None), cast("Any", send))
        await asyncio.gather(*others)
        queue.threads.shutdown()
        assert (delivery.sent_bytes, queue.taken) == (3 * PIECE_BYTES, 0)

    asyncio.run(answer())
    assert (ends, closed) == ([Outcome.SUCCESS], [True])
