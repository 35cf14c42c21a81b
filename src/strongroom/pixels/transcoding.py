"""A data set from one transfer syntax into another, a frame at a time (PS3.5 8.2, annex A; PS3.3 C.7.6.1.1.5).

What is lossless keeps every pixel value. What is lossy keeps the SOP Instance UID, as a web service's representation of
the same instance, and says what was done: Lossy Image Compression, its ratio and its method.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from struct import pack
from typing import Final

import numpy as np

from strongroom.dicom.convert import ElementWriter, convert, explicit_header, is_length_of_others
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH, coding_of
from strongroom.dicom.stream import Kind, Read, SeekableSource, walk
from strongroom.errors import NotRepresentable
from strongroom.pixels import image as tags
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.codecs import Array, decode_frame, encode_frame
from strongroom.pixels.image import Form, StoredImage
from strongroom.pixels.sandbox import allow_cpu
from strongroom.pixels.wire import CHUNK_BYTES

_MAX_NATIVE_BYTES: Final = 0xFFFFFFFE
_TRAILING_PADDING: Final = 0xFFFCFFFC
_SEQUENCE_DELIMITER: Final = pack("<HHL", 0xFFFE, 0xE0DD, 0)
_EMPTY_ITEM: Final = pack("<HHL", 0xFFFE, 0xE000, 0)
_DROPPED: Final = frozenset({_TRAILING_PADDING, *tags.OFFSET_TABLES})


def transcode(image: StoredImage, read: Read, to_uid: str) -> Iterator[bytes]:
    """Yield the data set as ``to_uid``, in pieces of any size. Raises as ``decode_frame`` and ``encode_frame`` do."""
    if to_uid == uid.DEFLATED:
        yield from _deflated(transcode(image, read, uid.EXPLICIT))
    elif to_uid == image.syntax.uid or (to_uid == uid.EXPLICIT and image.syntax.encapsulated and not image.has_pixels):
        yield from _chunks(read, image.size)
    elif not image.is_encapsulated and to_uid == uid.EXPLICIT:
        yield from convert(_chunks(read, image.size), image.syntax, EXPLICIT_VR_LITTLE_ENDIAN)
    elif not image.has_pixels:
        raise NotRepresentable("the object has no pixel data to compress")
    else:
        yield from _recoded(image, read, to_uid)


def frames(image: StoredImage, to_uid: str, numbers: Sequence[int]) -> Iterator[bytes]:
    """Yield each frame as ``to_uid`` has it, without padding. Raises as ``transcode``."""
    for number in numbers:
        allow_cpu(image.frame_cpu_s)
        if image.syntax.uid == to_uid and image.is_encapsulated:
            yield image.encapsulated_frame(number)
            continue
        array, form = decode_frame(image, number)
        yield _native_bytes(array, form) if to_uid in uid.NATIVE else encode_frame(array, form, to_uid)[0]


def _recoded(image: StoredImage, read: Read, to_uid: str) -> Iterator[bytes]:
    allow_cpu(image.frame_cpu_s)
    if not image.is_encapsulated:
        image.native_frame(image.frame_count)  # or it would be noticed when the others have left
    is_native = to_uid in uid.NATIVE
    array, form = decode_frame(image, 1)
    first, photometric = (
        (_native_bytes(array, form), form.photometric) if is_native else encode_frame(array, form, to_uid)
    )
    edits = _edits(image, to_uid, photometric, len(first))
    writer_source = SeekableSource(read, 0, image.header_end)
    yield from _elements(image, writer_source, edits)
    yield from _pixel_data(image, to_uid, first)
    tail = SeekableSource(read, image.end_of_pixels, image.size)
    yield from _elements(image, tail, {})


def _pixel_data(image: StoredImage, to_uid: str, first: bytes) -> Iterator[bytes]:
    count = image.frame_count
    if to_uid in uid.NATIVE:
        yield from _native_pixel_data(image, first)
        return
    yield explicit_header(PIXEL_DATA, b"OB", UNDEFINED_LENGTH) + _EMPTY_ITEM
    for number in range(1, count + 1):
        allow_cpu(image.frame_cpu_s)
        stream = first if number == 1 else encode_frame(*decode_frame(image, number), to_uid)[0]
        padded = len(stream) + (len(stream) & 1)
        yield pack("<HHL", 0xFFFE, 0xE000, padded) + stream + b"\0" * (padded - len(stream))
    yield _SEQUENCE_DELIMITER


def _native_pixel_data(image: StoredImage, first: bytes) -> Iterator[bytes]:
    count, allocated = image.frame_count, image.form.bits_allocated
    if allocated == 1:
        yield from _bit_pixel_data(image)
        return
    length = len(first) * count
    if length > _MAX_NATIVE_BYTES:
        raise NotRepresentable("pixel data over 4 GiB has no uncompressed encoding")
    yield explicit_header(PIXEL_DATA, b"OW" if allocated > 8 else b"OB", length + (length & 1))
    yield first
    for number in range(2, count + 1):
        allow_cpu(image.frame_cpu_s)
        yield _native_bytes(*decode_frame(image, number))
    if length & 1:
        yield b"\0"


def _bit_pixel_data(image: StoredImage) -> Iterator[bytes]:
    """Frames of single bits follow each other without a gap (PS3.5 8.1.1)."""
    form = image.form
    bits_in_all = form.native_bits * image.frame_count
    length = (bits_in_all + 7) // 8
    if length > _MAX_NATIVE_BYTES:
        raise NotRepresentable("pixel data over 4 GiB has no uncompressed encoding")
    yield explicit_header(PIXEL_DATA, b"OB", length + (length & 1))
    left = np.empty(0, "u1")
    for number in range(1, image.frame_count + 1):
        allow_cpu(image.frame_cpu_s)
        bits = np.concatenate((left, decode_frame(image, number)[0].astype("u1").ravel()))
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        left = bits[whole:]
    yield np.packbits(left, bitorder="little").tobytes() + b"\0" * (length & 1)


def _native_bytes(array: Array, form: Form) -> bytes:
    if form.bits_allocated == 1:
        return np.packbits(array.astype("u1").ravel(), bitorder="little").tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _edits(image: StoredImage, to_uid: str, photometric: str, first_bytes: int) -> dict[int, bytes]:
    """The elements that the new encoding changes, by tag, in Explicit VR Little Endian."""
    form = image.form
    edits = {tags.PHOTOMETRIC: _text_element(tags.PHOTOMETRIC, b"CS", photometric)}
    if form.samples > 1:
        edits[tags.PLANAR] = explicit_header(tags.PLANAR, b"US", 2) + b"\0\0"
    target, source = uid.CODECS[to_uid], uid.CODECS[image.syntax.uid]
    if source.family == "JPEG" and source.is_lossy and not target.is_lossy:
        edits[tags.LOSSY] = _text_element(tags.LOSSY, b"CS", "01")
    if target.is_lossy:
        native_bytes = form.rows * form.columns * form.samples * form.bits_stored / 8
        ratio = f"{max(native_bytes / max(first_bytes, 1), 0.01):.4g}"
        edits[tags.LOSSY] = _text_element(tags.LOSSY, b"CS", "01")
        edits[tags.LOSSY_RATIO] = _text_element(tags.LOSSY_RATIO, b"DS", _and(image.text(tags.LOSSY_RATIO), ratio))
        method = _and(image.text(tags.LOSSY_METHOD), target.compression_method)
        edits[tags.LOSSY_METHOD] = _text_element(tags.LOSSY_METHOD, b"CS", method)
    return edits


def _and(before: str, more: str) -> str:
    return f"{before}\\{more}" if before else more


def _text_element(tag: int, vr: bytes, text: str) -> bytes:
    raw = text.encode("ascii")
    raw += b" " * (len(raw) & 1)
    return explicit_header(tag, vr, len(raw)) + raw


def _elements(image: StoredImage, source: SeekableSource, edits: dict[int, bytes]) -> Iterator[bytes]:
    """Yield the elements that ``source`` holds, those at the top level edited, in Explicit VR Little Endian."""
    writer = ElementWriter(source, explicit=True, big_endian=not image.syntax.little_endian)
    pending = dict(sorted(edits.items()))
    depth = 0
    out = bytearray()
    for step in walk(source, coding_of(image.syntax)):
        if step.kind in (Kind.ITEM_END, Kind.SEQUENCE_END):
            depth -= 1
        elif depth == 0 and not is_length_of_others(step.tag):
            while pending and next(iter(pending)) < step.tag:
                out += pending.pop(next(iter(pending)))
            if step.tag in pending:
                out += pending.pop(step.tag)
                continue
            if step.tag in _DROPPED:
                continue
        if step.kind in (Kind.SEQUENCE, Kind.ITEM, Kind.FRAGMENTS):
            depth += 1
        for piece in writer.write(step):
            out += piece
            if len(out) >= CHUNK_BYTES:
                yield bytes(out)
                out.clear()
    for element in pending.values():
        out += element
    yield bytes(out)


def _chunks(read: Read, size: int) -> Iterator[bytes]:
    for offset in range(0, size, CHUNK_BYTES):
        yield read(offset, min(CHUNK_BYTES, size - offset))


def _deflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    length = 0
    for piece in pieces:
        packed = packer.compress(piece)
        length += len(packed)
        yield packed
    last = packer.flush()
    yield last + b"\0" * (length + len(last) & 1)
