"""The one door for objects: C-STORE, import and whatever comes later all write here.

Bytes go through once: scanned, hashed and sealed as they arrive, never decoded, never copied to a temporary file.
``commit`` returns when the object, its index rows and its trail record are durable, and not before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock
from typing import Protocol

from strongroom.archive.access import require_in_scope
from strongroom.archive.attributes import STUDY_INSTANCE_UID, WANTED, describe, parse_uid
from strongroom.archive.door import (
    NOTHING_FOUND,
    SCREENING,
    Door,
    Policy,
    Screened,
    ScreeningMemory,
)
from strongroom.archive.integrity import MOVED, VARIANT, Copy, judge
from strongroom.archive.keptout import KeptOut
from strongroom.archive.model import (
    Action,
    Added,
    DataKey,
    Detail,
    Event,
    Flag,
    NewInstance,
    Outcome,
    Source,
    StoredObject,
)
from strongroom.archive.ports import BlobStore, BlobWriter, Clock, Index, Keys
from strongroom.archive.read import open_object
from strongroom.archive.resealing import open_sealed, sealed_under
from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import HeaderScan, RawElement, ScanLimits
from strongroom.dicom.runs import RunMemory, RunScan
from strongroom.dicom.signed import SignatureSpotter
from strongroom.errors import (
    IntegrityError,
    LimitExceeded,
    NotFound,
    Refused,
    StaleKey,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.types import Principal, Uid

MAX_CACHED_KEYS = 1024
MAX_STATION_BYTES = 64
STATION_NAME = 0x00081010


class Verdict(StrEnum):
    """What became of an object whose store succeeded."""

    STORED = "stored"
    RESENT = "resent"
    VARIANT = "variant"
    RESTORED = "restored"
    COERCED = "coerced"
    """The archive has this object, of a patient who is described otherwise: that one stays."""
    UNVERIFIED = "unverified"
    """Stored, and flagged: it came late, from elsewhere."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the headers of earlier objects of one association have taught. Not thread-safe."""

    runs: RunMemory = field(default_factory=RunMemory)
    screening: ScreeningMemory | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of an object before its data set: from the C-STORE command, or from the file meta information."""

    sop_class: Uid
    sop_uid: Uid
    transfer_syntax: TransferSyntax
    principal: Principal
    action: Action = Action.STORE
    study_uid: str = ""
    """The one study that it may belong to, "" if any."""
    memory: Memory | None = None
    is_released: bool = False
    """Two people have released it from the quarantine: what screening finds is known."""
    file_header: bytes = field(default=b"", repr=False)
    """Of the file that it comes in, if it is unusual: looked at, and not kept."""


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Caps on one incoming object."""

    scan: ScanLimits
    max_header_bytes: int
    max_message_bytes: int
    study_closes_after_us: int = 24 * 3600 * 1_000_000
    """After its last instance came."""


class Incoming(Protocol):
    """One object on its way in, as `Ingest`, which this process does or another one (`serving.farstore`)."""

    memory: Memory | None
    study_uid: str
    series_uid: str

    def write(self, data: bytes | memoryview) -> None:
        """See `Ingest`; what is wrong with the bytes may also be said by ``commit``."""

    def commit(self) -> Verdict:
        """See `Ingest`."""

    def refuse(self, reason: str) -> None:
        """See `Ingest`."""

    def abort(self) -> None:
        """See `Ingest`."""

    def close(self) -> None:
        """See `Ingest`."""


