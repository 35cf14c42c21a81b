"""multipart/related as it arrives: any chunking, every look-alike of a delimiter, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import LimitExceeded, MalformedRequest
from strongroom.web.multipart import (
    MAX_AROUND_BYTES,
    MultipartLimits,
    MultipartReader,
    MultipartWriter,
    PartEnd,
    PartStart,
    boundary_of,
    parse_multipart,
)

LIMITS = MultipartLimits(max_request_parts=100, max_part_header_bytes=1024, max_part_header_fields=8)
BOUNDARY = b"frontier"

Part = tuple[dict[str, str], bytes]


def read(chunks: Sequence[bytes], boundary: bytes = BOUNDARY, limits: MultipartLimits = LIMITS) -> list[Part]:
    """The parts of a whole body; checks that events come in order."""
    reader = MultipartReader(boundary, limits)
    parts: list[Part] = []
    open_part: Part | None = None
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartStart):
                assert open_part is None
                open_part = (dict(event.headers), b"")
            elif isinstance(event, PartEnd):
                assert open_part is not None
                parts.append(open_part)
                open_part = None
            else:
                assert open_part is not None
                assert len(event)
                open_part = (open_part[0], open_part[1] + bytes(event))
    reader.finish()
    assert open_part is None
    assert reader.parts == len(parts)
    return parts


def written(bodies: Sequence[bytes], boundary: str = BOUNDARY.decode()) -> bytes:
    writer = MultipartWriter(boundary)
    return b"".join(writer.part("application/dicom") + body for body in bodies) + writer.end()


DICOM = {"content-type": "application/dicom"}

BODIES = {
    "plain": (b"--frontier\r\nContent-Type: a/b\r\n\r\nbody\r\n--frontier--\r\n", [({"content-type": "a/b"}, b"body")]),
    "no final line end": (b"--frontier\r\n\r\nbody\r\n--frontier--", [({}, b"body")]),
    "leading line end": (b"\r\n--frontier\r\n\r\nbody\r\n--frontier--\r\n", [({}, b"body")]),
    "preamble and epilogue": (
        b"This is multipart.\r\n--frontier\r\n\r\nbody\r\n--frontier--\r\nThe end\r\n--frontier\r\nno part",
        [({}, b"body")],
    ),
    "padding": (
        b"--frontier \t\r\n\r\nbody\r\n--frontier  \r\n\r\n2\r\n--frontier--  \r\n",
        [({}, b"body"), ({}, b"2")],
    ),
    "no header, no body": (b"--frontier\r\n\r\n\r\n--frontier--", [({}, b"")]),
    "no body, one line end": (b"--frontier\r\nA: b\r\n\r\n--frontier--", [({"a": "b"}, b"")]),
    "no body, two line ends": (b"--frontier\r\nA: b\r\n\r\n\r\n--frontier--", [({"a": "b"}, b"")]),
    "body of line ends": (b"--frontier\r\n\r\n\r\n\r\n\r\n--frontier--", [({}, b"\r\n\r\n")]),
    "look-alikes": (
        b"--frontier\r\n\r\n\r\n--frontie\r\n--fronties\r\n-\r--frontier\n--frontier--\r\r\n--fro\r\n--frontier--",
        [({}, b"\r\n--frontie\r\n--fronties\r\n-\r--frontier\n--frontier--\r\r\n--fro")],
    ),
    "header values": (
        b"--frontier\r\nContent-Type:  application/dicom ; transfer-syntax=1.2 \r\nContent-LOCATION:/bulk/1\r\n"
        b"X-Name: M\xfcller\r\nX-Empty:\r\n\r\nx\r\n--frontier--",
        [
            (
                {
                    "content-type": "application/dicom ; transfer-syntax=1.2",
                    "content-location": "/bulk/1",
                    "x-name": "M\xfcller",
                    "x-empty": "",
                },
                b"x",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_split_in_two_gives_the_same_parts(name: str) -> None:
    body, expected = BODIES[name]
    assert read([body]) == expected
    assert read([body[n : n + 1] for n in range(len(body))]) == expected
    for split in range(len(body)):
        assert read([body[:split], body[split:]]) == expected, split


PIECES = st.sampled_from([b"\r\n--frontier"[:n] for n in range(1, 11)] + [b"\r", b"\n", b"--", b"x", b"\0" * 40])
TRICKY = st.lists(PIECES, max_size=12).map(b"".join).filter(lambda body: b"--frontier" not in body)


@given(bodies=st.lists(TRICKY, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_chunking_gives_back_what_was_written(bodies: list[bytes], cuts: list[int]) -> None:
    whole = written(bodies)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    chunks = [whole[start:stop] for start, stop in pairwise(edges)]
    assert read(chunks) == [(DICOM, body) for body in bodies]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_bytes_break_the_reader(body: bytes, step: int) -> None:
    for whole in (body, b"--frontier\r\n" + body, b"--frontier\r\n\r\n" + body + b"\r\n--frontier--"):
        outcomes = []
        for chunks in ([whole], [whole[n : n + step] for n in range(0, len(whole), step)]):
            try:
                outcomes.append(read(chunks))
            except (MalformedRequest, LimitExceeded) as refused:
                outcomes.append(type(refused))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--frontier",
        b"--frontier--",
        b"no delimiter at all",
        b"--frontier\r\n\r\nbody",
        b"--frontier\r\n\r\nbody\r\n--frontier",
        b"--frontier\r\n\r\nbody\r\n--frontier-",
        b"--frontier\r\nA: b",
        b"--frontier\r\n\r\nbody\n--frontier--",
        b"--frontier\n\nbody\n--frontier--\n",
        b"--frontier\r\n\r\nbody\r\n--frontier more\r\n--frontier--",
        b"--frontier\r\n\r\nbody\r\n--frontierx\r\n--frontier--",
        b"--frontier\r\n\r\nbody\r\n--frontier\n\r\n--frontier--",
        b"--frontier\r\nA: b\r\n c\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nA: b\nC: d\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nA: b\rC: d\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nA : b\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nA: b\0\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\n: b\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nContent-Type: a/b\r\ncontent-type: c/d\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n--frontier--",
        b"--frontier\r\nContent-Type: message/rfc822\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--frontier--",
        b"x" * (MAX_AROUND_BYTES + 1) + b"\r\n--frontier\r\n\r\nbody\r\n--frontier--",
        b"--frontier\r\n\r\nbody\r\n--frontier--" + b"x" * (MAX_AROUND_BYTES + 1),
    ],
)
def test_refuses_what_is_malformed_however_it_is_cut(body: bytes) -> None:
    step = 1 if len(body) < MAX_AROUND_BYTES else 4096
    for chunks in ([body], [body[n : n + step] for n in range(0, len(body), step)]):
        with pytest.raises(MalformedRequest):
            read(chunks)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (b"--frontier\r\nA: " + b"x" * 1024 + b"\r\n\r\nbody", "max_part_header_bytes"),
        (b"--frontier\r\nA: " + b"x" * 1024, "max_part_header_bytes"),
        (b"--frontier\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(9)) + b"\r\nbody", "max_part_header_fields"),
        (written([b""] * 101), "max_request_parts"),
    ],
)
def test_names_the_limit(body: bytes, limit: str) -> None:
    for step in (len(body), 100):
        with pytest.raises(LimitExceeded) as over:
            read([body[n : n + step] for n in range(0, len(body), step)])
        assert over.value.limit_name == limit


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_header_may_be_as_long_as_the_limit(step: int) -> None:
    value = "x" * (LIMITS.max_part_header_bytes - len("\r\na: "))
    body = f"--frontier\r\na: {value}\r\n\r\nbody\r\n--frontier--".encode()
    assert read([body[n : n + step] for n in range(0, len(body), step)]) == [({"a": value}, b"body")]


def test_a_hundred_thousand_parts_are_read_one_by_one() -> None:
    limits = MultipartLimits(100_000, 1024)
    body = written([b"x"] * 100_000)
    assert len(read([body[n : n + 262144] for n in range(0, len(body), 262144)], limits=limits)) == 100_000


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', (b"abc", "application/dicom")),
        ('multipart/related; boundary="a b:c"; type=application/dicom+JSON', (b"a b:c", "application/dicom+json")),
        ("Multipart/Related;BOUNDARY=----=_Part_1_2.3", (b"----=_Part_1_2.3", "")),
        (f"multipart/related; boundary={'b' * 70}", (b"b" * 70, "")),
    ],
)
def test_boundaries_come_quoted_or_not(content_type: str, expected: tuple[bytes, str]) -> None:
    assert parse_multipart(content_type) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related",
        "multipart/related; boundary=",
        'multipart/related; boundary=""',
        'multipart/related; boundary="a "',
        'multipart/related; boundary="a\r\nb"',
        'multipart/related; boundary="é"',
        f"multipart/related; boundary={'b' * 71}",
        "multipart/form-data; boundary=abc",
        "application/dicom; boundary=abc",
        "multipart",
    ],
)
def test_boundaries_that_are_none_are_refused(content_type: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_multipart(content_type)


def test_our_own_boundaries_are_read_back() -> None:
    boundary = boundary_of(bytes(range(16)))
    assert parse_multipart(f"multipart/related; boundary={boundary}")[0] == boundary.encode()
    writer = MultipartWriter(boundary)
    body = writer.part("application/dicom; transfer-syntax=1.2", "/dicomweb/x") + b"data" + writer.end()
    headers = {"content-type": "application/dicom; transfer-syntax=1.2", "content-location": "/dicomweb/x"}
    assert read([body], boundary.encode()) == [(headers, b"data")]
