"""The trail in a browser's words: what was done is found, saved and proved, and looking is in the trail too."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.people import signed_in
from harness.samples import sample
from harness.samples_archive import read_sample, store
from harness.web import WebClient
from strongroom.app import PUBLIC_KEY_NAME
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.roles import Role
from strongroom.trail.receipt import check_with_key, parse_receipt
from strongroom.trail.tree import leaf_hash

pytestmark = pytest.mark.interop

HOSTILE = "=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("trail") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        yield running


@pytest.fixture(scope="module")
def auditor(served: RunningArchive) -> WebClient:
    return signed_in(served, "audrey", Role.AUDITOR)


@pytest.fixture(scope="module", autouse=True)
def _stored(served: RunningArchive) -> None:
    loader = web.client_of(served, served.add_token("loader", "store,search"))
    store(loader, [read_sample(sample("CT_small.dcm"))])
    with archives.opened(served.home) as archive:
        who = replace(archive.principal, aet=HOSTILE, address="192.0.2.9")
        archive.index.record(Event(Action.QUERY, Outcome.SUCCESS, who, {"reason": "<b>bold</b>\u202e"}))


def found(answer: web.Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def test_what_is_saved_is_what_was_done_and_no_formula(auditor: WebClient) -> None:
    rows = found(auditor.page("/trail/download?form=csv&action=store"))
    assert [row["action"] for row in rows] == ["store"]
    assert json.loads(rows[0]["details"])["sop_uid"] == read_sample(sample("CT_small.dcm")).instance
    (row,) = found(auditor.page("/trail/download?address=192.0.2.9"))
    assert row["peer"] == f"'{HOSTILE}"


def test_a_name_and_a_reason_of_others_are_text(auditor: WebClient) -> None:
    page = auditor.page("/trail?address=192.0.2.9").content.decode()
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert "\u202e" not in page


def test_lines_are_the_exact_records(auditor: WebClient, served: RunningArchive) -> None:
    lines = auditor.page("/trail/download?form=jsonl&action=store").content.splitlines()
    with archives.opened(served.home) as archive, archive.index.database.read() as cursor:
        stored = {
            row.leaf
            for log in archive.trail_reader.logs(cursor)
            for page in archive.trail_reader.pages(cursor, log)
            for row in page
        }
    assert {leaf_hash(line) for line in lines} <= stored
    assert len(lines) == 1


def test_a_record_is_proved_with_the_public_key_alone(auditor: WebClient, served: RunningArchive) -> None:
    (row,) = found(auditor.page("/trail/download?action=store"))
    place = f"/trail/logs/{row['log']}/{row['seq']}"
    page = auditor.page(f"{place}?proof=yes").content.decode()
    assert "Proven." in page
    receipt = parse_receipt(auditor.page(f"{place}/receipt").content)
    proven = check_with_key(receipt, (served.home.root / PUBLIC_KEY_NAME).read_bytes())
    assert (proven.record.log, proven.record.seq) == (row["log"], int(row["seq"]))
    assert leaf_hash(receipt.raw).hex() in page


def test_whoever_looks_is_in_the_trail(auditor: WebClient, served: RunningArchive) -> None:
    auditor.page("/trail?patient=4711&action=store")
    auditor.page("/trail/logs/serve/0")
    auditor.page("/trail/download?user=x")
    looked = [each for each in served.events() if each.principal.user == "audrey"][-3:]
    assert [each.action for each in looked] == [Action.TRAIL_READ, Action.TRAIL_READ, Action.TRAIL_EXPORT]
    assert looked[0].details == {"what": "search", "by": ("action", "patient"), "found": 0}
    assert looked[1].details == {"what": "record", "log": "serve", "seq": 0}
    assert looked[2].details["by"] == ("user",)
    assert "4711" not in str(looked)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/trail?older=x", 400),
        ("/trail?action=nothing", 400),
        ("/trail?since=yesterday", 400),
        ("/trail?since=0001-01-01T00:00%2B23:59", 400),
        ("/trail?until=9999-12-31T23:59-23:59", 400),
        ("/trail/download?form=xlsx", 400),
        ("/trail/logs/serve/99999", 404),
        ("/trail/logs/serve/-1", 404),
        ("/trail/logs/nowhere/0", 404),
        ("/trail/logs/nowhere/0?proof=yes", 404),
        ("/trail/logs/serve/99999/receipt", 404),
    ],
)
def test_what_is_not_there_or_makes_no_sense(auditor: WebClient, path: str, status: int) -> None:
    assert auditor.page(path).status == status


def test_what_was_sent_is_told_apart_from_a_small_picture_of_it(auditor: WebClient, served: RunningArchive) -> None:
    viewer = signed_in(served, "vera", Role.VIEWER)
    where = read_sample(sample("CT_small.dcm"))
    assert viewer.page(f"/studies/{where.study}/picture?viewport=64,64").status == 200
    page = auditor.page("/trail?action=retrieve&user=vera").content.decode()
    assert '<span class="tag"><bdi>thumbnail</bdi></span>' in page
    assert '<span class="tag"><bdi>begin</bdi></span>' in page
