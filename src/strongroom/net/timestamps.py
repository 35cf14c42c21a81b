"""Asking a time stamp authority over HTTP or HTTPS (RFC 3161 3.4): one request, one bounded answer, one deadline."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from urllib.parse import urlsplit

from strongroom.errors import PeerUnavailable
from strongroom.net.tls import public_context

TIMEOUT_S = 15.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


def ask(url: str, query: bytes, max_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send a TimeStampReq and return the body of the answer, unverified.

    Over HTTPS the server's certificate has to be good for its name by the system's own CAs. No redirection is followed.
    Raises PeerUnavailable.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=public_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # A server that sends a byte now and then is within every timeout of a socket: this ends it.
    deadline = threading.Timer(timeout_s, _cut, (connection,))
    deadline.daemon = True
    try:
        connection.connect()
        deadline.start()
        headers = {"Content-Type": _QUERY, "Accept": _REPLY, "Connection": "close"}
        connection.request("POST", target, query, headers)
        return _body(connection.getresponse(), max_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise PeerUnavailable(f"the time stamp authority {host} cannot be asked: {_reason(error)}") from None
    finally:
        deadline.cancel()
        connection.close()


def _body(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    if response.status != http.client.OK:
        raise PeerUnavailable(f"the time stamp authority answered with HTTP status {response.status}")
    kind = response.headers.get_content_type()
    if kind != _REPLY:
        raise PeerUnavailable("the time stamp authority answered with something that is no time stamp reply")
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise PeerUnavailable(f"the time stamp authority answered with more than {max_bytes} bytes")
    return body


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
