"""Studies in the browser: searched, gone down into, uploaded and taken along; and names of hostile strangers.

Chromium against the real server over TLS, as a physician would. Screenshots are kept in ``STRONGROOM_SCREENSHOTS`` if
that is set.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.chromium import NARROW, WIDE, Open, Window, sync_api, windows
from harness.payloads import elf
from harness.people import signed_in
from harness.samples import sample
from harness.walking import NAMES
from strongroom.archive.model import Action, Event
from strongroom.archive.roles import Role

pytestmark = pytest.mark.interop
expect = sync_api.expect

STUDY, SERIES = "2.25.46", "2.25.46.1"
SLICES = 5
STUDIES = 60
"""More than one page of the list."""


def instance(study: str, number: int, **attributes: str) -> bytes:
    """One CT image as a file."""
    data = pydicom.dcmread(sample("CT_small.dcm"))
    data.SpecificCharacterSet = "ISO_IR 192"
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"{study}.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    data.InstanceNumber = number + 1
    for name, value in attributes.items():
        setattr(data, name, value)
    whole = io.BytesIO()
    data.save_as(whole, enforce_file_format=True)
    return whole.getvalue()


def hiding_a_program(study: str) -> bytes:
    """An image with a program in a private element."""
    data = pydicom.dcmread(io.BytesIO(instance(study, 0)))
    data.private_block(0x0011, "STRANGER", create=True).add_new(1, "OB", elf())
    whole = io.BytesIO()
    data.save_as(whole, enforce_file_format=True)
    return whole.getvalue()


def slices() -> list[bytes]:
    found = [
        instance(STUDY, number, PatientName="Bergström^Åsa", PatientID="4711", StudyDescription="Chest low dose",
                 AccessionNumber="A99", StudyDate="20261101")
        for number in range(SLICES)
    ]  # fmt: skip
    found.append(instance("2.25.45", 0, PatientName="Bergström^Åsa", PatientID="4711", StudyDate="20200101"))
    return found


def store(running: RunningArchive, files: list[bytes], name: str = "loader") -> None:
    client = web.client_of(running, running.add_token(name, "store"))
    headers, body = web.multipart([("application/dicom", each) for each in files])
    answer = client.request("POST", "/studies", headers, body)
    assert answer.status == 200, answer.content


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("studies") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        many = [
            instance(f"2.25.5{number:03}", 0, PatientName=f"Many^{number:03}", PatientID=f"M{number}",
                     StudyDate=f"202501{number % 28 + 1:02}",
                     ReferringPhysicianName="House^Gregory" if number % 2 else "Housemann^Ada",
                     InstitutionName="Lakeside Hospital" if number % 3 else "St. Mary's")
            for number in range(STUDIES)
        ]  # fmt: skip
        store(running, slices() + many)
        yield running


@pytest.fixture(scope="module")
def unscreened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive in which hostile names are: they would be held at the door."""
    settings = {"https": {"workers": 1}, "screening": {"enabled": False}}
    home = archives.new_home(tmp_path_factory.mktemp("hostile") / "home", settings)
    with archives.serving(home) as running:
        store(
            running,
            [
                instance(f"2.25.9{number}", 0, PatientName=name, PatientID=f"=ID{number}", StudyDescription=name[:60],
                         AccessionNumber=f"@{number}", SeriesDescription=name[:60])
                for number, name in enumerate(NAMES)
            ],
        )  # fmt: skip
        yield running


@pytest.fixture
def window(served: RunningArchive, chromium: sync_api.Browser) -> Iterator[Open]:
    """Opens windows of people who have signed in."""
    with windows(chromium, "", lambda _: True) as opener:

        def open_window(
            name: str = "jdoe", role: Role = Role.PHYSICIAN, running: RunningArchive = served, **more: object
        ) -> Window:
            return opener(signed_in(running, name, role).session, f"https://localhost:{running.https_port}", **more)

        yield open_window


