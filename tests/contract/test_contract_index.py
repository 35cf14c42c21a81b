"""What every database under the index must do the same: the contract of ``archive.ports.Index``."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.archives import clean_environment
from harness.grouping import together
from harness.index_writer import SERIES_PER_STUDY, STUDIES, shared_instance, store_shared
from harness.instances import (
    ISSUER_OF_PATIENT_ID,
    MASTER_ID,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    Values,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive.model import Action, Added, DataKey, Event, Flag, Level, NewInstance, Outcome, Source
from strongroom.archive.prefilter import sql_conditions
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query, Retrieval
from strongroom.archive.read import merged
from strongroom.errors import IntegrityError, LimitExceeded, Refused, StaleKey, StorageUnavailable, StrongroomError
from strongroom.store.deletion import StudyDeletion
from strongroom.store.index import Index
from strongroom.store.transaction import ACTIVE_MASTER, Transaction
from strongroom.trail.log import TrailReader
from strongroom.types import Principal

RING = new_ring()
COUNTERS = {
    Level.PATIENT: (0x00201200, 0x00201202, 0x00201204),
    Level.STUDY: (0x00201206, 0x00201208),
    Level.SERIES: (0x00201209,),
}
MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY = 0x00080061, 0x00080062
TESTS_FOLDER = Path(__file__).resolve().parents[1]


POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
GROUPED = pytest.mark.parametrize("place", ["sqlcipher", POSTGRESQL], indirect=True)
"""For what is about jobs in one transaction: an ordinary object goes to the journal and waits for nobody."""


@pytest.fixture(params=["sqlcipher", "journal", POSTGRESQL])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the index is: a path or a URL."""
    if request.param == "sqlcipher":
        return str(tmp_path / "index.db")
    if request.param == "journal":
        return f"journal:{tmp_path / 'index.db'}"
    return str(request.getfixturevalue("new_postgres_url")())


@pytest.fixture
def shelf(place: str) -> Iterator[Shelf]:
    shelf = Shelf.at(place)
    yield shelf
    shelf.close()


@pytest.fixture
def index(shelf: Shelf) -> Index:
    return shelf.index("first")


def add(index: Index, values: Values, key: DataKey | None = None) -> NewInstance:
    new = instance(values, key or _key_for(index, values))
    assert index.add(new, stored_event(new))
    return new


def _key_for(index: Index, values: Values) -> DataKey:
    study = values.get(STUDY_INSTANCE_UID)
    return (index.study_key(study[0]) if study else None) or RING.new_data_key()


def records(index: Index, level: Level, keys: dict[int, str] | None = None) -> list[dict[str, Any]]:
    """Every record of a level that has these values, with what the index computes."""
    asked = {0x00080052: IdentifierElement("CS", [level.name])}
    asked |= {tag: IdentifierElement("CS") for tag in COUNTERS.get(level, ())}
    if level >= Level.STUDY:
        asked |= {tag: IdentifierElement("CS") for tag in (MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY)}
    unique = ((PATIENT_ID, "LO"), (STUDY_INSTANCE_UID, "UI"), (SERIES_INSTANCE_UID, "UI"), (SOP_INSTANCE_UID, "UI"))
    asked |= {tag: IdentifierElement(vr) for tag, vr in unique[: level + 1]}
    asked |= {tag: IdentifierElement("CS", [text]) for tag, text in (keys or {}).items()}
    query = Query.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=ExtendedNegotiation(relational=True))
    return [merged(row) for row in index.search(query, sql_conditions(query), None)]


def values_of(record: dict[str, Any], tag: int) -> list[Any]:
    return list(record[f"{tag:08X}"].get("Value", []))


def texts(found: list[dict[str, Any]], tag: int) -> list[str]:
    return [values_of(record, tag)[0] for record in found]


def counters(record: dict[str, Any], level: Level) -> tuple[int, ...]:
    return tuple(values_of(record, tag)[0] for tag in COUNTERS[level])


