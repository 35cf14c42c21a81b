"""Retrieving over HTTPS from a worker: what leaves, under which conditions, and what the trail says of it."""

from __future__ import annotations

import gzip
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from harness.archives import add_peer, new_home, opened
from harness.https import Client, RunningHttps, serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, LARGE_PIXELS, Sample, element, store
from strongroom.admin.deletion import delete_study
from strongroom.archive import metadata
from strongroom.archive.ingest import Arrival
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import Home
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.stream import inflated
from strongroom.pixels.pool import Pixels
from strongroom.types import Principal, Uid

DICOM, OCTETS, JSON = "application/dicom", "application/octet-stream", "application/dicom+json"
SAMPLES = [Sample(number, study=1, pixel_bytes=LARGE_PIXELS if number % 2 else 600) for number in range(1, 6)]
OTHER = Sample(1, study=2)
US_MULTIFRAME = Uid("1.2.840.10008.5.1.4.1.1.3.1")
CINE = "/studies/2.25.77.3/series/2.25.77.3.0/instances/2.25.77.3.0.1"
FRAMES = [b"\xff\xd8\xff" + bytes([number]) * 2_001 for number in range(20)]


def url(sample: Sample) -> str:
    return f"/studies/{sample.study_uid}/series/{sample.series_uid}/instances/{sample.sop_uid}"


SERIES = f"/studies/{SAMPLES[0].study_uid}/series/{SAMPLES[0].series_uid}"


def item(value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def cine() -> bytes:
    return b"".join(
        (
            element(0x00080016, "UI", US_MULTIFRAME),
            element(0x00080018, "UI", "2.25.77.3.0.1"),
            element(0x00080060, "CS", "US"),
            element(0x00100020, "LO", "PID-3"),
            element(0x0020000D, "UI", "2.25.77.3"),
            element(0x0020000E, "UI", "2.25.77.3.0"),
            element(0x00280008, "IS", str(len(FRAMES))),
            element(0x00291010, "OB", bytes(range(256)) * 20),
            struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item(b""),
            *map(item, FRAMES),
            struct.pack("<HHL", 0xFFFE, 0xE0DD, 0),
        )
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = new_home(tmp_path_factory.mktemp("retrieve") / "home")
    with opened(made) as archive:
        add_peer(archive, "READER")
        add_peer(archive, "FINDER", allow="find")
        add_peer(archive, "NARROW", scope=(f"study={OTHER.study_uid}",))
        for sample in (*SAMPLES, OTHER):
            store(archive, sample)
        syntax = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]
        ingest = archive.new_ingest(Arrival(US_MULTIFRAME, Uid("2.25.77.3.0.1"), syntax, Principal("US1")))
        ingest.write(cine())
        ingest.commit()
    return made


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[RunningHttps]:
    with serving_https(home) as running:
        yield running


@pytest.fixture
def client(served: RunningHttps) -> Iterator[Client]:
    with served.client("READER") as found:
        yield found


def last_retrieval(served: RunningHttps) -> list[Event]:
    """The events of the last retrieval: how it began and how it ended."""
    # The end is recorded behind the last byte: with the next answer on another connection it need not be there yet.
    deadline = threading.Event()
    for _ in range(200):
        events = [event for event in served.events() if event.action is Action.RETRIEVE]
        if events and events[-1].details.get("phase") == "end":
            return events[-2:]
        deadline.wait(0.01)
    raise AssertionError("the end of a retrieval is not in the trail")


# -- instances


def test_one_instance_leaves_as_it_was_stored(client: Client) -> None:
    for sample in SAMPLES:
        answer = client.request("GET", url(sample), accept=DICOM)
        assert answer.status == 200
        head = parse_file_header(answer.body)
        assert answer.body[head.data_set_offset :] == sample.dataset
        assert (head.sop_uid, head.transfer_syntax) == (sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN)
        assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN}"
        assert int(answer.headers["content-length"]) == len(answer.body)


def test_a_series_leaves_part_by_part_and_the_trail_has_it(client: Client, served: RunningHttps) -> None:
    answer = client.request("GET", SERIES)
    assert answer.status == 200
    assert all(sample.dataset in answer.body for sample in SAMPLES)
    assert answer.body.count(b"Content-Type: application/dicom; transfer-syntax=") == len(SAMPLES)
    assert int(answer.headers["content-length"]) == len(answer.body)
    begin, end = last_retrieval(served)
    assert begin.details["phase"] == "begin"
    assert begin.details["objects"] == len(SAMPLES)
    assert end.outcome is Outcome.SUCCESS
    assert (end.details["objects"], end.details["bytes"]) == (len(SAMPLES), len(answer.body))
    assert end.principal.aet == "READER"


