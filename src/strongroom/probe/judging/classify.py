"""What kind of data answers look like: traps, phantoms, demonstrations, synthetic objects, or people.

A count of open servers is not a count of breaches. What says of itself that it is of nobody is believed only if nearly
all of the answers say so; whatever is not plainly nobody's looks real until somebody who may has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.probe.judging.findings import Classification, number_of
from strongroom.probe.model import Answer, Observation

SHAPE_STEPS: Final = ("dicom.find_shape", "http.qido_shape")
MOST: Final = 0.9
"""The part of the answers that have to say it."""
_KINDS: Final = (
    ("phantom", "phantom", "say that they are of a phantom or a calibration"),
    ("demo_uids", "demo", "have UIDs of a public collection of demonstration data"),
    ("teaching", "demo", "say that they are for teaching"),
    ("synthetic", "synthetic", "say that they are a test, anonymous or made up"),
)


def classify(observations: Sequence[Observation]) -> Classification:
    """Return the kind of data that these observations of one subject show, with the reasons; ``unknown`` if none."""
    looked = [each for each in observations if each.step in SHAPE_STEPS and number_of(each, "looked_at") > 0]
    total = sum(number_of(each, "looked_at") for each in looked)
    if not total:
        return Classification("unknown", ("No answer was looked at.",))
    reasons: list[str] = []
    kinds: list[str] = []
    for detail, kind, words in _KINDS:
        count = sum(number_of(each, detail) for each in looked)
        if count:
            reasons.append(f"{count} of {total} answers {words}.")
        if count >= MOST * total:
            kinds.append(kind)
    identical = any(each.details.get("identical") is True for each in looked)
    if identical:
        reasons.append("All answers that were looked at name the same patient.")
    if identical and _takes_everybody(observations):
        reasons.append("The server takes every title and answers everything.")
        return Classification("honeypot", tuple(reasons))
    if kinds:
        return Classification(kinds[0], tuple(reasons))
    if identical:
        reasons.append("One patient may be a test, and may be a person.")
    mixed = " and the others do not" if reasons else ""
    reasons.append(f"Not nearly all of {total} answers say that they are of nobody{mixed}.")
    return Classification("real-looking", tuple(reasons))


def _takes_everybody(observations: Sequence[Observation]) -> bool:
    """Whether any called and any calling title is taken, as traps do that want to see what comes."""
    done = {each.step for each in observations if each.answer is Answer.DONE}
    return {"dicom.called_title", "dicom.calling_title", "dicom.find_shape"} <= done
