"""TLS on one accepted connection, for an event loop: a bounded piece of work at a time, whatever the client sends.

OpenSSL works on memory here and never on the socket. On a socket it goes on for as long as there are records without
content, which a client may send without end (KeyUpdate of TLS 1.3, attempts to negotiate anew), and nothing else runs
on the loop meanwhile. Bodies are encrypted from where they lie, no more of them than the socket takes soon.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from strongroom.web.call import RunBlocking

log = logging.getLogger(__name__)

READ_BYTES: Final = 65_536
"""Taken from one connection before others have their turn."""

RECORD_BYTES: Final = 16_384
"""Content of one record at most (RFC 8446 5.1)."""

BUFFER_BYTES: Final = READ_BYTES + 2 * RECORD_BYTES
"""Enough for the content of what is taken in one turn and of a record that was not whole before."""

CONTENT_SHARE: Final = 4
MAX_OVERHEAD_BYTES: Final = 24_576
"""A client may send CONTENT_SHARE bytes for each one of content, and this many more: a record that is not whole yet,
and some. To take a record costs the same without content: so many of them some 12 ms, like a few handshakes."""

SLICE_BYTES: Final = 1 << 18
"""Encrypted at a time, some 0.1 ms, and held as such until the socket has taken it: it stays in a processor's cache."""

HIGH_WATER_BYTES: Final = 1 << 20
"""Held until the client takes them: with more, its handler waits until the socket has all of it."""

POUR_S: Final = 0.01
"""How long a thread goes on sending to one client, before others who wait for a thread have their turn."""

SHUTDOWN_S: Final = 1.0
"""How long a client may take to close after us: closing at once would take back what it has not read yet."""

ALERT_S: Final = 1.0
ALERT_READS: Final = 4
"""How long, and how much, a client that failed its handshake is listened to, so that it gets to know why."""

_BYTES_ACKED = struct.Struct("=120xQ")
"""Of Linux's struct tcp_info (linux/tcp.h), tcpi_bytes_acked."""


@dataclass(frozen=True, slots=True)
class Line:
    """A connection under TLS: what ``socket`` has received goes through ``incoming``, what it is to send lies in
    ``outgoing``."""

    socket: socket.socket
    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


async def accept_tls(connection: socket.socket, context: ssl.SSLContext, timeout_s: float) -> Line:
    """Do the server's side of a handshake on a socket that does not block.

    Raises OSError or TimeoutError, and closes the socket then; the client has been sent the alert that says what was
    wrong.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    line = Line(connection, context.wrap_bio(incoming, outgoing, server_side=True), incoming, outgoing)
    try:
        async with asyncio.timeout(timeout_s):
            await _shake_hands(line)
    except ssl.SSLError:
        await _tell(line)
        raise
    except BaseException:
        connection.close()
        raise
    return line


async def _shake_hands(line: Line) -> None:
    loop = asyncio.get_running_loop()
    is_done = False
    while not is_done:
        with suppress(ssl.SSLWantReadError):
            line.tls.do_handshake()
            is_done = True
        if line.outgoing.pending:
            await loop.sock_sendall(line.socket, line.outgoing.read())
        if not is_done:
            data = await loop.sock_recv(line.socket, RECORD_BYTES)
            if not data:
                raise ConnectionResetError("a client went away in its handshake")
            line.incoming.write(data)


async def _tell(line: Line) -> None:
    """Send the alert, and let the client read it before the end: closing with bytes unread would take it away again."""
    loop = asyncio.get_running_loop()
    with line.socket as plain, suppress(OSError, TimeoutError):
        async with asyncio.timeout(ALERT_S):
            await loop.sock_sendall(plain, line.outgoing.read())
            plain.shutdown(socket.SHUT_WR)
            for _ in range(ALERT_READS):
                if not await loop.sock_recv(plain, READ_BYTES):
                    break


class _Loan:
    """Of a connection to a thread, which begins before it is withdrawn, or not at all: a pool that says that it has no
    thread keeps the work all the same, and another of its threads may do it at any time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._taken = threading.Lock()  # once, by whoever comes first
        self.ended = loop.create_future()
        """Done when the thread that began has ended."""

    def use(self, work: Callable[..., bool], /, *arguments: object) -> bool:
        """Do ``work`` on the thread; False, with nothing done, if the loan was withdrawn."""
        if not self._taken.acquire(blocking=False):
            return False
        try:
            return work(*arguments)
        finally:
            self._loop.call_soon_threadsafe(self.ended.set_result, None)

    def is_withdrawn(self) -> bool:
        """Withdraw it; False if a thread has begun."""
        return self._taken.acquire(blocking=False)