def kept(window: Window, name: str) -> None:
    """Keep what is seen now."""
    if folder := os.environ.get("STRONGROOM_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        window.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def exports(running: RunningArchive) -> list[Event]:
    return [event for event in running.events() if event.action is Action.EXPORT]


def listed(window: Window) -> list[str]:
    return window.page.locator("tbody tr a").all_inner_texts()


def search(window: Window, text: str, count: int = 1) -> None:
    """Type something into the list, and wait for what it finds."""
    window.go("/studies")
    window.page.get_by_label("Patient name").press_sequentially(text)
    expect(window.page.locator("tbody tr")).to_have_count(count)


def test_the_list_goes_from_the_newest_to_the_oldest_and_back(window: Open) -> None:
    seen = window()
    seen.go("/studies")
    page = seen.page
    newest = listed(seen)
    assert newest[0] == "Bergström, Åsa"
    assert len(newest) == 50
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**older=*")
    oldest = listed(seen)
    assert len(oldest) == STUDIES + 2 - 50
    assert oldest[-1] == "Bergström, Åsa"
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**newer=*")
    assert listed(seen) == newest
    assert seen.complaints == []


@pytest.mark.parametrize(
    ("text", "count"),
    [("bergström", 2), ("ÅSA berg", 2), ("4711", 2), ("low dose", 1), ("a99 chest", 1), ("M59", 1), ("zzz", 0)],
)
def test_the_list_is_searched_as_one_types(window: Open, text: str, count: int) -> None:
    seen = window()
    seen.go("/studies")
    seen.page.get_by_label("Patient name").press_sequentially(text)
    if count:
        expect(seen.page.locator("tbody tr")).to_have_count(count)
    else:
        expect(seen.page.locator(".empty")).to_contain_text("Nothing that you may see matches.")
    assert seen.complaints == []


def test_what_is_typed_stands_in_no_address_and_is_there_again(
    window: Open, served: RunningArchive, tmp_path: Path
) -> None:
    seen = window()
    page, asked = seen.page, []
    page.on("request", lambda request: asked.append(request.url))
    search(seen, "many", 50)
    page.wait_for_url("**/studies?typed=*")
    mine = page.url
    page.reload()
    expect(page.get_by_label("Patient name")).to_have_value("many")
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**older=*")
    assert len(listed(seen)) == STUDIES - 50
    expect(page.get_by_label("Patient name")).to_have_value("many")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save as CSV").click()
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert {row[0].split(",")[0] for row in rows[1:]} == {"Many"}
    assert len(rows) == STUDIES + 1
    page.locator("tbody tr a").first.click()
    page.wait_for_url("**/studies/2.25.*")
    page.go_back()
    assert len(listed(seen)) == STUDIES - 50
    page.go_back()
    assert page.url == mine
    assert len(listed(seen)) == 50
    assert not [url for url in asked if "many" in url.lower()]
    other = window("somebody-else")
    other.page.goto(mine)
    expect(other.page.get_by_label("Patient name")).to_have_value("")
    assert listed(other)[0] == "Bergström, Åsa"
    assert seen.complaints == other.complaints == []


def test_the_list_is_narrowed_by_dates_physician_and_institution(window: Open) -> None:
    seen = window()
    page, rows = seen.page, seen.page.locator("tbody tr")
    seen.go("/studies")
    page.get_by_text("Dates, physician").click()
    page.locator("[name=from]").fill("2025-01-02")
    page.locator("[name=to]").fill("2025-01-03")
    dated = [number for number in range(STUDIES) if number % 28 + 1 in (2, 3)]
    expect(rows).to_have_count(len(dated))
    page.get_by_label("Referring physician").fill("House, Gr")
    expect(rows).to_have_count(len([number for number in dated if number % 2]))
    page.get_by_label("Institution").fill("lakeSIDE")
    expect(rows).to_have_count(len([number for number in dated if number % 2 and number % 3]))
    page.wait_for_url("**typed=*")
    page.reload()
    expect(page.get_by_label("Institution")).to_have_value("lakeSIDE")
    expect(page.locator("[name=to]")).to_have_value("2025-01-03")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Save as CSV").click()
    assert waiting.value.path().read_text("utf-8-sig").count("Many") == rows.count()
    page.get_by_label("Institution").fill("nowhere")
    expect(page.locator(".empty")).to_be_visible()
    kept(seen, "narrowed")
    assert seen.complaints == []


def test_the_list_is_searched_without_scripts(window: Open) -> None:
    seen = window(java_script_enabled=False)
    seen.go("/studies")
    seen.page.get_by_label("Patient name").fill("chest")
    seen.page.get_by_role("button", name="Search").click()
    seen.page.wait_for_url("**/studies?typed=*")
    assert listed(seen) == ["Bergström, Åsa"]


def test_one_goes_down_from_the_list_to_what_an_instance_says(window: Open) -> None:
    seen = window()
    page = seen.page
    search(seen, "chest")
    picture = page.locator("tbody img").first
    expect(picture).to_have_js_property("naturalWidth", 64)
    page.get_by_role("link", name="Bergström, Åsa").click()
    page.get_by_role("link", name="All studies").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    kept(seen, "patient")
    page.locator("tbody tr a").first.click()
    kept(seen, "study")
    page.locator(".series-grid a").click()
    expect(page.locator(".grid li")).to_have_count(SLICES)
    kept(seen, "series")
    page.locator(".grid a").nth(2).click()
    page.wait_for_url(f"**/instances/{SERIES}.2")
    expect(page.locator("h1")).to_contain_text("instance 3")
    assert "Explicit VR Little Endian" in page.locator(".facts").inner_text()
    kept(seen, "instance")
    for text, row in (("PatientName", "Bergström^Åsa"), ("00280010", "128"), ("chest low", "Chest low dose")):
        page.get_by_label("Tag, keyword, VR or value").fill(text)
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text(row)
    page.get_by_label("Tag, keyword, VR or value").fill("nothing of that")
    expect(page.locator(".empty")).to_be_visible()
    assert seen.complaints == []


def test_a_zip_and_a_file_hold_what_was_stored_to_the_last_bit(window: Open, served: RunningArchive) -> None:
    seen = window()
    page = seen.page
    sent = {f"{STUDY}/{SERIES}/{SERIES}.{number}.dcm": each for number, each in enumerate(slices()[:SLICES])}
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"):
        seen.go(path)
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download ZIP").click()
        with zipfile.ZipFile(waiting.value.path()) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist()}
        assert {name: data_set(each) for name, each in found.items()} == {
            name: data_set(each) for name, each in sent.items()
        }
        assert all(pydicom.dcmread(io.BytesIO(each)).file_meta.MediaStorageSOPInstanceUID for each in found.values())
    seen.go(f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.0")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download file").click()
    assert waiting.value.suggested_filename == f"{SERIES}.0.dcm"
    assert data_set(waiting.value.path().read_bytes()) == data_set(slices()[0])
    told = [event.details for event in exports(served) if event.details.get("what") != "study-list"]
    assert [each["objects"] for each in told if each["phase"] == "begin"] == [SLICES, SLICES, 1]
    assert [each["objects"] for each in told if each["phase"] == "end"] == [SLICES, SLICES, 1]


