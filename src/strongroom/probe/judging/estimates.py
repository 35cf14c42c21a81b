"""How many patients, studies and images a stranger can reach, and how many SSN-shaped numbers: with bounds.

A count that was cancelled at its cap is a lower bound and nothing else. What was only sampled is a range: the interval
in which the share lies with 95 % confidence (Wilson 1927), times the number of what was sampled from. Answers come in
the server's own order, so that a sample is no random one; the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, sqrt
from typing import Final

from strongroom.probe.judging.classify import SHAPE_STEPS
from strongroom.probe.judging.findings import Estimate, number_of
from strongroom.probe.model import NEEDS_NO_SECRET, Answer, Observation

Z_95: Final = 1.959963984540054
_NOT_RANDOM: Final = "The sample is what the server answered first, not a random one."

_COUNTED: Final = (
    ("http.rest", "by the server's own counts", {"patients": "patients", "studies": "studies", "images": "instances"}),
    ("dicom.find_count", "by C-FIND", {"patients": "patients", "studies": "studies", "images": "images"}),
    ("http.qido_count", "by QIDO-RS", {"patients": "patients", "studies": "studies", "images": "images"}),
)
"""Best first: a server's own count needs no cap."""
_STEPS: Final = frozenset(step for step, _, _ in _COUNTED)


def estimate(observations: Sequence[Observation]) -> tuple[Estimate, ...]:
    """Return what can be said of the numbers behind one subject; nothing of what was not counted."""
    by_strangers = [each for each in observations if each.identity in NEEDS_NO_SECRET]
    counted = by_strangers if any(each.step in _STEPS and each.answer is Answer.DONE for each in by_strangers) else None
    seen = observations if counted is None else counted
    found = [each for what in ("patients", "studies", "images") for each in _counted(what, seen)]
    studies = next((each for each in found if each.what == "studies"), None)
    return (*found, *_ssn_shaped(seen, studies))


def _counted(what: str, observations: Sequence[Observation]) -> Iterable[Estimate]:
    counts: list[Estimate] = []
    # A server's own count has the probe's canaries in it: it is no match for one to the end that left them out.
    left_out = any(_says(seen, "canaries left out") and seen.details.get("capped") is False for seen in observations)
    for step, how, names in _COUNTED:
        for seen in observations:
            number = seen.details.get(names[what])
            if seen.step != step or seen.answer is not Answer.DONE or not isinstance(number, int):
                continue
            if (left_out and step == "http.rest") or (what == "images" and _says(seen, "no image counts")):
                continue
            if number or seen.details.get("capped") is not True:
                counts.append(_bounded(what, number, how, seen))
    if not counts:
        return
    # All may look at the same archive, and may not: the best lower bound, which is exact if that count was complete.
    yield max(counts, key=lambda each: (each.low, each.is_exact))


def _says(seen: Observation, oddity: str) -> bool:
    """Whether a count says this of itself (``counting.counted``)."""
    keys = seen.details.get("keys")
    return isinstance(keys, tuple) and oddity in keys


def _explained(what: str, number: int, seen: Observation) -> str:
    """What the reader has to know of a number beside how it was counted."""
    studies = seen.details.get("studies")
    more = ""
    if what == "patients" and isinstance(studies, int) and number > studies:
        more += " More than studies: some study is said to be of several Patient IDs."
    if what == "studies" and _says(seen, "no image counts"):
        more += " The server does not say how many images they have."
    if what == "images" and _says(seen, "some without image counts"):
        more += " Of some studies the server does not say how many images they have."
    if _says(seen, "canaries left out"):
        more += " The synthetic objects of the probe's own are not in it."
    return more


def _bounded(what: str, number: int, how: str, seen: Observation) -> Estimate:
    low, high = seen.details.get("from_date"), seen.details.get("to_date")
    days = f", study dates {low} to {high}" if low and high else ""
    port, told = f" on port {seen.endpoint.port}", _explained(what, number, seen)
    if seen.identity not in NEEDS_NO_SECRET:
        port += f" as {seen.identity}, which strangers are not"
    if seen.details.get("capped") is True:
        more = seen.details.get(f"estimated_{what}")
        guess = (
            f"; going on at the same rate there would be about {more:,}"
            if isinstance(more, int) and more > number
            else ""
        )
        return Estimate(what, number, None, f"Counted {how}{port}{days}, cancelled at the cap{guess}.{told}")
    is_least = what == "images" and _says(seen, "some without image counts")
    return Estimate(what, number, None if is_least else number, f"Counted {how}{port}{days}, to the end.{told}")


def _ssn_shaped(observations: Sequence[Observation], studies: Estimate | None) -> Iterable[Estimate]:
    shapes = [each for each in observations if each.step in SHAPE_STEPS and each.details.get("looked_at")]
    if not shapes:
        return
    best = max(shapes, key=lambda each: number_of(each, "looked_at"))
    looked, hits = number_of(best, "looked_at"), number_of(best, "ssn_shaped")
    sample = (
        f"{hits} of {looked} studies that were looked at hold such a number ({number_of(best, 'ssn_bare')} bare digits)"
    )
    if studies is None or studies.low <= looked:
        top = hits if studies is not None and studies.is_exact else None
        yield Estimate("studies with SSN-shaped numbers", hits, top, f"{sample}.")
        return
    low, high = wilson(hits, looked)
    top = None if studies.high is None else floor(high * studies.high)
    words = f"{sample}: {low:.1%} to {high:.1%} with 95 % confidence, of {studies} studies. {_NOT_RANDOM}"
    yield Estimate("studies with SSN-shaped numbers", max(hits, ceil(low * studies.low)), top, words)


def wilson(hits: int, looked_at: int) -> tuple[float, float]:
    """Return the bounds of a share of which ``hits`` of ``looked_at`` were seen, with 95 % confidence."""
    share, square = hits / looked_at, Z_95 * Z_95
    middle = (share + square / (2 * looked_at)) / (1 + square / looked_at)
    spread = share * (1 - share) / looked_at + square / (4 * looked_at * looked_at)
    half = Z_95 / (1 + square / looked_at) * sqrt(spread)
    # At the ends the bound is the share itself, which rounding would miss.
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == looked_at else min(1.0, middle + half))
