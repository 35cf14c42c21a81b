"""What STOW-RS does on the threads that store: parts of a body into the archive, and what became of each.

Everything here blocks and belongs to one thread at a time: the next piece of a body is fed when the one before it is
done. Objects that are complete are handed back to be committed, several at a time, so that they share syncs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from strongroom.archive.access import require
from strongroom.archive.ingest import Arrival, Incoming, Memory, Verdict
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.read import Reader
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import HeaderScan, RawElement
from strongroom.dicom.part10 import MAX_HEADER_BYTES, FileHeader, parse_file_header
from strongroom.errors import MalformedDataset, Quarantined, Refused, StorageUnavailable, StrongroomError
from strongroom.types import Principal, Right, Uid
from strongroom.web.multipart import MultipartReader, PartEnd, PartStart
from strongroom.web.negotiation import parse_media_type

DICOM: Final = "application/dicom"
MAX_UNSETTLED: Final = 8
"""Instances that have come whole and wait until others commit them."""

MAX_REASONS: Final = 16
"""Different reasons that one record of the trail names."""

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_IDENTITY_BYTES: Final = 8192
"""First bytes of a data set, in which its UIDs stand."""


@dataclass(slots=True)
class Fate:
    """What became of one instance of a request; either ``is_stored`` or ``failure`` in the end. UIDs are "" if they are
    not known."""

    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    is_stored: bool = False
    verdict: Verdict | None = None
    """What became of it in the archive, once it ``is_stored``."""
    failure: StrongroomError | None = None

    @property
    def is_coerced(self) -> bool:
        """Whether what is stored describes the patient otherwise, and stays as it is."""
        return self.verdict is Verdict.COERCED

    def fail(self, error: StrongroomError) -> None:
        """It is not stored because of ``error``, or of what was wrong with it before. Of the error only its words stay:
        its traceback would hold on to the buffers that were being looked at, for each part of a request."""
        if self.failure is None:
            error.__context__ = error.__cause__ = None
            self.failure = error.with_traceback(None)


@dataclass(slots=True)
class Complete:
    """An instance that has come whole, or was found unfit: ``settle`` commits it or records why not."""

    ingest: Incoming
    fate: Fate
    memories: list[Memory]

    def settle(self) -> None:
        """Make the instance durable, or record its refusal (what is held is recorded already).

        Leaves in ``fate`` what became of it.
        """
        ingest, fate = self.ingest, self.fate
        try:
            if fate.failure is None:
                try:
                    fate.verdict = ingest.commit()
                    fate.is_stored = True
                except StrongroomError as error:
                    fate.fail(error)
                fate.study_uid, fate.series_uid = ingest.study_uid, ingest.series_uid
            if fate.failure is not None and not isinstance(fate.failure, Quarantined):
                with suppress(StorageUnavailable):  # it is answered with a failure in any case
                    ingest.refuse(reason_of(fate.failure))
        finally:
            ingest.close()
            if ingest.memory is not None:
                self.memories.append(ingest.memory)


def keep_complete(complete: list[Complete], done: Complete) -> None:
    """Put one to those that are to be settled; beyond ``MAX_UNSETTLED`` the oldest is settled here and now. Many small
    instances come in one piece, and each keeps what takes it in until it is settled."""
    complete.append(done)
    if len(complete) > MAX_UNSETTLED:
        complete.pop(0).settle()


@dataclass(frozen=True, slots=True)
class Door:
    """How one request gets instances into the archive. ``study_uid`` is the only study that it may store, "" if any."""

    new_ingest: Callable[[Arrival], Incoming]
    reader: Reader
    principal: Principal
    storage_classes: frozenset[str]
    study_uid: str = ""
    new_memory: Callable[[], Memory] = Memory
    memories: list[Memory] = field(default_factory=list)
    """Of instances that are settled: each is used by one at a time."""

    def open(self, sop_class: str, sop_uid: str, transfer_syntax: str, file_header: bytes = b"") -> Incoming:
        """Begin to take an instance in; see `Arrival` for ``file_header``. Raises Denied, Refused."""
        require(self.principal, Right.STORE)
        if sop_class not in self.storage_classes:
            raise Refused("sop-class-not-supported")
        syntax = TRANSFER_SYNTAXES.get(transfer_syntax)
        if syntax is None:
            raise Refused("transfer-syntax-unknown")
        classified, named = parse_uid_text(sop_class, "sop-class-uid"), parse_uid_text(sop_uid, "sop-instance-uid")
        memory = self.memories.pop() if self.memories else self.new_memory()
        return self.new_ingest(
            Arrival(
                classified, named, syntax, self.principal,
                study_uid=self.study_uid, memory=memory, file_header=file_header,
            )
        )  # fmt: skip

    def record_unnamed(self, fates: list[Fate]) -> None:
        """Record in one sum what was refused before it began: nothing of it is in the trail yet."""
        if fates:
            reasons = sorted({reason_of(fate.failure) for fate in fates if fate.failure is not None})
            details: dict[str, Detail] = {"reasons": tuple(reasons[:MAX_REASONS]), "objects": len(fates)}
            self.reader.ended(self.principal, Action.STORE, Outcome.REFUSED, details)


class Intake(Protocol):
    """Takes a body in, piece by piece. ``fates`` are in the order in which instances began; ``complete`` is what has
    come whole, for the caller to take away and settle, also after an error."""

    fates: list[Fate]
    complete: list[Complete]

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises MalformedRequest or LimitExceeded for a body that goes no further; what is wrong
        with one instance is its fate."""

    def finish(self) -> None:
        """The body has ended. Raises as ``feed``."""

    def abandon(self) -> None:
        """The rest of the body does not come: forget what is not complete, and record that. Called at most once."""

    def release(self) -> None:
        """Give back the memory that was taken from what all requests share: at the end, however it comes about."""


