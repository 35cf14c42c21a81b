"""WADO-RS bulk data: single values by the URIs that metadata has, or all of an instance, a series, a study.

DICOM PS3.18 10.4.1.1.5, 10.4.1.1.8 and 8.7.3.3. A path names something only if the metadata of the instance names it:
the object is outlined again, and what is inline there is not to be had here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from strongroom.archive.model import StoredObject
from strongroom.archive.outgoing import open_whole
from strongroom.dicom.byteorder import BITS_ALLOCATED, swapped, word_bytes_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH
from strongroom.dicom.frames import FragmentFrames, PixelData, Span
from strongroom.dicom.outline import PIXEL_TAGS, Bulk, Outlined, bulk_values
from strongroom.dicom.stream import Read
from strongroom.dicom.tree import Element
from strongroom.errors import MalformedDataset, NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.conditional import strong_tag
from strongroom.web.frames import OCTETS, Source, deliver_frames, offers, pixel_parts, table_of
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import MULTIPART, STORED, Offer, negotiate
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.retrieving import (
    ACCEPT,
    CONDITIONS,
    RANGES,
    VARY,
    Sized,
    accepted,
    begun,
    deliver,
    deliver_sized,
    recorded,
    retrieve,
)
from strongroom.web.streaming import PIECE_BYTES, Body, Delivered, Delivery

MAX_PATH_CHARS: Final = 1024
_PATH: Final = re.compile(r"[0-9A-F]{8}(?:/[1-9][0-9]{0,8}/[0-9A-F]{8})*")
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_MIME_TYPE: Final = 0x00420012
_DOCUMENT_TYPES: Final = frozenset({"application/pdf", "model/stl", "model/obj", "model/mtl"})


async def retrieve_bulk_value(call: Call) -> Response:
    """One value that the metadata of an instance names by a URI."""
    return await begun(call, await call.services.run_blocking(_retrieve_value, call))


async def retrieve_bulk_data(call: Call) -> Response:
    """Every bulk value of an instance, a series or a study."""
    return await begun(call, await call.services.run_blocking(_retrieve_all, call))


def _retrieve_value(call: Call) -> Delivered:
    path = call.path["path"]
    if len(path) > MAX_PATH_CHARS or not _PATH.fullmatch(path):
        raise NotFound("no such bulk data")
    accept, query = accepted(call)
    objects, delivery = retrieve(call, "bulkdata", {"tag": path[-8:]})
    stored = objects[0]
    with recorded(delivery):
        elements = call.services.outliner.outline(stored)
        value = next((each for each in bulk_values(elements) if each.path == path), None)
        if value is None:
            raise NotFound("no such bulk data")
        if value.length == UNDEFINED_LENGTH and value.tag in PIXEL_TAGS and "/" not in path:
            with closing(open_whole(call.services.reader, stored)) as blob:
                source = Source(stored, table_of(call, stored, blob), ())
                return deliver_frames(call, delivery, source, negotiate(accept, offers(source), query), blob)
        media = _media_type(elements, value)
        choice = negotiate(accept, _offers(media), query)[0]
        tag = strong_tag("bulkdata", stored.object_id, path, choice.media_type, repr(choice.is_multipart))
        if not choice.is_multipart:
            located = _located(call, stored, elements, value)
            size = sum(span.length for span in located.spans)
            read = _ranged(call, delivery, located)
            return deliver_sized(call, delivery, Sized(choice.media_type, size, tag, read, _url(call, stored, path)))
        return _in_parts(
            call,
            delivery,
            tag,
            choice.media_type,
            (_part(call, _located(call, stored, elements, value), choice.media_type),),
        )


def _offers(media: str) -> tuple[Offer, ...]:
    """The value alone is what a client means that names no part type: it can go on where it stopped."""
    kinds = dict.fromkeys((media, OCTETS))
    return (*map(Offer, kinds), *(Offer(kind, is_multipart=True) for kind in kinds))


def _media_type(elements: Sequence[Outlined], value: Bulk) -> str:
    """What a value is: that of an encapsulated document says so beside it (PS3.18 8.7.3.3)."""
    if value.path == f"{_ENCAPSULATED_DOCUMENT:08X}":
        for element in elements:
            if element.tag == _MIME_TYPE and isinstance(element, Element):
                named = element.value.decode("ascii", "replace").strip(" \0").lower()
                # Nothing that a browser would run: it is shown on the archive's own origin.
                return named if named in _DOCUMENT_TYPES else OCTETS
    return OCTETS


@dataclass(frozen=True, slots=True)
class Located:
    """A bulk value, the bytes of its data set that it is, and how many change places in big endian; 1 for none."""

    stored: StoredObject
    value: Bulk
    spans: Sequence[Span]
    word_bytes: int


def _located(call: Call, stored: StoredObject, elements: Sequence[Outlined], value: Bulk) -> Located:
    return Located(stored, value, _spans(call, stored, value), _word_bytes(stored, elements, value))


def _spans(call: Call, stored: StoredObject, value: Bulk) -> Sequence[Span]:
    """Where a value lies; of one in fragments, an icon perhaps, all of them, its offset table left out."""
    if value.length != UNDEFINED_LENGTH:
        return (Span(value.offset, value.length),)
    syntax, most = TRANSFER_SYNTAXES[stored.transfer_syntax], call.services.limits.max_pixel_fragments
    if syntax.deflated or not value.coding.explicit:
        raise NotFound("no such bulk data")  # fragments where there are none: what they hold, nobody can say
    with closing(open_whole(call.services.reader, stored)) as blob:
        fragments = FragmentFrames.of(PixelData(value, 1, 0, 0), syntax, stored.data_bytes, most)
        return fragments.all_fragments(blob.read)


def _ranged(call: Call, delivery: Delivery, located: Located) -> Callable[[int, int], Body]:
    """Reads a range of a value, in little endian whatever the object is in."""
    size = sum(span.length for span in located.spans)

    def read(start: int, stop: int) -> Body:
        yield from _bytes_of(call, located, start, stop)
        if stop == size:
            delivery.object_done()

    return read


def _bytes_of(call: Call, located: Located, start: int, stop: int, read: Read | None = None) -> Body:
    """Yield them; ``read`` is how, if the object is open already."""
    stored, word = located.stored, located.word_bytes
    first, last = start - start % word, stop + -stop % word
    with ExitStack() as opened:
        if read is None:
            blob = opened.enter_context(closing(open_whole(call.services.reader, stored)))
            read, _ = call.services.outliner.reading(blob, stored)
        chunks = _chunks(read, located.spans, first, last)
        whole = swapped(chunks, word) if word > 1 else chunks
        position = first
        for chunk in whole:
            yield chunk[max(0, start - position) : stop - position]
            position += len(chunk)


def _word_bytes(stored: StoredObject, elements: Sequence[Outlined], value: Bulk) -> int:
    if TRANSFER_SYNTAXES[stored.transfer_syntax].little_endian or not value.coding.explicit:
        return 1
    said = next((each for each in elements if each.tag == BITS_ALLOCATED), None)
    bits = int.from_bytes(said.value[:2], "big") if isinstance(said, Element) and "/" not in value.path else 0
    word = word_bytes_of(value.tag, value.vr, bits) or 1
    return word if value.length % word == 0 else 1


def _chunks(read: Read, spans: Sequence[Span], start: int, stop: int) -> Iterator[bytes]:
    """Yield bytes ``start`` to ``stop`` of what ``spans`` make together."""
    position = 0
    for span in spans:
        offset, end = max(0, start - position), min(span.length, stop - position)
        while offset < end:
            chunk = read(span.offset + offset, min(PIECE_BYTES, end - offset))
            if not chunk:
                raise MalformedDataset("a value runs past the end", offset=span.offset)
            offset += len(chunk)
            yield chunk
        position += span.length


Part = tuple[str, str, Iterator[bytes]]
"""Content-Type, Content-Location and bytes of a part."""


def _part(call: Call, located: Located, media: str, read: Read | None = None) -> Part:
    size = sum(span.length for span in located.spans)
    return media, _url(call, located.stored, located.value.path), _bytes_of(call, located, 0, size, read)


def _retrieve_all(call: Call) -> Delivered:
    accept, query = accepted(call)
    choice = negotiate(accept, (Offer(OCTETS, is_multipart=True, transfer_syntaxes=(STORED,)),), query)[0]
    objects, delivery = retrieve(call, "bulkdata")
    with recorded(delivery):
        tag = strong_tag("bulkdata", call.base_url, *(each.object_id for each in objects))
        return _in_parts(call, delivery, tag, choice.media_type, _all_parts(call, objects, delivery))


def _all_parts(call: Call, objects: Sequence[StoredObject], delivery: Delivery) -> Iterator[Part]:
    """Every bulk value; encapsulated pixel data frame by frame, as it is stored."""
    for stored in objects:
        elements = call.services.outliner.outline(stored)
        with closing(open_whole(call.services.reader, stored)) as blob:
            # For all of them: each new reading of a deflated object inflates it from its beginning.
            read, _ = call.services.outliner.reading(blob, stored)
            for value in bulk_values(elements):
                if value.length == UNDEFINED_LENGTH and value.path == f"{PIXEL_DATA:08X}":
                    yield from pixel_parts(call, stored)
                else:
                    yield _part(call, _located(call, stored, elements, value), _media_type(elements, value), read)
        delivery.object_done()


def _in_parts(call: Call, delivery: Delivery, tag: str, media: str, parts: Iterable[Part]) -> Delivered:
    boundary = boundary_of(bytes.fromhex(tag[1:-1]))
    writer = MultipartWriter(boundary)

    def body() -> Body:
        is_empty = True
        for content_type, location, chunks in parts:
            is_empty = False
            yield writer.part(content_type, location)
            yield from chunks
        if is_empty:
            raise NotFound("nothing of it is bulk data")  # before any byte has left
        yield writer.end()

    said = {"Content-Type": f'{MULTIPART}; type="{media}"; boundary={boundary}', "ETag": tag, "Vary": VARY}
    return deliver(call, delivery, said, body())


def _url(call: Call, stored: StoredObject, path: str) -> str:
    return f"{call.instance_url(stored.study_uid, stored.series_uid, stored.sop_uid)}/bulkdata/{path}"


_STUDY: Final = f"{PREFIX}/studies/{{study}}"
_IN_PARTS: Final = f'{MULTIPART}; type="{OCTETS}"'
_PARAMETERS: Final = ACCEPT + CONDITIONS


def _operation(name: str, path: str, summary: str) -> Operation:
    return Operation(
        name, "GET", f"{_STUDY}{path}/bulkdata", retrieve_bulk_data, summary, Right.GET, _PARAMETERS,
        produces=(_IN_PARTS,), statuses=(200, 304, 412),
    )  # fmt: skip


OPERATIONS: Final = (
    _operation("retrieveStudyBulkdata", "", "All bulk data of a study."),
    _operation("retrieveSeriesBulkdata", "/series/{series}", "All bulk data of a series."),
    _operation("retrieveInstanceBulkdata", "/series/{series}/instances/{instance}", "All bulk data of an instance."),
    Operation(
        "retrieveBulkdata", "GET", f"{_STUDY}/series/{{series}}/instances/{{instance}}/bulkdata/{{path:path}}",
        retrieve_bulk_value, "One value, by the URI that metadata gives it.", Right.GET,
        (*_PARAMETERS, *RANGES), produces=(OCTETS, _IN_PARTS), statuses=(200, 206, 304, 412, 416),
    ),
)  # fmt: skip
