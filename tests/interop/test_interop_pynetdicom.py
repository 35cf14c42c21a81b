"""pynetdicom as client of a running archive: an implementation that shares no line with ours."""

from __future__ import annotations

import gc
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from harness import archives, wire
from harness.archives import RunningArchive
from harness.samples import sample
from strongroom.archive.model import Action, Outcome
from strongroom.store.accounts import hash_passcode

# pynetdicom leaves sockets of aborted associations to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")

PASSCODE = "correct horse battery"
PATIENT_ROOT, STUDY_ROOT = PatientRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00
STUDIES = 40


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("pynetdicom") / "home")
    with archives.opened(home) as opened:
        archives.add_peer(opened, "PEER")
        archives.add_peer(opened, "NOGET", "store,find")
        index = opened.index
        hashed = hash_passcode(PASSCODE)
        index.database.write(
            lambda transaction: index.registry.put_account(transaction.cursor, "reader", hashed, "technologist", 1)
        )
    with archives.serving_in_process(home) as running:
        yield running


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have pynetdicom's leftovers collected where their warning is expected."""
    yield
    gc.collect()


def entity(aet: str = "PEER", contexts: tuple[Any, ...] = (Verification,)) -> AE:
    ae = AE(aet)
    for context in contexts:
        ae.add_requested_context(context, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    return ae


def associate(archive: RunningArchive, ae: AE, *, aet: str = "PEER", **more: Any) -> Any:
    context: ssl.SSLContext = wire.tls_context(archive.credentials(aet))
    return ae.associate("127.0.0.1", archive.port, ae_title=archives.AET, tls_args=(context, None), **more)


def established(archive: RunningArchive, ae: AE, **more: Any) -> Any:
    association = associate(archive, ae, **more)
    assert association.is_established
    return association


@pytest.fixture(scope="module")
def stored(archive: RunningArchive) -> list[Dataset]:
    """A CT image, an MR image, and small studies of forty patients."""
    datasets = [pydicom.dcmread(sample(name)) for name in ("CT_small.dcm", "MR_small.dcm")]
    association = established(archive, entity(contexts=(CTImageStorage, MRImageStorage)))
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == SUCCESS
    for number in range(STUDIES):
        assert association.send_c_store(small_image(number)).Status == SUCCESS
    association.release()
    return datasets


def small_image(number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"2.25.77.{number}.3"
    dataset.StudyInstanceUID = f"2.25.77.{number}.1"
    dataset.SeriesInstanceUID = f"2.25.77.{number}.2"
    dataset.PatientID = f"SMALL{number:03}"
    dataset.PatientName = f"Many^Number{number:03}"
    dataset.Modality = "CT"
    dataset.StudyDate = f"2024{1 + number % 12:02}01"
    dataset.PatientComments = "x" * 8000
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


# --- C-ECHO and the end of associations


def test_echo(archive: RunningArchive) -> None:
    association = established(archive, entity())
    assert [association.send_c_echo().Status for _ in range(5)] == [SUCCESS] * 5
    association.release()
    assert association.is_released


def test_an_abort_ends_it_and_is_in_the_trail(archive: RunningArchive) -> None:
    since = len(archive.served_events())
    association = established(archive, entity())
    association.abort()
    archive.wait_for_event(lambda event: event.details.get("end") == "aborted", since)


def test_a_service_that_is_not_there_is_no_context(archive: RunningArchive) -> None:
    worklist = "1.2.840.10008.5.1.4.31"
    association = associate(archive, entity(contexts=(worklist,)))
    # pynetdicom aborts an association of which no context was accepted.
    assert not association.is_established
    assert [context.result for context in association.rejected_contexts] == [3]


# --- C-STORE


def test_store_is_kept_and_told_of(archive: RunningArchive, stored: list[Dataset]) -> None:
    uids = {
        event.details["sop_uid"]
        for event in archive.served_events()
        if event.action is Action.STORE and event.outcome is Outcome.SUCCESS
    }
    assert {str(dataset.SOPInstanceUID) for dataset in stored} <= uids


def test_store_of_the_same_study_for_another_patient_is_refused(archive: RunningArchive, stored: object) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    dataset.PatientID, dataset.SOPInstanceUID = "ANOTHER", "2.25.78.1"
    association = established(archive, entity(contexts=(CTImageStorage,)))
    response = association.send_c_store(dataset)
    association.release()
    assert (response.Status, response.ErrorComment) == (
        0xC012,
        "quarantined as Q1: study-of-another-patient",
    )


# --- C-FIND


def query(level: str, **keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def find(archive: RunningArchive, model: Any, identifier: Dataset, **more: Any) -> tuple[list[Dataset], int]:
    """The matches, and the final status."""
    association = established(archive, entity(contexts=(model,)), **more)
    responses = list(association.send_c_find(identifier, model))
    association.release()
    *matches, (last, _) = responses
    assert all(status.Status in (PENDING, 0xFF01) for status, _ in matches)
    return [match for _, match in matches if match is not None], last.Status


def test_find_in_the_study_root(archive: RunningArchive, stored: list[Dataset]) -> None:
    ct = stored[0]
    matches, status = find(
        archive, STUDY_ROOT, query("STUDY", PatientName="CompressedSamples^CT1", StudyInstanceUID="")
    )
    assert status == SUCCESS
    assert [match.StudyInstanceUID for match in matches] == [ct.StudyInstanceUID]
    assert str(matches[0].PatientName) == "CompressedSamples^CT1"
    keys = {"StudyInstanceUID": ct.StudyInstanceUID, "SeriesInstanceUID": "", "Modality": ""}
    matches, _ = find(archive, STUDY_ROOT, query("SERIES", **keys))
    assert [(match.SeriesInstanceUID, match.Modality) for match in matches] == [(ct.SeriesInstanceUID, "CT")]
    keys["SeriesInstanceUID"] = ct.SeriesInstanceUID
    matches, _ = find(archive, STUDY_ROOT, query("IMAGE", **keys, SOPInstanceUID=""))
    assert [match.SOPInstanceUID for match in matches] == [ct.SOPInstanceUID]


def test_find_in_the_patient_root(archive: RunningArchive, stored: list[Dataset]) -> None:
    matches, status = find(archive, PATIENT_ROOT, query("PATIENT", PatientID="?CT1", NumberOfPatientRelatedStudies=""))
    assert status == SUCCESS
    assert [(match.PatientID, match.NumberOfPatientRelatedStudies) for match in matches] == [("1CT1", 1)]
    matches, _ = find(archive, PATIENT_ROOT, query("STUDY", PatientID="1CT1", StudyInstanceUID=""))
    assert [match.StudyInstanceUID for match in matches] == [stored[0].StudyInstanceUID]


def test_find_by_range_and_wildcard(archive: RunningArchive, stored: object) -> None:
    keys = {"StudyDate": "20240101-20240331", "PatientName": "many^number*", "StudyInstanceUID": ""}
    matches, _ = find(archive, STUDY_ROOT, query("STUDY", **keys))
    expected = [number for number in range(STUDIES) if number % 12 < 3]
    assert [match.StudyInstanceUID for match in matches] == [f"2.25.77.{number}.1" for number in expected]


def relational() -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = STUDY_ROOT
    item.service_class_application_information = b"\1"
    return item


def test_find_across_levels_has_to_be_negotiated(archive: RunningArchive, stored: list[Dataset]) -> None:
    identifier = query("IMAGE", PatientID="1CT1", SOPInstanceUID="")
    assert find(archive, STUDY_ROOT, identifier) == ([], 0xA900)
    matches, status = find(archive, STUDY_ROOT, identifier, ext_neg=[relational()])
    assert status == SUCCESS
    assert [match.SOPInstanceUID for match in matches] == [stored[0].SOPInstanceUID]


def test_what_was_agreed_to_is_answered(archive: RunningArchive) -> None:
    association = established(archive, entity(contexts=(STUDY_ROOT,)), ext_neg=[relational()])
    assert association.acceptor.sop_class_extended == {STUDY_ROOT: b"\1"}
    association.release()


def test_a_query_that_breaks_the_model_is_refused_and_told_of(archive: RunningArchive) -> None:
    since = len(archive.served_events())
    assert find(archive, STUDY_ROOT, query("PATIENT", PatientID="")) == ([], 0xA900)
    assert archive.wait_for_refusal("InvalidQuery", since).action is Action.QUERY


def test_a_find_is_cancelled(archive: RunningArchive, stored: object) -> None:
    """The archive looks for a C-CANCEL between some 64 KiB of answers: with these there are several such points."""
    association = established(archive, entity(contexts=(STUDY_ROOT,)))
    cancelled = threading.Event()

    def cancel_after_the_first(event: Any) -> None:
        if not cancelled.is_set():
            cancelled.set()
            association.send_c_cancel(1, None, STUDY_ROOT)

    association.bind(evt.EVT_DIMSE_RECV, cancel_after_the_first)
    identifier = query("STUDY", StudyInstanceUID="", PatientName="Many^*", PatientComments="")
    responses = list(association.send_c_find(identifier, STUDY_ROOT, msg_id=1))
    association.release()
    # All answers may be on their way before the cancel is: then it comes too late, and that is no error.
    assert responses[-1][0].Status in (CANCELLED, SUCCESS)
    assert len(responses) - 1 <= STUDIES


# --- C-GET


def get(archive: RunningArchive, identifier: Dataset, *, with_role: bool = True) -> tuple[list[Dataset], list[Dataset]]:
    """The objects that came, and the responses."""
    got: list[Dataset] = []

    def on_store(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        got.append(dataset)
        return SUCCESS

    ae = entity(contexts=(GET, CTImageStorage, MRImageStorage))
    roles = [build_role(CTImageStorage, scp_role=True), build_role(MRImageStorage, scp_role=True)] if with_role else []
    association = established(archive, ae, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    responses = [status for status, _ in association.send_c_get(identifier, GET)]
    association.release()
    return got, responses


def test_get_brings_what_was_stored(archive: RunningArchive, stored: list[Dataset]) -> None:
    for dataset in stored:
        got, responses = get(archive, query("STUDY", StudyInstanceUID=str(dataset.StudyInstanceUID)))
        assert got == [pydicom.dcmread(sample("CT_small.dcm" if dataset.Modality == "CT" else "MR_small.dcm"))]
        last = responses[-1]
        assert (last.Status, last.NumberOfCompletedSuboperations) == (SUCCESS, 1)


def test_get_without_the_role_gets_nothing(archive: RunningArchive, stored: list[Dataset]) -> None:
    got, responses = get(archive, query("STUDY", StudyInstanceUID=str(stored[0].StudyInstanceUID)), with_role=False)
    assert got == []
    assert responses[-1].Status >= 0xA700


def test_get_without_the_right_has_no_context(archive: RunningArchive) -> None:
    ae = entity("NOGET", contexts=(GET, STUDY_ROOT))
    association = established(archive, ae, aet="NOGET")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [STUDY_ROOT]
    association.release()


# --- negotiation


def test_one_operation_at_a_time_is_agreed_to(archive: RunningArchive) -> None:
    """PS3.7 D.3.3.3: whatever window is proposed, ours is (1, 1)."""
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 7
    association = established(archive, entity(), ext_neg=[window])
    answered = association.acceptor.asynchronous_operations
    association.release()
    assert answered == (1, 1)


def test_roles_are_answered(archive: RunningArchive) -> None:
    ae = entity(contexts=(CTImageStorage, GET))
    association = established(archive, ae, ext_neg=[build_role(CTImageStorage, scu_role=True, scp_role=True)])
    context = next(each for each in association.accepted_contexts if each.abstract_syntax == CTImageStorage)
    association.release()
    assert (context.as_scu, context.as_scp) == (True, True)


def user(identity_type: int, primary: bytes, secondary: bytes = b"") -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = identity_type
    item.primary_field = primary
    item.secondary_field = secondary
    item.positive_response_requested = True
    return item


def test_a_user_with_a_passcode_is_verified_and_answered(archive: RunningArchive) -> None:
    since = len(archive.served_events())
    association = established(archive, entity(), ext_neg=[user(2, b"reader", PASSCODE.encode())])
    answer = association.acceptor.user_identity
    association.release()
    assert answer is not None
    begin = archive.wait_for_event(lambda event: event.details.get("phase") == "begin", since)
    assert begin.principal.user == "reader"


def test_a_user_with_a_wrong_passcode_is_rejected(archive: RunningArchive) -> None:
    since = len(archive.served_events())
    association = associate(archive, entity(), ext_neg=[user(2, b"reader", b"wrong")])
    assert association.is_rejected
    archive.wait_for_refusal("user-or-passcode-wrong", since)


@pytest.mark.parametrize("identity_type", [1, 3, 4, 5])
def test_other_identities_are_let_through_unbelieved(archive: RunningArchive, identity_type: int) -> None:
    since = len(archive.served_events())
    association = established(archive, entity(), ext_neg=[user(identity_type, b"reader")])
    answer = association.acceptor.user_identity
    association.release()
    assert answer is None
    begin = archive.wait_for_event(lambda event: event.details.get("phase") == "begin", since)
    assert begin.principal.user == ""
