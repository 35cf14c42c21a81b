"""Take out of an encoded frame what no decoder reads, without touching a byte that one does.

JPEG and JPEG-LS (ISO/IEC 10918-1 B, 14495-1 C), JPEG 2000 and HTJ2K (15444-1 A and I), RLE (PS3.5 G), MP4 (14496-12).
Marker segments that change how pixels come out stay: JFIF, Adobe's colour transform, that of JPEG-LS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct, pack
from typing import Final, NamedTuple

_U16: Final = Struct(">H")
_U32: Final = Struct(">L")
_RLE_HEADER: Final = Struct("<16L")
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP: Final = range(0xE0, 0xF0)
_RESTART: Final = range(0xD0, 0xD8)
_ALONE: Final = frozenset({0x01, _SOI, *_RESTART})
_COLOUR_SEGMENTS: Final = ((0xEE, b"Adobe", 12), (0xE8, b"mrfx", 5))
_J2K_COM, _J2K_SOT, _J2K_EOC = 0xFF64, 0xFF90, b"\xff\xd9"
_BOX_START: Final = b"\0\0\0\x0cjP  "
_DECODING_BOXES: Final = frozenset({b"jP  ", b"ftyp", b"jp2h", b"jp2c"})
_DECODING_HEADERS: Final = frozenset({b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res "})
_SPARE_ATOMS: Final = frozenset({b"free", b"skip", b"uuid", b"udta"})


class Cut(NamedTuple):
    """Some bytes of a frame that its copy does not have, and what they were."""

    what: str
    start: int
    data: bytes


class Stripped(NamedTuple):
    """A frame without what no decoder reads."""

    data: bytes
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """How frames of one transfer syntax are told apart and stripped.

    ``strip`` returns None if a frame is not what its transfer syntax says, or its end cannot be told.
    """

    strip: Callable[[bytes], Stripped | None]
    beginnings: tuple[bytes, ...] = ()
    """With which of these the first fragment of a frame begins; () if a frame is one fragment (PS3.5 A.4.2)."""
    is_stream: bool = False
    """All fragments are one stream, whatever the number of frames (PS3.5 A.4.6)."""


def codec_of(uid: str, plane_bytes: int) -> Codec | None:
    """Return the codec of a transfer syntax, None if nothing here knows how its frames end.

    ``plane_bytes`` is how many bytes each RLE segment decodes to: Rows times Columns.
    """
    if uid == "1.2.840.10008.1.2.5":
        return Codec(lambda raw: strip_rle(raw, plane_bytes))
    family, _, number = uid.rpartition(".")
    if family != "1.2.840.10008.1.2.4" or not number.isdigit():
        return None
    if 50 <= int(number) <= 81:
        return Codec(strip_jpeg, (b"\xff\xd8\xff",))
    if 90 <= int(number) <= 93 or 201 <= int(number) <= 203:
        return Codec(strip_jpeg_2000, (b"\xff\x4f\xff\x51", _BOX_START))
    return Codec(strip_movie, is_stream=True) if 100 <= int(number) <= 108 else None


# -- JPEG, JPEG-LS


def strip_jpeg(raw: bytes) -> Stripped | None:
    """Drop application segments, comments, and what stands behind the end of the image."""
    if raw[:2] != b"\xff\xd8":
        return None
    kept: list[bytes] = [raw[:2]]
    cuts: list[Cut] = []
    position = 2
    while raw[position : position + 2] != b"\xff\xd9":
        following = _segment(raw, position, kept, cuts)
        if following is None:
            return None
        position = following
    kept.append(raw[position : position + 2])
    position += 2
    if any(raw[position:]):
        cuts.append(Cut("bytes behind the code stream", position, raw[position:]))
    return Stripped(b"".join(kept), tuple(cuts))


def _segment(raw: bytes, position: int, kept: list[bytes], cuts: list[Cut]) -> int | None:
    """Keep or cut the marker segment at ``position``; returns where the next one begins, None if there is none."""
    start = position
    while raw[position : position + 2] == b"\xff\xff":  # fill bytes
        position += 1
    if position + 2 > len(raw) or raw[position] != 0xFF:
        return None
    marker = raw[position + 1]
    if marker == _EOI:
        return position
    if marker in _ALONE:
        kept.append(raw[position : position + 2])
        return position + 2
    end = _segment_end(raw, position)
    if end is None:
        return None
    if marker == _SOS:
        end = _scan_end(raw, end)
    segment = raw[position:end]
    if marker in _APP or marker == _COM:
        segment = _needed(marker, segment)
        if segment != raw[position:end]:
            cuts.append(Cut(_segment_name(marker), start, raw[start:end]))
    kept.append(segment)
    return end


def _segment_end(raw: bytes, position: int) -> int | None:
    if position + 4 > len(raw):
        return None
    end: int = position + 2 + _U16.unpack_from(raw, position + 2)[0]
    return end if position + 4 <= end <= len(raw) else None


def _scan_end(raw: bytes, position: int) -> int:
    """Where entropy coded data ends: at a marker. JPEG stuffs a zero behind FF, JPEG-LS a zero bit."""
    while True:
        position = raw.find(b"\xff", position)
        if position < 0 or position + 1 >= len(raw):
            return len(raw)
        following = raw[position + 1]
        if following >= 0x80 and following not in _RESTART and following != 0xFF:
            return position
        position += 1 if following == 0xFF else 2


def _needed(marker: int, segment: bytes) -> bytes:
    """What of an application segment decoders go by, all of it or nothing; of JFIF not the thumbnail."""
    body = segment[4:]
    if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return pack(">HH", 0xFFE0, 16) + body[:12] + b"\0\0"
    for known, name, length in _COLOUR_SEGMENTS:
        if marker == known and body.startswith(name) and len(body) == length:
            return segment
    return b""


def _segment_name(marker: int) -> str:
    return "comment of the code stream" if marker == _COM else f"application segment APP{marker - 0xE0}"


# -- JPEG 2000


def strip_jpeg_2000(raw: bytes) -> Stripped | None:
    """Drop comments of the main header, boxes that say nothing of decoding, and what stands behind the end."""
    if raw.startswith(_BOX_START):
        return _strip_boxes(raw)
    end = _main_header_end(raw)
    stop = _code_stream_end(raw, end) if end else None
    if stop is None:
        return None
    kept: list[bytes] = [raw[:2]]
    cuts: list[Cut] = []
    position = 2
    while position < end:
        following = position + 2 + _U16.unpack_from(raw, position + 2)[0]
        if _U16.unpack_from(raw, position)[0] == _J2K_COM:
            cuts.append(Cut("comment of the code stream", position, raw[position:following]))
        else:
            kept.append(raw[position:following])
        position = following
    kept.append(raw[end:stop])
    if any(raw[stop:]):
        cuts.append(Cut("bytes behind the code stream", stop, raw[stop:]))
    return Stripped(b"".join(kept), tuple(cuts))


def _main_header_end(raw: bytes) -> int:
    """Where the first tile-part begins; 0 if the header does not hold together."""
    if raw[:4] != b"\xff\x4f\xff\x51":
        return 0
    position = 2
    while position + 4 <= len(raw):
        marker, length = _U16.unpack_from(raw, position)[0], _U16.unpack_from(raw, position + 2)[0]
        if marker == _J2K_SOT:
            return position
        if marker < 0xFF01 or length < 2:
            return 0
        position += 2 + length
    return 0


def _code_stream_end(raw: bytes, position: int) -> int | None:
    """Where the code stream ends that has its first tile-part at ``position``, None if it does not end."""
    while raw[position : position + 2] != _J2K_EOC:
        if position + 12 > len(raw) or _U16.unpack_from(raw, position)[0] != _J2K_SOT:
            return None
        length = _U32.unpack_from(raw, position + 6)[0]
        if not length:  # the last one, up to the end; no packet holds that marker (15444-1 A.4.2, B.10.1)
            end = raw.find(_J2K_EOC, position + 12)
            return None if end < 0 else end + 2
        if length < 14:
            return None
        position += length
    return position + 2


def _boxes(raw: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield kind, start, start of the content and end of each box; what holds together of them."""
    while end - start >= 8:
        length, kind = _U32.unpack_from(raw, start)[0], raw[start + 4 : start + 8]
        content = start + 8
        if length == 1 and end - start >= 16:
            content = start + 16
            length = int.from_bytes(raw[start + 8 : start + 16])
        stop = end if not length else start + length
        if not content <= stop <= end:
            return
        yield kind, start, content, stop
        start = stop


