"""Inflate a deflated data set piece by piece, under caps (DICOM PS3.5 A.5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from strongroom.errors import LimitExceeded, MalformedDataset

_STEP_IN_BYTES: Final = 16384
_STEP_OUT_BYTES: Final = 262144
# Small data sets of mostly zeros inflate at any ratio and hurt nobody: the ratio counts from here on.
_RATIO_FREE_BYTES: Final = 16 << 20


class Inflater:
    """One deflate stream. ``max_bytes`` caps what comes out, ``max_ratio`` how much more that is than went in."""

    __slots__ = ("_behind", "_bytes_in", "_bytes_out", "_max_bytes", "_max_ratio", "_stream")

    def __init__(self, max_bytes: int, max_ratio: int) -> None:
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._bytes_in = self._bytes_out = self._behind = 0

    @property
    def ended(self) -> bool:
        """The stream said that it is complete."""
        return self._stream.eof

    @property
    def has_trailing_bytes(self) -> bool:
        """More follows the stream than the one byte that pads it to an even length."""
        return self._behind > 1

    def inflate(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Yield what ``data`` inflates to, at most 256 KiB at a time.

        Raises MalformedDataset if it is no deflate stream, LimitExceeded for ``max_inflated_bytes`` or
        ``max_inflate_ratio``.
        """
        stream, view = self._stream, memoryview(data)
        for start in range(0, len(view), _STEP_IN_BYTES):
            pending: bytes | memoryview = view[start : start + _STEP_IN_BYTES]
            if stream.eof:
                self._behind += len(pending)
                continue
            self._bytes_in += len(pending)
            full = True
            while (pending or full) and not stream.eof:
                try:
                    out = stream.decompress(pending, _STEP_OUT_BYTES)
                except zlib.error:
                    raise MalformedDataset("not a deflate stream", offset=self._bytes_out) from None
                self._count(len(out))
                yield out
                pending = stream.unconsumed_tail
                full = len(out) == _STEP_OUT_BYTES  # zlib may hold more although all input is taken
            self._behind += len(stream.unused_data)

    def require_end(self) -> None:
        """Raise MalformedDataset if the stream is not complete."""
        if not self._stream.eof:
            raise MalformedDataset("the deflated data set ends early", offset=self._bytes_out)

    def _count(self, more_bytes: int) -> None:
        self._bytes_out += more_bytes
        if self._bytes_out > self._max_bytes:
            raise LimitExceeded("max_inflated_bytes", self._max_bytes)
        if self._bytes_out > _RATIO_FREE_BYTES:
            ratio = self._bytes_out // self._bytes_in
            if ratio > self._max_ratio:
                raise LimitExceeded("max_inflate_ratio", self._max_ratio, ratio)


def deflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``chunks`` as one deflate stream, padded to an even length (PS3.5 A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for chunk in chunks:
        packed = packer.compress(chunk)
        length += len(packed)
        if packed:
            yield packed
    packed = packer.flush()
    yield packed + b"\0" * ((length + len(packed)) & 1)
