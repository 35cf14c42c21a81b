"""What folders and media hold, taken in; and a study given out again as a medium."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from harness import media
from harness.archives import clean_environment, new_home, opened, strongroom_command, trail_events
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, stored_digest, visible_sop_uids
from harness.samples import SAMPLES_ROOT, sample_files
from strongroom.admin import exporting, importing
from strongroom.admin.exporting import Exported, export_study
from strongroom.admin.importing import Fate, Import, Tally
from strongroom.admin.manifest import manifest_sha256
from strongroom.admin.media import MAX_FOLDER_DEPTH, FoundFile, Unusable, walk
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import ConfigError, NotFound, StorageUnavailable


@pytest.fixture
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Outside ``tmp_path``, all of which is imported by some tests."""
    with opened(new_home(tmp_path_factory.mktemp("archive") / "home")) as found:
        yield found


def paths_of(*roots: Path) -> list[str]:
    return [found.path for found in walk(roots) if isinstance(found, FoundFile)]


def unusable_of(*roots: Path) -> dict[str, str]:
    return {os.path.basename(found.path): found.reason for found in walk(roots) if isinstance(found, Unusable)}


@contextmanager
def file_set(path: Path) -> Iterator[FileSet]:
    """A DICOMDIR as pydicom reads it, whose temporary folder would else be cleaned up with a warning."""
    found = FileSet(path)
    try:
        yield found
    finally:
        found._stage["t"].cleanup()


def counts(tally: Tally) -> dict[str, int]:
    return {fate.value: count for fate, count in tally.counts.items() if count}


# -- walking


def test_files_come_in_the_order_of_their_names_whatever_the_disk_says(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a", "c/d/e", "B"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [os.path.relpath(path, tmp_path) for path in paths_of(tmp_path)] == ["B", "a", "b/10", "b/2", "c/d/e"]


def test_links_are_named_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "real").write_bytes(b"x")
    (root / "loop").symlink_to(root)
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert paths_of(root) == [str(root / "real")]
    assert set(unusable_of(root)) == {"loop", "folder", "file", "dangling"}
    assert all(found.is_link for found in walk([root]) if isinstance(found, Unusable))


def test_a_named_link_is_what_the_operator_meant(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert paths_of(tmp_path / "link") == [str(tmp_path / "real" / "file")]


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert paths_of(tmp_path) == []
    assert unusable_of(tmp_path) == {"fifo": "not a regular file"}
    assert unusable_of(tmp_path / "fifo") == {"fifo": "not a regular file"}


def test_folders_without_end_end(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (MAX_FOLDER_DEPTH + 3))
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    assert paths_of(tmp_path) == []
    assert unusable_of(tmp_path) == {"d": "folders are nested too deep"}


def test_a_path_that_is_not_there_stops_everything_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigError, match="nowhere"):
        list(walk([tmp_path, tmp_path / "nowhere"]))


def test_a_path_named_twice_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert len(paths_of(tmp_path, tmp_path / ".", tmp_path)) == 1


def test_names_that_are_not_text_are_files_all_the_same(tmp_path: Path, archive: Archive) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe\x1b[2J"
    with open(name, "wb") as file:
        file.write(media.part10(Sample(1)))
    tally, _ = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 1}


# -- DICOMDIR


def test_of_a_dicomdir_only_the_referenced_files_are_taken(tmp_path: Path) -> None:
    media.write(tmp_path / "IMAGES" / "A1", Sample(1))
    media.write(tmp_path / "IMAGES" / "A2", Sample(2))
    media.write(tmp_path / "OTHER", Sample(3))
    listed = tmp_path / "DICOMDIR"
    listed.write_bytes(media.dicomdir([(("IMAGES", "A2"), Sample(2)), (("IMAGES", "A1"), Sample(1))]))
    expected = [str(tmp_path / "IMAGES" / name) for name in ("A2", "A1")]
    assert paths_of(tmp_path) == expected
    assert paths_of(listed) == expected
    listed.rename(tmp_path / "dicomdir-of-friday")
    assert paths_of(tmp_path / "dicomdir-of-friday") == expected


def test_names_of_a_mounted_medium_may_be_lower_case_or_have_a_version(tmp_path: Path) -> None:
    media.write(tmp_path / "images" / "a1.;1", Sample(1))
    (tmp_path / "DICOMDIR").write_bytes(media.dicomdir([(("IMAGES", "A1"), Sample(1))]))
    assert paths_of(tmp_path) == [str(tmp_path / "images" / "a1.;1")]


