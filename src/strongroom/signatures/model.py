"""What is said of a digital signature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Validity(StrEnum):
    """Whether the bytes that were signed are those at hand."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


class Trust(StrEnum):
    """Whether the signer's certificate is one that the operator vouches for."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    UNKNOWN = "unknown"
    """No certificate to trust is configured."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The certificate of a signer. ``fingerprint`` is the SHA-256 of its DER, in hex."""

    subject: str
    issuer: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    key: str
    """As "RSA 2048"."""


@dataclass(frozen=True, slots=True)
class CertifiedTime:
    """A certified timestamp (RFC 3161). ``time`` is None unless it holds; ``reason`` then says why it does not."""

    time: datetime | None
    trust: Trust
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """One digital signature, checked. Tags are of the level that the signature stands at."""

    place: str
    """The sequence item that it is of, as "(0040,A730)[2]"; "" for the data set itself."""
    uid: str
    validity: Validity
    reason: str
    """Why it is not valid; "" if it is."""
    mac_algorithm: str = ""
    transfer_syntax: str = ""
    """Of the MAC calculation."""
    signed_at: str = ""
    """What the signer says, as a DICOM date time."""
    purpose: str = ""
    signer: Signer | None = None
    trust: Trust = Trust.UNKNOWN
    trust_reason: str = ""
    time: CertifiedTime | None = None
    weak: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    """Profiles of PS3.15 annex C whose demands it meets."""
    signed: tuple[int, ...] = ()
    unsigned: tuple[int, ...] = ()
    """What is there and may be changed without breaking the signature: the first of ``unsigned_count``."""
    unsigned_count: int = 0
    missing: tuple[int, ...] = ()
    """What it lists as signed and is not there."""


@dataclass(frozen=True, slots=True)
class Report:
    """All signatures of a data set, in its order. ``problem`` says why there may be more, "" if there are not."""

    signatures: tuple[Checked, ...]
    problem: str = ""

    @property
    def validity(self) -> Validity | None:
        """The worst of all; None for a data set without signatures."""
        if any(each.validity is Validity.INVALID for each in self.signatures):
            return Validity.INVALID
        if self.problem or any(each.validity is Validity.UNCHECKED for each in self.signatures):
            return Validity.UNCHECKED
        return Validity.VALID if self.signatures else None

    @property
    def trust(self) -> Trust:
        """The worst of all valid ones: untrusted before unknown."""
        found = {each.trust for each in self.signatures if each.validity is Validity.VALID}
        for each in (Trust.UNTRUSTED, Trust.UNKNOWN):
            if each in found:
                return each
        return Trust.TRUSTED if found else Trust.UNKNOWN
