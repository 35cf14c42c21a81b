"""On every database a list is the same with the texts in memory and without them, whatever comes and goes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.instances import (
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
)
from strongroom.archive.access import parse_scope
from strongroom.archive.listing import StudyList, StudyPage, parse_words
from strongroom.archive.read import merged
from strongroom.store import listing, texts
from strongroom.store.database import Sql
from strongroom.store.deletion import StudyDeletion
from strongroom.store.index import Index

STUDY_DATE, ACCESSION, DESCRIPTION = 0x00080020, 0x00080050, 0x00081030
INSTITUTION, REFERRING = 0x00080080, 0x00080090
STEPS = 500
NAMES = ("Bergström^Åsa", "Berg^Anna", "100%^Sure", "O'Neil!^_", "山田^太郎", "", "\\^*?", "STRASSE^Ö")
TEXTS = ("Chest", "CHEST low dose", "100% dose", "he_d!", "Schädel", "", "a\\b")
DATES = ("20240101", "20240229", "20251231", "20261122", "")
WORDS = (
    "berg", "BERG chest", "asa", "%", "_", "!", "\\", "p1", "a1", "a10 chest", "100%", "山", "schädel", "zzz",
    "berg zzz", "chest dose", "strasse", "e",
)  # fmt: skip
SCOPES = (None, ("modality=CT",), ("patient=P3",), ("date=20240101-20241231",), ("modality=XA",))


class Site:
    """An archive where one process stores and deletes, and others search: one without the texts in memory, one with
    them, and one that has them and seldom catches up."""

    def __init__(self, shelf: Shelf, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ring = new_ring()
        self.writer, self.alone, self.quick, self.slow = (shelf.index() for _ in range(4))
        self.alone.texts.find = lambda *_: None  # type: ignore[method-assign]
        self.deletion = StudyDeletion(self.writer.database.dialect, self.writer.registry)
        self.here: list[str] = []
        self.count = 0
        self.found: dict[Index, int] = {}
        for index in (self.quick, self.slow):
            self._count_finds(index)

    def _count_finds(self, index: Index) -> None:
        find = index.texts.find
        self.found[index] = 0

        def counted(cursor: Any, statement: Sql, values: dict[str, Any]) -> list[int] | None:
            found = find(cursor, statement, values)
            self.found[index] += found is not None
            return found

        index.texts.find = counted  # type: ignore[method-assign]

    def store(self, count: int) -> None:
        made = []
        for _ in range(count):
            self.count += 1
            patient = self.chance.randrange(12)
            values = {
                STUDY_INSTANCE_UID: f"1.2.{self.count}", STUDY_DATE: self.chance.choice(DATES),
                PATIENT_ID: f"P{patient}", PATIENT_NAME: NAMES[patient % len(NAMES)], ACCESSION: f"A{self.count}",
                DESCRIPTION: self.chance.choice(TEXTS), MODALITY: self.chance.choice(("CT", "MR")),
                INSTITUTION: self.chance.choice(("Nord", "Süd")), REFERRING: self.chance.choice(NAMES),
            }  # fmt: skip
            new = instance({tag: [value] for tag, value in values.items() if value}, self.ring.new_data_key())
            made.append(new)
            self.here.append(new.stored.study_uid)
        self.writer.database.write(lambda transaction: [transaction.store(new) for new in made])

    def delete(self, count: int) -> None:
        """As often as not the newest, whose number SQLite gives to the next one."""
        for _ in range(min(count, len(self.here))):
            at = len(self.here) - 1 if self.chance.random() < 0.5 else self.chance.randrange(len(self.here))
            uid = self.here.pop(at)
            self.writer.database.write(lambda transaction, uid=uid: self.deletion.run(transaction, uid))

    def search(self) -> None:
        chance, place = self.chance, {}
        if self.here and chance.random() < 0.6:
            place = {chance.choice(("older_than", "newer_than")): chance.choice(self.here)}
        wanted = StudyList(
            parse_words(chance.choice(WORDS))[0],
            modality=chance.choice(("", "", "CT")),
            first_date=chance.choice(("", "", "20240201")),
            last_date=chance.choice(("", "", "20251231")),
            patient_of=chance.choice((*[""] * 9, *self.here[:1])),
            institution=chance.choice((*[""] * 5, "nord")),
            referring=chance.choice((*[""] * 5, "berg")),
            limit=chance.choice((1, 3, 10, 50)),
            **place,
        )
        words = chance.choice(SCOPES)
        scope = parse_scope(words) if words else None
        expected = told(self.alone.list_studies(wanted, scope))
        for index in (self.quick, self.slow):
            assert told(index.list_studies(wanted, scope)) == expected


def told(page: StudyPage) -> tuple[list[str], bool, bool]:
    return [merged(row)["0020000D"]["Value"][0] for row in page.rows], page.has_newer, page.has_older


@pytest.fixture(params=("sqlcipher", "postgresql"))
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "sqlcipher":
        made = Shelf.sqlcipher(tmp_path / "index.db")
    else:
        new_url: Callable[[], str] = request.getfixturevalue("new_postgres_url")
        made = Shelf.postgresql(new_url())
    with closing(made):
        yield made


def test_texts_in_memory_change_no_list_whatever_comes_and_goes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small, so that pages are filled from memory, and are not, and steps and notes of deletions do not suffice.
    monkeypatch.setattr(listing, "AMONG", (4, 8))
    monkeypatch.setattr(texts, "STEP_STUDIES", 12)
    monkeypatch.setattr(texts, "MAX_GONE", 6)
    site = Site(shelf, seed=17)
    site.store(60)
    for number in range(STEPS):
        match site.chance.randrange(12):
            case 0:
                site.store(site.chance.randrange(1, 4))
            case 1:
                site.delete(site.chance.randrange(1, 4))
            case 2:
                site.quick.catch_up()
            case _:
                site.search()
        if number % 50 == 49:
            site.store(15)
            site.slow.catch_up()
    # Without this the lists would be equal because memory was never asked.
    assert site.found[site.quick] > STEPS / 3
    assert 20 < site.found[site.slow] < site.found[site.quick]