def test_the_same_request_gives_the_same_bytes_and_then_none(client: Client, served: RunningHttps) -> None:
    for path in (SERIES, url(SAMPLES[0]), f"{SERIES}/metadata", f"{CINE}/frames/1,2", f"{CINE}/bulkdata"):
        first, again = client.request("GET", path), client.request("GET", path)
        assert first.body == again.body
        tag = first.headers["etag"]
        assert tag == again.headers["etag"]
        unchanged = client.request("GET", path, if_none_match=f'"x", {tag}')
        assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)
        assert last_retrieval(served)[1].details["bytes"] == 0
        assert client.request("GET", path, if_match='"x"').status == 412
        assert client.request("GET", path, if_match=tag).status == 200


def test_head_says_what_get_would(client: Client) -> None:
    for path in (SERIES, url(SAMPLES[0]), f"{CINE}/frames/1"):
        got, head = client.request("GET", path), client.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        for name in ("content-type", "content-length", "etag"):
            assert head.headers[name] == got.headers[name]


def test_ranges_of_an_instance(client: Client, served: RunningHttps) -> None:
    whole = client.request("GET", url(SAMPLES[0]), accept=DICOM).body
    size = len(whole)
    for first, last in ((0, 0), (100, 2000), (300, 70_000), (size - 5, size + 100), (0, size - 1)):
        part = client.request("GET", url(SAMPLES[0]), accept=DICOM, range=f"bytes={first}-{last}")
        assert (part.status, part.body) == (206, whole[first : last + 1])
        assert part.headers["content-range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    assert client.request("GET", url(SAMPLES[0]), accept=DICOM, range="bytes=-7").body == whole[-7:]
    several = client.request("GET", url(SAMPLES[0]), accept=DICOM, range="bytes=0-9,1000-1009,66000-66999")
    assert several.status == 206
    assert several.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert int(several.headers["content-length"]) == len(several.body)
    for start, stop in ((0, 10), (1000, 1010), (66_000, 67_000)):
        assert f"bytes {start}-{stop - 1}/{size}\r\n\r\n".encode() + whole[start:stop] in several.body
    beyond = client.request("GET", url(SAMPLES[0]), accept=DICOM, range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    bomb = client.request(
        "GET", url(SAMPLES[0]), accept=DICOM, range="bytes=" + ",".join(f"{n}-{n}" for n in range(0, 900, 2))
    )
    assert bomb.status == 416
    assert last_retrieval(served)[1].details["bytes"] == 0
    # Of many parts there are no ranges.
    assert client.request("GET", SERIES, range="bytes=0-9").status == 200


def test_what_cannot_be_sent_is_said_with_what_can(client: Client, served: RunningHttps) -> None:
    refused = client.request("GET", SERIES, accept="image/png")
    assert refused.status == 406
    assert any("application/dicom" in each for each in refused.json["available"])
    other = client.request("GET", SERIES, accept='multipart/related; type="application/dicom"; transfer-syntax=1.2.3')
    assert other.status == 406


def test_implicit_vr_is_sent_where_it_is_asked_for(client: Client) -> None:
    answer = client.request("GET", url(SAMPLES[1]), accept="application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert answer.status == 200
    compressed = client.request("GET", CINE, accept="application/dicom; transfer-syntax=*")
    assert parse_file_header(compressed.body).transfer_syntax == "1.2.840.10008.1.2.4.50"


def test_a_zip_archive_of_a_study(client: Client) -> None:
    answer = client.request("GET", f"/studies/{SAMPLES[0].study_uid}", accept="application/zip")
    assert answer.status == 200
    assert answer.body.startswith(b"PK\3\4")
    assert all(sample.dataset in answer.body for sample in SAMPLES)


@pytest.mark.parametrize("tail", ["", "/metadata", "/frames/1", "/bulkdata", "/bulkdata/7FE00010", "/pixeldata"])
def test_who_may_not_learns_nothing(served: RunningHttps, tail: str) -> None:
    path = url(SAMPLES[0]) + tail
    with served.client("FINDER") as finder, served.client("NARROW") as narrow:
        assert finder.request("GET", path).status == 403
        hidden, absent = narrow.request("GET", path), narrow.request("GET", url(Sample(99, study=9)) + tail)
        assert (hidden.status, hidden.body) == (absent.status, absent.body) == (404, absent.body)
        if tail not in ("/frames/1", "/pixeldata"):
            assert narrow.request("GET", url(OTHER) + tail.replace("/bulkdata/7FE00010", "")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2.3",
        f"/studies/{SAMPLES[0].study_uid}/series/1.2.3",
        f"/studies/{OTHER.study_uid}/series/{SAMPLES[0].series_uid}",  # of another study
        f"/studies/{OTHER.study_uid}/series/{SAMPLES[0].series_uid}/instances/{SAMPLES[0].sop_uid}",
        f"/studies/{SAMPLES[0].study_uid}/series/{SAMPLES[0].series_uid}/instances/{OTHER.sop_uid}",
    ],
)
def test_what_is_not_there_under_that_name(client: Client, path: str) -> None:
    for tail in ("", "/metadata", "/bulkdata"):
        assert client.request("GET", path + tail).status == 404


# -- metadata


def test_metadata_names_its_bulk_data_and_that_can_be_had(client: Client) -> None:
    answer = client.request("GET", f"{CINE}/metadata", accept=JSON)
    (metadata,) = answer.json
    assert metadata["00280008"] == {"vr": "IS", "Value": [len(FRAMES)]}
    private, pixels = metadata["00291010"]["BulkDataURI"], metadata["7FE00010"]["BulkDataURI"]
    root = private[: private.index("/studies")]
    value = client.request("GET", private.removeprefix(root), accept="*/*")
    assert (value.headers["content-type"], value.body) == (OCTETS, bytes(range(256)) * 20)
    part = client.request("GET", private.removeprefix(root), accept="*/*", range="bytes=250-260,1000-1003")
    assert part.status == 206
    assert (bytes(range(256)) * 20)[250:261] in part.body
    frames = client.request("GET", pixels.removeprefix(root))
    assert frames.body.count(b"Content-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50") == len(FRAMES)


def test_metadata_of_a_series_is_that_of_its_instances(client: Client) -> None:
    series = client.request("GET", f"{SERIES}/metadata", accept=JSON).json
    again = client.request("GET", f"{SERIES}/metadata", accept=JSON, accept_encoding="gzip")
    assert again.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(again.body)) == series
    single = [client.request("GET", f"{url(sample)}/metadata", accept=JSON).json[0] for sample in SAMPLES]
    assert series == single
    assert {each["00080018"]["Value"][0] for each in series} == {sample.sop_uid for sample in SAMPLES}


def test_metadata_holds_what_came_later_and_nothing_of_what_was_deleted(home: Home, client: Client) -> None:
    first, second = Sample(1, study=5), Sample(2, study=5)
    path = f"/studies/{first.study_uid}/metadata"
    with opened(home) as archive:
        store(archive, first)
        store(archive, Sample(3, study=5, series=1))
        assert len(client.request("GET", path).json) == 2
        store(archive, second)
        assert len(client.request("GET", path).json) == 3
        stored = archive.index.find_object(first.sop_uid)
        assert stored is not None
        kept = home.metadata / stored.key.key_id.hex()
        assert any(kept.iterdir())
        delete_study(archive, first.study_uid, "a test", lambda _done, _of: None)
        assert not kept.exists()
    assert client.request("GET", path).status == 404


# -- frames and bulk data


def test_frames_leave_in_the_order_in_which_they_are_named(client: Client, served: RunningHttps) -> None:
    answer = client.request("GET", f"{CINE}/frames/20,1,7,7")
    assert answer.status == 200
    places = [answer.body.index(b"\r\n\r\n" + FRAMES[number - 1]) for number in (20, 1, 7)]
    assert places == sorted(places)
    assert answer.body.count(FRAMES[6]) == 2
    assert answer.body.count(f"{CINE}/frames/7\r\n".encode()) == 2
    assert last_retrieval(served)[0].details["frames"] == 4


def test_a_frame_alone_and_as_mere_bytes(client: Client) -> None:
    frame = FRAMES[2] + b"\0" * (len(FRAMES[2]) % 2)
    alone = client.request("GET", f"{CINE}/frames/3", accept="image/jpeg")
    assert (alone.headers["content-type"], alone.body) == ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", frame)
    octets = client.request("GET", f"{CINE}/frames/3", accept=f"{OCTETS}; transfer-syntax=*", range="bytes=1-4")
    assert (octets.status, octets.body) == (206, frame[1:5])
    assert client.request("GET", f"{CINE}/frames/3", accept="image/jp2; transfer-syntax=1.2.3").status == 406


def test_native_frames_are_bytes(client: Client) -> None:
    # Its attributes do not say how large a frame is: it is what there is.
    answer = client.request("GET", f"{url(SAMPLES[0])}/frames/1", accept=OCTETS)
    assert SAMPLES[0].dataset.endswith(answer.body)
    assert len(answer.body) == LARGE_PIXELS
    assert client.request("GET", f"{url(SAMPLES[0])}/frames/2").status == 404


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ("0", 400),
        ("21", 404),
        ("1,21", 404),
        ("-1", 400),
        ("1-3", 400),
        ("1,,2", 400),
        ("x", 400),
        ("1.0", 400),
        ("99999999999999999999", 400),
        ("\u0661", 400),
        (",".join(["1"] * 5000), 400),
        (",".join(map(str, range(1, 100_001))), 414),
    ],
)
def test_frame_lists_that_are_none(client: Client, frames: str, status: int) -> None:
    from urllib.parse import quote

    answer = client.request("GET", f"{CINE}/frames/{quote(frames, safe=',')}")
    assert answer.status == status


