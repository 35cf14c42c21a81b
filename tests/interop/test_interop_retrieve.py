"""C-GET against pynetdicom, at every level: converted, cancelled, refused, with damaged objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
    MRImageStorage,
    StorageCommitmentPushModel,
)

from harness.archives import ALL_RIGHTS, RunningArchive
from harness.pynetdicom_peers import (
    PATIENT_GET,
    POPULATION,
    STUDY_GET,
    STUDY_MOVE,
    Peer,
    associated,
    counts,
    ends_of,
    identifier,
    image,
    last,
    refusals,
    store,
    tls,
)
from harness.samples import sample
from strongroom.archive.model import Action, Outcome

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]


@pytest.fixture
def filled(local_archive: ArchiveFactory) -> RunningArchive:
    archive = local_archive({"SCU": ALL_RIGHTS})
    store(archive, *POPULATION)
    return archive


@pytest.mark.parametrize(
    ("model", "relational", "asked", "found"),
    [
        (PATIENT_GET, False, identifier("PATIENT", PatientID="P1"), 3),
        (PATIENT_GET, False, identifier("STUDY", PatientID="P1", StudyInstanceUID="2.25.1"), 3),
        (PATIENT_GET, False, identifier("STUDY", PatientID="P2", StudyInstanceUID="2.25.1"), 0),
        (
            PATIENT_GET, False,
            identifier("SERIES", PatientID="P1", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.1.1"), 2,
        ),
        (STUDY_GET, False, identifier("STUDY", StudyInstanceUID="2.25.1"), 3),
        (STUDY_GET, False, identifier("STUDY", StudyInstanceUID=["2.25.1", "2.25.2"]), 4),
        (STUDY_GET, False, identifier("SERIES", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.1.2"), 1),
        (
            STUDY_GET, False,
            identifier(
                "IMAGE", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.1.1",
                SOPInstanceUID=["2.25.1.1.1", "2.25.1.1.2", "2.25.1.1.9"],
            ), 2,
        ),
        (STUDY_GET, True, identifier("IMAGE", SOPInstanceUID="2.25.2.1.1"), 1),
        (STUDY_GET, True, identifier("SERIES", SeriesInstanceUID=["2.25.1.2", "2.25.2.1"]), 2),
    ],
)  # fmt: skip
def test_get_at_every_level_of_both_models(
    filled: RunningArchive, model: Any, relational: bool, asked: Dataset, found: int
) -> None:
    peer = Peer()
    more = {"relational": [model]} if relational else {}
    with associated(filled, peer, get=[CTImageStorage], more=[model], **more) as association:
        status, data, pending = last(association.send_c_get(asked, model))
    assert status.Status == 0
    assert counts(status) == (found, 0, 0)
    assert data is None
    assert len(peer.stored) == found
    assert [each.NumberOfRemainingSuboperations for each in pending] == list(reversed(range(found)))
    (end,) = ends_of(filled, Action.RETRIEVE)
    assert end.outcome is Outcome.SUCCESS
    assert end.details["completed"] == found
    assert bool(end.details["bytes"]) == bool(found)


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        (STUDY_GET, identifier("IMAGE", SOPInstanceUID="2.25.2.1.1"), 0xA900),
        (STUDY_GET, identifier("STUDY", StudyInstanceUID=""), 0xA900),
        (STUDY_GET, identifier("PATIENT", PatientID="P1"), 0xA900),
        (STUDY_GET, identifier("STUDY", StudyInstanceUID="2.25.1", PatientName="TEST*"), 0xA900),
    ],
)
def test_what_the_model_does_not_allow_is_refused_and_recorded(
    filled: RunningArchive, model: Any, asked: Dataset, expected: int
) -> None:
    with associated(filled, Peer(), get=[CTImageStorage], more=[model]) as association:
        status, _, _ = last(association.send_c_get(asked, model))
    assert status.Status == expected
    assert refusals(filled) == ["InvalidQuery"]


def test_what_was_not_accepted_is_converted(filled: RunningArchive) -> None:
    peer = Peer()
    with associated(
        filled, peer, get=[CTImageStorage], syntaxes=[ImplicitVRLittleEndian], more=[STUDY_GET]
    ) as association:
        status, _, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.2"), STUDY_GET))
    assert status.Status == 0
    (event,) = peer.stored
    assert event.context.transfer_syntax == ImplicitVRLittleEndian
    assert event.kept == POPULATION[3]


def test_what_cannot_be_converted_has_failed_and_is_listed(local_archive: ArchiveFactory) -> None:
    archive = local_archive({"SCU": ALL_RIGHTS})
    compressed = dcmread(sample("MR_small_RLE.dcm"))
    compressed.StudyInstanceUID, compressed.PatientID = "2.25.1", "P1"
    compressed.SOPClassUID = MRImageStorage
    ae = AE("SCU")
    ae.add_requested_context(MRImageStorage, RLELossless)
    association = ae.associate(
        "127.0.0.1", archive.port, ae_title="STRONGROOM", tls_args=(tls(archive.credentials("SCU")), None)
    )
    # An issuer of its own would make it another patient.
    for tag in ("IssuerOfPatientID",):
        if tag in compressed:
            delattr(compressed, tag)
    assert association.send_c_store(compressed).Status == 0
    association.release()
    store(archive, image(1, 1, 1))
    peer = Peer()
    with associated(archive, peer, get=[CTImageStorage, MRImageStorage], more=[STUDY_GET]) as association:
        status, data, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.1"), STUDY_GET))
    assert status.Status == 0xB000
    assert counts(status) == (1, 1, 0)
    assert data is not None
    assert data.FailedSOPInstanceUIDList == compressed.SOPInstanceUID
    (end,) = ends_of(archive, Action.RETRIEVE)
    assert end.outcome is Outcome.WARNING
    assert end.details["failed_uids"] == (compressed.SOPInstanceUID,)
    assert end.details["reasons"] == ("no-presentation-context",)


def test_without_a_storage_role_nothing_is_sent(filled: RunningArchive) -> None:
    peer = Peer()
    with associated(filled, peer, more=[CTImageStorage, STUDY_GET]) as association:
        status, data, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.1"), STUDY_GET))
    assert status.Status == 0xA702
    assert counts(status) == (0, 3, 0)
    assert data is not None
    assert sorted(data.FailedSOPInstanceUIDList) == ["2.25.1.1.1", "2.25.1.1.2", "2.25.1.2.1"]
    assert not peer.stored


def test_the_receivers_own_failures_and_warnings_are_counted(filled: RunningArchive) -> None:
    peer = Peer(statuses=[0xA700, 0xB000, 0])
    with associated(filled, peer, get=[CTImageStorage], more=[STUDY_GET]) as association:
        status, data, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.1"), STUDY_GET))
    assert status.Status == 0xB000
    assert counts(status) == (1, 1, 1)
    assert data is not None
    assert data.FailedSOPInstanceUIDList == "2.25.1.1.1"
    (end,) = ends_of(filled, Action.RETRIEVE)
    assert end.details["reasons"] == ("status-A700", "status-B000")


def test_a_cancel_ends_a_get_after_the_sub_operation_under_way(filled: RunningArchive) -> None:
    peer = Peer(on_first=lambda event: event.assoc.send_c_cancel(1, None, STUDY_GET))
    with associated(filled, peer, get=[CTImageStorage], more=[STUDY_GET]) as association:
        asked = identifier("STUDY", StudyInstanceUID="2.25.1")
        status, _, _ = last(association.send_c_get(asked, STUDY_GET, msg_id=1))
        assert status.Status == 0xFE00
        assert status.NumberOfRemainingSuboperations == 2
        assert len(peer.stored) == 1
        again, _, _ = last(association.send_c_get(asked, STUDY_GET, msg_id=2))
        assert again.Status == 0
    cancelled, complete = ends_of(filled, Action.RETRIEVE)
    assert (cancelled.details["end"], cancelled.details["remaining"]) == ("cancelled", 2)
    assert complete.details["end"] == "complete"


def test_more_objects_than_allowed_are_refused(local_archive: ArchiveFactory) -> None:
    archive = local_archive({"SCU": ALL_RIGHTS}, limits={"max_retrieve_objects": 2})
    store(archive, *POPULATION)
    with associated(archive, Peer(), get=[CTImageStorage], more=[STUDY_GET]) as association:
        status, _, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.1"), STUDY_GET))
        assert status.Status == 0xA702
        status, _, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.2"), STUDY_GET))
        assert status.Status == 0
    assert refusals(archive) == ["over-max_retrieve_objects"]


def test_each_right_opens_one_service_and_no_other(local_archive: ArchiveFactory) -> None:
    archive = local_archive({"G": "get", "M": "move", "C": "commit", "SCU": ALL_RIGHTS})
    services = {STUDY_GET: "G", STUDY_MOVE: "M", StorageCommitmentPushModel: "C"}
    for aet in "GMC":
        with associated(archive, aet=aet, more=services) as association:
            opened = {context.abstract_syntax for context in association.accepted_contexts}
        assert opened == {service for service, owner in services.items() if owner == aet}


def test_a_damaged_object_fails_alone(filled: RunningArchive) -> None:
    assert filled.archive is not None
    damaged = filled.archive.index.find_object("2.25.1.1.2")
    assert damaged is not None
    with_it = filled.archive.reader.open

    # Whether it lies in a file or in the index: what its bytes are under another key, nobody can say.
    def tampered(stored: Any) -> Any:
        if stored.object_id == damaged.object_id:
            stored = replace(stored, key=replace(stored.key, key=bytes(32)))
        return with_it(stored)

    filled.archive.reader.open = tampered  # type: ignore[method-assign]
    peer = Peer()
    with associated(filled, peer, get=[CTImageStorage], more=[STUDY_GET]) as association:
        status, data, _ = last(association.send_c_get(identifier("STUDY", StudyInstanceUID="2.25.1"), STUDY_GET))
    assert status.Status == 0xB000
    assert data is not None
    assert data.FailedSOPInstanceUIDList == "2.25.1.1.2"
    assert peer.stored_uids == ["2.25.1.1.1", "2.25.1.2.1"]
    (end,) = ends_of(filled, Action.RETRIEVE)
    assert end.details["reasons"] == ("IntegrityError",)
