"""Objects that another process takes in: what `archive.ingest.Ingest` is where HTTPS workers store.

To screen, hash and seal what somebody uploads takes an interpreter for longer than to receive it, and readers wait for
the same one. So a worker that answers requests passes the bytes on to one that serves associations, which stores them
as it does what comes over DIMSE: half as long for an upload, and no thread of it is in a reader's way.

A message is KIND (1 byte), LENGTH (4 bytes, big-endian) and so many bytes, over a Unix socket between two processes of
one archive. COMMIT and REFUSE are answered: LENGTH and MessagePack. One object at a time has a socket to itself.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from strongroom.archive.ingest import Arrival, Incoming, Memory, Verdict
from strongroom.archive.model import Action
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import (
    Denied,
    IntegrityError,
    LimitExceeded,
    MalformedDataset,
    NotFound,
    Quarantined,
    Refused,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.types import Principal, Uid

log = logging.getLogger(__name__)

BEGIN, DATA, COMMIT, REFUSE, ABORT, END = range(6)
MAX_WORDS_BYTES: Final = 16 * 2**20
"""Of any message but DATA: who stores may have a scope of many parts."""
BUFFER_BYTES: Final = 256 * 1024
"""Of an object, taken at a time."""
MAX_IDLE: Final = 16
"""Sockets that wait for the next object."""
IDLE_S: Final = 10.0
"""After so long nothing is kept that earlier objects have taught."""
_HEAD: Final = struct.Struct(">BI")
_LENGTH: Final = struct.Struct(">I")
_LOST: Final = "the process that takes objects in has ended"


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    principal: Principal
    action: str
    study_uid: str


class _Became(msgspec.Struct, frozen=True, array_like=True):
    verdict: str = ""
    study_uid: str = ""
    series_uid: str = ""
    error: str = ""
    words: tuple[str | int | None, ...] = ()


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode_begun = msgspec.msgpack.Decoder(_Begun).decode
_decode_became = msgspec.msgpack.Decoder(_Became).decode


def _malformed(what: str, tag: int | None, offset: int | None) -> MalformedDataset:
    return MalformedDataset(what, tag=tag, offset=offset)


# What each says of itself, and what makes it of that again; any other error is told by its words, as the last of these
# that it is.
_TOLD: Final[dict[type[StrongroomError], tuple[Callable[[Any], tuple[Any, ...]], Callable[..., StrongroomError]]]] = {
    StrongroomError: (lambda error: (str(error),), StrongroomError),
    StorageUnavailable: (lambda error: (str(error),), StorageUnavailable),
    IntegrityError: (lambda error: (str(error),), IntegrityError),
    NotFound: (lambda error: (str(error),), NotFound),
    Denied: (lambda error: (error.reason,), Denied),
    LimitExceeded: (lambda error: (error.limit_name, error.limit, error.found), LimitExceeded),
    MalformedDataset: (lambda error: (error.what, error.tag, error.offset), _malformed),
    Refused: (lambda error: (error.reason, str(error)), Refused),
    Quarantined: (lambda error: (error.reason, error.quarantine_id), Quarantined),
}
_MADE: Final = {kind.__name__: make for kind, (_, make) in _TOLD.items()}


def _told(error: StrongroomError) -> _Became:
    kind = [each for each in _TOLD if isinstance(error, each)][-1]
    return _Became(error=kind.__name__, words=_TOLD[kind][0](error))


class FarIngest:
    """`archive.ingest.Incoming` of an object that another process takes in. Owned by one thread."""

    def __init__(self, store: FarStore, arrival: Arrival) -> None:
        """Raises StorageUnavailable."""
        self.memory = arrival.memory
        self.study_uid = self.series_uid = ""
        self._store, self._arrival = store, arrival
        syntax, principal = arrival.transfer_syntax.uid, arrival.principal
        begun = _Begun(arrival.sop_class, arrival.sop_uid, syntax, principal, arrival.action, arrival.study_uid)
        self._link: socket.socket | None = store.take()
        self._say(BEGIN, _encode(begun))

    def write(self, data: bytes | memoryview) -> None:
        """Pass the next bytes on; what is wrong with them ``commit`` says. Raises StorageUnavailable."""
        self._say(DATA, data)

    def commit(self) -> Verdict:
        """As ``Ingest.commit``, and raises what its ``write`` does."""
        became = self._asked(COMMIT)
        self.study_uid, self.series_uid = became.study_uid, became.series_uid
        _raise_error(became)
        return Verdict(became.verdict)

    def refuse(self, reason: str) -> None:
        """As ``Ingest.refuse``; if the other process cannot, this one records what it knows."""
        with suppress(StorageUnavailable):
            if not self._asked(REFUSE, reason.encode()).error:
                return
        self._store.new_ingest_here(self._arrival).refuse(reason)

    def abort(self) -> None:
        """Forget the object. Safe at any time, also after ``commit``."""
        if self._link is not None:
            with suppress(StorageUnavailable):
                self._say(ABORT)

    def close(self) -> None:
        """The same, and nothing more is said of it."""
        if self._link is not None:
            with suppress(StorageUnavailable):
                self._say(END)
        link, self._link = self._link, None
        if link is not None:
            self._store.give_back(link)

    def _say(self, kind: int, data: bytes | memoryview = b"") -> None:
        if self._link is None:
            raise StorageUnavailable(_LOST)
        head = _HEAD.pack(kind, len(data))
        try:
            sent = self._link.sendmsg((head, data))
            if sent < len(head):
                self._link.sendall(head[sent:])
            self._link.sendall(memoryview(data)[max(0, sent - len(head)) :])
        except OSError:
            raise self._lost() from None

    def _asked(self, kind: int, data: bytes = b"") -> _Became:
        """The answer. Raises StorageUnavailable if there is none: then nobody knows whether it was done."""
        self._say(kind, data)
        assert self._link is not None
        try:
            (length,) = _LENGTH.unpack(_received(self._link, _LENGTH.size))
            return _decode_became(_received(self._link, min(length, MAX_WORDS_BYTES)))
        except (OSError, msgspec.MsgspecError):
            raise self._lost() from None

    def _lost(self) -> StorageUnavailable:
        """What is to be raised. A link on which something went wrong is never used again."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        return StorageUnavailable(_LOST)


