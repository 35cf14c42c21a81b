"""RFC 3161 time stamps: somebody else's word that a checkpoint was there at a time. Calls nobody.

The signature is verified by OpenSSL, through ``rfc3161_client``; certificates have to be good at the time of the stamp.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Certificate, DirectoryName, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from strongroom.errors import ConfigError, IntegrityError

MAX_RESPONSE_BYTES: Final = 65536
MAX_CERTIFICATES: Final = 32
MAX_CERTIFICATE_FILE_BYTES: Final = 2**20
Certificates = tuple[Certificate, ...]
_SHA256: Final = "2.16.840.1.101.3.4.2.1"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to an authority (``raw``, DER) and what its answer has to hold."""

    raw: bytes
    message: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an authority states: the message was there at ``time``. ``authority`` is a name, "" if it gives none."""

    time: datetime
    authority: str
    serial: int
    policy: str


def new_request(message: bytes) -> Request:
    """A request for a stamp of ``message``, with a nonce and for the authority's certificate (RFC 3161 2.4.1)."""
    built = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    assert built.nonce is not None
    return Request(built.as_bytes(), message, built.nonce)


def parse_certificates(pem: bytes) -> Certificates:
    """The certificates in a PEM file, one root of an authority at least. Raises ConfigError."""
    try:
        certificates = tuple(load_pem_x509_certificates(pem))
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("the time stamp authority's file holds no certificate in PEM") from None
    if len(certificates) > MAX_CERTIFICATES:
        raise ConfigError(f"the time stamp authority's file holds more than {MAX_CERTIFICATES} certificates")
    if not any(map(_is_root, certificates)):
        raise ConfigError("the time stamp authority's file lacks the certificate of its root CA")
    return certificates


def read_certificates(path: Path) -> Certificates:
    """The same of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return parse_certificates(file.read(MAX_CERTIFICATE_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def check_answer(raw: bytes, request: Request, certificates: Certificates) -> Stamp:
    """What an authority's answer to ``request`` states; without certificates its signature is not verified.

    Raises IntegrityError if it is a refusal, about something else, or not signed by who is trusted.
    """
    response = _parse(raw)
    if response.tst_info.nonce != request.nonce:
        raise IntegrityError("the time stamp is the answer to another request")
    return _checked(response, request.message, certificates)


def check_stamp(raw: bytes, message: bytes, certificates: Certificates) -> Stamp:
    """What a kept answer states of ``message``; as ``check_answer``, for one who did not make the request."""
    return _checked(_parse(raw), message, certificates)


def _parse(raw: bytes) -> TimeStampResponse:
    if len(raw) > MAX_RESPONSE_BYTES:
        raise IntegrityError(f"time stamp of {len(raw)} bytes, over {MAX_RESPONSE_BYTES}")
    try:
        response = decode_timestamp_response(raw)
        status = response.status
    except (ValueError, RecursionError):
        raise IntegrityError("not a time stamp response (RFC 3161 2.4.2)") from None
    if status != PKIStatus.GRANTED:
        raise IntegrityError(f"the time stamp authority refused, with status {status}")
    try:
        response.tst_info.message_imprint  # noqa: B018  # without a token there is none, and that raises
    except ValueError:
        raise IntegrityError("the time stamp response holds no token") from None
    return response


def _checked(response: TimeStampResponse, message: bytes, certificates: Certificates) -> Stamp:
    try:
        info = response.tst_info
        imprint = info.message_imprint
        if imprint.hash_algorithm.dotted_string != _SHA256 or imprint.message != sha256(message).digest():
            raise IntegrityError("the time stamp is about something else")
        if certificates:
            _verify(response, message, certificates)
        name = info.name.value.rfc4514_string() if isinstance(info.name, DirectoryName) else ""
        return Stamp(info.gen_time.astimezone(UTC), name, info.serial_number, info.policy.dotted_string)
    except (ValueError, OverflowError, TypeError) as error:
        raise IntegrityError("the time stamp cannot be read") from error


def _verify(response: TimeStampResponse, message: bytes, certificates: Certificates) -> None:
    roots = [each for each in certificates if _is_root(each)]
    others = [each for each in certificates if not _is_root(each)]
    try:
        VerifierBuilder(roots=roots, intermediates=others).build().verify_message(response, message)
    except VerificationError as error:
        # OpenSSL's own words end in what is wrong with the certificate.
        _, _, reason = str(error).partition("Verify error: ")
        why = f": {reason.split(chr(34))[0]}" if reason else f": {str(error)[:100]}"
        raise IntegrityError(f"the time stamp is not signed by the authority that is trusted{why}") from error


def _is_root(certificate: Certificate) -> bool:
    return certificate.issuer == certificate.subject
