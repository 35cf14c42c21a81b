"""The association as its shell sees it: buffers, fragments, and the limits that hold on the way."""

import pytest
from ul_wire import (
    ANSWER,
    IMPLICIT,
    LOCAL,
    RELEASE_RQ,
    REQUEST,
    abort,
    answered,
    associate_ac,
    associate_rq,
    established_acceptor,
    established_requestor,
    item,
    p_data,
    pdv,
    receive,
    sent,
)

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.types import Uid
from strongroom.ul import (
    Aborted,
    AssociateRefused,
    AssociateRequested,
    Association,
    ConnectionClosed,
    Pdv,
    ReleaseRequested,
    State,
    UlLimits,
)


def payloads(raw):
    """Split P-DATA-TF bytes by hand into (context, control, value), checking that the lengths agree."""
    found = []
    while raw:
        assert raw[:2] == b"\4\0"
        body = int.from_bytes(raw[2:6], "big")
        length = int.from_bytes(raw[6:10], "big")
        assert length == body - 4, "one PDV in each PDU"
        found.append((raw[10], raw[11], bytes(raw[12 : 6 + body])))
        raw = raw[6 + body :]
    return found


def maximum_length(size):
    return item(0x51, size.to_bytes(4, "big"))


# --- Receiving ---


def test_what_was_agreed_can_be_read_on_both_sides():
    for association in (established_acceptor(), established_requestor()):
        negotiated = association.negotiated
        assert list(negotiated.contexts) == [1]
        assert negotiated.contexts[1].transfer_syntax == IMPLICIT
        assert (negotiated.called_ae_title, negotiated.calling_ae_title) == ("STRONGROOM", "STORESCU")
        assert negotiated.peer_implementation_class_uid == Uid("1.2.3.4")
        assert negotiated.peer_implementation_version_name == "PEER"
        assert negotiated.send_pdu_body_bytes == 16384


def test_the_answer_says_who_we_are_and_what_we_enforce():
    association = Association.acceptor(UlLimits(max_pdu_body_bytes=50_000), LOCAL)
    receive(association, associate_rq())
    association.accept(ANSWER)
    raw = sent(association)
    assert maximum_length(50_000) in raw
    assert item(0x52, LOCAL.implementation_class_uid.encode()) in raw
    assert item(0x55, b"STRONGROOM_TEST") in raw


def test_the_request_says_what_we_enforce():
    assert maximum_length(50_000) in sent(Association.requestor(REQUEST, UlLimits(max_pdu_body_bytes=50_000)))


def test_pdvs_come_as_sent_however_they_are_packed():
    association = established_acceptor()
    raw = p_data(pdv(1, 1, b"com"), pdv(1, 3, b"mand"), pdv(1, 0, b"")) + p_data(pdv(1, 2, b"last"))
    assert receive(association, raw) == [
        Pdv(1, True, False, b"com"),
        Pdv(1, True, True, b"mand"),
        Pdv(1, False, False, b""),
        Pdv(1, False, True, b"last"),
    ]


def test_the_payload_is_a_view_and_holds_until_free_space():
    association = established_acceptor()
    raw = p_data(pdv(1, 2, b"A" * 100)) + p_data(pdv(1, 2, b"B" * 3000))[:2000]
    space = association.free_space()
    space[: len(raw)] = raw
    association.receive_data(len(raw))
    first = association.next_event()
    assert isinstance(first.data, memoryview)
    assert first.data.obj is space.obj, "no copy"
    assert association.next_event() is None
    assert bytes(first.data) == b"A" * 100


def test_free_space_between_the_pdvs_of_one_pdu_loses_none():
    association = established_acceptor()
    raw = p_data(*[pdv(1, 0, bytes([number]) * 50) for number in range(8)])
    space = association.free_space()
    space[: len(raw)] = raw
    association.receive_data(len(raw))
    seen = []
    while (event := association.next_event()) is not None:
        seen.append(bytes(event.data))
        association.free_space()
    assert seen == [bytes([number]) * 50 for number in range(8)]


