"""The pages of administrators, in Chromium against the real server over TLS: a certificate that DCMTK sends with,
people who come and go, sessions that end in another window, tokens, and who may do none of it."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives, web
from harness.archives import AET, RunningArchive
from harness.chromium import Open, Window, sync_api, windows
from harness.people import PASSCODE, add_person, signed_in
from harness.samples import sample
from strongroom.app import now_utc
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role
from strongroom.net.certificates import issue, new_authority, read_certificate

pytestmark = pytest.mark.interop
expect = sync_api.expect

TIMEOUT_S = 60.0
ROOT = "root"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("administration") / "home", {"https": {"workers": 2}})
    with archives.serving(home) as running:
        yield running


@pytest.fixture
def window(served: RunningArchive, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens windows, of the administrator unless another secret is given; none may have complained in the end."""
    with windows(chromium, f"https://localhost:{served.https_port}") as opener:
        yield lambda secret=None: opener(administrator(served) if secret is None else secret)


def administrator(served: RunningArchive) -> str:
    return signed_in(served, ROOT, Role.ADMINISTRATOR).session


def store(served: RunningArchive, folder: Path, passphrase: str, aet: str = "CT_1") -> int:
    """Send an image with DCMTK, with the credentials in ``folder``; its exit code."""
    tls = ["+tls", str(folder / "key.pem"), str(folder / "cert.pem"), "+cf", str(folder / "ca.pem"), "+pw", passphrase]
    call = ["storescu", *tls, "-aet", aet, "-aec", AET, "127.0.0.1", str(served.port), str(sample("CT_small.dcm"))]
    return subprocess.run(call, capture_output=True, timeout=TIMEOUT_S).returncode


def secret_shown(window: Window, words: str) -> str:
    """The value beside ``words`` on a page that shows it once."""
    return window.page.locator("dt", has_text=words).locator("xpath=following-sibling::dd[1]/code").inner_text()


def test_a_peer_sends_with_the_certificate_of_the_page_until_it_is_revoked(
    served: RunningArchive, window: Open, tmp_path: Path
) -> None:
    seen = window()
    page = seen.page
    seen.go("/peers")
    page.get_by_role("link", name="Add a peer").click()
    page.get_by_label("AE title").fill("CT_1")
    page.get_by_label("store").check()
    page.get_by_role("button", name="Add").click()
    passphrase = secret_shown(seen, "Passphrase")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "CT_1.zip"
    download.value.save_as(tmp_path / "CT_1.zip")
    with zipfile.ZipFile(tmp_path / "CT_1.zip") as packed:
        packed.extractall(tmp_path)
    folder = tmp_path / "CT_1"
    assert {each.name for each in folder.iterdir()} == {"READ-ME.txt", "cert.pem", "key.pem", "ca.pem", "CT_1.p12"}
    assert b"ENCRYPTED PRIVATE KEY" in (folder / "key.pem").read_bytes()
    assert not (served.home.peers / "CT_1").exists(), "the key was kept"
    opened = ["openssl", "pkcs12", "-in", str(folder / "CT_1.p12"), "-passin", f"pass:{passphrase}", "-noout"]
    assert subprocess.run(opened, capture_output=True, timeout=TIMEOUT_S).returncode == 0
    assert store(served, folder, "not the passphrase") != 0
    assert store(served, folder, passphrase) == 0

    page.get_by_role("link", name="Done").click()
    assert read_certificate((folder / "cert.pem").read_bytes()).fingerprint in page.content()
    page.get_by_role("link", name="Revoke this peer").click()
    page.get_by_role("button", name="Revoke").click()
    page.wait_for_url("**/peers/peer?aet=CT_1")
    assert "revoked" in page.locator("main").inner_text()
    assert store(served, folder, passphrase) != 0
    changes = [event for event in served.events() if event.action is Action.PEER_CHANGE]
    assert [event.details["what"] for event in changes] == ["add", "revoke"]
    assert {(event.principal.user, event.principal.via) for event in changes} == {(ROOT, "session")}
    assert passphrase not in served.output


