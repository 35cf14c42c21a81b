"""WADO-RS frames and pixel data of an instance (DICOM PS3.18 10.4.1.1.6, 10.4.1.1.7, 8.7.3.3).

A frame leaves as it is stored where the caller takes that: cut out of native pixel data, or as the code stream that its
fragments hold. Only the segments of the object with the frames that were asked for are opened. Any other transfer
syntax is the business of a worker of ``pixels``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from strongroom.archive.model import StoredObject
from strongroom.archive.outgoing import open_whole
from strongroom.archive.ports import BlobReader
from strongroom.dicom.byteorder import WORD_BYTES, swapped
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dicom.frames import Frame, PixelData, Span, aligned, native_frame, pixel_data_of
from strongroom.dicom.stream import Read
from strongroom.errors import LimitExceeded, NotAcceptable, NotFound
from strongroom.pixels.syntaxes import CODECS, can_transcode
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.conditional import strong_tag
from strongroom.web.frametables import FrameTable
from strongroom.web.image_parameters import parse_frames
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import MULTIPART, STORED, Choice, Offer, available, negotiate
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

OCTETS: Final = "application/octet-stream"
MAX_SPANS: Final = 1 << 17
"""Frames, or fragments of them, of one request that names none or has several in a frame: some 50 MiB of memory."""
_FRAMES_AT_ONCE: Final = 16
"""Of those that a worker decodes: it is kept no longer than one such call."""

_MEDIA_TYPES: Final = (
    ("image/jpeg", ("4.70", "4.50", "4.51", "4.57", "4.53", "4.55")),
    ("image/jls", ("4.80", "4.81")),
    ("image/jp2", ("4.90", "4.91")),
    ("image/jpx", ("4.92", "4.93")),
    ("image/jphc", ("4.201", "4.202", "4.203")),
    ("image/jxl", ("4.110", "4.111", "4.112")),
    ("image/dicom-rle", ("5",)),
    ("application/x-deflate", ("8.1",)),
    ("video/mpeg", ("4.100", "4.100.1", "4.101", "4.101.1")),
    (
        "video/mp4",
        (*(f"4.{number}{part}" for number in range(102, 107) for part in ("", ".1")), "4.107", "4.108"),
    ),
)
MEDIA_TYPE_OF: Final = {f"1.2.840.10008.1.2.{uid}": media for media, uids in _MEDIA_TYPES for uid in uids}
"""By transfer syntax of encapsulated pixel data (PS3.18 tables 8.7.3-5 to 8.7.3-7); the default of each first."""

VIDEO_TYPES: Final = frozenset({"video/mpeg", "video/mp4"})


async def retrieve_frames(call: Call) -> Response:
    """Frames of an instance, in the order in which they are named."""
    numbers = parse_frames(call.path["frames"], call.services.limits.max_request_frames)
    return await begun(call, await call.services.run_blocking(_retrieve, call, numbers))


async def retrieve_pixel_data(call: Call) -> Response:
    """All frames of an instance; the stream of a video as a whole."""
    return await begun(call, await call.services.run_blocking(_retrieve, call, ()))


@dataclass(frozen=True, slots=True)
class Source:
    """The pixel data of one object that frames are taken from."""

    stored: StoredObject
    table: FrameTable
    numbers: tuple[int, ...]

    @property
    def media_type(self) -> str:
        """Of what is stored."""
        return MEDIA_TYPE_OF.get(self.stored.transfer_syntax, OCTETS) if self.table.fragments else OCTETS

    @property
    def native_syntax(self) -> str:
        """What stored frames are sent as: native ones are little endian, whatever they were."""
        return self.stored.transfer_syntax if self.table.fragments else EXPLICIT_VR_LITTLE_ENDIAN.uid

    @property
    def is_video(self) -> bool:
        """Whether frames cannot be told apart without a decoder."""
        return self.media_type in VIDEO_TYPES


def _retrieve(call: Call, numbers: tuple[int, ...]) -> Delivered:
    accept, query = accepted(call)
    named = {"frames": len(numbers)} if numbers else {}
    objects, delivery = retrieve(call, "frames" if numbers else "pixeldata", named)
    stored = objects[0]
    with recorded(delivery), closing(open_whole(call.services.reader, stored)) as blob:
        table = table_of(call, stored, blob)
        if numbers and max(numbers) > table.pixels.frames:
            raise NotFound("no such frame")
        source = Source(stored, table, numbers)
        return deliver_frames(call, delivery, source, negotiate(accept, offers(source), query), blob)


def table_of(call: Call, stored: StoredObject, blob: BlobReader) -> FrameTable:
    """Where the frames of an open object lie. Raises NotFound if it has no pixel data."""
    syntax = TRANSFER_SYNTAXES[stored.transfer_syntax]
    outliner = call.services.outliner
    return call.services.frames.of(stored, lambda: pixel_data_of(outliner.outline_to_pixels(blob, stored), syntax))


def offers(source: Source) -> tuple[Offer, ...]:
    """What frames can be sent as: stored ones first, then what a codec makes of them."""
    syntaxes: dict[str, list[str]] = {source.media_type: [source.native_syntax]}
    native = EXPLICIT_VR_LITTLE_ENDIAN.uid
    if not source.is_video:
        for uid in (native, *(uid for uid, codec in CODECS.items() if codec.encodes)):
            media = OCTETS if uid == native else MEDIA_TYPE_OF.get(uid)
            if media and can_transcode(source.stored.transfer_syntax, uid):
                of_media = syntaxes.setdefault(media, [])
                if uid not in of_media:
                    of_media.append(uid)
    octets = syntaxes.setdefault(OCTETS, [])
    # Compressed frames as mere bytes, for who asks for any transfer syntax and for no image type.
    octets += [each for each in (STORED, source.native_syntax) if each not in octets]
    ordered = []
    for media, uids in syntaxes.items():
        first = [uid for uid in MEDIA_TYPE_OF if MEDIA_TYPE_OF[uid] == media and uid in uids]
        default = [uid for uid in uids if uid == source.native_syntax] + first
        ordered.append((media, tuple(dict.fromkeys(default + uids))))
    parts = [Offer(media, is_multipart=True, transfer_syntaxes=uids) for media, uids in ordered]
    if len(source.numbers) == 1 or source.table.pixels.frames == 1 or source.is_video:
        parts += [Offer(media, transfer_syntaxes=uids) for media, uids in ordered]
    return tuple(parts)


def deliver_frames(
    call: Call, delivery: Delivery, source: Source, choices: Sequence[Choice], blob: BlobReader
) -> Delivered:
    """Answer with frames, in the first of ``choices``; ``blob`` is the open object, closed by the caller."""
    choice = choices[0]
    named = {STORED: source.native_syntax}.get(choice.transfer_syntax, choice.transfer_syntax)
    if named != source.native_syntax:
        return _transcoded(call, delivery, source, choice, named)
    content_type = f"{choice.media_type}; transfer-syntax={named}"
    if source.is_video and source.numbers:
        # A video is one stream: where a frame begins in it, only a decoder knows.
        raise NotAcceptable(available((Offer(source.media_type, transfer_syntaxes=(named,)),)))
    pieces = _located(source, blob)
    stored = source.stored
    if TRANSFER_SYNTAXES[stored.transfer_syntax].deflated:
        _require_inflatable(pieces, call.services.limits.max_inflated_bytes)
    tag = strong_tag("frames", stored.object_id, content_type, repr(source.numbers), repr(choice.is_multipart))
    if not choice.is_multipart:
        (piece,) = pieces
        location = "" if source.numbers else _pixels_url(call, stored)
        sized = Sized(content_type, piece.size, tag, _ranged(call, delivery, source, piece), location)
        return deliver_sized(call, delivery, sized)
    return _multipart(call, delivery, source, _Parts(content_type, choice, tag, pieces))


@dataclass(frozen=True, slots=True)
class _Piece:
    """One frame as it leaves: some bytes of the data set, or bits that have to be moved to a byte's beginning."""

    number: int
    spans: Frame
    bits: int = 0
    shift: int = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return (self.bits + 7) // 8 if self.bits else sum(span.length for span in self.spans)


