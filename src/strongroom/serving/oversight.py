"""How people watch over a served archive: ``archive.oversight`` on an open archive, in a worker of the HTTPS service.

Each of these asks for the right, and says in the trail who looked at what before anybody sees it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from strongroom.admin import receipts, trailsearch
from strongroom.app import Archive
from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.oversight import Form, Proof, TrailEntry, TrailPage, TrailQuery
from strongroom.errors import Busy
from strongroom.types import Principal, Right

BUSY_S: Final = 5
"""When to ask again for a proof: it reads all leaves before it once."""


class Oversight:
    """The adapter of ``archive.oversight.Oversight``. Thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._proving = threading.Lock()

    # -- the trail

    def trail(self, principal: Principal, query: TrailQuery, older: str) -> TrailPage:
        """As the port."""
        require(principal, Right.AUDIT)
        page = trailsearch.search(self._archive, query, older)
        more: dict[str, Detail] = {"what": "search", "by": query.asked, "found": len(page.entries)}
        self._record(Action.TRAIL_READ, principal, more)
        return page

    def record(self, principal: Principal, log: str, seq: int) -> TrailEntry:
        """As the port."""
        require(principal, Right.AUDIT)
        entry = trailsearch.one(self._archive, log, seq)
        self._record(Action.TRAIL_READ, principal, {"what": "record", "log": log, "seq": seq})
        return entry

    def proof(self, principal: Principal, log: str, seq: int) -> Proof:
        """As the port."""
        return receipts.proof_of(self.receipt(principal, log, seq))

    def receipt(self, principal: Principal, log: str, seq: int) -> bytes:
        """As the port."""
        require(principal, Right.AUDIT)
        if not self._proving.acquire(blocking=False):
            raise Busy("another record is being proved", BUSY_S)
        try:
            return receipts.make_receipt(self._archive, receipts.Place(log, seq), principal)
        finally:
            self._proving.release()

    def all_of_trail(self, principal: Principal, query: TrailQuery, form: Form) -> Iterator[tuple[TrailEntry, ...]]:
        """As the port."""
        require(principal, Right.AUDIT)
        self._record(Action.TRAIL_EXPORT, principal, {"format": form, "by": query.asked})
        return trailsearch.everything(self._archive, query)

    def _record(self, action: Action, principal: Principal, details: dict[str, Detail]) -> None:
        self._archive.index.record(Event(action, Outcome.SUCCESS, principal, details))
