"""TLS on one accepted connection, for an event loop: OpenSSL itself reads from the socket and writes to it.

The TLS of asyncio and uvloop goes through memory: what OpenSSL has encrypted is copied out of its buffer into bytes,
and those into the socket's. For images that costs more than encrypting them. Here a body is encrypted from where it
lies, a record at a time, and leaves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

READ_BYTES: Final = 262_144
"""Taken from one connection before others have their turn."""

SLICE_BYTES: Final = 1 << 20
"""Given to OpenSSL at a time, which takes all of it or asks for the same again: some 0.7 ms of the event loop."""

HIGH_WATER_BYTES: Final = 1 << 20
"""Held until the client takes them: with more, its handler waits until no more than LOW_WATER_BYTES are left."""

LOW_WATER_BYTES: Final = 1 << 18

SHUTDOWN_S: Final = 1.0
"""How long a client may take to close after us: closing at once would take back what it has not read yet."""

ALERT_S: Final = 1.0
ALERT_READS: Final = 4
"""How long, and how much, a client that failed its handshake is listened to, so that it gets to know why."""

_BYTES_ACKED = struct.Struct("=120xQ")
"""Of Linux's struct tcp_info (linux/tcp.h), tcpi_bytes_acked."""


async def accept_tls(connection: socket.socket, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLSocket:
    """Do the server's side of a handshake on a socket that does not block.

    Raises OSError or TimeoutError, and closes the socket then; OpenSSL has sent the alert that says what was wrong.
    """
    line = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    line.do_handshake()
                    return line
                except ssl.SSLWantReadError:
                    await _ready(line.fileno(), to_read=True)
                except ssl.SSLWantWriteError:
                    await _ready(line.fileno(), to_read=False)
    except ssl.SSLError:
        await _listened_to(line)
        raise
    except BaseException:
        line.close()
        raise


async def _ready(descriptor: int, *, to_read: bool) -> None:
    """Return once the socket can be read from, or else be written to."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if to_read else (loop.add_writer, loop.remove_writer)
    add(descriptor, _done, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _done(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _listened_to(line: ssl.SSLSocket) -> None:
    """Let the client read the alert before the end: closing with bytes unread would take it away again."""
    with socket.socket(fileno=line.detach()) as plain, suppress(OSError, TimeoutError):
        plain.setblocking(False)
        plain.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(ALERT_S):
            for _ in range(ALERT_READS):
                if not await asyncio.get_running_loop().sock_recv(plain, 65_536):
                    break


class TlsTransport(asyncio.Transport):
    """The transport of one connection after its handshake. Lives on the event loop only; owns its socket."""

    def __init__(self, line: ssl.SSLSocket, protocol: asyncio.Protocol, buffer: memoryview) -> None:
        """``buffer`` is where what comes is put before ``protocol`` is given a view of it, which must not keep that: so
        all connections of an event loop may share one."""
        super().__init__({"ssl_object": line})
        self._line, self._protocol, self._buffer = line, protocol, buffer
        self._loop = asyncio.get_running_loop()
        self._descriptor = line.fileno()
        self._is_reading = True
        self._is_blocked = False
        self._is_paused = False
        self._is_closing = False
        self._is_over = False
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._ending: asyncio.TimerHandle | None = None
        protocol.connection_made(self)
        self._loop.add_reader(self._descriptor, self._read)
        self._loop.call_soon(self._read)  # what came with the end of the handshake has been read already

    def pause_reading(self) -> None:
        """Take nothing more from the client."""
        if self._is_reading and not self._is_closing:
            self._is_reading = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._descriptor, self._read)
            self._loop.call_soon(self._read)  # OpenSSL may hold what the socket does not have any more

    def _read(self) -> None:
        if not self._is_reading or self._is_closing:
            return
        got, is_end, error = 0, False, None
        try:
            while got < len(self._buffer) and not is_end:
                count = self._line.recv_into(self._buffer[got:])
                got, is_end = got + count, not count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._wait_to_write()
        except OSError as failure:
            error = failure
        if got:
            self._deliver(self._buffer[:got])
        if is_end and not self._unsent and not self._is_over:
            with suppress(OSError):
                self._line.unwrap()  # says that we close too
        if is_end or error is not None:
            self._end(error)
        elif got == len(self._buffer):
            self._loop.call_soon(self._read)

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
        view = memoryview(data)
        self._unsent_bytes += len(view)
        for start in range(0, len(view), SLICE_BYTES):
            self._unsent.append(view[start : start + SLICE_BYTES])
        if not self._is_blocked:
            self._flush()
        if self._unsent_bytes > HIGH_WATER_BYTES and not self._is_paused and not self._is_over:
            self._is_paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self._unsent:
                count = self._line.send(self._unsent[0])
                self._unsent_bytes -= count
                if count == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][count:]
        except ssl.SSLWantWriteError:
            self._wait_to_write()
        except OSError as error:  # SSLWantReadError among them: nobody may negotiate anew
            self._end(error)
            return
        if self._is_paused and self._unsent_bytes <= LOW_WATER_BYTES:
            self._is_paused = False
            self._protocol.resume_writing()
        if self._is_closing and not self._unsent:
            self._shut()

    def _wait_to_write(self) -> None:
        if not self._is_blocked:
            self._is_blocked = True
            self._loop.add_writer(self._descriptor, self._writable)

    def _writable(self) -> None:
        self._is_blocked = False
        self._loop.remove_writer(self._descriptor)
        self._read()  # which may have had to write first
        if not self._is_over:
            self._flush()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._unsent_bytes

    def taken_bytes(self) -> int:
        """Bytes that the client's system has acknowledged so far, those of TLS included."""
        if self._is_over:
            return 0
        info = self._line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
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
        if not self._unsent:
            self._shut()

    def _shut(self) -> None:
        try:
            self._line.unwrap()
        except ssl.SSLWantWriteError:
            self._wait_to_write()
            return
        except OSError:  # SSLWantReadError among them: our word is said, and the client's is not needed
            pass
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        self._ending = self._loop.call_later(SHUTDOWN_S, self._end, None)
        self._loop.add_reader(self._descriptor, self._discard)

    def _discard(self) -> None:
        try:
            if self._line.recv_into(self._buffer):  # not decrypted any more
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
        if self._ending is not None:
            self._ending.cancel()
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._unsent.clear()
        self._unsent_bytes = 0
        self._line.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
