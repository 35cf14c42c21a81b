"""The trail as its operator sees it: verified against what left the host, exported, and read as what was stored."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from strongroom.app import PUBLIC_KEY_NAME, Archive
from strongroom.archive.model import Action, Outcome
from strongroom.checkpoints import LATEST_NAME, read_notes
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, NotFound, StorageUnavailable, StrongroomError
from strongroom.stamping import Stamper
from strongroom.store.backlog import JOURNAL_DAMAGED
from strongroom.store.database import Database
from strongroom.store.heldcheck import HeldRecord
from strongroom.store.quarantine import What, parse_quarantine_id
from strongroom.store.recorded import StoreRecord
from strongroom.trail.note import Note
from strongroom.trail.receipt import Finding, Trust
from strongroom.trail.record import Record, parse_record, parse_time
from strongroom.trail.verify import Progress, verify

LAST_VERIFIED = "trail_verified"
"""``meta`` value: when the whole trail was last verified, in seconds since 1970, and how many findings there were."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of verifying the trail: nothing is wrong if there are no findings."""

    findings: tuple[Finding, ...]
    logs: int
    records: int
    compared_with: tuple[str, ...]
    """The checkpoint files outside the database that were held against it."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Checkpoints that lie outside the database: where, what they state, and what is wrong with the files."""

    files: tuple[str, ...]
    notes: tuple[Note, ...]
    findings: tuple[Finding, ...]


@contextmanager
def snapshot(database: Database) -> Iterator[Any]:
    """A cursor that sees one state of the database from its first statement on. Raises StorageUnavailable."""
    with database.read() as cursor:
        if not database.backend.is_sqlite:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield cursor


def outside_checkpoints(archive: Archive, against: Sequence[Path] = ()) -> Outside:
    """The checkpoints in ``against`` and the latest one of every checkpoint directory.

    To be read before the trail is, since a running server writes them. Raises ConfigError if a file in ``against``
    cannot be read.
    """
    files, notes, findings = [], [], []
    expected = _has_checkpoints(archive)
    for path, is_named in [(path, True) for path in against] + [
        (folder / LATEST_NAME, False) for folder in archive.checkpoint_folders
    ]:
        try:
            notes += read_notes(path)
            files.append(str(path))
        except FileNotFoundError:
            if is_named:
                raise ConfigError(f"there is no checkpoint file {path}") from None
            if path.parent != archive.home.checkpoints and not path.parent.is_dir():
                findings.append(Finding("", None, f"{path.parent} is not there: is it a share that is not mounted?"))
            elif expected:
                findings.append(Finding("", None, f"{path} is gone: a checkpoint was written there"))
        except OSError as error:
            if is_named:
                raise ConfigError(f"cannot read {path}: {error.strerror}") from None
            findings.append(Finding("", None, f"{path} cannot be read: {error.strerror}"))
        except (IntegrityError, LimitExceeded, UnicodeDecodeError):
            findings.append(Finding("", None, f"{path} holds no checkpoint that can be read"))
    return Outside(tuple(files), tuple(notes), tuple(findings))


def _has_checkpoints(archive: Archive) -> bool:
    reader = archive.trail_reader
    with archive.index.database.read() as cursor:
        return any(_last_size(archive, cursor, log) for log in reader.logs(cursor))


def _last_size(archive: Archive, cursor: Any, log: str) -> int:
    with contextlib.suppress(IntegrityError):  # the verification reports it
        last = archive.trail_reader.last_checkpoint(cursor, log)
        return 0 if last is None else last.size
    return 1


def verify_trail(archive: Archive, against: Sequence[Path] = (), progress: Progress | None = None) -> Verification:
    """Verify every log against its stored checkpoints, the latest ones outside, and those in ``against``.

    Raises ConfigError if a file in ``against`` cannot be read, StorageUnavailable if the trail cannot.
    """
    outside = outside_checkpoints(archive, against)
    with snapshot(archive.index.database) as cursor:
        verified = verify_in(archive, cursor, outside, progress)
    note_verified(archive, verified)
    return verified


def note_verified(archive: Archive, verified: Verification) -> None:
    """Keep what came of it, for the posture. What cannot be written is left: the caller tells of the findings."""
    with contextlib.suppress(StrongroomError):
        archive.index.set_meta(LAST_VERIFIED, f"{time.time():.0f} {len(verified.findings)}")