@pytest.mark.parametrize("pdu_bytes", [100, 5_000, 20_000, 262_150])
def test_any_pdu_up_to_what_we_advertised_is_taken(pdu_bytes):
    association = established_acceptor()
    value = bytes(range(256)) * (pdu_bytes // 256 + 1)
    raw = b"".join(p_data(pdv(1, 0, value[: pdu_bytes - 12])) for _ in range(5))
    assert receive(association, raw) == [Pdv(1, False, False, value[: pdu_bytes - 12])] * 5


def test_one_byte_over_what_we_advertised_is_refused_from_the_header():
    limits = UlLimits(max_pdu_body_bytes=2000)
    association = established_acceptor(limits)
    receive(association, (b"\4\0" + (2000).to_bytes(4, "big")))
    assert association.state is State.STA6
    association = established_acceptor(limits)
    with pytest.raises(RemoteProtocolError) as refused:
        receive(association, b"\4\0" + (2001).to_bytes(4, "big"))
    assert refused.value.abort_reason == 6
    assert sent(association) == abort(2, 6)


CROOKED_P_DATA = {
    "empty": p_data(),
    "PDV header cut off": b"\4\0\0\0\0\5" + bytes(5),
    "PDV longer than its PDU": p_data(b"\0\0\0\x09\1\2abcd"),
    "PDV of 4 GiB": p_data(b"\xff\xff\xff\xff\1\2abcd"),
    "PDV of length 1": p_data(b"\0\0\0\1\1\2"),
    "PDV of length 0": p_data(b"\0\0\0\0\1\2"),
    "second PDV cut off": p_data(pdv(1, 0, b"ab"), b"\0\0\0"),
    "second PDV over the end": p_data(pdv(1, 0, b"ab"), b"\0\0\0\5\1\2ab"),
    "context that was rejected": p_data(pdv(3, 2, b"ab")),
    "context that was not proposed": p_data(pdv(5, 2, b"ab")),
    "even context": p_data(pdv(2, 2, b"ab")),
    "rejected context in the second PDV": p_data(pdv(1, 0, b"ab"), pdv(3, 2, b"ab")),
}


@pytest.mark.parametrize("name", CROOKED_P_DATA)
def test_crooked_p_data_aborts_before_anything_crooked_is_told(name):
    association = established_acceptor()
    raw = CROOKED_P_DATA[name]
    association.free_space()[: len(raw)] = raw
    association.receive_data(len(raw))
    if "second" in name:
        assert association.next_event().data == b"ab"
    with pytest.raises(RemoteProtocolError) as refused:
        association.next_event()
    assert (refused.value.abort_source, refused.value.abort_reason) == (2, 6)
    assert sent(association) == abort(2, 6)
    assert association.state is State.STA13
    assert receive(association, p_data(pdv(1, 2, b"more"))) == []
    assert sent(association) == b""


def test_a_whole_pdu_over_what_we_advertised_is_refused_too():
    association = established_acceptor(UlLimits(max_pdu_body_bytes=2000))
    assert len(receive(association, p_data(pdv(1, 2, bytes(1994))))) == 1
    with pytest.raises(RemoteProtocolError):
        receive(association, p_data(pdv(1, 2, bytes(1995))))


def test_the_unused_bits_of_the_control_header_are_not_checked():
    assert receive(established_acceptor(), p_data(pdv(1, 0xFE, b"x"))) == [Pdv(1, False, True, b"x")]


def test_after_an_abort_in_the_middle_of_a_pdu_its_rest_is_dropped():
    association = established_acceptor()
    raw = p_data(pdv(1, 0, b"first"), pdv(1, 2, b"second"))
    association.free_space()[: len(raw)] = raw
    association.receive_data(len(raw))
    assert association.next_event().data == b"first"
    association.abort()
    assert association.next_event() is None
    assert receive(association, abort()) == [ConnectionClosed(lost=False)]


def test_input_before_the_end_of_the_connection_is_still_told():
    association = established_acceptor()
    raw = p_data(pdv(1, 2, b"data")) + RELEASE_RQ + b"\6\0\0"
    association.free_space()[: len(raw)] = raw
    association.receive_data(len(raw))
    association.receive_data(0)
    assert association.next_event().data == b"data"
    assert association.next_event() == ReleaseRequested()
    assert association.next_event() == ConnectionClosed(lost=True)
    assert association.next_event() is None
    assert association.closed


@pytest.mark.parametrize(("source", "by_provider"), [(0, False), (1, True), (2, True), (99, True)])
def test_who_aborted(source, by_provider):
    assert receive(established_acceptor(), abort(source, 4)) == [Aborted(source, 4, by_provider)]


def test_a_request_that_the_provider_refuses_is_told_for_the_trail():
    association = Association.acceptor(UlLimits(), LOCAL)
    (event,) = receive(association, associate_rq(application=item(0x10, b"1.2.3")))
    assert isinstance(event, AssociateRefused)
    assert (event.result, event.source, event.reason) == (1, 1, 2)
    assert event.request.calling_ae_title == "STORESCU"
    association = Association.acceptor(UlLimits(), LOCAL)
    (event,) = receive(association, associate_rq(user=maximum_length(1000)))
    assert (event.result, event.source, event.reason) == (1, 2, 1)


def test_an_acceptance_that_was_not_proposed_is_a_violation():
    association = Association.requestor(REQUEST, UlLimits())
    with pytest.raises(RemoteProtocolError):
        receive(association, associate_ac(answered(1, 0, "1.2.840.10008.1.2.2")))
    assert association.negotiated is None
    assert sent(association)[-10:] == abort(2, 6)


def test_our_own_answer_must_fit_and_a_bad_one_changes_nothing():
    association = Association.acceptor(UlLimits(), LOCAL)
    receive(association, associate_rq(contexts=item(0x20, b"\5\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.3"))))
    with pytest.raises(LocalProtocolError):
        association.accept(ANSWER)
    assert (association.state, association.negotiated, sent(association)) == (State.STA3, None, b"")
    association.reject(2, 3, 2)
    assert sent(association) == b"\3\0\0\0\0\4\0\2\3\2"


