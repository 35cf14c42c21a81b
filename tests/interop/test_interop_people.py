"""People with a browser: Chromium against the real server over TLS, from the first administrator's link to an image.

Screenshots of each page are kept in ``STRONGROOM_SCREENSHOTS`` if that is set.
"""

from __future__ import annotations

import io
import os
import re
import time
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.chromium import NARROW, Open, Window, sync_api, windows
from harness.people import PASSCODE, add_person
from harness.samples import sample
from strongroom.archive.model import Action
from strongroom.archive.roles import Role
from strongroom.archive.totp import STEP_S, code_at

pytestmark = pytest.mark.interop
expect = sync_api.expect

HOSTILE = "Mallory<script>alert(1)</script>\u202eXX^@SUM(1+1)"
SLICES = 4
ACCOUNT = re.compile(r"https://[^/?]+/account$")
"""The page, and none that leads there: /sign-in?next=/account."""


def slices() -> list[bytes]:
    """A CT of a few images that differ, and one of somebody with a hostile name."""
    found = []
    for number in range(SLICES + 1):
        data = pydicom.dcmread(sample("CT_small.dcm"))
        is_other = number == SLICES
        data.SpecificCharacterSet = "ISO_IR 192"
        data.PatientName = HOSTILE if is_other else "Bergström^Åsa"
        data.PatientID = "4712" if is_other else "4711"
        data.StudyInstanceUID = "2.25.47" if is_other else "2.25.46"
        data.SeriesInstanceUID = f"{data.StudyInstanceUID}.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"2.25.46.1.{number}"
        data.InstanceNumber = number + 1
        pixels = data.pixel_array.copy()
        pixels[: 16 * (number + 1), :32] = 2000
        data.PixelData = pixels.tobytes()
        whole = io.BytesIO()
        data.save_as(whole, enforce_file_format=True)
        found.append(whole.getvalue())
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    # The hostile name would be held at the door: the pages have to bear it all the same.
    settings = {"https": {"workers": 1}, "screening": {"enabled": False}}
    home = archives.new_home(tmp_path_factory.mktemp("people") / "home", settings)
    with archives.serving(home) as running:
        client = web.client_of(running, running.add_token("loader", "store"))
        headers, body = web.multipart([("application/dicom", each) for each in slices()])
        stored = client.request("POST", "/studies", headers, body)
        assert stored.status == 200, stored.content
        for name, role in (("jdoe", Role.PHYSICIAN), ("audrey", Role.AUDITOR)):
            add_person(running, name, role)
        yield running


