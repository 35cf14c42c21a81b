"""DicomLock, another scanner of DICOM files, run as the process that its users run.

It stands in an environment of its own (``make`` puts it there): it brings a codec under the GPL, which ours is free of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from enum import Enum
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ENVIRONMENT = Path(sys.prefix) / "dicomlock"
PROGRAM = ENVIRONMENT / "bin" / "dicomlock"
_DANGEROUS = frozenset({"fail", "critical"})
_ABOUT_THE_FILE = frozenset(
    {
        "file_preamble",
        "length_amplification",
        "sequence_depth",
        "pixel_dimension_bomb",
        "private_tag_payload",
        "file_read",
    }
)


class Judged(Enum):
    """What it says of a file: fail or critical, upon which it disarms; a warning of its checks of file security."""

    NOTHING = 0
    WARNS = 1
    DANGEROUS = 2


def installed() -> str:
    """Its version, "" if it is not here."""
    paths = [str(path) for path in ENVIRONMENT.glob("lib/python3*/site-packages")]
    found = [each.version for each in distributions(name="dicomlock", path=paths)]
    return found[0] if found and PROGRAM.exists() else ""


def judged(files: Iterable[bytes], batch: int = 500) -> list[Judged]:
    """What it says of each file, in the order of the files."""
    found: list[Judged] = []
    pending: list[bytes] = []
    for data in files:
        pending.append(data)
        if len(pending) == batch:
            found += _judged(pending)
            pending = []
    return found + (_judged(pending) if pending else [])


def _judged(batch: list[bytes]) -> list[Judged]:
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(batch):
            (Path(folder) / f"{number:06}.dcm").write_bytes(data)
        # Of one file it writes its report beside it, of a folder into it.
        (Path(folder) / "last.dcm").write_bytes(batch[0])
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        subprocess.run(
            [PROGRAM, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=False
        )
        reports = json.loads((Path(folder) / "dicomlock_report.json").read_text())
    by_name = {report["filename"]: report["findings"] for report in reports}
    return [_worst(by_name.get(f"{number:06}.dcm", [])) for number in range(len(batch))]


def _worst(findings: list[dict[str, Any]]) -> Judged:
    if any(each["severity"] in _DANGEROUS for each in findings):
        return Judged.DANGEROUS
    warned = {each["check"] for each in findings if each["severity"] == "warn"}
    return Judged.WARNS if warned & _ABOUT_THE_FILE else Judged.NOTHING
