"""What a server's start clears away, and above all what it does not."""

from __future__ import annotations

import os
import threading
import time

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, stored_digest
from strongroom.admin import recovery
from strongroom.admin.recovery import CLOCK_STEP_MS, recover, serving_alone
from strongroom.app import SERVE_LOG, next_object_id
from strongroom.archive.model import Action, Outcome
from strongroom.errors import ConfigError
from strongroom.store.blobs import new_object_id
from strongroom.store.locks import HomeLock

STORED = Sample(0, pixel_bytes=LARGE_PIXELS)
SMALL = Sample(1, pixel_bytes=SMALL_PIXELS)


@pytest.fixture
def home(tmp_path):
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        store(archive, STORED)
        store(archive, SMALL)
    return home


@pytest.fixture
def archive(home):
    with opened(home, SERVE_LOG) as archive:
        yield archive


def orphan(archive, object_id=None):
    """An object whose storing was interrupted before its row."""
    object_id = object_id or next_object_id()
    path = archive.blobs.path(object_id)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"(sealed")
    return path


def recoveries(archive):
    return [event for event in trail_events(archive) if event.details.get("what") == "start-up recovery"]


def test_removes_what_has_no_row(archive):
    left = [orphan(archive) for _ in range(3)]
    assert recover(archive) == recovery.Recovered(removed=3)
    assert not any(map(os.path.exists, left))
    for sample in (STORED, SMALL):
        assert stored_digest(archive, sample.sop_uid) == sample.sha256
    (event,) = recoveries(archive)
    assert (event.action, event.outcome, event.details["objects_removed"]) == (Action.CHECK, Outcome.SUCCESS, 3)


def test_clean_start_says_nothing(archive):
    before = len(trail_events(archive))
    assert recover(archive) == recover(archive) == recovery.Recovered()
    assert len(trail_events(archive)) == before


def test_looks_back_only_to_the_last_time(archive):
    recover(archive)
    now_ms = int(time.time() * 1000)
    long_ago = orphan(archive, new_object_id(now_ms - CLOCK_STEP_MS - 60_000, os.urandom(10)))
    lately = orphan(archive, new_object_id(now_ms - CLOCK_STEP_MS // 2, os.urandom(10)))
    assert recover(archive).removed == 1
    assert os.path.exists(long_ago)
    assert not os.path.exists(lately)
    assert recover(archive, everything=True).removed == 1
    assert not os.path.exists(long_ago)


def test_a_row_keeps_its_object_whatever_the_order_of_rows(archive):
    # Row ids are used again after a deletion: an old row number says nothing about an object's age.
    archive.index.set_meta(recovery.SWEPT_UNTIL, "0")
    connection = archive.backend.connect()
    connection.execute("UPDATE instance SET id = -5 WHERE sop_uid = ?", (STORED.sop_uid,))
    connection.close()
    orphan(archive)
    assert recover(archive).removed == 1
    assert stored_digest(archive, STORED.sop_uid) == STORED.sha256


def test_ids_are_compared_in_parts(archive, monkeypatch):
    monkeypatch.setattr(recovery, "MAX_IDS_AT_ONCE", 2)
    monkeypatch.setattr("strongroom.store.index.OBJECT_ID_PAGE", 1)
    for number in range(2, 9):
        store(archive, Sample(number, pixel_bytes=LARGE_PIXELS))
    archive.writers.release()
    left = [orphan(archive) for _ in range(5)]
    assert recover(archive).removed == len(left)
    assert not any(map(os.path.exists, left))
    assert stored_digest(archive, Sample(5).sop_uid)


def test_leaves_everything_while_another_process_stores(home, archive):
    left = orphan(archive)
    importer = HomeLock(archive.home.root / "writers.lock")
    importer.share()
    assert "storing" in recover(archive).postponed
    assert os.path.exists(left)
    importer.release()
    assert recover(archive).removed == 1


def test_storing_waits_for_a_recovery(archive, home):
    sweeper = HomeLock(archive.home.root / "writers.lock")
    assert sweeper.take()
    done = threading.Event()

    def storing():
        store(archive, Sample(2))
        done.set()

    thread = threading.Thread(target=storing)
    thread.start()
    assert not done.wait(0.05)
    sweeper.release()
    thread.join(10)
    assert done.is_set()


def test_removes_nothing_from_under_an_older_index(home, tmp_path):
    older = home.index.read_bytes()
    with opened(home) as archive:
        store(archive, Sample(2, pixel_bytes=LARGE_PIXELS))
        archive.checkpoint()
    home.index.write_bytes(older)
    with opened(home, SERVE_LOG) as archive:
        assert "older than its checkpoint" in recover(archive).postponed
        assert sum(1 for _ in archive.blobs.ids()) == 2
        assert recoveries(archive)[-1].outcome is Outcome.WARNING


def test_removes_nothing_when_too_much_has_no_row(archive, monkeypatch):
    monkeypatch.setattr(recovery, "MAX_REMOVED", 3)
    left = [orphan(archive) for _ in range(4)]
    assert "no row" in recover(archive).postponed
    assert all(map(os.path.exists, left))
    os.unlink(left[0])
    assert recover(archive).removed == 3


def delete_interrupted(archive, paths):
    """A deletion whose process ends before it has removed a file."""
    ids = [bytes.fromhex(os.path.basename(path)) for path in paths]
    return archive.index.database.write(lambda transaction: recovery.expect_orphans(archive, transaction, ids))


def test_files_of_an_interrupted_deletion_go_however_old_and_many(archive, monkeypatch):
    recover(archive)
    monkeypatch.setattr(recovery, "MAX_REMOVED", 1)
    old = [orphan(archive, new_object_id(1_600_000_000_000 + number, os.urandom(10))) for number in range(5)]
    delete_interrupted(archive, old[:2])
    delete_interrupted(archive, old[2:])
    assert recover(archive).removed == 5
    assert not any(map(os.path.exists, old))
    assert recover(archive) == recovery.Recovered()


def test_deletion_that_removed_its_files_leaves_nothing_to_look_for(archive):
    recover(archive)
    old = orphan(archive, new_object_id(1_600_000_000_000, os.urandom(10)))
    recovery.orphans_gone(archive, delete_interrupted(archive, [old]))
    assert recover(archive).removed == 0


def test_deletion_that_ended_does_not_hide_one_that_did_not(archive):
    recover(archive)
    old = orphan(archive, new_object_id(1_600_000_000_000, os.urandom(10)))
    gone = [new_object_id(1_700_000_000_000, os.urandom(10)).hex()]
    delete_interrupted(archive, [old])
    recovery.orphans_gone(archive, delete_interrupted(archive, gone))
    recovery.orphans_gone(archive, delete_interrupted(archive, []))
    assert recover(archive).removed == 1
    assert recover(archive).removed == 0


def test_missing_index_is_not_replaced_by_an_empty_one(home):
    home.index.unlink()
    with pytest.raises(ConfigError, match="missing"), opened(home):
        pass
    assert not home.index.exists()


def test_serving_alone(home, tmp_path):
    with serving_alone(home):
        assert HomeLock(home.lock).is_held()
        with pytest.raises(ConfigError, match="another process"), serving_alone(home):
            pass
    with serving_alone(home):
        pass
    assert not HomeLock(home.lock).is_held()


def test_serving_needs_an_archive(tmp_path):
    from strongroom.config import Home

    with pytest.raises(ConfigError, match="strongroom init"), serving_alone(Home(tmp_path / "none")):
        pass
    assert not (tmp_path / "none").exists()