@pytest.fixture
def window(served: RunningArchive, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens windows of a browser that nobody has used; none of them may have complained of anything in the end."""
    with windows(chromium, f"https://localhost:{served.https_port}") as opener:
        yield opener


def kept(window: Window, name: str) -> None:
    """Keep what is seen now."""
    if folder := os.environ.get("STRONGROOM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        window.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def sign_in(window: Window, name: str = "jdoe", path: str = "/") -> None:
    window.go(path)
    window.page.get_by_label("Name").fill(name)
    window.page.get_by_label("Passcode").fill(PASSCODE)
    window.page.get_by_role("button", name="Sign in", exact=True).click()
    window.page.wait_for_url(lambda url: "/sign-in" not in url)


def next_code(secret: bytes, used: str = "") -> str:
    """A code that is good now and was not used."""
    step = int(time.time()) // STEP_S
    return next(code for away in (0, 1) if (code := code_at(secret, step + away)) != used)


def test_the_first_administrator_comes_in_by_the_link_that_serve_prints(served: RunningArchive, window: Open) -> None:
    first = window()
    link = re.search(r"first sign-in as admin, .*?(/welcome/\S+)", served.output)
    assert link is not None
    first.go(link[1])
    kept(first, "welcome")
    first.page.get_by_label("Passcode, at least").fill(PASSCODE)
    first.page.get_by_label("Once more").fill(PASSCODE)
    first.page.get_by_role("button").click()
    first.page.wait_for_url("**/second-factor")
    kept(first, "second-factor")
    secret = b32decode(first.page.locator(".secret").text_content().replace(" ", ""))
    used = next_code(secret)
    first.page.get_by_label("The six digits").fill(used)
    first.page.get_by_role("button", name="Confirm").click()
    first.page.wait_for_url("**/posture")
    first.go("/account")
    assert "administer" in first.page.locator("main").inner_text()
    first.page.get_by_role("button", name="Sign out").click()
    first.page.wait_for_url("**/sign-in")

    again = window()
    again.go("/account")
    again.page.get_by_label("Name").fill("admin")
    again.page.get_by_label("Passcode").fill(PASSCODE)
    again.page.get_by_role("button", name="Sign in", exact=True).click()
    again.page.wait_for_url(re.compile("/sign-in/code"))
    kept(again, "code")
    again.page.get_by_label("The six digits").fill(next_code(secret, used))
    again.page.get_by_role("button", name="Go on").click()
    again.page.wait_for_url(ACCOUNT)
    kept(again, "account-administrator")
    events = [event for event in served.events() if event.action is Action.SIGN_IN]
    assert [event.details["shown"] for event in events if event.details["user"] == "admin"] == [
        ("totp",), ("passcode", "totp"),
    ]  # fmt: skip


def test_a_physician_searches_as_he_types_and_scrolls_through_a_ct(window: Open) -> None:
    seen = window()
    sign_in(seen, path="/studies")
    page = seen.page
    assert page.locator("tbody tr").count() == 2
    kept(seen, "studies")
    page.get_by_label("Patient name").press_sequentially("berg")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.locator("tbody tr a").inner_text() == "Bergström, Åsa"
    page.get_by_label("Patient name").fill("4712")
    expect(page.locator("tbody tr a")).to_contain_text("Mallory")
    page.get_by_label("Patient name").fill("zzz")
    page.wait_for_selector(".empty")
    kept(seen, "studies-empty")
    page.get_by_label("Patient name").fill("åsa")
    page.get_by_role("link", name="Bergström").click()
    page.get_by_role("link", name="View images").click()
    expect(page.locator("#window")).to_contain_text("W")
    expect(page.locator("#frame")).to_have_attribute("src", re.compile("rendered"))
    kept(seen, "viewer")
    pictures = [page.locator("#stage").screenshot()]
    page.locator("#stage").hover()
    page.mouse.wheel(0, 60)
    expect(page.locator("#frame")).to_have_attribute("src", re.compile(re.escape("46.1.1")))
    pictures.append(page.locator("#stage").screenshot())
    page.locator("#stage").focus()
    page.keyboard.press("End")
    expect(page.locator("#frame")).to_have_attribute("src", re.compile(re.escape("46.1.3")))
    pictures.append(page.locator("#stage").screenshot())
    page.keyboard.press("+")
    expect(page.locator("#frame")).to_have_attribute("src", re.compile(re.escape("window=")))
    pictures.append(page.locator("#stage").screenshot())
    assert len(set(pictures)) == 4, "the image did not change"


def test_a_hostile_name_is_text_and_nothing_else(window: Open) -> None:
    seen = window()
    dialogs: list[str] = []
    seen.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    sign_in(seen, path="/studies")
    seen.page.get_by_label("Patient name").fill("4712")
    expect(seen.page.locator("tbody tr")).to_have_count(1)
    shown = seen.page.locator("tbody tr a").inner_text()
    assert "<script>alert(1)</script>" in shown
    assert "\u202e" not in shown
    assert "U+202E" in shown
    seen.page.locator("tbody tr a").click()
    seen.page.get_by_role("link", name="View images").click()
    expect(seen.page.locator("#frame")).to_have_attribute("src", re.compile("rendered"))
    assert seen.page.locator("main bdi script").count() == 0
    kept(seen, "viewer-hostile")
    assert dialogs == []


def test_a_session_that_is_ended_in_another_window_is_over(window: Open) -> None:
    here, there = window(), window()
    sign_in(here, path="/account")
    sign_in(there, path="/account")
    there.page.reload()
    kept(there, "account")
    there.page.locator("tbody tr", has=there.page.get_by_role("button")).first.get_by_role("button").click()
    there.page.wait_for_load_state()
    while there.page.get_by_role("button", name="End").count():
        there.page.get_by_role("button", name="End").first.click()
        there.page.wait_for_load_state()
    here.go("/studies")
    assert here.page.url.endswith("/sign-in?next=/studies")
    there.go("/studies")
    assert there.page.locator("tbody tr").count() == 2


def test_an_auditor_sees_no_image_and_is_told_so(window: Open) -> None:
    seen = window()
    sign_in(seen, "audrey")
    assert seen.page.url.endswith("/trail")
    seen.go("/account")
    assert "no images" in seen.page.locator(".notice").inner_text()
    kept(seen, "account-auditor")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_telephone(window: Open, scheme: str) -> None:
    seen = window(viewport=NARROW, color_scheme=scheme)
    seen.go("/sign-in")
    kept(seen, f"sign-in-narrow-{scheme}")
    sign_in(seen, path="/studies")
    for path, name in (
        ("/studies", "studies"),
        ("/account", "account"),
        ("/studies/2.25.46", "study"),
        ("/studies/2.25.46/viewer", "viewer"),
    ):
        seen.go(path)
        if name == "viewer":
            expect(seen.page.locator("#frame")).to_have_attribute("src", re.compile("rendered"))
        kept(seen, f"{name}-narrow-{scheme}")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path


def test_the_keyboard_alone_is_enough(window: Open) -> None:
    seen = window()
    seen.go("/sign-in")
    seen.page.keyboard.type("jdoe")
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.type(PASSCODE)
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/studies")
    asked: list[str] = []
    seen.page.on("request", lambda request: asked.append(request.url))
    seen.page.keyboard.type("berg")
    seen.page.wait_for_url("**/studies?typed=*")
    expect(seen.page.locator("tbody tr")).to_have_count(1)
    found = [url for url in asked if url.endswith("/studies")]
    for _ in range(4):
        seen.page.keyboard.press("Tab")
    expect(seen.page.locator("tbody a").first).to_be_focused()
    seen.page.wait_for_timeout(300)
    assert [
        url for url in asked if url.endswith("/studies")
    ] == found  # to leave the field is no reason to search again
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/studies/2.25.46")


def test_dark_pages(window: Open) -> None:
    seen = window(color_scheme="dark")
    seen.go("/sign-in")
    kept(seen, "sign-in-dark")
    sign_in(seen, path="/studies")
    kept(seen, "studies-dark")
    ground = seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(18, 24, 23)"
