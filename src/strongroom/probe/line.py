"""The only socket of the probe: one connection, its hard end, its cap, and a tap that shows the run log what passed.

A ``Line`` can stand where a connected socket does (``net.scu_link.ScuLink``): then it raises OSError as a socket would.
``receive`` and ``send_all`` raise Unanswered. In both cases ``failure`` says afterwards what went wrong, in the words
of ``strongroom.probe.model.Answer``.
"""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, Self, cast

from strongroom.errors import Unanswered
from strongroom.probe.model import Answer

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

Framing = Literal["pdu", "http", "raw"]

MAX_ENTRIES: Final = 400
"""Log entries that one connection may cause; what comes after is summed up in one."""

PDU_KINDS: Final = {
    1: "A-ASSOCIATE-RQ",
    2: "A-ASSOCIATE-AC",
    3: "A-ASSOCIATE-RJ",
    4: "P-DATA-TF",
    5: "A-RELEASE-RQ",
    6: "A-RELEASE-RP",
    7: "A-ABORT",
}
_HEADER_BYTES: Final = 6
_HEAD_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Passed:
    """What passed in one direction: a PDU, or everything until the other side spoke. ``digest`` is a keyed hash."""

    sent: bool
    kind: str
    size_bytes: int
    digest: str
    whole: bool = True


Tap = Callable[[Passed], None]


class _Stream:
    """One direction of a line, cut into messages that are hashed as they pass. Never holds more than six bytes."""

    def __init__(self, sent: bool, framing: Framing, key: bytes, tap: Tap) -> None:
        self._sent, self._key, self._tap = sent, key, tap
        self._framed = framing == "pdu"
        self._kind: str = "" if self._framed else framing
        self._header = bytearray()
        self._left = 0
        self._size = 0
        self._entries = 0
        self._hash = hmac.new(key, digestmod=sha256)

    def feed(self, view: memoryview) -> None:
        """Take what passed."""
        while view:
            if not self._framed:
                self._take(view)
                return
            if not self._left:
                view = self._begin(view)
                continue
            self._take(view[: self._left])
            taken = min(self._left, len(view))
            self._left -= taken
            view = view[taken:]
            if not self._left:
                self.end()

    def _begin(self, view: memoryview) -> memoryview:
        wanted = _HEADER_BYTES - len(self._header)
        self._header += view[:wanted]
        self._take(view[:wanted])
        kind = PDU_KINDS.get(self._header[0])
        if kind is None or self._entries >= MAX_ENTRIES:
            self._framed, self._kind = False, "no PDU" if kind is None else "more PDUs"
            return view[wanted:]
        self._kind = kind
        if len(self._header) == _HEADER_BYTES:
            self._left = int.from_bytes(self._header[2:])
            if not self._left:
                self.end()
        return view[wanted:]

    def _take(self, view: memoryview) -> None:
        self._hash.update(view)
        self._size += len(view)

    def end(self, *, whole: bool = True) -> None:
        """Tell of the message that is under way, if there is one."""
        if not self._size:
            return
        self._tap(Passed(self._sent, self._kind, self._size, self._hash.hexdigest(), whole and not self._left))
        self._entries += 1
        self._header.clear()
        self._size = self._left = 0
        self._hash = hmac.new(self._key, digestmod=sha256)

    @property
    def framed(self) -> bool:
        """Whether messages end by themselves."""
        return self._framed

    @property
    def is_under_way(self) -> bool:
        """Whether a message has begun and has not ended."""
        return self._size > 0


@dataclass(frozen=True, slots=True)
class LineLimits:
    """Hard limits of one connection."""

    connect_s: float = 5.0
    connection_s: float = 60.0
    answer_s: float = 10.0
    max_received_bytes: int = 4 << 20

    def within(self, left_s: float) -> LineLimits:
        """The same, over after ``left_s`` at the latest."""
        return replace(self, connect_s=min(self.connect_s, left_s), connection_s=min(self.connection_s, left_s))


