"""QIDO-RS on a worker as it runs: statuses, headers, media types, and what the trail says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import Response

from harness.archives import add_peer, new_home, opened, trail_events
from harness.https import Client, RunningHttps, serving_https
from harness.ingesting import Sample, store
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import Busy
from strongroom.web.exchange import ClientGone
from strongroom.web.qido import Held
from strongroom.web.room import Room
from strongroom.web.streaming import PIECE_BYTES

STORED = 12
PAGE = 5


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHttps]:
    """A worker whose archive holds ``STORED`` instances, and answers with PAGE at a time."""
    home = new_home(tmp_path_factory.mktemp("qido") / "home", {"limits": {"max_query_results": PAGE}})
    with opened(home) as archive:
        add_peer(archive, "READER", "find")
        add_peer(archive, "WRITER", "store")
        for number in range(STORED):
            store(archive, Sample(number))
    with serving_https(home) as running:
        yield running


@pytest.fixture
def reader(worker: RunningHttps) -> Iterator[Client]:
    with worker.client("READER") as client:
        yield client


def queries(worker: RunningHttps) -> list[Event]:
    return [event for event in worker.events() if event.action is Action.QUERY]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_large_answer_leaves_in_pieces_and_is_held_until_it_is_taken(method: str) -> None:
    room, body = Room(3 * PIECE_BYTES), bytes(2 * PIECE_BYTES + 1)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])
            with pytest.raises(Busy):
                Held(Response(body), room)

    async def gone(_message: Any) -> None:
        raise ClientGone

    async def receive() -> Any:
        raise AssertionError

    asyncio.run(Held(Response(body), room)({"method": method}, receive, send))
    assert b"".join(sent) == (body if method == "GET" else body[:PIECE_BYTES])
    assert max(map(len, sent)) == PIECE_BYTES
    with pytest.raises(ClientGone):
        asyncio.run(Held(Response(body), room)({"method": method}, receive, gone))
    room.take(3 * PIECE_BYTES)


def test_a_page_says_how_many_more_there_are(reader: Client) -> None:
    answer = reader.request("GET", "/instances")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert len(answer.json) == PAGE
    words = (
        rf"299 https://127\.0\.0\.1:\d+/dicomweb: There are {STORED - PAGE} additional results that can be requested"
    )
    assert re.fullmatch(words, answer.headers["warning"])
    last = reader.request("GET", f"/instances?offset={STORED - 2}")
    assert len(last.json) == 2
    assert "warning" not in last.headers


def test_pages_are_stable_and_complete(reader: Client) -> None:
    seen: list[str] = []
    while True:
        answer = reader.request("GET", f"/instances?limit=4&offset={len(seen)}")
        if answer.status == 204:
            break
        seen += [record["00080018"]["Value"][0] for record in answer.json]
    assert len(seen) == len(set(seen)) == STORED


def test_nothing_found_has_no_content(reader: Client) -> None:
    answer = reader.request("GET", "/studies?PatientID=NOBODY")
    assert (answer.status, answer.body) == (204, b"")


def test_the_retrieve_url_is_of_the_name_that_was_called(reader: Client) -> None:
    answer = reader.request("GET", "/instances?limit=1", host="localhost:8443")
    url = answer.json[0]["00081190"]["Value"][0]
    assert re.fullmatch(r"https://localhost:8443/dicomweb/studies/[0-9.]+/series/[0-9.]+/instances/[0-9.]+", url)


def test_children_are_found_below_what_the_path_names(reader: Client) -> None:
    study = reader.request("GET", "/studies?limit=1").json[0]["0020000D"]["Value"][0]
    series = reader.request("GET", f"/studies/{study}/series").json[0]["0020000E"]["Value"][0]
    below = reader.request("GET", f"/studies/{study}/series/{series}/instances").json
    beside = reader.request("GET", f"/studies/{study}/instances").json
    assert {record["0020000E"]["Value"][0] for record in below} == {series}
    assert {record["0020000D"]["Value"][0] for record in beside} == {study}
    assert reader.request("GET", f"/studies/{study}/series/1.2.3/instances").status == 204


def test_xml_is_one_part_for_each_result(reader: Client) -> None:
    answer = reader.request("GET", "/studies?limit=2", accept='multipart/related; type="application/dicom+xml"')
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    assert answer.body.count(b"<NativeDicomModel") == len(reader.request("GET", "/studies?limit=2").json)
    assert b'keyword="RetrieveURL"' in answer.body


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json", 200),
        ("application/dicom+json; q=0.5, text/html", 200),
        ("text/html", 406),
        ("application/dicom", 406),
    ],
)
def test_what_is_not_available_is_not_acceptable(reader: Client, accept: str, status: int) -> None:
    answer = reader.request("GET", "/studies?limit=1", accept=accept)
    assert answer.status == status
    if status == 406:
        assert "application/dicom+json" in answer.json["available"]


def test_what_could_not_be_matched_is_said(reader: Client) -> None:
    answer = reader.request("GET", f"/instances?offset={STORED - 1}&KVP=120")
    assert "does not keep KVP" in answer.headers["warning"]
    assert answer.status == 200


def test_every_search_is_in_the_trail_before_its_answer_without_values(worker: RunningHttps, reader: Client) -> None:
    before = len(queries(worker))
    assert reader.request("GET", "/studies?PatientName=Secret*&limit=3").status == 204
    event = queries(worker)[before]
    assert (event.outcome, event.principal.aet) == (Outcome.SUCCESS, "READER")
    assert event.details["matched"] == ("00100010",)
    assert "Secret" not in str(event)


def test_what_has_no_value_can_be_searched_for(reader: Client) -> None:
    empty = "=%22%22&emptyvaluematching=true"
    assert len(reader.request("GET", f"/studies?AccessionNumber{empty}").json) == 1
    assert len(reader.request("GET", f"/studies?StudyDate{empty}").json) == 1
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "ModalitiesInStudy"):
        assert reader.request("GET", f"/studies?{name}{empty}").status == 204, name


def test_a_parameter_that_is_none_is_named_to_who_sent_it_and_not_in_the_trail(
    worker: RunningHttps, reader: Client
) -> None:
    answer = reader.request("GET", "/studies?PatientNam=DOE")
    assert (answer.status, answer.json["parameter"]) == (400, "PatientNam")
    assert "parameter" not in reader.request("GET", f"/studies?{'x' * 65}=1").json
    assert not any("PatientNam" in repr(event.details) for event in trail_events(worker.archive))


def test_a_search_that_is_refused_is_in_the_trail(worker: RunningHttps, reader: Client) -> None:
    before = len(queries(worker))
    assert reader.request("GET", "/studies?StudyDate=yesterday").status == 400
    event = queries(worker)[before]
    assert (event.outcome, event.details["reason"]) == (Outcome.REFUSED, "InvalidQuery")


def test_the_right_to_store_is_none_to_search(worker: RunningHttps) -> None:
    with worker.client("WRITER") as writer:
        answer = writer.request("GET", "/studies")
    assert answer.status == 403
    assert "`strongroom token add --allow search`" in answer.json["detail"]
