"""The answer to STOW-RS: what became of each instance, as a data set and as a status (PS3.18 10.5.3, annex I)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from strongroom.archive.ingest import Verdict
from strongroom.archive.refusals import reason_of, store_status
from strongroom.dicom.jsonmodel import JsonDataset
from strongroom.errors import Denied, MalformedDataset, Quarantined, StorageUnavailable, StrongroomError
from strongroom.web.storing import Fate

MAX_REASON_CHARS: Final = 64

_REFERENCED_SOP_CLASS: Final = "00081150"
_REFERENCED_SOP_INSTANCE: Final = "00081155"
_RETRIEVE_URL: Final = "00081190"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_OTHER_FAILURES_SEQUENCE: Final = "0008119A"
_PRIVATE_CREATOR: Final = "00090010"
_REASON_WORD: Final = "00091001"
_QUARANTINE_ID: Final = "00091002"
_VERDICT: Final = "00091003"

CREATOR: Final = "STRONGROOM"
"""Private creator (PS3.5 7.8) of the private attributes: (0009,xx01) LO, the word for why an instance failed, and
(0009,xx02) LO, what it is held as where it is in quarantine; of a stored one (0009,xx03) LO, what became of it where it
is not simply new: "resent", "variant", "restored", "coerced", "unverified" (`archive.ingest.Verdict`)."""

_COERCION: Final = 0xB000
"""Coercion of data elements (PS3.18 I.2.1.1): the patient is described otherwise in what is stored."""

_NO_FILE: Final = frozenset({"not-dicom", "no-transfer-syntax"})
_CAUSES: Final[tuple[tuple[int, Callable[[StrongroomError], bool]], ...]] = (
    (400, lambda failure: isinstance(failure, MalformedDataset) or reason_of(failure) in _NO_FILE),
    (403, lambda failure: isinstance(failure, Denied)),
    (503, lambda failure: isinstance(failure, StorageUnavailable)),
)
"""Status of a request of which nothing is stored, if all failures have one cause."""

Urls = tuple[Callable[[str], str], Callable[[str, str, str], str]]
"""Retrieve URL of a study, and of an instance by study, series and instance."""


def response_dataset(fates: Iterable[Fate], urls: Urls) -> JsonDataset:
    """Return the Store Instances Response (PS3.18 I.2). Instances are in the order in which they came."""
    study_url, instance_url = urls
    stored, failed, other = [], [], []
    studies = set()
    for fate in fates:
        if fate.is_stored:
            studies.add(fate.study_uid)
            url = instance_url(fate.study_uid, fate.series_uid, fate.sop_uid)
            warning = {_WARNING_REASON: {"vr": "US", "Value": [_COERCION]}} if fate.is_coerced else {}
            stored.append(
                {**_references(fate), _RETRIEVE_URL: {"vr": "UR", "Value": [url]}, **warning, **_verdict(fate)}
            )
            continue
        assert fate.failure is not None
        if fate.sop_uid:
            failed.append({**_references(fate), **_why(fate.failure)})
        else:
            other.append(_why(fate.failure))
    dataset: JsonDataset = {}
    if len(studies) == 1:
        dataset[_RETRIEVE_URL] = {"vr": "UR", "Value": [study_url(studies.pop())]}
    for name, items in (
        (_FAILED_SOP_SEQUENCE, failed),
        (_REFERENCED_SOP_SEQUENCE, stored),
        (_OTHER_FAILURES_SEQUENCE, other),
    ):
        if items:
            dataset[name] = {"vr": "SQ", "Value": items}
    return dataset


def response_status(fates: Sequence[Fate]) -> int:
    """Return the status (PS3.18 table 10.5.3-1): 200, 202 with a failure or a warning, or for nothing stored 409,
    and 400, 403 or 503 if that was all for the same cause: no data sets, no right, no room."""
    failures = [fate.failure for fate in fates if fate.failure is not None]
    if len(failures) < len(fates):
        return 202 if failures or any(fate.is_coerced for fate in fates) else 200
    for status, is_cause in _CAUSES:
        if all(map(is_cause, failures)):
            return status
    return 409


def _verdict(fate: Fate) -> JsonDataset:
    if fate.verdict in (None, Verdict.STORED):
        return {}
    return {
        _PRIVATE_CREATOR: {"vr": "LO", "Value": [CREATOR]},
        _VERDICT: {"vr": "LO", "Value": [str(fate.verdict)]},
    }


def _references(fate: Fate) -> JsonDataset:
    return {
        _REFERENCED_SOP_CLASS: {"vr": "UI", "Value": [str(fate.sop_class)]},
        _REFERENCED_SOP_INSTANCE: {"vr": "UI", "Value": [str(fate.sop_uid)]},
    }


def _why(failure: Exception) -> JsonDataset:
    held: JsonDataset = {}
    if isinstance(failure, Quarantined):
        held = {_QUARANTINE_ID: {"vr": "LO", "Value": [failure.quarantine_id]}}
    return {
        _FAILURE_REASON: {"vr": "US", "Value": [store_status(failure)]},
        _PRIVATE_CREATOR: {"vr": "LO", "Value": [CREATOR]},
        _REASON_WORD: {"vr": "LO", "Value": [reason_of(failure)[:MAX_REASON_CHARS]]},
        **held,
    }
