"""The matching language of ``catalogue.toml``: conditions over observations, facts of the run, and other checks.

A condition is a TOML table. Which kind it is depends on its first key:

``{ step = "dicom.echo", as = "anyone", over = "plain", answer = "done", status = "= 0" }``
    There is an observation of the step (a name, or several; ``"*"``: of any step) with one of the identities, channels
    and answers, where those are given, and with every detail named.
``{ fact = "vantage", is = "internet" }``
    A fact of the run or of the scope has one of the values.
``{ check = "SP-010", verdict = "fail" }``
    A check that stands further up has one of the verdicts for the same subject.

Wherever a word is expected, a list of words means any of them. ``as = "anyone"`` stands for whoever needs nothing that
is secret; ``answer = "answered"`` for every answer that came and broke no limit, ``"reply"`` for one in the protocol
that was spoken, ``"no"`` for refused, aborted and closed.

A detail is compared with a value (``true``, ``7``), with a list of which it is one, or by a text: ``"= x"``,
``"!= x"``, ``"< 30"``, ``"<= 30"``, ``"> 30"``, ``">= 30"``, ``"1 to 29"`` (both included), ``"has x"`` and
``"lacks x"`` (of a list of words; ``"has x|y"``: one of them), ``"empty"``, ``"not empty"`` (0, false and "" are
empty), ``"absent"``. What an observation does not have fulfils only ``"absent"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from strongroom.probe.judging.findings import Verdict
from strongroom.probe.model import NEEDS_NO_SECRET, REACHED, Answer, Channel, Detail, Identity, Observation
from strongroom.probe.steps import STEPS

FACTS: Final = {
    "vantage": "from where was tested: internet, lan, vpn, loopback, other",
    "posture": "what the scope expects of the target",
    "level": "how far the run went: L0 to L3",
    "class": "what kind of data the answers look like",
    "version": "what the server tells of its version: vulnerable, named, silent; unknown if nobody asked",
    "noticed": "whether the server's own log shows the probe: all, some, none; unknown if nobody looked",
}
"""What ``fact`` may name."""

_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "anyone": frozenset(NEEDS_NO_SECRET),
    "answered": frozenset(REACHED - {Answer.TIMEOUT, Answer.HOSTILE}),
    "reply": frozenset({Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED}),
    "no": frozenset({Answer.REFUSED, Answer.ABORTED, Answer.CLOSED}),
}
_ORDERS: Final[Mapping[str, Callable[[object, object], bool]]] = {"=": eq, "!=": ne}
_NUMBERS: Final[Mapping[str, Callable[[int, int], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_RANGE: Final = re.compile(r"([0-9]+) to ([0-9]+)")
_WORDS_OF: Final = {"as": Identity, "over": Channel, "answer": Answer}


class BadCondition(ValueError):
    """A condition that cannot be meant: an unknown step, detail, fact or word."""


@dataclass(frozen=True, slots=True)
class Case:
    """What conditions are held against: the observations of one subject, the facts, and the verdicts so far."""

    observations: Sequence[Observation]
    facts: Mapping[str, str]
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Seen:
    """There is such an observation. ``steps`` is empty for any step."""

    steps: frozenset[str]
    identities: frozenset[str]
    channels: frozenset[str]
    answers: frozenset[str]
    details: tuple[tuple[str, Callable[[Detail | None], bool]], ...]

    def matches(self, case: Case) -> tuple[Observation, ...]:
        """Return the observations that fulfil this."""
        return tuple(each for each in case.observations if self._fits(each))

    def holds(self, case: Case) -> bool:
        """Return whether there is one."""
        return any(self._fits(each) for each in case.observations)

    def is_about(self, seen: Observation) -> bool:
        """Return whether it is of such a step, identity and channel, whatever came of it."""
        return (
            (not self.steps or seen.step in self.steps)
            and (not self.identities or seen.identity in self.identities)
            and (not self.channels or seen.channel in self.channels)
        )

    def _fits(self, seen: Observation) -> bool:
        return (
            self.is_about(seen)
            and (not self.answers or seen.answer in self.answers)
            and all(test(seen.details.get(name)) for name, test in self.details)
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact has one of the values."""

    name: str
    values: frozenset[str]

    def matches(self, case: Case) -> tuple[Observation, ...]:
        """Return nothing: a fact is no observation."""
        del case
        return ()

    def holds(self, case: Case) -> bool:
        """Return whether it has."""
        return case.facts.get(self.name, "unknown") in self.values


