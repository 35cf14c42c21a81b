"""Files that are made while they leave, and cells that no spreadsheet takes for a formula."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from strongroom.web.call import RunBlocking

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet run a cell; an apostrophe before it keeps it a text."""


def csv_row(cells: Iterable[str]) -> bytes:
    """One line of CSV (RFC 4180), every cell quoted, none of them a formula."""
    row = []
    for cell in cells:
        safe = f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell
        row.append('"' + safe.replace('"', '""') + '"')
    return (",".join(row) + "\r\n").encode("utf-8", "replace")


class Download(Response):
    """An answer that the browser saves, made on a thread piece by piece: no more than two pieces are in memory."""

    def __init__(self, pieces: Iterator[bytes], run_blocking: RunBlocking, name: str, media_type: str) -> None:
        super().__init__(
            media_type=media_type,
            headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
        )
        del self.headers["content-length"]
        self._pieces, self._run_blocking = pieces, run_blocking
        self._first = b""

    async def begun(self) -> Download:
        """Make the first piece, and raise what making it raises: later the connection can only be cut."""
        self._first = await self._next() or b""
        return self

    async def _next(self) -> bytes | None:
        return await self._run_blocking(next, self._pieces, None)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it. Raises ClientGone, or what making a piece raises."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        piece: bytes | None = self._first
        while piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._next()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
