"""Small values of items: times, texts, numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from harness.ingesting import element
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import DEFAULT_LIMITS
from strongroom.errors import LimitExceeded
from strongroom.signatures.contents import contents_of
from strongroom.signatures.items import Item, parse_date_time


def item_of(data: bytes, syntax: str = "1.2.840.10008.1.2.1") -> Item:
    contents = contents_of(
        lambda at, length: data[at : at + length], len(data), TRANSFER_SYNTAXES[syntax], DEFAULT_LIMITS
    )
    return Item(contents, contents.elements)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261122063526", datetime(2026, 11, 22, 6, 35, 26, tzinfo=UTC)),
        ("20261122063526.422486+0000", datetime(2026, 11, 22, 6, 35, 26, tzinfo=UTC)),
        ("20261122063526+0130", datetime(2026, 11, 22, 5, 5, 26, tzinfo=UTC)),
        ("20261122063526-0800", datetime(2026, 11, 22, 14, 35, 26, tzinfo=UTC)),
        ("20261322063526", None),
        ("20261122", None),
        ("00010101000000+1400", None),
        ("20261122063526+9999", datetime(2026, 11, 18, 2, 56, 26, tzinfo=UTC)),
        ("", None),
        ("20261122063526 OR 1=1", None),
    ],
)
def test_date_times(text: str, expected: datetime | None) -> None:
    if text.endswith("+9999"):
        assert parse_date_time(text) in (expected, None)
    else:
        assert parse_date_time(text) == expected


def test_values() -> None:
    data = (
        element(0x04000005, "US", b"\7\0") + element(0x04000015, "CS", "SHA256 ") + element(0x04000100, "UI", "1.2\0\0")
    )
    item = item_of(data + element(0x04000020, "AT", b"\x10\0\x10\0\x08\0\x18\0"))
    assert item.number(0x04000005) == 7
    assert item.text(0x04000015) == "SHA256"
    assert item.text(0x04000100) == "1.2"
    assert list(item.tags(0x04000020)) == [0x00100010, 0x00080018]
    assert (item.value(0x04000310), item.text(0x04000310), item.number(0x04000310)) == (b"", "", -1)
    assert item.items(0x04000401) == []


def test_values_in_big_endian() -> None:
    data = b"\x04\x00\x00\x05US\x00\x02\x00\x07" + b"\x04\x00\x00\x20AT\x00\x04\x00\x10\x00\x20"
    item = item_of(data, "1.2.840.10008.1.2.2")
    assert item.number(0x04000005) == 7
    assert list(item.tags(0x04000020)) == [0x00100020]


def test_values_of_no_sense() -> None:
    item = item_of(
        element(0x04000005, "US", b"\7\0\7\0")
        + element(0x04000015, "CS", b"a\nb\x1b\xff")
        + element(0x04000020, "AT", b"\1\0")
    )
    assert item.number(0x04000005) == -1
    assert item.text(0x04000015) == "a\ufffdb\ufffd\ufffd"
    assert list(item.tags(0x04000020)) == []
    with pytest.raises(LimitExceeded):
        item_of(element(0x04000115, "OB", bytes(200_000))).value(0x04000115)
