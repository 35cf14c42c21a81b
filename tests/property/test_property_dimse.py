"""Properties of the DIMSE room: encode and parse are inverse, and fragmentation carries no meaning."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.dimse import (
    Channel,
    CStoreRq,
    DatasetChunk,
    Message,
    MessageStart,
    NSetRq,
    UnsupportedRq,
    UnsupportedRsp,
    encode_command,
    parse_command,
)
from strongroom.errors import RemoteProtocolError
from strongroom.types import Uid

US = st.integers(0, 0xFFFF)
UIDS = st.from_regex(r"\A[0-2](\.[1-9][0-9]{0,10}){1,5}\Z").map(Uid)
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "int": US,
    "int | None": st.none() | US,
    "Uid": UIDS,
    "Uid | str": UIDS,
    "Uid | None": st.none() | UIDS,
    "str": VISIBLE,
    "str | None": st.none() | VISIBLE,
    "bool": st.booleans(),
    "tuple[int, ...]": st.lists(st.integers(0, 0xFFFFFFFF), max_size=5).map(tuple),
}


def messages_of(message_class: type[Any]) -> st.SearchStrategy[Any]:
    """Any message of the class, drawn field by field from its declared types."""
    return st.builds(
        message_class, **{field.name: STRATEGIES[str(field.type)] for field in dataclasses.fields(message_class)}
    )


CLASSES = [cls for cls in Message.__args__ if cls not in (NSetRq, UnsupportedRq, UnsupportedRsp)]
MESSAGES = st.one_of([messages_of(cls) for cls in CLASSES])


@pytest.mark.parametrize("message_class", CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_message_survives_the_wire(message_class: type[Any], data: st.DataObject) -> None:
    message = data.draw(messages_of(message_class))
    assert parse_command(encode_command(message)) == message


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_with_the_one_error(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_command(raw)


@given(MESSAGES, st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_command_set_is_read_or_refused_with_the_one_error(message: Message, data: st.DataObject) -> None:
    raw = bytearray(encode_command(message))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_command(bytes(raw))
    except RemoteProtocolError:
        return
    if not isinstance(found, UnsupportedRq):
        assert parse_command(encode_command(found)) == found


def split(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(edges)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 200), max_size=6), st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_fragmentation_gives_the_same_message_and_data_set(
    dataset: bytes, command_cuts: list[int], dataset_cuts: list[int]
) -> None:
    request = CStoreRq(1, Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.3"))
    channel = Channel()
    events = []
    for is_command, fragments in (
        (True, split(encode_command(request), command_cuts)),
        (False, split(dataset, dataset_cuts)),
    ):
        for index, fragment in enumerate(fragments):
            is_last = index == len(fragments) - 1
            events.append(channel.feed(5, is_command, is_last, memoryview(fragment)))
    told = [event for event in events if event is not None]
    assert told[0] == MessageStart(5, request)
    chunks = [event for event in told[1:] if isinstance(event, DatasetChunk)]
    assert len(chunks) == len(told) - 1
    assert b"".join(chunk.data for chunk in chunks) == dataset
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert channel.between_messages
