"""A TCP server of its own for tests: every connection is noted, none outlives the server, and all of it can be counted.

The mocks of the probe's tests are handlers for this one. It can listen on many addresses at once, and on sockets that
were made in another network namespace.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

JOIN_TIMEOUT_S = 10.0
LATE_S = 0.4
"""So late may a thread of this process notice what has happened to a connection, on a machine that has much to do."""
KEPT_BYTES = 1 << 20
"""So much of what a connection sends is kept; all of it is counted."""


@dataclass
class Visit:
    """One connection, as the server saw it. Times are of the monotonic clock, in seconds."""

    sock: socket.socket = field(repr=False)
    address: tuple[str, int]
    """Where it came to: more than one address may be listened on."""
    opened_s: float
    stopping: threading.Event = field(repr=False)
    closed_s: float | None = None
    raw: bytearray = field(default_factory=bytearray, repr=False)
    received_bytes: int = 0
    sent_bytes: int = 0

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, or fewer at the end of the connection."""
        data = bytearray()
        while len(data) < count:
            got = self.read_some(count - len(data))
            if not got:
                break
            data += got
        return bytes(data)

    def read_some(self, most: int = 65536) -> bytes:
        """Some bytes; none at the end of the connection, however it came about."""
        try:
            got = self.sock.recv(most)
        except OSError:
            return b""
        self.received_bytes += len(got)
        self.raw += got[: max(0, KEPT_BYTES - len(self.raw))]
        return got

    def send(self, data: bytes) -> bool:
        """Send all of ``data``; False once the other side takes no more."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        self.sent_bytes += len(data)
        return True

    def wait_until_closed(self) -> None:
        """Read until the other side has ended the connection."""
        while self.read_some():
            pass

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


Handler = Callable[[Visit], None]


@dataclass
class Listener:
    """A running server. ``visits`` are all connections so far, in order of their arrival."""

    handle: Handler
    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None = None
    visits: list[Visit] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    """What handlers have raised: mistakes of the harness."""

    def __post_init__(self) -> None:
        """Note the port, which is the same on every address."""
        self.port = int(self.sockets[0].getsockname()[1])

    @property
    def most_at_once(self) -> int:
        """How many connections were open at the same time, at most."""
        return most_at_once(self.visits)

    @property
    def received_bytes(self) -> int:
        """Bytes received on all connections, those of TLS not counted."""
        return sum(visit.received_bytes for visit in self.visits)

    @property
    def sent_bytes(self) -> int:
        """Bytes sent on all connections."""
        return sum(visit.sent_bytes for visit in self.visits)

    def start(self) -> None:
        """Accept on a thread."""
        self._wake, self._woken = socket.socketpair()
        thread = threading.Thread(target=self._accept, name="probe-listener", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End all connections and threads. Raises what a handler has raised."""
        self.stopping.set()
        self._wake.close()
        accepting, *_ = self._threads
        accepting.join(JOIN_TIMEOUT_S)
        for visit in self.visits:
            with suppress(OSError):
                # What has arrived can still be read afterwards.
                visit.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
            assert not thread.is_alive(), f"{thread.name} does not end"
        for each in self.sockets:
            each.close()
        self._woken.close()
        if self.failures:
            raise self.failures[0]

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for each in self.sockets:
                selector.register(each, selectors.EVENT_READ)
            while not self.stopping.is_set():
                for key, _ in selector.select():
                    if key.fileobj is not self._woken:
                        self._take(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered
        # Who connected before the end is counted, however late a thread of this process gets to run.
        for each in self.sockets:
            each.setblocking(False)
            while self._take(each):
                pass

    def _take(self, listening: socket.socket) -> bool:
        try:
            sock, _ = listening.accept()
        except OSError:
            return False
        sock.setblocking(True)
        visit = Visit(sock, sock.getsockname()[:2], _opened_s(sock), self.stopping)
        self.visits.append(visit)
        thread = threading.Thread(target=self._serve, args=(visit,), name="probe-visit", daemon=True)
        self._threads.append(thread)
        thread.start()
        return True

    def _serve(self, visit: Visit) -> None:
        try:
            sock = visit.sock
            if self.tls is not None:
                visit.sock = self.tls.wrap_socket(sock, server_side=True)
            self.handle(visit)
        except OSError:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            visit.closed_s = time.monotonic()
            with suppress(OSError):
                visit.sock.shutdown(socket.SHUT_RDWR)
            visit.sock.close()


def _opened_s(sock: socket.socket) -> float:
    """When the connection was made, by the kernel's account: a busy machine may accept it a second later."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    (last_ack_received_ms,) = struct.unpack_from("I", info, 56)
    return time.monotonic() - float(last_ack_received_ms) / 1000


def most_at_once(visits: Sequence[Visit]) -> int:
    """How many connections were open at the same time, at most; an end is noticed up to ``LATE_S`` after it."""
    ends = [(visit.opened_s, 1) for visit in visits]
    ends += [(max(visit.opened_s, visit.closed_s - LATE_S), -1) for visit in visits if visit.closed_s is not None]
    ordered = sorted(ends, key=lambda end: (end[0], -end[1]))
    return max(itertools.accumulate(change for _, change in ordered), default=0)


def too_fast(visits: Sequence[Visit], interval_s: float) -> list[str]:
    """Where connections began less than ``interval_s`` apart, over any stretch of them.

    That a server notices a connection late shortens a stretch by ``LATE_S``, however long it is.
    """
    times = sorted(visit.opened_s for visit in visits)
    return [
        f"connections {first} to {last} within {times[last] - times[first]:.3f} s"
        for first, last in itertools.combinations(range(len(times)), 2)
        if times[last] - times[first] < (last - first) * interval_s - LATE_S
    ]


def listening_sockets(addresses: Sequence[str] = ("127.0.0.1",), port: int = 0) -> list[socket.socket]:
    """A listening socket on each address, all with one port: ``port``, or any that is free."""
    made: list[socket.socket] = []
    for address in addresses:
        made.append(socket.create_server((address, port), backlog=64))
        port = made[0].getsockname()[1]
    return made


@contextmanager
def listening(
    handle: Handler, sockets: Sequence[socket.socket] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Listener]:
    """A server with this handler for every connection, on loopback unless ``sockets`` are given; it takes them over."""
    listener = Listener(handle, sockets if sockets is not None else listening_sockets(), tls)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
