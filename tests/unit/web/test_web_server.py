"""The server itself, with applications made for the purpose: framing, keep-alive, slow clients, an orderly end."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from strongroom.config import LimitsSection
from strongroom.net.certificates import Issued, encrypted_key, issue, new_authority
from strongroom.net.tls import Identity, web_context
from strongroom.web import http1
from strongroom.web.exchange import App, ClientGone
from strongroom.web.server import WebServer

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = new_authority("0123456789abcdef", NOW)
SERVER = issue(AUTHORITY, "TEST", ["localhost", "127.0.0.1"], NOW, 30)
HEAD = b"HTTP/1.1\r\nHost: localhost\r\n"
TIMEOUT_S = 20.0


def identity(issued: Issued) -> Identity:
    chain = issued.certificate_pem + AUTHORITY.certificate_pem
    return Identity(chain, encrypted_key(issued.key_pem, b"secret"), b"secret")


@dataclass
class Served:
    """A running server: ``stop`` makes it end, ``thread`` ends with it."""

    port: int
    stop: Callable[[], None]
    thread: threading.Thread

    def line(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        return context.wrap_socket(plain, server_hostname="localhost")


@contextmanager
def served(app: App, drain_s: float = 5.0, send_buffer_bytes: int = 0, **limits: Any) -> Iterator[Served]:
    context = web_context(identity(SERVER), [AUTHORITY.certificate_pem.decode()])
    server = WebServer(app, LimitsSection(**limits), frozenset({"localhost"}), lambda: context)
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer_bytes:  # which what it accepts has too
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    begun = threading.Event()
    ends: list[Callable[[], object]] = []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        begun.set()
        await server.serve(listener, stop, drain_s)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(TIMEOUT_S)
    try:
        yield Served(port, lambda: (ends[0](), None)[1], thread)
    finally:
        if thread.is_alive():
            ends[0]()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def to_end(line: ssl.SSLSocket) -> bytes:
    got = b""
    while True:
        try:
            data = line.recv(1 << 20)
        except ssl.SSLEOFError:  # closed without TLS's own word for it: the answer is cut
            return got + b"<cut>"
        except OSError:
            return got + b"<cut>"
        if not data:
            return got
        got += data


def ask(port: Served, request: bytes) -> bytes:
    with closing(port.line()) as line:
        line.sendall(request)
        return to_end(line)


async def read_whole(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was sent, in pieces of unknown number."""
    body = await read_whole(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-method", scope["method"].encode())]})
    for at in range(0, len(body), 1000):
        await send({"type": "http.response.body", "body": body[at : at + 1000], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def ok(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_body_of_known_length_comes_back_in_chunks() -> None:
    body = bytes(range(256)) * 3000
    with served(echo) as server:
        said = ask(server, b"POST / " + HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head, _, rest = said.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert re.search(rb"\r\ndate: [A-Z][a-z]{2}, ", head)
    assert dechunked(rest) == body


def dechunked(raw: bytes) -> bytes:
    body = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert raw == b"\r\n"
            return body
        body += raw[:length]
        assert raw[length : length + 2] == b"\r\n"
        raw = raw[length + 2 :]


def test_a_body_in_chunks_is_taken_whatever_their_size() -> None:
    with served(echo) as server, closing(server.line()) as line:
        line.sendall(b"POST / " + HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"a", b"bc", b"d" * 5000):
            line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        line.sendall(b"0\r\nX-Trailer: ignored\r\n\r\n")
        assert dechunked(to_end(line).partition(b"\r\n\r\n")[2]) == b"abc" + b"d" * 5000


def test_an_old_client_gets_its_answer_to_the_end_of_the_connection() -> None:
    with served(echo) as server:
        said = ask(server, b"POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
    assert said.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in said


def test_head_gets_the_head_alone() -> None:
    with served(ok) as server:
        said = ask(server, b"HEAD / " + HEAD + b"Connection: close\r\n\r\n")
    assert b"content-length: 2\r\n" in said
    assert said.endswith(b"\r\n\r\n")


def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    with served(echo) as server, closing(server.line()) as line:
        line.sendall(b"POST / " + HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.sendall(b"abc")
        assert b"HTTP/1.1 200 OK" in to_end(line)


def test_a_client_that_is_refused_before_its_body_is_not_told_to_go_on() -> None:
    with served(ok) as server, closing(server.line()) as line:
        line.sendall(b"POST / " + HEAD + b"Expect: 100-continue\r\nContent-Length: 3000000\r\n\r\n")
        said = to_end(line)
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in said


def test_an_answer_before_the_end_of_the_body_reaches_the_client() -> None:
    with served(ok) as server, closing(server.line()) as line:
        line.sendall(b"POST / " + HEAD + b"Content-Length: 3000000\r\n\r\n" + bytes(1_000_000))
        assert line.recv(4096).startswith(b"HTTP/1.1 200 OK")
        line.sendall(bytes(2_000_000))


def test_one_connection_takes_many_requests() -> None:
    with served(ok) as server, closing(server.line()) as line:
        for _ in range(50):
            line.sendall(b"GET / " + HEAD + b"\r\n")
            assert line.recv(4096).endswith(b"ok")


@pytest.mark.parametrize("length", [b"5", b"1"])
def test_an_answer_that_is_not_as_long_as_it_says_is_cut(length: bytes) -> None:
    async def wrong(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"abc"})

    with served(wrong) as server:
        said = ask(server, b"GET / " + HEAD + b"\r\n")
    assert b"abc" not in said


def test_an_answer_that_fails_midway_does_not_look_whole() -> None:
    async def fails(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise RuntimeError("the disk is gone")

    with served(fails) as server:
        said = ask(server, b"GET / " + HEAD + b"\r\n")
    assert not said.endswith(b"0\r\n\r\n")


def test_a_header_cannot_be_split() -> None:
    async def splits(_scope: Any, _receive: Any, send: Any) -> None:
        value = b"a\r\nset-cookie: b"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", value)]})

    with served(splits) as server:
        assert b"set-cookie" not in ask(server, b"GET / " + HEAD + b"\r\n")


def test_a_handler_learns_that_its_client_is_gone() -> None:
    learnt = threading.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        except OSError:
            learnt.set()
            raise

    with served(endless) as server:
        line = server.line()
        line.sendall(b"GET / " + HEAD + b"\r\n")
        line.recv(1)
        line.close()
        assert learnt.wait(TIMEOUT_S)


def test_a_handler_waiting_for_a_body_learns_it_as_well() -> None:
    learnt = threading.Event()

    async def waits(_scope: Any, receive: Any, _send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        learnt.set()

    with served(waits) as server:
        line = server.line()
        line.sendall(b"POST / " + HEAD + b"Content-Length: 10\r\n\r\nab")
        line.close()
        assert learnt.wait(TIMEOUT_S)


def test_memory_stays_bounded_while_nobody_reads_the_body() -> None:
    may_read = threading.Event()
    sizes: list[int] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, may_read.wait, TIMEOUT_S)
        first = await receive()
        sizes.append(len(first["body"]))
        await read_whole(receive) if first["more_body"] else None
        await ok(scope, receive, send)

    with served(slow) as server, closing(server.line()) as line:
        line.settimeout(1.0)
        line.sendall(b"POST / " + HEAD + b"Content-Length: 40000000\r\n\r\n")
        sent = 0
        try:
            while sent < 40_000_000:
                line.sendall(bytes(1_000_000))
                sent += 1_000_000
        except TimeoutError:
            pass
        assert sent < 40_000_000
        may_read.set()
        assert sizes or to_end(line) is not None
    assert max(sizes, default=0) < 2_000_000


def test_a_body_slower_than_min_receive_bytes_per_s_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "CHECKED_EVERY_S", 1.0)
    with served(echo, min_receive_bytes_per_s=1000) as server, closing(server.line()) as line:
        line.sendall(b"POST / " + HEAD + b"Content-Length: 10000\r\n\r\nabc")
        assert to_end(line).startswith(b"HTTP/1.1 408 ")


def test_a_reader_slower_than_min_send_bytes_per_s_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "CHECKED_EVERY_S", 1.0)
    ended = threading.Event()

    async def much(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        finally:
            ended.set()

    with served(much, min_send_bytes_per_s=1000) as server, closing(server.line()) as line:
        line.sendall(b"GET / " + HEAD + b"\r\n")
        line.recv(1)
        assert ended.wait(TIMEOUT_S)


@pytest.mark.parametrize("header", [b"Connection: close\r\n", b""])
def test_a_reader_that_stops_before_the_end_of_its_answer_is_cut(
    header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So little is left that nobody waits to write it; the connection takes a place all the same."""
    monkeypatch.setattr(http1, "CHECKED_EVERY_S", 1.0)
    body = bytes(1_000_000)

    async def some(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})
        await send({"type": "http.response.body", "body": body})

    with served(some, send_buffer_bytes=65_536, max_http_connections=1, http_idle_timeout_s=1) as server:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", server.port))
        trusting = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
        with closing(trusting.wrap_socket(plain, server_hostname="localhost")) as line:
            line.sendall(b"GET / " + HEAD + header + b"\r\n")
            deadline = time.monotonic() + TIMEOUT_S
            while True:
                try:
                    assert ask(server, b"GET / " + HEAD + b"Connection: close\r\n\r\n").endswith(body)
                    break
                except OSError:  # there is no room yet
                    assert time.monotonic() < deadline


def test_too_many_requests_at_once_are_answered_with_429_after_those_before(caplog: pytest.LogCaptureFixture) -> None:
    with served(ok) as server, closing(server.line()) as line:
        line.sendall(12 * (b"GET / " + HEAD + b"\r\n"))
        answers = to_end(line)
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answers) == [b"200"] * 9 + [b"429"]
    assert b"<cut>" not in answers
    assert not caplog.records


BAD_CHUNK = b"POST / " + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"


@pytest.mark.parametrize("then", [b"GET / HTTP/1.1\nHost: localhost\n\n", BAD_CHUNK])
def test_what_is_wrong_with_the_next_request_does_not_take_the_answer_to_this_one(then: bytes) -> None:
    go_on = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, TIMEOUT_S)
        await ok(scope, receive, send)

    with served(slow) as server, closing(server.line()) as line:
        line.sendall(b"GET / " + HEAD + b"\r\n" + b"GET / " + HEAD + b"\r\n" + then)
        ask(server, b"BROKEN\r\n\r\n")  # what was sent before has come by now
        go_on.set()
        answers = to_end(line)
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answers) == [b"200", b"200", b"400"]
    assert b"<cut>" not in answers


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_strangers_certificate_ends_the_connection_with_the_alert_that_says_so(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """There is no HTTP answer to it: TLS comes first, and says "unknown ca"."""
    own = issue(new_authority("fedcba9876543210", NOW), "STRANGER", [], NOW, 30)
    (tmp_path / "pem").write_bytes(own.certificate_pem + own.key_pem)
    context = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
    context.load_cert_chain(tmp_path / "pem")
    context.minimum_version = context.maximum_version = version
    with served(ok) as server, socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as plain:
        with (
            pytest.raises(ssl.SSLError, match=r"unknown.ca"),
            closing(context.wrap_socket(plain, server_hostname="localhost")) as line,
        ):
            line.recv(1)
        assert ask(server, b"GET / " + HEAD + b"Connection: close\r\n\r\n").endswith(b"ok")


def test_an_answer_that_is_cut_at_the_end_may_still_say_so() -> None:
    began, may_say, said = threading.Event(), threading.Event(), threading.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
                began.set()
        finally:
            await asyncio.get_running_loop().run_in_executor(None, may_say.wait, TIMEOUT_S)  # to write the record
            said.set()

    with served(endless, drain_s=0.1) as server, closing(server.line()) as line:
        line.sendall(b"GET / " + HEAD + b"\r\n")
        assert began.wait(TIMEOUT_S)
        server.stop()
        to_end(line)
        may_say.set()
        server.thread.join(TIMEOUT_S)
        assert said.is_set()


def test_memory_stays_bounded_while_nobody_reads_the_answers() -> None:
    answered: list[int] = []

    async def much(_scope: Any, _receive: Any, send: Any) -> None:
        answered.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4194304")]})
        await send({"type": "http.response.body", "body": bytes(4 << 20)})

    with served(much) as server, closing(server.line()) as line:
        for _ in range(8):
            line.sendall(b"GET / " + HEAD + b"\r\n")
        ask(server, b"GET / " + HEAD + b"Connection: close\r\n\r\n")
        assert len(answered) < 5, "answers pile up for a client that takes none"
        got = 0
        while got < 8 * (4 << 20):  # once they are taken, the next ones are made
            data = line.recv(1 << 20)
            assert data
            got += len(data)
    assert len(answered) == 9


def test_what_is_under_way_is_finished_before_the_end() -> None:
    began, may_go_on = threading.Event(), threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.get_running_loop().run_in_executor(None, may_go_on.wait, TIMEOUT_S)
        await ok(scope, receive, send)

    with served(slow) as server, ExitStack() as stack:
        line, idle = (stack.enter_context(closing(server.line())) for _ in range(2))
        line.sendall(b"GET / " + HEAD + b"\r\n")
        assert began.wait(TIMEOUT_S)
        server.stop()
        assert to_end(idle) == b""
        may_go_on.set()
        said = to_end(line)
        assert said.endswith(b"ok")
        server.thread.join(TIMEOUT_S)
        assert not server.thread.is_alive()


def test_what_takes_longer_than_the_drain_timeout_is_cut() -> None:
    began = threading.Event()

    async def forever(_scope: Any, _receive: Any, _send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    with served(forever, drain_s=0.1) as server, closing(server.line()) as line:
        line.sendall(b"GET / " + HEAD + b"\r\n")
        assert began.wait(TIMEOUT_S)
        server.stop()
        server.thread.join(TIMEOUT_S)
        assert not server.thread.is_alive()
        assert b"200" not in to_end(line)


def test_a_handshake_that_never_ends_is_cut_and_max_handshakes_ends_the_oldest() -> None:
    with served(ok, max_handshakes=2, tls_handshake_timeout_s=600.0) as server, ExitStack() as stack:
        silent = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)))
            for _ in range(3)
        ]
        assert silent[0].recv(1) == b""
        with closing(server.line()) as line:
            line.sendall(b"GET / " + HEAD + b"\r\n")
            assert line.recv(4096).endswith(b"ok")


def test_max_http_connections_holds_for_all_together() -> None:
    with served(ok, max_http_connections=2) as server, ExitStack() as stack:
        for _ in range(2):
            line = stack.enter_context(closing(server.line()))
            line.sendall(b"GET / " + HEAD + b"\r\n")
            line.recv(4096)
        with pytest.raises(OSError):
            server.line()
