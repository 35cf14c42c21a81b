"""What every page of results is written with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

SUBJECT, RIVAL = "strongroom", "orthanc"

Row = dict[str, object]
Verdict = tuple[str, str, str, bool | None]
"""What was measured, the target, the measured value, and whether it meets the target; None: not measured."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a Markdown table whose first column is text and the others numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def number(value: object, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f} x"


def by_server(rows: Iterable[Row]) -> dict[str, Row]:
    """Return one row for each server."""
    return {row["server"]: row for row in rows}


def ratio_of(over: object, under: object) -> float | None:
    """Return how many times ``under`` goes into ``over``; None if one of them is missing."""
    return over / under if over and under else None
