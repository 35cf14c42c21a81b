"""What the processes of one `serve` know of each other's numbers: a piece of memory with a place for each.

Nobody waits for anybody: each writes its own place once a second, whoever is asked reads all of them. A place outlives
its process, so that the one that is started in its stead counts on.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from strongroom.metrics.tally import Report

PLACE_BYTES: Final = 256 * 1024
"""Of one process; memory is taken for what is written only."""
_HEAD_BYTES: Final = 8
_AT_ONCE_BYTES: Final = 64 * 1024
"""Read with one call, in which hardly anybody writes: most reports are shorter."""
_TRIES: Final = 5
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Report).decode


class Board:
    """The places of ``count`` processes. Each writes its own; any may read."""

    def __init__(self, fd: int, count: int) -> None:
        """Use inherited memory."""
        self.fd, self.count = fd, count

    @classmethod
    def new(cls, count: int) -> Board:
        """Memory of this process's own, to be inherited by others."""
        fd = os.memfd_create("strongroom-board", os.MFD_CLOEXEC)
        os.ftruncate(fd, count * PLACE_BYTES)
        return cls(fd, count)

    def write(self, place: int, report: Report) -> bool:
        """Put a report into a place; False, with the last one left there, if it is too long."""
        raw = _encode(report)
        if len(raw) > PLACE_BYTES - _HEAD_BYTES:
            return False
        head = len(raw).to_bytes(4, "big") + zlib.crc32(raw).to_bytes(4, "big")
        os.pwrite(self.fd, head + raw, place * PLACE_BYTES)
        return True

    def read(self, place: int) -> Report | None:
        """What is in a place; None if nothing is, or it is just being written, five times over."""
        for _ in range(_TRIES):
            at = place * PLACE_BYTES
            found = os.pread(self.fd, _AT_ONCE_BYTES, at)
            length, checksum = int.from_bytes(found[:4], "big"), int.from_bytes(found[4:_HEAD_BYTES], "big")
            if not 0 < length <= PLACE_BYTES - _HEAD_BYTES:
                return None
            end = _HEAD_BYTES + length
            if end > len(found):
                found += os.pread(self.fd, end - len(found), at + len(found))
            raw = found[_HEAD_BYTES:end]
            if zlib.crc32(raw) == checksum:
                return _decode(raw)
        return None

    def reports(self) -> Iterator[Report]:
        """What every process has said last."""
        for place in range(self.count):
            report = self.read(place)
            if report is not None:
                yield report

    def close(self) -> None:
        """Let go of the memory. Safe to call twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
