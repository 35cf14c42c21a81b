"""TLS for an event loop: what is written arrives whole, how much of it did is known, and nobody keeps it busy."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import pytest
import uvloop

from harness.key_updates import KeyUpdater
from strongroom.net.tls import Identity, web_context
from strongroom.web.transport import BUFFER_BYTES, TlsTransport, accept_tls
from unit.web.test_web_server import AUTHORITY, SERVER, TIMEOUT_S, identity

CONTENT = random.Random(7).randbytes(5_000_001)
Client = Callable[[ssl.SSLSocket], None]
Serve = Callable[["TlsTransport", "Recorded"], Awaitable[None]]


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


def connected(client: Client, serve: Serve) -> None:
    """Run ``serve`` on one end of a connection and ``client``, on a thread, on the other."""

    def call(plain: socket.socket) -> None:
        trusting = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
        with closing(trusting.wrap_socket(plain, server_hostname="localhost")) as line:
            client(line)

    connected_plain(call, serve)


def connected_plain(client: Callable[[socket.socket], None], serve: Serve) -> None:
    """The same with a client that does its TLS itself."""
    material: Identity = identity(SERVER)
    context = web_context(material, [AUTHORITY.certificate_pem.decode()])
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()

    def call() -> None:
        with socket.create_connection(address, timeout=TIMEOUT_S) as plain:
            client(plain)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        calling = loop.run_in_executor(None, call)
        async with asyncio.timeout(TIMEOUT_S):
            accepted, _ = await loop.sock_accept(listener)
            line = await accept_tls(accepted, context, TIMEOUT_S)
            protocol = Recorded()
            made = TlsTransport(line, protocol, memoryview(bytearray(BUFFER_BYTES)))
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


def on_a_thread(work: Callable[..., object], *args: object) -> asyncio.Future[object]:
    return asyncio.get_running_loop().run_in_executor(None, work, *args)


async def pour_all(made: TlsTransport, protocol: Recorded, pieces: list[memoryview]) -> None:
    """Have all of them sent, as whoever answers does."""
    waiting = pieces[::-1]
    while not await made.pour(lambda: [waiting.pop()] if waiting else None, on_a_thread):
        await protocol.may_write.wait()
        await a_turn()


def test_what_is_made_on_a_thread_arrives_whole_however_slowly_it_is_taken() -> None:
    got = bytearray()
    may_read = threading.Event()
    pauses: list[int] = []

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        line.sendall(b"meanwhile")
        assert may_read.wait(TIMEOUT_S)
        while data := line.read(100_000):
            got.extend(data)

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        content = memoryview(CONTENT * 4)
        pieces = [content[start : start + 333_333] for start in range(0, len(content), 333_333)]
        pouring = asyncio.ensure_future(pour_all(made, protocol, pieces))
        while not protocol.paused:  # the socket is full, and the thread is somebody else's
            await a_turn()
        while protocol.received != b"meanwhile":  # which is read all the same
            await a_turn()
        assert not pouring.done()
        may_read.set()
        await pouring
        pauses.append(protocol.paused)
        made.close()

    connected(read, send)
    assert got == CONTENT * 4
    assert 1 <= pauses[0] < 1000  # it waits for the socket, and does not ask again and again


def test_whoever_would_pour_behind_what_is_not_taken_yet_waits_for_it() -> None:
    """Or he would ask again and again, and nobody would see how slowly the client reads."""
    got = bytearray()
    may_read = threading.Event()

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        assert may_read.wait(TIMEOUT_S)
        while data := line.read(100_000):
            got.extend(data)

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        before = b""
        while not made._is_blocked:
            made.write(CONTENT[:100_000])
            before += CONTENT[:100_000]
        assert not await made.pour(lambda: None, on_a_thread)
        assert not protocol.may_write.is_set()
        may_read.set()
        await protocol.may_write.wait()
        await pour_all(made, protocol, [memoryview(CONTENT)])
        made.close()
        sent.append(before + CONTENT)

    sent: list[bytes] = []
    connected(read, send)
    assert got == sent[0]


def read_until_cut(line: ssl.SSLSocket) -> None:
    """A client whose connection is ended, however."""
    with suppress(OSError):
        line.read()


@pytest.mark.parametrize("is_coroutine", [False, True], ids=["future", "coroutine"])
def test_a_thread_that_is_not_to_be_had_ends_its_answer_and_comes_too_late_afterwards(is_coroutine: bool) -> None:
    late: list[Callable[[], object]] = []
    made_late: list[bytes] = []

    def nobody(work: Callable[..., object], *arguments: object) -> asyncio.Future[object]:
        late.append(lambda: work(*arguments))  # as a pool keeps what it has no thread for
        raise RuntimeError("can't start new thread")

    async def nobody_later(work: Callable[..., object], *arguments: object) -> object:
        return nobody(work, *arguments)

    def make() -> list[bytes]:
        made_late.append(CONTENT)
        return [CONTENT]

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        with pytest.raises(RuntimeError):
            await made.pour(make, nobody_later if is_coroutine else nobody)
        assert late[0]() is False
        made.abort()
        await protocol.lost.wait()

    connected(read_until_cut, send)
    assert made_late == []


def test_a_pool_that_has_no_thread_says_so_while_another_of_its_threads_begins() -> None:
    """It keeps what it has no thread for; the connection must be nobody else's before that one has ended."""
    begun, may_go_on = threading.Event(), threading.Event()
    seen: list[object] = []

    def nobody(work: Callable[..., object], *arguments: object) -> asyncio.Future[object]:
        threading.Thread(target=lambda: seen.append(work(*arguments))).start()
        assert begun.wait(TIMEOUT_S)
        raise RuntimeError("can't start new thread")

    def make() -> list[bytes]:
        begun.set()
        assert may_go_on.wait(TIMEOUT_S)
        seen.append(pouring.done())
        return [b"x"]

    async def send(made: TlsTransport, _: Recorded) -> None:
        nonlocal pouring
        pouring = asyncio.ensure_future(made.pour(make, nobody))
        for _ in range(3):
            await a_turn()
        made.abort()
        assert made._line.socket.fileno() >= 0
        may_go_on.set()
        with pytest.raises(RuntimeError):
            await pouring
        assert made._line.socket.fileno() < 0

    pouring: asyncio.Future[bool]
    connected(read_until_cut, send)
    assert seen == [False, False]