def test_a_requestor_cannot_accept():
    association = Association.requestor(REQUEST, UlLimits())
    for call in (lambda: association.accept(ANSWER), lambda: association.reject(1, 1, 1)):
        with pytest.raises(LocalProtocolError):
            call()


def test_bytes_that_were_never_given_a_place_are_our_mistake():
    association = established_acceptor()
    with pytest.raises(LocalProtocolError):
        association.receive_data(len(association.free_space()) + 1)
    with pytest.raises(LocalProtocolError):
        Association.requestor(REQUEST, UlLimits(), connected=False).receive_data(1)


def test_a_full_buffer_that_nobody_reads_is_our_mistake():
    association = established_acceptor()
    space = association.free_space()
    raw = (p_data(pdv(1, 0, b"x" * 100)) * 50)[: len(space)]
    space[:] = raw
    association.receive_data(len(space))
    with pytest.raises(LocalProtocolError):
        association.free_space()


# --- Memory ---


def buffer_bytes(association):
    return len(association.free_space().obj)


def test_an_idle_association_holds_a_few_kibibytes():
    association = Association.acceptor(UlLimits(), LOCAL)
    assert buffer_bytes(association) == 4096
    receive(association, associate_rq())
    association.accept(ANSWER)
    assert buffer_bytes(association) == 4096


def test_a_large_request_gets_exactly_its_room_and_gives_it_back():
    contexts = b"".join(
        item(0x20, bytes((number, 0, 0, 0)) + item(0x30, b"1.2") + item(0x40, b"1.2.840.10008.1.2") * 15)
        for number in range(1, 256, 2)
    )
    raw = associate_rq(contexts=contexts)
    assert 40_000 < len(raw) < 65_542
    association = Association.acceptor(UlLimits(), LOCAL)
    receive(association, raw[:5000])
    assert buffer_bytes(association) == len(raw)
    (event,) = receive(association, raw[5000:])
    assert isinstance(event, AssociateRequested)
    association.reject(1, 1, 1)
    assert buffer_bytes(association) == 4096


def test_the_buffer_grows_for_large_pdus_only_and_shrinks_when_told():
    association = established_acceptor()
    receive(association, p_data(pdv(1, 0, bytes(4000))) * 20)
    assert buffer_bytes(association) == 4096
    receive(association, p_data(pdv(1, 0, bytes(16372))))
    assert buffer_bytes(association) == 65_536
    receive(association, p_data(pdv(1, 0, bytes(100_000))))
    assert buffer_bytes(association) == 262_150
    receive(association, p_data(pdv(1, 0, b"half"))[:9])
    association.shrink()
    assert buffer_bytes(association) == 4096
    assert receive(association, p_data(pdv(1, 0, b"half"))[9:]) == [Pdv(1, False, False, b"half")]


def test_shrinking_in_the_middle_of_a_large_pdu_keeps_it():
    association = established_acceptor()
    raw = p_data(pdv(1, 2, bytes(50_000)))
    receive(association, raw[:30_000])
    association.shrink()
    assert buffer_bytes(association) == 200_048
    assert receive(association, raw[30_000:]) == [Pdv(1, False, True, bytes(50_000))]


def test_shrinking_when_little_of_a_large_pdu_has_come_gives_it_room_again():
    association = established_acceptor()
    raw = p_data(pdv(1, 2, bytes(50_000)))
    receive(association, raw[:100])
    assert buffer_bytes(association) == 200_048
    association.shrink()
    assert buffer_bytes(association) == 4096
    assert receive(association, raw[100:]) == [Pdv(1, False, True, bytes(50_000))]


def test_the_end_of_the_connection_within_a_pdu_is_told():
    association = established_acceptor()
    receive(association, p_data(pdv(1, 2, bytes(50_000)))[:30_000])
    association.receive_data(0)
    assert association.next_event() == ConnectionClosed(lost=True)


