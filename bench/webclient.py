"""An HTTPS client reduced to bytes, so that both servers are measured by the same few microseconds of client.

Requests are encoded before the clock starts; an answer is read into one reused buffer. It shares no code with the
package (RFC 9112: message framing by Content-Length or by chunks).
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import wire

JSON = "application/dicom+json"
READ_BYTES = 1 << 20
HEAD_END = b"\r\n\r\n"

Consume = Callable[[memoryview], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where DICOMweb is served: ``root`` is the path of the service, ``authority`` the CA file of its certificate."""

    host: str
    port: int
    root: str
    authorization: str
    authority: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``length`` bytes of content, and the content itself if it was asked to be kept."""

    status: int
    headers: dict[str, str]
    length: int
    content: bytes


class Connection:
    """One connection that is kept alive, and a context manager that closes it."""

    def __init__(self, endpoint: Endpoint, timeout_s: float = 120.0) -> None:
        self.endpoint, self._timeout_s = endpoint, timeout_s
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._open()

    def _open(self) -> None:
        endpoint = self.endpoint
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=self._timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(endpoint.authority)
        try:
            self.socket = context.wrap_socket(plain)
        except BaseException:
            plain.close()
            raise
        self.cipher = self.socket.cipher()
        self._start = self._end = 0

    def refresh(self) -> None:
        """Connect again if the server has closed: a kept-alive connection that is idle may go at any time."""
        if select.select([self.socket], [], [], 0)[0]:
            self.socket.close()
            self._open()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def encode(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        """Return a request's head; ``path`` is below the service's root."""
        lines = {"Host": f"{self.endpoint.host}:{self.endpoint.port}", "Authorization": self.endpoint.authorization}
        text = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
        return f"{method} {self.endpoint.root}{path} HTTP/1.1\r\n{text}\r\n".encode("ascii")

    def get(self, path: str, accept: str) -> Answer:
        """Return the answer to a GET with its content; PeerError if it is no success."""
        return self.exchange(self.encode("GET", path, {"Accept": accept}))

    def exchange(self, request: bytes, body: Iterable[bytes] = (), *, keep: bool = True) -> Answer:
        """Send an encoded request and read the whole answer.

        Raises:
            wire.PeerError: the status is not 2xx, or the server closed the connection.
        """
        self.socket.sendall(request)
        for piece in body:
            self.socket.sendall(piece)
        status, headers = self._head()
        kept = bytearray()
        length = self._content(status, headers, kept.extend if keep or status >= 300 else _drop)
        if not 200 <= status < 300:
            raise wire.PeerError(f"HTTP status {status}: {bytes(kept[:200])!r}")
        return Answer(status, headers, length, bytes(kept))

    def _receive(self) -> None:
        """Wait for more bytes behind those that are unread."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == READ_BYTES:
            left = bytes(self._view[self._start : self._end])
            self._view[: len(left)] = left
            self._start, self._end = 0, len(left)
        got = self.socket.recv_into(self._view[self._end :])
        if not got:
            raise wire.PeerError("the server closed the connection")
        self._end += got

    def _line(self, mark: bytes) -> bytes:
        """Return everything up to ``mark``, which is read too."""
        while (found := self._buffer.find(mark, self._start, self._end)) < 0:
            self._receive()
        raw = bytes(self._view[self._start : found])
        self._start = found + len(mark)
        return raw

    def _head(self) -> tuple[int, dict[str, str]]:
        while True:
            first, *lines = self._line(HEAD_END).decode("latin-1").split("\r\n")
            status = int(first.split(" ", 2)[1])
            if status != 100:
                break
        named = (line.partition(":") for line in lines)
        return status, {name.strip().lower(): value.strip() for name, _, value in named}

    def _content(self, status: int, headers: dict[str, str], consume: Consume) -> int:
        if status in (204, 304):
            return 0
        if headers.get("transfer-encoding", "").lower() != "chunked":
            if "content-length" not in headers:
                return self._to_end(consume)
            return self._pass(int(headers["content-length"]), consume)
        total = 0
        while size := int(self._line(b"\r\n").partition(b";")[0], 16):
            total += self._pass(size, consume)
            self._line(b"\r\n")
        while self._line(b"\r\n"):
            continue
        return total

    def _to_end(self, consume: Consume) -> int:
        """Read until the server closes, which is how Orthanc ends what it streams."""
        total = self._end - self._start
        consume(self._view[self._start : self._end])
        while got := self.socket.recv_into(self._view):
            consume(self._view[:got])
            total += got
        self._start = self._end = 0
        return total

    def _pass(self, length: int, consume: Consume) -> int:
        left = length
        while left:
            if self._start == self._end:
                self._receive()
            here = min(left, self._end - self._start)
            consume(self._view[self._start : self._start + here])
            self._start += here
            left -= here
        return length


def _drop(_: memoryview) -> None:
    """Read and forget: what is measured is the server."""
