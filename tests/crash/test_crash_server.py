"""A server that is killed while it is sent to, runs out of disk, or cannot write its trail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from senders import OUT_OF_RESOURCES, SUCCESS, association, send, send_in_parallel

from harness.archives import add_peer, new_home, opened, serving
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, stored_digest, visible_sop_uids
from strongroom.admin.check import check
from strongroom.admin.recovery import recover
from strongroom.app import SERVE_LOG, Archive
from strongroom.config import Home
from strongroom.errors import StrongroomError

PEER = "CT1"
SENDERS = 4
ROUNDS = 3
MOST_BEFORE_KILL = 60
PER_SENDER = 200


WORKERS = pytest.mark.parametrize("workers", [0, 2])


def new_archive(root: Path, workers: int) -> Home:
    home = new_home(root / "home", {"dicom": {"workers": workers}})
    with opened(home) as archive:
        add_peer(archive, PEER)
    return home


def assert_sound(archive: Archive, acknowledged: dict[str, Sample]) -> None:
    """The check is clean, and everything that was acknowledged is there as it was sent."""
    assert check(archive, lambda *_: None).findings == ()
    for uid, sample in acknowledged.items():
        assert stored_digest(archive, uid) == sample.sha256, uid


def share(round_: int, sender: int) -> list[Sample]:
    sizes = (SMALL_PIXELS, LARGE_PIXELS, 4 * SMALL_PIXELS, LARGE_PIXELS // 2)
    return [
        Sample(round_ * 1000 + number, study=sender // 2, series=sender, pixel_bytes=sizes[number % len(sizes)])
        for number in range(PER_SENDER)
    ]


class Ledger:
    """What was acknowledged; kills a process at the ``moment``-th time."""

    def __init__(self, process: subprocess.Popen[str], moment: int) -> None:
        self.acknowledged: dict[str, Sample] = {}
        self._process, self._left, self._lock = process, moment, threading.Lock()

    def note(self, sample: Sample) -> None:
        with self._lock:
            self.acknowledged[sample.sop_uid] = sample
            self._left -= 1
            if not self._left:
                self._process.kill()


@WORKERS
def test_killed_while_four_send(tmp_path, workers):
    home = new_archive(tmp_path, workers)
    acknowledged: dict[str, Sample] = {}
    moments = random.Random(20)
    for round_ in range(ROUNDS):
        with serving(home) as running:
            assert running.process is not None
            ledger = Ledger(running.process, moments.randrange(1, MOST_BEFORE_KILL))
            shares = [share(round_, sender) for sender in range(SENDERS)]
            send_in_parallel(running.port, running.credentials(PEER), shares, ledger.note)
            assert running.process.wait(10) < 0
        assert ledger.acknowledged
        acknowledged |= ledger.acknowledged
        with serving(home), opened(home) as archive:
            assert_sound(archive, acknowledged)


def test_a_worker_is_killed_while_four_send(tmp_path):
    """It takes its own associations with it, and nothing else: who sent on another one is served on."""
    home = new_archive(tmp_path, workers=2)
    with serving(home) as running:
        victim, _ = running.dicom_workers()
        acknowledged: dict[str, Sample] = {}
        left, lock = MOST_BEFORE_KILL, threading.Lock()

        def note(sample: Sample) -> None:
            nonlocal left
            with lock:
                acknowledged[sample.sop_uid] = sample
                left -= 1
                if not left:
                    os.kill(victim, signal.SIGKILL)

        shares = [share(0, sender) for sender in range(SENDERS)]
        send_in_parallel(running.port, running.credentials(PEER), shares, note)
        whole = [each for each in shares if all(sample.sop_uid in acknowledged for sample in each)]
        assert 0 < len(whole) < SENDERS
        with association(running.port, running.credentials(PEER)) as connection:
            for sample in share(1, 0)[:4]:
                assert send(connection, sample) == SUCCESS
                acknowledged[sample.sop_uid] = sample
        assert running.stop() == 0
    with serving(home), opened(home) as archive:
        assert_sound(archive, acknowledged)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@WORKERS
def test_full_disk(small_disk, workers):
    home = new_archive(small_disk, workers)
    ballast = small_disk / "ballast"
    acknowledged: dict[str, Sample] = {}
    samples = [Sample(number, pixel_bytes=(SMALL_PIXELS, 3 * LARGE_PIXELS)[number % 2]) for number in range(200)]
    with serving(home) as running:
        with association(running.port, running.credentials(PEER)) as connection:
            assert send(connection, samples[0]) == SUCCESS
            acknowledged[samples[0].sop_uid] = samples[0]
            free = os.statvfs(small_disk)
            ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 1_500_000)))
            statuses = []
            for sample in samples[1:40]:
                statuses.append(send(connection, sample))
                if statuses[-1] == SUCCESS:
                    acknowledged[sample.sop_uid] = sample
            assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
            assert statuses[-2:] == [OUT_OF_RESOURCES] * 2
            ballast.unlink()
            for sample in samples[40:44]:
                assert send(connection, sample) == SUCCESS
                acknowledged[sample.sop_uid] = sample
        with opened(home) as archive:
            assert visible_sop_uids(archive) == set(acknowledged)
        assert running.process is not None
        running.process.kill()
        running.process.wait(10)
    with serving(home), opened(home) as archive:
        assert_sound(archive, acknowledged)
        assert visible_sop_uids(archive) == set(acknowledged)


@pytest.mark.parametrize("pixel_bytes", [SMALL_PIXELS, LARGE_PIXELS])
@pytest.mark.parametrize(
    "damage",
    [
        "CREATE TRIGGER no_trail BEFORE INSERT ON trail_record BEGIN SELECT RAISE(ABORT, 'no'); END",
        "ALTER TABLE trail_record RENAME TO trail_record_gone",
    ],
)
def test_nothing_is_stored_that_the_trail_cannot_record(tmp_path, pixel_bytes, damage):
    home = new_home(tmp_path / "home")
    first, second, third = (Sample(number, pixel_bytes=pixel_bytes) for number in range(3))
    with opened(home, SERVE_LOG) as archive:
        store(archive, first)
        connection = archive.backend.connect()
        connection.execute(damage)
        with pytest.raises(StrongroomError):
            store(archive, second)
        assert visible_sop_uids(archive) == {first.sop_uid}
        connection.execute("DROP TRIGGER IF EXISTS no_trail")
        if "RENAME" in damage:
            connection.execute("ALTER TABLE trail_record_gone RENAME TO trail_record")
        connection.close()
        store(archive, third)
    with opened(home, SERVE_LOG) as archive:
        recover(archive)
        assert_sound(archive, {sample.sop_uid: sample for sample in (first, third)})
        assert visible_sop_uids(archive) == {first.sop_uid, third.sop_uid}


def test_only_one_serves(tmp_path):
    home = new_archive(tmp_path, workers=0)
    with serving(home), pytest.raises(RuntimeError, match="is being served by another process"), serving(home):
        pass
