"""The report as plain text, for a terminal and a mail: 100 columns, no control characters but line ends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from strongroom.probe.catalogue import catalogue
from strongroom.probe.findings import Access, Finding, Judgement, TargetJudgement, Verdict
from strongroom.probe.model import NEEDS_NO_SECRET
from strongroom.probe.wording import (
    CLOCK_WARNING,
    GRADES,
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
    for target in judgement.targets:
        yield ""
        yield "=" * WIDTH
        yield from _target(target)
    if not judgement.targets:
        yield ""
        yield "No address of the scope answered on any port that was tried."
    yield ""
    yield "=" * WIDTH
    for words in (CLOCK_WARNING, NO_BREACH, NO_CERTIFICATE):
        yield from textwrap.wrap(words, WIDTH)
        yield ""
    yield f"Ended {when(judgement.facts.ended_us)}. Run log head {judgement.facts.log_head or 'not known'}."


def _target(target: TargetJudgement) -> Iterator[str]:
    grade = target.grade
    yield f"{target.subject}   grade {grade.letter}   {GRADES[grade.letter]}"
    yield f"product: {product_names(target)}"
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
    for title, verdict in (
        ("Passed", Verdict.PASS),
        ("Not there", Verdict.NOT_APPLICABLE),
        ("Not tested, which is no good news", Verdict.NOT_TESTED),
    ):
        found = [each for each in target.findings if each.verdict is verdict]
        if found:
            yield ""
            yield title
            for finding in found:
                check = catalogue().check(finding.check_id)
                words = finding.says if verdict is Verdict.PASS else f"{check.title}: {finding.says}"
                yield from _wrapped(f"  {finding.check_id}  ", words)


def _wrapped(begin: str, words: str) -> Iterator[str]:
    yield from textwrap.wrap(words, WIDTH, initial_indent=begin, subsequent_indent=" " * min(len(begin), 15)) or [begin]
