"""Adding, listing and revoking peers; certificates are issued or bound here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from strongroom.app import Archive, now_utc
from strongroom.archive.access import parse_scope, scope_details
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Binding, Peer
from strongroom.errors import ConfigError, NotFound
from strongroom.net.certificates import (
    PEER_DAYS,
    Issued,
    is_reversed,
    issue,
    parse_subject,
    read_certificate,
    require_strong_key,
)
from strongroom.net.certificates import days_left as certificate_days_left
from strongroom.store.transaction import Transaction
from strongroom.types import AeTitle, Right


@dataclass(frozen=True, slots=True)
class NewPeer:
    """What the operator says of a peer; None leaves what a known peer has. Without ``certificate_pem`` one is issued.

    A new peer has, of what is left out, the right to echo, no limit, no address and no need of a user. An ``address``
    is host and port, ("", 0) for none.
    With ``ca_pem`` the peer is whoever presents a certificate of exactly ``subject`` (RFC 4514) that this CA issued.
    """

    aet: AeTitle
    rights: frozenset[Right] | None = None
    address: tuple[str, int] | None = None
    certificate_pem: bytes = b""
    ca_pem: bytes = b""
    subject: str = ""
    require_user: bool | None = None
    days: int = PEER_DAYS
    scope: tuple[str, ...] = ()
    """Terms of ``archive.access.parse_scope``: ``("all",)`` lifts the limits of a known peer."""


def add(archive: Archive, new: NewPeer) -> tuple[Peer, Path | None]:
    """Register a peer, or change it; returns it and the folder of the credentials that were issued, if any.

    Raises ConfigError if what is said of the peer does not hold together.
    """
    if new.aet == archive.aet:
        raise ConfigError("a peer cannot have the archive's own AE title")
    _check_binding(new)
    _check_scope(new)
    bound = _bound(new)
    issued: Issued | None = None
    authority = archive.tls().authority

    def work(transaction: Transaction) -> Peer:
        # Read where it is written: a revocation that comes between is seen, never undone.
        nonlocal issued
        known = archive.index.registry.peers(transaction.cursor).get(new.aet)
        identity, issued = bound, None
        if identity is None and known is not None and not known.revoked_us:
            identity = known  # the certificate that the peer has stays good
        peer = _merged(new, known)
        if identity is None:
            issued = issue(authority, new.aet, [peer.host] if peer.host else [], now_utc(), new.days)
            identity = _bound_by_fingerprint(new, issued.certificate_pem)
        peer = replace(
            peer,
            binding=identity.binding,
            fingerprint=identity.fingerprint,
            subject=identity.subject,
            certificate=identity.certificate,
        )
        _put(archive, transaction, peer, "add")
        return peer

    peer = archive.index.database.write(work)
    if issued is None:
        return peer, None
    folder = archive.home.peers / _folder_name(new.aet)
    _write_credentials(folder, issued.certificate_pem, issued.key_pem, authority.certificate_pem)
    return peer, folder


def _check_binding(new: NewPeer) -> None:
    if new.ca_pem and new.certificate_pem:
        raise ConfigError("--cert and --ca contradict each other: bind one certificate, or a subject under a CA")
    if new.subject and not new.ca_pem:
        raise ConfigError("--subject needs --ca: the CA that issued the certificate with this subject")


def _check_scope(new: NewPeer) -> None:
    if new.scope:
        parse_scope(new.scope)


def _merged(new: NewPeer, known: Peer | None) -> Peer:
    """The peer with what was said of it over what is known; bound to no certificate yet if it is new."""
    peer = known or Peer(new.aet, frozenset((Right.ECHO,)), Binding.FINGERPRINT, "", "", "")
    host, port = (peer.host, peer.port) if new.address is None else new.address
    return replace(
        peer,
        rights=peer.rights if new.rights is None else new.rights,
        host=host,
        port=port,
        require_user=peer.require_user if new.require_user is None else new.require_user,
        added_us=int(time.time() * 1e6),
        revoked_us=0,
        scope=parse_scope(new.scope) if new.scope else peer.scope,
    )


def not_after(peer: Peer) -> str | None:
    """The last day of a peer's own certificate; None where it may be any of a subject, or is not kept (older archives
    kept none that they had issued)."""
    if peer.binding is not Binding.FINGERPRINT or not peer.certificate:
        return None
    return read_certificate(peer.certificate.encode()).not_after.date().isoformat()


def days_left(peer: Peer) -> int | None:
    """Whole days until then, negative if it is past; None where that is not known."""
    return None if not_after(peer) is None else certificate_days_left(peer.certificate.encode(), now_utc())


def warnings(archive: Archive, peer: Peer) -> list[str]:
    """What an operator who has just added or revoked ``peer`` should know about its certificate."""
    known = peers(archive).values()
    found = []
    others = [other.aet for other in known if other.aet != peer.aet and not other.revoked_us and _is_same(other, peer)]
    if others:
        found.append(f"the same certificate also gets in as {', '.join(others)}: revoke that as well to refuse it")
    if not peer.revoked_us and peer.binding is Binding.CA_SUBJECT and is_reversed(peer.subject):
        found.append(
            f"{peer.subject} ends with the common name: OpenSSL prints names that way, RFC 4514 begins with it"
        )
    return found


def _is_same(one: Peer, other: Peer) -> bool:
    if one.binding is not other.binding:
        return False
    if one.binding is Binding.FINGERPRINT:
        return one.fingerprint == other.fingerprint
    return (one.subject, one.certificate) == (other.subject, other.certificate)


def revoke(archive: Archive, aet: str) -> Peer:
    """Refuse a peer from now on. Raises NotFound."""

    def work(transaction: Transaction) -> Peer:
        peer = archive.index.registry.peers(transaction.cursor).get(aet)
        if peer is None:
            raise NotFound(f"no peer is called {aet}")
        peer = replace(peer, revoked_us=int(time.time() * 1e6))
        _put(archive, transaction, peer, "revoke")
        return peer

    return archive.index.database.write(work)


def peers(archive: Archive) -> dict[str, Peer]:
    """Every peer by AE title."""
    with archive.index.database.read() as cursor:
        return archive.index.registry.peers(cursor)


def _put(archive: Archive, transaction: Transaction, peer: Peer, what: str) -> None:
    details: dict[str, Detail] = {
        "what": what,
        "peer": str(peer.aet),
        "rights": tuple(sorted(peer.rights)),
        "address": peer.address,
        "binding": peer.binding.value,
        "certificate": peer.fingerprint or peer.subject[:128],
        "scope": scope_details(peer.scope),
    }
    archive.index.registry.put_peer(transaction.cursor, peer)
    transaction.record(Event(Action.PEER_CHANGE, Outcome.SUCCESS, archive.principal, details))


def _bound(new: NewPeer) -> Peer | None:
    """A peer with the binding that the operator gave; None if he gave none."""
    if new.ca_pem:
        return _bound_by_ca(new)
    if new.certificate_pem:
        return _bound_by_fingerprint(new, new.certificate_pem)
    return None


def _bound_by_fingerprint(new: NewPeer, pem: bytes) -> Peer:
    facts = read_certificate(pem)
    if facts.not_after < now_utc():
        raise ConfigError(f"the certificate of {new.aet} expired on {facts.not_after.date()}")
    require_strong_key(facts.pem)
    return _peer(new, Binding.FINGERPRINT, facts.fingerprint, facts.subject, facts.pem)


def _bound_by_ca(new: NewPeer) -> Peer:
    facts = read_certificate(new.ca_pem)
    if not facts.is_ca:
        raise ConfigError("--ca is no CA certificate: bind a peer's own certificate with --cert")
    if not new.subject:
        raise ConfigError("--ca needs --subject: the subject that its certificate for this peer has")
    return _peer(new, Binding.CA_SUBJECT, "", parse_subject(new.subject), facts.pem)


def _peer(new: NewPeer, binding: Binding, fingerprint: str, subject: str, certificate: str) -> Peer:
    return Peer(new.aet, frozenset(), binding, fingerprint, subject, certificate)


def _folder_name(aet: AeTitle) -> str:
    """The AE title where it is a plain file name; else its bytes, so that no title can name another folder."""
    if all(character.isalnum() or character in "-_" for character in aet):
        return aet
    return "aet-" + aet.encode().hex()


def _write_credentials(folder: Path, certificate: bytes, key: bytes, authority: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in (("cert.pem", certificate), ("key.pem", key), ("ca.pem", authority)):
        path = folder / name
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
