"""The SCU against peers that break the rules, stall, or never stop: every one ends in the right error, in time."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import islice

import pytest

from strongroom.dimse import (
    CCancelRq,
    CEchoRq,
    CEchoRsp,
    CFindRq,
    CFindRsp,
    CGetRq,
    CGetRsp,
    Channel,
    ChannelEvent,
    ChannelLimits,
    CMoveRq,
    CMoveRsp,
    CStoreRq,
    MessageStart,
    NActionRq,
    NActionRsp,
    NEventReportRq,
    NEventReportRsp,
    Response,
    Status,
    encode_command,
)
from strongroom.errors import LimitExceeded, LocalProtocolError, PeerUnavailable, RemoteProtocolError
from strongroom.net.scu import Proposal, ScuConnection, ScuLimits, ScuLink, ScuTimeouts, Target, describe_outcome
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    Aborted,
    AssociateRejected,
    AssociateRequested,
    Association,
    ConnectionClosed,
    Event,
    LocalParameters,
    Pdv,
    ReleaseConfirmed,
    ReleaseRequested,
    RoleSelection,
    Supported,
    UlLimits,
    negotiate,
)

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
MOVE = Uid("1.2.840.10008.5.1.4.1.2.2.2")
GET = Uid("1.2.840.10008.5.1.4.1.2.2.3")
COMMITMENT = Uid("1.2.840.10008.1.20.1")
COMMITMENT_INSTANCE = Uid("1.2.840.10008.1.20.1.1")
IMPLICIT = Uid("1.2.840.10008.1.2")
CLASSES = (VERIFICATION, CT, FIND, MOVE, GET, COMMITMENT)
US = LocalParameters(Uid("1.2.826.0.1.3680043.9.9999.1"), "STRONGROOM")
PROPOSAL = Proposal(
    AeTitle("PEER"),
    AeTitle("STRONGROOM"),
    tuple((uid, (IMPLICIT,)) for uid in CLASSES),
    US,
    (RoleSelection(CT, True, True),),
)
PATIENT = ScuTimeouts(connect_s=10, idle_s=10, operation_s=10, total_s=10)
HASTY = ScuTimeouts(connect_s=0.2, idle_s=0.2, operation_s=5, total_s=5)

A_ASSOCIATE_RJ = bytes.fromhex("03 00 00000004 00 02 03 01")
A_ABORT = bytes.fromhex("07 00 00000004 00 00 02 01")


class Peer:
    """The other end of one connection: a sound acceptor, unless its script says otherwise."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.association = Association.acceptor(UlLimits(), US)
        self.channel = Channel()
        self.heard: list[Event] = []

    def next_event(self) -> Event:
        while (event := self.association.next_event()) is None:
            self.flush()
            self.association.receive_data(self.connection.recv_into(self.association.free_space()))
        self.heard.append(event)
        return event

    def flush(self) -> None:
        for buffer in self.association.data_to_send():
            self.connection.sendall(buffer)

    def accept(self) -> None:
        event = self.next_event()
        assert isinstance(event, AssociateRequested)
        offered = {uid: Supported((IMPLICIT,), requestor_scp=uid == CT) for uid in CLASSES}
        self.association.accept(negotiate(event.request, offered))
        self.flush()

    def next_message(self) -> MessageStart:
        """The next message, its data set dropped."""
        start: ChannelEvent | None = None
        while not isinstance(start, MessageStart) or not self.channel.between_messages:
            event = self.next_event()
            if isinstance(event, Aborted | ConnectionClosed):
                raise ConnectionError("the SCU hung up")
            assert isinstance(event, Pdv), event
            told = self.channel.feed(*event)
            start = told if isinstance(told, MessageStart) else start
        return start

    def send(
        self, context_id: int, message: Response | CStoreRq | NEventReportRq, dataset: bytes | None = None
    ) -> None:
        self.association.send_pdvs(context_id, self.channel.encode_message(message), dataset)
        self.flush()

    def until_the_end(self) -> None:
        """Take in whatever still comes, answering a release."""
        while not isinstance(event := self.next_event(), Aborted | ConnectionClosed):
            if isinstance(event, ReleaseRequested):
                self.association.answer_release()