def verify_in(archive: Archive, cursor: Any, outside: Outside, progress: Progress | None = None) -> Verification:
    """The same in the read transaction of ``cursor``, with checkpoints that were read before it began."""
    verifier = archive.signer().verifier
    findings = list(outside.findings)
    public_key = archive.home.root / PUBLIC_KEY_NAME
    try:
        if public_key.read_bytes() != verifier.to_pem():
            findings.append(Finding("", None, f"{public_key} is not the key that signs this archive's checkpoints"))
    except OSError as error:
        findings.append(Finding("", None, f"{public_key} cannot be read: {error.strerror}"))
    counted = 0

    def count(done: int, total: int) -> None:
        nonlocal counted
        counted = done
        if progress is not None:
            progress(done, total)

    trust = Trust(archive.config.archive.id, (verifier,))
    findings += verify(archive.trail_reader, cursor, trust, outside.notes, count)
    logs = len(archive.trail_reader.logs(cursor))
    return Verification(tuple(findings), logs, counted, outside.files)


def checkpoint(archive: Archive) -> tuple[str, str]:
    """Sign the present state of the trail, and have it stamped if there is an authority for that.

    Returns the checkpoint file's text, and what is wrong with its time stamp, "" if nothing is. Raises
    StorageUnavailable if a checkpoint directory cannot be written.
    """
    text, stamper = archive.checkpoint(), Stamper(archive)
    try:
        if stamper.is_wanted:
            stamper.stamp(text)
    except StrongroomError as error:
        return text, str(error)
    return text, ""


def export(archive: Archive, out: Path) -> int:
    """Write every log as JSON lines to the new file ``out`` (mode 0600), durably; returns how many bytes it has.

    The export is in the trail, and so in the file, before the first byte is written. Raises ConfigError if ``out`` is
    there already, StorageUnavailable.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already: an export never overwrites")
    archive.record(Action.TRAIL_EXPORT, {"format": "jsonl"})
    with snapshot(archive.index.database) as cursor:
        return write_new_file(out, _exported(archive, cursor))


def _exported(archive: Archive, cursor: Any) -> Iterator[bytes]:
    for log in archive.trail_reader.logs(cursor):
        with contextlib.suppress(NotFound):  # records or checkpoints without a head: `verify` says so
            yield from archive.trail_reader.export(cursor, log)


def write_new_file(path: Path, pieces: Iterator[bytes]) -> int:
    """Write a file (mode 0600) that was not there, durably and whole or not at all; returns its size in bytes.

    Raises ConfigError if it is there or cannot be made, StorageUnavailable if it cannot be written.
    """
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already and is not overwritten") from None
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from None
    written = 0
    try:
        with os.fdopen(fd, "wb") as file:
            for piece in pieces:
                written += file.write(piece)
            file.flush()
            os.fsync(fd)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from None
        raise
    return written


class _Details(msgspec.Struct, frozen=True, gc=False):
    """What of a record's details says what was stored or deleted; everything else is passed over."""

    verdict: str = ""
    sop_uid: str = ""
    sha256: str = ""
    sop_class: str = ""
    transfer_syntax: str = ""
    bytes: int = 0
    study_uid: str = ""
    study: str = ""
    quarantine: str = ""
    held: str = ""
    what: str = ""


class RecordLine(msgspec.Struct, frozen=True, gc=False):
    """What of a record says how and when something was stored or deleted."""

    action: str
    outcome: str
    time: str
    details: _Details


decode_line = msgspec.json.Decoder(RecordLine).decode
_DELETE_START = f'{{"action":"{Action.DELETE.value}",'.encode()
_ALERT_START = f'{{"action":"{Action.ALERT.value}",'.encode()
_CHECK_START = f'{{"action":"{Action.CHECK.value}",'.encode()
_QUARANTINE_START = f'{{"action":"{Action.QUARANTINE.value}",'.encode()
STORED_MARK = b'"verdict":"stored"'


def deleted_studies(archive: Archive, cursor: Any) -> dict[str, datetime]:
    """When each study was deleted last, by its UID."""
    deleted: dict[str, datetime] = {}
    for _, _, line in chosen_lines(archive, cursor, lambda raw: raw.startswith(_DELETE_START)):
        study_uid = line.details.study
        if line.outcome == Outcome.SUCCESS and study_uid:
            time = parse_time(line.time)
            deleted[study_uid] = max(time, deleted.get(study_uid, time))
    return deleted


