"""What a server does before it accepts anybody: make sure that it is alone, and clear away what a crash left.

Nothing has to be finished: an object without a row was never acknowledged, and a row without an object cannot be, since
the object is durable first. So recovery only removes objects without rows. It looks at what came since the last time
that it looked, and at the index only as far back as it must.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from strongroom.admin.trail import snapshot
from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.checkpoints import all_notes
from strongroom.config import Home, load
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store import inventory
from strongroom.store.locks import HomeLock
from strongroom.store.transaction import Transaction
from strongroom.trail.note import Checkpoint, Note, parse_note

SWEPT_UNTIL = "swept_until_ms"
"""``meta`` value: everything that was in the store then (milliseconds since 1970) has its row."""
OLDER_INDEX_ACCEPTED = "older_index_accepted_ms"
"""``meta`` value: an index that knew less than its archive was put into use then; "" for one that never was."""
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
    """Hold the home's lock for serving. Raises ConfigError if there is no archive, or another process serves it."""
    load(home)  # a lock file is made in an archive only
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


def require_current_index(archive: Archive, *, accept_older: bool = False) -> None:
    """Make sure that the index is the archive's last one, as far as checkpoints outside it can tell.

    With ``accept_older`` it is taken all the same: that is in the trail, and no file that came before is ever removed
    as the remains of a crash. Raises ConfigError, StorageUnavailable.
    """
    ahead = _notes_ahead(archive)
    if not ahead:
        return
    said = tuple(
        f"{note.checkpoint.log}: {note.checkpoint.size} at {note.checkpoint.time.isoformat()}" for note in ahead
    )
    if not accept_older:
        raise ConfigError(
            "the index is older than the archive: checkpoints outside it state trail records that it does not hold "
            f"({'; '.join(said)}). An old copy was put back, or this is another database. Objects that were "
            "acknowledged since would be unknown. Put the last index back; if it is lost, copy the objects away, run "
            "`strongroom check`, and start once with `strongroom serve --accept-older-index`"
        )
    last_ms = max(int(note.checkpoint.time.timestamp() * 1000) + 1 for note in ahead)
    accepted_ms = max(int(time.time() * 1000), last_ms)
    details: dict[str, Detail] = {"what": "older index accepted", "checkpoints": said}

    def work(transaction: Transaction) -> None:
        archive.index.registry.set_meta(transaction.cursor, OLDER_INDEX_ACCEPTED, str(accepted_ms))
        transaction.record(Event(Action.CONFIG_CHANGE, Outcome.WARNING, archive.principal, details))

    archive.index.database.write(work)
    log.warning("an index older than the archive was accepted: objects without a row are kept")


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
    if _notes_ahead(archive):
        recovered = Recovered(postponed="the index is older than its checkpoint: run `strongroom check`")
        _record(archive, recovered, None)
        return recovered
    now_ms = int(time.time() * 1000)
    with archive.index.database.read() as cursor:
        text = archive.index.registry.get_meta(cursor, SWEPT_UNTIL)
        deleting = _parse_deleting(archive.index.registry.get_meta(cursor, DELETING))
        accepted_ms = _accepted_ms(archive, cursor)
    if not text and not deleting and not accepted_ms and _is_index_new(archive):
        recovered = Recovered(postponed="there are objects and the index knows of none: run `strongroom check`")
        # From here on it does know some: what is there now must not look like remains at the next start.
        _record(archive, recovered, None, accepted_ms=now_ms)
        return recovered
    oldest_ms, deleted = deleting or (now_ms, 0)
    swept_until = int(text) if text.isdecimal() else 0
    from_ms = 0 if everything else max(0, min(swept_until, now_ms, oldest_ms) - CLOCK_STEP_MS)
    if accepted_ms:
        # Whatever came before may have had its row in the index that is gone.
        from_ms = max(from_ms, accepted_ms + CLOCK_STEP_MS)
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