def _strip_boxes(raw: bytes) -> Stripped | None:
    kept: list[bytes] = []
    cuts: list[Cut] = []
    position, seen = 0, False
    for kind, start, content, end in _boxes(raw, 0, len(raw)):
        position = end
        if kind == b"jp2c":
            inner = strip_jpeg_2000(raw[content:end]) if raw[content : content + 1] == b"\xff" else None
            if inner is None:
                return None
            seen = True
            kept.append(_box(kind, inner.data))
            cuts += [Cut(cut.what, content + cut.start, cut.data) for cut in inner.cuts]
        elif kind == b"jp2h":
            kept.append(_box(kind, _kept_headers(raw, content, end, cuts)))
        elif kind in _DECODING_BOXES:
            kept.append(raw[start:end])
        else:
            cuts.append(Cut("a box that is not for decoding", start, raw[start:end]))
    if any(raw[position:]):
        cuts.append(Cut("bytes behind the boxes", position, raw[position:]))
    return Stripped(b"".join(kept), tuple(cuts)) if seen else None


def _kept_headers(raw: bytes, content: int, end: int, cuts: list[Cut]) -> bytes:
    kept: list[bytes] = []
    position = content
    for kind, start, _, stop in _boxes(raw, content, end):
        position = stop
        if kind in _DECODING_HEADERS:
            kept.append(raw[start:stop])
        else:
            cuts.append(Cut("a box that is not for decoding", start, raw[start:stop]))
    if position < end:
        cuts.append(Cut("bytes behind the boxes", position, raw[position:end]))
    return b"".join(kept)


