"""The search over all bytes: every signature is of the shape that is searched for, and noise is never a finding."""

from __future__ import annotations

import random

import pytest

from harness import payloads
from strongroom.screen import search
from strongroom.screen.findings import Confidence
from strongroom.screen.search import LOOK_BACK_BYTES, MAX_CANDIDATES_PER_BLOCK, Search


@pytest.mark.parametrize("signature", sorted(search._SIGNATURES))
def test_each_signature_is_a_lead_and_three_followers(signature: bytes) -> None:
    assert search._SHAPE.fullmatch(signature.translate(search._CLASSES))


def test_the_second_byte_of_dark_pixels_is_of_no_class() -> None:
    """Or the search would follow every other pixel of a twelve-bit image."""
    leads = {byte for byte in range(16) if search._CLASSES[byte] == 1}
    assert leads == {0x0A}


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
    raw = b"<scr" * (MAX_CANDIDATES_PER_BLOCK + 10)
    assert list(finder.block(raw, 500, 0, len(raw))) == []
    assert finder.gave_up_at == 500


def test_a_signature_far_from_its_dos_header_is_one_all_the_same() -> None:
    raw = bytes(LOOK_BACK_BYTES * 2) + payloads.pe_headers() + bytes(64)
    ((at, match),) = Search().block(raw, 0, 0, len(raw))
    assert at == LOOK_BACK_BYTES * 2
    assert match.confidence is Confidence.MEDIUM
