"""Metrics, health and readiness of a served archive: whoever may scrapes all of it, and a stranger learns a word."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.archives import SOON, RunningArchive, opened
from harness.ingesting import LARGE_PIXELS, Sample, store
from harness.quarantines import hold
from harness.samples import sample
from harness.web import WebClient, client_of
from harness.wire import (
    A_ASSOCIATE_AC,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    Asks,
    RawPeer,
    ct_image,
    store_command,
)
from strongroom.admin import backup
from strongroom.archive.model import Action
from strongroom.store.backlog import Backlog

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")

ArchiveFactory = Callable[..., RunningArchive]
Numbers = dict[tuple[str, ...], float]
PLANTED = "Zyxplanted^Qwertius"
PATIENCE_S = 60.0
TWO = {"workers": 2}


def scrape(client: WebClient) -> Numbers:
    """Every series by its name, without the prefix, and the values of its labels."""
    answer = client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (each.name.removeprefix("strongroom_"), *each.labels.values()): each.value
        for family in parser.text_string_to_metric_families(answer.content.decode())
        for each in family.samples
    }


def until(client: WebClient, wanted: Callable[[Numbers], bool]) -> Numbers:
    """The first scrape that is as wanted: each process says once a second what it has counted."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while True:
        found = scrape(client)
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
        pause.wait(0.1)


def test_what_happens_is_counted_over_all_processes(running_archive: ArchiveFactory, tmp_path: Path) -> None:
    exception = {"peer": "OLD1", "addresses": "127.0.0.1/32", "expires": SOON, "reason": "old", "port": 0}
    running = running_archive(peers={"OLD1": "echo"}, https=TWO, unsafe_plaintext=[exception])
    client = client_of(running, running.add_token("prometheus", "metrics"))
    reader = client_of(running, running.add_token("reader", "search,read,store"))
    with opened(running.home) as archive:
        store(archive, Sample(1, pixel_bytes=LARGE_PIXELS, patient_name=PLANTED))
        hold(archive, Sample(700, 9))
        backup.create(archive, tmp_path / "medium", lambda *_: None)
    for _ in range(20):
        assert reader.get(f"/studies?PatientName={PLANTED}").status in (200, 204)
    assert reader.get(f"/studies/{Sample(1).study_uid}/metadata").status == 200
    assert client_of(running).get("/studies").status == 401
    found = until(
        client,
        lambda found: (
            found.get(("https_requests_total", "searchStudies", "200"), 0) >= 20
            and ("https_requests_total", "searchStudies", "401") in found
            and found.get(("quarantine_objects",)) == 1
            and found.get(("records", "image")) == 1
            and found.get(("backup_time_seconds",), 0) > 0
        ),
    )
    assert found["queries_total",] == 20
    assert found["https_requests_total", "searchStudies", "401"] == 1
    assert found["quarantine_objects",] == 1
    assert {key[1] for key in found if key[0] == "ready"} == {"serve", "https-1", "https-2"}
    assert {value for key, value in found.items() if key[0] == "ready"} == {1}
    assert found["index_sound",] == 1
    assert 0 < found["disk_free_bytes", str(running.home.data)] <= found["disk_size_bytes", str(running.home.data)]
    assert found["certificate_end_time_seconds", "peer", "OLD1"] > time.time()
    ends = datetime.fromtimestamp(found["unsafe_plaintext_end_time_seconds", "OLD1"], UTC)
    assert (ends.date() - SOON).days == 1
    text = client.get("/metrics").content.decode()
    assert not re.search("Zyxplanted|Qwertius|PID-|2[.]25[.]77", text)


def test_a_stored_object_and_a_refused_one(running_archive: ArchiveFactory) -> None:
    running = running_archive(https={"workers": 1})
    client = client_of(running, running.add_token("prometheus", "metrics"))
    sender = client_of(running, running.add_token("sender", "store"))
    raw = sample("CT_small.dcm").read_bytes()
    from harness.web import multipart

    for body in (raw, raw, b"not DICOM at all"):
        headers, content = multipart([("application/dicom", body)])
        sender.request("POST", "/studies", headers, content)
    found = until(client, lambda found: found.get(("stored_objects_total", "resent"), 0) == 1)
    assert found["stored_objects_total", "stored"] == 1
    assert found["stored_bytes_total",] > 30_000
    assert sum(value for key, value in found.items() if key[:2] == ("refusals_total", "store")) == 1


