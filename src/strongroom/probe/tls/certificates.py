"""What is right and wrong about a server's certificate, and certificates that no server has a reason to trust.

No name out of a certificate is kept: whose it is, its hash says to those who have it.
"""

from __future__ import annotations

import datetime as dt
import secrets
import warnings
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from strongroom.errors import Unanswered
from strongroom.net.certificates import encrypted_key, issue, new_authority
from strongroom.net.tls import Identity
from strongroom.probe.model import Answer

MAX_LIFETIME_DAYS: Final = 825
"""The longest that browsers have accepted since 2018: who changes a certificate that seldom has no routine for it."""

_SIGNATURES: Final = {"1.2.840.10045.4.": "ecdsa", "1.2.840.113549.1.1.": "rsa", "1.2.840.10040.4.": "dsa"}

_UNREADABLE: Final = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What the library raises beside ValueError, some of it only when a field is looked at."""


@dataclass(frozen=True, slots=True)
class CertificateLooks:
    """What can be said of a chain. ``days_left`` is negative once it has ended, ``signature`` like "rsa-sha256".

    ``chain_complete`` says that each certificate is signed by the next one sent, and that a root or an intermediate was
    sent: a client that knows the root can check it. ``serial_bits`` is the length of the serial number.
    """

    days_left: int
    key_kind: str
    key_bits: int
    signature: str
    self_signed: bool
    chain_complete: bool
    name_matches: bool
    serial_bits: int
    too_long: bool


def look_at(chain: tuple[bytes, ...], host: str, now: dt.datetime) -> CertificateLooks:
    """Return what is to be said of ``chain`` (DER, leaf first) for a client that wanted ``host``, a name or an address.

    Raises:
        Unanswered: there is none, or it cannot be read (``FAILED``).
    """
    try:
        with warnings.catch_warnings():
            # What the library is going to refuse one day is a server's business, and not the operator's terminal's.
            warnings.simplefilter("ignore")
            return _look_at(chain, host, now)
    except IndexError:
        raise Unanswered(Answer.FAILED, "no certificate") from None
    except (ValueError, UnsupportedAlgorithm, *_UNREADABLE):
        raise Unanswered(Answer.FAILED, "a certificate that cannot be read") from None


def _look_at(chain: tuple[bytes, ...], host: str, now: dt.datetime) -> CertificateLooks:
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    leaf = certificates[0]
    kind, bits = _key_of(leaf)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    self_signed = _is_signed_by(leaf, leaf)
    is_early = now < leaf.not_valid_before_utc
    return CertificateLooks(
        days_left=-1 if is_early else (leaf.not_valid_after_utc - now).days,
        key_kind=kind,
        key_bits=bits,
        signature=_signature_of(leaf),
        self_signed=self_signed,
        chain_complete=self_signed or _is_chain(certificates),
        name_matches=_matches(host, leaf),
        serial_bits=leaf.serial_number.bit_length(),
        too_long=lifetime.days > MAX_LIFETIME_DAYS,
    )


def strange_identity(now: dt.datetime, *, expired: bool) -> Identity:
    """A client certificate of an authority that nobody knows, for ten days from ``now``, or until a year before it."""
    begin = now - dt.timedelta(days=400) if expired else now
    issued = issue(new_authority("nobody's", begin), "strongroom-probe", [], begin, days=10)
    password = secrets.token_hex(16).encode()
    return Identity(issued.certificate_pem, encrypted_key(issued.key_pem, password), password)


def _key_of(certificate: x509.Certificate) -> tuple[str, int]:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.curve.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", 256
    return ("Ed448", 456) if isinstance(key, ed448.Ed448PublicKey) else ("other", 0)


def _signature_of(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid.dotted_string
    kind = next((name for prefix, name in _SIGNATURES.items() if oid.startswith(prefix)), "")
    if not kind:
        return "ed" if oid.startswith("1.3.101.") else "other"
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:  # MD5 and older
        return f"{kind}-obsolete"
    return f"{kind}-{algorithm.name if algorithm else 'none'}"


def _is_chain(certificates: list[x509.Certificate]) -> bool:
    return len(certificates) > 1 and all(_is_signed_by(one, issuer) for one, issuer in pairwise(certificates))


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        # Signed with something too old to be checked: names are all there is to go by.
        return "obsolete" in _signature_of(certificate) or "sha1" in _signature_of(certificate)
    return True


def _matches(host: str, certificate: x509.Certificate) -> bool:
    """Whether one of its names is the host's (RFC 9525 6.3): the common name does not count."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        host = host.lower().rstrip(".")
        known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        return host in known or "*." + host.partition(".")[2] in known
