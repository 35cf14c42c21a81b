"""STOW-RS on a worker: what is stored, what is refused and why, and what the answer says of each instance."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import archives
from harness.https import STORE_TYPE, Answer, Client, RunningHttps, multipart, multipart_of, serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, LARGE_PIXELS, Sample, visible_sop_uids
from strongroom.archive.model import Action, Outcome
from strongroom.dicom.part10 import encode_file_meta
from strongroom.dicom.xmlmodel import from_xml
from strongroom.errors import StorageUnavailable
from strongroom.store.blobs import SealedBlobStore, SealedBlobWriter
from strongroom.store.index import Index
from strongroom.web.stow import BATCH_BYTES

NO_STORAGE = "1.2.840.10008.1.3.10".ljust(len(CT_IMAGE_STORAGE), "\0")
"""A media storage directory, as many bytes long as what it takes the place of."""

LIMITS = {"max_request_bytes": 4_000_000, "max_request_parts": 50, "max_message_bytes": 1_000_000}


def file_of(sample: Sample, **meta: str) -> bytes:
    """An instance as a DICOM file; ``meta`` says otherwise what the file meta information says."""
    named = {
        "sop_class": CT_IMAGE_STORAGE,
        "sop_uid": sample.sop_uid,
        "transfer_syntax": EXPLICIT_VR_LITTLE_ENDIAN,
    } | meta
    return encode_file_meta(**named, implementation_uid="1.2.3", implementation_version="TEST") + sample.dataset


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningHttps]:
    home = archives.new_home(tmp_path / "home", {"limits": LIMITS})
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
        archives.add_peer(archive, "READER", "find,get")
    with serving_https(home) as https:
        yield https


@pytest.fixture
def client(running: RunningHttps) -> Iterator[Client]:
    with running.client("SENDER") as connection:
        yield connection


def referenced(answer: Any) -> list[str]:
    """SOP Instance UIDs of what is stored, by the answer."""
    return [item["00081155"]["Value"][0] for item in answer.json.get("00081199", {}).get("Value", [])]


def failures(answer: Any) -> dict[str, tuple[int, str]]:
    """By SOP Instance UID, "" if it has none: Failure Reason and the word."""
    items = [item for name in ("00081198", "0008119A") for item in answer.json.get(name, {}).get("Value", [])]
    return {
        item.get("00081155", {}).get("Value", [""])[0]: (item["00081197"]["Value"][0], item["00091001"]["Value"][0])
        for item in items
    }


def stores(running: RunningHttps) -> list[tuple[Outcome, str]]:
    """What the trail says of storing: outcome, and verdict or reason."""
    return [
        (event.outcome, str(event.details.get("verdict") or event.details.get("reason") or event.details["reasons"]))
        for event in running.events()
        if event.action is Action.STORE
    ]


def test_stores_all_and_says_where_they_are(running: RunningHttps, client: Client) -> None:
    samples = [Sample(n, pixel_bytes=size) for n, size in enumerate((0, 600, LARGE_PIXELS, 2 * BATCH_BYTES), 1)]
    answer = client.store([file_of(sample) for sample in samples])
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert referenced(answer) == [sample.sop_uid for sample in samples]
    root = f"https://127.0.0.1:{running.port}/dicomweb"
    assert answer.json["00081190"]["Value"] == [f"{root}/studies/{samples[0].study_uid}"]
    for item, sample in zip(answer.json["00081199"]["Value"], samples, strict=True):
        url = f"{root}/studies/{sample.study_uid}/series/{sample.series_uid}/instances/{sample.sop_uid}"
        assert item["00081190"]["Value"] == [url]
        assert item["00081150"]["Value"] == [CT_IMAGE_STORAGE]
        stored = running.archive.index.find_object(sample.sop_uid)
        assert stored is not None
        assert stored.sha256 == sample.sha256
    assert stores(running) == [(Outcome.SUCCESS, "stored")] * 4
    assert {event.principal.aet for event in running.events() if event.action is Action.STORE} == {"SENDER"}


def test_answers_in_xml_if_asked(client: Client) -> None:
    answer = client.store([file_of(Sample(1))], accept="application/dicom+xml")
    assert answer.headers["content-type"] == "application/dicom+xml"
    assert from_xml(answer.body)["00081199"]["Value"][0]["00081155"]["Value"] == [Sample(1).sop_uid]


def test_one_file_may_be_the_whole_body(running: RunningHttps, client: Client) -> None:
    sample = Sample(1, pixel_bytes=LARGE_PIXELS)
    assert client.request("POST", "/studies", file_of(sample), content_type="application/dicom").status == 200
    assert visible_sop_uids(running.archive) == {sample.sop_uid}
    assert client.request("POST", "/studies", b"x", content_type="application/dicom").status == 400
    assert stores(running)[1] == (Outcome.REFUSED, "('not-dicom',)")


def test_a_body_of_which_no_instance_ever_began_is_recorded_too(running: RunningHttps, client: Client) -> None:
    assert client.request("POST", "/studies", multipart([]), content_type=STORE_TYPE).status == 400
    assert stores(running) == [(Outcome.REFUSED, "('MalformedRequest',)")]


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 100_000])
def test_any_chunking_stores_the_same(running: RunningHttps, client: Client, chunk_bytes: int) -> None:
    samples = [Sample(1), Sample(2, pixel_bytes=600 if chunk_bytes == 1 else LARGE_PIXELS)]
    body = multipart(file_of(sample) for sample in samples)
    chunks = (body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes))
    assert client.request("POST", "/studies", chunks, content_type=STORE_TYPE).status == 200
    assert visible_sop_uids(running.archive) == {sample.sop_uid for sample in samples}


def test_each_instance_has_its_own_fate(running: RunningHttps, client: Client) -> None:
    good, other = Sample(1), Sample(2, study=5)
    assert client.store([file_of(good)]).status == 200
    altered = Sample(1, pixel_bytes=602)
    cut = file_of(Sample(9))[:-100]
    answer = client.store(
        [
            file_of(altered),
            b"no dicom" * 100,
            file_of(other),
            cut,
            file_of(Sample(4)).replace(CT_IMAGE_STORAGE.encode(), NO_STORAGE.encode()),
            file_of(Sample(5), transfer_syntax="1.2.3.4"),
            b"",
        ]
    )
    assert answer.status == 202
    assert referenced(answer) == [other.sop_uid]
    assert failures(answer) == {
        altered.sop_uid: (0xC010, "sop-instance-altered"),
        Sample(9).sop_uid: (0xC002, "a value runs past the end byte 656"),
        Sample(4).sop_uid: (0x0122, "sop-class-not-supported"),
        Sample(5).sop_uid: (0xC122, "transfer-syntax-unknown"),
        "": (0xC001, "not-dicom"),
    }
    assert visible_sop_uids(running.archive) == {good.sop_uid, other.sop_uid}
    assert (Outcome.REFUSED, "('not-dicom', 'sop-class-not-supported', 'transfer-syntax-unknown')") in stores(running)


def test_the_data_set_says_what_a_file_is(running: RunningHttps, client: Client) -> None:
    """File meta information often says what a file was before it was changed."""
    answer = client.store([file_of(Sample(1), sop_uid="1.2.3", sop_class="1.2.840.10008.5.1.4.1.1.4")])
    assert (answer.status, referenced(answer)) == (200, [Sample(1).sop_uid])
    assert visible_sop_uids(running.archive) == {Sample(1).sop_uid}


def test_the_same_again_is_a_success_and_recorded_as_such(running: RunningHttps, client: Client) -> None:
    for _ in range(2):
        assert client.store([file_of(Sample(1)), file_of(Sample(1))]).status == 200
    verdicts = sorted(word for _, word in stores(running))
    assert verdicts == ["resent"] * 3 + ["stored"]


@pytest.mark.parametrize(
    ("bodies", "status"),
    [
        ([b"junk", b"more junk" * 100], 400),
        ([file_of(Sample(1))[:400]], 400),
        ([file_of(Sample(1), transfer_syntax="1.2.3")], 409),
        ([b"junk", file_of(Sample(1), transfer_syntax="1.2.3")], 409),
    ],
)
def test_nothing_stored_is_a_failure(client: Client, bodies: list[bytes], status: int) -> None:
    answer = client.store(bodies)
    assert answer.status == status
    assert referenced(answer) == []
    assert len(failures(answer)) == len(bodies) if len(bodies) == 1 else failures(answer)


def test_a_study_takes_its_own_instances_only(running: RunningHttps, client: Client) -> None:
    own, foreign = Sample(1, study=1), Sample(2, study=2, pixel_bytes=LARGE_PIXELS)
    answer = client.store([file_of(foreign), file_of(own)], study=own.study_uid)
    assert answer.status == 202
    assert referenced(answer) == [own.sop_uid]
    assert failures(answer) == {foreign.sop_uid: (0xC014, "study-instance-uid-differs")}
    assert client.store([file_of(foreign)], study=own.study_uid).status == 409
    assert visible_sop_uids(running.archive) == {own.sop_uid}


def test_whoever_may_not_store_stores_nothing(running: RunningHttps) -> None:
    with running.client("READER") as reader:
        assert reader.store([file_of(Sample(1))]).status == 403
    assert visible_sop_uids(running.archive) == set()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": 'multipart/related; type="text/plain"; boundary=frontier'}, 415),
        ({"content_type": "multipart/form-data; boundary=frontier"}, 415),
        ({"content_type": "multipart/related"}, 400),
        ({"content_type": "multipart/related; boundary=other"}, 400),
        ({"content_type": "nonsense"}, 400),
        ({"content_encoding": "gzip"}, 415),
        ({"content_encoding": "identity, gzip"}, 415),
        ({"accept": "image/png"}, 406),
    ],
)
def test_what_is_not_taken_is_said_in_words(client: Client, headers: dict[str, str], status: int) -> None:
    answer = client.store([file_of(Sample(1))], **headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    if status == 415 and "content_encoding" not in headers:
        assert "application/dicom" in answer.json["supported"]


def test_parts_may_name_their_type_or_not(running: RunningHttps, client: Client) -> None:
    body = multipart_of(
        [
            ("", file_of(Sample(1))),
            ("Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n", file_of(Sample(2))),
            ("Content-Type: text/plain\r\n", file_of(Sample(3))),
        ]
    )
    answer = client.request("POST", "/studies", body, content_type="multipart/related; boundary=frontier")
    assert answer.status == 202
    assert visible_sop_uids(running.archive) == {Sample(1).sop_uid, Sample(2).sop_uid}


@pytest.mark.parametrize("length_is_said", [True, False])
def test_the_request_is_limited(running: RunningHttps, client: Client, length_is_said: bool) -> None:
    parts = [file_of(Sample(n, pixel_bytes=500_000)) for n in range(1, 10)]
    body: bytes | Iterable[bytes] = multipart(parts)
    if not length_is_said:
        body = iter([multipart(parts)])
    answer = client.request("POST", "/studies", body, content_type=STORE_TYPE)
    assert answer.status == 413
    assert answer.json["limit"] == "max_request_bytes"
    stored = visible_sop_uids(running.archive)
    assert len(stored) == answer.json.get("stored", 0)
    assert not length_is_said or not stored


def test_one_object_is_limited_and_the_others_stored(running: RunningHttps, client: Client) -> None:
    answer = client.store([file_of(Sample(1, pixel_bytes=1_000_000)), file_of(Sample(2))])
    assert answer.status == 202
    assert failures(answer) == {Sample(1).sop_uid: (0xC003, "over-max_message_bytes")}
    assert visible_sop_uids(running.archive) == {Sample(2).sop_uid}


def test_what_came_whole_before_the_body_broke_is_stored_and_said(running: RunningHttps, client: Client) -> None:
    whole = multipart([file_of(Sample(1)), file_of(Sample(2, pixel_bytes=LARGE_PIXELS)), file_of(Sample(3))])
    answer = client.request("POST", "/studies", whole[:-300], content_type=STORE_TYPE)
    assert answer.status == 400
    assert answer.json["stored"] == 2
    assert visible_sop_uids(running.archive) == {Sample(1).sop_uid, Sample(2).sop_uid}
    assert [word for outcome, word in stores(running) if outcome is Outcome.REFUSED] == ["('incomplete',)"]


def test_a_disk_that_fails_is_no_fault_of_the_body(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object) -> None:
        raise StorageUnavailable("no room")

    monkeypatch.setattr(SealedBlobStore, "create", fail)
    answer = client.store([file_of(Sample(1)), file_of(Sample(2))])
    assert answer.status == 503
    assert failures(answer)[Sample(1).sop_uid] == (0xA700, "StorageUnavailable")


def test_commits_of_one_request_run_side_by_side(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commits that wait for each other: with one at a time this never ends."""
    both = threading.Barrier(2, timeout=10)
    add = Index.add
    monkeypatch.setattr(Index, "add", lambda *given: both.wait() < 2 and add(*given))
    assert client.store([file_of(Sample(1)), file_of(Sample(2))]).status == 200


def test_a_slow_disk_stops_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written, little is taken from a sender that has much."""
    home = archives.new_home(tmp_path / "home")
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    disk = threading.Event()
    write = SealedBlobWriter.write
    monkeypatch.setattr(SealedBlobWriter, "write", lambda *given: disk.wait(20) and write(*given))
    body = multipart(file_of(Sample(n, pixel_bytes=1_000_000)) for n in range(1, 41))
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]
            sent += 65536

    answers: list[Answer] = []
    with serving_https(home) as running, running.client("SENDER") as client:
        request = partial(client.request, "POST", "/studies", pieces(), content_type=STORE_TYPE)
        sender = threading.Thread(target=lambda: answers.append(request()))
        sender.start()
        before = -1
        while sent != before:  # until the sender stands still
            before = sent
            sender.join(0.5)
        assert 0 < sent < 16_000_000
        disk.set()
        sender.join()
    assert [answer.status for answer in answers] == [200]
