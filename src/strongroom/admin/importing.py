"""Import: files from folders and media, through the same door as C-STORE, some at a time and from where it stopped."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from io import FileIO
from itertools import islice
from pathlib import Path

from strongroom.admin.media import Found, FoundFile, Unusable, open_regular, walk
from strongroom.admin.standin import IndexStandIn
from strongroom.admin.telling import Say, telling
from strongroom.app import Archive
from strongroom.archive.attributes import SOP_CLASS_UID, SOP_INSTANCE_UID, parse_uid
from strongroom.archive.ingest import Arrival, Ingest, Verdict
from strongroom.archive.model import Action, Added, Detail, Event, NewInstance, Outcome
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dicomdir import MEDIA_STORAGE_DIRECTORY
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import HeaderScan
from strongroom.dicom.part10 import MAX_HEADER_BYTES, FileHeader, parse_file_header
from strongroom.errors import Quarantined, Refused, StorageUnavailable, StrongroomError
from strongroom.store.imports import ImportMarks
from strongroom.store.index import Index
from strongroom.store.transaction import GENERATION, Transaction
from strongroom.types import Uid

log = logging.getLogger(__name__)

WORKERS = 8
"""Files under way at once. One thread at a time runs Python, but commits share fsyncs: objects of 10 KB went in at
240/s with one, 700/s with three, 1,500/s with eight, and hardly faster with sixteen."""
CHUNK_BYTES = 256 * 1024
BATCH_FILES = 256
MAX_FAILURES_KEPT = 10_000
_MARKS_OF = "imported_generation"
"""``meta`` value: the generation of the index whose marks are kept."""


class Fate(StrEnum):
    """What became of one file."""

    STORED = "stored"
    ALREADY_HERE = "already_here"
    RESUMED = "resumed"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    UNREADABLE = "unreadable"
    NOT_DICOM = "not_dicom"
    LINK = "link"


BAD_NEWS = frozenset({Fate.REFUSED, Fate.QUARANTINED, Fate.UNREADABLE})
_FATES = {
    Verdict.STORED: (Fate.STORED, ""),
    Verdict.UNVERIFIED: (Fate.STORED, ""),
    Verdict.COERCED: (Fate.QUARANTINED, Verdict.COERCED.value),
}
"""Of what was taken in; everything else was here already."""

NAMED = BAD_NEWS | {Fate.NOT_DICOM}
"""What is told of file by file."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not taken in: its path, and the reason in words that hold no value of it."""

    path: str
    fate: Fate
    reason: str


@dataclass(slots=True)
class Tally:
    """How far an import has come. ``data_bytes`` are of the files that were read, ``done_bytes`` of all."""

    total_files: int = 0
    total_bytes: int = 0
    done_files: int = 0
    done_bytes: int = 0
    data_bytes: int = 0
    seconds: float = 0.0
    counts: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    failures: list[Failure] = field(default_factory=list)
    """The first ``MAX_FAILURES_KEPT`` of them."""

    @property
    def is_good(self) -> bool:
        """Whether every DICOM file that was named is in the archive now."""
        return not any(self.counts[fate] for fate in BAD_NEWS)


Watch = Callable[[Tally, Failure | None], None]
"""Told after each file, from one thread at a time; with the failure if the file was not taken."""


class _MarkingIndex(IndexStandIn):
    """The index as the ingest of one file sees it: whatever says that the object is here also marks the file."""

    def __init__(self, index: Index, marks: ImportMarks, mark: bytes) -> None:
        super().__init__(index)
        self._index = index
        self._marks = marks
        self._mark = mark
        self.restore = index.restore

    def add(self, new: NewInstance, event: Event) -> Added:
        def work(transaction: Transaction) -> Added:
            added = transaction.add(new, event)
            if added:
                self._marks.add(transaction.cursor, self._mark)
            return added

        return self._index.database.write(work)

    def record(self, *events: Event) -> None:
        def work(transaction: Transaction) -> None:
            for event in events:
                transaction.record(event)
                if event.outcome is Outcome.SUCCESS:
                    self._marks.add(transaction.cursor, self._mark)

        self._index.database.write(work)


