"""Each service on its own, as each identity; requests for what nobody has, and nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from harness.probe_dicom import N_SET_RQ, Conduct, Scp, scp
from harness.probe_planted import planted_scp
from harness.probe_session import Probed, probed, target_with
from harness.wire import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.probe.dimse import association, services
from strongroom.probe.dimse.services import MAX_CONTEXTS, QUESTIONS, SERVICE_NAMES, SERVICES, services_wanted
from strongroom.probe.model import Answer, Identity, Observation

ECHO = "1.2.840.10008.1.1"
CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
STEPS = (
    association.associate,
    association.user_identity,
    services.services,
    services.syntaxes,
    services.ask_for_nothing,
)


def run(server: Scp) -> Probed:
    made = probed(target_with(dicom_ports=(server.port,)))
    for step in STEPS:
        step(made.session)
    return made


def seen(made: Probed, step: str) -> Observation:
    (one,) = made.session.all_found(step, identity=Identity.STRANGER)
    return one


def accepting(*names: str) -> frozenset[str]:
    return frozenset({ECHO, *(SERVICES[name][1] for name in names)})


def test_all_services_and_all_storage_classes_are_proposed_in_two_requests() -> None:
    first, second = services_wanted(), services_wanted(1)
    proposed = [uid for uid, _ in (*first.contexts, *second.contexts)]
    assert len(proposed) == len(set(proposed))
    assert len(first.contexts) == MAX_CONTEXTS
    assert len(second.contexts) <= MAX_CONTEXTS
    assert {uid for _, uid in SERVICES.values()} | STORAGE_SOP_CLASSES <= set(proposed)


@pytest.mark.parametrize("model", [model for model in SERVICES if model != "echo"])
def test_a_service_is_accepted_on_its_own(model: str) -> None:
    with scp(Conduct(classes=accepting(model))) as server:
        made = run(server)
    details = seen(made, "dicom.services").details
    service = SERVICES[model][0]
    assert details["accepted"] == ("echo", service)
    assert set(details["refused"]) == set(SERVICE_NAMES) - {"echo", service}  # type: ignore[arg-type]
    assert details["models"] == ("echo", model)
    assert details["storage_classes"] == 0


def test_a_server_that_refuses_reads_and_takes_writes() -> None:
    with scp(Conduct(classes=frozenset({ECHO, CT, SC}))) as server:
        made = run(server)
    details = seen(made, "dicom.services").details
    assert details["accepted"] == ("echo", "store")
    assert details["storage_classes"] == 2
    assert seen(made, "dicom.syntaxes").details["accepted"] == ("1.2.840.10008.1.2",)
    for question in QUESTIONS:
        refused = seen(made, question.step)
        assert (refused.answer, refused.details["reason"]) == (Answer.REFUSED, "no presentation context")
    assert {each.what for each in server.asked} == {"associate", "C-ECHO", "release"}


def test_storage_classes_are_counted_alike_for_everybody_and_the_rare_ones_once() -> None:
    with scp() as server:
        made = run(server)
    told = [each.details for each in made.session.all_found("dicom.services")]
    assert {each["storage_classes"] for each in told} == {MAX_CONTEXTS - len(SERVICES)}
    rare = [each["rare_storage_classes"] for each in told if "rare_storage_classes" in each]
    assert rare == [len(STORAGE_SOP_CLASSES) - MAX_CONTEXTS + len(SERVICES)]


def test_the_reverse_a_server_that_takes_reads_and_refuses_writes() -> None:
    with scp(Conduct(classes=accepting("study-find"))) as server:
        made = run(server)
    assert seen(made, "dicom.services").details["accepted"] == ("echo", "find")
    assert list(made.session.all_found("dicom.syntaxes")) == []
    assert seen(made, "dicom.find_empty").answer is Answer.DONE


def test_an_open_server_is_asked_once_for_each_service_and_for_nothing_that_is_there() -> None:
    with scp(planted_scp()) as server:
        made = run(server)
    strangers = [each for each in server.asked if each.what not in ("associate", "release", "C-ECHO")]
    assert {each.what for each in strangers} == {"C-FIND", "C-CANCEL", "C-GET", "C-MOVE", "N-ACTION", "N-SET"}
    for request in strangers:
        study = request.identifier.get(0x0020000D, b"").decode()
        if request.what in ("C-GET", "C-MOVE"):
            assert study.startswith("2.25.")
            assert set(request.identifier) == {0x00080052, 0x0020000D}
        if request.what == "C-FIND":
            # Keys that name nobody, and values for none of them.
            assert set(request.identifier) <= {0x00080020, 0x00080052, 0x0020000D, 0x00400100}
            assert study.strip("\0") == ""
    assert seen(made, "dicom.find_empty").details == {"status": 0, "pending": 0}
    assert seen(made, "dicom.worklist").details["pending"] == 1
    assert seen(made, "dicom.move_nowhere").details["status"] == 0xA801
    assert len(server.requests("release")) == len(server.requests("associate"))
    # All of it over one association for each of the two identities.
    assert len(server.requests("associate")) == 1 + 1 + 2 + 1 + 2


@pytest.mark.parametrize(
    ("command", "step", "status", "answer"),
    [
        (C_FIND_RQ, "dicom.find_empty", 0x0122, Answer.REFUSED),
        (C_FIND_RQ, "dicom.find_empty", 0xA700, Answer.REFUSED),
        (C_FIND_RQ, "dicom.find_empty", 0xC001, Answer.FAILED),
        (C_GET_RQ, "dicom.get_nothing", 0x0124, Answer.REFUSED),
        (C_MOVE_RQ, "dicom.move_nowhere", 0xA801, Answer.REFUSED),
        (C_MOVE_RQ, "dicom.move_nowhere", 0x0000, Answer.DONE),
        (N_SET_RQ, "dicom.mpps_nothing", 0x0112, Answer.FAILED),
    ],
)
def test_the_status_of_an_answer_is_kept(command: int, step: str, status: int, answer: Answer) -> None:
    with scp(Conduct(statuses={command: status})) as server:
        made = run(server)
    assert (seen(made, step).answer, seen(made, step).details["status"]) == (answer, status)


def test_a_server_that_answers_on_a_day_that_has_not_come_ignores_keys() -> None:
    ignoring = {0x0020000D: b"1.2.3", 0x00080020: services.NOBODYS_DAY.encode()}
    with scp(Conduct(answers=(ignoring,), endless=True)) as server:
        made = run(server)
    found = seen(made, "dicom.find_empty")
    assert (found.answer, found.details["pending"]) == (Answer.DONE, 1)


@pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")
def test_an_object_for_a_uid_that_nobody_has_ends_the_association() -> None:
    sent = []

    def on_get(event: Any) -> Iterator[Any]:
        yield 1
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID, image.PatientName = SC, "1.2.3", "PLANTED"
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        sent.append(event.identifier.StudyInstanceUID)
        yield 0xFF00, image

    ae = AE("GETS")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_supported_context(ECHO)
    ae.add_supported_context(SERVICES["study-get"][1])
    ae.add_supported_context(SC, scu_role=True, scp_role=True)
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, on_get)])
    try:
        made = probed(target_with(dicom_ports=(server.server_address[1],)))
        for step in STEPS:
            step(made.session)
    finally:
        server.shutdown()
        gc.collect()  # pynetdicom leaves the socket of an aborted association to the collector
    got = seen(made, "dicom.get_nothing")
    assert (got.answer, got.details["reason"]) == (Answer.HOSTILE, "an object for a UID that nobody has")
    assert all(uid.startswith("2.25.") for uid in sent)
    assert seen(made, "dicom.services").details["get_with_storage"] is True
    assert "PLANTED" not in made.log
