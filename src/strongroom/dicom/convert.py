"""Convert a data set between the uncompressed transfer syntaxes while it flows past (DICOM PS3.5 7 and annex A).

Memory stays bounded whatever the size: sequences and items are written with undefined lengths, so that nothing has to
be known before it is written. Group lengths and Length to End, which would no longer be true, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from strongroom.dicom.byteorder import BITS_ALLOCATED, swapped, word_bytes_of
from strongroom.dicom.dictionary import TransferSyntax, entry_of
from strongroom.dicom.elements import DEFAULT_LIMITS, LONG_VRS, UNDEFINED_LENGTH, ScanLimits, coding_of
from strongroom.dicom.stream import Kind, Source, Step, source_of, walk
from strongroom.errors import Refused

_PIXEL_REPRESENTATION: Final = 0x00280103
_LUT_DESCRIPTOR: Final = 0x00283002
_LUT_DATA: Final = 0x00283006
_NOTED: Final = frozenset({_PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, BITS_ALLOCATED})
LENGTH_TO_END: Final = 0x00080001

MAX_SHORT_LENGTH: Final = 0xFFFE
_OUT_BYTES: Final = 65536

_IMPLICIT: Final = Struct("<HHL")
_SHORT: Final = Struct("<HH2sH")
_LONG: Final = Struct("<HH2sHL")
_ITEM: Final = _IMPLICIT.pack(0xFFFE, 0xE000, UNDEFINED_LENGTH)
_ITEM_END: Final = _IMPLICIT.pack(0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = _IMPLICIT.pack(0xFFFE, 0xE0DD, 0)


def convert(
    chunks: Iterable[bytes | memoryview],
    source_syntax: TransferSyntax,
    target_syntax: TransferSyntax,
    limits: ScanLimits = DEFAULT_LIMITS,
) -> Iterator[bytes]:
    """Yield the data set in ``chunks`` as ``target_syntax``, which is Implicit or Explicit VR Little Endian.

    From Implicit, Explicit, Deflated Explicit VR Little Endian and Explicit VR Big Endian. In Explicit VR an attribute
    that the dictionary does not know is UN, and one too long for its VR's 16-bit length is too (PS3.5 6.2.2). Chunks of
    type memoryview are used before the next one is asked for.

    Raises:
        Refused: "not-convertible": encapsulated pixel data, another target, or an unknown value in big endian.
        MalformedDataset, LimitExceeded: as ``stream.walk``.
    """
    if source_syntax.encapsulated or target_syntax.encapsulated:
        raise Refused("not-convertible", "encapsulated pixel data needs a codec")
    if target_syntax.deflated or not target_syntax.little_endian:
        raise Refused("not-convertible", f"no conversion to {target_syntax.name}")
    source = source_of(chunks, source_syntax, limits)
    steps = walk(source, coding_of(source_syntax), limits)
    writer = ElementWriter(source, explicit=target_syntax.explicit, big_endian=not source_syntax.little_endian)
    out = bytearray()
    for step in steps:
        for piece in writer.write(step):
            out += piece
            if len(out) >= _OUT_BYTES:
                yield bytes(out)
                out.clear()
    if out:
        yield bytes(out)


def is_length_of_others(tag: int) -> bool:
    """Return whether the element states the length of others: a group length or Length to End (retired)."""
    return not tag & 0xFFFF or tag == LENGTH_TO_END


def explicit_header(tag: int, vr: bytes, length: int) -> bytes:
    """Return an element header in Explicit VR Little Endian, UN where a 16-bit length does not reach."""
    if vr in LONG_VRS:
        return _LONG.pack(tag >> 16, tag & 0xFFFF, vr, 0, length)
    if length > MAX_SHORT_LENGTH:
        return _LONG.pack(tag >> 16, tag & 0xFFFF, b"UN", 0, length)
    return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr, length)


@dataclass(slots=True)
class _Level:
    """What the elements of one item have said that later ones depend on; an item inherits from what it is in."""

    signed: bool = False
    lut_entries: int = 0
    bits_allocated: int = 0
    """Of this item alone: an icon is an image of its own."""


class ElementWriter:
    """Turns steps of ``stream.walk`` over ``source`` into bytes of Implicit or Explicit VR Little Endian."""

    __slots__ = ("_big_endian", "_explicit", "_levels", "_source")

    def __init__(self, source: Source, *, explicit: bool, big_endian: bool) -> None:
        self._source = source
        self._explicit = explicit
        self._big_endian = big_endian
        self._levels = [_Level()]

    def write(self, step: Step) -> Iterator[bytes]:
        """Yield the bytes that ``step`` becomes."""
        kind = step.kind
        if kind is Kind.VALUE:
            if not is_length_of_others(step.tag):
                yield from self._value(step)
        elif kind is Kind.FRAGMENT:
            yield _IMPLICIT.pack(0xFFFE, 0xE000, step.length)
            yield from self._source.pieces(step.length)
        elif kind is Kind.ITEM:
            self._levels.append(_Level(self._levels[-1].signed))
            yield _ITEM
        elif kind is Kind.ITEM_END:
            self._levels.pop()
            yield _ITEM_END
        elif kind is Kind.SEQUENCE_END:
            yield _SEQUENCE_END
        elif kind is Kind.FRAGMENTS and len(self._levels) == 1:
            raise Refused("not-convertible", "encapsulated pixel data in a transfer syntax that has none")
        else:
            yield self._header(step.tag, b"SQ" if kind is Kind.SEQUENCE else step.vr, UNDEFINED_LENGTH)

    def _header(self, tag: int, vr: bytes, length: int) -> bytes:
        if self._explicit:
            return explicit_header(tag, vr, length)
        return _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, length)

    def _value(self, step: Step) -> Iterator[bytes]:
        tag, vr = step.tag, step.vr
        pieces: Iterable[bytes] = self._source.pieces(step.length)
        if self._big_endian and step.coding.explicit:
            if vr == b"UN" and step.length:
                raise Refused("not-convertible", "an unknown value in big endian")
            word_bytes = word_bytes_of(tag, vr, self._levels[-1].bits_allocated)
            if word_bytes:
                pieces = swapped(pieces, word_bytes)
        if not step.coding.explicit:
            vr = self._resolve(tag, vr)
        if tag in _NOTED and 2 <= step.length <= 8:
            pieces = (b"".join(pieces),)
            self._note(tag, pieces[0])
        yield self._header(tag, vr, step.length)
        yield from pieces

    def _note(self, tag: int, value: bytes) -> None:
        number = int.from_bytes(value[:2], "little")
        if tag == _PIXEL_REPRESENTATION:
            self._levels[-1].signed = number == 1
        elif tag == BITS_ALLOCATED:
            self._levels[-1].bits_allocated = number
        else:
            self._levels[-1].lut_entries = number

    def _resolve(self, tag: int, vr: bytes) -> bytes:
        """Return the VR of an element that the dictionary allows several for (PS3.5 annex A, PS3.6 note 2).

        Pixel data, overlays and waveforms in implicit VR are OW, which any bits allocated may stay. Look-up table data
        is US if it has a single entry, as its descriptor says, and OW otherwise.
        """
        level = self._levels[-1]
        if vr == b"US" and level.signed and b"SS" in entry_of(tag).vrs:
            return b"SS"
        if tag == _LUT_DATA and level.lut_entries == 1:
            return b"US"
        return vr
