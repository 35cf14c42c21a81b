"""What `serve` looks up of the archive for its metrics, on a thread of its own: nobody who asks for them waits for it,
and nobody can make the archive work by asking often."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from strongroom import __version__
from strongroom.admin.backup import LAST_BACKUP
from strongroom.admin.drill import LAST_DRILL
from strongroom.app import AUTHORITY_SECRET, SERVER_SECRET, Archive
from strongroom.archive.peers import Binding
from strongroom.checkpoints import LATEST_NAME
from strongroom.errors import StrongroomError
from strongroom.net.certificates import read_certificate
from strongroom.serving.dicomservice import DicomService
from strongroom.serving.reporting import Reporter
from strongroom.store.commitments import CommitmentLedger
from strongroom.store.rounds import read_rounds

REPORT_INTERVAL_S: Final = 1.0
LOOK_INTERVAL_S: Final = 15.0
LEAST_FREE_BYTES: Final = 64 * 2**20
"""With less room than that the archive is not ready: SQLite's log and the journal are all that still fits."""

log = logging.getLogger(__name__)


class Gauges:
    """Keeps the numbers of a served archive up to date on the board, from ``start`` to ``stop``."""

    def __init__(self, archive: Archive, service: DicomService, reporter: Reporter) -> None:
        self._archive, self._service, self._reporter = archive, service, reporter
        self._ledger = CommitmentLedger(archive.index.database)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._complained = False

    def start(self) -> None:
        """Say the first numbers, and go on until ``stop``."""
        limits, tally = self._archive.config.limits, self._reporter.tally
        tally.set("build_info", __version__, to=1)
        tally.set("start_time_seconds", to=round(time.time()))
        tally.set("dicom_connections_limit", to=limits.max_associations)
        tally.set("quarantine_objects_limit", to=limits.max_quarantine_objects)
        tally.set("quarantine_bytes_limit", to=limits.max_quarantine_bytes)
        self._reporter.report(is_ready=self._look_quickly())
        self._thread.start()

    def stop(self) -> None:
        """Say that nobody should come any more, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._reporter.report(is_ready=False)

    def _run(self) -> None:
        looked = 0.0
        while True:
            if time.monotonic() - looked >= LOOK_INTERVAL_S or not looked:
                self._look()
                looked = time.monotonic()
            self._reporter.report(is_ready=self._look_quickly())
            if self._stop.wait(REPORT_INTERVAL_S):
                return

    def _look_quickly(self) -> bool:
        """Look at what is in memory; returns whether the archive can do its work."""
        archive, tally = self._archive, self._reporter.tally
        backlog, is_sound = archive.index.backlog, archive.index.database.is_sound
        is_stuck = backlog is not None and backlog.is_stuck
        connections, handshakes = self._service.places.connections()
        tally.set("index_sound", to=is_sound)
        tally.set("journal_objects", to=0 if backlog is None else backlog.waiting)
        tally.set("journal_stuck", to=is_stuck)
        tally.set("dicom_connections", to=connections)
        tally.set("dicom_handshakes", to=handshakes)
        return is_sound and not is_stuck and _free(archive.home.data) >= LEAST_FREE_BYTES

    def _look(self) -> None:
        """Look at what has to be read. What cannot be is left as it was; the log says so once."""
        for look in (self._records, self._quarantine, self._disks, self._trail, self._certificates, self._rounds):
            try:
                look()
            except (StrongroomError, OSError) as error:
                self._complain(error)
            except Exception:
                log.exception("the metrics could not be gathered")

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("some metrics could not be gathered: %s", error)

    def _records(self) -> None:
        totals = self._archive.index.totals()
        for level, count in totals.items():
            self._reporter.tally.set("records", level.name.lower(), to=count)
        self._reporter.tally.set("commitment_reports", to=self._ledger.pending())

    def _quarantine(self) -> None:
        count, data_bytes = self._archive.quarantine.size()
        self._reporter.tally.set("quarantine_objects", to=count)
        self._reporter.tally.set("quarantine_bytes", to=data_bytes)

    def _disks(self) -> None:
        tally = self._reporter.tally
        for folder in (self._archive.home.data, *self._archive.checkpoint_folders[1:]):
            disk = os.statvfs(folder)
            tally.set("disk_free_bytes", str(folder), to=disk.f_bavail * disk.f_frsize)
            tally.set("disk_size_bytes", str(folder), to=disk.f_blocks * disk.f_frsize)

    def _trail(self) -> None:
        archive, tally = self._archive, self._reporter.tally
        with archive.index.database.reading() as cursor:
            for name in archive.trail_reader.logs(cursor):
                head = archive.trail_reader.head(cursor, name)
                tally.set("trail_records", name, to=0 if head is None else head.size)
        for folder in archive.checkpoint_folders:
            tally.set("checkpoint_time_seconds", str(folder), to=_changed(folder / LATEST_NAME))

    def _certificates(self) -> None:
        archive = self._archive
        ends: dict[tuple[str, ...], float] = {}
        for kind, secret in (("authority", AUTHORITY_SECRET), ("server", SERVER_SECRET)):
            ends[kind, ""] = _end_of(archive.issued(secret).certificate_pem)
        for peer in self._service.directory.all():
            if peer.certificate and not peer.revoked_us:
                kind = "peer" if peer.binding is Binding.FINGERPRINT else "peer_authority"
                ends[kind, str(peer.aet)] = _end_of(peer.certificate.encode())
        self._reporter.tally.replace("certificate_end_time_seconds", ends)
        for exception in self._service.opened:
            # Through the last day, in UTC.
            end = (exception.expires.toordinal() - _EPOCH_DAY + 1) * 86_400
            self._reporter.tally.set("unsafe_plaintext_end_time_seconds", exception.peer, to=end)

    def _rounds(self) -> None:
        archive, tally = self._archive, self._reporter.tally
        rounds = read_rounds(archive.index)
        now, last = rounds.under_way, rounds.last
        tally.set("check_round_start_time_seconds", to=round(now.started_s) if now else 0)
        tally.set("check_round_objects", to=now.objects if now else 0)
        tally.set("check_last_end_time_seconds", to=round(last.ended_s) if last else 0)
        tally.set("check_damaged_objects", to=sum(each.damaged for each in (now, last) if each))
        with archive.index.database.reading() as cursor:
            backup = archive.index.registry.get_meta(cursor, LAST_BACKUP).split()
            drill = archive.index.registry.get_meta(cursor, LAST_DRILL).split()
        tally.set("backup_time_seconds", to=float(backup[1]) if backup else 0)
        tally.set("drill_time_seconds", to=float(drill[0]) if drill else 0)
        tally.set("drill_findings", to=float(drill[1]) if drill else 0)


_EPOCH_DAY: Final = 719_163
"""The ordinal of 1 January 1970."""


def _free(folder: Path) -> int:
    with suppress(OSError):
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize
    return 0


def _changed(path: Path) -> int:
    """When a file was last written; 0 if it is not there."""
    with suppress(OSError):
        return round(path.stat().st_mtime)
    return 0


def _end_of(pem: bytes) -> float:
    return read_certificate(pem).not_after.timestamp()
