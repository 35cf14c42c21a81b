"""STOW-RS of metadata and bulk data on a worker: instances put together, and parts that do not fit together."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from harness import archives
from harness.https import BOUNDARY, Answer, Client, RunningHttps, multipart_of, serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, visible_sop_uids
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.jsonmodel import tree_to_json
from strongroom.dicom.tree import parse_dataset
from strongroom.dicom.xmlmodel import to_xml

JSON, XML = "application/dicom+json", "application/dicom+xml"
JPEG = "1.2.840.10008.1.2.4.50"
LIMITS = {"max_held_bulk_bytes": 100_000, "max_metadata_bytes": 50_000, "max_metadata_values": 2000}
ROWS, COLUMNS = 200, 300
PIXELS = bytes(range(256)) * (ROWS * COLUMNS * 2 // 256) + bytes(ROWS * COLUMNS * 2 % 256)

Part = tuple[str, bytes]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHttps]:
    home = archives.new_home(tmp_path_factory.mktemp("metadata") / "home", {"limits": LIMITS})
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    with serving_https(home) as https:
        yield https


@pytest.fixture
def client(running: RunningHttps) -> Iterator[Client]:
    with running.client("SENDER") as connection:
        yield connection


@pytest.fixture
def uid(request: pytest.FixtureRequest) -> str:
    """A SOP Instance UID of this test's own."""
    return f"2.25.{abs(hash(request.node.nodeid))}"


def described(uid: str, **more: Any) -> dict[str, Any]:
    """Metadata of an instance; ``more`` are attributes by their tag, with a T before it."""
    dataset: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": [CT_IMAGE_STORAGE]},
        "00080018": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
        "00100020": {"vr": "LO", "Value": ["PID"]},
        "0020000D": {"vr": "UI", "Value": [f"{uid}.1"]},
        "0020000E": {"vr": "UI", "Value": [f"{uid}.2"]},
        "00280010": {"vr": "US", "Value": [ROWS]},
        "00280011": {"vr": "US", "Value": [COLUMNS]},
        "00280100": {"vr": "US", "Value": [16]},
    }
    return dataset | {name.removeprefix("T"): attribute for name, attribute in more.items()}


def bulk(uri: str, data: bytes, content_type: str = "application/octet-stream", more: str = "") -> Part:
    return f"Content-Type: {content_type}\r\nContent-Location: {uri}\r\n{more}", data


def metadata(*datasets: dict[str, Any]) -> Part:
    return f"Content-Type: {JSON}\r\n", json.dumps(datasets).encode()


def send(client: Client, parts: Sequence[Part], essence: str = JSON, path: str = "/studies") -> Answer:
    content_type = f'multipart/related; type="{essence}"; boundary={BOUNDARY}'
    return client.request("POST", path, multipart_of(parts), content_type=content_type)


def reasons(answer: Answer) -> list[str]:
    items = [item for name in ("00081198", "0008119A") for item in answer.json.get(name, {}).get("Value", [])]
    return [item["00091001"]["Value"][0] for item in items]


def stored(running: RunningHttps, uid: str) -> tuple[str, dict[str, Any]]:
    """Transfer syntax of what is stored, and what it says."""
    found = running.archive.index.find_object(uid)
    assert found is not None
    with closing(running.archive.reader.open(found)) as reader:
        raw = b"".join(reader.chunks())
    syntax = TRANSFER_SYNTAXES[found.transfer_syntax]
    return found.transfer_syntax, tree_to_json(parse_dataset(raw, syntax), (), syntax, max_inline_bytes=1 << 30)


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


PIXEL_URI = {"vr": "OW", "BulkDataURI": "/pixels"}


@pytest.mark.parametrize("more", ["", f"Content-Length: {len(PIXELS)}\r\n"])
def test_metadata_and_pixels_become_one_instance(running: RunningHttps, client: Client, uid: str, more: str) -> None:
    """The pixel data are more than may be held: they have flowed through."""
    assert len(PIXELS) > LIMITS["max_held_bulk_bytes"]
    answer = send(client, [metadata(described(uid, T7FE00010=PIXEL_URI)), bulk("/pixels", PIXELS, more=more)])
    assert answer.status == 200, answer.body
    syntax, dataset = stored(running, uid)
    assert syntax == EXPLICIT_VR_LITTLE_ENDIAN
    expected = described(uid, T7FE00010={"vr": "OW", "InlineBinary": inline(PIXELS)})
    assert dataset == expected | {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}


