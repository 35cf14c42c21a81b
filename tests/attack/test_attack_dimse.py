"""A hostile peer on the DIMSE level: every rule of the command set and of the exchange, broken one at a time."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from strongroom.dimse import (
    CEchoRq,
    CEchoRsp,
    CFindRq,
    Channel,
    ChannelLimits,
    CMoveRq,
    CStoreRq,
    CStoreRsp,
    DatasetChunk,
    Message,
    NActionRq,
    encode_command,
    parse_command,
)
from strongroom.errors import RemoteProtocolError
from strongroom.types import Uid

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
INSTANCE = Uid("1.2.826.0.1.3680043.8.498.1")
FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
VERIFICATION = Uid("1.2.840.10008.1.1")
STORE = CStoreRq(1, CT, INSTANCE)
EMPTY = memoryview(b"")


def element(tag: int, raw: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, tag, len(raw)) + raw


def us(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


def command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


ECHO = {
    "class": element(0x0002, b"1.2.840.10008.1.1\0"),
    "field": us(0x0100, 0x0030),
    "id": us(0x0110, 1),
    "dataset": us(0x0800, 0x0101),
}


def echo_with(**changes: bytes) -> bytes:
    return command(*{**ECHO, **changes}.values())


def test_the_sound_original_of_the_broken_ones_is_accepted() -> None:
    assert parse_command(echo_with()) == CEchoRq(1, VERIFICATION)


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "only a group length": command(),
    "cut in the group length": echo_with()[:11],
    "no group length": b"".join(ECHO.values()),
    "group length of two bytes": element(0, b"\x40\x00") + b"".join(ECHO.values()) + b"\0\0",
    "group length too small": echo_with()[:8] + struct.pack("<I", 4) + echo_with()[12:],
    "group length too large": echo_with()[:8] + struct.pack("<I", 0xFFFFFFFF) + echo_with()[12:],
    "bytes after the command set": echo_with() + us(0x0900, 0),
    "header cut": command(*ECHO.values(), b"\0\0\0\x09\x02"),
    "value longer than the set": command(*ECHO.values(), struct.pack("<HHI", 0, 0x0902, 0xFFFFFFFE)),
    "undefined length": command(*ECHO.values(), struct.pack("<HHI", 0, 0x0902, 0xFFFFFFFF)),
    "odd length": echo_with(**{"class": element(0x0002, b"1.2.840.10008.1.1")}),
    "element twice": echo_with(id=us(0x0110, 1) + us(0x0110, 2)),
    "elements out of order": command(ECHO["field"], ECHO["class"], ECHO["id"], ECHO["dataset"]),
    "second group length": echo_with(**{"class": element(0, b"\0\0\0\0") + ECHO["class"]}),
    "element of another group": command(*ECHO.values(), element(0x4000, b"DOE^JANE", group=0x0010)),
    "element of group 2": command(element(0x0010, b"1.2.840.10008.1.2\0", group=2), *ECHO.values()),
    "too many elements": command(*ECHO.values(), *(element(0x6000 + n, b"") for n in range(100))),
    "no command field": echo_with(field=b""),
    "command field of four bytes": echo_with(field=element(0x0100, b"\x30\0\0\0")),
    "command field empty": echo_with(field=element(0x0100, b"")),
    "unknown response": echo_with(field=us(0x0100, 0x8777)),
    "response of an operation that we never ask": echo_with(field=us(0x0100, 0x8110)),
    "no message id": echo_with(id=b""),
    "message id empty": echo_with(id=element(0x0110, b"")),
    "message id of four bytes": echo_with(id=element(0x0110, b"\1\0\0\0")),
    "no SOP class": echo_with(**{"class": b""}),
    "SOP class empty": echo_with(**{"class": element(0x0002, b"")}),
    "SOP class of nulls": echo_with(**{"class": element(0x0002, b"\0\0")}),
    "SOP class not a UID": echo_with(**{"class": element(0x0002, b"../../etc/passwd")}),
    "SOP class with a null inside": echo_with(**{"class": element(0x0002, b"1.2\x003.4\0\0")}),
    "SOP class of 66 characters": echo_with(**{"class": element(0x0002, b"1." + b"2" * 64)}),
    "SOP class in other digits": echo_with(**{"class": element(0x0002, "1.2.٣٤".encode())}),
    "two SOP classes": echo_with(**{"class": element(0x0002, b"1.2.3\\1.2.4\0")}),
    "no data set type": echo_with(dataset=b""),
    "data set type empty": echo_with(dataset=element(0x0800, b"")),
    "data set type of one word too many": echo_with(dataset=element(0x0800, b"\1\1\1\1")),
    "C-ECHO that announces a data set": echo_with(dataset=us(0x0800, 0)),
    "C-STORE without a data set": command(
        element(0x0002, b"1.2\0"),
        us(0x0100, 1),
        us(0x0110, 1),
        us(0x0700, 0),
        us(0x0800, 0x0101),
        element(0x1000, b"1.3\0"),
    ),
    "C-STORE without an instance": command(
        element(0x0002, b"1.2\0"), us(0x0100, 1), us(0x0110, 1), us(0x0700, 0), us(0x0800, 0)
    ),
    "C-FIND without a priority": command(element(0x0002, b"1.2\0"), us(0x0100, 0x20), us(0x0110, 1), us(0x0800, 0)),
    "C-MOVE to a title of 18 characters": command(
        element(0x0002, b"1.2\0"),
        us(0x0100, 0x21),
        us(0x0110, 1),
        element(0x0600, b"A" * 18),
        us(0x0700, 0),
        us(0x0800, 0),
    ),
    "C-CANCEL that announces a data set": command(us(0x0100, 0x0FFF), us(0x0120, 1), us(0x0800, 0)),
    "offending element of six bytes": command(
        us(0x0100, 0x8030), us(0x0120, 1), us(0x0800, 0x0101), us(0x0900, 1), element(0x0901, b"\0" * 6)
    ),
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_command_set_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_command(raw)


def test_no_error_repeats_what_the_peer_wrote() -> None:
    for raw in BROKEN.values():
        with pytest.raises(RemoteProtocolError) as caught:
            parse_command(raw)
        assert "passwd" not in str(caught.value)
        assert "DOE" not in str(caught.value)


def feed(channel: Channel, message: Message, context_id: int = 1) -> None:
    channel.feed(context_id, True, True, memoryview(encode_command(message)))


def storing() -> Channel:
    channel = Channel()
    feed(channel, STORE)
    return channel


def served() -> Channel:
    channel = storing()
    channel.feed(1, False, True, memoryview(b"data"))
    return channel


def half_a_command() -> Channel:
    channel = Channel()
    channel.feed(1, True, False, memoryview(encode_command(STORE)[:20]))
    return channel


def asking() -> Channel:
    channel = Channel()
    channel.encode_message(CEchoRq(5, VERIFICATION))
    return channel


def fragment(is_command: bool, raw: bytes, context_id: int = 1, is_last: bool = True) -> Callable[[Channel], object]:
    return lambda channel: channel.feed(context_id, is_command, is_last, memoryview(raw))


CANCEL = command(us(0x0100, 0x0FFF), us(0x0120, 1), us(0x0800, 0x0101))
VIOLATIONS: dict[str, tuple[Callable[[], Channel], Callable[[Channel], object]]] = {
    "data set before any command": (Channel, fragment(False, b"data")),
    "data set on context 0 before any command": (Channel, fragment(False, b"data", 0)),
    "empty data set before any command": (Channel, fragment(False, b"")),
    "data set amid a command": (half_a_command, fragment(False, b"data")),
    "data set on another context": (storing, fragment(False, b"data", 3)),
    "command amid a data set": (storing, fragment(True, encode_command(CEchoRq(2, VERIFICATION)))),
    "command of another context amid a data set": (
        storing,
        fragment(True, encode_command(CEchoRq(2, VERIFICATION)), 3),
    ),
    "cancel amid a data set": (storing, fragment(True, CANCEL)),
    "command continued on another context": (half_a_command, fragment(True, encode_command(STORE)[20:], 3)),
    "second data set": (served, fragment(False, b"again")),
    "second request while one is served": (served, fragment(True, encode_command(CEchoRq(2, VERIFICATION)))),
    "second request with the same id": (served, fragment(True, encode_command(STORE))),
    "response to nothing": (Channel, fragment(True, encode_command(CEchoRsp(1, 0)))),
    "response to its own request": (served, fragment(True, encode_command(CStoreRsp(1, 0)))),
    "response with another id": (asking, fragment(True, encode_command(CEchoRsp(6, 0)))),
    "response of another operation": (asking, fragment(True, encode_command(CStoreRsp(5, 0)))),
    "last command fragment empty": (Channel, fragment(True, b"")),
}


@pytest.mark.parametrize(("prepare", "attack"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_an_exchange_out_of_order_is_refused(
    prepare: Callable[[], Channel], attack: Callable[[Channel], object]
) -> None:
    channel = prepare()
    with pytest.raises(RemoteProtocolError):
        attack(channel)


def test_a_response_is_taken_only_once() -> None:
    channel = asking()
    feed(channel, CEchoRsp(5, 0))
    with pytest.raises(RemoteProtocolError):
        feed(channel, CEchoRsp(5, 0))


def test_a_pending_status_does_not_keep_an_operation_open_that_has_none() -> None:
    channel = asking()
    feed(channel, CEchoRsp(5, 0xFF00))
    assert channel.awaiting is None


def test_a_command_set_that_never_ends_is_refused_before_it_is_kept() -> None:
    channel = Channel(ChannelLimits(max_command_bytes=100))
    channel.feed(1, True, False, memoryview(bytes(60)))
    channel.feed(1, True, False, memoryview(bytes(40)))
    with pytest.raises(RemoteProtocolError, match="max_command_bytes = 100"):
        channel.feed(1, True, False, memoryview(b"x"))


def test_a_large_command_fragment_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RemoteProtocolError, match="max_command_bytes"):
        Channel().feed(1, True, True, memoryview(bytes(16 * 1024 + 2)))


def test_a_data_set_that_never_ends_is_refused_at_the_limit() -> None:
    channel = Channel(ChannelLimits(max_message_bytes=1000))
    feed(channel, STORE)
    assert channel.feed(1, False, False, memoryview(bytes(1000))) is not None
    with pytest.raises(RemoteProtocolError, match="max_message_bytes = 1000"):
        channel.feed(1, False, False, memoryview(b"x"))


def test_the_limit_of_a_data_set_is_counted_for_each_anew() -> None:
    channel = Channel(ChannelLimits(max_message_bytes=1000))
    for message_id in range(1, 4):
        feed(channel, CStoreRq(message_id, CT, INSTANCE))
        chunk = channel.feed(1, False, True, memoryview(bytes(1000)))
        assert isinstance(chunk, DatasetChunk)
        channel.encode_message(CStoreRsp(message_id, 0))


@pytest.mark.parametrize("prepare", [Channel, storing, half_a_command])
def test_fragments_that_carry_nothing_are_bounded(prepare: Callable[[], Channel]) -> None:
    channel = prepare()
    is_command = prepare is not storing
    for _ in range(ChannelLimits().max_empty_fragments):
        assert channel.feed(1, is_command, False, EMPTY) is None
    with pytest.raises(RemoteProtocolError, match="max_empty_fragments"):
        channel.feed(1, is_command, False, EMPTY)


def test_empty_fragments_between_full_ones_do_not_start_the_count_again() -> None:
    channel = storing()
    for _ in range(ChannelLimits().max_empty_fragments):
        channel.feed(1, False, False, EMPTY)
        channel.feed(1, False, False, memoryview(b"x"))
    with pytest.raises(RemoteProtocolError, match="max_empty_fragments"):
        channel.feed(1, False, False, EMPTY)


@pytest.mark.parametrize("request_", [CFindRq(1, FIND), CMoveRq(1, FIND, "X"), NActionRq(1, CT, INSTANCE, 1, True)])
def test_what_announces_a_data_set_must_bring_it_first(request_: Message) -> None:
    channel = Channel()
    feed(channel, request_)
    with pytest.raises(RemoteProtocolError, match="amid a data set"):
        feed(channel, CEchoRq(2, VERIFICATION))
