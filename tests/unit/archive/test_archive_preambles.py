"""What stands before the data set of a file is not kept, and looked at all the same: by every way that takes files.

That is its preamble, and what its File Meta Information has that nobody needs (PS3.10 7.1).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import Sample, arrival_of, visible_sop_uids
from harness.media import part10, take_in
from harness.web import multipart
from strongroom.admin.importing import Fate
from strongroom.app import Archive
from strongroom.archive.ingest import Arrival, Incoming
from strongroom.archive.model import Action
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.errors import Quarantined
from strongroom.types import Right
from strongroom.web.multipart import MultipartLimits, MultipartReader
from strongroom.web.storing import DicomParts, Door
from unit.serving.test_serving_farstore import Pair

Stow = Callable[[Sample, bytes], Exception | None]
DOS_HEADER = bytes.fromhex("4d5a90000300000004000000ffff0000b80000000000000040000000")
ELF_HEADER = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
PE_HEADER = b"PE\0\0" + struct.pack("<HHIIIHHH", 0x8664, 1, 0, 0, 0, 0xF0, 0x22, 0x20B).ljust(300, b"\0")
PROGRAMS = {
    "SR-SCRIPT-001": b"#!/bin/sh\nid\nexit 0\n",
    "SR-PE-002": DOS_HEADER.ljust(60, b"\0") + struct.pack("<I", 0x400),
    "SR-ELF-001": b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + ELF_HEADER,
}
HARMLESS = {"text": b"written by a modality", "tiff": struct.pack("<2sHI", b"II", 42, 8).ljust(100, b"\1")}


def with_preamble(sample: Sample, preamble: bytes, private: bytes = b"") -> bytes:
    """The sample as a file; ``private`` becomes Private Information (0002,0102)."""
    file = part10(sample)
    assert file[:132] == bytes(128) + b"DICM"
    creator = struct.pack("<HH2sH", 2, 0x100, b"UI", 8) + b"1.2.3.4\0"
    information = struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, len(private)) + private
    meta = file[128 : -len(sample.dataset)] + (creator + information if private else b"")
    return preamble.ljust(128, b"\0") + meta + sample.dataset


def hidden(rule: str) -> bytes:
    """A file with what the rule is about in front of its data set."""
    if rule != "SR-PE-001":
        return with_preamble(Sample(1), PROGRAMS[rule])
    # Windows looks at these two fields alone; the rest of the program is in the File Meta Information.
    head = len(with_preamble(Sample(1), b"", b"x")) - len(Sample(1).dataset) - 1
    return with_preamble(Sample(1), b"MZ".ljust(60, b"\0") + struct.pack("<I", head), PE_HEADER)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home")) as made:
        yield made


@pytest.fixture(params=["here", "elsewhere"])
def stow(archive: Archive, request: pytest.FixtureRequest) -> Iterator[Stow]:
    pair = Pair(archive)
    new_ingest: Callable[[Arrival], Incoming] = archive.new_ingest
    if request.param == "elsewhere":
        new_ingest = pair.store.new_ingest

    def send(sample: Sample, file: bytes) -> Exception | None:
        headers, body = multipart([("application/dicom", file)])
        boundary = headers["Content-Type"].rpartition("boundary=")[2].strip('"').encode()
        who = replace(arrival_of(sample).principal, rights=frozenset({Right.STORE}))
        door = Door(new_ingest, archive.reader, who, STORAGE_SOP_CLASSES)
        parts = DicomParts(door, MultipartReader(boundary, MultipartLimits(10, 16384, 32)))
        parts.feed(body)
        parts.finish()
        (complete,) = parts.complete
        complete.settle()
        return complete.fate.failure

    with closing(pair.store):
        yield send


@pytest.mark.parametrize("rule", [*PROGRAMS, "SR-PE-001"])
def test_a_program_in_an_upload_is_held(archive: Archive, stow: Stow, rule: str) -> None:
    failure = stow(Sample(1), hidden(rule))
    assert isinstance(failure, Quarantined)
    assert not visible_sop_uids(archive)
    (held,) = [event for event in trail_events(archive) if event.action is Action.QUARANTINE]
    assert rule in held.details["rules"]
    assert [event.action for event in trail_events(archive)].count(Action.ALERT) == 1
    (entry,) = archive.quarantine.entries()
    assert entry.id == failure.quarantine_id


@pytest.mark.parametrize("rule", [*PROGRAMS, "SR-PE-001"])
def test_a_program_on_media_is_held(archive: Archive, tmp_path: Path, rule: str) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(hidden(rule))
    tally, _ = take_in(archive, path)
    assert tally.counts[Fate.QUARANTINED] == 1
    assert not visible_sop_uids(archive)


@pytest.mark.parametrize("preamble", [bytes(128), *HARMLESS.values()], ids=["zeros", *HARMLESS])
def test_what_is_no_program_is_stored_and_not_kept(archive: Archive, stow: Stow, preamble: bytes) -> None:
    sample = Sample(1)
    assert stow(sample, with_preamble(sample, preamble)) is None
    found = archive.index.find_object(sample.sop_uid)
    assert found is not None
    with closing(archive.reader.open(found)) as blob:
        assert b"".join(blob.chunks()) == sample.dataset
    assert not [event for event in trail_events(archive) if event.action is Action.ALERT]


def test_who_is_released_is_not_asked_again(archive: Archive) -> None:
    sample = Sample(1)
    ingest = archive.new_ingest(
        replace(arrival_of(sample), file_header=PROGRAMS["SR-SCRIPT-001"].ljust(128, b"\0") + b"DICM", is_released=True)
    )
    ingest.write(sample.dataset)
    ingest.commit()
    assert visible_sop_uids(archive) == {sample.sop_uid}
