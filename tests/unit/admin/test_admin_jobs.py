"""Jobs: what a command does is seen by others while it does it, and how it ended afterwards."""

from __future__ import annotations

import pytest

from harness.archives import new_home, opened
from harness.ingesting import Sample, store
from strongroom.admin import keys, telling
from strongroom.admin.backup import create
from strongroom.admin.check import check_home
from strongroom.admin.importing import Import
from strongroom.admin.jobs import SILENT_US, jobs
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.store.jobs import KEPT_JOBS, JobTable
from strongroom.store.rounds import META_NAME, Rounds, encode_rounds


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


def test_only_the_last_ones_are_kept(archive):
    for _ in range(KEPT_JOBS + 5):
        with telling.telling(archive, "import", "files"):
            pass
    with archive.index.database.read() as cursor:
        assert len(JobTable(archive.backend.dialect).newest(cursor, 10 * KEPT_JOBS)) == KEPT_JOBS + 1


def test_commands_say_what_they_do(archive, home, tmp_path):
    store(archive, Sample(1))
    Import(archive, lambda *_: None).run([home.config])
    create(archive, tmp_path / "medium", lambda *_: None)
    keys.rotate(archive, "", lambda *_: None)
    check_home(home, lambda *_: None)
    found = {job.kind: job for job in jobs(archive)}
    assert {found[kind].state for kind in ("import", "backup", "key rotation", "check")} == {"done"}
    assert found["check"].result == "1 objects, no findings"
    assert found["import"].result == "1 not dicom"
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
