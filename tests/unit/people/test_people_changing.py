"""changing: another passcode, no app any more, recovery codes; each by who has just proved who he is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.instances import Shelf
from harness.signing_in import ELSEWHERE, HERE, PASSCODE, RULES, World
from strongroom.archive.model import Action
from strongroom.archive.people import State
from strongroom.archive.recovery import CODES
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, Denied, NotFound, ProofNeeded, Throttled, Unauthenticated
from strongroom.people.guessing import ACCOUNT_FROM_ADDRESS, CODE

FRESH = "mother tulip calendar"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    shelf = Shelf.at(str(tmp_path / "index.db"))
    found = World(shelf.index("first"))
    found.add()
    found.entered = found.sign_in.begin("jdoe", PASSCODE, HERE)
    yield found
    shelf.close()


# --- the passcode


def test_another_passcode_takes_the_place_of_the_first_and_ends_every_other_session(world: World) -> None:
    other, link = world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE), world.link()
    world.own_account.change_passcode(world.entered.secret, PASSCODE, FRESH, HERE)
    assert world.sign_in.whoever(world.entered.secret, HERE)
    for use in (
        lambda: world.sign_in.whoever(other.secret, ELSEWHERE),
        lambda: world.sign_in.begin("jdoe", PASSCODE, HERE),
    ):
        with pytest.raises(Unauthenticated):
            use()
    with pytest.raises(NotFound):  # a link that waits somewhere would undo it
        world.sign_in.invited(link)
    assert world.sign_in.begin("jdoe", FRESH, HERE).state is State.OPEN
    (event,) = world.events(Action.USER_CHANGE)
    assert (event.details["what"], event.principal.user) == ("passcode", "jdoe")


@pytest.mark.parametrize("fresh", ["short", "iseedeadpeople", "Password1234!", PASSCODE, "x" * 1025])
def test_a_passcode_that_cannot_be_is_not_taken(world: World, fresh: str) -> None:
    with pytest.raises(ConfigError):
        world.own_account.change_passcode(world.entered.secret, PASSCODE, fresh, HERE)
    assert world.sign_in.begin("jdoe", PASSCODE, HERE)


def test_who_does_not_know_the_passcode_of_now_has_few_guesses(world: World) -> None:
    for _ in range(ACCOUNT_FROM_ADDRESS.burst):
        with pytest.raises(Unauthenticated, match="passcode-wrong"):
            world.own_account.change_passcode(world.entered.secret, "wrong wrong wrong", FRESH, ELSEWHERE)
    with pytest.raises(Throttled):
        world.own_account.change_passcode(world.entered.secret, PASSCODE, FRESH, ELSEWHERE)


# --- who may


def test_whoever_found_a_session_open_changes_nothing(world: World) -> None:
    world.totp(world.entered)
    secret = world.entered.secret
    world.now_s += RULES.proof_max_age_us / 1e6
    for use in (
        lambda: world.own_account.change_passcode(secret, PASSCODE, FRESH, HERE),
        lambda: world.own_account.remove_totp(secret, HERE),
        lambda: world.own_account.new_recovery_codes(secret, HERE),
    ):
        with pytest.raises(ProofNeeded):
            use()


def test_whoever_is_half_way_in_changes_nothing(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    half = world.sign_in.begin("root", PASSCODE, HERE)
    for use in (
        lambda: world.own_account.change_passcode(half.secret, PASSCODE, FRESH, HERE),
        lambda: world.own_account.remove_totp(half.secret, HERE),
        lambda: world.own_account.new_recovery_codes(half.secret, HERE),
    ):
        with pytest.raises(Unauthenticated, match="not-this-step"):
            use()


# --- the app


def test_the_app_goes_and_the_passcode_is_enough_again(world: World) -> None:
    world.totp(world.entered)
    world.own_account.remove_totp(world.entered.secret, HERE)
    assert world.sign_in.begin("jdoe", PASSCODE, HERE).state is State.OPEN
    with pytest.raises(NotFound):
        world.own_account.remove_totp(world.entered.secret, HERE)


def test_who_needs_a_second_factor_keeps_one(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    world.totp(world.sign_in.begin("root", PASSCODE, HERE))
    with pytest.raises(Denied, match="last-second-factor"):
        world.own_account.remove_totp(world.entered.secret, HERE)
    assert world.sign_in.begin("root", PASSCODE, HERE).state is State.FACTOR


# --- recovery codes


def test_a_recovery_code_stands_in_once_for_the_second_factor(world: World) -> None:
    world.totp(world.entered)
    codes = world.own_account.new_recovery_codes(world.entered.secret, HERE)
    assert len(set(codes)) == CODES == world.sign_in.ways("jdoe").recovery_codes
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    assert world.sign_in.complete(half.secret, codes[0].upper(), HERE).state is State.OPEN
    assert world.events(Action.SIGN_IN)[-1].details["shown"] == ("passcode", "recovery-code")
    assert world.events(Action.FACTOR_CHANGE)[-1].details["left"] == CODES - 1
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated, match="code-wrong"):
        world.sign_in.complete(half.secret, codes[0], HERE)
    assert world.sign_in.complete(half.secret, codes[1], HERE).state is State.OPEN


def test_new_ones_make_the_old_ones_void(world: World) -> None:
    world.totp(world.entered)
    old = world.own_account.new_recovery_codes(world.entered.secret, HERE)
    new = world.own_account.new_recovery_codes(world.entered.secret, HERE)
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated):
        world.sign_in.complete(half.secret, old[0], HERE)
    assert world.sign_in.complete(half.secret, new[0], HERE)


def test_codes_of_one_person_are_none_of_another_and_guesses_are_counted(world: World) -> None:
    world.totp(world.entered)
    codes = world.own_account.new_recovery_codes(world.entered.secret, HERE)
    world.add("mallory")
    world.totp(world.sign_in.begin("mallory", PASSCODE, ELSEWHERE), ELSEWHERE)
    half = world.sign_in.begin("mallory", PASSCODE, ELSEWHERE)
    for number in range(CODE.burst):
        with pytest.raises(Unauthenticated):
            world.sign_in.complete(half.secret, codes[number], ELSEWHERE)
    with pytest.raises(Throttled):
        world.sign_in.complete(half.secret, codes[9], ELSEWHERE)
    assert world.sign_in.ways("jdoe").recovery_codes == CODES


def test_no_code_stands_in_for_nothing(world: World) -> None:
    with pytest.raises(Denied, match="no-second-factor"):
        world.own_account.new_recovery_codes(world.entered.secret, HERE)


def test_no_code_is_kept_as_it_is(world: World) -> None:
    world.totp(world.entered)
    codes = world.own_account.new_recovery_codes(world.entered.secret, HERE)
    with world.index.database.read() as cursor:
        kept = cursor.execute("SELECT digest FROM recovery_code").fetchall()
    assert len(kept) == CODES
    assert not {row[0] for row in kept} & {code.replace("-", "") for code in codes}


def test_a_session_that_ends_while_a_passcode_is_compared_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner ends it elsewhere while who has stolen it gives the account another passcode: that takes a while."""
    world.add()
    stolen = world.sign_in.begin("jdoe", PASSCODE, HERE)
    verify = world.steps.accounts.verify

    def ended_meanwhile(name: str, passcode: bytes) -> bool:
        world.end_sessions()
        return verify(name, passcode)

    monkeypatch.setattr(world.steps.accounts, "verify", ended_meanwhile)
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.own_account.change_passcode(stolen.secret, PASSCODE, "quite another long story", HERE)
    monkeypatch.undo()
    assert world.sign_in.begin("jdoe", PASSCODE, HERE).state is State.OPEN
