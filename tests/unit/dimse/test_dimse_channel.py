"""The channel: what a normal exchange looks like from both ends."""

from __future__ import annotations

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
    CStoreRq,
    CStoreRsp,
    DatasetBuffer,
    DatasetChunk,
    Message,
    MessageStart,
    Status,
    UnsupportedRq,
    UnsupportedRsp,
    encode_command,
)
from strongroom.errors import LimitExceeded, LocalProtocolError
from strongroom.types import Uid

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
INSTANCE = Uid("1.2.826.0.1.3680043.8.498.1")
GET = Uid("1.2.840.10008.5.1.4.1.2.2.3")
FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
VERIFICATION = Uid("1.2.840.10008.1.1")


def feed(channel: Channel, message: Message, context_id: int = 1) -> ChannelEvent | None:
    return channel.feed(context_id, True, True, memoryview(encode_command(message)))


def test_a_store_from_request_to_response() -> None:
    channel = Channel()
    request = CStoreRq(1, CT, INSTANCE)
    assert channel.between_messages
    assert feed(channel, request, 3) == MessageStart(3, request)
    assert not channel.between_messages
    first = memoryview(b"first half")
    event = channel.feed(3, False, False, first)
    assert isinstance(event, DatasetChunk)
    assert event.data is first  # no copy
    assert channel.feed(3, False, True, memoryview(b"rest")) == DatasetChunk(3, memoryview(b"rest"), True)
    assert channel.between_messages
    assert channel.serving == request
    response = CStoreRsp(1, 0, CT, INSTANCE)
    assert channel.encode_message(response) == encode_command(response)
    assert channel.serving is None
    assert feed(channel, CEchoRq(2, VERIFICATION)) is not None


def test_an_empty_last_fragment_ends_the_data_set() -> None:
    channel = Channel()
    feed(channel, CStoreRq(1, CT, INSTANCE))
    assert channel.feed(1, False, False, memoryview(b"")) is None
    assert channel.feed(1, False, True, memoryview(b"")) == DatasetChunk(1, memoryview(b""), True)


def test_a_find_ends_with_its_final_response_and_not_before() -> None:
    channel = Channel()
    feed(channel, CFindRq(8, FIND))
    channel.feed(1, False, True, memoryview(b"identifier"))
    channel.encode_message(CFindRsp(8, Status.PENDING, FIND, True))
    channel.encode_message(CFindRsp(8, Status.PENDING_WARNING, FIND, True))
    assert channel.serving == CFindRq(8, FIND)
    channel.encode_message(CFindRsp(8, Status.SUCCESS, FIND))
    assert channel.serving is None


def test_a_cancel_is_told_while_it_can_matter_and_dropped_when_late() -> None:
    channel = Channel()
    assert feed(channel, CCancelRq(8)) is None
    feed(channel, CFindRq(8, FIND))
    channel.feed(1, False, True, memoryview(b"identifier"))
    assert feed(channel, CCancelRq(7)) is None
    assert feed(channel, CCancelRq(8)) == MessageStart(1, CCancelRq(8))
    channel.encode_message(CFindRsp(8, Status.CANCEL))
    assert feed(channel, CCancelRq(8)) is None
    feed(channel, CEchoRq(9, VERIFICATION))
    assert feed(channel, CCancelRq(9)) is None  # nothing there to cancel


def test_c_get_runs_store_sub_operations_the_other_way() -> None:
    scp, scu = Channel(), Channel()
    get = CGetRq(scu.next_message_id(), GET)
    scp.feed(1, True, True, memoryview(scu.encode_message(get)))
    scp.feed(1, False, True, memoryview(b"identifier"))

    sub_operation = CStoreRq(scp.next_message_id(), CT, INSTANCE)
    assert scu.feed(3, True, True, memoryview(scp.encode_message(sub_operation))) == MessageStart(3, sub_operation)
    scu.feed(3, False, True, memoryview(b"object"))
    # A cancel may come in before the response to the sub-operation.
    cancel = CCancelRq(get.message_id)
    assert scp.feed(1, True, True, memoryview(scu.encode_message(cancel))) == MessageStart(1, cancel)
    stored = CStoreRsp(sub_operation.message_id, 0)
    assert scp.feed(3, True, True, memoryview(scu.encode_message(stored))) == MessageStart(3, stored)
    assert (scp.awaiting, scu.serving) == (None, None)

    done = CGetRsp(get.message_id, Status.CANCEL, GET, False, 0, 1, 0, 0)
    assert scu.feed(1, True, True, memoryview(scp.encode_message(done))) == MessageStart(1, done)
    assert (scp.serving, scu.awaiting) == (None, None)


def test_an_unknown_operation_is_taken_in_and_answered() -> None:
    channel = Channel()
    request = UnsupportedRq(0x0140, 4, Uid("1.2.3"), None, True)
    assert feed(channel, request) == MessageStart(1, request)
    channel.feed(1, False, True, memoryview(b"attributes"))
    channel.encode_message(UnsupportedRsp(0x8140, 4, Status.UNRECOGNIZED_OPERATION))
    assert channel.serving is None


@pytest.mark.parametrize(
    "message",
    [
        CEchoRsp(2, 0),  # another message id
        CStoreRsp(1, 0),  # another operation
        CCancelRq(1),  # nothing of ours to cancel
    ],
)
def test_an_answer_to_nothing_is_our_own_mistake(message: Message) -> None:
    channel = Channel()
    feed(channel, CEchoRq(1, VERIFICATION))
    with pytest.raises(LocalProtocolError):
        channel.encode_message(message)


def test_one_request_of_ours_at_a_time() -> None:
    channel = Channel()
    channel.encode_message(CEchoRq(1, VERIFICATION))
    with pytest.raises(LocalProtocolError):
        channel.encode_message(CEchoRq(2, VERIFICATION))
    assert feed(channel, CEchoRsp(1, 0)) == MessageStart(1, CEchoRsp(1, 0))
    channel.encode_message(CEchoRq(2, VERIFICATION))


def test_a_message_that_cannot_be_encoded_changes_nothing() -> None:
    channel = Channel()
    with pytest.raises(LocalProtocolError):
        channel.encode_message(CEchoRq(70_000, VERIFICATION))
    assert channel.awaiting is None


def test_message_ids_run_from_1_to_65535_and_start_again() -> None:
    channel = Channel()
    ids = [channel.next_message_id() for _ in range(65_537)]
    assert ids[:3] == [1, 2, 3]
    assert ids[65_534:] == [65_535, 1, 2]


def test_a_dataset_buffer_gives_the_whole_and_holds_its_cap() -> None:
    buffer = DatasetBuffer(8)
    assert buffer.add(DatasetChunk(1, memoryview(b"abcd"), False)) is None
    assert buffer.add(DatasetChunk(1, memoryview(b"efgh"), True)) == b"abcdefgh"
    buffer = DatasetBuffer(8)
    buffer.add(DatasetChunk(1, memoryview(b"abcd"), False))
    with pytest.raises(LimitExceeded) as caught:
        buffer.add(DatasetChunk(1, memoryview(b"efghi"), False))
    assert (caught.value.limit_name, caught.value.found) == ("max_identifier_bytes", 9)


def test_a_list_of_ten_thousand_uids_fits_the_default_cap() -> None:
    raw = b"\\".join([b"1" * 64] * 10_000)
    assert DatasetBuffer().add(DatasetChunk(1, memoryview(raw), True)) == raw
