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
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from strongroom.archive.ingest import Arrival, Incoming, Memory, Verdict
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import (
    Busy,
    CodecFailed,
    ConfigError,
    Denied,
    EngineFailed,
    IntegrityError,
    LimitExceeded,
    LocalProtocolError,
    MalformedDataset,
    NotFound,
    NotRepresentable,
    Quarantined,
    Refused,
    StaleKey,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.serving.errands import Errands
from strongroom.types import Principal, Uid

log = logging.getLogger(__name__)

BEGIN, DATA, COMMIT, REFUSE, ABORT, END = range(6)
MAX_WORDS_BYTES: Final = 16 * 2**20
"""Of any message but DATA: who stores may have a scope of many parts."""
BUFFER_BYTES: Final = 256 * 1024
"""Of an object, taken at a time."""
MAX_LINKS: Final = 64
"""Sockets of one process, with an object on its way or without: what begins beyond that is taken in here."""
MAX_IDLE_LINKS: Final = 8
"""Kept for what comes next; each is a thread and a buffer elsewhere."""
SEND_TIMEOUT_S: Final = 120
"""The longest wait for the other process to take bytes: one that hangs is killed long before. Its answer may take as
long as it does, as that to a C-STORE: engines, and copies that are compared, have limits of their own."""
IDLE_S: Final = 10.0
"""After so long nothing is kept that earlier objects have taught."""
_HEAD: Final = struct.Struct(">BI")
_TIMEVAL: Final = struct.Struct("@ll")
_LENGTH: Final = struct.Struct(">I")
_LOST: Final = "the process that takes objects in has ended"


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    principal: Principal
    action: str
    study_uid: str
    file_header: bytes


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


# What errors with more than words say of themselves, and what makes them of that again.
_TOLD: Final[dict[type[StrongroomError], tuple[Callable[[Any], tuple[Any, ...]], Callable[..., StrongroomError]]]] = {
    Denied: (lambda error: (error.reason,), Denied),
    LimitExceeded: (lambda error: (error.limit_name, error.limit, error.found), LimitExceeded),
    MalformedDataset: (lambda error: (error.what, error.tag, error.offset), _malformed),
    Refused: (lambda error: (error.reason, str(error)), Refused),
    Quarantined: (lambda error: (error.reason, error.quarantine_id), Quarantined),
    EngineFailed: (lambda error: (error.engine, error.reason), EngineFailed),
}
_PLAIN: Final = (
    StrongroomError,
    StorageUnavailable,
    StaleKey,
    IntegrityError,
    NotFound,
    LocalProtocolError,
    CodecFailed,
    Busy,
    ConfigError,
    NotRepresentable,
)
"""Errors that are all words: by the name of its kind the trail says what went wrong."""
_MADE: Final[dict[str, Callable[..., StrongroomError]]] = {
    **{kind.__name__: make for kind, (_, make) in _TOLD.items()},
    **{kind.__name__: kind for kind in _PLAIN},
}


def _told(error: StrongroomError) -> _Became:
    if type(error) in _PLAIN:
        return _Became(error=type(error).__name__, words=(str(error),))
    kind = next((each for each in type(error).__mro__ if each in _TOLD), None)
    if kind is None:
        return _Became(error=StrongroomError.__name__, words=(str(error),))
    return _Became(error=kind.__name__, words=_TOLD[kind][0](error))


def _raise_error(became: _Became) -> None:
    if became.error:
        raise _MADE[became.error](*became.words)


class FarIngest:
    """`archive.ingest.Incoming` of an object that another process takes in. Owned by one thread."""

    def __init__(self, store: FarStore, link: socket.socket, arrival: Arrival) -> None:
        """Owns ``link``. Raises StorageUnavailable."""
        self.memory = arrival.memory
        self.study_uid = self.series_uid = ""
        self._store, self._arrival = store, arrival
        self._passed_on_bytes = 0
        self._is_committing = False
        begun = _Begun(
            arrival.sop_class, arrival.sop_uid, arrival.transfer_syntax.uid, arrival.principal, arrival.action,
            arrival.study_uid, arrival.file_header,
        )  # fmt: skip
        self._link: socket.socket | None = link
        self._say(BEGIN, _encode(begun))

    def write(self, data: bytes | memoryview) -> None:
        """Pass the next bytes on; what is wrong with them ``commit`` says. Raises StorageUnavailable."""
        self._say(DATA, data)
        self._passed_on_bytes += len(data)

    def commit(self) -> Verdict:
        """As ``Ingest.commit``, and raises what its ``write`` does."""
        self._is_committing = True
        became = self._asked(COMMIT)
        self._is_committing = False
        self.study_uid, self.series_uid = became.study_uid, became.series_uid
        _raise_error(became)
        return Verdict(became.verdict)

    def refuse(self, reason: str) -> None:
        """As ``Ingest.refuse``; if the other process cannot, this one records what it knows."""
        with suppress(StorageUnavailable):
            if not self._asked(REFUSE, reason.encode()).error:
                return
        arrival = self._arrival
        details: dict[str, Detail] = {
            "sop_class": arrival.sop_class,
            "sop_uid": arrival.sop_uid,
            "transfer_syntax": arrival.transfer_syntax.uid,
            "bytes": self._passed_on_bytes,
            "reason": reason,
        }
        if self._is_committing:  # nobody heard how that ended
            details["verdict"] = "unknown"
        self._store.record(Event(arrival.action, Outcome.REFUSED, arrival.principal, details))

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
        except BaseException:
            self._lost()  # or the next object would have this one's answer
            raise

    def _lost(self) -> StorageUnavailable:
        """What is to be raised. A link on which something went wrong is never used again."""
        link, self._link = self._link, None
        if link is not None:
            self._store.drop(link)
        return StorageUnavailable(_LOST)


class FarStore:
    """Where the HTTPS requests of one process have objects taken in. Thread-safe."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        new_ingest_here: Callable[[Arrival], Incoming],
        record: Callable[[Event], None],
    ) -> None:
        """``connect`` gives a new socket to a process that takes objects in; it may raise OSError. ``record`` is for
        what that process cannot record any more."""
        self._connect, self._new_ingest_here, self.record = connect, new_ingest_here, record
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._links = 0

    def new_ingest(self, arrival: Arrival) -> Incoming:
        """Begin to take an object in. Raises StorageUnavailable."""
        link = self._taken()
        return self._new_ingest_here(arrival) if link is None else FarIngest(self, link, arrival)

    def _taken(self) -> socket.socket | None:
        """A socket whose other end listens, None if there are too many. Raises StorageUnavailable."""
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle else None
                if link is None and self._links >= MAX_LINKS:
                    return None
                self._links += link is None
            if link is None:
                break
            if _is_open(link):
                return link
            self.drop(link)
        try:
            link = self._connect()
        except BaseException as error:
            with self._lock:
                self._links -= 1
            if isinstance(error, OSError):
                raise StorageUnavailable(_LOST) from None
            raise
        # The kernel's: a timeout of Python's costs a call more.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(SEND_TIMEOUT_S, 0))
        return link

    def give_back(self, link: socket.socket) -> None:
        """It may be used for the next object, unless enough others may."""
        with self._lock:
            is_kept = len(self._idle) < MAX_IDLE_LINKS
            if is_kept:
                self._idle.append(link)
        if not is_kept:
            self.drop(link)

    def drop(self, link: socket.socket) -> None:
        """It is not used any more."""
        link.close()
        with self._lock:
            self._links -= 1

    def close(self) -> None:
        """Close what is idle. No object may be on its way."""
        while self._idle:
            self.drop(self._idle.pop())


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
        self._errands = Errands()

    def begin(self, link: socket.socket) -> None:
        """Serve ``link`` until its other end is closed; returns at once."""
        try:
            self._errands.start("taking-in", take_in, link, self._new_ingest, self._new_memory)
        except RuntimeError:  # there is no thread to be had: whoever stores is told that nothing was
            link.close()

    def await_end(self, deadline: float) -> None:
        """Return when every other end is closed, or at ``deadline``, in terms of `time.monotonic`."""
        self._errands.await_end(deadline)


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
        """Forget what the headers of earlier objects have taught: some of it is a patient's, as may be a scope."""
        self._memory, self._principal = self._new_memory(), Principal("")

    def write(self, data: memoryview) -> None:
        """The next bytes."""
        if self._error is None and self._ingest is not None:
            self._error = _error_of(self._ingest.write, data)
            if self._error is not None:
                _error_of(self._ingest.abort)

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
            _error_of(self._ingest.abort)
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
                file_header=begun.file_header,
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
            _error_of(ingest.close)


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
