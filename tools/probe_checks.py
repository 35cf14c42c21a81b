"""docs/probe-checks.md: what the probe sends, what it keeps, what it concludes, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.probe.judging.catalogue import ABOUT, Check, catalogue
from strongroom.probe.judging.conditions import FACTS
from strongroom.probe.judging.grade import __doc__ as GRADES
from strongroom.probe.judging.vulnerable import known_faults
from strongroom.probe.reporting.wording import LEVELS
from strongroom.probe.steps import STEPS

HEAD = """\
# The checks of the probe

Made of `catalogue.toml` and `steps.py` in `src/strongroom/probe`. A check gives one verdict for each address of a
target: `pass`, `fail`, `warn` (to look at: not proven, or not wrong by itself), `not-applicable` (what it is about was
looked for and is not there) or `not-tested`, with the reason. What was not tested never passes. The rows are those of
the survey and of the control catalogue that a check comes from.

Exit status of `strongroom probe`: 0 if every target has grade B or better and nothing of medium severity or worse was
found (a target of which nothing answers, or nothing could be graded, does not count against it), 1 otherwise, 2 if the
probe could not run. A run that was broken off is judged by what it has.

The report in JSON (`report.json`) has a schema: [probe-report.schema.json](probe-report.schema.json).
"""


def probe_checks() -> str:
    """The page of checks."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    yield "## Levels\n"
    yield from (f"- {words}" for words in LEVELS.values())
    yield "\n## Grades\n"
    yield "```\n" + (GRADES or "").strip() + "\n```"
    yield "\n## Overview\n"
    yield "| check | what it finds | severity | level | rows |\n|---|---|---|---|---|"
    for check in catalogue().checks:
        untested = " (never tested)" if check.untested else ""
        rows = ", ".join(check.rows)
        link = f"[{check.id}](#{check.id.lower()})"
        yield f"| {link} | {check.title}{untested} | {check.severity} | {check.level} | {rows} |"
    for check in catalogue().checks:
        yield from _check(check)
    yield from _remedies()
    yield from _steps()
    yield from _faults()
    yield "\n## Facts that rules may name\n"
    yield from (f"- `{name}`: {words}" for name, words in FACTS.items())


def _check(check: Check) -> Iterator[str]:
    yield f"\n## {check.id}\n"
    yield f"**{check.title}.** {check.why}\n"
    yield f"- severity {check.severity}, level {check.level}, about {ABOUT[check.about]}"
    yield f"- sent: {check.sends}"
    yield f"- evidence: {check.evidence}"
    if check.steps:
        yield f"- steps: {', '.join(f'`{step}`' for step in check.steps)}"
    yield f"- clauses: {'; '.join(check.clauses)}"
    yield f"- what to do: [{check.remedy}](#remedy-{check.remedy})"
    if check.untested:
        yield f"- not tested: {check.untested}"
    if check.rules:
        yield "\n| verdict | when the report says |\n|---|---|"
        for rule in check.rules:
            severity = f" ({rule.severity})" if rule.severity is not None else ""
            yield f"| {rule.verdict}{severity} | {rule.says.replace('|', '/')} |"


def _remedies() -> Iterator[str]:
    yield "\n## What to do"
    for name, remedy in catalogue().remedies.items():
        yield f"\n### Remedy {name}\n"
        yield f"{remedy.general}\n"
        yield from (f"- {catalogue().products[product]}: {words}" for product, words in remedy.products.items())


def _steps() -> Iterator[str]:
    yield "\n## Steps\n"
    yield "All that a run can send, and all that it can remember.\n"
    yield "| step | level | sent | kept | connections at most | consent |\n|---|---|---|---|---|---|"
    for step in STEPS.values():
        kept = ", ".join(sorted(step.kept))
        yield f"| `{step.name}` | {step.level} | {step.sends} | {kept} | {step.connections} | {step.consent or '-'} |"


def _faults() -> Iterator[str]:
    table = known_faults()
    yield f"\n## Versions with known faults, as of {table.as_of}\n"
    for fault in table.faults:
        yield f"- {catalogue().products[fault.product]} below {fault.below}: {', '.join(fault.cve)}, {fault.what}"
