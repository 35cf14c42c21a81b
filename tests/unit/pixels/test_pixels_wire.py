"""Messages between server and worker: neither believes a length that the other says."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from struct import pack as pack_struct

import pytest

from strongroom.errors import CodecFailed
from strongroom.pixels.wire import (
    CHUNK_BYTES,
    MAX_BYTES,
    Kind,
    pack,
    pack_range,
    pack_shown,
    unpack,
    unpack_range,
    unpack_shown,
)


def from_bytes(raw: bytes) -> Callable[[int], bytes]:
    return BytesIO(raw).read


def test_messages_survive_the_way() -> None:
    assert unpack(from_bytes(pack(Kind.DATA, b"abc"))) == (Kind.DATA, b"abc")
    assert unpack(from_bytes(pack(Kind.READY))) == (Kind.READY, b"")
    assert unpack_range(pack_range(1 << 40, 9)) == (1 << 40, 9)
    assert unpack_shown(pack_shown(3, 1 << 31)) == (3, 1 << 31)


def test_every_kind_has_a_cap() -> None:
    assert set(MAX_BYTES) == set(Kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_message_over_its_cap_is_refused_before_it_is_read(kind: Kind) -> None:
    def receive(length: int) -> bytes:
        assert length == 5, "the body was asked for"
        return pack_struct("<BL", kind, MAX_BYTES[kind] + 1)

    with pytest.raises(CodecFailed):
        unpack(receive)


@pytest.mark.parametrize("raw", [pack_struct("<BL", 99, 0), pack_struct("<BL", 0, 0)])
def test_an_unknown_message_is_refused(raw: bytes) -> None:
    with pytest.raises(CodecFailed):
        unpack(from_bytes(raw))


@pytest.mark.parametrize("body", [b"", b"1" * 11, pack_range(0, CHUNK_BYTES + 1)])
def test_a_range_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(CodecFailed):
        unpack_range(body)


def test_a_report_that_is_none_is_refused() -> None:
    with pytest.raises(CodecFailed):
        unpack_shown(b"123")
