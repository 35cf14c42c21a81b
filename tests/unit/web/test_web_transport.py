"""TLS on a socket without memory in between: what is written arrives whole, and how much of it did is known."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest
import uvloop

from strongroom.net.tls import Identity, web_context
from strongroom.web import transport
from strongroom.web.transport import READ_BYTES, TlsTransport, accept_tls
from unit.web.test_web_server import AUTHORITY, SERVER, TIMEOUT_S, identity

CONTENT = random.Random(7).randbytes(5_000_001)
Client = Callable[[ssl.SSLSocket], None]


class Recorded(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.paused = 0
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def pause_writing(self) -> None:
        self.paused += 1
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()
        self.may_write.set()


async def a_turn() -> None:
    """Let the event loop do what is to be done."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


def connected(client: Client, serve: Callable[[TlsTransport, Recorded], Awaitable[None]]) -> None:
    """Run ``serve`` on one end of a connection and ``client``, on a thread, on the other."""
    material: Identity = identity(SERVER)
    context = web_context(material, [AUTHORITY.certificate_pem.decode()])
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()

    def call() -> None:
        trusting = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
        plain = socket.create_connection(address, timeout=TIMEOUT_S)
        with closing(trusting.wrap_socket(plain, server_hostname="localhost")) as line:
            client(line)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        calling = loop.run_in_executor(None, call)
        async with asyncio.timeout(TIMEOUT_S):
            accepted, _ = await loop.sock_accept(listener)
            line = await accept_tls(accepted, context, TIMEOUT_S)
            protocol = Recorded()
            made = TlsTransport(line, protocol, memoryview(bytearray(READ_BYTES)))
            await serve(made, protocol)
            await protocol.lost.wait()
            await calling

    listener.setblocking(False)
    with closing(listener), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_what_was_written_before_the_end_arrives_whole_with_the_word_of_tls() -> None:
    got = bytearray()

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        while data := line.read(100_000):  # raises if the end is none of TLS
            got.extend(data)

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        for start in range(0, len(CONTENT), 777_777):
            await protocol.may_write.wait()
            made.write(memoryview(CONTENT)[start : start + 777_777])
        made.close()

    connected(read, send)
    assert got == CONTENT


def test_what_comes_is_taken_also_from_behind_a_pause_and_the_end_is_answered() -> None:
    seen: list[bytes] = []

    def write(line: ssl.SSLSocket) -> None:
        line.sendall(CONTENT)
        line.unwrap()

    async def take(made: TlsTransport, protocol: Recorded) -> None:
        while len(protocol.received) < len(CONTENT):
            made.pause_reading()
            before = len(protocol.received)
            await a_turn()
            assert len(protocol.received) == before
            made.resume_reading()
            while len(protocol.received) == before:
                await a_turn()
        seen.append(bytes(protocol.received))

    connected(write, take)
    assert seen == [CONTENT]


def test_how_much_a_client_has_taken_is_known_within_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL says nothing of a slice before all of it is sent: who reads slowly must not be taken for idle."""
    monkeypatch.setattr(transport, "SLICE_BYTES", 64 << 20)
    may_read, may_end = threading.Event(), threading.Event()
    taken: list[int] = []

    def read(line: ssl.SSLSocket) -> None:
        assert may_read.wait(TIMEOUT_S)
        got = 0
        while got < 20 << 20:
            got += len(line.recv(1 << 20))
        assert may_end.wait(TIMEOUT_S)  # of a connection that is over nothing is known

    async def send(made: TlsTransport, _protocol: Recorded) -> None:
        made.write(bytes(64 << 20))
        assert made.get_write_buffer_size() == 64 << 20
        taken.append(made.taken_bytes())
        may_read.set()
        while made.taken_bytes() < taken[0] + (4 << 20):
            await a_turn()
        taken.append(made.taken_bytes())
        may_end.set()

    connected(read, send)
    assert len(taken) == 2


def test_a_client_that_is_gone_ends_the_connection_while_it_is_written_to() -> None:
    async def send(made: TlsTransport, protocol: Recorded) -> None:
        while not protocol.lost.is_set():
            made.write(bytes(1 << 20))
            await protocol.may_write.wait()
            await a_turn()
        assert made.is_closing()
        assert made.get_write_buffer_size() == 0

    connected(lambda line: line.recv(1) and None, send)
