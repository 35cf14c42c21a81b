"""Sharing a study and breaking the glass: Chromium against the real server over TLS, and a guest in another browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness import web
from harness.archives import RunningArchive
from harness.chromium import Open, Window, sync_api, windows
from harness.people import looked_into, signed_in
from harness.walking import NAMES, SCOPED, STUDY, Walked, walked
from harness.web import DICOM_JSON
from strongroom.admin.alerts import alerts
from strongroom.archive.model import EMERGENCY, Action
from strongroom.archive.roles import Role

pytestmark = pytest.mark.interop
expect = sync_api.expect

OTHER = "2.25.4702"
HIDDEN_ID = "<b>2</b>"
REASON = "unconscious in the emergency room <b>&"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with walked(tmp_path_factory.mktemp("sharing")) as found:
        yield found


@pytest.fixture(scope="module")
def served(world: Walked) -> RunningArchive:
    return world.running


@pytest.fixture
def window(world: Walked, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens windows of browsers that share nothing; with the session of a visitor, or of nobody."""
    with windows(chromium, world.origin, lambda _: True) as opener:
        yield lambda visitor=None, **more: opener(visitor.session if visitor else "", **more)


def events(running: RunningArchive, action: Action) -> list[object]:
    return [event for event in running.events() if event.action is action]


def share(window: Window, recipient: str = "Dr. Elsewhere") -> tuple[str, str]:
    """Share the study; returns link and code."""
    window.go(f"/studies/{STUDY}")
    window.page.get_by_role("link", name="Share", exact=True).click()
    window.page.get_by_label("Whom it is for").fill(recipient)
    window.page.get_by_label("Why").fill("second opinion")
    window.page.get_by_label("For how long").select_option("1")
    window.page.get_by_role("button", name="Make the link").click()
    link, code = window.page.locator("#link").inner_text(), window.page.locator("#code").inner_text()
    return link.replace(re.match(r"https://[^/]+", link)[0], window.origin), code  # type: ignore[index]


def test_a_study_is_shared_opened_elsewhere_and_taken_back(world: Walked, window: Open) -> None:
    here, there = window(world.visitors[Role.PHYSICIAN]), window()
    link, code = share(here, NAMES[1])
    page = there.page
    page.goto(link)
    page.get_by_label("The eight digits").fill("0000 0000" if not code.startswith("0000") else "1111 1111")
    page.get_by_role("button", name="Open the study").click()
    expect(page.get_by_role("alert")).to_contain_text("not the code")
    page.get_by_label("The eight digits").fill(code)
    page.get_by_role("button", name="Open the study").click()
    page.wait_for_url(f"**/studies/{STUDY}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Bergström, Åsa")
    there.go(f"/studies/{STUDY}/viewer")
    expect(page.locator("#frame")).to_have_attribute("src", re.compile("rendered"))
    there.go("/studies")
    assert page.locator("tbody tr").count() == 1
    assert page.goto(f"{there.origin}/studies/{OTHER}").status == 404
    there.go("/account")
    page.wait_for_url(f"**/studies/{STUDY}")
    for path in ("/shares", "/break-glass", "/review/shares", f"/studies/{STUDY}/share"):
        assert page.goto(there.origin + path).status == 403, path

    here.go("/shares")
    row = here.page.locator("tbody tr").first
    expect(row).to_contain_text("1 ×, last")
    expect(row).to_contain_text("<script>alert(1)</script>")
    row.get_by_role("button", name="Revoke").click()
    expect(here.page.locator("tbody tr").first).to_contain_text("revoked by physician")
    there.go(f"/studies/{STUDY}")
    assert "/sign-in" in page.url
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("This link is not good")
    assert here.complaints == []

    seen = [event for event in world.running.events() if event.principal.user == "share 1"]
    assert {Action.SHARE, Action.QUERY, Action.RETRIEVE} <= {event.action for event in seen}
    whole = "".join(str(event) for event in world.running.events())
    assert link.rpartition("/")[2] not in whole
    assert code.replace(" ", "") not in whole


def test_a_guest_is_held_to_the_study_over_dicomweb_too(world: Walked, window: Open) -> None:
    link, code = share(window(world.visitors[Role.PHYSICIAN]))
    door = replace(web.client_of(world.running))
    answer = door.page(link.removeprefix(world.origin), {"code": code})
    assert answer.status == 303
    flags = answer.headers["set-cookie"]
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {each.strip() for each in flags.split(";")}
    guest = replace(door, session=flags.partition("=")[2].partition(";")[0])
    found = guest.get("/studies?includefield=all", DICOM_JSON).json
    assert [each["0020000D"]["Value"][0] for each in found] == [STUDY]
    assert guest.get(f"/studies/{OTHER}/metadata", DICOM_JSON).status == 404
    assert guest.get(f"/studies/{STUDY}/metadata", DICOM_JSON).status == 200
    assert guest.request("POST", "/studies", {"Origin": f"https://127.0.0.1:{guest.port}"}, b"").status == 403
    assert guest.request("DELETE", f"/studies/{STUDY}", {"Origin": f"https://127.0.0.1:{guest.port}"}).status == 403


