"""What is said of certificates that are good, and of each kind that is not; and of bytes that are none."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_certificates import Issuer, Subject
from strongroom.errors import Unanswered
from strongroom.probe.model import Answer
from strongroom.probe.tls.certificates import CertificateLooks, look_at, strange_identity

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("authority"))


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def looks(issuer: Issuer, subject: Subject, host: str = "127.0.0.1") -> CertificateLooks:
    return look_at((der(issuer.issue("looked-at", subject).certificate),), host, NOW)


def test_a_good_certificate_is_good(issuer: Issuer) -> None:
    found = looks(issuer, Subject("pacs"))
    assert (found.key_kind, found.key_bits, found.signature) == ("EC", 256, "ecdsa-sha256")
    assert (found.self_signed, found.name_matches, found.too_long) == (False, True, False)
    assert found.serial_bits > 64
    assert found.days_left in (29, 30)


@pytest.mark.parametrize(("start", "end"), [(-20, -10), (10, 20)])
def test_one_that_is_over_or_not_yet_good_has_no_days_left(issuer: Issuer, start: int, end: int) -> None:
    assert looks(issuer, Subject("pacs", from_days=start, until_days=end)).days_left < 0


def test_weak_and_lonely_ones_are_told(issuer: Issuer) -> None:
    found = looks(issuer, Subject("pacs", (), until_days=2000, rsa_bits=2048, self_signed=True))
    assert (found.key_kind, found.key_bits) == ("RSA", 2048)
    assert (found.self_signed, found.name_matches, found.too_long) == (True, False, True)


def test_a_chain_is_complete_if_each_is_signed_by_the_next(issuer: Issuer, tmp_path: Path) -> None:
    leaf, authority = der(issuer.issue("leaf", Subject("pacs")).certificate), der(issuer.certificate)
    stranger = der(Issuer(tmp_path).certificate)
    assert look_at((leaf, authority), "127.0.0.1", NOW).chain_complete
    assert not look_at((leaf, stranger), "127.0.0.1", NOW).chain_complete
    assert not look_at((leaf,), "127.0.0.1", NOW).chain_complete


def named(*names: str) -> bytes:
    """A certificate with these DNS names."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pacs.example")]),
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("names", "host", "matches"),
    [
        (("pacs.example",), "pacs.example", True),
        (("pacs.example",), "PACS.EXAMPLE.", True),
        (("*.example",), "pacs.example", True),
        (("*.example",), "deep.pacs.example", False),
        (("*.example",), "example", False),
        (("other.example",), "pacs.example", False),
        ((), "pacs.example", False),
        (("127.0.0.1",), "127.0.0.1", False),
    ],
)
def test_a_name_matches_as_browsers_match_it(names: tuple[str, ...], host: str, matches: bool) -> None:
    assert look_at((named(*names),), host, NOW).name_matches is matches


def test_a_serial_number_that_can_be_guessed_is_short() -> None:
    assert look_at((named("pacs.example"),), "pacs.example", NOW).serial_bits == 1


def test_no_certificate_is_told_in_words() -> None:
    with pytest.raises(Unanswered, match="no certificate") as caught:
        look_at((), "pacs.example", NOW)
    assert caught.value.answer == Answer.FAILED


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_certificate_with_a_byte_wrong_is_read_or_refused(at: int, value: int) -> None:
    raw = bytearray(WHOLE)
    raw[at % len(raw)] = value
    assert refusal_of(bytes(raw)) in ("", Answer.FAILED)


WHOLE = named("pacs.example", "*.example")


def test_every_byte_of_a_certificate_may_be_wrong() -> None:
    """Some faults are found by the library only when a field is looked at, and some are warnings of its."""
    for at in range(len(WHOLE)):
        for value in (0x00, 0x83, 0xA3):
            raw = bytearray(WHOLE)
            raw[at] = value
            assert refusal_of(bytes(raw)) in ("", Answer.FAILED), at


def refusal_of(raw: bytes) -> str:
    try:
        look_at((raw,), "pacs.example", NOW)
    except Unanswered as error:
        return error.answer
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    assert refusal_of(raw) == Answer.FAILED


@pytest.mark.parametrize("expired", [True, False])
def test_certificates_of_our_own_making_are_each_from_somebody_else(expired: bool) -> None:
    one, other = strange_identity(NOW, expired=expired), strange_identity(NOW, expired=expired)
    assert one.certificate_pem != other.certificate_pem
    certificate = x509.load_pem_x509_certificate(one.certificate_pem)
    assert (certificate.not_valid_after_utc < NOW) is expired
    assert b"ENCRYPTED" in one.key_pem
