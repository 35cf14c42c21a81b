"""archive.keptout: what is refused or held is told of in the transaction that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import Sample, arrival_of, store
from harness.quarantines import infected
from strongroom.app import Archive
from strongroom.archive.ingest import Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import Refused

SAMPLE = Sample(1)
ALTERED = SAMPLE.dataset[:-2] + b"\xff\xff"


@contextmanager
def archive_with(tmp_path: Path, **section: str) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home", {"screening": section})) as archive:
        store(archive, Sample(2))  # its study and series are known: what follows may be as short as it can be
        yield archive


def send(archive: Archive, data: bytes) -> Verdict | str:
    ingest = archive.new_ingest(arrival_of(SAMPLE))
    try:
        ingest.write(data)
        return ingest.commit()
    except Refused as error:
        ingest.refuse(error.reason)
        return error.reason
    finally:
        ingest.abort()


def transactions(archive: Archive, act: Callable[[], object]) -> list[list[Event]]:
    """The events that ``act`` has recorded, by transaction."""
    write, found = archive.index.database.write, []

    def counted(work: Callable[[Any], Any]) -> Any:
        before = len(trail_events(archive))
        result = write(work)
        if new := trail_events(archive)[before:]:
            found.append(new)
        return result

    archive.index.database.write = counted  # type: ignore[method-assign]  # passes everything on
    try:
        act()
    finally:
        archive.index.database.write = write  # type: ignore[method-assign]  # as it was
    return found


def words(events: list[Event]) -> set[tuple[Action, Outcome]]:
    return {(event.action, event.outcome) for event in events}


ALERT = (Action.ALERT, Outcome.WARNING)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("flag", (Action.STORE, Outcome.SUCCESS)),
        ("quarantine", (Action.QUARANTINE, Outcome.SUCCESS)),
        ("refuse", (Action.STORE, Outcome.REFUSED)),
    ],
)
def test_what_screening_found_is_told_of_in_one_transaction(
    tmp_path: Path, policy: str, said: tuple[Action, Outcome]
) -> None:
    with archive_with(tmp_path, high=policy, critical=policy) as archive:
        told: list[Event] = []
        archive.index.announce = told.append
        (events,) = transactions(archive, lambda: send(archive, infected(SAMPLE)))
        assert words(events) == {said, ALERT}
        (alert,) = (event for event in events if event.action is Action.ALERT)
        assert "SR-PE-001" in alert.details["rules"]
        assert [event for event in told if event.action is Action.ALERT] == [alert]


@pytest.mark.parametrize(
    ("altered", "said"),
    [("quarantine", (Action.QUARANTINE, Outcome.SUCCESS)), ("refuse", (Action.STORE, Outcome.REFUSED))],
)
def test_an_altered_copy_is_told_of_in_one_transaction(
    tmp_path: Path, altered: str, said: tuple[Action, Outcome]
) -> None:
    with archive_with(tmp_path, altered=altered) as archive:
        send(archive, SAMPLE.dataset)
        (events,) = transactions(archive, lambda: send(archive, ALTERED))
        assert words(events) == {said, ALERT}


def test_an_alert_names_the_quarantined_object(tmp_path: Path) -> None:
    with archive_with(tmp_path) as archive:
        told: list[Event] = []
        archive.index.announce = told.append
        send(archive, infected(SAMPLE))
        (alert,) = (event for event in told if event.action is Action.ALERT)
        assert alert.details["quarantine"] == "Q1"
