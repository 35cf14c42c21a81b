"""passkeys: who gets in with one, and every way in which an answer can be forged, copied or shown a second time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.authenticator import BACKED_UP, ELIGIBLE, USER_PRESENT, USER_VERIFIED, Authenticator, decode, encode
from harness.instances import Shelf
from harness.signing_in import ELSEWHERE, HERE, PASSCODE, RULES, World
from strongroom.archive.federation import Granted, Identity
from strongroom.archive.model import Action
from strongroom.archive.people import Entered, Passkey, State
from strongroom.archive.roles import Role
from strongroom.errors import Denied, NotFound, ProofNeeded, Throttled, Unauthenticated
from strongroom.people import ceremonies
from strongroom.people.challenges import GOOD_FOR_US
from strongroom.people.guessing import ADDRESS, CODE
from strongroom.people.passkeys import MAX_PASSKEYS
from strongroom.people.provided import Provided

COOKIE = "c" * 43
"""What a browser shows that has not signed in."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    shelf = Shelf.at(str(tmp_path / "index.db"))
    yield World(shelf.index("first"))
    shelf.close()


def add(world: World, entered: Entered, key: Authenticator | None = None) -> Authenticator:
    """A passkey for whoever has this session."""
    key = key or Authenticator()
    world.entered = world.passkeys.add(
        entered.secret, key.create(world.passkeys.options("add", entered.secret, HERE)), "Blue key", HERE
    )
    return key


@pytest.fixture
def key(world: World) -> Authenticator:
    """The passkey of somebody who has signed in once with a passcode."""
    world.add()
    return add(world, world.sign_in.begin("jdoe", PASSCODE, HERE))


def asked(world: World) -> str:
    return world.passkeys.options("sign-in", COOKIE, HERE)


# --- the way in


def test_a_passkey_signs_in_without_a_name_and_counts_as_both_factors(world: World, key: Authenticator) -> None:
    request = json.loads(asked(world))
    assert (request["rpId"], request["userVerification"], request["allowCredentials"]) == (
        "pacs.example",
        "required",
        [],
    )
    entered = world.passkeys.sign_in(key.get(asked(world)), COOKIE, ELSEWHERE)
    assert (entered.state, world.principal(entered).user) == (State.OPEN, "jdoe")
    event = world.events(Action.SIGN_IN)[-1]
    (kept,) = world.passkeys.passkeys("jdoe")
    assert (event.details["shown"], event.details["passkey"]) == (("passkey",), kept.number)
    assert (kept.used_us, kept.counter, kept.is_synced) == (int(world.now_s * 1e6), 1, False)


def test_a_passkey_is_no_first_step_for_whom_a_provider_vouches(world: World) -> None:
    """Whom his provider lets in no more has his passkey still."""
    provided = Provided(world.steps, world.index.registry, 600)
    somebody = Identity("hospital", "https://a.example", "s-1", "jdoe", Granted((Role.VIEWER,)), False, True)
    key = add(world, provided.enter(replace(somebody, proved_s=world.now_s), HERE))
    with pytest.raises(Unauthenticated, match="provider-needed"):
        world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)
    assert world.refused[-1].details == {"reason": "provider-needed", "user": "hospital:jdoe"}
    half = provided.enter(somebody, HERE)
    assert half.state is State.FACTOR
    entered = world.passkeys.complete(
        half.secret, key.get(world.passkeys.options("second-factor", half.secret, HERE)), HERE
    )
    assert entered.state is State.OPEN
    assert world.events(Action.SIGN_IN)[-1].details["shown"] == ("provider", "passkey")


def test_what_a_passkey_knows_its_owner_by_is_no_name(world: World, key: Authenticator) -> None:
    assert len(key.handle) == 32
    assert b"jdoe" not in key.handle
    world.add("other")
    other = add(world, world.sign_in.begin("other", PASSCODE, HERE))
    assert other.handle != key.handle


def test_a_passkey_is_asked_for_after_a_passcode(world: World, key: Authenticator) -> None:
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    assert half.state is State.FACTOR
    options = world.passkeys.options("second-factor", half.secret, HERE)
    assert [decode(each["id"]) for each in json.loads(options)["allowCredentials"]] == [key.credential]
    assert world.passkeys.complete(half.secret, key.get(options), HERE).state is State.OPEN
    assert world.events(Action.SIGN_IN)[-1].details["shown"] == ("passcode", "passkey")


def test_a_passkey_is_a_second_factor_for_whoever_needs_one(world: World) -> None:
    world.add("root", Role.ADMINISTRATOR)
    entered = world.sign_in.begin("root", PASSCODE, HERE)
    assert entered.state is State.SETUP
    add(world, entered)
    assert (world.entered.state, world.principal(world.entered).user) == (State.OPEN, "root")
    with pytest.raises(Unauthenticated):  # half of the way in
        world.sign_in.whoever(entered.secret, HERE)
    (kept,) = world.passkeys.passkeys("root")
    with pytest.raises(Denied, match="last-second-factor"):
        world.passkeys.remove(world.entered.secret, kept.number, HERE)


