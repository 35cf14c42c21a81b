"""DELETE of a study: proposed and recorded, and only by those who may see all of it. Nothing goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives
from harness.https import RunningHttps, serving_https
from harness.ingesting import LARGE_PIXELS, Sample, store, visible_sop_uids
from strongroom.archive.model import Action, Event, Outcome

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


def test_a_machine_proposes_and_nothing_is_deleted(running: RunningHttps) -> None:
    with running.client("DELETER") as client:
        answer = client.request("DELETE", f"/studies/{OWN.study_uid}?reason=patient+asked")
        assert (answer.status, answer.json["study"], answer.json["proposed_by"]) == (202, OWN.study_uid, "peer DELETER")
        again = client.request("DELETE", f"/studies/{OWN.study_uid}?reason=once+more")
        assert (again.status, again.json["proposal"]) == (202, answer.json["proposal"])
    assert visible_sop_uids(running.archive) == {OWN.sop_uid, OTHER.sop_uid}
    assert deletions(running) == []
    (event,) = [event for event in running.events() if event.action is Action.PROPOSAL]
    assert (event.details["what"], event.details["because"], event.principal.aet) == (
        "propose", "patient asked", "DELETER",
    )  # fmt: skip


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


def test_what_is_in_scope_may_be_proposed(running: RunningHttps) -> None:
    with running.client("SCOPED") as client:
        assert client.request("DELETE", f"/studies/{OTHER.study_uid}").status == 202
    assert visible_sop_uids(running.archive) == {OWN.sop_uid, OTHER.sop_uid}