def test_inline_binary_needs_no_parts(running: RunningHttps, client: Client, uid: str) -> None:
    dataset = described(uid, T7FE00010={"vr": "OW", "InlineBinary": inline(b"12345678")})
    for path in ("/studies", f"/studies/{uid}.1"):
        answer = client.request("POST", path, json.dumps([dataset]).encode(), content_type=JSON)
        assert answer.status == 200, answer.body
    assert stored(running, uid)[1]["7FE00010"]["InlineBinary"] == inline(b"12345678")
    assert client.request("POST", "/studies/1.2.3", json.dumps([dataset]).encode(), content_type=JSON).status == 409


def test_several_instances_and_values_in_any_order(running: RunningHttps, client: Client, uid: str) -> None:
    table = {"vr": "OW", "BulkDataURI": "/table"}
    first = described(uid, T00281201=table, T7FE00010=PIXEL_URI)
    second = described(
        f"{uid}.9", T00880200={"vr": "SQ", "Value": [{"7FE00010": {"vr": "OB", "BulkDataURI": "/icon"}}]}
    )
    third = described(f"{uid}.10")
    parts = [
        metadata(first, second, third),
        bulk("/icon", b"icon!"),
        bulk("/table", b"table?"),
        bulk("/pixels", PIXELS),
    ]
    answer = send(client, parts)
    assert answer.status == 200, answer.body
    assert stored(running, uid)[1]["00281201"]["InlineBinary"] == inline(b"table?")
    icon = stored(running, f"{uid}.9")[1]["00880200"]["Value"][0]["7FE00010"]
    assert icon == {"vr": "OB", "InlineBinary": inline(b"icon!\0")}
    assert stored(running, f"{uid}.10")


def test_xml_metadata_may_come_before_or_after(running: RunningHttps, client: Client, uid: str) -> None:
    small = b"1234"
    first = described(uid, T7FE00010={"vr": "OW", "BulkDataURI": "/a"})
    second = described(f"{uid}.9", T7FE00010={"vr": "OW", "BulkDataURI": "/b"})
    header = f"Content-Type: {XML}\r\n"
    parts = [(header, to_xml(first)), bulk("/b", small), (header, to_xml(second)), bulk("/a", PIXELS)]
    answer = send(client, parts, XML)
    assert answer.status == 200, answer.body
    assert stored(running, uid)[1]["7FE00010"]["InlineBinary"] == inline(PIXELS)
    assert stored(running, f"{uid}.9")[1]["7FE00010"]["InlineBinary"] == inline(small)
    assert client.request("POST", "/studies", to_xml(described(uid + ".3")), content_type=XML).status == 200


@pytest.mark.parametrize(
    ("content_type", "syntax"),
    [
        (f"image/jpeg; transfer-syntax={JPEG}", JPEG),
        ("image/jpeg", "1.2.840.10008.1.2.4.70"),
        ("image/jls", "1.2.840.10008.1.2.4.80"),
        ("video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.102"),
    ],
)
def test_compressed_pixels_are_encapsulated(
    running: RunningHttps, client: Client, uid: str, content_type: str, syntax: str
) -> None:
    frames = {"vr": "IS", "Value": [5 if content_type.startswith("video") else 1]}
    dataset = described(uid, T00280008=frames, T7FE00010={"vr": "OB", "BulkDataURI": "/j"})
    answer = send(client, [metadata(dataset), bulk("/j", b"\xff\xd8jpeg\xff\xd9!", content_type)])
    assert answer.status == 200, answer.body
    found, said = stored(running, uid)
    assert found == syntax
    fragments = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\x0a\0\0\0" + b"\xff\xd8jpeg\xff\xd9!\0"
    assert said["7FE00010"] == {"vr": "OB", "InlineBinary": inline(fragments)}


