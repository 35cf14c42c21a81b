"""Whose a signature is: anchors, dates, key usage, and what is said to be weak."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.dcmsign import NOW, Signer, new_signer
from strongroom.errors import ConfigError, Refused
from strongroom.signatures.certificates import SignerCertificate, parse_anchors
from strongroom.signatures.model import Trust


def parsed(signer: Signer) -> SignerCertificate:
    return SignerCertificate(signer.certificate.public_bytes(Encoding.DER))


def trust(signer: Signer, *anchors: Signer, signed_days: float = 0, proven_days: float = 0) -> tuple[Trust, str]:
    return parsed(signer).trust(
        tuple(each.certificate for each in anchors),
        NOW + timedelta(days=signed_days),
        NOW + timedelta(days=proven_days),
    )


def key_usage(*, digital_signature: bool, content_commitment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature, content_commitment, True, False, False, False, False, False, False
    )  # fmt: skip


def test_the_signer_itself_is_trusted(tmp_path: Path) -> None:
    signer = new_signer(tmp_path, "Signer")
    assert trust(signer, signer) == (Trust.TRUSTED, "")
    assert trust(signer)[0] is Trust.UNKNOWN
    assert trust(signer, new_signer(tmp_path, "Signer2"))[0] is Trust.UNTRUSTED


def test_who_issued_it_is_trusted_if_it_is_an_authority(tmp_path: Path) -> None:
    root, clerk = new_signer(tmp_path, "Root", is_ca=True), new_signer(tmp_path, "Clerk")
    assert trust(new_signer(tmp_path, "A", issuer=root), root)[0] is Trust.TRUSTED
    assert trust(new_signer(tmp_path, "B", issuer=clerk), clerk)[0] is Trust.UNTRUSTED
    namesake = new_signer(tmp_path / "else", "Root", is_ca=True)
    assert trust(new_signer(tmp_path, "C", issuer=namesake), root)[0] is Trust.UNTRUSTED


@pytest.mark.parametrize(
    ("signed_days", "proven_days", "expected"),
    [
        (0, 0, Trust.TRUSTED),
        (-31, 0, Trust.UNTRUSTED),
        (0, 400, Trust.UNTRUSTED),
        (400, 0, Trust.UNTRUSTED),
        (-400, -400, Trust.UNTRUSTED),
        (360, 360, Trust.TRUSTED),
    ],
)
def test_it_has_to_be_valid_when_the_signature_was_made(
    signed_days: float, proven_days: float, expected: Trust, tmp_path: Path
) -> None:
    signer = new_signer(tmp_path, "Signer")
    assert trust(signer, signer, signed_days=signed_days, proven_days=proven_days)[0] is expected


def test_an_authority_that_has_expired_vouches_for_nobody(tmp_path: Path) -> None:
    root = new_signer(tmp_path, "Root", is_ca=True, days=(-300, -10))
    signer = new_signer(tmp_path, "Signer", issuer=root)
    assert trust(signer, root)[0] is Trust.UNTRUSTED
    assert trust(signer, root, signed_days=-15, proven_days=-15)[0] is Trust.TRUSTED


def test_key_usage(tmp_path: Path) -> None:
    for usage, expected in (
        (key_usage(digital_signature=True), Trust.TRUSTED),
        (key_usage(digital_signature=False, content_commitment=True), Trust.TRUSTED),
        (key_usage(digital_signature=False), Trust.UNTRUSTED),
    ):
        signer = new_signer(tmp_path, "Signer", extension=usage)
        assert trust(signer, signer)[0] is expected


def test_what_is_weak(tmp_path: Path) -> None:
    assert parsed(new_signer(tmp_path, "A")).weaknesses("SHA256") == ()
    assert parsed(new_signer(tmp_path, "B", "ec")).weaknesses("SHA512") == ()
    weak = parsed(new_signer(tmp_path, "C", "rsa1024")).weaknesses("SHA1")
    assert weak == ("MAC algorithm SHA1", "RSA key of 1024 bits")


def test_padding_behind_a_certificate_is_passed_over(tmp_path: Path) -> None:
    der = new_signer(tmp_path, "A").certificate.public_bytes(Encoding.DER)
    assert SignerCertificate(der + b"\0").signer == SignerCertificate(der).signer


@pytest.mark.parametrize("raw", [b"", b"0", b"\0" * 70_000, b"\x30\x03\x02\x01\x00"])
def test_what_is_no_certificate(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        SignerCertificate(raw)
    assert caught.value.reason == "certificate-unreadable"


def test_keys_of_other_kinds() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ed")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, None)
    )
    with pytest.raises(Refused) as caught:
        SignerCertificate(made.public_bytes(Encoding.DER))
    assert caught.value.reason == "key-unsupported"


def test_anchors_are_pem(tmp_path: Path) -> None:
    signer = new_signer(tmp_path, "A")
    assert parse_anchors(signer.certificate_file.read_bytes() * 2) == (signer.certificate,) * 2
    with pytest.raises(ConfigError):
        parse_anchors(b"nothing")
