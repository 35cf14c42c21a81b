"""auth: who is let in, that nobody is told why not, and what the trail hears of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.datastructures import Headers

from strongroom.archive import people
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.peers import Binding, Peer, Presented
from strongroom.archive.tokens import Token, digest_of, new_secret
from strongroom.errors import Denied, MalformedRequest, Throttled, Unauthenticated
from strongroom.types import AeTitle, Part, Principal, Right, Scope
from strongroom.web.auth import Authenticator, Sources, refuse_query_credentials
from strongroom.web.throttle import BURST, REFILL_S

NOW = 1_800_000_000.0
NOW_US = int(NOW * 1e6)
SECRET = new_secret(bytes(range(32)))
TOKEN = Token(
    name="viewer",
    digest=digest_of(SECRET),
    rights=frozenset({Right.FIND}),
    scope=Scope((Part(modalities=("CT",)),)),
    added_us=NOW_US - 1,
    expires_us=NOW_US + 1_000_000,
)
PEER = Peer(
    AeTitle("CT1"),
    frozenset({Right.GET}),
    Binding.FINGERPRINT,
    "f1",
    "CN=CT1",
    "",
    scope=Scope((Part(studies=("1.2",)),)),
)
ADDRESS = "10.0.0.7"


@dataclass
class World:
    """What an authenticator looks into."""

    tokens: dict[str, Token] = field(default_factory=lambda: {TOKEN.digest: TOKEN})
    peers: dict[str, Peer] = field(default_factory=lambda: {"CT1": PEER})
    events: list[Event] = field(default_factory=list)
    now: float = NOW
    looked_up: list[str] = field(default_factory=list)

    def find_token(self, digest: str) -> Token | None:
        self.looked_up.append(digest)
        return self.tokens.get(digest)

    def read(self, der: bytes) -> Presented:
        return Presented(der.decode(), f"CN={der.decode()}", lambda authority: authority == "CA")

    def authenticator(self, **more: Any) -> Authenticator:
        sources = Sources(self.find_token, lambda: self.peers, self.read, self.events.append, lambda: self.now)
        return Authenticator(replace(sources, **more))


def headers(*fields: str) -> Headers:
    return Headers(raw=[(b"authorization", each.encode("latin-1")) for each in fields])


def call(world: World, *fields: str, certificate: bytes = b"") -> Principal:
    return world.authenticator().authenticate(headers(*fields), certificate, ADDRESS)


def refusal(world: World, *fields: str, certificate: bytes = b"") -> str:
    with pytest.raises(Unauthenticated) as refused:
        call(world, *fields, certificate=certificate)
    return refused.value.reason


def test_what_a_known_caller_may_not_do_is_in_the_trail() -> None:
    who = Principal("CT1", "f1", "", ADDRESS)
    world = World()
    world.authenticator().denied(who, "no-right-store")
    (event,) = world.events
    assert (event.action, event.outcome, event.principal) == (Action.AUTHENTICATION, Outcome.REFUSED, who)
    assert event.details == {"reason": "no-right-store"}


# --- who is let in


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_a_token_is_its_bearer(scheme: str) -> None:
    found = call(World(), f"{scheme} {SECRET}")
    assert found == Principal("viewer", TOKEN.digest, "", ADDRESS, TOKEN.rights, TOKEN.scope, "token")


def test_a_certificate_is_the_peer_it_is_bound_to() -> None:
    found = call(World(), certificate=b"f1")
    assert found == Principal("CT1", "f1", "", ADDRESS, PEER.rights, PEER.scope)


def test_so_is_one_of_a_subject_under_a_ca() -> None:
    peer = replace(PEER, binding=Binding.CA_SUBJECT, fingerprint="", subject="CN=f7", certificate="CA")
    assert call(World(peers={"CT1": peer}), certificate=b"f7").aet == "CT1"
    assert refusal(World(peers={"CT1": replace(peer, certificate="B")}), certificate=b"f7") == "certificate-of-no-peer"


def test_whoever_shows_nothing_is_seen_at_the_door() -> None:
    world = World()
    assert refusal(world) == "no-credentials"
    assert [(event.outcome, event.principal.address, event.details) for event in world.events] == [
        (Outcome.REFUSED, ADDRESS, {"reason": "no-credentials"})
    ]


# --- who is not


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revoked_us": NOW_US}, "token-revoked"),
        ({"expires_us": NOW_US}, "token-expired"),
        ({"revoked_us": NOW_US, "expires_us": NOW_US}, "token-revoked"),
    ],
)
def test_a_token_that_is_no_longer_good(change: dict[str, int], reason: str) -> None:
    assert refusal(World({TOKEN.digest: replace(TOKEN, **change)}), f"Bearer {SECRET}") == reason


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (f"Bearer {SECRET[:-1]}", "unknown-token"),
        (f"Bearer {SECRET}A", "unknown-token"),
        (f"Bearer {SECRET.upper()}", "unknown-token"),
        (f"Bearer {TOKEN.digest}", "unknown-token"),
        (f"Bearer strongroom_{'A' * 43}", "unknown-token"),
        ("Bearer a.b.c", "unknown-token"),
        ("Bearer", "no-bearer-token"),
        ("Bearer ", "no-bearer-token"),
        ("", "no-bearer-token"),
        (SECRET, "no-bearer-token"),
        (f"Basic {SECRET}", "no-bearer-token"),
        (f"Bearer {SECRET} {SECRET}", "no-bearer-token"),
        (f"Bearer {SECRET},Bearer {SECRET}", "no-bearer-token"),
        (f"Bearer\t{SECRET}", "no-bearer-token"),
        (f'Bearer "{SECRET}"', "no-bearer-token"),
        ("Bearer é", "no-bearer-token"),
        ("Bearer " + "A" * 8200, "credential-too-long"),
    ],
)
def test_what_is_no_good_token(given: str, reason: str) -> None:
    world = World()
    assert refusal(world, given) == reason
    (event,) = world.events
    assert (event.action, event.outcome, event.details) == (Action.AUTHENTICATION, Outcome.REFUSED, {"reason": reason})
    assert event.principal.address == ADDRESS
    assert SECRET not in repr(event)


def test_max_bearer_bytes_is_the_longest_field_that_is_read() -> None:
    world = World()
    field_bytes = len(f"Bearer {SECRET}")
    world.authenticator(max_bearer_bytes=field_bytes).authenticate(headers(f"Bearer {SECRET}"), b"", ADDRESS)
    with pytest.raises(Unauthenticated, match="credential-too-long"):
        world.authenticator(max_bearer_bytes=field_bytes - 1).authenticate(headers(f"Bearer {SECRET}"), b"", ADDRESS)


def test_two_credentials_are_none() -> None:
    assert refusal(World(), f"Bearer {SECRET}", f"Bearer {SECRET}") == "several-credentials"
    assert refusal(World(), "", f"Bearer {SECRET}") == "several-credentials"


@pytest.mark.parametrize(
    ("peers", "reason"),
    [
        ({}, "certificate-of-no-peer"),
        ({"CT1": replace(PEER, revoked_us=1)}, "certificate-of-no-peer"),
        ({"CT1": replace(PEER, fingerprint="f2")}, "certificate-of-no-peer"),
        ({"CT1": PEER, "CT2": replace(PEER, aet=AeTitle("CT2"))}, "certificate-of-several-peers"),
        ({"CT1": replace(PEER, require_user=True)}, "user-required"),
    ],
)
def test_a_certificate_that_names_no_one_peer(peers: dict[str, Peer], reason: str) -> None:
    world = World(peers=peers)
    assert refusal(world, certificate=b"f1") == reason
    assert [event.details["reason"] for event in world.events] == [reason]


def test_a_revoked_peer_does_not_stand_in_the_way_of_another_with_its_certificate() -> None:
    peers = {"CT1": replace(PEER, revoked_us=1), "CT2": replace(PEER, aet=AeTitle("CT2"))}
    assert call(World(peers=peers), certificate=b"f1").aet == "CT2"


# --- a token and a certificate


def test_with_both_the_token_says_who_acts_and_nothing_is_added_up() -> None:
    assert call(World(), f"Bearer {SECRET}", certificate=b"f1") == call(World(), f"Bearer {SECRET}")


@pytest.mark.parametrize("given", ["Bearer x", "", "Basic eDp5", f"Bearer {SECRET[:-1]}A"])
def test_a_certificate_is_no_second_chance(given: str) -> None:
    refusal(World(), given, certificate=b"f1")


# --- throttling


def test_a_flood_of_bad_tokens_is_turned_away_without_a_look() -> None:
    world = World()
    one = world.authenticator()
    for number in range(BURST):
        with pytest.raises(Unauthenticated):
            one.authenticate(headers(f"Bearer strongroom_{number:043}"), b"", ADDRESS)
    looked_up = len(world.looked_up)
    for number in range(100):
        with pytest.raises(Throttled) as refused:
            one.authenticate(headers(f"Bearer strongroom_{number + 1000:043}"), b"", ADDRESS)
        assert 0 < refused.value.retry_after_s <= REFILL_S
    assert len(world.looked_up) == looked_up
    assert world.events[-1].details == {"reason": "too-many-failures"}
    one.authenticate(headers(f"Bearer {SECRET}"), b"", "10.0.0.8")
    one.authenticate(headers(f"Bearer {SECRET}"), b"", ADDRESS)  # good a moment ago, behind the same gateway
    world.now += REFILL_S
    with pytest.raises(Unauthenticated, match="unknown-token"):
        one.authenticate(headers(f"Bearer strongroom_{7:043}"), b"", ADDRESS)


def test_a_revocation_holds_for_the_next_request() -> None:
    world = World()
    one = world.authenticator()
    one.authenticate(headers(f"Bearer {SECRET}"), b"", ADDRESS)
    world.tokens[TOKEN.digest] = replace(TOKEN, revoked_us=1)
    with pytest.raises(Unauthenticated, match="token-revoked"):
        one.authenticate(headers(f"Bearer {SECRET}"), b"", ADDRESS)


# --- the address line


@pytest.mark.parametrize("name", ["access_token", "Access_Token", "token", "jwt", "authorization", "api_key"])
def test_a_credential_in_the_query_is_refused(name: str) -> None:
    with pytest.raises(MalformedRequest):
        refuse_query_credentials(["PatientID", name])


def test_attributes_in_the_query_are_none() -> None:
    refuse_query_credentials(["PatientID", "00100020", "includefield", "limit", "requestType"])


def test_a_change_of_peers_holds_for_the_next_request_of_a_certificate() -> None:
    world = World()
    one = world.authenticator()
    one.authenticate(headers(), b"f1", ADDRESS)
    for peers in ({"CT1": replace(PEER, revoked_us=1)}, {}, {"CT1": PEER, "CT2": replace(PEER, aet=AeTitle("CT2"))}):
        world.peers = peers
        with pytest.raises(Unauthenticated, match="certificate"):
            one.authenticate(headers(), b"f1", ADDRESS)
    world.peers = {"CT1": replace(PEER, rights=frozenset())}
    assert one.authenticate(headers(), b"f1", ADDRESS).rights == frozenset()


def test_a_session_is_good_whatever_others_at_its_address_have_tried() -> None:
    """Somebody behind a hospital's gateway makes up sessions; whoever has just signed in behind it goes on."""
    world, good = World(), "g" * 43

    def find(digest: str, _bound: str, address: str) -> Principal:
        if digest != people.digest_of(good):
            raise Denied("unknown-session")
        return Principal("jdoe", digest, "jdoe", address, via="session")

    authenticator = world.authenticator(find_session=find)

    def ask(secret: str) -> Principal:
        return authenticator.authenticate(Headers({"cookie": f"__Host-session={secret}"}), b"", ADDRESS)

    for number in range(BURST):
        with pytest.raises(Unauthenticated, match="unknown-session"):
            ask(f"{number:043}")
    with pytest.raises(Throttled):
        ask("x" * 43)
    assert ask(good).user == "jdoe"
    with pytest.raises(Throttled):
        ask("y" * 43)
