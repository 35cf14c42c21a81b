"""WADO-RS: the instances of a study, of a series, or one (DICOM PS3.18 10.4.1.1), as files of PS3.10.

An instance leaves in the transfer syntax that it is stored in unless the caller names others; then it is converted, or
transcoded by a worker of ``pixels``. The strong entity tag is a digest of what was stored, so the boundary between
parts is one too, and the same request gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple, cast

from starlette.responses import Response

from strongroom.archive.model import StoredObject
from strongroom.archive.outgoing import open_whole, opened
from strongroom.dicom.dictionary import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, encode_file_meta
from strongroom.errors import NotAcceptable
from strongroom.pixels.syntaxes import CODECS, can_transcode
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.conditional import strong_tag
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import MULTIPART, STORED, Choice, Offer, available, negotiate
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.retrieving import (
    ACCEPT,
    CONDITIONS,
    RANGES,
    VARY,
    Retrieved,
    Sized,
    accepted,
    begun,
    deliver,
    deliver_sized,
    recorded,
    retrieve,
)
from strongroom.web.streaming import PIECE_BYTES, Body, Chunk, Delivered, Delivery
from strongroom.web.zipping import zip_chunks

DICOM: Final = "application/dicom"
ZIP: Final = "application/zip"
UNCOMPRESSED: Final = frozenset({EXPLICIT_VR_LITTLE_ENDIAN.uid, IMPLICIT_VR_LITTLE_ENDIAN.uid})
WORKER_HELD_BYTES: Final = 32 * 2**20
"""Of one transcoded object: a client that reads slowly keeps a worker for larger ones only."""
_NAMED: Final = (EXPLICIT_VR_LITTLE_ENDIAN.uid, *(uid for uid, codec in CODECS.items() if codec.encodes))
"""Transfer syntaxes that can be asked for whatever is stored."""


class Part(NamedTuple):
    """One instance on its way out, in the transfer syntax that was agreed on."""

    stored: StoredObject
    transfer_syntax: str
    head: bytes
    """Preamble and File Meta Information."""

    @property
    def is_as_stored(self) -> bool:
        """Whether nothing has to be converted."""
        return self.transfer_syntax == self.stored.transfer_syntax

    @property
    def needs_codec(self) -> bool:
        """Whether a worker has to transcode it."""
        return not self.is_as_stored and not is_converted(self.stored.transfer_syntax, self.transfer_syntax)

    @property
    def size(self) -> int | None:
        """Length of the file in bytes, None if only converting it tells."""
        return len(self.head) + self.stored.data_bytes if self.is_as_stored else None

    @property
    def content_type(self) -> str:
        """Its media type."""
        return f"{DICOM}; transfer-syntax={self.transfer_syntax}"


async def retrieve_study(call: Call) -> Response:
    """All instances of a study."""
    return await begun(call, await call.services.run_blocking(_retrieve, call))


async def retrieve_series(call: Call) -> Response:
    """All instances of a series."""
    return await begun(call, await call.services.run_blocking(_retrieve, call))


async def retrieve_instance(call: Call) -> Response:
    """One instance: as the only part of an answer, or without parts."""
    return await begun(call, await call.services.run_blocking(_retrieve, call))


def _retrieve(call: Call) -> Delivered:
    accept, query = accepted(call)
    # What is not taken whatever is stored is refused before anything is looked up.
    try:
        negotiate(accept, _offers(call, TRANSFER_SYNTAXES), query)
    except NotAcceptable:
        raise NotAcceptable(available(_offers(call, ()))) from None
    retrieved = retrieve(call, "instances")
    with recorded(retrieved.delivery):
        stored = dict.fromkeys(each.transfer_syntax for each in retrieved.objects)
        choices = negotiate(accept, _offers(call, stored), query)
        if choices[0].media_type == ZIP:
            return _zip(call, retrieved)
        parts = _agreed(retrieved.objects, choices)
        if not choices[0].is_multipart:
            return _single(call, retrieved.delivery, parts[0])
        return _multipart(call, retrieved.delivery, parts)


def _offers(call: Call, stored: Iterable[str]) -> tuple[Offer, ...]:
    """What can be sent of objects in these transfer syntaxes, as far as one knows without decoding any."""
    syntaxes = (STORED, *dict.fromkeys((*_NAMED, *stored)))
    offers = [Offer(DICOM, is_multipart=True, transfer_syntaxes=syntaxes)]
    if "instance" in call.uids:
        offers.append(Offer(DICOM, transfer_syntaxes=syntaxes))
    return (*offers, Offer(ZIP))


def _agreed(objects: Sequence[StoredObject], choices: Sequence[Choice]) -> list[Part]:
    """The instances, each in the first transfer syntax of ``choices`` that it can be sent in. Raises NotAcceptable."""
    first = choices[0]
    wanted = [each.transfer_syntax for each in choices if _kind(each) == _kind(first)]
    parts = []
    for stored in objects:
        meant = (stored.transfer_syntax if uid == STORED else uid for uid in wanted)
        syntax = next((uid for uid in meant if can_transcode(stored.transfer_syntax, uid)), None)
        if syntax is None:
            kinds = dict.fromkeys(each.transfer_syntax for each in objects)
            raise NotAcceptable(tuple(f'{MULTIPART}; type="{DICOM}"; transfer-syntax={uid}' for uid in kinds))
        parts.append(part_of(stored, syntax))
    return parts


def _kind(choice: Choice) -> tuple[str, bool]:
    return choice.media_type, choice.is_multipart


def part_of(stored: StoredObject, transfer_syntax: str) -> Part:
    """An instance as a file in ``transfer_syntax``."""
    meta = (stored.sop_class, stored.sop_uid, transfer_syntax, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
    return Part(stored, transfer_syntax, encode_file_meta(*meta))


def part_bytes(call: Call, part: Part, before: bytes = b"") -> Iterator[Chunk]:
    """``before``, and the file of an instance. Raises what opening or converting it raises, at the first chunk if the
    object is small or has to be converted."""
    stored, services = part.stored, call.services
    if part.is_as_stored:
        with closing(open_whole(services.reader, stored)) as blob:
            yield from blob.pieces(before + part.head)
    elif not part.needs_codec:
        with opened(services.reader, stored, part.transfer_syntax) as converted:
            yield before + part.head
            yield from converted
    else:
        if services.pixels is None:
            raise NotAcceptable((f"{DICOM}; transfer-syntax={stored.transfer_syntax}",))
        with closing(open_whole(services.reader, stored)) as blob:
            transcoded = services.pixels.transcode(blob, stored.transfer_syntax, part.transfer_syntax)
            with closing(cast("Body", transcoded)):
                first = _gathered(transcoded)
                yield before + part.head
                yield first
                yield from transcoded


def _gathered(chunks: Iterator[bytes]) -> bytes:
    """The next chunks up to WORKER_HELD_BYTES: mostly all, so that the worker is free before any of them is sent."""
    held, size = [], 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= WORKER_HELD_BYTES:
            break
    return b"".join(held)


def is_converted(stored: str, wanted: str) -> bool:
    """Whether an object can be had by writing its elements anew, with no codec."""
    return wanted in UNCOMPRESSED and not TRANSFER_SYNTAXES[stored].encapsulated


def _single(call: Call, delivery: Delivery, part: Part) -> Delivered:
    location = _location(call, part.stored)
    if part.size is not None:
        tag = strong_tag("instance", part.stored.sha256, part.head)
        sized = Sized(part.content_type, part.size, tag, _ranged(call, delivery, part), location)
        return deliver_sized(call, delivery, sized)
    return deliver_file(call, delivery, part, {"Content-Location": location})


def deliver_file(call: Call, delivery: Delivery, part: Part, more: Mapping[str, str]) -> Delivered:
    """The whole file of one instance, made as it leaves; ``more`` are further headers. Runs on a thread."""

    def body() -> Iterator[Chunk]:
        yield from part_bytes(call, part)
        delivery.object_done()

    tag = strong_tag("instance", part.stored.sha256, part.head)
    said = {"Content-Type": part.content_type, "ETag": tag, "Vary": VARY, **more}
    return deliver(call, delivery, said, body(), by_worker=part.needs_codec)


def _ranged(call: Call, delivery: Delivery, part: Part) -> Callable[[int, int], Body]:
    """Reads a range of the file of an instance that leaves as it is stored."""
    head, stored = part.head, part.stored

    def read(start: int, stop: int) -> Body:
        with closing(open_whole(call.services.reader, stored)) as blob:
            yield head[start:stop]
            offset, end = max(0, start - len(head)), stop - len(head)
            while offset < end:
                chunk = blob.read(offset, min(PIECE_BYTES, end - offset))
                offset += len(chunk)
                yield chunk
        if stop == len(head) + stored.data_bytes:
            delivery.object_done()

    return read


def _multipart(call: Call, delivery: Delivery, parts: Sequence[Part]) -> Delivered:
    tag = strong_tag("instances", call.base_url, *(each.stored.sha256 + each.head for each in parts))
    boundary = boundary_of(bytes.fromhex(tag[1:-1]))
    writer = MultipartWriter(boundary)
    heads = [writer.part(each.content_type, _location(call, each.stored)) for each in parts]
    end = writer.end()

    def body() -> Iterator[Chunk]:
        for head, part in zip(heads, parts, strict=True):
            yield from part_bytes(call, part, head)
            delivery.object_done()
        yield end

    said = {"Content-Type": f'{MULTIPART}; type="{DICOM}"; boundary={boundary}', "ETag": tag, "Vary": VARY}
    sizes = [each.size for each in parts]
    if None not in sizes:
        said["Content-Length"] = str(sum(filter(None, sizes)) + sum(map(len, heads)) + len(end))
    return deliver(call, delivery, said, body(), by_worker=any(part.needs_codec for part in parts))


def _location(call: Call, stored: StoredObject) -> str:
    return call.instance_url(stored.study_uid, stored.series_uid, stored.sop_uid)


def _zip(call: Call, retrieved: Retrieved) -> Delivered:
    """A ZIP archive of the instances as they are stored, nothing compressed: an extension of ours."""
    return deliver_zip(call, retrieved, retrieved.objects[0].study_uid)


def deliver_zip(call: Call, retrieved: Retrieved, name: str, folder: str = "") -> Delivered:
    """Answer with the ZIP archive ``name``.zip: a file for each instance in a folder for each series, below ``folder``.

    No name has anything of a patient. Runs on a thread.
    """
    delivery = retrieved.delivery
    parts = [part_of(stored, stored.transfer_syntax) for stored in retrieved.objects]
    tag = strong_tag("zip", folder, *(each.stored.sha256 + each.head for each in parts))
    files = ((f"{folder}{each.stored.series_uid}/{each.stored.sop_uid}.dcm", part_bytes(call, each)) for each in parts)
    said = {
        "Content-Type": ZIP,
        "Content-Disposition": f'attachment; filename="{name}.zip"',
        "ETag": tag,
        "Vary": VARY,
    }
    return deliver(call, delivery, said, zip_chunks(files, delivery.object_done))


_MULTIPART_DICOM: Final = f'{MULTIPART}; type="{DICOM}"'
_PARAMETERS: Final = ACCEPT + CONDITIONS

OPERATIONS: Final = (
    Operation(
        "retrieveStudy", "GET", f"{PREFIX}/studies/{{study}}", retrieve_study, "The instances of a study.", Right.GET,
        _PARAMETERS, produces=(_MULTIPART_DICOM, ZIP), statuses=(200, 304, 412),
    ),
    Operation(
        "retrieveSeries", "GET", f"{PREFIX}/studies/{{study}}/series/{{series}}", retrieve_series,
        "The instances of a series.", Right.GET,
        _PARAMETERS, produces=(_MULTIPART_DICOM, ZIP), statuses=(200, 304, 412),
    ),
    Operation(
        "retrieveInstance", "GET", f"{PREFIX}/studies/{{study}}/series/{{series}}/instances/{{instance}}",
        retrieve_instance, "One instance.", Right.GET,
        (*_PARAMETERS, *RANGES), produces=(_MULTIPART_DICOM, DICOM, ZIP), statuses=(200, 206, 304, 412, 416),
    ),
)  # fmt: skip