def test_an_outside_certificate_is_bound_and_its_rights_change(
    served: RunningArchive, window: Open, tmp_path: Path
) -> None:
    outside = issue(new_authority("0" * 32, now_utc()), "US_2", [], now_utc(), 90)
    (tmp_path / "us.pem").write_bytes(outside.certificate_pem)
    seen = window()
    page = seen.page
    seen.go("/peers/new")
    page.get_by_label("AE title").fill("US_2")
    page.get_by_label("It has one").check()
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("certificate is missing")
    assert page.get_by_label("AE title").input_value() == "US_2"
    page.get_by_label("or from a file").set_input_files(tmp_path / "us.pem")
    expect(page.get_by_label("Certificate of the peer")).to_have_value(re.compile("BEGIN CERTIFICATE"))
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**/peers/peer?aet=US_2")
    assert read_certificate(outside.certificate_pem).fingerprint in page.content()
    page.get_by_label("find").check()
    page.get_by_label("echo").uncheck()
    page.get_by_label("Only this part").fill("modality=US\ndate=20260101-")
    page.get_by_role("button", name="Save").click()
    page.wait_for_load_state()
    assert page.get_by_label("find").is_checked()
    assert not page.get_by_label("echo").is_checked()
    assert page.get_by_label("Only this part").input_value().split() == ["modality=US", "date=20260101-"]
    seen.go("/peers")
    assert "limited" in page.locator("tr", has_text="US_2").inner_text()
    seen.complaints = [each for each in seen.complaints if "400" not in each]  # the answer to the form without one


def test_somebody_is_added_changes_roles_in_another_window_and_is_disabled(
    served: RunningArchive, window: Open
) -> None:
    admin, newcomer = window(), window("")
    admin.go("/people/new")
    admin.page.get_by_label("Name").fill("new.comer")
    admin.page.get_by_label("viewer").check()
    admin.page.get_by_role("button", name="Add").click()
    link = secret_shown(admin, "Link")
    assert link.startswith(admin.origin + "/welcome/")
    newcomer.page.goto(link)
    newcomer.page.get_by_label("Passcode, at least").fill(PASSCODE)
    newcomer.page.get_by_label("Once more").fill(PASSCODE)
    newcomer.page.get_by_role("button").click()
    newcomer.page.wait_for_url("**/studies")
    assert newcomer.page.get_by_role("link", name="People").count() == 0

    admin.go("/people/person?name=new.comer")
    admin.page.get_by_label("viewer").uncheck()
    admin.page.get_by_label("technologist").check()
    admin.page.get_by_role("button", name="Save").click()
    admin.page.wait_for_load_state()
    assert admin.page.get_by_label("technologist").is_checked()
    newcomer.go("/studies")
    assert "/sign-in" in newcomer.page.url
    newcomer.page.get_by_label("Name").fill("new.comer")
    newcomer.page.get_by_label("Passcode").fill(PASSCODE)
    newcomer.page.get_by_role("button", name="Sign in").first.click()
    newcomer.page.wait_for_url(lambda url: "/sign-in" not in url)

    admin.go("/sessions")
    admin.page.locator("tr", has_text="new.comer").get_by_role("button", name="End").click()
    admin.page.wait_for_load_state()
    assert admin.page.locator("tr", has_text="new.comer").count() == 0
    newcomer.go("/account")
    assert "/sign-in" in newcomer.page.url

    admin.go("/people/person?name=new.comer")
    admin.page.get_by_role("link", name="Disable").click()
    admin.page.get_by_role("button", name="Disable").click()
    admin.page.wait_for_url("**/people/person?name=new.comer")
    assert "disabled" in admin.page.locator("dl").first.inner_text()
    whats = [event.details["what"] for event in served.events() if event.details.get("user") == "new.comer"
             and event.action is Action.USER_CHANGE]  # fmt: skip
    # Each worker has a log of its own.
    assert sorted(whats) == ["add", "change", "disable", "passcode set by a sign-in link", "sign-in link"]