Script = Callable[[Peer], None]


class Stage:
    """Runs one scripted peer on a thread of its own."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.target = Target("127.0.0.1", self.listener.getsockname()[1])
        self.peer: Peer | None = None
        self.failure: BaseException | None = None
        self.thread: threading.Thread | None = None

    def play(self, script: Script) -> None:
        self.thread = threading.Thread(target=self._run, args=(script,))
        self.thread.start()

    def _run(self, script: Script) -> None:
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(10)
                self.peer = Peer(connection)
                script(self.peer)
        except ConnectionError:
            pass  # the SCU hung up on us, as it may
        except BaseException as error:
            self.failure = error

    def heard(self) -> list[Event]:
        """What the peer heard, once it is done."""
        self.close()
        assert self.peer is not None
        return self.peer.heard

    def close(self) -> None:
        if self.thread is not None:
            self.thread.join(15)
            assert not self.thread.is_alive()
        self.listener.close()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def connect(
    stage: Stage, script: Script, timeouts: ScuTimeouts = PATIENT, limits: ScuLimits | None = None
) -> ScuConnection:
    """Open an association with a peer that accepts it and then follows ``script``."""

    def whole(peer: Peer) -> None:
        peer.accept()
        script(peer)

    stage.play(whole)
    return ScuConnection.open(stage.target, PROPOSAL, timeouts=timeouts, limits=limits)


# --- While connecting ---


def raw_answer(data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.connection.recv(1)
        peer.connection.sendall(data)
        peer.connection.shutdown(socket.SHUT_WR)
        while peer.connection.recv(65_536):
            pass

    return script


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"", PeerUnavailable, "closed the connection"),
        (A_ASSOCIATE_RJ, PeerUnavailable, "rejected, transient, by provider presentation: temporary congestion"),
        (A_ASSOCIATE_RJ[:-1] + b"\x63", PeerUnavailable, "provider presentation: reason 99"),
        (A_ABORT, PeerUnavailable, r"aborted the association \(by its provider, reason 1\)"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", RemoteProtocolError, "PDU type"),
        (b"220 mail ESMTP\r\n", RemoteProtocolError, "PDU type"),
        (b"\x02\0" + struct.pack(">I", 0xFFFFFFFF), RemoteProtocolError, "A_ASSOCIATE_AC of 4294967295 bytes"),
        (b"\x04\0" + struct.pack(">I", 12) + bytes(12), RemoteProtocolError, "P_DATA_TF in STA5"),
        (b"\x05\0" + struct.pack(">I", 4) + bytes(4), RemoteProtocolError, "A_RELEASE_RQ in STA5"),
    ],
)
def test_an_answer_that_is_no_acceptance(stage: Stage, answer: bytes, error: type[Exception], message: str) -> None:
    stage.play(raw_answer(answer))
    with pytest.raises(error, match=message):
        ScuConnection.open(stage.target, PROPOSAL, timeouts=PATIENT)


def test_a_rejection_is_a_value_for_who_asks_for_one(stage: Stage) -> None:
    stage.play(raw_answer(A_ASSOCIATE_RJ))
    link = ScuLink.connect(stage.target, PATIENT)
    outcome = link.associate(PROPOSAL)
    assert outcome == AssociateRejected(2, 3, 1)
    assert link.closed
    assert "temporary congestion" in describe_outcome(AssociateRejected(2, 3, 1))
    with pytest.raises(LocalProtocolError):
        link.associate(PROPOSAL)


def test_a_peer_that_never_answers_is_left_in_time(stage: Stage) -> None:
    stage.play(lambda peer: peer.until_the_end())
    with pytest.raises(PeerUnavailable, match="timed out"):
        ScuConnection.open(stage.target, PROPOSAL, timeouts=HASTY)


class Clock:
    """A clock that runs by one second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_peer_that_trickles_its_answer_runs_out_of_time_however_busy_it_is(stage: Stage) -> None:
    def script(peer: Peer) -> None:  # an A-ASSOCIATE-AC of 60,000 bytes, one at a time: each on time, their sum is not
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.connection.sendall(b"\x02\0" + struct.pack(">I", 60_000))
        while True:
            peer.connection.sendall(b"\0")

    stage.play(script)
    clock = Clock()
    link = ScuLink.connect(stage.target, ScuTimeouts(connect_s=10, idle_s=10, operation_s=99, total_s=99), None, clock)
    with pytest.raises(PeerUnavailable, match="too slow") as raised:
        link.associate(PROPOSAL)
    assert raised.value.how == "slow"
    assert link.closed
    assert clock.now < 15


