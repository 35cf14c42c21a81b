"""Retrieving over HTTPS what is damaged, enormous or lies about itself, by clients that do not behave."""

from __future__ import annotations

import http.client
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import archives
from harness.archives import Credentials, RunningArchive, add_peer, new_home, opened
from harness.https import Client, RunningHttps, serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, element, store
from strongroom.admin.peers import revoke
from strongroom.app import Archive
from strongroom.archive.ingest import Arrival
from strongroom.archive.metadata import Outliner
from strongroom.archive.model import Action, Event, Outcome, StoredObject
from strongroom.config import Home
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.types import Principal, Uid

DICOM, OCTETS = "application/dicom", "application/octet-stream"
JPEG = "1.2.840.10008.1.2.4.50"
MIB = 2**20
SOI = b"\xff\xd8\xff\xe0"
UNDEFINED = 0xFFFFFFFF
HUGE_FRAMES = 512
WAIT_S = 20.0


def head_of(number: int, frames: int = 1, *more: bytes) -> bytes:
    sop_uid = f"2.25.88.1.{number}"
    return b"".join(
        (
            element(0x00080016, "UI", CT_IMAGE_STORAGE),
            element(0x00080018, "UI", sop_uid),
            element(0x00080060, "CS", "CT"),
            element(0x00100020, "LO", "PID"),
            element(0x0020000D, "UI", "2.25.88"),
            element(0x0020000E, "UI", "2.25.88.1"),
            element(0x00280002, "US", struct.pack("<H", 1)),
            element(0x00280008, "IS", str(frames)),
            element(0x00280010, "US", struct.pack("<H", 1024)),
            element(0x00280011, "US", struct.pack("<H", 1024)),
            element(0x00280100, "US", struct.pack("<H", 8)),
            *more,
        )
    )


def take_in(archive: Archive, number: int, syntax: str, pieces: Iterator[bytes]) -> str:
    """Store an instance; returns its path."""
    sop_uid = Uid(f"2.25.88.1.{number}")
    ingest = archive.new_ingest(Arrival(CT_IMAGE_STORAGE, sop_uid, TRANSFER_SYNTAXES[syntax], Principal("CT1")))
    for piece in pieces:
        ingest.write(piece)
    ingest.commit()
    return path_of(number)


def path_of(number: int) -> str:
    return f"/studies/2.25.88/series/2.25.88.1/instances/2.25.88.1.{number}"


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def fragments(values: Iterator[bytes], table: bytes = b"") -> Iterator[bytes]:
    yield struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + item(table)
    for value in values:
        yield item(value)
    yield struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    limits = {
        "max_request_frames": 10,
        "max_request_ranges": 3,
        "max_pixel_fragments": 100,
        "max_frame_index_bytes": 8192,
        "max_inflated_bytes": 20 * MIB,
    }
    made = new_home(tmp_path / "home", {"limits": limits, "https": {"metadata_cache_mib": 1}})
    with opened(made) as archive:
        add_peer(archive, "READER")
    return made


@contextmanager
def reading(home: Home) -> Iterator[tuple[RunningHttps, Client]]:
    with serving_https(home) as served, served.client("READER") as client:
        yield served, client


