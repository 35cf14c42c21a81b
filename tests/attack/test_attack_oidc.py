"""Attacks on signing in with an identity provider: by other sites, by other people of it, and by the provider."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from joserfc.jwk import ECKey, OctKey

from harness import archives, oidc_provider, web
from harness.archives import RunningArchive
from harness.oidc_hostile import Hostile, Said, as_json, hostile
from harness.people import PASSCODE, add_person, looked_into
from harness.web import Answer, WebClient
from strongroom.admin import users
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role
from strongroom.oidc.metadata import MAX_BYTES
from strongroom.people.guessing import RESPONSE

LEAVE, BACK = "/sign-in/with/hospital", "/sign-in/with/hospital/back"
CLINIC_BACK = "/sign-in/with/clinic/back"
GRANT = {"value": "radiology", "roles": ["physician"]}


@dataclass(frozen=True)
class World:
    """An archive and two providers that are not to be trusted with more than they say."""

    archive: RunningArchive
    hospital: Hostile
    clinic: Hostile

    @property
    def browser(self) -> WebClient:
        """A browser that nobody has used."""
        return web.client_of(self.archive)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("oidc")
    with ExitStack() as stack:
        hospital, clinic = (
            stack.enter_context(hostile(folder / name, oidc_provider.free_port())) for name in ("hospital", "clinic")
        )
        home = archives.new_home(
            folder / "home",
            {
                "https": {"workers": 1},
                "oidc": [oidc_provider.settings(hospital.issuer, hospital.files, timeout_s=1)],
                "oidc.grants": [GRANT],
            },
        )
        clinics = oidc_provider.settings(clinic.issuer, clinic.files, timeout_s=1) | {"name": "clinic"}
        more = archives.config_text({"oidc": [clinics], "oidc.grants": [GRANT]})
        text = home.config.read_text() + more[more.index("[[oidc]]") :]
        home.config.write_text(text)
        yield World(stack.enter_context(archives.serving(home)), hospital, clinic)


@pytest.fixture
def world(served: World) -> World:
    """The providers are honest in the beginning."""
    for each in (served.hospital, served.clinic):
        each.answers.clear()
        each.claims.clear()
        each.asked.clear()
    return served


@dataclass(frozen=True)
class Left:
    """A browser that has left for a provider."""

    cookie: str
    state: str
    sent: dict[str, str]


def leave(client: WebClient, provider: Hostile, path: str = LEAVE) -> Left:
    answer = client.page(path)
    assert answer.status == 303, answer.content
    there = urlsplit(answer.headers["location"])
    sent = {name: value for name, [value] in parse_qs(there.query).items()}
    assert f"{there.scheme}://{there.netloc}{there.path}" == f"{provider.issuer}/auth"
    provider.nonce = sent["nonce"]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return Left(cookie, sent["state"], sent)


def come_back(client: WebClient, left: Left, provider: Hostile, path: str = BACK, **more: str) -> Answer:
    response = {"code": "a-code", "state": left.state, "iss": provider.issuer, **more}
    return client.page(f"{path}?{urlencode(response)}", cookie=left.cookie)


def session_of(answer: Answer) -> str:
    """The secret of the session that an answer begins, "" if none."""
    for each in answer.headers.get_all("set-cookie") or []:
        name, _, value = each.partition("=")
        if name == "__Host-session":
            return str(value.partition(";")[0])
    return ""


def reasons(world: World) -> list[str]:
    """Why people were not let in, as far as the trail has it by now."""
    found = [each for each in world.archive.events() if each.action is Action.SIGN_IN]
    return [str(each.details["reason"]) for each in found if each.outcome is Outcome.REFUSED]


def is_refused(world: World, answer: Answer, reason: str, status: int = 403) -> bool:
    """Whether nobody was let in, for this reason."""
    world.archive.wait_for_event(
        lambda event: event.outcome is Outcome.REFUSED and event.details.get("reason") == reason, log=""
    )
    return answer.status == status and not session_of(answer) and b'action="/sign-in"' in answer.content


def test_an_honest_provider_lets_people_in(world: World) -> None:
    """What all of the following differ from."""
    client = world.browser
    left = leave(client, world.hospital, f"{LEAVE}?next=/studies%3Fq%3Dx")
    answer = come_back(client, left, world.hospital)
    assert answer.status == 200
    assert b'content="0;url=/studies?q=x"' in answer.content
    assert replace(client, session=session_of(answer)).page("/account").status == 200
    [asked] = [form for path, form in world.hospital.asked if path == "/token"]
    assert asked["redirect_uri"] == [left.sent["redirect_uri"]] == [f"https://127.0.0.1:{client.port}{BACK}"]
    assert left.sent["code_challenge_method"] == "S256"
    assert len(asked["code_verifier"][0]) == 43


def test_the_cookie_of_the_journey_goes_to_us_alone_and_is_taken_away(world: World) -> None:
    answer = world.browser.page(LEAVE)
    flags = {flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]}
    assert {"path=/", "secure", "httponly", "samesite=lax"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)
    left = leave(world.browser, world.hospital)
    assert left.state not in left.cookie
    assert left.sent["nonce"] not in left.cookie
    after = come_back(world.browser, left, world.hospital).headers.get_all("set-cookie") or []
    assert any(each.startswith("__Host-provider=;") and "Max-Age=0" in each for each in after)


# --- by other sites


def test_a_response_that_the_browser_did_not_leave_for_lets_nobody_in(world: World) -> None:
    """Login CSRF: the attacker signs in himself, and has the victim's browser bring his response."""
    attackers = leave(world.browser, world.hospital)
    nothing = replace(attackers, cookie="")
    assert is_refused(world, come_back(world.browser, nothing, world.hospital), "response-to-nothing")
    victims = leave(world.browser, world.hospital)
    mixed = replace(attackers, cookie=victims.cookie)
    assert is_refused(world, come_back(world.browser, mixed, world.hospital), "response-state")
    assert world.hospital.count("/token") == 0


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-2] + "AA", lambda text: "A" * 3000, lambda text: "é;", str.lower]
)
def test_a_cookie_that_we_have_not_sealed_is_none(world: World, damage: Callable[[str], str]) -> None:
    left = leave(world.browser, world.hospital)
    name, _, value = left.cookie.partition("=")
    damaged = replace(left, cookie=f"{name}={damage(value)}".encode().decode("latin-1"))
    assert is_refused(world, come_back(world.browser, damaged, world.hospital), "response-to-nothing")
    assert world.hospital.count("/token") == 0


