"""Registered peers, and who a caller is: an AE title is believed only together with the certificate bound to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from strongroom.errors import ConfigError, Denied
from strongroom.types import AeTitle, Principal, Right, Scope


class Binding(StrEnum):
    """How a peer's certificate is recognised."""

    FINGERPRINT = "fingerprint"
    CA_SUBJECT = "ca-subject"


@dataclass(frozen=True, slots=True)
class Peer:
    """One registered application entity.

    ``certificate`` is the PEM to trust: the peer's own, or, for CA_SUBJECT, the CA that must have issued one with
    exactly ``subject`` (RFC 4514). ``host`` "" = no C-MOVE destination. Times are microseconds since 1970, 0 = never.
    ``scope`` is what the peer may touch when it calls, None = all.
    """

    aet: AeTitle
    rights: frozenset[Right]
    binding: Binding
    fingerprint: str
    subject: str
    certificate: str = field(repr=False)
    host: str = ""
    port: int = 0
    require_user: bool = False
    added_us: int = 0
    revoked_us: int = 0
    scope: Scope | None = None

    @property
    def address(self) -> str:
        """``host:port`` (IPv6 in brackets), or "" if none was given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else ""


@dataclass(frozen=True, slots=True)
class Presented:
    """The certificate a TLS connection presented, and a check whether a given CA (PEM) issued it."""

    fingerprint: str
    subject: str
    issued_by: Callable[[str], bool] = field(repr=False)


def identify(peer: Peer | None, presented: Presented, address: str, user: str = "") -> Principal:
    """The principal behind a connection that calls itself ``peer``.

    Raises Denied: unknown-peer, peer-revoked or certificate-not-of-peer.
    """
    if peer is None:
        raise Denied("unknown-peer")
    if peer.revoked_us:
        raise Denied("peer-revoked")
    if peer.binding is Binding.FINGERPRINT:
        known = presented.fingerprint == peer.fingerprint
    else:
        known = presented.subject == peer.subject and presented.issued_by(peer.certificate)
    if not known:
        raise Denied("certificate-not-of-peer")
    return Principal(peer.aet, presented.fingerprint, user, address, peer.rights & OF_MACHINES, peer.scope)


PEER_RIGHTS: Final = (
    Right.ECHO, Right.STORE, Right.FIND, Right.GET, Right.MOVE, Right.COMMIT, Right.DELETE, Right.METRICS,
)  # fmt: skip
"""What can be granted to a machine."""
OF_MACHINES: Final = frozenset(PEER_RIGHTS)
"""A peer of an earlier version may have others."""


def parse_rights(text: str) -> frozenset[Right]:
    """``echo,store`` -> rights. Raises ConfigError for a word that is none, or is one for people."""
    rights = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word not in PEER_RIGHTS:
            raise ConfigError(f"no right of a peer is called {word!r}: use {', '.join(PEER_RIGHTS)}")
        rights.add(Right(word))
    return frozenset(rights)


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (IPv6 in brackets) -> host and port. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError("an address is HOST:PORT, for example 192.0.2.10:2762")
    return host, int(port)
