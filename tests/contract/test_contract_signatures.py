"""What every database must do the same for reports of signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.instances import Shelf, instance, new_ring, stored_event
from strongroom.archive.attributes import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from strongroom.archive.model import Action, Event, Outcome
from strongroom.store.index import Index
from strongroom.store.signatures import PAGE_ROWS, KeptReport, SignatureReports
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record
from strongroom.types import Principal

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
FIRST = KeptReport("valid", "unknown", 1, b"{}")
SECOND = KeptReport("invalid", "untrusted", 2, b'{"again":1}')
RING = new_ring()
EVENT = Event(Action.SIGNATURE, Outcome.SUCCESS, Principal("CT1"), {"validity": "valid"})


@pytest.fixture(params=["sqlcipher", "journal", POSTGRESQL])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    place = {"sqlcipher": str(tmp_path / "index.db"), "journal": f"journal:{tmp_path / 'index.db'}"}
    shelf = Shelf.at(place.get(request.param) or request.getfixturevalue("new_postgres_url")())
    yield shelf
    shelf.close()


@pytest.fixture
def index(shelf: Shelf) -> Index:
    return shelf.index("first")


def added(index: Index, number: int) -> tuple[str, bytes]:
    """A stored instance: its SOP Instance UID and object id."""
    values = {SOP_INSTANCE_UID: [f"1.2.{number}"], STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.3"]}
    new = instance(values, index.study_key("1.2") or RING.new_data_key())
    assert index.add(new, stored_event(new))
    return new.stored.sop_uid, new.stored.object_id


def test_a_report_is_kept_replaced_and_found(index: Index) -> None:
    reports = SignatureReports(index.database)
    sop_uid, object_id = added(index, 1)
    other, _ = added(index, 2)
    assert reports.of(sop_uid) is None
    reports.keep(object_id, FIRST, EVENT)
    assert reports.of(sop_uid) == FIRST
    reports.keep(object_id, SECOND, EVENT)
    assert reports.of(sop_uid) == SECOND
    assert reports.of(other) is None
    assert list(reports.all()) == [(sop_uid, SECOND)]


def test_its_events_are_in_the_trail(index: Index) -> None:
    _, object_id = added(index, 1)
    SignatureReports(index.database).keep(object_id, FIRST, EVENT, EVENT)
    reader = TrailReader(index.database.backend.dialect)
    with index.database.read() as cursor:
        found = [parse_record(record.raw).event.action for record in reader.read(cursor, "first", 0, 100)]
    assert found.count(Action.SIGNATURE) == 2


def test_an_object_that_is_gone_has_no_report(index: Index) -> None:
    reports = SignatureReports(index.database)
    reports.keep(b"\0" * 16, FIRST, EVENT)
    assert list(reports.all()) == []


def test_all_of_more_than_a_page(index: Index) -> None:
    reports = SignatureReports(index.database)
    stored = [added(index, number) for number in range(PAGE_ROWS + 3)]
    for _, object_id in stored:
        reports.keep(object_id, FIRST)
    assert [sop_uid for sop_uid, _ in reports.all()] == [sop_uid for sop_uid, _ in stored]