def test_a_response_is_good_once(world: World) -> None:
    left = leave(world.browser, world.hospital)
    assert session_of(come_back(world.browser, left, world.hospital))
    assert is_refused(world, come_back(world.browser, left, world.hospital), "response-replayed")
    assert world.hospital.count("/token") == 1


def test_a_session_that_was_there_before_is_not_the_one_after(world: World) -> None:
    planted = "A" * 43
    left = leave(world.browser, world.hospital)
    both = replace(left, cookie=f"{left.cookie}; __Host-session={planted}")
    answer = come_back(world.browser, both, world.hospital)
    assert session_of(answer) not in ("", planted)
    assert replace(world.browser, session=planted).page("/account").status == 303


def test_a_page_of_another_site_sends_nobody_to_the_provider(world: World) -> None:
    for site in ("cross-site", "same-site"):
        answer = world.browser.page(LEAVE, sec_fetch_site=site)
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    assert world.browser.page(LEAVE, sec_fetch_site="none").status == 303


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_on_to_another_site(world: World, place: str) -> None:
    left = leave(world.browser, world.hospital, f"{LEAVE}?next={quote(place, safe='')}")
    answer = come_back(world.browser, left, world.hospital)
    assert b'content="0;url=/"' in answer.content
    assert b"evil" not in answer.content


def test_what_is_in_a_path_does_not_get_out_of_the_page(world: World) -> None:
    wanted = quote('/x"><script>alert(1)</script>;url=//evil', safe="")
    left = leave(world.browser, world.hospital, f"{LEAVE}?next={wanted}")
    answer = come_back(world.browser, left, world.hospital)
    assert b"<script>alert" not in answer.content
    assert b'url="' not in answer.content


def test_what_a_provider_says_of_an_error_is_not_shown(world: World) -> None:
    left = leave(world.browser, world.hospital)
    response = {"error": "access_denied", "error_description": "Call +1 900 EVIL", "state": left.state}
    answer = world.browser.page(f"{BACK}?{urlencode(response)}&iss={world.hospital.issuer}", cookie=left.cookie)
    assert is_refused(world, answer, "provider-refused")
    assert b"EVIL" not in answer.content


# --- by another provider


