"""Inflate a deflated data set under caps; what is wrong with it is said, not raised (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from strongroom.screen.limits import ScreenLimits

_STEP_IN_BYTES: Final = 16_384
_STEP_OUT_BYTES: Final = 262_144


class Inflating:
    """One deflate stream. ``problem`` is the rule it broke, with ``what`` in words; nothing comes out any more then."""

    def __init__(self, limits: ScreenLimits) -> None:
        self.problem = ""
        self.what = ""
        self.bytes_in = self.bytes_out = 0
        self.behind_from: int | None = None
        """Where in what was fed the stream had ended."""
        self._limits = limits
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        """The stream said that it is complete, or it is of no further use."""
        return self._stream.eof or bool(self.problem)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` inflates to, at most 256 KiB at a time."""
        for start in range(0, len(data), _STEP_IN_BYTES):
            if self.ended:
                return
            pending = data[start : start + _STEP_IN_BYTES]
            self.bytes_in += len(pending)
            while not self.ended:
                try:
                    piece = self._stream.decompress(pending, _STEP_OUT_BYTES)
                except zlib.error:
                    self._fail("SR-STR-014", f"the deflate stream is broken near byte {self.bytes_in} of it")
                    break
                pending = self._stream.unconsumed_tail
                self.bytes_out += len(piece)
                self._check()
                if piece:
                    yield piece
                if not pending and len(piece) < _STEP_OUT_BYTES:
                    break
            if self._stream.eof and self.behind_from is None:
                self.behind_from = self.bytes_in - len(self._stream.unused_data)

    def _check(self) -> None:
        limits = self._limits
        too_much = self.bytes_out > limits.max_inflated_bytes
        free = self.bytes_out <= limits.inflate_free_bytes
        if too_much or (not free and self.bytes_out > limits.max_inflate_ratio * self.bytes_in):
            self._fail("SR-STR-013", f"{self.bytes_in} bytes inflate to {self.bytes_out} or more")

    def _fail(self, rule: str, what: str) -> None:
        self.problem, self.what = rule, what
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
