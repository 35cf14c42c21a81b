"""Why an object was not taken in: the word for the trail and the DICOM status, the same over every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.errors import Denied, LimitExceeded, MalformedDataset, Quarantined, Refused, StorageUnavailable

SCREENING: Final = "screening"
"""Something was found in the object that does not belong into an image."""

_BY_REASON: Final[Mapping[str, int]] = {
    "affected-sop-instance-uid-invalid": 0x0117,
    "sop-class-not-supported": 0x0122,
    "transfer-syntax-unknown": 0xC122,
    "sop-instance-uid-differs": 0xA900,
    "sop-class-uid-differs": 0xA900,
    "sop-instance-altered": 0xC010,
    "sop-instance-in-another-series": 0xC011,
    "study-of-another-patient": 0xC012,
    "series-in-another-study": 0xC013,
    "study-instance-uid-differs": 0xC014,
    "sop-instance-metadata-altered": 0xC015,
    "sop-instance-lossy-copy": 0xC016,
    SCREENING: 0xC021,
    "outside-scope": 0x0124,
}
"""Status by reason (PS3.4 B.2.3, PS3.7 C, PS3.18 I.2.2: A9xx data set does not match SOP class, Cxxx cannot
understand). docs/STATUS.md says what each reason means."""

REASONS: Final = tuple(_BY_REASON)
"""The reasons that have a status of their own."""

_HELD: Final = frozenset({"max_quarantine_objects", "max_quarantine_bytes"})
"""Limits of the archive, and not of the object: there will be room again."""

_OTHER_REASON: Final = 0xC001
_QUARANTINED: Final = 0xC020
_MALFORMED: Final = 0xC002
_OVER_LIMIT: Final = 0xC003
_NOT_AUTHORIZED: Final = 0x0124
_OUT_OF_RESOURCES: Final = 0xA700
_PROCESSING_FAILURE: Final = 0x0110


def reason_of(failure: Exception) -> str:
    """The word for the trail: the reason, the limit, or what kind of thing went wrong; never a value."""
    if isinstance(failure, Refused | Denied):
        return failure.reason
    if isinstance(failure, LimitExceeded):
        return f"over-{failure.limit_name}"
    if isinstance(failure, MalformedDataset):
        return str(failure)[:64]
    return type(failure).__name__


def comment_of(failure: Exception) -> str:
    """The Error Comment (PS3.7 C.1, at most 64 characters): the reason, and what an object is held as."""
    held = f"quarantined as {failure.quarantine_id}: " if isinstance(failure, Quarantined) else ""
    return (held + reason_of(failure))[:64]


def store_status(failure: Exception) -> int:
    """The status of a C-STORE response (PS3.4 B.2.3), or the Failure Reason of a stored instance (PS3.18 I.2.2)."""
    if isinstance(failure, Quarantined):
        return _BY_REASON.get(failure.reason, _QUARANTINED) if failure.reason != SCREENING else _QUARANTINED
    if isinstance(failure, Refused):
        return _BY_REASON.get(failure.reason, _OTHER_REASON)
    if isinstance(failure, MalformedDataset):
        return _MALFORMED
    if isinstance(failure, LimitExceeded):
        return _OUT_OF_RESOURCES if failure.limit_name in _HELD else _OVER_LIMIT
    if isinstance(failure, Denied):
        return _NOT_AUTHORIZED
    return _OUT_OF_RESOURCES if isinstance(failure, StorageUnavailable) else _PROCESSING_FAILURE