def _notes_ahead(archive: Archive) -> list[Note]:
    """The largest checkpoint of each log outside the database, if the database does not hold what it states.

    That proves that an older copy was put back, or that this is another database; nobody has accepted that since.
    """
    with archive.index.database.read() as cursor:
        accepted_ms = _accepted_ms(archive, cursor)
    largest: dict[str, Note] = {}
    for folder in archive.checkpoint_folders:
        for note in all_notes(folder):
            stated = note.checkpoint
            is_larger = stated.origin not in largest or stated.size > largest[stated.origin].checkpoint.size
            # The signature last: it is what takes time.
            if is_larger and stated.time.timestamp() * 1000 > accepted_ms and archive.is_own_note(note):
                largest[stated.origin] = note
    # After the files: a checkpoint is in the database before it is in a file.
    with snapshot(archive.index.database) as cursor:
        return [note for note in largest.values() if not _holds(archive, cursor, note.checkpoint)]


def _holds(archive: Archive, cursor: Any, stated: Checkpoint) -> bool:
    """Whether the database has the records that a checkpoint states, and has the checkpoint itself."""
    try:
        head = archive.trail_reader.head(cursor, stated.log)
        stored = archive.trail_reader.last_checkpoint(cursor, stated.log, stated.size)
        if head is None or stored is None or head.size < stated.size:
            return False
        ours = parse_note(stored.note).checkpoint
    except IntegrityError:
        return False
    return (ours.size, ours.root) == (stated.size, stated.root)


def _accepted_ms(archive: Archive, cursor: Any) -> int:
    text = archive.index.registry.get_meta(cursor, OLDER_INDEX_ACCEPTED)
    return int(text) if text.isdecimal() else 0


def _is_index_new(archive: Archive) -> bool:
    """Whether the index holds nothing at all beside objects: it may be another one than theirs."""
    with closing(_known_ids(archive)) as pages:
        if any(pages):
            return False
    return any(entry.object_id is not None for entry in inventory.walk(str(archive.home.objects)))


def _known_ids(archive: Archive) -> Generator[list[bytes], None, None]:
    """The ids of all objects that have a row, held ones first, then the newest of those stored, a page at a time."""
    yield archive.quarantine.object_ids()
    yield from archive.index.object_ids()


def _orphans(archive: Archive, from_ms: int) -> Iterator[bytes]:
    """Objects that came since ``from_ms`` and have no row at all, however old: an id in a name proves nothing."""
    found = (entry.object_id for entry in inventory.walk(str(archive.home.objects), from_ms))
    objects = (object_id for object_id in found if object_id is not None)
    while without_row := set(islice(objects, MAX_IDS_AT_ONCE)):
        # New objects have new rows: unless something is left over, the first pages account for all of them.
        with closing(_known_ids(archive)) as pages:
            for with_row in pages:
                without_row.difference_update(with_row)
                if not without_row:
                    break
        yield from without_row


def _record(
    archive: Archive, recovered: Recovered, swept_until_ms: int | None, *, accepted_ms: int | None = None
) -> None:
    details: dict[str, Detail] = {"what": "start-up recovery", "objects_removed": recovered.removed}
    if recovered.postponed:
        details["postponed"] = recovered.postponed

    def work(transaction: Transaction) -> None:
        if accepted_ms is not None:
            archive.index.registry.set_meta(transaction.cursor, OLDER_INDEX_ACCEPTED, str(accepted_ms))
        if swept_until_ms is not None:
            archive.index.registry.set_meta(transaction.cursor, SWEPT_UNTIL, str(swept_until_ms))
            archive.index.registry.set_meta(transaction.cursor, DELETING, "")
        if recovered.removed or recovered.postponed:
            outcome = Outcome.WARNING if recovered.postponed else Outcome.SUCCESS
            transaction.record(Event(Action.CHECK, outcome, archive.principal, details))

    archive.index.database.write(work)
