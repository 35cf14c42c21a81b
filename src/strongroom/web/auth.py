"""Who calls over HTTPS: the bearer of an access token or of a JWT, a person with a session, or the peer whose
certificate the connection has.

A bearer token says by itself who acts. A certificate beside it is no second chance and adds no right: what the token
may do counts, and a token that is not good is refused whatever certificate comes with it (docs/adr/0013). So it is with
the cookie of a session, which counts where there is no token (docs/adr/0029).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from starlette.datastructures import Headers

from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.peers import Peer, Presented, identify
from strongroom.archive.people import digest_of as session_digest
from strongroom.archive.people import is_secret as is_session_secret
from strongroom.archive.tokens import Token, bearer, digest_of, is_secret
from strongroom.errors import Denied, MalformedRequest, Throttled, Unauthenticated
from strongroom.types import Principal
from strongroom.web.jwt import JwtVerifier
from strongroom.web.throttle import Throttle

QUERY_CREDENTIALS: Final = frozenset({"access_token", "api_key", "authorization", "bearer", "id_token", "jwt", "token"})
"""Names of query parameters that clients put credentials into (RFC 6750 2.3): they end up in logs and histories."""

SESSION_COOKIE: Final = "__Host-session"
DEVICE_COOKIE: Final = "__Host-device"
UNKNOWN_SESSION: Final = "unknown-session"
GUESSES: Final = frozenset({UNKNOWN_SESSION, "session-of-another"})
"""Sessions that nobody comes by honestly."""

MAX_FOUND: Final = 1024
"""Certificates whose peer is not looked for again, as long as no peer has changed."""

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the authenticator looks callers up.

    ``find_token`` takes the digest of a secret and looks at what is stored now; ``peers`` are those of now, revoked
    ones too, in another mapping whenever they have changed; ``read_certificate`` takes DER, and raises Denied for one
    that has expired. ``clock`` is seconds since 1970. ``record`` must not block.
    """

    find_token: Callable[[str], Token | None]
    peers: Callable[[], Mapping[str, Peer]]
    read_certificate: Callable[[bytes], Presented]
    record: Callable[[Event], None]
    clock: Callable[[], float]
    find_session: Callable[[str, str, str], Principal] | None = None
    jwt: JwtVerifier | None = field(default=None)
    max_bearer_bytes: int = 8192


