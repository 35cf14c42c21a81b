"""The page of the trail: whatever a record says, it is shown."""

from __future__ import annotations

import pytest

from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.oversight import TrailEntry, TrailPage
from strongroom.types import Principal
from strongroom.web.ui.pages import page


@pytest.mark.parametrize("value", [3, 0, True, "2.25.1", ("2.25.1", "2.25.2", "2.25.3"), ()])
@pytest.mark.parametrize("name", ["studies", "study_uid", "user", "what", "reason"])
def test_details_of_every_type_are_shown(name: str, value: Detail) -> None:
    entry = TrailEntry("https-1", 0, 1, Action.EXPORT, Outcome.SUCCESS, Principal("A"), {name: value}, b"{}")
    fields = dict.fromkeys(("since", "until", "user", "peer", "address", "about", "patient", "action", "outcome"), "")
    found = TrailPage((entry,), "", 1, 1)
    answer = page("trail.html", found=found, fields=fields, wrong="", older="", actions=(), outcomes=(), asked=False)
    text = bytes(answer.body).decode()
    assert "/trail/logs/https-1/0" in text
    if isinstance(value, str):
        assert value in text