@pytest.mark.parametrize(
    ("content_type", "frames", "reason"),
    [
        ("image/jpeg", 2, "bulk-data-of-several-frames"),
        ("image/jpeg; transfer-syntax=1.2.3", 1, "transfer-syntax-unknown"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.2", 1, "transfer-syntax-unknown"),
    ],
)
def test_pixels_that_cannot_be_encapsulated_are_refused(
    running: RunningHttps, client: Client, uid: str, content_type: str, frames: int, reason: str
) -> None:
    dataset = described(uid, T00280008={"vr": "IS", "Value": [frames]}, T7FE00010=PIXEL_URI)
    answer = send(client, [metadata(dataset), bulk("/pixels", b"jpeg", content_type)])
    assert (answer.status, reasons(answer)) == (409, [reason])


OUTSIDE = [
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "https://example.org/x",
    "../../x",
    "/other",
    "cid:x",
    "\\\\h\\x",
]


@pytest.mark.parametrize("uri", OUTSIDE)
def test_a_uri_that_is_no_part_is_never_followed(running: RunningHttps, client: Client, uid: str, uri: str) -> None:
    answer = send(client, [metadata(described(uid, T7FE00010={"vr": "OW", "BulkDataURI": uri}))])
    assert (answer.status, reasons(answer)) == (409, ["bulk-data-missing"])
    assert uid not in visible_sop_uids(running.archive)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([bulk("/pixels", PIXELS[:-2])], "bulk-data-length"),
        ([bulk("/pixels", PIXELS + b"xx")], "bulk-data-length"),
        ([bulk("/pixels", PIXELS, more="Content-Length: 5\r\n")], "bulk-data-length"),
        ([bulk("/other", b"x")], "bulk-data-missing"),
        ([], "bulk-data-missing"),
    ],
)
def test_bulk_data_that_do_not_fit_are_refused(
    running: RunningHttps, client: Client, uid: str, parts: list[Part], reason: str
) -> None:
    answer = send(client, [metadata(described(uid, T7FE00010=PIXEL_URI)), *parts])
    assert answer.status == 409
    assert reasons(answer)[0] == reason
    assert uid not in visible_sop_uids(running.archive)


def test_one_part_belongs_to_one_value(running: RunningHttps, client: Client, uid: str) -> None:
    value = {"vr": "OB", "BulkDataURI": "/a"}
    twice = described(uid, T00281201=value, T00281202=value)
    other, another = described(uid + ".3", T00281201=value), described(uid + ".4", T00281201=value)
    answer = send(client, [metadata(twice, other, another), bulk("/a", b"1234")])
    assert answer.status == 202
    assert reasons(answer) == ["bulk-data-named-twice"] * 2
    assert stored(running, uid + ".3")[1]["00281201"]["InlineBinary"] == inline(b"1234")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [bulk("/a", b"x")],
        [metadata(), metadata()],
        [(f"Content-Type: {JSON}\r\n", b"[")],
        [(f"Content-Type: {JSON}\r\n", b'[{"00100020": {"vr": "LO"}, "00100020": {"vr": "LO"}}]')],
        [metadata(), bulk("/a", b"x"), bulk("/a", b"y")],
        [metadata(), ("Content-Type: application/octet-stream\r\n", b"x")],
        [metadata(), bulk("/a", b"x", "nonsense")],
    ],
)
def test_a_message_that_does_not_hold_together_is_refused(client: Client, parts: list[Part]) -> None:
    answer = send(client, parts)
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/problem+json"


def test_each_data_set_has_its_own_fate(running: RunningHttps, client: Client, uid: str) -> None:
    good = described(uid)
    no_class = {name: value for name, value in described(uid + ".3").items() if name != "00080016"}
    odd = described("not a uid")
    wrong = described(uid + ".4", T00100020={"vr": "LO", "Value": [5]})
    unknown = described(uid + ".5", T00080016={"vr": "UI", "Value": ["1.2.3"]})
    answer = send(client, [metadata(good, no_class, odd, wrong, unknown), bulk("/nobody", b"x")])
    assert answer.status == 202
    assert sorted(reasons(answer)) == [
        "a value that its VR cannot have at (0010,0020)",
        "bulk-data-not-asked-for",
        "sop-class-not-supported",
        "sop-class-uid-missing",
        "sop-instance-uid-invalid",
    ]
    assert b"not a uid" not in answer.body
    assert stored(running, uid)


