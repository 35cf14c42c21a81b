"""STOW-RS of metadata with bulk data (PS3.18 10.5.2): which part belongs to which instance.

A BulkDataURI names a part of the same message by its Content-Location, and nothing else in the world: it is compared
and never followed. The last bulk data that an instance waits for flow through if their length can be foreseen; what
comes before is held, up to a limit. So no more than one instance is open at a time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.metadata import MetadataLimits, checked, parse_json
from strongroom.dicom.xmlmodel import from_xml
from strongroom.errors import LimitExceeded, MalformedRequest, Refused, StorageUnavailable, StrongroomError
from strongroom.web.assembly import Bulk, Flow, Instance, media_of
from strongroom.web.multipart import MultipartReader, PartEnd, PartStart
from strongroom.web.negotiation import MediaType, parse_media_type
from strongroom.web.room import Room
from strongroom.web.storing import Complete, Door, Fate, keep_complete

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
METADATA: Final = frozenset((JSON, XML))
BYTES_OF_TEXT: Final = 8
"""Memory for a byte of metadata, about, until its instances are stored: it becomes objects."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Caps on the metadata and the held bulk data of one request."""

    metadata: MetadataLimits
    scan: ScanLimits
    max_metadata_bytes: int
    max_held_bulk_bytes: int
    max_request_parts: int
    """Of instances as well: each has its place in the answer."""
    room: Room
    """For what this request and all others hold."""


class _Sink(Protocol):
    """Takes the bytes of one part."""

    def write(self, data: memoryview) -> None:
        """The next bytes. Raises LimitExceeded."""

    def end(self) -> None:
        """The part has come whole. Raises StrongroomError for a body that goes no further."""

    def cut(self) -> None:
        """The rest of the part does not come."""


class MetadataBody:
    """A body that is metadata and nothing else."""

    def __init__(self, door: Door, essence: str, limits: IntakeLimits) -> None:
        self.fates: list[Fate] = []
        self.complete: list[Complete] = []
        self._door = door
        self._essence = essence
        self._limits = limits
        self._sink: _Sink | None = None
        self._text_bytes = self._held_bytes = 0
        self._room_bytes = 0
        self._has_metadata = False
        self._waiting: dict[str, Instance] = {}
        self._early: dict[str, Bulk] = {}
        self._locations: set[str] = set()
        self._never_began: list[Fate] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the metadata. Raises LimitExceeded."""
        self._sink = self._sink or _Text(self)
        self._sink.write(memoryview(data))

    def finish(self) -> None:
        """The body has ended. Raises MalformedDataset, LimitExceeded."""
        self.feed(b"")
        self._end_part()
        self.end()

    def _end_part(self) -> None:
        assert self._sink is not None
        sink, self._sink = self._sink, None
        sink.end()

    def end(self) -> None:
        """There are no more parts: refuse what still waits, and what nothing has asked for."""
        self._refuse_waiting("bulk-data-missing")
        for _ in self._early:
            self.refuse_unasked()
        self._door.record_unnamed(self._never_began)

    def abandon(self) -> None:
        """The rest does not come."""
        with suppress(StorageUnavailable):
            if self._sink is not None:
                self._sink.cut()
            self._refuse_waiting("incomplete")
            self._door.record_unnamed(self._never_began)

    def release(self) -> None:
        """Nothing is held any more."""
        self._limits.room.give(self._room_bytes)
        self._room_bytes = 0

    def _take_room(self, count: int) -> None:
        self._limits.room.take(count)
        self._room_bytes += count

    def _refuse_waiting(self, reason: str) -> None:
        for instance in self._waiting.values():
            if instance.fate.failure is None:  # it waits under each of its URIs
                self.refuse(instance.fate, Refused(reason))

    def refuse(self, fate: Fate, error: StrongroomError) -> None:
        """An instance is found unfit before it began."""
        fate.fail(error)
        self._never_began.append(fate)

    def refuse_unasked(self) -> None:
        """Bulk data have come that no instance names."""
        self.fates.append(Fate())
        self.refuse(self.fates[-1], Refused("bulk-data-not-asked-for"))

    # -- what sinks call

    def count_text(self, more_bytes: int) -> None:
        """Count metadata. Raises LimitExceeded."""
        self._text_bytes += more_bytes
        if self._text_bytes > self._limits.max_metadata_bytes:
            raise LimitExceeded("max_metadata_bytes", self._limits.max_metadata_bytes)
        self._take_room(more_bytes * BYTES_OF_TEXT)

    def count_held(self, more_bytes: int) -> None:
        """Count bulk data that are held. Raises LimitExceeded."""
        self._held_bytes += more_bytes
        if self._held_bytes > self._limits.max_held_bulk_bytes:
            raise LimitExceeded("max_held_bulk_bytes", self._limits.max_held_bulk_bytes)
        self._take_room(more_bytes)

    def take_text(self, raw: bytes) -> None:
        """Metadata have come whole. Raises MalformedDataset, LimitExceeded, MalformedRequest."""
        if self._essence == XML:
            datasets: list[Any] = [from_xml(raw, self._limits.scan)]
        elif self._has_metadata:
            raise MalformedRequest("one part has the metadata of all instances")
        else:
            datasets = parse_json(raw, self._limits.metadata)
        self._has_metadata = True
        if len(self.fates) + len(datasets) > self._limits.max_request_parts:
            raise LimitExceeded("max_request_parts", self._limits.max_request_parts)
        for dataset in datasets:
            fate = Fate()
            self.fates.append(fate)
            try:
                self._expect(Instance.of(checked(dataset, self._limits.metadata), fate))
            except StrongroomError as error:
                self.refuse(fate, error)

    def _expect(self, instance: Instance) -> None:
        """Wait for the bulk data of an instance. Raises Refused if another waits for some of them."""
        if instance.missing & self._waiting.keys():
            raise Refused("bulk-data-named-twice")
        for uri in instance.missing & self._early.keys():
            instance.take(uri, self._early.pop(uri))
        for uri in instance.missing:
            self._waiting[uri] = instance
        self.store_if_whole(instance)

    def store_if_whole(self, instance: Instance) -> None:
        """Store an instance that waits for nothing more."""
        if not instance.missing and instance.fate.failure is None:
            self.end_flow(self.begin_flow(instance), instance.fate)

    def begin_flow(self, instance: Instance) -> Flow:
        """Begin to store an instance: what was held for it is held no longer."""
        held_bytes = instance.held_bytes
        self._held_bytes -= held_bytes
        self._room_bytes -= held_bytes
        self._limits.room.give(held_bytes)
        return Flow(self._door, instance)

    def end_flow(self, flow: Flow, fate: Fate) -> None:
        """An instance has come whole, or was found unfit."""
        done = flow.end()
        if done is None:
            self._never_began.append(fate)
        else:
            keep_complete(self.complete, done)

    def start_bulk(self, part: PartStart) -> _Sink:
        """Bulk data begin: return what takes them. Raises MalformedRequest."""
        uri, media = part.content_location, media_of(part)
        if not uri or uri in self._locations:
            raise MalformedRequest("a part of bulk data needs a Content-Location that no other has")
        self._locations.add(uri)
        instance = self._waiting.pop(uri, None)
        if instance is None:
            if self._essence == JSON and self._has_metadata:
                self.refuse_unasked()
                return _Unwanted()
            return _Held(self, uri, media, None)
        if instance.fate.failure is not None:
            return _Unwanted()
        length = instance.foreseen_bytes(part)
        if instance.missing == {uri} and length is not None:
            instance.take(uri, Bulk(media, length))
            return _Streamed(self, instance)
        return _Held(self, uri, media, instance)

    def take_early(self, uri: str, bulk: Bulk) -> None:
        """Bulk data have come whole before what they belong to."""
        self._early[uri] = bulk


class MetadataParts(MetadataBody):
    """A multipart body: metadata, and parts of bulk data."""

    def __init__(self, door: Door, essence: str, limits: IntakeLimits, reader: MultipartReader) -> None:
        super().__init__(door, essence, limits)
        self._reader = reader

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises MalformedRequest, MalformedDataset, LimitExceeded."""
        for event in self._reader.feed(data):
            if isinstance(event, PartStart):
                essence = parse_media_type(event.content_type).essence if event.content_type else ""
                is_text = essence == self._essence or (not essence and not self._has_metadata)
                self._sink = _Text(self) if is_text else self.start_bulk(event)
            elif isinstance(event, PartEnd):
                self._end_part()
            else:
                assert self._sink is not None
                self._sink.write(event)

    def finish(self) -> None:
        """The body has ended. Raises MalformedRequest if it is not complete."""
        self._reader.finish()
        if not self._has_metadata:
            raise MalformedRequest("no part has the metadata")
        self.end()