class DicomStream:
    """One DICOM file (PS3.10) on its way into the archive."""

    def __init__(self, door: Door, fate: Fate) -> None:
        self._door = door
        self._fate = fate
        self._head = bytearray()
        self._ingest: Incoming | None = None

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the file. What is wrong with it is its fate, and no error."""
        if self._fate.failure is not None:
            return
        try:
            if self._ingest is not None:
                self._ingest.write(data)
            elif not self._head and len(data) >= MAX_HEADER_BYTES:
                self._begin(data)
            else:
                self._head += data
                if len(self._head) >= MAX_HEADER_BYTES:
                    self._begin_held()
        except StrongroomError as error:
            self._fail(error)

    def end(self) -> Complete | None:
        """The file is complete: return it to be settled, None if it never began."""
        if self._fate.failure is None and self._ingest is None:
            try:
                self._begin_held()
            except StrongroomError as error:
                self._fail(error)
        return None if self._ingest is None else Complete(self._ingest, self._fate, self._door.memories)

    def cut(self) -> None:
        """The rest of the file does not come."""
        self._fail(Refused("incomplete"))

    def _fail(self, error: StrongroomError) -> None:
        self._fate.fail(error)
        self._head = bytearray()
        if self._ingest is not None:
            self._ingest.abort()

    def _begin_held(self) -> None:
        head, self._head = self._head, bytearray()
        self._begin(memoryview(head))

    def _begin(self, data: memoryview) -> None:
        header = parse_file_header(data)
        data_set = data[header.data_set_offset :]
        sop_class, sop_uid = _identity(header, data_set)
        self._fate.sop_class, self._fate.sop_uid = sop_class, sop_uid
        self._ingest = self._door.open(sop_class, sop_uid, header.transfer_syntax, header.unusual)
        self._ingest.write(data_set)


def _identity(header: FileHeader, data_set: memoryview) -> tuple[Uid, Uid]:
    """Return SOP class and instance of a file, as its data set says: the meta information of files that were changed
    often says what they were before. It counts where the data set says nothing early, or is malformed."""
    found: Mapping[int, RawElement] = {}
    syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
    if syntax is not None:
        scan = HeaderScan(syntax, frozenset((_SOP_CLASS_UID, _SOP_INSTANCE_UID)))
        with suppress(StrongroomError):
            scan.feed(data_set[:_IDENTITY_BYTES])
        found = scan.elements
    return (
        _identifier(found.get(_SOP_CLASS_UID), header.sop_class, "sop-class-uid"),
        _identifier(found.get(_SOP_INSTANCE_UID), header.sop_uid, "sop-instance-uid"),
    )


def _identifier(element: RawElement | None, otherwise: str, name: str) -> Uid:
    text = element.value.decode("ascii", "replace").rstrip("\0 ") if element is not None else ""
    return parse_uid_text(text or otherwise, name)


def parse_uid_text(text: str, name: str) -> Uid:
    """The UID in ``text``. Raises Refused as ``<name>-missing`` or ``<name>-invalid``."""
    if not text:
        raise Refused(f"{name}-missing")
    try:
        return Uid.parse(text)
    except MalformedDataset:
        raise Refused(f"{name}-invalid") from None


class DicomFiles:
    """One DICOM file after the other."""

    def __init__(self, door: Door) -> None:
        self.fates: list[Fate] = []
        self.complete: list[Complete] = []
        self._door = door
        self._stream: DicomStream | None = None
        self._never_began: list[Fate] = []

    def start_file(self, failure: StrongroomError | None = None) -> None:
        """A file begins; one with a ``failure`` is not looked at."""
        self.fates.append(Fate(failure=failure))
        self._stream = DicomStream(self._door, self.fates[-1])

    def write(self, data: memoryview) -> None:
        """The next bytes of the file."""
        assert self._stream is not None
        self._stream.write(data)

    def end_file(self) -> None:
        """The file has come whole."""
        assert self._stream is not None
        done, self._stream = self._stream.end(), None
        if done is None:
            self._never_began.append(self.fates[-1])
        else:
            keep_complete(self.complete, done)

    def end(self) -> None:
        """There are no more files."""
        self._door.record_unnamed(self._never_began)

    def abandon(self) -> None:
        """The rest does not come."""
        with suppress(StorageUnavailable):
            if self._stream is not None:
                self._stream.cut()
                self.end_file()
            self.end()

    def release(self) -> None:
        """Nothing is held but what passes."""


class SingleFile(DicomFiles):
    """A body that is one DICOM file."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        if not self.fates:
            self.start_file()
        self.write(memoryview(data))

    def finish(self) -> None:
        """The body has ended."""
        self.feed(b"")
        self.end_file()
        self.end()


class DicomParts(DicomFiles):
    """A multipart body whose parts are DICOM files (PS3.18 10.5.2)."""

    def __init__(self, door: Door, reader: MultipartReader) -> None:
        super().__init__(door)
        self._reader = reader

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises MalformedRequest, LimitExceeded."""
        for event in self._reader.feed(data):
            if isinstance(event, PartStart):
                self.start_file(_unfit(event))
            elif isinstance(event, PartEnd):
                self.end_file()
            else:
                self.write(event)

    def finish(self) -> None:
        """The body has ended. Raises MalformedRequest if it is not complete."""
        self._reader.finish()
        self.end()


def _unfit(part: PartStart) -> StrongroomError | None:
    if part.content_type and parse_media_type(part.content_type).essence != DICOM:
        return MalformedDataset("a part of another media type than application/dicom")
    return None