def data_set(file: bytes) -> bytes:
    """What follows the file meta information, which is the archive's own (PS3.10 7.1)."""
    meta_bytes = int.from_bytes(file[140:144], "little")
    return file[144 + meta_bytes :]


def test_files_are_uploaded_and_each_is_told_what_became_of_it(
    window: Open, served: RunningArchive, tmp_path: Path
) -> None:
    folder = tmp_path / "medium"
    (folder / "deeper").mkdir(parents=True)
    files = {
        "good.dcm": instance("2.25.61", 0, PatientName="Up^Loaded", PatientID="61"),
        "deeper/duplicate.dcm": slices()[0],
        "corrupt.dcm": instance("2.25.62", 0)[:1000],
        "letter.txt": b"not an image at all" * 20,
        "program.dcm": hiding_a_program("2.25.63"),
        "DICOMDIR": b"index",
        "more.zip": b"PK\x03\x04",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    seen = window()
    page = seen.page
    seen.go("/studies")
    page.get_by_role("link", name="Upload").click()
    kept(seen, "upload-empty")
    page.get_by_label("A folder").set_input_files(folder)
    expect(page.locator("#summary")).to_contain_text("Done: 7 of 7 files")
    kept(seen, "upload-done")

    def said(name: str) -> str:
        return page.locator("#uploads tr", has_text=name).locator("td").last.inner_text()

    assert said("good.dcm") == "Stored."
    assert said("duplicate.dcm").startswith("Was there already")
    assert said("corrupt.dcm").startswith("Not stored")
    assert said("letter.txt").startswith("Not stored: It is no DICOM file")
    assert re.match(r"Held in the quarantine as Q\d+\. Something was found", said("program.dcm"))
    assert said("DICOMDIR").startswith("Passed over")
    assert "unpack it first" in said("more.zip")
    expect(page.locator("#summary")).to_contain_text(
        "1 stored, 1 already there, 1 in quarantine, 2 not stored, 2 passed"
    )
    # A browser says of each answer that it is a refusal; nothing else may be complained of.
    assert {re.sub(r".*status of (\d+).*", r"\1", each) for each in seen.complaints} <= {"400", "409"}
    search(seen, "loaded")
    assert listed(seen) == ["Up, Loaded"]
    seen.go("/studies/2.25.63")
    expect(page.locator("h1")).to_contain_text("Not found")


def test_what_is_left_of_an_upload_can_be_cancelled(window: Open, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.dcm").write_bytes(instance("2.25.64", number))
    seen = window()
    page = seen.page
    held: list[sync_api.Route] = []
    page.route("**/dicomweb/studies", lambda route: held.append(route))
    seen.go("/upload")
    page.get_by_label("Files").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.locator("#uploads progress")).to_have_count(3)
    page.get_by_role("button", name="Cancel what is left").click()
    expect(page.locator("#summary")).to_contain_text("6 cancelled")
    expect(page.locator("#uploads tr.cancelled")).to_have_count(6)


def test_files_are_dropped(window: Open) -> None:
    seen = window()
    seen.go("/upload")
    file = list(instance("2.25.65", 0, PatientName="Drop^Ped", PatientID="65"))
    transfer = seen.page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.dcm"));
            return transfer;
        }""",
        file,
    )
    seen.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(seen.page.locator("#uploads tr.stored")).to_have_count(1)
    search(seen, "ped")
    assert listed(seen) == ["Drop, Ped"]


def test_the_keyboard_reaches_what_chooses_files_and_a_session_that_ended_is_told(window: Open, tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(instance("2.25.66", 0))
    seen = window()
    page = seen.page
    seen.go("/upload")
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert "files,folder" in ",".join(reached)
    page.context.clear_cookies()
    page.get_by_label("Files").set_input_files(path)
    expect(page.locator("#trouble")).to_contain_text("not signed in any more")
    expect(page.locator("#summary")).to_contain_text("1 not stored")


def test_who_only_looks_is_offered_no_more(window: Open) -> None:
    seen = window("vera", Role.VIEWER)
    seen.go("/studies")
    assert seen.page.get_by_role("link", name="Upload").count() == 0
    assert seen.page.get_by_role("link", name="Save as CSV").count() == 1


def test_hostile_names_are_text_in_every_page_of_images(unscreened: RunningArchive, window: Open) -> None:
    # The browser knows the other archive's CA only.
    seen = window(running=unscreened, ignore_https_errors=True)
    page = seen.page
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for number, name in enumerate(NAMES):
        study = f"/studies/2.25.9{number}"
        series = f"{study}/series/2.25.9{number}.1"
        for path in ("/studies", study, f"{study}/patient", series, f"{series}/instances/2.25.9{number}.1.0"):
            seen.go(path)
            text = page.locator("body").inner_text()
            assert not set(text) & set("\u202e\u2066\u200b"), path
            assert page.locator("main bdi *").count() == 0, path
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"], path
        assert page.locator(".attributes td", has_text=re.compile("^PatientName$")).count() == 1
        if name and name.isascii():
            assert name.partition("^")[0].partition("=")[0] in text
    assert dialogs == []
    assert seen.complaints == []


def test_hostile_names_are_no_formulas_in_a_spreadsheet_and_nothing_in_a_log(unscreened: RunningArchive) -> None:
    client = signed_in(unscreened, "carla", Role.PHYSICIAN)
    answer = client.page("/studies.csv")
    assert answer.media_type == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == len(NAMES) + 1
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert not set(cell) & set("\u202e\u2066\u200b")
    found = client.get("/studies", "application/dicom+json").json
    assert NAMES[1].partition("=")[0] in {each["00100010"].get("Value", [{}])[0].get("Alphabetic") for each in found}
    told = [event.details for event in unscreened.events() if event.action is Action.EXPORT]
    assert told[-1]["studies"] == len(NAMES)
    words = ("Mallory", "HYPERLINK", "Wolfeschlegel", "gnp.gnorts", "Bergstr")
    assert not any(word in unscreened.output for word in words)
    assert not any(word in repr(event) for event in unscreened.events() for word in words)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_images_fit_a_telephone(window: Open, scheme: str) -> None:
    seen = window(viewport=NARROW, color_scheme=scheme)
    series = f"/studies/{STUDY}/series/{SERIES}"
    paths = {"studies": "/studies", "study": f"/studies/{STUDY}", "series": series, "upload": "/upload"}
    for name, path in (paths | {"instance": f"{series}/instances/{SERIES}.0"}).items():
        seen.go(path)
        kept(seen, f"{name}-narrow-{scheme}")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
