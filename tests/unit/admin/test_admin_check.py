"""The check beside a server that runs, after deletions, and on more than fits memory at once."""

from __future__ import annotations

import os
import sys
import time

import pytest

from harness.archives import new_home, opened, strongroom_command, trail_events
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store
from strongroom.admin.check import PENDING_S, check, check_home
from strongroom.admin.deletion import delete_study
from strongroom.admin.recovery import recover
from strongroom.app import LOCAL_LOG, next_object_id
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.config import Home
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store import check as store_check
from strongroom.store import inventory
from strongroom.store.backlog import JOURNAL_DAMAGED
from strongroom.store.locks import HomeLock

LARGE = Sample(0, pixel_bytes=LARGE_PIXELS)
SMALL = Sample(1, pixel_bytes=SMALL_PIXELS)


def quiet(noun: str, done: int, total: int) -> None:
    assert done >= 0 <= total


@pytest.fixture
def home(tmp_path):
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        store(archive, LARGE)
        store(archive, SMALL)
    return home


@pytest.fixture
def archive(home):
    with opened(home, LOCAL_LOG) as archive:
        yield archive


def orphan(archive, age_s=0.0):
    path = archive.blobs.path(next_object_id())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"(sealed")
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


def kinds(report):
    return [found.kind for found in report.findings]


def delete(archive):
    return delete_study(archive, LARGE.study_uid, "test", lambda *_: None)


def test_clean(archive):
    report = check(archive, quiet)
    assert report.findings == ()
    assert (report.objects, report.object_bytes) == (2, len(LARGE.dataset) + len(SMALL.dataset))
    assert report.trail_records == 3


def test_is_recorded(archive):
    check(archive, quiet)
    orphan(archive, age_s=10 * PENDING_S)
    check(archive, quiet)
    first, second = [event for event in trail_events(archive) if event.action is Action.CHECK]
    details: dict[str, Detail] = dict(first.details)
    assert (first.outcome, details["objects"], details["findings"]) == (Outcome.SUCCESS, 2, 0)
    assert (second.outcome, second.details["findings"]) == (Outcome.FAILED, 1)
    assert second.details["kinds"] == ("object-without-row",)


def test_what_is_under_way_is_no_finding(home, archive):
    server = HomeLock(home.lock)
    assert server.take()
    orphan(archive, age_s=5)
    old = orphan(archive, age_s=PENDING_S + 60)
    future = orphan(archive, age_s=-3600)
    report = check(archive, quiet)
    assert report.pending_files == 1
    assert {found.object_id for found in report.findings} == {os.path.basename(old), os.path.basename(future)}
    server.release()
    archive.writers.release()
    report = check(archive, quiet)
    assert (report.pending_files, len(report.findings)) == (0, 3)


def test_deleted_study_is_no_finding(archive):
    delete(archive)
    assert check(archive, quiet).findings == ()


def test_row_removed_after_a_study_came_back(archive):
    delete(archive)
    store(archive, LARGE)
    store(archive, SMALL)
    assert check(archive, quiet).findings == ()
    connection = archive.backend.connect()
    connection.execute("DELETE FROM small_object")
    connection.execute("DELETE FROM instance WHERE sop_uid = ?", (SMALL.sop_uid,))
    connection.close()
    report = check(archive, quiet)
    assert kinds(report) == ["counter-wrong", "counter-wrong", "row-missing"]
    assert report.findings[-1].sop_uid == SMALL.sop_uid


def test_damage_of_the_journal_is_found_by_the_next_check(archive):
    """It is only seen when the journal is opened after a crash: then the trail has it, and a check has to say it."""
    check(archive, quiet)
    about = {"what": JOURNAL_DAMAGED, "why": "the journal was cut to 200 bytes", "found": 3}
    archive.index.record(Event(Action.ALERT, Outcome.FAILED, archive.principal, about))
    report = check(archive, quiet)
    assert kinds(report) == ["journal-damaged"]
    assert "the journal was cut to 200 bytes: objects that were acknowledged" in report.findings[0].what
    assert check(archive, quiet).findings == (), "it has been said, and nothing that is here now is wrong"


class Meanwhile:
    """A store in which something happens just before the first object is opened."""

    def __init__(self, archive, happens):
        self._blobs, self._happens = archive.blobs, happens

    def open(self, object_id, key):
        if self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
            raise IntegrityError("as it was read")
        return self._blobs.open(object_id, key)

    def __getattr__(self, name):
        return getattr(self._blobs, name)


def rekey(archive):
    ring = archive.ring
    connection = archive.backend.connect()
    key_id, wrapped, master_id = connection.execute("SELECT key_id, wrapped, master_id FROM data_key").fetchone()
    key = ring.rewrap(key_id, wrapped, master_id)
    connection.execute("UPDATE data_key SET wrapped = ?", (key.wrapped,))
    connection.close()


