"""The grey and colour pipelines, each step by numbers of the standard (PS3.3 C.7.6.3, C.7.9.2, C.11.2)."""

from __future__ import annotations

from struct import pack
from typing import Any

import numpy as np
import pytest

from harness.pixels import Array, Held, element, native, short
from strongroom.errors import MalformedDataset, NotRepresentable
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.codecs import decode_frame
from strongroom.pixels.grayscale import to_display
from strongroom.pixels.image import StoredImage
from strongroom.pixels.rendering import Window, WindowFunction
from strongroom.pixels.wire import PixelLimits

RAMP = bytes(range(16))


def displayed(source: Held, window: Window | None = None, number: int = 1) -> Array:
    image = StoredImage(source.read, source.size, uid.EXPLICIT, PixelLimits())
    array, form = decode_frame(image, number)
    return to_display(array, form, image, number, window)


def row(*values: int, **more: Any) -> list[int]:
    kind = "<i2" if more.get("signed") else "<u2"
    window = more.pop("window", None)
    source = native(1, len(values), np.array(values, kind).tobytes(), allocated=16, **more)
    return displayed(source, window)[0].tolist()


def windowed(center: str, width: str, function: str = "") -> bytes:
    voi = element(0x00281056, b"CS", function.encode()) if function else b""
    return element(0x00281050, b"DS", center.encode()) + element(0x00281051, b"DS", width.encode()) + voi


def test_without_a_window_it_goes_from_least_to_greatest() -> None:
    assert row(100, 150, 200) == [0, 128, 255]
    assert row(7, 7) == [0, 0]


def test_padding_is_no_value() -> None:
    assert row(0, 100, 200, extra=short(0x00280120, 0)) == [0, 0, 255]
    limited = short(0x00280120, 0) + short(0x00280121, 50)
    assert row(0, 50, 100, 200, extra=limited) == [0, 0, 0, 255]
    assert row(-2000, 0, 100, signed=1, extra=element(0x00280120, b"SS", pack("<h", -2000))) == [0, 0, 255]


@pytest.mark.parametrize(
    ("function", "values", "wanted"),
    [
        # C.11.2.1.2.1: at c-0.5-(w-1)/2 least, at c-0.5+(w-1)/2 greatest
        ("LINEAR", (0, 100, 200, 300), [0, 0, 129, 255]),
        ("LINEAR_EXACT", (0, 100, 200, 300), [0, 0, 128, 255]),
        ("SIGMOID", (0, 200, 400), [5, 128, 250]),
    ],
)
def test_the_functions_of_a_window(function: str, values: tuple[int, ...], wanted: list[int]) -> None:
    found = row(*values, extra=windowed("200", "200", function))
    assert np.allclose(found, wanted, atol=1)
    chosen = WindowFunction(function.lower().replace("_", "-"))
    assert row(*values, window=Window(200, 200, chosen)) == found


def test_a_window_of_width_one_is_a_threshold() -> None:
    assert row(9, 10, 11, window=Window(10, 1)) == [0, 255, 255]


def test_rescale_comes_before_the_window() -> None:
    rescale = element(0x00281052, b"DS", b"-1024") + element(0x00281053, b"DS", b"2")
    assert row(512, 612, extra=rescale, window=Window(100.5, 201, WindowFunction.LINEAR)) == [0, 255]


def test_monochrome_1_and_an_inverse_shape_are_bright_where_low() -> None:
    assert row(0, 255, photometric="MONOCHROME1") == [255, 0]
    assert row(0, 255, extra=element(0x20500020, b"CS", b"INVERSE")) == [255, 0]


def sequence(tag: int, item: bytes) -> bytes:
    return element(tag, b"SQ", pack("<HHL", 0xFFFE, 0xE000, len(item)) + item)


def lut(first: int, bits: int, entries: list[int]) -> bytes:
    descriptor = element(0x00283002, b"US", pack("<HHH", len(entries), first, bits))
    return descriptor + element(0x00283006, b"OW", np.array(entries, "<u2").tobytes())


def test_modality_and_voi_tables() -> None:
    modality = sequence(0x00283000, lut(1, 16, [10, 20, 30]))
    assert row(0, 1, 2, 3, 9, extra=modality, window=Window(20.5, 21)) == [0, 0, 128, 255, 255]
    voi = sequence(0x00283010, lut(1, 12, [0, 4095, 2048]))
    assert row(0, 1, 2, 3, 9, extra=voi) == [0, 0, 255, 128, 128]
    with pytest.raises(MalformedDataset):
        row(0, extra=sequence(0x00283010, lut(1, 12, [])))