def trail_sizes(index: Index) -> dict[str, int]:
    reader = TrailReader(index.database.dialect)
    with index.database.read() as cursor:
        heads = {log: reader.head(cursor, log) for log in reader.logs(cursor)}
    return {log: head.size for log, head in heads.items() if head is not None}


# --- one instance


def test_what_was_added_is_found_as_it_was(index: Index) -> None:
    new = add(index, {PATIENT_ID: ["P1"], STUDY_INSTANCE_UID: ["1.2"]})
    assert index.find_object(new.stored.sop_uid) == new.stored
    assert index.study_key("1.2") == new.stored.key
    assert trail_sizes(index) == {"first": 1}


def test_an_empty_index_has_nothing(index: Index) -> None:
    assert index.find_object("1.2") is None
    assert index.study_key("1.2") is None
    assert all(not records(index, level) for level in Level)


@pytest.mark.parametrize("same_process", [True, False])
def test_a_sop_instance_is_added_once(shelf: Shelf, index: Index, same_process: bool) -> None:
    new = add(index, {STUDY_INSTANCE_UID: ["1.2"]})
    again = instance({**uids_of(new)}, new.stored.key)
    other = index if same_process else shelf.index("second")
    assert other.add(again, stored_event(again)) is Added.NOT_NEW
    assert index.find_object(new.stored.sop_uid) == new.stored
    assert sum(trail_sizes(index).values()) == 1
    assert counters(records(index, Level.STUDY)[0], Level.STUDY) == (1, 1)


def uids_of(new: NewInstance) -> Values:
    stored = new.stored
    return {
        SOP_INSTANCE_UID: [stored.sop_uid],
        SERIES_INSTANCE_UID: [stored.series_uid],
        STUDY_INSTANCE_UID: [stored.study_uid],
    }


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({PATIENT_ID: ["other"]}, "study-of-another-patient"),
        ({PATIENT_ID: []}, "study-of-another-patient"),
        ({ISSUER_OF_PATIENT_ID: ["other"]}, "study-of-another-patient"),
        ({PATIENT_ID: ["other"], SERIES_INSTANCE_UID: ["1.2.9"]}, "study-of-another-patient"),
        ({STUDY_INSTANCE_UID: ["1.9"]}, "series-in-another-study"),
        ({STUDY_INSTANCE_UID: ["1.9"], PATIENT_ID: ["other"]}, "series-in-another-study"),
    ],
)
def test_nothing_is_merged_silently(
    shelf: Shelf, index: Index, same_process: bool, change: dict[int, list[str]], reason: str
) -> None:
    first: Values = {
        PATIENT_ID: ["P1"],
        ISSUER_OF_PATIENT_ID: ["H"],
        STUDY_INSTANCE_UID: ["1.2"],
        SERIES_INSTANCE_UID: ["1.2.3"],
    }
    add(index, first)
    other = index if same_process else shelf.index("second")
    wrong = instance({**first, **change}, RING.new_data_key())
    with pytest.raises(Refused) as refused:
        other.add(wrong, stored_event(wrong))
    assert refused.value.reason == reason
    assert other.find_object(wrong.stored.sop_uid) is None
    assert sum(trail_sizes(index).values()) == 1
    assert texts(records(index, Level.PATIENT), PATIENT_ID) == ["P1"]
    assert texts(records(index, Level.STUDY), STUDY_INSTANCE_UID) == ["1.2"]
    assert texts(records(index, Level.SERIES), SERIES_INSTANCE_UID) == ["1.2.3"]
    assert index.study_key("1.9") is None


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [({STUDY_INSTANCE_UID: ["1.9"]}, ""), ({PATIENT_ID: ["other"]}, "study-of-another-patient")],
)
def test_what_a_moved_copy_is_does_not_depend_on_what_a_process_remembers(
    shelf: Shelf, index: Index, same_process: bool, change: dict[int, list[str]], reason: str
) -> None:
    first = add(index, {PATIENT_ID: ["P1"]})
    other = index if same_process else shelf.index("second")
    copy = instance({PATIENT_ID: ["P1"], **uids_of(first), **change}, RING.new_data_key())
    with pytest.raises(Refused, match=reason) if reason else nullcontext():
        assert other.add(copy, stored_event(copy)) is Added.NOT_NEW
    assert sum(trail_sizes(index).values()) == 1


