"""Images with something hidden in them: every format of ``payloads`` at every place of a file where it can stand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import imagecodecs
import numpy as np

from harness import payloads
from harness.payloads import PAYLOADS, Payload

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
MPEG4 = "1.2.840.10008.1.2.4.102"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
ROWS = COLUMNS = 64
PIXEL_DATA = 0x7FE00010

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"))
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Fragments:
    """Encapsulated pixel data: the Basic Offset Table first."""

    items: tuple[bytes, ...]


Value = bytes | Fragments | list["DataSet"]
DataSet = dict[int, tuple[str, Value]]
"""Tag to VR and value; values are little endian."""


# -- encoding


def encode(data_set: DataSet, *, explicit: bool = True, big: bool = False, undefined: bool = False) -> bytes:
    """A data set in tag order; with ``undefined`` its sequences are of undefined length."""
    order = ">" if big else "<"
    out = bytearray()
    for tag, (vr, value) in sorted(data_set.items()):
        if isinstance(value, Fragments):
            body = b"".join(struct.pack(order + "HHL", 0xFFFE, 0xE000, len(x)) + x for x in map(_even, value.items))
            body += struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
            out += _header(tag, vr, _UNDEFINED, explicit, order) + body
        elif isinstance(value, list):
            inner = [encode(item, explicit=explicit, big=big, undefined=undefined) for item in value]
            out += _sequence(tag, vr, inner, explicit, order, undefined=undefined)
        else:
            padded = _even(value, b"\0" if vr in _LONG or vr == "UI" else b" ")
            if big:
                padded = _swapped(vr, padded)
            out += _header(tag, vr, len(padded), explicit, order) + padded
    return bytes(out)


def _even(value: bytes, padding: bytes = b"\0") -> bytes:
    return value + padding * (len(value) & 1)


def _swapped(vr: str, value: bytes) -> bytes:
    size = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "FL": 4, "OF": 4, "FD": 8, "OD": 8}.get(vr, 1)
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def _header(tag: int, vr: str, length: int, explicit: bool, order: str) -> bytes:
    if not explicit:
        return struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, length)
    head = struct.pack(order + "HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack(order + "HL", 0, length) if vr in _LONG else struct.pack(order + "H", length))


def _sequence(tag: int, vr: str, items: list[bytes], explicit: bool, order: str, *, undefined: bool) -> bytes:
    if not undefined:
        body = b"".join(struct.pack(order + "HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
        return _header(tag, vr, len(body), explicit, order) + body
    end = struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0)
    body = b"".join(struct.pack(order + "HHL", 0xFFFE, 0xE000, _UNDEFINED) + item + end for item in items)
    return _header(tag, vr, _UNDEFINED, explicit, order) + body + struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)


def file_of(data_set: bytes, syntax: str = EXPLICIT, *, sop_class: str = SECONDARY_CAPTURE, **more: bytes) -> bytes:
    """A file around a data set; ``more`` is ``preamble`` and ``meta``, encoded elements of group 0002 to add."""
    meta: DataSet = {
        0x00020001: ("OB", b"\0\1"),
        0x00020002: ("UI", sop_class.encode()),
        0x00020003: ("UI", b"2.25.1.4"),
        0x00020010: ("UI", syntax.encode()),
        0x00020012: ("UI", b"2.25.1"),
        0x00020013: ("SH", b"TEST"),
    }
    group = encode(meta) + more.get("meta", b"")
    head = encode({0x00020000: ("UL", struct.pack("<L", len(group)))})
    return more.get("preamble", b"").ljust(128, b"\0") + b"DICM" + head + group + data_set


# -- what is hidden in


def us(*numbers: int) -> bytes:
    """Unsigned 16-bit numbers."""
    return struct.pack(f"<{len(numbers)}H", *numbers)


@cache
def gradient() -> np.ndarray:
    """The pixels of all images here: a shape and a ramp, as an image has."""
    across, down = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    circle = (across - 32) ** 2 + (down - 32) ** 2 < 500
    return (across * 2 + down + circle * 60).astype(np.uint8)


def image(pixels: Value | None = None, *, frames: int = 1, photometric: bytes = b"MONOCHROME2") -> DataSet:
    """A Secondary Capture image that dciodvfy has little to say about."""
    data_set: DataSet = {
        0x00080005: ("CS", b"ISO_IR 100"),
        0x00080008: ("CS", b"DERIVED\\SECONDARY"),
        0x00080016: ("UI", SECONDARY_CAPTURE.encode()),
        0x00080018: ("UI", b"2.25.1.4"),
        0x00080020: ("DA", b"20240102"),
        0x00080023: ("DA", b"20240102"),
        0x00080030: ("TM", b"101500"),
        0x00080033: ("TM", b"101500"),
        0x00080050: ("SH", b"A1"),
        0x00080060: ("CS", b"OT"),
        0x00080064: ("CS", b"WSD"),
        0x00080090: ("PN", b"Reader^First"),
        0x00081030: ("LO", b"Screening"),
        0x00100010: ("PN", b"Sample^Patient"),
        0x00100020: ("LO", b"P1"),
        0x00100030: ("DA", b"19700101"),
        0x00100040: ("CS", b"O"),
        0x0020000D: ("UI", b"2.25.1.2"),
        0x0020000E: ("UI", b"2.25.1.3"),
        0x00200010: ("SH", b"S1"),
        0x00200011: ("IS", b"1"),
        0x00200013: ("IS", b"1"),
        0x00200020: ("CS", b"L\\P"),
        0x00280002: ("US", us(1)),
        0x00280004: ("CS", photometric),
        0x00280010: ("US", us(ROWS)),
        0x00280011: ("US", us(COLUMNS)),
        0x00280100: ("US", us(8)),
        0x00280101: ("US", us(8)),
        0x00280102: ("US", us(7)),
        0x00280103: ("US", us(0)),
        PIXEL_DATA: ("OB", gradient().tobytes() if pixels is None else pixels),
    }
    if frames > 1:
        data_set[0x00280008] = ("IS", str(frames).encode())
    return data_set


def document(data: bytes, media_type: bytes = b"application/pdf") -> DataSet:
    """An encapsulated document."""
    kept = image()
    kept = {tag: each for tag, each in kept.items() if tag >> 16 not in (0x0028, 0x7FE0)}
    return kept | {
        0x00080016: ("UI", ENCAPSULATED_PDF.encode()),
        0x00420010: ("ST", b"Report"),
        0x00420011: ("OB", data),
        0x00420012: ("LO", media_type),
    }


def _private(vr: str, data: bytes) -> DataSet:
    return {0x00290010: ("LO", b"TEST VENDOR"), 0x00291010: (vr, data)}


def _with(extra: DataSet, **options: bool) -> bytes:
    syntax = BIG if options.get("big") else EXPLICIT if options.get("explicit", True) else IMPLICIT
    return file_of(encode(image() | extra, **options), syntax)


# -- surfaces

SCRIPT_END = {
    "html": b"<!--",
    "html-bare": b"<!--",
    "hta": b"<!--",
    "svg": b"<!--",
    "php": b"<?php exit; /*",
}


def in_preamble(payload: Payload) -> bytes | None:
    """In the first 128 bytes; what is longer goes on in a private element that its header leads to."""
    data = payload.make()
    if payload.at_end or payload.name in ("iso9660", "tar"):  # the prefix lies within the size of a TAR member
        return None
    if payload.name.startswith("pe"):
        return _pe_in_preamble(payload)
    if payload.name in ("rtf", "com", "wasm", "java-class", "lnk", "dos-exe", "elf64", "elf32-mips", "elf64-so-arm"):
        return (
            file_of(encode(image()) + encode(_private("OB", data[128:])), preamble=data[:128])
            if len(data) > 128
            else file_of(encode(image()), preamble=data)
        )
    if payload.kind == "script":
        room = SCRIPT_END.get(payload.name, b"")
        return file_of(encode(image()), preamble=data[: 128 - len(room)] + room)
    # Its first bytes stand where its readers look, the rest follows the prefix.
    return file_of(
        encode(image()),
        preamble=data[:128],
        meta=encode({0x00020100: ("UI", b"2.25.9")}) + encode({0x00020102: ("OB", data[128:])}),
    )


def _pe_in_preamble(payload: Payload) -> bytes:
    """The DOS header in the preamble leads to the PE header in a private element, as the published samples do."""
    marker = b"\xee" * 16
    headers = payloads.pe_headers(is_64="64" in payload.name, dll="dll" in payload.name)
    whole = _with(_private("OB", marker + headers))
    offset = whole.index(marker) + len(marker)
    return payloads.pe(at=0x80)[:60] + struct.pack("<L", offset) + whole[64:]


def _value(tag: int, vr: str, more: DataSet | None = None) -> Callable[[bytes], bytes]:
    return lambda data: _with((more or {}) | {tag: (vr, data)})


def _nested(
    *path: int, leaf: tuple[int, str], more: DataSet | None = None, **options: bool
) -> Callable[[bytes], bytes]:
    def hide(data: bytes) -> bytes:
        inner: DataSet = (more or {}) | {leaf[0]: (leaf[1], data)}
        for tag in reversed(path):
            inner = {tag: ("SQ", [inner])}
        return _with(inner, **options)

    return hide


def _unknown_sequence(data: bytes) -> bytes:
    """Within a sequence that is written as UN of undefined length, its items implicit (PS3.5 6.2.2 note 2)."""
    item = encode(_private("OB", data), explicit=False)
    body = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack("<HH2sHL", 0x0029, 0x1020, b"UN", 0, _UNDEFINED) + body
    base = {tag: each for tag, each in image().items() if tag != PIXEL_DATA}
    pixels = {PIXEL_DATA: image()[PIXEL_DATA]}
    return file_of(encode(base | {0x00290010: ("LO", b"TEST VENDOR")}) + sequence + encode(pixels))


def _meta(*elements: tuple[int, str]) -> Callable[[bytes], bytes]:
    def hide(data: bytes) -> bytes:
        group: DataSet = {0x00020100: ("UI", b"2.25.9")} if elements[0][0] == 0x00020102 else {}
        return file_of(encode(image()), meta=encode(group | {tag: (vr, data) for tag, vr in elements}))

    return hide


_LUT: DataSet = {0x00283002: ("US", us(256, 0, 16)), 0x00283004: ("LO", b"HU")}
_PALETTE: DataSet = {tag: ("US", us(256, 0, 16)) for tag in (0x00281101, 0x00281102, 0x00281103)} | {
    tag: ("OW", np.arange(256, dtype="<u2").tobytes()) for tag in (0x00281202, 0x00281203)
}


def _in_palette(data: bytes) -> bytes:
    extra = _PALETTE | {0x00281201: ("OW", data)}
    return file_of(encode(image(photometric=b"PALETTE COLOR") | extra))


def _in_icon(data: bytes) -> bytes:
    pixels = {tag: each for tag, each in image().items() if tag >> 16 == 0x0028} | {PIXEL_DATA: ("OB", data)}
    return _with({0x00880200: ("SQ", [pixels])})


def _in_waveform(data: bytes) -> bytes:
    channel: DataSet = {0x003A021A: ("US", us(16))}
    group: DataSet = {
        0x003A0004: ("CS", b"ORIGINAL"),
        0x003A0005: ("US", us(1)),
        0x003A0010: ("UL", struct.pack("<L", len(data) // 2)),
        0x003A001A: ("DS", b"100"),
        0x003A0200: ("SQ", [channel]),
        0x54001004: ("US", us(16)),
        0x54001006: ("CS", b"SS"),
        0x54001010: ("OW", data),
    }
    return _with({0x54000100: ("SQ", [group])})


def _in_overlay(data: bytes) -> bytes:
    return _with({0x60000010: ("US", us(ROWS)), 0x60000011: ("US", us(COLUMNS)), 0x60000040: ("CS", b"G"),
                  0x60000050: ("SS", us(1, 1)), 0x60000100: ("US", us(1)), 0x60000102: ("US", us(0)),
                  0x60003000: ("OW", data.ljust(ROWS * COLUMNS // 8, b"\0"))})  # fmt: skip


def _after_pixels(data: bytes) -> bytes:
    return file_of(encode(image(gradient().tobytes() + data)))


def _in_pixels(data: bytes) -> bytes:
    """As the pixels themselves: the image shows it as noise."""
    rows = max(ROWS, -(-len(data) // COLUMNS))
    pixels = data.ljust(rows * COLUMNS, b"\0")
    return file_of(encode(image(pixels) | {0x00280010: ("US", us(rows))}))


def _encapsulated(syntax: str, *items: bytes, frames: int = 1, more: DataSet | None = None) -> bytes:
    return file_of(encode(image(Fragments(items), frames=frames) | (more or {})), syntax)


def rle_frame() -> bytes:
    """The pixels as one RLE segment of literal runs."""
    rows = gradient().tobytes()
    runs = b"".join(b"\x3f" + rows[at : at + 64] for at in range(0, len(rows), 64))
    return struct.pack("<16L", 1, 64, *[0] * 14) + runs


@cache
def jpeg() -> bytes:
    """The pixels as baseline JPEG."""
    return bytes(imagecodecs.jpeg8_encode(gradient(), level=90))


@cache
def jpeg_ls() -> bytes:
    """The pixels as JPEG-LS."""
    return bytes(imagecodecs.jpegls_encode(gradient()))


@cache
def jpeg_2000(boxes: bool = False) -> bytes:
    """The pixels as JPEG 2000, as a code stream or in boxes."""
    return bytes(imagecodecs.jpeg2k_encode(gradient(), codecformat="jp2" if boxes else "j2k", reversible=True))


def _segments(marker: int, data: bytes) -> bytes:
    """Marker segments that hold ``data``, as many as it takes."""
    pieces = [data[at : at + 65533] for at in range(0, len(data), 65533)]
    return b"".join(struct.pack(">HH", 0xFF00 | marker, len(piece) + 2) + piece for piece in pieces)


def _after_start(stream: bytes, segments: bytes) -> bytes:
    return stream[:2] + segments + stream[2:]


def _in_j2k_comment(data: bytes) -> bytes:
    stream = jpeg_2000()
    end = 4 + int.from_bytes(stream[4:6], "big")  # behind SIZ, which has to come first
    comment = b"".join(
        struct.pack(">HHH", 0xFF64, len(piece) + 4, 0) + piece
        for piece in (data[at : at + 65531] for at in range(0, len(data), 65531))
    )
    return _encapsulated(JPEG_2000, b"", stream[:end] + comment + stream[end:])


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(data), kind) + data


def _in_jp2_box(kind: bytes, prefix: bytes = b"") -> Callable[[bytes], bytes]:
    def hide(data: bytes) -> bytes:
        boxes = jpeg_2000(boxes=True)
        at = boxes.index(b"jp2c") - 4
        return _encapsulated(JPEG_2000, b"", boxes[:at] + _box(kind, prefix + data) + boxes[at:])

    return hide


def _in_mp4_atom(data: bytes) -> bytes:
    movie = _box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + _box(b"free", data) + _box(b"mdat", bytes(64))
    return _encapsulated(MPEG4, b"", movie, frames=2)


def _extra_fragment(data: bytes) -> bytes:
    """A fragment behind the only frame's, in a transfer syntax whose frames are one fragment each."""
    return _encapsulated(RLE, b"", rle_frame(), data)


