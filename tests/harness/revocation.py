"""Certificate revocation lists of authorities that tests make."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from harness.dcmsign import NOW, Signer


def revocation_list(
    issuer: Signer, *revoked: tuple[Signer, float], signed_by: Signer | None = None, more: tuple[object, ...] = ()
) -> bytes:
    """A list of an issuer in PEM: signers, and when they were revoked, in days from now."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - timedelta(days=1))
        .next_update(NOW + timedelta(days=1))
    )
    for signer, days in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(signer.certificate.serial_number)
            .revocation_date(NOW + timedelta(days=days))
        )
        for extension in more:
            entry = entry.add_extension(extension, critical=False)  # type: ignore[arg-type]
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign((signed_by or issuer).key, hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(Encoding.PEM)
