"""The search over all bytes: every signature is met, in several threads at once, and noise is never a finding."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import payloads
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.screen import search
from strongroom.screen.findings import Confidence, Severity
from strongroom.screen.phrases import PHRASES
from strongroom.screen.screening import screen_bytes
from strongroom.screen.search import LOOK_BACK_BYTES, MAX_CANDIDATES_PER_BLOCK, Search

BEGINNINGS = (
    b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"dex\n0", b"PE\0\0", b"\0asm\1",
    b"ITSF", b"\xd0\xcf\x11\xe0", b"MSCF", b"Rar!\x1a", b"7z\xbc\xaf\x27", b"PK\3\4", b"PK\5\6", b"{\\rt", b"%PDF",
    b"<?php", b"<?PHP", b"<script", b"<SCRIPT", b"<Script", b"<html", b"<body", b"<HTML", b"<svg", b"<iframe",
    b"#!/usr", b"#!/bin", b"#! /usr", b"#! /bin", b"\xfe\xed\xfa\xce", b"\xca\xfe\xba\xbf", b"QFI\xfb", b"KDMV",
    b"QED\0", b"vhdxfile", b"!<arch>\n", b"ustar\0",
)  # fmt: skip


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_signature_is_met_where_it_begins(beginning: bytes) -> None:
    """The library says where one ends; where it begins is reckoned back by the size in the table."""
    ((at, number),) = search._candidates(memoryview(b"\n\n" + beginning + b"\n"), search.new_scratch())
    assert (at, search._SIGNATURES[number].size) == (2, len(beginning))


def test_every_signature_is_tried() -> None:
    met = {search._candidates(memoryview(beginning), search.new_scratch())[0][1] for beginning in BEGINNINGS}
    assert met == set(range(len(search._SIGNATURES) - len(PHRASES)))


def test_there_are_no_more_signatures_than_are_searched_fast() -> None:
    assert len(search._SIGNATURES) <= search.MOST_SIGNATURES


def test_passes_at_the_same_time_do_not_mix_up_what_they_find() -> None:
    raws = [bytes(200_000 + 1_000 * number) + payloads.pe() + bytes(2_000_000) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda raw: [at for at, _ in Search().block(raw, 0, 0, len(raw))], raws * 8))
    assert found == [[200_000 + 1_000 * number] for number in range(4)] * 8


@pytest.mark.parametrize("name", ["pe64", "elf64", "mach-o", "java-class", "dex", "wasm", "zip", "7z", "cab", "rar5"])
def test_programs_and_archives_are_found_within_noise(name: str) -> None:
    noise = random.Random(7).randbytes(60_000)
    data = next(payload.make() for payload in payloads.PAYLOADS if payload.name == name)
    raw = noise[:30_001] + data + noise[30_001:]
    every = Search().block(raw, 1_000, 0, len(raw))
    found = [(at, match) for at, match in every if match.confidence >= Confidence.MEDIUM]
    assert found
    assert found[0][0] == 31_001


def test_noise_is_never_a_finding() -> None:
    """Random bytes, and grey values of every brightness: some 30 MB; the docstrings have what to expect."""
    source = random.Random(11)
    for centre in range(8, 250, 4):
        table = bytes(max(0, min(255, int(source.gauss(centre, 3 + centre % 23)))) for _ in range(256))
        raw = source.randbytes(1 << 19).translate(table)
        assert [match for _, match in Search().block(raw, 0, 0, len(raw)) if match.confidence > Confidence.LOW] == []


def test_lures_are_followed_up_to_a_cap_and_no_further() -> None:
    finder = Search()
    raw = b"<script" * (MAX_CANDIDATES_PER_BLOCK + 10)
    assert list(finder.block(raw, 500, 0, len(raw))) == []
    assert finder.gave_up_at == 500


@pytest.mark.parametrize("lure", [b"eval(atob ", b"onload= ", b"<html <head>", b"{\\rtf1 ", b"%PDF-1.4 1 0 obj "])
def test_lures_that_take_long_to_follow_are_followed_in_proportion(lure: bytes) -> None:
    raw = lure * 4000
    finder, begun = Search(), time.process_time()
    list(finder.block(raw, 0, 0, len(raw)))
    assert finder.gave_up_at is not None
    assert time.process_time() - begun < 5


def test_what_lures_hide_keeps_an_object_out() -> None:
    raw = b"onload= " * 4000 + bytes(5000)
    screened = screen_bytes(raw, transfer_syntax=TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"])
    assert "SR-LIM-001" in {each.rule.id for each in screened.findings if each.severity is Severity.HIGH}


def test_a_signature_far_from_its_dos_header_is_one_all_the_same() -> None:
    raw = bytes(LOOK_BACK_BYTES * 2) + payloads.pe_headers() + bytes(64)
    ((at, match),) = Search().block(raw, 0, 0, len(raw))
    assert at == LOOK_BACK_BYTES * 2
    assert match.confidence is Confidence.MEDIUM
