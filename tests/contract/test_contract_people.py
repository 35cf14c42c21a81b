"""What every database must do the same for people, their factors, sessions and links, and for failed attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.instances import Shelf
from strongroom.archive.groups import Group
from strongroom.archive.people import UNCONFIRMED, Factor, Link, Passkey, Session, State
from strongroom.archive.roles import Role
from strongroom.errors import IntegrityError
from strongroom.store.index import Index
from strongroom.store.membership import GroupTable
from strongroom.store.passkeys import PasskeyTable
from strongroom.store.people import PeopleTable
from strongroom.types import NOTHING, Part, Scope

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.interop)
SESSION = Session("d1", "jdoe", State.OPEN, "", "192.0.2.1", "Firefox", 100, 100, 5000)
SCOPE = Scope((Part(modalities=("CT", "MR")),))


@pytest.fixture(params=["sqlcipher", POSTGRESQL])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    is_file = request.param == "sqlcipher"
    shelf = Shelf.at(str(tmp_path / "index.db") if is_file else request.getfixturevalue("new_postgres_url")())
    yield shelf.index("first")
    shelf.close()


@pytest.fixture
def table(index: Index) -> PeopleTable:
    return PeopleTable(index.database.dialect)


@pytest.fixture
def passkeys(index: Index) -> PasskeyTable:
    return PasskeyTable(index.database.dialect)


Do = Callable[..., Any]


@pytest.fixture
def do(index: Index) -> Do:
    """Calls a statement in a transaction of its own."""
    return lambda work, *values: index.database.write(lambda transaction: work(transaction.cursor, *values))


def test_an_account_has_its_roles_and_scope(index: Index, table: PeopleTable, do: Do) -> None:
    do(index.registry.put_account, "jdoe", "hash", "viewer,administrator", 7, SCOPE)
    do(index.registry.put_account, "old", "hash", "reader", 8)
    person = do(table.person, "jdoe")
    assert (person.roles, person.scope) == ((Role.VIEWER, Role.ADMINISTRATOR), SCOPE)
    assert (person.passcode_hash, person.added_us, person.disabled_us) == ("hash", 7, 0)
    assert [(each.name, each.roles, each.scope) for each in do(table.people)][1] == ("old", (), None)
    assert do(table.person, "JDOE") is None
    do(table.set_passcode, "jdoe", "other")
    assert do(table.person, "jdoe") == replace(person, passcode_hash="other")


def test_a_session_is_kept_used_and_ended_once(table: PeopleTable, do: Do) -> None:
    do(table.add_session, SESSION)
    assert do(table.session, "d1") == SESSION
    assert do(table.session, "d2") is None
    do(table.use_session, "d1", 300)
    do(table.use_session, "d1", 200)
    assert do(table.session, "d1").used_us == 300
    assert do(table.end_session, "d1", 400)
    assert not do(table.end_session, "d1", 500)
    assert do(table.session, "d1").ended_us == 400


def test_all_sessions_of_one_person_end_and_nobody_elses(table: PeopleTable, do: Do) -> None:
    for number in range(3):
        do(table.add_session, replace(SESSION, digest=f"d{number}", used_us=100 + number))
    do(table.add_session, replace(SESSION, digest="x", person="other"))
    assert [each.digest for each in do(table.sessions, "jdoe")] == ["d2", "d1", "d0"]
    assert do(table.end_sessions, "jdoe", 400) == 3
    assert do(table.sessions, "jdoe") == []
    assert len(do(table.sessions, "other")) == 1


def test_all_other_sessions_end_and_one_stays(table: PeopleTable, do: Do) -> None:
    for number in range(3):
        do(table.add_session, replace(SESSION, digest=f"d{number}", proved_us=number))
    do(table.add_session, replace(SESSION, digest="x", person="other"))
    assert do(table.end_other_sessions, "jdoe", "d1", 400) == 2
    assert do(table.sessions, "jdoe") == [replace(SESSION, digest="d1", proved_us=1)]
    assert len(do(table.sessions, "other")) == 1


def test_sessions_that_are_long_over_are_forgotten(table: PeopleTable, do: Do) -> None:
    do(table.add_session, SESSION)
    do(table.forget_sessions, SESSION.ends_us)
    assert do(table.session, "d1") is not None
    do(table.forget_sessions, SESSION.ends_us + 1)
    assert do(table.session, "d1") is None


def test_a_factor_takes_the_place_of_one_of_its_kind(table: PeopleTable, do: Do) -> None:
    first = Factor("jdoe", "totp", b"\0sealed", 5, UNCONFIRMED)
    do(table.put_factor, first)
    do(table.put_factor, replace(first, person="other"))
    assert do(table.factors, "jdoe") == {"totp": first}
    second = replace(first, sealed=b"", step=2**40)
    do(table.put_factor, second)
    assert do(table.factors, "jdoe") == {"totp": second}
    do(table.drop_factors, "jdoe")
    assert do(table.factors, "jdoe") == {}
    assert len(do(table.factors, "other")) == 1


def test_a_factor_goes_by_its_kind(table: PeopleTable, do: Do) -> None:
    for kind in ("totp", "totp-offered"):
        do(table.put_factor, Factor("jdoe", kind, b"sealed", 5, UNCONFIRMED))
    assert do(table.drop_factor, "jdoe", "totp")
    assert not do(table.drop_factor, "jdoe", "totp")
    assert set(do(table.factors, "jdoe")) == {"totp-offered"}


PASSKEY = Passkey("Y3JlZA", "jdoe", "Blue key", "pacs.example", b"\0cose", 0, False, 7)


def test_passkeys_are_found_used_and_dropped_by_their_owner(passkeys: PasskeyTable, do: Do) -> None:
    second = replace(PASSKEY, credential="b", added_us=6, is_synced=True)
    for each in (PASSKEY, second, replace(PASSKEY, credential="c", person="other")):
        do(passkeys.add, each)
    assert do(passkeys.find, "Y3JlZA") == PASSKEY
    assert do(passkeys.find, "nobody's") is None
    assert do(passkeys.of_person, "jdoe") == [second, PASSKEY]
    used = replace(PASSKEY, counter=2**32 - 1, is_synced=True, used_us=2**50)
    do(passkeys.use, used)
    assert do(passkeys.find, "Y3JlZA") == used
    assert not do(passkeys.drop, "Y3JlZA", "other")
    assert do(passkeys.drop, "Y3JlZA", "jdoe")
    assert do(passkeys.of_person, "jdoe") == [second]


def test_a_challenge_is_spent_once_until_it_is_over_anyway(passkeys: PasskeyTable, do: Do) -> None:
    assert do(passkeys.spend, "a", 500, 100)
    assert not do(passkeys.spend, "a", 500, 200)
    assert do(passkeys.spend, "b", 900, 501)
    assert do(passkeys.spend, "a", 500, 502)  # nothing of it is kept; its own time is over


def test_a_recovery_code_is_used_once_and_a_new_set_replaces_the_old(passkeys: PasskeyTable, do: Do) -> None:
    do(passkeys.put_recovery_codes, "jdoe", ["a", "b"], 5)
    do(passkeys.put_recovery_codes, "other", ["a"], 5)
    assert do(passkeys.recovery_codes_left, "jdoe") == 2
    assert do(passkeys.use_recovery_code, "jdoe", "a", 6)
    assert not do(passkeys.use_recovery_code, "jdoe", "a", 7)
    assert not do(passkeys.use_recovery_code, "jdoe", "x", 7)
    assert (do(passkeys.recovery_codes_left, "jdoe"), do(passkeys.recovery_codes_left, "other")) == (1, 1)
    do(passkeys.put_recovery_codes, "jdoe", ["c"], 8)
    assert not do(passkeys.use_recovery_code, "jdoe", "b", 9)
    assert do(passkeys.recovery_codes_left, "jdoe") == 1


def test_all_that_somebody_signs_in_with_goes_at_once(table: PeopleTable, passkeys: PasskeyTable, do: Do) -> None:
    for name in ("jdoe", "other"):
        do(table.put_factor, Factor(name, "totp", b"sealed", 5, 1))
        do(passkeys.add, replace(PASSKEY, credential=name, person=name))
        do(passkeys.put_recovery_codes, name, ["a"], 5)
    do(table.drop_factors, "jdoe")
    assert do(table.factors, "jdoe") == {}
    assert (do(passkeys.of_person, "jdoe"), do(passkeys.recovery_codes_left, "jdoe")) == ([], 0)
    assert len(do(passkeys.of_person, "other")) == do(passkeys.recovery_codes_left, "other") == 1


def test_somebody_has_one_link(table: PeopleTable, do: Do) -> None:
    do(table.put_link, Link("l1", "jdoe", 1, 9))
    do(table.put_link, Link("l2", "jdoe", 2, 9))
    assert do(table.link, "l1") is None
    assert do(table.link, "l2") == Link("l2", "jdoe", 2, 9)
    do(table.use_link, "l2", 3)
    assert do(table.link, "l2").used_us == 3
    do(table.drop_links, "jdoe")
    assert do(table.link, "l2") is None


def test_attempts_are_counted_until_they_are_forgiven(table: PeopleTable, do: Do) -> None:
    assert do(table.forgiven_us, "b") == 0
    do(table.put_attempt, "b", 500, 100)
    do(table.put_attempt, "b", 900, 200)
    do(table.put_attempt, "c", 2000, 300)
    assert (do(table.forgiven_us, "b"), do(table.forgiven_us, "c")) == (900, 2000)
    do(table.put_attempt, "d", 3000, 901)
    assert do(table.forgiven_us, "b") == 0


def test_somebody_has_the_groups_that_he_is_in(index: Index, table: PeopleTable, do: Do) -> None:
    groups = GroupTable(index.database.dialect)
    for name in ("jdoe", "roe"):
        do(index.registry.put_account, name, "hash", "viewer", 7, NOTHING)
    nord, ward = Group("Nord", SCOPE, 1), Group("Ärzte", Scope((Part(studies=("1.2",)),)), 2)
    for each in (ward, nord):
        do(groups.add, each)
        do(groups.join, each.name, "jdoe")
    do(groups.join, "Nord", "roe")
    assert do(groups.groups) == [nord, ward]
    assert do(groups.members, "Nord") == ["jdoe", "roe"]
    assert do(table.person, "jdoe").groups == (nord, ward)
    assert {each.name: each.groups for each in do(table.people)} == {"jdoe": (nord, ward), "roe": (nord,)}
    do(groups.set_scope, "Nord", ward.scope)
    assert do(table.person, "roe").scope == ward.scope
    assert do(groups.leave, "Nord", "roe") is True
    assert do(groups.leave, "Nord", "roe") is False
    assert do(table.person, "roe").scope == NOTHING
    do(groups.remove, "Nord")
    assert do(table.person, "jdoe").groups == (ward,)
    assert do(groups.group, "Nord") is None


def test_a_group_that_limits_nothing_is_not_believed(index: Index, table: PeopleTable, do: Do) -> None:
    """What stands in a table that nobody of ours wrote opens no door."""
    groups = GroupTable(index.database.dialect)
    do(groups.add, Group("Nord", SCOPE, 1))
    do(groups.join, "Nord", "jdoe")
    do(index.registry.put_account, "jdoe", "hash", "viewer", 7, NOTHING)
    do(groups.set_scope, "Nord", None)
    with pytest.raises(IntegrityError):
        do(table.person, "jdoe")
