"""Where values in DER end, and how they are put together."""

from __future__ import annotations

import pytest

from strongroom.signatures.der import SEQUENCE, constructed, parts_of, value_length, with_ordered_certificates


@pytest.mark.parametrize(
    ("raw", "length"),
    [
        (b"\x30\x02ab", 4),
        (b"\x30\x02ab\0", 4),
        (b"\x30\x81\x02ab\0\0", 5),
        (b"\x30\x82\x00\x02ab\0", 6),
        (b"\x30\x80ab\0\0", 6),
        (b"\x30\x05ab", 4),
        (b"\x30\x89" + bytes(20), 22),
        (b"\x30", 1),
        (b"", 0),
    ],
)
def test_value_length(raw: bytes, length: int) -> None:
    assert value_length(raw) == length


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 70_000])
def test_what_is_put_together_comes_apart(length: int) -> None:
    parts = [constructed(0x04, b"x" * length), constructed(SEQUENCE), constructed(0x04, b"y")]
    whole = constructed(SEQUENCE, *parts)
    assert value_length(whole + b"\0") == len(whole)
    assert list(parts_of(whole)) == parts


@pytest.mark.parametrize("raw", [b"", b"\x30", b"\x30\x05ab", b"\x30\x02\x04\x05", b"\x30\x80\0\0", b"\x30\x02ab\0"])
def test_what_does_not_hold_together(raw: bytes) -> None:
    with pytest.raises(ValueError, match="DER"):
        list(parts_of(raw))


def test_certificates_are_put_in_order() -> None:
    first, second = constructed(SEQUENCE, b"\x02\x01\x01"), constructed(SEQUENCE, b"\x02\x01\x02")
    kind, version, signers = b"\x06\x01\x2a", b"\x02\x01\x03", constructed(0x31)

    def info(*certificates: bytes) -> bytes:
        data = constructed(SEQUENCE, version, constructed(0xA0, *certificates), signers)
        return constructed(SEQUENCE, kind, constructed(0xA0, data))

    assert with_ordered_certificates(info(second, first)) == info(first, second)
    assert with_ordered_certificates(info()) == info()
    with pytest.raises(ValueError, match=r"."):
        with_ordered_certificates(constructed(SEQUENCE, kind))