def test_one_patient_id_of_two_issuers_is_two_patients(index: Index) -> None:
    add(index, {PATIENT_ID: ["P1"], ISSUER_OF_PATIENT_ID: ["A"]})
    add(index, {PATIENT_ID: ["P1"], ISSUER_OF_PATIENT_ID: ["B"]})
    add(index, {PATIENT_ID: ["P1"]})
    assert [counters(record, Level.PATIENT) for record in records(index, Level.PATIENT)] == [(1, 1, 1)] * 3


def test_studies_without_a_patient_id_have_nothing_in_common(index: Index) -> None:
    """Else one person's name would stand over another's study."""
    for study, name in (("1.1", "One"), ("1.2", "Two")):
        for series in ("1", "2"):
            uids = {STUDY_INSTANCE_UID: [study], SERIES_INSTANCE_UID: [f"{study}.{series}"]}
            add(index, {PATIENT_ID: [], PATIENT_NAME: [name], **uids})
    names = [record[f"{PATIENT_NAME:08X}"]["Value"] for record in records(index, Level.PATIENT)]
    assert sorted(name["Alphabetic"] for (name,) in names) == ["One", "Two"]
    assert [counters(record, Level.PATIENT) for record in records(index, Level.PATIENT)] == [(1, 2, 2)] * 2


# --- what the index computes


def test_counters_follow_what_was_added(shelf: Shelf, index: Index) -> None:
    """Two patients, three studies, six series, some through another process."""
    others = [index, shelf.index("second")]
    added = 0
    for patient, study, series, instances in [
        ("A", 1, 1, 3), ("A", 1, 2, 1), ("A", 2, 1, 2), ("B", 3, 1, 1), ("B", 3, 2, 4), ("B", 3, 3, 1),
    ]:  # fmt: skip
        for _ in range(instances):
            uids = {STUDY_INSTANCE_UID: [f"1.{study}"], SERIES_INSTANCE_UID: [f"1.{study}.{series}"]}
            add(others[added % 2], {PATIENT_ID: [patient], **uids})
            added += 1
    assert {
        values_of(record, PATIENT_ID)[0]: counters(record, Level.PATIENT) for record in records(index, Level.PATIENT)
    } == {"A": (2, 3, 6), "B": (1, 3, 6)}
    assert {
        values_of(record, STUDY_INSTANCE_UID)[0]: counters(record, Level.STUDY)
        for record in records(index, Level.STUDY)
    } == {"1.1": (2, 4), "1.2": (1, 2), "1.3": (3, 6)}
    assert {
        values_of(record, SERIES_INSTANCE_UID)[0]: counters(record, Level.SERIES)[0]
        for record in records(index, Level.SERIES)
    } == {"1.1.1": 3, "1.1.2": 1, "1.2.1": 2, "1.3.1": 1, "1.3.2": 4, "1.3.3": 1}
    assert len(records(index, Level.IMAGE)) == 12


def test_counters_are_numbers_on_every_database(index: Index) -> None:
    """PostgreSQL adds up big integers as decimals; no answer may show it."""
    add(index, {})
    for level in COUNTERS:
        assert all(type(count) is int for count in counters(records(index, level)[0], level))