class StudyKeys:
    """Data keys of the studies now arriving. Thread-safe."""

    def __init__(self, index: Index, keys: Keys) -> None:
        self._index = index
        self._keys = keys
        self._lock = Lock()
        self._cached: OrderedDict[str, DataKey] = OrderedDict()

    def of(self, study_uid: str) -> DataKey:
        """The key for new objects of a study; made now if the study has none."""
        with self._lock:
            key = self._cached.get(study_uid)
            if key is None:
                key = self._index.study_key(study_uid) or self._keys.new_data_key()
                self._cached[study_uid] = key
                if len(self._cached) > MAX_CACHED_KEYS:
                    self._cached.popitem(last=False)
            return key

    def forget(self, study_uid: str) -> None:
        """Ask the index again next time."""
        with self._lock:
            self._cached.pop(study_uid, None)


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingest needs from the outside."""

    blobs: BlobStore
    index: Index
    study_keys: StudyKeys
    clock: Clock
    new_object_id: Callable[[], bytes]
    door: Door
    check_signatures: Callable[[Uid, Principal], None] | None = None
    """Called with the SOP Instance UID of an object that is stored and may have signatures, and its sender."""


class Ingest:
    """One object on its way in: ``write`` any number of times, then ``commit`` or ``abort``. Owned by one thread."""

    def __init__(self, ports: IngestPorts, limits: IngestLimits, arrival: Arrival) -> None:
        self._ports = ports
        self._limits = limits
        self._arrival = arrival
        self.memory = memory = arrival.memory
        """Free for another object when this one has been committed or aborted."""
        syntax, scan = arrival.transfer_syntax, limits.scan
        self._scan = RunScan(memory.runs, syntax, WANTED, scan) if memory else HeaderScan(syntax, WANTED, scan)
        self._sha256 = hashlib.sha256()
        screen = None if arrival.is_released else ports.door.screen
        self._screening = screen and screen(syntax, memory and memory.screening, arrival.file_header)
        self._spotter = SignatureSpotter(syntax)
        self._size = 0
        self._early = bytearray()
        self._writer: BlobWriter | None = None
        self._object_id = b""
        self._key: DataKey | None = None
        self._kept_out = KeptOut(ports, self._event, is_released=arrival.is_released)
        self.study_uid = self.series_uid = ""
        """Of the data set; known once ``commit`` has begun."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set; the caller may reuse the buffer.

        Raises MalformedDataset, LimitExceeded, Refused or StorageUnavailable; the caller then calls ``abort``.
        """
        self._size += len(data)
        if self._size > self._limits.max_message_bytes:
            raise LimitExceeded("max_message_bytes", self._limits.max_message_bytes)
        self._scan.feed(data)
        self._sha256.update(data)
        self._spotter.feed(data, self._scan.pixel_data_offset)
        if self._screening is not None:
            self._screening.feed(data)
        if self._writer is None and not self._begin(data):
            return
        assert self._writer is not None
        self._writer.write(data)

    def _begin(self, data: bytes | memoryview) -> bool:
        """Open the sealed object once the study, whose key seals it, is known; until then keep the bytes."""
        element = self._scan.elements.get(STUDY_INSTANCE_UID)
        if element is None:
            if len(self._early) + len(data) > self._limits.max_header_bytes:
                raise LimitExceeded("max_header_bytes", self._limits.max_header_bytes)
            self._early += data
            return False
        study_uid = parse_uid(element, "study-instance-uid")
        if self._arrival.study_uid not in ("", study_uid):
            raise Refused("study-instance-uid-differs")
        self._key = self._ports.study_keys.of(study_uid)
        self._object_id = self._ports.new_object_id()
        self._writer = self._ports.blobs.create(self._object_id, self._key.key)
        if self._early:
            self._writer.write(self._early)
            self._early = bytearray()
        return True

    def commit(self) -> Verdict:
        """Make the object durable, indexed and recorded.

        Raises Refused (Quarantined if it is held), MalformedDataset, LimitExceeded, StorageUnavailable or
        IntegrityError; the caller then says ``refuse``, so that the trail knows.
        """
        try:
            new = self._described()
            screened = NOTHING_FOUND if self._screening is None else self._screening.finish()
            is_kept_out = screened.policy in (Policy.QUARANTINE, Policy.REFUSE)
            is_resent = is_kept_out and self._is_stored(new.stored)
            if screened.policy is Policy.REFUSE and not is_resent:
                raise self._kept_out.refused(self.study_uid, screened)
            assert self._writer is not None
            sealed, flag = self._writer.commit(), _flag_of(screened)
            new = NewInstance(new.stored, sealed, new.modality, new.levels, new.source, flag)
            if is_resent:
                return self._seen_again(new)
            if screened.policy is Policy.QUARANTINE:
                raise self._kept_out.held(new, screened)
            try:
                added = self._is_added(new)
            except StaleKey:
                new = self._sealed_again(new)
                added = self._is_added(new)
            except Refused as refusal:
                moved = MOVED.get(refusal.reason)
                raise self._kept_out.copy(new, moved, {}) if moved else refusal from None
            if not added:
                return self._seen_again(new)
            self._writer = None
            self._check_signatures()
            return Verdict.UNVERIFIED if added is Added.UNVERIFIED else Verdict.STORED
        finally:
            self._drop()

    def _check_signatures(self) -> None:
        check = self._ports.check_signatures
        if check is not None and self._spotter.found:
            check(self._arrival.sop_uid, self._arrival.principal)

    def _is_stored(self, new: StoredObject) -> bool:
        """Whether these very bytes are stored: let in before anybody screened, or released by two people. Their sender
        must not hear otherwise, since storage commitment does not."""
        first = self._ports.index.find_object(new.sop_uid, self._arrival.principal.scope)
        return first is not None and (first.sha256, first.transfer_syntax) == (new.sha256, new.transfer_syntax)

    def _is_added(self, new: NewInstance) -> Added:
        try:
            # The study is recorded with the object: a deletion names studies, and accounts for their objects so.
            stored: dict[str, Detail] = {"verdict": Verdict.STORED.value, "study_uid": new.stored.study_uid}
            if new.flag is not None:
                stored.update(flagged=new.flag.reason, severity=new.flag.severity)
            return self._ports.index.add(new, self._event(Outcome.SUCCESS, stored))
        except StaleKey:
            self._ports.study_keys.forget(new.stored.study_uid)
            raise
        except StorageUnavailable:
            # Whether that commit reached the disk is unknown until the database is opened again. The bytes stay: if
            # the row is there its object must be, and if it is not, the next start removes them.
            self._writer = None
            raise

    def _sealed_again(self, new: NewInstance) -> NewInstance:
        """The object under another key: its own was destroyed, for its study was deleted since this process got it.

        Whatever is stored after a deletion begins the study anew; the sender need not know that there was one.
        """
        stored, key = new.stored, self._ports.study_keys.of(new.stored.study_uid)
        object_id, sealed, writer = sealed_under(self._ports.blobs, self._ports.new_object_id(), key, new)
        self._drop()
        self._writer = writer
        return replace(new, stored=replace(stored, object_id=object_id, key=key), sealed=sealed)

    def abort(self) -> None:
        """Forget the object. Safe at any time, also after ``commit``."""
        self._drop()

    def close(self) -> None:
        """The same, when nothing more is said of the object."""
        self._drop()

    def refuse(self, reason: str) -> None:
        """Record that the object was not taken in, and forget it."""
        self._drop()
        if self._kept_out.is_recorded:
            return
        self._ports.index.record(self._event(Outcome.REFUSED, {"reason": reason}))

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        self._early = bytearray()
        if self._screening is not None:
            self._screening.close()

    def _described(self) -> NewInstance:
        arrival = self._arrival
        self._scan.finish()
        described = describe(self._scan.elements, arrival.transfer_syntax)
        self.study_uid, self.series_uid = described.study_uid, described.series_uid
        if described.sop_uid != arrival.sop_uid:
            raise Refused("sop-instance-uid-differs")
        if described.sop_class != arrival.sop_class:
            raise Refused("sop-class-uid-differs")
        if self._writer is None or self._key is None:
            raise Refused("study-instance-uid-missing")
        stored = StoredObject(
            object_id=self._object_id,
            sop_class=described.sop_class,
            sop_uid=described.sop_uid,
            series_uid=described.series_uid,
            study_uid=described.study_uid,
            transfer_syntax=arrival.transfer_syntax.uid,
            data_bytes=self._size,
            sha256=self._sha256.digest(),
            key=self._key,
            received_us=int(self._ports.clock() * 1e6),
        )
        new = NewInstance(stored, b"", described.modality, described.levels, self._source(stored))
        require_in_scope(arrival.principal.scope, new)
        return new

    def _event(self, outcome: Outcome, more: Mapping[str, Detail]) -> Event:
        arrival = self._arrival
        details: dict[str, Detail] = {
            "sop_class": arrival.sop_class,
            "sop_uid": arrival.sop_uid,
            "transfer_syntax": arrival.transfer_syntax.uid,
            "bytes": self._size,
            "sha256": self._sha256.hexdigest(),
        }
        details.update(more)
        return Event(arrival.action, outcome, arrival.principal, details)

    def _source(self, stored: StoredObject) -> Source:
        principal, station = self._arrival.principal, self._scan.elements.get(STATION_NAME)
        words = (principal.aet, principal.address, _text_of(station), _root_of(stored.sop_uid))
        return Source("\t".join(words), stored.received_us - self._limits.study_closes_after_us)

    # -- the same SOP Instance UID again: the first copy always stays

    def _seen_again(self, copy: NewInstance) -> Verdict:
        ports, new = self._ports, copy.stored
        first = ports.index.find_object(new.sop_uid, self._arrival.principal.scope)
        if first is None:
            raise StrongroomError("the stored object vanished while its copy arrived")
        if first.object_id == new.object_id:
            self._writer = None  # our own row, of a commit whose answer got lost
            return Verdict.STORED
        if first.sha256 == new.sha256 and first.transfer_syntax == new.transfer_syntax:
            if not self._is_intact(first):
                return self._restore(first, copy)
            ports.index.record(self._event(Outcome.SUCCESS, {"verdict": Verdict.RESENT.value}))
            return Verdict.RESENT
        if (first.study_uid, first.series_uid) != (new.study_uid, new.series_uid):
            raise self._kept_out.copy(copy, MOVED["sop-instance-in-another-series"], {})
        with (
            closing(open_object(ports.blobs, ports.index, first)) as stored,
            closing(open_sealed(ports.blobs, copy)) as opened,
        ):
            judgement, digests = judge(
                Copy(stored, first.transfer_syntax, first.sha256),
                Copy(opened, new.transfer_syntax, new.sha256),
                ports.door.pixels,
                self._limits.scan,
            )
        details = {**digests.details(), "first_sha256": first.sha256.hex()}
        if judgement is VARIANT:
            ports.index.record(self._event(Outcome.SUCCESS, {"verdict": Verdict.VARIANT.value, **details}))
            return Verdict.VARIANT
        failure = self._kept_out.copy(copy, judgement, details)
        if judgement.is_taken:
            return Verdict.COERCED
        raise failure

    def _is_intact(self, first: StoredObject) -> bool:
        """Whether what a resend would be told is stored can still be read, to its last byte."""
        digest = hashlib.sha256()
        try:
            with closing(open_object(self._ports.blobs, self._ports.index, first)) as reader:
                for chunk in reader.chunks():
                    digest.update(chunk)
        except (NotFound, IntegrityError):
            return False
        return digest.digest() == first.sha256

    def _restore(self, first: StoredObject, copy: NewInstance) -> Verdict:
        """Put the very bytes that were lost in the place of what is left of them."""
        event = self._event(Outcome.WARNING, {"verdict": Verdict.RESTORED.value, "study_uid": first.study_uid})
        if not self._ports.index.restore(first, copy, event):
            raise StorageUnavailable("the object changed while its copy arrived: send it again")
        self._writer = None
        return Verdict.RESTORED


def _flag_of(screened: Screened) -> Flag | None:
    if screened.policy is not Policy.FLAG:
        return None
    return Flag(SCREENING, screened.severity, screened.findings, screened.rules)


def _text_of(element: RawElement | None) -> str:
    text = "" if element is None else element.value[:MAX_STATION_BYTES].decode("ascii", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _root_of(sop_uid: str) -> str:
    """What the UIDs of one maker begin with: 2.25, or the first four components."""
    return "2.25" if sop_uid.startswith("2.25.") else ".".join(sop_uid.split(".")[:4])
