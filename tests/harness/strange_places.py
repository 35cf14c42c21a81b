"""Where the second family hides: places of a DICOM file, written by an encoder of its own, byte by byte.

A place takes a file and gives the bytes of an image with it, or None where that one cannot stand there. Some take it in
two pieces, behind a header of a vendor's, or within the bytes of an image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np

from harness.strangers import Stranger, strangers

LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"])
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, JPEG, JPEG2000, RLE = (
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)
JPEGLS = "1.2.840.10008.1.2.4.80"
CT, SOP = "1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.3680043.10.1453.7"
Element = tuple[int, str, bytes]


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT) -> bytes:
    """One element of defined length, padded."""
    value += (b" " if vr in ("LO", "LT", "SH", "ST", "UT", "CS", "PN", "UC") else b"\0") if len(value) & 1 else b""
    order = ">" if syntax == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", len(value)) + value
    if vr in LONG:
        return head + vr.encode() + bytes(2) + struct.pack(order + "L", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def item(inner: bytes, syntax: str = EXPLICIT) -> bytes:
    """An item of defined length."""
    order = ">" if syntax == BIG else "<"
    return struct.pack(order + "HHL", 0xFFFE, 0xE000, len(inner)) + inner


def number(value: int, syntax: str = EXPLICIT) -> bytes:
    """A US."""
    return struct.pack((">" if syntax == BIG else "<") + "H", value)


def image(extra: Sequence[Element] = (), syntax: str = EXPLICIT, pixels: bytes | None = None, rows: int = 64) -> bytes:
    """A data set of an image of 16 bits, with ``extra`` in it; ``pixels`` are those of Pixel Data as they stand."""
    native = np.random.default_rng(5).normal(1000, 90, (rows, 64)).astype("<u2").tobytes()
    elements: list[Element] = [
        (0x00080016, "UI", CT.encode()),
        (0x00080018, "UI", SOP.encode()),
        (0x00080020, "DA", b"20240506"),
        (0x00080060, "CS", b"CT"),
        (0x00100010, "PN", b"Strange^Case"),
        (0x00100020, "LO", b"S-77"),
        (0x0020000D, "UI", b"1.2.826.0.1.3680043.10.1453.8"),
        (0x0020000E, "UI", b"1.2.826.0.1.3680043.10.1453.9"),
        (0x00280002, "US", number(1, syntax)),
        (0x00280004, "CS", b"MONOCHROME2"),
        (0x00280010, "US", number(rows, syntax)),
        (0x00280011, "US", number(64, syntax)),
        (0x00280100, "US", number(16, syntax)),
        (0x00280101, "US", number(16, syntax)),
        (0x00280102, "US", number(15, syntax)),
        (0x00280103, "US", number(0, syntax)),
    ]
    if pixels is None or syntax in (EXPLICIT, IMPLICIT, BIG, DEFLATED):
        elements.append((0x7FE00010, "OW", native if pixels is None else pixels))
    by_tag = {each[0]: each for each in (*elements, *extra)}
    coding = EXPLICIT if syntax not in (IMPLICIT, BIG) else syntax
    raw = b"".join(element(*by_tag[tag], coding) for tag in sorted(by_tag))
    if pixels is not None and syntax not in (EXPLICIT, IMPLICIT, BIG, DEFLATED):
        raw += b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + pixels + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return raw


def file_of(data_set: bytes, syntax: str = EXPLICIT, preamble: bytes = b"", meta: Sequence[Element] = ()) -> bytes:
    """The file with this data set."""
    elements = [
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", CT.encode()),
        (0x00020003, "UI", SOP.encode()),
        (0x00020010, "UI", syntax.encode()),
        (0x00020012, "UI", b"1.2.826.0.1.3680043.10.1453"),
        *meta,
    ]
    group = b"".join(element(*each) for each in sorted(elements))
    head = element(0x00020000, "UL", struct.pack("<L", len(group)))
    return preamble[:128].ljust(128, b"\0") + b"DICM" + head + group + data_set


def _in(tag: int, vr: str, syntax: str = EXPLICIT, *, creator: bool = False) -> Callable[[bytes], bytes]:
    """In an element of the data set."""

    def make(payload: bytes) -> bytes:
        extra: list[Element] = [(tag, vr, payload)]
        if creator:
            extra.append((tag & 0xFFFF0000 | tag >> 8 & 0xFF, "LO", b"ODD VENDOR 1.0"))
        data_set = image(extra, syntax)
        if syntax == DEFLATED:
            packer = zlib.compressobj(wbits=-15)
            data_set = packer.compress(data_set) + packer.flush()
        return file_of(data_set + bytes(len(data_set) & 1 if syntax == DEFLATED else 0), syntax)

    return make


def _within(path: Sequence[int], tag: int, vr: str, syntax: str = EXPLICIT) -> Callable[[bytes], bytes]:
    """In an element at the bottom of sequences."""

    def make(payload: bytes) -> bytes:
        inner = element(tag, vr, payload, syntax)
        if tag >> 16 & 1:
            inner = element(tag & 0xFFFF0000 | tag >> 8 & 0xFF, "LO", b"ODD VENDOR 1.0", syntax) + inner
        for sequence in reversed(path[1:]):
            inner = element(sequence, "SQ", item(inner, syntax), syntax)
        extra: list[Element] = [(path[0], "SQ", item(inner, syntax))]
        if path[0] >> 16 & 1:
            extra.append((path[0] & 0xFFFF0000 | path[0] >> 8 & 0xFF, "LO", b"ODD VENDOR 1.0"))
        return file_of(image(extra, syntax), syntax)

    return make


def _behind(what: bytes, tag: int, vr: str = "OB", *, after: bytes = b"") -> Callable[[bytes], bytes]:
    """In a private element, behind a header of the vendor's."""
    return lambda payload: _in(tag, vr, creator=True)(what + payload + after)


