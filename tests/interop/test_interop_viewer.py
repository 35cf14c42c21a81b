"""OHIF in Chromium, against the real server over TLS: images of several kinds, as whoever is signed in may see them.

Screenshots are kept in ``STRONGROOM_SCREENSHOTS`` if that is set.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.chromium import NARROW, Open, Window, sync_api, windows
from harness.people import PASSCODE, add_person, signed_in
from harness.samples import sample
from harness.viewer import installed_viewer
from strongroom.archive.model import Action
from strongroom.archive.roles import Role
from strongroom.viewer.installed import InstalledViewer
from strongroom.viewer.installing import COMPRESSED as COMPRESSED_AS
from strongroom.viewer.pin import read_pin

pytestmark = pytest.mark.interop
expect = sync_api.expect

CT, SLICES = "2.25.46", 5
CANVAS = ".cornerstone-canvas"
COMPRESSED = {
    "693_J2KI.dcm": "JPEG 2000",
    "MR_small_jpeg_ls_lossless.dcm": "JPEG-LS",
    "examples_ybr_color.dcm": "JPEG, colour, 30 frames of an ultrasound",
    "SC_rgb_rle_2frame.dcm": "RLE, colour, two frames",
    "examples_palette.dcm": "a palette",
}
"""What is decoded in the browser, and what it is."""

SHOWN_MS = 60_000
"""For an image to be there: codecs are loaded and compiled first, on whatever machine tests have."""

NOTHING_FOUND = ("console warning: empty response for request: ", f"console warning: Study not found: {CT} ")
"""What OHIF writes down of a study that is not there: two warnings. It says nothing of what is there."""

STEADY = """() => new Promise((resolve) => {
  let last = "", same = 0;
  const look = () => {
    const now = document.querySelector("canvas.cornerstone-canvas").toDataURL();
    same = now === last ? same + 1 : 0;
    last = now;
    if (same < 10) requestAnimationFrame(look); else resolve(now);
  };
  look();
})"""
"""What is painted, once it has been the same for some frames."""

IS_PAINTED = """() => {
  const canvas = document.querySelector("canvas.cornerstone-canvas");
  if (!canvas || !canvas.width || !canvas.height) return false;
  const copy = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const plane = copy.getContext("2d");
  plane.drawImage(canvas, 0, 0, 64, 64);
  return new Set(new Uint32Array(plane.getImageData(0, 0, 64, 64).data.buffer)).size > 3;
}"""


def slices() -> Iterator[bytes]:
    """A CT whose slices differ and lie one above the other."""
    data = pydicom.dcmread(sample("CT_small.dcm"))
    pixels = data.pixel_array.copy()
    data.SpecificCharacterSet, data.PatientName, data.PatientID = "ISO_IR 192", "Bergström^Åsa", "4711"
    data.StudyInstanceUID, data.SeriesInstanceUID = CT, f"{CT}.1"
    for number in range(SLICES):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{CT}.1.{number}"
        data.InstanceNumber, data.SliceLocation = number + 1, 5.0 * number
        data.ImagePositionPatient = [-158.1, -179.0, 5.0 * number]
        pixels[16 * number : 16 * (number + 1), :32] = 2000
        data.PixelData = pixels.tobytes()
        whole = io.BytesIO()
        data.save_as(whole, enforce_file_format=True)
        yield whole.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    settings = {"https": {"workers": 1, "viewer_dir": str(installed_viewer())}, "screening": {"enabled": False}}
    home = archives.new_home(tmp_path_factory.mktemp("viewer") / "home", settings)
    with archives.serving(home) as running:
        client = web.client_of(running, running.add_token("loader", "store"))
        files = [*slices(), *(sample(name).read_bytes() for name in COMPRESSED)]
        headers, body = web.multipart([("application/dicom", each) for each in files])
        stored = client.request("POST", "/studies", headers, body)
        assert stored.status == 200, stored.content
        add_person(running, "jdoe", Role.PHYSICIAN)
        add_person(running, "narrow", Role.PHYSICIAN, scope=("modality=MR",))
        add_person(running, "audrey", Role.AUDITOR)
        yield running


@pytest.fixture
def window(served: RunningArchive, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens windows; none of them may have complained, or asked for anything elsewhere, in the end."""
    with windows(chromium, f"https://localhost:{served.https_port}") as opener:
        yield opener