@dataclass(frozen=True, slots=True)
class _Parts:
    content_type: str
    choice: Choice
    tag: str
    pieces: Sequence[_Piece]


def _located(source: Source, blob: BlobReader) -> list[_Piece]:
    """Where the frames lie, all of them before the first one leaves: what is not there has an answer of its own."""
    table, pixels = source.table, source.table.pixels
    numbers = _numbers(source)
    if table.fragments is None:
        return [_native(pixels, number) for number in numbers]
    if source.is_video:
        with table.lock:
            return [_Piece(1, table.fragments.all_fragments(blob.read))]
    found: dict[int, _Piece] = {}
    spans = 0
    with table.lock:
        for number in numbers:
            if number not in found:
                found[number] = _Piece(number, table.fragments.locate(blob.read, number))
                spans += len(found[number].spans)
                if spans > MAX_SPANS:
                    raise LimitExceeded("max_pixel_fragments", MAX_SPANS)
    return [found[number] for number in numbers]


def _require_inflatable(pieces: Sequence[_Piece], max_bytes: int) -> None:
    """Return if frames of a deflated object are named in an order in which it need not be inflated again and again.

    Raises LimitExceeded.
    """
    inflated = reached = 0
    for piece in pieces:
        start, end = piece.spans[0].offset, piece.spans[-1].offset + piece.spans[-1].length
        if start < reached:
            inflated += reached
            if inflated > max_bytes:
                raise LimitExceeded("max_inflated_bytes", max_bytes)
            reached = 0
        reached = max(reached, end)


