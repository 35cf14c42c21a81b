"""What a delivery says that it has sent."""

from __future__ import annotations

from typing import cast

from strongroom.archive.read import Reader
from strongroom.types import Principal
from strongroom.web.call import RunBlocking
from strongroom.web.streaming import PIECE_BYTES, Delivered, Delivery


def test_a_piece_counts_from_when_it_is_handed_over() -> None:
    """A client that resets within it may have got whole objects: the trail never says less than has left."""
    delivery = Delivery(cast("Reader", None), Principal("A"), 3)
    pieces = [bytes(PIECE_BYTES), bytes(PIECE_BYTES), b"end"]
    delivered = Delivered(delivery, cast("RunBlocking", None), 200, {}, iter(pieces)).begin(is_head=False)
    counted = []
    while (made := delivered._following()) is not None:
        counted.append((sum(map(len, made)), delivery.sent_bytes))
    assert counted == [(PIECE_BYTES, PIECE_BYTES), (PIECE_BYTES, 2 * PIECE_BYTES), (3, 2 * PIECE_BYTES + 3)]
