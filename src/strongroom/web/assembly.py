"""One instance put together from metadata and bulk data, on its way into the archive (PS3.18 10.5.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from strongroom.archive.ingest import Incoming
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dicom.elements import PIXEL_DATA
from strongroom.dicom.jsonmodel import JsonDataset
from strongroom.dicom.metadata import BulkValue, Piece, around_fragment, around_value, assemble, native_pixel_bytes
from strongroom.errors import Refused, StrongroomError
from strongroom.web.multipart import PartStart
from strongroom.web.negotiation import MediaType, parse_media_type
from strongroom.web.storing import Complete, Door, Fate, parse_uid_text

_SOP_CLASS_UID: Final = "00080016"
_SOP_INSTANCE_UID: Final = "00080018"
_NUMBER_OF_FRAMES: Final = "00280008"
_MAX_LENGTH_DIGITS: Final = 12
_UNCOMPRESSED: Final = frozenset({"", "*", "1.2.840.10008.1.2", EXPLICIT_VR_LITTLE_ENDIAN.uid})

_SYNTAX_OF: Final[Mapping[str, str]] = {
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "video/h265": "1.2.840.10008.1.2.4.107",
    "video/mp4": "1.2.840.10008.1.2.4.102",
    "video/mpeg2": "1.2.840.10008.1.2.4.100",
}
"""Transfer syntax of compressed pixel data whose media type does not name one (PS3.18 tables 8.7.3-2 to 8.7.3-5)."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """A part of bulk data. ``length`` is how many bytes, said or foreseen; ``data`` None: they are to come."""

    media: MediaType
    length: int
    data: bytes | None = None

    @property
    def transfer_syntax(self) -> str:
        """Of pixel data in it, if they are compressed; else ""."""
        named = self.media.parameters.get("transfer-syntax", "") or _SYNTAX_OF.get(self.media.essence, "")
        return "" if named in _UNCOMPRESSED else named


@dataclass(slots=True)
class Instance:
    """One data set of the metadata. ``missing`` are the Content-Locations that it still waits for."""

    dataset: JsonDataset
    fate: Fate
    pieces: list[Piece] = field(default_factory=list)
    bulk: dict[str, Bulk] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, dataset: JsonDataset, fate: Fate) -> Instance:
        """Return the instance of a ``checked`` data set. Raises Refused, MalformedDataset."""
        fate.sop_class = parse_uid_text(_text(dataset, _SOP_CLASS_UID), "sop-class-uid")
        fate.sop_uid = parse_uid_text(_text(dataset, _SOP_INSTANCE_UID), "sop-instance-uid")
        pieces = assemble(dataset)
        uris = [piece.uri for piece in pieces if isinstance(piece, BulkValue)]
        if len(set(uris)) != len(uris):
            raise Refused("bulk-data-named-twice")
        return cls(dataset, fate, pieces, {}, set(uris))

    def take(self, uri: str, bulk: Bulk) -> None:
        """Bulk data that it waits for have come, or are about to."""
        self.bulk[uri] = bulk
        self.missing.discard(uri)

    @property
    def held_bytes(self) -> int:
        """Of bulk data that have come and are not written yet."""
        return sum(bulk.length for bulk in self.bulk.values() if bulk.data is not None)

    def foreseen_bytes(self, part: PartStart) -> int | None:
        """How many bytes a part will have: as its header says, or for uncompressed pixel data the attributes."""
        said = part.headers.get("content-length", "")
        if said:
            return int(said) if said.isascii() and said.isdigit() and len(said) < _MAX_LENGTH_DIGITS else None
        pixels = self._pixels
        if pixels is None or pixels.uri != part.content_location or Bulk(media_of(part), 0).transfer_syntax:
            return None
        return native_pixel_bytes(self.dataset)

    @property
    def _pixels(self) -> BulkValue | None:
        """The gap of the image's own pixel data, not of an icon's."""
        for piece in self.pieces:
            if isinstance(piece, BulkValue) and piece.tag == PIXEL_DATA and not piece.is_nested:
                return piece
        return None

    @property
    def transfer_syntax(self) -> str:
        """What the data set will be encoded in. Raises Refused if the pixel data cannot be encapsulated."""
        named = self.bulk[self._pixels.uri].transfer_syntax if self._pixels else ""
        if not named:
            return EXPLICIT_VR_LITTLE_ENDIAN.uid
        self._require_one_fragment(named)
        return named

    def _require_one_fragment(self, named: str) -> None:
        """Where one frame ends and the next begins cannot be told: so there is one, unless it is a video."""
        syntax = TRANSFER_SYNTAXES.get(named)
        if syntax is None or not syntax.encapsulated:
            raise Refused("transfer-syntax-unknown")
        is_video = "MPEG" in syntax.name or "HEVC" in syntax.name
        if not is_video and _text(self.dataset, _NUMBER_OF_FRAMES) not in ("", "1"):
            raise Refused("bulk-data-of-several-frames")

    def encoded(self, transfer_syntax: str) -> Iterator[bytes | None]:
        """Yield the data set, and None where bulk data that are to come belong. Raises MalformedDataset."""
        is_encapsulated = transfer_syntax != EXPLICIT_VR_LITTLE_ENDIAN.uid
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            bulk = self.bulk.pop(piece.uri)
            if is_encapsulated and piece == self._pixels:
                before, behind = around_fragment(bulk.length)
            else:
                before, behind = around_value(piece, bulk.length)
            yield before
            yield bulk.data
            yield behind


def _text(dataset: JsonDataset, name: str) -> str:
    values = dataset.get(name, {}).get("Value") or [""]
    return str(values[0] if values[0] is not None else "")


def media_of(part: PartStart) -> MediaType:
    """Return the media type of a part of bulk data. Raises MalformedRequest."""
    return parse_media_type(part.content_type or "application/octet-stream")


class Flow:
    """An instance with all its bulk data, the last of which may still be to come. What is wrong is its fate."""

    def __init__(self, door: Door, instance: Instance) -> None:
        self._memories = door.memories
        self._fate = instance.fate
        self._ingest: Incoming | None = None
        self._left = sum(bulk.length for bulk in instance.bulk.values() if bulk.data is None)
        self._encoded: Iterator[bytes | None] = iter(())
        try:
            syntax = instance.transfer_syntax
            self._ingest = door.open(self._fate.sop_class, self._fate.sop_uid, syntax)
            self._encoded = instance.encoded(syntax)
            self._write_on()
        except StrongroomError as error:
            self.fail(error)

    def _write_on(self) -> None:
        assert self._ingest is not None
        for piece in self._encoded:
            if piece is None:
                return
            if piece:
                self._ingest.write(piece)

    def write(self, data: memoryview) -> None:
        """The next bytes of what is to come."""
        if self._fate.failure is not None or self._ingest is None:
            return
        self._left -= len(data)
        try:
            if self._left < 0:
                raise Refused("bulk-data-length")
            self._ingest.write(data)
        except StrongroomError as error:
            self.fail(error)

    def end(self) -> Complete | None:
        """All bulk data have come: return the instance to be settled, None if it never began."""
        if self._fate.failure is None:
            try:
                if self._left:
                    raise Refused("bulk-data-length")
                self._write_on()
            except StrongroomError as error:
                self.fail(error)
        return None if self._ingest is None else Complete(self._ingest, self._fate, self._memories)

    def fail(self, error: StrongroomError) -> None:
        """The instance is not stored."""
        self._fate.fail(error)
        if self._ingest is not None:
            self._ingest.abort()
