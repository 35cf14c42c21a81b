"""What the probe must say of each server of the estate: a table, and the same of a report, to be held together."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "interop" / "probe_verdicts.toml"
KINDS = ("fail", "warn", "pass", "not-applicable", "not-tested")

Verdicts = Mapping[str, Any]
"""``grade``, ``class``, and the ids of checks by verdict."""


def expected() -> dict[str, Verdicts]:
    """The table, by name of the target."""
    return tomllib.loads(TABLE.read_text())


def of_target(judged: Mapping[str, Any]) -> Verdicts:
    """The verdicts on one target of a report.json, in the form of the table."""
    found: dict[str, Any] = {"grade": judged["grade"]["letter"], "class": judged["class"]["kind"]}
    for kind in KINDS:
        found[kind] = sorted(int(each["check"][3:]) for each in judged["findings"] if each["verdict"] == kind)
    return found


def as_text(targets: Iterable[tuple[str, Verdicts]]) -> str:
    """The table as TOML, to be looked at before it is believed."""
    lines = ["# What the probe must say of each server of tests/harness/probe_estate.py. 10 is check SP-010."]
    for name, verdicts in targets:
        lines += ["", f"[{name}]", f'grade = "{verdicts["grade"]}"', f'class = "{verdicts["class"]}"']
        lines += [f"{kind} = {verdicts[kind]}" for kind in KINDS if verdicts[kind]]
    return "\n".join(lines) + "\n"
