"""Certificate revocation lists (RFC 5280 5) that an operator has fetched: what they take back, and from when on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    CRLReason,
    ExtensionNotFound,
    InvalidityDate,
    ReasonFlags,
    RevokedCertificate,
    load_der_x509_crl,
    load_pem_x509_crl,
)

from strongroom.errors import ConfigError

_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.S)
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, InternalError)

RevocationLists = tuple[CertificateRevocationList, ...]


def parse_lists(raw: bytes) -> RevocationLists:
    """Return the lists in a file, PEM or DER. Raises ConfigError if there is none."""
    try:
        found = tuple(load_pem_x509_crl(each) for each in _PEM.findall(raw))
        return found or (load_der_x509_crl(raw),)
    except _UNREADABLE:
        raise ConfigError("a file of revocation lists holds none in PEM or DER") from None


def revoked_at(certificate: Certificate, issuers: Iterable[Certificate], lists: RevocationLists) -> datetime | None:
    """Return from when on a certificate is not to be relied on, None if no list says so.

    A list counts if one of ``issuers`` has signed it, by the name that issued the certificate; whether there should be
    a newer one is for its operator to know. Invalidity Date counts where it is the earlier one (RFC 5280 5.3.2).
    """
    issuers = tuple(issuers)
    dates = [
        date
        for each in lists
        if each.issuer == certificate.issuer and any(_is_signed_by(each, issuer) for issuer in issuers)
        if (date := _date_in(each, certificate)) is not None
    ]
    return min(dates, default=None)


def _is_signed_by(each: CertificateRevocationList, issuer: Certificate) -> bool:
    try:
        return issuer.subject == each.issuer and each.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # any other key is a TypeError
    except _UNREADABLE:
        return False


def _date_in(each: CertificateRevocationList, certificate: Certificate) -> datetime | None:
    try:
        entry = each.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None or _reason(entry) is ReasonFlags.remove_from_crl:
            return None
        return min(entry.revocation_date_utc, _invalid_from(entry) or entry.revocation_date_utc)
    except _UNREADABLE:  # an entry that says something of it, whatever that is
        return certificate.not_valid_before_utc


def _reason(entry: RevokedCertificate) -> ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(CRLReason).value.reason
    except ExtensionNotFound:
        return None


def _invalid_from(entry: RevokedCertificate) -> datetime | None:
    try:
        return entry.extensions.get_extension_for_class(InvalidityDate).value.invalidity_date_utc
    except ExtensionNotFound:
        return None
