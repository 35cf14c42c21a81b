"""Attacks on STOW-RS: a worker of a served archive says no in words, takes little memory, and stores nothing by halves.

One archive for all: it answers after each attack, holds afterwards exactly what was stored whole, and its check finds
nothing.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness import archives
from harness.archives import Credentials, RunningArchive
from harness.https import BOUNDARY, STORE_TYPE, Answer, Client, multipart, multipart_of
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, LARGE_PIXELS, Sample, visible_sop_uids
from strongroom.admin.check import check_home
from strongroom.app import Archive
from strongroom.archive.model import Action, Outcome
from strongroom.dicom.part10 import encode_file_meta
from strongroom.dicom.xmlmodel import NAMESPACE

JSON, XML = "application/dicom+json", "application/dicom+xml"
DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_GROWTH_BYTES = 24 * 2**20
MAX_METADATA_GROWTH_BYTES = 96 * 2**20
"""Metadata are held whole, and then as up to a million values."""

MIB = bytes(2**20)


def file_of(sample: Sample, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, dataset: bytes | None = None) -> bytes:
    """An instance as a DICOM file."""
    meta = encode_file_meta(CT_IMAGE_STORAGE, sample.sop_uid, syntax, "1.2.3", "TEST")
    return meta + (sample.dataset if dataset is None else dataset)


@dataclass
class Target:
    """The served archive, what it has to hold, and the memory of its worker."""

    running: RunningArchive
    stored: set[str] = field(default_factory=set)
    may_grow_bytes: int = MAX_GROWTH_BYTES

    def client(self) -> Client:
        return Client(self.running.https_port, Credentials("SENDER", self.running.home.peers / "SENDER"))

    @property
    def worker(self) -> Path:
        assert self.running.process is not None
        children = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.running.process.pid)], capture_output=True, text=True
        ).stdout
        (pid,) = re.findall(r"^ *(\d+) .*webworker", children, re.M)
        return Path("/proc") / pid

    def peak_bytes(self) -> int:
        """The most resident memory since ``forget_peak``."""
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", (self.worker / "status").read_text())
        return int(kilobytes) * 1024

    def forget_peak(self) -> int:
        (self.worker / "clear_refs").write_text("5")
        return self.peak_bytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = archives.new_home(
        tmp_path_factory.mktemp("stow") / "home", {"https": {"workers": 1}, "dicom": {"workers": 1}}
    )
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    with archives.serving(home) as running:
        target = Target(running)
        warm = [Sample(n, study=99, pixel_bytes=3_000_000) for n in range(1, 9)]
        with target.client() as client:
            assert client.store([file_of(sample) for sample in warm]).status == 200
        target.stored |= {sample.sop_uid for sample in warm}
        yield target
        with target.client() as client:
            assert client.store([file_of(Sample(1, study=98))]).status == 200
        target.stored.add(Sample(1, study=98).sop_uid)
        with archives.opened(home) as archive:
            assert visible_sop_uids(archive) == target.stored
        assert running.stop() == 0
    report = check_home(home, lambda *_: None)
    assert report.findings == ()
    assert list(home.objects.rglob("*.part")) == []


@pytest.fixture
def target(served: Target) -> Iterator[Target]:
    """The archive before an attack; afterwards the same worker answers, having used little more memory."""
    worker, before, served.may_grow_bytes = served.worker, served.forget_peak(), MAX_GROWTH_BYTES
    yield served
    assert served.worker == worker
    with served.client() as client:
        assert client.store([b"x"]).status == 400
    assert served.peak_bytes() - before < served.may_grow_bytes


def send(target: Target, body: bytes | Iterable[bytes], content_type: str = STORE_TYPE, **headers: str) -> Answer:
    """Send a body; whoever answers before its end may close while it is still being sent."""
    with target.client() as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": content_type}
        chunked = not isinstance(body, bytes)
        with suppress(BrokenPipeError, ConnectionResetError):
            client.connection.request("POST", "/dicomweb/studies", body, named, encode_chunked=chunked)
        response = client.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())


def type_of(essence: str, boundary: str = BOUNDARY) -> str:
    return f'multipart/related; type="{essence}"; boundary="{boundary}"'


GOOD = file_of(Sample(1, study=97))
HEADER = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()

BROKEN = {
    "another boundary": (multipart([GOOD]), type_of("application/dicom", "other")),
    "no boundary": (multipart([GOOD]), 'multipart/related; type="application/dicom"'),
    "a boundary too long": (multipart([GOOD]), type_of("application/dicom", "b" * 71)),
    "a boundary of other characters": (multipart([GOOD]), type_of("application/dicom", "a\\\\b\xe9")),
    "no end": (multipart([GOOD])[: -len(END)], STORE_TYPE),
    "half an end": (multipart([GOOD])[:-3][: -len("--")], STORE_TYPE),
    "an end in a header": (HEADER[:-4] + END, STORE_TYPE),
    "something behind the delimiter": (multipart([GOOD]).replace(b"frontier\r\n", b"frontier,\r\n"), STORE_TYPE),
    "line feeds only": (multipart([GOOD]).replace(b"\r\n", b"\n"), STORE_TYPE),
    "nested": (multipart_of([(f"Content-Type: {STORE_TYPE}\r\n", multipart([GOOD]))]), STORE_TYPE),
    "a message within": (multipart_of([("Content-Type: message/http\r\n", GOOD)]), STORE_TYPE),
    "a folded header": (multipart_of([("Content-Type: application/\r\n dicom\r\n", GOOD)]), STORE_TYPE),
    "two types": (multipart_of([("Content-Type: application/dicom\r\n" * 2, GOOD)]), STORE_TYPE),
    "base64": (multipart_of([("Content-Transfer-Encoding: base64\r\n", GOOD)]), STORE_TYPE),
    "no part": (END, STORE_TYPE),
    "nothing": (b"", STORE_TYPE),
    "a long preamble": (MIB + multipart([GOOD]), STORE_TYPE),
    "random bytes": (random.Random(1).randbytes(100_000), STORE_TYPE),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_multipart_body_is_refused_whole(target: Target, name: str) -> None:
    body, content_type = BROKEN[name]
    answer = send(target, body, content_type)
    assert answer.status == 400, answer.body
    assert answer.json["title"] == "Malformed request"


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (HEADER[:-2] + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n" + END, "max_part_header_bytes"),
        (HEADER[:-2] + b"".join(b"X%d: x\r\n" % n for n in range(1000)) + b"\r\n" + END, "max_part_header_fields"),
        (f"--{BOUNDARY}\r\n".encode() + MIB, "max_part_header_bytes"),
    ],
)
def test_header_floods_are_cut_off(target: Target, body: bytes, limit: str) -> None:
    answer = send(target, body)
    assert (answer.status, answer.json["limit"]) == (413, limit)


def test_a_hundred_thousand_parts_are_too_many(target: Target) -> None:
    began = time.monotonic()
    answer = send(target, multipart(b"x" for _ in range(100_000)))
    assert (answer.status, answer.json["limit"]) == (413, "max_request_parts")
    assert time.monotonic() - began < 30
    assert "stored" not in answer.json


def test_many_parts_of_rubbish_are_one_line_in_the_trail(target: Target) -> None:
    answer = send(target, multipart(b"x" for _ in range(15_000)))
    assert answer.status == 400
    assert len(answer.json["0008119A"]["Value"]) == 15_000
    with archives.opened(target.running.home) as archive:
        refused = [
            event for event in archives.trail_events(archive)
            if event.action is Action.STORE and event.outcome is Outcome.REFUSED
        ]  # fmt: skip
    assert sum(event.details.get("objects") == 15_000 for event in refused) == 1
    assert len(refused) < 200


def test_a_content_coding_is_never_undone(target: Target) -> None:
    bomb = gzip.compress(bytes(200 * 2**20), 9)
    for coding in ("gzip", "deflate", "br", "GZIP", "gzip, gzip"):
        assert send(target, bomb, content_encoding=coding).status == 415


def test_a_deflated_data_set_is_inflated_within_limits(target: Target) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = Sample(1, study=96).dataset[:-612]
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 400 * 2**20)
    bomb = squeeze.compress(head + pixels) + b"".join(squeeze.compress(MIB) for _ in range(400)) + squeeze.flush()
    answer = send(target, multipart([file_of(Sample(1, study=96), DEFLATED, bomb)]))
    assert answer.status == 409
    assert answer.json["00081198"]["Value"][0]["00091001"]["Value"] == ["over-max_inflate_ratio"]


def metadata_of(dataset: Any) -> bytes:
    return json.dumps(dataset).encode()


DEEP_JSON = b'[{"00081140":{"vr":"SQ","Value":' * 100 + b"[]" + b"}}]" * 100
DEEP_XML = (
    f'<NativeDicomModel xmlns="{NAMESPACE}">'
    + '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 400
    + "</Item></DicomAttribute>" * 400
    + "</NativeDicomModel>"
).encode()
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BILLION = (
    f'<!DOCTYPE n [<!ENTITY l0 "ha">{LAUGHS}]><NativeDicomModel xmlns="{NAMESPACE}">&l9;</NativeDicomModel>'.encode()
)
OUTSIDE = b'<!DOCTYPE n SYSTEM "file:///etc/passwd"><NativeDicomModel/>'

METADATA = {
    "billion laughs": (XML, BILLION, 400, None),
    "a file": (XML, OUTSIDE, 400, None),
    "another place": (XML, OUTSIDE.replace(b"file:///etc/passwd", b"http://127.0.0.1:9/"), 400, None),
    "a parameter entity": (XML, b'<!DOCTYPE n [<!ENTITY % e SYSTEM "file:///etc/passwd">%e;]><n/>', 400, None),
    "a processing instruction": (XML, b"<?php x?><NativeDicomModel/>", 400, None),
    "deep XML": (XML, DEEP_XML, 413, "max_element_depth"),
    "a gap of a billion values": (
        XML,
        f'<NativeDicomModel xmlns="{NAMESPACE}"><DicomAttribute tag="00100020" vr="LO"><Value number="999999999">x'
        "</Value></DicomAttribute></NativeDicomModel>".encode(),
        413,
        "max_element_count",
    ),
    "deep JSON": (JSON, b"[" * 100_000, 413, "max_element_depth"),
    "very deep JSON": (JSON, b"[" * 900_000 + b"]" * 900_000, 413, "max_element_depth"),
    "many values": (JSON, b"[" + b"[]," * 2_000_000 + b"[]]", 413, "max_metadata_values"),
    "a huge number": (JSON, b'[{"00280010":{"vr":"US","Value":[' + b"9" * 2_000_000 + b"]}}]", 400, None),
    "a member twice": (JSON, b'[{"00100020":{"vr":"LO"},"00100020":{"vr":"LO"}}]', 400, None),
    "NaN": (JSON, b'[{"00189073":{"vr":"FD","Value":[NaN]}}]', 400, None),
    "infinity": (JSON, b'[{"00189073":{"vr":"FD","Value":[1e400]}}]', 400, None),
    "no UTF-8": (JSON, b'[{"00100020":{"vr":"LO","Value":["\xff"]}}]', 400, None),
    "many instances": (JSON, b"[" + b"{}," * 400_000 + b"{}]", 413, "max_request_parts"),
    "too long": (JSON, b" " * (17 * 2**20), 413, "max_metadata_bytes"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_would_hurt_are_refused(target: Target, name: str) -> None:
    essence, text, status, limit = METADATA[name]
    target.may_grow_bytes = MAX_METADATA_GROWTH_BYTES
    for body, content_type in (
        (text, essence),
        (multipart_of([(f"Content-Type: {essence}\r\n", text)]), type_of(essence)),
    ):
        answer = send(target, body, content_type)
        assert answer.status == status, answer.body
        assert answer.json.get("limit") == limit
        assert b"root:" not in answer.body


def test_nested_data_sets_are_refused_one_by_one(target: Target) -> None:
    answer = send(target, DEEP_JSON, JSON)
    assert answer.status == 409
    assert answer.json["0008119A"]["Value"][0]["00091001"]["Value"] == ["over-max_element_depth"]


def described(uid: str, **more: Any) -> dict[str, Any]:
    return {
        "00080016": {"vr": "UI", "Value": [CT_IMAGE_STORAGE]},
        "00080018": {"vr": "UI", "Value": [uid]},
        "0020000D": {"vr": "UI", "Value": [f"{uid}.1"]},
        "0020000E": {"vr": "UI", "Value": [f"{uid}.2"]},
    } | {name.removeprefix("T"): attribute for name, attribute in more.items()}


def test_bulk_data_that_nobody_asked_for_are_not_held(target: Target) -> None:
    header = f"Content-Type: {JSON}\r\n"
    parts = [(header, metadata_of([])), *((f"Content-Location: /{n}\r\n", MIB) for n in range(200))]
    answer = send(target, multipart_of(parts), type_of(JSON))
    assert answer.status == 409
    assert len(answer.json["0008119A"]["Value"]) == 200


def test_one_part_for_many_instances_is_no_amplifier(target: Target) -> None:
    value = {"vr": "OB", "BulkDataURI": "/one"}
    datasets = [described(f"2.25.95.{n}", T00281201=value) for n in range(500)]
    parts = [(f"Content-Type: {JSON}\r\n", metadata_of(datasets)), ("Content-Location: /one\r\n", MIB)]
    answer = send(target, multipart_of(parts), type_of(JSON))
    assert answer.status == 202
    assert len(answer.json["00081199"]["Value"]) == 1
    target.stored.add("2.25.95.0")


def chunks_of(head: bytes, mebibytes: int, tail: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(mebibytes):
        yield MIB
    yield tail


@pytest.mark.parametrize("kind", ["rubbish", "dicom", "bulk"])
def test_a_body_of_any_size_takes_little_memory(target: Target, kind: str) -> None:
    size = 150
    uid = f"2.25.94.{len(kind)}"
    if kind == "rubbish":
        answer = send(target, chunks_of(HEADER, size, END))
        assert answer.status == 400
        return
    if kind == "dicom":
        sample = Sample(7, study=94)
        pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, size * 2**20)
        answer = send(target, chunks_of(HEADER + file_of(sample)[:-612] + pixels, size, END))
        target.stored.add(sample.sop_uid)
    else:
        dataset = described(uid, T7FE00010={"vr": "OW", "BulkDataURI": "/p"})
        start = multipart_of([(f"Content-Type: {JSON}\r\n", metadata_of([dataset]))]).removesuffix(END[2:])
        head = f"--{BOUNDARY}\r\nContent-Location: /p\r\nContent-Length: {size * 2**20}\r\n\r\n".encode()
        answer = send(target, chunks_of(start + head, size, END), type_of(JSON))
        target.stored.add(uid)
    assert answer.status == 200, answer.body


def send_and_leave(target: Target, body: bytes, said: int) -> None:
    """Send the first bytes of a body that was said to have more, and go."""
    with target.client() as client:
        connection = client.connection
        connection.putrequest("POST", "/dicomweb/studies")
        connection.putheader("Content-Type", STORE_TYPE)
        connection.putheader("Content-Length", str(said))
        connection.endheaders()
        connection.send(body)
        connection.sock.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            connection.sock.recv(1)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.8, 0.99])
def test_a_sender_that_goes_away_leaves_what_came_whole(target: Target, share: float) -> None:
    samples = [Sample(n, study=93, series=int(share * 100), pixel_bytes=LARGE_PIXELS) for n in range(1, 7)]
    parts = [file_of(sample) for sample in samples]
    body = multipart(parts)
    sent, behind = int(len(body) * share), 0
    whole = set()
    for sample, part in zip(samples, parts, strict=True):
        behind = body.index(part, behind) + len(part)
        if behind + len(HEADER) < sent:
            whole.add(sample.sop_uid)
    with archives.opened(target.running.home) as archive:
        before = count_incomplete(archive)
        send_and_leave(target, body[:sent], len(body))
        deadline = time.monotonic() + 20
        found: set[str] = set()
        while found != whole or count_incomplete(archive) == before:
            assert time.monotonic() < deadline, (found, whole)
            found = {uid for uid in visible_sop_uids(archive) if uid.startswith(f"{samples[0].series_uid}.")}
    target.stored |= whole


def count_incomplete(archive: Archive) -> int:
    """How often the trail says that something came in half."""
    details = [event.details for event in archives.trail_events(archive)]
    return sum(each.get("reason") == "incomplete" or each.get("reasons") == ("incomplete",) for each in details)
