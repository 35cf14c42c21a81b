"""The words of screening: what a finding is, how bad and how sure, and where in the file it stands.

Nothing here or in what is made of it holds a value of a patient: ``Finding.what`` says what the structure proves
(sizes, offsets, machine types, names of formats), ``Place.path`` names attributes by their tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class Severity(IntEnum):
    """How much harm comes of it where it is true. They compare: ``finding.severity >= Severity.MEDIUM``."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Severity:
        """Return the severity of that name. Raises ValueError if there is none."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise ValueError(f"a severity is one of {', '.join(map(str, cls))}") from None


class Confidence(IntEnum):
    """How much of the structure bears it out."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for. ``id`` is stable ("SR-PE-001"): policies and reports name it.

    ``why`` says what harm it does, ``remedy`` what to do, ``clause`` where the standard speaks of it ("" if nowhere).
    """

    id: str
    title: str
    severity: Severity
    why: str
    remedy: str
    clause: str = ""


PREAMBLE: Final = "preamble"
META: Final = "file meta information"
TRAILING: Final = "trailing"
DEFLATED: Final = "deflated"
FILE: Final = "file"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: ``path`` names the element, ``offset`` and ``length`` the bytes of the file.

    ``path`` is the tag, within sequences that of each with the number of the item from 1
    ("(5200,9230)[3].(0028,9110)[1].(0028,0030)"), "[2]" behind encapsulated Pixel Data for its second item (the first
    one is the Basic Offset Table), or one of "preamble", "trailing" (behind the data set), "deflated" (behind the
    deflate stream), "file". Offsets count from the first byte that was fed; within a deflated data set,
    and ``inflated`` says so, from the first byte that it inflates to.
    """

    path: str
    offset: int
    length: int
    inflated: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One occurrence of a rule. ``severity`` may be below that of the rule where the place makes it harmless."""

    rule: Rule
    severity: Severity
    confidence: Confidence
    place: Place
    what: str


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """An engine beside our rules ("yara", "clamd") that has not looked at all of an object, and why, in a few words."""

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one screening found, worst first, then by offset.

    ``counts`` has how often each rule was met, by its id, also beyond what ``findings`` holds; ``truncated`` says
    that it holds less, or that a limit ended the walk before the end. ``size_bytes`` is what was fed. ``failures`` are
    those of the engines beside our rules.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    size_bytes: int = 0
    truncated: bool = False
    transfer_syntax: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    failures: tuple[EngineFailure, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The highest severity found, None if nothing was."""
        return max((finding.severity for finding in self.findings), default=None)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of that severity or a higher one."""
        return tuple(finding for finding in self.findings if finding.severity >= severity)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return them as a report lists them."""
    return tuple(
        sorted(findings, key=lambda each: (-each.severity, each.place.inflated, each.place.offset, each.rule.id))
    )
