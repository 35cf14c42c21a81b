"""Verification of whole trails, offline: every record, every log's tree, every checkpoint, kept here or elsewhere.

A log that was rewritten together with its head and its checkpoints agrees with itself; only a checkpoint that left
the host in time shows it. That is why ``against`` exists, and why a report without it says less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from strongroom.errors import IntegrityError, NotFound
from strongroom.trail.log import MAX_LOGS, Cursor, StoredRecord, TrailReader
from strongroom.trail.note import Checkpoint, Note, parse_note, parse_notes
from strongroom.trail.receipt import Finding, Receipt, Trust, check_note
from strongroom.trail.record import parse_record
from strongroom.trail.tree import Frontier, inclusion_proof, leaf_hash, verify_inclusion

MAX_FINDINGS_PER_LOG: Final = 100
"""Of each kind, about one record and about the log as a whole; what is over is counted."""
_PAGE: Final = 256

Progress = Callable[[int, int], None]
"""Called with (records verified, records there are) after each page."""


def verify(
    reader: TrailReader,
    cursor: Cursor,
    trust: Trust,
    against: Sequence[Note] = (),
    progress: Progress | None = None,
) -> list[Finding]:
    """Return everything that is wrong with the trail in the cursor's database; an empty list is the good answer.

    ``against`` are checkpoints kept outside it. Reads every record once, in memory that does not grow with their
    number. The caller holds one read transaction, else what is appended meanwhile looks added.
    Raises StorageUnavailable if the database cannot be read.
    """
    logs = reader.logs(cursor)
    findings: list[Finding] = []
    if len(logs) >= MAX_LOGS:
        findings.append(Finding("", None, f"more than {MAX_LOGS} logs: the rest was not verified"))
    tally = _Tally(_total(reader, cursor, logs), progress)
    for log in logs:
        noted = [note for note in against if note.checkpoint.log == log]
        findings += _LogVerification(reader, cursor, trust, log).run(noted, tally)
    present = set(logs)
    for note in against:
        if note.checkpoint.log not in present:
            findings += _check_lost_log(note, trust)
    return findings


class _Tally:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def add(self, count: int) -> None:
        self.done += count
        if self._progress is not None:
            self._progress(self.done, max(self.done, self.total))


@dataclass(frozen=True, slots=True)
class _Point:
    """A checkpoint to meet on the way through a log: where, what it states, and where it was kept."""

    size: int
    checkpoint: Checkpoint
    kept: str


class _LogVerification:
    """One pass over one log."""

    def __init__(self, reader: TrailReader, cursor: Cursor, trust: Trust, log: str) -> None:
        self._reader, self._cursor, self._trust, self._log = reader, cursor, trust, log
        self._findings: list[Finding] = []
        self._unlisted = 0
        self._listed = {"record": 0, "log": 0}
        self._frontier = Frontier()
        self._sound_size = 0
        self._missing_from: int | None = None
        self._rewritten: set[str] = set()

    def run(self, noted: Sequence[Note], tally: _Tally) -> list[Finding]:
        """Return the log's findings. ``noted`` are the checkpoints of this log that were kept elsewhere."""
        outside = iter(sorted(self._trusted_points(noted, "outside"), key=lambda point: point.size))
        inside = self._stored_points()
        sources = (outside, inside)
        pending = [next(source, None) for source in sources]

        def meet(size: int) -> None:
            for at, source in enumerate(sources):
                while (point := pending[at]) is not None and point.size <= size:
                    self._compare(point)
                    pending[at] = next(source, None)

        for row in self._rows(tally):
            if self._missing_from is None:
                meet(self._frontier.size)
            self._take(row)
        if self._missing_from is None:
            meet(self._frontier.size)
        for at, source in enumerate(sources):
            while (point := pending[at]) is not None:
                self._report_unreached(point)
                pending[at] = next(source, None)
        self._check_head()
        if self._unlisted:
            self._findings.append(Finding(self._log, None, f"{self._unlisted} more findings in this log"))
        return self._findings

    def _report(self, seq: int | None, what: str) -> None:
        # Counted apart: a thousand broken records must not push the one cut tail off the list.
        kind = "log" if seq is None else "record"
        if self._listed[kind] < MAX_FINDINGS_PER_LOG:
            self._listed[kind] += 1
            self._findings.append(Finding(self._log, seq, what))
        else:
            self._unlisted += 1

    def _rows(self, tally: _Tally) -> Iterator[StoredRecord]:
        try:
            for page in self._reader.pages(self._cursor, self._log):
                yield from page
                tally.add(len(page))
        except IntegrityError as error:
            if self._missing_from is None:
                self._missing_from = self._frontier.size
            self._report(None, f"{error}: nothing from record {self._frontier.size} on could be verified")

    def _take(self, row: StoredRecord) -> None:
        """Check one record and add it to the tree."""
        if self._missing_from is None and row.seq != self._frontier.size:
            self._missing_from = expected = self._frontier.size
            gap = f"records {expected} to {row.seq - 1} are missing"
            self._report(expected, gap if row.seq > expected else f"record {row.seq} stands in place of {expected}")
        leaf = leaf_hash(row.raw)
        if leaf != row.leaf:
            self._report(row.seq, "the record is not what its leaf hash was made from")
        try:
            record = parse_record(row.raw)
        except IntegrityError as error:
            self._report(row.seq, str(error))
        else:
            if (record.log, record.seq) != (self._log, row.seq):
                self._report(row.seq, f"the record was written as number {record.seq} of log {record.log}")
        if self._missing_from is None:
            self._frontier.append(leaf)

    def _compare(self, point: _Point) -> None:
        """Hold the tree as it stands, which is of the point's size, against what the point states."""
        if point.checkpoint.root == self._frontier.root():
            self._sound_size = max(self._sound_size, point.size)
        elif point.kept not in self._rewritten:
            # From the first difference on every root differs: one finding says it all.
            self._rewritten.add(point.kept)
            self._report(
                None,
                f"the root at {point.size} records is not that of the checkpoint kept {point.kept}: "
                f"something between records {self._sound_size} and {point.size - 1} was changed",
            )

    def _report_unreached(self, point: _Point) -> None:
        if self._missing_from is not None:
            what = f"cannot be compared, for record {self._missing_from} is missing"
        else:
            what = f"but there are {self._frontier.size}: the last {point.size - self._frontier.size} were cut off"
        self._report(None, f"the checkpoint kept {point.kept} states {point.size} records, {what}")

    def _check_head(self) -> None:
        try:
            head = self._reader.head(self._cursor, self._log)
        except IntegrityError as error:
            self._report(None, str(error))
            return
        if head is None:
            self._report(None, "the log has no head")
        elif self._missing_from is not None:
            return
        elif head.size != self._frontier.size:
            self._report(None, f"the head states {head.size} records, but there are {self._frontier.size}")
        elif head.frontier != self._frontier.to_bytes():
            self._report(None, "the head's frontier is not that of the records")

    def _stored_points(self) -> Iterator[_Point]:
        above = -1
        while True:
            try:
                page = self._reader.checkpoints(self._cursor, self._log, above, _PAGE)
            except IntegrityError as error:
                self._report(None, f"{error}: the stored checkpoints could not be verified")
                return
            if not page:
                return
            for stored in page:
                try:
                    note = parse_note(stored.note)
                except IntegrityError as error:
                    self._report(None, f"the stored checkpoint at {stored.size}: {error}")
                    continue
                if note.checkpoint.size != stored.size:
                    self._report(None, f"the checkpoint stored at {stored.size} states {note.checkpoint.size} records")
                    continue
                yield from self._trusted_points([note], "in the database")
            above = page[-1].size

    def _trusted_points(self, notes: Sequence[Note], kept: str) -> Iterator[_Point]:
        """Yield what the notes state, leaving out and reporting those that are not this log's or not signed."""
        for note in notes:
            what = check_note(note, self._trust, self._log)
            if what is None:
                yield _Point(note.checkpoint.size, note.checkpoint, kept)
            else:
                self._report(None, f"the checkpoint kept {kept} at {note.checkpoint.size} {what}")