def test_a_passkey_proves_who_one_is(world: World, key: Authenticator) -> None:
    entered = world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)
    world.now_s += 1000
    again = world.passkeys.prove(entered.secret, key.get(world.passkeys.options("proof", entered.secret, HERE)), HERE)
    assert world.principal(again).proved_us == int(world.now_s * 1e6)
    assert world.events(Action.PROOF)[-1].details["shown"] == ("passkey",)


def test_a_passkey_of_somebody_whose_account_is_disabled_opens_nothing(world: World, key: Authenticator) -> None:
    world.do(world.index.registry.disable_account, "jdoe", 5)
    with pytest.raises(Unauthenticated, match="user-disabled"):
        world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)


# --- forged answers


def altered(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def work(text: str) -> str:
        answer = json.loads(text)
        change(answer)
        return json.dumps(answer)

    return work


FORGED: dict[str, tuple[dict[str, Any], Callable[[str], str]]] = {
    "another origin": ({"origin": "https://pacs.example.evil.test:8443"}, str),
    "another port": ({"origin": "https://pacs.example:9443"}, str),
    "plaintext": ({"origin": "http://pacs.example:8443"}, str),
    "another site": ({"rp_id": "evil.test"}, str),
    "nobody verified": ({"flags": USER_PRESENT}, str),
    "nobody present": ({"flags": USER_VERIFIED}, str),
    "backed up, and cannot be": ({"flags": USER_PRESENT | USER_VERIFIED | BACKED_UP}, str),
    "in a frame": ({"more": {"crossOrigin": True}}, str),
    "in a frame of another site": ({"more": {"topOrigin": "https://evil.test"}}, str),
    "made, not shown": ({"more": {"type": "webauthn.create"}}, str),
    "another handle": ({"handle": bytes(32)}, str),
    "no handle": ({}, altered(lambda answer: answer["response"].pop("userHandle"))),
    "another signature": ({}, altered(lambda answer: answer["response"].update(signature=encode(bytes(70))))),
    "another id inside": ({}, altered(lambda answer: answer.update(rawId=encode(b"other")))),
    "another kind": ({}, altered(lambda answer: answer.update(type="password"))),
    "no data": ({}, altered(lambda answer: answer["response"].update(authenticatorData=""))),
    "no response": ({}, altered(lambda answer: answer.pop("response"))),
    "a list": ({}, lambda _: "[]"),
    "deep": ({}, lambda _: "[" * 16_000),
    "no text": ({}, lambda _: ""),
    "not base64": ({}, altered(lambda answer: answer.update(id="ä"))),
    "long": ({}, altered(lambda answer: answer.update(id=encode(bytes(1024)), rawId=encode(bytes(1024))))),
}


@pytest.mark.parametrize("kind", FORGED)
def test_an_answer_that_is_not_right_opens_nothing(world: World, key: Authenticator, kind: str) -> None:
    lies, change = FORGED[kind]
    text = change(vars_of(key, lies).get(asked(world)))
    with pytest.raises(Unauthenticated):
        world.passkeys.sign_in(text, COOKIE, HERE)
    assert world.refused[-1].action is Action.SIGN_IN
    assert world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE).state is State.OPEN


def vars_of(key: Authenticator, lies: dict[str, Any]) -> Authenticator:
    """The same passkey, used by somebody who lies."""
    liar = replace(key, **lies)
    liar.key, liar.credential = key.key, key.credential
    return liar


def test_another_key_under_the_same_id_opens_nothing(world: World, key: Authenticator) -> None:
    forger = Authenticator(handle=key.handle)
    forger.credential = key.credential
    with pytest.raises(Unauthenticated, match="passkey-answer-wrong"):
        world.passkeys.sign_in(forger.get(asked(world)), COOKIE, HERE)


def test_a_challenge_is_of_us_for_this_purpose_and_this_browser_and_fresh(world: World, key: Authenticator) -> None:
    made_up = json.dumps({"challenge": encode(bytes(64))})
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    for_another_step = world.passkeys.options("second-factor", half.secret, HERE)
    for_another_browser = world.passkeys.options("sign-in", "d" * 43, HERE)
    for options in (made_up, for_another_step, for_another_browser, json.dumps({"challenge": ""})):
        with pytest.raises(Unauthenticated, match="passkey-challenge-wrong"):
            world.passkeys.sign_in(key.get(options), COOKIE, HERE)
    old = asked(world)
    world.now_s += GOOD_FOR_US / 1e6
    with pytest.raises(Unauthenticated, match="passkey-challenge-old"):
        world.passkeys.sign_in(key.get(old), COOKIE, HERE)


