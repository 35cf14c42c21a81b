"""The public sample files that pydicom's wheel carries."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pydicom.data

SAMPLES_ROOT = Path(pydicom.data.__file__).parent
_PREAMBLE_BYTES = 128


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"


@cache
def sample_files() -> tuple[Path, ...]:
    """Every DICOM file of the wheel (PS3.10 7.1: 128 bytes, then DICM), sorted by path."""
    return tuple(sorted(path for path in SAMPLES_ROOT.rglob("*") if path.is_file() and _is_part10(path)))


def sample(name: str) -> Path:
    """One of pydicom's test files by its name."""
    return SAMPLES_ROOT / "test_files" / name