def _total(reader: TrailReader, cursor: Cursor, logs: Sequence[str]) -> int:
    total = 0
    for log in logs:
        try:
            head = reader.head(cursor, log)
        except IntegrityError:
            continue  # reported when the log's turn comes
        total += 0 if head is None else head.size
    return total


def _check_lost_log(note: Note, trust: Trust) -> list[Finding]:
    log, size = note.checkpoint.log, note.checkpoint.size
    what = check_note(note, trust, log)
    if what is not None:
        return [Finding(log, None, f"the checkpoint kept outside at {size} {what}")]
    return [Finding(log, None, f"the whole log is gone: the checkpoint kept outside states {size} records")]


def prove(reader: TrailReader, cursor: Cursor, log: str, seq: int) -> Receipt:
    """Return the receipt of a record under the log's last stored checkpoint; see ``prove_under``.

    Raises NotFound if there is no such record, or no checkpoint covers it yet; IntegrityError as ``prove_under``.
    """
    last = reader.last_checkpoint(cursor, log)
    if last is None or last.size <= seq:
        raise NotFound("no such trail record under a checkpoint")
    if parse_note(last.note).checkpoint.size != last.size:
        raise IntegrityError(f"trail log {log} keeps a checkpoint under a size that it does not state")
    return prove_under(reader, cursor, (log, seq), last.note)


def prove_under(reader: TrailReader, cursor: Cursor, at: tuple[str, int], text: str) -> Receipt:
    """Return the receipt of a record, ``at`` a log and a number, under the checkpoint file ``text``.

    Reads every leaf hash up to its size once. Raises NotFound if there is no such record under that checkpoint,
    IntegrityError if the leaves, the record and the checkpoint contradict each other; run verify.
    """
    log, seq = at
    rows = reader.read(cursor, log, seq, 1)
    note = next((note for note in parse_notes(text) if note.checkpoint.log == log), None)
    if not rows or rows[0].seq != seq or note is None or note.checkpoint.size <= seq:
        raise NotFound("no such trail record under a checkpoint")
    raw, stated, signed = rows[0].raw, note.checkpoint, note.signatures[0]
    proof = inclusion_proof(lambda start, stop: reader.leaves(cursor, log, start, stop), seq, stated.size)
    if not verify_inclusion(leaf_hash(raw), seq, stated.size, proof, stated.root):
        raise IntegrityError(f"trail log {log} does not prove its record {seq}")
    return Receipt(seq, raw, tuple(proof), text, f"{signed.name}+{signed.key_hash.hex()}")
