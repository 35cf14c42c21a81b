"""The report as JSON, for machines: its schema is docs/probe-report.schema.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from strongroom.errors import ConfigError
from strongroom.probe.engine import observation_of
from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.findings import Finding, Judgement, RunFacts, TargetJudgement
from strongroom.probe.judging.posture import held_against
from strongroom.probe.model import Level, Observation
from strongroom.probe.reporting.wording import remedies_of, remedy_name, what_a_stranger_could_do
from strongroom.probe.session import as_json

FORMAT: Final = "strongroom-probe-report/1"
"""Changes with whatever a reader of the last version would read wrongly."""

JsonObject = dict[str, Any]


def report_json(judgement: Judgement) -> str:
    """Return the report, indented, with a line end."""
    return json.dumps(as_object(judgement), indent=1, ensure_ascii=True) + "\n"


def as_object(judgement: Judgement) -> JsonObject:
    """Return the report as the JSON model has it. Evidence are indices of ``observations``."""
    index = {id(seen): number for number, seen in enumerate(judgement.observations)}
    return {
        "format": FORMAT,
        "run": _run(judgement.facts),
        "exit_status": judgement.exit_status,
        "targets": [_target(target, index, judgement.facts.postures) for target in judgement.targets],
        "observations": [as_json(seen) for seen in judgement.observations],
    }


def _run(facts: RunFacts) -> JsonObject:
    return {
        "version": facts.version,
        "level": str(facts.level),
        "vantage": facts.vantage,
        "authoriser": facts.authoriser,
        "contact": facts.contact,
        "purpose": facts.purpose,
        "window": facts.window,
        "started_us": facts.started_us,
        "ended_us": facts.ended_us,
        "stopped": facts.stopped,
        "scope_sha256": facts.scope_sha256,
        "scope_key": facts.scope_key,
        "log_head": facts.log_head,
        "log_entries": facts.log_entries,
        "addresses": facts.addresses,
        "silent": facts.silent,
        "postures": dict(facts.postures),
        "calling": dict(facts.calling),
        "noticed": dict(facts.noticed),
    }


def _target(target: TargetJudgement, index: dict[int, int], postures: Mapping[str, str]) -> JsonObject:
    return {
        "target": target.subject.target,
        "address": target.subject.address,
        "grade": {
            "letter": target.grade.letter,
            "reasons": list(target.grade.reasons),
            "rests_on": list(target.grade.rests_on),
        },
        "posture": held_against(postures.get(target.subject.target, ""), target),
        "products": list(target.products),
        "a_stranger_could": list(what_a_stranger_could_do(target)),
        "class": {"kind": target.classification.kind, "reasons": list(target.classification.reasons)},
        "estimates": [
            {"what": each.what, "low": each.low, "high": each.high, "how": each.how} for each in target.estimates
        ],
        "matrix": {
            service: {identity: str(cell.access) for identity, cell in cells.items()}
            for service, cells in target.matrix.items()
        },
        "findings": [_finding(finding, target, index) for finding in target.findings],
    }


def _finding(finding: Finding, target: TargetJudgement, index: dict[int, int]) -> JsonObject:
    check = catalogue().check(finding.check_id)
    return {
        "check": check.id,
        "rows": list(check.rows),
        "title": check.title,
        "verdict": str(finding.verdict),
        "severity": str(finding.severity),
        "level": str(check.level),
        "says": finding.says,
        "evidence": sorted(index[id(seen)] for seen in finding.evidence),
        "remedy": catalogue().remedies[remedy_name(finding)].general,
        "remedies": dict(remedies_of(finding, target)),
        "clauses": list(check.clauses),
    }


def parse_run(raw: bytes) -> tuple[RunFacts, tuple[Observation, ...]]:
    """Return what a report was made of, so that it can be judged again. Raises ConfigError if it is none."""
    try:
        report: Any = json.loads(raw)
        if report["format"] != FORMAT:
            raise ConfigError(f"not a report of the format {FORMAT}")
        run = {name: value for name, value in report["run"].items() if name in RunFacts.__dataclass_fields__}
        facts = RunFacts(**{**run, "level": Level(int(run["level"][1:]))})
        _require_plain(facts)
        return facts, tuple(observation_of(each) for each in report["observations"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"not a report of the probe: {type(error).__name__}") from None


def _require_plain(facts: RunFacts) -> None:
    """Raise TypeError unless each fact is a text, a number, or texts by name, as it should be."""
    kinds = {"str": str, "int": int, "Level": Level, "Mapping[str, str]": dict}
    for field in fields(facts):
        value = getattr(facts, field.name)
        told = value.values() if isinstance(value, dict) else ()
        if not isinstance(value, kinds[str(field.type)]) or not all(isinstance(each, str) for each in told):
            raise TypeError(field.name)