def _in_un_sequence(payload: bytes) -> bytes:
    inner = element(0x00111010, "OB", payload, IMPLICIT)
    sequence = item(element(0x00110010, "LO", b"X", IMPLICIT) + inner)
    return file_of(image([(0x00090010, "LO", b"ODD VENDOR"), (0x00091001, "UN", sequence)]))


def _meta(tag: int) -> Callable[[bytes], bytes]:
    extra = [(0x00020100, "UI", b"1.2.3.4")] if tag == 0x00020102 else []
    return lambda payload: file_of(image(), meta=[*extra, (tag, "OB", payload)])


def _icc(payload: bytes) -> bytes:
    """In a tag of a colour profile that is one otherwise."""
    body = struct.pack(">L4sLL", 1, b"cprt", 144, len(payload)) + payload
    head = (
        struct.pack(">L4sL4s4s4s", 128 + len(body), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
        + bytes(12)
        + b"acsp"
    )
    return _in(0x00282000, "OB")(head.ljust(128, b"\0") + body)


def _code_stream(kind: str) -> bytes:
    pixels = np.random.default_rng(6).normal(120, 30, (64, 64)).clip(0, 255).astype(np.uint8)
    encode = {JPEG: imagecodecs.jpeg8_encode, JPEG2000: imagecodecs.jpeg2k_encode, JPEGLS: imagecodecs.jpegls_encode}[
        kind
    ]
    return bytes(encode(pixels))


def _fragments(*parts: bytes, table: bytes = b"") -> bytes:
    return item(table) + b"".join(item(part + bytes(len(part) & 1)) for part in parts)


def _segments(marker: int) -> Callable[[bytes], bytes]:
    """In marker segments behind SOI, as many as it takes."""

    def make(payload: bytes) -> bytes:
        stream = _code_stream(JPEG)
        parts = [payload[start : start + 60_000] for start in range(0, len(payload), 60_000)]
        extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(part) + 2) + part for part in parts)
        return file_of(image(syntax=JPEG, pixels=_fragments(stream[:2] + extra + stream[2:])), JPEG)

    return make


def _box(kind: bytes, *, first: bool = False) -> Callable[[bytes], bytes]:
    """In a box beside the code stream of JPEG 2000."""

    def make(payload: bytes) -> bytes:
        stream = bytes(imagecodecs.jpeg2k_encode(np.arange(4096, dtype=np.uint8).reshape(64, 64), codecformat="jp2"))
        extra = struct.pack(">L4s", 8 + len(payload), kind) + payload
        end_of_head = stream.index(b"jp2h") - 4 if first else len(stream)
        stream = stream[:end_of_head] + extra + stream[end_of_head:]
        return file_of(image(syntax=JPEG2000, pixels=_fragments(stream)), JPEG2000)

    return make


def _encapsulated(layout: str) -> Callable[[bytes], bytes]:
    def make(payload: bytes) -> bytes:
        stream = _code_stream(JPEGLS)
        half = len(payload) // 2 & ~1
        pixels = {
            "behind": _fragments(stream, payload),
            "before": _fragments(payload, stream),
            "split": _fragments(stream, payload[:half], payload[half:]),
            "table": _fragments(stream, table=payload + bytes(-len(payload) % 4)),
            "after the end": _fragments(stream + payload),
        }[layout]
        return file_of(image(syntax=JPEGLS, pixels=pixels), JPEGLS)

    return make


