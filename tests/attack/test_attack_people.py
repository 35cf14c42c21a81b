"""Somebody who is not signed in, or is as somebody else, against pages and sessions of the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.people import PASSCODE, add_person, looked_into, signed_in
from harness.web import FORM, Answer, WebClient
from strongroom.admin import users
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role
from strongroom.people.guessing import ACCOUNT_FROM_ADDRESS
from strongroom.web.ui.forms import MAX_FORM_BYTES


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("attack") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        yield running


@pytest.fixture
def stranger(served: RunningArchive) -> WebClient:
    return web.client_of(served)


def cookies(answer: Answer) -> dict[str, str]:
    """The cookies that an answer sets, with their flags."""
    found = {}
    for each in answer.headers.get_all("set-cookie") or []:
        name, _, rest = each.partition("=")
        found[name] = rest
    return found


def sign_in(client: WebClient, name: str, passcode: str = PASSCODE, **headers: str) -> Answer:
    return client.page("/sign-in", {"name": name, "passcode": passcode}, **headers)


def session_of(answer: Answer) -> str:
    return cookies(answer)["__Host-session"].partition(";")[0]


# --- sessions


def test_a_session_that_was_there_before_signing_in_is_not_the_one_after(
    served: RunningArchive, stranger: WebClient
) -> None:
    """Session fixation: the attacker knows a secret that he has put into the victim's browser."""
    add_person(served, "victim", Role.VIEWER)
    planted = "A" * 43
    answer = sign_in(replace(stranger, session=planted), "victim")
    assert answer.status == 303
    assert session_of(answer) != planted
    assert replace(stranger, session=planted).page("/account").status == 303
    assert replace(stranger, session=session_of(answer)).page("/account").status == 200


def test_the_cookie_goes_to_this_host_over_tls_and_to_no_script(served: RunningArchive, stranger: WebClient) -> None:
    add_person(served, "victim", Role.VIEWER)
    for value in cookies(sign_in(stranger, "victim")).values():
        flags = {flag.strip().lower() for flag in value.split(";")[1:]}
        assert {"path=/", "secure", "httponly", "samesite=strict"} <= flags
        assert not any(flag.startswith("domain") for flag in flags)


@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "A" * 5000, "../../etc", "A" * 42 + "="])
def test_whatever_is_made_up_is_no_session(stranger: WebClient, secret: str) -> None:
    made_up = replace(stranger, session=secret or " ", address="127.0.0.9")
    assert made_up.page("/account").status == 303
    assert made_up.get("/studies").status == 401


def test_made_up_sessions_are_counted(served: RunningArchive, stranger: WebClient) -> None:
    guesser = replace(stranger, address="127.0.0.66")
    answers = [replace(guesser, session=f"{number:043}").get("/studies").status for number in range(30)]
    assert answers[0] == 401
    assert answers[-1] == 429


def test_a_session_ends_with_its_account_its_passcode_and_its_reset(served: RunningArchive) -> None:
    for name, change in (
        ("disabled", users.disable),
        ("changed", lambda archive, name: users.add(archive, name, PASSCODE * 2, Role.VIEWER)),
        ("reset", users.reset),
    ):
        client = signed_in(served, name, Role.VIEWER)
        assert client.page("/account").status == 200
        with looked_into(served) as archive:
            change(archive, name)
        assert client.page("/account").status == 303
        assert client.get("/studies").status == 401


def test_signing_out_ends_the_session_and_not_only_the_cookie(served: RunningArchive) -> None:
    client = signed_in(served, "leaver", Role.VIEWER)
    answer = client.page("/sign-out", {})
    assert answer.status == 303
    assert "max-age=0" in cookies(answer)["__Host-session"].lower()
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert client.get("/studies").status == 401
    served.wait_for_event(lambda event: event.action is Action.SIGN_OUT, log="")


def test_a_session_gives_nobody_more_than_his_role(served: RunningArchive) -> None:
    auditor = signed_in(served, "auditor", Role.AUDITOR)
    for path in ("/studies", "/instances"):
        assert auditor.get(path).status == 403
    assert auditor.page("/studies").status == 403
    assert auditor.request("DELETE", "/studies/1.2", {"Sec-Fetch-Site": "same-origin"}).status == 403


