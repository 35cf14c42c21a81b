"""The canary: a sound object of nobody, written only with consent, by the one who knows least, and always named."""

from __future__ import annotations

import datetime as dt
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode

from harness.probe_dcmtk import ARCHIVE_AET, dcmqrscp, storescp
from harness.probe_dicom import Conduct, Scp, scp
from harness.probe_pynetdicom import qrscp
from harness.probe_session import Probed, probed, target_with
from harness.wire import C_STORE_RQ
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from strongroom.probe.dimse import association, canary, services
from strongroom.probe.dimse.canary import OTHER_PATIENT_ID, PATIENT_ID, SECONDARY_CAPTURE, SIDE, Canary, cleanup
from strongroom.probe.model import Answer, Identity, Observation
from strongroom.types import Uid

ECHO, FIND, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.1.2"
STEPS = (association.associate, association.user_identity, services.services, canary.canary)
ONE = Canary(Uid("2.25.1"), Uid("2.25.2"), Uid("2.25.3"), dt.date(2026, 11, 22))
WRITES = ("dicom.store_canary", "dicom.read_canary", "dicom.overwrite_canary", "dicom.cross_study_canary")


def run(port: int, **more: object) -> Probed:
    made = probed(target_with(dicom_ports=(port,), **more))
    for step in STEPS:
        step(made.session)
    return made


def seen(made: Probed, step: str) -> Observation:
    (one,) = [each for each in made.session.all_found(step) if each.answer is not Answer.NOT_ASKED]
    return one


def reasons(made: Probed) -> set[object]:
    return {each.details.get("reason") for each in made.session.all_found("dicom.store_canary")}


def stored(server: Scp) -> list[bytes]:
    return [dataset for copies in server.stored.values() for dataset in copies]


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN], ids=["implicit", "explicit"])
def test_another_implementation_reads_a_sound_image_of_nobody(syntax: TransferSyntax) -> None:
    dataset = decode(BytesIO(ONE.encoded(syntax)), not syntax.explicit, True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax.uid)
    assert dataset.PatientID == PATIENT_ID
    assert str(dataset.PatientName) == f"{PATIENT_ID}^SYNTHETIC"
    assert dataset.SOPClassUID == SECONDARY_CAPTURE
    assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == ("2.25.1", "2.25.2")
    assert dataset.SOPInstanceUID == "2.25.3"
    assert dataset.PatientBirthDate == dataset.PatientSex == ""
    assert (dataset.pixel_array.shape, dataset.pixel_array.min(), dataset.pixel_array.max()) == ((SIDE, SIDE), 0, 255)


def test_the_second_picture_differs_in_every_pixel() -> None:
    second = Canary(ONE.study, ONE.series, ONE.instance, ONE.day, is_second_picture=True)
    assert all(one != other for one, other in zip(ONE.pixels(), second.pixels(), strict=True))
    assert len(ONE.pixels()) == SIDE * SIDE


def test_an_open_store_is_written_to_overwritten_and_mixed_up() -> None:
    with scp(Conduct(classes=frozenset({ECHO, SECONDARY_CAPTURE, FIND}))) as server:
        made = run(server.port)
    assert [seen(made, step).answer for step in WRITES] == [Answer.DONE] * 4
    assert len(server.stored) == 2
    first, second, other = (dataset for copies in server.stored.values() for dataset in copies)
    assert first != second
    assert PATIENT_ID.encode() in first
    assert OTHER_PATIENT_ID.encode() in other
    study = str(seen(made, "dicom.store_canary").details["study_instance_uid"]).encode()
    assert study in first
    assert study in other
    assert seen(made, "dicom.store_canary").details["sop_instance_uid"] in server.stored
    # It could not be got, so nothing is said of its pixels.
    assert "same_pixels" not in seen(made, "dicom.read_canary").details
    assert "overwritten" not in seen(made, "dicom.overwrite_canary").details


def test_it_is_written_once_by_who_knows_least() -> None:
    with scp() as server:
        made = run(server.port, called="PACS", calling="CT1")
    assert {each.calling for each in server.requests("C-STORE")} == {"STRONGROOM-PRB"}
    left = [each for each in made.session.all_found("dicom.store_canary") if each.answer is Answer.NOT_ASKED]
    assert {each.identity for each in left} == {Identity.JUNK_USER, Identity.NAMED}
    assert len(server.requests("C-STORE")) == 3


