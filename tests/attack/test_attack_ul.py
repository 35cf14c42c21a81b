"""Attacks on the upper layer: memory and time that a stranger could make us spend, and secrets that could leak."""

import gc
import struct
import time
import tracemalloc

import pytest

from strongroom.errors import RemoteProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    AnsweredContext,
    AssociateAnswer,
    AssociateRequest,
    Association,
    ContextOutcome,
    LocalParameters,
    ProposedContext,
    State,
    UlLimits,
    UserIdentity,
    UserIdentityType,
    UserInformation,
)
from strongroom.ul.pdu import encode_associate_rq

LOCAL = LocalParameters(Uid("1.2.3"), "TEST")
IMPLICIT = Uid("1.2.840.10008.1.2")
REQUEST = AssociateRequest(AeTitle("A"), AeTitle("B"), (ProposedContext(1, Uid("1.2"), (IMPLICIT,)),))
ANSWER = AssociateAnswer((AnsweredContext(1, ContextOutcome.ACCEPTANCE, IMPLICIT),))


def item(item_type, value):
    return struct.pack(">BBH", item_type, 0, len(value)) + value


def associate_rq(items):
    body = struct.pack(">HH", 1, 0) + b"A".ljust(16) + b"B".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + items
    return struct.pack(">BBI", 1, 0, len(body)) + body


def feed(association, data):
    """Give it the bytes; return how many events came of them."""
    rest, events = memoryview(data), 0
    while len(rest):
        space = association.free_space()
        count = min(len(space), len(rest))
        space[:count] = rest[:count]
        rest = rest[count:]
        association.receive_data(count)
        while association.next_event() is not None:
            events += 1
    return events


def acceptor():
    return Association.acceptor(UlLimits(), LOCAL)


def established():
    association = acceptor()
    feed(association, encode_associate_rq(REQUEST))
    association.accept(ANSWER)
    association.data_to_send()
    return association


