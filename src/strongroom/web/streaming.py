"""Bodies that are made while they leave: on a thread, a piece whenever the client has taken the one before.

What is to be known before the first byte leaves, is: the first piece is made before the status line is sent, so an
object that cannot be read, or is damaged at its beginning, is answered with a problem. When a later piece cannot be
made, the connection is cut: whoever reads the answer must not take it for whole. How a delivery ended, with the objects
and bytes that were sent, is in the trail in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.ports import Progress
from strongroom.archive.read import Reader
from strongroom.errors import IntegrityError, StrongroomError
from strongroom.types import Principal
from strongroom.web.exchange import JOINED_BYTES, POUR

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from strongroom.web.call import RunBlocking

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 512 * 1024
"""Made and sent at a time."""

MAX_PARTS_OF_PIECE: Final = 4096
"""Of tiny chunks, so that a piece does not take for ever to fill."""

Chunk = bytes | memoryview
"""Of a body that is being made; it belongs to who takes it."""

Body = Generator[bytes, None, None]
"""Makes a body in order."""


@dataclass(slots=True)
class Delivery:
    """What leaves for one request, counted for the trail. Its body says ``object_done`` behind each object."""

    reader: Reader
    principal: Principal
    objects: int
    """Of which the request asked."""
    sent_bytes: int = 0
    more: dict[str, Detail] = field(default_factory=dict)
    action: Action = Action.RETRIEVE
    progress: Progress | None = None
    _made_bytes: int = 0
    _ends: list[int] = field(default_factory=list)

    def object_done(self) -> None:
        """All bytes of another object have been made."""
        self._ends.append(self._made_bytes)
        if self.progress is not None:
            self.progress.say(len(self._ends))

    def made(self, count: int) -> None:
        """``count`` more bytes have been made."""
        self._made_bytes += count

    def end(self, outcome: Outcome, reason: str = "") -> None:
        """Record how it ended. Raises StorageUnavailable."""
        completed = sum(1 for end in self._ends if end <= self.sent_bytes) if self.sent_bytes else 0
        details: dict[str, Detail] = {"objects": completed, "bytes": self.sent_bytes, **self.more}
        if completed < self.objects:
            details["remaining"] = self.objects - completed
        if reason:
            details["reason"] = reason
        if self.progress is not None:
            self.progress.end(reason, is_good=outcome is Outcome.SUCCESS)
        self.reader.ended(self.principal, self.action, outcome, details)


class Delivered(Response):
    """An answer of one delivery: begun on a thread by ``begin``, sent from there as fast as the client takes it."""

    def __init__(
        self,
        delivery: Delivery,
        run_blocking: RunBlocking,
        status: int,
        headers: Mapping[str, str],
        body: Iterable[Chunk] = (),
    ) -> None:
        """``body`` may be a generator, which is closed at the end. Without Content-Length it leaves in chunks.

        ``run_blocking`` must not raise Busy: what has begun has an end, also in the trail.
        """
        self.status_code = status
        self.background = None
        self._delivery = delivery
        self.run_blocking = run_blocking
        self.is_begun = False
        self._body = iter(body)
        self._first: Sequence[Chunk] = ()
        self._is_over = False
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]

    def begin(self, *, is_head: bool) -> Delivered:
        """Make the first piece, unless only the headers are asked for; returns itself. Runs on a thread.

        Raises what making it raises; that the delivery failed is in the trail then.
        """
        self.is_begun = True
        if is_head:
            self._close()
            self._is_over = True
            return self
        try:
            self._first = self._next()
        except BaseException as error:
            self._close()
            self._delivery.end(Outcome.FAILED, _reason(error))
            raise
        return self

    def _next(self) -> Sequence[Chunk]:
        """Make the next piece, PIECE_BYTES or a little more, less only at the end. Runs on a thread."""
        held, chunks = 0, list[Chunk]()
        for chunk in self._body:
            chunks.append(chunk)
            held += len(chunk)
            self._delivery.made(len(chunk))
            if held >= PIECE_BYTES or len(chunks) == MAX_PARTS_OF_PIECE:
                break
        else:
            self._is_over = True
        return list(_joined(chunks))

    def _close(self) -> None:
        close: Callable[[], None] | None = getattr(self._body, "close", None)
        if close is not None:
            close()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer. Raises ClientGone, or what making the body raises after part of it was sent."""
        outcome, reason = Outcome.FAILED, ""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_body(send)
            outcome = Outcome.SUCCESS
        except BaseException as error:
            reason = _reason(error)
            raise
        finally:
            await asyncio.shield(asyncio.ensure_future(self.run_blocking(self._finish, outcome, reason)))

    async def _send_body(self, send: Send) -> None:
        if not self._is_over:
            await send({"type": POUR, "make": self._following, "run_blocking": self.run_blocking})
            return
        piece, self._first = self._first, ()
        for number, chunk in enumerate(piece or (b"",), 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(piece)})
            self._delivery.sent_bytes += len(chunk)

    def _following(self) -> Sequence[Chunk] | None:
        """The next piece, None behind the last. Runs on a thread.

        It counts as sent from here on: the trail may say that more has left than did, and never less.
        """
        piece, self._first = self._first, ()
        if not piece and not self._is_over:
            piece = self._next()
        self._delivery.sent_bytes += sum(map(len, piece))
        return piece or None

    def _finish(self, outcome: Outcome, reason: str) -> None:
        self._close()
        self._delivery.end(outcome, reason)


def _joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the same bytes, small chunks together."""
    small: list[Chunk] = []
    for chunk in chunks:
        if len(chunk) < JOINED_BYTES:
            small.append(chunk)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield chunk
    if small:
        yield b"".join(small)


def _reason(error: BaseException) -> str:
    """Why a delivery ended early, for the trail: the kind of error, never its text."""
    if isinstance(error, OSError):
        return "client-gone"
    if isinstance(error, asyncio.CancelledError):  # see ``WebApp.end_revoked``
        return "caller-not-good-any-more"
    if isinstance(error, IntegrityError):
        return "object-damaged"
    return type(error).__name__ if isinstance(error, StrongroomError) else "internal-error"
