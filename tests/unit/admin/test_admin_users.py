"""Accounts: what a name and a passcode may be, and that only a hash is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.archives import opened, trail_events
from strongroom.admin.users import add, disable, new_passcode, users
from strongroom.app import Archive
from strongroom.archive.model import Action
from strongroom.archive.passcodes import MAX_CHARS, MIN_CHARS, check_passcode
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, NotFound
from strongroom.store.accounts import Accounts
from strongroom.store.registry import REGISTRY_VERSION

PASSCODE = "correct horse battery"


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        yield found


def verifies(archive: Archive, name: str, passcode: str) -> bool:
    def find(wanted: str) -> tuple[str, bool] | None:
        with archive.index.database.read() as cursor:
            for known, hashed, _, _, disabled_us in archive.index.registry.accounts(cursor):
                if known == wanted:
                    return hashed, not disabled_us
        return None

    return Accounts(find).verify(name, passcode.encode())


def version(archive: Archive) -> str:
    with archive.index.database.read() as cursor:
        return archive.index.registry.get_meta(cursor, REGISTRY_VERSION)


def test_an_account_opens_with_its_passcode_only(archive: Archive) -> None:
    assert add(archive, "jdoe", PASSCODE, Role.PHYSICIAN)
    assert verifies(archive, "jdoe", PASSCODE)
    assert not verifies(archive, "jdoe", PASSCODE + "x")
    assert not verifies(archive, "other", PASSCODE)
    (user,) = users(archive)
    assert (user.name, user.role, user.disabled_us) == ("jdoe", "physician", 0)


def test_added_again_it_has_a_new_passcode_and_is_enabled(archive: Archive) -> None:
    add(archive, "jdoe", PASSCODE, Role.VIEWER)
    disable(archive, "jdoe")
    assert not verifies(archive, "jdoe", PASSCODE)
    assert not add(archive, "jdoe", PASSCODE * 2, Role.AUDITOR)
    assert verifies(archive, "jdoe", PASSCODE * 2)
    assert not verifies(archive, "jdoe", PASSCODE)
    assert [(user.role, user.disabled_us) for user in users(archive)] == [("auditor", 0)]


def test_a_running_server_hears_of_every_change(archive: Archive) -> None:
    seen = {version(archive)}
    add(archive, "jdoe", PASSCODE, Role.VIEWER)
    seen.add(version(archive))
    disable(archive, "jdoe")
    seen.add(version(archive))
    assert len(seen) == 3


def test_the_trail_knows_the_change_and_not_the_passcode(archive: Archive) -> None:
    add(archive, "jdoe", PASSCODE, Role.VIEWER)
    add(archive, "jdoe", PASSCODE, Role.AUDITOR)
    disable(archive, "jdoe")
    events = [event.details for event in trail_events(archive) if event.action is Action.USER_CHANGE]
    assert [(each["what"], each["user"], each["role"]) for each in events] == [
        ("add", "jdoe", "viewer"),
        ("change", "jdoe", "auditor"),
        ("disable", "jdoe", "auditor"),
    ]
    assert PASSCODE not in repr(trail_events(archive))
    assert "argon2" not in repr(trail_events(archive))


def test_who_is_not_there_cannot_be_disabled(archive: Archive) -> None:
    before = version(archive)
    with pytest.raises(NotFound):
        disable(archive, "nobody")
    assert version(archive) == before


@pytest.mark.parametrize("name", ["", " jdoe", "-x", "a b", "a\n", "ä", "x" * 65, "a/b", "a\0"])
def test_a_name_is_plain(archive: Archive, name: str) -> None:
    with pytest.raises(ConfigError, match="user name"):
        add(archive, name, PASSCODE, Role.VIEWER)
    assert users(archive) == []


@pytest.mark.parametrize("length", [0, MIN_CHARS - 1, MAX_CHARS + 1])
def test_a_passcode_has_a_length(archive: Archive, length: int) -> None:
    with pytest.raises(ConfigError, match="characters"):
        add(archive, "jdoe", "x" * length, Role.VIEWER)


def test_a_random_passcode_is_good_and_another_each_time() -> None:
    made = {new_passcode() for _ in range(100)}
    assert len(made) == 100
    assert {check_passcode(passcode) for passcode in made} == {""}
