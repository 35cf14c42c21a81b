"""Certified timestamps of signatures: type CMS_TSP, a token of RFC 3161 (PS3.15 C.1). Bytes in; OpenSSL verifies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Certificate, load_der_x509_certificate
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

from strongroom.signatures.der import SEQUENCE, constructed, value_length, with_ordered_certificates
from strongroom.signatures.model import CertifiedTime, Trust
from strongroom.signatures.revocation import RevocationLists, revoked_at

MAX_TOKEN_BYTES: Final = 65536
_GRANTED: Final = b"\x30\x03\x02\x01\x00"  # PKIStatusInfo: what is in the data set is the token without it

_IMPRINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1.3.36.3.2.1": "ripemd160",
        "1.3.14.3.2.26": "sha1",
        "2.16.840.1.101.3.4.2.1": "sha256",
        "2.16.840.1.101.3.4.2.2": "sha384",
        "2.16.840.1.101.3.4.2.3": "sha512",
    }
)
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, RecursionError, UnsupportedAlgorithm)


def check_timestamp(
    raw: bytes, signature: bytes, anchors: tuple[Certificate, ...], lists: RevocationLists = ()
) -> CertifiedTime:
    """What Certified Timestamp (0400,0310) proves of ``signature``; the time only if an anchor vouches for it, and no
    list says that a certificate in the token was revoked by then."""
    if len(raw) > MAX_TOKEN_BYTES:
        return CertifiedTime(None, Trust.UNKNOWN, f"a timestamp of {len(raw)} bytes")
    try:
        token = with_ordered_certificates(raw[: value_length(raw)])
        response = decode_timestamp_response(constructed(SEQUENCE, _GRANTED, token))
        imprint = response.tst_info.message_imprint
        name = _IMPRINTS.get(imprint.hash_algorithm.dotted_string)
        if name is None:
            return CertifiedTime(None, Trust.UNKNOWN, "a digest that is not known here")
        stated, time = imprint.message, response.tst_info.gen_time.astimezone(UTC)
    except _UNREADABLE:
        return CertifiedTime(None, Trust.UNKNOWN, "no token of RFC 3161")
    # Of a signature of odd length, the value in the data set has a byte of padding behind it.
    exact = signature[: value_length(signature)]
    if stated not in (_digest(name, signature), _digest(name, exact)):
        return CertifiedTime(None, Trust.UNTRUSTED, "the timestamp is of something else")
    if not anchors:
        return CertifiedTime(None, Trust.UNKNOWN, "no certificate to trust is configured")
    if _is_revoked(response, time, anchors, lists):
        return CertifiedTime(None, Trust.UNTRUSTED, "a certificate of the time stamp authority was revoked by then")
    return _vouched_for(response, stated, time, anchors)


def _is_revoked(
    response: TimeStampResponse, time: datetime, anchors: tuple[Certificate, ...], lists: RevocationLists
) -> bool:
    if not lists:
        return False
    try:
        inside = [load_der_x509_certificate(each) for each in response.signed_data.certificates]
    except _UNREADABLE:
        return True  # somebody asks for lists, and what they are about cannot be read
    dates = (revoked_at(each, (*anchors, *inside), lists) for each in inside)
    return any(date is not None and date <= time for date in dates)


def _digest(name: str, data: bytes) -> bytes:
    try:
        return hashlib.new(name, data, usedforsecurity=False).digest()
    except ValueError:  # RIPEMD-160 is not in every OpenSSL
        return b""


def _vouched_for(
    response: TimeStampResponse, stated: bytes, time: datetime, anchors: tuple[Certificate, ...]
) -> CertifiedTime:
    roots = [each for each in anchors if each.issuer == each.subject]
    others = [each for each in anchors if each.issuer != each.subject]
    if not roots:
        return CertifiedTime(None, Trust.UNTRUSTED, "no root certificate is configured")
    try:
        VerifierBuilder(roots=roots, intermediates=others).build().verify(response, stated)
    except (VerificationError, *_UNREADABLE):
        return CertifiedTime(None, Trust.UNTRUSTED, "not signed by a time stamp authority that is trusted")
    return CertifiedTime(time, Trust.TRUSTED)