def test_kinds_of_a_study_are_gathered_from_its_series(shelf: Shelf, index: Index) -> None:
    study = {STUDY_INSTANCE_UID: ["1.2"]}
    second = shelf.index("second")
    add(index, {**study, SERIES_INSTANCE_UID: ["1.2.1"], MODALITY: ["PT"], SOP_CLASS_UID: ["1.5"]})
    add(second, {**study, SERIES_INSTANCE_UID: ["1.2.2"], MODALITY: ["CT"], SOP_CLASS_UID: ["1.4"]})
    add(index, {**study, SERIES_INSTANCE_UID: ["1.2.1"], MODALITY: ["PT"], SOP_CLASS_UID: ["1.6"]})
    add(index, {**study, SERIES_INSTANCE_UID: ["1.2.3"], MODALITY: [], SOP_CLASS_UID: ["1.6"]})
    add(index, {STUDY_INSTANCE_UID: ["1.3"], MODALITY: ["PETCT"]})
    record = records(index, Level.STUDY)[0]
    assert values_of(record, MODALITIES_IN_STUDY) == ["CT", "PT"]
    assert values_of(record, SOP_CLASSES_IN_STUDY) == ["1.4", "1.5", "1.6"]
    assert texts(records(index, Level.STUDY, {MODALITIES_IN_STUDY: "CT"}), STUDY_INSTANCE_UID) == ["1.2"]
    assert texts(records(index, Level.STUDY, {MODALITIES_IN_STUDY: "P*"}), STUDY_INSTANCE_UID) == ["1.2", "1.3"]


# --- retrieval


def test_a_retrieval_names_exactly_its_objects(index: Index) -> None:
    uids = [(f"1.{study}", f"1.{study}.{series}") for study in (1, 2) for series in (1, 2) for _ in range(2)]
    added = [add(index, {STUDY_INSTANCE_UID: [study], SERIES_INSTANCE_UID: [series]}) for study, series in uids]

    def found(level: str, keys: dict[int, str], limit: int = 100) -> list[str]:
        asked = {tag: IdentifierElement("UI", text.split("\\")) for tag, text in keys.items()}
        asked[0x00080052] = IdentifierElement("CS", [level])
        relational = ExtendedNegotiation(relational=True)
        retrieval = Retrieval.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=relational)
        return [stored.sop_uid for stored in index.find_objects(retrieval, limit)]

    sop = [new.stored.sop_uid for new in added]
    assert found("PATIENT", {PATIENT_ID: "P"}) == sop
    assert found("STUDY", {STUDY_INSTANCE_UID: "1.2"}) == sop[4:]
    assert found("STUDY", {STUDY_INSTANCE_UID: "1.2\\1.1\\1.7"}) == sop
    assert found("SERIES", {STUDY_INSTANCE_UID: "1.1", SERIES_INSTANCE_UID: "1.1.2"}) == sop[2:4]
    assert found("SERIES", {STUDY_INSTANCE_UID: "1.2", SERIES_INSTANCE_UID: "1.1.2"}) == []
    assert found("IMAGE", {SOP_INSTANCE_UID: f"{sop[7]}\\{sop[0]}"}) == [sop[0], sop[7]]
    assert found("STUDY", {STUDY_INSTANCE_UID: "1.2"}, limit=4) == sop[4:]
    with pytest.raises(LimitExceeded, match="max_retrieve_objects"):
        found("STUDY", {STUDY_INSTANCE_UID: "1.2"}, limit=3)


# --- deletion


def delete_study(index: Index, study_uid: str) -> None:
    """Take a study out of the index, in one transaction."""
    deletion = StudyDeletion(index.database.dialect, index.registry)
    index.database.write(lambda transaction: deletion.run(transaction, study_uid))


@pytest.mark.parametrize("same_process", [True, False])
def test_a_destroyed_key_never_comes_back(shelf: Shelf, index: Index, same_process: bool) -> None:
    """An object that was sealed before its study was deleted, and is indexed after, would be a deletion undone."""
    values: Values = {STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}
    first = add(index, values)
    late = instance(values, first.stored.key)
    delete_study(index if same_process else shelf.index("deleter"), "1.2")
    with pytest.raises(StaleKey):
        index.add(late, stored_event(late))
    assert index.find_object(late.stored.sop_uid) is None
    assert index.study_key("1.2") is None
    assert not records(index, Level.STUDY)


@pytest.mark.parametrize("same_process", [True, False])
def test_a_deleted_study_can_begin_again_under_another_key(shelf: Shelf, index: Index, same_process: bool) -> None:
    """The row ids that a running server remembers of it are good no longer."""
    values: Values = {STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}
    add(index, values)
    add(index, values)
    delete_study(index if same_process else shelf.index("deleter"), "1.2")
    again = add(index, {**values, PATIENT_ID: ["another"]}, RING.new_data_key())
    assert index.study_key("1.2") == again.stored.key
    assert counters(records(index, Level.STUDY)[0], Level.STUDY) == (1, 1)
    assert values_of(records(index, Level.SERIES, {PATIENT_ID: "another"})[0], SERIES_INSTANCE_UID) == ["1.2.3"]


