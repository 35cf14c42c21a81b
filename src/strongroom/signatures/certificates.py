"""Certificates of signers, and what their keys have signed. X.509 and the arithmetic are those of ``cryptography``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DuplicateExtension,
    ExtensionNotFound,
    InvalidVersion,
    KeyUsage,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)

from strongroom.errors import ConfigError, Refused
from strongroom.signatures.der import value_length
from strongroom.signatures.model import Signer, Trust
from strongroom.signatures.revocation import RevocationLists, revoked_at

MAX_CERTIFICATE_BYTES: Final = 65536
MAX_KEY_BITS: Final = 16384
MAX_TEXT: Final = 300

MAC_ALGORITHMS: Final[Mapping[str, str]] = MappingProxyType(
    {"RIPEMD160": "ripemd160", "MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}
)
"""MAC Algorithm (0400,0015) and what ``hashlib`` calls it (PS3.15 C.1)."""

_DIGEST_INFO: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "RIPEMD160": bytes.fromhex("3021300906052b2403020105000414"),
        "MD5": bytes.fromhex("3020300c06082a864886f70d020505000410"),
        "SHA1": bytes.fromhex("3021300906052b0e03021a05000414"),
        "SHA256": bytes.fromhex("3031300d060960864801650304020105000420"),
        "SHA384": bytes.fromhex("3041300d060960864801650304020205000430"),
        "SHA512": bytes.fromhex("3051300d060960864801650304020305000440"),
    }
)
"""What PKCS #1 1.5 puts before a digest (RFC 8017 9.2 note 1): ``cryptography`` has no RIPEMD-160 to do it with."""

_BY_SIZE: Final = MappingProxyType(
    {16: hashes.MD5(), 20: hashes.SHA1(), 32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}  # noqa: S303  # said to be weak
)
"""For DSA and ECDSA a digest is a number of so many bytes, whoever made it."""

_WEAK_MACS: Final = frozenset({"MD5", "SHA1", "RIPEMD160"})
_LEAST_BITS: Final = MappingProxyType({"RSA": 2048, "DSA": 2048, "EC": 224})

_UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,
    InvalidVersion,
    DuplicateExtension,
    UnsupportedGeneralNameType,
)
"""What ``cryptography`` says of certificates and keys that it cannot use."""

Anchors = tuple[Certificate, ...]
"""Certificates that an operator trusts: of signers, of who issues theirs, of time stamp authorities."""

PublicKey = rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey


