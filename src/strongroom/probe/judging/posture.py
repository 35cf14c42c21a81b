"""What the scope expects of a target, held against what was found. It changes no verdict and no letter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.probe.judging.findings import TargetJudgement, Verdict
from strongroom.probe.permits.scope import Posture

DEMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    Posture.CLOSED: ("SP-001", "SP-033"),
    Posture.MUTUAL_TLS: ("SP-002", "SP-030", "SP-041"),
    Posture.TLS: ("SP-002", "SP-006", "SP-030"),
    Posture.TITLES: ("SP-006",),
    Posture.OPEN: (),
}
"""The checks that must not fail; of those of ports, of encryption, and of who is let in."""


def held_against(posture: str, target: TargetJudgement) -> str:
    """Return "met", "not met" or "cannot be told", with the reason; "" if the scope expects nothing."""
    demanded = DEMANDS.get(posture)
    if demanded is None:
        return ""
    found = [each for each in target.findings if each.check_id in demanded]
    broken = [each.check_id for each in found if each.verdict is Verdict.FAIL]
    if posture == Posture.CLOSED:
        return _closed(broken, target)
    if target.grade.letter == "F" and posture != Posture.OPEN:
        broken.append("grade F")
    if broken:
        return f"not met ({', '.join(broken)})"
    if target.grade.letter == "-":
        return "cannot be told, for nothing was graded"
    untold = [each.check_id for each in found if each.verdict is Verdict.NOT_TESTED]
    if untold:
        return f"cannot be told ({', '.join(untold)} not tested)"
    if demanded and all(each.verdict is Verdict.NOT_APPLICABLE for each in found):
        return "cannot be told, for nothing of what it is about was found"
    return "met"


def _closed(broken: list[str], target: TargetJudgement) -> str:
    if broken or target.grade.letter != "-":
        return f"not met ({', '.join(broken) or 'it answers'})"
    return "met" if target.grade.is_enough else "cannot be told"