def held_bytes(make, count):
    """Return what ``count`` results of ``make`` hold, in bytes each."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [make() for _ in range(count)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [acceptor, established])
def test_two_hundred_idle_connections_cost_next_to_nothing(make):
    assert held_bytes(make, 200) < 10_000


def test_a_declared_length_takes_no_memory_before_the_association():
    def half_open():
        association = acceptor()
        feed(association, struct.pack(">BBI", 1, 0, 65_536) + bytes(100))
        association.free_space()
        return association

    assert held_bytes(half_open, 50) < 80_000


@pytest.mark.parametrize("length", [65_537, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("pdu_type", [1, 2, 3, 4, 5, 6, 7])
def test_a_length_bomb_is_refused_from_six_bytes(pdu_type, length):
    association = established()
    if pdu_type == 4:
        length = max(length, 262_145)
    with pytest.raises(RemoteProtocolError):
        feed(association, struct.pack(">BBI", pdu_type, 0, length))
    assert association.state is State.STA13
    assert len(association.free_space()) <= 4096


def test_the_rest_of_a_length_bomb_is_swallowed_in_a_small_buffer():
    association = established()
    with pytest.raises(RemoteProtocolError):
        feed(association, struct.pack(">BBI", 4, 0, 0xFFFFFFF0))
    feed(association, bytes(1_000_000))
    assert len(association.free_space()) == 4096
    assert len(b"".join(association.data_to_send())) == 10, "one A-ABORT and no more"


def test_the_densest_request_keeps_little():
    contexts = b"".join(
        item(0x20, bytes((number, 0, 0, 0)) + item(0x30, b"1") + item(0x40, b"1") * 64) for number in range(1, 256, 2)
    )
    raw = associate_rq(contexts + item(0x50, item(0x51, bytes(4)) + item(0x54, b"\0\x011\1\1") * 500))
    assert len(raw) <= 65_542

    def from_the_densest():
        association = acceptor()
        feed(association, raw)
        association.accept(
            AssociateAnswer(
                tuple(AnsweredContext(n, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED) for n in range(1, 256, 2))
            )
        )
        association.data_to_send()
        return association

    assert held_bytes(from_the_densest, 5) < 40_000


HARD_TO_PARSE = {
    "16,000 empty items": associate_rq(item(0x99, b"") * 16_000),
    "16,000 empty user items": associate_rq(item(0x50, item(0x51, bytes(4)) + item(0x99, b"") * 15_000)),
    "one context of 13,000 transfer syntaxes": associate_rq(
        item(0x20, b"\1\0\0\0" + item(0x30, b"1") + item(0x40, b"1") * 12_000)
    ),
    "a UID of 60,000 digits": associate_rq(item(0x20, b"\1\0\0\0" + item(0x30, b"1." * 30_000))),
    "20,000 related classes": associate_rq(
        item(0x50, item(0x57, b"\0\x011\0\x011" + struct.pack(">H", 60_000) + b"\0\x011" * 20_000))
    ),
}


@pytest.mark.parametrize("name", HARD_TO_PARSE)
def test_a_request_made_to_be_slow_is_refused_soon(name):
    association = acceptor()
    started = time.process_time()
    with pytest.raises(RemoteProtocolError):
        feed(association, HARD_TO_PARSE[name])
    assert time.process_time() - started < 0.1


def test_a_flood_of_empty_fragments_makes_no_heap():
    association = established()
    body = struct.pack(">IBB", 2, 1, 0) * 40_000
    raw = struct.pack(">BBI", 4, 0, len(body)) + body
    tracemalloc.start()
    try:
        assert feed(association, raw) == 40_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_slow_sender_costs_linear_time():
    association = established()
    body = struct.pack(">IBB", 200_002, 1, 2) + bytes(200_000)
    raw = struct.pack(">BBI", 4, 0, len(body)) + body
    started = time.process_time()
    for at in range(0, len(raw), 50):
        feed(association, raw[at : at + 50])
    assert time.process_time() - started < 1.0


def test_a_peer_that_takes_crumbs_is_not_served():
    for size in (1, 7, 12, 1023):
        association = acceptor()
        request = AssociateRequest(AeTitle("A"), AeTitle("B"), REQUEST.contexts, UserInformation(size))
        feed(association, encode_associate_rq(request))
        assert b"".join(association.data_to_send())[:1] == b"\3"


def test_no_amount_of_requests_after_the_end_amplifies():
    association = established()
    association.abort()
    raw = encode_associate_rq(REQUEST) * 500
    feed(association, raw)
    assert len(b"".join(association.data_to_send())) < len(raw) / 5


def test_secrets_of_an_identity_are_in_no_repr_and_no_error():
    identity = UserIdentity(UserIdentityType.USERNAME_AND_PASSCODE, b"jdoe", b"open-sesame")
    request = AssociateRequest(AeTitle("A"), AeTitle("B"), REQUEST.contexts, UserInformation(0, user_identity=identity))
    raw = encode_associate_rq(request)
    association = acceptor()
    association.free_space()[: len(raw)] = raw
    association.receive_data(len(raw))
    shown = repr(association.next_event()) + repr(association)
    crooked = acceptor()
    with pytest.raises(RemoteProtocolError) as refused:
        feed(crooked, raw.replace(b"\2\0\0\4jdoe", b"\1\0\0\4jdoe"))
    shown += repr(refused.value) + repr(refused.value.__cause__) + repr(refused.value.__context__)
    assert "jdoe" not in shown
    assert "sesame" not in shown


def test_an_errors_chain_does_not_hold_what_the_peer_wrote():
    raw = associate_rq(item(0x20, b"\1\0\0\0" + item(0x30, b"DOE^JANE")) + item(0x50, item(0x51, bytes(4))))
    with pytest.raises(RemoteProtocolError) as refused:
        feed(acceptor(), raw)
    assert "DOE" not in repr(refused.value)
