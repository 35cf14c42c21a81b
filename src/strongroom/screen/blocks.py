"""One stream of bytes in blocks: walked, searched and judged. A file is one; what it inflates to is another."""

from __future__ import annotations

from typing import Final

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.screen.findings import Confidence, Place, Severity
from strongroom.screen.judge import Judge
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.matches import Match
from strongroom.screen.remembering import RememberingJudge, RememberingWalker
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.search import LOOK_AHEAD_BYTES, LOOK_BACK_BYTES, Search
from strongroom.screen.text import TEXT_VRS
from strongroom.screen.verdict import ENCAPSULATED_DOCUMENT, Verdict, severity_of
from strongroom.screen.walk import Located, Walker

BLOCK_BYTES: Final = 1 << 20
CARRY_BYTES: Final = 73_728
"""What is kept of the block before: an end record of ZIP with the longest comment is found in the last one."""

_MAX_PARTS: Final = 512

_SAID_BY_TEXT_RULES: Final = frozenset({"SR-HTML-001", "SR-HTML-002", "SR-SCRIPT-001"})
_WITHIN_DOCUMENTS: Final = frozenset({"SR-HTML-001", "SR-PDF-001", "SR-RTF-001"})
_ARCHIVES: Final = frozenset({"SR-ZIP-001", "SR-ZIP-002"})


class Blocks:
    """Blocks are cut at fixed places of the stream, so that any chunking gives the same findings. Not thread-safe."""

    def __init__(
        self,
        limits: ScreenLimits,
        verdict: Verdict,
        syntax: TransferSyntax | None,
        *,
        inflated: bool = False,
        memory: ScreenMemory | None = None,
    ) -> None:
        self.judge: Judge
        self.walker: Walker
        if memory is None or syntax is None or syntax.deflated:
            self.judge = Judge(limits, verdict, syntax, inflated=inflated)
            self.walker = Walker(self.judge, limits, syntax)
        else:
            self.judge = judge = RememberingJudge(limits, verdict, syntax)
            self.walker = RememberingWalker(judge, limits, syntax, memory)
        self.data = b""
        self.base = 0
        self.size = 0
        self.search_until: int | None = None
        """From there on the bytes are compressed, and searched when they are inflated."""
        self._inflated = inflated
        self._verdict = verdict
        self._parts: list[bytes] = []
        self._pending_bytes = 0
        self._search = Search(memory.scratch if memory is not None else None)
        self._searched = 0
        self._archives: set[int] = set()

    def take(self, data: memoryview) -> int:
        """Take of ``data`` what the block at hand has room for; returns how much that is."""
        part = data[: BLOCK_BYTES - self._pending_bytes]
        whole = data.obj
        self._parts.append(whole if type(whole) is bytes and len(whole) == len(part) else bytes(part))
        if len(self._parts) == _MAX_PARTS:  # many small ones would take more memory than their bytes
            self._parts = [b"".join(self._parts)]
        self._pending_bytes += len(part)
        self.size += len(part)
        return len(part)

    @property
    def is_full(self) -> bool:
        """A block is complete and waits for ``begin``."""
        return self._pending_bytes == BLOCK_BYTES

    def begin(self) -> None:
        """Put the next block, with the end of the one before, at hand as ``data``."""
        carry = self.data[-CARRY_BYTES:]
        self.base = self.size - self._pending_bytes - len(carry)
        self.data = b"".join([carry, *self._parts]) if carry or len(self._parts) != 1 else self._parts[0]
        self._parts.clear()
        self._pending_bytes = 0

    def process(self, *, is_last: bool) -> None:
        """Walk, search and judge what is at hand."""
        data, base = self.data, self.base
        self.judge.block = (data, base)
        self.walker.walk(data, base)
        if is_last:
            self.walker.finish(base + len(data))
        self.judge.captures.feed(data, base)
        stop = base + len(data) - (0 if is_last else LOOK_AHEAD_BYTES)
        if self.search_until is not None:
            stop = min(stop, self.search_until)
        if stop > self._searched:
            for offset, match in self._search.block(data, base, self._searched - base, stop - base):
                self._found(offset, match)
            self._searched = stop
        self.judge.end_of_buffer()
        self.walker.forget(min(self._searched, base + len(data)) - LOOK_BACK_BYTES)

    @property
    def begun_at(self) -> int:
        """Where the bytes begin that no block has had yet."""
        return self.size - self._pending_bytes

    def search_from(self, offset: int) -> None:
        """Search on from ``offset``: what lies before it is compressed."""
        self._searched = max(self._searched, offset)

    def finish(self) -> None:
        """Declare the end."""
        self.judge.finish()
        if self._search.gave_up_at is not None:
            place = Place("file", self._search.gave_up_at, 0, self._inflated)
            what = "more lures than are followed"
            # What is behind them was not looked at, and no image has so many: they may well be there to hide it.
            self._verdict.add("SR-LIM-001", place, what, Confidence.HIGH, Severity.HIGH)

    def report(self, offset: int, match: Match, at: Located | None = None) -> None:
        """Report a payload that begins at ``offset``."""
        at = at or self.walker.locate(offset)
        length = match.size_bytes or self.judge.rest_of(at, offset) or self.walker.rest_of(at, offset)
        place = Place(self.judge.path(at), offset, length, self._inflated)
        self._verdict.add(match.rule, place, match.what, match.confidence, severity_of(match, at.label, at.tag))

    def _found(self, offset: int, match: Match) -> None:
        at = self.walker.locate(offset)
        if at.vr in TEXT_VRS and match.rule in _SAID_BY_TEXT_RULES:
            return
        if at.tag == ENCAPSULATED_DOCUMENT and (offset == at.offset or match.rule in _WITHIN_DOCUMENTS):
            return
        if match.rule in _ARCHIVES:  # each member has a header: one of them is enough for each place
            if at.offset in self._archives:
                return
            self._archives.add(at.offset)
        self.report(offset, match, at)