def test_a_connection_that_is_ended_while_a_thread_sends_is_closed_once_that_has_come_back() -> None:
    """Closed before, its descriptor could be another connection's by then."""
    begun, may_go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        with suppress(OSError):
            while line.read(100_000):
                pass

    def make() -> list[bytes]:
        begun.set()
        assert may_go_on.wait(TIMEOUT_S)
        return [CONTENT]

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        pouring = asyncio.ensure_future(made.pour(make, on_a_thread))
        while not begun.is_set():
            await a_turn()
        made.abort()
        for _ in range(10):
            await a_turn()
        assert not protocol.lost.is_set()
        assert made._line.socket.fileno() >= 0
        may_go_on.set()
        assert not await pouring
        assert made._line.socket.fileno() < 0
        seen.append("closed")

    connected(read, send)
    assert seen == ["closed"]


def test_whoever_is_cancelled_waits_for_the_thread_that_sends_for_him() -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    seen: list[bool] = []

    def make() -> list[bytes]:
        begun.set()
        assert may_go_on.wait(TIMEOUT_S)
        seen.append(pouring.done())
        return [b"x"]

    async def send(made: TlsTransport, _: Recorded) -> None:
        nonlocal pouring
        pouring = asyncio.ensure_future(made.pour(make, on_a_thread))
        while not begun.is_set():
            await a_turn()
        for _ in range(3):
            pouring.cancel()
            await a_turn()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await pouring
        made.abort()

    pouring: asyncio.Future[bool]
    connected(read_until_cut, send)
    assert seen == [False]