def end_of(served: RunningHttps) -> Event:
    """How the last retrieval ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        events = [event for event in served.events() if event.action is Action.RETRIEVE]
        if events and events[-1].details.get("phase") == "end":
            return events[-1]
    raise AssertionError("the end of a retrieval is not in the trail")


def damage(home: Home, sop_uid: str, place: float) -> None:
    """Change a byte of a sealed object, so far into its file."""
    with opened(home) as archive:
        stored = archive.index.find_object(sop_uid)
        assert stored is not None
        path = Path(archive.blobs.path(stored.object_id))
    with path.open("r+b") as file:
        offset = int(path.stat().st_size * place)
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


# -- damaged objects


def test_a_damaged_object_among_others_cuts_the_answer_off(home: Home) -> None:
    samples = [Sample(number, pixel_bytes=3 * MIB) for number in range(1, 6)]
    with opened(home) as archive:
        for sample in samples:
            store(archive, sample)
    damage(home, samples[3].sop_uid, 0.9)
    with reading(home) as (served, client):
        with pytest.raises((http.client.IncompleteRead, ConnectionError, OSError)):
            client.request("GET", f"/studies/{samples[0].study_uid}")
        end = end_of(served)
    assert (end.outcome, end.details["reason"]) == (Outcome.FAILED, "object-damaged")
    assert end.details["remaining"] == 5 - int(str(end.details["objects"]))
    assert int(str(end.details["objects"])) >= 2


@pytest.mark.parametrize("tail", ["", "/frames/1", "/metadata", "/bulkdata/7FE00010", "/bulkdata"])
def test_a_damaged_object_alone_is_answered_with_a_problem(home: Home, tail: str) -> None:
    sample = Sample(1, pixel_bytes=100_000)
    with opened(home) as archive:
        store(archive, sample)
    damage(home, sample.sop_uid, 0.1)
    path = f"/studies/{sample.study_uid}/series/{sample.series_uid}/instances/{sample.sop_uid}{tail}"
    with reading(home) as (served, client):
        answer = client.request("GET", path)
        assert (answer.status, answer.json["title"]) == (500, "The object is damaged")
        assert end_of(served).outcome is Outcome.FAILED


# -- clients that do not behave


def test_a_client_that_goes_away_is_in_the_trail_with_what_it_got(home: Home) -> None:
    sample = Sample(1, pixel_bytes=64 * MIB)
    with opened(home) as archive:
        store(archive, sample)
    with serving_https(home) as served:
        with served.client("READER") as client:
            client.connection.request("GET", f"/dicomweb/studies/{sample.study_uid}")
            response = client.connection.getresponse()
            assert len(response.read(MIB)) == MIB
            response.close()
        end = end_of(served)
        assert (end.outcome, end.details["reason"]) == (Outcome.FAILED, "client-gone")
        assert end.details["objects"] == 0
        assert int(str(end.details["bytes"])) < 64 * MIB
        with served.client("READER") as client:
            assert client.request("HEAD", f"/studies/{sample.study_uid}").status == 200


def test_floods_of_conditions_ranges_and_frames_are_answered_at_once(home: Home) -> None:
    with opened(home) as archive:
        path = take_in(archive, 1, JPEG, iter((head_of(1, 20), *fragments(iter([SOI] * 20)))))
    with reading(home) as (_, client):
        began = time.monotonic()
        tags = ",".join(['"0"'] * 2000)
        assert client.request("GET", path, accept=DICOM + "; transfer-syntax=*", if_none_match=tags).status == 200
        assert client.request("GET", path, accept=DICOM + "; transfer-syntax=*", if_match=tags).status == 412
        ranges = ",".join(f"{start}-{start}" for start in range(0, 40, 2))
        assert client.request("GET", path, accept=DICOM + "; transfer-syntax=*", range=f"bytes={ranges}").status == 416
        assert client.request("GET", f"{path}/frames/{','.join(['1'] * 11)}").status in (400, 413)
        assert client.request("GET", f"{path}/frames/{','.join(['1'] * 10)}").status == 200
        assert time.monotonic() - began < 5


# -- pixel data that lies


def test_more_fragments_than_may_be_walked(home: Home) -> None:
    with opened(home) as archive:
        path = take_in(archive, 1, JPEG, iter((head_of(1, 2), *fragments(iter([b""] * 500)))))
    with reading(home) as (_, client):
        answer = client.request("GET", f"{path}/frames/2")
        assert (answer.status, answer.json["limit"]) == (413, "max_pixel_fragments")


def test_a_number_of_frames_beyond_all_pixels(home: Home) -> None:
    with opened(home) as archive:
        native = take_in(
            archive, 1, EXPLICIT_VR_LITTLE_ENDIAN, iter((head_of(1, 2**31 - 1), element(0x7FE00010, "OB", bytes(MIB))))
        )
        packed = take_in(archive, 2, JPEG, iter((head_of(2, 2**31 - 1), *fragments(iter([SOI + b"ab"])))))
    with reading(home) as (_, client):
        assert client.request("GET", f"{native}/frames/1").status == 200
        for path in (native, packed):
            assert client.request("GET", f"{path}/frames/2147483646").status in (400, 404)
            assert client.request("GET", f"{path}/pixeldata").status == 413
            assert client.request("GET", f"{path}/metadata").status == 200


def test_tables_that_lead_out_of_the_pixel_data(home: Home) -> None:
    values = [SOI + bytes([number]) * 4 for number in range(4)]
    extended = struct.pack("<HH2sHL", 0x7FE0, 1, b"OV", 0, 32) + struct.pack("<4Q", 0, 2**64 - 16, 2**63, 2**40)
    lengths = struct.pack("<HH2sHL", 0x7FE0, 2, b"OV", 0, 32) + struct.pack("<4Q", *[2**63] * 4)
    table = struct.pack("<4L", 0, 0xFFFFFFF0, 0xFFFFFFF8, 0xFFFFFFFF)
    with opened(home) as archive:
        path = take_in(archive, 1, JPEG, iter((head_of(1, 4, extended, lengths), *fragments(iter(values), table))))
    with reading(home) as (_, client):
        for number, value in enumerate(values, 1):
            answer = client.request("GET", f"{path}/frames/{number}", accept="image/jpeg")
            assert (answer.status, answer.body) == (200, value)


# -- objects so large that a copy in memory would be noticed


def worker_of(running: RunningArchive) -> int:
    assert running.process is not None
    number = running.process.pid
    for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
        if b"webworker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no worker")


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_large_objects_pass_in_little_memory(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"https": {"workers": 1}})
    frame = bytes(MIB)
    with opened(home) as archive:
        add_peer(archive, "READER")
        pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, HUGE_FRAMES * MIB)
        native = (head_of(1, HUGE_FRAMES), pixels, *[frame] * HUGE_FRAMES)
        take_in(archive, 1, EXPLICIT_VR_LITTLE_ENDIAN, iter(native))
        take_in(archive, 2, JPEG, iter((head_of(2, HUGE_FRAMES), *fragments(iter([SOI + frame] * HUGE_FRAMES)))))
    credentials = Credentials("READER", home.peers / "READER")
    with archives.serving(home) as running, Client(running.https_port, credentials) as client:
        worker = worker_of(running)
        assert client.request("GET", f"{path_of(1)}/metadata").status == 200
        before = most = resident_bytes(worker)
        every = ",".join(map(str, range(1, HUGE_FRAMES + 1)))
        for path, accept in (
            (path_of(1), DICOM),
            (path_of(1), "application/dicom; transfer-syntax=1.2.840.10008.1.2"),
            (f"{path_of(1)}/bulkdata/7FE00010", OCTETS),
            (f"{path_of(1)}/frames/{every}", "*/*"),
            (f"{path_of(2)}/frames/{every}", "*/*"),
            ("/studies/2.25.88", "application/zip"),
            ("/studies/2.25.88/bulkdata", "*/*"),
        ):
            client.connection.request("GET", f"/dicomweb{path}", headers={"Accept": accept})
            response = client.connection.getresponse()
            received = 0
            while piece := response.read(4 * MIB):
                received += len(piece)
                most = max(most, resident_bytes(worker))
            if response.status != 406:  # implicit VR is not for web services
                assert response.status == 200, path
                assert received >= HUGE_FRAMES * MIB
    assert most - before < 64 * MIB


def test_a_caller_who_is_revoked_while_something_is_looked_up_gets_nothing_and_the_trail_says_so(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home) as archive:
        store(archive, Sample(1))
    made = threading.Event()
    to_json = Outliner.to_json

    def slowly(outliner: Outliner, stored: StoredObject) -> bytes:
        made.wait(WAIT_S)
        return to_json(outliner, stored)

    monkeypatch.setattr(Outliner, "to_json", slowly)
    with reading(home) as (served, client):
        client.connection.request("GET", f"/dicomweb/studies/{Sample(1).study_uid}/metadata")
        while not any(event.action is Action.RETRIEVE for event in served.events()):
            pass
        with opened(home) as archive:
            revoke(archive, "READER")
        while not any(event.action is Action.AUTHENTICATION for event in served.events()):
            pass
        made.set()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.connection.getresponse()
        end = end_of(served)
    assert (end.outcome, end.details["objects"], end.details["bytes"]) == (Outcome.FAILED, 0, 0)
    assert end.details["reason"] == "caller-not-good-any-more"


def test_a_deflated_object_is_not_inflated_again_for_each_of_its_frames(home: Home) -> None:
    with opened(home) as archive:
        pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 8 * MIB) + os.urandom(MIB) * 8
        compress = zlib.compressobj(wbits=-15)
        deflated = compress.compress(head_of(1, 8) + pixels) + compress.flush()
        path = take_in(archive, 1, "1.2.840.10008.1.2.1.99", iter((deflated,)))
    with reading(home) as (_, client):
        assert client.request("GET", f"{path}/frames/1,2,3,4,5,6,7,8").status == 200
        assert client.request("GET", f"{path}/frames/2,1,4,3").status == 200
        refused = client.request("GET", f"{path}/frames/8,7,6,5,4,3,2,1")
        assert (refused.status, refused.json["limit"]) == (413, "max_inflated_bytes")
