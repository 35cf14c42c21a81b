"""Fragments, their offset tables, and what a compressed frame holds beside the picture."""

from __future__ import annotations

import struct

import pytest

from harness import hidden, payloads
from strongroom.screen.codestreams import extra_parts
from strongroom.screen.findings import Report
from strongroom.screen.pixeldata import Fragments
from strongroom.screen.screening import screen_bytes


def screened(*items: bytes, syntax: str = hidden.JPEG) -> Report:
    raw = hidden.encode(hidden.image(hidden.Fragments(items)))
    return screen_bytes(hidden.file_of(raw, syntax))


def fragments(table: bytes) -> Fragments:
    made = Fragments()
    made.table = table
    made.items.extend([1_000, 1_200, 1_500])
    return made


@pytest.mark.parametrize("offsets", [(), (0,), (0, 200, 500), (0, 500)])
def test_a_table_that_leads_to_fragments_is_right(offsets: tuple[int, ...]) -> None:
    assert fragments(struct.pack(f"<{len(offsets)}L", *offsets)).table_error("<") == ""


WRONG_TABLES = [b"abc", struct.pack("<2L", 0, 201), struct.pack("<2L", 200, 0), struct.pack("<L", 200)]


@pytest.mark.parametrize("table", WRONG_TABLES)
def test_one_that_does_not_is_said(table: bytes) -> None:
    assert fragments(table).table_error("<")


def test_a_wrong_offset_table_is_a_finding() -> None:
    report = screened(struct.pack("<2L", 0, 77), hidden.jpeg())
    assert report.counts == {"SR-PIX-004": 1}


def test_what_lies_behind_the_end_of_the_image_is_found() -> None:
    stream = hidden.jpeg()
    (part,) = [part for part in extra_parts(stream + payloads.elf()) if part.kind == "behind"]
    assert part.start == len(stream.rstrip(b"\0"))
    report = screened(b"", stream + payloads.elf())
    assert {"SR-ELF-001", "SR-PIX-005"} <= set(report.counts)
    assert all(each.place.path == "(7FE0,0010)[2]" for each in report.findings)


@pytest.mark.parametrize("stream", [hidden.jpeg(), hidden.jpeg_ls(), hidden.jpeg_2000(), hidden.jpeg_2000(boxes=True)])
def test_a_clean_code_stream_has_nothing_beside_it(stream: bytes) -> None:
    assert [part for part in extra_parts(stream) if part.kind == "behind"] == []


def test_every_prefix_of_a_code_stream_is_judged_without_an_error() -> None:
    for stream in (hidden.jpeg(), hidden.jpeg_2000(boxes=True)):
        for length in range(min(len(stream), 700)):
            list(extra_parts(stream[:length]))