class _Text:
    """A part of metadata."""

    def __init__(self, body: MetadataBody) -> None:
        self._body = body
        self._raw = bytearray()

    def write(self, data: memoryview) -> None:
        self._body.count_text(len(data))
        self._raw += data

    def end(self) -> None:
        self._body.take_text(bytes(self._raw))

    def cut(self) -> None:
        pass


class _Held:
    """A part of bulk data that is kept until its instance can be stored; ``instance`` None: it is not known yet."""

    def __init__(self, body: MetadataBody, uri: str, media: MediaType, instance: Instance | None) -> None:
        self._body, self._uri, self._media, self._instance = body, uri, media, instance
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        self._body.count_held(len(data))
        self._data += data

    def end(self) -> None:
        bulk = Bulk(self._media, len(self._data), bytes(self._data))
        if self._instance is None:
            self._body.take_early(self._uri, bulk)
            return
        self._instance.take(self._uri, bulk)
        self._body.store_if_whole(self._instance)

    def cut(self) -> None:
        if self._instance is not None:
            self._body.refuse(self._instance.fate, Refused("incomplete"))


class _Streamed:
    """The last bulk data that an instance waits for, on their way into the archive."""

    def __init__(self, body: MetadataBody, instance: Instance) -> None:
        self._body, self._fate = body, instance.fate
        self._flow = body.begin_flow(instance)

    def write(self, data: memoryview) -> None:
        self._flow.write(data)

    def end(self) -> None:
        self._body.end_flow(self._flow, self._fate)

    def cut(self) -> None:
        self._flow.fail(Refused("incomplete"))
        self.end()


class _Unwanted:
    """A part that nothing is made of."""

    def write(self, data: memoryview) -> None:
        pass

    def end(self) -> None:
        pass

    def cut(self) -> None:
        pass
