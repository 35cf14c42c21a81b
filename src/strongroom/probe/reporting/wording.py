"""What all reports say alike: sentences for people who run archives, and for those who answer for them. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.classify import SHAPE_STEPS
from strongroom.probe.judging.findings import Access, Finding, Judgement, RunFacts, Severity, TargetJudgement, Verdict
from strongroom.probe.judging.vulnerable import known_faults
from strongroom.probe.model import NEEDS_NO_SECRET, Level, Observation

GRADES: Final = {
    "A": "Shut: encrypted, and nobody gets in without a certificate or a login.",
    "B": "Shut, with something left to mend.",
    "C": "There is a gate, and what passes it can be read or changed on the way.",
    "D": "The gate holds nobody back who knows a name, or it lets strangers in part of the way.",
    "F": "Open: a stranger can read or write.",
    "-": "Not graded: see why.",
}
LETTERS: Final = "FDCBA-"
"""Worst first."""
LEVELS: Final = {
    Level.CONNECT: "L0: connections and TLS handshakes; nothing was asked",
    Level.ASSOCIATE: "L1: associations, C-ECHO, and web requests that name no study",
    Level.COUNT: "L2: also queries that count, with values looked at in memory and dropped",
    Level.CANARY: "L3: also a synthetic object, written, read and overwritten",
}
CLOCK_WARNING: Final = (
    "Receiving this report may start a clock. If it shows that patients' data could be reached, the day on which "
    "anybody of your workforce or an agent of yours gets to know it, or would have by reasonable diligence, may be "
    "the day on which a breach counts as discovered (45 CFR 164.404(a)(2)). Notices are due without unreasonable "
    "delay, and within 60 calendar days at the latest (45 CFR 164.404(b)). Show it today to whoever decides that, "
    "and keep it."
)
NO_BREACH: Final = (
    "Synthetic, phantom or demonstration data is nobody's, and its exposure is no breach; what looks like it has to be "
    "confirmed by somebody who may look. What the probe itself did is a test that was authorised, and it kept no value "
    "of a patient. An open door is no proof that anybody went through: that is what the server's own logs are for "
    "(45 CFR 164.402(2)(iii))."
)
NO_CERTIFICATE: Final = (
    "A grade says what was seen from one place at one time. The evidence supports or does not support a clause; it "
    "does not say that anybody complies with the law, which nobody certifies."
)
MAX_FIRST: Final = 3
MAX_WORDS: Final = 6
_OFFERED: Final = {
    "C-FIND": "search it (C-FIND)",
    "C-GET": "take images out of it (C-GET)",
    "C-MOVE": "have it send images elsewhere (C-MOVE)",
    "C-STORE": "put images into it (C-STORE)",
    "Worklist": "read the worklist",
}


_OBEYED: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that a terminal or a browser obeys instead of showing them; a line end is not among them."""


def visible(text: str) -> str:
    """Return ``text`` with a ``?`` for what would be obeyed. Servers' words come masked already; a scope's do not."""
    return _OBEYED.sub("?", text)


@dataclass(frozen=True, slots=True)
class FirstStep:
    """Something to do, and for which findings; ``products`` are the exact words for a product, by its name."""

    general: str
    products: tuple[tuple[str, str], ...]
    checks: tuple[str, ...]


def what_a_stranger_could_do(target: TargetJudgement) -> tuple[str, ...]:
    """Return the rest of sentences that begin with "A stranger could", worst first; empty if nothing was found."""
    shown = dict.fromkeys(
        could
        for finding in target.bad_news
        if finding.verdict is Verdict.FAIL and (could := catalogue().check(finding.check_id).could)
    )
    offered = [
        words
        for service, words in _OFFERED.items()
        if max(
            (cell.access for who, cell in target.matrix[service].items() if who in NEEDS_NO_SECRET),
            key=(Access.NOT_TESTED, Access.REFUSED, Access.NEGOTIATED, Access.ALLOWED).index,
            default=Access.NOT_TESTED,
        )
        is Access.NEGOTIATED
    ]
    probably = [f"probably {words}: it is offered to anybody, and was not asked for" for words in offered]
    return (*probably, *shown) if target.grade.letter == "D" else (*shown, *probably)


def worst(target: TargetJudgement) -> str:
    """Return the worst of a target in a few words: what a stranger could do, or why it has its letter."""
    could = what_a_stranger_could_do(target)
    return f"a stranger could {'; '.join(could[:2])}" if could else target.grade.reasons[0]


def what_to_do_first(target: TargetJudgement) -> tuple[FirstStep, ...]:
    """Return the remedies of the worst findings, each once, at most three."""
    steps: dict[str, list[str]] = {}
    for finding in target.bad_news:
        if finding.severity >= Severity.MEDIUM:
            steps.setdefault(remedy_name(finding), []).append(finding.check_id)
    found = []
    for name, checks in list(steps.items())[:MAX_FIRST]:
        remedy = catalogue().remedies[name]
        found.append(FirstStep(remedy.general, _named(remedy.of(target.products)), tuple(checks)))
    return tuple(found)


