"""What counts, and how much: findings collected under caps, each structure once, in the light of where it stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from strongroom.screen.findings import Confidence, Finding, Place, Severity, in_order
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.matches import Match
from strongroom.screen.rules import RULES

ENCAPSULATED_DOCUMENT: Final = 0x00420011
_DOCUMENT_RULES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "application/pdf": frozenset({"SR-PDF-001", "SR-PDF-002"}),
        "text/xml": frozenset({"SR-HTML-001"}),
        "application/xml": frozenset({"SR-HTML-001"}),
        "text/html": frozenset({"SR-HTML-001"}),
        "model/mtl": frozenset(),
        "model/obj": frozenset(),
        "model/stl": frozenset(),
        "application/sla": frozenset(),
    }
)
"""What a document of that type may be recognised as; those that act are findings all the same."""
_HARMLESS_DOCUMENTS: Final = frozenset({"SR-PDF-001", "SR-HTML-001", "SR-PACK-001"})
_OF_ONE_STRUCTURE: Final = {"SR-PE-002": "SR-PE-001"}


class Verdict:
    """The findings of one screening."""

    def __init__(self, limits: ScreenLimits) -> None:
        self._limits = limits
        self._findings: dict[tuple[str, int, bool], Finding] = {}
        self._counts: dict[str, int] = defaultdict(int)
        self.truncated = False
        self.said = 0
        """How often something was reported, also what is known already or beyond the caps."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each rule was met."""
        return dict(self._counts)

    def is_full(self, rule_id: str) -> bool:
        """Whether no more findings of that rule are kept."""
        return self._counts.get(rule_id, 0) >= self._limits.max_findings_per_rule

    def count(self, rule_id: str) -> None:
        """Count one that is not kept."""
        self.said += 1
        self._counts[rule_id] += 1
        self.truncated = True

    def findings(self) -> tuple[Finding, ...]:
        """Return them, worst first; of one structure that was met in two ways the better proven one."""
        kept = [
            finding
            for (rule, offset, inflated), finding in self._findings.items()
            if (_OF_ONE_STRUCTURE.get(rule, ""), offset, inflated) not in self._findings
        ]
        return in_order(kept)

    def add(
        self, rule_id: str, place: Place, what: str, confidence: Confidence, severity: Severity | None = None
    ) -> None:
        """Take one finding; ``severity`` where it is not that of the rule."""
        self.said += 1
        rule = RULES[rule_id]
        key = (rule_id, place.offset, place.inflated)
        known = self._findings.get(key)
        if known is not None:
            if known.confidence >= confidence:
                return
        else:
            self._counts[rule_id] += 1
            if self._counts[rule_id] > self._limits.max_findings_per_rule or (
                len(self._findings) >= self._limits.max_findings
            ):
                self.truncated = True
                return
        level = rule.severity if severity is None else severity
        self._findings[key] = Finding(rule, level, confidence, place, what or rule.title)


def severity_of(match: Match, label: str, tag: int) -> Severity | None:
    """Return the severity of a payload at such a place where it differs from that of its rule."""
    rule = RULES[match.rule]
    if match.confidence is Confidence.LOW and match.rule not in ("SR-ENC-003", "SR-SCRIPT-002"):
        # In the preamble nothing else stands to reason; elsewhere such bytes come about by chance.
        return None if label in ("preamble", "trailing") else Severity.LOW
    if match.rule == "SR-COM-001":
        return rule.severity if label in ("preamble", "trailing") else Severity.MEDIUM
    if match.rule == "SR-PE-002" and label not in ("preamble", "trailing"):
        return Severity.LOW
    if tag == ENCAPSULATED_DOCUMENT and match.rule == "SR-PACK-001":
        return Severity.LOW
    return rule.severity


def document_mismatch(match: Match, media_type: str) -> bool:
    """Whether an encapsulated document of ``media_type`` is no such thing."""
    expected = _DOCUMENT_RULES.get(media_type)
    if expected is None:
        return match.rule not in _HARMLESS_DOCUMENTS
    return match.rule not in expected


def is_expected_document(match: Match, media_type: str) -> bool:
    """Whether this is what a document of ``media_type`` is, and does not act."""
    return match.rule in _HARMLESS_DOCUMENTS and not document_mismatch(match, media_type)
