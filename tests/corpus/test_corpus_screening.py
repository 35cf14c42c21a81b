"""Screening against what it is for: hidden files of every format at every place, and thousands of clean images."""

from __future__ import annotations

import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from shutil import which

import pytest

from harness import dicomlock, hidden, payloads
from harness.clean import clean_images
from harness.samples import data_files, sample_files
from strongroom.screen.findings import Severity
from strongroom.screen.screening import screen_bytes

DETECTED = 0.95
CLEAN_IMAGES = 5_000
PYDICOM_SAMPLES, PYDICOM_DATA = 188, 67

ONLY_AT_THE_BEGINNING = {"com", "dos-exe"}
"""Machine code of DOS: it runs as a file only, and nothing tells it from other bytes in the middle of one."""

KNOWN_TO_FILE = {
    "pe64": "PE32+ executable",
    "pe32-dll": "(DLL)",
    "dos-exe": "MS-DOS executable",
    "elf64": "ELF 64-bit LSB executable",
    "elf32-mips": "ELF 32-bit MSB executable, MIPS",
    "elf64-so-arm": "ELF 64-bit LSB shared object, ARM aarch64",
    "mach-o": "Mach-O 64-bit x86_64 executable",
    "mach-o-fat": "Mach-O universal binary with 2 architectures",
    "java-class": "compiled Java class data",
    "dex": "Dalvik dex file",
    "wasm": "WebAssembly",
    "lnk": "MS Windows shortcut",
    "chm": "MS Windows HtmlHelp",
    "ole": "Microsoft Word",
    "msi": "Composite Document File",
    "batch": "DOS batch file",
    "shell": "POSIX shell script",
    "php": "PHP script",
    "html": "HTML document",
    "svg": "SVG",
    "rtf": "Rich Text Format",
    "pdf": "PDF document",
    "zip": "Zip archive",
    "apk": "Android package",
    "docm": "Microsoft Word 2007+",
    "rar4": "RAR archive data",
    "rar5": "RAR archive data, v5",
    "7z": "7-zip archive",
    "cab": "Microsoft Cabinet archive",
    "tar": "POSIX tar archive",
    "iso9660": "ISO 9660",
    "qcow2": "QEMU QCOW",
    "vmdk": "VMware4 disk image",
}


def is_flagged(data: bytes) -> bool:
    return bool(screen_bytes(data).at_least(Severity.MEDIUM))


def test_the_corpus_has_every_format_at_many_places_and_every_place() -> None:
    formats, surfaces = Counter[str](), set[str]()
    for case in hidden.cases():
        formats[case.format] += 1
        surfaces.add(case.surface)
    assert formats.total() >= 300
    assert min(formats.values()) >= 4
    assert surfaces >= {"preamble", *hidden.BINARY_SURFACES, *hidden.TEXT_SURFACES}
    assert set(formats) >= {payload.name for payload in (*payloads.PAYLOADS, *payloads.encoded_payloads())}


@pytest.mark.interop
@pytest.mark.skipif(which("file") is None, reason="file is not installed")
@pytest.mark.parametrize("name", sorted(KNOWN_TO_FILE))
def test_what_is_hidden_is_what_it_is_called(name: str, tmp_path: Path) -> None:
    """The formats are made by their rules, so that their own readers know them."""
    made = next(payload for payload in payloads.PAYLOADS if payload.name == name).make()
    (tmp_path / name).write_bytes(made)
    said = subprocess.run(["file", "--brief", tmp_path / name], capture_output=True, text=True, check=True).stdout
    assert KNOWN_TO_FILE[name] in said


def test_archives_open_at_the_end_of_an_image() -> None:
    data = hidden.BINARY_SURFACES["trailing bytes"](payloads.zipped({"inert.txt": payloads.MARK}))
    assert zipfile.ZipFile(BytesIO(data)).read("inert.txt") == payloads.MARK


def test_what_is_hidden_is_found() -> None:
    missed = [case.name for case in hidden.cases() if not is_flagged(case.make())]
    total = sum(1 for _ in hidden.cases())
    assert len(missed) <= (1 - DETECTED) * total, f"{len(missed)} of {total} missed: {missed}"


@pytest.mark.parametrize("name", sorted({payload.name for payload in payloads.PAYLOADS} - ONLY_AT_THE_BEGINNING))
def test_every_format_is_found_at_most_places(name: str) -> None:
    cases = [case for case in hidden.cases() if case.format == name]
    missed = [case.surface for case in cases if not is_flagged(case.make())]
    assert len(missed) <= len(cases) / 4, missed


@pytest.mark.parametrize("name", sorted(ONLY_AT_THE_BEGINNING))
def test_what_runs_from_the_beginning_only_is_found_there(name: str) -> None:
    assert [
        is_flagged(case.make()) for case in hidden.cases() if case.format == name and case.surface == "preamble"
    ] == [True]


def test_the_image_that_things_are_hidden_in_is_clean() -> None:
    assert screen_bytes(hidden.file_of(hidden.encode(hidden.image()))).findings == ()


@pytest.mark.parametrize(
    ("files", "number"), [(sample_files, PYDICOM_SAMPLES), (data_files, PYDICOM_DATA)], ids=["pydicom", "pydicom-data"]
)
def test_public_samples_are_clean(files: Callable[[], tuple[Path, ...]], number: int) -> None:
    if not files():
        pytest.skip("pydicom-data is not installed")
    found = {path.name: screen_bytes(path.read_bytes()).at_least(Severity.MEDIUM) for path in files()}
    assert len(files()) == number
    assert {
        name: [(each.rule.id, each.place.path) for each in findings] for name, findings in found.items() if findings
    } == {}


def test_clean_images_are_clean() -> None:
    wrong = {}
    for image in clean_images(CLEAN_IMAGES):
        findings = screen_bytes(image.data).at_least(Severity.MEDIUM)
        if findings:
            wrong[image.name] = [(each.rule.id, each.place.path, each.what) for each in findings]
    assert wrong == {}


@pytest.mark.interop
@pytest.mark.skipif(not dicomlock.installed(), reason="DicomLock could not be installed beside")
def test_it_finds_more_than_dicomlock_does() -> None:
    """Side by side on every 7th case, and on the samples; tools/compare_screening.py has the whole table."""
    files = [case.make() for number, case in enumerate(hidden.cases()) if number % 7 == 0]
    theirs = dicomlock.judged(files)
    assert len(theirs) == len(files)
    assert sum(map(is_flagged, files)) > sum(each is dicomlock.Judged.DANGEROUS for each in theirs)