@dataclass(frozen=True, slots=True)
class Judged:
    """Another check has one of the verdicts."""

    check_id: str
    verdicts: frozenset[str]

    def matches(self, case: Case) -> tuple[Observation, ...]:
        """Return nothing: the other check has its own evidence."""
        del case
        return ()

    def holds(self, case: Case) -> bool:
        """Return whether it has."""
        return case.verdicts.get(self.check_id) in self.verdicts


Condition = Seen | Fact | Judged


def parse_condition(raw: Mapping[str, object], earlier_checks: Iterable[str] = ()) -> Condition:
    """Return the condition that a TOML table means. Raise BadCondition if it means none."""
    if "step" in raw:
        return _seen(raw)
    if "fact" in raw:
        _only(raw, {"fact", "is"})
        name = str(raw["fact"])
        if name not in FACTS:
            raise BadCondition(f"no fact {name}")
        return Fact(name, _words(raw.get("is")))
    if "check" in raw:
        _only(raw, {"check", "verdict"})
        check_id = str(raw["check"])
        if check_id not in set(earlier_checks):
            raise BadCondition(f"no check {check_id} further up")
        return Judged(check_id, frozenset(Verdict(word) for word in _words(raw.get("verdict"))))
    raise BadCondition("a condition names a step, a fact or a check")


def _seen(raw: Mapping[str, object]) -> Seen:
    steps = _words(raw["step"])
    if steps == {"*"}:
        steps = frozenset()
    if unknown := steps - set(STEPS):
        raise BadCondition(f"no step {', '.join(sorted(unknown))}")
    kept = frozenset.intersection(*(STEPS[name].kept for name in steps)) if steps else frozenset({"reason"})
    details = []
    for key, value in raw.items():
        if key == "step" or key in _WORDS_OF:
            continue
        if key not in kept:
            raise BadCondition(f"{', '.join(sorted(steps))} keeps no {key}")
        details.append((key, _comparison(value)))
    words = {key: _known_words(raw.get(key, ()), kind) for key, kind in _WORDS_OF.items()}
    return Seen(steps, words["as"], words["over"], words["answer"], tuple(details))


def _known_words(value: object, kind: type[StrEnum]) -> frozenset[str]:
    known = frozenset(str(member) for member in kind)
    found: frozenset[str] = frozenset()
    for word in _words(value) if value else ():
        meant = _ALIASES.get(word, frozenset({word}))
        if not meant <= known:
            raise BadCondition(f"{word} is none of {', '.join(sorted(known))}")
        found |= meant
    return found


def _words(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return frozenset(value)
    raise BadCondition(f"{value!r} is neither a word nor a list of words")


def _only(raw: Mapping[str, object], keys: set[str]) -> None:
    if unknown := set(raw) - keys:
        raise BadCondition(f"{', '.join(sorted(unknown))} means nothing here")


def _comparison(value: object) -> Callable[[Detail | None], bool]:
    if isinstance(value, bool | int):
        return lambda detail: type(detail) is type(value) and detail == value
    if isinstance(value, list):
        words = _words(value)
        return lambda detail: isinstance(detail, str) and detail in words
    if not isinstance(value, str):
        raise BadCondition(f"{value!r} compares with nothing")
    if value == "absent":
        return lambda detail: detail is None
    if value in ("empty", "not empty"):
        wanted = value == "not empty"
        return lambda detail: detail is not None and bool(detail) is wanted
    operator, _, operand = value.partition(" ")
    if operator in ("has", "lacks") and operand:
        return _holding(frozenset(operand.split("|")), operator == "has")
    if operator in _ORDERS and operand:
        compare = _ORDERS[operator]
        return lambda detail: detail is not None and compare(_as_text(detail), operand)
    if operator in _NUMBERS and operand.isdigit():
        return _ordered(_NUMBERS[operator], int(operand))
    if bounds := _RANGE.fullmatch(value):
        return _between(int(bounds[1]), int(bounds[2]))
    raise BadCondition(f"{value!r} is no comparison")


def _holding(words: frozenset[str], wanted: bool) -> Callable[[Detail | None], bool]:
    return lambda detail: isinstance(detail, tuple) and bool(words & set(detail)) is wanted


def _ordered(compare: Callable[[int, int], bool], number: int) -> Callable[[Detail | None], bool]:
    return lambda detail: isinstance(detail, int) and not isinstance(detail, bool) and compare(detail, number)


def _between(low: int, high: int) -> Callable[[Detail | None], bool]:
    return lambda detail: isinstance(detail, int) and not isinstance(detail, bool) and low <= detail <= high


def _as_text(detail: Detail) -> str:
    return str(detail).lower() if isinstance(detail, bool) else str(detail)