# --- During an operation ---


def answer_with(response: Response) -> Script:
    def script(peer: Peer) -> None:
        context_id = peer.next_message().context_id
        peer.association.send_pdvs(context_id, encode_command(response))  # past the channel, which would not allow it
        peer.flush()
        peer.until_the_end()

    return script


@pytest.mark.parametrize("response", [CEchoRsp(2, 0), CFindRsp(1, 0)])
def test_a_response_to_something_else_is_answered_with_an_abort(stage: Stage, response: Response) -> None:
    scu = connect(stage, answer_with(response))
    with pytest.raises(RemoteProtocolError):
        scu.echo()
    assert scu.closed
    assert Aborted(2, 0, by_provider=True) in stage.heard()


def test_a_peer_that_does_not_respond_is_aborted_in_time(stage: Stage) -> None:
    scu = connect(stage, lambda peer: peer.until_the_end(), HASTY)
    with pytest.raises(PeerUnavailable, match="timed out") as raised:
        scu.echo()
    assert raised.value.how == "timeout"
    assert scu.closed
    assert Aborted(0, 0, by_provider=False) in stage.heard()
    with pytest.raises(LocalProtocolError):
        scu.echo()


def test_a_peer_that_aborts_or_vanishes_is_told(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.next_message()
        peer.association.abort()
        peer.flush()

    scu = connect(stage, script)
    with pytest.raises(PeerUnavailable, match=r"aborted the association \(by its user") as raised:
        scu.echo()
    assert raised.value.how == "aborted"


def test_a_peer_that_closes_is_told(stage: Stage) -> None:
    scu = connect(stage, lambda peer: None)
    with pytest.raises(PeerUnavailable) as raised:
        scu.echo()
    assert raised.value.how == "closed"
    assert scu.closed


def test_a_release_in_place_of_a_response_is_answered(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.next_message()
        peer.association.request_release()
        while not isinstance(peer.next_event(), ReleaseConfirmed | ConnectionClosed):
            pass

    scu = connect(stage, script)
    with pytest.raises(PeerUnavailable, match="released") as raised:
        scu.echo()
    assert raised.value.how == "released"
    assert ReleaseConfirmed() in stage.heard()


def test_a_peer_that_stops_reading_is_left_in_time_and_memory(stage: Stage) -> None:
    over = threading.Event()
    given = 0

    def chunks() -> Iterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(100_000)

    scu = connect(stage, lambda peer: over.wait(10) and None, HASTY)
    with pytest.raises(PeerUnavailable, match="sending failed: timed out"):
        scu.store(CT, Uid("1.2.3"), IMPLICIT, chunks())
    over.set()
    assert given < 200  # what the kernel buffers, and no more


def matching_for_ever(peer: Peer) -> None:
    start = peer.next_message()
    assert isinstance(start.message, CFindRq)
    while True:
        peer.send(start.context_id, CFindRsp(start.message.message_id, Status.PENDING, FIND, True), b"match of a kind")


def test_matches_without_end_meet_the_cap(stage: Stage) -> None:
    scu = connect(stage, matching_for_ever, limits=ScuLimits(max_messages=50))
    matches = scu.find(FIND, b"identifier")
    assert len(list(islice(matches, 50))) == 50
    with pytest.raises(LimitExceeded, match="max_messages = 50"):
        next(matches)
    assert scu.closed


def test_matches_without_end_meet_the_deadline(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        matching_for_ever(peer)

    stage.play(script)
    link = ScuLink.connect(stage.target, ScuTimeouts(100, 10, 50, 1000), None, Clock())
    link.associate(PROPOSAL)
    with pytest.raises(PeerUnavailable, match="too slow"):
        list(ScuConnection(link).find(FIND, b"identifier"))
    assert link.closed


def test_no_operation_outlives_the_connection(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        while True:
            start = peer.next_message()
            assert isinstance(start.message, CEchoRq)
            peer.send(start.context_id, CEchoRsp(start.message.message_id, 0))

    stage.play(script)
    clock = Clock()
    link = ScuLink.connect(stage.target, ScuTimeouts(20, 10, 20, 60), None, clock)
    link.associate(PROPOSAL)
    scu = ScuConnection(link)
    with pytest.raises(PeerUnavailable, match="too slow"):
        deque(iter(scu.echo, None), maxlen=0)
    assert 55 < clock.now < 70


def test_a_peer_that_ignores_a_cancel_is_aborted(stage: Stage) -> None:
    scu = connect(stage, matching_for_ever, limits=ScuLimits(max_messages=50))
    matches = scu.find(FIND, b"identifier")
    next(matches)
    matches.close()
    assert scu.closed


def test_a_cancel_is_heard_with_the_id_of_the_query(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, CFindRq)
        peer.send(start.context_id, CFindRsp(start.message.message_id, Status.PENDING, FIND, True), b"match")
        assert peer.next_message() == MessageStart(start.context_id, CCancelRq(start.message.message_id))
        peer.send(start.context_id, CFindRsp(start.message.message_id, Status.CANCEL))
        peer.until_the_end()

    with connect(stage, script) as scu:
        next(scu.find(FIND, b"identifier"))
        assert not scu.closed


def test_an_identifier_without_end_meets_the_cap(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, CFindRq)
        peer.send(start.context_id, CFindRsp(start.message.message_id, Status.PENDING, FIND, True), bytes(2_000))
        peer.until_the_end()

    scu = connect(stage, script, limits=ScuLimits(channel=ChannelLimits(max_identifier_bytes=1_999)))
    with pytest.raises(LimitExceeded, match="max_identifier_bytes = 1999"):
        list(scu.find(FIND, b"identifier"))
    assert scu.closed


def test_pending_moves_without_end_meet_the_cap(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, CMoveRq)
        while True:
            peer.send(start.context_id, CMoveRsp(start.message.message_id, Status.PENDING, remaining_sub_operations=1))

    scu = connect(stage, script, limits=ScuLimits(max_messages=20))
    with pytest.raises(LimitExceeded, match="max_messages"):
        scu.move(MOVE, b"identifier", "X")


def fail_if_called(*_: object) -> int:
    raise AssertionError("an object was handed over")


@pytest.mark.parametrize(
    ("sop_class", "context_id"),
    [(Uid("1.2.3"), 3), (CT, 5), (FIND, 5)],
    ids=["another class", "another context", "no SCP role"],
)
def test_objects_that_were_not_negotiated_are_not_taken(stage: Stage, sop_class: Uid, context_id: int) -> None:
    def script(peer: Peer) -> None:
        assert isinstance(peer.next_message().message, CGetRq)
        peer.send(context_id, CStoreRq(1, sop_class, Uid("1.2.3.4")), b"object")
        peer.until_the_end()

    scu = connect(stage, script)
    with pytest.raises(RemoteProtocolError, match="not for that"):
        scu.get(GET, b"identifier", fail_if_called)
    assert scu.closed


def test_objects_outside_a_get_are_not_taken(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.next_message()
        peer.send(3, CStoreRq(1, CT, Uid("1.2.3.4")), b"object")
        peer.until_the_end()

    scu = connect(stage, script)
    with pytest.raises(RemoteProtocolError, match="CStoreRq where a response was due"):
        scu.echo()


def test_a_view_of_an_object_is_handed_over_and_the_rest_is_dropped(stage: Stage) -> None:
    first: list[bytes] = []

    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, CGetRq)
        peer.send(3, CStoreRq(1, CT, Uid("1.2.3.4")), b"\1" * 1_000_000)
        peer.next_message()
        peer.send(start.context_id, CGetRsp(start.message.message_id, Status.SUCCESS, completed_sub_operations=1))
        peer.until_the_end()

    def on_store(request: CStoreRq, transfer_syntax: Uid, chunks: Iterator[memoryview]) -> int:
        first.append(bytes(next(chunks)))
        assert isinstance(chunks, Generator)
        chunks.close()
        return Status.SUCCESS

    with connect(stage, script) as scu:
        response, failed = scu.get(GET, b"identifier", on_store)
    assert (response.completed_sub_operations, failed) == (1, b"")
    assert len(first) == 1
    assert 0 < len(first[0]) < 1_000_000


# --- Event reports ---


def test_a_report_that_overtakes_the_response_is_kept_and_answered(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, NActionRq)
        for number in (7, 8):
            peer.send(start.context_id, NEventReportRq(number, COMMITMENT, COMMITMENT_INSTANCE, 1, True), b"report")
            answer = peer.next_message().message
            assert isinstance(answer, NEventReportRsp)
            assert (answer.message_id_being_responded_to, answer.status) == (number, 0)
        peer.send(start.context_id, NActionRsp(start.message.message_id, Status.SUCCESS))
        peer.send(start.context_id, NEventReportRq(9, COMMITMENT, COMMITMENT_INSTANCE, 2, True), b"late")
        peer.next_message()
        peer.until_the_end()

    with connect(stage, script) as scu:
        assert scu.request_commitment(Uid("1.2.9"), [(CT, Uid("1.2.3.4"))]).status == 0
        reports = [scu.receive_event_report() for _ in range(3)]
    assert [(request.message_id, dataset) for request, dataset in reports] == [
        (7, b"report"),
        (8, b"report"),
        (9, b"late"),
    ]


def test_reports_that_nobody_asked_for_are_bounded(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        while True:
            peer.send(start.context_id, NEventReportRq(1, COMMITMENT, COMMITMENT_INSTANCE, 1))
            peer.next_message()

    scu = connect(stage, script)
    with pytest.raises(RemoteProtocolError, match="event reports"):
        scu.echo()
    assert scu.closed


# --- Release ---


def test_a_peer_that_asks_for_release_at_the_same_time_is_answered(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        peer.association.request_release()
        peer.flush()
        while not isinstance(event := peer.next_event(), ConnectionClosed):
            if isinstance(event, ReleaseConfirmed):
                peer.association.answer_release()

    scu = connect(stage, script)
    scu.release()
    assert scu.closed
    heard = stage.heard()
    assert ReleaseConfirmed() in heard


def test_a_peer_that_ignores_a_release_costs_no_error_and_no_time(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        while peer.connection.recv(65_536):
            pass

    scu = connect(stage, script, HASTY)
    scu.release()
    assert scu.closed
    scu.release()
    scu.abort()


def test_data_after_a_release_request_is_dropped(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        assert isinstance(peer.next_event(), ReleaseRequested)
        peer.association.send_pdvs(1, b"anything", b"at all")
        peer.association.answer_release()
        peer.flush()

    scu = connect(stage, script)
    scu.release()
    assert scu.closed


def test_a_data_set_that_was_not_taken_is_our_own_mistake(stage: Stage) -> None:
    def script(peer: Peer) -> None:
        start = peer.next_message()
        assert isinstance(start.message, CFindRq)
        peer.send(start.context_id, CFindRsp(start.message.message_id, Status.PENDING, FIND, True), b"match")
        peer.until_the_end()

    def whole(peer: Peer) -> None:
        peer.accept()
        script(peer)

    stage.play(whole)
    link = ScuLink.connect(stage.target, PATIENT)
    link.associate(PROPOSAL)
    link.send(5, CFindRq(1, FIND), b"identifier")
    link.receive_start()
    with pytest.raises(LocalProtocolError), link.operation():
        link.receive_start()
    assert link.closed
