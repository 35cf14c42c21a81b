"""Properties of the upper layer: round trips, any chunking, and that garbage is refused in one way only."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import RemoteProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    AnsweredContext,
    AssociateAnswer,
    AssociateRequest,
    AssociateRequested,
    Association,
    CommonExtendedNegotiation,
    ContextOutcome,
    ExtendedNegotiation,
    LocalParameters,
    Pdv,
    ProposedContext,
    RoleSelection,
    State,
    Supported,
    UlLimits,
    UserIdentity,
    UserIdentityType,
    UserInformation,
    negotiate,
)
from strongroom.ul.pdu import (
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
    encode_associate_rq,
    encode_release_rp,
    encode_release_rq,
    parse_associate_ac,
    parse_associate_rq,
)

LIMITS = UlLimits()
LOCAL = LocalParameters(Uid("1.2.3"), "TEST")
FEW = settings(max_examples=100, deadline=None)

# Pools instead of regular expressions: what matters is which lengths meet, and hypothesis is quick about them.
uids = st.sampled_from([Uid(text) for text in ("1", "1.2", "1.2.840.10008.1.2", "2.25." + "9" * 38, "1" * 64)])
titles = st.sampled_from([AeTitle(text) for text in ("A", "ANY-SCP", "A B", "SIXTEEN_LETTERS!")])
versions = st.sampled_from(["", "V", "STRONGROOM 1", "SIXTEEN_LETTERS!"])
words = st.integers(0, 0xFFFF)
context_ids = st.integers(0, 127).map(lambda number: 2 * number + 1)


def several(element, max_size=4):
    return st.lists(element, max_size=max_size).map(tuple)


passcodes = st.builds(
    UserIdentity, st.just(UserIdentityType.USERNAME_AND_PASSCODE), st.binary(max_size=40), st.binary(), st.booleans()
)
identities = passcodes | st.builds(
    UserIdentity, st.sampled_from(UserIdentityType), st.binary(max_size=400), st.just(b""), st.booleans()
)
common_items = {
    "max_pdu_body_bytes": st.just(0) | st.integers(1024, 0xFFFFFFFF),
    "implementation_class_uid": st.none() | uids,
    "implementation_version_name": versions,
    "asynchronous_operations": st.none() | st.tuples(words, words),
    "role_selections": several(st.builds(RoleSelection, uids, st.booleans(), st.booleans())),
    "extended": several(st.builds(ExtendedNegotiation, uids, st.binary(max_size=30))),
}
request_users = st.builds(
    UserInformation,
    **common_items,
    common_extended=several(st.builds(CommonExtendedNegotiation, uids, uids, several(uids))),
    user_identity=st.none() | identities,
)
answer_users = st.builds(UserInformation, **common_items, user_identity_response=st.none() | st.binary(max_size=100))
proposals = st.lists(
    st.builds(ProposedContext, context_ids, uids, st.lists(uids, min_size=1, max_size=5).map(tuple)),
    min_size=1,
    max_size=8,
    unique_by=lambda context: context.context_id,
).map(tuple)
requests = st.builds(AssociateRequest, titles, titles, proposals, request_users)
answered = st.builds(AnsweredContext, context_ids, st.just(ContextOutcome.ACCEPTANCE), uids) | st.builds(
    AnsweredContext, context_ids, st.sampled_from(list(ContextOutcome)[1:])
)
answers = st.builds(
    AssociateAnswer,
    st.lists(answered, min_size=1, max_size=8, unique_by=lambda context: context.context_id).map(tuple),
    answer_users,
)


@FEW
@given(st.builds(replace, requests, application_context=uids, protocol_version=words))
def test_a_request_survives_its_encoding(request):
    raw = encode_associate_rq(request)
    assert int.from_bytes(raw[2:6], "big") == len(raw) - 6
    assert parse_associate_rq(memoryview(raw)[6:], LIMITS) == request


@FEW
@given(st.builds(replace, answers, application_context=uids, protocol_version=words))
def test_an_acceptance_survives_its_encoding(answer):
    raw = encode_associate_ac(answer, bytes(64))
    assert int.from_bytes(raw[2:6], "big") == len(raw) - 6
    assert parse_associate_ac(memoryview(raw)[6:], LIMITS) == answer


class Talk:
    """One side that is fed in pieces; acceptors answer, and all that is told is kept."""

    def __init__(self, association):
        self.association = association
        self.told = []

    def feed(self, data):
        association, rest = self.association, memoryview(data)
        while len(rest):
            space = association.free_space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            rest = rest[count:]
            association.receive_data(count)
            self.take()

    def take(self):
        try:
            while (event := self.association.next_event()) is not None:
                self.told.append(event._replace(data=bytes(event.data)) if isinstance(event, Pdv) else event)
                if isinstance(event, AssociateRequested):
                    offer = {context.abstract_syntax: everything(context) for context in event.request.contexts}
                    self.association.accept(negotiate(event.request, offer))
        except RemoteProtocolError as error:
            self.told.append(str(error))
            self.take()

    def close(self):
        self.association.receive_data(0)
        self.take()


def everything(context):
    return Supported(context.transfer_syntaxes, requestor_scp=True)


def acceptor():
    return Talk(Association.acceptor(LIMITS, LOCAL))


def p_data(context_id, pdvs):
    items = b"".join(
        (len(value) + 2).to_bytes(4, "big") + bytes((context_id, control)) + value for control, value in pdvs
    )
    return b"\4\0" + len(items).to_bytes(4, "big") + items


SIZED = st.binary(max_size=40) | st.integers(0, 20_000).map(bytes)
pdv_lists = st.lists(st.tuples(st.integers(0, 3), SIZED), min_size=1, max_size=4)
PROPOSAL = (ProposedContext(1, Uid("1.2"), (Uid("1.3"),)),)
simple_requests = st.builds(
    AssociateRequest, titles, titles, st.just(PROPOSAL), st.builds(UserInformation, common_items["max_pdu_body_bytes"])
)
later_pdus = st.lists(
    st.builds(p_data, st.just(1), pdv_lists)
    | st.sampled_from(
        [
            encode_release_rq(),
            encode_release_rp(),
            encode_abort(0, 0),
            encode_associate_rj(1, 1, 1),
            p_data(3, [(2, b"x")]),
            b"\4\0\0\0\0\0",
            b"\x99\0\0\0\0\1x",
        ]
    ),
    max_size=6,
)


def pieces(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


@FEW
@given(simple_requests, later_pdus, st.lists(st.integers(0, 1 << 20), max_size=30))
def test_any_chunking_tells_and_sends_the_same(request, later, cuts):
    stream = encode_associate_rq(request) + b"".join(later)
    whole, cut = acceptor(), acceptor()
    whole.feed(stream)
    for piece in pieces(stream, cuts):
        cut.feed(piece)
    whole.close()
    cut.close()
    assert cut.told == whole.told
    assert cut.association.state == whole.association.state == State.STA1
    assert b"".join(cut.association.data_to_send()) == b"".join(whole.association.data_to_send())


@FEW
@given(simple_requests, later_pdus)
def test_a_byte_at_a_time_is_a_chunking_too(request, later):
    stream = (encode_associate_rq(request) + b"".join(later))[:2000]
    whole, cut = acceptor(), acceptor()
    whole.feed(stream)
    for number in range(len(stream)):
        cut.feed(stream[number : number + 1])
    assert cut.told == whole.told


@settings(max_examples=300, deadline=None)
@given(requests, later_pdus, st.integers(0, 1 << 20), st.binary(max_size=300))
def test_garbage_raises_nothing_but_remote_protocol_error(request, later, cut, tail):
    stream = encode_associate_rq(request) + b"".join(later)
    talk = acceptor()
    talk.feed(stream[: cut % (len(stream) + 1)] + tail)
    talk.close()
    assert talk.association.closed
    assert sum(isinstance(told, str) for told in talk.told) <= 1, "a violation is raised once"


@settings(max_examples=300, deadline=None)
@given(requests, st.integers(0, 1 << 20), st.integers(0, 255))
def test_a_flipped_byte_in_a_request_is_taken_or_refused(request, at, value):
    raw = bytearray(encode_associate_rq(request))
    raw[at % len(raw)] = value
    talk = acceptor()
    talk.feed(raw)
    talk.close()
    assert talk.association.closed


@settings(max_examples=300, deadline=None)
@given(answers, st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8))
def test_a_requestor_takes_or_refuses_any_answer(answer, at, junk):
    raw = bytearray(encode_associate_ac(answer, bytes(64)))
    at %= len(raw)
    raw[at : at + len(junk)] = junk
    talk = Talk(Association.requestor(AssociateRequest(AeTitle("A"), AeTitle("B"), PROPOSAL), LIMITS))
    talk.feed(raw)
    talk.close()
    assert talk.association.closed


def opened(peer_max_bytes):
    request = AssociateRequest(AeTitle("A"), AeTitle("B"), PROPOSAL)
    sender = Association.requestor(request, UlLimits(max_pdu_body_bytes=peer_max_bytes))
    receiver = Talk(Association.acceptor(UlLimits(max_pdu_body_bytes=peer_max_bytes), LOCAL))
    receiver.feed(b"".join(sender.data_to_send()))
    talk = Talk(sender)
    talk.feed(b"".join(receiver.association.data_to_send()))
    receiver.told.clear()
    return sender, receiver


@FEW
@given(st.integers(1024, 70_000), st.binary(max_size=3000), st.lists(SIZED, max_size=6))
def test_both_ways_of_sending_arrive_as_the_same_message(peer_max_bytes, command, chunks):
    sender, receiver = opened(peer_max_bytes)
    data = b"".join(chunks)
    sender.send_pdvs(1, command, data)
    receiver.feed(b"".join(sender.data_to_send()))
    at_once, receiver.told = receiver.told, []
    for buffers in sender.stream_pdvs(1, command, chunks):
        receiver.feed(b"".join(buffers))
    assert receiver.told == at_once
    commands = [pdv for pdv in at_once if pdv.is_command]
    values = [pdv for pdv in at_once if not pdv.is_command]
    assert b"".join(pdv.data for pdv in commands) == command
    assert b"".join(pdv.data for pdv in values) == data
    for message in (commands, values):
        assert [pdv.is_last for pdv in message] == [False] * (len(message) - 1) + [True]
