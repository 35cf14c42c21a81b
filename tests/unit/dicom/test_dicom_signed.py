"""Noticing signatures as bytes pass: never missed, whatever the chunks, and not looked for behind pixel data."""

from __future__ import annotations

import pytest

from harness.ingesting import element
from harness.signing import item, mac_item, sequence
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import HeaderScan
from strongroom.dicom.signed import SignatureSpotter

EXPLICIT = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
BIG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.2"]
DEFLATED = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1.99"]
NAME = element(0x00100010, "PN", "Doe^Jane")
PARAMETERS = sequence(0x4FFE0001, mac_item([0x00100010]))
PIXELS = element(0x7FE00010, "OW", bytes(5000))


def spotted(data: bytes, chunk: int) -> bool:
    """What is noticed of a data set that arrives in chunks."""
    scan, spotter = HeaderScan(EXPLICIT, frozenset({0x0020000D})), SignatureSpotter(EXPLICIT)
    for start in range(0, len(data), chunk):
        piece = memoryview(data)[start : start + chunk]
        scan.feed(piece)
        spotter.feed(piece, scan.pixel_data_offset)
    return spotter.found


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64, 100_000])
def test_found_at_every_level_and_in_every_chunking(chunk: int) -> None:
    assert spotted(NAME + PARAMETERS + PIXELS, chunk)
    assert spotted(sequence(0x00081115, item(NAME, PARAMETERS)) + PIXELS, chunk)
    assert not spotted(NAME + PIXELS, chunk)


@pytest.mark.parametrize("chunk", [1, 64, 100_000])
def test_nothing_is_looked_for_behind_the_beginning_of_pixel_data(chunk: int) -> None:
    pixels = element(0x7FE00010, "OW", b"\xfe\x4f\x01\x00" * 1000)
    assert not spotted(NAME + pixels, chunk)
    assert spotted(element(0x00204000, "LT", b"\xfe\x4f\x01\x00") + pixels, chunk)


def test_other_encodings() -> None:
    spotter = SignatureSpotter(BIG)
    spotter.feed(b"....\x4f\xfe\x00", None)
    assert not spotter.found
    spotter.feed(b"\x01....", None)
    assert spotter.found
    assert SignatureSpotter(DEFLATED).found
