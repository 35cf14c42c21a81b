"""Time stamps of an open archive: its checkpoints, stamped by an authority outside and kept beside them.

An authority that is away, or answers nonsense, stops nothing: it is asked again, and log and trail say so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.ports import Clock
from strongroom.checkpoints import stamped, write_stamp
from strongroom.errors import StorageUnavailable, StrongroomError
from strongroom.net.timestamps import ask
from strongroom.trail.note import Note
from strongroom.trail.stamp import MAX_RESPONSE_BYTES, Certificates, check_answer, new_request, read_certificates

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
"""Until an authority that failed is asked again; doubled each time."""

Ask = Callable[[str, bytes, int], bytes]
"""Called with URL, request and the most bytes that an answer may have; raises PeerUnavailable."""


@dataclass(frozen=True, slots=True)
class StampedCheckpoint:
    """A checkpoint file and what the authority answered about it."""

    text: str
    stamp: bytes


class Stamper:
    """Has checkpoints stamped when it is time to. Belongs to one thread."""

    def __init__(self, archive: Archive, clock: Clock = time.time, ask: Ask = ask) -> None:
        self._archive, self._clock, self._ask = archive, clock, ask
        self._settings = archive.config.trail
        self._due_s = 0.0
        self._stamped = ""
        self._failures = 0

    @property
    def is_wanted(self) -> bool:
        """Whether an authority is configured."""
        return bool(self._settings.timestamp_url)

    def keep_up(self, text: str) -> bool:
        """Have the checkpoint file ``text`` stamped, unless one was lately or it is; whether it has been now.

        What fails is logged, and recorded once; the authority is asked again later.
        """
        now = self._clock()
        if not self.is_wanted or not text or now < self._due_s or text == self._stamped:
            return False
        try:
            self.stamp(text)
        except StrongroomError as error:
            self._failed(error, text)
            return False
        if self._failures:
            log.warning("the time stamp authority answers again, after %d failures", self._failures)
        self._failures, self._stamped = 0, text
        self._due_s = now + self._settings.timestamp_interval_s
        return True

    def _failed(self, error: StrongroomError, text: str) -> None:
        self._due_s = self._clock() + min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 16), LONGEST_PAUSE_S)
        self._failures += 1
        log.error("no time stamp: %s", error)
        if self._failures > 1:  # one record says that it began; the missing stamps say for how long
            return
        digest = sha256(text.encode()).hexdigest()
        details: dict[str, Detail] = {"what": "time stamp", "reason": str(error)[:200], "checkpoint_sha256": digest}
        try:
            self._archive.record(Action.ALERT, details, Outcome.FAILED)
        except StrongroomError as unrecorded:
            log.error("that could not be recorded: %s", unrecorded)

    def stamp(self, text: str) -> bytes:
        """Have the checkpoint file ``text`` stamped now, keep the answer in every checkpoint directory, and return it.

        Raises PeerUnavailable (no answer), IntegrityError (an answer that proves nothing), ConfigError (the file of
        certificates), StorageUnavailable (nowhere to keep it).
        """
        request = new_request(text.encode())
        answer = self._ask(self._settings.timestamp_url, request.raw, MAX_RESPONSE_BYTES)
        check_answer(answer, request, trusted_authority(self._settings.timestamp_cert))
        problems = []
        for folder in self._archive.checkpoint_folders:
            try:
                write_stamp(folder, text, answer)
            except StorageUnavailable as error:
                problems.append(str(error))
        if problems:
            raise StorageUnavailable("; ".join(problems))
        return answer


def trusted_authority(path: str) -> Certificates:
    """The certificates in the configured file; none if none is configured. Raises ConfigError."""
    return read_certificates(Path(path)) if path else ()


def stamped_checkpoints(archive: Archive, log_name: str, seq: int) -> Iterator[StampedCheckpoint]:
    """Stamped checkpoints of this archive that cover a record, the smallest and so the earliest first."""
    covering: list[tuple[Note, StampedCheckpoint]] = []
    for folder in archive.checkpoint_folders:
        for notes, text, stamp in stamped(folder, MAX_RESPONSE_BYTES):
            for note in notes:
                if note.checkpoint.log == log_name and note.checkpoint.size > seq:
                    covering.append((note, StampedCheckpoint(text, stamp)))
    covering.sort(key=lambda each: (each[0].checkpoint.size, each[0].checkpoint.time))
    for note, checkpoint in covering:
        if archive.is_own_note(note):  # one by one: there may be thousands, and the first is what is wanted
            yield checkpoint
