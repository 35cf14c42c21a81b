"""Objects that are durable in the journal and wait for their rows in the index.

A store is answered when its frame is in the journal; the index follows within milliseconds, many rows at a time, in a
thread of its own. Nobody can tell the difference: whatever reads the index, or changes it in any other way, has what
waits written first, in this process and, by `turns`, in every other one. What waits at a crash is in the journal.

Only the ordinary case comes here: one more instance of a series whose place is known, with nothing to decide. All else
goes straight to the index (`Database.write`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, select

from strongroom.archive.attributes import decode_attributes
from strongroom.archive.keys import column_values
from strongroom.archive.model import (
    Action,
    DataKey,
    Detail,
    Event,
    Level,
    LevelAttributes,
    NewInstance,
    Outcome,
    StoredObject,
)
from strongroom.errors import IntegrityError, Refused, StaleKey, StorageUnavailable, StrongroomError
from strongroom.store.database import Database, Sql
from strongroom.store.journal import MAX_FRAME_BYTES, Journal
from strongroom.store.schema.tables import DATA_KEY, INSTANCE, META, STUDY
from strongroom.store.transaction import COLUMN_NAMES, GENERATION
from strongroom.store.turns import Turns
from strongroom.types import Principal

LINGER_S, LINGER_TIMES = 0.004, 5
"""Rows are written this much later, so that more are written together."""
STUCK_RETRY_S = 1.0
"""Rows that could not be written are tried again so often."""
MAX_WAITING = 512
"""Objects whose rows are still to be written; then the senders wait for the index."""

MAX_INTEGER = 2**53
JOURNAL_DAMAGED = "journal-damaged"
"""What an alert is about that says so."""
INDEXED = "journal"
"""``meta`` value: the journal's epoch, and how many of its frames have their rows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One object in the journal: the number of its frame, and what the index is to hold of it."""

    number: int
    new: NewInstance
    event: Event
    place: Any


class _Frame(msgspec.Struct, array_like=True, frozen=True):
    object_id: bytes
    uids: tuple[str, str, str, str, str]
    data_bytes: int
    sha256: bytes
    received_us: int
    key_id: bytes
    sealed: bytes
    modality: str
    levels: tuple[tuple[tuple[str, ...], bytes], ...]
    action: str
    outcome: str
    principal: tuple[str, str, str, str, str]
    details: dict[str, str | int | bool | tuple[str, ...]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Frame).decode


def encode_frame(new: NewInstance, event: Event) -> bytes:
    """All that the index and the trail will hold of one object; of its data key only the id.

    So what the journal holds of a study opens nothing of it, whichever master key is found one day.

    Returns b"" if it holds what the index or the trail might not take: nobody is left to be told so later.
    """
    details: dict[str, str | int | bool | tuple[str, ...]] = {}
    for name, value in event.details.items():
        if isinstance(value, str):
            details[name] = str(value)
        elif isinstance(value, int) and abs(value) < MAX_INTEGER:
            details[name] = value
        else:
            return b""
    try:
        return _encode(_frame(new, event, details))
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError):
        return b""


def _frame(new: NewInstance, event: Event, details: dict[str, str | int | bool | tuple[str, ...]]) -> _Frame:
    stored, by = new.stored, event.principal
    return _Frame(
        stored.object_id,
        (str(stored.sop_class), str(stored.sop_uid), str(stored.series_uid), str(stored.study_uid),
         str(stored.transfer_syntax)),
        stored.data_bytes,
        stored.sha256,
        stored.received_us,
        stored.key.key_id,
        new.sealed,
        new.modality,
        tuple([(level.columns, level.attributes) for level in new.levels]),
        event.action,
        event.outcome,
        (str(by.aet), by.fingerprint, by.user, by.address, by.via),
        details,
    )  # fmt: skip


def _principal(aet: str, fingerprint: str, user: str, address: str, via: str) -> Principal:
    return Principal(aet, fingerprint, user, address, via=via)