@pytest.mark.parametrize("happens", [delete, rekey])
def test_what_changed_while_it_was_read_is_read_again(archive, happens):
    archive.blobs = Meanwhile(archive, lambda: happens(archive))
    assert check(archive, quiet).findings == ()
    archive.blobs = Meanwhile(archive, lambda: None)
    assert kinds(check(archive, quiet)) == ([] if happens is delete else ["object-altered"])


def test_many_pages(archive, monkeypatch):
    monkeypatch.setattr(store_check, "PAGE_ROWS", 3)
    for number in range(2, 13):
        store(archive, Sample(number, series=number % 3, pixel_bytes=(SMALL_PIXELS, LARGE_PIXELS)[number % 2]))
    report = check(archive, quiet)
    assert report.findings == ()
    assert (report.objects, report.files) == (13, 6)


def test_findings_are_bounded(archive, monkeypatch):
    monkeypatch.setattr(store_check, "MAX_LISTED_FINDINGS", 2)
    for _ in range(5):
        orphan(archive)
    archive.writers.release()
    time_before = time.time() - 3600
    for object_id, _ in archive.blobs.ids():
        os.utime(archive.blobs.path(object_id), (time_before, time_before))
    report = check(archive, quiet)
    assert (len(report.findings), report.total_findings) == (2, 5)


def test_one_part_that_fails_leaves_the_others(archive):
    connection = archive.backend.connect()
    connection.execute("ALTER TABLE trail_record RENAME TO gone")
    connection.close()
    orphan(archive, age_s=PENDING_S * 2)
    found = kinds(check(archive, quiet))
    assert found == ["object-without-row", "trail-unreadable", "trail"]


def test_no_archive(tmp_path):
    with pytest.raises(ConfigError):
        check_home(Home(tmp_path / "none"), quiet)


# -- the inventory by itself

KEY = bytes(32)


def ids(*numbers):
    return [number.to_bytes(16, "big") for number in numbers]


@pytest.mark.parametrize("held", [1, 500_000])
def test_inventory(monkeypatch, held):
    monkeypatch.setattr(inventory, "MAX_HELD_IDS", held)
    files, rows = ids(*range(3000)), ids(*range(2990), 7, 7, 5000)
    mismatches = list(inventory.compare(lambda: files, lambda: rows, KEY))
    assert sorted(each.object_id for each in mismatches if not each.is_duplicate) == ids(*range(2990, 3000))
    assert [each.object_id for each in mismatches if each.is_duplicate] == ids(7, 7)


def test_inventory_that_agrees_is_read_once():
    calls = []

    def rows():
        calls.append(1)
        return ids(3, 1, 2)

    assert list(inventory.compare(lambda: ids(1, 2, 3), rows, KEY)) == []
    assert len(calls) == 1


def test_one_missing_and_one_twice_do_not_cancel_out():
    (first, second) = inventory.compare(lambda: ids(1, 2), lambda: ids(1, 1), KEY)
    assert {(first.object_id, first.is_duplicate), (second.object_id, second.is_duplicate)} == {
        (ids(1)[0], True),
        (ids(2)[0], False),
    }


# -- the command


def run(*arguments):
    import subprocess

    environment = os.environ | {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    return subprocess.run(strongroom_command(*arguments), capture_output=True, text=True, check=False, env=environment)


def test_command_exit_codes(home):
    done = run("check", "--home", home.root)
    assert (done.returncode, "clean" in done.stdout) == (0, True)
    with opened(home) as archive:
        stored = archive.index.find_object(LARGE.sop_uid)
        os.unlink(archive.blobs.path(stored.object_id))
    done = run("check", "--home", home.root, "--format", "json")
    assert done.returncode == 1
    assert LARGE.sop_uid in done.stdout
    assert run("check", "--home", home.root).stdout.startswith("object-missing")
    assert run("check", "--home", home.root / "none").returncode == 2


@pytest.mark.interop
def test_on_postgresql(tmp_path, new_postgres_url):
    home = new_home(tmp_path / "home", {"index": {"url": new_postgres_url()}})
    with opened(home) as archive:
        for sample in (LARGE, SMALL, Sample(2, study=1, pixel_bytes=LARGE_PIXELS)):
            store(archive, sample)
        archive.writers.release()
        archive.checkpoint()
        orphan(archive)
        assert recover(archive).removed == 1
        assert check(archive, quiet).findings == ()
        delete(archive)
        assert check(archive, quiet).findings == ()
        connection = archive.backend.connect()
        connection.execute("UPDATE instance SET sha256 = %s", (bytes(32),))
        connection.execute("UPDATE trail_record SET leaf = %s WHERE seq = 1", (bytes(32),))
        connection.commit()
        connection.close()
        assert set(kinds(check(archive, quiet))) == {"digest-differs", "row-altered", "trail"}
