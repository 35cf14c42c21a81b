"""From observations to a judgement: pure, the rules are data (``catalogue.toml``).

What no rule speaks of is not tested, with the reason: the level, a consent that is missing, the budget, or an answer
that proves nothing. What a check is about and is not there makes it not applicable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom.probe.judging.catalogue import FACT_WORDS, Catalogue, Check, Rule, catalogue, placeholders
from strongroom.probe.judging.classify import classify
from strongroom.probe.judging.conditions import Case, Seen
from strongroom.probe.judging.estimates import estimate
from strongroom.probe.judging.findings import (
    BAD_NEWS,
    Finding,
    Judgement,
    RunFacts,
    Subject,
    TargetJudgement,
    Verdict,
)
from strongroom.probe.judging.grade import grade
from strongroom.probe.judging.matrix import matrix_of
from strongroom.probe.judging.recognised import recognise
from strongroom.probe.model import (
    BUDGET,
    NEEDS_NO_SECRET,
    Answer,
    Channel,
    Detail,
    Level,
    Observation,
    speaks_dicom,
)

_LEVEL_WORDS: Final = {
    Level.CONNECT: "connections and TLS handshakes",
    Level.ASSOCIATE: "associations and web requests that name no study",
    Level.COUNT: "queries that count",
    Level.CANARY: "a synthetic object that is written",
}
_SPOKE: Final = frozenset({Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED, Answer.HOSTILE})
_FOUND_BY: Final = {
    "dicom": ("dicom.associate", "dicom.guess", "dicom.services"),
    "http": ("http.root", "http.qido", "http.paths", "http.rest"),
    "tls": ("tls.handshake", "tls.versions"),
}
_MAX_WORDS: Final = 6
_NO_ANSWER: Final = frozenset({Answer.TIMEOUT, Answer.HOSTILE, Answer.UNREACHABLE})
_MAY_BE_SILENT: Final = frozenset({"tcp.connect", "neighbour.connect", "tls.handshake"})
"""Steps of which no answer is one: nothing listens there, or nothing that speaks TLS."""


def judge(observations: Sequence[Observation], facts: RunFacts) -> Judgement:
    """Return the judgement of a run: of each address of each target, in the order in which they were first seen."""
    by_subject: dict[Subject, list[Observation]] = {}
    for seen in observations:
        by_subject.setdefault(Subject(seen.endpoint.target, seen.endpoint.address), []).append(seen)
    targets = tuple(_judge_subject(subject, seen, facts) for subject, seen in by_subject.items())
    return Judgement(facts, targets, tuple(observations))


def _judge_subject(subject: Subject, observations: Sequence[Observation], facts: RunFacts) -> TargetJudgement:
    kind = classify(observations)
    known = recognise(observations)
    case_facts = {
        "vantage": facts.vantage,
        "posture": facts.postures.get(subject.target, "") or "unknown",
        "level": str(facts.level),
        "class": kind.kind,
        "version": known.version,
        "faults": "; ".join(known.faults),
        "reasons": " ".join(kind.reasons),
        "noticed": facts.noticed.get(str(subject), "unknown"),
    }
    findings = _findings(subject, observations, case_facts, facts.level)
    return TargetJudgement(
        subject,
        grade(findings, observations, facts.level, case_facts["posture"]),
        findings,
        matrix_of(observations),
        estimate(observations),
        kind,
        known.products,
    )


def _findings(
    subject: Subject, observations: Sequence[Observation], case_facts: Mapping[str, str], level: Level
) -> tuple[Finding, ...]:
    checks: Catalogue = catalogue()
    verdicts: dict[str, Verdict] = {}
    findings = []
    for check in checks.checks:
        case = Case(observations, case_facts, verdicts)
        finding = _finding(check, subject, case, level)
        verdicts[check.id] = finding.verdict
        findings.append(finding)
    return tuple(sorted(findings, key=lambda each: each.check_id))


def _finding(check: Check, subject: Subject, case: Case, level: Level) -> Finding:
    held = _that_hold(check, case)
    if not held:
        verdict, words = _silence(check, case, level)
        return Finding(check.id, subject, verdict, check.severity, words)
    rule, evidence = held[0]
    if rule.verdict is Verdict.PASS and (doubt := _doubt(rule, case)):
        return Finding(check.id, subject, Verdict.NOT_TESTED, check.severity, doubt, evidence)
    severity = check.severity if rule.severity is None else rule.severity
    said = [_says(rule, evidence, case.facts)]
    if check.together and rule.verdict in BAD_NEWS:
        more = [each for each in held[1:] if each[0].verdict in BAD_NEWS]
        said += [_says(other, rests_on, case.facts) for other, rests_on in more]
        evidence = tuple({id(each): each for _, seen in (held[0], *more) for each in seen}.values())
    return Finding(check.id, subject, rule.verdict, severity, " ".join(said), evidence)


def _that_hold(check: Check, case: Case) -> list[tuple[Rule, tuple[Observation, ...]]]:
    """Return the rules that hold with what each rests on; the first decides.

    Of a server that never spoke DICOM nothing good is said for it: who hangs up without a word has refused nobody.
    """
    never_spoke = check.about == "dicom" and not speaks_dicom(case.observations)
    held = []
    for rule in check.rules:
        evidence = rule.evidence(case)
        if evidence is None:
            continue
        of_dicom = all(each.step.startswith("dicom.") for each in evidence)
        if not (never_spoke and of_dicom and rule.verdict not in BAD_NEWS):
            held.append((rule, evidence or _of_steps(check, case)))
    return held


def _doubt(rule: Rule, case: Case) -> str:
    """Say what good news does not know, "" if all that was asked for it was answered.

    What one port refused says nothing of another that kept silent, went away, or was left out for the budget.
    """
    for condition in (*rule.all, *rule.any):
        if not isinstance(condition, Seen) or not condition.steps:
            continue
        for seen in case.observations:
            if seen.step in condition.steps and _is_unknown(seen, condition, case.observations):
                left_out = seen.answer is Answer.NOT_ASKED
                words = "the budget was spent before it was asked" if left_out else str(seen.answer)
                return f"Not known of port {seen.endpoint.port}: {words}."
    return ""


def _is_unknown(seen: Observation, condition: Seen, observations: Sequence[Observation]) -> bool:
    if seen.answer is Answer.NOT_ASKED:
        return seen.details.get("reason") == BUDGET
    if seen.answer not in _NO_ANSWER or seen.step in _MAY_BE_SILENT:
        return False
    if not condition.is_about(seen):
        return False
    # A port that speaks TLS need not answer who comes without.
    return not any(
        each.step == seen.step
        and each.endpoint == seen.endpoint
        and (seen.channel, each.channel) == (Channel.PLAIN, Channel.TLS)
        and each.answer in _SPOKE | {Answer.CLOSED}
        for each in observations
    )


def _silence(check: Check, case: Case, level: Level) -> tuple[Verdict, str]:
    """Say why no rule speaks."""
    if check.untested:
        return Verdict.NOT_TESTED, check.untested
    if check.level > level:
        words = f"Needs level {check.level} ({_LEVEL_WORDS[check.level]}); this run was {level}."
        return Verdict.NOT_TESTED, words
    steps = set(check.steps)
    seen = [each for each in case.observations if each.step in steps]
    if check.about in _FOUND_BY and not _is_there(check.about, case.observations):
        names = {"dicom": "DICOM", "http": "HTTP", "tls": "TLS"}
        silent = [each for each in case.observations if each.answer in (Answer.TIMEOUT, Answer.HOSTILE)]
        if not silent and any(each.step == "tcp.connect" for each in case.observations):
            beside = _beside(case.observations) if check.about == "dicom" else ""
            return Verdict.NOT_APPLICABLE, f"No {names[check.about]} was found on the ports that were tried{beside}."
    reasons = dict.fromkeys(
        str(each.details.get("reason", "")) or "left out" for each in seen if each.answer is Answer.NOT_ASKED
    )
    if reasons:
        return Verdict.NOT_TESTED, f"Not asked: {', '.join(reasons)}."
    if seen:
        return Verdict.NOT_TESTED, _proves_nothing(seen)
    return Verdict.NOT_TESTED, "Not asked: nothing was found that it could be asked of."


def _proves_nothing(seen: Sequence[Observation]) -> str:
    """Say what is missing in answers that no rule speaks of."""
    if not any(each.identity in NEEDS_NO_SECRET for each in seen):
        return f"Asked only as {_some(sorted({each.identity for each in seen}))}: of strangers it says nothing."
    ports = _some(tuple(dict.fromkeys(str(each.endpoint.port) for each in seen if each.answer is Answer.DONE)))
    if ports:
        return f"What port {ports} answered leaves it open: there was nothing to look at, or to read back."
    answers = dict.fromkeys(f"{each.answer} on port {each.endpoint.port}" for each in seen)
    return f"No answer that tells: {_some(tuple(answers))}."


def _beside(observations: Sequence[Observation]) -> str:
    """Say what else is spoken on ports that DICOM was looked for on, as the end of a sentence."""
    other = dict.fromkeys(
        f"port {each.endpoint.port} speaks {each.details.get('reason', 'another protocol')}"
        for each in observations
        if each.step == "dicom.associate" and each.channel is Channel.PLAIN and each.answer is Answer.OTHER
    )
    return f": {_some(tuple(other))}" if other else ""


def _is_there(about: str, observations: Sequence[Observation]) -> bool:
    return any(each.step in _FOUND_BY[about] and each.answer in _SPOKE for each in observations)


def _of_steps(check: Check, case: Case) -> tuple[Observation, ...]:
    """What a rule rests on that speaks of facts only: the observations that the facts were made of."""
    return tuple(each for each in case.observations if each.step in check.steps and each.answer is Answer.DONE)


def _says(rule: Rule, evidence: Sequence[Observation], facts: Mapping[str, str]) -> str:
    """Fill in what a sentence names, from the first observation that has it, or from the facts."""
    words = {
        name: facts[name]
        if name in FACT_WORDS
        else next((_shown(name, each.details[name], each) for each in evidence if name in each.details), "unknown")
        for name in placeholders(rule.says)
    }
    return rule.says.format(**words)


def _shown(name: str, detail: Detail, seen: Observation) -> str:
    if isinstance(detail, tuple):
        return _some(detail) or "none"
    if name == "status" and isinstance(detail, int) and seen.step.startswith("dicom."):
        return f"{detail:04X}H"
    if isinstance(detail, bool):
        return "yes" if detail else "no"
    return f"{detail:,}" if isinstance(detail, int) and name != "status" else str(detail)


def _some(words: Sequence[str]) -> str:
    more = len(words) - _MAX_WORDS
    return ", ".join(words[:_MAX_WORDS]) + (f" and {more} more" if more > 0 else "")