def decode_frame(payload: bytes) -> tuple[NewInstance, Event]:
    """What `encode_frame` was given, but for the key. Raises IntegrityError."""
    try:
        frame = _decode(payload)
    except msgspec.DecodeError as error:
        raise IntegrityError("the journal holds a frame of another version") from error
    stored = StoredObject(
        frame.object_id, *frame.uids, frame.data_bytes, frame.sha256,
        DataKey(frame.key_id, b"", b"", ""), frame.received_us,
    )  # fmt: skip
    levels = tuple(_level(level, *kept) for level, kept in zip(Level, frame.levels, strict=True))
    new = NewInstance(stored, frame.sealed, frame.modality, levels)  # type: ignore[arg-type]  # four of them
    return new, Event(Action(frame.action), Outcome(frame.outcome), _principal(*frame.principal), frame.details)


def _level(level: Level, columns: tuple[str, ...], attributes: bytes) -> LevelAttributes:
    """One level of a frame. What wrote it may have been a version that had fewer columns."""
    if len(columns) != len(COLUMN_NAMES[level]):
        columns = column_values(level, decode_attributes(attributes))
    return LevelAttributes(columns, attributes)


class Ordinary(Protocol):
    """What the index knows, without a transaction, of an object that is to be added (`transaction.Shared`)."""

    def is_current(self, generation: str) -> None:
        """Forget remembered places if they are of another generation."""

    def place_of(self, new: NewInstance) -> Any | None:
        """Where it goes, if nothing has to be decided or changed but that it is one more there."""


