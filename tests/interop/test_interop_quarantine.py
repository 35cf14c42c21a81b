"""The quarantine as senders and readers meet it: C-STORE by DCMTK and pynetdicom, STOW-RS, import; invisible to all."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

from harness import archives, media
from harness.archives import AET, ALL_RIGHTS, RunningArchive, opened
from harness.https import RunningHttps, serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, stored_digest, visible_sop_uids
from harness.postgres import free_port
from harness.pynetdicom_peers import (
    COMMITMENT_INSTANCE,
    STUDY_GET,
    STUDY_MOVE,
    WAIT_S,
    Peer,
    associated,
    counts,
    identifier,
    last,
    listening,
)
from harness.quarantines import add_officers, hold, infected
from strongroom.admin.check import check
from strongroom.admin.quarantine import Step, release
from strongroom.admin.two_people import Order, now_us
from strongroom.app import Archive
from strongroom.archive.model import Action, Outcome
from strongroom.dicom.part10 import encode_file_meta
from strongroom.store.quarantine import What

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]
BAD, GOOD = Sample(1, study=1), Sample(2, study=1)
ALONE = Sample(3, study=3)
"""Held, in a study and of a patient of whom nothing is stored."""


def file_of(sample: Sample, raw: bytes = b"") -> bytes:
    meta = encode_file_meta(
        sop_class=CT_IMAGE_STORAGE,
        sop_uid=sample.sop_uid,
        transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN,
        implementation_uid="1.2.3",
        implementation_version="TEST",
    )
    return meta + (raw or sample.dataset)


def dataset_of(sample: Sample, raw: bytes = b"") -> Dataset:
    return dcmread(BytesIO(file_of(sample, raw)))


def release_by_two(archive: Archive, number: int) -> None:
    add_officers(archive, "ann", "bob")
    steps = [release(archive, Order(What.RELEASE, number, user, "fine", now_us())).step for user in ("ann", "bob")]
    assert steps == [Step.ASKED, Step.RELEASED]


def alerts(events: list[Any]) -> list[Any]:
    return [event for event in events if event.action is Action.ALERT]


# -- senders


def test_a_sender_over_dimse_hears_a_failure_with_the_id_and_a_repetition_costs_nothing(
    local_archive: ArchiveFactory,
) -> None:
    running = local_archive({"SCU": ALL_RIGHTS})
    archive = running.archive
    assert archive is not None
    with associated(running, more=[CTImageStorage]) as association:
        answers = [association.send_c_store(dataset_of(BAD, infected(BAD))) for _ in range(3)]
        assert association.send_c_store(dataset_of(GOOD)).Status == 0
    assert [(each.Status, each.ErrorComment) for each in answers] == [(0xC020, "quarantined as Q1: screening")] * 3
    entry = archive.quarantine.find(1)
    assert (entry.times, entry.reason, entry.sender.aet) == (3, "screening", "SCU")
    assert entry.sender.address == "127.0.0.1"
    assert b"SR-PE-001" in entry.findings
    assert visible_sop_uids(archive) == {GOOD.sop_uid}
    ended = running.wait_for_event(lambda event: event.details.get("phase") == "end")
    assert (ended.details["stored"], ended.details["refused"], ended.details["quarantined"]) == (1, 0, 3)
    assert not [event for event in running.events() if event.outcome is Outcome.REFUSED]
    assert alerts(running.events())
    assert check(archive, lambda *_: None).findings == ()


@pytest.mark.skipif(not shutil.which("storescu"), reason="storescu is not installed")
def test_storescu_goes_on_with_the_next_object(local_archive: ArchiveFactory, tmp_path: Path) -> None:
    running = local_archive({"DCMTK": ALL_RIGHTS})
    for number, raw in enumerate((file_of(BAD, infected(BAD)), file_of(GOOD))):
        (tmp_path / f"{number}.dcm").write_bytes(raw)
    credentials = running.credentials("DCMTK")
    command = ["storescu", "-v", "--no-halt", *credentials.dcmtk, "-aet", "DCMTK", "-aec", AET, "127.0.0.1"]
    files = [tmp_path / "0.dcm", tmp_path / "1.dcm"]
    done = subprocess.run([*command, str(running.port), *files], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert "Received Store Response (Error: CannotUnderstand)" in said
    assert "Received Store Response (Success)" in said
    assert running.archive is not None
    assert visible_sop_uids(running.archive) == {GOOD.sop_uid}


def test_a_policy_of_refusal_keeps_nothing(local_archive: ArchiveFactory) -> None:
    running = local_archive({"SCU": ALL_RIGHTS}, screening={"high": "refuse", "critical": "refuse"})
    with associated(running, more=[CTImageStorage]) as association:
        answer = association.send_c_store(dataset_of(BAD, infected(BAD)))
    assert (answer.Status, answer.ErrorComment) == (0xC021, "screening")
    assert running.archive is not None
    assert running.archive.quarantine.entries() == []
    assert list(running.archive.blobs.ids()) == []


@pytest.mark.parametrize(("limit", "value"), [("max_quarantine_objects", 1), ("max_quarantine_bytes", 3000)])
def test_a_full_quarantine_refuses_and_lets_nothing_past(local_archive: ArchiveFactory, limit: str, value: int) -> None:
    running = local_archive({"SCU": ALL_RIGHTS}, limits={limit: value})
    archive = running.archive
    assert archive is not None
    other = Sample(9, study=2, pixel_bytes=90_000)
    with associated(running, more=[CTImageStorage]) as association:
        first = association.send_c_store(dataset_of(BAD, infected(BAD)))
        full = association.send_c_store(dataset_of(other, infected(other)))
        again = association.send_c_store(dataset_of(BAD, infected(BAD)))
        good = association.send_c_store(dataset_of(GOOD))
    assert [each.Status for each in (first, full, again, good)] == [0xC020, 0xA700, 0xC020, 0]
    assert full.ErrorComment == f"over-{limit}"
    assert visible_sop_uids(archive) == {GOOD.sop_uid}
    assert list(archive.blobs.ids()) == []
    assert running.wait_for_refusal(f"over-{limit}").details["sop_uid"] == other.sop_uid
    assert check(archive, lambda *_: None).findings == ()


@pytest.fixture
def https(tmp_path: Path) -> Iterator[RunningHttps]:
    home = archives.new_home(tmp_path / "home")
    with opened(home) as archive:
        archives.add_peer(archive, "WEB", "store,find,get,delete")
    with serving_https(home) as running:
        yield running


def test_a_sender_over_stow_hears_it_of_each_instance(https: RunningHttps) -> None:
    with https.client("WEB") as client:
        mixed = client.store([file_of(BAD, infected(BAD)), file_of(GOOD)])
        alone = client.store([file_of(BAD, infected(BAD))])
    assert (mixed.status, alone.status) == (202, 409)
    for answer in (mixed, alone):
        (failed,) = answer.json["00081198"]["Value"]
        assert failed["00081155"]["Value"] == [BAD.sop_uid]
        assert failed["00081197"]["Value"] == [0xC020]
        assert failed["00091001"]["Value"] == ["screening"]
        assert failed["00091002"]["Value"] == ["Q1"]
    assert [item["00081155"]["Value"] for item in mixed.json["00081199"]["Value"]] == [[GOOD.sop_uid]]
    assert https.archive.quarantine.find(1).times == 2
    assert visible_sop_uids(https.archive) == {GOOD.sop_uid}
    assert check(https.archive, lambda *_: None).findings == ()


def test_an_import_names_the_file_and_counts_it(archive_home, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "bad.dcm").write_bytes(file_of(BAD, infected(BAD)))
    (tmp_path / "files" / "good.dcm").write_bytes(file_of(GOOD))
    with opened(archive_home()) as archive:
        tally, _ = media.take_in(archive, tmp_path / "files")
        assert (tally.counts["quarantined"], tally.counts["stored"], tally.counts["refused"]) == (1, 1, 0)
        assert not tally.is_good
        (failure,) = tally.failures
        assert failure.path.endswith("bad.dcm")
        assert (failure.fate, failure.reason) == ("quarantined", "Q1: screening")
        again, _ = media.take_in(archive, tmp_path / "files")
        assert (again.counts["quarantined"], again.counts["resumed"]) == (1, 1)
        assert archive.quarantine.find(1).times == 2
        release_by_two(archive, 1)
        last_time, _ = media.take_in(archive, tmp_path / "files")
        assert last_time.counts["already_here"] == 1
        assert last_time.is_good


def test_a_released_object_is_stored_for_its_sender_too(local_archive: ArchiveFactory) -> None:
    running = local_archive({"SCU": ALL_RIGHTS})
    archive = running.archive
    assert archive is not None
    sent = dataset_of(BAD, infected(BAD))
    with associated(running, more=[CTImageStorage]) as association:
        assert association.send_c_store(sent).Status == 0xC020
        with opened(running.home) as operator:
            release_by_two(operator, 1)
        assert association.send_c_store(sent).Status == 0
        # Altered by one bit it is held again.
        worse = infected(BAD).replace(b"TEST VENDOR", b"TEST WENDOR")
        assert association.send_c_store(dataset_of(BAD, worse)).Status == 0xC020
    with associated(running, Peer(), get=[CTImageStorage], more=[STUDY_GET]) as association:
        status, _, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID=BAD.study_uid), STUDY_GET))
    assert counts(status) == (1, 0, 0)
    assert [entry.number for entry in archive.quarantine.entries()] == [2]
    assert stored_digest(archive, BAD.sop_uid) is not None
    assert check(archive, lambda *_: None).findings == ()


# -- readers


FIND = [StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind]


def test_nothing_of_it_is_found_or_fetched_or_committed_over_dimse(local_archive: ArchiveFactory) -> None:
    running = local_archive()
    port = free_port()
    credentials = running.add_peer("SCU", host="127.0.0.1", port=port)
    archive = running.archive
    assert archive is not None
    hold(archive, BAD)
    hold(archive, ALONE)
    peer = Peer()
    with associated(running, more=[CTImageStorage]) as association:
        assert association.send_c_store(dataset_of(GOOD)).Status == 0
    with (
        listening(credentials, peer, port),
        associated(
            running,
            peer,
            get=[CTImageStorage],
            more=[*FIND, STUDY_GET, STUDY_MOVE, StorageCommitmentPushModel],
        ) as association,
    ):
        for model in FIND:
            for asked in (
                identifier("PATIENT", PatientID="PID-3", PatientName=""),
                identifier("STUDY", PatientID="PID-3", StudyInstanceUID=""),
                identifier("STUDY", StudyInstanceUID=ALONE.study_uid),
                identifier("SERIES", StudyInstanceUID=ALONE.study_uid, SeriesInstanceUID=""),
                identifier(
                    "IMAGE",
                    StudyInstanceUID=BAD.study_uid,
                    SeriesInstanceUID=BAD.series_uid,
                    SOPInstanceUID=BAD.sop_uid,
                ),
            ):
                assert [each.Status for each, _ in association.send_c_find(asked, model)][:-1] == []
        counted = identifier("STUDY", StudyInstanceUID=BAD.study_uid)
        counted.NumberOfStudyRelatedInstances = ""
        (found, _) = [answer for _, answer in association.send_c_find(counted, FIND[0])]
        assert found.NumberOfStudyRelatedInstances == 1
        for study, number in ((ALONE.study_uid, 0), (BAD.study_uid, 1)):
            asked = identifier("STUDY", StudyInstanceUID=study)
            assert counts(last(association.send_c_get(asked, STUDY_GET))[0]) == (number, 0, 0)
            assert counts(last(association.send_c_move(asked, "SCU", STUDY_MOVE))[0]) == (number, 0, 0)
        wanted = Dataset()
        wanted.TransactionUID = "2.25.99"
        wanted.ReferencedSOPSequence = []
        for sample in (BAD, GOOD):
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE_STORAGE, sample.sop_uid
            wanted.ReferencedSOPSequence.append(item)
        association.send_n_action(wanted, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        assert peer.reported.wait(WAIT_S)
    ((_, report, _),) = peer.reports
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [GOOD.sop_uid]
    assert [item.ReferencedSOPInstanceUID for item in report.FailedSOPSequence] == [BAD.sop_uid]
    assert set(peer.stored_uids) == {GOOD.sop_uid}


def test_nothing_of_it_is_found_or_fetched_or_deleted_over_https(https: RunningHttps) -> None:
    hold(https.archive, BAD)
    hold(https.archive, ALONE)
    study = f"/studies/{ALONE.study_uid}"
    series = f"{study}/series/{ALONE.series_uid}"
    instance = f"{series}/instances/{ALONE.sop_uid}"
    with https.client("WEB") as client:
        assert client.store([file_of(GOOD)]).status == 200
        searches = ("/studies", "/series", "/instances", "/studies?PatientID=PID-3")
        for path in (*searches, f"/instances?SOPInstanceUID={BAD.sop_uid}"):
            answer = client.request("GET", path, accept="application/dicom+json")
            told = answer.body.decode()
            for uid in (ALONE.study_uid, ALONE.sop_uid, BAD.sop_uid):
                assert f'"{uid}"' not in told, path
        for place in (study, series, instance):
            for what in ("", "/metadata", "/rendered", "/thumbnail", "/bulkdata"):
                assert client.request("GET", place + what).status in (404, 405), place + what
        for what in ("/frames/1", "/pixeldata"):
            assert client.request("GET", instance + what).status in (404, 405)
        for what in ("", "/metadata"):
            path = f"/studies/{BAD.study_uid}/series/{BAD.series_uid}/instances/{BAD.sop_uid}{what}"
            assert client.request("GET", path).status == 404
        found = client.request("GET", f"/studies/{BAD.study_uid}/metadata", accept="application/dicom+json")
        assert [each["00080018"]["Value"] for each in found.json] == [[GOOD.sop_uid]]
        assert client.request("DELETE", study).status == 404
    assert [entry.number for entry in https.archive.quarantine.entries()] == [1, 2]
