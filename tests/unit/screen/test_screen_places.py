"""Where a byte stands: the same answer however small the windows are through which a data set is seen."""

from __future__ import annotations

import random
import zlib

import pydicom
import pytest

from harness import hidden
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.screen.places import Places

DEFLATED = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1.99"]
DATA_SET = hidden.encode(hidden.image() | {0x00290010: ("LO", b"VENDOR"), 0x00291010: ("OB", b"hidden here!")})


def seen(data: bytes, window: int, overlap: int, wanted: bytes) -> set[str]:
    places, base, found = Places(None), 0, set[str]()
    while True:
        part = data[base : base + window]
        is_last = base + window >= len(data)
        places.show(part, base, is_last=is_last)
        at = part.find(wanted)
        if at >= 0:
            found.add(places.path_at(base + at))
        if is_last:
            return found
        base += window - overlap


@pytest.mark.parametrize("window", [1 << 20, 4096, 999, 700])
def test_a_byte_has_the_path_of_its_element(window: int) -> None:
    data = hidden.file_of(DATA_SET)
    assert seen(data, window, 512, b"hidden here!") == {"(0029,1010)"}


def test_items_and_fragments_are_counted() -> None:
    data_set = pydicom.Dataset()
    inner = [pydicom.Dataset() for _ in range(3)]
    inner[1].ImageComments = "wanted"
    data_set.ReferencedImageSequence = inner
    data_set.StudyID = "after"
    raw = _written(data_set)
    places = Places(TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"])
    places.show(raw, 0, is_last=True)
    assert places.path_at(raw.index(b"wanted")) == "(0008,1140)[2].(0020,4000)"
    assert places.path_at(raw.index(b"after")) == "(0020,0010)"


def _written(data_set: pydicom.Dataset) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    pydicom.filewriter.write_dataset(buffer, data_set)
    return buffer.getvalue()


def test_preamble_meta_and_what_is_behind_have_names() -> None:
    data = hidden.file_of(DATA_SET) + b"\xff\xff\xff\xffZZ\xff\xff behind"
    places = Places(None)
    places.show(data, 0, is_last=True)
    assert places.path_at(3) == "preamble"
    assert places.path_at(140) == "file meta information"
    assert places.path_at(len(data) - 1) == "trailing"


def test_what_is_deflated_and_what_is_no_data_set_is_said_to_be() -> None:
    places = Places(DEFLATED)
    places.show(zlib.compress(DATA_SET, wbits=-15), 0, is_last=True)
    assert places.path_at(40) == "deflated"
    places = Places(None)
    places.show(random.Random(3).randbytes(5000), 0, is_last=True)
    assert places.path_at(40) == "file"