class Backlog:
    """The journal's objects that wait for their rows, and the turn to write them. Thread-safe."""

    def __init__(self, database: Database, journal: Journal, turns: Turns, ordinary: Ordinary) -> None:
        self._database = database
        self._journal = journal
        self._turns = turns
        self._ordinary = ordinary
        self._has_instance = Sql(select(INSTANCE.c.id).where(INSTANCE.c.sop_uid == bindparam("a")), database.dialect)
        self._has_key = Sql(
            select(DATA_KEY.c.key_id)
            .join_from(DATA_KEY, STUDY)
            .where(DATA_KEY.c.key_id == bindparam("a"), STUDY.c.study_uid == bindparam("b")),
            database.dialect,
        )
        self._meta = Sql(select(META.c.value).where(META.c.name == bindparam("a")), database.dialect)
        self._state = threading.Lock()
        self._busy = 0
        self._waiting: list[Waiting] = []
        self._uids: set[str] = set()
        self._version = 0
        """Moves on whenever a row may be there that was not, or a place be gone."""
        self._idle: list[Any] = []
        self._journals = False
        self._wake = threading.Event()
        self._ends = False
        self._is_stuck = False
        self._writer = threading.Thread(target=self._write_on, name="index-rows", daemon=True)
        database.beforehand = self

    # -- the way in

    def start(self) -> None:
        """Take objects from now on. One process of an archive does: the one that serves it.

        Raises StorageUnavailable if the journal cannot be made.
        """
        with self._database.deciding():
            self.begin()
            try:
                self._journal.make()
            finally:
                self.end()
        self._journals = True
        self._writer.start()

    def take(self, new: NewInstance, event: Event) -> bool:
        """Make an ordinary object durable; False, with nothing written, if it has to go to the index itself.

        Raises StorageUnavailable.
        """
        if not self._journals or self._is_stuck:
            return False
        payload = encode_frame(new, event)
        if not 0 < len(payload) <= MAX_FRAME_BYTES:
            return False
        version = self._version
        is_new = self._is_new(new.stored.sop_uid)
        with self._database.deciding():
            self._database.require_sound()
            self.begin()
            try:
                # In this order: what leaves `_uids`, at any moment, has moved `_version` on before (see `written`).
                if new.stored.sop_uid in self._uids:
                    return False
                if version != self._version:
                    is_new = self._is_new(new.stored.sop_uid)
                if not is_new or not self._is_journalled(new, event, payload):
                    return False
            finally:
                self.end()
        # Outside the door: others write their frames meanwhile, and one sync does for all that is written before it.
        try:
            self._journal.sync()
        except StorageUnavailable:
            self._database.fail()
            raise
        return True

    def _is_new(self, sop_uid: str) -> bool:
        """Whether no row has this SOP Instance UID; that may change as soon as ``_version`` does."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._database.connect()
        try:
            found = self._has_instance.run(connection.cursor(), a=sop_uid).fetchone()
        except self._database.backend.error as error:
            raise StorageUnavailable("the index cannot be read") from error
        self._idle.append(connection)
        return found is None

    def _is_journalled(self, new: NewInstance, event: Event, payload: bytes) -> bool:
        place = self._ordinary.place_of(new)
        if place is None:
            return False
        if len(self._waiting) >= MAX_WAITING:
            self._database.write_waiting()
        if not self._journal.has_room(payload):
            self._begin_epoch()
        self._turns.mark_unfinished()
        number = self._journal.write(payload)
        with self._state:
            self._uids.add(new.stored.sop_uid)
            self._waiting.append(Waiting(number, new, event, place))
        self._wake.set()
        return True

    def _begin_epoch(self) -> None:
        """Make room. What the journal is to forget has to be durable in the index first."""
        if self._journal.is_there:
            self._database.write_waiting(durable=True)
            self._journal.begin()

    def _value(self, cursor: Any, name: str) -> str:
        row = self._meta.run(cursor, a=name).fetchone()
        return row[0] if row else ""

    @property
    def waiting(self) -> int:
        """How many objects wait for their rows."""
        return len(self._waiting)

    @property
    def is_stuck(self) -> bool:
        """Whether rows cannot be written for now."""
        return self._is_stuck

    # -- the way into the index

    def _write_on(self) -> None:
        """Write rows as objects come; the work of a thread."""
        while not self._ends:
            self._wake.wait(STUCK_RETRY_S if self._is_stuck else None)
            self._wake.clear()
            self._linger()
            if self._waiting:
                self._write_rows()

    def _write_rows(self) -> None:
        """Write the rows of what waits. If that fails (a full disk) all new objects go to the index itself, which says
        so to their senders; what is in the index already can be read all the same."""
        try:
            self._database.write_waiting()
        except StrongroomError as error:
            if self._gets_stuck():
                log.error("what is stored cannot be indexed: %s", error)
        except Exception:
            if self._gets_stuck():
                log.exception("what is stored cannot be indexed")

    def _gets_stuck(self) -> bool:
        """Whether this is when it began."""
        with self._state:
            if self._is_stuck or not self._waiting:
                return False
            self._is_stuck = True
            self._turns.mark_stuck()
            return True

    def _linger(self) -> None:
        """Let more come: rows written together share pages. Not while another process waits."""
        for _ in range(LINGER_TIMES):
            if self._ends or not self._waiting or self._turns.is_wanted():
                return
            time.sleep(LINGER_S)

    def write(self, unit: Any) -> int:
        """Write the rows of what waits; returns the number of the first frame that is not among them."""
        with self._state:
            waiting = self._waiting.copy()
        if not waiting:
            return 0
        done = self._indexed(self._value(unit.cursor, INDEXED))
        if ahead := [each for each in waiting if each.number >= done]:
            unit.add_waiting(ahead)
            self._note(unit, waiting[-1].number + 1)
        return waiting[-1].number + 1

    def _note(self, unit: Any, number: int) -> None:
        unit.set_meta(INDEXED, f"{self._journal.name} {number}")

    def _indexed(self, text: str) -> int:
        """How many frames of the present epoch have their rows."""
        name, _, number = text.partition(" ")
        return int(number) if name == self._journal.name and number.isdecimal() else 0

    def written(self, mark: int) -> None:
        """Forget what has its rows now."""
        if not mark:
            return
        with self._state:
            done = [each for each in self._waiting if each.number < mark]
            del self._waiting[: len(done)]
            self._version += 1
            if self._is_stuck:
                self._is_stuck = False
                self._turns.mark_unfinished()
            self._uids.difference_update([each.new.stored.sop_uid for each in done])
            self._leave_if_idle()

    # -- turns

    def begin(self) -> None:
        """Wait until this process may write. The door is held. Raises StorageUnavailable."""
        with self._state:
            self._busy += 1
        try:
            if self._turns.is_ours and self._turns.is_wanted():
                self._database.write_waiting()
                with self._state:
                    self._turns.leave()
            if not self._turns.is_ours:
                self._take_turn()
        except BaseException:
            self.end()
            raise

    def _take_turn(self, *, replay: bool = False) -> None:
        finished = self._turns.take()
        self._version += 1
        self._journal.refresh()
        if replay or not finished:
            self._replay(finished)
        with self._database.reading() as cursor:
            self._ordinary.is_current(self._value(cursor, GENERATION))

    def end(self) -> None:
        """Nothing more is to be written for now."""
        with self._state:
            self._busy -= 1
            self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._turns.is_ours and not self._busy and not self._waiting:
            self._turns.leave()

    def settle(self) -> None:
        """Return when everything that was acknowledged can be read, whichever process acknowledged it."""
        if self._journals:
            if self._waiting and not self._database.is_writing_here():
                self._write_rows()
        elif not self._database.is_writing_here() and not self._turns.wait():
            self.replay()

    # -- after a crash

    def replay(self) -> None:
        """Write the rows that the index lacks of what the journal holds. Raises StorageUnavailable, IntegrityError."""
        with self._database.deciding():
            with self._state:
                self._busy += 1
            try:
                self._take_turn(replay=True)
            finally:
                self.end()

    def _replay(self, finished: bool) -> None:
        frames = [(number, *decode_frame(payload)) for number, payload in self._journal.frames()]
        # A turn that was finished left nothing to be lost, whatever became of the file since.
        damage = "" if finished else self._journal.damage()
        if damage:
            log.error("objects that were acknowledged may be lost: %s", damage)
        if frames or damage:
            self._database.write_alone(lambda unit: self._replay_into(unit, frames, damage))
        if frames:
            self._journal.begin()
        self._turns.mark_finished()

    def _replay_into(self, unit: Any, frames: Sequence[tuple[int, NewInstance, Event]], damage: str) -> None:
        if damage:
            details: dict[str, Detail] = {"what": JOURNAL_DAMAGED, "why": damage, "found": len(frames)}
            unit.record(Event(Action.ALERT, Outcome.FAILED, Principal("", "", "", ""), details))
        done = self._indexed(unit.meta(INDEXED))
        for _, new, event in (each for each in frames if each[0] >= done):
            try:
                if not self._has_key.run(unit.cursor, a=new.stored.key.key_id, b=new.stored.study_uid).fetchone():
                    raise StaleKey("the index does not hold the key of its study")
                if unit.store(new):
                    unit.record(event, at_s=new.stored.received_us / 1e6)
            except (Refused, StaleKey) as error:
                # Index and journal are copies of different times, and the study was deleted, or made another patient's,
                # in between. That must not keep the archive shut; the trail says what is not there.
                log.error("an object in the journal has no place in the index: %s", error)
                told = {name: value for name, value in event.details.items() if name != "verdict"}
                unit.record(Event(event.action, Outcome.REFUSED, event.principal, told | {"reason": str(error)}))
        if frames:
            self._note(unit, frames[-1][0] + 1)

    def erase(self) -> None:
        """Let the journal hold nothing of what was ever in it. Raises StorageUnavailable."""
        with self._database.deciding():
            self.begin()
            try:
                self._begin_epoch()
            finally:
                self.end()

    def close(self) -> None:
        """Write what waits, and end; what cannot be written stays in the journal. No call may be under way."""
        try:
            if self._journals:
                self._ends = True
                self._wake.set()
                self._writer.join()
                self.erase()
        except StorageUnavailable as error:  # then whoever opens the archive next writes the rows
            log.error("the journal is left as it is: %s", error)
        finally:
            for connection in self._idle:
                connection.close()
            self._journal.close()
            self._turns.close()
