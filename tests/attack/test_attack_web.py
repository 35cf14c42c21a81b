"""Attacks on the HTTPS listener: each is answered clearly or cut off, and the worker answers the next caller."""

from __future__ import annotations

import fcntl
import re
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path

import pytest

from harness.archives import Credentials, add_peer, new_home, opened
from harness.https import RunningHttps, serving_https
from strongroom.web import http1, server

HOST = b"Host: localhost\r\n"
LIMITS = {
    "max_http_connections": 24,
    "max_http_connections_per_address": 12,
    "max_request_target_bytes": 2048,
    "max_request_headers": 20,
    "max_request_header_bytes": 4096,
    "http_header_timeout_s": 1.0,
    "http_idle_timeout_s": 2.0,
}
END_TIMEOUT_S = 20.0


class Line:
    """A TLS connection on which anything may be sent."""

    def __init__(self, worker: RunningHttps, credentials: Credentials | None = None) -> None:
        context = ssl.create_default_context(cafile=str(worker.archive.home.root / "ca.pem"))
        if credentials is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
        plain = socket.create_connection(("127.0.0.1", worker.port), timeout=END_TIMEOUT_S)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def to_end(self) -> bytes:
        """Everything that comes until the server closes."""
        got = b""
        while True:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                return got
            if not data:
                return got
            got += data

    def head(self) -> bytes:
        """The head of the next answer."""
        got = b""
        while b"\r\n\r\n" not in got:
            data = self.socket.recv(65536)
            assert data, got
            got += data
        return got


