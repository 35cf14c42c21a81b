"""alerts: who says that an alert was seen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.archives import opened
from strongroom.admin import alerts
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.oversight import Seen
from strongroom.archive.people import VIA_SESSION
from strongroom.config import Home
from strongroom.errors import Refused
from strongroom.types import Principal


@pytest.fixture
def archive(archive_home: Callable[[], Home]) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        yield found


def person(name: str) -> Principal:
    return Principal(name, "ab" * 32, name, "127.0.0.1", via=VIA_SESSION)


def test_nobody_sees_to_an_alert_about_himself(archive: Archive) -> None:
    """A physician who is a security officer as well breaks the glass, and puts the alert away."""
    told = {"what": "break-glass", "reason": "break-glass", "severity": "high"}
    archive.index.record(Event(Action.ALERT, Outcome.WARNING, person("jdoe"), told))
    ((alert, _),), _ = alerts.newest(archive, "")
    place = (alert.log, alert.seq)
    for same in ("jdoe", "JDoe"):
        with pytest.raises(Refused, match="yourself"):
            alerts.see_to(archive, place, Seen(same, "nothing to see here", 1), person(same))
    alerts.see_to(archive, place, Seen("bob", "asked him", 2), person("bob"))
    assert alerts.newest(archive, "")[0] == []
