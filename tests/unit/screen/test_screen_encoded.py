"""Payloads that are encoded once, and text that only looks as if."""

from __future__ import annotations

import base64
import random

import pytest

from harness import payloads
from strongroom.screen.encoded import encoded, under_xor

PROGRAM = payloads.pe()


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(PROGRAM),
        base64.encodebytes(PROGRAM),
        base64.urlsafe_b64encode(payloads.zipped({"a": b"b" * 90})),
        b"see: " + base64.b64encode(payloads.elf()) + b" end",
    ],
)
def test_base64_is_decoded_once(text: bytes) -> None:
    found = encoded(text)
    assert found is not None
    assert found.rule == "SR-ENC-001"


ESCAPED = b"\\x" + PROGRAM.hex("?").replace("?", "\\x").encode()


@pytest.mark.parametrize("text", [PROGRAM.hex().encode(), PROGRAM.hex(" ").upper().encode(), ESCAPED])
def test_hexadecimal_digits_are_decoded_once(text: bytes) -> None:
    found = encoded(text)
    assert found is not None
    assert found.rule == "SR-ENC-002"


@pytest.mark.parametrize("key", [1, 0x20, 0x5A, 0xFF])
@pytest.mark.parametrize("before", [b"", bytes(range(200))])
def test_no_key_hides_a_program(key: int, before: bytes) -> None:
    data = before + PROGRAM
    found = under_xor(bytes(byte ^ key for byte in data))
    assert found is not None
    assert f"0x{key:02X}" in found.what


def test_a_key_of_zero_is_none() -> None:
    assert under_xor(bytes(100) + PROGRAM) is None


def test_digits_and_letters_of_every_day_are_none() -> None:
    source = random.Random(3)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for _ in range(200):
        assert encoded("".join(source.choices(letters, k=200)).encode()) is None
        assert encoded(source.randbytes(120).hex().encode()) is None
        assert under_xor(source.randbytes(4_000)) is None
