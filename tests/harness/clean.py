"""Images with nothing hidden, thousands of them: pixels of every kind and coding, and what real writers put beside."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from harness.hidden import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    PIXEL_DATA,
    RLE,
    DataSet,
    Fragments,
    encode,
    file_of,
    image,
    us,
)

Pixels = NDArray[Any]
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
SIZES = ((64, 64), (48, 80), (128, 96), (33, 57), (256, 256))


@dataclass(frozen=True)
class Clean:
    """One image: what it is, and its file."""

    name: str
    data: bytes


# -- pixels


def _noise(random: np.random.Generator, shape: tuple[int, ...], kind: type) -> Pixels:
    return random.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def _anatomy(random: np.random.Generator, shape: tuple[int, ...], kind: type) -> Pixels:
    rows, columns = shape[:2]
    down, across = np.mgrid[:rows, :columns]
    top = min(np.iinfo(kind).max, 4095)
    at = random.uniform(0.3, 0.7, 2) * (rows, columns)
    body = ((down - at[0]) / rows) ** 2 + ((across - at[1]) / columns) ** 2 < random.uniform(0.05, 0.2)
    flat = np.clip(body * top * 0.6 + random.normal(0, top / 60, (rows, columns)), 0, top)
    return (flat[..., None].repeat(shape[2], 2) if len(shape) == 3 else flat).astype(kind)


def _ramp(random: np.random.Generator, shape: tuple[int, ...], kind: type) -> Pixels:
    step = int(random.integers(1, 9))
    return (np.arange(int(np.prod(shape))) * step).reshape(shape).astype(kind)


def _constant(random: np.random.Generator, shape: tuple[int, ...], kind: type) -> Pixels:
    return np.full(shape, random.integers(0, 256), kind)


KINDS = (_noise, _anatomy, _ramp, _constant)


# -- codings


def _rle(pixels: Pixels) -> bytes:
    """Segments of literal and replicate runs, the most significant byte first (PS3.5 G)."""
    flat = pixels.reshape(pixels.shape[0], pixels.shape[1], -1)
    planes = [
        np.ascontiguousarray(flat[..., sample]).view(np.uint8).reshape(*flat.shape[:2], -1)[..., byte]
        for sample in range(flat.shape[2])
        for byte in reversed(range(pixels.itemsize))
    ]
    segments = [_packed(plane) for plane in planes]
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)


def _packed(plane: Pixels) -> bytes:
    packed = b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in plane)
    return packed + b"\0" * (len(packed) & 1)


@cache
def icc_profile() -> bytes:
    """A real profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _jpeg(pixels: Pixels, random: np.random.Generator) -> bytes:
    out = BytesIO()
    options: dict[str, Any] = {}
    if random.random() < 0.3:
        options["comment"] = b"Written by a modality, quality 90"
    if random.random() < 0.3:
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "VENDOR", "MODEL 3"
        options["exif"] = exif
    if random.random() < 0.3:
        options["icc_profile"] = icc_profile()
    Image.fromarray(pixels).save(out, "JPEG", quality=int(random.integers(50, 96)), **options)
    return out.getvalue()


def _jpeg_2000(pixels: Pixels, random: np.random.Generator) -> bytes:
    boxes = random.random() < 0.3
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="jp2" if boxes else "j2k", reversible=True))


CODINGS: dict[str, tuple[str, Callable[[Pixels, np.random.Generator], bytes], bool]] = {
    "RLE": (RLE, lambda pixels, random: _rle(pixels), True),
    "JPEG": (JPEG, _jpeg, False),
    "JPEG lossless": (JPEG_LOSSLESS, lambda pixels, random: bytes(imagecodecs.ljpeg_encode(pixels)), True),
    "JPEG-LS": (
        JPEG_LS,
        lambda pixels, random: bytes(jpeg_ls.encode_array(pixels, interleave_mode=2 * (pixels.ndim == 3))),
        True,
    ),
    "JPEG 2000": (JPEG_2000, _jpeg_2000, True),
}
"""Transfer syntax, encoder, and whether it takes 16 bits."""
NATIVE = (EXPLICIT, IMPLICIT, BIG, DEFLATED)


# -- files


def clean_images(number: int, seed: int = 4) -> Iterator[Clean]:
    """That many images, the same ones for the same seed, made one at a time."""
    codings = [*CODINGS, *NATIVE]
    for index in range(number):
        random = np.random.default_rng((seed, index))
        yield _one(codings[index % len(codings)], random)