@pytest.mark.parametrize(
    "path",
    [
        "00080018",  # inline
        "00100020",
        "7FE00011",
        "7fe00010",
        "00291010/1/00080018",
        "00080018/1",
        "7FE00010/../00100010",
        "%2e%2e/metadata",
        "0" * 5000,
    ],
)
def test_nothing_is_bulk_data_that_metadata_does_not_name(client: Client, path: str) -> None:
    assert client.request("GET", f"{CINE}/bulkdata/{path}").status in (400, 404)


@pytest.mark.parametrize("way", ["rs", "uri"])
def test_who_needs_a_pixel_worker_waits_where_no_reader_waits(
    client: Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    threads: list[str] = []

    def transcode(*_: object) -> Iterator[bytes]:
        threads.append(threading.current_thread().name)
        yield b"transcoded"

    monkeypatch.setattr(Pixels, "transcode", transcode)
    sample, rle = SAMPLES[0], "1.2.840.10008.1.2.5"
    uids = f"studyUID={sample.study_uid}&seriesUID={sample.series_uid}&objectUID={sample.sop_uid}"
    if way == "uri":
        path = f"/wado?requestType=WADO&{uids}&contentType=application/dicom&transferSyntax={rle}"
        answer = client.request("GET", path)
    else:
        answer = client.request("GET", url(sample), accept=f"{DICOM}; transfer-syntax={rle}")
    assert answer.body.endswith(b"transcoded")
    assert [name.rpartition("_")[0] for name in threads] == ["https-pixels"]


def test_a_deflated_object_is_inflated_once_for_all_its_bulk_data(
    home: Home, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [bytes([number]) * 5_000 for number in range(1, 9)]
    private = [element(0x00291010 + number, "OB", value) for number, value in enumerate(values)]
    sample = Sample(1, study=9)
    packer = zlib.compressobj(wbits=-15)
    before_pixels = sample.dataset.index(struct.pack("<HH", 0x7FE0, 0x0010))
    plain = sample.dataset[:before_pixels] + b"".join(private) + sample.dataset[before_pixels:]
    with opened(home) as archive:
        syntax = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1.99"]
        ingest = archive.new_ingest(Arrival(CT_IMAGE_STORAGE, sample.sop_uid, syntax, Principal("CT1")))
        ingest.write(packer.compress(plain) + packer.flush())
        ingest.commit()
    inflations: list[object] = []

    def counted(*arguments: Any) -> Any:
        inflations.append(arguments)
        return inflated(*arguments)

    monkeypatch.setattr(metadata, "inflated", counted)
    answer = client.request("GET", f"{url(sample)}/bulkdata")
    assert all(value in answer.body for value in values)
    assert len(inflations) == 2, "once to find them, and once to send them"


def test_all_bulk_data_of_a_series(client: Client) -> None:
    answer = client.request("GET", f"{SERIES}/bulkdata")
    assert answer.status == 200
    assert answer.body.count(b"/bulkdata/7FE00010\r\n") == len(SAMPLES)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/octet-stream"')
    cine_data = client.request("GET", f"{CINE}/bulkdata").body
    assert bytes(range(256)) * 20 in cine_data
    assert all(frame in cine_data for frame in FRAMES)
