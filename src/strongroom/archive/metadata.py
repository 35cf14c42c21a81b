"""All that instances say, but for their bulk data: the metadata of DICOM PS3.18 10.4.1.1.2 in the DICOM JSON model.

Only the segments of an object in which its header lies are opened. What was made of it is kept in a cache, sealed under
the key of its study: whoever destroys the key destroys it too. An entry names the objects that it is of, and an object
never changes, so it is right for whoever may see these objects, and for nobody else is anything taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from struct import Struct
from typing import Final, Protocol

import msgspec

from strongroom.archive.model import DataKey, StoredObject
from strongroom.archive.outgoing import open_whole
from strongroom.archive.ports import BlobReader
from strongroom.archive.read import Reader
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.jsonmodel import outline_to_json
from strongroom.dicom.outline import ForwardReader, Outlined, OutlineLimits, outline, outline_to_pixels
from strongroom.dicom.stream import Read, inflated

SERVICE_ROOT: Final = b"\xff"
"""Stands for the root of the service in the Bulkdata URIs of JSON that was made here. No UTF-8 has this byte."""

ENTRY_OBJECTS: Final = 256
"""Of one series in one cache entry, in order of arrival."""

ENTRY_BYTES: Final = 8 * 2**20
"""Metadata that are held at a time, and kept in one cache entry: some thirty KiB of each object. What is more is made
anew each time, one object after the other: an object may have as much inline as ``OutlineLimits`` lets it."""

_VERSION: Final = b"1"
"""Of what entries hold: to be changed with anything that changes what is made of an object."""
_PART: Final = Struct("<16sL")
_encode: Final = msgspec.json.Encoder().encode


class MetadataCache(Protocol):
    """Keeps what was made until it is gone, or its key is. Thread-safe; what it cannot keep or find is no error."""

    def get(self, key: DataKey, name: str) -> bytes | None:
        """The entry of that name under a study's key, None if there is none that opens."""

    def put(self, key: DataKey, name: str, plain: bytes) -> None:
        """Keep an entry, or do not."""


class NoCache:
    """Keeps nothing."""

    def get(self, _key: DataKey, _name: str) -> bytes | None:
        """None."""
        return None

    def put(self, _key: DataKey, _name: str, _plain: bytes) -> None:
        """Forget it."""


class Outliner:
    """Reads what objects say without their bulk data. Thread-safe."""

    def __init__(self, reader: Reader, scan: ScanLimits) -> None:
        self._reader = reader
        self._limits = OutlineLimits(scan=scan)

    def reading(self, blob: BlobReader, stored: StoredObject) -> tuple[Read, int | None]:
        """How to read an object's data set as it was before any deflation, and its size, None if only its end tells.

        Of one that is deflated, offsets must rise: each call begins at its beginning.
        """
        if TRANSFER_SYNTAXES[stored.transfer_syntax].deflated:
            return ForwardReader(inflated(blob.chunks(), self._limits.scan)).read, None
        return blob.read, blob.size

    def outline(self, stored: StoredObject) -> list[Outlined]:
        """Every element of an object, bulk values only placed.

        Raises IntegrityError, NotFound, StorageUnavailable, and MalformedDataset or LimitExceeded for what is not as it
        has to be below its top level.
        """
        with closing(open_whole(self._reader, stored)) as blob:
            read, size = self.reading(blob, stored)
            return outline(read, size, TRANSFER_SYNTAXES[stored.transfer_syntax], self._limits)

    def outline_to_pixels(self, blob: BlobReader, stored: StoredObject) -> list[Outlined]:
        """The elements of an open object up to its pixel data. Raises as ``outline`` does."""
        read, size = self.reading(blob, stored)
        return outline_to_pixels(read, size, TRANSFER_SYNTAXES[stored.transfer_syntax], self._limits)

    def to_json(self, stored: StoredObject) -> bytes:
        """The metadata of an object, Bulkdata URIs beginning with SERVICE_ROOT. Raises as ``outline`` does."""
        place = f"/studies/{stored.study_uid}/series/{stored.series_uid}/instances/{stored.sop_uid}/bulkdata/"
        begin = b'"' + SERVICE_ROOT + place.encode("ascii")
        elements = self.outline(stored)
        syntax = TRANSFER_SYNTAXES[stored.transfer_syntax]
        return _encode(outline_to_json(elements, syntax, lambda path: msgspec.Raw(begin + path.encode("ascii") + b'"')))


class Metadata:
    """The metadata of many objects, from the cache as far as it has it. Thread-safe."""

    def __init__(self, outliner: Outliner, cache: MetadataCache) -> None:
        self._outliner = outliner
        self._cache = cache

    def of(self, objects: Sequence[StoredObject]) -> Iterator[list[bytes]]:
        """Yield the metadata of ``objects``, one or whole series, by series and in their order, as many at a time as
        ENTRY_OBJECTS and ENTRY_BYTES allow.

        Raises as ``Outliner`` does.
        """
        groups: dict[tuple[str, bytes], list[StoredObject]] = {}
        for stored in objects:
            groups.setdefault((stored.series_uid, stored.key.key_id), []).append(stored)
        for (series, _), members in groups.items():
            if len(objects) == 1 or not members[0].key.key:
                # One instance is read faster than a cache entry with all of its series.
                yield from ([self._outliner.to_json(each)] for each in members)
                continue
            for number, start in enumerate(range(0, len(members), ENTRY_OBJECTS)):
                yield from self._entry(f"{series}/{number}", members[start : start + ENTRY_OBJECTS])

    def _entry(self, name: str, objects: Sequence[StoredObject]) -> Iterator[list[bytes]]:
        key = objects[0].key
        known = dict(_parts(self._cache.get(key, name) or b""))
        made: list[bytes] = []
        held_bytes, is_whole = 0, True
        for each in objects:
            if held_bytes > ENTRY_BYTES:
                yield made
                made, held_bytes, is_whole = [], 0, False
            made.append(known.get(each.object_id) or self._outliner.to_json(each))
            held_bytes += len(made[-1])
        if is_whole and held_bytes <= ENTRY_BYTES and any(each.object_id not in known for each in objects):
            packed = [_PART.pack(each.object_id, len(one)) + one for each, one in zip(objects, made, strict=True)]
            self._cache.put(key, name, _VERSION + b"".join(packed))
        yield made


def _parts(entry: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield object id and metadata of each object in an entry, none of one of another version."""
    if not entry.startswith(_VERSION):
        return
    position = len(_VERSION)
    while position < len(entry):
        object_id, length = _PART.unpack_from(entry, position)
        position += _PART.size
        yield object_id, entry[position : position + length]
        position += length


def with_root(json: Iterable[bytes], base_url: str) -> Iterator[bytes]:
    """Yield metadata with its Bulkdata URIs under ``base_url``."""
    root = msgspec.json.encode(base_url)[1:-1]
    for one in json:
        yield one.replace(SERVICE_ROOT, root)
