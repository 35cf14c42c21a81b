"""Certificates for servers that the probe looks at: good ones, and each kind of bad one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for, and what is wrong with it. Days count from now; ``rsa_bits`` 0 is a P-256 key."""

    common_name: str
    addresses: tuple[str, ...] = ("127.0.0.1",)
    from_days: int = -1
    until_days: int = 30
    rsa_bits: int = 0
    self_signed: bool = False
    client: bool = False
    organisation: str = ""


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key, PEM."""

    certificate: Path
    key: Path
    authority: Path

    def server_context(self, *, client_required: bool = False) -> ssl.SSLContext:
        """A server's context with it: TLS 1.2 and 1.3; with ``client_required`` clients of the same authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if client_required:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.authority)
        return context


class Issuer:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _begun(self._name, self._name, self._key, Subject(name, until_days=365))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, subject: Subject) -> Pair:
        """Make ``name``.pem and ``name``.key."""
        key: PrivateKey = ec.generate_private_key(ec.SECP256R1())
        if subject.rsa_bits:
            key = rsa.generate_private_key(65537, subject.rsa_bits)
        own = [x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]
        if subject.organisation:
            own.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organisation))
        issuer, signer = (x509.Name(own), key) if subject.self_signed else (self._name, self._key)
        builder = _begun(x509.Name(own), issuer, key, subject)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if subject.client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if subject.addresses:
            names = [x509.IPAddress(ip_address(each)) for each in subject.addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key", self.certificate)
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        return pair


def _begun(name: x509.Name, issuer: x509.Name, key: PrivateKey, subject: Subject) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + timedelta(subject.from_days)).not_valid_after(
        now + timedelta(subject.until_days)
    )
