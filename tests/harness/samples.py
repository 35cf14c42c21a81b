"""The public sample files that pydicom's wheel carries."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
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


@cache
def data_files() -> tuple[Path, ...]:
    """Every DICOM file of the ``pydicom-data`` package, sorted by path; none if it is not here."""
    found = find_spec("data_store")
    roots = [Path(root) for root in (found.submodule_search_locations or ()) if found] if found else []
    files = (path for root in roots for path in root.rglob("*") if path.is_file())
    return tuple(sorted(path for path in files if _is_part10(path)))
