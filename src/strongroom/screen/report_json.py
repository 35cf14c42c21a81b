"""Findings as JSON objects: for programs, and for the trail."""

from __future__ import annotations

from strongroom.screen.disarm import Removed
from strongroom.screen.findings import Finding, Report

JsonObject = dict[str, object]


def finding_json(finding: Finding) -> JsonObject:
    """Return one finding with what its rule says of it. It holds no value of a patient."""
    rule, place = finding.rule, finding.place
    return {
        "rule": rule.id,
        "title": rule.title,
        "severity": str(finding.severity),
        "confidence": str(finding.confidence),
        "path": place.path,
        "offset": place.offset,
        "length": place.length,
        "inflated": place.inflated,
        "what": finding.what,
        "why": rule.why,
        "remedy": rule.remedy,
        "clause": rule.clause,
    }


def report_json(report: Report) -> JsonObject:
    """Return one report. ``worst`` is null if there is no finding."""
    return {
        "worst": None if report.worst is None else str(report.worst),
        "bytes": report.size_bytes,
        "truncated": report.truncated,
        "transfer_syntax": report.transfer_syntax,
        "sop_class_uid": report.sop_class_uid,
        "sop_instance_uid": report.sop_instance_uid,
        "counts": dict(report.counts),
        "engine_failures": [{"engine": each.engine, "reason": each.reason} for each in report.failures],
        "findings": [finding_json(finding) for finding in report.findings],
    }


def removed_json(removed: Removed) -> JsonObject:
    """Return one thing that a disarmed copy does not have."""
    return {
        "path": removed.path,
        "what": removed.what,
        "offset": removed.offset,
        "length": removed.length,
        "inflated": removed.inflated,
        "sha256": removed.sha256,
    }