class TlsTransport(asyncio.Transport):
    """The transport of one connection after its handshake. Owns its socket; lives on the event loop only, but for what
    `pour` sends on a thread: meanwhile the connection is lent to that thread, and nobody else touches it."""

    def __init__(self, line: Line, protocol: asyncio.Protocol, buffer: memoryview) -> None:
        """``buffer``, of BUFFER_BYTES, is where what comes is put before ``protocol`` is given a view of it, which must
        not keep that: so all connections of an event loop may share one."""
        super().__init__({"ssl_object": line.tls})
        self._line, self._protocol, self._buffer = line, protocol, buffer
        self._loop = asyncio.get_running_loop()
        self._descriptor = line.socket.fileno()
        self._is_reading = True
        self._is_blocked = False
        self._is_paused = False
        self._is_closing = False
        self._is_shut = False
        self._is_over = False
        self._is_lent = False
        self._is_wanted_back = False
        self._is_all_sent = True
        self._failure: OSError | None = None
        self._room_bytes = MAX_OVERHEAD_BYTES  # for what comes before more content does
        self._unsent: deque[memoryview] = deque()
        self._encrypted = memoryview(b"")
        self._unsent_bytes = 0
        self._ending: asyncio.TimerHandle | None = None
        protocol.connection_made(self)
        self._loop.add_reader(self._descriptor, self._read)
        self._loop.call_soon(self._read)  # what came with the end of the handshake has been received already

    def pause_reading(self) -> None:
        """Take nothing more from the client."""
        if self._is_reading and not self._is_closing:
            self._is_reading = False
            if not self._is_lent:
                self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            if not self._is_lent:
                self._begin_reading()

    def _begin_reading(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)
        if self._line.incoming.pending:
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Take what has come, some of it, and pass its content on."""
        if not self._is_reading or self._is_closing or self._is_lent:
            return
        try:
            data = self._line.socket.recv(min(READ_BYTES, self._room_bytes))
            self._room_bytes -= len(data)
            self._line.incoming.write(data) if data else self._line.incoming.write_eof()
        except BlockingIOError:
            pass
        except OSError as failure:
            self._end(failure)
            return
        got, is_end, error = self._decrypted()
        if got:
            self._room_bytes = min(self._room_bytes + CONTENT_SHARE * got, READ_BYTES + MAX_OVERHEAD_BYTES)
            self._deliver(self._buffer[:got])
        if self._is_over:
            return
        if self._line.outgoing.pending and not self._is_blocked:
            self._flush()  # what TLS itself answers
        if is_end and not self._is_blocked:
            self.close()  # says that we close too
        elif is_end or error is not None or self._room_bytes <= 0:
            self._end(error)

    def _decrypted(self) -> tuple[int, bool, OSError | None]:
        """How much content now stands in the buffer, whether the client has closed, and what is wrong."""
        buffer, got = self._buffer, 0
        try:
            while count := cast("int", self._line.tls.read(len(buffer) - got, buffer[got:])):
                got += count
        except ssl.SSLWantReadError:
            return got, False, None
        except OSError as error:
            return got, False, error
        return got, True, None

    def _deliver(self, data: memoryview) -> None:
        try:
            self._protocol.data_received(data)  # type: ignore[arg-type]  # a parser takes any buffer
        except Exception:
            log.exception("what a client sent could not be taken in")
            self._end(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, or keep it until it can be; it must stay as it is."""
        if self._is_closing or not data:
            return
        assert not self._is_lent
        self._keep(data)
        if not self._is_blocked:
            self._flush()
        if self._unsent_bytes > HIGH_WATER_BYTES:
            self._pause()

    def _keep(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self._unsent_bytes += len(view)
        for start in range(0, len(view), SLICE_BYTES):
            self._unsent.append(view[start : start + SLICE_BYTES])

    def _pause(self) -> None:
        if not self._is_paused and not self._is_over:
            self._is_paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        """Send what the socket takes."""
        try:
            self._push()
        except BlockingIOError:
            self._is_blocked = True
            self._loop.add_writer(self._descriptor, self._writable)
            return
        except OSError as error:
            self._end(error)
            return
        if self._is_paused:
            self._is_paused = False
            self._protocol.resume_writing()
        if self._is_closing and not self._is_blocked and not self._is_over:
            self._shut()

    def _push(self) -> None:
        """Encrypt and send everything. Raises OSError: BlockingIOError if the socket takes no more for now."""
        line, unsent = self._line, self._unsent
        while True:
            while unsent and not self._encrypted and line.outgoing.pending < SLICE_BYTES:
                self._unsent_bytes -= line.tls.write(unsent.popleft())
            if line.outgoing.pending and not self._encrypted:
                self._encrypted = memoryview(line.outgoing.read())
            if not self._encrypted:
                return
            self._encrypted = self._encrypted[line.socket.send(self._encrypted) :]

    def _writable(self) -> None:
        self._is_blocked = False
        self._loop.remove_writer(self._descriptor)
        self._flush()

    async def pour(self, make: Callable[[], Sequence[bytes | memoryview] | None], run_blocking: RunBlocking) -> bool:
        """Send what ``make`` gives, made, encrypted and sent on a thread; True once it gives None, and all is sent.

        False after a while, once the socket takes no more (the protocol is told to pause then), or if the connection
        is over. Nothing else may be written before it has all been sent. Raises what ``make`` raises.

        Who unseals an object has it in his processor's cache: to hand each piece over to the event loop, and the
        interpreter to and fro, cost a fifth more.
        """
        if self._is_blocked:
            self._pause()
        if self._is_closing or self._is_blocked:
            return False
        if self._is_reading:
            self._loop.remove_reader(self._descriptor)
        self._is_lent, self._is_wanted_back = True, False
        loan, cancelled = _Loan(self._loop), None
        try:
            pouring = asyncio.ensure_future(run_blocking(loan.use, self._pour_some, make))
            cancelled = await self._settled(pouring)
        finally:
            if not loan.is_withdrawn():
                self._is_wanted_back = True
                cancelled = await self._settled(loan.ended) or cancelled
            self._take_back()
        if cancelled is not None:
            if not pouring.cancelled():
                pouring.exception()  # which nobody asks for any more
            raise cancelled
        return pouring.result()

    async def _settled(self, future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
        """Wait for a thread, also when nobody wants its result any more: what it uses must not be closed. What has
        cancelled this meanwhile is for the caller to raise."""
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                self._is_wanted_back, cancelled = True, error
        return cancelled

    def _pour_some(self, make: Callable[[], Sequence[bytes | memoryview] | None]) -> bool:
        """What `pour` has a thread do; whether all is made and sent."""
        until = time.monotonic() + POUR_S
        while self._is_pushed() and not self._is_wanted_back and time.monotonic() < until:
            made = make()
            if made is None:
                return True
            for piece in made:
                self._keep(piece)
        return False

    def _is_pushed(self) -> bool:
        """Whether the socket has taken everything. If it never will, `_failure` says why."""
        try:
            self._push()
        except BlockingIOError:
            return False
        except OSError as error:
            self._failure = error
            return False
        return True

    def _take_back(self) -> None:
        """The thread has ended: go on where it stopped."""
        self._is_lent = False
        self._is_all_sent = not (self._unsent or self._encrypted or self._line.outgoing.pending)
        if self._is_over:
            self._close_down(self._failure)
            return
        if self._failure is not None:
            self._end(self._failure)
            return
        if self._is_reading:
            self._begin_reading()
        self._flush()
        if self._is_blocked:
            self._pause()

    def is_all_sent(self) -> bool:
        """Whether the socket had taken everything when `pour` ended."""
        return self._is_all_sent

    def taken_bytes(self) -> int:
        """Bytes that the client's system has acknowledged so far, those of TLS included."""
        if self._is_over:
            return 0
        info = self._line.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])

    def is_closing(self) -> bool:
        """Whether nothing more is read or taken for sending."""
        return self._is_closing

    def close(self) -> None:
        """Close once everything written is sent, with the word of TLS that nothing was cut off."""
        if self._is_closing:
            return
        self.pause_reading()
        self._is_closing = True
        if not self._is_blocked and not self._is_lent:
            self._flush()

    def _shut(self) -> None:
        """All is sent: say that it was all, and once that is sent too, wait for the client to close."""
        if self._is_shut:
            with suppress(OSError):
                self._line.socket.shutdown(socket.SHUT_WR)
            self._ending = self._loop.call_later(SHUTDOWN_S, self._end, None)
            self._loop.add_reader(self._descriptor, self._discard)
            return
        self._is_shut = True
        with suppress(OSError):  # SSLWantReadError among them: our word is said, and the client's is not needed
            self._line.tls.unwrap()
        self._flush()

    def _discard(self) -> None:
        try:
            if self._line.socket.recv_into(self._buffer):  # not decrypted any more
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(None)

    def abort(self) -> None:
        """Close at once; whoever reads sees that something is missing."""
        self._end(None)

    def _end(self, error: OSError | None) -> None:
        if self._is_over:
            return
        self._is_over = self._is_closing = True
        self._is_reading = False
        if self._is_lent:  # then once it is given back: a descriptor that is closed here may be another one's there
            self._is_wanted_back, self._failure = True, error
        else:
            self._close_down(error)

    def _close_down(self, error: OSError | None) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._unsent.clear()
        self._unsent_bytes = 0
        self._encrypted = memoryview(b"")
        self._line.socket.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