@pytest.mark.parametrize("counts", [True, False])
def test_no_answer_is_good_twice(world: World, counts: bool) -> None:
    world.add()
    key = add(world, world.sign_in.begin("jdoe", PASSCODE, HERE), Authenticator(counts=counts))
    text = key.get(asked(world))
    assert world.passkeys.sign_in(text, COOKIE, HERE).state is State.OPEN
    with pytest.raises(Unauthenticated, match="passkey-challenge-used"):
        world.passkeys.sign_in(text, COOKIE, HERE)


def test_a_copy_of_a_passkey_is_refused_once_the_counters_part_and_somebody_is_told(
    world: World, key: Authenticator
) -> None:
    copy = vars_of(key, {})
    for _ in range(3):
        world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)
    with pytest.raises(Unauthenticated, match="passkey-counter-went-back"):
        world.passkeys.sign_in(copy.get(asked(world)), COOKIE, ELSEWHERE)
    (alert,) = world.events(Action.ALERT)
    assert (alert.details["reason"], alert.details["user"]) == ("passkey-counter-went-back", "jdoe")
    assert alert.principal.address == ELSEWHERE.address
    assert world.passkeys.passkeys("jdoe")[0].counter == 3
    still = vars_of(key, {"counts": False, "counter": 0})
    with pytest.raises(Unauthenticated, match="passkey-counter-went-back"):  # one that has counted counts on
        world.passkeys.sign_in(still.get(asked(world)), COOKIE, HERE)


def test_a_passkey_of_somebody_else_is_no_second_factor(world: World, key: Authenticator) -> None:
    world.add("mallory")
    mallorys = add(world, world.sign_in.begin("mallory", PASSCODE, HERE))
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    options = world.passkeys.options("second-factor", half.secret, HERE)
    with pytest.raises(Unauthenticated, match="passkey-unknown"):
        world.passkeys.complete(half.secret, mallorys.get(options), HERE)
    mallorys.credential = key.credential
    with pytest.raises(Unauthenticated, match="passkey-answer-wrong"):
        world.passkeys.complete(half.secret, mallorys.get(options), HERE)


def test_a_passkey_that_was_removed_opens_nothing(world: World, key: Authenticator) -> None:
    world.totp(world.entered)
    (kept,) = world.passkeys.passkeys("jdoe")
    other = world.passkeys.sign_in(key.get(asked(world)), COOKIE, ELSEWHERE)
    world.passkeys.remove(world.entered.secret, kept.number, HERE)
    for use in (
        lambda: world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE),
        lambda: world.sign_in.whoever(other.secret, ELSEWHERE),
    ):
        with pytest.raises(Unauthenticated):
            use()
    assert world.sign_in.whoever(world.entered.secret, HERE)
    with pytest.raises(NotFound):
        world.passkeys.remove(world.entered.secret, kept.number, HERE)
    what = [(event.details["what"], event.details["factor"]) for event in world.events(Action.FACTOR_CHANGE)]
    assert what == [("add", "passkey"), ("add", "totp"), ("remove", "passkey")]


# --- making one


def test_making_one_asks_for_a_discoverable_one_that_verifies_and_says_nothing_of_its_maker(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    first = add(world, entered)
    asked_for = json.loads(world.passkeys.options("add", entered.secret, HERE))
    selection = asked_for["authenticatorSelection"]
    assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
    assert (asked_for["attestation"], asked_for["rp"]["id"], asked_for["user"]["name"]) == (
        "none",
        "pacs.example",
        "jdoe",
    )
    assert [decode(each["id"]) for each in asked_for["excludeCredentials"]] == [first.credential]


@pytest.mark.parametrize(
    "lies",
    [
        {"origin": "https://evil.test"},
        {"rp_id": "evil.test"},
        {"flags": USER_PRESENT},
        {"more": {"crossOrigin": True}},
        {"more": {"type": "webauthn.get"}},
    ],
)
def test_a_forged_passkey_is_not_taken(world: World, lies: dict[str, Any]) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated):
        add(world, entered, Authenticator(**lies))
    assert world.passkeys.passkeys("jdoe") == []


def test_a_passkey_that_was_made_for_another_session_or_before_is_not_taken(world: World) -> None:
    world.add()
    world.add("mallory")
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    mallory = world.sign_in.begin("mallory", PASSCODE, HERE)
    made = Authenticator().create(world.passkeys.options("add", mallory.secret, HERE))
    with pytest.raises(Unauthenticated, match="passkey-challenge-wrong"):
        world.passkeys.add(entered.secret, made, "", HERE)
    world.passkeys.add(mallory.secret, made, "", HERE)
    with pytest.raises(Unauthenticated, match="passkey-known"):
        world.passkeys.add(mallory.secret, made, "", HERE)