def _raise_error(became: _Became) -> None:
    if became.error:
        raise _MADE.get(became.error, StorageUnavailable)(*became.words)


class FarStore:
    """Where the HTTPS requests of one process have objects taken in. Thread-safe."""

    def __init__(self, connect: Callable[[], socket.socket], new_ingest_here: Callable[[Arrival], Incoming]) -> None:
        """``connect`` gives a new socket to a process that takes objects in; it may raise OSError."""
        self._connect = connect
        self.new_ingest_here = new_ingest_here
        self._idle: list[socket.socket] = []

    def new_ingest(self, arrival: Arrival) -> FarIngest:
        """Begin to take an object in. Raises StorageUnavailable."""
        return FarIngest(self, arrival)

    def take(self) -> socket.socket:
        """A socket whose other end listens. Raises StorageUnavailable."""
        while self._idle:
            with suppress(IndexError):  # somebody else was faster
                link = self._idle.pop()
                if _is_open(link):
                    return link
                link.close()
        try:
            return self._connect()
        except OSError:
            raise StorageUnavailable(_LOST) from None

    def give_back(self, link: socket.socket) -> None:
        """It may be used for the next object."""
        if len(self._idle) < MAX_IDLE:
            self._idle.append(link)
        else:
            link.close()

    def close(self) -> None:
        """Close what is idle. No object may be on its way."""
        while self._idle:
            self._idle.pop().close()


def _is_open(link: socket.socket) -> bool:
    """Whether the other end is there, and has said nothing: nothing was asked."""
    try:
        link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _received(link: socket.socket, length: int) -> bytes:
    """So many bytes. Raises OSError, ConnectionResetError if the other end is closed."""
    data = bytearray(length)
    _receive_into(link, memoryview(data))
    return bytes(data)


def _receive_into(link: socket.socket, rest: memoryview) -> None:
    while rest:
        count = link.recv_into(rest, 0, socket.MSG_WAITALL)
        if not count:
            raise ConnectionResetError
        rest = rest[count:]


class Takers:
    """Takes objects in for other processes of the archive, each socket by a thread. Thread-safe."""

    def __init__(self, new_ingest: Callable[[Arrival], Incoming], new_memory: Callable[[], Memory]) -> None:
        self._new_ingest, self._new_memory = new_ingest, new_memory
        self._threads: set[threading.Thread] = set()

    def begin(self, link: socket.socket) -> None:
        """Serve ``link`` until its other end is closed; returns at once."""

        def run() -> None:
            try:
                take_in(link, self._new_ingest, self._new_memory)
            finally:
                self._threads.discard(thread)

        thread = threading.Thread(target=run, name="taking-in", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # there is none to be had: whoever stores is told that nothing was
            self._threads.discard(thread)
            link.close()

    def await_end(self, deadline: float) -> None:
        """Return when every other end is closed, or at ``deadline``, in terms of `time.monotonic`."""
        for thread in tuple(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))


