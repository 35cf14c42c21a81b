"""The TIFF header of a dual-personality file: does it show the pixel data, or something else (PS3.10 7.1)?

TIFF 6.0 section 2 and BigTIFF. A whole-slide image may be read as either; then each strip and tile of each of its
directories lies within Pixel Data. One that shows other bytes is another picture under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from struct import calcsize, unpack
from typing import Final, NamedTuple

Read = Callable[[int, int], bytes | None]
"""Returns that many bytes of the file at an offset, None if they are not at hand."""

_OFFSETS: Final = {273: 279, 324: 325}
"""StripOffsets and TileOffsets, with the tags of their byte counts."""
_TYPE_FORMATS: Final = {1: "B", 3: "H", 4: "L", 16: "Q", 13: "L", 18: "Q"}
_MAX_DIRECTORIES: Final = 64
_MAX_ENTRIES: Final = 512
_MAX_VALUES: Final = 16_384


class Verdict(Enum):
    """What the header turned out to be."""

    SHOWS_PIXEL_DATA = 1
    LEADS_NOWHERE = 2
    SHOWS_OTHER_BYTES = 3
    NOT_AT_HAND = 4
    NO_TIFF = 5


class Header(NamedTuple):
    """Byte order, whether it is BigTIFF, and where the first directory is."""

    order: str
    big: bool
    first: int


def parse_header(head: bytes) -> Header | None:
    """Return the TIFF header that ``head`` begins with, None if it is none."""
    if head[:4] in (b"II*\0", b"MM\0*"):
        order = "<" if head[:1] == b"I" else ">"
        return Header(order, False, unpack(order + "L", head[4:8])[0])
    if head[:8] in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        order = "<" if head[:1] == b"I" else ">"
        return Header(order, True, unpack(order + "Q", head[8:16])[0])
    return None


class _NotAtHand(Exception):
    """Bytes that are no longer, or not yet, held."""


def judge(header: Header, read: Read, pixels: tuple[int, int], size: int) -> tuple[Verdict, int]:
    """Return what the TIFF shows, and how many strips and tiles were looked at.

    ``pixels`` is where the value of Pixel Data begins and ends, ``size`` that of the file.
    """
    seen: set[int] = set()
    offset, looked_at = header.first, 0
    try:
        while offset and offset not in seen and len(seen) < _MAX_DIRECTORIES:
            if offset >= size:
                return (Verdict.LEADS_NOWHERE, looked_at)
            seen.add(offset)
            entries, offset = _directory(header, read, offset)
            for strip, length in _strips(header, read, entries):
                looked_at += 1
                if strip + length > size:
                    return Verdict.LEADS_NOWHERE, looked_at
                if not pixels[0] <= strip <= strip + length <= pixels[1]:
                    return Verdict.SHOWS_OTHER_BYTES, looked_at
    except _NotAtHand:
        return Verdict.NOT_AT_HAND, looked_at
    return (Verdict.SHOWS_PIXEL_DATA if looked_at else Verdict.LEADS_NOWHERE), looked_at


def _take(read: Read, offset: int, length: int) -> bytes:
    raw = read(offset, length)
    if raw is None or len(raw) < length:
        raise _NotAtHand
    return raw


Entry = tuple[int, int, bytes]


def _directory(header: Header, read: Read, offset: int) -> tuple[dict[int, Entry], int]:
    """Return type, count and value field by tag, and where the next directory is."""
    order = header.order
    counter, entry_bytes, link = ("Q", 20, "Q") if header.big else ("H", 12, "L")
    count = unpack(order + counter, _take(read, offset, calcsize(order + counter)))[0]
    if not 0 < count <= _MAX_ENTRIES:
        return {}, 0
    start = offset + calcsize(order + counter)
    raw = _take(read, start, count * entry_bytes + calcsize(order + link))
    entries = {}
    for place in range(0, count * entry_bytes, entry_bytes):
        tag, kind = unpack(order + "HH", raw[place : place + 4])
        number = unpack(order + link, raw[place + 4 : place + 4 + calcsize(order + link)])[0]
        entries[tag] = (kind, number, raw[place + 4 + calcsize(order + link) : place + entry_bytes])
    return entries, unpack(order + link, raw[count * entry_bytes :])[0]


def _strips(header: Header, read: Read, entries: dict[int, Entry]) -> list[tuple[int, int]]:
    found = []
    for tag, lengths_tag in _OFFSETS.items():
        if tag in entries:
            offsets = _values(header, read, entries[tag])
            lengths = _values(header, read, entries[lengths_tag]) if lengths_tag in entries else (0,) * len(offsets)
            found += list(zip(offsets, lengths, strict=False))
    return found


def _values(header: Header, read: Read, entry: Entry) -> tuple[int, ...]:
    kind, count, field = entry
    code = _TYPE_FORMATS.get(kind)
    if code is None:
        return ()
    count = min(count, _MAX_VALUES)
    layout = f"{header.order}{count}{code}"
    length = calcsize(layout)
    if length > len(field):
        field = _take(read, unpack(header.order + ("Q" if header.big else "L"), field)[0], length)
    return unpack(layout, field[:length])
