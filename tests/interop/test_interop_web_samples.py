"""Every public sample of pydicom: in by STOW-RS, out by WADO-RS bit by bit, and its metadata as pydicom reads it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue

from harness import archives, web
from harness.archives import RunningArchive
from harness.sample_rounds import EXPECTED_FILES, Sample, documented, in_rounds, read
from harness.samples import SAMPLES_ROOT, sample_files
from harness.samples_archive import read_quietly
from harness.web import DICOM_JSON, WebClient

AS_STORED = "application/dicom; transfer-syntax=*"
PREAMBLE_BYTES = 132
SPECIFIC_CHARACTER_SET = 0x00080005
UNREADABLE = {"test_files/badVR.dcm"}
"""A value that is no number by its VR, which metadata says as it is and pydicom refuses to load from JSON."""


@dataclass
class Outcome:
    """What became of the files, by name."""

    refused: dict[str, str] = field(default_factory=dict)
    retrieved: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    bulkdata: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By name and URI."""


def run_round(running: RunningArchive, client: WebClient, samples: list[Sample], outcome: Outcome) -> None:
    """Store files that do not contradict each other in one request, and ask for each again."""
    files = [(SAMPLES_ROOT / each.name).read_bytes() for each in samples]
    headers, body = web.multipart([("application/dicom", file) for file in files])
    answer = client.request("POST", "/studies", {**headers, "Accept": DICOM_JSON}, body)
    assert answer.media_type == DICOM_JSON, answer.content
    taken = {item["00081155"]["Value"][0] for item in answer.json.get("00081199", {}).get("Value", ())}
    for each in samples:
        if each.sop_instance not in taken:
            outcome.refused[each.name] = "refused"
            continue
        url = f"/studies/{each.study}/series/{each.series}/instances/{each.sop_instance}"
        outcome.retrieved[each.name] = client.get(url, AS_STORED).content
        (outcome.metadata[each.name],) = client.get(f"{url}/metadata", DICOM_JSON).json
        for uri in bulkdata_uris(outcome.metadata[each.name]):
            path = uri.removeprefix(client.base_url)
            assert path != uri, "a bulk data URI lies below the root that the client called"
            fetched = client.get(path, 'multipart/related; type="application/octet-stream"')
            if fetched.status == 200:
                outcome.bulkdata[each.name, uri] = b"".join(part for _, part in fetched.parts)

    for study in {each.study for each in samples if each.name in outcome.retrieved}:
        running.delete_study(study)


def bulkdata_uris(dataset: dict[str, Any]) -> Iterator[str]:
    for attribute in dataset.values():
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"]
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", ()):
                yield from bulkdata_uris(item)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [read(path) for path in sample_files()]


@pytest.fixture(scope="module")
def outcome(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One archive for all rounds; what was stored in one is deleted before the next."""
    outcome = Outcome()
    home = archives.new_home(
        tmp_path_factory.mktemp("web") / "home", {"https": {"workers": 1}, "dicom": {"workers": 1}}
    )
    with archives.serving(home) as running:
        client = replace(web.client_of(running, running.add_token("everything")), keeps_alive=True)
        with closing(client):
            for members in in_rounds(samples):
                run_round(running, client, members, outcome)
    return outcome


def test_what_is_stored_over_dimse_is_stored_over_https(samples: list[Sample], outcome: Outcome) -> None:
    assert len(samples) == EXPECTED_FILES
    assert set(outcome.refused) == set(documented())


def test_every_file_comes_back_bit_by_bit(samples: list[Sample], outcome: Outcome) -> None:
    wrong = []
    for each in samples:
        if each.name not in outcome.refused:
            file = outcome.retrieved[each.name]
            same = file.endswith(each.data) and file[PREAMBLE_BYTES - 4 : PREAMBLE_BYTES] == b"DICM"
            syntax = read_quietly(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
            if not same or syntax != each.transfer_syntax:
                wrong.append(each.name)
    assert wrong == []


def test_metadata_is_what_pydicom_reads_in_the_file(samples: list[Sample], outcome: Outcome) -> None:
    wrong: dict[str, list[str]] = {}
    for each in samples:
        if each.name in outcome.refused or each.name in UNREADABLE:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Dataset.from_json(
                outcome.metadata[each.name], lambda _tag, _vr, uri, name=each.name: outcome.bulkdata.get((name, uri))
            )
            file = pydicom.dcmread(SAMPLES_ROOT / each.name, force=True)
            if "PixelData" in file:
                # Bulk data is in little endian, and compressed frames are without what stands between them.
                file.PixelData = pixel_data(file)
            different = differences(file, found)
        if different:
            wrong[each.name] = different
    assert wrong == {}


def differences(file: Dataset, found: Dataset, path: str = "") -> list[str]:
    """What of a file its metadata does not say, or says otherwise."""
    left = {element.tag: element for element in file if element.tag.element}
    right = {element.tag: element for element in found}
    different = [f"{path}{tag} only in the {'file' if tag in left else 'metadata'}" for tag in left.keys() ^ right]
    for tag in left.keys() & right:
        one, other = left[tag], right[tag]
        if one.VR == "SQ" and other.VR == "SQ":
            for number, (item, its) in enumerate(zip(one.value, other.value, strict=True)):
                different += differences(item, its, f"{path}{tag}[{number}].")
        elif not is_explained(one, other) and values(one) != values(other):
            different.append(f"{path}{tag} {one.VR}/{other.VR} {one.value!r:.60} {other.value!r:.60}")
    return different


def is_explained(one: DataElement, other: DataElement) -> bool:
    """Whether two elements may differ: by the character set of JSON, or by what pydicom knows of private elements."""
    return one.tag == SPECIFIC_CHARACTER_SET or (one.tag.is_private and other.VR == "UN" != one.VR)


def pixel_data(file: FileDataset) -> bytes:
    """Pixel data as its bulk data has to be."""
    if file.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = generate_frames(file.PixelData, number_of_frames=int(file.get("NumberOfFrames", 1) or 1))
        return b"".join(frames)
    if not file.file_meta.TransferSyntaxUID.is_little_endian and file["PixelData"].VR == "OW":
        return np.frombuffer(file.PixelData, f"<u{max(2, file.BitsAllocated // 8)}").byteswap().tobytes()
    return bytes(file.PixelData)


def values(element: DataElement) -> list[Any]:
    """Values in a form in which the same are equal."""
    value = element.value
    if value is None or value == "" or value == b"":
        return []
    listed = list(value) if isinstance(value, MultiValue | list) else [value]
    return [normal(each) for each in listed]


def normal(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    if isinstance(value, str):
        return value.rstrip("\0 ")
    return value