def test_a_reference_never_leaves_its_medium(tmp_path: Path) -> None:
    secret = media.write(tmp_path / "secret" / "A1", Sample(1))
    medium = tmp_path / "medium"
    (medium / "IN").mkdir(parents=True)
    (medium / "LINK").symlink_to(secret.parent)
    (medium / "IN" / "L").symlink_to(secret)
    sample = Sample(1)
    (medium / "DICOMDIR").write_bytes(
        media.dicomdir([(("LINK", "A1"), sample), (("IN", "L"), Sample(2)), (("GONE", "A1"), Sample(3))])
    )
    raw = (medium / "DICOMDIR").read_bytes()
    assert raw.count(b"GONE\\A1") == 1
    (medium / "DICOMDIR").write_bytes(raw.replace(b"GONE\\A1", b"..\\..\\A"))
    assert paths_of(medium) == []
    assert unusable_of(medium) == {
        "DICOMDIR": "1 references are no path below the DICOMDIR",
        "LINK": "no folder, though the DICOMDIR says so",
        "L": "a symbolic link, not followed",
    }


def test_a_dicomdir_that_cannot_be_read_is_named_and_the_folder_taken_instead(tmp_path: Path, archive: Archive) -> None:
    media.write(tmp_path / "A1", Sample(1))
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 200)
    tally, failures = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 1, "unreadable": 1, "not_dicom": 1}
    assert [(Path(failure.path).name, failure.fate) for failure in failures] == [
        ("DICOMDIR", Fate.UNREADABLE),
        ("DICOMDIR", Fate.NOT_DICOM),
    ]


def test_pydicoms_medium_is_taken_by_its_dicomdir(archive: Archive) -> None:
    medium = SAMPLES_ROOT / "test_files" / "dicomdirtests"
    tally, _ = media.take_in(archive, medium)
    with file_set(medium / "DICOMDIR") as listed:
        assert visible_sop_uids(archive) == {instance.SOPInstanceUID for instance in listed}
        assert tally.total_files == len(listed)


# -- import


def test_every_sample_of_pydicom_is_stored_named_or_no_dicom(archive: Archive) -> None:
    tally, failures = media.take_in(archive, SAMPLES_ROOT / "test_files", SAMPLES_ROOT / "charset_files")
    assert tally.done_files == tally.total_files == sum(tally.counts.values())
    assert tally.counts[Fate.STORED] > 100
    assert tally.counts[Fate.UNREADABLE] == 0
    fates = (Fate.REFUSED, Fate.QUARANTINED)
    assert len(failures) == sum(tally.counts[fate] for fate in (*fates, Fate.NOT_DICOM))
    failures = [failure for failure in failures if failure.fate in fates]
    assert not tally.is_good
    reasons = {re.sub(r"^Q\d+: | byte .*", "", failure.reason) for failure in failures}
    assert reasons == {
        "sop-instance-altered",
        "sop-instance-metadata-altered",
        "coerced",
        "sop-instance-uid-differs",
        "sop-class-uid-missing",
        "series-instance-uid-missing",
        "no-transfer-syntax",
        "a value runs past the end",
        "an unknown VR at (0008,0008)",
    }
    truncated = {Path(failure.path).name for failure in failures if "past the end" in failure.reason}
    assert truncated == {"MR_truncated.dcm", "rtplan_truncated.dcm"}
    for uid in visible_sop_uids(archive):
        stored = archive.index.find_object(uid)
        assert stored is not None
        assert stored_digest(archive, uid) == stored.sha256


def test_files_without_meta_information_say_themselves_what_they_are(tmp_path: Path, archive: Archive) -> None:
    (tmp_path / "bare").write_bytes(Sample(1).dataset)
    tally, _ = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 1}
    assert stored_digest(archive, Sample(1).sop_uid) == Sample(1).sha256