class Line:
    """One open connection. Not thread-safe. A ``with`` block closes it."""

    def __init__(self, connection: socket.socket, limits: LineLimits, framing: Framing, key: bytes, tap: Tap) -> None:
        """Use ``open_line``. The time allowed for the connection is running."""
        self._socket: socket.socket | None = connection
        self._limits = limits
        self._deadline = time.monotonic() + limits.connection_s
        self._timeout_s = limits.answer_s
        self._sending = _Stream(True, framing, key, tap)
        self._receiving = _Stream(False, framing, key, tap)
        self.received_bytes = 0
        self.head = b""
        """The first bytes that came, at most eight: enough to tell another protocol by."""
        self.failure: Unanswered | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # As a socket.

    def settimeout(self, seconds: float | None) -> None:
        """The longest wait of one call; the deadline of the line holds in any case."""
        self._timeout_s = self._limits.connection_s if seconds is None else seconds

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As a socket's. Raises OSError."""
        self._armed().setsockopt(level, option, value)

    def recv_into(self, buffer: memoryview | bytearray) -> int:
        """As a socket's; 0 is the end. Raises OSError: also for too much, or too late."""
        try:
            connection = self._armed()
            count = connection.recv_into(buffer)
        except OSError as error:
            raise self._failed(error) from None
        self.received_bytes += count
        self.head += bytes(memoryview(buffer)[: min(count, _HEAD_BYTES - len(self.head))])
        self._passed(self._receiving, self._sending, memoryview(buffer)[:count])
        if not count:
            self.failure = self.failure or Unanswered(Answer.CLOSED, "connection closed")
        if self.received_bytes > self._limits.max_received_bytes:
            self.failure = Unanswered(Answer.HOSTILE, "max_received_bytes")
            raise OSError("more was sent than one connection may")
        return count

    def recv(self, size: int) -> bytes:
        """As a socket's. Raises OSError."""
        buffer = bytearray(min(size, 1 << 16))
        return bytes(buffer[: self.recv_into(buffer)])

    def send(self, data: bytes | memoryview) -> int:
        """As a socket's. Raises OSError."""
        try:
            count = self._armed().send(data)
        except OSError as error:
            raise self._failed(error) from None
        self._passed(self._sending, self._receiving, memoryview(data).cast("B")[:count])
        return count

    def cut_off(self) -> None:
        """End both directions, from another thread: a call that waits returns at once."""
        connection = self._socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close, and tell the log of what was under way."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._sending.end(whole=not self._sending.framed)
            self._receiving.end(whole=not self._receiving.framed)

    # As a question and its answer.

    def send_all(self, data: bytes) -> None:
        """Send all of ``data``. Raises Unanswered."""
        left = memoryview(data)
        try:
            while left:
                left = left[self.send(left) :]
        except OSError:
            raise self._answer() from None

    def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Return what came, at most ``max_bytes``; b"" at the end. Raises Unanswered: timeout, closed, hostile."""
        try:
            return self.recv(max_bytes)
        except OSError:
            raise self._answer() from None

    def start_tls(self, context: ssl.SSLContext, server_hostname: str | None = None) -> ssl.SSLSocket:
        """Do the handshake of a client; what passes from here on is what TLS carries. Raises Unanswered."""
        connection = self._armed()
        try:
            secured = context.wrap_socket(connection, server_hostname=server_hostname, do_handshake_on_connect=False)
            # The socket of before is none any more: ``cut_off`` has to find this one while the handshake waits.
            self._socket = secured
            secured.do_handshake()
        except (OSError, ValueError) as error:
            self._failed(error if isinstance(error, OSError) else OSError(str(error)))
            self.close()
            raise self._answer() from None
        return secured

    def fileno(self) -> int:
        """As a socket's."""
        return -1 if self._socket is None else self._socket.fileno()

    def _armed(self) -> socket.socket:
        if self._socket is None:
            raise OSError("the line is closed")
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(max(min(left, self._timeout_s), 0.001))
        return self._socket

    def _passed(self, this: _Stream, other: _Stream, view: memoryview) -> None:
        if not other.framed:
            other.end()
        this.feed(view)

    def _failed(self, error: OSError) -> OSError:
        failure = unanswered(error)
        if failure.answer == Answer.TIMEOUT and self._receiving.is_under_way:
            failure = Unanswered(Answer.TIMEOUT, "the answer does not end")
        self.failure = self.failure or failure
        return error

    def _answer(self) -> Unanswered:
        return self.failure or Unanswered(Answer.CLOSED, "connection closed")


def open_line(address: str, port: int, limits: LineLimits, framing: Framing, key: bytes, tap: Tap) -> Line:
    """Return a connected line. ``address`` is an address and never a name.

    Raises Unanswered: unreachable, or closed if it was taken and reset at once.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(limits.connect_s)
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        connection.close()
        answer = Answer.CLOSED if isinstance(error, ConnectionResetError) else Answer.UNREACHABLE
        raise Unanswered(answer, unanswered(error).reason) from None
    return Line(connection, limits, framing, key, tap)


def unanswered(error: OSError) -> Unanswered:
    """Return what an error of a socket, or of TLS, says of the server: timeout, closed, refused (an alert), other."""
    tls = cast(str, getattr(error, "reason", None) or "")
    if isinstance(error, TimeoutError):
        return Unanswered(Answer.TIMEOUT, "timed out")
    if "ALERT" in tls:
        return Unanswered(Answer.REFUSED, "alert " + tls.split("ALERT_")[-1].lower().replace("_", " "))
    if tls and "EOF" not in tls:
        return Unanswered(Answer.OTHER, "no TLS: " + tls.lower().replace("_", " "))
    if "eof" in (tls or error.strerror or "").lower():
        return Unanswered(Answer.CLOSED, "connection closed")
    if isinstance(error, ConnectionRefusedError):
        return Unanswered(Answer.CLOSED, "connection refused")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return Unanswered(Answer.CLOSED, "connection reset")
    return Unanswered(Answer.CLOSED, (error.strerror or "connection closed").lower())
