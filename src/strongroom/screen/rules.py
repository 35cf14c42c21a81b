"""The rules as data, loaded from ``rules.tsv``: identifier, severity, title, clause, why, remedy.

An identifier never changes its meaning, and that of a rule that goes is not given again. Severities are those of the
worst place; ``verdict`` lowers them where the place makes a thing harmless. SR-STR, -META, -UID: what breaks readers.
SR-TXT: what harms whoever shows, exports or files a value. SR-PRE, -TRAIL, -PIX: places where nothing should be. All
others: payloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from strongroom.screen.findings import Rule, Severity


def _rules() -> Iterator[Rule]:
    assert __package__
    for line in (files(__package__) / "rules.tsv").read_text(encoding="utf-8").splitlines():
        rule_id, severity, title, clause, why, remedy = line.split("\t")
        yield Rule(rule_id, title, Severity.parse(severity), why, remedy, clause)


RULES: Final[Mapping[str, Rule]] = MappingProxyType({rule.id: rule for rule in _rules()})
"""Every rule by its identifier."""
