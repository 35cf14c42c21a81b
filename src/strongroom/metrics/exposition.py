"""The text format of Prometheus, version 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from strongroom.metrics.families import FAMILIES, Family
from strongroom.metrics.tally import Key

PREFIX: Final = "strongroom_"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def exposition(values: Mapping[Key, float]) -> str:
    """Every family that has a value, in the order of their table, each with its help and its kind."""
    by_name: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for (name, labels), value in values.items():
        by_name.setdefault(name, []).append((labels, value))
    return "".join(
        line for family in FAMILIES.values() if family.name in by_name for line in _lines(family, by_name[family.name])
    )


def _lines(family: Family, series: list[tuple[tuple[str, ...], float]]) -> Iterator[str]:
    name = PREFIX + family.name
    yield f"# HELP {name} {family.says}\n# TYPE {name} {family.kind}\n"
    for labels, value in sorted(series):
        pairs = ",".join(
            f'{label}="{said.translate(_ESCAPES)}"' for label, said in zip(family.labels, labels, strict=True)
        )
        yield f"{name}{{{pairs}}} {_number(value)}\n" if pairs else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
