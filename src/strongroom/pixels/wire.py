"""Messages between the serving process and its pixel workers, over one socket pair.

A message is one byte of kind, four of length (little endian), and that many bytes. Every length is checked against the
kind's cap before memory is taken for it: neither side trusts the other, since a worker may be running somebody's code.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final

import msgspec

from strongroom.errors import CodecFailed
from strongroom.pixels.rendering import Rendering

CHUNK_BYTES: Final = 262_144
"""Of one piece of data, either way."""

_HEADER: Final = Struct("<BL")
HEADER_BYTES: Final = _HEADER.size
_RANGE: Final = Struct("<QL")
_SHOWN: Final = Struct("<LL")


class Kind(IntEnum):
    """What a message is. The first three go to the worker."""

    LIMITS = 1
    JOB = 2
    BYTES = 3
    READY = 11
    READ = 12
    DATA = 13
    FRAME_END = 14
    DONE = 15
    FAILED = 16


MAX_BYTES: Final = {
    Kind.LIMITS: 4096,
    Kind.JOB: 65_536,
    Kind.BYTES: CHUNK_BYTES,
    Kind.READY: 0,
    Kind.READ: _RANGE.size,
    Kind.DATA: CHUNK_BYTES,
    Kind.FRAME_END: 0,
    Kind.DONE: 8,
    Kind.FAILED: 1024,
}


class PixelLimits(msgspec.Struct, frozen=True):
    """Caps of one pool of workers and of one job; times in seconds."""

    max_pixel_workers: int = 2
    max_pixel_jobs_waiting: int = 64
    pixel_wait_s: float = 20.0
    max_pixel_pause_s: float = 5.0
    """That a worker waits for whoever reads what it makes, if others wait for a worker."""
    pixel_worker_bytes: int = 1 << 30
    """On top of what a worker takes once it has started."""
    pixel_frame_cpu_s: int = 20
    pixel_step_timeout_s: float = 60.0
    """Without any word from the worker."""
    max_frame_bytes: int = 256 << 20
    """Of one frame, encoded or decoded."""
    max_pixel_fragments: int = 1 << 20
    max_rendered_pixels: int = 16 << 20
    """Of one rendered frame."""
    max_rendered_frames: int = 2000
    max_rendered_bytes: int = 64 << 20
    max_header_bytes: int = 64 << 20
    """Of the attributes of one object that say how it is shown."""


class Job(msgspec.Struct, frozen=True):
    """What a worker is to do with the object at hand, of ``size`` bytes in transfer syntax ``from_uid``.

    With a ``rendering`` it renders; else it makes ``frames`` as ``to_uid``, or the whole data set if there are none.
    """

    from_uid: str
    size: int
    to_uid: str = ""
    frames: tuple[int, ...] = ()
    rendering: Rendering | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a job could not be done, in the worker's words: no value of the data set, only kinds and sizes."""

    kind: str
    reason: str
    limit: int = 0


Receive = Callable[[int], bytes]
"""``receive(n)`` returns exactly n bytes."""


def pack(kind: Kind, body: bytes | memoryview = b"") -> bytes:
    """Return a message."""
    assert len(body) <= MAX_BYTES[kind], f"{kind.name} of {len(body)} bytes"
    return _HEADER.pack(kind, len(body)) + body


def unpack(receive: Receive) -> tuple[Kind, bytes]:
    """Return the next message. Raises CodecFailed if what arrives is none, and what ``receive`` raises."""
    number, length = _HEADER.unpack(receive(HEADER_BYTES))
    try:
        kind = Kind(number)
    except ValueError:
        raise CodecFailed("a pixel worker said what it may not") from None
    if length > MAX_BYTES[kind]:
        raise CodecFailed("a pixel worker said more than it may")
    return kind, receive(length) if length else b""


def pack_range(offset: int, length: int) -> bytes:
    """Return the body of READ."""
    return _RANGE.pack(offset, length)


def pack_shown(frame: int, frame_count: int) -> bytes:
    """Return the body of DONE after a rendering."""
    return _SHOWN.pack(frame, frame_count)


def unpack_shown(body: bytes) -> tuple[int, int]:
    """Return the first frame shown, and how many the object has. Raises CodecFailed."""
    if len(body) != _SHOWN.size:
        raise CodecFailed("a pixel worker said what it may not")
    frame, frame_count = _SHOWN.unpack(body)
    return frame, frame_count


def unpack_range(body: bytes) -> tuple[int, int]:
    """Return offset and length that a READ asks for. Raises CodecFailed."""
    if len(body) != _RANGE.size:
        raise CodecFailed("a pixel worker said what it may not")
    offset, length = _RANGE.unpack(body)
    if length > CHUNK_BYTES:
        raise CodecFailed("a pixel worker asked for more than it may")
    return offset, length
