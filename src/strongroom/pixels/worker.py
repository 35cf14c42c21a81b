"""The worker process: ``python -I -m strongroom.pixels.worker`` with one socket as standard input.

It is told its limits, loads what it will need, locks itself in, and does one job after the other. What it says of a
failure is a kind and a few words of its own: never a value of the data set, and never what a codec printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import msgspec

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, vr_of
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.stream import Read, inflated
from strongroom.dicom.text import decode
from strongroom.errors import LimitExceeded, MalformedDataset, MalformedRequest, NotFound, NotRepresentable, Refused
from strongroom.pixels import codecs, drawing
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.image import StoredImage
from strongroom.pixels.sandbox import allow_cpu, leave, lock_in
from strongroom.pixels.transcoding import frames, transcode
from strongroom.pixels.wire import CHUNK_BYTES, Failure, Job, Kind, PixelLimits, pack, pack_range, pack_shown, unpack

LINE: Final = 0
"""The descriptor of the socket."""
_WINDOW_BYTES: Final = 4096
_CHARACTER_SETS: Final = (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 87, 159, 149, 58)


class Gone(Exception):
    """The serving process closed its end."""


def receive(length: int) -> bytes:
    """Return exactly ``length`` bytes. Raises Gone."""
    raw = bytearray()
    while len(raw) < length:
        part = os.read(LINE, length - len(raw))
        if not part:
            raise Gone
        raw += part
    return bytes(raw)


def send(kind: Kind, body: bytes | memoryview = b"") -> None:
    """Send a message."""
    view = memoryview(pack(kind, body))
    while view:
        view = view[os.write(LINE, view) :]


def send_data(raw: bytes) -> None:
    """Send bytes of an answer, in messages of the size that they may have."""
    view = memoryview(raw)
    for start in range(0, len(view), CHUNK_BYTES):
        send(Kind.DATA, view[start : start + CHUNK_BYTES])


class RemoteBytes:
    """The object at hand, as its owner lets it be read. What is read in small pieces comes a window at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._base = 0
        self._window = b""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``, fewer only at the end or over the size of a message."""
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        start = offset - self._base
        if start >= 0 and start + length <= len(self._window):
            return self._window[start : start + length]
        if length >= _WINDOW_BYTES:
            return self._fetch(offset, length)
        self._base, self._window = offset, self._fetch(offset, min(_WINDOW_BYTES, self._size - offset))
        return self._window[:length]

    def _fetch(self, offset: int, length: int) -> bytes:
        parts = []
        while length:
            send(Kind.READ, pack_range(offset, min(length, CHUNK_BYTES)))
            kind, part = unpack(receive)
            if kind is not Kind.BYTES or not part:
                raise MalformedDataset("the object ends before its time", offset=offset)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def opened(job: Job, limits: PixelLimits) -> tuple[StoredImage, Read]:
    """Return the image of a job, inflated first if it is deflated, and how its bytes are read."""
    remote = RemoteBytes(job.size)
    read, size, from_uid = remote.read, job.size, job.from_uid
    if TRANSFER_SYNTAXES[from_uid].deflated:
        chunks = (remote.read(at, CHUNK_BYTES) for at in range(0, size, CHUNK_BYTES))
        whole = _inflated(chunks, limits)
        read, size, from_uid = (lambda offset, length: whole[offset : offset + length]), len(whole), uid.EXPLICIT
    return StoredImage(read, size, from_uid, limits), read


def _inflated(chunks: Iterator[bytes], limits: PixelLimits) -> bytes:
    held = bytearray()
    for chunk in inflated(chunks, ScanLimits(max_inflated_bytes=limits.max_frame_bytes)):
        held += chunk
    return bytes(held)


def work(job: Job, limits: PixelLimits) -> bytes:
    """Do one job; returns what is said at its end."""
    allow_cpu(limits.pixel_frame_cpu_s)
    image, read = opened(job, limits)
    if job.rendering is not None:
        send_data(drawing.render(image, job.rendering, limits))
        return pack_shown(drawing.numbers_of(image, job.rendering)[0], image.frame_count)
    if job.frames:
        for frame in frames(image, job.to_uid, job.frames):
            send_data(frame)
            send(Kind.FRAME_END)
    else:
        for piece in transcode(image, read, job.to_uid):
            send_data(piece)
    return b""


def failure_of(error: Exception) -> Failure:
    """What is said of an error."""
    if isinstance(error, LimitExceeded):
        return Failure("limit", error.limit_name, error.limit)
    if isinstance(error, NotRepresentable):
        return Failure("not-representable", error.reason)
    if isinstance(error, MalformedRequest):
        return Failure("malformed-request", str(error))
    if isinstance(error, NotFound):
        return Failure("not-found", str(error))
    if isinstance(error, MalformedDataset):
        return Failure("not-representable", f"the pixel data does not decode: {error.what}")
    if isinstance(error, Refused):
        return Failure("not-representable", str(error))
    if isinstance(error, MemoryError):
        return Failure("codec", "a frame takes more memory than it may")
    return Failure("codec", f"an unexpected {type(error).__name__}")


def warm_up() -> None:
    """Load everything that a job may want, while there are still files to load it from."""
    vr_of(0x00100010)
    for charset in [("GB18030",), ("GBK",), *((f"ISO 2022 IR {number}",) for number in _CHARACTER_SETS)]:
        decode(b"\x1b$B\xe0\xe0", charset, b"LO")
    codecs.warm_up()
    drawing.warm_up()


def main() -> None:
    """Serve jobs until the line is closed."""
    kind, body = unpack(receive)
    assert kind is Kind.LIMITS
    limits = msgspec.json.decode(body, type=PixelLimits)
    warm_up()
    lock_in(limits.pixel_worker_bytes)
    send(Kind.READY)
    while True:
        kind, body = unpack(receive)
        assert kind is Kind.JOB
        job = msgspec.json.decode(body, type=Job)
        try:
            last = work(job, limits)
        except Gone:
            raise
        except Exception as error:
            send(Kind.FAILED, msgspec.json.encode(failure_of(error)))
        else:
            send(Kind.DONE, last)


if __name__ == "__main__":
    try:
        main()
    except Gone:
        leave()
