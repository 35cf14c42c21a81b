"""What the walk makes of structure: what does not hold together, where it is, and that it goes on behind it."""

from __future__ import annotations

import struct

import pytest

from harness import payloads
from strongroom.dicom.dictionary import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
)
from strongroom.screen.findings import Finding, Severity
from strongroom.screen.screening import screen_bytes
from strongroom.screen.walk import path_of

_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED = b"\xff\xff\xff\xff"
_ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    header = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return header + (struct.pack("<xxL", size) if vr in _LONG else struct.pack("<H", size)) + value


def item(content: bytes) -> bytes:
    return _ITEM + struct.pack("<L", len(content)) + content


def screened(raw: bytes, syntax: TransferSyntax = EXPLICIT_VR_LITTLE_ENDIAN) -> tuple[Finding, ...]:
    return screen_bytes(raw, transfer_syntax=syntax).findings


def rules(raw: bytes, syntax: TransferSyntax = EXPLICIT_VR_LITTLE_ENDIAN) -> set[str]:
    return {finding.rule.id for finding in screened(raw, syntax)}


NAME = element(0x00100010, b"PN", b"A^B ")
PIXELS = element(0x7FE00010, b"OW", bytes(8))


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (element(0x00100010, b"PN", b"A^B", 200), "SR-STR-001"),
        (element(0x7FE00010, b"OW", b"ab", 0xFFFFFFF0), "SR-STR-002"),
        (NAME + element(0x00100020, b"ZZ", b"ab") + NAME, "SR-STR-003"),
        (element(0x00080020, b"LO", b"20200101"), "SR-STR-004"),
        (element(0x00280010, b"UL", b"\xff\xff\xff\xff"), "SR-STR-005"),
        (element(0x00100020, b"LO", b"1 ") + NAME, "SR-STR-006"),
        (NAME + NAME, "SR-STR-007"),
        (element(0x00100010, b"PN", b"A^B"), "SR-STR-008"),
        (element(0x00400275, b"SQ", b"abcdefgh"), "SR-STR-011"),
        (element(0x00400275, b"SQ", _ITEM + _UNDEFINED, 0xFFFFFFFF), "SR-STR-012"),
        (element(0x00400275, b"SQ", item(element(0x00400007, b"LO", b"ab", 40))), "SR-STR-001"),
        (NAME + PIXELS + b"PK-and-more", "SR-TRAIL-001"),
        (PIXELS + element(0xFFFCFFFC, b"OB", b"not zero"), "SR-TRAIL-002"),
    ],
)
def test_what_does_not_hold_together_is_a_finding(raw: bytes, rule: str) -> None:
    assert rule in rules(raw)


def test_what_holds_together_is_none() -> None:
    nested = item(element(0x00400007, b"LO", b"x "))
    raw = NAME + element(0x00400275, b"SQ", nested + nested) + PIXELS + element(0xFFFCFFFC, b"OB", bytes(40))
    assert screened(raw) == ()


def test_the_walk_goes_on_behind_an_item_that_is_broken() -> None:
    broken = element(0x00400275, b"SQ", item(element(0x00400007, b"LO", b"ab", 40)))
    found = screened(broken + element(0x00410010, b"LO", b"X ") + element(0x00411001, b"OB", payloads.elf()))
    assert {("SR-ELF-001", "(0041,1001)"), ("SR-STR-001", "(0040,0275)[1].(0040,0007)")} <= {
        (each.rule.id, each.place.path) for each in found
    }


@pytest.mark.parametrize("undefined", [False, True])
def test_a_place_has_the_tags_and_items_that_lead_there(undefined: bool) -> None:
    inner = element(0x00411001, b"OB", payloads.pe())
    if undefined:
        items = _ITEM + _UNDEFINED + inner + _ITEM_END
        raw = element(0x00400275, b"SQ", item(NAME) + items + _SEQUENCE_END, 0xFFFFFFFF)
    else:
        raw = element(0x00400275, b"SQ", item(NAME) + item(inner))
    place = next(each.place for each in screened(raw) if each.rule.id == "SR-PE-001")
    assert place.path == "(0040,0275)[2].(0041,1001)"
    assert raw[place.offset : place.offset + 2] == b"MZ"


def test_an_unknown_value_that_is_a_sequence_is_walked_into() -> None:
    inner = struct.pack("<HHL", 0x0041, 0x1001, len(payloads.elf())) + payloads.elf()
    found = screened(element(0x00411002, b"UN", item(inner)))
    assert ("SR-ELF-001", "(0041,1002)[1].(0041,1001)") in {(each.rule.id, each.place.path) for each in found}


def test_implicit_and_big_endian_data_sets_are_walked_alike() -> None:
    program = payloads.elf() + bytes(len(payloads.elf()) & 1)
    implicit = struct.pack("<HHL", 0x0011, 0x1001, len(program)) + program
    big = struct.pack(">HH2sxxL", 0x0011, 0x1001, b"OB", len(program)) + program
    assert "SR-ELF-001" in rules(implicit, IMPLICIT_VR_LITTLE_ENDIAN)
    assert "SR-ELF-001" in rules(big, EXPLICIT_VR_BIG_ENDIAN)


def test_a_hundred_thousand_levels_are_walked_without_recursion() -> None:
    raw = (element(0x00400275, b"SQ", _ITEM + _UNDEFINED, 0xFFFFFFFF)) * 100_000
    report = screen_bytes(raw, transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN)
    assert report.worst is Severity.HIGH
    assert report.counts == {"SR-STR-009": 1, "SR-STR-012": 1}
    assert all(len(each.place.path) < 200 for each in report.findings)


def test_the_path_of_something_very_deep_stays_short() -> None:
    node = None
    for _ in range(50):
        node = (node, 0x00400275, 1)
    assert path_of(node, 0x00400007).startswith("[44 levels].(0040,0275)[1]")
