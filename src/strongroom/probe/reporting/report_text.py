"""The report as plain text, for a terminal and a mail: 100 columns, no control characters but line ends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from strongroom.probe.judging.catalogue import Check, catalogue
from strongroom.probe.judging.findings import Access, Finding, Judgement, TargetJudgement, Verdict
from strongroom.probe.judging.posture import held_against
from strongroom.probe.model import NEEDS_NO_SECRET
from strongroom.probe.reporting.wording import (
    CLOCK_WARNING,
    GRADES,
    LETTERS,
    NO_BREACH,
    NO_CERTIFICATE,
    entries_words,
    evidence_line,
    head_rows,
    product_names,
    remedies_of,
    remedy_name,
    summary,
    visible,
    what_a_stranger_could_do,
    what_to_do_first,
    when,
    worst,
    written_words,
)

WIDTH: Final = 100
_MAX_EVIDENCE: Final = 4
_MARKS: Final = {
    Access.ALLOWED: "OPEN",
    Access.NEGOTIATED: "offered",
    Access.REFUSED: "refused",
    Access.NOT_TESTED: "-",
}


def report_text(judgement: Judgement) -> str:
    """Return the report. It ends with a line end."""
    return visible("\n".join(_lines(judgement)) + "\n")


def _lines(judgement: Judgement) -> Iterator[str]:
    yield f"What a stranger could do: {summary(judgement)}"
    yield ""
    for name, words in head_rows(judgement.facts):
        yield from _wrapped(f"{name:<14}", words)
    if written := written_words(judgement):
        yield ""
        yield from textwrap.wrap(written, WIDTH)
    if len(judgement.targets) > 1:
        yield ""
        yield from _overview(judgement)
    for target in judgement.targets:
        yield ""
        yield "=" * WIDTH
        yield from _target(target, judgement.facts.postures.get(target.subject.target, ""))
    if not judgement.targets:
        yield ""
        yield "No address of the scope answered on any port that was tried."
    yield from _never_tested(judgement)
    yield ""
    yield "=" * WIDTH
    for words in (*[CLOCK_WARNING][: judgement.may_be_breach], NO_BREACH, NO_CERTIFICATE):
        yield from textwrap.wrap(words, WIDTH)
        yield ""
    yield f"Ended {when(judgement.facts.ended_us)}. Run log head {judgement.facts.log_head or 'not known'}."


def _overview(judgement: Judgement) -> Iterator[str]:
    """A line for each target, the worst first."""
    yield "Grade  Target, product, and the worst of it"
    for target in sorted(judgement.targets, key=lambda each: LETTERS.index(each.grade.letter)):
        yield from _wrapped(
            f"  {target.grade.letter}    ", f"{target.subject}, {product_names(target)}: {worst(target)}"
        )


def _never_tested(judgement: Judgement) -> Iterator[str]:
    """The checks that no probe can make, once for all targets."""
    checks = sorted((check for check in catalogue().checks if check.untested), key=lambda check: check.id)
    if not judgement.targets or not checks:
        return
    yield ""
    yield "=" * WIDTH
    yield "Never tested by a probe, of any target"
    for check in checks:
        yield from _wrapped(f"  {check.id}  ", f"{check.title}: {check.untested}")


def _target(target: TargetJudgement, posture: str) -> Iterator[str]:
    grade = target.grade
    yield f"{target.subject}   grade {grade.letter}   {GRADES[grade.letter]}"
    yield f"product: {product_names(target)}"
    if posture:
        yield from _wrapped("expected: ", f"{posture}: {held_against(posture, target)}.")
    for reason in grade.reasons:
        yield from _wrapped("  because  ", reason)
    for words in grade.rests_on:
        yield from _wrapped("  rests on ", words)
    could = what_a_stranger_could_do(target)
    if could:
        yield ""
        yield "A stranger could"
        for words in could:
            yield from _wrapped("  - ", words)
    first = what_to_do_first(target)
    if first:
        yield ""
        yield "Do first"
        for number, step in enumerate(first, 1):
            yield from _wrapped(f"  {number}. ", f"{step.general} ({', '.join(step.checks)})")
            for product, words in step.products:
                yield from _wrapped("     ", f"{product}: {words}")
    yield from _matrix(target)
    yield from _estimates(target)
    if target.bad_news:
        yield ""
        yield "Findings"
        said: dict[str, str] = {}
        for finding in target.bad_news:
            yield from _finding(finding)
            yield from _remedy(finding, target, said)
    yield from _rest(target)


def _matrix(target: TargetJudgement) -> Iterator[str]:
    identities = list(next(iter(target.matrix.values()), {}))
    if not identities:
        return
    yield ""
    yield "Who may do what".ljust(22) + "".join(f"{identity:<21}" for identity in identities).rstrip()
    for service, cells in target.matrix.items():
        yield f"  {service:<20}" + "".join(f"{_mark(cells[i].access, i):<21}" for i in identities).rstrip()


def _mark(access: Access, identity: str) -> str:
    """What is open to whoever needs no secret is shouted; what those may do who have one is not."""
    return "allowed" if access is Access.ALLOWED and identity not in NEEDS_NO_SECRET else _MARKS[access]


def _estimates(target: TargetJudgement) -> Iterator[str]:
    if not target.estimates:
        return
    yield ""
    yield "How much lies behind it"
    for each in target.estimates:
        yield from _wrapped("  ", f"{each.what}: {each}. {each.how}")
    yield from _wrapped("  ", f"kind of data: {target.classification.kind}. {' '.join(target.classification.reasons)}")


def _finding(finding: Finding) -> Iterator[str]:
    check = catalogue().check(finding.check_id)
    yield ""
    yield f"  {finding.check_id}  {finding.verdict.upper()}  {finding.severity}  {check.title}"
    yield from _wrapped("      ", finding.says)
    for seen in finding.evidence[:_MAX_EVIDENCE]:
        yield from _wrapped("      seen: ", evidence_line(seen))
    more = len(finding.evidence) - _MAX_EVIDENCE
    if more > 0:
        yield f"      seen: and {more} more like it"
    if entries := entries_words(finding.evidence):
        yield f"      {entries}"
    yield from _wrapped("      why: ", check.why)
    yield from _wrapped("      clause: ", "; ".join(check.clauses))


def _remedy(finding: Finding, target: TargetJudgement, said: dict[str, str]) -> Iterator[str]:
    """What to do, unless it has been ``said`` of another finding: then which. Adds to ``said``."""
    name = remedy_name(finding)
    if name in said:
        yield f"      do: as for {said[name]}"
        return
    said[name] = finding.check_id
    yield from _wrapped("      do: ", catalogue().remedies[name].general)
    for product, words in remedies_of(finding, target):
        yield from _wrapped(f"      {product}: ", words)


def _rest(target: TargetJudgement) -> Iterator[str]:
    """What is no bad news. Checks of which the same is said share a line; those never tested stand at the end."""
    for title, verdict in (
        ("Passed", Verdict.PASS),
        ("Not there", Verdict.NOT_APPLICABLE),
        ("Not tested, which is no good news", Verdict.NOT_TESTED),
    ):
        said: dict[str, list[Check]] = {}
        for finding in target.findings:
            check = catalogue().check(finding.check_id)
            if finding.verdict is verdict and not check.untested:
                said.setdefault(finding.says, []).append(check)
        if said:
            yield ""
            yield title
            for words, checks in said.items():
                yield from _of_checks(checks, words, with_title=verdict is not Verdict.PASS)


def _of_checks(checks: Sequence[Check], words: str, *, with_title: bool) -> Iterator[str]:
    if len(checks) > 1:
        yield from _wrapped("  ", f"{', '.join(check.id for check in checks)}: {words}")
    else:
        title = f"{checks[0].title}: " if with_title else ""
        yield from _wrapped(f"  {checks[0].id}  ", f"{title}{words}")


def _wrapped(begin: str, words: str) -> Iterator[str]:
    yield from textwrap.wrap(words, WIDTH, initial_indent=begin, subsequent_indent=" " * min(len(begin), 15)) or [begin]
