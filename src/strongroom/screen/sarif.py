"""Findings in the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from strongroom.screen.findings import Finding, Rule, Severity
from strongroom.screen.report_json import JsonObject
from strongroom.screen.rules import RULES

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION: Final = "2.1.0"

_LEVELS: Final = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_SCORES: Final = {
    Severity.INFO: "0.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
"""CVSS-like numbers, by which viewers of SARIF sort."""
_RULES: Final = tuple(sorted(RULES.values(), key=lambda rule: rule.id))
_INDEX: Final = {rule.id: index for index, rule in enumerate(_RULES)}
"""All rules are written, so that a result knows the index of its own before the last file has been read."""


def result(finding: Finding, uri: str) -> JsonObject:
    """Return one finding in the file ``uri`` as a ``result`` (SARIF 3.27).

    Where bytes were inflated there is no ``region``: its offsets would be those of other bytes (SARIF 3.30.11).
    """
    place = finding.place
    physical: JsonObject = {"artifactLocation": {"uri": uri}}
    if not place.inflated:
        physical["region"] = {"byteOffset": place.offset, "byteLength": place.length}
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": _INDEX[finding.rule.id],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.rule.title}: {finding.what}" if finding.what else finding.rule.title},
        "locations": [
            {"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": place.path, "kind": "member"}]}
        ],
        "partialFingerprints": {"strongroomPlace/v1": _fingerprint(finding)},
        "properties": {
            "severity": str(finding.severity),
            "confidence": str(finding.confidence),
            "offset": place.offset,
            "length": place.length,
            "inflated": place.inflated,
        },
    }


def notification(words: str, uri: str) -> JsonObject:
    """Return what went wrong with the file ``uri`` as a ``notification`` (SARIF 3.58)."""
    location = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    return {"level": "error", "message": {"text": words}, "locations": [location]}


def invocation(exit_code: int, notifications: Sequence[JsonObject]) -> JsonObject:
    """Return how the run ended (SARIF 3.20); it was successful if every file could be looked at by all."""
    return {
        "executionSuccessful": not notifications,
        "exitCode": exit_code,
        "toolExecutionNotifications": list(notifications),
    }


def driver(version: str) -> JsonObject:
    """Return the ``tool`` that made the results, with all rules (SARIF 3.18, 3.19)."""
    return {
        "driver": {
            "name": "Strongroom",
            "version": version,
            "rules": [_descriptor(rule) for rule in _RULES],
        }
    }


def _fingerprint(finding: Finding) -> str:
    """Return what tells a result from the others of its file and is the same the next time (SARIF 3.27.17)."""
    place = finding.place
    return sha256(f"{finding.rule.id} {place.path} {place.offset} {place.inflated}".encode()).hexdigest()


def _descriptor(rule: Rule) -> JsonObject:
    clause = f" DICOM {rule.clause}." if rule.clause else ""
    return {
        "id": rule.id,
        "name": rule.id.replace("-", ""),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.why} {rule.remedy}{clause}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"security-severity": _SCORES[rule.severity], "tags": ["security"], "clause": rule.clause},
    }