class SignerCertificate:
    """The certificate that comes with a signature."""

    def __init__(self, raw: bytes) -> None:
        """Parse Certificate of Signer (0400,0115).

        Raises Refused: "certificate-unreadable", "key-unsupported".
        """
        if len(raw) > MAX_CERTIFICATE_BYTES:
            raise Refused("certificate-unreadable", f"a certificate of {len(raw)} bytes")
        try:
            der = raw[: value_length(raw)]  # an even length may have needed a byte more
            self.certificate = load_der_x509_certificate(der)
            subject = _text(self.certificate.subject.rfc4514_string())
            issuer = _text(self.certificate.issuer.rfc4514_string())
            dates = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        except _UNREADABLE:
            raise Refused("certificate-unreadable", "the signer's certificate cannot be read") from None
        try:
            key = self.certificate.public_key()
            bits = key.key_size if isinstance(key, PublicKey) else 0
        except _UNREADABLE:
            raise Refused("key-unsupported", "the signer's key cannot be used") from None
        if not isinstance(key, PublicKey) or bits > MAX_KEY_BITS:
            raise Refused("key-unsupported", "the signer's key is of a kind or size that is not verified")
        self.key: PublicKey = key
        self.family = (
            "RSA" if isinstance(key, rsa.RSAPublicKey) else "DSA" if isinstance(key, dsa.DSAPublicKey) else "EC"
        )
        self.bits = bits
        self.signer = Signer(
            subject, issuer, hashlib.sha256(der).hexdigest(), dates[0], dates[1], f"{self.family} {bits}"
        )

    def holds(self, signature: bytes, mac_algorithm: str, mac: bytes) -> bool:
        """Whether ``signature``, Signature (0400,0120) with its padding, is this key's of ``mac`` (PS3.15 C.1)."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                exact = signature[: (self.bits + 7) // 8]
                info = self.key.recover_data_from_signature(exact, padding.PKCS1v15(), None)
                return not signature[len(exact) :].strip(b"\0") and info == _DIGEST_INFO[mac_algorithm] + mac
            exact, scheme = signature[: value_length(signature)], Prehashed(_BY_SIZE[len(mac)])
            if isinstance(self.key, dsa.DSAPublicKey):
                self.key.verify(exact, mac, scheme)
            else:
                self.key.verify(exact, mac, ec.ECDSA(scheme))
        except (InvalidSignature, *_UNREADABLE):
            return False
        return True

    def weaknesses(self, mac_algorithm: str) -> tuple[str, ...]:
        """What today's computers can break, or soon will, in words."""
        found = [f"MAC algorithm {mac_algorithm}"] if mac_algorithm in _WEAK_MACS else []
        if self.bits < _LEAST_BITS[self.family]:
            found.append(f"{self.family} key of {self.bits} bits")
        try:
            hashed_with = self.certificate.signature_hash_algorithm
        except _UNREADABLE:
            hashed_with = None
        if isinstance(hashed_with, hashes.MD5 | hashes.SHA1):
            found.append(f"certificate signed with {hashed_with.name.upper()}")
        return tuple(found)

    def trust(
        self, anchors: Anchors, signed_at: datetime | None, proven_at: datetime, lists: RevocationLists = ()
    ) -> tuple[Trust, str]:
        """Whether one of ``anchors`` is this certificate or has issued it, and why not.

        ``proven_at`` is when the signature certainly was there: what has expired, or was revoked, since does no harm.
        """
        if not anchors:
            return Trust.UNKNOWN, "no certificate to trust is configured"
        first, last = self.signer.not_before, self.signer.not_after
        anchor = next((each for each in anchors if self._is_vouched_for(each)), None)
        if anchor is None:
            return Trust.UNTRUSTED, "neither the certificate nor who issued it is trusted"
        try:
            first, last = max(first, anchor.not_valid_before_utc), min(last, anchor.not_valid_after_utc)
        except _UNREADABLE:
            return Trust.UNTRUSTED, "the trusted certificate cannot be used"
        if not first <= proven_at <= last:
            return Trust.UNTRUSTED, "the certificate was not valid when the signature is known to have been there"
        if signed_at is not None and not first <= signed_at <= last:
            return Trust.UNTRUSTED, "the certificate was not valid at the time that the signature states"
        revoked = revoked_at(self.certificate, anchors, lists)
        if revoked is not None and revoked <= proven_at:
            return Trust.UNTRUSTED, "the certificate was revoked before the signature is known to have been there"
        if not self._may_sign():
            return Trust.UNTRUSTED, "the certificate is not for signing (key usage)"
        return Trust.TRUSTED, ""

    def _is_vouched_for(self, anchor: Certificate) -> bool:
        if anchor == self.certificate:
            return True
        try:
            if not anchor.extensions.get_extension_for_class(BasicConstraints).value.ca:
                return False
            self.certificate.verify_directly_issued_by(anchor)
        except (ExtensionNotFound, InvalidSignature, *_UNREADABLE):
            return False
        return True

    def _may_sign(self) -> bool:
        try:
            usage = self.certificate.extensions.get_extension_for_class(KeyUsage).value
        except ExtensionNotFound:
            return True
        except _UNREADABLE:
            return False
        return usage.digital_signature or usage.content_commitment


def parse_anchors(pem: bytes) -> Anchors:
    """Return the certificates in PEM that an operator trusts. Raises ConfigError."""
    try:
        return tuple(load_pem_x509_certificates(pem))
    except _UNREADABLE:
        raise ConfigError("a file of trusted certificates holds none in PEM") from None


def _text(name: str) -> str:
    """A name that somebody else has chosen, fit to be printed."""
    return "".join(each if each.isprintable() else "\ufffd" for each in name[:MAX_TEXT])
