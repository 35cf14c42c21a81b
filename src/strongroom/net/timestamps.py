"""Asking a time stamp authority over HTTP or HTTPS (RFC 3161 3.4): one request, one bounded answer, one deadline."""

from __future__ import annotations

from http import HTTPStatus

from strongroom.errors import PeerUnavailable
from strongroom.net import outbound
from strongroom.net.outbound import Question

TIMEOUT_S = 15.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_WHO = "the time stamp authority"


def ask(url: str, query: bytes, max_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send a TimeStampReq and return the body of the answer, unverified.

    Over HTTPS the server's certificate has to be good for its name by the system's own CAs. No redirection is followed.
    Raises PeerUnavailable.
    """
    headers = {"Content-Type": _QUERY, "Accept": _REPLY}
    reply = outbound.ask(Question(url, _WHO, max_bytes, timeout_s, query, headers))
    if reply.status != HTTPStatus.OK:
        raise PeerUnavailable(f"{_WHO} answered with HTTP status {reply.status}")
    if reply.media_type != _REPLY:
        raise PeerUnavailable(f"{_WHO} answered with something that is no time stamp reply")
    return reply.body
