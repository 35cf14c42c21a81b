"""Certificates that were taken back: by whom that may be said, and from when on it counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.dcmsign import NOW, Signer, new_signer
from harness.revocation import revocation_list
from strongroom.errors import ConfigError
from strongroom.signatures.certificates import SignerCertificate
from strongroom.signatures.model import Trust
from strongroom.signatures.revocation import RevocationLists, parse_lists, revoked_at


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("root"), "Root", is_ca=True)


@pytest.fixture(scope="module")
def signer(root: Signer, tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("signer"), "Signer", issuer=root)


def trust(signer: Signer, root: Signer, lists: RevocationLists, proven_days: float = 0) -> tuple[Trust, str]:
    made = SignerCertificate(signer.certificate.public_bytes(Encoding.DER))
    return made.trust((root.certificate,), NOW - timedelta(days=9), NOW + timedelta(days=proven_days), lists)


def test_what_was_revoked_before_is_not_trusted_and_what_was_there_before_is(root: Signer, signer: Signer) -> None:
    lists = parse_lists(revocation_list(root, (signer, -2)))
    assert trust(signer, root, ()) == (Trust.TRUSTED, "")
    found, why = trust(signer, root, lists)
    assert found is Trust.UNTRUSTED
    assert "revoked" in why
    assert trust(signer, root, lists, proven_days=-3)[0] is Trust.TRUSTED, "proven to have been there before"


def test_another_certificate_is_not_meant(root: Signer, signer: Signer, tmp_path: Path) -> None:
    other = new_signer(tmp_path, "Other", issuer=root)
    assert trust(signer, root, parse_lists(revocation_list(root, (other, -2))))[0] is Trust.TRUSTED


def test_only_its_issuer_can_take_a_certificate_back(root: Signer, signer: Signer, tmp_path: Path) -> None:
    namesake = new_signer(tmp_path, "Root", is_ca=True)
    forged = parse_lists(revocation_list(root, (signer, -2), signed_by=namesake))
    assert trust(signer, root, forged)[0] is Trust.TRUSTED
    other = new_signer(tmp_path, "Another root", is_ca=True)
    of_another = parse_lists(revocation_list(other, (signer, -2)))
    assert revoked_at(signer.certificate, [root.certificate, other.certificate], of_another) is None


def test_the_day_from_which_a_key_was_in_other_hands_counts(root: Signer, signer: Signer) -> None:
    stolen = x509.InvalidityDate((NOW - timedelta(days=5)).replace(tzinfo=None))
    lists = parse_lists(revocation_list(root, (signer, -2), more=(stolen,)))
    assert trust(signer, root, lists, proven_days=-3)[0] is Trust.UNTRUSTED
    assert trust(signer, root, lists, proven_days=-6)[0] is Trust.TRUSTED


def test_what_was_given_back_is_trusted_again(root: Signer, signer: Signer) -> None:
    back = x509.CRLReason(x509.ReasonFlags.remove_from_crl)
    assert trust(signer, root, parse_lists(revocation_list(root, (signer, -2), more=(back,))))[0] is Trust.TRUSTED


def test_lists_in_pem_and_der_and_several_in_a_file(root: Signer, signer: Signer) -> None:
    pem = revocation_list(root, (signer, -2))
    (one,) = parse_lists(pem)
    assert len(parse_lists(pem + b"\n" + pem)) == 2
    assert parse_lists(one.public_bytes(Encoding.DER)) == (one,)


@pytest.mark.parametrize("raw", [b"", b"x", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigError, match="none in PEM or DER"):
        parse_lists(raw)
