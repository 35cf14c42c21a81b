"""A scan that is fetched, altered and sent back, by DCMTK over C-STORE and by STOW-RS: what is stored stays."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from harness import archives
from harness.archives import RunningArchive
from harness.https import serving_https
from harness.samples import sample
from strongroom.app import Archive
from strongroom.archive.model import Action, Event

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not all(map(shutil.which, ("storescu", "dcmcjpls"))), reason="DCMTK is not installed"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

Alter = Callable[[Path, Path], object]


def edited(change: Callable[[pydicom.Dataset], object]) -> Alter:
    def alter(before: Path, after: Path) -> None:
        dataset = pydicom.dcmread(before)
        change(dataset)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(after, enforce_file_format=True)

    return alter


def recoded(*command: str) -> Alter:
    return lambda before, after: subprocess.run([*command, before, after], check=True, capture_output=True, timeout=60)


def one_pixel(dataset: pydicom.Dataset) -> None:
    pixels = bytearray(dataset.PixelData)
    pixels[len(pixels) // 2] ^= 1
    dataset.PixelData = bytes(pixels)


def another_study(dataset: pydicom.Dataset) -> None:
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()


@dataclass(frozen=True)
class Case:
    """An alteration, the option that proposes what it is encoded as, and what is to come of it."""

    alter: Alter
    status: int
    reason: str
    severity: str = ""
    option: str = "-xe"

    @property
    def is_alert(self) -> bool:
        return self.severity in ("high", "critical")


CASES = {
    "nothing": Case(shutil.copy, 0, "resent"),
    "one pixel": Case(edited(one_pixel), 0xC010, "sop-instance-altered", "critical"),
    "one rescale value": Case(
        edited(lambda dataset: setattr(dataset, "RescaleIntercept", "-1023")),
        0xC015, "sop-instance-metadata-altered", "high",
    ),
    "one laterality": Case(
        edited(lambda dataset: setattr(dataset, "Laterality", "L")), 0xC015, "sop-instance-metadata-altered", "high"
    ),
    "one patient name": Case(
        edited(lambda dataset: setattr(dataset, "PatientName", "Roe^Richard")), 0xB000, "coerced", "medium"
    ),
    "lossless RLE": Case(recoded("dcmcrle"), 0, "variant", option="-xr"),
    "lossless JPEG-LS": Case(recoded("dcmcjpls", "+un"), 0, "variant", option="-xt"),
    "implicit VR": Case(recoded("dcmconv", "+ti"), 0, "variant", option="-xi"),
    "big endian": Case(recoded("dcmconv", "+tb"), 0, "variant", option="-xb"),
    "deflated": Case(recoded("dcmconv", "+td"), 0, "variant", option="-xd"),
    "lossy JPEG-LS": Case(
        recoded("dcmcjpls", "+en", "+md", "3", "+un"), 0xC016, "sop-instance-lossy-copy", "medium", "-xu"
    ),
    "lossy JPEG-LS, beyond recognition": Case(
        recoded("dcmcjpls", "+en", "+md", "2000", "+un"), 0xC010, "sop-instance-altered", "critical", "-xu"
    ),
    "another study": Case(edited(another_study), 0xC011, "sop-instance-in-another-series", "critical"),
    "another patient": Case(
        edited(lambda dataset: setattr(dataset, "PatientID", "SOMEBODY-ELSE")),
        0xC012, "study-of-another-patient", "critical",
    ),
}  # fmt: skip
parametrized = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def scan(folder: Path) -> Path:
    """A scan of a patient of its own, as it was acquired."""
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (generate_uid() for _ in range(3))
    dataset.PatientID = dataset.SOPInstanceUID[-12:]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PixelRepresentation = 0  # dcmcjpls compresses no signed pixels with loss; these are all positive
    del dataset.DataSetTrailingPadding, dataset.PixelPaddingValue
    path = folder / "acquired.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def sop_uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def require_verdict(case: Case, archive: Archive, log: str, path: Path) -> None:
    """The trail has the verdict, and its alert if it is bad; what is stored is what came first."""
    sop_uid = sop_uid_of(path)
    stored = archive.index.find_object(sop_uid)
    assert stored is not None
    with open(path, "rb") as file:
        first = pydicom.dcmread(file, stop_before_pixels=True)
    assert (stored.study_uid, stored.transfer_syntax) == (first.StudyInstanceUID, first.file_meta.TransferSyntaxUID)
    events = [event for event in archives.trail_events(archive, log) if event.details.get("sop_uid") == sop_uid]
    assert [event.details.get("verdict") for event in events[:1]] == ["stored"]
    if not case.severity:
        assert [event.details["verdict"] for event in events] == ["stored", case.reason]
        return
    (held,) = [event for event in events if event.action is Action.QUARANTINE]
    assert (held.details["reason"], held.details["severity"]) == (case.reason, case.severity)
    alerts: list[Event] = [event for event in events if event.action is Action.ALERT]
    assert [each.details["reason"] for each in alerts] == ([case.reason] if case.is_alert else [])
    (entry,) = [each for each in archive.quarantine.entries() if each.sop_uid == sop_uid]
    assert entry.id == held.details["quarantine"]
    assert (entry.reason, entry.severity) == (case.reason, case.severity)


@pytest.fixture(scope="module")
def over_dicom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("altered") / "home")
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    with archives.serving(home) as running:
        yield running
        assert "Traceback" not in running.output
        assert "Roe" not in running.output


def send(running: RunningArchive, path: Path, option: str, aet: str = "SENDER") -> tuple[int, str]:
    """Send a file with storescu; the status and all that the tool said."""
    options = [*running.credentials(aet).dcmtk, "-aet", aet, "-aec", archives.AET, "-d", option]
    command = ["storescu", *options, "127.0.0.1", str(running.port), str(path)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, errors="replace")
    said = output.stdout + output.stderr
    (status,) = re.findall(r"^D: DIMSE Status +: 0x([0-9a-f]{4})", said, re.MULTILINE)
    return int(status, 16), said


@parametrized
def test_over_c_store(case: Case, over_dicom: RunningArchive, tmp_path: Path) -> None:
    path, again = scan(tmp_path), tmp_path / "again.dcm"
    case.alter(path, again)
    assert send(over_dicom, path, "-xe")[0] == 0
    status, said = send(over_dicom, again, case.option)
    assert status == case.status
    if case.severity not in ("", "medium"):
        assert re.search(r"Q[0-9]+", said), "the sender is told what the object is held as"
    with archives.opened(over_dicom.home) as archive:
        require_verdict(case, archive, archives.SERVE_LOG, path)


@parametrized
def test_over_stow(case: Case, tmp_path: Path) -> None:
    home = archives.new_home(tmp_path / "home")
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    path, again = scan(tmp_path), tmp_path / "again.dcm"
    case.alter(path, again)
    with serving_https(home) as running, running.client("SENDER") as client:
        assert client.store([path.read_bytes()]).status == 200
        answer = client.store([again.read_bytes()])
        if case.status >> 12 == 0xC:
            assert answer.status == 409
            (item,) = answer.json["00081198"]["Value"]
            assert item["00081197"]["Value"] == [case.status]
        else:
            assert answer.status == (202 if case.status else 200)
            (item,) = answer.json["00081199"]["Value"]
            assert item.get("00081196", {}).get("Value", [0]) == [case.status]
        log = running.archive.trail_reader
        with running.archive.index.database.read() as cursor:
            (name,) = [each for each in log.logs(cursor) if each.startswith("https")]
        require_verdict(case, running.archive, name, path)


def another_slice(path: Path, folder: Path, **changes: str) -> Path:
    """The next slice of a scan, with changes."""
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.InstanceNumber = 2
    for name, value in changes.items():
        setattr(dataset, name, value)
    after = folder / "next.dcm"
    dataset.save_as(after, enforce_file_format=True)
    return after


def test_a_late_slice_from_elsewhere_is_stored_as_unverified(tmp_path: Path) -> None:
    home = archives.new_home(tmp_path / "home", {"screening": {"study_closes_after_h": 0.0}})
    with archives.opened(home) as archive:
        for aet in ("SENDER", "INTRUDER"):
            archives.add_peer(archive, aet, "store")
    path = scan(tmp_path)
    own, late = (another_slice(path, tmp_path).rename(tmp_path / name) for name in ("own.dcm", "late.dcm"))
    with archives.serving(home) as running:
        for file in (path, own):
            assert send(running, file, "-xe")[0] == 0
        assert not [event for event in running.served_events() if event.action is Action.ALERT]
        assert send(running, late, "-xe", "INTRUDER")[0] == 0
        alert = running.wait_for_event(lambda event: event.action is Action.ALERT)
        assert (alert.details["reason"], alert.details["sop_uid"]) == ("unverified", sop_uid_of(late))
        assert alert.principal.aet == "INTRUDER"
        with archives.opened(home) as archive, archive.index.database.read() as cursor:
            rows = cursor.execute("SELECT sop_uid, reason FROM flagged JOIN instance ON instance.id = flagged.id")
            assert [tuple(row) for row in rows.fetchall()] == [(sop_uid_of(late), "unverified")]


def test_pixels_of_another_patient_are_flagged_soon_after(tmp_path: Path) -> None:
    home = archives.new_home(tmp_path / "home", {"screening": {"digests": True}})
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    path = scan(tmp_path)
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    copied = another_slice(path, tmp_path, PatientID="SOMEBODY-ELSE", PatientName="Roe^Richard", **uids)
    subprocess.run(["dcmcjpls", "+un", copied, copied], check=True, capture_output=True, timeout=60)
    with archives.serving(home) as running:
        assert send(running, path, "-xe")[0] == 0
        running.wait_for_event(lambda event: event.action is Action.DIGEST, log="digest", timeout_s=30)
        assert send(running, copied, "-xt")[0] == 0
        alert = running.wait_for_event(lambda event: event.action is Action.ALERT, log="digest", timeout_s=30)
        assert alert.details["reason"] == "pixels-of-another-patient"
        assert alert.details["sop_uid"] == sop_uid_of(copied)