def _table_gap(data: bytes) -> bytes:
    """A fragment that no frame of the offset table begins with, nor has room for."""
    frame = _even(rle_frame())
    table = struct.pack("<LL", 0, len(frame) + 8 + len(_even(data)) + 8)
    return _encapsulated(RLE, table, frame, data, frame, frames=2)


def _first_fragment(data: bytes) -> bytes:
    """Before the first frame, which the offset table says begins behind it."""
    table = struct.pack("<L", len(_even(data)) + 8)
    return _encapsulated(RLE, table, data, rle_frame())


def _in_offset_table(data: bytes) -> bytes:
    return _encapsulated(RLE, data.ljust(-(-len(data) // 4) * 4, b"\0"), rle_frame())


def _in_extended_table(data: bytes) -> bytes:
    padded = data.ljust(-(-len(data) // 8) * 8, b"\0")
    return _encapsulated(RLE, b"", rle_frame(), more={0x7FE00001: ("OV", padded), 0x7FE00002: ("OV", padded)})


def _deflate(data_set: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data_set) + packer.flush()


def _deflated_tail(data: bytes) -> bytes:
    return file_of(_deflate(encode(image())) + data, DEFLATED)


def _deflated_private(data: bytes) -> bytes:
    return file_of(_even(_deflate(encode(image() | _private("OB", data)))), DEFLATED)


def _creator(data: bytes) -> DataSet:
    return {0x00290010: ("LO", b"TEST VENDOR")}


BINARY_SURFACES: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "meta private information": _meta((0x00020102, "OB")),
        "meta unknown element": _meta((0x000200F0, "OB")),
        "private OB": lambda data: _with(_private("OB", data)),
        "private UN": lambda data: _with(_private("UN", data)),
        "private OW": lambda data: _with(_private("OW", data)),
        "private in big endian": lambda data: _with(_private("OB", data), big=True),
        "private in implicit VR": lambda data: _with(_private("UN", data), explicit=False),
        "private at depth 3": _nested(
            0x00081140, 0x00081140, 0x00081140, leaf=(0x00291010, "OB"), more=_private("OB", b"")
        ),
        "private at depth 3, undefined lengths": _nested(
            0x00081140, 0x00400275, 0x00081140, leaf=(0x00291010, "UN"), more=_private("UN", b""), undefined=True
        ),
        "private at depth 2, implicit VR": _nested(
            0x00081140, 0x00081140, leaf=(0x00291010, "UN"), more=_private("UN", b""), explicit=False
        ),
        "private in a sequence written as UN": _unknown_sequence,
        "private without a creator": _value(0x00291010, "OB"),
        "public element that nobody knows": _value(0x00287FE0, "OB"),
        "encapsulated document": lambda data: file_of(encode(document(data)), sop_class=ENCAPSULATED_PDF),
        "encapsulated document, generic": lambda data: file_of(
            encode(document(data, b"application/octet-stream")), sop_class=ENCAPSULATED_PDF
        ),
        "overlay": _in_overlay,
        "curve": _value(0x50003000, "OW", {0x50000005: ("US", us(1)), 0x50000010: ("US", us(8))}),
        "audio": _value(0x5000200C, "OW", {0x50002000: ("US", us(0)), 0x50002002: ("US", us(1))}),
        "waveform": _in_waveform,
        "waveform padding": _nested(0x54000100, leaf=(0x5400100A, "OW")),
        "palette": _in_palette,
        "unused palette": _value(0x00281201, "OW"),
        "segmented palette": _value(0x00281221, "OW"),
        "modality LUT": _nested(0x00283000, leaf=(0x00283006, "OW"), more=_LUT),
        "VOI LUT": _nested(0x00283010, leaf=(0x00283006, "OW"), more=_LUT),
        "ICC profile": _value(0x00282000, "OB"),
        "icon": _in_icon,
        "spectroscopy": _value(0x56000020, "OB"),
        "float pixels": _value(0x7FE00008, "OF"),
        "signature": _nested(0xFFFAFFFA, leaf=(0x04000120, "OB")),
        "certificate": _nested(0xFFFAFFFA, leaf=(0x04000115, "OB")),
        "encrypted content": _nested(
            0x04000500, leaf=(0x04000520, "OB"), more={0x04000510: ("UI", b"1.2.840.10008.1.2.1")}
        ),
        "trailing padding": _value(0xFFFCFFFC, "OB"),
        "trailing bytes": lambda data: _with({}) + data,
        "after the pixels": _after_pixels,
        "as pixels": _in_pixels,
        "extra fragment": _extra_fragment,
        "offset table gap": _table_gap,
        "before the first frame": _first_fragment,
        "offset table": _in_offset_table,
        "extended offset table": _in_extended_table,
        "after the RLE segments": lambda data: _encapsulated(RLE, b"", rle_frame() + data),
        "JPEG APP": lambda data: _encapsulated(JPEG, b"", _after_start(jpeg(), _segments(0xED, data))),
        "JPEG COM": lambda data: _encapsulated(JPEG, b"", _after_start(jpeg(), _segments(0xFE, data))),
        "after JPEG EOI": lambda data: _encapsulated(JPEG, b"", jpeg() + data),
        "JPEG in two fragments": lambda data: _encapsulated(JPEG, b"", _even(jpeg()), data),
        "JPEG-LS APP": lambda data: _encapsulated(JPEG_LS, b"", _after_start(jpeg_ls(), _segments(0xE8, data))),
        "after JPEG-LS EOI": lambda data: _encapsulated(JPEG_LS, b"", jpeg_ls() + data),
        "JPEG 2000 comment": _in_j2k_comment,
        "after JPEG 2000 EOC": lambda data: _encapsulated(JPEG_2000, b"", jpeg_2000() + data),
        "JP2 uuid box": _in_jp2_box(b"uuid", bytes(range(16))),
        "JP2 xml box": _in_jp2_box(b"xml "),
        "JP2 free box": _in_jp2_box(b"free"),
        "MP4 atom": _in_mp4_atom,
        "after the deflate stream": _deflated_tail,
        "private, deflated": _deflated_private,
    }
)
"""Places of any bytes."""

TEXT_SURFACES: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "private LT": lambda data: _with(_private("LT", data)),
        "private UT": lambda data: _with(_private("UT", data)),
        "private ST at depth": _nested(0x00081140, leaf=(0x00291010, "ST"), more=_private("ST", b"")),
        "Image Comments": _value(0x00204000, "LT"),
        "Additional Patient History": _value(0x001021B0, "LT"),
        "unlimited text": _value(0x0040A160, "UT"),
        "private OB": BINARY_SURFACES["private OB"],
        "meta private information": BINARY_SURFACES["meta private information"],
        "trailing bytes": BINARY_SURFACES["trailing bytes"],
    }
)
"""Places of text: of scripts, and of what is encoded as text."""

ANYTHING = ("pe64", "elf64", "zip", "pdf-javascript", "powershell", "html")
"""These are hidden at every place, others at some, so that every format and every place has its turn."""
EACH_AT = 12


@dataclass(frozen=True)
class Case:
    """One file with something hidden. ``make`` builds it."""

    format: str
    kind: str
    surface: str
    make: Callable[[], bytes]

    @property
    def name(self) -> str:
        """How a table or a test calls it."""
        return f"{self.format} | {self.surface}"


def cases() -> Iterator[Case]:
    """Every case: each format in the preamble where it can stand there, and at places of values."""
    surfaces = list(BINARY_SURFACES.items())
    for number, payload in enumerate(PAYLOADS):
        if in_preamble(payload) is not None:
            yield Case(payload.name, payload.kind, "preamble", lambda p=payload: in_preamble(p) or b"")
        chosen = (
            surfaces
            if payload.name in ANYTHING
            else [surfaces[(number * 5 + turn * 7) % len(surfaces)] for turn in range(EACH_AT)]
        )
        for surface, hide in dict(chosen).items():
            yield Case(payload.name, payload.kind, surface, lambda p=payload, h=hide: h(p.make()))
        if payload.kind == "script":
            yield from _text_cases(payload)
    for payload in payloads.encoded_payloads():
        if "xor" in payload.name:
            for surface in ("private OB", "private at depth 3", "trailing bytes", "overlay"):
                yield Case(
                    payload.name, payload.kind, surface, lambda p=payload, s=surface: BINARY_SURFACES[s](p.make())
                )
        else:
            yield from _text_cases(payload)
    yield Case("iso9660", "disk", "at its place in the file", iso_in_pixels)
    yield Case("iso9660", "disk", "at its place, in a private element", iso_in_private)


def _text_cases(payload: Payload) -> Iterator[Case]:
    for surface, hide in TEXT_SURFACES.items():
        yield Case(payload.name, payload.kind, surface, lambda p=payload, h=hide: h(p.make()))


def iso_in_private() -> bytes:
    """An ISO image whose descriptors stand where a reader of the file as a disk looks for them."""
    return _iso_at(lambda data: _with(_private("OB", data)))


def iso_in_pixels() -> bytes:
    """The same within the pixels of a larger image."""
    return _iso_at(_in_pixels)


def _iso_at(hide: Callable[[bytes], bytes]) -> bytes:
    marker = b"\xee" * 40000
    value_at = hide(marker).index(marker)
    return hide(bytes(32768 - value_at) + payloads.iso9660())