def test_an_object_under_a_master_key_that_was_rotated_meanwhile_is_rewrapped(shelf: Shelf, index: Index) -> None:
    new = instance({STUDY_INSTANCE_UID: ["1.2"]}, RING.new_data_key())
    shelf.index("rotation").set_meta(ACTIVE_MASTER, "mk-next")
    assert index.add(new, stored_event(new))
    kept = index.study_key("1.2")
    assert kept is not None
    assert (kept.key_id, kept.key) == (new.stored.key.key_id, new.stored.key.key)
    assert kept.master_id == "mk-next"
    assert new.stored.key.master_id == MASTER_ID


# --- transactions


def test_what_fails_leaves_nothing(shelf: Shelf, index: Index) -> None:
    """An event that the trail cannot take undoes the instance it goes with, and what the process learnt of it."""
    values: Values = {STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}
    new = instance(values, RING.new_data_key())
    with pytest.raises(StrongroomError):
        index.add(new, Event(Action.STORE, Outcome.SUCCESS, Principal("A"), {"bytes": 2**60}))
    for each in (index, shelf.index()):
        assert each.find_object(new.stored.sop_uid) is None
        assert each.study_key("1.2") is None
        assert not any(records(each, level) for level in Level)
    assert not sum(trail_sizes(index).values())
    add(index, values)
    assert counters(records(index, Level.STUDY)[0], Level.STUDY) == (1, 1)


@GROUPED
def test_one_failure_in_a_batch_fails_alone(index: Index) -> None:
    """Jobs that share a transaction: a refusal, a bug, an event too large, and good ones between them."""
    values: Values = {PATIENT_ID: ["P1"], STUDY_INSTANCE_UID: ["1.2"], SERIES_INSTANCE_UID: ["1.2.3"]}
    key = RING.new_data_key()
    add(index, values, key)
    good = [instance(values, key) for _ in range(4)]
    refused = instance({**values, PATIENT_ID: ["P2"]}, key)
    too_large = instance(values, key)

    def bug(transaction: Transaction) -> None:
        transaction.set_meta_that_is_not_there()  # type: ignore[attr-defined]

    jobs: list[Callable[[], Any]] = [
        *(lambda new=new: index.add(new, stored_event(new)) for new in good[:2]),
        lambda: index.add(refused, stored_event(refused)),
        lambda: index.database.write(bug),
        lambda: index.add(too_large, Event(Action.STORE, Outcome.SUCCESS, Principal("A"), {"bytes": 2**60})),
        *(lambda new=new: index.add(new, stored_event(new)) for new in good[2:]),
    ]
    results = together(index, jobs)
    kinds = [type(result) if isinstance(result, Exception) else result for result in results]
    assert kinds == [True, True, Refused, AttributeError, LimitExceeded, True, True]
    assert all(index.find_object(new.stored.sop_uid) for new in good)
    assert index.find_object(too_large.stored.sop_uid) is None
    assert counters(records(index, Level.STUDY)[0], Level.STUDY) == (1, 5)
    assert trail_sizes(index) == {"first": 5}


