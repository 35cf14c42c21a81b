"""The SCU against pynetdicom's SCPs on loopback: an independent implementation answers."""

from __future__ import annotations

import datetime as dt
import gc
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.dsutils import decode, encode

from strongroom.dimse import CStoreRq, Status
from strongroom.errors import PeerUnavailable, Refused, RemoteProtocolError
from strongroom.net.certificates import Issued, encrypted_key, issue, new_authority, read_certificate
from strongroom.net.scu import Proposal, ScuConnection, ScuTimeouts, Target
from strongroom.net.tls import Identity, client_context, server_context
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters, RoleSelection

# pynetdicom leaves the sockets of aborted associations to the garbage collector. That our own are closed is what
# test_net_scu_hostile.py, which is without it, would show.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
MR = Uid("1.2.840.10008.5.1.4.1.1.4")
STUDY_FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_MOVE = Uid("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_GET = Uid("1.2.840.10008.5.1.4.1.2.2.3")
COMMITMENT = Uid("1.2.840.10008.1.20.1")
MPPS = Uid("1.2.840.10008.3.1.2.3.3")
IMPLICIT, EXPLICIT = Uid(ImplicitVRLittleEndian), Uid(ExplicitVRLittleEndian)
CLASSES = (VERIFICATION, CT, STUDY_FIND, STUDY_MOVE, STUDY_GET, COMMITMENT, MPPS)
TIMEOUTS = ScuTimeouts(connect_s=10, idle_s=10, operation_s=20, total_s=60)

PROPOSAL = Proposal(
    called=AeTitle("PEER"),
    calling=AeTitle("STRONGROOM"),
    contexts=tuple((uid, (EXPLICIT, IMPLICIT)) for uid in CLASSES),
    implementation=LocalParameters(Uid("1.2.826.0.1.3680043.9.9999.1"), "STRONGROOM"),
)


@dataclass
class Peer:
    """A pynetdicom SCP: what it got, and what it is to answer."""

    port: int = 0
    stored: list[tuple[Any, bytes, str]] = field(default_factory=list)
    store_status: int = 0
    is_cancelled: bool = False
    identifiers: list[bytes] = field(default_factory=list)
    actions: list[Dataset] = field(default_factory=list)
    modified: list[tuple[str, Dataset]] = field(default_factory=list)
    reports: list[tuple[int, bytes]] = field(default_factory=list)
    matches: int = 3

    def on_store(self, event: Any) -> int:
        self.stored.append((event.request, event.request.DataSet.getvalue(), str(event.context.transfer_syntax)))
        return self.store_status

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.identifiers.append(event.request.Identifier.getvalue())
        for number in range(self.matches):
            if event.is_cancelled:
                self.is_cancelled = True
                yield 0xFE00, None
                return
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID = f"1.2.{number}"
            yield 0xFF00, match

    def on_move(self, event: Any) -> Iterator[Any]:
        if event.move_destination != "SELF":
            yield None, None
            return
        yield "127.0.0.1", self.port, {"ae_title": "PEER", "contexts": [build_context(CT, EXPLICIT)]}
        yield 2
        for number in range(2):
            yield 0xFF00, image(number)

    def on_get(self, event: Any) -> Iterator[Any]:
        yield 3
        for number in range(3):
            yield 0xFF00, image(number)

    def on_action(self, event: Any) -> tuple[int, None]:
        self.actions.append(event.action_information)
        return 0x0000, None

    def on_set(self, event: Any) -> tuple[int, None]:
        self.modified.append((str(event.request.RequestedSOPInstanceUID), event.modification_list))
        return 0x0112, None

    def on_report(self, event: Any) -> tuple[int, None]:
        self.reports.append((event.event_type, event.request.EventInformation.getvalue()))
        return 0x0000, None


def image(number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = str(CT)
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.PatientID = "TEST"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    return dataset


def serve(peer: Peer, **server: Any) -> Any:
    ae = AE("PEER")
    for uid in CLASSES:
        ae.add_supported_context(uid, [EXPLICIT, IMPLICIT], scu_role=True, scp_role=True)
    handlers = [
        (evt.EVT_C_STORE, peer.on_store),
        (evt.EVT_C_FIND, peer.on_find),
        (evt.EVT_C_MOVE, peer.on_move),
        (evt.EVT_C_GET, peer.on_get),
        (evt.EVT_N_ACTION, peer.on_action),
        (evt.EVT_N_SET, peer.on_set),
        (evt.EVT_N_EVENT_REPORT, peer.on_report),
    ]
    ae.require_called_aet = True
    ae.network_timeout = 5
    running = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **server)
    peer.port = running.server_address[1]
    return ae


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    peer = Peer()
    ae = serve(peer)
    yield peer
    ae.shutdown()
    gc.collect()


@pytest.fixture
def peer(shared: Peer) -> Peer:
    """The shared peer, as new."""
    fresh = Peer(port=shared.port)
    for name in fresh.__dataclass_fields__:
        setattr(shared, name, getattr(fresh, name))
    return shared


def connect(peer: Peer, proposal: Proposal = PROPOSAL) -> ScuConnection:
    return ScuConnection.open(Target("127.0.0.1", peer.port), proposal, timeouts=TIMEOUTS)


def raw_dataset(transfer_syntax: Uid = EXPLICIT, **values: Any) -> bytes:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    raw = encode(dataset, transfer_syntax == IMPLICIT, True)
    assert raw is not None
    return raw


def test_echo_and_release(peer: Peer) -> None:
    with connect(peer) as scu:
        response = scu.echo()
        assert (response.status, response.message_id_being_responded_to) == (0, 1)
        assert scu.echo().message_id_being_responded_to == 2
        assert scu.negotiated.peer_implementation_version_name.startswith("PYNETDICOM")
    assert scu.closed


@pytest.mark.parametrize("sizes", [[10], [1, 0, 7, 400], [20_000], [65_536] * 50, [3_000_000, 2]])
def test_store_delivers_every_byte(peer: Peer, sizes: list[int]) -> None:
    chunks = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    with connect(peer) as scu:
        response = scu.store(CT, Uid("1.2.3.4"), EXPLICIT, iter(chunks), move_originator=("MOVER", 12))
    assert response.status == Status.SUCCESS
    ((request, raw, transfer_syntax),) = peer.stored
    assert raw == b"".join(chunks)
    assert (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID) == (CT, "1.2.3.4")
    assert (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID) == ("MOVER", 12)
    assert transfer_syntax == EXPLICIT


def test_store_returns_a_refusal_and_goes_on(peer: Peer) -> None:
    peer.store_status = 0xA700
    with connect(peer) as scu:
        assert scu.store(CT, Uid("1.2.3.4"), EXPLICIT, [b"data"]).status == Status.OUT_OF_RESOURCES
        peer.store_status = 0
        assert scu.store(CT, Uid("1.2.3.5"), EXPLICIT, [b"data"]).status == Status.SUCCESS


def test_the_context_is_chosen_by_transfer_syntax(peer: Peer) -> None:
    proposal = replace(PROPOSAL, contexts=((CT, (EXPLICIT,)), (CT, (IMPLICIT,))))
    with connect(peer, proposal) as scu:
        scu.store(CT, Uid("1.2.3.4"), IMPLICIT, [b"data"])
        scu.store(CT, Uid("1.2.3.5"), EXPLICIT, [b"data"])
    assert [transfer_syntax for _, _, transfer_syntax in peer.stored] == [IMPLICIT, EXPLICIT]


def test_without_a_context_nothing_is_sent_and_the_association_lives(peer: Peer) -> None:
    proposal = replace(PROPOSAL, contexts=(*PROPOSAL.contexts, (MR, (EXPLICIT,))))
    with connect(peer, proposal) as scu:
        assert scu.accepts(CT, EXPLICIT)
        assert not scu.accepts(CT, IMPLICIT)
        assert not scu.accepts(MR)
        for sop_class, transfer_syntax in ((MR, EXPLICIT), (CT, IMPLICIT)):
            with pytest.raises(Refused) as caught:
                scu.store(sop_class, Uid("1.2.3.4"), transfer_syntax, [b"data"])
            assert caught.value.reason == "no-presentation-context"
        assert scu.echo().status == 0
    assert not peer.stored


def test_a_source_that_fails_aborts_and_shows_its_error(peer: Peer) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(100_000)
        raise OSError("disk away")

    scu = connect(peer)
    with pytest.raises(OSError, match="disk away"):
        scu.store(CT, Uid("1.2.3.4"), EXPLICIT, chunks())
    assert scu.closed
    assert not peer.stored


def test_find_yields_matches_and_the_final_response(peer: Peer) -> None:
    identifier = raw_dataset(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    with connect(peer) as scu:
        answers = list(scu.find(STUDY_FIND, identifier))
    assert peer.identifiers == [identifier]
    assert [response.status for response, _ in answers] == [0xFF00, 0xFF00, 0xFF00, 0]
    matches = [decode(BytesIO(raw), False, True) for _, raw in answers[:-1]]
    assert [match.StudyInstanceUID for match in matches] == ["1.2.0", "1.2.1", "1.2.2"]
    assert answers[-1][1] == b""


def test_a_find_that_is_left_early_is_cancelled(peer: Peer) -> None:
    peer.matches = 10_000
    with connect(peer) as scu:
        for response, _ in scu.find(STUDY_FIND, raw_dataset(QueryRetrieveLevel="STUDY")):
            assert response.status == 0xFF00
            break
        assert scu.echo().status == 0
    assert peer.is_cancelled


def test_move_returns_the_final_response(peer: Peer) -> None:
    identifier = raw_dataset(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
    with connect(peer) as scu:
        response, failed = scu.move(STUDY_MOVE, identifier, "SELF")
        assert (response.status, response.completed_sub_operations, response.failed_sub_operations) == (0, 2, 0)
        assert failed == b""
        response, _ = scu.move(STUDY_MOVE, identifier, "ELSEWHERE")
        assert response.status == Status.MOVE_DESTINATION_UNKNOWN
    assert [request.AffectedSOPInstanceUID for request, _, _ in peer.stored] == ["1.2.3.0", "1.2.3.1"]


GETTING = replace(PROPOSAL, roles=(RoleSelection(CT, True, True),))


def test_get_hands_over_each_object(peer: Peer) -> None:
    taken = []

    def on_store(request: CStoreRq, transfer_syntax: Uid, chunks: Iterator[memoryview]) -> int:
        taken.append((request.affected_sop_instance_uid, transfer_syntax, b"".join(chunks)))
        return Status.SUCCESS

    with connect(peer, GETTING) as scu:
        response, _ = scu.get(STUDY_GET, raw_dataset(QueryRetrieveLevel="STUDY"), on_store)
        assert scu.echo().status == 0
    assert (response.status, response.completed_sub_operations) == (0, 3)
    assert [(uid, ts) for uid, ts, _ in taken] == [(f"1.2.3.{n}", EXPLICIT) for n in range(3)]
    assert decode(BytesIO(taken[2][2]), False, True).SOPInstanceUID == "1.2.3.2"


def test_get_drops_what_is_not_taken_and_reports_what_failed(peer: Peer) -> None:
    with connect(peer, GETTING) as scu:
        response, failed = scu.get(
            STUDY_GET, raw_dataset(QueryRetrieveLevel="STUDY"), lambda *_: Status.OUT_OF_RESOURCES
        )
    assert (response.completed_sub_operations, response.failed_sub_operations) == (0, 3)
    assert list(decode(BytesIO(failed), False, True).FailedSOPInstanceUIDList) == [f"1.2.3.{n}" for n in range(3)]


def test_get_ends_in_an_abort_if_the_receiver_fails(peer: Peer) -> None:
    def on_store(request: CStoreRq, transfer_syntax: Uid, chunks: Iterator[memoryview]) -> int:
        raise OSError("disk full")

    scu = connect(peer, GETTING)
    with pytest.raises(OSError, match="disk full"):
        scu.get(STUDY_GET, raw_dataset(QueryRetrieveLevel="STUDY"), on_store)
    assert scu.closed


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT])
def test_commitment_is_asked_for(peer: Peer, transfer_syntax: Uid) -> None:
    references = [(CT, Uid("1.2.3.4")), (MR, Uid("1.2.3.45"))]
    proposal = replace(PROPOSAL, contexts=((COMMITMENT, (transfer_syntax,)),))
    with connect(peer, proposal) as scu:
        assert scu.request_commitment(Uid("1.2.3.9"), references).status == 0
    (action,) = peer.actions
    assert action.TransactionUID == "1.2.3.9"
    asked = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in action.ReferencedSOPSequence]
    assert asked == references


