"""The check of a whole archive: objects, rows, keys, files, secrets, trail, and each against the others."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from strongroom.admin.telling import telling
from strongroom.admin.trail import (
    Outside,
    Verification,
    deleted_studies,
    held_records,
    journal_damage,
    note_verified,
    outside_checkpoints,
    snapshot,
    store_records,
    verify_in,
)
from strongroom.app import (
    AUTHORITY_NAME,
    AUTHORITY_SECRET,
    INDEX_SECRET,
    LOCAL_LOG,
    SERVER_SECRET,
    TRAIL_SECRET,
    Archive,
    scan_limits,
)
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.config import Home, load
from strongroom.errors import IntegrityError, NotFound, StorageUnavailable
from strongroom.store.check import Finding, Findings, Progress, StoreCheck
from strongroom.store.consistency import check_levels, check_pages
from strongroom.store.described import DescribedCheck
from strongroom.store.heldcheck import HeldCheck
from strongroom.store.locks import HomeLock
from strongroom.store.recorded import RecordedCheck, StoreRecord
from strongroom.store.rounds import DAY_S, Rounds, read_rounds
from strongroom.trail.record import format_time

PENDING_S: Final = 3600.0
"""While somebody stores, a file without a row may be this old: the longest that one message may take by default."""
CLOCK_SLACK_S: Final = 60.0
_SECRETS: Final = frozenset({INDEX_SECRET, TRAIL_SECRET, AUTHORITY_SECRET, SERVER_SECRET})


@dataclass(frozen=True, slots=True)
class Report:
    """What a check looked at, and what it found: an archive is clean if there are no findings."""

    findings: tuple[Finding, ...]
    total_findings: int
    objects: int = 0
    object_bytes: int = 0
    files: int = 0
    pending_files: int = 0
    data_keys: int = 0
    held: int = 0
    trail_records: int = 0
    compared_with: tuple[str, ...] = ()
    elapsed_s: float = 0.0


def check_home(home: Home, progress: Progress) -> Report:
    """Check the archive of a home directory, and record that in its trail.

    Raises ConfigError (no archive, no master key) or StorageUnavailable (a database server is away) if it could not
    be checked at all.
    """
    try:
        archive = Archive(home, LOCAL_LOG)
    except IntegrityError as error:
        return _broken(Finding("secret-altered", f"the index's key does not open: {error}"))
    except StorageUnavailable as error:
        if load(home).index.url:
            raise
        return _broken(Finding("index-damaged", str(error)))
    try:
        with telling(archive, "check", "objects") as told:

            def watched(noun: str, done: int, total: int) -> None:
                progress(noun, done, total)
                told.say(done, total, noun)

            report = check(archive, watched)
            told.result = f"{report.objects} objects, {report.total_findings or 'no'} findings"
        return report
    finally:
        archive.close()


def _broken(finding: Finding) -> Report:
    return Report((finding,), 1)


@dataclass(frozen=True, slots=True)
class LastRounds:
    """What the check that `serve` runs by itself has found, and when it begins again (0 = never)."""

    rounds: Rounds
    every_days: float
    next_s: float


def last_rounds(home: Home) -> LastRounds:
    """What the background check of a home has found. Raises ConfigError or StorageUnavailable."""
    archive = Archive(home, LOCAL_LOG)
    try:
        rounds, every_days = read_rounds(archive.index), archive.config.check.every_days
    finally:
        archive.close()
    began = rounds.under_way or rounds.last
    next_s = time.time() if began is None else began.started_s + every_days * DAY_S / 2
    return LastRounds(rounds, every_days, next_s if every_days else 0.0)


def check(archive: Archive, progress: Progress) -> Report:
    """Check an open archive, and record that in its trail; see `check_home`."""
    started = time.monotonic()
    run = _Run(archive, progress)
    run.all()
    if run.verified is not None:
        note_verified(archive, run.verified)
    findings, store = run.findings, run.store
    details: dict[str, Detail] = {
        "objects": store.objects,
        "bytes": store.bytes,
        "held": run.held.objects,
        "trail_records": run.trail_records,
        "findings": findings.total,
        "kinds": tuple(sorted(findings.by_kind)),
    }
    try:
        archive.record(Action.CHECK, details, Outcome.FAILED if findings.total else Outcome.SUCCESS)
    except (IntegrityError, StorageUnavailable) as error:
        findings.add(Finding("trail", f"the check could not be recorded: {error}"))
    return Report(
        findings=tuple(findings.listed),
        total_findings=findings.total,
        objects=store.objects,
        object_bytes=store.bytes,
        files=store.files,
        pending_files=store.pending,
        data_keys=store.keys + run.held.keys,
        held=run.held.objects,
        trail_records=run.trail_records,
        compared_with=run.compared_with,
        elapsed_s=time.monotonic() - started,
    )


class _Run:
    """One check, part by part: what stops one part is a finding, and the next goes on."""

    def __init__(self, archive: Archive, progress: Progress) -> None:
        self._archive, self._progress = archive, progress
        self.findings = Findings()
        self.store = StoreCheck(archive.index.database, archive.blobs, archive.ring, self.findings, progress)
        self.held = HeldCheck(
            archive.index.database.read, archive.backend.dialect, archive.blobs, archive.ring, self.findings
        )
        self.described = DescribedCheck(
            archive.index.database.read, archive.backend.dialect, archive.blobs, archive.ring, self.findings,
            scan_limits(archive.config.limits),
        )  # fmt: skip
        self.verified: Verification | None = None
        self.trail_records = 0
        self.compared_with: tuple[str, ...] = ()
        self._is_deleted_from = True

    def all(self) -> None:
        """Run every part."""
        archive, store = self._archive, self.store
        now = time.time()
        is_stored_to = HomeLock(archive.home.lock).is_held() or archive.writers.is_held()
        pending = (now - PENDING_S if is_stored_to else now, now + CLOCK_SLACK_S)
        self._part("secrets", self._check_secrets)
        self._part("index", self._check_index)
        self._part("keys", store.check_keys)
        self._part("objects", store.check_objects)
        self._part("quarantine", self._check_held)
        self._part("files", lambda: store.check_files(archive.home.objects, pending, secrets.token_bytes(32)))
        self._part("trail", self._check_trail)
        patients = not self._is_deleted_from
        self._part("descriptions", lambda: self.described.check(self._progress, patients=patients))

    def _part(self, name: str, part: Callable[[], None]) -> None:
        try:
            part()
        except (IntegrityError, NotFound) as error:
            self.findings.add(Finding(f"{name}-damaged", str(error)))
        except StorageUnavailable as error:
            self.findings.add(Finding(f"{name}-unreadable", f"the check of {name} could not be finished: {error}"))

    def _check_secrets(self) -> None:
        archive = self._archive
        for name in sorted(_SECRETS | set(archive.secrets.names())):
            try:
                archive.ring.open_secret(name, archive.secrets.get(name))
            except (IntegrityError, NotFound) as error:
                self.findings.add(Finding("secret-altered", f"secret {name}: {error}"))
        authority = archive.home.root / AUTHORITY_NAME
        try:
            is_ours = authority.read_bytes() == archive.tls().authority.certificate_pem
        except OSError:
            is_ours = False
        if not is_ours:
            self.findings.add(Finding("file-altered", f"{authority} is not the archive's CA certificate"))

    def _check_held(self) -> None:
        self.held.check_keys()
        self.held.check_objects()

    def _check_index(self) -> None:
        dialect = self._archive.backend.dialect
        with snapshot(self._archive.index.database) as cursor:
            check_pages(cursor, dialect, self.findings)
            check_levels(cursor, dialect, self.findings)

    def _check_trail(self) -> None:
        archive = self._archive
        # Before the snapshot: a checkpoint that a running server writes meanwhile may state more than that holds.
        outside = outside_checkpoints(archive)
        with snapshot(archive.index.database) as cursor:
            self._verify(cursor, outside)
            self._check_journal(cursor)
            deleted = deleted_studies(archive, cursor)
            recorded = RecordedCheck(cursor, archive.backend.dialect, self.findings, deleted)
            recorded.take(self._counted(store_records(archive, cursor)))
            recorded.finish()
            self.held.check_recorded(cursor, held_records(archive, cursor))
            self._is_deleted_from = bool(deleted)

    def _check_journal(self, cursor: object) -> None:
        """Say which damage of the journal no check has said yet: it is found once, when it is opened after a crash."""
        said_at, damaged = journal_damage(self._archive, cursor)
        for record in damaged:
            if record.time > said_at:
                found = record.event.details
                what = (
                    f"{found.get('why', '')}: objects that were acknowledged before {format_time(record.time)} may be "
                )
                what += "lost; have their senders send them again"
                self.findings.add(Finding("journal-damaged", what))

    def _verify(self, cursor: object, outside: Outside) -> None:
        verified = verify_in(
            self._archive, cursor, outside, lambda done, total: self._progress("trail records", done, total)
        )
        self.verified = verified
        self.trail_records, self.compared_with = verified.records, verified.compared_with
        for found in verified.findings:
            place = f"log {found.log}" + ("" if found.seq is None else f" record {found.seq}") + ": "
            self.findings.add(Finding("trail", (place if found.log else "") + found.what))

    def _counted(self, records: Iterator[StoreRecord]) -> Iterator[StoreRecord]:
        for number, record in enumerate(records, 1):
            yield record
            if not number % 1024:
                self._progress("store records", number, max(number, self.store.objects))