class Authenticator:
    """Finds out who calls. Thread-safe; blocks for one look into the index."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._throttle = Throttle()
        self._found: dict[bytes, tuple[Mapping[str, Peer], Peer]] = {}

    def authenticate(self, headers: Headers, certificate_der: bytes, address: str) -> Principal:
        """The caller with these request headers, on a connection with this certificate (b"" = none) from ``address``.

        Raises Unauthenticated, for the trail with its reason; Throttled, which is one, when the address has to wait.
        """
        fields = headers.getlist("authorization")
        cookie = "" if fields else session_cookie(headers)
        if not fields and not cookie and not certificate_der:
            self._record("no-credentials", b"", address)  # whoever tries the doors is to be seen in the trail
            raise Unauthenticated("no-credentials")
        now = self._sources.clock()
        if cookie:
            return self._session(cookie, certificate_der, address)
        credential = sha256("\n".join(fields).encode("utf-8", "surrogatepass") if fields else certificate_der).digest()
        if wait_s := self._throttle.wait_s(address, credential, now):
            self._record("too-many-failures", certificate_der, address)
            raise Throttled("too-many-failures", wait_s)
        try:
            if fields:
                principal = self._bearer(fields, certificate_der, address, now)
            else:
                principal = self._peer(certificate_der, address)
        except (Denied, Unauthenticated) as error:
            self._throttle.failed(address, credential, now)
            self._record(error.reason, certificate_der, address)
            raise Unauthenticated(error.reason) from None
        self._throttle.succeeded(credential)
        return principal

    def denied(self, principal: Principal, reason: str) -> None:
        """Record that a known caller may not do what was asked for."""
        self._sources.record(Event(Action.AUTHENTICATION, Outcome.REFUSED, principal, {"reason": reason}))

    def _session(self, cookie: str, certificate_der: bytes, address: str) -> Principal:
        """Who has this session. Only what was never one counts as a guess: people leave theirs open, and come back.

        One that is good is let in whatever others at its address have tried: whoever has just signed in behind the
        gateway of a hospital has a session that this process has not seen yet.
        """
        bound = sha256(certificate_der).hexdigest() if certificate_der else ""
        try:
            if self._sources.find_session is None or not is_session_secret(cookie):
                raise Denied(UNKNOWN_SESSION)
            return self._sources.find_session(session_digest(cookie), bound, address)
        except Denied as error:
            if error.reason in GUESSES:
                self._guessed(cookie, error.reason, certificate_der, address)
            raise Unauthenticated(error.reason) from None

    def _guessed(self, cookie: str, reason: str, certificate_der: bytes, address: str) -> None:
        """Count a session that was made up. Raises Throttled if there were too many."""
        now, credential = self._sources.clock(), sha256(b"session " + cookie.encode("utf-8", "surrogatepass")).digest()
        if wait_s := self._throttle.wait_s(address, credential, now):
            self._record("too-many-failures", certificate_der, address)
            raise Throttled("too-many-failures", wait_s) from None
        self._throttle.failed(address, credential, now)
        self._record(reason, certificate_der, address)

    def _record(self, reason: str, certificate_der: bytes, address: str) -> None:
        fingerprint = sha256(certificate_der).hexdigest() if certificate_der else ""
        who = Principal("", fingerprint, "", address)
        self._sources.record(Event(Action.AUTHENTICATION, Outcome.REFUSED, who, {"reason": reason}))

    def _bearer(self, fields: list[str], certificate_der: bytes, address: str, now: float) -> Principal:
        if len(fields) > 1:
            raise Unauthenticated("several-credentials")
        if len(fields[0]) > self._sources.max_bearer_bytes:
            raise Unauthenticated("credential-too-long")
        found = _BEARER.fullmatch(fields[0].strip(" \t"))
        if found is None:
            raise Unauthenticated("no-bearer-token")
        text = found[1]
        if is_secret(text):
            return bearer(self._sources.find_token(digest_of(text)), int(now * 1e6), address)
        if self._sources.jwt is None:
            raise Unauthenticated("unknown-token")
        fingerprint = sha256(certificate_der).hexdigest() if certificate_der else ""
        return self._sources.jwt.verify(text, now, address, fingerprint)

    def _peer(self, certificate_der: bytes, address: str) -> Principal:
        presented, peers = self._sources.read_certificate(certificate_der), self._sources.peers()
        known_in, peer = self._found.get(certificate_der, (None, None))
        if peer is None or known_in is not peers:
            peer = _peer_of(presented, peers.values())
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            self._found[certificate_der] = (peers, peer)
        if peer.require_user:
            raise Denied("user-required")
        return identify(peer, presented, address)


def session_cookie(headers: Headers) -> str:
    """The secret of the session that a browser shows, "" if none."""
    return cookie_of(headers, SESSION_COOKIE)


def cookie_of(headers: Headers, name: str) -> str:
    """The value of a cookie (RFC 6265 5.4); the first one if there are several of its name, "" if there is none.

    With the prefix ``__Host-`` no other host and no plaintext page can have set it.
    """
    for field_value in headers.getlist("cookie"):
        for pair in field_value.split(";"):
            found, equals, value = pair.strip(" \t").partition("=")
            if equals and found == name:
                return value
    return ""


def _peer_of(presented: Presented, peers: Iterable[Peer]) -> Peer:
    """The one peer that a certificate is bound to: there is no AE title here that could choose among several.

    Raises Denied.
    """
    found = []
    for peer in peers:
        with suppress(Denied):
            identify(peer, presented, "")
            found.append(peer)
    if len(found) != 1:
        raise Denied("certificate-of-several-peers" if found else "certificate-of-no-peer")
    return found[0]


def refuse_query_credentials(names: Iterable[str]) -> None:
    """Return if no query parameter is one that carries a credential. Raises MalformedRequest."""
    if any(name.lower() in QUERY_CREDENTIALS for name in names):
        raise MalformedRequest("a credential belongs into the Authorization header, never into the address")