def _one(coding: str, random: np.random.Generator) -> Clean:
    takes_16 = coding not in CODINGS or CODINGS[coding][2]
    kind: type = np.uint16 if takes_16 and random.random() < 0.6 else np.uint8
    colour = kind is np.uint8 and coding != "JPEG lossless" and random.random() < 0.3
    size = SIZES[int(random.integers(len(SIZES)))]
    drawn = KINDS[int(random.integers(len(KINDS)))]
    frames = 1 if random.random() < 0.7 else int(random.integers(2, 5))
    each = [drawn(random, (*size, 3) if colour else size, kind) for _ in range(frames)]
    data_set = _described(each[0], frames, colour=colour) | _beside(random)
    preamble = _dual_personality(len(each[0].tobytes())) if random.random() < 0.05 else b""
    name = f"{coding} {kind.__name__}{' colour' if colour else ''} {drawn.__name__[1:]} {size} x{frames}"
    if coding in CODINGS:
        syntax, encoder, _ = CODINGS[coding]
        items = [encoder(pixels, random) for pixels in each]
        data_set[PIXEL_DATA] = ("OB", _fragments(items, random))
        return Clean(name, file_of(encode(data_set, undefined=random.random() < 0.5), syntax, preamble=preamble))
    data_set[PIXEL_DATA] = ("OW" if kind is np.uint16 else "OB", b"".join(pixels.tobytes() for pixels in each))
    body = encode(data_set, explicit=coding != IMPLICIT, big=coding == BIG, undefined=random.random() < 0.5)
    if coding == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) & 1)
    return Clean(name, file_of(body, coding, preamble=preamble))


def _described(pixels: Pixels, frames: int, *, colour: bool) -> DataSet:
    bits = pixels.itemsize * 8
    described = image(b"", frames=frames, photometric=b"RGB" if colour else b"MONOCHROME2") | {
        0x00280010: ("US", us(pixels.shape[0])),
        0x00280011: ("US", us(pixels.shape[1])),
        0x00280100: ("US", us(bits)),
        0x00280101: ("US", us(bits)),
        0x00280102: ("US", us(bits - 1)),
    }
    if colour:
        described |= {0x00280002: ("US", us(3)), 0x00280006: ("US", us(0))}
    return described


def _fragments(items: list[bytes], random: np.random.Generator) -> Fragments:
    """With an offset table or with an empty one, as both are found."""
    even = [item + b"\0" * (len(item) & 1) for item in items]
    if random.random() < 0.5:
        return Fragments((b"", *even))
    offsets = [sum(len(item) + 8 for item in even[:number]) for number in range(len(even))]
    return Fragments((struct.pack(f"<{len(offsets)}L", *offsets), *even))


def _beside(random: np.random.Generator) -> DataSet:
    """What stands beside pixels in real files: free text, vendor's blobs, look-up tables, icons, profiles."""
    extra: DataSet = {}
    if random.random() < 0.5:
        extra[0x00204000] = ("LT", b"Follow-up in 6 months; compare with 2023. 5 < 10 mm, see report (page 2).\r\n")
    if random.random() < 0.4:
        blob = random.bytes(int(random.integers(2, 20000)))
        extra |= {0x00290010: ("LO", b"SIEMENS CSA HEADER"), 0x00291010: ("OB", b"SV10\4\3\2\1" + blob)}
    if random.random() < 0.2:
        extra |= {0x00430010: ("LO", b"GEMS_PARM_01"), 0x00431029: ("OB", zlib.compress(random.bytes(500)))}
    if random.random() < 0.2:
        extra |= {0x20050010: ("LO", b"Philips MR Imaging DD 001"), 0x20051100: ("LT", b"scan:t1 <tra> 3/5\r\n" * 9)}
    if random.random() < 0.2:
        extra[0x00282000] = ("OB", icc_profile())
    if random.random() < 0.2:
        ramp = np.linspace(0, 65535, 256).astype("<u2")
        table: DataSet = {0x00283002: ("US", us(256, 0, 16)), 0x00283006: ("OW", ramp.tobytes())}
        extra[0x00283010] = ("SQ", [table])
    if random.random() < 0.2:
        icon = image(random.bytes(32 * 32)) | {0x00280010: ("US", us(32)), 0x00280011: ("US", us(32))}
        extra[0x00880200] = ("SQ", [{tag: each for tag, each in icon.items() if tag >> 16 in (0x0028, 0x7FE0)}])
    if random.random() < 0.2:
        extra |= {
            0x60000010: ("US", us(32)), 0x60000011: ("US", us(32)), 0x60000040: ("CS", b"G"),
            0x60000050: ("SS", us(1, 1)), 0x60000100: ("US", us(1)), 0x60000102: ("US", us(0)),
            0x60003000: ("OW", random.bytes(128)),
        }  # fmt: skip
    if random.random() < 0.1:
        extra[0xFFFCFFFC] = ("OB", bytes(int(random.integers(1, 500)) * 2))
    return extra


def _dual_personality(frame_bytes: int) -> bytes:
    """A TIFF header whose directory lies behind everything: as the pydicom samples have it."""
    return b"II*\0" + struct.pack("<L", 128 + frame_bytes)
