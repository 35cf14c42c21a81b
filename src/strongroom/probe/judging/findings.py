"""The words of a judgement: what a check found, how bad it is, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from strongroom.probe.model import Level, Observation


class Severity(IntEnum):
    """How bad it is if a check fails."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


class Verdict(StrEnum):
    """What a check says of one address. ``NOT_TESTED`` is never good news, and never counted as such."""

    FAIL = "fail"
    WARN = "warn"
    """Something to look at: not proven, or not wrong by itself."""
    PASS = "pass"
    NOT_APPLICABLE = "not-applicable"
    """What the check is about is not there, and that was looked for."""
    NOT_TESTED = "not-tested"


BAD_NEWS = frozenset({Verdict.FAIL, Verdict.WARN})
CLOSED = "closed"
"""The posture of a target of which the scope expects that nothing answers."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a judgement is about: one address of one target of the scope."""

    target: str
    address: str

    def __str__(self) -> str:
        return self.target if self.target == self.address else f"{self.target} ({self.address})"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one check on one subject; ``says`` is one plain sentence, ``evidence`` what it rests on."""

    check_id: str
    subject: Subject
    verdict: Verdict
    severity: Severity
    says: str
    evidence: tuple[Observation, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether this is bad news of medium or worse, by which a run ends with exit status 1."""
        return self.verdict in BAD_NEWS and self.severity >= Severity.MEDIUM


@dataclass(frozen=True, slots=True)
class Grade:
    """A to F, or ``-`` where there was nothing to grade; ``rests_on`` says what the letter takes for granted.

    ``is_enough``: whether ``-`` is all that was wanted: silence that the scope expects, or a level that asks nothing.
    """

    letter: str
    reasons: tuple[str, ...]
    rests_on: tuple[str, ...] = ()
    is_enough: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it is B or better, or ``-`` and that is enough: silence where an answer was expected is not good."""
        return self.letter in ("A", "B") or self.is_enough


class Access(StrEnum):
    """What one identity may do with one service."""

    ALLOWED = "allowed"
    NEGOTIATED = "negotiated"
    """The association was accepted for it, and nothing was asked: not proven either way."""
    REFUSED = "refused"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix of services by identities: the worst that was seen over all ports and channels."""

    access: Access
    evidence: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many of ``what`` there are: from ``low`` to ``high`` (None: no bound known), and ``how`` it was counted."""

    what: str
    low: int
    high: int | None
    how: str

    @property
    def is_exact(self) -> bool:
        """Whether both bounds are one number."""
        return self.low == self.high

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.low:,}"
        return f"at least {self.low:,}" if self.high is None else f"{self.low:,} to {self.high:,}"


@dataclass(frozen=True, slots=True)
class Classification:
    """What kind of data answers look like: ``honeypot``, ``phantom``, ``demo``, ``synthetic``, ``real-looking``."""

    kind: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Who tested what for whom: the head of every report. Times are microseconds since 1970, 0 if not known.

    ``postures`` and ``calling`` (application entity titles) are by target. ``stopped`` says why a run is not complete;
    empty if it is. ``noticed`` is what ``probe noticed`` found in the server's own log, by subject: "all", "some" or
    "none", if it was asked.
    """

    version: str
    level: Level
    vantage: str
    authoriser: str
    contact: str
    started_us: int
    ended_us: int
    window: str = ""
    purpose: str = ""
    stopped: str = ""
    scope_sha256: str = ""
    scope_key: str = ""
    log_head: str = ""
    log_entries: int = 0
    addresses: int = 0
    """That were looked at; of those of ranges that answered at no port, ``silent``, the report says no more."""
    silent: int = 0
    postures: Mapping[str, str] = field(default_factory=dict)
    calling: Mapping[str, str] = field(default_factory=dict)
    noticed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetJudgement:
    """All that is said of one subject. ``products`` are keys of the remedies, most specific first."""

    subject: Subject
    grade: Grade
    findings: tuple[Finding, ...]
    matrix: Mapping[str, Mapping[str, Cell]]
    estimates: tuple[Estimate, ...]
    classification: Classification
    products: tuple[str, ...]

    @property
    def not_tested(self) -> tuple[Finding, ...]:
        """The checks that say nothing, with the reason of each."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.NOT_TESTED)

    @property
    def bad_news(self) -> tuple[Finding, ...]:
        """What fails or warns, the worst first."""
        found = [finding for finding in self.findings if finding.verdict in BAD_NEWS]
        return tuple(sorted(found, key=lambda each: (-each.severity, each.verdict, each.check_id)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is said of a run."""

    facts: RunFacts
    targets: tuple[TargetJudgement, ...]
    observations: tuple[Observation, ...]

    @property
    def exit_status(self) -> int:
        """0 if every target has B or better and nothing of medium severity or worse was found, else 1."""
        return 0 if self.is_tested and not self.is_weak else 1

    @property
    def is_weak(self) -> bool:
        """Whether anything has C or worse, or a finding of medium severity or worse."""
        return any(each.grade.letter in "CDF" or any(f.counts for f in each.findings) for each in self.targets)

    @property
    def may_be_breach(self) -> bool:
        """Whether it shows anything by which somebody's data might be reached: not if nothing answered, or all is A."""
        return self.is_weak or any(each.grade.letter == "B" for each in self.targets)

    @property
    def is_tested(self) -> bool:
        """Whether all in the report answered; if nothing is in it, whether all of the scope is expected to be shut."""
        if self.targets:
            return all(each.grade.letter != "-" or each.grade.is_enough for each in self.targets)
        names = self.facts.calling
        return bool(names) and all(self.facts.postures.get(name) == CLOSED for name in names)


def number_of(seen: Observation, detail: str) -> int:
    """Return a detail that counts something, 0 if it is not there."""
    value = seen.details.get(detail, 0)
    return value if isinstance(value, int) else 0