def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path: Path, archive: Archive) -> None:
    for number in range(20):
        media.write(tmp_path / f"{number:02}", Sample(number, pixel_bytes=LARGE_PIXELS if number % 5 else SMALL_PIXELS))
    whole = (tmp_path / "07").read_bytes()
    (tmp_path / "07").write_bytes(whole[:-100])
    (tmp_path / "09").write_bytes(whole.replace(b"2.25.77.0.0.7\0", b"2.25.77.0.0.8\0", 1))
    (tmp_path / "notes.txt").write_text("Doe^Jane")
    (tmp_path / "empty").write_bytes(b"")
    tally, failures = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 18, "refused": 2, "not_dicom": 2}
    assert {Path(failure.path).name for failure in failures} == {"07", "09", "notes.txt", "empty"}
    failures = [failure for failure in failures if failure.fate is Fate.REFUSED]
    altered, truncated = sorted(failures, key=lambda failure: failure.path, reverse=True)
    assert altered.reason == "sop-instance-uid-differs"
    assert truncated.reason.startswith("a value runs past the end byte 9")
    refused = [event for event in trail_events(archive) if event.outcome is Outcome.REFUSED]
    assert len(refused) == 2
    assert {event.action for event in refused} == {Action.IMPORT}


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, archive: Archive, monkeypatch) -> None:
    media.write(tmp_path / "a", Sample(1))
    media.write(tmp_path / "b", Sample(2))
    real = importing.open_regular

    def fail(path: str) -> int:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(importing, "open_regular", fail)
    tally, failures = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 1, "unreadable": 1}
    assert [(Path(failure.path).name, failure.reason) for failure in failures] == [("a", "Permission denied")]


def test_a_file_that_grows_while_it_is_read_is_not_half_an_object(
    tmp_path: Path, archive: Archive, monkeypatch
) -> None:
    path = media.write(tmp_path / "a", Sample(1))
    real = importing.open_regular

    def grow(opened: str) -> int:
        fd = real(opened)
        with path.open("ab") as file:
            file.write(b"\xfc\xff\xfc\xff" + b"OB\0\0" + bytes(4))
        return fd

    monkeypatch.setattr(importing, "open_regular", grow)
    _, failures = media.take_in(archive, tmp_path)
    assert [failure.reason for failure in failures] == ["file-changed"]
    assert visible_sop_uids(archive) == set()


def test_a_second_run_reads_nothing_again(tmp_path: Path, archive: Archive, monkeypatch) -> None:
    for number in range(5):
        media.write(tmp_path / str(number), Sample(number))
    media.take_in(archive, tmp_path)
    monkeypatch.setattr(importing, "open_regular", lambda path: pytest.fail("a file was opened again"))
    tally, _ = media.take_in(archive, tmp_path)
    assert counts(tally) == {"resumed": 5}
    assert tally.is_good
    assert tally.data_bytes == 0


def test_a_file_that_changed_is_read_again(tmp_path: Path, archive: Archive) -> None:
    path = media.write(tmp_path / "a", Sample(1))
    media.take_in(archive, tmp_path)
    os.utime(path, ns=(0, 0))
    assert counts(media.take_in(archive, tmp_path)[0]) == {"already_here": 1}
    media.write(path, Sample(2))
    assert counts(media.take_in(archive, tmp_path)[0]) == {"stored": 1}


def test_what_was_stored_by_another_way_is_marked_too(tmp_path: Path, archive: Archive) -> None:
    store(archive, Sample(1))
    media.write(tmp_path / "a", Sample(1))
    assert counts(media.take_in(archive, tmp_path)[0]) == {"already_here": 1}
    assert counts(media.take_in(archive, tmp_path)[0]) == {"resumed": 1}


def test_what_was_refused_is_tried_again(tmp_path: Path, archive: Archive) -> None:
    path = media.write(tmp_path / "a", Sample(1))
    path.write_bytes(path.read_bytes()[:-10])
    for _ in range(2):
        assert counts(media.take_in(archive, tmp_path)[0]) == {"refused": 1}


def test_the_trail_says_when_an_import_began_and_ended_and_never_a_path(tmp_path: Path, archive: Archive) -> None:
    folder = tmp_path / "DOE_JANE_19800101"
    media.write(folder / "a", Sample(1))
    (folder / "b").write_bytes(media.part10(Sample(2))[:-10])
    media.take_in(archive, folder)
    events = [event for event in trail_events(archive) if event.action is Action.IMPORT]
    assert events[0].details["phase"] == "begin"
    assert events[-1].details["phase"] == "end"
    assert (events[-1].details["stored"], events[-1].details["refused"]) == (1, 1)
    assert events[-1].outcome is Outcome.WARNING
    stored = [event for event in events if event.details.get("sop_uid") == Sample(1).sop_uid]
    assert stored[0].details["sha256"] == Sample(1).sha256.hex()
    assert "DOE_JANE" not in repr(events)
    assert "Doe^Jane" not in repr(events)


