"""Files made to take the screen's time and memory: each has its verdict soon, and within 64 MiB."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from harness import hidden
from strongroom.screen.findings import Report, Severity
from strongroom.screen.screening import Screening

MAX_S = 10.0
"""Of processor time: a second is usual, on slow machines two. What grows with the square of its size takes minutes."""
MAX_EXTRA_BYTES = 64 << 20
_UNDEFINED = b"\xff\xff\xff\xff"
_FRAGMENTS = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0"


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sxxL", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _bomb() -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = stream.compress(struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 0xFFFFFFFE))
    return head + b"".join(stream.compress(bytes(1 << 20)) for _ in range(600)) + stream.flush()


_FRAGMENT, _END = b"\xfe\xff\x00\xe0\x10\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_PROGRAM = b"PE\0\0\x4c\1\3\0" + bytes(12) + b"\xe0\0\0\0\x0b\1" + bytes(20)
_SEQUENCE = b"\x40\x00\x75\x02SQ\0\0" + _UNDEFINED + b"\xfe\xff\x00\xe0" + _UNDEFINED
_IMPLICIT_SEQUENCE = b"\x40\x00\x75\x02" + _UNDEFINED + b"\xfe\xff\x00\xe0" + _UNDEFINED
_SEGMENTED = b"\xff\xd8" + b"\xff\xfe\0\x08abcdef" * 700_000

CASES: dict[str, tuple[str, Callable[[], bytes], Severity | None]] = {
    "100,000 levels": (hidden.EXPLICIT, lambda: _SEQUENCE * 100_000, Severity.HIGH),
    "100,000 implicit levels": (hidden.IMPLICIT, lambda: _IMPLICIT_SEQUENCE * 100_000, Severity.HIGH),
    "4 GiB": (hidden.EXPLICIT, lambda: b"\xe0\x7f\x10\0OW\0\0\xfe\xff\xff\xffabc", Severity.MEDIUM),
    "2^31 frames": (
        hidden.EXPLICIT,
        lambda: hidden.encode(hidden.image() | {0x00280008: ("IS", b"2147483647")}),
        Severity.MEDIUM,
    ),
    "65,535 rows and columns of 60,000 frames": (
        hidden.EXPLICIT,
        lambda: hidden.encode(
            hidden.image()
            | {
                0x00280008: ("IS", b"60000"),
                0x00280010: ("US", b"\xff\xff"),
                0x00280011: ("US", b"\xff\xff"),
            }
        ),
        Severity.MEDIUM,
    ),
    "inflates without end": (hidden.DEFLATED, _bomb, Severity.HIGH),
    "a million elements": (
        hidden.EXPLICIT,
        lambda: b"".join(struct.pack("<HH2sH", 9, number & 0xFFFF, b"UL", 0) for number in range(1_000_000)),
        Severity.HIGH,
    ),
    "one element a million times": (hidden.EXPLICIT, lambda: b"\x09\0\x01\0LO\0\0" * 1_000_000, Severity.HIGH),
    "a million empty fragments": (
        hidden.JPEG,
        lambda: _FRAGMENTS + b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000,
        Severity.HIGH,
    ),
    "300,000 fragments of 16 bytes": (
        hidden.JPEG,
        lambda: (
            _FRAGMENTS + b"".join(_FRAGMENT + struct.pack("<4L", *[number] * 4) for number in range(299_998)) + _END
        ),
        Severity.LOW,
    ),
    "lures": (hidden.EXPLICIT, lambda: _element(0x7FE00010, b"OW", b"<script" * 600_000), Severity.MEDIUM),
    "lures of a script in what nearly is one": (
        hidden.EXPLICIT,
        lambda: _element(0x7FE00010, b"OW", (b"rm -rf  x" + b"$(ab " * 600) * 1_200),
        Severity.MEDIUM,
    ),
    "lures of a program": (
        hidden.EXPLICIT,
        lambda: _element(0x7FE00010, b"OW", (_PROGRAM + b"MZ" * 32) * 25_000),
        Severity.MEDIUM,
    ),
    "MZ all over": (hidden.EXPLICIT, lambda: _element(0x00111001, b"OB", b"MZ" * 2_000_000), None),
    "hexadecimal digits": (hidden.EXPLICIT, lambda: _element(0x00111001, b"OB", b"4d5a" * 2_000_000), None),
    "base64": (hidden.EXPLICIT, lambda: _element(0x0040A160, b"UT", b"QUJD" * 2_000_000), None),
    "streams of a PDF": (
        hidden.EXPLICIT,
        lambda: _element(0x00420011, b"OB", b"%PDF-1.7 /ObjStm " + b"stream\n" * 1_000_000 + b" "),
        None,
    ),
    "segments of a JPEG": (
        hidden.JPEG,
        lambda: _FRAGMENTS + b"\xfe\xff\x00\xe0" + struct.pack("<L", len(_SEGMENTED)) + _SEGMENTED,
        None,
    ),
    "tags of markup": (hidden.EXPLICIT, lambda: _element(0x0040A160, b"UT", b"<a " * 2_000_000), None),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_hostile_file_has_its_verdict_soon_and_in_little_memory(name: str) -> None:
    syntax, make, expected = CASES[name]
    raw = hidden.file_of(make(), syntax)
    # Python allocates slower when it is traced: memory is measured in a run of its own.
    elapsed_s = time.process_time()
    report = _screened(raw)
    elapsed_s = time.process_time() - elapsed_s
    tracemalloc.start()
    try:
        _screened(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert expected is None or (report.worst is not None and report.worst >= expected)
    assert peak < MAX_EXTRA_BYTES
    assert elapsed_s < MAX_S


def _screened(raw: bytes) -> Report:
    screening = Screening()
    view = memoryview(raw)
    for start in range(0, len(raw), 65_536):
        screening.feed(view[start : start + 65_536])
    return screening.finish()