def test_a_response_is_taken_where_its_provider_is_alone(world: World) -> None:
    """Mix-up: what was begun with one provider ends at the path of the other."""
    left = leave(world.browser, world.hospital)
    answer = come_back(world.browser, left, world.hospital, path=CLINIC_BACK)
    assert is_refused(world, answer, "response-of-another-provider")
    again = leave(world.browser, world.hospital)
    assert is_refused(world, come_back(world.browser, again, world.clinic), "response-issuer")  # RFC 9207
    silent = leave(world.browser, world.hospital)
    answer = world.browser.page(f"{BACK}?{urlencode({'code': 'c', 'state': silent.state})}", cookie=silent.cookie)
    assert is_refused(world, answer, "response-issuer")
    assert world.hospital.count("/token") + world.clinic.count("/token") == 0


def test_the_same_subject_and_name_at_another_provider_is_somebody_else(world: World) -> None:
    names = []
    for provider, path in ((world.hospital, LEAVE), (world.clinic, "/sign-in/with/clinic")):
        left = leave(world.browser, provider, path)
        session = session_of(come_back(world.browser, left, provider, path=f"{path}/back"))
        names.append(replace(world.browser, session=session).page("/account").content)
    assert b"hospital:jdoe" in names[0]
    assert b"clinic:jdoe" in names[1]


def test_a_name_that_somebody_chooses_there_is_no_account_of_ours(world: World) -> None:
    add_person(world.archive, "root", Role.ADMINISTRATOR)
    for number, name in enumerate(("root", "hospital:jdoe", "../root", "root\u200b", "", 7)):
        world.hospital.claims |= {"preferred_username": name, "sub": f"chooser-{number}"}
        left = leave(world.browser, world.hospital)
        session = session_of(come_back(world.browser, left, world.hospital))
        shown = replace(world.browser, session=session).page("/account").content
        assert b"administer" not in shown
        assert b"hospital:" in shown
    with looked_into(world.archive) as archive:
        assert [each.role for each in users.users(archive) if each.name == "root"] == ["administrator"]


# --- by the provider's tokens


def _none(provider: Hostile) -> str:
    def part(value: object) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(provider.honest_claims())}.AA"


def _public_as_shared(provider: Hostile) -> OctKey:
    return OctKey.import_key(json.dumps(provider.key.as_dict(private=False)).encode())


