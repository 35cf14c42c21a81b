"""The check that `serve` runs by itself: every object is read again and hashed within ``check.every_days``.

Rounds begin every half of that time and are paced to take no more than the other half, so that from one look at an
object to the next there is never more than the whole of it. The reading is done by another process (``checkworker``);
here is what it found: kept in the index, and in the trail at once.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from strongroom.app import SERVE_LOG, Archive
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.ports import Clock
from strongroom.errors import StrongroomError
from strongroom.serving.checkworker import LAST_MOMENT_S, Damaged, Done, Orders, Planned, Walked, Word
from strongroom.serving.pulse import MAX_PATIENCE_S, Hearing
from strongroom.store.rounds import DAY_S, META_NAME, Damage, Round, Rounds, encode_rounds, read_rounds

log = logging.getLogger(__name__)

GRACE_S = 2.0
"""For the process to end by itself."""
START_DELAY_S = 300.0
"""The first minutes after a start belong to who waits for the archive."""
SAVE_INTERVAL_S = 60.0
"""How often the position is kept: what may have to be read again."""
LONGEST_WAIT_S = 60.0
"""Between two looks at the clock, which may be set."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0
"""Before a process that died is started again; doubled each time."""
MAX_RECORDED = 1000
"""Damaged objects of one round with a trail record each; beyond that they are counted, at the end of the round."""

Words = Callable[[Orders], Iterator[Word]]
"""Carries orders out, and gives what is said on the way; an end without Done is one before the time."""


class BackgroundCheck:
    """The schedule of an open archive's rounds, on a thread of its own."""

    def __init__(self, archive: Archive, clock: Clock = time.time, words: Words | None = None) -> None:
        self._archive, self._clock = archive, clock
        self._settings = archive.config.check
        self._period_s = self._settings.every_days * DAY_S / 2
        self._words = words or self._spawned
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="check", daemon=True)
        self._rounds = read_rounds(archive.index)
        self._saved_s = self._first_s = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether it is configured."""
        return self._period_s > 0

    def start(self) -> None:
        """Begin, or go on, after a while."""
        if self.is_wanted:
            self._first_s = self._clock() + min(START_DELAY_S, self._period_s)
            self._thread.start()

    def stop(self) -> None:
        """Keep the position, and end."""
        self._stop.set()
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
        if self._thread.ident is None:
            return
        self._thread.join(GRACE_S)
        with self._lock:
            if self._process is not None:
                self._process.kill()  # it writes nothing: there is nothing that it could leave by halves
        self._thread.join(LAST_MOMENT_S)

    def due_s(self) -> float:
        """When there is something to do, in seconds since 1970."""
        last = self._rounds.last
        # A round that began tomorrow says that the clock was set back since: nobody waits for it.
        if self._rounds.under_way is not None or last is None or last.started_s > self._clock():
            return self._first_s
        return max(self._first_s, last.started_s + self._period_s)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            wait_s = self.due_s() - self._clock()
            if wait_s > 0:
                self._stop.wait(min(wait_s, LONGEST_WAIT_S))
                continue
            try:
                is_done = self.walk()
            except StrongroomError as error:
                log.error("the background check could not go on: %s", error)
                is_done = False
            except Exception:
                log.exception("the background check could not go on")
                is_done = False
            if not is_done and not self._stop.is_set():
                log.error("the background check ended early and is started again in %.0f s", pause_s)
                self._stop.wait(pause_s)
            pause_s = FIRST_PAUSE_S if is_done else min(pause_s * 2, LONGEST_PAUSE_S)

    def walk(self) -> bool:
        """Go on with the round under way, or begin one; whether it is done. Raises StorageUnavailable."""
        self._rounds = self._rounds.begun(self._clock())
        self._save()
        under_way = self._round()
        within_s = under_way.started_s + self._period_s - self._clock()
        orders = Orders(
            str(self._archive.home.root),
            SERVE_LOG,
            under_way.after,
            within_s,
            self._settings.max_bytes_per_s,
            self._archive.config,
        )
        try:
            for word in self._words(orders):
                if isinstance(word, Done):
                    self._end()
                    return True
                self._take(word)
        finally:
            if self._rounds.under_way is not None:
                self._save()
        return False

    def _take(self, word: Planned | Walked | Damaged) -> None:
        if isinstance(word, Planned):
            if word.is_late:
                log.warning("check.max_bytes_per_s is too low to read everything within check.every_days")
            return
        if isinstance(word, Walked):
            walked = self._round().walked(word.after, word.objects, word.data_bytes)
            self._rounds = Rounds(walked, self._rounds.last)
            if self._clock() >= self._saved_s + SAVE_INTERVAL_S:
                self._save()
            return
        self._rounds = Rounds(self._round().with_damage(word.damage), self._rounds.last)
        if self._round().damaged <= MAX_RECORDED:
            self._say(word.damage)

    def _round(self) -> Round:
        assert self._rounds.under_way is not None
        return self._rounds.under_way

    def _say(self, damage: Damage) -> None:
        """Put damage into the trail, for whoever reads it later and for whoever watches now."""
        details: dict[str, Detail] = {
            "what": "background check",
            "round": self._round().number,
            "reason": damage.kind,
            "study_uid": damage.study_uid,
            "series_uid": damage.series_uid,
            "sop_uid": damage.sop_uid,
            "object": damage.object_id,
        }
        self._archive.record(Action.CHECK, details, Outcome.FAILED)
        self._archive.record(Action.ALERT, details | {"severity": "critical"}, Outcome.FAILED)

    def _end(self) -> None:
        done = self._round()
        self._rounds = self._rounds.ended(self._clock())
        details: dict[str, Detail] = {
            "what": "background check",
            "round": done.number,
            "objects": done.objects,
            "bytes": done.data_bytes,
            "findings": done.damaged,
            "kinds": tuple(sorted(done.kinds)),
        }
        self._archive.record(Action.CHECK, details, Outcome.FAILED if done.damaged else Outcome.SUCCESS)
        self._save()

    def _save(self) -> None:
        self._archive.index.set_meta(META_NAME, encode_rounds(self._rounds))
        self._saved_s = self._clock()

    def _spawned(self, orders: Orders) -> Iterator[Word]:
        """What a process says that carries the orders out; ended, and waited for, afterwards."""
        # -P: a folder of our name, wherever we were started, is not our code.
        command = [sys.executable, "-P", "-m", "strongroom.serving.checkworker"]
        with self._lock:  # from here on `stop` finds it, and closes what it reads
            if self._stop.is_set():
                return
            heard, told = os.pipe()
            try:
                self._process = process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(told,)
                )
            except BaseException:
                os.close(heard)
                raise
            finally:
                os.close(told)
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):  # it ended before it had begun; so do its words
                process.stdin.write(msgspec.json.encode(replace(orders, pulse_fd=told)) + b"\n")
                process.stdin.flush()
        try:
            attend = threading.Thread(
                target=self._attend, args=(process, Hearing(heard)), name="check-pulse", daemon=True
            )
            attend.start()
            decode = msgspec.json.Decoder(Word).decode
            for line in process.stdout:
                yield decode(line)
        except msgspec.DecodeError:
            log.error("the background check said something that nobody understands")
        finally:
            with self._lock, suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            try:
                process.wait(2 * LAST_MOMENT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _attend(self, process: subprocess.Popen[bytes], hearing: Hearing) -> None:
        """End a process that hangs: what it says then ends as well."""
        if hearing.is_lost(self._stop, MAX_PATIENCE_S, MAX_PATIENCE_S):
            log.error("the background check hangs, and is killed")
            process.kill()
        hearing.close()
