"""Passkeys in Chromium, with its virtual authenticators, against the real server over TLS: added, used to sign in,
asked for after a passcode, removed, copied, and shown to another page; and what else one changes of one's own account.

Screenshots are kept in ``STRONGROOM_SCREENSHOTS`` if that is set.
"""

from __future__ import annotations

import os
import re
import time
from base64 import b32decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.chromium import Window, sync_api, windows
from harness.people import PASSCODE, add_person, looked_into, signed_in
from harness.web import FORM
from strongroom.admin import users
from strongroom.archive.model import Action
from strongroom.archive.roles import Role
from strongroom.archive.totp import STEP_S, code_at

pytestmark = pytest.mark.interop
expect = sync_api.expect

INTERNAL = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
FRESH = "mother tulip calendar"
"""Another passcode."""
ACCOUNT = re.compile(r"https://[^/?]+/account$")
"""The page, and none that leads there: /sign-in?next=/account."""


@dataclass
class Seat:
    """Somebody's window, and the authenticator that is in his machine."""

    window: Window
    devtools: Any
    authenticator: str

    @property
    def page(self) -> Any:
        return self.window.page

    def credentials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.devtools.send(
            "WebAuthn.getCredentials", {"authenticatorId": self.authenticator}
        )["credentials"]
        return found

    def put(self, credential: dict[str, Any]) -> None:
        self.devtools.send("WebAuthn.addCredential", {"authenticatorId": self.authenticator, "credential": credential})

    def press(self, words: str) -> None:
        self.page.get_by_role("button", name=words).click()

    def touch(self, words: str) -> None:
        """Press what asks for a passkey, which is shown; whoever does so waits for what is to be there in the end."""
        self.page.get_by_role("button", name=words).click(no_wait_after=True)

    def sign_in(self, name: str, passcode: str = PASSCODE) -> None:
        """The first step, with a passcode."""
        self.window.go("/sign-in?next=/account")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Passcode").fill(passcode)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url(lambda url: not url.endswith("/sign-in?next=/account"))

    def sign_out(self) -> None:
        self.press("Sign out")
        self.page.wait_for_url("**/sign-in")

    def add_passkey(self, called: str) -> None:
        self.window.go("/second-factor/passkey")
        self.page.get_by_label("What to call it").fill(called)
        self.touch("Add it")
        self.page.wait_for_url(ACCOUNT)

    def kept(self, name: str) -> None:
        if folder := os.environ.get("STRONGROOM_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def plugged_in(page: Any) -> tuple[Any, str]:
    """The devtools of a window, and the authenticator that it has from now on."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    added = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": INTERNAL})
    return devtools, added["authenticatorId"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("passkeys") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        yield running


Sit = Callable[..., Seat]


@pytest.fixture
def sit(served: RunningArchive, chromium: sync_api.Browser) -> Iterator[Sit]:
    """Gives somebody a browser that nobody has used; none of them may have complained of anything in the end."""
    # A refusal is an answer with a status of its own, which the browser notes.
    origin = f"https://localhost:{served.https_port}"
    with windows(chromium, origin, lambda said: "the server responded with" in said) as opener:

        def take_seat() -> Seat:
            window = opener()
            return Seat(window, *plugged_in(window.page))

        yield take_seat


def shown_by(served: RunningArchive, name: str) -> list[object]:
    """What somebody has shown to sign in, each time."""
    found = [event for event in served.events() if event.action is Action.SIGN_IN and "shown" in event.details]
    return [event.details["shown"] for event in found if event.details["user"] == name]


def test_a_passkey_is_added_and_signs_in_without_a_name(served: RunningArchive, sit: Sit) -> None:
    add_person(served, "jdoe", Role.PHYSICIAN)
    seat = sit()
    seat.sign_in("jdoe")
    seat.add_passkey("Ward <b>laptop</b>")
    expect(seat.page.locator(".factors")).to_contain_text("Ward <b>laptop</b>")
    (made,) = seat.credentials()
    assert (made["isResidentCredential"], made["rpId"]) == (True, "localhost")
    seat.kept("account-with-a-passkey")
    seat.sign_out()
    seat.window.go("/sign-in?next=/account")
    seat.kept("sign-in-with-a-passkey")
    seat.touch("Sign in with a passkey")
    seat.page.wait_for_url(ACCOUNT)
    expect(seat.page.locator("h1")).to_have_text("jdoe")
    expect(seat.page.locator("main")).to_contain_text("Chromium on Linux")
    assert shown_by(served, "jdoe") == [("passcode",), ("passkey",)]


def test_a_passkey_is_asked_for_after_the_passcode(served: RunningArchive, sit: Sit) -> None:
    add_person(served, "second", Role.PHYSICIAN)
    seat = sit()
    seat.sign_in("second")
    seat.add_passkey("Blue key")
    seat.sign_out()
    seat.sign_in("second")
    assert "/sign-in/code" in seat.page.url
    seat.kept("second-factor-passkey")
    seat.touch("Show a passkey")
    seat.page.wait_for_url(ACCOUNT)
    assert shown_by(served, "second")[-1] == ("passcode", "passkey")
    seat.sign_out()
    seat.sign_in("second")
    seat.window.go("/account")
    assert "/sign-in?next=" in seat.page.url, "the passcode alone opens nothing"


def test_an_administrator_may_have_a_passkey_for_a_second_factor(served: RunningArchive, sit: Sit) -> None:
    with looked_into(served) as archive:
        link = users.invite(archive, "chief", Role.ADMINISTRATOR)
    seat = sit()
    seat.window.go(link.path)
    seat.page.get_by_label("Passcode, at least").fill(PASSCODE)
    seat.page.get_by_label("Once more").fill(PASSCODE)
    seat.press("Set it")
    seat.page.wait_for_url("**/second-factor")
    seat.page.get_by_role("link", name="use a passkey").click()
    seat.page.get_by_label("What to call it").fill("Key on my ring")
    seat.kept("add-passkey")
    seat.touch("Add it")
    seat.page.wait_for_url(ACCOUNT)
    expect(seat.page.locator("main")).to_contain_text("administer")
    seat.page.get_by_role("link", name="Remove the passkey").click()
    seat.kept("remove-passkey")
    seat.press("Remove it")
    expect(seat.page.locator(".wrong")).to_contain_text("set up another one first")
    seat.window.go("/account")
    seat.sign_out()
    seat.window.go("/sign-in?next=/account")
    seat.touch("Sign in with a passkey")
    seat.page.wait_for_url(ACCOUNT)
    assert shown_by(served, "chief") == [("passkey",), ("passkey",)]


def test_a_passkey_that_was_removed_is_refused(served: RunningArchive, sit: Sit) -> None:
    add_person(served, "leaver", Role.PHYSICIAN)
    seat, other = sit(), sit()
    seat.sign_in("leaver")
    other.sign_in("leaver")
    seat.add_passkey("Old telephone")
    other.window.go("/account")
    assert "/sign-in" in other.page.url, "every other session ends"
    seat.page.get_by_role("link", name="Remove the passkey").click()
    seat.press("Remove it")
    seat.page.wait_for_url(ACCOUNT)
    expect(seat.page.locator(".factors")).not_to_contain_text("Old telephone")
    seat.sign_out()
    seat.touch("Sign in with a passkey")
    expect(seat.page.locator("main > .wrong")).to_contain_text("was not taken")
    refused = served.wait_for_event(lambda event: event.details.get("reason") == "passkey-unknown", log="")
    assert refused.principal.user == ""


def test_a_copy_of_a_passkey_is_refused_and_an_alert(served: RunningArchive, sit: Sit) -> None:
    add_person(served, "copied", Role.PHYSICIAN)
    seat, thief = sit(), sit()
    seat.sign_in("copied")
    seat.add_passkey("Blue key")
    (copy,) = seat.credentials()
    for _ in range(3):
        seat.sign_out()
        seat.window.go("/sign-in?next=/account")
        seat.touch("Sign in with a passkey")
        seat.page.wait_for_url(ACCOUNT)
    thief.put(copy)
    thief.window.go("/sign-in")
    thief.touch("Sign in with a passkey")
    expect(thief.page.locator("main > .wrong")).to_contain_text("was not taken")
    alert = served.wait_for_event(lambda event: event.action is Action.ALERT, log="")
    assert (alert.details["reason"], alert.details["user"]) == ("passkey-counter-went-back", "copied")


RELAY = """async (asked) => {
    const bytes = (text) => Uint8Array.from(
        atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
    const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
        .replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=+$/, "");
    const found = await navigator.credentials.get(
        {publicKey: {challenge: bytes(asked.challenge), rpId: asked.rpId, userVerification: "required"}});
    const response = {};
    for (const name of ["clientDataJSON", "authenticatorData", "signature", "userHandle"])
        response[name] = text(found.response[name]);
    return JSON.stringify({id: found.id, rawId: found.id, type: found.type, response});
}"""


def test_an_answer_that_another_page_was_given_signs_nobody_in(served: RunningArchive, sit: Sit) -> None:
    """A service on another port of the same host may ask for the passkey, and hands on what it gets."""
    add_person(served, "victim", Role.PHYSICIAN)
    seat = sit()
    seat.sign_in("victim")
    seat.add_passkey("Blue key")
    stranger = web.client_of(served)
    own = {"Origin": f"https://127.0.0.1:{served.https_port}", "Content-Type": FORM}
    asked = stranger.request("POST", "/passkey/options", own, b"purpose=sign-in", is_page=True)
    cookie = str(asked.headers["Set-Cookie"]).partition(";")[0]
    evil = seat.page.context.new_page()
    evil.route("https://localhost:9/", lambda route: route.fulfill(body="<p>evil", content_type="text/html"))
    Seat(seat.window, *plugged_in(evil)).put(*seat.credentials())
    evil.goto("https://localhost:9/")
    answer = evil.evaluate(RELAY, asked.json)
    given = stranger.page("/sign-in/passkey", {"answer": answer}, Cookie=cookie)
    assert given.status == 403
    assert "__Host-session" not in str(given.headers)
    served.wait_for_event(lambda event: event.details.get("reason") == "passkey-answer-wrong", log="")


def test_under_another_name_passkeys_are_not_offered_and_one_is_told_where(served: RunningArchive) -> None:
    text = web.client_of(served).page("/sign-in").content.decode()
    assert f"https://localhost:{served.https_port}/sign-in" in text
    assert "Sign in with a passkey" not in text


def next_code(secret: bytes, used: str = "") -> str:
    """A code that is good now and was not used."""
    step = int(time.time()) // STEP_S
    return next(code for away in (0, 1) if (code := code_at(secret, step + away)) != used)


def test_an_app_recovery_codes_and_another_passcode(served: RunningArchive, sit: Sit) -> None:
    add_person(served, "keeper", Role.PHYSICIAN)
    seat, other = sit(), sit()
    seat.sign_in("keeper")
    seat.page.get_by_role("link", name="Set up the authenticator app").click()
    used = next_code(b32decode(seat.page.locator(".secret").text_content().replace(" ", "")))
    seat.page.get_by_label("The six digits").fill(used)
    seat.press("Confirm")
    seat.page.wait_for_url(lambda url: "/second-factor" not in url)
    seat.window.go("/account/recovery-codes")
    seat.press("Make them")
    codes = seat.page.locator(".codes code").all_inner_texts()
    seat.kept("recovery-codes")
    assert len(set(codes)) == 10
    other.sign_in("keeper")
    other.page.get_by_text("Use a recovery code").click()
    other.kept("second-factor-recovery")
    other.page.get_by_label("One of the codes").fill(codes[3].upper())
    other.page.locator("details").get_by_role("button", name="Go on").click()
    other.page.wait_for_url(ACCOUNT)
    expect(other.page.locator(".factors")).to_contain_text("9 left")
    assert shown_by(served, "keeper")[-1] == ("passcode", "recovery-code")
    other.page.get_by_role("link", name="Change the passcode").click()
    other.page.get_by_label("Passcode that you have now").fill(PASSCODE)
    other.page.get_by_label("New passcode").fill("liverpoolfc2023")
    other.page.get_by_label("Once more").fill("liverpoolfc2023")
    other.press("Change it")
    expect(other.page.locator(".wrong")).to_contain_text("among the first")
    other.page.get_by_label("Passcode that you have now").fill(PASSCODE)
    other.page.get_by_label("New passcode").fill(FRESH)
    other.page.get_by_label("Once more").fill(FRESH)
    other.press("Change it")
    other.page.wait_for_url(ACCOUNT)
    seat.window.go("/account")
    assert "/sign-in" in seat.page.url, "every other session ends"
    other.page.get_by_role("link", name="Remove the authenticator app").click()
    other.press("Remove it")
    other.page.wait_for_url(ACCOUNT)
    seat.sign_in("keeper", FRESH)
    assert seat.page.url.endswith("/account")


def test_what_matters_asks_once_more_who_one_is_and_goes_on(served: RunningArchive, sit: Sit) -> None:
    seat = sit()
    secret = signed_in(served, "late", Role.PHYSICIAN, proved_s_ago=700.0).session
    cookie = {"name": "__Host-session", "value": secret, "domain": "localhost", "path": "/", "secure": True}
    seat.page.context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Strict"}])
    seat.window.go("/account")
    seat.page.get_by_role("link", name="Add a passkey").click()
    seat.page.wait_for_url(re.compile("/account/prove"))
    seat.page.get_by_label("Passcode").fill("wrong wrong wrong")
    seat.press("Go on")
    expect(seat.page.locator(".wrong").first).to_contain_text("not right")
    seat.page.get_by_label("Passcode").fill(PASSCODE)
    seat.press("Go on")
    seat.page.wait_for_url("**/second-factor/passkey")
    seat.page.get_by_label("What to call it").fill("Key")
    seat.touch("Add it")
    seat.page.wait_for_url(ACCOUNT)
    seat.window.go("/account/prove?next=/account/passcode")
    seat.kept("prove")
    seat.touch("Show a passkey")
    expect(seat.page.locator("h1")).to_have_text("Change your passcode")
    proofs = [event for event in served.events() if event.action is Action.PROOF]
    assert [event.details["shown"] for event in proofs if event.details["user"] == "late"] == [
        ("passcode",), ("passkey",),
    ]  # fmt: skip
