"""An archive that serves pydicom's samples over HTTPS, filled once for a module's tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from harness import archives, web
from harness.archives import RunningArchive
from harness.samples import sample_files
from harness.web import WebClient
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES

SUCCESS_OR_SOME = (200, 202)


@dataclass(frozen=True)
class Sample:
    """One sample as a file, with what its identifiers are."""

    path: Path
    raw: bytes = field(repr=False)
    study: str
    series: str
    instance: str
    sop_class: str

    @property
    def url(self) -> str:
        """The path of the instance below the root of the service."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"

    def read(self) -> FileDataset:
        """The sample as pydicom reads it."""
        return read_quietly(self.raw)


def read_quietly(raw: bytes, **options: Any) -> FileDataset:
    """A file as pydicom reads it, which warns of what some samples are there to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(raw), force=True, **options)


def read_sample(path: Path) -> Sample:
    """A file as it is, with its identifiers as far as it has any."""
    raw = path.read_bytes()
    dataset = read_quietly(raw, stop_before_pixels=True)
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    study, series, instance, sop_class = (str(dataset.get(name, "")) for name in names)
    return Sample(path, raw, study, series, instance, sop_class)


def _sample(path: Path) -> Sample | None:
    dataset = read_quietly(path.read_bytes(), stop_before_pixels=True)
    uids = [str(dataset.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    sop_class = str(dataset.get("SOPClassUID", ""))
    # Files say in two places what they are; where these differ, an archive refuses them.
    same = dataset.file_meta.get("MediaStorageSOPInstanceUID", "") == uids[2]
    same = same and dataset.file_meta.get("MediaStorageSOPClassUID", "") == sop_class
    if not all(uids) or not same or sop_class not in STORAGE_SOP_CLASSES or not all(UID(uid).is_valid for uid in uids):
        return None
    return Sample(path, path.read_bytes(), *uids, sop_class)


def storable_samples() -> list[Sample]:
    """The samples that are composite instances, the first of those that share a UID."""
    found: dict[str, Sample] = {}
    for path in sample_files():
        sample = _sample(path)
        if sample is not None:
            found.setdefault(sample.instance, sample)
    return list(found.values())


def store(client: WebClient, samples: list[Sample]) -> set[str]:
    """Store samples in one request; returns the SOP Instance UIDs that were taken."""
    headers, body = web.multipart([("application/dicom", sample.raw) for sample in samples])
    answer = client.request("POST", "/studies", {**headers, "Accept": web.DICOM_JSON}, body)
    assert answer.status in SUCCESS_OR_SOME, answer.content
    return {item["00081155"]["Value"][0] for item in answer.json["00081199"]["Value"]}


class ServedSamples:
    """A running archive with samples in it, and a client that may do everything.

    No dataclass: Hypothesis would print every byte of every sample.
    """

    def __init__(self, running: RunningArchive, client: WebClient, samples: list[Sample]) -> None:
        self.running, self.client, self.samples = running, client, samples


@contextmanager
def served_samples(root: Path, workers: int = 1) -> Iterator[ServedSamples]:
    """Start an archive below ``root`` and store every sample that it takes."""
    home = archives.new_home(root / "home", {"https": {"workers": workers}})
    with archives.serving(home) as running:
        client = web.client_of(running, running.add_token("everything"))
        samples = storable_samples()
        taken = store(client, samples)
        yield ServedSamples(running, client, [sample for sample in samples if sample.instance in taken])