def test_without_consent_nothing_is_written() -> None:
    with scp() as server:
        made = probed(target_with(dicom_ports=(server.port,)), consents=frozenset())
        for step in STEPS:
            step(made.session)
    assert stored(server) == []
    assert {each.details["reason"] for each in made.session.all_found("dicom.store_canary")} == {
        "no consent write_canary"
    }
    assert cleanup(made.session.known) == []


@pytest.mark.parametrize(("status", "answer"), [(0x0124, Answer.REFUSED), (0xA900, Answer.FAILED)])
def test_a_store_that_says_no_is_asked_once_as_each_identity(status: int, answer: Answer) -> None:
    with scp(Conduct(statuses={C_STORE_RQ: status})) as server:
        made = run(server.port)
    assert {each.answer for each in made.session.all_found("dicom.store_canary")} == {answer}
    assert len(server.requests("C-STORE")) == 2
    assert stored(server) == []
    assert list(made.session.all_found("dicom.overwrite_canary")) == []
    assert cleanup(made.session.known) == []


def test_a_store_of_another_kind_of_image_alone_is_told() -> None:
    with scp(Conduct(classes=frozenset({ECHO, CT}))) as server:
        made = run(server.port)
    assert {each.details["reason"] for each in made.session.all_found("dicom.store_canary")} == {
        "no presentation context"
    }
    assert server.requests("C-STORE") == []


def test_the_cleanup_names_every_object_that_may_have_been_kept() -> None:
    with scp() as server:
        made = run(server.port)
    lines = cleanup(made.session.known)
    assert all(any(uid in line for line in lines) for uid in server.stored)
    assert len(lines) == 1 + len(server.stored)
    assert PATIENT_ID in lines[0]
    assert all(f"127.0.0.1 port {server.port}" in line for line in lines[1:])


def test_an_answer_that_never_came_may_mean_that_it_was_kept() -> None:
    with scp() as server:
        made = run(server.port)
    kept = seen(made, "dicom.store_canary")
    for answer in (Answer.TIMEOUT, Answer.CLOSED, Answer.ABORTED, Answer.OTHER):
        lost = Observation(kept.step, kept.endpoint, kept.channel, kept.identity, answer, kept.details)
        assert len(cleanup([lost])) == 2
    web = Observation("http.stow_canary", kept.endpoint, kept.channel, kept.identity, Answer.FAILED, kept.details)
    assert len(cleanup([web])) == 2, "a server may fail after it has stored"


def test_dcmqrscp_lets_everybody_overwrite(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "archive") as server:
        made = run(server.port, called=ARCHIVE_AET)
    assert seen(made, "dicom.store_canary").identity is Identity.KNOWS_TITLE
    assert dict(seen(made, "dicom.read_canary").details) == {"status": 0, "found": True, "same_pixels": True}
    assert seen(made, "dicom.overwrite_canary").details["overwritten"] is True
    assert seen(made, "dicom.cross_study_canary").answer is Answer.DONE


def test_dcmqrscp_that_is_read_only_is_not_written_to(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "archive", access="R") as server:
        made = run(server.port, called=ARCHIVE_AET)
        assert not [path for path in server.storage.rglob("*") if path.name != "index.dat"]
    assert {each.answer for each in made.session.all_found("dicom.store_canary")} <= {Answer.REFUSED, Answer.FAILED}


def test_storescp_takes_what_it_cannot_give_back(tmp_path: Path) -> None:
    with storescp(tmp_path / "store") as server:
        made = run(server.port)
        files = list(server.storage.iterdir())
    assert seen(made, "dicom.store_canary").identity is Identity.STRANGER
    assert (seen(made, "dicom.read_canary").answer, len(files)) == (Answer.REFUSED, 2)
    assert {pydicom.dcmread(path).PatientID for path in files} == {PATIENT_ID, OTHER_PATIENT_ID}


def test_pynetdicom_gives_back_what_it_was_given(tmp_path: Path) -> None:
    with qrscp(tmp_path / "archive") as server:
        made = run(server.port)
    assert seen(made, "dicom.read_canary").details["same_pixels"] is True
    assert seen(made, "dicom.overwrite_canary").details["overwritten"] is True