def _box(kind: bytes, content: bytes) -> bytes:
    return pack(">L", 8 + len(content)) + kind + content


# -- RLE


def strip_rle(raw: bytes, plane_bytes: int) -> Stripped | None:
    """Keep of each segment what decodes to one plane, and nothing between or behind them (PS3.5 G.3 to G.5)."""
    if len(raw) < _RLE_HEADER.size or not plane_bytes:
        return None
    count, *offsets = _RLE_HEADER.unpack_from(raw)
    if not 1 <= count <= 15 or offsets[0] != _RLE_HEADER.size:
        return None
    used = offsets[:count]
    if used != sorted(set(used)) or used[-1] > len(raw):
        return None
    segments: list[bytes] = []
    cuts: list[Cut] = []
    for start, limit in zip(used, [*used[1:], len(raw)], strict=True):
        end = _segment_of_plane(raw, start, limit, plane_bytes)
        if end is None:
            return None
        segments.append(raw[start:end] + b"\0" * (end - start & 1))
        if any(raw[end:limit]):
            cuts.append(Cut("bytes behind an RLE segment", end, raw[end:limit]))
    if any(offsets[count:]):
        cuts.append(Cut("unused part of the RLE header", 4 + 4 * count, raw[4 + 4 * count : 64]))
    places, at = [], _RLE_HEADER.size
    for segment in segments:
        places.append(at)
        at += len(segment)
    header = _RLE_HEADER.pack(count, *places, *[0] * (15 - count))
    return Stripped(header + b"".join(segments), tuple(cuts))


def _segment_of_plane(raw: bytes, position: int, limit: int, plane_bytes: int) -> int | None:
    """Where the runs end that make up one plane, None if they end early."""
    made = 0
    while made < plane_bytes:
        if position >= limit:
            return None
        code = raw[position]
        if code < 128:
            made += code + 1
            position += code + 2
        elif code > 128:
            made += 257 - code
            position += 2
        else:
            position += 1
    return position if position <= limit else None


# -- MP4


def strip_movie(raw: bytes) -> Stripped:
    """Blank the spare boxes of an MP4: what they hold goes, all else stays where its tables say that it is.

    Another stream, such as MPEG-2 or a transport stream, stays as it is.
    """
    if raw[4:8] != b"ftyp":
        return Stripped(raw, ())
    out = bytearray(raw)
    cuts: list[Cut] = []
    for kind, _, content, end in _boxes(raw, 0, len(raw)):
        if kind in _SPARE_ATOMS and any(raw[content:end]):
            cuts.append(Cut("a spare box of the movie", content, raw[content:end]))
            out[content:end] = bytes(end - content)
    return Stripped(bytes(out), tuple(cuts))
