"""What a data set says, read without what is bulk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest

from harness.ingesting import element
from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from strongroom.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH, ScanLimits
from strongroom.dicom.jsonmodel import outline_to_json
from strongroom.dicom.outline import (
    Bulk,
    ForwardReader,
    Outlined,
    OutlineLimits,
    bulk_values,
    outline,
    outline_to_pixels,
)
from strongroom.dicom.stream import inflated
from strongroom.dicom.tree import Element
from strongroom.errors import LimitExceeded, MalformedDataset

MODALITY, PATIENT_NAME, ICON, LUT = 0x00080060, 0x00100010, 0x00880200, 0x00281201
LIMITS = OutlineLimits(max_inline_bytes=16, max_inline_value_bytes=64, max_inline_total_bytes=512, least_bulk_bytes=8)


class Bytes:
    """Bytes that remember which of them were read."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.raw[offset : offset + length]

    @property
    def asked_bytes(self) -> int:
        return sum(length for _, length in self.reads)


def outlined(raw: bytes, limits: OutlineLimits = LIMITS) -> list[Outlined]:
    return outline(Bytes(raw).read, len(raw), EXPLICIT_VR_LITTLE_ENDIAN, limits)


def item(*parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def sequence(tag: int, *items: bytes) -> bytes:
    return element(tag, "SQ", b"".join(items))


def fragments(*values: bytes) -> bytes:
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED_LENGTH)
    return head + b"".join(map(item, values)) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def test_small_values_are_read_and_large_ones_placed() -> None:
    raw = element(MODALITY, "CS", "CT") + element(LUT, "OW", bytes(40)) + element(PIXEL_DATA, "OW", bytes(1000))
    modality, lut, pixels = outlined(raw)
    assert isinstance(modality, Element)
    assert modality.value == b"CT"
    assert isinstance(lut, Bulk)
    assert (lut.path, raw[lut.offset : lut.offset + lut.length]) == ("00281201", bytes(40))
    assert isinstance(pixels, Bulk)
    assert pixels.offset + pixels.length == len(raw)


def test_pixel_data_is_bulk_however_little_it_is() -> None:
    (pixels,) = outlined(element(PIXEL_DATA, "OW", b"\1\2"))
    assert isinstance(pixels, Bulk)
    (empty,) = outlined(element(PIXEL_DATA, "OW", b""))
    assert isinstance(empty, Element)


def test_text_is_inline_up_to_a_length_of_its_own() -> None:
    short, long = outlined(element(0x00104000, "LT", "x" * 60) + element(0x00321070, "UT", "x" * 66))
    assert isinstance(short, Element)
    assert isinstance(long, Bulk)
    # Code strings have no Bulkdata URI in the standard, so they stay inline for much longer.
    (codes,) = outlined(element(0x00080008, "CS", "x" * 400))
    assert isinstance(codes, Element)


def test_little_is_held_of_very_much() -> None:
    many = b"".join(element(0x00091000 + number, "LO", "x" * 60) for number in range(100))
    found = outlined(many)
    assert sum(len(each.value) for each in found if isinstance(each, Element)) <= LIMITS.max_inline_total_bytes
    assert len(found) == 100


def test_bulk_data_in_items_has_a_path_and_is_found_again() -> None:
    raw = sequence(ICON, item(element(MODALITY, "CS", "CT")), item(element(PIXEL_DATA, "OW", bytes(range(32)))))
    (found,) = bulk_values(outlined(raw))
    assert found.path == "00880200/2/7FE00010"
    assert raw[found.offset : found.offset + found.length] == bytes(range(32))
    assert list(bulk_values(outlined(raw))) == [found]


