"""transaction: what is asked of the database for one instance, what is remembered between transactions, what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.instances import (
    MASTER_ID,
    PATIENT_ID,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
)
from strongroom.archive.model import Action, Event, NewInstance, Outcome
from strongroom.errors import Refused
from strongroom.store import places
from strongroom.store.database import Database
from strongroom.store.places import PlaceCache, SeriesPlace
from strongroom.store.transaction import ACTIVE_MASTER, GENERATION, Shared, Transaction, WriteStatements
from strongroom.types import Principal

RING = new_ring()
KEY = RING.new_data_key()
SERIES = {PATIENT_ID: ["P1"], STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}


class Recorder:
    """A driver cursor that keeps the first words of every statement."""

    def __init__(self, cursor: Any, statements: list[str]) -> None:
        self._cursor, self._statements = cursor, statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, text: str, values: Sequence[Any] = ()) -> Any:
        self._statements.append(text)
        return self._cursor.execute(text, values)


class Trail:
    """Keeps what was appended; fails when told to."""

    def __init__(self) -> None:
        self.appended: list[list[Event]] = []
        self.error: Exception | None = None

    def append(
        self, cursor: Any, events: Sequence[Event], times_s: Sequence[float], *, random: Callable[[int], bytes]
    ) -> list[int]:
        if self.error is not None:
            raise self.error
        self.appended.append(list(events))
        return list(range(len(events)))


class Setup:
    """A database with transactions whose statements are recorded and whose trail is a fake."""

    def __init__(self, shelf: Shelf) -> None:
        backend = shelf.open_backend()
        self.trail = Trail()
        self.cache = PlaceCache()
        self.statements: list[str] = []
        shared = Shared(
            WriteStatements(backend.dialect), self.cache, self.trail, RING, lambda: 0.0, lambda count: bytes(count)
        )
        self.database = Database(
            backend,
            lambda cursor: Transaction(Recorder(cursor, self.statements), shared),
        )

    def store(self, *news: NewInstance) -> list[bool]:
        """Store instances in one transaction; ``statements`` are then those of this transaction."""
        self.statements.clear()
        return self.database.write(lambda transaction: [transaction.store(new) for new in news])

    def kinds(self) -> list[str]:
        """Verb and table of each statement."""
        found = []
        for text in self.statements:
            words = text.replace("\n", " ").split()
            verb = words[0]
            at = {"SELECT": "FROM", "INSERT": "INTO", "UPDATE": "UPDATE"}[verb]
            found.append(f"{verb} {words[words.index(at) + 1]}")
        return found


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with closing(Shelf.sqlcipher(tmp_path / "index.db")) as shelf:
        setup = Setup(shelf)
        with closing(setup.database):
            yield setup


def event(number: int) -> Event:
    return Event(Action.ECHO, Outcome.SUCCESS, Principal("A"), {"number": number})


def test_an_instance_of_a_known_series_costs_one_insert(setup: Setup) -> None:
    """The hot path: no look-up of patient, study, series or key, and the counters once a transaction."""
    setup.store(instance(SERIES, KEY))
    assert setup.store(*[instance(SERIES, KEY) for _ in range(10)]) == [True] * 10
    kinds = setup.kinds()
    assert kinds.count("INSERT instance") == 10
    assert sorted(set(kinds) - {"INSERT instance"}) == ["SELECT meta", "UPDATE series", "UPDATE study"]
    assert len(kinds) == 13


def test_a_batch_of_several_series_counts_each_once(setup: Setup) -> None:
    others = [{**SERIES, SERIES_INSTANCE_UID: [f"1.2.{number}"]} for number in range(4, 7)]
    setup.store(*[instance(values, KEY) for values in others for _ in range(3)])
    setup.store(*[instance(values, KEY) for values in others for _ in range(3)])
    assert setup.kinds().count("UPDATE series") == 3
    with setup.database.read() as cursor:
        assert cursor.execute("SELECT num_series, num_instances FROM study").fetchall() == [(3, 18)]
        assert cursor.execute("SELECT num_instances FROM series").fetchall() == [(6,)] * 3


def test_events_go_to_the_trail_in_one_append_in_their_order(setup: Setup) -> None:
    def work(transaction: Transaction) -> None:
        for number in range(3):
            transaction.record(event(number))

    setup.database.write(work)
    assert [[each.details["number"] for each in events] for events in setup.trail.appended] == [[0, 1, 2]]


def test_without_events_the_trail_is_left_alone(setup: Setup) -> None:
    setup.store(instance(SERIES, KEY))
    assert setup.trail.appended == []


def test_what_was_rolled_back_is_not_remembered(setup: Setup) -> None:
    """The rows that a place points to went with the transaction."""
    setup.trail.error = ZeroDivisionError()
    new = instance(SERIES, KEY)

    def work(transaction: Transaction) -> None:
        transaction.store(new)
        transaction.record(event(1))

    with pytest.raises(ZeroDivisionError):
        setup.database.write(work)
    assert not setup.cache.places
    setup.trail.error = None
    assert setup.store(new) == [True]
    with setup.database.read() as cursor:
        rows = "SELECT COUNT(*) FROM instance JOIN series ON series.id = series JOIN study ON study.id = study"
        assert cursor.execute(rows).fetchone() == (1,)


def test_places_are_good_for_one_generation(setup: Setup) -> None:
    setup.store(instance(SERIES, KEY))
    assert list(setup.cache.places) == ["1.2.3"]
    setup.database.write(lambda transaction: transaction.cursor.execute(f"INSERT INTO meta VALUES ('{GENERATION}', 1)"))
    setup.store(instance(SERIES, KEY))
    assert "SELECT series" in setup.kinds()
    assert setup.cache.generation == "1"


def test_no_more_places_are_remembered_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_CACHED_SERIES", 3)
    cache = PlaceCache()
    for number in range(10):
        cache.put(str(number), SeriesPlace(("P", ""), "1.2"))
    assert list(cache.places) == ["7", "8", "9"]
    cache.clear()
    assert not cache.places


def test_a_dropped_place_is_found_again(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_CACHED_SERIES", 1)
    for number in (3, 4, 3, 4, 3):
        assert setup.store(instance({**SERIES, SERIES_INSTANCE_UID: [f"1.2.{number}"]}, KEY)) == [True]
    with setup.database.read() as cursor:
        assert cursor.execute("SELECT num_series, num_instances FROM study").fetchall() == [(2, 5)]


@pytest.mark.parametrize("cached", [True, False])
def test_a_refusal_writes_nothing(setup: Setup, cached: bool) -> None:
    setup.store(instance(SERIES, KEY))
    if not cached:
        setup.cache.clear()
    with pytest.raises(Refused, match="study-of-another-patient"):
        setup.store(instance({**SERIES, PATIENT_ID: ["P2"]}, KEY))
    assert all(kind.startswith("SELECT") for kind in setup.kinds())


@pytest.mark.parametrize("cached", [True, False])
def test_a_sop_instance_that_is_here_changes_nothing(setup: Setup, cached: bool) -> None:
    new = instance({**SERIES, SOP_INSTANCE_UID: ["1.2.3.4"]}, KEY)
    setup.store(new)
    if not cached:
        setup.cache.clear()
    again = instance({**SERIES, SOP_INSTANCE_UID: ["1.2.3.4"]}, KEY)
    assert setup.store(again) == [False]
    assert not any(kind.startswith("UPDATE") for kind in setup.kinds())
    with setup.database.read() as cursor:
        rows = cursor.execute("SELECT object_id FROM instance").fetchall()
    assert rows == [(new.stored.object_id,)]


def test_a_study_keeps_every_key_that_its_objects_were_sealed_under(setup: Setup) -> None:
    """Two processes can each make a key for a study that is new to both."""
    keys = [KEY, RING.new_data_key()]
    setup.store(*[instance(SERIES, key) for key in keys])
    setup.store(*[instance({**SERIES, SERIES_INSTANCE_UID: ["1.2.4"]}, key) for key in keys])
    with setup.database.read() as cursor:
        rows = cursor.execute("SELECT key_id, master_id FROM data_key ORDER BY key_id").fetchall()
    assert rows == sorted((key.key_id, MASTER_ID) for key in keys)


def test_a_setting_that_was_never_set_is_empty(setup: Setup) -> None:
    assert setup.database.write(lambda transaction: transaction.meta("nothing")) == ""
    assert setup.database.write(lambda transaction: transaction.meta(ACTIVE_MASTER)) == MASTER_ID
