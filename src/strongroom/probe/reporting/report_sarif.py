"""Findings in the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0), for whoever collects it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Final

from strongroom.probe.judging.catalogue import Check, catalogue
from strongroom.probe.judging.findings import Finding, Judgement, Severity, TargetJudgement, Verdict
from strongroom.probe.reporting.wording import evidence_line, when

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_KINDS: Final = {
    Verdict.FAIL: "fail",
    Verdict.WARN: "review",
    Verdict.PASS: "pass",
    Verdict.NOT_APPLICABLE: "notApplicable",
    Verdict.NOT_TESTED: "open",
}
"""SARIF 3.27.9: ``open`` says that there was too little to tell."""
_LEVELS: Final = ("note", "note", "warning", "error", "error")
_SCORES: Final = ("0.0", "3.0", "5.5", "8.0", "9.5")
"""By severity; viewers sort by them."""


def report_sarif(judgement: Judgement) -> str:
    """Return the report, indented, with a line end. Every verdict is a result, also those that are no bad news."""
    checks = catalogue().checks
    index = {check.id: number for number, check in enumerate(checks)}
    facts = judgement.facts
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "Strongroom probe",
                "version": facts.version,
                "rules": [_descriptor(check) for check in checks],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not facts.stopped,
                "exitCode": judgement.exit_status,
                **({"startTimeUtc": _utc(facts.started_us)} if facts.started_us else {}),
                **({"endTimeUtc": _utc(facts.ended_us)} if facts.ended_us else {}),
            }
        ],
        "results": [_result(finding, target, index) for target in judgement.targets for finding in target.findings],
        "properties": {"level": str(facts.level), "vantage": facts.vantage, "logHead": facts.log_head},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=True) + "\n"


def _result(finding: Finding, target: TargetJudgement, index: dict[str, int]) -> dict[str, Any]:
    is_fail = finding.verdict is Verdict.FAIL
    level = _LEVELS[finding.severity] if is_fail else "none"
    places = dict.fromkeys((seen.endpoint.port, str(seen.channel)) for seen in finding.evidence)
    name = f"{finding.subject.target}/{finding.subject.address}"
    return {
        "ruleId": finding.check_id,
        "ruleIndex": index[finding.check_id],
        "kind": _KINDS[finding.verdict],
        "level": level,
        "message": {"text": f"{target.subject}: {finding.says}"},
        "locations": [
            {"logicalLocations": [{"fullyQualifiedName": f"{name}:{port}/{channel}", "kind": "resource"}]}
            for port, channel in places
        ]
        or [{"logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}]}],
        "partialFingerprints": {"strongroomProbe/v1": sha256(f"{finding.check_id} {name}".encode()).hexdigest()},
        "properties": {
            "severity": str(finding.severity),
            "grade": target.grade.letter,
            "evidence": [evidence_line(seen) for seen in finding.evidence],
        },
    }


def _descriptor(check: Check) -> dict[str, Any]:
    remedy = catalogue().remedies[check.remedy].general
    severity: Severity = check.severity
    return {
        "id": check.id,
        "name": check.id.replace("-", ""),
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.why},
        "help": {"text": f"{check.why} {remedy} ({'; '.join(check.clauses)})"},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {"security-severity": _SCORES[severity], "tags": ["security"], "clauses": list(check.clauses)},
    }


def _utc(at_us: int) -> str:
    return when(at_us).replace(" UTC", "Z").replace(" ", "T")