def test_what_stands_behind_pixel_data_is_there_too() -> None:
    behind = element(0xFFFCFFFC, "OB", b"\0\0")
    for pixels in (element(PIXEL_DATA, "OW", bytes(500_000)), fragments(b"", bytes(300_000), bytes(300_000))):
        source = Bytes(pixels + behind)
        found = outline(source.read, len(source.raw), EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
        assert [each.tag for each in found] == [PIXEL_DATA, 0xFFFCFFFC]
        assert source.asked_bytes < 100_000


def test_up_to_the_pixels_nothing_behind_their_header_is_read() -> None:
    source = Bytes(element(MODALITY, "CS", "CT") + fragments(b"", *[bytes(60_000)] * 50))
    *_, pixels = outline_to_pixels(source.read, len(source.raw), EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
    assert pixels.tag == PIXEL_DATA
    assert len(source.reads) == 1


def test_a_deflated_data_set_is_read_forwards() -> None:
    raw = (
        element(MODALITY, "CS", "CT") + element(PIXEL_DATA, "OW", bytes(3_000_000)) + element(0xFFFCFFFC, "OB", b"\0\0")
    )
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = compressor.compress(raw) + compressor.flush()
    reader = ForwardReader(inflated([packed], ScanLimits(max_inflate_ratio=10**6)))
    found = outline(reader.read, None, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
    assert found == outlined(raw)


def test_a_deflated_data_set_that_ends_within_its_pixels_is_malformed() -> None:
    reader = ForwardReader(iter([element(PIXEL_DATA, "OW", bytes(3_000_000))[:-1]]))
    with pytest.raises(MalformedDataset):
        outline(reader.read, None, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)


def test_a_forward_reader_gives_any_ranges_that_rise() -> None:
    raw = bytes(range(256)) * 10

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(raw), 7):
            yield raw[start : start + 7]

    reader = ForwardReader(chunks())
    for offset, length in ((0, 3), (0, 20), (5, 1), (100, 50), (100, 100), (150, 0), (2000, 700), (2559, 5), (3000, 4)):
        assert reader.read(offset, length) == raw[offset : offset + length]
    with pytest.raises(AssertionError):
        reader.read(0, 1)


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
def test_other_codings_are_outlined_too(syntax: object) -> None:
    if syntax is IMPLICIT_VR_LITTLE_ENDIAN:
        raw = struct.pack("<HHL", 8, 0x60, 2) + b"CT" + struct.pack("<HHL", 0x7FE0, 0x10, 100) + bytes(100)
    else:
        raw = struct.pack(">HH2sH", 8, 0x60, b"CS", 2) + b"CT"
        raw += struct.pack(">HH2sHL", 0x7FE0, 0x10, b"OW", 0, 100) + bytes(100)
    modality, pixels = outline(Bytes(raw).read, len(raw), syntax, LIMITS)  # type: ignore[arg-type]
    assert isinstance(modality, Element)
    assert modality.value == b"CT"
    assert isinstance(pixels, Bulk)
    assert (pixels.vr, pixels.length) == (b"OW", 100)


def test_items_that_do_not_hold_together_are_bulk_and_the_rest_is_read() -> None:
    raw = sequence(ICON, b"\xff" * 40) + element(PIXEL_DATA, "OW", bytes(20))
    broken, pixels = outlined(raw)
    assert isinstance(broken, Bulk)
    assert (broken.vr, broken.path) == (b"UN", "00880200")
    assert pixels.tag == PIXEL_DATA


def test_more_elements_than_may_be_make_their_sequence_bulk() -> None:
    few = OutlineLimits(scan=ScanLimits(max_element_count=10))
    raw = sequence(ICON, *[item(element(MODALITY, "CS", "CT"))] * 20) + element(PATIENT_NAME, "PN", "A")
    many, name = outlined(raw, few)
    assert isinstance(many, Bulk)
    assert isinstance(name, Element)
    with pytest.raises(LimitExceeded, match="max_element_count"):
        outlined(b"".join(element(0x00091000 + number, "LO", "x") for number in range(20)), few)


def test_json_of_an_outline_ascends_and_has_each_attribute_once() -> None:
    raw = element(PATIENT_NAME, "PN", "First") + element(PATIENT_NAME, "PN", "Second") + element(MODALITY, "CS", "CT")
    raw += element(0x00100000, "UL", struct.pack("<L", 8)) + element(PIXEL_DATA, "OW", bytes(20))
    found = outline_to_json(outlined(raw), EXPLICIT_VR_LITTLE_ENDIAN, lambda path: f"uri/{path}")
    assert list(found) == ["00080060", "00100010", "7FE00010"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "First"}]
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "uri/7FE00010"}


@pytest.mark.parametrize(
    "raw",
    [
        element(PIXEL_DATA, "OW", bytes(100))[:-1],
        element(MODALITY, "CS", "CT")[:-1],
        element(MODALITY, "CS", "CT") + b"\x08",
        struct.pack("<HHL", 0xFFFE, 0xE00D, 0),
        b"\x08\x00\x60\x00??\x02\x00CT",
        struct.pack("<HH2sHL", 8, 0x60, b"UT", 0, UNDEFINED_LENGTH),
        fragments(b"")[:-8],
        fragments(b"")[:-8] + struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH),
        fragments(b"")[:-8] + struct.pack("<HHL", 0xFFFE, 0xE000, 0x7FFFFFFF),
        struct.pack("<HH2sHL", 0x88, 0x200, b"SQ", 0, UNDEFINED_LENGTH) + item(element(MODALITY, "CS", "CT")),
    ],
)
def test_what_does_not_hold_together_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedDataset):
        outlined(raw)


def test_nesting_without_an_end_is_over_a_limit() -> None:
    opening = struct.pack("<HH2sHL", 0x88, 0x200, b"SQ", 0, UNDEFINED_LENGTH)
    opening += struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
    with pytest.raises(LimitExceeded, match="max_element_depth"):
        outlined(opening * 100_000)