TOKENS: dict[str, tuple[Callable[[Hostile], str], str]] = {
    "nonce": (lambda it: it.id_token(nonce="another"), "id-token-nonce"),
    "no nonce": (lambda it: it.id_token(nonce=None), "id-token-nonce"),
    "audience": (lambda it: it.id_token(aud="another"), "jwt-audience"),
    "party": (lambda it: it.id_token(azp="another"), "id-token-party"),
    "issuer": (lambda it: it.id_token(iss="https://another.example"), "jwt-issuer"),
    "expired": (lambda it: it.id_token(exp=1), "jwt-expired"),
    "future": (lambda it: it.id_token(iat=4_000_000_000, exp=4_000_000_300), "jwt-not-yet"),
    "old": (lambda it: it.id_token(iat=1), "id-token-old"),
    "no subject": (lambda it: it.id_token(sub=None), "jwt-subject"),
    "access token": (lambda it: it.id_token(at_hash="AAAA"), "id-token-access-token"),
    "none": (_none, "jwt-algorithm"),
    "shared": (lambda it: it.id_token(_public_as_shared(it), {"alg": "HS256"}), "jwt-algorithm"),
    "own key": (lambda it: it.id_token(ECKey.generate_key("P-256")), "jwt-signature"),
    "groups": (lambda it: it.id_token(groups={"radiology": True}), "roles-claim"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_an_id_token_that_is_not_for_this_sign_in_lets_nobody_in(world: World, name: str) -> None:
    make, reason = TOKENS[name]
    left = leave(web_from(world, f"127.0.1.{list(TOKENS).index(name) + 1}"), world.hospital)
    world.hospital.answers["/token"] = lambda: world.hospital.tokens(make(world.hospital))
    assert is_refused(world, come_back(world.browser, left, world.hospital), reason)


def web_from(world: World, address: str) -> WebClient:
    return replace(world.browser, address=address)


def test_a_sign_in_of_long_ago_is_no_proof_of_now(world: World) -> None:
    """A provider that lets people through by a session of theirs does not say that they are there."""
    client, wanted = world.browser, "/second-factor"
    for auth_time, is_fresh in ((None, False), (int(time.time()) - 7200, False), (int(time.time()), True)):
        world.hospital.claims["auth_time"] = auth_time
        left = leave(client, world.hospital)
        session = replace(client, session=session_of(come_back(client, left, world.hospital)))
        answer = session.page(wanted)
        assert (answer.status == 200) is is_fresh
        assert is_fresh or answer.headers["location"].startswith("/account/prove")
        again = leave(session, world.hospital, f"{LEAVE}?again=1&next={wanted}")
        assert (again.sent["prompt"], again.sent["max_age"]) == ("login", "0")
        answer = come_back(client, again, world.hospital)
        if is_fresh:
            assert session.page("/account").status == 303, "another session is in its place"
            assert replace(client, session=session_of(answer)).page(wanted).status == 200
        else:
            assert is_refused(world, answer, "proof-too-old")
            assert session.page("/account").status == 200


def test_claims_of_somebody_else_are_nobodys(world: World) -> None:
    """The UserInfo endpoint speaks of another subject than the ID token (Core 5.3.2)."""
    world.hospital.claims["groups"] = None
    world.hospital.answers["/userinfo"] = lambda: as_json({"sub": "s-2", "groups": ["radiology"]})
    left = leave(world.browser, world.hospital)
    assert is_refused(world, come_back(world.browser, left, world.hospital), "userinfo-of-another")
    world.hospital.answers["/userinfo"] = lambda: as_json({"sub": "s-1", "groups": ["radiology"], "iss": "x"})
    left = leave(world.browser, world.hospital)
    assert session_of(come_back(world.browser, left, world.hospital))


# --- by the provider's answers


ANSWERS: dict[str, Said] = {
    "huge": Said(b" " * (MAX_BYTES + 1)),
    "slow": Said(b" " * 1000, each_s=0.2),
    "not JSON": Said(b"<html>"),
    "a list": Said(b"[]"),
    "deep": Said(b"[" * 100_000),
    "failing": Said(b"{}", 500),
    "short": Said(b"{}", headers={"Content-Length": "100"}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_told_and_leaves_the_rest_working(world: World, name: str) -> None:
    left = leave(world.browser, world.hospital)
    world.hospital.answers["/token"] = lambda: ANSWERS[name]
    answer = come_back(world.browser, left, world.hospital)
    assert is_refused(world, answer, "provider-unavailable", 503)
    assert b"does not answer at this moment" in answer.content
    assert world.browser.page("/sign-in").status == 200


def test_a_redirection_is_not_followed(world: World) -> None:
    """The code, the verifier and the client's secret go to nobody but the token endpoint."""
    left = leave(world.browser, world.hospital)
    away = {"Location": f"{world.clinic.issuer}/token"}
    world.hospital.answers["/token"] = lambda: Said(b"", 307, away)
    assert is_refused(world, come_back(world.browser, left, world.hospital), "provider-unavailable", 503)
    assert world.clinic.asked == []


def test_a_local_account_signs_in_while_the_provider_does_not_answer(world: World) -> None:
    add_person(world.archive, "local", Role.VIEWER)
    left = leave(world.browser, world.hospital)
    world.hospital.answers["/token"] = lambda: Said(b"{}", 503)
    assert come_back(world.browser, left, world.hospital).status == 503
    assert session_of(world.browser.page("/sign-in", {"name": "local", "passcode": PASSCODE}))


def test_whoever_makes_up_codes_has_to_wait_and_nobody_else(world: World) -> None:
    world.clinic.answers["/token"] = lambda: as_json({"error": "invalid_grant"}, 400)
    guesser = web_from(world, "127.0.0.77")
    statuses = []
    for _ in range(RESPONSE.burst + 1):
        left = leave(guesser, world.clinic, "/sign-in/with/clinic")
        statuses.append(come_back(guesser, left, world.clinic, path=CLINIC_BACK).status)
    assert statuses == [403] * RESPONSE.burst + [429]
    assert world.clinic.count("/token") == RESPONSE.burst
    world.clinic.answers.clear()
    left = leave(world.browser, world.clinic, "/sign-in/with/clinic")
    assert session_of(come_back(web_from(world, "127.0.0.78"), left, world.clinic, path=CLINIC_BACK))


def test_nothing_of_the_flow_is_in_the_trail_or_the_log(world: World) -> None:
    left = leave(world.browser, world.hospital)
    come_back(world.browser, left, world.hospital, code="sesame-sesame")
    written = str([event.details for event in world.archive.events()]) + world.archive.output
    for secret in ("sesame", left.state, left.sent["nonce"], left.cookie.partition("=")[2], "an access token"):
        assert secret not in written
