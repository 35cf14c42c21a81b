"""People with a browser and an identity provider: Chromium, the npm ``oidc-provider`` and the real server, all of them
over TLS. The provider is of another site than the archive.

Screenshots are kept in ``STRONGROOM_SCREENSHOTS`` if that is set.
"""

from __future__ import annotations

import os
import re
import time
from base64 import b32decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness import archives, oidc_provider
from harness.archives import RunningArchive
from harness.chromium import NARROW, WIDE, browser, sync_api, windows
from harness.oidc_provider import NAME, SECRET, Member, RunningProvider
from harness.people import PASSCODE, add_person, looked_into
from strongroom.admin import identities, users
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.roles import Role
from strongroom.archive.totp import STEP_S, code_at

pytestmark = pytest.mark.interop
expect = sync_api.expect

MEMBERS = {
    "s-1": Member("jdoe", ["radiology"]),
    "s-2": Member("boss", ["it"], amr=["pwd"]),
    "s-3": Member("chief", ["it", "radiology"], amr=["pwd", "mfa"]),
    "s-4": Member("porter", ["kitchen"]),
    "s-5": Member("mover", ["radiology"]),
    "s-6": Member("old hand"),
    "s-7": Member("admin", ["radiology"]),
    "s-8": Member("deputy", ["it"], amr=["mfa"]),
}
GRANTS = [
    {"value": "radiology", "roles": ["physician"], "scope": ["modality=CT"]},
    {"value": "it", "roles": ["administrator"]},
    {"value": "watch", "roles": ["auditor"]},
]
ACCOUNT = re.compile(r"https://[^/?]+/account$")
"""The page, and none that leads there: /sign-in?next=/account."""


@dataclass(frozen=True)
class House:
    """An archive and a provider that know each other."""

    archive: RunningArchive
    provider: RunningProvider

    def events(self, action: Action, user: str) -> list[Event]:
        """What the trail says of somebody, in order."""
        found = [event for event in self.archive.events() if event.action is action]
        return [event for event in found if event.details.get("user") == user]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("oidc")
    own_port, port = oidc_provider.free_port(), oidc_provider.free_port()
    back = [f"https://localhost:{own_port}/sign-in/with/{NAME}/back"]
    with oidc_provider.running(folder / "provider", port, MEMBERS, back) as provider:
        secret = folder / "client-secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        more = {"client_secret_file": str(secret), "multifactor_amr": ["mfa"]}
        sections = {
            "https": {"workers": 1, "port": own_port},
            "oidc": [oidc_provider.settings(provider.issuer, provider.files, **more)],
            "oidc.grants": GRANTS,
        }
        with archives.serving(archives.new_home(folder / "home", sections)) as running:
            yield House(running, provider)


@pytest.fixture(scope="module")
def chromium(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sync_api.Browser]:
    folder = tmp_path_factory.mktemp("chromium")
    with browser(folder, house.archive.home.root / "ca.pem", house.provider.files.authority) as running:
        yield running


Open = Callable[..., sync_api.Page]


