"""The tables are the standard's: compared with pydicom's, and at the places where tags follow a rule."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

import strongroom.dicom
from strongroom.dicom import dictionary

ROOT = Path(__file__).resolve().parents[3]


def test_every_tag_of_the_standard_is_known():
    for tag, (vr, vm, _, _, keyword) in DicomDictionary.items():
        if vr == "NONE":
            continue
        entry = dictionary.entry_of(tag)
        assert set(entry.vrs) == {name.encode() for name in vr.split(" or ")}
        assert (entry.vm, entry.keyword) == (vm, keyword)
        if keyword and "xx" not in keyword:
            assert dictionary.tag_of(keyword) == tag


def test_repeating_groups_are_found_at_every_place_they_repeat():
    for pattern, (vr, _, _, _, keyword) in RepeatersDictionary.items():
        for digit in "02E":
            tag = int(pattern.replace("x", digit), 16)
            if tag in DicomDictionary or tag & 0x10000 or not tag & 0xFFFF:
                continue
            entry = dictionary.entry_of(tag)
            assert entry.keyword == keyword, f"{tag:08X}"
            assert {name.decode() for name in entry.vrs} == set(vr.split(" or "))


@pytest.mark.parametrize(
    ("tag", "vr", "keyword"),
    [
        (0x00100000, b"UL", "GroupLength"),
        (0x00090010, b"LO", "PrivateCreator"),
        (0x000900FF, b"LO", "PrivateCreator"),
        (0x00091001, b"UN", ""),
        (0x0009000F, b"UN", ""),
        (0x00080004, b"UN", ""),
        (0x60FE3000, b"OW", "OverlayData"),
        (0x60013000, b"UN", ""),
        (0x7FE00010, b"OW", "PixelData"),
        (0x00280106, b"US", "SmallestImagePixelValue"),
        (0xFFFFFFFF, b"UN", ""),
    ],
)
def test_tags_that_follow_a_rule(tag, vr, keyword):
    assert dictionary.vr_of(tag) == vr
    assert dictionary.keyword_of(tag) == keyword


def test_tags_by_keyword_and_by_digits():
    assert dictionary.tag_of("PatientName") == 0x00100010
    assert dictionary.tag_of("OverlayData") == 0x60003000
    assert dictionary.tag_of("NoSuchKeyword") is None
    assert dictionary.parse_tag("00100010") == dictionary.parse_tag("PatientName") == 0x00100010
    assert dictionary.parse_tag("7fe00010") == 0x7FE00010
    for text in ("", "0010 010", "1_000_00", "+0100010", "0x100010", "001000100"):
        assert dictionary.parse_tag(text) is None


def test_storage_classes_are_those_an_archive_takes():
    storage = dictionary.STORAGE_SOP_CLASSES
    assert "1.2.840.10008.5.1.4.1.1.2" in storage
    assert "1.2.840.10008.5.1.4.1.1.3" in storage, "retired, and still sent"
    assert "1.2.840.10008.5.1.4.1.1.66.7" in storage, "newer than the installed pydicom"
    assert not storage & {"1.2.840.10008.1.1", "1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1"}
    assert not any("FIND" in dictionary.UID_NAMES.get(uid, "") for uid in storage)
    assert len(storage) > 190


def test_transfer_syntaxes_say_how_to_read_them():
    syntaxes = dictionary.TRANSFER_SYNTAXES
    assert [uid for uid, syntax in syntaxes.items() if not syntax.explicit] == [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.20",
    ]
    assert [uid for uid, syntax in syntaxes.items() if not syntax.little_endian] == ["1.2.840.10008.1.2.2"]
    assert dictionary.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.deflated
    assert syntaxes["1.2.840.10008.1.2.4.50"].encapsulated
    assert syntaxes["1.2.840.10008.1.2.5"].encapsulated
    assert not syntaxes["1.2.840.10008.1.2.4.95"].encapsulated, "JPIP refers to pixel data and has none"
    assert "1.2.840.10008.1.2.6.1" not in syntaxes, "MIME is no encoding of a data set"
    assert all(uid == syntax.uid for uid, syntax in syntaxes.items())


def test_the_committed_tables_are_what_the_tool_writes(tmp_path):
    subprocess.run([sys.executable, ROOT / "tools" / "make_dictionary.py", tmp_path], check=True, capture_output=True)
    package = Path(strongroom.dicom.__file__).parent
    for name in ("tags.tsv", "uids.tsv"):
        assert (package / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_package_reads_data_sets_without_pydicom():
    modules = ["elements", "part10", "text", "jsonmodel", "encode", "convert", "canonical", "dicomdir"]
    code = f"import sys; from strongroom.dicom import {', '.join(modules)}; assert 'pydicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")