@pytest.mark.interop
def test_connections_that_the_server_ends_are_replaced(new_postgres_url: Callable[[], str]) -> None:
    with closing(Shelf.postgresql(new_postgres_url())) as shelf:
        index = shelf.index()
        first = add(index, {})
        assert index.find_object(first.stored.sop_uid) == first.stored
        shelf.index().database.write(
            lambda transaction: transaction.cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        with pytest.raises(StorageUnavailable):
            index.find_object(first.stored.sop_uid)
        assert index.find_object(first.stored.sop_uid) == first.stored
        new = instance({}, RING.new_data_key())
        with pytest.raises(StorageUnavailable):
            index.add(new, stored_event(new))
        assert index.add(new, stored_event(new))


def test_a_read_sees_one_state(shelf: Shelf, index: Index) -> None:
    """An answer that is being read is not changed by what is stored meanwhile."""
    for _ in range(3):
        add(index, {})
    query = Query.from_identifier(
        {0x00080052: IdentifierElement("CS", ["IMAGE"]), SOP_INSTANCE_UID: IdentifierElement("UI")},
        model=Model.STUDY_ROOT,
        negotiated=ExtendedNegotiation(relational=True),
    )
    answers = index.search(query, sql_conditions(query), None)
    found = [merged(next(answers))]
    add(shelf.index("second"), {})
    found += [merged(row) for row in answers]
    assert len(found) == 3


# --- several writers


WRITERS, INSTANCES = 4, 48


def expected_population(count: int) -> dict[str, tuple[list[str], tuple[int, ...]]]:
    """By study: its modalities and counters."""
    made = [shared_instance(number, DataKey(b"", b"", b""), 0) for number in range(count)]
    return {
        f"2.25.7.{study}": (
            [f"M{series}" for series in range(SERIES_PER_STUDY)],
            (SERIES_PER_STUDY, sum(new.stored.study_uid == f"2.25.7.{study}" for new in made)),
        )
        for study in range(STUDIES)
    }


def check_population(index: Index, count: int) -> None:
    found = {
        values_of(record, STUDY_INSTANCE_UID)[0]: (
            values_of(record, MODALITIES_IN_STUDY),
            counters(record, Level.STUDY),
        )
        for record in records(index, Level.STUDY)
    }
    assert found == expected_population(count)
    assert [counters(record, Level.PATIENT) for record in records(index, Level.PATIENT)] == [
        (STUDIES, STUDIES * SERIES_PER_STUDY, count)
    ]
    uids = texts(records(index, Level.IMAGE), SOP_INSTANCE_UID)
    assert sorted(uids) == sorted({shared_instance(n, DataKey(b"", b"", b""), 0).stored.sop_uid for n in range(count)})
    assert sum(trail_sizes(index).values()) == count


def test_concurrent_writers_with_connections_of_their_own(shelf: Shelf, index: Index) -> None:
    """All write the same instances at once: each is taken in exactly once, and nothing fails."""
    indexes = [shelf.index() for _ in range(WRITERS)]
    barrier = threading.Barrier(WRITERS)

    def write(process: int) -> int:
        barrier.wait(30)
        return store_shared(indexes[process], range(INSTANCES), process + 1)

    with ThreadPoolExecutor(WRITERS) as pool:
        stored = list(pool.map(write, range(WRITERS)))
    assert sum(stored) == INSTANCES
    check_population(index, INSTANCES)


def test_concurrent_threads_on_one_index(index: Index) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        stored = list(pool.map(lambda process: store_shared(index, range(INSTANCES), process + 1), range(WRITERS)))
    assert sum(stored) == INSTANCES
    check_population(index, INSTANCES)


def test_two_processes_write_one_index(shelf: Shelf, index: Index, place: str) -> None:
    halves = [(0, INSTANCES * 2 // 3), (INSTANCES // 3, INSTANCES - INSTANCES // 3)]
    environment = clean_environment()
    environment["PYTHONPATH"] = ":".join(filter(None, [str(TESTS_FOLDER), environment.get("PYTHONPATH")]))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "harness.index_writer", place, str(first), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for first, count in halves
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in outputs] == ["", ""]
    assert sum(int(out) for out, _ in outputs) == INSTANCES
    check_population(index, INSTANCES)


def test_a_trail_that_was_rewritten_stops_every_write(index: Index) -> None:
    """A head set back would give two records one number: the store fails instead, and nothing of it stays."""
    add(index, {})
    index.database.write(lambda transaction: transaction.cursor.execute("UPDATE trail_log SET size = 0"))
    new = instance({}, RING.new_data_key())
    with pytest.raises(IntegrityError):
        index.add(new, stored_event(new))
    assert index.find_object(new.stored.sop_uid) is None


# --- where it came from


def test_what_comes_late_from_elsewhere_is_flagged(index: Index) -> None:
    """To a closed study, from where nothing of it has come: it is stored, and somebody is to look at it."""
    first = replace(instance({STUDY_INSTANCE_UID: ["1.2"]}, RING.new_data_key()), source=Source("CT1\t10.0.0.1"))
    assert index.add(first, stored_event(first)) is Added.ADDED
    received_us = first.stored.received_us

    def come(words: str, closed_before_us: int) -> Added:
        more = instance({STUDY_INSTANCE_UID: ["1.2"]}, first.stored.key)
        more = replace(more, source=Source(words, closed_before_us))
        return index.add(more, stored_event(more))

    assert come("WS7\t10.0.0.9", received_us) is Added.ADDED, "the study is open"
    assert come("CT1\t10.0.0.1", received_us + 1) is Added.ADDED, "its own source may be late"
    assert come("", received_us + 1) is Added.ADDED, "nobody knows where that came from"
    first = replace(instance({STUDY_INSTANCE_UID: ["1.3"]}, RING.new_data_key()), source=Source("CT1\t10.0.0.1"))
    index.add(first, stored_event(first))
    late = replace(
        instance({STUDY_INSTANCE_UID: ["1.3"]}, first.stored.key),
        source=Source("X\t203.0.113.7", first.stored.received_us + 1),
    )
    assert index.add(late, stored_event(late)) is Added.UNVERIFIED
    with index.database.read() as cursor:
        rows = cursor.execute(
            "SELECT sop_uid, reason, severity FROM flagged JOIN instance ON instance.id = flagged.id"
        ).fetchall()
    assert [tuple(row) for row in rows] == [(late.stored.sop_uid, "unverified", "high")]


@pytest.mark.parametrize(("severity", "alerts"), [("medium", 0), ("high", 1)])
def test_an_alert_is_in_the_transaction_of_its_object(index: Index, severity: str, alerts: int) -> None:
    """Nothing can come between the two: what is flagged from high on never stands in the trail without its alert."""
    told: list[Event] = []
    index.announce = told.append
    flag = Flag("screening", severity, b"[1]", ("SR-PE-001",))
    new = replace(instance({STUDY_INSTANCE_UID: ["1.2"]}, RING.new_data_key()), flag=flag)
    index.record = None  # type: ignore[assignment,method-assign]  # no second transaction
    index.add(new, stored_event(new))
    assert trail_sizes(index) == {"first": 1 + alerts}
    alerted = [event for event in told if event.action is Action.ALERT]
    assert [(event.outcome, event.details["reason"]) for event in alerted] == [(Outcome.WARNING, "screening")] * alerts
    assert [event.details["rules"] for event in alerted] == [("SR-PE-001",)] * alerts


def test_what_is_late_and_flagged_is_told_of_for_both(index: Index) -> None:
    first = replace(instance({STUDY_INSTANCE_UID: ["1.3"]}, RING.new_data_key()), source=Source("CT1\t10.0.0.1"))
    index.add(first, stored_event(first))
    told: list[Event] = []
    index.announce = told.append
    source = Source("X\t203.0.113.7", first.stored.received_us + 1)
    late = instance({STUDY_INSTANCE_UID: ["1.3"]}, first.stored.key)
    late = replace(late, source=source, flag=Flag("screening", "critical"))
    assert index.add(late, stored_event(late)) is Added.UNVERIFIED
    assert [event.details["reason"] for event in told if event.action is Action.ALERT] == ["screening", "unverified"]
    assert trail_sizes(index) == {"first": 4}


def test_a_flag_goes_with_its_instance(index: Index) -> None:
    flag = Flag("screening", "medium", b"[1]")
    new = replace(instance({STUDY_INSTANCE_UID: ["1.2"]}, RING.new_data_key()), flag=flag)
    assert index.add(new, stored_event(new)) is Added.ADDED
    with index.database.read() as cursor:
        (row,) = cursor.execute("SELECT reason, severity, findings FROM flagged").fetchall()
    assert (row[0], row[1], bytes(row[2])) == ("screening", "medium", b"[1]")
