"""What lies in a compressed frame beside the picture: application segments, boxes, bytes behind the end.

JPEG and JPEG-LS (ITU T.81 B.1, T.87), JPEG 2000 (T.800 A, I). Nothing is decoded: markers and lengths are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_MARKER: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_USUAL_APP: Final = (b"JFIF\0", b"JFXX\0", b"Exif\0", b"ICC_PROFILE\0", b"Adobe", b"SPIFF\0", b"mrfx", b"HPXD")
_MAX_SEGMENTS: Final = 10_000
_BOX_PICTURE: Final = frozenset({b"jP  ", b"ftyp", b"jp2h", b"jp2c"})


class Part(NamedTuple):
    """Some bytes of a fragment that are no picture. ``kind`` is "segment", "box" or "behind"."""

    kind: str
    name: str
    start: int
    stop: int


def extra_parts(data: bytes) -> Iterator[Part]:
    """Yield what ``data``, a fragment or the beginning of one, holds beside its code stream."""
    if data[:2] == b"\xff\xd8":
        yield from _jpeg(data)
    elif data[:2] == b"\xff\x4f":
        yield from _jpeg_2000(data, 0)
    elif data[4:8] == b"jP  ":
        yield from _boxes(data)


def _jpeg(data: bytes) -> Iterator[Part]:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(data):
            return
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xD9:
            yield from _behind(data, position + 2)
            return
        if marker in _JPEG_ALONE:
            position += 2
            continue
        stop = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xE0 <= marker <= 0xEF and not data[position + 4 : position + 20].startswith(_USUAL_APP):
            yield Part("segment", f"APP{marker - 0xE0}", position + 4, min(stop, len(data)))
        elif marker == 0xFE or 0xE0 <= marker <= 0xEF:
            name = "COM" if marker == 0xFE else f"APP{marker - 0xE0} of the usual kind"
            yield Part("segment", name, position + 4, min(stop, len(data)))
        if marker == 0xDA:
            found = _MARKER.search(data, stop)
            if found is None:
                return
            stop = found.start()
        position = max(stop, position + 2)
    if data[position : position + 2] == b"\xff\xd9":
        yield from _behind(data, position + 2)


def _behind(data: bytes, position: int) -> Iterator[Part]:
    if data[position:].strip(b"\0\xff"):
        yield Part("behind", "the end of the image", position, len(data))


def _jpeg_2000(data: bytes, position: int) -> Iterator[Part]:
    position += 2
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(data) or data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker in (0x90, 0x93, 0xD9):
            break
        stop = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0x64:
            yield Part("segment", "COM", position + 6, min(stop, len(data)))
        position = max(stop, position + 2)
    end = data.find(b"\xff\xd9", position)
    if end >= 0:
        yield from _behind(data, end + 2)


def _boxes(data: bytes) -> Iterator[Part]:
    position = 0
    for _ in range(_MAX_SEGMENTS):
        if position + 8 > len(data):
            return
        length, header = int.from_bytes(data[position : position + 4], "big"), 8
        kind = data[position + 4 : position + 8]
        if length == 1:
            length, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        stop = len(data) if length == 0 else position + length
        if length and length < header:
            yield from _behind(data, position)
            return
        if kind == b"jp2c":
            inner = data[position + header : stop]
            for part in _jpeg_2000(inner, 0):
                shift = position + header
                yield part._replace(start=part.start + shift, stop=part.stop + shift)
        elif kind not in _BOX_PICTURE and (kind.isalnum() or kind.strip().isalnum()):
            yield Part("box", kind.decode("ascii", "replace").strip(), position + header, min(stop, len(data)))
        elif kind not in _BOX_PICTURE:
            yield from _behind(data, position)
            return
        position = stop
