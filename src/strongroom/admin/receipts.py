"""Receipts: one record of the trail with its proof, in a file that is there before anything depends on it."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strongroom.admin.trail import (
    RecordLine,
    chosen_lines,
    first_since,
    is_of_held,
    is_of_stored,
    line_or_none,
    snapshot,
    time_s,
)
from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.oversight import Proof
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable, StrongroomError
from strongroom.stamping import Stamper, stamped_checkpoints
from strongroom.store.files import sync_directory
from strongroom.trail.log import MAX_PAGE
from strongroom.trail.note import encode_notes, parse_note, parse_notes
from strongroom.trail.receipt import Receipt, Trust, encode_receipt, parse_receipt, require_proven
from strongroom.trail.record import parse_record
from strongroom.trail.tree import leaf_hash
from strongroom.trail.verify import prove_under
from strongroom.types import Principal, Uid

log = logging.getLogger(__name__)

BEFORE_S, AFTER_S = 60.0, 600.0
"""Where in a log the record of an object is looked for first, around the time at which it was received."""

ROUNDING_S = 0.001

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class ReservedFile:
    """A new, empty file (mode 0600), made at once: what cannot be undone is not begun without a place for its proof.

    ``write`` it, else ``discard`` it.
    """

    def __init__(self, path: Path) -> None:
        """Make the file. Raises ConfigError if it is there, or cannot be made."""
        self._path = path
        try:
            self._fd = os.open(path, _NEW_FILE, 0o600)
        except FileExistsError:
            raise ConfigError(f"{path} is there already and is not overwritten") from None
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror}") from None

    def write(self, data: bytes) -> None:
        """Write all of ``data`` durably, and close the file. Raises StorageUnavailable; the file is gone then."""
        try:
            with os.fdopen(self._fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self._path.parent)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise StorageUnavailable(f"cannot write {self._path}: {error.strerror}") from None

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError):
            os.close(self._fd)
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: the name of its log, and its number in it."""

    log: str
    seq: int


def make_receipt(archive: Archive, at: Place, by: Principal | None = None) -> bytes:
    """Return the receipt of a record, under the earliest checkpoint that says most: stamped, stored, or signed now.

    That it was made is in the trail, by this machine's operator unless somebody else is named. Raises NotFound (no such
    record), IntegrityError (the trail contradicts itself: verify it) or StorageUnavailable.
    """
    details: dict[str, Detail] = {"format": "receipt", "log": at.log, "seq": at.seq}
    with archive.index.database.read() as cursor:
        rows = archive.trail_reader.read(cursor, at.log, at.seq, 1)
    if not rows or rows[0].seq != at.seq:
        raise NotFound(f"there is no record {at.seq} in a log {at.log} of the trail")
    archive.index.record(Event(Action.TRAIL_EXPORT, Outcome.SUCCESS, by or archive.principal, details))
    receipt = _stamped_receipt(archive, at) or _receipt_under(archive, at, _covering(archive, at))
    require_proven(receipt, Trust(archive.config.archive.id, (archive.signer().verifier,)))
    return encode_receipt(receipt)


def proof_of(receipt: bytes) -> Proof:
    """What a receipt of this archive proves, taken apart. Raises IntegrityError if it is none."""
    found = parse_receipt(receipt)
    record = parse_record(found.raw)
    note = next(each for each in parse_notes(found.note) if each.checkpoint.log == record.log)
    stated = note.checkpoint
    return Proof(
        leaf=leaf_hash(found.raw).hex(),
        path=tuple(each.hex() for each in found.proof),
        root=stated.root.hex(),
        size=stated.size,
        signed_us=round(stated.time.timestamp() * 1e6),
        key=found.key,
        note=note.text,
        stamped=bool(found.timestamp),
    )


def _stamped_receipt(archive: Archive, at: Place) -> Receipt | None:
    """The receipt with a time stamp: one that is there already, else one of this moment if there is an authority."""
    for each in stamped_checkpoints(archive, at.log, at.seq):
        return replace(_receipt_under(archive, at, each.text), timestamp=each.stamp)
    stamper = Stamper(archive)
    if not stamper.is_wanted:
        return None
    text = archive.checkpoint()
    try:
        stamp = stamper.stamp(text)
    except StrongroomError as error:
        log.warning("the receipt has no time stamp: %s", error)
        return None
    return replace(_receipt_under(archive, at, text), timestamp=stamp)