def test_an_import_stops_when_the_archive_fails_and_goes_on_later(
    tmp_path: Path, archive: Archive, monkeypatch
) -> None:
    for number in range(30):
        media.write(tmp_path / f"{number:02}", Sample(number, pixel_bytes=LARGE_PIXELS))
    real, calls = archive.blobs.create, Counter[str]()

    def fail(object_id: bytes, key: bytes) -> object:
        calls["create"] += 1
        if calls["create"] > 10:
            raise StorageUnavailable("no space left")
        return real(object_id, key)

    with monkeypatch.context() as patch:
        patch.setattr(archive.blobs, "create", fail)
        with pytest.raises(StorageUnavailable, match="no space"):
            media.take_in(archive, tmp_path)
    assert len(visible_sop_uids(archive)) == 10
    last = [event for event in trail_events(archive) if event.details.get("phase") == "end"][-1]
    assert (last.outcome, last.details["stored"]) == (Outcome.FAILED, 10)
    tally, _ = media.take_in(archive, tmp_path)
    assert counts(tally) == {"resumed": 10, "stored": 20}


def test_an_interrupted_import_ends_in_order(tmp_path: Path, archive: Archive) -> None:
    for number in range(20):
        media.write(tmp_path / f"{number:02}", Sample(number))

    def interrupt(tally: Tally, failure: object) -> None:
        if tally.done_files == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Import(archive, interrupt).run([tmp_path])
    stored = len(visible_sop_uids(archive))
    assert 5 <= stored < 20
    last = [event for event in trail_events(archive) if event.details.get("phase") == "end"][-1]
    assert last.details["interrupted"] is True
    assert counts(media.take_in(archive, tmp_path)[0]) == {"resumed": stored, "stored": 20 - stored}


def test_a_fault_of_our_own_costs_one_file(tmp_path: Path, archive: Archive, monkeypatch, caplog) -> None:
    media.write(tmp_path / "a", Sample(1))
    media.write(tmp_path / "b", Sample(2))
    real = Import._arrival

    def fail(self: Import, header: object, data_set: memoryview) -> object:
        if Sample(1).sop_uid.encode() in bytes(data_set):
            raise ZeroDivisionError("Doe^Jane")
        return real(self, header, data_set)  # type: ignore[arg-type]

    monkeypatch.setattr(Import, "_arrival", fail)
    tally, failures = media.take_in(archive, tmp_path)
    assert counts(tally) == {"stored": 1, "refused": 1}
    assert [failure.reason for failure in failures] == ["ZeroDivisionError"]
    assert "Doe" not in caplog.text


def test_a_killed_import_goes_on_where_it_was(tmp_path: Path, archive_home) -> None:
    home = archive_home()
    folder = tmp_path / "files"
    for number in range(400):
        media.write(folder / f"{number:03}", Sample(number, study=number % 7))
    command = strongroom_command("import", "--home", home.root, folder)
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pause = threading.Event()
        with opened(home) as archive:
            while len(visible_sop_uids(archive)) < 20 and process.poll() is None:
                pause.wait(0.005)  # another process's progress can only be polled
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    with opened(home) as archive:
        before = len(visible_sop_uids(archive))
        assert 20 <= before < 400
        tally, _ = media.take_in(archive, folder)
        assert counts(tally) == {"resumed": before, "stored": 400 - before}
        assert len(visible_sop_uids(archive)) == 400


# -- export


def export(archive: Archive, study_uid: str, out: Path) -> Exported:
    return export_study(archive, study_uid, out, lambda *_: None)


def studies_of(archive: Archive) -> list[str]:
    with archive.index.database.read() as cursor:
        return [row[0] for row in cursor.execute("SELECT study_uid FROM study ORDER BY id").fetchall()]


def data_set_of(raw: bytes) -> bytes:
    """What stands behind the File Meta Information, by its group length (PS3.10 7.1)."""
    assert raw[128:132] == b"DICM"
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def test_everything_that_was_imported_leaves_as_it_came(tmp_path: Path, archive: Archive) -> None:
    media.take_in(archive, *sample_files())
    came = {}
    for path in sample_files():
        raw = path.read_bytes()
        came.setdefault(data_set_of(raw), path)
    exported = 0
    for number, study_uid in enumerate(studies_of(archive)):
        out = tmp_path / str(number)
        done = export(archive, study_uid, out)
        assert done.damaged == ()
        with file_set(out / "DICOMDIR") as listed:
            for instance in listed:
                loaded = instance.load()
                assert loaded.SOPInstanceUID == instance.SOPInstanceUID
                assert loaded.file_meta.MediaStorageSOPInstanceUID == loaded.SOPInstanceUID
                assert loaded.StudyInstanceUID == study_uid
                exported += 1
        for path in (out / "DICOM").iterdir():
            assert data_set_of(path.read_bytes()) in came
    assert exported == len(visible_sop_uids(archive)) > 80


