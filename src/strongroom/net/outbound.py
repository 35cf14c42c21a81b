"""One request to a server that the configuration names: a time stamp authority, an identity provider.

One deadline for all of it, from the name to the last byte; one bound for the answer; its certificate good for its name;
no redirection followed: what is asked is asked there or nowhere.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from strongroom.errors import PeerUnavailable
from strongroom.net.tls import public_context

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``body`` None: GET, else POST. ``who`` is what the server is called in errors."""

    url: str
    who: str
    max_bytes: int
    timeout_s: float
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    trust: ssl.SSLContext | None = None
    """Whose certificates are good; None: those of the system's own CAs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status. ``media_type`` is type and subtype in lower case."""

    status: int
    media_type: str
    body: bytes = field(repr=False)


def ask(question: Question) -> Reply:
    """Send one request over ``https://`` (or ``http://``, if the address says so), and read the whole answer.

    Raises PeerUnavailable, which names no more of the address than its host.
    """
    parts = urlsplit(question.url)
    host = parts.hostname or ""
    deadline = time.monotonic() + question.timeout_s
    sockets: list[socket.socket] = []
    # A server that sends a byte now and then is within every timeout of a socket: this ends it.
    timer = threading.Timer(question.timeout_s, _cut, (sockets,))
    timer.daemon = True
    timer.start()
    try:
        connection = _connected(question, sockets, deadline)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        method = "GET" if question.body is None else "POST"
        connection.request(method, target, question.body, {**question.headers, "Connection": "close"})
        with connection.getresponse() as response:
            return _reply(response, question)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PeerUnavailable(f"{question.who} {host} cannot be asked: {_reason(error)}") from None
    finally:
        timer.cancel()
        for each in sockets:
            each.close()


def _connected(question: Question, sockets: list[socket.socket], deadline: float) -> http.client.HTTPConnection:
    """A connection whose every socket is in ``sockets`` before anything is waited for on it."""
    parts = urlsplit(question.url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (HTTPS_PORT if is_secure else HTTP_PORT)
    plain = _reached(host, port, deadline)
    _watch(plain, sockets, deadline)
    plain.settimeout(question.timeout_s)
    if not is_secure:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = plain
        return connection
    context = question.trust or public_context()
    secured = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    _watch(secured, sockets, deadline)
    secured.do_handshake()
    secure_connection = http.client.HTTPSConnection(host, port, context=context)
    secure_connection.sock = secured
    return secure_connection


def _watch(found: socket.socket, sockets: list[socket.socket], deadline: float) -> None:
    """Have a socket cut at the deadline. Raises TimeoutError if that has gone by: nobody will cut it any more."""
    sockets.append(found)
    if time.monotonic() >= deadline:
        raise TimeoutError("timed out")


def _reached(host: str, port: int, deadline: float) -> socket.socket:
    """The first address of a host that answers within the time. Raises OSError."""
    failure = OSError("no such host")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        found = socket.socket(family, kind, protocol)
        found.settimeout(left_s)
        try:
            found.connect(address)
        except OSError as error:
            found.close()
            failure = error
        else:
            return found
    raise failure


def _reply(response: http.client.HTTPResponse, question: Question) -> Reply:
    body = response.read(question.max_bytes + 1)
    if len(body) > question.max_bytes:
        raise PeerUnavailable(f"{question.who} answered with more than {question.max_bytes} bytes")
    if response.length:
        raise PeerUnavailable(f"{question.who} answered with {response.length} bytes less than it said")
    return Reply(response.status, response.headers.get_content_type(), body)


def _cut(sockets: list[socket.socket]) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
