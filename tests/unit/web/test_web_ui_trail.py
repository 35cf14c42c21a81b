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
    values = {"fields": {"since": ""}, "wrong": "", "older": "", "actions": (), "outcomes": (), "asked": False}
    values["fields"] |= dict.fromkeys(("until", "user", "peer", "address", "about", "patient", "action", "outcome"), "")
    text = bytes(page("trail.html", found=TrailPage((entry,), "", 1, 1), **values).body).decode()
    assert "/trail/logs/https-1/0" in text
    if isinstance(value, str):
        assert value in text
