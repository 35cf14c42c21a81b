"""Payloads that are encoded once: base64, hexadecimal, XOR with one byte. What they decode to has to be a format.

Only the beginning of each run is decoded: a format is proven by its header, and a value is decoded once, not again and
again.
"""

from __future__ import annotations

import re
from binascii import Error as BinasciiError
from binascii import a2b_base64, unhexlify
from collections import Counter
from itertools import pairwise
from typing import Final

from strongroom.screen.findings import Confidence
from strongroom.screen.formats import binary_at, identify_exactly
from strongroom.screen.matches import LOW, MEDIUM, Match
from strongroom.screen.scripts import is_written

# One class each and no group within a repetition: that one keeps state for every round, some 300 bytes of it.
_BASE64_RUN: Final = re.compile(rb"[A-Za-z0-9+/_\-\\\r\n]{40,}")
_HEX_RUN: Final = re.compile(rb"[0-9A-Fa-fxX\\ ,:\r\n-]{48,}")
_SEPARATORS: Final = b" ,:\r\n-\t\\"
_MAX_RUNS: Final = 32
_DECODED_BYTES: Final = 65536
_MIN_BYTES: Final = 24
_PEM_BORDER: Final = b"-----"
_WEAK: Final = frozenset({"SR-COM-001", "SR-SCRIPT-002", "SR-PACK-001", "SR-PE-002"})
_XOR_WINDOW_BYTES: Final = 1 << 20
# What follows the first byte of a program, under XOR of each byte with the one before it: the key is gone.
_DOS_STUB: Final = b"This program cannot be run in DOS mode"
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def _differences(text: bytes) -> bytes:
    return bytes(first ^ second for first, second in pairwise(text))


