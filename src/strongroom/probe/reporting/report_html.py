"""The report as one page for people: no script, nothing fetched, light and dark, and on paper.

The first screen answers what was tested by whose authority, how bad it is, what a stranger could do and what to do
first. Every text goes through ``escape``; the policy in the head lets nothing run or load, whatever a text holds.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final

from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.findings import Access, Finding, Judgement, RunFacts, TargetJudgement, Verdict
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
    worst,
    written_words,
)

_FEW: Final = 3
"""Targets that have room for a card each on the first screen."""
_MAX_EVIDENCE: Final = 4
_MAX_REASONS: Final = 4
_CELLS: Final = {
    Access.ALLOWED: ("allowed", "open"),
    Access.NEGOTIATED: ("negotiated", "offered"),
    Access.REFUSED: ("refused", "refused"),
    Access.NOT_TESTED: ("untested", "not tested"),
}
_IDENTITY_WORDS: Final = {
    "stranger": "Stranger",
    "knows-title": "Who knows its own title",
    "named": "With the right titles",
    "guessed": "With a guessed title",
    "junk-user": "With a user nobody has",
    "certificate": "With the certificate of the scope",
    "default-credentials": "With the shipped password",
}


def report_html(judgement: Judgement) -> str:
    """Return the page."""
    style = _style()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = f"What a stranger could do: {summary(judgement)}"
    page = "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n',
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n",
            *_body(judgement),
            "</main>\n</body>\n</html>\n",
        )
    )
    return visible(page)


@cache
def _style() -> str:
    return (files("strongroom.probe.reporting") / "report.css").read_text(encoding="utf-8")


def _body(judgement: Judgement) -> Iterator[str]:
    facts = judgement.facts
    yield "<header>\n<h1>What a stranger could do</h1>\n"
    yield f'<p class="soft">{escape(facts.purpose or "Exposure report")}, seen from: {escape(facts.vantage)}, '
    yield f"authorised by {escape(facts.authoriser)}</p>\n</header>\n"
    if facts.stopped:
        yield f'<p class="notice"><strong>This run is not complete:</strong> {escape(facts.stopped)}.</p>\n'
    few = len(judgement.targets) <= _FEW
    if few:
        yield from (words for target in judgement.targets for words in _card(target, judgement.facts))
    else:
        yield from _overview(judgement)
    if not judgement.targets:
        yield "<p>No address of the scope answered on any port that was tried.</p>\n"
    if judgement.may_be_breach:
        yield f'<p class="notice">{escape(CLOCK_WARNING)}</p>\n'
    if written := written_words(judgement):
        yield f'<p class="notice">{escape(written)}</p>\n'
    yield '<h3>What was tested</h3>\n<dl class="facts">\n'
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>\n" for name, words in head_rows(facts))
    yield "</dl>\n"
    for number, target in enumerate(judgement.targets, 1):
        yield from _target(target, number, judgement.facts, with_card=not few)
    yield "<footer>\n<h3>What this says, and what it does not</h3>\n"
    yield from (f"<p>{escape(words)}</p>\n" for words in (NO_BREACH, NO_CERTIFICATE))
    yield f'<p class="small">Run log head: <code>{escape(facts.log_head or "not known")}</code></p>\n</footer>\n'


def _overview(judgement: Judgement) -> Iterator[str]:
    """One row for each target, the worst first, where there are too many for a card each."""
    counts = Counter(target.grade.letter for target in judgement.targets)
    letters = ", ".join(f"{counts[letter]} with {letter}" for letter in LETTERS if letter in counts)
    yield f'<p class="lead">{len(judgement.targets)} addresses: {escape(letters)}.</p>\n'
    yield '<div class="scroll"><table class="overview">\n<thead><tr><th>Grade</th><th>Target</th><th>Product</th>'
    yield "<th>The worst of it</th></tr></thead>\n<tbody>\n"
    numbered = sorted(enumerate(judgement.targets, 1), key=lambda each: LETTERS.index(each[1].grade.letter))
    for number, target in numbered:
        letter = target.grade.letter
        yield f'<tr><td><span class="cell {_style_of(letter)}"><strong>{letter}</strong></span></td>'
        yield f'<td><a href="#t{number}">{escape(str(target.subject))}</a></td>'
        yield f"<td>{escape(product_names(target))}</td><td>{escape(worst(target))}</td></tr>\n"
    yield "</tbody>\n</table></div>\n"


def _style_of(letter: str) -> str:
    return "g-none" if letter == "-" else f"g-{letter.lower()}"


def _card(target: TargetJudgement, facts: RunFacts) -> Iterator[str]:
    grade = target.grade
    letter = "–" if grade.letter == "-" else grade.letter
    yield f'<section class="card">\n<div class="letter {_style_of(grade.letter)}"><small>GRADE</small>{letter}</div>\n'
    yield "<div>\n"
    yield f'<div class="name">{escape(str(target.subject))}</div>\n'
    yield f"<p>{escape(GRADES[grade.letter])}"
    yield f' <span class="soft">Product: {escape(product_names(target))}.</span></p>\n'
    if posture := facts.postures.get(target.subject.target):
        yield f"<p>Expected: {escape(posture)}: {escape(held_against(posture, target))}.</p>\n"
    could = what_a_stranger_could_do(target)
    if could:
        yield f"<h3>A stranger could</h3>\n{_list(could)}"
    else:
        yield f"<h3>Why this grade</h3>\n{_list(grade.reasons)}"
    if grade.rests_on:
        yield f"<h3>What the grade rests on</h3>\n{_list(grade.rests_on)}"
    first = what_to_do_first(target)
    if first:
        yield "<h3>Do first</h3>\n<ol>\n"
        for step in first:
            yield f"<li>{escape(step.general)}{_products(step.products)}</li>\n"
        yield "</ol>\n"
    yield "</div>\n</section>\n"


def _target(target: TargetJudgement, number: int, facts: RunFacts, *, with_card: bool) -> Iterator[str]:
    yield f'<section class="target" id="t{number}">\n<h2>{escape(str(target.subject))}</h2>\n'
    if with_card:
        yield from _card(target, facts)
    yield f"<h3>Why grade {escape(target.grade.letter)}</h3>\n{_list(target.grade.reasons[:_MAX_REASONS])}"
    yield from _matrix(target)
    yield from _estimates(target)
    if target.bad_news:
        yield "<h3>Findings</h3>\n"
        said: dict[str, str] = {}
        for finding in target.bad_news:
            yield from _finding(finding, target, said)
    for title, verdict in (
        ("What was not tested, which is no good news", Verdict.NOT_TESTED),
        ("What was tested and is in order", Verdict.PASS),
        ("What is not there", Verdict.NOT_APPLICABLE),
    ):
        yield from _others(title, [each for each in target.findings if each.verdict is verdict])
    yield "</section>\n"


def _matrix(target: TargetJudgement) -> Iterator[str]:
    identities = list(next(iter(target.matrix.values()), {}))
    if not identities:
        return
    yield '<h3>Who may do what</h3>\n<div class="scroll"><table>\n<thead><tr><th>Service</th>'
    yield "".join(f"<th>{escape(_IDENTITY_WORDS.get(each, each))}</th>" for each in identities)
    yield "</tr></thead>\n<tbody>\n"
    for service, cells in target.matrix.items():
        yield f"<tr><th>{escape(service)}</th>"
        for identity in identities:
            access = cells[identity].access
            style, words = _CELLS[access]
            if access is Access.ALLOWED and identity not in NEEDS_NO_SECRET:
                style, words = "granted", "allowed"
            yield f'<td><span class="cell {style}">{words}</span></td>'
        yield "</tr>\n"
    yield "</tbody>\n</table></div>\n"
    yield '<p class="small soft">open: it was done, or taken, for somebody who has shown nothing. '
    yield "offered: an association was accepted for it, and nothing was asked. The worst over all ports.</p>\n"


def _estimates(target: TargetJudgement) -> Iterator[str]:
    kind = target.classification
    if target.estimates or kind.kind != "unknown":
        yield "<h3>How much lies behind it</h3>\n"
    if target.estimates:
        yield '<div class="scroll"><table>\n<thead><tr><th>What</th><th>How many</th><th>How it was counted</th></tr>'
        yield "</thead>\n<tbody>\n"
        for each in target.estimates:
            yield f"<tr><th>{escape(each.what)}</th><td>{escape(str(each))}</td><td>{escape(each.how)}</td></tr>\n"
        yield "</tbody>\n</table></div>\n"
    if kind.kind != "unknown":
        yield f"<p>Kind of data: <strong>{escape(kind.kind)}</strong>. {escape(' '.join(kind.reasons))}</p>\n"


def _finding(finding: Finding, target: TargetJudgement, said: dict[str, str]) -> Iterator[str]:
    check = catalogue().check(finding.check_id)
    severity = str(finding.severity)
    yield f'<article class="finding" id="{escape(_anchor(finding))}">\n<h4>'
    yield f'<span class="tag {severity}">{severity}</span>{escape(check.title)} '
    yield f'<span class="soft small">{escape(check.id)}, {escape(finding.verdict)}</span></h4>\n'
    yield f'<p class="says">{escape(finding.says)}</p>\n<p>{escape(check.why)}</p>\n'
    name = remedy_name(finding)
    if name in said:
        yield f'<div class="do"><p>What to do: as for {escape(said[name])}.</p></div>\n'
    else:
        said[name] = check.id
        words = catalogue().remedies[name].general
        yield f'<div class="do"><p>{escape(words)}</p>{_products(remedies_of(finding, target))}</div>\n'
    if finding.evidence:
        yield '<ul class="plain evidence mono">\n'
        yield from (f"<li>{escape(evidence_line(seen))}</li>\n" for seen in finding.evidence[:_MAX_EVIDENCE])
        more = len(finding.evidence) - _MAX_EVIDENCE
        if more > 0:
            yield f"<li>and {more} more like it</li>\n"
        if entries := entries_words(finding.evidence):
            yield f"<li>{escape(entries)}</li>\n"
        yield "</ul>\n"
    yield f'<p class="small soft">{escape("; ".join(check.clauses))}</p>\n</article>\n'


def _anchor(finding: Finding) -> str:
    return f"{finding.subject.address}-{finding.check_id}"


def _others(title: str, findings: Iterable[Finding]) -> Iterator[str]:
    rows = list(findings)
    if not rows:
        return
    yield f'<h3>{escape(title)}</h3>\n<div class="scroll"><table class="small">\n<tbody>\n'
    for finding in rows:
        check = catalogue().check(finding.check_id)
        words = finding.says if finding.verdict is Verdict.PASS else f"{check.title}. {finding.says}"
        yield f"<tr><th>{escape(check.id)}</th><td>{escape(words)}</td></tr>\n"
    yield "</tbody>\n</table></div>\n"


def _list(words: Iterable[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{escape(each)}</li>\n" for each in words) + "</ul>\n"


def _products(words: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<p class="small"><strong>{escape(product)}:</strong> {escape(text)}</p>' for product, text in words
    )
