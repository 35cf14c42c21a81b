"""Whole files: preamble, meta, deflated data sets, pixel data and what lies behind each."""

from __future__ import annotations

import struct
import zlib

import pytest

from harness import hidden, payloads
from strongroom.dicom.dictionary import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.screen.findings import Confidence, Report, Severity
from strongroom.screen.rules import RULES
from strongroom.screen.screening import screen_bytes

CLEAN = hidden.encode(hidden.image())
FILE = hidden.file_of(CLEAN)


def rule_ids(report: Report) -> set[str]:
    return {finding.rule.id for finding in report.findings}


def with_preamble(preamble: bytes, raw: bytes = FILE) -> bytes:
    return preamble.ljust(128, b"\0")[:128] + raw[128:]


def deflated(raw: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(raw) + stream.flush()


def test_a_clean_file_has_no_finding_and_says_what_it_is() -> None:
    report = screen_bytes(FILE)
    assert report.findings == ()
    assert (report.transfer_syntax, report.size_bytes) == (hidden.EXPLICIT, len(FILE))
    assert report.sop_class_uid == hidden.SECONDARY_CAPTURE


def test_a_bare_data_set_is_screened_as_c_store_brings_it() -> None:
    assert screen_bytes(CLEAN, transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN).findings == ()
    bare = deflated(CLEAN)
    report = screen_bytes(bare, transfer_syntax=DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
    assert report.findings == ()
    assert report.sop_class_uid == hidden.SECONDARY_CAPTURE


def test_a_program_is_followed_from_the_preamble_to_wherever_its_header_is() -> None:
    far = with_preamble(payloads.pe()[:64])
    target = len(far) + 400_000
    far = far[:0x3C] + struct.pack("<L", target) + far[0x40:] + bytes(400_000)
    program = payloads.pe_headers()
    report = screen_bytes(far + program)
    found = next(each for each in report.findings if each.place.path == "preamble")
    assert (found.rule.id, found.severity, found.confidence) == ("SR-PE-001", Severity.CRITICAL, Confidence.HIGH)
    assert f"0x{target:X}" in found.what


def test_a_preamble_that_nothing_is_known_of_is_worth_a_low_finding() -> None:
    (found,) = screen_bytes(with_preamble(b"vendor 7")).findings
    assert (found.rule.id, found.severity) == ("SR-PRE-001", Severity.LOW)


def tiff_header(strip: int, length: int) -> bytes:
    """A TIFF header whose only directory is in the preamble, with one strip."""
    entries = struct.pack("<HHLL", 273, 4, 1, strip) + struct.pack("<HHLL", 279, 4, 1, length)
    return b"II*\0" + struct.pack("<LH", 8, 2) + entries + bytes(4)


def test_a_tiff_that_shows_the_pixel_data_is_legitimate() -> None:
    pixels = 2 * hidden.ROWS * hidden.COLUMNS
    report = screen_bytes(with_preamble(tiff_header(len(FILE) - 512, 512)))
    assert pixels >= 512
    assert rule_ids(report) == {"SR-PRE-002"}
    assert report.worst is Severity.INFO


@pytest.mark.parametrize(("strip", "rule"), [(300, "SR-PRE-004"), (1 << 30, "SR-PRE-003")])
def test_a_tiff_that_shows_anything_else_is_not(strip: int, rule: str) -> None:
    assert rule_ids(screen_bytes(with_preamble(tiff_header(strip, 64)))) == {rule}


def test_meta_and_data_set_that_disagree_are_noted() -> None:
    other = FILE.replace(b"\2\0\3\0UI", b"\2\0\3\0UI", 1)
    at = other.index(b"\2\0\3\0UI") + 8
    other = other[:at] + b"9" + other[at + 1 :]
    (found,) = (each for each in screen_bytes(other).findings if each.rule.id == "SR-META-003")
    length = int.from_bytes(other[at - 2 : at], "little")
    assert (found.place.path, found.place.offset, found.place.length) == ("(0002,0003)", at, length)


def test_an_unknown_vr_in_the_meta_is_a_finding() -> None:
    at = FILE.index(b"\2\0\2\0UI") + 4
    report = screen_bytes(FILE[:at] + b"ZZ" + FILE[at + 2 :])
    assert ("SR-META-002", Severity.MEDIUM) in {(each.rule.id, each.severity) for each in report.findings}


def test_a_bomb_is_given_up_and_said() -> None:
    bomb = deflated(struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 0xFFFFFFFE) + bytes(64 << 20))
    report = screen_bytes(hidden.file_of(bomb, hidden.DEFLATED))
    assert "SR-STR-013" in rule_ids(report)
    assert report.truncated


def test_bytes_behind_a_deflate_stream_are_looked_at() -> None:
    report = screen_bytes(hidden.file_of(deflated(CLEAN), hidden.DEFLATED) + payloads.elf())
    assert {("SR-TRAIL-003", "trailing"), ("SR-ELF-001", "trailing")} <= {
        (each.rule.id, each.place.path) for each in report.findings
    }


def test_a_payload_in_a_deflated_data_set_has_its_place_in_what_it_inflates_to() -> None:
    raw = hidden.encode(hidden.image() | {0x00110010: ("LO", b"X "), 0x00111001: ("OB", payloads.pe())})
    report = screen_bytes(hidden.file_of(deflated(raw), hidden.DEFLATED))
    place = next(each.place for each in report.findings if each.rule.id == "SR-PE-001")
    assert place.inflated
    assert raw[place.offset : place.offset + 2] == b"MZ"


def test_what_is_no_dicom_is_said_and_searched_all_the_same() -> None:
    assert {"SR-STR-015", "SR-ELF-001"} <= rule_ids(screen_bytes(payloads.elf()))


def test_an_encapsulated_pdf_is_what_it_says_unless_it_acts() -> None:
    harmless = b"%PDF-1.4\n1 0 obj << /Type /Catalog /OpenAction [3 0 R /Fit] >> endobj\n%%EOF\n"
    plain = screen_bytes(hidden.file_of(hidden.encode(hidden.document(harmless))))
    acting = screen_bytes(hidden.file_of(hidden.encode(hidden.document(payloads.pdf(payloads.PDF_SCRIPT)))))
    other = screen_bytes(hidden.file_of(hidden.encode(hidden.document(payloads.pe()))))
    assert not plain.at_least(Severity.MEDIUM)
    assert "SR-PDF-002" in rule_ids(acting)
    assert acting.worst is Severity.HIGH
    assert {"SR-DOC-001", "SR-PE-001"} <= rule_ids(other)


def test_dimensions_that_no_image_has_are_a_finding() -> None:
    frames = hidden.image() | {0x00280008: ("IS", b"2147483647")}
    assert "SR-PIX-003" in rule_ids(screen_bytes(hidden.file_of(hidden.encode(frames))))


def test_a_report_never_holds_a_value() -> None:
    name = b"ZZPLANTED^<script>alert(1)</script>"
    raw = hidden.file_of(hidden.encode(hidden.image() | {0x00100010: ("PN", name)}))
    report = screen_bytes(raw)
    assert ("SR-TXT-002", "(0010,0010)") in {(each.rule.id, each.place.path) for each in report.findings}
    assert "ZZPLANTED" not in repr(report)


def test_each_rule_says_why_and_what_to_do() -> None:
    assert all(rule.title and rule.why and rule.remedy for rule in RULES.values())
    assert len(RULES) > 80
