"""File headers: as the standard has them, as the field has them, and as no file has them."""

import io
import struct

import pydicom
import pytest

from strongroom.dicom.part10 import MAX_HEADER_BYTES, encode_file_meta, parse_file_header
from strongroom.errors import MalformedDataset, Refused

EXPLICIT = "1.2.840.10008.1.2.1"
META = encode_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT, "1.2.826.0.1", "STRONGROOM", "SENDER")
DATA = bytes.fromhex("0800600043530200") + b"CT"
IMPLICIT_DATA = bytes.fromhex("0800600002000000") + b"CT"


def test_what_is_encoded_is_parsed_back():
    header = parse_file_header(META + DATA)
    assert header.sop_class == "1.2.840.10008.5.1.4.1.1.2"
    assert header.sop_uid == "1.2.3"
    assert header.transfer_syntax == EXPLICIT
    assert (header.implementation_uid, header.implementation_version) == ("1.2.826.0.1", "STRONGROOM")
    assert header.source_aet == "SENDER"
    assert header.data_set_offset == len(META)
    assert header.irregularities == ()


def test_pydicom_reads_what_is_encoded():
    dataset = pydicom.dcmread(io.BytesIO(META + DATA))
    assert dataset.Modality == "CT"
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert dataset.file_meta.FileMetaInformationGroupLength == len(META) - 144
    assert (
        "SourceApplicationEntityTitle"
        not in pydicom.dcmread(io.BytesIO(encode_file_meta("1.2", "1.2.3", EXPLICIT, "1.2", "V") + DATA)).file_meta
    )


@pytest.mark.parametrize(
    ("raw", "offset", "irregularities"),
    [
        (META[128:] + DATA, len(META) - 128, ("no preamble",)),
        (META[132:] + DATA, len(META) - 132, ("no preamble and prefix",)),
        (META[:132] + META[144:] + DATA, len(META) - 12, ("no group length",)),
        (META[:140] + b"\xff\xff\0\0" + META[144:] + DATA, len(META), ("wrong group length",)),
    ],
)
def test_what_the_field_leaves_out_is_named(raw, offset, irregularities):
    header = parse_file_header(raw)
    assert (header.data_set_offset, header.irregularities) == (offset, irregularities)
    assert header.transfer_syntax == EXPLICIT


@pytest.mark.parametrize(("data", "syntax"), [(DATA, EXPLICIT), (IMPLICIT_DATA, "1.2.840.10008.1.2")])
@pytest.mark.parametrize("head", [b"", bytes(128) + b"DICM"])
def test_a_transfer_syntax_is_guessed_only_where_it_is_evident(head, data, syntax):
    header = parse_file_header(head + data)
    assert header.transfer_syntax == syntax
    assert "transfer syntax guessed" in header.irregularities
    assert header.data_set_offset == len(head)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not-dicom"),
        (b"GET / HTTP/1.1\r\n\r\n", "not-dicom"),
        (b"MZ" + bytes(200), "not-dicom"),
        (b"PK\3\4" + bytes(200), "not-dicom"),
        (bytes(1000), "not-dicom"),
        (struct.pack(">HH2sH", 8, 0x60, b"CS", 2) + b"CT", "not-dicom"),
        (struct.pack("<HHL", 8, 0x60, 0x7FFFFFFF), "not-dicom"),
        (bytes(128) + b"DICM", "no-transfer-syntax"),
        (META[:144], "no-transfer-syntax"),
    ],
)
def test_what_is_no_dicom_file_is_refused_by_name(raw, reason):
    with pytest.raises(Refused) as caught:
        parse_file_header(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "raw",
    [
        META[:-3],
        META[:132] + struct.pack("<HH2sHL", 2, 1, b"OB", 0, 0xFFFFFFFF),
        META[:132] + struct.pack("<HH2sH", 2, 0, b"??", 4) + bytes(4),
        META[:132] + struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, MAX_HEADER_BYTES) + bytes(MAX_HEADER_BYTES),
        META[:132] + struct.pack("<HH2sH", 2, 1, b"OB", 0),
    ],
)
def test_meta_information_that_does_not_hold_together(raw):
    with pytest.raises(MalformedDataset):
        parse_file_header(raw)


def test_only_the_first_bytes_are_looked_at():
    assert parse_file_header(memoryview(META + DATA + bytes(1 << 20))).data_set_offset == len(META)