def test_a_group_is_made_shared_and_removed_and_holds_at_once(served: RunningArchive, window: Open) -> None:
    client = web.client_of(served, served.add_token("group-loader", "store"))
    headers, body = web.multipart([("application/dicom", sample("MR_small.dcm").read_bytes())])
    assert client.request("POST", "/studies", headers, body).status == 200
    member = signed_in(served, "grouped", Role.VIEWER, scope=("none",))
    add_person(served, "everything", Role.VIEWER)
    seen = window()
    page = seen.page
    seen.go("/groups")
    page.get_by_role("link", name="Make a group").click()
    page.get_by_label("Name").fill("Ward & 9")
    page.get_by_label("The part").fill("modality=nonsense=")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.get_by_label("Name").input_value() == "Ward & 9"
    page.get_by_label("The part").fill("modality=US")
    page.get_by_role("button", name="Make it").click()
    page.wait_for_url("**/groups/group?name=Ward+%26+9")
    assert "everything" not in page.get_by_label("Put somebody in").inner_text()
    page.get_by_label("Put somebody in").select_option("grouped")
    page.get_by_role("button", name="Put in").click()
    expect(page.locator("tbody tr")).to_contain_text("grouped")
    nothing = b"no study that you may see"
    assert nothing in member.page("/studies").content
    page.get_by_label("The part").fill("modality=US,MR")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("The part")).to_have_value("modality=US,MR")
    assert nothing not in member.page("/studies").content
    seen.go("/groups")
    expect(page.locator("tr", has_text="Ward & 9")).to_contain_text("modality=US,MR")
    page.get_by_role("link", name="Ward & 9").click()
    page.get_by_role("button", name="Take out").click()
    expect(page.get_by_text("Nobody.")).to_be_visible()
    assert nothing in member.page("/studies").content
    page.get_by_role("link", name="Remove this group").click()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/groups")
    assert page.locator("tr", has_text="Ward & 9").count() == 0
    changes = [each for each in served.events() if each.action is Action.GROUP_CHANGE]
    assert sorted(each.details["what"] for each in changes) == ["add", "change", "join", "leave", "remove"]
    assert {each.principal.user for each in changes} == {ROOT}
    seen.complaints = [each for each in seen.complaints if "400" not in each]  # the answer to the form that was wrong


def test_a_token_works_until_it_is_revoked(served: RunningArchive, window: Open) -> None:
    seen = window()
    seen.go("/tokens/new")
    seen.page.get_by_label("Name").fill("ward-9")
    seen.page.get_by_label("search").check()
    seen.page.get_by_role("button", name="Make it").click()
    client = web.client_of(served, secret_shown(seen, "Token"))
    assert client.get("/studies").status in (200, 204)
    seen.page.get_by_role("link", name="Done").click()
    seen.page.locator("tr", has_text="ward-9").get_by_role("link", name="Revoke").click()
    seen.page.get_by_role("button", name="Revoke").click()
    seen.page.wait_for_url("**/tokens")
    assert client.get("/studies").status == 401


def test_who_last_proved_who_he_is_a_while_ago_does_so_first(served: RunningArchive, window: Open) -> None:
    served.add_peer("MR_3", "echo")
    seen = window(signed_in(served, "second", Role.ADMINISTRATOR, proved_s_ago=700).session)
    seen.go("/peers/peer?aet=MR_3")
    seen.page.get_by_role("link", name="Revoke this peer").click()
    assert "/account/prove" in seen.page.url
    seen.page.get_by_label("Passcode").fill(PASSCODE)
    seen.page.locator("main form button").first.click()
    seen.page.wait_for_url("**/peers/revoke?aet=MR_3")


def test_nobody_changes_his_own_account(served: RunningArchive, window: Open) -> None:
    seen = window()
    seen.go(f"/people/person?name={ROOT}")
    assert seen.page.get_by_role("button", name="Save").count() == 0
    assert seen.page.get_by_role("link", name="Disable").count() == 0
    client = signed_in(served, ROOT, Role.ADMINISTRATOR)
    for path in ("/people/change", "/people/disable", "/people/reset"):
        answer = client.page(path, {"name": ROOT.upper() if path == "/people/change" else ROOT, "role-viewer": "on"})
        assert answer.status == 403, path
    refused = [event for event in served.events() if event.outcome is Outcome.REFUSED and event.principal.user == ROOT]
    assert [event.details["reason"] for event in refused][-3:] == ["own-account"] * 3


def test_no_other_role_gets_in_or_sees_a_link(served: RunningArchive, window: Open) -> None:
    for role in (role for role in Role if role is not Role.ADMINISTRATOR):
        client = signed_in(served, f"a-{role}", role)
        for path in ("/posture", "/peers", "/people", "/groups", "/sessions", "/tokens", "/peers/new", "/people/new"):
            assert client.page(path).status == 403, (role, path)
        answer = client.page("/people/new", {"name": "mallory", "role-administrator": "on"})
        assert answer.status == 403
        account = client.page("/account").content.decode()
        assert not re.search(r'href="/(?:posture|peers|people|groups|sessions|tokens)"', account), role
    add_person(served, "still-there", Role.VIEWER)
    seen = window()
    seen.go("/people")
    assert "mallory" not in seen.page.content()
