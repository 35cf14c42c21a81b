"""Findings in the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from strongroom.screen.findings import Finding, Rule, Severity
from strongroom.screen.report_json import JsonObject

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
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.rule.title}: {finding.what}" if finding.what else finding.rule.title},
        "locations": [
            {"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": place.path, "kind": "member"}]}
        ],
        "properties": {
            "severity": str(finding.severity),
            "confidence": str(finding.confidence),
            "offset": place.offset,
            "length": place.length,
            "inflated": place.inflated,
        },
    }


def driver(version: str, rules: Iterable[Rule]) -> JsonObject:
    """Return the ``tool`` that made the results, with the rules that they name (SARIF 3.18, 3.19)."""
    return {
        "driver": {
            "name": "Strongroom",
            "version": version,
            "rules": [_descriptor(rule) for rule in sorted(rules, key=lambda rule: rule.id)],
        }
    }


def _descriptor(rule: Rule) -> JsonObject:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"security-severity": _SCORES[rule.severity], "clause": rule.clause},
    }