def _covering(archive: Archive, at: Place) -> str:
    """The earliest stored checkpoint that covers a record; one of this moment if there is none yet."""
    with archive.index.database.read() as cursor:
        for stored in archive.trail_reader.checkpoints(cursor, at.log, at.seq, 1):
            if archive.is_own_note(parse_note(stored.note)):
                return encode_notes([stored.note])
    return archive.checkpoint()


def _receipt_under(archive: Archive, at: Place, text: str) -> Receipt:
    with snapshot(archive.index.database) as cursor:
        return prove_under(archive.trail_reader, cursor, (at.log, at.seq), text)


def write_receipt(archive: Archive, at: Place, out: Path) -> int:
    """Write the receipt of a record to the new file ``out`` (mode 0600); returns its size in bytes.

    Raises what ``make_receipt`` raises, and ConfigError for ``out``, which is then not there.
    """
    reserved = ReservedFile(out)
    try:
        receipt = make_receipt(archive, at)
    except BaseException:
        reserved.discard()
        raise
    reserved.write(receipt)
    return len(receipt)


def place_of_object(archive: Archive, sop_uid: str) -> Place:
    """Where the trail says that an object came in: the object that is here, else the last that was.

    Of one that was in quarantine it is the record of its arrival, and not of its release. Raises NotFound if the trail
    says of none, or StorageUnavailable.
    """
    uid = Uid.parse(sop_uid)
    sha256, received_s = "", 0.0
    with suppress(IntegrityError, ConfigError):  # a damaged key is no reason to withhold what was received
        stored = archive.index.find_object(uid)
        if stored is not None:
            sha256, received_s = stored.sha256.hex(), stored.received_us / 1e6
    wanted = _Wanted(uid, sha256)
    with snapshot(archive.index.database) as cursor:
        if sha256:
            for name in archive.trail_reader.logs(cursor):
                found = _near(archive, cursor, name, (received_s, wanted))
                if found is not None and found[1].action != Action.QUARANTINE:
                    return found[0]
        found = _anywhere(archive, cursor, wanted)
    if found is None:
        raise NotFound(f"the trail has no record that SOP instance {uid} was received")
    return found[0]


_Found = tuple[Place, RecordLine]


def _anywhere(archive: Archive, cursor: Any, wanted: _Wanted) -> _Found | None:
    """The last record of it in the whole trail; one of an arrival before those of what two people released."""
    found: _Found | None = None
    for name, seq, line in chosen_lines(archive, cursor, wanted.is_near):
        if wanted.is_met_by(line) and (found is None or _rank(line) >= _rank(found[1])):
            found = Place(name, seq), line
    return found


def _rank(line: RecordLine) -> tuple[bool, str]:
    return not (line.action == Action.QUARANTINE and is_of_stored(line)), line.time


class _Wanted:
    """The record that an object came in."""

    def __init__(self, sop_uid: str, sha256: str) -> None:
        self._sop_uid, self._sha256 = sop_uid, sha256
        self._mark = f'"sop_uid":"{sop_uid}"'.encode()

    def is_near(self, raw: bytes) -> bool:
        """Whether a record's bytes are worth a look."""
        return self._mark in raw

    def is_met_by(self, line: RecordLine) -> bool:
        """Whether it is that record."""
        told = line.details
        is_one = is_of_stored(line) or is_of_held(line)
        return is_one and told.sop_uid == self._sop_uid and self._sha256 in ("", told.sha256)


def _near(archive: Archive, cursor: Any, name: str, what: tuple[float, _Wanted]) -> _Found | None:
    """The record in a log, if it stands where the time of its arrival lets one expect it."""
    received_s, wanted = what
    reader = archive.trail_reader
    seq = first_since(archive, cursor, name, received_s - BEFORE_S)
    while rows := reader.read(cursor, name, seq, MAX_PAGE):
        for row in rows:
            line = line_or_none(row.raw) if wanted.is_near(row.raw) else None
            # An earlier one is of an object of that UID that was deleted since.
            if line is not None and wanted.is_met_by(line) and time_s(row.raw) > received_s - ROUNDING_S:
                return Place(name, row.seq), line
        if time_s(rows[-1].raw) > received_s + AFTER_S:
            return None
        seq = rows[-1].seq + 1
    return None
