"""The catalogue of checks: ``catalogue.toml``, loaded and held against the table of steps.

Every check has its rules in order; the first whose conditions hold decides. ``all`` must hold together, one of ``any``
must, none of ``none`` may. A check without a rule that holds says nothing: ``judge`` finds the reason.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from strongroom.probe.judging.conditions import BadCondition, Case, Condition, Seen, parse_condition
from strongroom.probe.judging.findings import Severity, Verdict
from strongroom.probe.model import Level, Observation
from strongroom.probe.steps import STEPS

ABOUT: Final = {
    "port": "any port of the target",
    "dicom": "DICOM over TCP (PS3.8)",
    "http": "HTTP and DICOMweb",
    "tls": "TLS, under either",
    "web": "the pages and interfaces beside DICOMweb",
}
"""What a check is about; where that is not found the check is not applicable."""

FACT_WORDS: Final = ("faults", "reasons")
"""What a sentence may name beside details: the faults of a version, the reasons of a classification."""

_CHECK_KEYS: Final = frozenset({
    "id", "rows", "title", "severity", "level", "about", "steps", "sends", "evidence", "why", "remedy", "clauses",
    "untested", "rule", "could", "web_remedy", "together",
})  # fmt: skip
_RULE_KEYS: Final = frozenset({"verdict", "severity", "says", "all", "any", "none"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One verdict and when it is given. ``severity`` is None where that of the check stands."""

    verdict: Verdict
    says: str
    severity: Severity | None
    all: tuple[Condition, ...]
    any: tuple[Condition, ...]
    none: tuple[Condition, ...]

    def evidence(self, case: Case) -> tuple[Observation, ...] | None:
        """Return the observations that the verdict rests on, or None if the rule does not hold."""
        if not all(condition.holds(case) for condition in self.all):
            return None
        if self.any and not any(condition.holds(case) for condition in self.any):
            return None
        if any(condition.holds(case) for condition in self.none):
            return None
        found: dict[int, Observation] = {}
        for condition in (*self.all, *self.any):
            found.update((id(each), each) for each in condition.matches(case))
        return tuple(found.values())

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions, of whichever kind."""
        return (*self.all, *self.any, *self.none)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the catalogue. ``untested`` is the reason why it never says anything, if it never does; ``could`` is
    what a stranger could do if it fails. ``together``: after the first rule that is bad news, others that hold are
    said as well."""

    id: str
    rows: tuple[str, ...]
    title: str
    severity: Severity
    level: Level
    about: str
    steps: tuple[str, ...]
    sends: str
    evidence: str
    why: str
    remedy: str
    web_remedy: str
    clauses: tuple[str, ...]
    untested: str
    could: str
    together: bool
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do: in general, and exactly for a product, by the key of the product."""

    general: str
    products: Mapping[str, str]

    def of(self, products: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return product and words for those of ``products`` that there are words for."""
        return tuple((product, self.products[product]) for product in products if product in self.products)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All checks in order, the remedies by name, and the products by key with the name people know them by."""

    checks: tuple[Check, ...]
    remedies: Mapping[str, Remedy]
    products: Mapping[str, str]

    def check(self, check_id: str) -> Check:
        """Return the check. Raise KeyError if there is none."""
        for check in self.checks:
            if check.id == check_id:
                return check
        raise KeyError(check_id)


@cache
def catalogue() -> Catalogue:
    """Return the catalogue that comes with the program. Raise BadCondition if a row of it cannot be meant."""
    text = (files("strongroom.probe.judging") / "catalogue.toml").read_text(encoding="utf-8")
    return parse_catalogue(tomllib.loads(text))


def parse_catalogue(raw: Mapping[str, Any]) -> Catalogue:
    """Return a catalogue. Raise BadCondition, with the id of the check, for whatever does not fit."""
    products = dict(raw["products"])
    remedies = {name: _remedy(name, row, products) for name, row in raw["remedies"].items()}
    checks: list[Check] = []
    for row in raw["check"]:
        check_id = str(row.get("id", "?"))
        try:
            checks.append(_check(row, [check.id for check in checks], remedies))
        except (BadCondition, KeyError, ValueError) as error:
            raise BadCondition(f"{check_id}: {error}") from error
    return Catalogue(tuple(checks), remedies, products)


def _remedy(name: str, row: Mapping[str, Any], products: Mapping[str, str]) -> Remedy:
    by_product = {key: str(words) for key, words in row.items() if key != "general"}
    if unknown := set(by_product) - set(products):
        raise BadCondition(f"remedy {name}: no product {', '.join(sorted(unknown))}")
    return Remedy(str(row["general"]), by_product)


def _check(row: Mapping[str, Any], earlier: Sequence[str], remedies: Mapping[str, Remedy]) -> Check:
    if unknown := set(row) - _CHECK_KEYS:
        raise BadCondition(f"{', '.join(sorted(unknown))} means nothing here")
    if row["id"] in earlier:
        raise BadCondition("stands twice")
    if not {row["remedy"], row.get("web_remedy", row["remedy"])} <= set(remedies):
        raise BadCondition(f"no remedy {row['remedy']}")
    if row["about"] not in ABOUT:
        raise BadCondition(f"no {row['about']} to be about")
    rules = tuple(_rule(each, earlier) for each in row.get("rule", ()))
    untested = str(row.get("untested", ""))
    if bool(rules) == bool(untested):
        raise BadCondition("has either rules or a reason why it is never tested")
    named = [
        step for rule in rules for each in rule.conditions if isinstance(each, Seen) for step in sorted(each.steps)
    ]
    steps = tuple(dict.fromkeys([*row.get("steps", ()), *named]))
    if unknown := set(steps) - set(STEPS):
        raise BadCondition(f"no step {', '.join(sorted(unknown))}")
    return Check(
        id=str(row["id"]),
        rows=tuple(row["rows"]),
        title=str(row["title"]),
        severity=Severity[str(row["severity"]).upper()],
        level=Level(row["level"]),
        about=str(row["about"]),
        steps=steps,
        sends=str(row["sends"]),
        evidence=str(row["evidence"]),
        why=str(row["why"]),
        remedy=str(row["remedy"]),
        web_remedy=str(row.get("web_remedy", row["remedy"])),
        clauses=tuple(row["clauses"]),
        untested=untested,
        could=str(row.get("could", "")),
        together=bool(row.get("together", False)),
        rules=rules,
    )


def _rule(row: Mapping[str, Any], earlier: Sequence[str]) -> Rule:
    if unknown := set(row) - _RULE_KEYS:
        raise BadCondition(f"{', '.join(sorted(unknown))} means nothing in a rule")
    severity = Severity[str(row["severity"]).upper()] if "severity" in row else None
    sets = {key: tuple(parse_condition(each, earlier) for each in row.get(key, ())) for key in ("all", "any", "none")}
    rule = Rule(Verdict(row["verdict"]), str(row["says"]), severity, sets["all"], sets["any"], sets["none"])
    if not rule.all and not rule.any:
        raise BadCondition("a rule without a condition that must hold")
    for name in placeholders(rule.says):
        kept = {*FACT_WORDS, *(key for each in (*rule.all, *rule.any) if isinstance(each, Seen) for key in _kept(each))}
        if name not in kept:
            raise BadCondition(f"says {{{name}}}, which nothing of it keeps")
    return rule


def placeholders(says: str) -> tuple[str, ...]:
    """Return the details that a sentence names in braces."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(says) if name)


def _kept(seen: Seen) -> frozenset[str]:
    if not seen.steps:
        return frozenset({"reason"})
    return frozenset().union(*(STEPS[name].kept for name in seen.steps))