@pytest.mark.interop
def test_dcmtk_reads_the_medium_and_would_have_made_the_same_one(tmp_path: Path, archive: Archive) -> None:
    if not shutil.which("dcmmkdir"):
        pytest.skip("DCMTK is not installed")
    media.take_in(archive, SAMPLES_ROOT / "test_files" / "dicomdirtests")
    study_uid = max(studies_of(archive), key=lambda uid: uid)
    export(archive, study_uid, tmp_path / "out")
    ours = dump(tmp_path / "out" / "DICOMDIR")
    files = sorted(f"DICOM/{path.name}" for path in (tmp_path / "out" / "DICOM").iterdir())
    subprocess.run(
        ["dcmmkdir", "+D", "THEIRS", "+id", ".", "-Nxc", "+I", *files], cwd=tmp_path / "out", check=True,
        capture_output=True,
    )  # fmt: skip
    theirs = dump(tmp_path / "out" / "THEIRS")
    assert ours == theirs
    assert len(ours) == len(files)


def dump(path: Path) -> dict[str, tuple[str, str, str]]:
    """What dcmdump says of a DICOMDIR: record type, file and transfer syntax of every referenced instance."""
    subprocess.run(["dcmdump", "-q", "+L", path], check=True, capture_output=True)
    return {
        str(record.ReferencedSOPInstanceUIDInFile): (
            record.DirectoryRecordType,
            "/".join(record.ReferencedFileID),
            str(record.ReferencedTransferSyntaxUIDInFile),
        )
        for record in pydicom.dcmread(path).DirectoryRecordSequence
        if "ReferencedFileID" in record
    }


def test_a_medium_that_was_exported_can_be_imported_elsewhere(tmp_path: Path, archive_home) -> None:
    samples = [Sample(number, series=number % 2, pixel_bytes=LARGE_PIXELS) for number in range(4)]
    with opened(archive_home("one")) as first:
        for sample in samples:
            store(first, sample)
        exported = export(first, samples[0].study_uid, tmp_path / "out")
    with opened(archive_home("two")) as second:
        tally, _ = media.take_in(second, tmp_path / "out")
        assert counts(tally) == {"stored": 4}
        assert all(stored_digest(second, sample.sop_uid) == sample.sha256 for sample in samples)
    assert exported.manifest == manifest_sha256((sample.sop_uid, sample.sha256) for sample in reversed(samples))


def test_only_the_owner_can_read_an_export(tmp_path: Path, archive: Archive) -> None:
    store(archive, Sample(1))
    out = tmp_path / "out"
    before = os.umask(0)
    try:
        export(archive, Sample(1).study_uid, out)
    finally:
        os.umask(before)
    for path in (out, *out.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_an_export_never_overwrites(tmp_path: Path, archive: Archive) -> None:
    store(archive, Sample(1))
    (tmp_path / "out").mkdir()
    export(archive, Sample(1).study_uid, tmp_path / "out")
    before = (tmp_path / "out" / "DICOMDIR").read_bytes()
    with pytest.raises(ConfigError, match="not empty"):
        export(archive, Sample(1).study_uid, tmp_path / "out")
    assert (tmp_path / "out" / "DICOMDIR").read_bytes() == before
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigError):
        export(archive, Sample(1).study_uid, tmp_path / "file")


def test_nothing_unsealed_is_written_into_the_archive(archive: Archive) -> None:
    store(archive, Sample(1))
    for out in (archive.home.root / "out", archive.home.data / "out"):
        with pytest.raises(ConfigError, match="lies in the archive"):
            export(archive, Sample(1).study_uid, out)
        assert not out.exists()


