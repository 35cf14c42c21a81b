"""Adding, listing and revoking peers; certificates are issued or bound here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from strongroom.admin.standing import acting
from strongroom.app import Archive, now_utc
from strongroom.archive.access import parse_scope, scope_details
from strongroom.archive.administration import NewPeer as NewPeer
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
from strongroom.types import AeTitle, Principal, Right


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A peer that was registered. ``issued`` is its new certificate and key, None if it has one already."""

    peer: Peer
    issued: Issued | None
    authority_pem: bytes


def add(archive: Archive, new: NewPeer) -> tuple[Peer, Path | None]:
    """Register a peer, or change it; returns it and the folder of the credentials that were issued, if any.

    Raises ConfigError if what is said of the peer does not hold together.
    """
    done = enrol(archive, new)
    if done.issued is None:
        return done.peer, None
    folder = archive.home.peers / folder_name(new.aet)
    _write_credentials(folder, done.issued.certificate_pem, done.issued.key_pem, done.authority_pem)
    return done.peer, folder


def enrol(archive: Archive, new: NewPeer, by: Principal | None = None, *, is_new: bool = False) -> Enrolled:
    """Register a peer, or change it, unless it ``is_new`` and its title is taken. Writes no file.

    Without ``by`` this machine's operator does it. Raises ConfigError if what is said of the peer does not hold
    together, Denied for who is no administrator (any more), NotFound.
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
        who = acting(archive, transaction, by)
        known = archive.index.registry.peers(transaction.cursor).get(new.aet)
        if is_new and known is not None and not known.revoked_us:
            raise ConfigError(f"there is a peer {new.aet}: change it, or revoke it first")
        if by is not None and not is_new and (known is None or known.revoked_us):
            raise NotFound("no peer that may connect has that title")
        identity, issued = bound, None
        if identity is None and known is not None and not known.revoked_us and not new.issue:
            identity = known  # the certificate that the peer has stays good
        peer = _merged(new, known)
        if identity is None:
            days = new.days or PEER_DAYS
            issued = issue(authority, new.aet, [peer.host] if peer.host else [], now_utc(), days)
            identity = _bound_by_fingerprint(new, issued.certificate_pem)
        peer = replace(
            peer,
            binding=identity.binding,
            fingerprint=identity.fingerprint,
            subject=identity.subject,
            certificate=identity.certificate,
        )
        _put(archive, transaction, peer, "add", who)
        return peer

    peer = archive.index.database.write(work)
    return Enrolled(peer, issued, authority.certificate_pem)


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


def revoke(archive: Archive, aet: str, by: Principal | None = None) -> Peer:
    """Refuse a peer from now on. Raises NotFound, Denied for who is no administrator (any more)."""

    def work(transaction: Transaction) -> Peer:
        who = acting(archive, transaction, by)
        peer = archive.index.registry.peers(transaction.cursor).get(aet)
        if peer is None:
            raise NotFound(f"no peer is called {aet}")
        peer = replace(peer, revoked_us=int(time.time() * 1e6))
        _put(archive, transaction, peer, "revoke", who)
        return peer

    return archive.index.database.write(work)


def peers(archive: Archive) -> dict[str, Peer]:
    """Every peer by AE title."""
    with archive.index.database.read() as cursor:
        return archive.index.registry.peers(cursor)


def _put(archive: Archive, transaction: Transaction, peer: Peer, what: str, who: Principal) -> None:
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
    transaction.record(Event(Action.PEER_CHANGE, Outcome.SUCCESS, who, details))


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


def folder_name(aet: AeTitle) -> str:
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
