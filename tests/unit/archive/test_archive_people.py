"""people: when a session goes on, and who acts in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.archive.people import (
    MAX_AGENT_CHARS,
    Link,
    Person,
    Session,
    State,
    digest_of,
    is_secret,
    new_secret,
    parse_person_name,
    principal_of,
    require_alive,
    shown_agent,
)
from strongroom.archive.roles import Role, rights_of
from strongroom.errors import ConfigError, Denied
from strongroom.types import Part, Scope

IDLE_US = 1000
SESSION = Session("d" * 64, "jdoe", State.OPEN, "", "192.0.2.1", "", 100, 200, 5000)
PERSON = Person("jdoe", "hash", (Role.VIEWER,), Scope((Part(modalities=("CT",)),)), 1, 0)


def refusal(session: Session | None, now_us: int = 300, bound: str = "") -> str:
    with pytest.raises(Denied) as refused:
        require_alive(session, now_us, IDLE_US, bound)
    return refused.value.reason


def test_a_session_goes_on_until_it_is_idle_too_old_or_ended() -> None:
    assert require_alive(SESSION, 1199, IDLE_US, "") is SESSION
    assert refusal(SESSION, 1200) == "session-ended"
    assert refusal(replace(SESSION, used_us=4900), 5000) == "session-ended"
    assert refusal(replace(SESSION, ended_us=250)) == "session-ended"
    assert refusal(None) == "unknown-session"


def test_a_session_that_began_with_a_certificate_goes_on_with_no_other() -> None:
    bound = replace(SESSION, bound="f1")
    assert require_alive(bound, 300, IDLE_US, "f1") is bound
    assert refusal(bound, bound="f2") == refusal(bound, bound="") == "session-of-another"
    assert require_alive(SESSION, 300, IDLE_US, "f1") is SESSION


def test_who_acts_has_the_rights_of_his_roles_and_his_scope() -> None:
    found = principal_of(SESSION, PERSON, "192.0.2.9")
    assert (found.user, found.via, found.address) == ("jdoe", "session", "192.0.2.9")
    assert (found.rights, found.scope) == (rights_of([Role.VIEWER]), PERSON.scope)
    assert found.fingerprint == SESSION.digest


@pytest.mark.parametrize("state", [State.FACTOR, State.SETUP])
def test_half_a_sign_in_is_nobody(state: State) -> None:
    with pytest.raises(Denied, match="second-factor-missing"):
        principal_of(replace(SESSION, state=state), PERSON, "")


@pytest.mark.parametrize("person", [None, replace(PERSON, disabled_us=5)])
def test_an_account_that_is_gone_or_disabled_is_nobody(person: Person | None) -> None:
    with pytest.raises(Denied, match="user-disabled"):
        principal_of(SESSION, person, "")


def test_a_secret_is_recognised_and_only_its_digest_is_kept() -> None:
    secret = new_secret(bytes(range(32)))
    assert is_secret(secret)
    assert not is_secret(secret + "A")
    assert not is_secret(secret[:-1] + "=")
    assert digest_of(secret) != digest_of(new_secret(bytes(32)))
    assert secret not in repr(SESSION)


def test_a_link_is_good_once_and_for_a_while() -> None:
    link = Link("d", "jdoe", 0, 100)
    assert link.is_good(99)
    assert not link.is_good(100)
    assert not replace(link, used_us=1).is_good(50)


def test_what_a_browser_calls_itself_is_kept_short_and_printable() -> None:
    assert shown_agent("Fire\x00fox\n\u202e" + "x" * 500) == ("Firefox" + "x" * 500)[:MAX_AGENT_CHARS]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "ä", "x" * 65, "a/b"])
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="user name"):
        parse_person_name(name)


def test_who_needs_a_second_factor() -> None:
    assert not PERSON.needs_second_factor
    assert replace(PERSON, roles=(Role.VIEWER, Role.ADMINISTRATOR)).needs_second_factor
