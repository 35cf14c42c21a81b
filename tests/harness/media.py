"""Files as they lie on media, for imports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample
from strongroom.admin.importing import Failure, Import, Tally
from strongroom.app import Archive
from strongroom.dicom.dicomdir import FileEntry, encode_dicomdir
from strongroom.dicom.part10 import encode_file_meta

IMPLEMENTATION = ("2.25.1", "TEST")


def part10(sample: Sample) -> bytes:
    """An instance as a file (PS3.10 7)."""
    meta = encode_file_meta(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, *IMPLEMENTATION)
    return meta + sample.dataset


def write(path: Path, sample: Sample) -> Path:
    """Write an instance to a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part10(sample))
    return path


def dicomdir(entries: Iterable[tuple[tuple[str, ...], Sample]]) -> bytes:
    """A DICOMDIR that references instances by path."""
    listed = [
        FileEntry(
            path,
            CT_IMAGE_STORAGE,
            sample.sop_uid,
            EXPLICIT_VR_LITTLE_ENDIAN,
            {
                "0020000D": {"vr": "UI", "Value": [sample.study_uid]},
                "0020000E": {"vr": "UI", "Value": [sample.series_uid]},
            },
        )
        for path, sample in entries
    ]
    return encode_dicomdir(listed, "TEST", "2.25.2", *IMPLEMENTATION)


def take_in(archive: Archive, *paths: Path) -> tuple[Tally, list[Failure]]:
    """Import paths; returns the counts, and the failures in order of completion."""
    failures: list[Failure] = []

    def watch(tally: Tally, failure: Failure | None) -> None:
        if failure is not None:
            failures.append(failure)

    return Import(archive, watch).run(paths), failures