def kept(window: Window, name: str) -> None:
    """Keep what is seen now."""
    if folder := os.environ.get("STRONGROOM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        window.page.screenshot(path=str(Path(folder) / f"ohif-{name}.png"))


def sign_in(window: Window, name: str = "jdoe", path: str = "/studies") -> None:
    window.go(path)
    window.page.get_by_label("Name").fill(name)
    window.page.get_by_label("Passcode").fill(PASSCODE)
    window.page.get_by_role("button", name="Sign in", exact=True).click()
    window.page.wait_for_url(lambda url: "/sign-in" not in url)


def viewer_of(study: str) -> str:
    return f"/ohif/viewer?StudyInstanceUIDs={study}"


def painted(window: Window) -> str:
    """The image that is there once it does not change any more."""
    window.page.wait_for_function(IS_PAINTED, timeout=SHOWN_MS)
    found = window.page.evaluate(STEADY)
    assert isinstance(found, str)
    return found


def confirm_notice(window: Window) -> None:
    """OHIF says that it is no medical device; that is confirmed once in a while."""
    window.page.get_by_role("button", name="Confirm").click()


def test_a_ct_is_opened_from_the_list_scrolled_and_windowed(served: RunningArchive, window: Open) -> None:
    seen = window()
    sign_in(seen)
    row = seen.page.locator("tbody tr", has_text="Bergström")
    row.get_by_role("link", name="OHIF").click()
    seen.page.wait_for_url(re.compile("/ohif/viewer"))
    pictures = [painted(seen)]
    kept(seen, "ct-notice")
    confirm_notice(seen)
    position = seen.page.get_by_text(re.compile(rf"\(\d/{SLICES}\)"))
    expect(position).to_contain_text(f"(1/{SLICES})")
    kept(seen, "ct")
    seen.page.locator(CANVAS).hover()
    for number in (2, 3):
        seen.page.mouse.wheel(0, 100)
        expect(position).to_contain_text(f"({number}/{SLICES})")
        pictures.append(painted(seen))
    level = seen.page.get_by_text("W:").locator("..")
    before = level.inner_text()
    seen.page.mouse.down()
    seen.page.mouse.move(700, 300, steps=5)
    seen.page.mouse.up()
    expect(level).not_to_have_text(before)
    pictures.append(painted(seen))
    kept(seen, "ct-windowed")
    assert len(set(pictures)) == 4, "the image did not change"
    events = [each for each in served.events() if each.details.get("resource") == "frames"]
    frames = [each for each in events if "studies" in each.details]
    assert {(each.action, each.principal.user, each.details["studies"]) for each in frames} == {
        (Action.RETRIEVE, "jdoe", (CT,))
    }


@pytest.mark.parametrize("name", COMPRESSED)
def test_images_of_every_kind_are_decoded(window: Open, name: str) -> None:
    seen = window()
    sign_in(seen, path=viewer_of(str(pydicom.dcmread(sample(name), stop_before_pixels=True).StudyInstanceUID)))
    first = painted(seen)
    kept(seen, name.removesuffix(".dcm"))
    if "frames" in COMPRESSED[name]:
        confirm_notice(seen)
        seen.page.locator(CANVAS).hover()
        seen.page.mouse.wheel(0, 100)
        seen.page.wait_for_function(
            f"(was) => document.querySelector('canvas{CANVAS}').toDataURL() !== was", arg=first, timeout=SHOWN_MS
        )


def test_who_has_a_scope_sees_what_is_in_it(served: RunningArchive, window: Open) -> None:
    seen = window()
    mr = str(pydicom.dcmread(sample("MR_small_jpeg_ls_lossless.dcm"), stop_before_pixels=True).StudyInstanceUID)
    sign_in(seen, "narrow", viewer_of(mr))
    painted(seen)
    answers: list[tuple[int, str]] = []
    seen.page.on("response", lambda answer: answers.append((answer.status, answer.url)))
    seen.go(viewer_of(CT))
    expect(seen.page.get_by_text("studies are not available")).to_be_visible(timeout=SHOWN_MS)
    kept(seen, "outside-scope")
    assert not [url for status, url in answers if status == 200 and "/dicomweb/" in url]
    assert seen.page.locator(CANVAS).count() == 0
    assert all(each.startswith(NOTHING_FOUND) for each in seen.complaints), seen.complaints
    seen.complaints.clear()


def test_a_stranger_signs_in_and_comes_back_to_the_study(window: Open) -> None:
    seen = window()
    seen.go(viewer_of(CT))
    assert "/sign-in?next=/ohif/viewer" in seen.page.url
    sign_in(seen, path=viewer_of(CT))
    assert seen.page.url.endswith(viewer_of(CT))
    painted(seen)
    seen.page.get_by_role("link", name="Studies").click()
    seen.page.wait_for_url("**/studies")


def test_a_session_that_is_over_leads_back_to_signing_in(served: RunningArchive, window: Open) -> None:
    seen = window()
    sign_in(seen, path=viewer_of(CT))
    painted(seen)
    confirm_notice(seen)
    seen.page.context.clear_cookies()
    seen.page.reload()
    assert "/sign-in?next=/ohif/viewer" in seen.page.url


def test_who_sees_no_images_gets_no_viewer(served: RunningArchive) -> None:
    auditor, nobody = signed_in(served, "audrey", Role.AUDITOR), web.client_of(served)
    file = f"/ohif/files/{read_pin().build}/begin.js"
    assert [auditor.page(path).status for path in (viewer_of(CT), file)] == [403, 403]
    for path in (viewer_of(CT), file):
        assert nobody.page(path).headers["Location"].startswith("/sign-in")


def test_nothing_but_its_own_files_may_run(served: RunningArchive) -> None:
    person = signed_in(served, "someone", Role.PHYSICIAN)
    files = f"https://127.0.0.1:{served.https_port}/ohif/files/"
    build = read_pin().build
    rules = policy_of(person.page(viewer_of(CT)))
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == [files, "'wasm-unsafe-eval'"]
    assert rules["worker-src"] == [files]
    assert set(rules["connect-src"]) == {files, files.replace("/ohif/files/", "/dicomweb/")}
    evaluating = set()
    for name in InstalledViewer(installed_viewer(), read_pin()).names():
        if name == "index.html":
            continue
        answer = person.page(f"/ohif/files/{build}/{name}")
        assert answer.status == 200
        rules = policy_of(answer)
        assert rules["connect-src"] == [files]
        evaluating |= {name.partition(".")[0]} if "'unsafe-eval'" in rules["script-src"] else set()
    assert evaluating == {"8097", "polySeg"}


def test_a_viewer_that_somebody_has_changed_is_not_shown(tmp_path: Path) -> None:
    """A file changed while nobody looked, with a size and a form that fit; put right, it is served at once."""
    pin, folder = read_pin(), tmp_path / "viewer"
    shutil.copytree(installed_viewer() / pin.build, folder / pin.build)
    changed = folder / pin.build / f"app-config.js{COMPRESSED_AS}"
    content = gzip.decompress(changed.read_bytes())
    changed.write_bytes(gzip.compress(content.replace(b"/dicomweb", b"/d1c0mweb")))
    home = archives.new_home(tmp_path / "home", {"https": {"workers": 1, "viewer_dir": str(folder)}})
    with archives.serving(home) as running:
        person = signed_in(running, "someone", Role.PHYSICIAN)
        answer = person.page(viewer_of(CT))
        assert answer.status == 503
        assert b"cannot be trusted" in answer.content
        file = f"/ohif/files/{pin.build}/app-config.js"
        refused = person.page(file)
        assert refused.status == 500
        assert b"d1c0mweb" not in refused.content
        changed.write_bytes(gzip.compress(content))
        assert person.page(viewer_of(CT)).status == 200
        assert person.page(file).content == content
    assert "app-config.js of the viewer is not what it has to be" in running.output


def policy_of(answer: web.Answer) -> dict[str, list[str]]:
    """The Content-Security-Policy of an answer, by directive."""
    parts = [each.split() for each in answer.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in parts}


def small_viewer(window: Window, study: str) -> sync_api.Page:
    """The viewer that is built in, on a study."""
    window.go(f"/studies/{study}/viewer")
    expect(window.page.locator("#frame")).to_have_attribute("src", re.compile("rendered"))
    return window.page


def middle_of(page: sync_api.Page) -> bytes:
    """What is seen of the image, without its edge, which shows where the focus is."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    inner = {"x": box["x"] + 50, "y": box["y"] + 50, "width": box["width"] - 100, "height": box["height"] - 100}
    return page.screenshot(clip=inner)


def test_the_small_viewer_begins_with_the_window_that_is_seen(window: Open) -> None:
    """The images have none of their own: they are shown from their least to their greatest value."""
    seen = window()
    sign_in(seen)
    page = small_viewer(seen, CT)
    values = pydicom.dcmread(sample("CT_small.dcm"))
    least, most = int(values.pixel_array.min() + values.RescaleIntercept), int(2000 + values.RescaleIntercept)
    most = max(most, int(values.pixel_array.max() + values.RescaleIntercept))
    width = most - least + 1
    expect(page.locator("#window")).to_have_text(f"W {width}  L {round(least + width / 2)}")
    page.locator("#stage").focus()
    before = middle_of(page)
    for key in ("+", "-"):  # a tenth less, and a tenth of what is left more
        page.keyboard.press(key)
    expect(page.locator("#frame")).to_have_attribute("src", re.compile("window="))
    page.keyboard.press("r")
    expect(page.locator("#frame")).not_to_have_attribute("src", re.compile("window="))
    assert middle_of(page) == before


def test_the_small_viewer_says_its_keys_and_fits_a_telephone(window: Open) -> None:
    for scheme in ("light", "dark"):
        seen = window(viewport=NARROW, color_scheme=scheme)
        sign_in(seen)
        page = small_viewer(seen, CT)
        expect(page.locator("#window")).to_contain_text("W ")
        stage = page.locator("#stage").bounding_box()
        assert stage is not None
        assert stage["height"] >= NARROW["width"] * 0.9, "the image is what the page is for"
        assert stage["y"] + stage["height"] <= NARROW["height"], "all of the image is seen at once"
        page.locator("#stage").focus()
        page.keyboard.press("?")
        expect(page.get_by_text("more and less contrast")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        kept(seen, f"small-narrow-{scheme}")
        page.keyboard.press("?")
        expect(page.get_by_text("more and less contrast")).to_be_hidden()