def test_a_peer_that_is_given_up_has_no_large_buffer_left():
    association = established_acceptor()
    receive(association, p_data(pdv(1, 0, bytes(100_000)))[:50_000])
    association.abort()
    for _ in range(40):
        assert receive(association, bytes(4096)) == []
        assert buffer_bytes(association) == 4096
    association.receive_data(0)
    assert association.next_event() == ConnectionClosed(lost=False)
    assert buffer_bytes(association) == 4096


# --- Sending ---


def test_a_small_message_leaves_as_one_buffer():
    association = established_acceptor()
    association.send_pdvs(1, b"command", b"data")
    (raw,) = association.data_to_send()
    assert payloads(raw) == [(1, 3, b"command"), (1, 2, b"data")]
    assert association.data_to_send() == []


def test_many_small_messages_leave_in_few_buffers():
    association = established_acceptor()
    for number in range(1000):
        association.send_pdvs(1, b"command %d" % number, bytes(200))
    assert association.queued_bytes > 200_000
    buffers = association.data_to_send()
    assert association.queued_bytes == 0
    assert len(buffers) <= 5
    assert len(payloads(b"".join(buffers))) == 2000


@pytest.mark.parametrize("peer_max", [1024, 1025, 16384, 0])
@pytest.mark.parametrize("size", [0, 1, 1016, 1018, 1020, 2036, 20_000, 32_756, 300_000])
def test_fragments_fit_the_peer_and_only_the_last_is_marked(peer_max, size):
    association = established_acceptor(user=maximum_length(peer_max) + item(0x52, b"1.2"))
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    association.send_pdvs(1, None, data)
    found = payloads(sent(association))
    assert b"".join(value for _, _, value in found) == data
    assert [control for _, control, _ in found] == [0] * (len(found) - 1) + [2]
    assert all(len(value) + 6 <= (peer_max or 262_144) for _, _, value in found)
    assert all(len(value) % 2 == 0 for _, _, value in found[:-1])
    assert len(found) == max(1, -(-size // ((peer_max or 262_144) - 6 & ~1)))


def test_a_large_payload_is_not_copied():
    association = established_acceptor(user=maximum_length(0))
    data = bytes(1_000_000)
    association.send_pdvs(1, b"command", data)
    buffers = association.data_to_send()
    views = [buffer for buffer in buffers if isinstance(buffer, memoryview)]
    assert sum(map(len, views)) == len(data)
    assert all(view.obj is data for view in views)


def test_a_command_longer_than_a_fragment_is_fragmented_too():
    association = established_acceptor(user=maximum_length(1024))
    association.send_pdvs(1, bytes(2000))
    assert [(control, len(value)) for _, control, value in payloads(sent(association))] == [(1, 1018), (3, 982)]


@pytest.mark.parametrize("sizes", [[], [0], [1], [5, 0, 7], [16378], [16379], [100] * 1000, [700_000, 3, 400_001]])
def test_a_stream_is_the_same_bytes_with_the_last_fragment_marked(sizes):
    association = established_requestor()
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    batches = [b"".join(batch) for batch in association.stream_pdvs(1, b"command", iter(chunks))]
    command, *found = payloads(b"".join(batches))
    assert command == (1, 3, b"command")
    assert b"".join(value for _, _, value in found) == b"".join(chunks)
    assert [control for _, control, _ in found] == [0] * (len(found) - 1) + [2]
    assert all(len(value) == 16378 for _, _, value in found[:-1])
    assert len(found) == max(1, -(-sum(sizes) // 16378))
    assert all(len(batch) < 262_144 + 16_384 + 100 for batch in batches)


def test_a_stream_asks_for_no_more_than_it_sends():
    association = established_requestor()
    asked = []

    def chunks():
        for number in range(64):
            asked.append(number)
            yield bytes(65_536)

    stream = association.stream_pdvs(1, b"command", chunks())
    assert asked == []
    next(stream)
    assert len(asked) <= 5


def test_a_stream_ends_with_its_association():
    association = established_requestor()
    stream = association.stream_pdvs(1, b"command", iter([bytes(300_000)] * 3))
    next(stream)
    association.abort()
    with pytest.raises(LocalProtocolError):
        next(stream)
    assert sent(association) == abort()


def test_only_accepted_contexts_can_be_sent_in():
    association = established_acceptor()
    with pytest.raises(LocalProtocolError):
        association.send_pdvs(3, b"command")
    with pytest.raises(LocalProtocolError):
        association.stream_pdvs(3, b"command", [])
    assert sent(association) == b""


def test_the_repr_tells_the_state_and_no_more():
    assert repr(established_acceptor()) == "<Association acceptor STA6>"
    assert repr(established_requestor()) == "<Association requestor STA6>"
