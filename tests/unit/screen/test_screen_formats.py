"""Formats are told by what their headers bear out: the true one is recognised, one broken field later it is not."""

from __future__ import annotations

import struct

import pytest

from harness import payloads
from strongroom.screen import containers, executables
from strongroom.screen.findings import Confidence
from strongroom.screen.formats import identify, identify_end, identify_exactly, parsed

BY_NAME = {payload.name: payload for payload in payloads.PAYLOADS}


@pytest.mark.parametrize("payload", payloads.PAYLOADS, ids=lambda payload: payload.name)
def test_every_format_is_recognised(payload: payloads.Payload) -> None:
    data = payload.make()
    found = identify(data) or identify_end(data) or parsed(executables.com, data, 0)
    assert found is not None
    assert found.what


@pytest.mark.parametrize(
    ("name", "offset", "field"),
    [
        ("pe64", 0x84, b"\xee\xee"),  # the machine
        ("pe64", 0x98, b"\xee\xee"),  # kind of optional header
        ("elf64", 20, b"\7\0\0\0"),  # the second version
        ("elf64", 52, b"\0\1"),  # size of its header
        ("mach-o", 4, b"\xee\xee\xee\xee"),  # the processor
        ("java-class", 6, b"\0\1"),  # the version
        ("java-class", 10, b"\xee"),  # kind of the first constant
        ("dex", 40, b"\0\0\0\0"),  # byte order
        ("lnk", 8, b"\xee"),  # class identifier
        ("ole", 28, b"\0\0"),  # byte order
        ("cab", 25, b"\7"),  # version
        ("tar", 150, b"9"),  # checksum
        ("zip", 8, b"\xee\xee"),  # method
        ("rar5", 6, b"\7"),
        ("chm", 4, b"\xee"),
    ],
)
def test_a_magic_number_alone_is_none_of_them(name: str, offset: int, field: bytes) -> None:
    data = BY_NAME[name].make()
    broken = data[:offset] + field + data[offset + len(field) :]
    found, true = identify(broken), identify(data)
    assert true is not None
    assert found is None or found.rule != true.rule or found.confidence < true.confidence


def test_what_is_said_of_a_program_is_what_its_header_proves() -> None:
    found = identify(payloads.pe(at=0x200))
    assert found is not None
    assert "e_lfanew 0x200" in found.what
    assert "x86-64" in found.what


def test_an_end_record_has_to_fit_its_directory() -> None:
    archive = payloads.zipped({"a.txt": b"a" * 40})
    at = archive.rindex(b"PK\5\6")
    assert parsed(containers.zip_end, archive, at) is not None
    shifted = archive[:at] + b"\0\0" + archive[at:]
    assert parsed(containers.zip_end, shifted, at + 2) is None


def test_every_prefix_of_every_format_is_judged_without_an_error() -> None:
    for payload in payloads.PAYLOADS:
        data = payload.make()
        for length in (*range(64), *range(64, min(len(data), 2_048), 97)):
            identify(data[:length])
            identify_end(data[:length])


GREY = bytes(range(0x20, 0x7F)) * 400


def test_grey_values_that_spell_a_mark_are_no_script() -> None:
    for mark in (b"<?=$", b"<%= ", b"<?php ", b"<b>", b"{\\rtf1", b"%PDF-1.4", b"FWS\5"):
        found = identify_exactly(mark + GREY)
        assert found is None or found.confidence is Confidence.LOW, mark


def test_a_script_in_pixels_is_one_all_the_same() -> None:
    found = identify_exactly(b"#!/bin/sh\nset -e\necho this is written text\nexit 0\n" + bytes(range(256)) * 8)
    assert found is not None
    assert found.rule == "SR-SCRIPT-001"


def test_a_name_of_a_pdf_is_read_as_readers_do() -> None:
    hidden_name = payloads.pdf(b"/OpenAction << /S /J#61vaScript /J#53 (x) >>")
    found = identify(hidden_name)
    assert found is not None
    assert found.rule == "SR-PDF-002"


def test_only_a_pickle_that_calls_is_one() -> None:
    calls = b"\x80\4\x95\x1f\0\0\0\0\0\0\0\x8c\5posix\x94\x8c\6system\x94\x93\x94\x8c\2id\x94\x85\x94R\x94."
    found = identify(calls)
    assert found is not None
    assert found.rule == "SR-PICKLE-001"
    assert identify(b"\x80\4\x95" + struct.pack("<Q", 20) + b"\x94}\x94(\x8c\1a\x94K\1u." + bytes(20)) is None
