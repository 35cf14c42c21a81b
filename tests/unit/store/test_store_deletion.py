"""After a deletion no byte of a wrapped key is left in the index: every page of the file is decrypted and searched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from harness.instances import _SQLCIPHER_KEY as INDEX_KEY
from harness.instances import MASTER_ID, PATIENT_ID, STUDY_INSTANCE_UID, Shelf, instance, stored_event
from strongroom.errors import NotFound
from strongroom.store.deletion import DeletedStudy, StudyDeletion, clear_log
from strongroom.store.index import Index
from strongroom.store.keys import KeyRing
from strongroom.store.rewrapping import Rewrapping
from strongroom.store.transaction import ACTIVE_MASTER, GENERATION

PAGE_BYTES, RESERVED_BYTES, IV_BYTES, SALT_BYTES = 4096, 80, 16, 16


def plain_pages(database: Path) -> bytes:
    """Every page of an SQLCipher 4 file, decrypted: in use, free, and what lies between the rows."""
    raw = database.read_bytes()
    plain = []
    for start in range(0, len(raw), PAGE_BYTES):
        page = raw[start : start + PAGE_BYTES]
        iv = page[-RESERVED_BYTES : -RESERVED_BYTES + IV_BYTES]
        decryptor = Cipher(algorithms.AES(INDEX_KEY[:32]), modes.CBC(iv)).decryptor()
        plain.append(decryptor.update(page[0 if start else SALT_BYTES : -RESERVED_BYTES]))
    return b"".join(plain)


class Studies:
    """An index with studies of one instance each, and what their keys were wrapped as."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shelf = Shelf.sqlcipher(path)
        self.index: Index = self.shelf.index()
        self.ring: KeyRing = self.index._keys
        self.deletion = StudyDeletion(self.index.database.dialect, self.index.registry)
        self.live: set[int] = set()
        self.gone: dict[int, bytes] = {}

    def add(self, number: int) -> None:
        new = instance(
            {STUDY_INSTANCE_UID: [f"1.2.{number}"], PATIENT_ID: [f"P{number % 50}"]}, self.ring.new_data_key()
        )
        assert self.index.add(new, stored_event(new))
        self.live.add(number)

    def wrapped(self, number: int) -> bytes:
        key = self.index.study_key(f"1.2.{number}")
        assert key is not None
        return key.wrapped

    def delete(self, number: int) -> DeletedStudy:
        self.gone[number] = self.wrapped(number)
        self.live.discard(number)
        return self.index.database.write(lambda unit: self.deletion.run(unit, f"1.2.{number}"))

    def rotate(self, master_id: str) -> None:
        statements = Rewrapping(self.index.database.dialect)
        self.index.set_meta(ACTIVE_MASTER, master_id)
        self.ring.activate(master_id)
        after: bytes | None = b""
        while after is not None:
            batch = self.index.database.write(lambda unit, start=after: statements.batch(unit.cursor, self.ring, start))
            after = batch.last
        self.index.database.write(lambda unit: statements.rewrite(unit.cursor))

    def pages(self) -> bytes:
        assert clear_log(self.index.database.backend, 0)
        return plain_pages(self.path)


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[Studies]:
    made = Studies(tmp_path / "index.db")
    with closing(made.shelf):
        yield made


@pytest.mark.parametrize("seed", range(3))
def test_no_page_keeps_a_destroyed_key_whatever_came_and_went_around_it(studies: Studies, seed: int) -> None:
    choose = random.Random(seed)
    for number in range(500):
        studies.add(number)
        if choose.random() < 0.45:
            studies.delete(choose.choice(sorted(studies.live)))
    pages = studies.pages()
    assert len(studies.gone) > 150
    assert [number for number in studies.live if pages.count(studies.wrapped(number)) != 1] == []
    assert [number for number, wrapped in studies.gone.items() if wrapped in pages] == []
    assert [number for number, wrapped in studies.gone.items() if wrapped[12:44] in pages] == []


def test_rotating_to_a_longer_name_leaves_nothing_either(studies: Studies) -> None:
    for number in range(200):
        studies.add(number)
    before = [studies.wrapped(number) for number in studies.live]
    studies.rotate(MASTER_ID + "-with-a-longer-name")
    pages = studies.pages()
    assert [wrapped for wrapped in before if wrapped in pages] == []
    for number in range(0, 200, 2):
        studies.delete(number)
    pages = studies.pages()
    assert [number for number, wrapped in studies.gone.items() if wrapped in pages] == []
    assert all(studies.wrapped(number) in pages for number in studies.live)


def test_the_log_is_emptied_unless_a_reader_still_needs_it(studies: Studies) -> None:
    studies.add(1)
    log = studies.path.with_name(studies.path.name + "-wal")
    reader = studies.shelf.index()
    with reader.database.read() as cursor:
        cursor.execute("SELECT count(*) FROM study").fetchone()
        studies.delete(1)
        assert not clear_log(studies.index.database.backend, 0)
        assert log.stat().st_size > 0
    assert clear_log(studies.index.database.backend, 0)
    assert log.stat().st_size == 0


def test_a_study_that_is_not_there_changes_nothing(studies: Studies) -> None:
    studies.add(1)
    with pytest.raises(NotFound):
        studies.index.database.write(lambda unit: studies.deletion.run(unit, "1.2.2"))
    with studies.index.database.read() as cursor:
        assert studies.index.registry.get_meta(cursor, GENERATION) == ""
        assert cursor.execute("SELECT count(*) FROM destroyed_key").fetchone() == (0,)
    assert studies.index.study_key("1.2.1") is not None