def test_attributes_of_an_instance_are_asked_to_be_changed(peer: Peer) -> None:
    with connect(peer) as scu:
        assert scu.set(MPPS, Uid("2.25.7"), raw_dataset(PerformedProcedureStepStatus="DISCONTINUED")).status == 0x0112
    ((instance, modifications),) = peer.modified
    assert (instance, modifications.PerformedProcedureStepStatus) == ("2.25.7", "DISCONTINUED")


def test_commitment_is_reported_in_the_scp_role(peer: Peer) -> None:
    proposal = replace(PROPOSAL, contexts=((COMMITMENT, (EXPLICIT,)),), roles=(RoleSelection(COMMITMENT, False, True),))
    information = raw_dataset(TransactionUID="1.2.3.9")
    with connect(peer, proposal) as scu:
        (context,) = scu.negotiated.contexts.values()
        assert (context.requestor_scu, context.requestor_scp) == (False, True)
        assert not scu.accepts(COMMITMENT)
        response = scu.report_event(COMMITMENT, Uid("1.2.840.10008.1.20.1.1"), 1, information)
    assert response.status == 0
    assert peer.reports == [(1, information)]


def test_a_rejection_is_told_in_words(peer: Peer) -> None:
    with pytest.raises(PeerUnavailable, match="rejected, permanent, by service user: called ae title not recognized"):
        connect(peer, replace(PROPOSAL, called=AeTitle("NOBODY")))


