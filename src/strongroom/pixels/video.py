"""An AV1 video in MP4 (ISO/IEC 14496-12; AV1 in ISO BMFF), out of the image sequence that the AVIF encoder writes.

An AVIF image sequence and an AV1 video are the same file, but for a few words: which brands it claims, what its track
is called, and how long it lasts. These are set in place, so that every offset stays true.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack_into, unpack_from
from typing import Final

_BRANDS: Final = (b"isom", b"isom", b"iso8", b"mp41", b"av01")
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia"})
_FREE: Final = b"free"


def video_of(sequence: bytes) -> bytes:
    """Return ``sequence``, an AVIF image sequence with one track, as an MP4 video."""
    out = bytearray(sequence)
    duration = 0
    for kind, start, _ in _boxes(out, 0, len(out)):
        if kind == b"mdhd":
            (duration,) = unpack_from(">Q", out, start + 24)
    for kind, start, size in _boxes(out, 0, len(out)):
        if kind == b"ftyp":
            out[start : start + 4] = _BRANDS[0]
            for index in range((size - 8) // 4):
                out[start + 8 + 4 * index : start + 12 + 4 * index] = _BRANDS[1 + index % (len(_BRANDS) - 1)]
        elif kind in (b"meta", b"edts"):
            out[start - 4 : start] = _FREE
        elif kind == b"hdlr":
            out[start + 8 : start + 12] = b"vide"
        elif kind == b"mvhd":
            pack_into(">Q", out, start + 24, duration)
        elif kind == b"tkhd":
            out[start + 3] |= 3
            pack_into(">Q", out, start + 28, duration)
    return bytes(out)


def _boxes(raw: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, beginning and size of the content of every box that matters."""
    while start + 8 <= end:
        size, kind = unpack_from(">L4s", raw, start)
        if size < 8:
            return
        yield kind, start + 8, size - 8
        if kind in _CONTAINERS:
            yield from _boxes(raw, start + 8, start + size)
        start += size
