"""The serving side: a bounded number of worker processes, started when needed and replaced when one fails.

No codec and no array is ever in this process. A worker gets an empty environment, no standard error, and one socket.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from strongroom.errors import Busy, CodecFailed, LimitExceeded, MalformedRequest, NotFound, NotRepresentable
from strongroom.pixels.rendering import Rendered, Rendering
from strongroom.pixels.syntaxes import CODECS
from strongroom.pixels.wire import (
    CHUNK_BYTES,
    Failure,
    Job,
    Kind,
    PixelLimits,
    pack,
    unpack,
    unpack_range,
    unpack_shown,
)

log = logging.getLogger(__name__)

JOBS_PER_WORKER: Final = 500
"""Then it is replaced: what little a codec leaks never adds up."""

START_S: Final = 30.0

PAUSES_CHECKED_EVERY_S: Final = 0.25
"""By whoever waits for a worker."""


class ObjectBytes(Protocol):
    """The plain data set of one stored object."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``, fewer only at the end."""


class _Worker:
    """One worker process. Belongs to one thread at a time."""

    def __init__(self, limits: PixelLimits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-m", "strongroom.pixels.worker"],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._is_ready = False
        self.jobs = 0
        self.paused_at = 0.0
        """Since when it waits for whoever reads what it made, on the monotonic clock; 0 while it does not."""
        self.is_taken_away = False
        self.send(Kind.LIMITS, msgspec.json.encode(limits))

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def await_ready(self) -> None:
        """Wait until a new worker has locked itself in. Raises CodecFailed."""
        if self._is_ready:
            return
        kind, _ = self.receive(START_S)
        if kind is not Kind.READY:
            raise CodecFailed("a pixel worker did not start")
        self._is_ready = True

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Send a message. Raises CodecFailed if the worker does not take it."""
        self._socket.settimeout(self._limits.pixel_step_timeout_s)
        try:
            self._socket.sendall(pack(kind, body))
        except OSError:
            raise CodecFailed(self._how_it_ended()) from None

    def receive(self, timeout_s: float) -> tuple[Kind, bytes]:
        """Return its next message. Raises CodecFailed if it ended, or says nothing for ``timeout_s``."""
        deadline = time.monotonic() + timeout_s

        def receive_exactly(length: int) -> bytes:
            raw = bytearray()
            while len(raw) < length:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CodecFailed("a pixel worker took too long")
                self._socket.settimeout(left)
                try:
                    part = self._socket.recv(length - len(raw))
                except TimeoutError:
                    raise CodecFailed("a pixel worker took too long") from None
                except OSError:
                    part = b""
                if not part:
                    raise CodecFailed(self._how_it_ended())
                raw += part
            return bytes(raw)

        return unpack(receive_exactly)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "a pixel worker closed its line"
        return f"a pixel worker ended with {f'signal {-code}' if code < 0 else f'status {code}'}"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class Pixels:
    """The pool. Thread-safe; every method may block up to its limits."""

    def __init__(self, limits: PixelLimits | None = None) -> None:
        self.limits = limits or PixelLimits()
        self._turns = threading.Semaphore(self.limits.max_pixel_workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._at_work: list[_Worker] = []
        self._waiting = 0
        self._is_closed = False

    def prestart(self) -> None:
        """Start a worker now, so that the first caller does not wait for it; does not wait itself."""
        with self._lock:
            if self._is_closed or self._idle:
                return
        worker = _Worker(self.limits)
        with self._lock:
            if not self._is_closed:
                self._idle.append(worker)
                return
        worker.close()

    def close(self) -> None:
        """End the idle workers; those at work end with their jobs."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    def transcode(self, source: ObjectBytes, from_uid: str, to_uid: str) -> Iterator[bytes]:
        """Yield the data set of ``source`` in another transfer syntax (PS3.5 annex A), 256 KiB at most at a time.

        The values of the pixels stay as they are unless ``to_uid`` is lossy. Raises NotRepresentable, CodecFailed,
        Busy, LimitExceeded; after the first chunk only if a later frame does not decode.
        """
        if from_uid == to_uid or from_uid in _contained(to_uid):
            yield from _copied(source)
            return
        _require_codecs(from_uid, to_uid)
        for kind, body in self._answers(source, Job(from_uid, source.size, to_uid)):
            if kind is Kind.DATA:
                yield body

    def frames(
        self, source: ObjectBytes, from_uid: str, to_uid: str, numbers: Sequence[int]
    ) -> Generator[bytes, None, None]:
        """Yield the frames of these ``numbers``, from 1, each whole as ``to_uid`` has it. Raises as ``transcode``."""
        _require_codecs(from_uid, to_uid)
        whole: list[bytes] = []
        held, count, most = 0, 0, self.limits.max_frame_bytes + CHUNK_BYTES
        for kind, body in self._answers(source, Job(from_uid, source.size, to_uid, tuple(numbers))):
            if kind is Kind.DATA:
                held += len(body)
                if held > most:
                    raise CodecFailed("a pixel worker made a frame larger than it may")
                whole.append(body)
            elif kind is Kind.FRAME_END:
                yield b"".join(whole)
                whole, held, count = [], 0, count + 1
        if count != len(numbers):
            raise CodecFailed("a pixel worker made another number of frames")

    def render(self, source: ObjectBytes, from_uid: str, rendering: Rendering) -> Rendered:
        """Return the image, animation or video. Raises as ``transcode`` does."""
        _require_codecs(from_uid)
        parts: list[bytes] = []
        held = 0
        for kind, body in self._answers(source, Job(from_uid, source.size, rendering=rendering)):
            if kind is Kind.DATA:
                held += len(body)
                if held > self.limits.max_rendered_bytes:
                    raise LimitExceeded("max_rendered_bytes", self.limits.max_rendered_bytes)
                parts.append(body)
            elif kind is Kind.DONE:
                shown = unpack_shown(body)
        return Rendered(rendering.media_type, b"".join(parts), *shown)

    def _answers(self, source: ObjectBytes, job: Job) -> Iterator[tuple[Kind, bytes]]:
        """Yield what a worker makes of a job. The worker is free again when this ends, however it ends."""
        worker = self._take()
        is_sound = False
        try:
            worker.await_ready()
            worker.send(Kind.JOB, msgspec.json.encode(job))
            while True:
                kind, body = worker.receive(self.limits.pixel_step_timeout_s)
                if kind in (Kind.DATA, Kind.FRAME_END):
                    self._pause(worker)
                    yield kind, body
                    self._resume(worker)
                elif kind is Kind.READ:
                    offset, length = unpack_range(body)
                    worker.send(Kind.BYTES, bytes(source.read(offset, length)) if offset < source.size else b"")
                elif kind is Kind.DONE:
                    is_sound = True
                    yield kind, body
                    return
                elif kind is Kind.FAILED:
                    is_sound = True
                    raise _error_of(body)
                else:
                    raise CodecFailed("a pixel worker said what it may not")
        except CodecFailed as error:
            log.warning("%s", error)
            raise
        finally:
            self._give_back(worker, is_sound=is_sound)

    def _pause(self, worker: _Worker) -> None:
        worker.paused_at = time.monotonic()

    def _resume(self, worker: _Worker) -> None:
        with self._lock:
            worker.paused_at = 0.0
            if worker.is_taken_away:
                raise Busy("what is read too slowly gives way to others")

    def _take_away(self) -> bool:
        """Take the worker that has waited longest for its reader, if that is too long; whether there is one.

        The turn is the caller's then. Whoever had it finds out when it goes on.
        """
        with self._lock:
            since = time.monotonic() - self.limits.max_pixel_pause_s
            paused = [each for each in self._at_work if 0 < each.paused_at < since and not each.is_taken_away]
            if not paused:
                return False
            worker = min(paused, key=lambda each: each.paused_at)
            worker.is_taken_away = True
        worker.close()
        return True

    def _await_turn(self) -> None:
        deadline = time.monotonic() + self.limits.pixel_wait_s
        while not self._turns.acquire(timeout=min(PAUSES_CHECKED_EVERY_S, max(0.0, deadline - time.monotonic()))):
            if self._take_away():
                return
            if time.monotonic() >= deadline:
                raise Busy("no pixel worker became free in time")

    def _take(self) -> _Worker:
        if not self._turns.acquire(blocking=False):
            with self._lock:
                if self._waiting >= self.limits.max_pixel_jobs_waiting:
                    raise Busy("too many images wait to be decoded")
                self._waiting += 1
            try:
                self._await_turn()
            finally:
                with self._lock:
                    self._waiting -= 1
        try:
            with self._lock:
                if self._is_closed:
                    raise Busy("the service is ending")
                idle = list(reversed(self._idle))
                worker = next((each for each in idle if each.is_alive), None)
                self._idle = [each for each in self._idle if each.is_alive and each is not worker]
            for each in idle:
                if not each.is_alive:
                    each.close()
            worker = worker or _Worker(self.limits)
            with self._lock:
                self._at_work.append(worker)
            return worker
        except BaseException:
            self._turns.release()
            raise

    def _give_back(self, worker: _Worker, *, is_sound: bool) -> None:
        worker.jobs += 1
        with self._lock:
            self._at_work.remove(worker)
            if worker.is_taken_away:  # and the turn with it
                return
            is_kept = is_sound and not self._is_closed and worker.jobs < JOBS_PER_WORKER
            if is_kept:
                self._idle.append(worker)
        if not is_kept:
            worker.close()
        self._turns.release()
        if not is_kept:
            with suppress(OSError):
                self.prestart()


def _contained(to_uid: str) -> tuple[str, ...]:
    codec = CODECS.get(to_uid)
    return codec.contains if codec else ()


def _copied(source: ObjectBytes) -> Iterator[bytes]:
    for offset in range(0, source.size, CHUNK_BYTES):
        yield source.read(offset, CHUNK_BYTES)


def _require_codecs(from_uid: str, to_uid: str = "") -> None:
    source, target = CODECS.get(from_uid), CODECS.get(to_uid)
    if source is None or not source.decodes:
        raise NotRepresentable("there is no decoder for the transfer syntax that the object is stored in")
    if to_uid and (target is None or not target.encodes):
        raise NotRepresentable("there is no encoder for the transfer syntax asked for")


def _error_of(body: bytes) -> Exception:
    try:
        failure = msgspec.json.decode(body, type=Failure)
    except msgspec.DecodeError:
        return CodecFailed("a pixel worker said what it may not")
    if failure.kind == "limit":
        return LimitExceeded(failure.reason, failure.limit)
    if failure.kind == "malformed-request":
        return MalformedRequest(failure.reason)
    if failure.kind == "not-found":
        return NotFound(failure.reason)
    if failure.kind == "not-representable":
        return NotRepresentable(failure.reason)
    return CodecFailed(failure.reason)
