"""Pixels of samples as pydicom decodes and shows them, and objects with pixels made for a test."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from strongroom.dicom.part10 import encode_file_meta, parse_file_header

Array = NDArray[Any]


@dataclass(frozen=True)
class Held:
    """The bytes of a data set, read as a stored object is."""

    raw: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.raw)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``."""
        return self.raw[offset : offset + length]


def held(path: Path) -> tuple[Held, str]:
    """The data set of a file, and its transfer syntax."""
    raw = path.read_bytes()
    header = parse_file_header(raw[:65536])
    return Held(raw[header.data_set_offset :]), header.transfer_syntax


def reread(data_set: bytes, transfer_syntax: str, of: pydicom.Dataset) -> pydicom.Dataset:
    """A data set that was made of ``of``, as pydicom reads it."""
    meta = encode_file_meta(str(of.SOPClassUID), str(of.SOPInstanceUID), transfer_syntax, "1.2.3", "TEST")
    return pydicom.dcmread(BytesIO(meta + data_set))


def decoded(dataset: pydicom.Dataset, **options: Any) -> Array:
    """The pixels as pydicom decodes them, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pixel_array(dataset, **options)


def shown(dataset: pydicom.Dataset) -> Array:
    """The representative frame as a display shows it, by pydicom's own functions: the middle one of several."""
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    array = decoded(dataset, index=(frames + 1) // 2 - 1)
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(array, dataset)
        return colours if colours.dtype.itemsize == 1 else colours >> 8
    if not photometric.startswith("MONOCHROME"):
        return array if array.dtype.itemsize == 1 else array >> (dataset.BitsStored - 8)
    level = np.clip(_levels(array, dataset), 0.0, 1.0)
    return np.rint((1.0 - level if photometric == "MONOCHROME1" else level) * 255.0)


def _levels(array: Array, dataset: pydicom.Dataset) -> Array:
    values = apply_modality_lut(array, dataset).astype(float)
    if "VOILUTSequence" in dataset:
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return apply_voi_lut(apply_modality_lut(array, dataset), dataset).astype(float) / (2**bits - 1)
    if "WindowWidth" not in dataset:
        kept = values[array != dataset.PixelPaddingValue] if "PixelPaddingValue" in dataset else values
        kept = kept if kept.size else values
        return (values - kept.min()) / ((kept.max() - kept.min()) or 1)
    low = -(1 << dataset.BitsStored - 1) if dataset.PixelRepresentation else 0
    high = low + (1 << dataset.BitsStored) - 1
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    out = apply_voi_lut(apply_modality_lut(array, dataset), dataset).astype(float)
    return (out - (low * slope + intercept)) / ((high - low) * slope)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian."""
    value += (b"\0" if vr in (b"UI", b"OB", b"OW") else b" ") * (len(value) & 1)
    head = pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return head + pack("<HL", 0, len(value)) + value
    return head + pack("<H", len(value)) + value


def short(tag: int, value: int) -> bytes:
    """One element of VR US."""
    return element(tag, b"US", pack("<H", value))


def image_header(rows: int, columns: int, **more: Any) -> bytes:
    """The attributes of an image; ``more`` is samples, photometric, frames, allocated, stored, signed, extra."""
    allocated = more.get("allocated", 8)
    stored = more.get("stored", allocated)
    parts = [
        more.get("before", b""),
        short(0x00280002, more.get("samples", 1)),
        element(0x00280004, b"CS", more.get("photometric", "MONOCHROME2").encode()),
        short(0x00280006, more.get("planar", 0)) if more.get("samples", 1) > 1 else b"",
        element(0x00280008, b"IS", str(more["frames"]).encode()) if "frames" in more else b"",
        short(0x00280010, rows),
        short(0x00280011, columns),
        short(0x00280100, allocated),
        short(0x00280101, stored),
        short(0x00280102, more.get("high_bit", stored - 1)),
        short(0x00280103, more.get("signed", 0)),
        more.get("extra", b""),
    ]
    return b"".join(parts)


def native(rows: int, columns: int, pixels: bytes, **more: Any) -> Held:
    """An object with native pixel data."""
    vr = b"OW" if more.get("allocated", 8) > 8 else b"OB"
    return Held(image_header(rows, columns, **more) + element(0x7FE00010, vr, pixels))


def encapsulated(rows: int, columns: int, *frames: bytes, **more: Any) -> Held:
    """An object with a fragment for each frame."""
    fragments = b"".join(
        pack("<HHL", 0xFFFE, 0xE000, len(frame) + (len(frame) & 1)) + frame + b"\0" * (len(frame) & 1)
        for frame in (b"", *frames)
    )
    head = pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return Held(image_header(rows, columns, **more) + head + fragments + pack("<HHL", 0xFFFE, 0xE0DD, 0))