def test_what_comes_over_dicom_workers_is_counted(running_archive: ArchiveFactory) -> None:
    """By whichever process it becomes known to: what is stored by the one that writes, what is held by the worker."""
    running = running_archive(peers={"CT1": "echo,store"}, dicom=TWO, https={"workers": 1})
    client = client_of(running, running.add_token("prometheus", "metrics"))
    contexts, store_context = [(VERIFICATION, (IMPLICIT,)), (CT_IMAGE_STORAGE, (EXPLICIT,))], 3
    images = [ct_image(1), ct_image(2), ct_image(1, pixels=1024)]
    for at, peer_images in ((0, images[:2]), (1, images[2:])):
        with ExitStack() as stack:
            idle = [stack.enter_context(RawPeer(running.port, running.credentials("CT1"))) for _ in range(at)]
            peer = stack.enter_context(RawPeer(running.port, running.credentials("CT1")))
            for each in (*idle, peer):
                assert each.associate(Asks("CT1", contexts=contexts))[0] == A_ASSOCIATE_AC
            for sop, image in peer_images:
                peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image, context_id=store_context)
                peer.read_status()
    with RawPeer(running.port, running.credentials("CT1")) as stranger:
        assert stranger.associate(Asks("NOBODY"))[0] != A_ASSOCIATE_AC
    found = until(
        client,
        lambda found: (
            found.get(("associations_total",)) == 3
            and found.get(("stored_objects_total", "stored")) == 2
            and any(key[0] == "alerts_total" for key in found)
            and any(key[:2] == ("refusals_total", "association") for key in found)
        ),
    )
    assert found["stored_bytes_total",] >= len(images[0][1]) + len(images[1][1])
    assert {key[1]: value for key, value in found.items() if key[0] == "ready"} == {
        "serve": 1, "https-1": 1, "dicom-1": 1, "dicom-2": 1,
    }  # fmt: skip
    assert found["resident_memory_bytes", "dicom-2"] > 0


def test_only_who_may_reads_them(running_archive: ArchiveFactory) -> None:
    running = running_archive(peers={"WATCH": "metrics", "READER": "find,get"}, https={"workers": 1})
    everything_else = running.add_token("everything-else", "search,read,store,delete")
    assert client_of(running).get("/metrics").status == 401
    assert client_of(running, everything_else).get("/metrics").status == 403
    assert client_of(running, certificate=running.home.peers / "READER").get("/metrics").status == 403
    assert client_of(running, certificate=running.home.peers / "WATCH").get("/metrics").status == 200
    only = client_of(running, running.add_token("only", "metrics"))
    assert only.get("/metrics").status == 200
    assert only.get("/studies").status == 403


def test_a_worker_that_died_is_counted_and_its_counts_are_not_lost(running_archive: ArchiveFactory) -> None:
    running = running_archive(https={"workers": 1})
    client = client_of(running, running.add_token("prometheus", "metrics"))
    asked = until(client, lambda found: found.get(("https_requests_total", "metrics", "200"), 0) >= 3)
    assert running.process is not None
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    (worker,) = [pid for pid in children if b"webworker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(worker), signal.SIGKILL)
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while True:
        try:
            found = scrape(client)
            if found.get(("worker_restarts_total", "https-1")):
                break
        except OSError:
            assert time.monotonic() < deadline
        pause.wait(0.1)
    assert found["https_requests_total", "metrics", "200"] >= asked["https_requests_total", "metrics", "200"] - 1


def test_health_and_readiness_are_a_word_each(running_archive: ArchiveFactory) -> None:
    running = running_archive(https={"workers": 1})
    stranger = client_of(running)
    assert [stranger.get(path).content for path in ("/health", "/health/ready")] == [b"ok\n", b"ready\n"]
    assert stranger.get("/health/ready/why").status == 401
    for name in stranger.get("/health/ready").headers:
        assert name.lower() != "server"


@pytest.mark.parametrize("trouble", ["_failed", "is_stuck"])
def test_what_cannot_store_is_not_ready_and_does_not_say_why(
    running_archive: ArchiveFactory, archive_home: Callable[..., object], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the threads of this process: the server's own word is what its workers go by."""
    from strongroom.app import SERVE_LOG
    from strongroom.metrics.tally import Tally
    from strongroom.serving.board import Board
    from strongroom.serving.dicomservice import DicomService
    from strongroom.serving.gauges import Gauges
    from strongroom.serving.reporting import SERVE_PLACE, Reporter

    home = archive_home()
    with opened(home, SERVE_LOG) as archive:  # type: ignore[arg-type]
        board = Board.new(1)
        reporter = Reporter(board, SERVE_PLACE, "serve", Tally())
        gauges = Gauges(archive, DicomService(archive, reporter), reporter)
        reporter.report(is_ready=gauges._look_quickly())
        assert reporter.is_served()
        if trouble == "is_stuck":
            monkeypatch.setattr(Backlog, "is_stuck", True)
        else:
            archive.index.database.fail()
        reporter.report(is_ready=gauges._look_quickly())
        assert not reporter.is_served()
        archive.index.database._failed = False
        board.close()


def test_an_alert_is_counted(local_archive: ArchiveFactory) -> None:
    from strongroom.archive.model import Event, Outcome
    from strongroom.metrics.tally import Tally
    from strongroom.serving.reporting import counted

    running = local_archive()
    assert running.archive is not None
    tally = Tally()
    running.archive.index.announce = counted(tally, lambda _: None)
    details = {"reason": "screening", "severity": "critical"}
    running.archive.index.record(Event(Action.ALERT, Outcome.WARNING, running.archive.principal, details))
    assert ("alerts_total", ("screening", "critical"), 1.0) in tally.report("serve", 0.0).series
