"""A job that raises leaves nothing behind, whatever it had done by then, and takes nothing from its neighbours.

One that says no without raising has written nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from harness.grouping import together
from harness.instances import (
    PATIENT_ID,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive.model import Action, Added, Event, NewInstance, Outcome
from strongroom.errors import ConfigError, Denied, NotFound, StaleKey
from strongroom.store.deletion import StudyDeletion
from strongroom.store.index import Index
from strongroom.store.schema.tables import TABLES
from strongroom.store.transaction import Transaction
from strongroom.trail.log import TrailReader
from strongroom.types import Principal

RING = new_ring()
KEY = RING.new_data_key()
SERIES = {PATIENT_ID: ["P1"], STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}
CHANGE = Event(Action.USER_CHANGE, Outcome.SUCCESS, Principal("A"), {})


@pytest.fixture(params=["sqlcipher", "journal", pytest.param("postgresql", marks=pytest.mark.interop)])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """The index of the log "first", on each kind of database."""
    path = tmp_path / "index.db"
    if request.param == "postgresql":
        shelf = Shelf.postgresql(request.getfixturevalue("new_postgres_url")())
    else:
        shelf = Shelf.journalled(path) if request.param == "journal" else Shelf.sqlcipher(path)
    yield shelf.index("first")
    shelf.close()


def put(name: str, value: str = "v") -> Callable[[Transaction], None]:
    return lambda transaction: transaction.set_meta(name, value)


def fails_after(*steps: Callable[[Transaction], object]) -> Callable[[Transaction], None]:
    """A job that does these, and raises then."""

    def work(transaction: Transaction) -> None:
        for step in steps:
            step(transaction)
        raise Denied("late")

    return work


def store(transaction: Transaction) -> Added:
    new = instance(SERIES, KEY)
    return transaction.add(new, stored_event(new))


def meta(index: Index, name: str) -> str:
    found: str = index.database.write(lambda transaction: transaction.meta(name))
    return found


def recorded(index: Index) -> int:
    """How many records the trail has."""
    reader = TrailReader(index.database.dialect)
    with index.database.read() as cursor:
        head = reader.head(cursor, "first")
    return head.size if head else 0


def put_many(transaction: Transaction) -> None:
    place = "?" if transaction.sql.dialect.name == "sqlite" else "%s"
    statement = f"INSERT INTO meta (name, value) VALUES ({place}, {place})"
    transaction.cursor.executemany(statement, [("x", "v"), ("y", "v")])


LATE: dict[str, Callable[[Transaction], object]] = {
    "a row": put("x"),
    "rows": put_many,
    "a record": lambda transaction: transaction.record(CHANGE),
    "an object of a new study": store,
}


@pytest.mark.parametrize("step", LATE.values(), ids=LATE)
def test_what_a_job_did_before_it_raised_is_undone(index: Index, step: Callable[[Transaction], object]) -> None:
    with pytest.raises(Denied, match="late"):
        index.database.write(fails_after(step))
    assert meta(index, "x") == ""
    assert recorded(index) == 0
    assert index.study_key("1.2") is None
    assert index.database.write(store) is Added.ADDED, "nothing of it is remembered, either"
    assert recorded(index) == 1
    assert index.study_key("1.2") is not None


def test_its_neighbours_stay_and_are_told_so(index: Index) -> None:
    def jobs() -> Iterator[Callable[[Transaction], Any]]:
        for number in range(6):
            yield put(f"good{number}", "v")
            yield fails_after(put(f"bad{number}"), store)
            yield lambda transaction: store(transaction)

    results = together(index, [lambda job=job: index.database.write(job) for job in jobs()])
    assert [type(each) for each in results] == [type(None), Denied, Added] * 6
    assert [meta(index, f"{kind}{number}") for kind in ("good", "bad") for number in range(6)] == ["v"] * 6 + [""] * 6
    assert recorded(index) == 6
    with index.database.read() as cursor:
        assert cursor.execute("SELECT num_instances FROM study").fetchall() == [(6,)]


def test_what_a_job_saw_of_one_that_is_undone_is_not_what_it_goes_by(index: Index) -> None:
    """The second of two looks for what the first one had written, in the transaction that is gone."""

    def look(transaction: Transaction) -> None:
        if transaction.meta("x"):
            raise ConfigError("there is one already")
        transaction.set_meta("x", "mine")

    for refused in (NotFound("x"), Denied("x")):

        def fail(transaction: Transaction, error: Exception = refused) -> None:
            transaction.set_meta("x", "theirs")
            raise error

        results = together(index, [lambda job=job: index.database.write(job) for job in (fail, look, fail)])
        assert [type(each) for each in results] == [type(refused), type(None), type(refused)]
        assert meta(index, "x") == "mine"
        index.database.write(put("x", ""))


def test_one_that_wrote_nothing_costs_its_neighbours_nothing(index: Index) -> None:
    done = []

    def count(transaction: Transaction) -> None:
        done.append(transaction)
        transaction.set_meta("x", "v")

    def refuse(transaction: Transaction) -> None:
        transaction.meta("x")
        raise NotFound("x")

    results = together(index, [lambda job=job: index.database.write(job) for job in (count, refuse) * 8])
    assert [type(each) for each in results] == [type(None), NotFound] * 8
    assert len(done) == 8, "none of them is done again"
    assert len(set(map(id, done))) == 1, "and all of them in one transaction"


def everything(index: Index) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with index.database.read() as cursor:
        return {
            table.name: sorted(cursor.execute(str(select(table).compile(dialect=index.database.dialect))).fetchall())
            for table in TABLES.sorted_tables
        }


def delete_study(index: Index) -> None:
    deletion = StudyDeletion(index.database.dialect, index.registry)
    index.database.write(lambda transaction: deletion.run(transaction, "1.2"))


def copies(index: Index) -> tuple[NewInstance, NewInstance]:
    """An object that is stored, and the same once more, which a process has sealed under a key of its own."""
    one = {**SERIES, SOP_INSTANCE_UID: ["1.2.3.4"]}
    first, copy = instance(one, KEY), instance(one, RING.new_data_key())
    assert index.database.write(lambda transaction: transaction.add(first, stored_event(first))) is Added.ADDED
    return first, copy


@pytest.mark.parametrize("is_followed", [False, True], ids=["nothing is left", "another has come since"])
def test_what_was_deleted_does_not_come_back_with_the_copy_of_a_damaged_object(index: Index, is_followed: bool) -> None:
    first, copy = copies(index)
    delete_study(index)
    if is_followed:
        index.database.write(lambda transaction: transaction.store(instance(SERIES, RING.new_data_key())))
    before = everything(index)
    assert not index.restore(first.stored, copy, stored_event(copy))
    assert everything(index) == before


def test_what_is_not_new_brings_no_key_with_it(index: Index) -> None:
    """Two processes can each make a key for a study that is new to both, and be sent the same object."""
    first, copy = copies(index)
    before = everything(index)
    assert index.add(copy, stored_event(copy)) is Added.NOT_NEW
    assert everything(index) == before
    assert index.restore(first.stored, copy, stored_event(copy)), (
        "it brings it when it is put in the place of the first"
    )
    assert len(everything(index)["data_key"]) == 2


def test_no_object_is_put_back_under_a_key_that_is_destroyed(index: Index) -> None:
    """Of a copy that began to arrive before its study was deleted, and sent once more by somebody else."""
    copies(index)
    delete_study(index)
    again, late = (instance({**SERIES, SOP_INSTANCE_UID: ["1.2.3.4"]}, key) for key in (RING.new_data_key(), KEY))
    index.database.write(lambda transaction: transaction.store(again))
    before = everything(index)
    with pytest.raises(StaleKey):
        index.restore(again.stored, late, stored_event(late))
    assert everything(index) == before
