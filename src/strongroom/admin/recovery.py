"""What a server does before it accepts anybody: make sure that it is alone, and clear away what a crash left.

Nothing has to be finished: an object without a row was never acknowledged, and a row without an object cannot be, since
the object is durable first. So recovery only removes objects without rows. It looks at what came since the last time
that it looked, and at the index only as far back as it must.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from strongroom.admin.trail import outside_checkpoints, snapshot
from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.config import Home
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store import inventory
from strongroom.store.locks import HomeLock
from strongroom.store.transaction import Transaction
from strongroom.trail.note import accepted_by, origin_of

SWEPT_UNTIL = "swept_until_ms"
"""``meta`` value: everything that was in the store then (milliseconds since 1970) has its row."""
DELETING = "deleting"
"""``meta`` value: the oldest time and the number of files whose rows a deletion has taken away, until they are gone."""
CLOCK_STEP_MS: Final = 3_600_000
"""How far a clock may be set back without hiding an orphan until somebody looks at everything."""
MAX_IDS_AT_ONCE: Final = 250_000
MAX_REMOVED: Final = 10_000
"""More orphans than any crash leaves: then it is the index that is not what it was, and nothing is removed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did. ``postponed`` says why it did not look, "" if it did."""

    removed: int = 0
    postponed: str = ""


@contextmanager
def serving_alone(home: Home) -> Iterator[None]:
    """Hold the home's lock for serving. Raises ConfigError if another process serves it."""
    if not home.config.exists():
        raise ConfigError(f"no archive in {home.root}: run `strongroom init --home {home.root}` first")
    lock = HomeLock(home.lock)
    if not lock.take():
        raise ConfigError(f"{home.root} is being served by another process")
    try:
        yield
    finally:
        lock.release()


def recover(archive: Archive, *, everything: bool = False) -> Recovered:
    """Remove objects that have no row; ``everything`` looks at the whole store. What was done is in the trail.

    Called before this process stores anything. Raises StorageUnavailable.
    """
    if not archive.writers.take():
        recovered = Recovered(postponed="another process is storing")
    else:
        try:
            recovered = _recover(archive, everything)
        finally:
            archive.writers.release()
    if recovered.postponed:
        log.warning("start-up recovery was left out: %s", recovered.postponed)
    return recovered


def expect_orphans(archive: Archive, transaction: Transaction, object_ids: Sequence[bytes]) -> str:
    """Say, in the transaction that takes their rows away, that these files are to go; the mark is for `orphans_gone`.

    If the process ends before it has removed them, the next start does, however old they are.
    """
    registry, cursor = archive.index.registry, transaction.cursor
    before = registry.get_meta(cursor, DELETING)
    if not object_ids:
        return ""
    oldest_ms = int.from_bytes(min(object_ids)[:6], "big")
    known_ms, known = _parse_deleting(before) or (oldest_ms, 0)
    mark = f"{min(known_ms, oldest_ms)} {known + len(object_ids)}"
    registry.set_meta(cursor, DELETING, mark)
    # With files of an earlier deletion still to go, this one cannot say that all are gone.
    return "" if before else mark


def orphans_gone(archive: Archive, mark: str) -> None:
    """Say that the files are gone; if another deletion is under way, the next start looks all the same."""

    def work(transaction: Transaction) -> None:
        if mark and archive.index.registry.get_meta(transaction.cursor, DELETING) == mark:
            archive.index.registry.set_meta(transaction.cursor, DELETING, "")

    archive.index.database.write(work)


def _parse_deleting(text: str) -> tuple[int, int] | None:
    oldest, _, count = text.partition(" ")
    return (int(oldest), int(count)) if oldest.isdecimal() and count.isdecimal() else None


def _recover(archive: Archive, everything: bool) -> Recovered:
    if _is_index_behind(archive):
        recovered = Recovered(postponed="the index is older than its checkpoint: run `strongroom check`")
        _record(archive, recovered, None)
        return recovered
    now_ms = int(time.time() * 1000)
    with archive.index.database.read() as cursor:
        text = archive.index.registry.get_meta(cursor, SWEPT_UNTIL)
        deleting = _parse_deleting(archive.index.registry.get_meta(cursor, DELETING))
    oldest_ms, deleted = deleting or (now_ms, 0)
    swept_until = int(text) if text.isdecimal() else 0
    from_ms = 0 if everything else max(0, min(swept_until, now_ms, oldest_ms) - CLOCK_STEP_MS)
    most = MAX_REMOVED + deleted
    orphans = list(islice(_orphans(archive, from_ms), most + 1))
    if len(orphans) > most:
        recovered = Recovered(postponed=f"more than {most} objects have no row: run `strongroom check`")
        _record(archive, recovered, None)
        return recovered
    for object_id in orphans:
        archive.blobs.delete(object_id)
    recovered = Recovered(len(orphans))
    _record(archive, recovered, now_ms)
    return recovered


def _is_index_behind(archive: Archive) -> bool:
    """Whether a checkpoint that left the database states more than the database holds: an old copy was put back."""
    verifiers = (archive.signer().verifier,)
    notes = outside_checkpoints(archive).notes
    with snapshot(archive.index.database) as cursor:
        for note in notes:
            stated = note.checkpoint
            ours = stated.origin == origin_of(archive.config.archive.id, stated.log)
            if ours and accepted_by(note, verifiers) and _size(archive, cursor, stated.log) < stated.size:
                return True
    return False


def _size(archive: Archive, cursor: Any, log_name: str) -> int:
    try:
        head = archive.trail_reader.head(cursor, log_name)
    except IntegrityError:
        return -1
    return -1 if head is None else head.size


def _orphans(archive: Archive, from_ms: int) -> Iterator[bytes]:
    """Objects that came since ``from_ms`` and have no row at all, however old: an id in a name proves nothing."""
    found = (entry.object_id for entry in inventory.walk(str(archive.home.objects), from_ms))
    objects = (object_id for object_id in found if object_id is not None)
    while without_row := set(islice(objects, MAX_IDS_AT_ONCE)):
        # New objects have new rows: unless something is left over, the first pages account for all of them.
        with closing(archive.index.object_ids()) as pages:
            for with_row in pages:
                without_row.difference_update(with_row)
                if not without_row:
                    break
        yield from without_row


def _record(archive: Archive, recovered: Recovered, swept_until_ms: int | None) -> None:
    details: dict[str, Detail] = {"what": "start-up recovery", "objects_removed": recovered.removed}
    if recovered.postponed:
        details["postponed"] = recovered.postponed

    def work(transaction: Transaction) -> None:
        if swept_until_ms is not None:
            archive.index.registry.set_meta(transaction.cursor, SWEPT_UNTIL, str(swept_until_ms))
            archive.index.registry.set_meta(transaction.cursor, DELETING, "")
        if recovered.removed or recovered.postponed:
            outcome = Outcome.WARNING if recovered.postponed else Outcome.SUCCESS
            transaction.record(Event(Action.CHECK, outcome, archive.principal, details))

    archive.index.database.write(work)