def journal_damage(archive: Archive, cursor: Any) -> tuple[datetime, list[Record]]:
    """When the whole archive was checked last, and every record that says that the journal was damaged."""
    checked, damaged = datetime.fromtimestamp(0, UTC), []
    for record in chosen_records(archive, cursor, lambda raw: raw.startswith((_ALERT_START, _CHECK_START))):
        details = record.event.details
        if record.event.action is Action.CHECK:
            checked = max(checked, record.time) if "kinds" in details else checked
        elif details.get("what") == JOURNAL_DAMAGED:
            damaged.append(record)
    return checked, damaged


def is_of_stored(line: RecordLine) -> bool:
    """Whether a record says that an object was stored."""
    return line.details.verdict == "stored" and line.outcome == Outcome.SUCCESS


def is_of_held(line: RecordLine) -> bool:
    """Whether a record says that an object came in and was held."""
    return line.action == Action.QUARANTINE and line.details.held == "new"


def store_records(archive: Archive, cursor: Any) -> Iterator[StoreRecord]:
    """Every record that says that an object was stored; one that cannot be read is the verification's to report."""
    for log, seq, line in chosen_lines(archive, cursor, lambda raw: STORED_MARK in raw):
        told = line.details
        if is_of_stored(line):
            facts = (told.sha256, told.sop_class, told.transfer_syntax, told.bytes, told.study_uid)
            yield StoreRecord(f"record {seq} of log {log}", parse_time(line.time), told.sop_uid, facts)


def held_records(archive: Archive, cursor: Any) -> Iterator[HeldRecord]:
    """Every record that says that an object was held for the first time, or released or destroyed."""
    for log, seq, line in chosen_lines(archive, cursor, lambda raw: raw.startswith(_QUARANTINE_START)):
        told = line.details
        is_over = told.what in tuple(What) and line.outcome != Outcome.REFUSED
        if is_over or told.held == "new":
            with contextlib.suppress(ConfigError):
                number = parse_quarantine_id(told.quarantine)
                yield HeldRecord(f"record {seq} of log {log}", number, told.sha256, is_over)


def chosen_lines(archive: Archive, cursor: Any, is_wanted: Any) -> Iterator[tuple[str, int, RecordLine]]:
    """Every record whose bytes are wanted, as its log, its number and what it says, log by log."""
    reader = archive.trail_reader
    for log in reader.logs(cursor):
        with contextlib.suppress(IntegrityError):
            for page in reader.pages(cursor, log):
                for row in page:
                    if is_wanted(row.raw):
                        with contextlib.suppress(msgspec.DecodeError, ValueError):
                            yield log, row.seq, decode_line(row.raw)


def chosen_records(archive: Archive, cursor: Any, is_wanted: Callable[[bytes], bool]) -> Iterator[Record]:
    """Every record whose bytes are wanted, log by log; one that cannot be read is the verification's to report."""
    reader = archive.trail_reader
    for log in reader.logs(cursor):
        with contextlib.suppress(IntegrityError):
            for page in reader.pages(cursor, log):
                for row in page:
                    if is_wanted(row.raw):
                        with contextlib.suppress(IntegrityError):
                            yield parse_record(row.raw)


def first_since(archive: Archive, cursor: Any, log: str, time: float) -> int:
    """The number of the first record of a log from a time on (seconds since 1970), as far as clocks go forward."""
    head = archive.trail_reader.head(cursor, log)
    low, high = 0, 0 if head is None else head.size
    while low < high:
        middle = (low + high) // 2
        rows = archive.trail_reader.read(cursor, log, middle, 1)
        if rows and time_s(rows[0].raw) < time:
            low = middle + 1
        else:
            high = middle
    return low


def line_or_none(raw: bytes) -> RecordLine | None:
    """What a record says; None if it cannot be read."""
    try:
        return decode_line(raw)
    except (msgspec.DecodeError, ValueError):
        return None


def time_s(raw: bytes) -> float:
    """When a record was made, in seconds since 1970; far away if it does not say, so that whoever looks goes on
    elsewhere."""
    line = line_or_none(raw)
    try:
        return parse_time(line.time).timestamp() if line is not None else float("inf")
    except ValueError:
        return float("inf")