def test_a_client_that_says_in_the_middle_that_it_closes_is_sent_nothing_more() -> None:
    seen: list[int] = []

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        seen.append(len(line.read(100)))
        with suppress(OSError):  # what comes behind its word is an error to it
            line.unwrap()

    async def send(made: TlsTransport, protocol: Recorded) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not made.is_closing():
                await made.pour(lambda: [CONTENT[:100_000]], on_a_thread)
                await protocol.may_write.wait()
                await a_turn()

    connected(read, send)
    assert seen == [100]


def test_what_making_raises_is_raised_and_the_connection_is_whole() -> None:
    got = bytearray()

    def read(line: ssl.SSLSocket) -> None:
        line.settimeout(TIMEOUT_S)
        while data := line.read(100):
            got.extend(data)

    def make() -> list[bytes]:
        raise ValueError("damaged")

    async def send(made: TlsTransport, _: Recorded) -> None:
        with pytest.raises(ValueError, match="damaged"):
            await made.pour(make, on_a_thread)
        made.write(b"the end")
        made.close()

    connected(read, send)
    assert got == b"the end"


def test_how_much_a_client_has_taken_is_known_before_it_has_taken_all() -> None:
    """Who reads slowly must not be taken for idle."""
    may_read, may_end = threading.Event(), threading.Event()

    def read(line: ssl.SSLSocket) -> None:
        assert may_read.wait(TIMEOUT_S)
        got = 0
        while got < 20 << 20:
            got += len(line.recv(1 << 20))
        assert may_end.wait(TIMEOUT_S)  # of a connection that is over nothing is known

    async def send(made: TlsTransport, _protocol: Recorded) -> None:
        made.write(bytes(64 << 20))
        before = made.taken_bytes()
        may_read.set()
        while made.taken_bytes() < before + (4 << 20):
            await a_turn()
        may_end.set()

    connected(read, send)


async def until_lost(_made: TlsTransport, protocol: Recorded) -> None:
    await protocol.lost.wait()


def test_a_client_whose_records_hold_a_byte_each_is_cut_off() -> None:
    """A record costs some 3 us to take, whatever it holds."""
    received: list[int] = []

    def trickle(line: ssl.SSLSocket) -> None:
        with suppress(OSError):
            for _ in range(200_000):
                line.send(b"G")

    async def take(made: TlsTransport, protocol: Recorded) -> None:
        await until_lost(made, protocol)
        received.append(len(protocol.received))

    connected(trickle, take)
    assert 0 < received[0] < 5_000


def test_small_records_are_taken_all_the_same() -> None:
    received: list[bytes] = []

    def write(line: ssl.SSLSocket) -> None:
        for start in range(0, 400_000, 40):
            line.sendall(CONTENT[start : start + 40])
        line.unwrap()

    async def take(made: TlsTransport, protocol: Recorded) -> None:
        await until_lost(made, protocol)
        received.append(bytes(protocol.received))

    connected(write, take)
    assert received == [CONTENT[:400_000]]


def test_a_client_that_does_nothing_but_change_its_keys_is_cut_off() -> None:
    """OpenSSL takes such records as long as there are any, and says nothing of them: 16 us each (RFC 8446 4.6.3)."""
    ended: list[str] = []

    def change(line: socket.socket) -> None:
        records = KeyUpdater(line).make(40_000)
        with suppress(OSError):
            line.sendall(records)
            while line.recv(65_536):
                pass
        ended.append("cut")

    connected_plain(change, until_lost)
    assert ended == ["cut"]


def test_a_client_that_is_gone_ends_the_connection_while_it_is_written_to() -> None:
    async def send(made: TlsTransport, protocol: Recorded) -> None:
        while not protocol.lost.is_set():
            made.write(bytes(1 << 20))
            await protocol.may_write.wait()
            await a_turn()
        assert made.is_closing()

    connected(lambda line: line.recv(1) and None, send)


def test_a_client_that_is_gone_ends_the_connection_while_a_thread_sends_to_it() -> None:
    async def send(made: TlsTransport, protocol: Recorded) -> None:
        while not protocol.lost.is_set():
            assert not await made.pour(lambda: [CONTENT], on_a_thread)
            await protocol.may_write.wait()
            await a_turn()
        assert made.is_closing()

    connected(lambda line: line.recv(1) and None, send)
