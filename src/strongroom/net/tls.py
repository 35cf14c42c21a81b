"""TLS for every DICOM connection, to BCP 195 (RFC 8996, RFC 9325) as DICOM PS3.15 B.12 and B.13 profile it.

The only module that touches ``ssl``. Both sides always present a certificate. A peer's certificate is trusted if this
archive issued it, or if it is one of the outside certificates that peers were bound to; whose it is, and whether it has
been revoked, is decided afterwards from its fingerprint.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from strongroom.errors import ConfigError

Profile = Literal["bcp195", "bcp195-strict"]

_AEAD_TLS12 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
# B.13 narrows B.12 to a closed list: AES-GCM with ECDHE or DHE of the sizes that OpenSSL's security level 2 enforces.
_STRICT_TLS12 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES128-GCM-SHA256"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """This side's certificate and private key, PEM; the key is encrypted under ``password`` while it is a file."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    password: bytes = field(repr=False)


def server_context(identity: Identity, trusted_pem: Sequence[str], profile: Profile = "bcp195") -> ssl.SSLContext:
    """A context for accepting: TLS 1.2 or 1.3, a trusted client certificate required.

    ``trusted_pem`` are CA certificates and bound leaf certificates. Raises ConfigError if the material does not load.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, profile)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    # No tickets: TLS 1.3 is never resumed. A TLS 1.2 session may be while a connection of it is open, from memory and
    # with the peer's certificate: whoever accepts has to look at its date again, and at its binding anyway.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load(context, identity, trusted_pem)
    return context


def web_context(identity: Identity, trusted_pem: Sequence[str], profile: Profile = "bcp195") -> ssl.SSLContext:
    """A context for accepting HTTPS: as `server_context`, but a client may show no certificate and then names itself
    otherwise. Raises ConfigError if the material does not load."""
    context = server_context(identity, trusted_pem, profile)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(identity: Identity, trusted_pem: Sequence[str], profile: Profile = "bcp195") -> ssl.SSLContext:
    """A context for calling a peer: its certificate must be trusted; who it is, its binding says and not DNS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _harden(context, profile)
    _load(context, identity, trusted_pem)
    return context


def public_context(authorities_pem: str = "") -> ssl.SSLContext:
    """A context for calling a public server: its certificate has to be good for its name, by the system's own CAs, or
    by these alone. Raises ConfigError if they do not load."""
    try:
        context = ssl.create_default_context(cadata=authorities_pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"the file of CA certificates does not load: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def probing_context(
    identity: Identity | tuple[str, str] | None = None, heard: Callable[[int, bytes], None] | None = None
) -> ssl.SSLContext:
    """A context for looking at a server: any version and suite that this OpenSSL has, and any certificate it shows.

    Nothing secret may be sent through it. ``identity`` is shown if it is asked for: ours, or the file names of a chain
    and its key. ``heard`` is told the content type (22, 21) and the bytes of each handshake message and alert of the
    server, decrypted. Raises ConfigError if the material does not load.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    if isinstance(identity, Identity):
        _load_identity(context, identity)
    elif identity is not None:
        try:
            context.load_cert_chain(*identity, password=b"")  # never asks a terminal
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"the client certificate does not load: {error.strerror or error}") from None
    if heard is not None:
        context._msg_callback = _listening(heard)  # type: ignore[attr-defined]  # tells what TLS 1.3 encrypts
    return context


def _listening(heard: Callable[[int, bytes], None]) -> Callable[..., None]:
    alert, handshake = 21, 22

    def told(_tls: object, direction: str, _version: object, content: int, _kind: object, data: bytes) -> None:
        if direction == "read" and content in (alert, handshake):
            heard(content, data)

    return told


def tls12_suites(profile: Profile) -> tuple[str, ...]:
    """The cipher suites of TLS 1.2 that a profile allows, by OpenSSL's names, best first."""
    return tuple((_STRICT_TLS12 if profile == "bcp195-strict" else _AEAD_TLS12).split(":"))


def _harden(context: ssl.SSLContext, profile: Profile) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # Trust may end at a bound leaf certificate: the peer's own, with no CA of its in the store.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_ciphers(":".join(tls12_suites(profile)))


def _load(context: ssl.SSLContext, identity: Identity, trusted_pem: Sequence[str]) -> None:
    _load_identity(context, identity)
    try:
        context.load_verify_locations(cadata="\n".join(trusted_pem))
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(f"the TLS certificate material does not load: {error}") from None


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    try:
        # OpenSSL reads a chain from files only. The key is encrypted under a password that never leaves memory.
        with TemporaryDirectory(prefix="strongroom-") as folder:
            certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            certificate.write_bytes(identity.certificate_pem)
            key.write_bytes(identity.key_pem)
            context.load_cert_chain(certificate, key, password=identity.password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(f"the TLS certificate material does not load: {error}") from None


def fingerprint_of(connection: ssl.SSLSocket) -> str:
    """SHA-256 of the peer's certificate (DER), lower-case hex."""
    der = connection.getpeercert(binary_form=True)
    return sha256(der).hexdigest() if der else ""
