"""DICOMDIR: what we read is what pydicom reads, what we write both pydicom and dcmdump read, and no path escapes."""

import io
import shutil
import subprocess
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from pydicom.fileset import FileSet

from strongroom.dicom.dicomdir import (
    FileEntry,
    check_path,
    encode_dicomdir,
    parse_dicomdir,
    record_type_of,
)
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.errors import MalformedDataset, StrongroomError

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT = "1.2.840.10008.1.2.1"
DIRECTORIES = sorted(
    path
    for path in Path(pydicom.data.__file__).parent.rglob("DICOMDIR*")
    if path.is_file() and path.name != "DICOMDIR-nooffset"
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", DIRECTORIES, ids=lambda path: path.parent.name + "/" + path.name)
def test_files_of_a_sample_are_those_of_pydicom(path):
    reference = pydicom.dcmread(path)
    expected = [
        tuple([record.ReferencedFileID] if isinstance(record.ReferencedFileID, str) else record.ReferencedFileID)
        for record in reference.DirectoryRecordSequence or []
        if record.get("ReferencedFileID")
    ]
    directory = parse_dicomdir(path.read_bytes())
    assert [entry.path for entry in directory.files] == expected
    assert directory.refused_paths == 0
    assert directory.file_set_id == (reference.FileSetID or "")


def entry(number, sop_class=CT, patient="P1", study="1.2.1", series="1.2.1.1", path=None):
    def attribute(vr, value):
        return {"vr": vr, "Value": [value]}

    return FileEntry(
        ("IMAGES", f"IM{number:04}") if path is None else path,
        sop_class,
        f"1.2.3.{number}",
        EXPLICIT,
        {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^" + patient}]},
            "00100020": attribute("LO", patient),
            "0020000D": attribute("UI", study),
            "0020000E": attribute("UI", series),
            "00080020": attribute("DA", "20200101"),
            "00080030": attribute("TM", "101010"),
            "00200010": attribute("SH", "S1"),
            "00080060": attribute("CS", "CT"),
            "00200011": attribute("IS", 1),
            "00200013": attribute("IS", number),
        },
    )


ENTRIES = [
    entry(1),
    entry(2),
    entry(3, series="1.2.1.2"),
    entry(4, study="1.2.2", series="1.2.2.1", sop_class=SR),
    entry(5, patient="P2", study="1.2.3", series="1.2.3.1"),
]


def build(entries=ENTRIES):
    return encode_dicomdir(entries, "STRONGROOM", "1.2.9", "1.2.8", "STRONGROOM")


def test_what_is_written_is_read_back():
    directory = parse_dicomdir(build())
    assert directory.file_set_id == "STRONGROOM"
    assert [(found.path, found.sop_uid) for found in directory.files] == [
        (given.path, given.sop_uid) for given in ENTRIES
    ]
    assert [found.record_type for found in directory.files] == ["IMAGE", "IMAGE", "IMAGE", "SR DOCUMENT", "IMAGE"]


def test_pydicom_follows_the_offsets(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(build())
    for given in ENTRIES:
        file = tmp_path.joinpath(*given.path)
        file.parent.mkdir(exist_ok=True)
        file.touch()
    files = FileSet(tmp_path / "DICOMDIR")
    assert files.ID == "STRONGROOM"
    assert files.UID == "1.2.9"
    assert [instance.SOPInstanceUID for instance in files] == [given.sop_uid for given in ENTRIES]
    assert files.find_values("PatientID") == ["P1", "P2"]
    assert len(files.find(StudyInstanceUID="1.2.1")) == 3
    files._stage["t"].cleanup()  # which FileSet leaves to the garbage collector, with a warning


def test_the_offsets_point_at_items():
    raw = build()
    dataset = pydicom.dcmread(io.BytesIO(raw))
    offsets = {record.seq_item_tell for record in dataset.DirectoryRecordSequence}
    first = dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
    last = dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity
    assert {first, last} <= offsets
    for record in dataset.DirectoryRecordSequence:
        assert {
            record.OffsetOfTheNextDirectoryRecord,
            record.OffsetOfReferencedLowerLevelDirectoryEntity,
        } <= offsets | {0}
    for offset in offsets:
        assert raw[offset : offset + 4] == b"\xfe\xff\x00\xe0"


def test_dcmdump_reads_it(tmp_path):
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump is not installed")
    (tmp_path / "DICOMDIR").write_bytes(build())
    run = subprocess.run(["dcmdump", tmp_path / "DICOMDIR"], capture_output=True, text=True, errors="replace")
    assert run.returncode == 0
    assert "E:" not in run.stderr
    assert "W:" not in run.stderr
    assert run.stdout.count("DirectoryRecordType") == 5 + 2 + 3 + 4


def test_an_empty_medium_is_a_directory_too(tmp_path):
    raw = build([])
    assert parse_dicomdir(raw).files == ()
    (tmp_path / "DICOMDIR").write_bytes(raw)
    files = FileSet(tmp_path / "DICOMDIR")
    assert len(files) == 0
    files._stage["t"].cleanup()


ESCAPES = [
    "..",
    "A\\..\\B",
    ".",
    "",
    "A\\\\B",
    "/etc/passwd",
    "A/B",
    "C:",
    "C:\\A",
    "A\0B",
    "A\nB",
    " ",
    ". .",
    "é",
    "\ufffd",
    "A" * 65,
    "\\".join("ABCDEFGHI"),
    "a|b",
    "a*",
    '"',
]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_elsewhere_is_none(path):
    assert check_path(path) is None


@pytest.mark.parametrize("path", ["A", "IMAGES\\IM0001", "77654033\\CR1\\6154", "longer_than_eight.dcm", "a..b\\C-1"])
def test_a_plain_path_is_taken(path):
    assert check_path(path) == tuple(path.split("\\"))


@pytest.mark.filterwarnings("ignore")
def test_records_with_bad_paths_are_counted_and_the_others_kept():
    raw = build()
    bad = raw.replace(b"IMAGES\\IM0002 ", b"..\\..\\..\\etc\\x")
    assert bad != raw
    directory = parse_dicomdir(bad)
    assert directory.refused_paths == 1
    assert len(directory.files) == 4


def test_only_plain_paths_are_written():
    with pytest.raises(MalformedDataset):
        build([entry(1, path=("..", "A"))])
    with pytest.raises(MalformedDataset):
        build([entry(1, path=())])


def test_every_storage_class_has_a_record_type_that_can_be_written():
    for number, sop_class in enumerate(sorted(STORAGE_SOP_CLASSES)):
        directory = parse_dicomdir(build([entry(number, sop_class)]))
        assert directory.files[0].record_type == record_type_of(sop_class)


def test_patients_of_the_same_id_and_another_issuer_stay_apart():
    other = entry(2, study="1.2.7", series="1.2.7.1")
    other.attributes["00100021"] = {"vr": "LO", "Value": ["ELSEWHERE"]}
    dataset = pydicom.dcmread(io.BytesIO(build([entry(1), other])))
    assert [record.DirectoryRecordType for record in dataset.DirectoryRecordSequence].count("PATIENT") == 2


@pytest.mark.parametrize("cut", range(0, 1200, 37))
def test_a_cut_directory_is_a_named_error(cut):
    raw = build()
    with pytest.raises(StrongroomError):
        parse_dicomdir(raw[: len(raw) - 1 - cut])
