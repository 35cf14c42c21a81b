"""What every database must do the same for people of identity providers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.instances import Shelf
from strongroom.archive.access import parse_scope
from strongroom.archive.roles import Role
from strongroom.store.identities import IdentityTable
from strongroom.store.index import Index
from strongroom.store.people import PeopleTable

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
ISSUER, OTHER = "https://a.example", "https://b.example"


@pytest.fixture(params=["sqlcipher", POSTGRESQL])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    is_file = request.param == "sqlcipher"
    shelf = Shelf.at(str(tmp_path / "index.db") if is_file else request.getfixturevalue("new_postgres_url")())
    yield shelf.index("first")
    shelf.close()


def test_somebody_is_issuer_and_subject(index: Index) -> None:
    table = IdentityTable(index.database.dialect)

    def do(work: Any, *values: Any) -> Any:
        return index.database.write(lambda transaction: work(transaction.cursor, *values))

    do(table.add, ISSUER, "s-1", "a:jdoe", 7)
    do(table.add, OTHER, "s-1", "b:jdoe", 8)
    assert do(table.find, ISSUER, "s-1") == "a:jdoe"
    assert do(table.find, OTHER, "s-1") == "b:jdoe"
    assert [do(table.find, ISSUER, each) for each in ("S-1", "s-1 ", "s-2", "")] == [""] * 4
    assert do(table.drop, "a:jdoe")
    assert not do(table.drop, "a:jdoe")
    assert do(table.find, ISSUER, "s-1") == ""
    assert do(table.find, OTHER, "s-1") == "b:jdoe"


def test_another_role_leaves_the_rest_of_an_account(index: Index) -> None:
    table, people = IdentityTable(index.database.dialect), PeopleTable(index.database.dialect)
    scope = parse_scope(["modality=CT"])

    def work(transaction: Any) -> Any:
        cursor = transaction.cursor
        index.registry.put_account(cursor, "a:jdoe", "hash", "viewer", 7, None)
        index.registry.disable_account(cursor, "a:jdoe", 9)
        table.change(cursor, "a:jdoe", (Role.AUDITOR,), scope)
        return people.person(cursor, "a:jdoe")

    person = index.database.write(work)
    assert (person.roles, person.scope) == ((Role.AUDITOR,), scope)
    assert (person.passcode_hash, person.added_us, person.disabled_us) == ("hash", 7, 9)
