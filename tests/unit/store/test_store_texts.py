"""texts: what of studies lies in memory, since when, how much of it, and that what was deleted does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.instances import PATIENT_ID, PATIENT_NAME, STUDY_INSTANCE_UID, Shelf, instance, new_ring
from strongroom.archive.listing import StudyList
from strongroom.archive.read import merged
from strongroom.store.database import Sql
from strongroom.store.deletion import StudyDeletion
from strongroom.store.index import Index
from strongroom.store.listing import list_studies
from strongroom.store.texts import MAX_GONE, STEP_STUDIES, StudyTexts

RING = new_ring()


@dataclass
class Process:
    """One process of an archive: its index, and what its searches found in memory."""

    index: Index
    found: list[list[int] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        find = self.index.texts.find

        def watched(cursor: Any, statement: Sql, values: dict[str, Any]) -> list[int] | None:
            self.found.append(find(cursor, statement, values))
            return self.found[-1]

        self.index.texts.find = watched  # type: ignore[method-assign]

    def add(self, number: int, name: str) -> None:
        values = {STUDY_INSTANCE_UID: [f"1.2.{number}"], PATIENT_ID: [f"P{number}"], PATIENT_NAME: [name]}
        new = instance(values, RING.new_data_key())
        self.index.database.write(lambda transaction: transaction.store(new))

    def delete(self, number: int) -> None:
        deletion = StudyDeletion(self.index.database.dialect, self.index.registry)
        self.index.database.write(lambda transaction: deletion.run(transaction, f"1.2.{number}"))

    def search(self, word: str) -> list[str]:
        rows = self.index.list_studies(StudyList((word,)), None).rows
        return [merged(row)["0020000D"]["Value"][0] for row in rows]

    def texts(self) -> list[str]:
        """All that lies in the private table."""
        table = self.index.texts._table
        return [] if table is None else [row[0] for row in table.execute("SELECT search_text FROM study").fetchall()]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with closing(Shelf.sqlcipher(tmp_path / "index.db")) as made:
        yield made


def searching(shelf: Shelf) -> Process:
    """A process that somebody has searched in, and that has caught up since."""
    process = Process(shelf.index())
    process.search("nobody")
    process.index.catch_up()
    process.found.clear()
    return process


def test_nothing_lies_in_memory_before_somebody_has_looked_at_a_list(shelf: Shelf) -> None:
    process = Process(shelf.index())
    process.add(1, "Berg^Anna")
    process.index.catch_up()
    assert process.texts() == []
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [None]
    process.index.catch_up()
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [None, [1]]


def test_whoever_has_seen_a_list_finds_in_memory_what_he_types_then(shelf: Shelf) -> None:
    process = Process(shelf.index())
    process.add(1, "Berg^Anna")
    assert len(process.index.list_studies(StudyList(()), None).rows) == 1
    process.index.catch_up()
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [[1]]


def test_a_study_of_another_process_is_found_at_once(shelf: Shelf) -> None:
    process, other = searching(shelf), Process(shelf.index())
    other.add(1, "Berg^Anna")
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [[1]]


def test_what_another_process_deletes_is_out_of_memory_after_the_next_look(shelf: Shelf) -> None:
    other = Process(shelf.index())
    other.add(1, "Planted^Name")
    other.add(2, "Berg^Anna")
    process = searching(shelf)
    assert any("planted" in text for text in process.texts())
    other.delete(1)
    process.index.catch_up()
    assert [text.split("\n")[0] for text in process.texts()] == ["berg^anna"]
    # The pages that the text was in are overwritten: not the row alone is gone.
    assert process.index.texts._table.execute("PRAGMA secure_delete").fetchone() == (1,)
    assert process.search("planted") == []
    assert process.found == [[]]


def test_a_number_that_is_given_again_is_of_the_new_study(shelf: Shelf) -> None:
    other = Process(shelf.index())
    other.add(1, "Berg^Anna")
    other.add(2, "First^Holder")
    process = searching(shelf)
    for number in (2, 3):
        other.delete(number)
        other.add(number + 1, "Next^Holder")
    assert process.search("holder") == ["1.2.4"]
    assert process.found == [[2]]
    assert sorted(process.texts()) == ["berg^anna\np1\n\n", "next^holder\np4\n\n"]


def test_more_deletions_than_are_noted_have_everything_read_again(shelf: Shelf) -> None:
    other = Process(shelf.index())
    other.add(0, "Berg^Anna")
    for number in range(1, MAX_GONE + 2):
        other.add(number, "Short^Stay")
    process = searching(shelf)
    for number in range(1, MAX_GONE + 2):
        other.delete(number)
    assert process.search("stay") == []
    assert process.texts() == []
    process.index.catch_up()
    assert process.texts() == ["berg^anna\np0\n\n"]


def test_an_index_that_notes_no_deletions_has_everything_read_again(shelf: Shelf) -> None:
    other = Process(shelf.index())
    other.add(1, "Berg^Anna")
    other.add(2, "Short^Stay")
    process = searching(shelf)
    other.delete(2)
    other.index.set_meta("gone_studies", "")
    assert process.search("stay") == []
    assert process.texts() == []
    process.index.catch_up()
    assert process.texts() == ["berg^anna\np1\n\n"]


def test_more_text_than_may_be_in_memory_is_not_there_at_all(shelf: Shelf) -> None:
    process = Process(shelf.index())
    process.add(1, "Berg^Anna")
    process.index.texts = StudyTexts(process.index.database.dialect, max_bytes=4096)
    assert process.search("anna") == ["1.2.1"]
    process.index.catch_up()
    assert process.texts() == []
    assert process.search("anna") == ["1.2.1"]


def test_what_has_grown_too_large_is_not_read_once_more(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    process = searching(shelf)
    process.add(1, "Berg^Anna")
    texts = process.index.texts
    monkeypatch.setattr(texts, "_max_bytes", 4096)
    monkeypatch.setattr(texts, "_all", None)  # which reads everything
    process.index.catch_up()
    assert texts._table is None
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [None]


def test_many_new_studies_are_read_by_the_next_look_and_not_by_a_search(shelf: Shelf) -> None:
    process, other = searching(shelf), Process(shelf.index())
    made = [
        instance({STUDY_INSTANCE_UID: [f"1.3.{number}"], PATIENT_ID: [f"N{number}X"]}, RING.new_data_key())
        for number in range(2 * STEP_STUDIES + 1)
    ]
    other.index.database.write(lambda transaction: [transaction.store(new) for new in made])
    last = f"n{2 * STEP_STUDIES}x"
    assert process.search(last) == [f"1.3.{2 * STEP_STUDIES}"]
    assert process.found == [None]
    process.index.catch_up()
    assert process.search(last) == [f"1.3.{2 * STEP_STUDIES}"]
    assert process.found == [None, [2 * STEP_STUDIES + 1]]


def test_who_began_to_look_before_a_deletion_sees_what_he_saw(shelf: Shelf) -> None:
    other = Process(shelf.index())
    other.add(1, "Berg^Anna")
    process = searching(shelf)
    texts, dialect = process.index.texts, process.index.database.dialect
    with process.index.database.read() as early:
        early.execute("SELECT count(*) FROM study").fetchone()
        other.delete(1)
        process.index.catch_up()
        assert process.texts() == []
        assert len(list_studies(early, dialect, StudyList(("anna",)), None, texts).rows) == 1
        texts.catch_up(early)
        assert process.texts() == []


def test_a_search_does_not_wait_for_long_for_another(shelf: Shelf) -> None:
    process = searching(shelf)
    process.add(1, "Berg^Anna")
    with process.index.texts._lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(process.search, "anna").result(timeout=30) == ["1.2.1"]
    assert process.found == [None]
    assert process.search("anna") == ["1.2.1"]
    assert process.found == [None, [1]]
