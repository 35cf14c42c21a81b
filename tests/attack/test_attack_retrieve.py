"""Who asks for objects and then does not behave; and objects so large that a copy in memory would be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
)

from harness.archives import ALL_RIGHTS, RunningArchive
from harness.pynetdicom_peers import (
    POPULATION,
    STUDY_GET,
    commitment_ends,
    identifier,
    image,
    refusals,
    store,
    wait_for,
)
from strongroom.archive.model import Action, Outcome
from strongroom.dimse import CGetRq, CGetRsp, NActionRq, NActionRsp, NEventReportRq, NEventReportRsp
from strongroom.net.certificates import encrypted_key
from strongroom.net.scu import Proposal, ScuConnection, ScuLink, Target
from strongroom.net.tls import Identity, client_context
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters, RoleSelection

pytestmark = [
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]


@pytest.fixture
def filled(local_archive: ArchiveFactory) -> RunningArchive:
    archive = local_archive({"SCU": ALL_RIGHTS})
    store(archive, *POPULATION)
    return archive


LOCAL = LocalParameters(Uid("1.2.3"), "TEST")
GET, CT, EXPLICIT = Uid(STUDY_GET), Uid(CTImageStorage), Uid(ExplicitVRLittleEndian)
COMMITMENT, COMMITMENT_INSTANCE = Uid("1.2.840.10008.1.20.1"), Uid("1.2.840.10008.1.20.1.1")


def raw_link(archive: RunningArchive) -> ScuLink:
    credentials = archive.credentials("SCU")
    key = encrypted_key(credentials.key.read_bytes(), b"x")
    context = client_context(
        Identity(credentials.certificate.read_bytes(), key, b"x"), [credentials.authority.read_text()]
    )
    link = ScuLink.connect(Target("127.0.0.1", archive.port, context))
    roles = (RoleSelection(CT, True, True),)
    contexts = ((CT, (EXPLICIT,)), (GET, (EXPLICIT,)), (COMMITMENT, (EXPLICIT,)))
    link.associate(Proposal(AeTitle("STRONGROOM"), AeTitle("SCU"), contexts, LOCAL, roles))
    return link


def ask(link: ScuLink, study: str) -> None:
    data = encode(identifier("STUDY", StudyInstanceUID=study), False, True)
    assert data is not None
    link.send(3, CGetRq(link.next_message_id(), GET), data)


def test_a_receiver_that_never_answers_is_given_up_and_recorded(local_archive: ArchiveFactory) -> None:
    archive = local_archive({"SCU": ALL_RIGHTS}, limits={"idle_timeout_s": 1.0})
    store(archive, image(1, 1, 1), image(1, 1, 2))
    link = raw_link(archive)
    ask(link, "2.25.1")
    (end,) = wait_for(lambda: [e for e in archive.events() if e.action is Action.RETRIEVE and "end" in e.details])
    link.close()
    assert end.outcome is Outcome.FAILED
    assert (end.details["completed"], end.details["remaining"]) == (0, 2)
    assert "idle_timeout_s" in str(end.details["end"])


def test_a_receiver_that_vanishes_is_recorded(filled: RunningArchive) -> None:
    link = raw_link(filled)
    ask(link, "2.25.1")
    link.receive_start()
    link.close()
    (end,) = wait_for(lambda: [e for e in filled.events() if e.action is Action.RETRIEVE and "end" in e.details])
    assert end.outcome is Outcome.FAILED
    assert end.details["end"] == "association over"


def test_a_receiver_that_asks_instead_of_answering_is_aborted_and_recorded(filled: RunningArchive) -> None:
    link = raw_link(filled)
    ask(link, "2.25.1")
    link.receive_start()
    link._channel._serving = None  # this peer does not keep to one operation at a time
    link._channel._awaiting = None
    ask(link, "2.25.1")
    (end,) = wait_for(lambda: [e for e in filled.events() if e.action is Action.RETRIEVE and "end" in e.details])
    link.close()
    assert end.outcome is Outcome.FAILED


def test_a_retrieval_on_a_context_of_another_class_is_refused(filled: RunningArchive) -> None:
    link = raw_link(filled)
    data = encode(identifier("STUDY", StudyInstanceUID="2.25.1"), False, True)
    assert data is not None
    link.send(1, CGetRq(link.next_message_id(), GET), data)
    response = link.receive_start().message
    link.close()
    assert isinstance(response, CGetRsp)
    assert response.status == 0x0122
    assert refusals(filled) == ["sop-class-not-of-context"]


def request_commitment(link: ScuLink, transaction_uid: str) -> NActionRsp:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, POPULATION[0].SOPInstanceUID
    information = Dataset()
    information.TransactionUID, information.ReferencedSOPSequence = transaction_uid, Items([item])
    data = encode(information, False, True)
    assert data is not None
    link.send(5, NActionRq(link.next_message_id(), COMMITMENT, COMMITMENT_INSTANCE, 1, has_dataset=True), data)
    response = link.receive_start().message
    assert isinstance(response, NActionRsp)
    return response


def hear_report(link: ScuLink) -> NEventReportRq:
    report = link.receive_start().message
    assert isinstance(report, NEventReportRq)
    link.receive_dataset()
    return report


def test_a_peer_that_lets_a_report_wait_gets_no_second_one_meanwhile(filled: RunningArchive) -> None:
    """One operation at a time in each direction (PS3.7 D.3.3.3): also a C-GET has to wait for the answer."""
    link = raw_link(filled)
    assert request_commitment(link, "9.1").status == 0
    first = hear_report(link)
    link._channel._serving = None  # what this peer does not answer, it forgets
    assert request_commitment(link, "9.2").status == 0
    ask(link, "2.25.1")
    refused = link.receive_start().message
    assert isinstance(refused, CGetRsp)
    assert refused.status == 0xA702
    link._channel._serving = first
    link.send(5, NEventReportRsp(first.message_id, 0, COMMITMENT, COMMITMENT_INSTANCE, 1))
    second = hear_report(link)
    assert second.message_id != first.message_id
    link.send(5, NEventReportRsp(second.message_id, 0, COMMITMENT, COMMITMENT_INSTANCE, 1))
    ask(link, "2.25.9")
    served = link.receive_start().message
    link.close()
    assert isinstance(served, CGetRsp)
    assert served.status == 0
    assert len(commitment_ends(filled)) == 2


def test_a_large_object_is_streamed(running_archive: ArchiveFactory) -> None:
    """256 MiB in and out, explicit and converted, while the server grows by less than 64 MiB."""
    size = 256 * 2**20
    archive = running_archive({"SCU": ALL_RIGHTS})
    store(archive, image(1, 1, 1))
    head = image(2, 1, 1)
    del head.PixelData
    raw = encode(head, False, True)
    assert raw is not None
    raw += b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")

    def chunks() -> Iterator[bytes]:
        yield raw
        for _ in range(size // 2**20):
            yield bytes(2**20)

    credentials = archive.credentials("SCU")
    key = encrypted_key(credentials.key.read_bytes(), b"x")
    context = client_context(
        Identity(credentials.certificate.read_bytes(), key, b"x"), [credentials.authority.read_text()]
    )

    def connected(syntax: Uid) -> ScuConnection:
        contexts = ((CT, (syntax,)), (GET, (EXPLICIT,)))
        proposal = Proposal(AeTitle("STRONGROOM"), AeTitle("SCU"), contexts, LOCAL, (RoleSelection(CT, True, True),))
        return ScuConnection.open(Target("127.0.0.1", archive.port, context), proposal)

    with connected(EXPLICIT) as connection:
        assert connection.store(CT, Uid("2.25.2.1.1"), EXPLICIT, chunks()).status == 0
    before = archive.resident_bytes()
    asked = encode(identifier("STUDY", StudyInstanceUID="2.25.2"), False, True)
    assert asked is not None
    most = 0
    for syntax in (EXPLICIT, Uid(ImplicitVRLittleEndian)):
        received = 0

        def on_store(request: Any, _: Uid, data: Iterator[memoryview]) -> int:
            nonlocal received, most
            for number, chunk in enumerate(data):
                received += len(chunk)
                if number % 256 == 0:
                    most = max(most, archive.resident_bytes())
            return 0

        with connected(syntax) as connection:
            response, _ = connection.get(GET, asked, on_store)
        assert response.status == 0
        assert received > size
    assert most - before < 64 * 2**20