def _between_fragments(payload: bytes) -> bytes:
    """In a fragment to which the offset table does not lead."""
    stream = _code_stream(JPEG)
    first = item(stream + bytes(len(stream) & 1))
    gap = item(payload + bytes(len(payload) & 1))
    table = struct.pack("<LL", 0, len(first) + len(gap))
    pixels = item(table) + first + gap + first
    return file_of(image([(0x00280008, "IS", b"2")], JPEG, pixels), JPEG)


def _deflate_tail(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(image()) + packer.flush()
    return file_of(raw + bytes(len(raw) & 1) + payload, DEFLATED)


def _pixels(at: int) -> Callable[[bytes], bytes]:
    """Over the pixels from ``at`` on."""

    def make(payload: bytes) -> bytes:
        rows = max(64, (at + len(payload)) // 128 + 2)
        native = bytearray(np.random.default_rng(8).normal(1000, 90, (rows, 64)).astype("<u2").tobytes())
        native[at : at + len(payload)] = payload
        return file_of(image(pixels=bytes(native), rows=rows))

    return make


def _behind_pixels(payload: bytes) -> bytes:
    native = np.random.default_rng(9).normal(1000, 90, (64, 64)).astype("<u2").tobytes()
    return file_of(image(pixels=native + payload))


def _frame_tail(payload: bytes) -> bytes:
    """Behind the segments of an RLE frame."""
    rows = b"".join(b"\x81" + bytes([each]) for each in range(32)) * 2
    frame = struct.pack("<16L", 2, 64, 64 + len(rows), *[0] * 13) + rows + rows
    return file_of(image(syntax=RLE, pixels=_fragments(frame + payload)), RLE)


def _no_preamble(payload: bytes) -> bytes:
    return _in(0x00091010, "OB", creator=True)(payload)[132:]


class Spot(NamedTuple):
    """One place; ``text`` for files that are text only, ``begins`` for those that their first bytes tell."""

    name: str
    make: Callable[[bytes], bytes]
    text: bool = False
    begins: bool = False
    limit: int = 1 << 20


_SQ5 = (0x00091020, 0x00091021, 0x00400275, 0x00091022, 0x00081140)
SPOTS: tuple[Spot, ...] = (
    Spot("preamble", lambda payload: file_of(image(), preamble=payload), begins=True, limit=128),
    Spot("private information of the meta", _meta(0x00020102)),
    Spot("meta element that nobody knows", _meta(0x00020F0E)),
    Spot("private OB", _in(0x00091010, "OB", creator=True)),
    Spot("private OW", _in(0x00E11042, "OW", creator=True)),
    Spot("private UN", _in(0x00E11042, "UN", creator=True)),
    Spot("private OB without creator", _in(0x00991077, "OB")),
    Spot("private OB behind 16 bytes", _behind(b"\x01\0\x02\0VEND\xff\xee\xdd\xcc\0\0\0\0", 0x00091010)),
    Spot("private OB behind 600 zeros", _behind(bytes(600), 0x00091010)),
    Spot("private UN behind noise", _behind(np.random.default_rng(1).bytes(1000), 0x00091010, "UN")),
    Spot("private OB before noise", _behind(b"", 0x00091010, after=np.random.default_rng(2).bytes(3000))),
    Spot("private OB five deep", _within(_SQ5, 0x00091077, "OB")),
    Spot("private OB five deep, implicit VR", _within(_SQ5, 0x00091077, "OB", IMPLICIT)),
    Spot("private OB in a sequence as UN", _in_un_sequence),
    Spot("private OB, implicit VR", _in(0x00091010, "OB", IMPLICIT, creator=True)),
    Spot("private OB, big endian", _in(0x00091010, "OB", BIG, creator=True)),
    Spot("private UN five deep, big endian", _within(_SQ5, 0x00091077, "UN", BIG)),
    Spot("private OB, deflated", _in(0x00091010, "OB", DEFLATED, creator=True)),
    Spot("private OB, no preamble", _no_preamble),
    Spot("overlay", _in(0x60063000, "OW")),
    Spot("curve", _in(0x50023000, "OW")),
    Spot("audio", _in(0x5000200C, "OW")),
    Spot("waveform", _within((0x54000100,), 0x54001010, "OW")),
    Spot("waveform padding", _within((0x54000100,), 0x5400100A, "OB")),
    Spot("modality LUT", _within((0x00283000,), 0x00283006, "OW")),
    Spot("VOI LUT", _within((0x00283010,), 0x00283006, "OW")),
    Spot("palette", _in(0x00281201, "OW")),
    Spot("segmented palette", _in(0x00281222, "OW")),
    Spot("ICC profile", _icc),
    Spot("icon", _within((0x00880200,), 0x7FE00010, "OW")),
    Spot(
        "encapsulated PDF",
        lambda payload: file_of(image([(0x00420011, "OB", payload), (0x00420012, "LO", b"application/pdf")])),
    ),
    Spot("signature", _within((0xFFFAFFFA,), 0x04000120, "OB")),
    Spot("certificate of a signer", _within((0xFFFAFFFA,), 0x04000115, "OB")),
    Spot("time stamp of a signature", _within((0xFFFAFFFA,), 0x04000310, "OB")),
    Spot("encrypted content", _within((0x04000500,), 0x04000520, "OB")),
    Spot("spectroscopy", _in(0x56000020, "OF")),
    Spot("double pixels", _in(0x7FE00009, "OD")),
    Spot("trailing padding", _in(0xFFFCFFFC, "OB")),
    Spot("behind the last element", lambda payload: file_of(image()) + payload),
    Spot("behind zeros behind the last element", lambda payload: file_of(image()) + bytes(512) + payload),
    Spot("behind the pixels", _behind_pixels),
    Spot("first pixels", _pixels(0), begins=True),
    Spot("pixels of a row further down", _pixels(128 * 20), begins=True),
    Spot("fragment behind the frame", _encapsulated("behind")),
    Spot("fragment before the frame", _encapsulated("before")),
    Spot("two fragments behind the frame", _encapsulated("split")),
    Spot("offset table", _encapsulated("table")),
    Spot("behind the end of JPEG-LS", _encapsulated("after the end")),
    Spot("fragment between frames", _between_fragments),
    Spot("behind the RLE segments", _frame_tail),
    Spot("JPEG APP1", _segments(0xE1), limit=50_000),
    Spot("JPEG APP14", _segments(0xEE), limit=50_000),
    Spot("JPEG COM", _segments(0xFE), limit=50_000),
    Spot("JP2 box", _box(b"free")),
    Spot("JP2 xml box before the header", _box(b"xml ", first=True)),
    Spot("JP2 uuid box", lambda payload: _box(b"uuid")(bytes(range(16)) + payload)),
    Spot("behind the deflate stream", _deflate_tail),
    Spot("private LT", _in(0x00091012, "LT", creator=True), text=True, limit=10_000),
    Spot("private UT five deep", _within(_SQ5, 0x00091077, "UT"), text=True),
    Spot("patient comments", _in(0x00104000, "LT"), text=True, limit=10_000),
    Spot("text value of a report", _within((0x0040A730,), 0x0040A160, "UT"), text=True),
    Spot("text in implicit VR", _in(0x00204000, "LT", IMPLICIT), text=True, limit=10_000),
    Spot("private UC, big endian", _in(0x00091012, "UC", BIG, creator=True), text=True),
    Spot("derivation description", _in(0x00082111, "ST"), text=True, limit=1_024),
)


class Strange(NamedTuple):
    """One file with something hidden in it."""

    stranger: Stranger
    spot: Spot

    @property
    def name(self) -> str:
        """Who, and where."""
        return f"{self.stranger.name} / {self.spot.name}"

    def make(self) -> bytes:
        """The bytes of the file."""
        return self.spot.make(self.stranger.data[: self.spot.limit])


_TEXT_OF_A_PREAMBLE = 128
_AT_THE_END = {"vhd", "dmg"}
_ENDS = {"behind the last element", "behind zeros behind the last element", "behind the deflate stream"}


def can_stand(stranger: Stranger, spot: Spot) -> bool:
    """Whether the file is still what it is in that place."""
    data = stranger.data
    if spot.text and not stranger.is_text:
        return False
    if spot.begins and not stranger.begins:
        return False
    if spot.name == "preamble":
        if stranger.is_text:
            return len(data) <= _TEXT_OF_A_PREAMBLE
        return stranger.kind == "program" and "far" not in stranger.name and "stub" not in stranger.name
    if spot.begins and stranger.is_text and stranger.kind.startswith("encoded"):
        return len(data) > 400
    if len(data) > spot.limit:
        return False
    return not (len(data) > 60_000 and spot.name.startswith(("private OB five", "two fragments", "offset")))


_SPREAD = 0x9E3779B1


def cases(every: int = 1) -> Iterator[Strange]:
    """Every file at every place where it can stand, or one of ``every`` of them, spread over both."""
    count = 0
    for stranger in strangers():
        for spot in SPOTS:
            if can_stand(stranger, spot):
                count += 1
                if (count * _SPREAD >> 16) % every == 0:
                    yield Strange(stranger, spot)
