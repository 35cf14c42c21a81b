"""The process that reads every object again and hashes it, at a pace and with the least priority, while others work.

``python -m strongroom.serving.checkworker`` is started by ``checkservice`` and by nobody else. It writes nothing: what
it finds it says on standard output, one JSON object a line. Its standard input is one line that says what to do, and
stays open as long as the parent lives.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from strongroom.app import Archive
from strongroom.config import Config, Home
from strongroom.errors import StrongroomError
from strongroom.serving.child import follow_parent, read_orders
from strongroom.serving.logs import log_to_stderr, log_uncaught
from strongroom.serving.pulse import keep_beating
from strongroom.store.check import Findings
from strongroom.store.examine import Examiner
from strongroom.store.heldcheck import HeldCheck
from strongroom.store.rounds import Damage

log = logging.getLogger(__name__)

PAGE_ROWS = 32
"""Small objects come with their rows; a page is read at least priority, and should not take long."""
SAY_BYTES = 64 * 2**20
"""So many bytes after the last word there is another: what would be read again after a restart."""
LEAST_BYTES_PER_S = 4 * 2**20
"""It reads no slower than this, however much time there is."""
COST_BYTES = 16 * 1024
"""What a look at an object costs beside its bytes."""
NICENESS = 19
LAST_MOMENT_S = 5.0


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parent writes: go on behind row ``after``, and be done in ``within_s`` if the rate allows it."""

    home: str
    log: str
    after: int
    within_s: float
    max_bytes_per_s: int
    config: Config | None = None
    """What `serve` was started with."""
    pulse_fd: int = -1
    """An inherited descriptor."""


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """What is to be read, and how fast. ``is_late`` says that the greatest rate is too low for the time there is."""

    objects: int
    data_bytes: int
    bytes_per_s: float
    is_late: bool


class Walked(msgspec.Struct, frozen=True, tag="walked"):
    """So much was examined since the last word, up to and including row ``after``."""

    after: int
    objects: int
    data_bytes: int


class Damaged(msgspec.Struct, frozen=True, tag="damaged"):
    """An object is not what was stored."""

    damage: Damage


class Done(msgspec.Struct, frozen=True, tag="done"):
    """There is no row left."""


Word = Planned | Walked | Damaged | Done
Say = Callable[[Word], None]


class Stopped(Exception):
    """The parent wants an end, in the middle of an object or not."""


class Pace:
    """Keeps reading down to a rate. Belongs to one thread."""

    def __init__(self, bytes_per_s: float, clock: Callable[[], float], wait: Callable[[float], bool]) -> None:
        """``clock`` gives seconds that only go forward; ``wait`` waits so many, and says whether to stop."""
        self._bytes_per_s, self._clock, self._wait = bytes_per_s, clock, wait
        self._free_at = clock()

    def __call__(self, size: int) -> None:
        """Account for bytes that were read, and wait until more may be. Raises Stopped."""
        now = self._clock()
        # What was not used is gone: after a pause nobody catches up.
        self._free_at = max(self._free_at, now) + size / self._bytes_per_s
        if self._wait(max(0.0, self._free_at - now)):
            raise Stopped


def plan(objects: int, data_bytes: int, orders: Orders) -> Planned:
    """How fast to read so much: no faster than is needed, and than the configuration allows."""
    needed = (data_bytes + objects * COST_BYTES) / max(orders.within_s, 1.0)
    rate = min(float(orders.max_bytes_per_s), max(needed, float(LEAST_BYTES_PER_S)))
    return Planned(objects, data_bytes, rate, needed > orders.max_bytes_per_s)


def walk(archive: Archive, orders: Orders, say: Say, new_pace: Callable[[float], Pace]) -> None:
    """Examine every object behind row ``orders.after``, in order. Raises Stopped, StorageUnavailable."""
    # Without what lies in the journal: to have it written would take the turn from who is storing.
    examiner = Examiner(archive.index.database.reading, archive.backend.dialect, archive.blobs, archive.ring)
    planned = plan(*examiner.totals(orders.after), orders)
    say(planned)
    pace, after = new_pace(planned.bytes_per_s), orders.after
    while rows := examiner.rows(after, PAGE_ROWS):
        objects = size = 0
        for row in rows:
            problem = examiner.examine(row, pace)
            confirmed = None if problem is None else examiner.confirmed(row, problem)
            if confirmed is not None:
                now, found = confirmed
                say(Damaged(Damage(*found, *now.names)))
            pace(COST_BYTES)
            after, objects = row.id, objects + 1
            size += row.data_bytes if isinstance(row.data_bytes, int) else 0
            if size >= SAY_BYTES or confirmed is not None:  # else what was found would be found again
                say(Walked(after, objects, size))
                objects = size = 0
        say(Walked(after, objects, size))
        archive.forget_deleted()
    _walk_held(archive, after, say, pace)
    say(Done())


def _walk_held(archive: Archive, after: int, say: Say, pace: Pace) -> None:
    """Examine what is in quarantine: little, so that a round that goes on begins with its first again."""
    findings = Findings()
    held = HeldCheck(archive.index.database.reading, archive.backend.dialect, archive.blobs, archive.ring, findings)
    held.check_objects(pace)
    for found in findings.listed:
        say(Damaged(Damage(found.kind, found.what, found.study_uid, found.series_uid, found.sop_uid, found.object_id)))
    say(Walked(after, held.objects, held.bytes))


def run(orders: Orders, say: Say, stopped: threading.Event) -> int:
    """Walk once over an archive; returns the exit code."""
    archive = Archive(Home(Path(orders.home)), orders.log, orders.config)
    log_to_stderr(archive.config.log.format)
    try:
        walk(archive, orders, say, lambda rate: Pace(rate, time.monotonic, stopped.wait))
    except Stopped:
        return 0
    finally:
        archive.close()
    return 0


def main() -> int:
    """Read the orders, walk, return the exit code."""
    log_to_stderr()
    log_uncaught()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this one itself
    os.nice(NICENESS)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    said = sys.stdout.buffer

    def say(word: Word) -> None:
        try:
            said.write(msgspec.json.encode(word) + b"\n")
            said.flush()
        except BrokenPipeError:
            raise Stopped from None

    orders = msgspec.json.decode(read_orders(), type=Orders)
    follow_parent(stopped.set, LAST_MOMENT_S)
    keep_beating(orders.pulse_fd)
    try:
        return run(orders, say, stopped)
    except StrongroomError as error:
        log.error("the background check ended: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
