"""Disarming the corpus: every copy is clean, has the same pixels and attributes, and opens elsewhere no worse."""

from __future__ import annotations

import re
import subprocess
import warnings
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from harness import hidden
from harness.clean import clean_images
from harness.hidden import Case
from harness.samples import sample_files
from strongroom.dicom.stream import Read
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.screen.disarm import CLEAN_BELOW, Disarmed, disarm
from strongroom.screen.screening import screen_bytes

REFUSED_SURFACES = {
    "as pixels",
    "encapsulated document",
    "encapsulated document, generic",
    "modality LUT",
    "palette",
    "spectroscopy",
    "waveform",
    "waveform padding",
}
"""There what is hidden is what the object is about."""


MOVED = {"at its place in the file"}
"""A disk image that is one only where it stands: what is before it has another length in the copy."""


def reading(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


def disarmed(data: bytes) -> tuple[Disarmed, bytes]:
    made = disarm(reading(data), len(data))
    return made, b"".join(made.pieces())


def parsed(data: bytes) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(data), force=True)


def pixels(data: bytes) -> Any:
    """The pixels as pydicom decodes them, None if it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pixel_array(parsed(data))
        except Exception:
            return None


def flat(data_set: pydicom.Dataset, path: str = "") -> dict[str, Any]:
    """Every value that is no sequence, by path; without group lengths and pixel data, which are compared otherwise."""
    found: dict[str, Any] = {}
    for tag in list(data_set.keys()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                element = data_set[tag]
        except NotImplementedError:  # bytes behind the data set, which pydicom takes for elements
            continue
        place = f"{path}({element.tag.group:04X},{element.tag.element:04X})"
        if element.VR == "SQ":
            for number, item in enumerate(element.value, 1):
                found |= flat(item, f"{place}[{number}].")
        elif element.tag.element and element.tag != 0x7FE00010:
            found[place] = element.value
    return found


def is_listed(path: str, removed: set[str]) -> bool:
    """Whether it, or what it stands in, was removed."""
    return any(path == each or path.startswith(f"{each}[") for each in removed)


@cache
def chosen() -> tuple[Case, ...]:
    """One case for each place, of a different format each time."""
    by_surface: dict[str, list[Case]] = {}
    for case in hidden.cases():
        by_surface.setdefault(case.surface, []).append(case)
    return tuple(cases[number % len(cases)] for number, cases in enumerate(by_surface.values()))


def test_every_case_is_made_clean_or_refused_in_words() -> None:
    """What is refused stands in what the object is about; all else becomes a copy that no rule finds fault with."""
    wrong: list[tuple[str, str]] = []
    for case in hidden.cases():
        data = case.make()
        try:
            made, copy = disarmed(data)
        except Refused as error:
            if error.reason != "payload-in-object" or case.surface not in REFUSED_SURFACES:
                wrong.append((case.name, str(error)))
            continue
        if screen_bytes(copy).at_least(CLEAN_BELOW):
            wrong.append((case.name, "not clean"))
        if made.before.at_least(CLEAN_BELOW) and not made.removed and case.surface not in MOVED:
            wrong.append((case.name, "nothing is listed"))
    assert wrong == []


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.surface)
def test_a_copy_has_the_same_pixels_and_attributes(case: Case) -> None:
    data = case.make()
    if case.surface in REFUSED_SURFACES:
        with pytest.raises(Refused, match="another object"):
            disarmed(data)
        return
    made, copy = disarmed(data)
    assert data == case.make()
    removed = {each.path for each in made.removed}
    after = flat(parsed(copy))
    kept = {path: value for path, value in flat(parsed(data)).items() if not is_listed(path, removed)}
    if case.surface != "trailing bytes":  # some of which pydicom takes for elements
        assert {path for path in kept if path not in after} == set()
    assert {path: value for path, value in kept.items() if path in after and after[path] != value} == {}
    expected = pixels(data)
    if expected is not None:
        assert np.array_equal(expected, pixels(copy))


def test_what_was_removed_is_named_with_its_digest() -> None:
    data = hidden.BINARY_SURFACES["private OB"](b"MZ" + bytes(100)) + b"behind"
    made, _ = disarmed(data)
    for each in made.removed:
        assert each.sha256 == sha256(data[each.offset : each.offset + each.length]).hexdigest()
    assert ("trailing", 6) in {(each.path, each.length) for each in made.removed}


def test_public_samples_come_out_the_same_but_for_what_is_listed() -> None:
    refused = []
    for path in sample_files():
        data = path.read_bytes()
        try:
            made, copy = disarmed(data)
        except (Refused, MalformedDataset, LimitExceeded) as error:
            refused.append(f"{path.name}: {error}")
            continue
        assert not screen_bytes(copy).at_least(CLEAN_BELOW), path.name
        expected, found = pixels(data), pixels(copy)
        if expected is not None:
            assert np.array_equal(expected, found), path.name
        removed = {each.path for each in made.removed}
        before = flat(parsed(data))
        after = flat(parsed(copy))
        changed = {
            place for place, value in before.items() if not is_listed(place, removed) and after.get(place) != value
        }
        assert changed == set(), path.name
    assert len(refused) <= 60, refused


def test_clean_images_come_out_with_the_same_pixels() -> None:
    for image in clean_images(90, seed=5):
        _, copy = disarmed(image.data)
        assert np.array_equal(pixels(image.data), pixels(copy)), image.name


# -- other software


def complaints(file: Path) -> set[str]:
    """What dciodvfy says is wrong."""
    said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, errors="replace", check=False).stderr
    lines = (re.sub(r"\s+", " ", line) for line in said.splitlines())
    return {line for line in lines if line.startswith(("Error", "Warning"))}


@pytest.mark.interop
@pytest.mark.skipif(which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.surface)
def test_dciodvfy_says_no_more_of_the_copy(case: Case, tmp_path: Path) -> None:
    data = case.make()
    try:
        _, copy = disarmed(data)
    except Refused:
        return
    (tmp_path / "before.dcm").write_bytes(data)
    (tmp_path / "after.dcm").write_bytes(copy)
    assert complaints(tmp_path / "after.dcm") <= complaints(tmp_path / "before.dcm")


@pytest.mark.interop
@pytest.mark.skipif(which("dcmftest") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.surface)
def test_dcmtk_opens_the_copy(case: Case, tmp_path: Path) -> None:
    try:
        _, copy = disarmed(case.make())
    except Refused:
        return
    file = tmp_path / "after.dcm"
    file.write_bytes(copy)
    assert subprocess.run(["dcmftest", file], capture_output=True, check=False).returncode == 0
    dumped = subprocess.run(["dcmdump", "-q", file], capture_output=True, text=True, errors="replace", check=False)
    assert dumped.returncode == 0, dumped.stderr
    assert dumped.stderr == ""