@pytest.fixture
def page(house: House, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens pages of browsers that nobody has used. None may go anywhere but to the two, or break a page's policy."""
    there = f"left: {house.provider.issuer}/"
    refused = "the server responded with a status of"  # what somebody is shown who is not let in

    def is_forgiven(said: str) -> bool:
        return said.startswith(there) or refused in said

    with windows(chromium, f"https://localhost:{house.archive.https_port}", is_forgiven) as opener:
        yield lambda **more: opener(**more).page


def kept(page: sync_api.Page, name: str) -> None:
    """Keep what is seen now."""
    if folder := os.environ.get("STRONGROOM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def come_in(page: sync_api.Page, house: House, login: str, path: str = "/account") -> None:
    """Sign in with the provider, as far as that goes."""
    page.goto(f"https://localhost:{house.archive.https_port}{path}")
    page.get_by_role("link", name="Sign in with St. Elsewhere").click()
    page.wait_for_url(re.compile(re.escape(house.provider.issuer)))
    page.get_by_label("Name").fill(login)
    page.get_by_label("Password").fill("known there alone")
    page.get_by_role("button", name="Let me in").click()
    page.wait_for_url(lambda url: (url.startswith("https://localhost") and "code=" not in url) or "/back" in url)


def test_somebody_of_the_provider_comes_to_where_he_wanted_to_go(house: House, page: Open) -> None:
    seen = page()
    come_in(seen, house, "jdoe", "/studies?modality=CT")
    seen.wait_for_url("**/studies?modality=CT")
    expect(seen.locator("header nav")).to_contain_text("hospital:jdoe")
    seen.get_by_role("link", name="hospital:jdoe").click()
    seen.wait_for_url(ACCOUNT)
    kept(seen, "oidc-account")
    signed_in = house.events(Action.SIGN_IN, "hospital:jdoe")[-1]
    assert (signed_in.outcome, signed_in.details["shown"]) == (Outcome.SUCCESS, ("provider",))
    added = house.events(Action.USER_CHANGE, "hospital:jdoe")[-1].details
    assert (added["what"], added["role"], added["scope"]) == (
        "added at the first sign-in", "physician", ("modality=CT",),
    )  # fmt: skip
    again = page()
    come_in(again, house, "jdoe")
    again.wait_for_url(ACCOUNT)
    assert len(house.events(Action.USER_CHANGE, "hospital:jdoe")) == 1, "nothing has changed, and that is no change"


def test_an_administrator_shows_a_second_factor_here_unless_he_has_there(house: House, page: Open) -> None:
    seen = page()
    come_in(seen, house, "boss")
    seen.wait_for_url("**/second-factor")
    secret = b32decode(str(seen.locator(".secret").text_content()).replace(" ", ""))
    seen.get_by_label("The six digits").fill(code_at(secret, int(time.time()) // STEP_S))
    seen.get_by_role("button", name="Confirm").click()
    seen.wait_for_url(lambda url: "/second-factor" not in url)
    seen.goto(f"https://localhost:{house.archive.https_port}/account")
    kept(seen, "oidc-account-administrator")
    assert "administer" in seen.locator("main").inner_text()

    again = page()
    come_in(again, house, "boss")
    again.wait_for_url(re.compile("/sign-in/code"))
    kept(again, "oidc-code")

    other = page()
    come_in(other, house, "chief")
    other.wait_for_url(ACCOUNT)
    assert "administer" in other.locator("main").inner_text()
    for name, vouched in (("boss", [False, False]), ("chief", [True])):
        found = house.events(Action.AUTHENTICATION, f"hospital:{name}")
        assert [each.details["multifactor"] for each in found] == vouched
    assert house.events(Action.SIGN_IN, "hospital:boss")[-1].details["shown"] == ("totp",)


def test_who_has_no_role_is_told_whom_to_ask(house: House, page: Open) -> None:
    seen = page()
    come_in(seen, house, "porter")
    expect(seen.get_by_role("alert")).to_contain_text("Whoever runs this archive")
    kept(seen, "oidc-no-role")
    refused = house.archive.wait_for_event(
        lambda event: event.outcome is Outcome.REFUSED and event.details["reason"] == "no-role", log=""
    )
    assert refused.details["provider"] == NAME
    with looked_into(house.archive) as archive:
        assert not any("porter" in user.name for user in users.users(archive)), "nobody is made an account for nothing"


def test_who_leaves_there_comes_back_to_the_form(house: House, page: Open) -> None:
    seen = page()
    seen.goto(f"https://localhost:{house.archive.https_port}/sign-in")
    kept(seen, "oidc-sign-in")
    seen.get_by_role("link", name="Sign in with").click()
    seen.get_by_role("button", name="Leave").click()
    expect(seen.get_by_role("alert")).to_contain_text("did not let you in")
    add_person(house.archive, "local", Role.VIEWER)
    seen.get_by_label("Name").fill("local")
    seen.get_by_label("Passcode").fill(PASSCODE)
    seen.get_by_role("button", name="Sign in", exact=True).click()
    seen.wait_for_url("**/studies")


def test_who_has_to_prove_who_he_is_does_so_there_and_not_by_a_session_that_he_has_there(
    house: House, page: Open
) -> None:
    seen = page()
    come_in(seen, house, "deputy")
    seen.wait_for_url(ACCOUNT)
    origin = f"https://localhost:{house.archive.https_port}"
    seen.goto(f"{origin}/second-factor")
    seen.wait_for_url(re.compile("/account/prove"))
    kept(seen, "oidc-prove")
    seen.get_by_role("link", name="Go on with St. Elsewhere").click()
    seen.get_by_label("Name").fill("jdoe")
    seen.get_by_label("Password").fill("known there alone")
    seen.get_by_role("button", name="Let me in").click()
    expect(seen.get_by_role("alert")).to_contain_text("somebody else")
    seen.goto(f"{origin}/second-factor")
    seen.get_by_role("link", name="Go on with St. Elsewhere").click()
    seen.get_by_label("Name").fill("deputy")
    seen.get_by_label("Password").fill("known there alone")
    seen.get_by_role("button", name="Let me in").click()
    seen.wait_for_url("**/second-factor")
    expect(seen.locator(".secret")).to_be_attached()
    seen.goto(f"{origin}/account")
    assert seen.get_by_text("this one").count() == 1
    assert seen.get_by_role("button", name="End").count() == 0, "the session before is over"


def test_roles_are_taken_anew_and_taken_away(house: House, page: Open) -> None:
    first = page()
    come_in(first, house, "mover", "/studies")
    first.wait_for_url("**/studies")
    house.provider.know({**MEMBERS, "s-5": replace(MEMBERS["s-5"], groups=["watch"])})
    second = page()
    come_in(second, house, "mover")
    second.wait_for_url(ACCOUNT)
    assert "read the trail" in second.locator("main").inner_text()
    first.reload()
    assert "Forbidden" in first.content() or first.locator("h1").inner_text() != "Studies"
    house.provider.know({**MEMBERS, "s-5": replace(MEMBERS["s-5"], groups=[])})
    third = page()
    come_in(third, house, "mover")
    expect(third.get_by_role("alert")).to_contain_text("says nothing that lets you in")
    second.reload()
    second.wait_for_url(re.compile("/sign-in"))
    changes = [each.details for each in house.events(Action.USER_CHANGE, "hospital:mover")]
    assert [(each["what"], each["role"], each.get("role_before")) for each in changes] == [
        ("added at the first sign-in", "physician", None),
        ("changed by the provider", "auditor", "physician"),
        ("changed by the provider", "", "auditor"),
    ]
    house.provider.know(MEMBERS)


def test_a_local_account_of_the_same_name_is_somebody_else(house: House, page: Open) -> None:
    seen = page()
    come_in(seen, house, "admin")
    seen.wait_for_url(ACCOUNT)
    expect(seen.locator("h1")).to_contain_text("hospital:admin")
    assert "administer" not in seen.locator("main").inner_text()
    house.provider.know({**MEMBERS, "s-7b": Member("jdoe", ["watch"], password="another")})
    namesake = page()
    namesake.goto(f"https://localhost:{house.archive.https_port}/account")
    namesake.get_by_role("link", name="Sign in with").click()
    namesake.get_by_label("Name").fill("jdoe")
    namesake.get_by_label("Password").fill("another")
    namesake.get_by_role("button", name="Let me in").click()
    namesake.wait_for_url(ACCOUNT)
    assert re.fullmatch("hospital:jdoe~[0-9a-f]{8}", namesake.locator("h1").inner_text())
    house.provider.know(MEMBERS)


def test_an_account_that_was_linked_keeps_what_the_operator_gave_it(house: House, page: Open) -> None:
    add_person(house.archive, "veteran", Role.AUDITOR)
    with looked_into(house.archive) as archive:
        identities.link(archive, "veteran", NAME, "s-6")
    seen = page()
    come_in(seen, house, "old hand")
    seen.wait_for_url(ACCOUNT)
    expect(seen.locator("h1")).to_contain_text("veteran")
    assert "You may read the trail" in seen.locator("main").inner_text()
    with looked_into(house.archive) as archive:
        identities.unlink(archive, "veteran")
    seen.reload()
    seen.wait_for_url(re.compile("/sign-in"))


def test_a_disabled_account_stays_so_whatever_the_provider_says(house: House, page: Open) -> None:
    seen = page()
    come_in(seen, house, "jdoe")
    seen.wait_for_url(ACCOUNT)
    with looked_into(house.archive) as archive:
        users.disable(archive, "hospital:jdoe")
    come_in(page_ := page(), house, "jdoe")
    expect(page_.get_by_role("alert")).to_contain_text("disabled")
    seen.reload()
    seen.wait_for_url(re.compile("/sign-in"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_fits_a_telephone_with_a_provider_on_it(house: House, page: Open, scheme: str) -> None:
    for viewport, word in ((NARROW, "narrow"), (WIDE, "wide")):
        seen = page(viewport=viewport, color_scheme=scheme)
        seen.goto(f"https://localhost:{house.archive.https_port}/sign-in")
        kept(seen, f"oidc-sign-in-{word}-{scheme}")
        assert seen.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
