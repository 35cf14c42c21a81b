"""Access tokens: what is kept of them, what a change says in the trail, and that it holds in every process at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.archives import opened, trail_events
from strongroom.admin.tokens import DEFAULT_DAYS, MAX_DAYS, NewToken, add, revoke, tokens
from strongroom.app import Archive
from strongroom.archive.model import Action
from strongroom.archive.tokens import (
    PREFIX,
    Token,
    bearer,
    digest_of,
    is_secret,
    new_secret,
    parse_token_rights,
    rights_in_words,
)
from strongroom.config import Home
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.tokens import TokenTable
from strongroom.types import Part, Principal, Right, Scope

READER = frozenset({Right.FIND, Right.GET})
DAY_US = 86_400_000_000


@pytest.fixture
def home(archive_home) -> Home:
    return archive_home()


@pytest.fixture
def archive(home: Home) -> Iterator[Archive]:
    with opened(home) as found:
        yield found


def look_up(archive: Archive, secret: str) -> Token | None:
    with archive.index.database.read() as cursor:
        return TokenTable(archive.backend.dialect).find(cursor, digest_of(secret))


def who(archive: Archive, secret: str, days_later: int = 0) -> Principal:
    found = look_up(archive, secret)
    now_us = (found.added_us if found else 0) + days_later * DAY_US
    return bearer(found, now_us, "10.0.0.7")


def test_a_token_is_256_random_bits_behind_a_prefix_to_look_for(archive: Archive) -> None:
    _, secret = add(archive, NewToken("viewer", READER))
    assert re.fullmatch("strongroom_[A-Za-z0-9_-]{43}", secret)
    _, other = add(archive, NewToken("other", READER))
    assert secret != other
    assert new_secret(bytes(31) + b"\1") != new_secret(bytes(32))


def test_only_its_hash_is_kept(archive: Archive) -> None:
    token, secret = add(archive, NewToken("viewer", READER))
    assert token.digest == digest_of(secret)
    with archive.index.database.read() as cursor:
        rows = cursor.execute("SELECT * FROM token").fetchall()
        everything = repr(rows) + repr([bytes(row[0]) for row in cursor.execute("SELECT record FROM trail_record")])
    assert token.digest in everything
    assert secret.removeprefix(PREFIX) not in everything


def test_the_bearer_has_its_rights_and_its_scope(archive: Archive) -> None:
    token, secret = add(archive, NewToken("viewer", READER, scope=["patient=123", "modality=CT"]))
    scope = Scope((Part(patients=(("123", None),), modalities=("CT",)),))
    assert who(archive, secret) == Principal("viewer", token.digest, "", "10.0.0.7", READER, scope, "token")
    assert tokens(archive) == [token]


def test_a_token_ends_by_itself(archive: Archive) -> None:
    _, secret = add(archive, NewToken("viewer", READER))
    _, longest = add(archive, NewToken("longest", READER, days=MAX_DAYS))
    assert who(archive, secret, DEFAULT_DAYS - 1).aet == "viewer"
    assert who(archive, longest, MAX_DAYS - 1).aet == "longest"
    for each, days in ((secret, DEFAULT_DAYS), (longest, MAX_DAYS)):
        with pytest.raises(Denied, match="token-expired"):
            who(archive, each, days)


def test_a_revocation_holds_at_once_in_every_process(archive: Archive, home: Home) -> None:
    _, secret = add(archive, NewToken("viewer", READER))
    with opened(home, "another") as other:
        assert who(other, secret).aet == "viewer"
        revoke(archive, "viewer")
        with pytest.raises(Denied, match="token-revoked"):
            who(other, secret)


def test_a_revoked_token_stays_listed_and_when_stays_when(archive: Archive) -> None:
    add(archive, NewToken("viewer", READER))
    first = revoke(archive, "viewer")
    assert revoke(archive, "viewer") == first
    assert tokens(archive) == [first]


def test_a_name_is_free_again_once_its_token_is_no_good(archive: Archive) -> None:
    _, old = add(archive, NewToken("viewer", READER))
    with pytest.raises(ConfigError):
        add(archive, NewToken("viewer", READER))
    revoke(archive, "viewer")
    _, new = add(archive, NewToken("viewer", READER))
    assert who(archive, new).aet == "viewer"
    assert look_up(archive, old) is None


@pytest.mark.parametrize(
    "change",
    [
        {"days": 0},
        {"days": MAX_DAYS + 1},
        {"days": -1},
        {"name": ""},
        {"name": "a b"},
        {"name": "-a"},
        {"name": "a" * 65},
        {"name": "a\n"},
        {"scope": ["ward=7"]},
        {"scope": ["patient=*"]},
    ],
)
def test_what_a_token_cannot_be(archive: Archive, change: dict) -> None:
    with pytest.raises(ConfigError):
        add(archive, replace(NewToken("viewer", READER), **change))
    assert tokens(archive) == []


def test_an_unknown_name_is_not_revoked(archive: Archive) -> None:
    with pytest.raises(NotFound):
        revoke(archive, "viewer")


def test_each_change_is_in_the_trail_without_a_patient(archive: Archive) -> None:
    token, _ = add(archive, NewToken("viewer", READER, scope=["patient=MRN-7", "date=20240101-"]))
    revoke(archive, "viewer")
    events = [event for event in trail_events(archive) if event.action is Action.TOKEN_CHANGE]
    assert [event.details["what"] for event in events] == ["add", "revoke"]
    for event in events:
        assert event.principal.aet == "strongroom"
        assert event.details["token"] == "viewer"
        assert event.details["sha256"] == token.digest
        assert event.details["rights"] == ("search", "read")
        assert event.details["scope"] == ("patients=1", "date=20240101-")
    assert "MRN-7" not in repr(events)


@pytest.mark.parametrize("text", ["", ",", "find", "get", "search,move", "all", "SEARCH"])
def test_rights_are_in_words_of_their_own(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_token_rights(text)


def test_every_right_has_one_word() -> None:
    rights = parse_token_rights(" delete, store,read,search ")
    assert rights == {Right.FIND, Right.GET, Right.STORE, Right.DELETE}
    assert rights_in_words(rights) == ("search", "read", "store", "delete")


@pytest.mark.parametrize("text", ["", "strongroom_", "strongroom_" + "A" * 42, "strongroom_" + "é" * 43, "A" * 43])
def test_what_does_not_look_like_a_token(text: str) -> None:
    assert not is_secret(text)