def test_a_closed_port_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(PeerUnavailable, match=f"127.0.0.1:{port}"):
            connect(Peer(port=port))


def test_a_port_or_host_that_cannot_be_is_told() -> None:
    for target in (Target("127.0.0.1", 70_000), Target("a\0b", 104), Target("a..b", 104)):
        with pytest.raises(PeerUnavailable):
            ScuConnection.open(target, PROPOSAL, timeouts=TIMEOUTS)


# --- TLS ---

NOW = dt.datetime.now(dt.UTC)


def identity(issued: Issued) -> Identity:
    return Identity(issued.certificate_pem, encrypted_key(issued.key_pem, b"in memory"), b"in memory")


@dataclass
class Secured:
    peer: Peer
    tls: Any
    fingerprint: str
    other_tls: Any


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority, stranger = new_authority("0" * 32, NOW), new_authority("1" * 32, NOW)
    server = issue(authority, "PEER", ["127.0.0.1"], NOW, 1)
    client = issue(authority, "STRONGROOM", ["127.0.0.1"], NOW, 1)
    trusted, untrusting = authority.certificate_pem.decode(), stranger.certificate_pem.decode()
    peer = Peer()
    ae = serve(peer, ssl_context=server_context(identity(server), [trusted]))
    yield Secured(
        peer,
        client_context(identity(client), [trusted]),
        read_certificate(server.certificate_pem).fingerprint,
        client_context(identity(client), [untrusting]),
    )
    ae.shutdown()
    gc.collect()


