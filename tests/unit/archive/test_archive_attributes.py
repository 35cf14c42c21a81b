"""What the index keeps of an object, and what is remembered of objects that have gone by."""

from __future__ import annotations

import tracemalloc

import pytest

from strongroom.archive.attributes import MAX_REMEMBERED, decode_attributes, describe
from strongroom.archive.keys import column_values
from strongroom.archive.model import Level
from strongroom.dicom.dictionary import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.dicom.elements import RawElement
from strongroom.errors import MalformedDataset, Refused

IDENTITY = {
    0x00080016: RawElement(b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
    0x00080018: RawElement(b"UI", b"1.2.3.1"),
    0x0020000D: RawElement(b"UI", b"1.2.3"),
    0x0020000E: RawElement(b"UI", b"1.2.3.0\0"),
}


def kept(level: Level, elements: dict[int, RawElement]) -> dict[str, object]:
    described = describe(IDENTITY | elements, EXPLICIT_VR_LITTLE_ENDIAN)
    return decode_attributes(described.levels[level].attributes)


def test_large_headers_are_not_remembered() -> None:
    def describe_large(number: int) -> None:
        history = RawElement(b"LT", number.to_bytes(4).hex().encode() + b"x" * 2**20)
        describe(IDENTITY | {0x001021B0: history}, EXPLICIT_VR_LITTLE_ENDIAN)
        with pytest.raises(Refused, match="study-instance-uid-invalid"):
            describe(
                IDENTITY | {0x0020000D: RawElement(b"UI", b"1." * 2**19 + b"%d" % number)}, EXPLICIT_VR_LITTLE_ENDIAN
            )

    describe_large(0)
    tracemalloc.start()
    try:
        for number in range(1, 21):
            describe_large(number)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2**20


@pytest.mark.parametrize(
    ("level", "tag", "written", "value", "given"),
    [
        (Level.STUDY, 0x00081030, b"CS", b"Kopf ", {"vr": "LO", "Value": ["Kopf"]}),
        (Level.PATIENT, 0x00100010, b"LO", b"A^B ", {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}),
        (Level.PATIENT, 0x00100040, b"UN", b"F ", {"vr": "CS", "Value": ["F"]}),
        (Level.PATIENT, 0x00100040, b"SQ", b"\xff" * 8, {"vr": "CS"}),
        (Level.PATIENT, 0x00100040, b"OB", b"F ", {"vr": "CS"}),
        (Level.STUDY, 0x00081110, b"PN", b"A^B ", {"vr": "SQ"}),
        (Level.IMAGE, 0x00280010, b"UL", b"\0\2\0\0", {"vr": "UL", "Value": [512]}),
        (Level.IMAGE, 0x00280010, b"IS", b"512 ", {"vr": "US"}),
        (Level.IMAGE, 0x00280004, b"SQ", b"\xff" * 8, {"vr": "CS"}),
    ],
)
def test_an_attribute_is_kept_in_the_vr_of_the_archive(
    level: Level, tag: int, written: bytes, value: bytes, given: dict[str, object]
) -> None:
    assert kept(level, {tag: RawElement(written, value)})[f"{tag:08X}"] == given


@pytest.mark.parametrize(("level", "tag"), [(Level.STUDY, 0x001021B0), (Level.IMAGE, 0x00204000)])
def test_a_value_over_the_cap_is_not_kept(level: Level, tag: int) -> None:
    name = f"{tag:08X}"
    assert kept(level, {tag: RawElement(b"LT", b"x" * 65_536)})[name] == {"vr": "LT", "Value": ["x" * 65_536]}
    assert kept(level, {tag: RawElement(b"LT", b"x" * 65_538)})[name] == {"vr": "LT"}


@pytest.mark.parametrize("size", [300, 65_538])
def test_a_patient_id_of_any_length_is_no_empty_one(size: int) -> None:
    with pytest.raises(Refused, match="patient-id-too-long"):
        kept(Level.PATIENT, {0x00100020: RawElement(b"LO", b"x" * size)})


@pytest.mark.parametrize("written", [b"OB", b"SQ", b"US"])
def test_a_uid_that_would_not_be_kept_is_none(written: bytes) -> None:
    with pytest.raises(Refused, match="series-instance-uid-invalid"):
        describe(IDENTITY | {0x0020000E: RawElement(written, b"1.2.3.0\0")}, EXPLICIT_VR_LITTLE_ENDIAN)


def upper_values(elements: dict[int, RawElement]) -> list[bytes]:
    return [level.attributes for level in describe(IDENTITY | elements, EXPLICIT_VR_LITTLE_ENDIAN).levels[:3]]


@pytest.mark.parametrize(
    ("tag", "vr", "one", "other"),
    [
        (0x00100010, b"PN", b"Doe^Jane", b"Doe^Jans"),
        (0x00100020, b"LO", b"1234", b"1235"),
        (0x00081030, b"LO", b"Head", b"Heat"),
        (0x0020000D, b"UI", b"1.2.4 ", b"1.2.5 "),
    ],
)
def test_what_differs_in_one_byte_is_not_mixed_up(tag: int, vr: bytes, one: bytes, other: bytes) -> None:
    first, second = upper_values({tag: RawElement(vr, one)}), upper_values({tag: RawElement(vr, other)})
    assert first != second
    assert upper_values({tag: RawElement(vr, one)}) == first
    assert upper_values({tag: RawElement(vr, other)}) == second


def test_the_same_bytes_in_another_character_set_or_byte_order_are_not_the_same() -> None:
    name = {0x00100010: RawElement(b"PN", b"M\xfcller^A")}
    latin = describe(IDENTITY | name | {0x00080005: RawElement(b"CS", b"ISO_IR 100")}, EXPLICIT_VR_LITTLE_ENDIAN)
    greek = describe(IDENTITY | name | {0x00080005: RawElement(b"CS", b"ISO_IR 126")}, EXPLICIT_VR_LITTLE_ENDIAN)
    assert latin.levels[0] != greek.levels[0]
    item = {0x00081110: RawElement(b"SQ", bytes.fromhex("feff00e000000000"))}
    describe(IDENTITY | item, EXPLICIT_VR_LITTLE_ENDIAN)
    with pytest.raises(MalformedDataset):
        describe(IDENTITY | item, EXPLICIT_VR_BIG_ENDIAN)


def test_a_bounded_number_of_series_is_remembered() -> None:
    def describe_series(number: int) -> None:
        # 8 KiB, so that what is held shows
        more = {
            0x0020000E: RawElement(b"UI", b"1.2.3.%d" % number),
            0x001021B0: RawElement(b"LT", b"%08d" % number * 1024),
        }
        assert describe(IDENTITY | more, EXPLICIT_VR_LITTLE_ENDIAN).series_uid == f"1.2.3.{number}"

    for number in range(MAX_REMEMBERED):
        describe_series(number)
    tracemalloc.start()
    try:
        for number in range(MAX_REMEMBERED, 2 * MAX_REMEMBERED):
            describe_series(number)
        full, _ = tracemalloc.get_traced_memory()
        for number in range(2 * MAX_REMEMBERED, 3 * MAX_REMEMBERED):
            describe_series(number)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < full + 2**20


@pytest.mark.parametrize("written", [b"UI", b"UN", b"LO"])
@pytest.mark.parametrize(
    ("vr", "number"),
    [
        (b"IS", b"7"),
        (b"IS", b" 007 "),
        (b"IS", b"7\\8"),
        (b"IS", b"x"),
        (b"IS", b""),
        (b"IS", b"9" * 40),
        (b"LO", b"12"),
        (b"UN", b"12"),
        (b"OB", b"12"),
    ],
)
def test_the_columns_of_an_instance_are_those_of_its_attributes(written: bytes, vr: bytes, number: bytes) -> None:
    elements = IDENTITY | {
        0x00080016: RawElement(written, b"1.2.840.10008.5.1.4.1.1.2\0"),
        0x00080018: RawElement(written, b"1.2.3.1 "),
        0x00200013: RawElement(vr, number),
    }
    image = describe(elements, EXPLICIT_VR_LITTLE_ENDIAN).levels[Level.IMAGE]
    assert image.columns == column_values(Level.IMAGE, decode_attributes(image.attributes))
    assert all(type(text) is str for text in image.columns)