def test_the_glass_is_broken_seen_and_reviewed(world: Walked, window: Open) -> None:
    physician = signed_in(world.running, "eve", Role.PHYSICIAN, scope=(f"study={STUDY}",))
    seen = window(physician)
    page = seen.page
    assert page.goto(f"{seen.origin}/studies/{OTHER}").status == 404
    seen.go("/break-glass")
    page.get_by_label("Patient ID or accession number").fill("nobody at all")
    page.get_by_label("Why you need it now").fill(REASON)
    page.get_by_role("button", name="Look for the patient").click()
    expect(page.get_by_role("alert")).to_contain_text("Nobody has that Patient ID")
    page.get_by_label("Patient ID or accession number").fill(HIDDEN_ID)
    page.get_by_role("button", name="Look for the patient").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Break the glass?")
    expect(page.locator("bdi").first).to_have_text(HIDDEN_ID)
    assert page.locator("main b b").count() == 0
    page.get_by_label("I treat this patient now").check()
    page.get_by_role("button", name="Break the glass").click()
    page.wait_for_url("**/break-glass")
    for path in ("/account", "/studies", f"/studies/{OTHER}"):
        answer = page.goto(seen.origin + path)
        assert answer.status == 200, path
        expect(page.get_by_role("complementary", name="Emergency access")).to_contain_text("stands until")
    assert page.goto(f"{seen.origin}/studies/2.25.4703").status == 404

    officer = window(world.visitors[Role.SECURITY_OFFICER])
    with looked_into(world.running) as archive:
        assert [each.kind for each, _ in alerts(archive)] == ["break-glass"]
    officer.go("/review/break-glass")
    officer.page.get_by_role("link", name="1", exact=True).click()
    expect(officer.page.locator("main")).to_contain_text("It is not over yet")

    seen.go("/break-glass")
    page.get_by_role("button", name="End it now").click()
    page.wait_for_load_state()
    assert page.goto(f"{seen.origin}/studies/{OTHER}").status == 404
    officer.page.reload()
    expect(officer.page.locator("main li")).to_have_text(OTHER)
    officer.page.get_by_label("What you have found").fill("as it should be")
    officer.page.get_by_role("button", name="Sign it off").click()
    officer.page.wait_for_url("**/review/break-glass")
    expect(officer.page.locator("tbody tr")).to_contain_text("by security-officer")
    assert officer.complaints == []
    marked = [event for event in world.running.events() if EMERGENCY in event.details]
    assert {Action.QUERY, Action.BREAK_GLASS} <= {event.action for event in marked}
    assert all(event.principal.user == "eve" for event in marked)


def test_a_study_is_deleted_by_two_people(world: Walked, window: Open) -> None:
    doomed = "2.25.4705"
    seen, officer = window(world.visitors[Role.TECHNOLOGIST]), window(world.visitors[Role.SECURITY_OFFICER])
    seen.go(f"/studies/{doomed}")
    seen.page.get_by_role("link", name="Delete").click()
    seen.page.get_by_label("Why").fill("wrong patient <b>&")
    seen.page.get_by_role("button", name="Propose the deletion").click()
    expect(seen.page.get_by_role("status")).to_contain_text("Proposed by technologist")
    expect(seen.page.get_by_role("status")).to_contain_text("wrong patient <b>&")
    assert seen.page.goto(f"{seen.origin}/review/proposals").status == 403
    officer.go("/review/proposals")
    officer.page.get_by_role("link", name="1", exact=True).click()
    officer.page.get_by_label("Why").fill("seen with the ward")
    officer.page.get_by_role("button", name="Agree, and delete the study").click()
    officer.page.wait_for_url("**/review/proposals")
    expect(officer.page.locator("tbody tr")).to_contain_text("agreed by security-officer")
    assert seen.page.goto(f"{seen.origin}/studies/{doomed}").status == 404
    assert officer.complaints == []
    (deleted,) = events(world.running, Action.DELETE)
    assert deleted.details["proposed_by"] == "technologist"


def test_other_browsers_requests_break_no_glass(world: Walked) -> None:
    """A form of another site is not taken, whoever is signed in."""
    client = world.visitors[SCOPED]
    form = {"patient": "4700", "issuer": "", "reason": REASON}
    assert client.page("/break-glass", form, Origin="https://evil.example").status == 403
    assert client.page("/break-glass", form, Sec_Fetch_Site="cross-site").status == 403