def remedies_of(finding: Finding, target: TargetJudgement) -> tuple[tuple[str, str], ...]:
    """Return what to do about a finding for the products recognised, by the name of each."""
    return _named(catalogue().remedies[remedy_name(finding)].of(target.products))


def remedy_name(finding: Finding) -> str:
    """Return the name of the remedy of a finding: that for the web where all of its evidence is of the web."""
    check = catalogue().check(finding.check_id)
    of_the_web = finding.evidence and all(seen.step.startswith("http.") for seen in finding.evidence)
    return check.web_remedy if of_the_web else check.remedy


def _named(words: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((catalogue().products[product], text) for product, text in words)


def product_names(target: TargetJudgement) -> str:
    """Return the products that the server seems to be, or that nothing was recognised."""
    names = [catalogue().products[product] for product in target.products]
    return " or ".join(names) if names else "not recognised"


def evidence_line(seen: Observation) -> str:
    """Return one line for an observation: what was asked, of which port, as whom, and what came."""
    where = f"port {seen.endpoint.port} {'TLS' if seen.channel == 'tls' else 'plaintext'}"
    details = ", ".join(
        f"{key.replace('_', ' ')} {_detail(key, value, seen.step)}"
        for key, value in sorted(seen.details.items())
        if value or seen.step not in SHAPE_STEPS
    )
    return f"{seen.step}, {where}, as {seen.identity}: {seen.answer}" + (f" ({details})" if details else "")


def _detail(key: str, value: object, step: str) -> str:
    if isinstance(value, tuple):
        more = len(value) - MAX_WORDS
        return ("/".join(map(str, value[:MAX_WORDS])) or "none") + (f"/and {more} more" if more > 0 else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "status" and isinstance(value, int) and step.startswith("dicom."):
        return f"{value:04X}H"
    return str(value)


def entries_words(seen: Sequence[Observation]) -> str:
    """Return the numbers of the run log's entries that observations rest on."""
    numbers = sorted({number for each in seen for number in each.entries})
    if not numbers:
        return ""
    return f"run log entries {_ranges(numbers)}"


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[str] = []
    begin = last = numbers[0]
    for number in (*numbers[1:], 0):
        if number != last + 1:
            parts.append(str(begin) if begin == last else f"{begin}-{last}")
            begin = number
        last = number
    return ", ".join(parts[:8]) + (" and more" if len(parts) > 8 else "")


def when(at_us: int) -> str:
    """Return a time in UTC to the second, or that it is not known."""
    if not at_us:
        return "not known"
    return dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def head_rows(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """Yield what was tested by whose authority, from where and when, as name and words."""
    yield "Authorised by", f"{facts.authoriser}, contact {facts.contact}"
    if facts.purpose:
        yield "Scope", facts.purpose
    if facts.scope_sha256:
        yield (
            "Scope file",
            f"SHA-256 {facts.scope_sha256}" + (f", signed by {facts.scope_key}" if facts.scope_key else ""),
        )
    if facts.window:
        yield "Window", facts.window
    yield "Seen from", facts.vantage
    yield "Level", LEVELS[facts.level]
    yield "Run", f"{when(facts.started_us)} to {when(facts.ended_us)}" + (f"; {facts.stopped}" if facts.stopped else "")
    if facts.addresses:
        silent = f", of which {facts.silent:,} of ranges answered at no port" if facts.silent else ""
        yield "Addresses", f"{facts.addresses:,} looked at{silent}"
    if facts.postures:
        yield "Expected", ", ".join(f"{target}: {posture}" for target, posture in facts.postures.items())
    if facts.log_head:
        yield "Run log", f"{facts.log_entries} entries, head {facts.log_head}"
    yield "Made by", f"Strongroom {facts.version}, known faults as of {known_faults().as_of}"


def written_words(judgement: Judgement) -> str:
    """Return how many objects the run may have left behind, "" if none."""
    uids = {uid for seen in judgement.observations if isinstance(uid := seen.details.get("sop_instance_uid"), str)}
    if not uids:
        return ""
    objects = f"{len(uids)} synthetic object{'s' * (len(uids) > 1)}"
    return f"The probe wrote {objects}, or tried to. cleanup.txt beside this report names what has to be removed."


def summary(judgement: Judgement) -> str:
    """Return one line: how many targets have which grade, and whether that is good."""
    counts: dict[str, int] = {}
    for target in judgement.targets:
        counts[target.grade.letter] = counts.get(target.grade.letter, 0) + 1
    letters = (
        ", ".join(f"{counts[letter]} x {letter}" for letter in LETTERS if letter in counts) or "no target answered"
    )
    return f"{letters}: {' '.join(_verdict(judgement))}"


def _verdict(judgement: Judgement) -> Iterator[str]:
    """What the letters come to. What nobody could test is never called good."""
    if judgement.facts.stopped:
        yield "not complete,"
    if judgement.is_weak:
        yield "something is open or weak" + (", and not all answered" if not judgement.is_tested else "")
    elif not judgement.is_tested:
        yield "not tested, for there was no answer that says anything"
    elif judgement.facts.level is Level.CONNECT:
        yield "nothing weak was seen, and L0 asks nothing"
    else:
        yield "good"