def test_over_tls_the_bound_certificate_is_required(secured: Secured) -> None:
    target = Target("127.0.0.1", secured.peer.port, secured.tls, frozenset({secured.fingerprint}))
    with ScuConnection.open(target, PROPOSAL, timeouts=TIMEOUTS) as scu:
        assert scu.peer_fingerprint == secured.fingerprint
        assert scu.store(CT, Uid("1.2.3.4"), EXPLICIT, [bytes(300_000)] * 3).status == 0
    assert secured.peer.stored[0][1] == bytes(900_000)
    with pytest.raises(PeerUnavailable, match="certificate"):
        ScuConnection.open(replace(target, fingerprints=frozenset({"0" * 64})), PROPOSAL, timeouts=TIMEOUTS)


def test_a_binding_without_tls_is_never_met(peer: Peer) -> None:
    target = Target("127.0.0.1", peer.port, None, frozenset({"0" * 64}))
    with pytest.raises(PeerUnavailable, match="certificate"):
        ScuConnection.open(target, PROPOSAL, timeouts=TIMEOUTS)


def test_a_certificate_that_is_not_trusted_is_refused(secured: Secured) -> None:
    target = Target("127.0.0.1", secured.peer.port, secured.other_tls)
    with pytest.raises(PeerUnavailable, match="certificate verify failed"):
        ScuConnection.open(target, PROPOSAL, timeouts=TIMEOUTS)


def test_tls_to_a_plain_peer_and_plain_to_a_tls_peer_both_fail(peer: Peer, secured: Secured) -> None:
    with pytest.raises(PeerUnavailable):
        ScuConnection.open(Target("127.0.0.1", peer.port, secured.tls), PROPOSAL, timeouts=TIMEOUTS)
    with pytest.raises((PeerUnavailable, RemoteProtocolError)):
        ScuConnection.open(Target("127.0.0.1", secured.peer.port), PROPOSAL, timeouts=TIMEOUTS)
