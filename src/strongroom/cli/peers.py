"""``peer add|list|revoke``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import peers as administration
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.access import scope_terms
from strongroom.archive.peers import PEER_RIGHTS, Peer, parse_address, parse_rights
from strongroom.cli import new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, ScopeOption, home_of, time_text
from strongroom.cli.progress import printable
from strongroom.errors import ConfigError
from strongroom.types import AeTitle

group = new_group("Application entities that may connect.")


@group.command()
def add(
    aet: Annotated[str, typer.Argument(help="AE title of the peer.")],
    home: HomeOption = None,
    allow: Annotated[str | None, typer.Option(help=f"Rights, of {','.join(PEER_RIGHTS)}; echo for a new peer.")] = None,
    address: Annotated[
        str | None, typer.Option(help='HOST:PORT of its TLS listener; makes it a C-MOVE destination, "" no longer.')
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="Bind this certificate (PEM) instead of issuing one.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Bind a subject under this outside CA (PEM).")] = None,
    subject: Annotated[
        str,
        typer.Option(help="With --ca: the subject, as `openssl x509 -noout -subject -nameopt RFC2253` prints it."),
    ] = "",
    require_user: Annotated[
        bool | None, typer.Option("--require-user/--no-require-user", help="Demand a user and passcode as well.")
    ] = None,
    scope: ScopeOption = None,
) -> None:
    """Register a peer, or change what is named of a known one. Prints where its new certificate is."""
    new = administration.NewPeer(
        aet=AeTitle.parse(aet),
        rights=None if allow is None else parse_rights(allow),
        address=None if address is None else parse_address(address) if address else ("", 0),
        certificate_pem=_read(cert),
        ca_pem=_read(ca),
        subject=subject,
        require_user=require_user,
        scope=tuple(scope or ()),
    )
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        peer, folder = administration.add(archive, new)
        warnings = administration.warnings(archive, peer)
    finally:
        archive.close()
    limits = f" within {'; '.join(scope_terms(peer.scope))}" if peer.scope else ""
    print(printable(f"peer {peer.aet} may {', '.join(sorted(peer.rights)) or 'do nothing'}{limits}"))
    _warn(warnings)
    if folder is not None:
        print(f"certificate {folder}/cert.pem, key {folder}/key.pem, CA {folder}/ca.pem: move them to the peer")


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every peer, its rights and its certificate."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        peers = list(administration.peers(archive).values())
    finally:
        archive.close()
    if output is Format.JSON:
        print(json.dumps([_as_json(peer) for peer in peers], indent=2))
        return
    if not peers:
        print("no peers: nobody can connect")
    for peer in peers:
        state = "REVOKED" if peer.revoked_us else ",".join(sorted(peer.rights)) or "nothing"
        known_by = peer.fingerprint[:16] or f"{peer.subject} by its CA"
        print(f"{peer.aet:<16} {state:<32} {peer.address or '-':<24} {_until(peer):<20} {known_by}")
        for term in scope_terms(peer.scope) if peer.scope else ():
            print(printable(f"{'':<16} within {term}"))


@group.command()
def revoke(aet: Annotated[str, typer.Argument(help="AE title of the peer.")], home: HomeOption = None) -> None:
    """Refuse a peer from now on. A certificate that other peers are bound to as well still gets in as those."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        warnings = administration.warnings(archive, administration.revoke(archive, aet))
    finally:
        archive.close()
    print(f"peer {aet} is revoked; new associations are refused at once")
    _warn(warnings)


def _until(peer: Peer) -> str:
    left = administration.days_left(peer)
    if left is None:
        return "-"
    return f"{administration.not_after(peer)} " + (f"{left} days" if left >= 0 else "EXPIRED")


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _read(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _as_json(peer: Peer) -> dict[str, object]:
    return {
        "aet": peer.aet,
        "rights": sorted(peer.rights),
        "address": peer.address,
        "binding": peer.binding.value,
        "fingerprint": peer.fingerprint,
        "subject": peer.subject,
        "require_user": peer.require_user,
        "scope": list(scope_terms(peer.scope)),
        "not_after": administration.not_after(peer),
        "days_left": administration.days_left(peer),
        "added": time_text(peer.added_us),
        "revoked": time_text(peer.revoked_us),
    }
