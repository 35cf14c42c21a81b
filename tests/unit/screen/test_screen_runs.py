"""What is learnt of headers: whole elements, up to what varies, and no more than a memory may hold."""

from __future__ import annotations

import struct

from harness.hidden import DataSet, encode, image
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from strongroom.screen.limits import DEFAULT_LIMITS
from strongroom.screen.runs import MAX_LEARNT_BYTES, MAX_VALUE_BYTES, Known, ScreenMemory
from strongroom.screen.screening import Screening

SEQUENCE, COMMENT, BIG = 0x00081140, 0x00204000, 0x00091001


def taught(*objects: DataSet, memory: ScreenMemory | None = None) -> Known:
    memory = memory or ScreenMemory()
    for each in objects:
        screening = Screening(DEFAULT_LIMITS, EXPLICIT, memory)
        screening.feed(encode(each))
        screening.finish()
    return memory.of(EXPLICIT, DEFAULT_LIMITS)


def tags(known: Known) -> list[list[int]]:
    """Of each run the tags of its elements, in their order."""
    return sorted([element.tag for element in run.elements] for run in known.runs.values())


def test_a_header_is_one_run_up_to_the_pixels() -> None:
    known = taught(image() | {SEQUENCE: ("SQ", [{0x00081155: ("UI", b"2.25.9")}])})
    (run,) = known.runs.values()
    assert [element.tag for element in run.elements] == sorted({*image(), SEQUENCE} - {0x7FE00010})
    assert run.size_bytes == sum(map(len, run.gaps)) + sum(leaf.stop - leaf.at.offset for leaf in run.leaves)
    assert run.items == 1
    assert len(run.places) == len(run.elements) + 1
    assert not known.varying


def test_a_run_is_cut_before_what_varies_and_goes_on_behind_it() -> None:
    objects = [image() | {COMMENT: ("LT", b"x" * size)} for size in (2, 8, 4, 16)]
    known = taught(*objects)
    every = sorted({*image(), COMMENT} - {0x7FE00010})
    cut = every.index(COMMENT)
    assert tags(known) == [every[:cut], every[cut + 1 :]]
    assert known.varying == {COMMENT}


def test_a_sequence_that_varies_is_left_out_whole() -> None:
    objects = [image() | {SEQUENCE: ("SQ", [{0x00081155: ("UI", b"2.25.9" + b"1" * size)}])} for size in (0, 4, 8)]
    known = taught(*objects)
    assert known.varying == {SEQUENCE}
    assert all(SEQUENCE not in run for run in tags(known))


def test_an_element_that_is_not_always_there_ends_a_run() -> None:
    known = taught(image(), image() | {COMMENT: ("LT", b"now and then")}, image())
    assert known.varying
    assert {tag for run in tags(known) for tag in run} > set(image()) - known.varying - {0x7FE00010}


def test_long_values_and_what_is_malformed_are_not_learnt() -> None:
    known = taught(image() | {BIG: ("OB", b"\1" * (MAX_VALUE_BYTES + 2))})
    assert all(BIG not in run for run in tags(known))
    raw = encode(image()).replace(struct.pack("<HH2s", 0x10, 0x20, b"LO"), struct.pack("<HH2s", 0x10, 0x20, b"US"))
    memory = ScreenMemory()
    screening = Screening(DEFAULT_LIMITS, EXPLICIT, memory)
    screening.feed(raw)
    assert screening.finish().findings
    assert {tag for run in tags(memory.of(EXPLICIT, DEFAULT_LIMITS)) for tag in run} <= {
        tag for tag in image() if tag < 0x00100020
    }


def test_what_differs_is_found_at_its_element() -> None:
    (run,) = taught(image()).runs.values()
    for number, element in enumerate(run.elements):
        raw = bytearray(encode(image()))
        raw[element.begin] ^= 1
        assert run.same_elements(run.read_gaps(bytes(raw), 0)) == number


def test_a_memory_learns_so_much_and_no_more() -> None:
    memory = ScreenMemory()
    for number in range(400):
        private = {0x00110000 + (number << 16 & 0xE0000) + at: ("LO", b"x" * 60) for at in range(0x1000, 0x1060)}
        taught({tag + (number << 4): value for tag, value in private.items()} | image(), memory=memory)
    known = memory.of(EXPLICIT, DEFAULT_LIMITS)
    held = sum(run.size_bytes for run in known.runs.values())
    assert MAX_LEARNT_BYTES // 20 < held < MAX_LEARNT_BYTES
    before = set(known.runs)
    taught(image() | {0x00751001: ("LO", b"late")}, memory=memory)
    assert set(known.runs) <= before