def _numbers(source: Source) -> tuple[int, ...]:
    frames = source.table.pixels.frames
    if not source.numbers and frames > MAX_SPANS:
        raise LimitExceeded("max_request_frames", MAX_SPANS, frames)
    return source.numbers or tuple(range(1, frames + 1))


def _native(pixels: PixelData, number: int) -> _Piece:
    frame = native_frame(pixels, number)
    is_odd = frame.shift or frame.bits % 8
    return _Piece(number, (frame.span,), frame.bits if is_odd else 0, frame.shift)


def _bytes_of(read: Read, source: Source, piece: _Piece) -> Iterator[bytes]:
    """The bytes of a frame, some at a time."""
    if piece.bits:
        (span,) = piece.spans
        yield aligned(read(span.offset, span.length), piece.bits, piece.shift)
        return
    chunks = (chunk for span in piece.spans for chunk in _read(read, span))
    pixels, syntax = source.table.pixels, TRANSFER_SYNTAXES[source.stored.transfer_syntax]
    word = WORD_BYTES.get(pixels.value.vr, 1)
    if not syntax.little_endian and word > 1:
        # A sample of 32 or 64 bits is one word, though its VR is one of 16.
        yield from swapped(chunks, max(word, pixels.bits_allocated // 8))
    else:
        yield from chunks


def _read(read: Read, span: Span) -> Iterator[bytes]:
    for start in range(0, span.length, PIECE_BYTES):
        yield read(span.offset + start, min(PIECE_BYTES, span.length - start))


def _frames(
    call: Call, source: Source, pieces: Iterable[_Piece]
) -> Generator[tuple[_Piece, Iterator[bytes]], None, None]:
    """Each frame with its bytes, which are taken before the next one is asked for."""
    stored = source.stored
    is_forward = TRANSFER_SYNTAXES[stored.transfer_syntax].deflated
    with closing(open_whole(call.services.reader, stored)) as blob:
        read: Read = blob.read
        reached = 0
        for piece in pieces:
            start = piece.spans[0].offset if piece.spans else 0
            if is_forward and (not reached or start < reached):
                read, _ = call.services.outliner.reading(blob, stored)  # inflated once more, from the beginning
            reached = start + 1
            yield piece, _bytes_of(read, source, piece)


def pixel_parts(call: Call, stored: StoredObject) -> Iterator[tuple[str, str, Iterator[bytes]]]:
    """Yield Content-Type, Content-Location and bytes of every frame as it is stored. Raises as locating them does."""
    with closing(open_whole(call.services.reader, stored)) as blob:
        source = Source(stored, table_of(call, stored, blob), ())
        pieces = _located(source, blob)
    url, content_type = _pixels_url(call, stored), f"{source.media_type}; transfer-syntax={source.native_syntax}"
    with closing(_frames(call, source, pieces)) as frames:
        for piece, chunks in frames:
            yield content_type, _location(url, source, piece.number), chunks


def _ranged(call: Call, delivery: Delivery, source: Source, piece: _Piece) -> Callable[[int, int], Body]:
    """Reads a range of one frame; what comes before it is passed over within the frame only."""

    def read(start: int, stop: int) -> Body:
        position = 0
        with closing(_frames(call, source, (piece,))) as frames:
            for _, chunks in frames:
                for chunk in chunks:
                    if position + len(chunk) > start and position < stop:
                        yield chunk[max(0, start - position) : stop - position]
                    position += len(chunk)
                    if position >= stop:
                        break
        if stop == piece.size:
            delivery.object_done()

    return read


def _multipart(call: Call, delivery: Delivery, source: Source, parts: _Parts) -> Delivered:
    boundary = boundary_of(bytes.fromhex(parts.tag[1:-1]))
    writer = MultipartWriter(boundary)
    url = _pixels_url(call, source.stored)
    heads = [writer.part(parts.content_type, _location(url, source, piece.number)) for piece in parts.pieces]
    end = writer.end()

    def body() -> Body:
        heads_left = iter(heads)
        with closing(_frames(call, source, parts.pieces)) as frames:
            for _, chunks in frames:
                yield next(heads_left)
                yield from chunks
        delivery.object_done()
        yield end

    length = sum(map(len, heads)) + sum(piece.size for piece in parts.pieces) + len(end)
    said = {
        "Content-Type": f'{MULTIPART}; type="{parts.choice.media_type}"; boundary={boundary}',
        "Content-Length": str(length),
        "ETag": parts.tag,
        "Vary": VARY,
    }
    return deliver(call, delivery, said, body())


def _transcoded(call: Call, delivery: Delivery, source: Source, choice: Choice, to_uid: str) -> Delivered:
    """Frames that a worker decodes, and encodes if need be. Not begun: where workers are waited for, that is done."""
    stored, pixels = source.stored, call.services.pixels
    numbers = _numbers(source)
    if pixels is None:
        raise NotAcceptable((f"{source.media_type}; transfer-syntax={source.native_syntax}",))
    content_type = f"{choice.media_type}; transfer-syntax={to_uid}"
    tag = strong_tag("frames", stored.object_id, content_type, repr(source.numbers), repr(choice.is_multipart))
    boundary = boundary_of(bytes.fromhex(tag[1:-1]))
    writer, url = MultipartWriter(boundary), _pixels_url(call, stored)

    def body() -> Body:
        for start in range(0, len(numbers), _FRAMES_AT_ONCE):
            some = numbers[start : start + _FRAMES_AT_ONCE]
            with closing(open_whole(call.services.reader, stored)) as blob:
                frames = list(pixels.frames(blob, stored.transfer_syntax, to_uid, some))
            for number, frame in zip(some, frames, strict=True):
                if choice.is_multipart:
                    yield writer.part(content_type, _location(url, source, number))
                yield frame
        delivery.object_done()
        if choice.is_multipart:
            yield writer.end()

    whole = f'{MULTIPART}; type="{choice.media_type}"; boundary={boundary}' if choice.is_multipart else content_type
    return deliver(call, delivery, {"Content-Type": whole, "ETag": tag, "Vary": VARY}, body(), by_worker=True)


def _pixels_url(call: Call, stored: StoredObject) -> str:
    return call.instance_url(stored.study_uid, stored.series_uid, stored.sop_uid)


def _location(url: str, source: Source, number: int) -> str:
    return f"{url}/pixeldata" if source.is_video else f"{url}/frames/{number}"


_INSTANCE: Final = f"{PREFIX}/studies/{{study}}/series/{{series}}/instances/{{instance}}"
_TYPES: Final = (OCTETS, *dict.fromkeys(MEDIA_TYPE_OF.values()))
_PRODUCES: Final = (*(f'{MULTIPART}; type="{media}"' for media in _TYPES), *_TYPES)
_PARAMETERS: Final = ACCEPT + CONDITIONS + RANGES
_STATUSES: Final = (200, 206, 304, 412, 416)

OPERATIONS: Final = (
    Operation(
        "retrieveFrames", "GET", f"{_INSTANCE}/frames/{{frames}}", retrieve_frames,
        "Frames of an instance: their numbers with commas between them.", Right.GET,
        _PARAMETERS, produces=_PRODUCES, statuses=_STATUSES,
    ),
    Operation(
        "retrievePixelData", "GET", f"{_INSTANCE}/pixeldata", retrieve_pixel_data, "All frames of an instance.",
        Right.GET, _PARAMETERS, produces=_PRODUCES, statuses=_STATUSES,
    ),
)  # fmt: skip
