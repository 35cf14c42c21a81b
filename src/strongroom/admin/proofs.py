"""Where the trail says that something was destroyed, and the receipt that proves it."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.app import Archive
from strongroom.archive.model import Detail, Event
from strongroom.errors import IntegrityError, StorageUnavailable
from strongroom.trail.log import MAX_PAGE, StoredRecord
from strongroom.trail.receipt import encode_receipt
from strongroom.trail.record import parse_record
from strongroom.trail.verify import prove


@dataclass(frozen=True, slots=True)
class Proof:
    """Where the trail says what was deleted. ``leaf`` is the hash of ``record`` in the log's tree.

    ``receipt`` is ``record`` with its inclusion proof and a signed checkpoint, None if none could be made.
    """

    log: str
    seq: int
    leaf: bytes
    record: bytes
    receipt: bytes | None


def log_size(archive: Archive) -> int:
    """How many records this process's log has: where to look for what it writes next."""
    with archive.index.database.read() as cursor:
        head = archive.trail_reader.head(cursor, archive.trail.name)
    return 0 if head is None else head.size


def prove_event(archive: Archive, event: Event, first_seq: int, named: tuple[str, ...]) -> Proof:
    """Sign a checkpoint and prove the record of ``event``, which its details ``named`` tell from all others.

    ``first_seq`` is the size of the log before it was written. Raises IntegrityError if it is not there.
    """
    row = _find(archive, event, first_seq, named)
    receipt = None
    try:
        archive.checkpoint()
        with archive.index.database.read() as cursor:
            receipt = encode_receipt(prove(archive.trail_reader, cursor, archive.trail.name, row.seq))
    except StorageUnavailable:
        pass  # the record is durable all the same; the caller says what is missing
    return Proof(archive.trail.name, row.seq, row.leaf, row.raw, receipt)


def _find(archive: Archive, event: Event, start: int, named: tuple[str, ...]) -> StoredRecord:
    """The record of ``event``. Other commands may have written to the same log in between, but not much."""

    def identity(of: Event) -> tuple[Detail | None, ...]:
        return tuple(of.details.get(name) for name in named)

    with archive.index.database.read() as cursor:
        while rows := archive.trail_reader.read(cursor, archive.trail.name, start, MAX_PAGE):
            for row in rows:
                found = parse_record(row.raw).event
                if found.action is event.action and identity(found) == identity(event):
                    return row
            start = rows[-1].seq + 1
    raise IntegrityError("the trail has no record of the deletion")
