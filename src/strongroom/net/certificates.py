"""X.509: the archive's own CA, the certificates that it issues, and reading those of others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroom.errors import ConfigError

CA_DAYS = 3650
SERVER_DAYS = 825
PEER_DAYS = 397
"""Lifetimes in days. A peer's is a year and a month: renewal is a yearly routine, not a forgotten one."""

MIN_RSA_BITS, MIN_CURVE_BITS = 2048, 256
"""The weakest keys that a peer may have (NIST SP 800-131A: 112 bits of security or more)."""

_OPENSSL_NAMES = {
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "title": NameOID.TITLE,
    "GN": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
}
"""What OpenSSL calls attributes that RFC 4514 has no name for."""

_BACKDATE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both PEM; the key is not encrypted."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a binding needs of a certificate."""

    fingerprint: str
    subject: str
    issuer: str
    not_after: dt.datetime
    is_ca: bool
    pem: str


def new_authority(archive_id: str, now: dt.datetime) -> Issued:
    """A certificate authority for one archive: ECDSA P-256, path length 0, for certificates only."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Strongroom"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Strongroom CA {archive_id[:8]}"),
        ]
    )
    return _authority(name, ec.generate_private_key(ec.SECP256R1()), now)


def renewed_authority(authority: Issued, now: dt.datetime) -> Issued:
    """The same authority, name and key, with another ``CA_DAYS`` to live.

    Since the key is the same, what it issued before is good under the new certificate, and whoever has only the old one
    trusts what it issues from here on until the old one ends.
    """
    key = load_pem_private_key(authority.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return _authority(x509.load_pem_x509_certificate(authority.certificate_pem).subject, key, now)


def _authority(name: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> Issued:
    builder = _builder(name, name, key.public_key(), now, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return Issued(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def issue(authority: Issued, common_name: str, addresses: list[str], now: dt.datetime, days: int) -> Issued:
    """A certificate for one application entity, good as TLS client and server (a peer is both).

    ``addresses`` are IP addresses and host names for the subject alternative name.
    """
    ca = x509.load_pem_x509_certificate(authority.certificate_pem)
    ca_key = load_pem_private_key(authority.key_pem, None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _builder(name, ca.subject, key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    if addresses:
        names = [_general_name(address) for address in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return Issued(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def encrypted_key(key_pem: bytes, password: bytes) -> bytes:
    """The same private key, encrypted under ``password`` (PKCS #8)."""
    key = load_pem_private_key(key_pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def pkcs12(issued: Issued, authority_pem: bytes, name: str, password: bytes) -> bytes:
    """A certificate, its key and its CA in one file under ``password`` (RFC 7292), AES-256 and PBKDF2."""
    key = load_pem_private_key(issued.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    authority = x509.load_pem_x509_certificate(authority_pem)
    sealing = BestAvailableEncryption(password)
    return serialize_key_and_certificates(name.encode(), key, certificate, [authority], sealing)


def read_certificate(pem: bytes) -> CertificateFacts:
    """What a PEM certificate says of itself. Raises ConfigError if it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        subject = certificate.subject.rfc4514_string()
        issuer = certificate.issuer.rfc4514_string()
        is_ca = _is_ca(certificate)
    except ValueError as error:
        raise ConfigError(f"not a PEM certificate: {error}") from None
    return CertificateFacts(
        fingerprint=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        subject=subject,
        issuer=issuer,
        not_after=certificate.not_valid_after_utc,
        is_ca=is_ca,
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def days_left(pem: bytes, now: dt.datetime) -> int:
    """Whole days until a certificate ends, negative if it has. Raises ConfigError."""
    return (read_certificate(pem).not_after - now).days


def is_good_for(pem: bytes, addresses: Iterable[str]) -> bool:
    """Whether a certificate has all of these host names and IP addresses in it, however they are spelled."""
    try:
        names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    return set(names.value).issuperset(map(_general_name, addresses))


def facts_of_der(der: bytes) -> CertificateFacts:
    """The same of a DER certificate, as a TLS connection presents it."""
    try:
        return read_certificate(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}") from None


def require_strong_key(pem: str) -> None:
    """Raise ConfigError if the certificate's key is weaker than RSA 2048 or P-256, or of another kind."""
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        is_strong, found = key.key_size >= MIN_RSA_BITS, f"RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        is_strong, found = key.curve.key_size >= MIN_CURVE_BITS, f"the curve {key.curve.name}"
    else:
        is_strong = isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
        found = type(key).__name__.removesuffix("PublicKey")
    if not is_strong:
        raise ConfigError(
            f"the certificate's key is {found}: needed is RSA of {MIN_RSA_BITS} bits, P-256 or stronger, or Ed25519"
        )


def parse_subject(text: str) -> str:
    """The subject as ``CertificateFacts.subject`` writes it. Raises ConfigError if it is no RFC 4514 name."""
    try:
        name = x509.Name.from_rfc4514_string(text, _OPENSSL_NAMES)
    except ValueError:
        raise ConfigError(
            "--subject is no name: give it as `openssl x509 -noout -subject -nameopt RFC2253` prints it, "
            "for example CN=US1,O=Hospital"
        ) from None
    return name.rfc4514_string()


def is_reversed(subject: str) -> bool:
    """Whether a name ends with the common name: it is written the wrong way round then, almost certainly."""
    try:
        oids = [attribute.oid for attribute in x509.Name.from_rfc4514_string(subject, _OPENSSL_NAMES)]
    except ValueError:  # bound by an older version, which took any words
        return False
    return len(oids) > 1 and oids[0] == NameOID.COMMON_NAME and oids[-1] != NameOID.COMMON_NAME


def is_issued_by(certificate_pem: str, authority_pem: str) -> bool:
    """Whether ``authority_pem`` signed the certificate directly."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    authority = x509.load_pem_x509_certificate(authority_pem.encode())
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