def take_in(link: socket.socket, new_ingest: Callable[[Arrival], Incoming], new_memory: Callable[[], Memory]) -> None:
    """Take objects in that come over ``link``, one after the other, until its other end is closed."""
    taking, buffer = _Taking(new_ingest, new_memory), memoryview(bytearray(BUFFER_BYTES))
    comes = select.poll()
    comes.register(link, select.POLLIN)
    try:
        while True:
            if taking.is_idle and not comes.poll(IDLE_S * 1000):
                taking.remember_nothing()
                buffer[:] = bytes(BUFFER_BYTES)
                comes.poll()
            kind, length = _HEAD.unpack(_received(link, _HEAD.size))
            if kind == DATA:
                while length:
                    part = buffer[: min(length, BUFFER_BYTES)]
                    _receive_into(link, part)
                    taking.write(part)
                    length -= len(part)
            elif length > MAX_WORDS_BYTES:
                return
            elif (became := taking.done(kind, _received(link, length))) is not None:
                answer = _encode(became)
                link.sendall(_LENGTH.pack(len(answer)) + answer)
    except (OSError, msgspec.MsgspecError):
        pass  # the other process has died
    finally:
        taking.forget()
        link.close()


class _Taking:
    """The object that comes over one socket, and what went wrong with it."""

    def __init__(self, new_ingest: Callable[[Arrival], Incoming], new_memory: Callable[[], Memory]) -> None:
        self._new_ingest, self._new_memory = new_ingest, new_memory
        self._memory, self._principal = new_memory(), Principal("")
        self._ingest: Incoming | None = None
        self._error: StrongroomError | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no object has begun."""
        return self._ingest is None

    def remember_nothing(self) -> None:
        """Forget what the headers of earlier objects have taught: some of it is a patient's."""
        self._memory = self._new_memory()

    def write(self, data: memoryview) -> None:
        """The next bytes."""
        if self._error is None and self._ingest is not None:
            self._error = _error_of(self._ingest.write, data)
            if self._error is not None:
                self._ingest.abort()

    def done(self, kind: int, words: bytes) -> _Became | None:
        """Do what a message says; its answer, if it has one."""
        if kind == BEGIN:
            self.forget()
            self._error = _error_of(self._begin, words)
        elif kind == COMMIT:
            return self._committed()
        elif kind == REFUSE:
            return self._refused(words.decode())
        elif kind == ABORT and self._ingest is not None:
            self._ingest.abort()
        elif kind == END:
            self.forget()
        return None

    def _begin(self, words: bytes) -> None:
        begun = _decode_begun(words)
        if begun.principal != self._principal:
            self.remember_nothing()
            self._principal = begun.principal
        self._ingest = self._new_ingest(
            Arrival(
                Uid.parse(begun.sop_class),
                Uid.parse(begun.sop_uid),
                TRANSFER_SYNTAXES[begun.transfer_syntax],
                begun.principal,
                Action(begun.action),
                begun.study_uid,
                self._memory,
            )
        )

    def _committed(self) -> _Became:
        ingest, verdicts = self._ingest, list[Verdict]()
        error = self._error
        if ingest is None:
            return _told(error or StorageUnavailable(_LOST))
        if error is None:
            error = _error_of(lambda: verdicts.append(ingest.commit()))
        became = _Became(verdicts[0]) if error is None else _told(error)
        return msgspec.structs.replace(became, study_uid=ingest.study_uid, series_uid=ingest.series_uid)

    def _refused(self, reason: str) -> _Became:
        error: StrongroomError | None = StorageUnavailable("nothing has begun")
        if self._ingest is not None:
            error = _error_of(self._ingest.refuse, reason)
        return _Became() if error is None else _told(error)

    def forget(self) -> None:
        """Nothing more comes of it."""
        ingest, self._ingest, self._error = self._ingest, None, None
        if ingest is not None:
            ingest.close()


def _error_of(work: Callable[..., object], *arguments: object) -> StrongroomError | None:
    """What ``work`` raised. A bug costs its object, and no more."""
    try:
        work(*arguments)
    except StrongroomError as error:
        return error
    except Exception:
        log.exception("a bug failed what another process had to store")
        return StrongroomError("a bug failed it")
    return None
