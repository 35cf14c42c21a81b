"""What is said of signatures, as JSON: for people who ask, and for the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.dicom.dictionary import keyword_of
from strongroom.signatures.model import Checked, Report

JsonObject = dict[str, object]

MOST_TAGS: Final = 500
"""How many tags of a list are named; ``signed_count`` and its like count all."""


def report_json(report: Report) -> JsonObject:
    """All of a report. It holds names of signers and of attributes, and no value of the data set."""
    validity = report.validity
    return {
        "validity": validity.value if validity else "none",
        "trust": report.trust.value,
        "problem": report.problem,
        "signatures": [_signature_json(each) for each in report.signatures],
    }


def _signature_json(each: Checked) -> JsonObject:
    signer, time = each.signer, each.time
    return {
        "place": each.place,
        "uid": each.uid,
        "validity": each.validity.value,
        "reason": each.reason,
        "mac_algorithm": each.mac_algorithm,
        "mac_transfer_syntax": each.transfer_syntax,
        "signed_at": each.signed_at,
        "purpose": each.purpose,
        "weak": list(each.weak),
        "profiles": list(each.profiles),
        "trust": each.trust.value,
        "trust_reason": each.trust_reason,
        "signer": None
        if signer is None
        else {
            "subject": signer.subject,
            "issuer": signer.issuer,
            "sha256": signer.fingerprint,
            "not_before": signer.not_before.isoformat(),
            "not_after": signer.not_after.isoformat(),
            "key": signer.key,
        },
        "certified_time": None
        if time is None
        else {
            "time": time.time.isoformat() if time.time else None,
            "trust": time.trust.value,
            "reason": time.reason,
        },
        **_tags("signed", each.signed, len(each.signed)),
        **_tags("unsigned", each.unsigned, each.unsigned_count),
        **_tags("missing", each.missing, len(each.missing)),
    }


def _tags(name: str, tags: Sequence[int], count: int) -> JsonObject:
    return {f"{name}_count": count, name: [tag_name(tag) for tag in tags[:MOST_TAGS]]}


def tag_name(tag: int) -> str:
    """A tag, with its keyword if it has one: "(0010,0010) PatientName"."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_of(tag)}".rstrip()