def test_there_is_no_such_study(tmp_path: Path, archive: Archive) -> None:
    with pytest.raises(NotFound):
        export(archive, "1.2.3", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_that_data_is_about_to_leave_is_in_the_trail_before_it_does(
    tmp_path: Path, archive: Archive, monkeypatch
) -> None:
    store(archive, Sample(1))
    seen: list[list[Event]] = []
    real = exporting._Medium.add

    def add(self: exporting._Medium, stored: object) -> None:
        seen.append([event for event in trail_events(archive) if event.action is Action.EXPORT])
        real(self, stored)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting._Medium, "add", add)
    exported = export(archive, Sample(1).study_uid, tmp_path / "out")
    assert [event.details["phase"] for event in seen[0]] == ["begin"]
    end = trail_events(archive)[-1]
    assert (end.action, end.details["objects"], end.details["manifest_sha256"]) == (
        Action.EXPORT, 1, exported.manifest,
    )  # fmt: skip


def test_a_damaged_object_is_named_and_leaves_no_trace(tmp_path: Path, archive: Archive) -> None:
    good, bad = Sample(1, pixel_bytes=LARGE_PIXELS), Sample(2, pixel_bytes=3 * LARGE_PIXELS)
    store(archive, bad)
    store(archive, good)
    stored = archive.index.find_object(bad.sop_uid)
    assert stored is not None
    path = Path(archive.blobs.path(stored.object_id))
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 1
    path.write_bytes(raw)
    exported = export(archive, good.study_uid, tmp_path / "out")
    assert [damaged.sop_uid for damaged in exported.damaged] == [bad.sop_uid]
    assert exported.objects == 1
    with file_set(tmp_path / "out" / "DICOMDIR") as listed:
        assert [instance.SOPInstanceUID for instance in listed] == [good.sop_uid]
    assert [path.name for path in (tmp_path / "out" / "DICOM").iterdir()] == ["00000001"]
    assert trail_events(archive)[-1].outcome is Outcome.WARNING


def test_a_disk_that_fails_to_read_costs_the_objects_on_it_only(tmp_path: Path, archive: Archive, monkeypatch) -> None:
    for number in range(3):
        store(archive, Sample(number, pixel_bytes=LARGE_PIXELS))
    real, seen = archive.blobs.open, Counter[str]()

    def fail(object_id: bytes, key: bytes) -> object:
        seen["open"] += 1
        if seen["open"] == 2:
            raise StorageUnavailable("cannot open an object: EIO")
        return real(object_id, key)

    monkeypatch.setattr(archive.blobs, "open", fail)
    exported = export(archive, Sample(1).study_uid, tmp_path / "out")
    assert exported.objects == 2
    assert [(damaged.sop_uid, damaged.reason) for damaged in exported.damaged] == [
        (Sample(1).sop_uid, "cannot open an object: EIO")
    ]


@pytest.mark.parametrize("step", range(1, 6))
def test_when_the_disk_is_full_nothing_stays(tmp_path: Path, archive: Archive, monkeypatch, step: int) -> None:
    for number in range(3):
        store(archive, Sample(number))
    steps, real = itertools.count(1), os.fsync  # next() is atomic: files are synced by several threads

    def fail(fd: int) -> None:
        if str(tmp_path / "out") in os.readlink(f"/proc/self/fd/{fd}") and next(steps) == step:
            raise OSError(28, "No space left on device")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageUnavailable, match="No space"):
            export(archive, Sample(1).study_uid, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert trail_events(archive)[-1].outcome is Outcome.FAILED
    export(archive, Sample(1).study_uid, tmp_path / "out")


def test_the_manifest_can_be_made_with_sort_and_sha256sum() -> None:
    objects = [("1.2.10", b"\1" * 32), ("1.2.9", b"\2" * 32)]
    lines = "".join(f"{uid} {digest.hex()}\n" for uid, digest in objects)
    shell = subprocess.run(
        "LC_ALL=C sort | sha256sum", shell=True, input=lines.encode(), capture_output=True, check=True
    )
    assert manifest_sha256(objects) == shell.stdout.split()[0].decode()


def test_a_copy_with_another_name_is_named_as_held(tmp_path: Path, archive: Archive) -> None:
    media.write(tmp_path / "A1", Sample(1))
    media.take_in(archive, tmp_path)
    media.write(tmp_path / "A1", Sample(1, patient_name="Roe^Richard"))
    tally, failures = media.take_in(archive, tmp_path)
    assert counts(tally) == {"quarantined": 1}
    assert [failure.reason for failure in failures] == ["coerced"]
    assert [entry.reason for entry in archive.quarantine.entries()] == ["coerced"]
