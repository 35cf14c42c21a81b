"""sharing: who can share what, what link and code open, and how a share ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.opening import DAY_S, OTHER, STUDY, World, world
from strongroom.archive.model import Action
from strongroom.archive.people import Where, digest_of
from strongroom.archive.roles import Role
from strongroom.archive.sharing import MAX_WRONG_CODES, MadeShare, NewShare, principal_of_share, share_number
from strongroom.errors import ConfigError, Denied, NotFound, Throttled, Unauthenticated
from strongroom.people.guessing import CODE
from strongroom.types import Part, Principal, Right, Scope

HERE = Where("192.0.2.1", agent="Firefox")
CT = Scope((Part(modalities=("CT",)),))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "index.db") as found:
        yield found


def make(there: World, study: str = STUDY, name: str = "jdoe", for_s: int = DAY_S) -> MadeShare:
    return there.shares.make(there.who(name), NewShare(study, "a@b.example", "second opinion", for_s))


def wrong(made: MadeShare) -> str:
    return f"{(int(made.code) + 1) % 10**8:08}"


def principal(there: World, secret: str) -> Principal:
    """Who acts in a session that a share has opened."""
    session = there.session(digest_of(secret))
    number = share_number(session.person)
    assert number is not None
    share = there.do(there.shares._table.share, number)
    maker = there.do(there.people.person, share.maker)
    return principal_of_share(session, share, maker, "192.0.2.1")


def test_link_and_code_open_the_one_study_and_nothing_else(there: World) -> None:
    there.add()
    made = make(there)
    entered = there.shares.open(made.link, made.code, HERE)
    guest = principal(there, entered.secret)
    assert guest.user == "share 1"
    assert guest.rights == {Right.FIND, Right.GET}
    assert guest.scope == Scope((Part(studies=(STUDY,)),))
    assert there.session(digest_of(entered.secret)).ends_us <= made.share.expires_us
    first, second = there.events(Action.SHARE)
    assert (first.details["what"], first.details["recipient"], first.principal.user) == ("make", "a@b.example", "jdoe")
    assert (second.details["what"], second.principal.user, second.details["study"]) == ("open", "share 1", STUDY)


def test_neither_link_nor_code_can_be_read_from_the_index(there: World) -> None:
    there.add()
    made = make(there)
    assert re.fullmatch("[0-9]{8}", made.code)
    kept = repr([there.do(there.shares._table.share, 1).digest, there.do(there.shares._table.share, 1).code_mark])
    assert made.link not in kept
    assert made.code not in kept


@pytest.mark.parametrize("link", ["", "x", "A" * 43, "../admin"])
def test_what_is_made_up_is_no_link(there: World, link: str) -> None:
    there.add()
    made = make(there)
    with pytest.raises(NotFound):
        there.shares.open(link, made.code, HERE)


def test_the_code_of_another_share_is_wrong(there: World) -> None:
    there.add()
    one, other = make(there), make(there)
    with pytest.raises(Unauthenticated):
        there.shares.open(one.link, other.code, HERE)
    there.shares.open(one.link, f" {one.code[:4]} {one.code[4:]} ", HERE)


def test_guessing_ends_the_link_for_good_with_an_alert(there: World) -> None:
    there.add()
    made = make(there, for_s=20 * DAY_S)
    for attempt in range(MAX_WRONG_CODES):
        there.now_s += CODE.refill_s
        with pytest.raises(Unauthenticated):
            there.shares.open(made.link, wrong(made), HERE)
        assert bool(there.events(Action.ALERT)) is (attempt == MAX_WRONG_CODES - 1)
    there.now_s += DAY_S
    with pytest.raises(NotFound):
        there.shares.open(made.link, made.code, HERE)
    assert [event.details["reason"] for event in there.announced] == ["share-locked"]


def test_guessing_fast_has_to_wait(there: World) -> None:
    there.add()
    made = make(there)
    for _ in range(CODE.burst):
        with pytest.raises(Unauthenticated):
            there.shares.open(made.link, wrong(made), HERE)
    with pytest.raises(Throttled):
        there.shares.open(made.link, made.code, HERE)
    assert there.do(there.shares._table.share, 1).wrong_codes == CODE.burst


def test_an_end_ends_link_and_sessions_at_once(there: World) -> None:
    who = there.add()
    made = make(there)
    entered = there.shares.open(made.link, made.code, HERE)
    there.shares.revoke(who, 1, of_all=False)
    assert there.session(digest_of(entered.secret)).ended_us
    with pytest.raises(Denied):
        principal(there, entered.secret)
    with pytest.raises(NotFound):
        there.shares.open(made.link, made.code, HERE)
    there.shares.revoke(who, 1, of_all=False)
    assert [event.details["what"] for event in there.events(Action.SHARE)] == ["make", "open", "revoke"]


def test_an_expired_link_opens_nothing(there: World) -> None:
    there.add()
    made = make(there)
    there.now_s += DAY_S
    with pytest.raises(NotFound):
        there.shares.open(made.link, made.code, HERE)


def test_nobody_ends_what_another_shares_but_who_reviews(there: World) -> None:
    there.add()
    make(there)
    there.add("other")
    officer = there.add("officer", Role.SECURITY_OFFICER)
    with pytest.raises(NotFound):
        there.shares.revoke(there.who("other"), 1, of_all=False)
    with pytest.raises(Denied):
        there.shares.revoke(there.who("other"), 1, of_all=True)
    assert there.shares.shares(there.who("other"), of_all=False) == []
    assert [each.number for each in there.shares.shares(officer, of_all=True)] == [1]
    there.shares.revoke(officer, 1, of_all=True)
    assert there.shares.shares(there.who("jdoe"), of_all=False)[0].revoked_by == "officer"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PHYSICIAN])
def test_no_other_role_shares(there: World, role: Role) -> None:
    there.add("somebody", role)
    with pytest.raises(Denied):
        make(there, name="somebody")


def test_nobody_shares_what_he_does_not_see(there: World) -> None:
    there.add(scope=CT)
    for study in (OTHER, "2.25.9"):
        with pytest.raises(NotFound):
            make(there, study)
    assert make(there).share.number == 1


def test_what_is_seen_in_an_emergency_only_is_not_shared(there: World) -> None:
    there.opening(there.add(scope=CT))
    assert there.who("jdoe").emergencies
    with pytest.raises(NotFound):
        make(there, OTHER)


def test_a_share_shrinks_and_ends_with_its_makers_account(there: World) -> None:
    there.add()
    made = make(there)
    entered = there.shares.open(made.link, made.code, HERE)
    there.add(scope=CT)
    assert principal(there, entered.secret).scope == Scope((Part(studies=(STUDY,), modalities=("CT",)),))
    there.add(scope=Scope((Part(studies=(OTHER,)),)))
    with pytest.raises(Denied):
        principal(there, entered.secret)
    there.add(role=Role.VIEWER)
    with pytest.raises(Denied):
        principal(there, entered.secret)
    there.add()
    there.do(there.index.registry.disable_account, "jdoe", 1)
    with pytest.raises(Denied):
        principal(there, entered.secret)
    with pytest.raises(NotFound):
        there.shares.open(made.link, made.code, HERE)


@pytest.mark.parametrize(
    ("recipient", "reason", "for_s"),
    [("", "why", DAY_S), ("x" * 121, "why", DAY_S), ("a\nb", "why", DAY_S), ("a", "", DAY_S), ("a", "b\u202ec", DAY_S),
     ("a", "why", 0), ("a", "why", 31 * DAY_S)],
)  # fmt: skip
def test_a_share_says_for_whom_why_and_how_long(there: World, recipient: str, reason: str, for_s: int) -> None:
    who = there.add()
    with pytest.raises(ConfigError):
        there.shares.make(who, NewShare(STUDY, recipient, reason, for_s))
    assert there.events(Action.SHARE) == []


@pytest.mark.parametrize("name", ["jdoe", "share", "share x", "share -1", "share 1x", "share ٣", "shared 3"])
def test_only_a_share_has_the_name_of_one(name: str) -> None:
    assert share_number(name) is None