def statuses(said: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", said)]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHttps]:
    home = new_home(tmp_path_factory.mktemp("web") / "home", {"limits": LIMITS, "https": {"names": ["pacs.example"]}})
    with opened(home) as archive:
        add_peer(archive, "READER", "echo,find,get")
    with pytest.MonkeyPatch.context() as patched:
        # An answer that refuses leaves its client some time to read it: here it reads at once.
        patched.setattr(http1, "DISCARD_TIMEOUT_S", 0.2)
        patched.setattr(server, "CHECK_INTERVAL_S", 0.05)
        with serving_https(home) as running:
            yield running


@pytest.fixture
def line(worker: RunningHttps) -> Iterator[Callable[[], Line]]:
    """Opens connections of a registered peer; afterwards the worker still answers."""
    credentials = Credentials("READER", worker.archive.home.peers / "READER")
    with ExitStack() as stack:

        def connect(*, known: bool = True) -> Line:
            return stack.enter_context(closing(Line(worker, credentials if known else None)))

        yield connect
    with closing(Line(worker)) as after:
        after.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        assert statuses(after.head()) == [200]


REFUSED_AT_ONCE = {
    "both a length and a coding": (
        b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "two different lengths": (
        b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        400,
    ),
    "a length with a sign": (b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: +4\r\n\r\nabcd", 400),
    "a length in a list": (b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: 4, 4\r\n\r\nabcd", 400),
    "a length beyond all": (b"POST /dicomweb/studies HTTP/1.1\r\n%sContent-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
    "codings in a row": (b"POST /dicomweb/studies HTTP/1.1\r\n%sTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "two codings": (
        b"POST /dicomweb/studies HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "a coding that only looks so": (b"POST /dicomweb/studies HTTP/1.1\r\n%sTransfer-Encoding: xchunked\r\n\r\n", 501),
    "a coding in HTTP/1.0": (b"POST /dicomweb/studies HTTP/1.0\r\n%sTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "a folded header": (b"GET /dicomweb/studies HTTP/1.1\r\n%sX-A: b\r\n c\r\n\r\n", 400),
    "a space before the colon": (b"GET /dicomweb/studies HTTP/1.1\r\n%sX-A : b\r\n\r\n", 400),
    "a bare line feed": (b"GET /dicomweb/studies HTTP/1.1\n%s\n", 400),
    "a NUL in a header": (b"GET /dicomweb/studies HTTP/1.1\r\n%sX-A: a\0b\r\n\r\n", 400),
    "no host": (b"GET /dicomweb/studies HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /dicomweb/studies HTTP/1.1\r\n%s%s\r\n", 400),
    "somebody else's name": (b"GET /dicomweb/studies HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "a host that is none": (b"GET /dicomweb/studies HTTP/1.1\r\nHost: local host\r\n\r\n", 421),
    "an upgrade": (b"GET /dicomweb/studies HTTP/1.1\r\n%sConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
    "CONNECT": (b"CONNECT localhost:22 HTTP/1.1\r\n%s\r\n", 400),
    "an absolute target": (b"GET https://localhost/dicomweb/studies HTTP/1.1\r\n%s\r\n", 400),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00", 501),
    "an unknown method": (b"FROB /dicomweb/studies HTTP/1.1\r\n%s\r\n", 501),
    "HTTP/0.9": (b"GET /dicomweb/studies\r\n\r\n", 505),
    "HTTP/3.0": (b"GET /dicomweb/studies HTTP/3.0\r\n%s\r\n", 400),
    "an expectation nobody meets": (b"GET /dicomweb/studies HTTP/1.1\r\n%sExpect: miracles\r\n\r\n", 417),
    "a raw byte in the target": (b"GET /dicomweb/\xff HTTP/1.1\r\n%s\r\n", 400),
    "a fragment": (b"GET /dicomweb/studies#x HTTP/1.1\r\n%s\r\n", 400),
    "max_request_target_bytes": (b"GET /dicomweb/studies?a=" + b"x" * 3000 + b" HTTP/1.1\r\n%s\r\n", 414),
    "max_request_headers": (b"GET /dicomweb/studies HTTP/1.1\r\n%s" + b"X-A: b\r\n" * 30 + b"\r\n", 431),
    "max_request_header_bytes": (b"GET /dicomweb/studies HTTP/1.1\r\n%sX-A: " + b"b" * 5000 + b"\r\n\r\n", 431),
    "a header that never ends": (b"GET /dicomweb/studies HTTP/1.1\r\n%sX-A: " + b"b" * 50_000, 431),
}


@pytest.mark.parametrize("name", REFUSED_AT_ONCE)
def test_what_is_no_request_is_refused_and_the_connection_closed(line: Callable[[], Line], name: str) -> None:
    request, status = REFUSED_AT_ONCE[name]
    connection = line()
    connection.send(request.replace(b"%s", HOST))
    said = connection.to_end()
    assert statuses(said) == [status]
    assert b"application/problem+json" in said
    assert b"connection: close" in said
    assert b"server:" not in said.lower()


BAD_BODIES = {
    "a negative chunk": b"-3\r\nabc\r\n0\r\n\r\n",
    "a chunk beyond all": b"FFFFFFFFFFFFFFFFF\r\nabc\r\n",
    "a chunk longer than it says": b"3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk without its end": b"3\r\nabcX\r\n0\r\n\r\n",
    "a size that is none": b"zz\r\nabc\r\n",
    "trailers without end": b"0\r\nX-A: " + b"b" * 20_000,
    "an extension without end": b"3;" + b"e" * 50_000,
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_chunks_that_are_none_end_the_connection(line: Callable[[], Line], name: str) -> None:
    connection = line()
    head = b"POST /dicomweb/studies HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
    connection.send(head + b'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n\r\n')
    connection.send(BAD_BODIES[name])
    said = connection.to_end()
    assert statuses(said)[-1:] in ([400], [403], [431]), said


def test_a_body_where_none_belongs_is_refused(line: Callable[[], Line]) -> None:
    connection = line()
    connection.send(b"GET /dicomweb/studies HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabcd")
    assert statuses(connection.head()) == [400]


def test_what_is_smuggled_behind_a_refused_body_is_not_answered(line: Callable[[], Line]) -> None:
    connection = line()
    inner = b"GET /dicomweb/series HTTP/1.1\r\n" + HOST + b"\r\n"
    outer = b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(inner)
    connection.send(outer + inner)
    assert statuses(connection.to_end()) == [400]


PATHS = {
    "/dicomweb/studies/../../etc/passwd": 400,
    "/dicomweb/studies/%2e%2e/series": 400,
    "/dicomweb/studies/%2E%2E%2Fseries": 400,
    "/dicomweb/studies/1.2.3%2fseries": 400,
    "/dicomweb/studies/1.2.3%5cseries": 400,
    "/dicomweb/studies/1.2.3%00/series": 400,
    "/dicomweb/studies/%c0%ae%c0%ae/series": 400,
    "/dicomweb/studies/1.2.3%0d%0aX/series": 400,
    "/dicomweb/studies/abc/series": 400,
    "/dicomweb/studies/1.2.%33/series": 204,
    "/dicomweb/studies/" + "1" * 65 + "/series": 400,
    "//dicomweb/studies": 404,
    "/dicomweb//studies": 404,
    "/dicomweb/studies/": 404,
    "/dicomweb/./studies": 400,
    "/DICOMWEB/studies": 404,
    "/": 303,
    "/dicomweb/studies/1.2.3/series/1.2/instances/1/2/3": 404,
    "/dicomweb/studies?%zz=1": 400,
    "/dicomweb/studies?PatientID=%ff": 400,
    "/dicomweb/studies?PatientID=a%00b": 400,
    "/dicomweb/studies?PatientID=a%0d%0aSet-Cookie:x": 400,
    "/dicomweb/studies?StudyInstanceUID=1.2.*": 400,
    "/dicomweb/studies?limit=-1": 400,
    "/dicomweb/studies?limit=1e3": 400,
    "/dicomweb/studies?offset=99999999999999999999": 400,
    "/dicomweb/studies?NoSuchThing=1": 400,
    "/dicomweb/studies?StudyDate=20240230x": 400,
    "/dicomweb/studies?0020000D.0020000D.0020000D.0020000D.0020000D.0020000D=1": 413,
    "/dicomweb/studies?" + "&".join(f"includefield={n:08X}" for n in range(0x00100010, 0x00100010 + 60)): 200,
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_and_queries_that_trick_are_seen_through(line: Callable[..., Line], path: str) -> None:
    request = b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    known, stranger = line(), line(known=False)
    known.send(request)
    found = statuses(known.head())
    assert found == ([204] if PATHS[path] == 200 else [PATHS[path]])  # nothing is stored here
    stranger.send(request)
    assert statuses(stranger.head()) == [401]  # whoever is not known learns nothing of paths


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/dicomweb/studies", "/dicomweb/series", "/nothing/here"])
def test_every_method_has_its_answer(line: Callable[..., Line], method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    stranger = line(known=False)
    stranger.send(request)
    assert statuses(stranger.head()) == [401]
    known = line()
    known.send(request)
    said = known.head()
    if path.startswith("/nothing"):
        assert statuses(said) == [404]
    elif method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND") or (method == "POST" and path.endswith("series")):
        assert statuses(said) == [405]
        assert re.search(rb"\r\nallow: GET, HEAD, OPTIONS", said)
    elif method == "OPTIONS":
        assert statuses(said) == [204]
        assert b"\r\nallow: GET, HEAD" in said
    if method == "HEAD":
        assert said.endswith(b"\r\n\r\n")


def test_health_says_ok_and_nothing_else(line: Callable[..., Line]) -> None:
    stranger = line(known=False)
    stranger.send(b"GET /health HTTP/1.1\r\n" + HOST + b"Origin: https://evil.example\r\nConnection: close\r\n\r\n")
    said = stranger.to_end()
    head, _, body = said.partition(b"\r\n\r\n")
    assert (statuses(said), body) == ([200], b"ok\n")
    assert b"strict-transport-security: max-age=" in head
    assert b"x-content-type-options: nosniff" in head
    for telling in (b"access-control", b"server:", b"x-powered-by", b"strongroom"):
        assert telling not in head.lower()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8443", "127.0.0.1", "[::1]:443", "pacs.example", "10.9.8.7"])
def test_a_name_or_address_of_the_archive_is_answered(line: Callable[..., Line], host: str) -> None:
    connection = line()
    connection.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert statuses(connection.head()) == [200]


def test_a_page_of_somebody_else_is_told_nothing(line: Callable[..., Line]) -> None:
    connection = line()
    preflight = b"Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    connection.send(b"OPTIONS /dicomweb/studies HTTP/1.1\r\n" + HOST + preflight)
    assert b"access-control" not in connection.head().lower()


def test_a_head_that_trickles_is_cut_at_http_header_timeout_s(line: Callable[..., Line]) -> None:
    connection = line()
    connection.send(b"GET /dicomweb/studies HTTP/1.1\r\nHo")
    assert statuses(connection.to_end()) == [408]


def test_nothing_at_all_is_cut_at_http_idle_timeout_s(line: Callable[..., Line]) -> None:
    assert line(known=False).to_end() == b""


def test_many_requests_at_once_are_answered_in_order_and_more_are_refused(line: Callable[..., Line]) -> None:
    one = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    connection = line()
    connection.send(one * 4 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    said = connection.to_end()
    assert statuses(said) == [200] * 5
    assert said.count(b"ok\n") == 5
    flood = line()
    flood.send(one * 200)
    assert set(statuses(flood.to_end())) <= {200, 429}


def test_one_address_gets_max_http_connections_per_address(worker: RunningHttps, line: Callable[..., Line]) -> None:
    held: list[Line] = []
    refused = None
    while refused is None and len(held) <= LIMITS["max_http_connections_per_address"]:
        try:
            held.append(line())
        except OSError as error:  # ssl.SSLError is one
            refused = error
    assert refused is not None
    assert len(held) == LIMITS["max_http_connections_per_address"]
    for each in held:
        each.close()
    _until_answered(worker)


def test_an_index_that_keeps_one_caller_waiting_keeps_nobody_else(
    worker: RunningHttps, line: Callable[..., Line]
) -> None:
    """Another process may have its turn at the index for as long as it needs: a search waits, the worker does not."""
    searching, other = line(), line()
    with (worker.archive.home.data / "turn.lock").open("r+b") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        searching.send(b"GET /dicomweb/studies HTTP/1.1\r\n" + HOST + b"\r\n")
        other.socket.settimeout(2.0)
        for _ in range(5):
            other.send(b"OPTIONS /dicomweb/none HTTP/1.1\r\n" + HOST + b"\r\n")
            assert statuses(other.head()) == [404]
    assert statuses(searching.head()) == [204]


def _until_answered(worker: RunningHttps) -> None:
    """Return when the worker has noticed that connections are gone."""
    for number in count():
        try:
            with closing(Line(worker)) as one:
                one.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
                one.head()
                return
        except OSError:
            assert number < 1000


def test_a_certificate_of_another_authority_ends_the_connection(worker: RunningHttps, tmp_path: Path) -> None:
    with opened(new_home(tmp_path / "other")) as other:
        credentials = add_peer(other, "READER", "echo,find,get")
    said = b""
    # TLS 1.3 tells of the refusal with the first read, if at all before the connection is gone.
    with suppress(OSError), closing(Line(worker, credentials)) as connection:
        connection.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        said = connection.to_end()
    assert said == b""


def test_tls_before_1_2_is_refused(worker: RunningHttps) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with closing(socket.create_connection(("127.0.0.1", worker.port), timeout=END_TIMEOUT_S)) as plain:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)
        assert plain.fileno() == -1 or plain.recv(1) == b""


def test_handshakes_that_never_end_keep_nobody_out(worker: RunningHttps) -> None:
    """Half of them from one address leave room for whoever finishes his."""
    silent = [socket.create_connection(("127.0.0.1", worker.port)) for _ in range(6)]
    _until_answered(worker)
    for each in silent:
        each.close()
