"""Runs of headers: that they are used, that they are cut where objects differ, and that they stay few."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from strongroom.dicom.elements import DEFAULT_LIMITS, HeaderScan, ScanLimits
from strongroom.dicom.runs import MAX_RUN_ELEMENTS, MAX_RUNS, RunMemory, RunScan
from strongroom.errors import LimitExceeded, StrongroomError

WANTED = frozenset({0x00080018, 0x00100010, 0x00200013, 0x00280010})
BOTH = pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])


def element(syntax: TransferSyntax, tag: int, vr: bytes, value: bytes) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if not syntax.explicit:
        return struct.pack("<HHL", group, number, len(value)) + value
    if vr in (b"OW", b"SQ"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def data_set(syntax: TransferSyntax, *, name: bytes = b"A^B ", number: bytes = b"7 ", items: bytes = b"") -> bytes:
    head = [
        (0x00080005, b"CS", b"ISO_IR 100"),
        (0x00080018, b"UI", b"1.2.3.4\0"),
        (0x00081140, b"SQ", items),
        (0x00100010, b"PN", name),
        *((0x00180000 + each, b"DS", b"1.25") for each in range(0x50, 0x70)),
        (0x00200013, b"IS", number),
        (0x00280010, b"US", b"\0\1"),
        (0x00280011, b"US", b"\0\1"),
        (0x00400253, b"SH", b"X "),
        (0x7FE00010, b"OW", bytes(400)),
    ]
    return b"".join(element(syntax, *each) for each in head)


class Counting(RunScan):
    """Counts the elements that were walked one by one."""

    __slots__ = ("walked",)

    def _walk(self, buffer: bytes, position: int, last: int) -> int:
        count = self._count
        position = super()._walk(buffer, position, last)
        self.walked = getattr(self, "walked", 0) + self._count - count
        return position


def walked(memory: RunMemory, syntax: TransferSyntax, data: bytes) -> int:
    """How many elements had to be walked; what was found is what a plain scan finds."""
    scan, plain = Counting(memory, syntax, WANTED), HeaderScan(syntax, WANTED)
    for each in (scan, plain):
        each.feed(data)
        each.finish()
    assert scan.elements == plain.elements
    assert scan.pixel_data_offset == plain.pixel_data_offset
    assert (scan.end_of_header, scan.irregularities) == (plain.end_of_header, plain.irregularities)
    return scan.walked


@BOTH
def test_the_second_object_is_taken_at_one_go(syntax: TransferSyntax) -> None:
    memory = RunMemory()
    assert walked(memory, syntax, data_set(syntax)) == 41
    assert walked(memory, syntax, data_set(syntax, name=b"C^D ", number=b"8 ")) == 1, "only the pixel data"


@BOTH
def test_of_what_varies_in_length_only_that_is_walked(syntax: TransferSyntax) -> None:
    memory = RunMemory()
    variants = [
        data_set(syntax, name=b"N" * length, number=b"7" * digits, items=bytes.fromhex("feff00e000000000") * items)
        for length in (2, 4, 6)
        for digits in (2, 4)
        for items in (0, 1, 2)
    ]
    for data in variants:
        walked(memory, syntax, data)
    assert max(walked(memory, syntax, data) for data in variants) <= 4, "three that vary, and the pixel data"


def test_one_changed_byte_of_a_header_is_seen() -> None:
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    data = data_set(syntax)
    memory = RunMemory()
    walked(memory, syntax, data)
    for at in range(data.index(struct.pack("<HH", 0x7FE0, 0x0010))):
        changed = bytearray(data)
        changed[at] ^= 0x20
        outcomes = []
        for scan in (RunScan(memory, syntax, WANTED), HeaderScan(syntax, WANTED)):
            try:
                scan.feed(bytes(changed))
                scan.finish()
                outcomes.append((scan.elements, scan.irregularities, scan.end_of_header))
            except StrongroomError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1], at


@pytest.mark.parametrize(
    "limits",
    [
        replace(DEFAULT_LIMITS, max_element_count=40),
        replace(DEFAULT_LIMITS, max_element_value_bytes=7),
        replace(DEFAULT_LIMITS, max_kept_bytes=15),
    ],
)
def test_no_limit_is_passed_in_a_run(limits: ScanLimits) -> None:
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    memory = RunMemory()
    walked(memory, syntax, data_set(syntax))
    with pytest.raises(LimitExceeded) as plain:
        HeaderScan(syntax, WANTED, limits).feed(data_set(syntax))
    with pytest.raises(LimitExceeded) as by_runs:
        RunScan(memory, syntax, WANTED, limits).feed(data_set(syntax))
    assert str(by_runs.value) == str(plain.value)


def test_a_memory_stays_small_and_holds_no_value() -> None:
    syntax = EXPLICIT_VR_LITTLE_ENDIAN
    memory, chance = RunMemory(), random.Random(7)
    for _ in range(1000):
        tags = sorted(chance.sample(range(0x00180001, 0x00188000), 300))
        data = b"".join(element(syntax, tag, b"LO", b"SECRET" * chance.randrange(4)) for tag in tags)
        RunScan(memory, syntax, WANTED).feed(data)
    runs = memory.of(syntax, WANTED).values()
    assert 0 < len(runs) <= MAX_RUNS
    assert max(len(run.steps) for run in runs) <= MAX_RUN_ELEMENTS
    assert not any(b"SECRET" in step.header for run in runs for step in run.steps)