def test_signed_values_and_what_is_beside_the_bits_stored() -> None:
    assert row(-2, 0, 2, signed=1) == [0, 128, 255]
    # 12 bits stored, 1 of an old overlay above them
    assert row(0x1000, 0x0800, 0x1FFF, stored=12) == [0, 128, 255]
    assert row(0x0F00, 0x0000, 0x0080, stored=8, high_bit=11) == [255, 0, round(8 / 240 * 255)]


def test_32_bits() -> None:
    source = native(1, 3, np.array([0, 2**31, 2**32 - 1], "<u4").tobytes(), allocated=32)
    assert displayed(source)[0].tolist() == [0, 128, 255]


def test_single_bits() -> None:
    # 3 x 3: the second frame begins within a byte
    bits = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0]
    source = native(3, 3, np.packbits(bits, bitorder="little").tobytes(), allocated=1, frames=2)
    assert displayed(source, number=2).tolist() == [[0, 255, 0], [255, 255, 255], [0, 255, 0]]
    assert displayed(native(1, 8, b"\xff", allocated=1)).tolist() == [[255] * 8]


def test_colour() -> None:
    red_blue = bytes((255, 0, 0, 0, 0, 255))
    assert displayed(native(1, 2, red_blue, samples=3, photometric="RGB")).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    planes = bytes((255, 0, 0, 0, 0, 255))
    planar = native(1, 2, planes, samples=3, photometric="RGB", planar=1)
    assert displayed(planar).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    ybr = native(1, 1, bytes((76, 85, 255)), samples=3, photometric="YBR_FULL")
    assert np.allclose(displayed(ybr)[0, 0], (254, 0, 0), atol=1)
    halved = native(1, 2, bytes((76, 149, 85, 255)), samples=3, photometric="YBR_FULL_422")
    assert displayed(halved).shape == (1, 2, 3)
    deep = native(1, 1, np.array([0xFFFF, 0, 0x8000], "<u2").tobytes(), samples=3, photometric="RGB", allocated=16)
    assert displayed(deep).tolist() == [[[255, 0, 128]]]
    with pytest.raises(NotRepresentable):
        displayed(native(1, 1, bytes(3), samples=3, photometric="HSV"))


def palette(bits: int, *tables: list[int], segmented: bool = False) -> bytes:
    out = b""
    entries = 4 if segmented else len(tables[0])
    for index in range(3):
        out += element(0x00281101 + index, b"US", pack("<HHH", entries, 0, bits))
    for index, table in enumerate(tables):
        out += element((0x00281221 if segmented else 0x00281201) + index, b"OW", np.array(table, "<u2").tobytes())
    return out


def test_palettes() -> None:
    colours = palette(16, [0, 0xFFFF, 0, 0], [0, 0, 0x8000, 0], [0, 0, 0, 0x40FF])
    source = native(1, 4, bytes((1, 2, 3, 9)), photometric="PALETTE COLOR", extra=colours)
    assert displayed(source).tolist() == [[[255, 0, 0], [0, 128, 0], [0, 0, 64], [0, 0, 64]]]
    # a discrete segment of one entry, and a ramp of three to the last value
    ramp = [0, 1, 0, 1, 3, 0xFF00]
    segments = palette(16, ramp, ramp, ramp, segmented=True)
    stepped = native(1, 4, bytes((0, 1, 2, 3)), photometric="PALETTE COLOR", extra=segments)
    assert displayed(stepped)[0, :, 0].tolist() == [0, 85, 170, 255]


@pytest.mark.parametrize("segments", [[2, 1, 0, 0], [9, 1, 1], [1, 2], [0, 0xFFFF] + [0] * 10, [2, 5, 4, 0]])
def test_palettes_that_do_not_hold_together(segments: list[int]) -> None:
    colours = palette(16, segments, segments, segments, segmented=True)
    with pytest.raises(MalformedDataset):
        displayed(native(1, 1, b"\0", photometric="PALETTE COLOR", extra=colours))


def test_functional_groups_say_it_for_each_frame() -> None:
    def group(intercept: str, center: str) -> bytes:
        rescale = element(0x00281052, b"DS", intercept.encode()) + element(0x00281053, b"DS", b"1")
        item = sequence(0x00289145, rescale) + sequence(0x00289132, windowed(center, "101"))
        return pack("<HHL", 0xFFFE, 0xE000, len(item)) + item

    groups = element(0x52009230, b"SQ", group("0", "50.5") + group("100", "50.5"))
    raw = np.array([0, 100, 0, 100], "<u2").tobytes()
    source = native(1, 2, raw, allocated=16, frames=2, extra=groups)
    assert displayed(source, number=1)[0].tolist() == [0, 255]
    assert displayed(source, number=2)[0].tolist() == [255, 255]