def test_a_chain_of_certificates_that_nobody_asked_for_is_not_looked_into(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    for fmt, statement in (("packed", {"alg": -7, "sig": b"x", "x5c": [b"x"]}), ("tpm", {}), ("fido-u2f", {})):
        made = Authenticator().create(world.passkeys.options("add", entered.secret, HERE), fmt, statement)
        with pytest.raises(Unauthenticated, match="passkey-attestation-not-asked-for"):
            world.passkeys.add(entered.secret, made, "", HERE)


def test_one_that_keeps_copies_is_known_as_such(world: World) -> None:
    world.add()
    flags = USER_PRESENT | USER_VERIFIED | ELIGIBLE | BACKED_UP
    add(world, world.sign_in.begin("jdoe", PASSCODE, HERE), Authenticator(flags=flags))
    assert world.passkeys.passkeys("jdoe")[0].is_synced


def test_whoever_found_a_session_open_neither_adds_nor_removes(world: World, key: Authenticator) -> None:
    entered = world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)
    made = Authenticator().create(world.passkeys.options("add", entered.secret, HERE))
    (kept,) = world.passkeys.passkeys("jdoe")
    world.now_s += RULES.proof_max_age_us / 1e6
    for use in (
        lambda: world.passkeys.options("add", entered.secret, HERE),
        lambda: world.passkeys.add(entered.secret, made, "", HERE),
        lambda: world.passkeys.remove(entered.secret, kept.number, HERE),
    ):
        with pytest.raises(ProofNeeded):
            use()


def test_who_has_shown_a_passcode_only_adds_no_passkey(world: World, key: Authenticator) -> None:
    half = world.sign_in.begin("jdoe", PASSCODE, HERE)
    with pytest.raises(Unauthenticated, match="not-this-step"):
        world.passkeys.options("add", half.secret, HERE)


def test_nobody_has_more_than_so_many(world: World) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    for _ in range(MAX_PASSKEYS):
        add(world, entered)
    with pytest.raises(Denied, match="too-many-passkeys"):
        add(world, entered)


@pytest.mark.parametrize("purpose", ["", "anything", "second-factor", "proof", "add"])
def test_a_stranger_is_asked_for_nothing_but_to_sign_in(world: World, purpose: str) -> None:
    with pytest.raises(Unauthenticated):
        world.passkeys.options(purpose, COOKIE, HERE)


# --- guessing


def test_strangers_have_few_tries_and_lock_out_nobody(world: World, key: Authenticator) -> None:
    known = HERE._replace(device=world.steps.ports.key.new_device("jdoe"))
    forger = Authenticator(handle=key.handle)
    forger.credential = key.credential
    for _ in range(ADDRESS.burst):
        with pytest.raises(Unauthenticated):
            world.passkeys.sign_in(forger.get(asked(world)), COOKIE, HERE)
    with pytest.raises(Throttled):
        world.passkeys.sign_in(key.get(asked(world)), COOKIE, HERE)
    for where in (ELSEWHERE, known):
        assert world.passkeys.sign_in(key.get(asked(world)), COOKIE, where).state is State.OPEN


def test_who_knows_the_passcode_has_few_tries_at_the_second_factor(world: World, key: Authenticator) -> None:
    half = world.sign_in.begin("jdoe", PASSCODE, ELSEWHERE)
    for _ in range(CODE.burst):
        with pytest.raises(Unauthenticated):
            world.passkeys.complete(half.secret, "{}", ELSEWHERE)
    options = world.passkeys.options("second-factor", half.secret, ELSEWHERE)
    with pytest.raises(Throttled):
        world.passkeys.complete(half.secret, key.get(options), ELSEWHERE)


def test_where_passkeys_work_is_said(world: World) -> None:
    assert world.passkeys.place(443) == "https://pacs.example"
    assert world.passkeys.place(8443) == "https://pacs.example:8443"
    here = {"PACS.example": True, "images.pacs.example": True, "127.0.0.1": False, "localhost": False}
    assert {name: world.passkeys.is_here(name) for name in here} == here


def test_a_session_that_ends_while_a_passkey_is_added_in_it_adds_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    entered = world.sign_in.begin("jdoe", PASSCODE, HERE)
    answer = Authenticator().create(world.passkeys.options("add", entered.secret, HERE))
    verified = ceremonies.verified_passkey

    def ended_meanwhile(*values: Any) -> Passkey:
        world.end_sessions()
        return verified(*values)

    monkeypatch.setattr("strongroom.people.passkeys.verified_passkey", ended_meanwhile)
    with pytest.raises(Unauthenticated, match="session-ended"):
        world.passkeys.add(entered.secret, answer, "Blue key", HERE)
    assert world.passkeys.passkeys("jdoe") == []
