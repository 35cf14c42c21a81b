"""The index of a process that does not add to it itself: additions and records are made by the one that serves.

So there is one journal, one group of commits and one trail log, however many processes receive objects. What is read is
read where it is wanted. A call is LENGTH (4 bytes, big-endian) and MessagePack, and so is its answer, over a Unix
socket between two processes of one archive; a thread that calls has a socket to itself until it is answered.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from strongroom.archive.model import Added, Event, NewInstance
from strongroom.errors import ConfigError, IntegrityError, Refused, StaleKey, StorageUnavailable, StrongroomError
from strongroom.store.index import Index

log = logging.getLogger(__name__)

MAX_CALL_BYTES: Final = 64 * 2**20
"""An object's indexed attributes (``limits.max_kept_bytes``), its sealed bytes if it is small, and little more."""
_LENGTH_BYTES = 4
_CHUNK = 65536
_ERRORS: Final = {kind.__name__: kind for kind in (ConfigError, IntegrityError, Refused, StaleKey, StorageUnavailable)}
_LOST = "the process that writes the index has ended"


class _Add(msgspec.Struct, frozen=True, array_like=True, tag="add"):
    new: NewInstance
    event: Event


class _Record(msgspec.Struct, frozen=True, array_like=True, tag="record"):
    events: tuple[Event, ...]


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    added: int = 0
    error: str = ""
    words: str = ""


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode  # UIDs and AE titles are kinds of text
_decode_call = msgspec.msgpack.Decoder(_Add | _Record).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class RemoteWriter:
    """What `Index.writer` is where another process writes. Thread-safe."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        """``connect`` gives a new socket to the process that writes; it may raise OSError."""
        self._connect = connect
        self._idle: list[socket.socket] = []

    def add(self, new: NewInstance, event: Event) -> Added:
        """See ``archive.ports.Index``."""
        # The index takes the data key as it is wrapped: what opens the study stays with who seals for it.
        stored = new.stored
        bare = replace(new, stored=replace(stored, key=replace(stored.key, key=b"")))
        return Added(self._call(_Add(bare, event)).added)

    def record(self, *events: Event) -> None:
        """See ``archive.ports.Index``."""
        self._call(_Record(events))

    def _call(self, call: _Add | _Record) -> _Answer:
        payload = _encode(call)
        if len(payload) > MAX_CALL_BYTES:
            raise StorageUnavailable("an object's attributes are larger than what the index takes")
        received = self._exchanged(payload)
        answer = _decode_answer(received)
        if answer.error:
            raise _ERRORS.get(answer.error, StorageUnavailable)(answer.words)
        return answer

    def _exchanged(self, payload: bytes) -> memoryview:
        """The answer to one call. Raises StorageUnavailable if there is none: then nobody knows whether it was done.

        A link whose answer was not read to its end is never used again.
        """
        try:
            link = self._idle.pop()
        except IndexError:
            link = self._connected()
        try:
            _send(link, payload)
            received = _received(link)
        except (OSError, MemoryError):
            received = memoryview(b"")
        if not received:
            link.close()
            raise StorageUnavailable(_LOST)
        self._idle.append(link)
        return received

    def _connected(self) -> socket.socket:
        try:
            return self._connect()
        except OSError:
            raise StorageUnavailable(_LOST) from None

    def close(self) -> None:
        """Close what is idle. No call may be under way."""
        while self._idle:
            self._idle.pop().close()


def serve_writes(index: Index, link: socket.socket) -> None:
    """Do what comes over ``link``, one call after the other, until its other end is closed."""
    try:
        # Nothing of an object stays here while its sender is silent.
        while answer := _answered(index, link):
            _send(link, answer)
    except OSError:
        pass  # the other process died
    finally:
        link.close()


def _answered(index: Index, link: socket.socket) -> bytes:
    """The answer to the next call, empty if there is none."""
    call = _received(link)
    return _encode(_done(index, call)) if call else b""


def _done(index: Index, payload: memoryview) -> _Answer:
    try:
        call = _decode_call(payload)
        if isinstance(call, _Add):
            return _Answer(int(index.add(call.new, call.event)))
        index.record(*call.events)
        return _Answer()
    except Refused as refusal:
        return _Answer(error=Refused.__name__, words=refusal.reason)
    except StrongroomError as error:
        return _Answer(error=type(error).__name__, words=str(error))
    except Exception:
        log.exception("a bug failed what another process had to write")
        return _Answer(error=StorageUnavailable.__name__, words="the index could not be written")


def _send(link: socket.socket, payload: bytes) -> None:
    link.sendall(len(payload).to_bytes(_LENGTH_BYTES, "big") + payload)


def _received(link: socket.socket) -> memoryview:
    """The next payload, empty if the other end was closed or says what is none, or more than one. Raises OSError."""
    data = link.recv(_CHUNK)
    if len(data) < _LENGTH_BYTES:  # nothing, or an end that came with it
        return memoryview(b"")
    length = int.from_bytes(data[:_LENGTH_BYTES], "big")
    if length > MAX_CALL_BYTES:
        return memoryview(b"")
    payload = memoryview(data)[_LENGTH_BYTES:]
    if len(payload) >= length:
        # Nobody speaks twice: what comes behind it would be taken for the answer to something else.
        return payload if len(payload) == length else memoryview(b"")
    whole = bytearray(length)
    whole[: len(payload)] = payload
    rest = memoryview(whole)[len(payload) :]
    while rest:
        count = link.recv_into(rest)
        if not count:
            return memoryview(b"")
        rest = rest[count:]
    return memoryview(whole)
