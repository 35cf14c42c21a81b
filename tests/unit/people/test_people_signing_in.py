"""signing_in: who gets in with what, what is counted against guessing, and that nobody can lock out anybody else."""

from __future__ import annotations

from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.instances import Shelf
from harness.signing_in import ELSEWHERE, HERE, PASSCODE, RULES, World
from strongroom.archive.model import Action
from strongroom.archive.people import State, Where
from strongroom.archive.roles import Role
from strongroom.archive.totp import STEP_S
from strongroom.errors import ConfigError, Denied, NotFound, ProofNeeded, Throttled, Unauthenticated
from strongroom.people.guessing import ACCOUNT, ACCOUNT_FROM_ADDRESS, ADDRESS, CODE, KNOWN_DEVICE
from strongroom.people.steps import STEP_US
from strongroom.types import Principal


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    shelf = Shelf.at(str(tmp_path / "index.db"))
    yield World(shelf.index("first"))
    shelf.close()


# --- the way in


def test_a_viewer_gets_in_with_a_passcode(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    assert entered.state is State.OPEN
    assert world.principal(entered).user == "jdoe"
    (event,) = world.events(Action.SIGN_IN)
    assert (event.details["user"], event.details["shown"], event.principal.address) == (
        "jdoe",
        ("passcode",),
        "192.0.2.1",
    )


@pytest.mark.parametrize(
    ("name", "passcode"),
    [
        ("jdoe", PASSCODE + "x"),
        ("jdoe", ""),
        ("JDOE", PASSCODE),
        ("nobody", PASSCODE),
        ("", ""),
        ("invited", ""),
        ("off", PASSCODE),
    ],
)
def test_nobody_else_does_and_all_are_told_the_same(world: World, name: str, passcode: str) -> None:
    world.add()
    world.add("invited", hashed="")
    world.add("off")
    world.do(world.index.registry.disable_account, "off", 5)
    with pytest.raises(Unauthenticated) as refused:
        world.sign_in.begin(name, passcode, HERE)
    assert refused.value.reason == "user-or-passcode-wrong"
    assert world.events(Action.SIGN_IN) == []
    assert [event.details["reason"] for event in world.refused] == ["user-or-passcode-wrong"]


def test_what_was_typed_as_a_name_is_in_no_record_unless_it_is_one(world: World) -> None:
    world.add()
    for name in ("hunter2 is my passcode", "jdoe"):
        with pytest.raises(Unauthenticated):
            world.sign_in.begin(name, "wrong wrong wrong", HERE)
    assert [event.details.get("user") for event in world.refused] == [None, "jdoe"]
    assert "hunter2" not in repr(world.refused)


def test_an_administrator_without_a_second_factor_can_do_nothing_but_set_one_up(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR, Role.VIEWER)
    entered = world.sign_in.begin("root", PASSCODE, HERE)
    assert entered.state is State.SETUP
    with pytest.raises(Denied, match="second-factor-missing"):
        world.principal(entered)
    world.totp(entered)
    assert world.principal(world.entered).user == "root"
    assert len(world.events(Action.FACTOR_CHANGE)) == 1


def test_with_a_second_factor_the_passcode_alone_opens_nothing(world: World) -> None:
    world.add()
    secret = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    assert half.state is State.FACTOR
    with pytest.raises(Denied, match="second-factor-missing"):
        world.principal(half)
    with pytest.raises(Unauthenticated):
        world.sign_in.offer_totp(half.secret, HERE)
    whole = world.sign_in.complete(half.secret, world.code(secret), HERE)
    assert world.principal(whole).user == "jdoe"


def test_each_step_begins_another_session_and_ends_the_one_before(world: World) -> None:
    world.add()
    secret = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    whole = world.sign_in.complete(half.secret, world.code(secret), HERE)
    assert half.secret != whole.secret
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.sign_in.whoever(half.secret, HERE)


def test_a_code_is_good_once(world: World) -> None:
    world.add()
    secret = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    halves = [world.sign_in.begin("jdoe", PASSCODE, HERE) for _ in range(2)]
    code = world.code(secret)
    world.sign_in.complete(halves[0].secret, code, HERE)
    with pytest.raises(Unauthenticated, match="code-wrong"):
        world.sign_in.complete(halves[1].secret, code, HERE)


def test_the_code_that_set_a_factor_up_opens_nothing(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    secret = world.totp(entered)
    world.now_s -= 2 * STEP_S
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated, match="code-wrong"):
        world.sign_in.complete(half.secret, world.code(secret), HERE)


def test_a_factor_that_was_only_offered_is_none(world: World) -> None:
    world.add()
    world.sign_in.offer_totp(world.sign_in.begin("jdoe", PASSCODE, HERE).secret, HERE)
    assert world.sign_in.begin("jdoe", PASSCODE, HERE).state is State.OPEN


def test_a_second_factor_is_not_set_up_or_replaced_by_who_found_a_session_open(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    offered = world.sign_in.offer_totp(entered.secret, HERE)
    world.now_s += RULES.proof_max_age_us / 1e6
    for use in (
        lambda: world.sign_in.offer_totp(entered.secret, HERE),
        lambda: world.sign_in.confirm_totp(entered.secret, world.code(b32decode(offered.secret)), HERE),
    ):
        with pytest.raises(ProofNeeded):
            use()


def test_a_second_factor_is_good_until_another_one_takes_its_place(world: World) -> None:
    world.add()
    first = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    world.sign_in.offer_totp(world.entered.secret, HERE)
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    entered = world.sign_in.complete(half.secret, world.code(first), HERE)
    second = world.totp(entered)
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated):
        world.sign_in.complete(half.secret, world.code(first), HERE)
    assert world.sign_in.complete(half.secret, world.code(second), HERE).state is State.OPEN
    assert [event.details["what"] for event in world.events(Action.FACTOR_CHANGE)] == ["add", "replace"]


def test_nobody_learns_the_secret_of_an_app_that_is_set_up_in_another_session(world: World) -> None:
    """Who knows a passcode opens the page first, keeps what it shows, and waits for the owner to set the same up."""
    world.add("root", Role.ADMINISTRATOR)
    thief = world.sign_in.begin("root", PASSCODE, ELSEWHERE)
    known = world.sign_in.offer_totp(thief.secret, ELSEWHERE).secret
    owner = world.sign_in.begin("root", PASSCODE, HERE)
    offered = world.sign_in.offer_totp(owner.secret, HERE).secret
    assert offered != known
    assert world.sign_in.offer_totp(owner.secret, HERE).secret == offered, "the same when the page is loaded again"
    for secret, session, where in ((known, thief, ELSEWHERE), (known, owner, HERE), (offered, thief, ELSEWHERE)):
        with pytest.raises(Unauthenticated, match="code-wrong"):
            world.sign_in.confirm_totp(session.secret, world.code(b32decode(secret)), where)
    assert world.sign_in.confirm_totp(owner.secret, world.code(b32decode(offered)), HERE).state is State.OPEN


def test_a_session_that_ends_while_an_app_is_confirmed_in_it_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    code = world.code(b32decode(world.sign_in.offer_totp(entered.secret, HERE).secret))
    monkeypatch.setattr(world.steps, "require_allowance", lambda *_: world.end_sessions())
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.sign_in.confirm_totp(entered.secret, code, HERE)
    assert not world.sign_in.ways("jdoe").totp
    assert world.events(Action.FACTOR_CHANGE) == []


def test_who_has_the_passcode_and_goes_no_further_is_in_the_trail(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    world.sign_in.begin("root", PASSCODE, ELSEWHERE)
    (event,) = world.events(Action.AUTHENTICATION)
    assert (event.principal.user, event.principal.address) == ("root", ELSEWHERE.address)
    assert (event.details["shown"], event.details["next"]) == (("passcode",), "setup")


# --- proving once more who one is


def test_a_proof_is_fresh_for_a_while_and_gives_the_session_another_secret(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    before, _ = world.sign_in.whoever(entered.secret, HERE)
    world.now_s += 1000
    again = world.sign_in.prove(entered.secret, PASSCODE, "", HERE)
    after, _ = world.sign_in.whoever(again.secret, HERE)
    assert (after.created_us, after.ends_us) == (before.created_us, before.ends_us)
    assert after.proved_us == int(world.now_s * 1e6) > before.proved_us
    with pytest.raises(Unauthenticated, match="session-ended"):  # whoever had stolen it
        world.sign_in.whoever(entered.secret, HERE)
    (event,) = world.events(Action.PROOF)
    assert (event.details["shown"], event.details["before"]) == (("passcode",), before.number)


def test_who_has_a_second_factor_proves_with_both(world: World) -> None:
    world.add()
    secret = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    for passcode, code in (
        (PASSCODE, ""), (PASSCODE, "000000"), ("wrong wrong wrong", world.code(secret)), ("", world.code(secret)),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            world.sign_in.prove(world.entered.secret, passcode, code, HERE)
    assert world.sign_in.prove(world.entered.secret, PASSCODE, world.code(secret), HERE).state is State.OPEN


def test_only_who_is_in_proves_anything(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    entered = world.sign_in.begin("root", PASSCODE, HERE)
    with pytest.raises(Unauthenticated):
        world.sign_in.prove(entered.secret, PASSCODE, "", HERE)


def test_who_found_a_session_open_has_few_guesses_at_the_passcode(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    for _ in range(ACCOUNT_FROM_ADDRESS.burst):
        with pytest.raises(Unauthenticated):
            world.sign_in.prove(entered.secret, "wrong wrong wrong", "", ELSEWHERE)
    with pytest.raises(Throttled):
        world.sign_in.prove(entered.secret, PASSCODE, "", ELSEWHERE)


def test_setting_up_a_factor_ends_all_other_sessions(world: World) -> None:
    world.add()
    other = world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)
    world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.sign_in.whoever(other.secret, ELSEWHERE)


def test_half_a_sign_in_does_not_wait_for_long(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    entered = world.sign_in.begin("root", PASSCODE, HERE)
    world.now_s += STEP_US / 1e6
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.sign_in.whoever(entered.secret, HERE)


# --- links


def test_a_link_is_good_once_and_sets_the_passcode(world: World) -> None:
    world.add(hashed="")
    secret = world.link()
    assert world.sign_in.invited(secret) == "jdoe"
    assert world.sign_in.redeem(secret, PASSCODE, HERE).state is State.OPEN
    assert world.sign_in.begin("jdoe", PASSCODE, HERE).state is State.OPEN
    for use in (lambda: world.sign_in.invited(secret), lambda: world.sign_in.redeem(secret, PASSCODE, HERE)):
        with pytest.raises(NotFound):
            use()


def test_a_link_is_not_used_up_by_a_passcode_that_cannot_be(world: World) -> None:
    world.add(hashed="")
    secret = world.link()
    with pytest.raises(ConfigError):
        world.sign_in.redeem(secret, "password1234", HERE)
    assert world.sign_in.invited(secret) == "jdoe"


def test_a_link_that_is_old_or_of_a_disabled_account_is_none(world: World) -> None:
    world.add()
    secret = world.link()
    world.do(world.index.registry.disable_account, "jdoe", 5)
    with pytest.raises(NotFound):
        world.sign_in.redeem(secret, PASSCODE, HERE)
    world.add()
    world.now_s += 60
    with pytest.raises(NotFound):
        world.sign_in.redeem(secret, PASSCODE, HERE)
    with pytest.raises(NotFound):
        world.sign_in.invited("x")


def test_a_link_asks_for_the_second_factor_that_there_is(world: World) -> None:
    world.add()
    world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    assert world.sign_in.redeem(world.link(), PASSCODE, HERE).state is State.FACTOR


def test_a_link_ends_every_session(world: World) -> None:
    world.add()
    before = world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)
    world.sign_in.redeem(world.link(), PASSCODE, HERE)
    with pytest.raises(Unauthenticated):
        world.sign_in.whoever(before.secret, ELSEWHERE)


# --- sessions


def test_somebody_sees_and_ends_his_own_sessions_and_nobody_elses(world: World) -> None:
    world.add()
    world.add("other")
    here, there = (world.sign_in.begin("jdoe", PASSCODE, where) for where in (HERE, ELSEWHERE))
    theirs = world.principal(world.sign_in.begin("other", PASSCODE, HERE))
    mine = world.principal(here)
    shown = world.sign_in.sessions(mine)
    assert {(each.address, each.is_this) for each in shown} == {("192.0.2.1", True), ("198.51.100.7", False)}
    with pytest.raises(NotFound):
        world.sign_in.end_session(mine, theirs.fingerprint[:16])
    world.sign_in.end_session(mine, next(each.number for each in shown if not each.is_this))
    with pytest.raises(Unauthenticated):
        world.sign_in.whoever(there.secret, ELSEWHERE)
    assert [event.details["user"] for event in world.events(Action.SESSION_END)] == ["jdoe"]
    world.sign_in.sign_out(mine)
    with pytest.raises(Unauthenticated):
        world.sign_in.whoever(here.secret, HERE)
    assert len(world.events(Action.SIGN_OUT)) == 1


def test_a_token_has_no_sessions(world: World) -> None:
    token = Principal("viewer", "d" * 64, "jdoe", via="token")
    for use in (world.sign_in.sessions, world.sign_in.sign_out, lambda who: world.sign_in.end_session(who, "x")):
        with pytest.raises(Denied, match="no-session"):
            use(token)


# --- guessing


def test_a_guesser_has_few_guesses_at_one_account_and_a_little_later_one_more(world: World) -> None:
    world.add()
    world.fails(ACCOUNT_FROM_ADDRESS.burst)
    with pytest.raises(Throttled) as wait:
        world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)
    world.now_s += wait.value.retry_after_s
    assert world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)


def test_a_guesser_does_not_lock_out_the_one_he_guesses_at(world: World) -> None:
    world.add()
    known = world.sign_in.begin("jdoe", PASSCODE, HERE).device
    for number in range(ACCOUNT.burst):
        world.fails(1, Where(f"203.0.113.{number}"))
    with pytest.raises(Throttled):  # a browser that nobody knows
        world.sign_in.begin("jdoe", PASSCODE, HERE)
    assert world.sign_in.begin("jdoe", PASSCODE, HERE._replace(device=known)).state is State.OPEN


def test_who_has_the_browser_has_few_guesses_too(world: World) -> None:
    world.add()
    known = HERE._replace(device=world.sign_in.begin("jdoe", PASSCODE, HERE).device)
    world.fails(KNOWN_DEVICE.burst, known)
    with pytest.raises(Throttled):
        world.sign_in.begin("jdoe", PASSCODE, known)
    assert world.sign_in.begin("jdoe", PASSCODE, HERE)


@pytest.mark.parametrize("device", ["", ".", "a.b", "0" * 32 + "." + "0" * 64])
def test_a_browser_is_not_known_for_saying_so(world: World, device: str) -> None:
    world.add()
    world.fails(ACCOUNT_FROM_ADDRESS.burst, ELSEWHERE._replace(device=device))
    with pytest.raises(Throttled):
        world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)


def test_a_browser_of_one_person_is_not_that_of_another(world: World) -> None:
    world.add()
    world.add("mallory")
    mallorys = HERE._replace(device=world.sign_in.begin("mallory", PASSCODE, HERE).device)
    world.fails(ACCOUNT_FROM_ADDRESS.burst, mallorys)
    with pytest.raises(Throttled):
        world.sign_in.begin("jdoe", PASSCODE, mallorys)


def test_trying_one_passcode_on_many_accounts_is_counted_by_address(world: World) -> None:
    for number in range(ADDRESS.burst):
        world.fails(1, name=f"user{number}")
    with pytest.raises(Throttled):
        world.sign_in.begin("another", PASSCODE, ELSEWHERE)
    world.add()
    assert world.sign_in.begin("jdoe", PASSCODE, HERE)


def test_codes_are_guessed_a_few_times_whoever_guesses(world: World) -> None:
    world.add()
    secret = world.totp(world.sign_in.begin("jdoe", PASSCODE, HERE))
    for number in range(CODE.burst):
        half = world.sign_in.begin("jdoe", PASSCODE, Where(f"203.0.113.{number}"))
        with pytest.raises(Unauthenticated):
            world.sign_in.complete(half.secret, "000000", Where(f"203.0.113.{number}"))
    half = world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)
    with pytest.raises(Throttled):
        world.sign_in.complete(half.secret, world.code(secret), ELSEWHERE)


def test_a_session_that_began_with_a_certificate_is_of_no_use_elsewhere(world: World) -> None:
    world.add()
    bound = HERE._replace(bound="f1")
    entered = world.sign_in.begin("jdoe", PASSCODE, bound)
    assert world.sign_in.whoever(entered.secret, bound)
    with pytest.raises(Unauthenticated, match="session-of-another"):
        world.sign_in.whoever(entered.secret, HERE)
