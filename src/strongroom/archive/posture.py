"""Whether the doors are shut: what each fact about a running archive means, and what to do about it. Pure.

``Facts`` is gathered elsewhere (``admin.posture``); times are seconds since 1970, 0 = never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a line stands, the worst last."""

    OK = "ok"
    LOOK = "look"
    ACT = "act now"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: which ``part`` it belongs to, what it is about, how that stands, and what to do unless it is well."""

    part: str
    about: str
    state: State
    says: str
    do: str = ""


def worst_of(lines: Iterable[Line]) -> State:
    """The worst state of all lines, OK if there is none."""
    order = list(State)
    return max((line.state for line in lines), key=order.index, default=State.OK)