@pytest.mark.parametrize(
    ("parts", "limit"),
    [
        ([metadata(described("1.2.3", T00104000={"vr": "LT", "Value": ["x" * 60_000]}))], "max_metadata_bytes"),
        ([metadata(described("1.2.3", T00283006={"vr": "US", "Value": [0] * 3000}))], "max_metadata_values"),
        (
            [metadata(described("1.2.3", T00281201={"vr": "OW", "BulkDataURI": "/t"})), bulk("/t", bytes(100_001))],
            "max_held_bulk_bytes",
        ),
    ],
)
def test_limits_have_their_names(client: Client, parts: list[Part], limit: str) -> None:
    answer = send(client, parts)
    assert (answer.status, answer.json.get("limit")) == (413, limit)


def test_what_is_held_is_let_go_with_its_instance(running: RunningHttps, client: Client, uid: str) -> None:
    """Three times what may be held at once, one after the other."""
    value = {"vr": "OW", "BulkDataURI": ""}
    datasets = [described(f"{uid}.{n}", T00281201=value | {"BulkDataURI": f"/{n}"}) for n in range(3, 9)]
    answer = send(client, [metadata(*datasets), *(bulk(f"/{n}", bytes(60_000)) for n in range(3, 9))])
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_body_that_breaks_off_leaves_nothing_half(
    running: RunningHttps, client: Client, uid: str, keep: float
) -> None:
    parts = [
        metadata(
            described(uid, T7FE00010=PIXEL_URI),
            described(uid + ".3", T00281201={"vr": "OW", "BulkDataURI": "/held"}),
        ),
        bulk("/pixels", PIXELS),
        bulk("/held", bytes(50_000)),
    ]
    body = multipart_of(parts)
    content_type = f'multipart/related; type="{JSON}"; boundary={BOUNDARY}'
    answer = client.request("POST", "/studies", body[: int(len(body) * keep)], content_type=content_type)
    assert answer.status == 400
    assert answer.json.get("stored", 0) == (1 if keep == 0.9 else 0)
    visible = visible_sop_uids(running.archive)
    assert (uid in visible, uid + ".3" in visible) == (keep == 0.9, False)
    refused = [dict(event.details) for event in running.events() if event.details.get("reason") == "incomplete"]
    summed = [event.details["objects"] for event in running.events() if event.details.get("reasons") == ("incomplete",)]
    assert len(refused) + sum(map(int, map(str, summed))) >= 1


def test_what_all_requests_hold_has_a_limit_and_is_given_back(tmp_path: Path) -> None:
    home = archives.new_home(tmp_path / "home", {"limits": {"max_held_bytes_of_all": 2_200_000}})
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SENDER", "store")
    of_xml = f'multipart/related; type="{XML}"; boundary={BOUNDARY}'
    early = multipart_of([("Content-Type: application/octet-stream\r\nContent-Location: b\r\n", bytes(500_000))])

    def stored(client: Client) -> Answer:
        return client.request("POST", "/studies", early, content_type=of_xml)

    with serving_https(home) as https, https.client("SENDER") as client:
        assert stored(client).status == 400, "it has no metadata"
        with ExitStack() as stack:

            def is_full() -> bool:
                # One more waits for metadata that do not come; it may be refused itself while the other one is stored.
                waiting = stack.enter_context(https.client("SENDER")).connection
                waiting.putrequest("POST", "/dicomweb/studies")
                waiting.putheader("Content-Type", of_xml)
                waiting.putheader("Content-Length", "1000000")
                waiting.endheaders(early[:-20])
                return stored(client).status == 503

            until(is_full)
            assert stored(client).headers["retry-after"] == "10"
        until(lambda: stored(client).status == 400)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
