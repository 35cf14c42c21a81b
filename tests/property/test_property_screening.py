"""Screening for all bytes: it never raises, and how they are cut changes nothing."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import hidden, payloads
from harness.samples import sample_files
from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from strongroom.screen.blocks import BLOCK_BYTES
from strongroom.screen.findings import Report, Severity
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.screening import Screening, screen_bytes

SYNTAXES = (
    None,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)


@lru_cache(maxsize=1)
def small_samples() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sample_files() if path.stat().st_size < 60_000)[::4]


def in_chunks(data: bytes, cuts: list[int]) -> Report:
    screening = Screening()
    for start, stop in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        screening.feed(bytearray(data[start:stop]))
    return screening.finish()


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(st.integers(0, 1 << 22), max_size=8))
def test_any_chunking_gives_the_same_report(data: st.DataObject, cuts: list[int]) -> None:
    payload = data.draw(st.sampled_from(payloads.PAYLOADS), label="payload")
    place = data.draw(st.sampled_from(sorted(hidden.BINARY_SURFACES)), label="place")
    raw = hidden.BINARY_SURFACES[place](payload.make())
    assert in_chunks(raw, cuts) == screen_bytes(raw)


@settings(max_examples=10, deadline=None)
@given(st.integers(-4_200, 4_200), st.lists(st.integers(0, 1 << 22), max_size=4))
def test_a_program_is_found_wherever_a_block_ends(shift: int, cuts: list[int]) -> None:
    program = payloads.pe()
    at = BLOCK_BYTES + shift
    raw = bytes(at) + program + bytes(range(256)) * 32
    report = in_chunks(raw, cuts)
    assert [each.place.offset for each in report.findings if each.rule.id == "SR-PE-001"] == [at]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=6)), max_size=6))
def test_altered_files_are_judged_and_nothing_raises(data: st.DataObject, changes: list[tuple[int, bytes]]) -> None:
    raw = bytearray(data.draw(st.sampled_from(small_samples())))
    for place, piece in changes:
        start = place % max(1, len(raw))
        raw[start : start + len(piece)] = piece
    report = screen_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert all(0 <= each.place.offset <= len(raw) for each in report.findings if not each.place.inflated)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3_000), st.sampled_from(SYNTAXES))
def test_no_bytes_raise(raw: bytes, syntax: object) -> None:
    report = screen_bytes(raw, transfer_syntax=syntax)  # type: ignore[arg-type]
    assert report.size_bytes == len(raw)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=400), st.integers(0, 3))
def test_findings_never_pass_their_caps(noise: bytes, each: int) -> None:
    limits = ScreenLimits(max_findings=5, max_findings_per_rule=2, max_elements=40, min_looks=3)
    raw = b"\x08\0\x05\0CS\0\0" * 100 + noise * (each + 1)
    report = screen_bytes(raw, limits, EXPLICIT_VR_LITTLE_ENDIAN)
    assert len(report.findings) <= 5
    assert report.truncated
    assert report.at_least(Severity.LOW)