class Import:
    """One run over some paths. ``run`` is called once."""

    def __init__(self, archive: Archive, watch: Watch) -> None:
        self._archive = archive
        self._watch = watch
        self._marks = ImportMarks(archive.backend.dialect)
        self._generation = ""
        self._lock = threading.Lock()
        self._files: Iterator[tuple[FoundFile, bytes]] = iter(())
        self._stopped = False
        self._failure: BaseException | None = None
        self._say: Say | None = None
        self.tally = Tally()

    def run(self, paths: Sequence[Path]) -> Tally:
        """Take in every DICOM file below ``paths``; returns the counts. Files taken before are not read again.

        Raises ConfigError if a path does not exist, StorageUnavailable when the archive itself fails; what was taken
        until then stays, and the next run goes on from there.
        """
        with telling(self._archive, "import", "files") as told:
            self._say = told.say
            tally = self._run(paths)
            told.result = ", ".join(
                f"{count} {fate.value.replace('_', ' ')}" for fate, count in tally.counts.items() if count
            )
            return tally

    def _run(self, paths: Sequence[Path]) -> Tally:
        tally = self.tally
        for found in walk(paths):
            tally.total_files += 1
            tally.total_bytes += found.size if isinstance(found, FoundFile) else 0
        self._begin(len(paths))
        started = time.monotonic()
        self._files = self._unknown(walk(paths))
        threads = [threading.Thread(target=self._work, name=f"import-{number}") for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # Ctrl-C: let the files under way end, say so in the trail, then go
            self._stop(error)
            for thread in threads:
                thread.join()
        tally.seconds = time.monotonic() - started
        self._end()
        if self._failure is not None:
            raise self._failure
        return tally

    def _begin(self, named: int) -> None:
        registry, tally = self._archive.index.registry, self.tally
        # No paths: folders of media are often named after patients.
        details: dict[str, Detail] = {
            "phase": "begin",
            "paths": named,
            "files": tally.total_files,
            "bytes": tally.total_bytes,
        }

        def work(transaction: Transaction) -> str:
            generation = transaction.meta(GENERATION)
            if transaction.meta(_MARKS_OF) != generation:
                # A deletion made all older marks void, for nothing tells which of them led into the study that is gone.
                self._marks.clear(transaction.cursor)
                registry.set_meta(transaction.cursor, _MARKS_OF, generation)
            transaction.record(Event(Action.IMPORT, Outcome.SUCCESS, self._archive.principal, details))
            return generation

        self._generation = self._archive.index.database.write(work)

    def _end(self) -> None:
        tally = self.tally
        details: dict[str, Detail] = {"phase": "end", "bytes": tally.data_bytes, "interrupted": self._stopped}
        details.update({fate.value: tally.counts[fate] for fate in Fate})
        good = tally.is_good and not self._stopped
        outcome = Outcome.SUCCESS if good else Outcome.WARNING
        if isinstance(self._failure, StorageUnavailable):
            outcome = Outcome.FAILED
            with suppress(StorageUnavailable):
                self._archive.record(Action.IMPORT, details, outcome)
            return
        self._archive.record(Action.IMPORT, details, outcome)

    # -- which files

    def _unknown(self, found: Iterator[Found]) -> Iterator[tuple[FoundFile, bytes]]:
        """Files that have to be read, with their marks; the others are counted here. Pulled under the lock."""
        while batch := list(islice(found, BATCH_FILES)):
            marks = {file: self._mark(file) for file in batch if isinstance(file, FoundFile)}
            with self._archive.index.database.read() as cursor:
                known = self._marks.known(cursor, list(marks.values()))
            for file in batch:
                if isinstance(file, Unusable):
                    fate = Fate.LINK if file.is_link else Fate.UNREADABLE
                    self._count(file.path, fate, 0, file.reason)
                elif marks[file] in known:
                    self._count(file.path, Fate.RESUMED, file.size, "")
                else:
                    yield file, marks[file]

    def _mark(self, file: FoundFile) -> bytes:
        parts = (self._archive.config.archive.id, self._generation, str(file.size), str(file.mtime_ns))
        return sha256("\0".join(parts).encode() + b"\0" + os.fsencode(file.path)).digest()

    def _count(self, path: str, fate: Fate, size: int, reason: str) -> None:
        tally = self.tally
        tally.done_files += 1
        tally.done_bytes += size
        tally.counts[fate] += 1
        failure = None
        if fate in NAMED:
            failure = Failure(path, fate, reason)
            # What is no DICOM never takes the place of what was refused.
            if len(tally.failures) < (MAX_FAILURES_KEPT if fate in BAD_NEWS else MAX_FAILURES_KEPT // 2):
                tally.failures.append(failure)
        self._watch(tally, failure)
        if self._say is not None:
            self._say(tally.done_files, tally.total_files)

    # -- one file

    def _work(self) -> None:
        buffer = bytearray(CHUNK_BYTES)
        try:
            while True:
                with self._lock:
                    file, mark = (None, b"") if self._stopped else next(self._files, (None, b""))
                if file is None:
                    return
                fate, reason = self._take(file, mark, buffer)
                with self._lock:
                    self.tally.data_bytes += file.size
                    self._count(file.path, fate, file.size, reason)
        except BaseException as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        with self._lock:
            self._stopped = True
            self._failure = self._failure or error

    def _take(self, file: FoundFile, mark: bytes, buffer: bytearray) -> tuple[Fate, str]:
        """Take one file in. Raises StorageUnavailable when the archive, not the file, is at fault."""
        try:
            with FileIO(open_regular(file.path)) as source:
                return self._take_open(source, file, mark, memoryview(buffer))
        except OSError as error:
            return Fate.UNREADABLE, error.strerror or type(error).__name__

    def _take_open(self, source: FileIO, file: FoundFile, mark: bytes, buffer: memoryview) -> tuple[Fate, str]:
        ingest: Ingest | None = None
        try:
            got = _fill(source, buffer)
            header = parse_file_header(buffer[:got])
            if header.sop_class == MEDIA_STORAGE_DIRECTORY:
                return Fate.NOT_DICOM, ""
            data_set = buffer[header.data_set_offset : got]
            ingest = self._archive.new_ingest(
                self._arrival(header, data_set), _MarkingIndex(self._archive.index, self._marks, mark)
            )
            while got:
                ingest.write(data_set)
                file_bytes = source.tell()
                got = source.readinto(buffer) or 0
                data_set = buffer[:got]
            if file_bytes != file.size:
                raise Refused("file-changed")
            return _FATES.get(ingest.commit(), (Fate.ALREADY_HERE, ""))
        except OSError as error:
            if ingest is not None:
                ingest.abort()
            return Fate.UNREADABLE, error.strerror or type(error).__name__
        except StorageUnavailable:
            if ingest is not None:
                ingest.abort()
            raise
        except Exception as error:
            return self._refused(ingest, error)

    def _arrival(self, header: FileHeader, data_set: memoryview) -> Arrival:
        syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
        if syntax is None:
            raise Refused("transfer-syntax-unknown")
        principal = self._archive.principal
        if header.sop_class and header.sop_uid:
            sop_class, sop_uid = Uid.parse(header.sop_class), Uid.parse(header.sop_uid)
        else:  # a file without its meta information: the data set itself says what it is, and says it early
            scan = HeaderScan(syntax, frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID}))
            scan.feed(data_set)
            sop_class = parse_uid(scan.elements.get(SOP_CLASS_UID), "sop-class-uid")
            sop_uid = parse_uid(scan.elements.get(SOP_INSTANCE_UID), "sop-instance-uid")
        return Arrival(sop_class, sop_uid, syntax, principal, Action.IMPORT, file_header=header.unusual)

    def _refused(self, ingest: Ingest | None, error: Exception) -> tuple[Fate, str]:
        if isinstance(error, Quarantined):  # and recorded with what is held
            return Fate.QUARANTINED, f"{error.quarantine_id}: {error.reason}"
        reason = reason_of(error)
        if reason == "not-dicom":
            return Fate.NOT_DICOM, ""
        if not isinstance(error, StrongroomError):
            log.error("an imported file met a fault of the archive: %s", reason)
        if ingest is not None:
            ingest.refuse(reason)
        else:
            self._archive.record(Action.IMPORT, {"reason": reason}, Outcome.REFUSED)
        return Fate.REFUSED, reason


def _fill(source: FileIO, buffer: memoryview) -> int:
    """Read until ``buffer`` holds what the header may take, or the file ends; returns how many bytes."""
    got = 0
    while got < MAX_HEADER_BYTES and (more := source.readinto(buffer[got:])):
        got += more
    return got
