"""DELETE of a study: gone, proven and recorded, and only for those who may delete all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives
from harness.https import RunningHttps, serving_https
from harness.ingesting import LARGE_PIXELS, Sample, store, visible_sop_uids
from strongroom.app import PUBLIC_KEY_NAME, signer_name
from strongroom.archive.model import Action, Event, Outcome
from strongroom.trail.note import Verifier
from strongroom.trail.receipt import Trust, check_receipt, parse_receipt

OWN, OTHER = Sample(1, study=1, pixel_bytes=LARGE_PIXELS), Sample(2, study=2)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningHttps]:
    home = archives.new_home(tmp_path / "home")
    with archives.opened(home) as archive:
        archives.add_peer(archive, "DELETER", "delete")
        archives.add_peer(archive, "SCOPED", "delete", scope=(f"study={OTHER.study_uid}",))
        archives.add_peer(archive, "PARTIAL", "delete", scope=("modality=CT",))
        archives.add_peer(archive, "READER", "find,get,store")
        for sample in (OWN, OTHER):
            store(archive, sample)
    with serving_https(home) as https:
        yield https


def deletions(running: RunningHttps) -> list[Event]:
    return [event for event in running.events() if event.action is Action.DELETE]


def test_a_study_is_gone_and_its_receipt_proves_it(running: RunningHttps) -> None:
    with running.client("DELETER") as client:
        answer = client.request("DELETE", f"/studies/{OWN.study_uid}?reason=patient+asked")
        assert (answer.status, answer.json["objects"], answer.json["problems"]) == (200, 1, [])
        assert client.request("DELETE", f"/studies/{OWN.study_uid}").status == 404
    assert visible_sop_uids(running.archive) == {OTHER.sop_uid}
    done, again = deletions(running)
    assert (done.outcome, done.principal.aet, done.details["reason"]) == (Outcome.SUCCESS, "DELETER", "patient asked")
    assert (again.outcome, again.details["reason"]) == (Outcome.REFUSED, "NotFound")
    config = running.archive.config
    pem = (running.archive.home.root / PUBLIC_KEY_NAME).read_bytes()
    trust = Trust(config.archive.id, (Verifier.from_pem(signer_name(config), pem),))
    record, findings = check_receipt(parse_receipt(json.dumps(answer.json["receipt"]).encode()), trust)
    assert findings == []
    assert record is not None
    assert record.event.details["study"] == OWN.study_uid


@pytest.mark.parametrize(
    ("aet", "path", "status"),
    [
        ("READER", f"/studies/{OWN.study_uid}", 403),
        ("SCOPED", f"/studies/{OWN.study_uid}", 404),
        ("PARTIAL", f"/studies/{OWN.study_uid}", 403),
        ("DELETER", "/studies/1.2.3", 404),
        ("DELETER", f"/studies/{OWN.study_uid}?reason=%0a", 400),
        ("DELETER", f"/studies/{OWN.study_uid}?reason={'x' * 201}", 400),
        ("DELETER", f"/studies/{OWN.study_uid}/series/{OWN.series_uid}", 405),
        ("DELETER", f"/studies/{OWN.study_uid}/series/{OWN.series_uid}/instances/{OWN.sop_uid}", 405),
        ("DELETER", "/studies", 405),
    ],
)
def test_nothing_is_deleted_otherwise(running: RunningHttps, aet: str, path: str, status: int) -> None:
    with running.client(aet) as client:
        assert client.request("DELETE", path).status == status
    assert visible_sop_uids(running.archive) == {OWN.sop_uid, OTHER.sop_uid}
    assert all(event.outcome is Outcome.REFUSED for event in deletions(running))


def test_what_is_in_scope_may_be_deleted(running: RunningHttps) -> None:
    with running.client("SCOPED") as client:
        assert client.request("DELETE", f"/studies/{OTHER.study_uid}").status == 200
    assert visible_sop_uids(running.archive) == {OWN.sop_uid}
