"""pydicom's samples as a sender reads them, sorted into rounds of files that do not contradict each other."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.filereader import read_dataset

from harness import wire
from harness.samples import SAMPLES_ROOT
from strongroom.types import Uid

EXPECTED_FILES = 188
HEADING = "Sample files that are refused"


@dataclass(frozen=True)
class Sample:
    """One file as a sender reads it: what its C-STORE says, and the data set's bytes. Ids are as the file has them."""

    name: str
    sop_class: Uid
    sop_instance: Uid
    transfer_syntax: Uid
    study: str
    series: str
    patient: tuple[str, str]
    data: bytes = field(repr=False)


def read(path: Path) -> Sample:
    """Read a file; where the data set has no UID, the file meta information's is used, as senders do."""
    with path.open("rb") as file:
        file.seek(132)
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        data = file.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(path, stop_before_pixels=True, force=True)

    def uid(keyword: str, default: str) -> Uid:
        return Uid(found.get(keyword) or meta.get("MediaStorage" + keyword) or default)

    return Sample(
        path.relative_to(SAMPLES_ROOT).as_posix(),
        uid("SOPClassUID", wire.CT_IMAGE_STORAGE),
        uid("SOPInstanceUID", "2.25.1"),
        Uid(meta.get("TransferSyntaxUID") or wire.IMPLICIT),
        str(found.get("StudyInstanceUID") or ""),
        str(found.get("SeriesInstanceUID") or ""),
        (str(found.get("PatientID") or ""), str(found.get("IssuerOfPatientID") or "")),
        data,
    )


def in_rounds(samples: list[Sample]) -> list[list[Sample]]:
    """Put files that contradict each other (one UID twice, a study of two patients) into different rounds."""
    rounds: list[tuple[list[Sample], dict[tuple[str, str], object]]] = []
    for each in samples:
        facts = {
            ("instance", each.sop_instance): each.name,
            ("study", each.study): each.patient,
            ("series", each.series): each.study,
        }
        fits = (place for place in rounds if all(place[1].get(key, fact) == fact for key, fact in facts.items()))
        place = next(fits, None)
        if place is None:
            rounds.append(place := ([], {}))
        place[0].append(each)
        place[1].update(facts)
    return [members for members, _ in rounds]


def documented() -> dict[str, str]:
    """The table of refusals in docs: file to reason."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "STATUS.md").read_text(encoding="utf-8")
    section = text.partition(f"## {HEADING}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", section, re.M))
