"""Jobs: what a command does is seen by others while it does it, and how it ended afterwards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.archives import new_home, opened
from harness.ingesting import Sample, store
from strongroom.admin import keys, telling
from strongroom.admin.backup import create
from strongroom.admin.check import check_home
from strongroom.admin.exporting import export_study
from strongroom.admin.importing import Import
from strongroom.admin.jobs import jobs
from strongroom.archive.model import Action, Outcome
from strongroom.archive.oversight import Job
from strongroom.dimse import CMoveRq, Status
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.net.forward import Sent
from strongroom.net.retrieve_scp import _Exchange
from strongroom.store import underway
from strongroom.store.jobs import KEPT_JOBS, SILENT_US, JobTable
from strongroom.store.rounds import META_NAME, Rounds, encode_rounds
from strongroom.store.underway import UnderWay
from strongroom.types import Principal, Right, Uid
from strongroom.ul.negotiation import PresentationContext
from strongroom.web.streaming import Delivery

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


@pytest.fixture
def home(tmp_path):
    return new_home(tmp_path / "home")


@pytest.fixture
def archive(home):
    with opened(home) as archive:
        yield archive


def of_kind(archive, kind):
    return [job for job in jobs(archive) if job.kind == kind]


def test_how_far_a_job_is_stands_there_while_it_runs(archive, home, monkeypatch):
    monkeypatch.setattr(telling, "SAY_INTERVAL_S", 0.0)
    with opened(home, "https-1") as other, telling.telling(archive, "import", "files") as told:
        told.say(3, 10)
        (job,) = of_kind(other, "import")
        assert (job.state, job.done, job.total, job.unit, job.ended_us) == ("running", 3, 10, "files", 0)
        told.result = "10 stored"
    (job,) = of_kind(archive, "import")
    assert (job.state, job.result) == ("done", "10 stored")
    assert job.ended_us >= job.started_us > 0


def test_a_job_that_fails_says_what_failed_and_no_more(archive):
    with pytest.raises(ConfigError), telling.telling(archive, "backup", "objects"):
        raise ConfigError("/mnt/Doe^Jane is no place for it")
    (job,) = of_kind(archive, "backup")
    assert (job.state, job.result) == ("failed", "ConfigError")


def test_a_job_that_was_killed_falls_silent(archive, monkeypatch):
    began_us = telling.now_us() - SILENT_US - 1
    monkeypatch.setattr(telling, "now_us", lambda: began_us)
    with telling.telling(archive, "import", "files"):
        (job,) = of_kind(archive, "import")
        assert job.state == "silent"


def test_who_cannot_say_it_goes_on_working(archive, monkeypatch):
    def fail(*_):
        raise StorageUnavailable("no")

    monkeypatch.setattr(JobTable, "begin", fail)
    monkeypatch.setattr(JobTable, "end", fail)
    with telling.telling(archive, "import", "files") as told:
        told.say(1, 1)
    assert of_kind(archive, "import") == []


SOMEBODY = Principal("jdoe", user="jdoe", rights=frozenset({Right.GET, Right.MOVE}))


def test_what_is_over_soon_is_not_told_of(archive):
    progress = archive.reader.under_way(SOMEBODY, "ZIP archive", 2)
    progress.say(1)
    progress.end("", is_good=True)
    assert of_kind(archive, "ZIP archive") == []


def test_what_takes_its_time_is_written_now_and_then(archive):
    now = [100.0]
    job = Job("C-MOVE to CT_1", "running", "jdoe", total=1000, unit="objects")
    progress = UnderWay(archive.index.database, job, lambda: now[0])
    seen = []
    for done in range(1, 1001):
        now[0] += 0.02
        progress.say(done)
        seen += [each.done for each in of_kind(archive, "C-MOVE to CT_1")] if done % 50 == 0 else []
    assert len(set(seen)) == 3, "a write every five seconds"
    assert seen == sorted(seen)
    progress.end("association over", is_good=False)
    (job,) = of_kind(archive, "C-MOVE to CT_1")
    assert (job.state, job.person, job.done, job.total) == ("failed", "jdoe", 1000, 1000)
    assert job.result == "association over"


def test_a_move_is_seen_as_it_goes_on_and_as_it_ended(archive, home, monkeypatch):
    monkeypatch.setattr(underway, "AFTER_S", 0.0)
    monkeypatch.setattr(underway, "SAY_INTERVAL_S", 0.0)
    samples = [Sample(number) for number in range(3)]
    for sample in samples:
        store(archive, sample)
    seen = []

    def sending():
        with opened(home, "https-1") as other:
            for sample in samples:
                yield Sent(archive.index.find_object(sample.sop_uid), Status.SUCCESS, "", 100)
                seen.extend((job.state, job.done, job.total) for job in of_kind(other, "C-MOVE to CT_1"))

    session = SimpleNamespace(
        services=SimpleNamespace(reader=archive.reader),
        principal=SOMEBODY,
        connection=SimpleNamespace(flush=lambda: None, end_message=lambda: None),
        respond=lambda *_: None,
    )
    context = PresentationContext(1, Uid(STUDY_ROOT_MOVE), Uid("1.2.840.10008.1.2.1"))
    exchange = _Exchange(session, context, CMoveRq(1, Uid(STUDY_ROOT_MOVE), move_destination="CT_1"), len(samples))
    exchange.run(sending(), lambda: False, {"destination": "CT_1"})
    assert seen == [("running", 1, 3), ("running", 2, 3), ("running", 3, 3)]
    (job,) = of_kind(archive, "C-MOVE to CT_1")
    assert (job.state, job.person, job.result) == ("done", "jdoe", "complete")


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.SUCCESS, "done"), (Outcome.FAILED, "failed")])
def test_a_download_is_seen_as_it_goes_on_and_as_it_ended(archive, monkeypatch, outcome, state):
    monkeypatch.setattr(underway, "AFTER_S", 0.0)
    progress = archive.reader.under_way(SOMEBODY, "ZIP archive", 2)
    delivery = Delivery(archive.reader, SOMEBODY, 2, action=Action.EXPORT, progress=progress)
    delivery.object_done()
    (job,) = of_kind(archive, "ZIP archive")
    assert (job.state, job.done, job.total, job.person) == ("running", 1, 2, "jdoe")
    delivery.end(outcome, "" if state == "done" else "client-gone")
    (job,) = of_kind(archive, "ZIP archive")
    assert (job.state, job.result) == (state, "" if state == "done" else "client-gone")


def test_only_the_last_ones_are_kept(archive):
    for _ in range(KEPT_JOBS + 5):
        with telling.telling(archive, "import", "files"):
            pass
    with archive.index.database.read() as cursor:
        assert len(JobTable(archive.backend.dialect).newest(cursor, 10 * KEPT_JOBS, telling.now_us())) == KEPT_JOBS + 1


def test_commands_say_what_they_do(archive, home, tmp_path):
    store(archive, Sample(1))
    Import(archive, lambda *_: None).run([home.config])
    export_study(archive, Sample(1).study_uid, tmp_path / "out", lambda *_: None)
    create(archive, tmp_path / "medium", lambda *_: None)
    keys.rotate(archive, "", lambda *_: None)
    check_home(home, lambda *_: None)
    found = {job.kind: job for job in jobs(archive)}
    assert {found[kind].state for kind in ("import", "export", "backup", "key rotation", "check")} == {"done"}
    assert found["check"].result == "1 objects, no findings"
    assert found["import"].result == "1 not dicom"
    assert (found["export"].result, found["export"].total) == ("1 objects, none damaged", 1)
    assert "UTC" in found["last backup"].result
    assert found["last drill"].state == "waiting"


def test_the_background_check_is_told_as_far_as_it_has_come(archive):
    (job,) = of_kind(archive, "background check")
    assert (job.state, job.last) == ("waiting", "no round has ended yet")
    rounds = Rounds().begun(1000.0).ended(2000.0).begun(3000.0)
    archive.index.set_meta(META_NAME, encode_rounds(rounds))
    (job,) = of_kind(archive, "background check")
    assert (job.state, job.started_us, job.total) == ("running", 3_000_000_000, 0)
    assert job.last == "0 objects, all as they were stored, 1970-01-01 00:33 UTC"


def test_digests_are_told_where_they_are_computed(tmp_path):
    with opened(new_home(tmp_path / "other", {"screening": {"digests": True}})) as archive:
        store(archive, Sample(1))
        (job,) = of_kind(archive, "digests")
        assert (job.state, job.done, job.total) == ("running", 0, 1)
        archive.digesting().step()
        (job,) = of_kind(archive, "digests")
        assert (job.state, job.done, job.total) == ("done", 1, 1)