def test_a_token_beside_a_session_is_what_counts(served: RunningArchive) -> None:
    client = replace(signed_in(served, "both", Role.PHYSICIAN), token=served.add_token("only-stores", "store"))
    assert client.get("/studies").status == 403


# --- requests that somebody else's page makes


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
        {},
    ],
)
def test_no_other_page_makes_a_person_do_anything(served: RunningArchive, headers: dict[str, str]) -> None:
    client = signed_in(served, "target", Role.PHYSICIAN)
    own = f"https://127.0.0.1:{served.https_port}"
    sent = {name: own if value == "OWN" else value for name, value in headers.items()}
    form = {"Content-Type": FORM, **sent}
    for path in ("/sign-out", "/account/sessions/end", "/sign-in", "/second-factor"):
        assert client.request("POST", path, form, b"name=target", is_page=True).status == 403
    store, body = web.multipart([("application/dicom", b"x")])
    assert client.request("POST", "/studies", {**store, **sent}, body).status == 403
    assert client.page("/account").status == 200


# --- guessing


def test_a_wrong_passcode_is_recorded_and_a_few_are_all_that_one_has(
    served: RunningArchive, stranger: WebClient
) -> None:
    add_person(served, "guessed", Role.VIEWER)
    known = cookies(sign_in(stranger, "guessed"))["__Host-device"].partition(";")[0]
    guesser = replace(stranger, address="127.0.0.77")
    for _ in range(ACCOUNT_FROM_ADDRESS.burst):
        assert sign_in(guesser, "guessed", "wrong wrong wrong").status == 403
    refused = sign_in(guesser, "guessed")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert sign_in(guesser, "guessed", Cookie=f"__Host-device={known}").status == 303
    served.wait_for_event(
        lambda event: event.outcome is Outcome.REFUSED and event.details.get("user") == "guessed", log=""
    )


def test_a_name_that_nobody_has_is_answered_like_one_that_somebody_has(
    served: RunningArchive, stranger: WebClient
) -> None:
    add_person(served, "there", Role.VIEWER)
    texts = [
        re.sub(r'nonce="[^"]*"|value="[^"]*"', "", sign_in(stranger, name, "wrong wrong wrong").content.decode())
        for name in ("there", "nobody-at-all")
    ]
    assert texts[0] == texts[1]


# --- pages


def test_every_page_is_held_to_a_strict_policy(served: RunningArchive, stranger: WebClient) -> None:
    client = signed_in(served, "reader", Role.PHYSICIAN)
    answers = [client.page(path) for path in ("/studies", "/account", "/sign-in", "/nowhere")]
    nonces = set()
    for answer in answers:
        said = answer.headers["Content-Security-Policy"]
        found = re.search("script-src 'nonce-([^']+)'", said)
        assert found is not None
        nonces.add(found[1])
        for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            assert part in said
        assert "unsafe" not in said
        assert answer.headers["X-Frame-Options"] == "DENY"
        text = answer.content.decode()
        assert not re.search(r"<script(?![^>]*nonce=)|<style|\son[a-z]+=|\sstyle=|javascript:", text)
    assert len(nonces) == len(answers)


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_nobody_is_sent_on_to_another_site(served: RunningArchive, stranger: WebClient, path: str) -> None:
    add_person(served, "sent", Role.VIEWER)
    answer = stranger.page("/sign-in", {"name": "sent", "passcode": PASSCODE, "next": path})
    if answer.status != 400:
        assert answer.headers["Location"] == "/"


def test_whoever_has_not_signed_in_does_not_learn_which_pages_there_are(stranger: WebClient) -> None:
    for path in ("/studies", "/people", "/nowhere"):
        answer = stranger.page(path)
        assert (answer.status, answer.headers["Location"]) == (303, f"/sign-in?next={path}")


def test_a_form_has_a_size(stranger: WebClient) -> None:
    assert sign_in(stranger, "x" * MAX_FORM_BYTES).status == 413


def test_a_name_that_is_markup_comes_back_as_text(stranger: WebClient) -> None:
    text = sign_in(stranger, '"><script>alert(1)</script>', "wrong wrong wrong").content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
