"""Adding, listing and revoking peers; certificates are issued or bound here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from strongroom.app import Archive, now_utc
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Binding, Peer
from strongroom.errors import ConfigError, NotFound
from strongroom.net.certificates import PEER_DAYS, is_issued_by, issue, read_certificate
from strongroom.store.transaction import Transaction
from strongroom.types import AeTitle, Right


@dataclass(frozen=True, slots=True)
class NewPeer:
    """What the operator says of a peer. Without ``certificate_pem`` one is issued.

    With ``ca_pem`` the peer is whoever presents a certificate of exactly ``subject`` (RFC 4514) that this CA issued.
    """

    aet: AeTitle
    rights: frozenset[Right]
    host: str = ""
    port: int = 0
    certificate_pem: bytes = b""
    ca_pem: bytes = b""
    subject: str = ""
    require_user: bool = False
    days: int = PEER_DAYS


def add(archive: Archive, new: NewPeer) -> tuple[Peer, Path | None]:
    """Register a peer, or change it; returns it and the folder of the credentials that were issued, if any."""
    if new.aet == archive.aet:
        raise ConfigError("a peer cannot have the archive's own AE title")
    known = peers(archive).get(new.aet)
    folder = None
    if new.ca_pem:
        peer = _bound_by_ca(new)
    elif new.certificate_pem:
        peer = _bound_by_fingerprint(new, new.certificate_pem, archive)
    elif known is not None and not known.revoked_us:
        # Rights or address change; the certificate that the peer has stays good.
        peer = replace(known, rights=new.rights, host=new.host, port=new.port, require_user=new.require_user)
    else:
        authority = archive.tls().authority
        issued = issue(authority, new.aet, [new.host] if new.host else [], now_utc(), new.days)
        peer = _bound_by_fingerprint(new, issued.certificate_pem, archive)
        folder = archive.home.peers / _folder_name(new.aet)
        _write_credentials(folder, issued.certificate_pem, issued.key_pem, authority.certificate_pem)
    _put(archive, replace(peer, added_us=int(time.time() * 1e6)), "add")
    return peer, folder


def revoke(archive: Archive, aet: str) -> Peer:
    """Refuse a peer from now on. Raises NotFound."""
    peer = peers(archive).get(aet)
    if peer is None:
        raise NotFound(f"no peer is called {aet}")
    peer = replace(peer, revoked_us=int(time.time() * 1e6))
    _put(archive, peer, "revoke")
    return peer


def peers(archive: Archive) -> dict[str, Peer]:
    """Every peer by AE title."""
    with archive.index.database.read() as cursor:
        return archive.index.registry.peers(cursor)


def _put(archive: Archive, peer: Peer, what: str) -> None:
    details: dict[str, Detail] = {
        "what": what,
        "peer": str(peer.aet),
        "rights": tuple(sorted(peer.rights)),
        "address": peer.address,
        "binding": peer.binding.value,
        "certificate": peer.fingerprint or peer.subject[:128],
    }

    def work(transaction: Transaction) -> None:
        archive.index.registry.put_peer(transaction.cursor, peer)
        transaction.record(Event(Action.PEER_CHANGE, Outcome.SUCCESS, archive.principal, details))

    archive.index.database.write(work)


def _bound_by_fingerprint(new: NewPeer, pem: bytes, archive: Archive) -> Peer:
    facts = read_certificate(pem)
    if facts.not_after < now_utc():
        raise ConfigError(f"the certificate of {new.aet} expired on {facts.not_after.date()}")
    authority = archive.tls().authority.certificate_pem.decode()
    # What our own CA issued is trusted through the CA; an outside certificate has to be in the trust store itself.
    trusted = "" if is_issued_by(facts.pem, authority) else facts.pem
    return _peer(new, Binding.FINGERPRINT, facts.fingerprint, facts.subject, trusted)


def _bound_by_ca(new: NewPeer) -> Peer:
    facts = read_certificate(new.ca_pem)
    if not facts.is_ca:
        raise ConfigError("--ca is no CA certificate: bind a peer's own certificate with --cert")
    if not new.subject:
        raise ConfigError("--ca needs --subject: the subject that its certificate for this peer has")
    return _peer(new, Binding.CA_SUBJECT, "", new.subject, facts.pem)


def _peer(new: NewPeer, binding: Binding, fingerprint: str, subject: str, certificate: str) -> Peer:
    return Peer(
        aet=new.aet,
        rights=new.rights,
        binding=binding,
        fingerprint=fingerprint,
        subject=subject,
        certificate=certificate,
        host=new.host,
        port=new.port,
        require_user=new.require_user,
    )


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
