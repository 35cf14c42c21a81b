"""The header scan against pydicom on every sample file, and against its own limits."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from strongroom.dicom.elements import DEFAULT_LIMITS, HeaderScan, RawElement, ScanLimits
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.tree import parse_dataset, parse_items
from strongroom.errors import LimitExceeded, MalformedDataset

JPEG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]
ROOMY = ScanLimits(max_element_value_bytes=1 << 30, max_kept_bytes=1 << 30)

# Files that pydicom reads with a warning and we do not: each is structurally impossible as it declares itself.
NOT_READ = {
    "MR_truncated.dcm": "a value runs past the end",
    "rtplan_truncated.dcm": "a value runs past the end",
    "SC_rgb_jpeg.dcm": "an unknown VR",  # says explicit VR, is implicit
}


def samples():
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != "meta_missing_tsyntax.dcm":
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    yield path


SAMPLES = list(samples())


def scan(data, syntax, wanted=frozenset(), limits=DEFAULT_LIMITS, chunk=None):
    walk = HeaderScan(syntax, frozenset(wanted), limits)
    view = memoryview(data)
    for start in range(0, len(data), chunk or max(1, len(data))):
        walk.feed(view[start : start + (chunk or len(data))])
    walk.finish()
    return walk


def state(walk):
    return (
        walk.elements,
        walk.irregularities,
        walk.end_of_header,
        walk.pixel_data_offset,
        walk.pixel_data_length,
        walk.pixel_data_vr,
    )


def explicit(tag, vr, value, order="<", length=None):
    head = struct.pack(order + "HH2s", tag >> 16, tag & 0xFFFF, vr)
    length = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack(order + "HL", 0, length) + value
    return head + struct.pack(order + "H", length) + value


def implicit(tag, value, length=None):
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


UNDEFINED = 0xFFFFFFFF
NAME = explicit(0x00100010, b"PN", b"A^B ")


def test_there_are_samples():
    assert len(SAMPLES) > 180


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_sample_is_read_as_pydicom_reads_it(path):
    raw = path.read_bytes()
    header = parse_file_header(raw)
    syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
    data = raw[header.data_set_offset :]
    if path.name in NOT_READ:
        with pytest.raises(MalformedDataset, match=NOT_READ[path.name]):
            scan(data, syntax)
        return
    reference = pydicom.dcmread(path)
    wanted = frozenset(int(tag) for tag in reference.keys())  # noqa: SIM118 - a data set iterates over elements
    walk = scan(data, syntax, wanted, ROOMY)
    assert walk.elements.keys() == wanted
    for tag, element in walk.elements.items():
        raw_value = reference.get_item(tag)
        if isinstance(raw_value, pydicom.dataelem.RawDataElement) and raw_value.value is not None:
            if raw_value.length == UNDEFINED and raw_value.tag == 0x7FE00010:
                assert element.value[:8] == raw_value.value[:8]
            else:
                assert element.value == raw_value.value, f"{tag:08X}"
                assert raw_value.VR is None or element.vr.decode() == raw_value.VR


@pytest.mark.parametrize("path", SAMPLES[::4], ids=lambda path: path.name)
def test_chunking_of_a_sample_changes_nothing(path):
    raw = path.read_bytes()
    header = parse_file_header(raw)
    syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
    data = raw[header.data_set_offset :][:20_000]
    wanted = frozenset({0x00080005, 0x00080008, 0x00100010, 0x00101002, 0x0020000D, 0x00401001, 0x00041220, 0x00540016})

    def outcome(chunk):
        walk = HeaderScan(syntax, wanted)
        try:
            for start in range(0, len(data), chunk):
                walk.feed(data[start : start + chunk])
            walk.finish()
        except MalformedDataset as error:
            return state(walk), str(error)
        return state(walk), None

    whole = outcome(1 << 20)
    assert outcome(1) == outcome(7) == outcome(4096) == whole


@pytest.mark.parametrize("chunk", [1, 3, 8, None])
def test_a_wanted_sequence_of_undefined_length_is_kept_without_its_delimiter(chunk):
    item = implicit(0xFFFEE000, NAME)
    open_item = implicit(0xFFFEE000, b"", UNDEFINED) + NAME + implicit(0xFFFEE00D, b"")
    sequence = explicit(0x00081115, b"SQ", item + open_item + implicit(0xFFFEE0DD, b""), length=UNDEFINED)
    walk = scan(sequence + NAME, EXPLICIT_VR_LITTLE_ENDIAN, {0x00081115, 0x00100010}, chunk=chunk)
    assert walk.elements == {
        0x00081115: RawElement(b"SQ", item + open_item),
        0x00100010: RawElement(b"PN", b"A^B "),
    }
    defined = explicit(0x00081115, b"SQ", item + open_item)
    again = scan(defined, EXPLICIT_VR_LITTLE_ENDIAN, {0x00081115}, chunk=chunk)
    assert again.elements[0x00081115] == walk.elements[0x00081115]


def test_a_sequence_written_as_un_of_undefined_length_is_implicit_inside():
    inner = implicit(0xFFFEE000, implicit(0x00080060, b"CT"))
    data = explicit(0x00081115, b"UN", inner + implicit(0xFFFEE0DD, b""), length=UNDEFINED) + NAME
    walk = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00081115, 0x00100010})
    assert walk.elements[0x00081115] == RawElement(b"UN", inner)
    big = explicit(0x00081115, b"UN", inner + implicit(0xFFFEE0DD, b""), ">", UNDEFINED)
    assert scan(big, EXPLICIT_VR_BIG_ENDIAN, {0x00081115}).elements[0x00081115].value == inner


@pytest.mark.parametrize("chunk", [1, 5, None])
def test_pixel_data_is_stepped_over_and_located(chunk):
    pixels = bytes(range(256)) * 4
    data = NAME + explicit(0x7FE00010, b"OW", pixels) + explicit(0xFFFCFFFC, b"OB", b"\0\0")
    walk = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010}, chunk=chunk)
    assert (walk.pixel_data_vr, walk.pixel_data_length) == (b"OW", len(pixels))
    assert walk.pixel_data_offset is not None
    assert data[walk.pixel_data_offset :][: len(pixels)] == pixels
    assert walk.end_of_header


@pytest.mark.parametrize("chunk", [1, 5, None])
def test_fragments_are_walked(chunk):
    fragments = implicit(0xFFFEE000, b"") + implicit(0xFFFEE000, b"\xff\xd8\xff\xd9")
    end = implicit(0xFFFEE0DD, b"")
    head = NAME + explicit(0x7FE00010, b"OB", b"", length=UNDEFINED)
    walk = scan(head + fragments + end, JPEG, {0x00100010}, chunk=chunk)
    assert (walk.pixel_data_length, walk.pixel_data_offset) == (UNDEFINED, len(head))
    for bad in (fragments, fragments[:-1], fragments + implicit(0xFFFEE00D, b""), implicit(0xFFFEE000, b"", UNDEFINED)):
        with pytest.raises(MalformedDataset):
            scan(head + bad, JPEG, {0x00100010}, chunk=chunk)


def test_end_of_header_comes_with_the_first_tag_beyond():
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, frozenset({0x00100010}))
    walk.feed(NAME)
    assert not walk.end_of_header
    walk.feed(explicit(0x00100020, b"LO", b"1 "))
    assert walk.end_of_header


def test_what_the_field_writes_wrong_is_counted_and_read():
    data = (
        NAME
        + explicit(0x00080060, b"CS", b"CT")
        + explicit(0x00100010, b"PN", b"C^D ")
        + explicit(0x00100010, b"PN", b"E^F ")
        + explicit(0x00100020, b"LO", b"odd")
    )
    walk = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00080060, 0x00100010, 0x00100020})
    assert walk.elements[0x00100010].value == b"A^B ", "the first one is kept"
    assert walk.elements[0x00080060].value == b"CT"
    assert walk.irregularities == {"tag out of order": 1, "duplicate tag": 2, "odd length": 1}
    assert scan(explicit(0x00020010, b"UI", b"1.2\0"), EXPLICIT_VR_LITTLE_ENDIAN).irregularities


@pytest.mark.parametrize(
    "data",
    [
        NAME[:-1],
        NAME[:7],
        NAME + b"\0",
        explicit(0x00100010, b"PN", b"", length=10),
        explicit(0x00100010, b"zz", b"ab"),
        explicit(0x00100010, b"\0\0", b"ab"),
        implicit(0xFFFEE000, b""),
        implicit(0xFFFEE00D, b""),
        implicit(0xFFFEE0DD, b""),
        explicit(0x00081115, b"SQ", b"", length=UNDEFINED),
        explicit(0x00081115, b"SQ", NAME, length=UNDEFINED),
        explicit(0x00081115, b"SQ", implicit(0xFFFEE000, b"", UNDEFINED) + implicit(0xFFFEE0DD, b""), length=UNDEFINED),
        explicit(0x00081115, b"UT", b"", length=UNDEFINED),
        explicit(0x7FE00010, b"OW", b"1234", length=0xFFFFFFFE),
    ],
)
@pytest.mark.parametrize("chunk", [1, None])
def test_what_cannot_be_is_refused(data, chunk):
    with pytest.raises(MalformedDataset):
        scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010, 0x00081115}, chunk=chunk)


@pytest.mark.parametrize(
    ("name", "limits", "data"),
    [
        ("max_element_count", {"max_element_count": 2}, NAME * 3),
        ("max_element_value_bytes", {"max_element_value_bytes": 3}, NAME),
        ("max_element_value_bytes", {"max_element_value_bytes": 3}, explicit(0x00100010, b"PN", b"", length=40)),
        ("max_kept_bytes", {"max_kept_bytes": 7}, NAME + explicit(0x00100020, b"LO", b"1234")),
        (
            "max_element_depth",
            {"max_element_depth": 2},
            (explicit(0x00081115, b"SQ", b"", length=UNDEFINED) + implicit(0xFFFEE000, b"", UNDEFINED)) * 3,
        ),
        (
            "max_element_value_bytes",
            {"max_element_value_bytes": 20},
            explicit(0x00081115, b"SQ", implicit(0xFFFEE000, bytes(30)), length=UNDEFINED),
        ),
    ],
)
@pytest.mark.parametrize("chunk", [1, None])
def test_limits_hold(name, limits, data, chunk):
    with pytest.raises(LimitExceeded) as caught:
        scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010, 0x00100020, 0x00081115}, replace(ROOMY, **limits), chunk)
    assert caught.value.limit_name == name


def test_exactly_as_many_elements_as_allowed_are_read_in_any_chunking():
    limits = replace(ROOMY, max_element_count=3)
    for chunk in (1, 12, None):
        assert scan(NAME * 3, EXPLICIT_VR_LITTLE_ENDIAN, (), limits, chunk).irregularities == {"duplicate tag": 2}


@pytest.mark.parametrize("chunk", [1, 10, None])
def test_a_deflated_data_set_is_read_like_its_content(chunk):
    data = NAME + explicit(0x7FE00010, b"OW", bytes(100_000))
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = compressor.compress(data) + compressor.flush()
    plain = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010})
    for padding in (b"", b"\0"):
        walk = scan(deflated + padding, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010}, chunk=chunk)
        assert state(walk) == state(plain)
    behind = scan(deflated + b"PK\3\4", DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010}, chunk=chunk)
    assert behind.irregularities == {"bytes after the deflate stream": 1}
    for broken in (deflated[:-1], b"\xff" * 30, deflated[:20]):
        with pytest.raises(MalformedDataset):
            scan(broken, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, {0x00100010}, chunk=chunk)


def test_the_fed_buffer_may_be_reused():
    buffer = bytearray(NAME)
    walk = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, frozenset({0x00100010}))
    view = memoryview(buffer)
    walk.feed(view[:9])
    buffer[:9] = bytes(9)
    walk.feed(view[9:])
    buffer[:] = bytes(len(buffer))
    view.release()
    walk.finish()
    assert walk.elements[0x00100010].value == b"A^B "


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_tree_holds_the_tags_that_pydicom_finds(path):
    raw = path.read_bytes()
    header = parse_file_header(raw)
    if path.name in NOT_READ or path.name == "DICOMDIR-nooffset":  # its last item is longer than its sequence
        return
    elements = parse_dataset(raw[header.data_set_offset :], TRANSFER_SYNTAXES[header.transfer_syntax], ROOMY)

    compare_dataset(elements, pydicom.dcmread(path))


def compare_dataset(elements, reference):
    assert {element.tag for element in elements} == {int(tag) for tag in reference.keys()}  # noqa: SIM118
    for element in elements:
        if element.items is not None:
            values = reference[element.tag].value
            assert len(values) == len(element.items)
            for item, value in zip(element.items, values, strict=True):
                compare_dataset(item, value)


def test_items_of_a_kept_sequence_parse_with_the_same_limits():
    nested = NAME
    for _ in range(3):
        nested = explicit(0x00081115, b"SQ", implicit(0xFFFEE000, nested))
    coding = HeaderScan(EXPLICIT_VR_LITTLE_ENDIAN, frozenset())._coding
    assert parse_items(implicit(0xFFFEE000, nested), coding)[0][0].tag == 0x00081115
    with pytest.raises(LimitExceeded, match="max_element_depth"):
        parse_items(implicit(0xFFFEE000, nested), coding, ScanLimits(max_element_depth=3))
    with pytest.raises(LimitExceeded, match="max_element_count"):
        parse_items(implicit(0xFFFEE000, nested), coding, ScanLimits(max_element_count=3))


def test_implicit_vr_takes_the_vr_of_the_dictionary():
    data = implicit(0x00100010, b"A^B ") + implicit(0x00280010, b"\1\2") + implicit(0x00291001, b"??")
    walk = scan(data, IMPLICIT_VR_LITTLE_ENDIAN, {0x00100010, 0x00280010, 0x00291001})
    assert [element.vr for element in walk.elements.values()] == [b"PN", b"US", b"UN"]
