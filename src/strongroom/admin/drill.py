"""A drill: the newest backup restored where nobody uses it, checked, held against the archive, and thrown away.

What it takes is what a restore would take, and how old the backup is is what would be lost.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroom.admin.backupsets import BackupMedium
from strongroom.admin.restore import BUILT_IN, Restored, RestoreOrder, restore
from strongroom.app import INDEX_SECRET, Archive
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.config import Home
from strongroom.errors import StorageUnavailable
from strongroom.store.check import Finding, Progress
from strongroom.store.locks import HomeLock
from strongroom.store.snapshot import Content, Snapshot, open_snapshot

LAST_DRILL: Final = "last_drill"
"""``meta`` value: time (seconds since 1970) of the last drill, and how many findings it had."""
PREFIX: Final = "strongroom-drill-"
MAX_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Comparison:
    """A restored index against the archive's: instances in both, only here since, gone since, and not the same."""

    same: int
    newer: int
    deleted: int
    different: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill found. ``age_s`` is how old the backup was at its beginning, ``needed_s`` what all of it took."""

    restored: Restored
    comparison: Comparison
    age_s: float
    needed_s: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Whatever is wrong."""
        found = [Finding("backup-differs", f"instance is another than the archive's: {uid}", sop_uid=uid)
                 for uid in self.comparison.different]  # fmt: skip
        return (*self.restored.findings, *found)


def drill(archive: Archive, order: RestoreOrder, progress: Progress) -> Drilled:
    """Restore into a new folder below ``order.home``, check, compare with the open archive, remove it again.

    Recorded in the archive's trail, also if it fails. Raises what `restore` raises.
    """
    began, started = time.time(), time.monotonic()
    medium = BackupMedium(order.medium)
    medium.require_of(archive.config.archive.id)
    try:
        with _scratch(order.home) as folder:
            restored = restore(_order_of(archive, order, folder), progress)
            comparison = _compare(archive, folder / "home")
    except BaseException as error:
        _record(archive, Outcome.FAILED, {"reason": type(error).__name__})
        raise
    age_s = max(0.0, began - restored.manifest.taken_s)
    drilled = Drilled(restored, comparison, age_s, time.monotonic() - started)
    _tell(archive, drilled, began)
    return drilled


def _order_of(archive: Archive, order: RestoreOrder, folder: Path) -> RestoreOrder:
    keys = archive.config.keys
    key_folder = None if keys.source == "command" else Path(keys.path) if keys.path else archive.home.default_keys
    return RestoreOrder(order.medium, folder / "home", order.backup, BUILT_IN, key_folder, against=order.against)


def _tell(archive: Archive, drilled: Drilled, began: float) -> None:
    restored, compared, findings = drilled.restored, drilled.comparison, len(drilled.findings)
    archive.index.set_meta(LAST_DRILL, f"{began:.0f} {findings}")
    details: dict[str, Detail] = {
        "backup": restored.manifest.name,
        "objects": restored.objects,
        "same": compared.same,
        "newer": compared.newer,
        "deleted_since": compared.deleted,
        "findings": restored.total_findings + len(compared.different),
        "age_s": round(drilled.age_s),
        "copy_ms": round(restored.copy_s * 1000),
        "check_ms": round(restored.check_s * 1000),
    }
    _record(archive, Outcome.FAILED if findings else Outcome.SUCCESS, details)


def _record(archive: Archive, outcome: Outcome, details: dict[str, Detail]) -> None:
    archive.record(Action.BACKUP, {"what": "drill", **details}, outcome)


@contextmanager
def _scratch(below: Path) -> Iterator[Path]:
    """A new folder, removed afterwards, with those that killed drills have left. Raises StorageUnavailable."""
    try:
        below.mkdir(mode=0o700, exist_ok=True)
        for left in below.glob(f"{PREFIX}*"):
            lock = HomeLock(left / "lock")
            if lock.take():
                shutil.rmtree(left)
                lock.release()
        folder = below / f"{PREFIX}{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {below}: {error.strerror}") from None
    lock = HomeLock(folder / "lock")
    lock.take()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if folder.exists():
            raise StorageUnavailable(f"{folder} could not be removed: remove it, it holds a copy of the archive")


def _compare(archive: Archive, home: Path) -> Comparison:
    """Hold every restored instance against the archive's, both in order of arrival."""
    key = archive.ring.open_secret(INDEX_SECRET, archive.secrets.get(INDEX_SECRET))
    restored = Snapshot(open_snapshot(Home(home).index, key)).contents()
    with archive.index.database.read():
        pass  # what waits in the journal has its rows
    present = Snapshot(archive.backend).contents()
    same = newer = deleted = 0
    different: list[str] = []
    ours, copy = next(present, None), next(restored, None)
    while ours is not None or copy is not None:
        if copy is None or (ours is not None and ours.row < copy.row):
            newer += 1
            ours = next(present, None)
        elif ours is None or copy.row < ours.row:
            deleted += 1
            copy = next(restored, None)
        else:
            if _is_same(ours, copy):
                same += 1
            elif len(different) < MAX_LISTED:
                different.append(copy.sop_uid)
            ours, copy = next(present, None), next(restored, None)
    return Comparison(same, newer, deleted, tuple(different))


def _is_same(ours: Content, copy: Content) -> bool:
    return (ours.sop_uid, ours.sha256, ours.data_bytes) == (copy.sop_uid, copy.sha256, copy.data_bytes)
