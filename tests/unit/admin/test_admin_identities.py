"""Accounts of people whom an identity provider vouches for, as an operator sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives
from strongroom.admin import groups, identities, users
from strongroom.app import Archive
from strongroom.archive.access import parse_scope
from strongroom.archive.federation import Granted, Identity
from strongroom.archive.model import Action, Event
from strongroom.archive.people import State, Where, digest_of
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, NotFound, Unauthenticated
from strongroom.people.provided import Provided
from strongroom.people.sealing import people_key
from strongroom.people.steps import SessionRules, SignInPorts, Steps
from strongroom.store.people import PeopleTable

ISSUER = "https://login.example"
WHERE = Where("127.0.0.1")
SECTION = {"name": "hospital", "label": "St. Elsewhere", "issuer": ISSUER, "client_id": "x", "make_accounts": False}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    home = archives.new_home(tmp_path / "home", {"oidc": [SECTION]})
    with archives.opened(home) as opened:
        yield opened


@pytest.fixture
def provided(archive: Archive) -> Provided:
    said: list[Event] = []
    key = people_key(archive.ring, archive.secrets)
    ports = SignInPorts(archive.index.database, key, lambda: 1_800_000_000.0, said.append, said.append)
    rules = SessionRules(1_800_000_000, 43_200_000_000, "STRONGROOM")
    return Provided(Steps(ports, rules), archive.index.registry, 600)


def somebody(subject: str, *roles: Role, may_be_new: bool = True) -> Identity:
    granted = Granted(roles, why="" if roles else "no-role")
    return Identity("hospital", ISSUER, subject, "jdoe", granted, is_multifactor=False, may_be_new=may_be_new)


def test_a_linked_account_is_the_operators(archive: Archive, provided: Provided) -> None:
    users.add(archive, "jdoe", "correct horse battery", Role.AUDITOR)
    with pytest.raises(Unauthenticated, match="no-account"):
        provided.enter(somebody("s-1", Role.PHYSICIAN, may_be_new=False), WHERE)
    identities.link(archive, "jdoe", "hospital", "s-1")
    entered = provided.enter(somebody("s-1", Role.ADMINISTRATOR, may_be_new=False), WHERE)
    assert (entered.person, entered.state) == ("jdoe", State.OPEN)
    assert [each.role for each in users.users(archive)] == ["auditor"]
    identities.unlink(archive, "jdoe")
    with pytest.raises(Unauthenticated, match="no-account"):
        provided.enter(somebody("s-1", Role.PHYSICIAN, may_be_new=False), WHERE)
    with pytest.raises(NotFound):
        identities.unlink(archive, "jdoe")
    said = [each.details["what"] for each in archives.trail_events(archive) if each.action is Action.USER_CHANGE]
    assert said[-2:] == ["linked", "unlinked"]


def test_what_cannot_be_linked_is_not(archive: Archive, provided: Provided) -> None:
    users.add(archive, "jdoe", "correct horse battery", Role.AUDITOR)
    made = provided.enter(somebody("s-1", Role.VIEWER), WHERE).person
    for name, provider, subject, error in (
        ("jdoe", "clinic", "s-2", ConfigError),
        ("jdoe", "hospital", "", ConfigError),
        ("jdoe", "hospital", "s-1", ConfigError),
        (made, "hospital", "s-2", ConfigError),
        ("nobody", "hospital", "s-2", NotFound),
    ):
        with pytest.raises(error):
            identities.link(archive, name, provider, subject)
    with pytest.raises(ConfigError):
        identities.unlink(archive, made)


def test_an_account_of_a_provider_never_has_a_passcode_or_a_link(archive: Archive, provided: Provided) -> None:
    entered = provided.enter(somebody("s-1", Role.ADMINISTRATOR), WHERE)
    assert (entered.person, entered.state) == ("hospital:jdoe", State.SETUP)
    assert users.reset(archive, "hospital:jdoe") == users.NewLink("hospital:jdoe", "/sign-in", 0)
    assert users.first_link(archive) is None, "there is an administrator"
    for change in (users.invite, lambda *given: users.add(*given[:2], "correct horse battery", *given[2:])):
        with pytest.raises(ConfigError):
            change(archive, "hospital:jdoe", Role.VIEWER)
    users.disable(archive, "hospital:jdoe")
    with pytest.raises(Unauthenticated, match="user-disabled"):
        provided.enter(somebody("s-1", Role.VIEWER), WHERE)
    [person] = [each for each in users.users(archive) if each.name == "hospital:jdoe"]
    assert person.disabled_us
    assert users.first_link(archive) is not None, "there is none any more"


def test_whoever_has_no_role_any_more_has_none_here(archive: Archive, provided: Provided) -> None:
    provided.enter(somebody("s-1", Role.VIEWER), WHERE)
    with pytest.raises(Unauthenticated, match="no-role"):
        provided.enter(somebody("s-1"), WHERE)
    [person] = [each for each in users.users(archive) if each.name == "hospital:jdoe"]
    assert person.roles == ()
    with pytest.raises(Unauthenticated, match="no-role"):
        provided.enter(somebody("s-2"), WHERE)
    assert len(users.users(archive)) == 1


def test_a_state_is_good_once(provided: Provided) -> None:
    provided.take("a state", WHERE)
    with pytest.raises(Unauthenticated, match="response-replayed"):
        provided.take("a state", WHERE)
    provided.take("another", WHERE)


def test_what_is_sealed_opens_here_and_unchanged_alone(provided: Provided) -> None:
    sealed = provided.seal(b"a flow")
    assert provided.open(sealed) == b"a flow"
    assert sealed != provided.seal(b"a flow")
    for other in ("", "A", sealed[:-4], sealed.swapcase(), "é", "A" * 200):
        assert provided.open(other) is None


def test_a_session_from_before_somebody_was_made_administrator_is_none_of_an_administrator(
    archive: Archive, provided: Provided
) -> None:
    """It was opened without a second factor, which who administers cannot do without."""
    table = PeopleTable(archive.backend.dialect)
    before = provided.enter(somebody("s-1", Role.VIEWER), WHERE)
    assert before.state is State.OPEN
    assert provided.enter(somebody("s-1", Role.VIEWER), WHERE).state is State.OPEN
    with archive.index.database.reading() as cursor:
        session = table.session(cursor, digest_of(before.secret))
        assert session is not None
        assert not session.ended_us, "nothing has changed by then"
    assert provided.enter(somebody("s-1", Role.VIEWER, Role.ADMINISTRATOR), WHERE).state is State.SETUP
    with archive.index.database.reading() as cursor:
        session = table.session(cursor, digest_of(before.secret))
        assert session is not None
        assert session.ended_us


def test_a_group_makes_no_change_of_what_the_provider_grants(archive: Archive, provided: Provided) -> None:
    scope = parse_scope(["modality=CT"])
    granted = Granted((Role.VIEWER,), scope)
    identity = Identity("hospital", ISSUER, "s-1", "jdoe", granted, is_multifactor=False, may_be_new=True)
    provided.enter(identity, WHERE)
    groups.add(archive, "Heart", parse_scope(["modality=US"]))
    groups.join(archive, "Heart", ["hospital:jdoe"])
    provided.enter(identity, WHERE)
    said = [event.details["what"] for event in archives.trail_events(archive) if event.action is Action.USER_CHANGE]
    assert said == ["added at the first sign-in"]
