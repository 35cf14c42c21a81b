"""DCMTK's ``dcmsign`` as a signer and as an oracle, with keys, certificates and a time stamp authority of our own."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.part10 import parse_file_header
from strongroom.signatures.certificates import parse_anchors
from strongroom.signatures.model import Report
from strongroom.signatures.verify import Rules, verify

TIMEOUT_S = 180
NOW = datetime.now(UTC).replace(microsecond=0)

needs_dcmsign = pytest.mark.skipif(not shutil.which("dcmsign"), reason="dcmsign is not installed")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and its certificate, as objects and as PEM files."""

    key: PrivateKey
    certificate: x509.Certificate
    key_file: Path
    certificate_file: Path


def new_key(kind: str) -> PrivateKey:
    """A key: "rsa", "rsa1024", "ec", "dsa"."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    return rsa.generate_private_key(65537, 1024 if kind == "rsa1024" else 2048)


def new_signer(folder: Path, name: str, kind: str = "rsa", issuer: Signer | None = None, **more: object) -> Signer:
    """A signer with a certificate of its own or of ``issuer``; ``more`` is for ``certificate``."""
    folder.mkdir(parents=True, exist_ok=True)
    key = new_key(kind)
    made = certificate(name, key, issuer, **more)  # type: ignore[arg-type]
    key_file, certificate_file = folder / f"{name}.key.pem", folder / f"{name}.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Signer(key, made, key_file, certificate_file)


def certificate(
    name: str,
    key: PrivateKey,
    issuer: Signer | None = None,
    *,
    is_ca: bool = False,
    days: tuple[float, float] = (-30, 365),
    extension: x509.ExtensionType | None = None,
) -> x509.Certificate:
    """A certificate for ``key``, valid for ``days`` from and to now."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def run(*command: str | Path, check: bool = True) -> str:
    """Run a tool; what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def sign(source: Path, target: Path, signer: Signer, *options: str) -> Path:
    """Have ``dcmsign`` sign a file; the signed one."""
    run("dcmsign", *options, "+s", signer.key_file, signer.certificate_file, source, target)
    return target


def sign_item(source: Path, target: Path, signer: Signer, item: str, *options: str) -> Path:
    """Have ``dcmsign`` sign an item, as "(0010,1002)[0]"."""
    run("dcmsign", *options, "+si", signer.key_file, signer.certificate_file, item, source, target)
    return target


def is_verified_by_dcmsign(path: Path) -> list[bool]:
    """What ``dcmsign`` says of the MAC of each signature, whoever has signed."""
    said = re.findall(r"Signature Verification +: (.*)", run("dcmsign", "-v", path, check=False))
    return [line == "OK" or line.startswith("signature is OK but") for line in said]


def checked(path: Path, *trusted: Signer, proven_at: datetime | None = None, max_signatures: int = 64) -> Report:
    """What we say of a file."""
    data = path.read_bytes()
    header = parse_file_header(data)
    return checked_bytes(
        data[header.data_set_offset :], header.transfer_syntax, *trusted, proven_at=proven_at, most=max_signatures
    )


def checked_bytes(
    data: bytes, transfer_syntax: str, *trusted: Signer, proven_at: datetime | None = None, most: int = 64
) -> Report:
    """What we say of a data set."""
    anchors = sum((parse_anchors(each.certificate_file.read_bytes()) for each in trusted), ())
    return verify(
        lambda offset, length: data[offset : offset + length],
        len(data),
        TRANSFER_SYNTAXES[transfer_syntax],
        Rules(anchors, proven_at or datetime.now(UTC), ScanLimits(), most),
    )