_STUB_DIFFERENCES: Final = _differences(_DOS_STUB)
_PE_DIFFERENCES: Final = _differences(b"PE\0\0")
_XOR_HEADS: Final = (
    b"MZ", b"\x7fELF", b"PK\3\4", b"%PDF-", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"dex\n",
    b"Rar!", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0", b"MSCF", b"{\\rtf", b"\0asm", b"\x4c\0\0\0", b"#!/", b"<?php",
    b"<html", b"<script", b"ITSF",
)  # fmt: skip

_XOR_DIFFERENCES: Final = tuple((head, _differences(head)) for head in _XOR_HEADS if len(head) >= 4)
_MAX_LURES: Final = 16
_TEXT_SAMPLE_BYTES: Final = 64
_WRITTEN_BYTES: Final = 1024
_MAX_TEXT_BYTES: Final = 4096
_MAX_DIFFERENT: Final = 48
_OFTEN: Final = b" eta\0"
_PRINTABLE: Final = bytes([0, 9, 10, 13, *range(0x20, 0x7F)])


def encoded(data: bytes) -> Match | None:
    """Return the first payload that ``data`` holds in base64 or hexadecimal, None if there is none."""
    for number, run in enumerate(_BASE64_RUN.finditer(data)):
        if number == _MAX_RUNS:
            break
        found = _from_base64(run[0]) or _from_hex(run[0])
        if found is not None:
            return found._replace(at=run.start())
    for number, run in enumerate(_HEX_RUN.finditer(data)):
        if number == _MAX_RUNS:
            break
        found = _from_hex(run[0])
        if found is not None:
            return found._replace(at=run.start())
    return None


def _decoded_match(raw: bytes, rule: str, kind: str, confidence: Confidence) -> Match | None:
    found = identify_exactly(raw)
    if found is None or found.rule in _WEAK:
        return None
    return Match(rule, min(confidence, found.confidence), f"{kind}, which decodes to {found.what}", 0, len(raw))


def _from_base64(run: bytes) -> Match | None:
    if _PEM_BORDER in run:  # the words between its borders are digits as well
        run = max(run.split(_PEM_BORDER), key=len)
    text = run[: 2 * _DECODED_BYTES].translate(_URL_SAFE, b" \r\n\t\\")
    text = text[: len(text) // 4 * 4]
    try:
        raw = a2b_base64(text)
    except BinasciiError:
        return None
    return _decoded_match(raw, "SR-ENC-001", "base64", MEDIUM)


def _from_hex(run: bytes) -> Match | None:
    text = run[: 4 * _DECODED_BYTES].replace(b"0x", b"").replace(b"\\x", b"").translate(None, _SEPARATORS)
    try:
        raw = unhexlify(text[: len(text) // 2 * 2])
    except BinasciiError:
        return None
    return _decoded_match(raw, "SR-ENC-002", "hexadecimal digits", MEDIUM) if len(raw) >= _MIN_BYTES else None


def under_xor(data: bytes) -> Match | None:
    """Return the payload that ``data`` holds with every byte XORed with one key, None if there is none.

    At its beginning any key is tried that makes a known signature, or text, of it; within its first MiB a format is
    found by the differences of neighbouring bytes, which no key changes.
    """
    return begins_under_xor(data) or (_within_under_xor(data[:_XOR_WINDOW_BYTES]) if len(data) >= 64 else None)


def begins_under_xor(data: bytes) -> Match | None:
    """Return the payload that begins ``data`` under XOR with one key, None if none does."""
    if len(data) < 32:
        return None
    for signature in _XOR_HEADS:
        key = data[0] ^ signature[0]
        if key and data[1] ^ key == signature[1] and _keyed(data[: len(signature)], key) == signature:
            plain = _keyed(data[:_DECODED_BYTES], key)
            found = identify_exactly(plain)
            if found is not None and found.rule not in _WEAK:
                return Match("SR-ENC-003", LOW, f"XOR with 0x{key:02X}, under which it is {found.what}", 0, len(data))
    return _text_under_xor(data)


def _text_under_xor(data: bytes) -> Match | None:
    """Text has few different bytes, and of those that come most often one is a space, an e or a t."""
    sample = data[:_TEXT_SAMPLE_BYTES]
    if 0 < len(sample.translate(None, _LOWER_HALF)) < len(sample):  # one key changes the highest bit of all or none
        return None
    counts = Counter(sample)
    if len(counts) > _MAX_DIFFERENT:
        return None
    for key in {each ^ often for each, _ in counts.most_common(4) for often in _OFTEN} - {0}:
        if not _keyed(sample, key).translate(None, _PRINTABLE) and is_written(_keyed(data[:_WRITTEN_BYTES], key)):
            found = identify_exactly(_keyed(data[:_MAX_TEXT_BYTES], key))
            if found is not None and found.rule not in _WEAK:
                return Match("SR-ENC-003", LOW, f"XOR with 0x{key:02X}, under which it is {found.what}", 0, len(data))
    return None


def _within_under_xor(data: bytes) -> Match | None:
    number = int.from_bytes(data, "little")
    differences = (number ^ (number >> 8)).to_bytes(len(data), "little")
    return _program_under_xor(data, differences) or _format_under_xor(data, differences)


def _format_under_xor(data: bytes, differences: bytes) -> Match | None:
    for head, wanted in _XOR_DIFFERENCES:
        place = -1
        for _ in range(_MAX_LURES):
            place = differences.find(wanted, place + 1)
            if place < 0:
                break
            key = data[place] ^ head[0]
            found = identify_exactly(_keyed(data[place : place + _DECODED_BYTES], key)) if key else None
            if found is not None and found.at == 0 and found.rule not in _WEAK:
                return Match("SR-ENC-003", LOW, f"XOR with 0x{key:02X}, under which it is {found.what}", place, 0)
    return None


def _program_under_xor(data: bytes, differences: bytes) -> Match | None:
    at = differences.find(_STUB_DIFFERENCES)
    if at >= 0:
        key = data[at] ^ _DOS_STUB[0]
        start = _keyed(data[max(0, at - 256) : at + 1024], key)
        found = next(filter(None, (binary_at(start, place) for place in _marks(start))), None)
        if key:
            what = found.what if found else "the text of a DOS stub"
            return Match("SR-ENC-003", LOW, f"XOR with 0x{key:02X}, under which it holds {what}", at, 0)
    place = -1
    for _ in range(64):
        place = differences.find(_PE_DIFFERENCES, place + 1)
        if place < 0:
            return None
        key = data[place] ^ 0x50
        found = binary_at(_keyed(data[place : place + 64], key), 0) if key else None
        if found is not None:
            return Match("SR-ENC-003", LOW, f"XOR with 0x{key:02X}, under which it holds {found.what}", place, 0)
    return None


def _marks(data: bytes) -> list[int]:
    """Return where "MZ" stands in ``data``, the last ones first."""
    places: list[int] = []
    at = len(data)
    while len(places) < 8 and (at := data.rfind(b"MZ", 0, at)) >= 0:
        places.append(at)
    return places


def _keyed(data: bytes, key: int) -> bytes:
    return data.translate(_KEYS[key])


_LOWER_HALF: Final = bytes(range(0x80))
_KEYS: Final = tuple([bytes([byte ^ key for byte in range(256)]) for key in range(256)])
