"""From stored values to what a display shows: 8 bits, grey or RGB (PS3.3 C.7.6.3, C.11; PS3.4 N.2). Workers only.

Grey goes through the modality LUT, the VOI LUT or window, and the presentation; colour is brought to RGB. For up to 16
bits every step is done once for each possible value, and the image goes through one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strongroom.dicom.tree import Element
from strongroom.errors import MalformedDataset, NotRepresentable
from strongroom.pixels import image as tags
from strongroom.pixels.codecs import Array
from strongroom.pixels.image import Form, StoredImage
from strongroom.pixels.rendering import Window, WindowFunction

Bytes8 = NDArray[np.uint8]
Floats = NDArray[np.float64]

_PIXEL_VALUE_TRANSFORMATION: Final = 0x00289145
_FRAME_VOI_LUT: Final = 0x00289132
_TABLE_BITS: Final = 16
_FUNCTIONS: Final = {
    "LINEAR": WindowFunction.LINEAR,
    "LINEAR_EXACT": WindowFunction.LINEAR_EXACT,
    "SIGMOID": WindowFunction.SIGMOID,
}
_MAX_LUT_ENTRIES: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Lut:
    """A lookup table (PS3.3 C.11.1.1): ``first`` is the value that its first entry is for."""

    entries: NDArray[Any]
    first: int
    bits: int

    def __call__(self, values: Floats) -> Floats:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        levels: Floats = self.entries[index].astype(np.float64)
        return levels


def to_display(array: Array, form: Form, image: StoredImage, number: int, window: Window | None) -> Bytes8:
    """Return frame ``number`` as rows x columns of grey, or rows x columns x 3 of RGB.

    ``window`` replaces the one of the object; on colour it has no effect, which has no VOI (PS3.4 N.2.4).
    Raises NotRepresentable for a photometric interpretation that is not known.
    """
    photometric = form.photometric
    if form.samples == 1 and photometric.startswith("MONOCHROME"):
        return _grey(array, form, _Frame(image, number), window)
    if form.samples == 1 and photometric == "PALETTE COLOR":
        return _palette(array, form, image)
    if form.samples == 3 and photometric == "RGB":
        return _to_8_bits(array, form)
    if form.samples == 3 and photometric in ("YBR_FULL", "YBR_FULL_422"):
        return _rgb_of_ybr(_to_8_bits(array, form))
    raise NotRepresentable(f"photometric interpretation {photometric[:16]!r} is not rendered")


class _Frame:
    """What the object says of how one frame is shown: in the data set, or in its functional groups (PS3.3 C.7.6.16)."""

    def __init__(self, image: StoredImage, number: int) -> None:
        self._image = image
        self._groups: list[Mapping[int, Element]] = []
        for tag, index in ((tags.PER_FRAME_GROUPS, number - 1), (tags.SHARED_GROUPS, 0)):
            items = image.items(tag)
            if index < len(items):
                self._groups.append({element.tag: element for element in items[index]})

    @property
    def order(self) -> str:
        """Of the bytes of numbers, as struct wants it."""
        return "<" if self._image.syntax.little_endian else ">"

    def numbers(self, tag: int, within: int) -> list[float]:
        """The numbers of a decimal string, of the frame's macro ``within`` if it has one, else of the data set."""
        for group in self._groups:
            macro = group.get(within)
            for element in macro.items[0] if macro is not None and macro.items else ():
                if element.tag == tag:
                    return _decimals(element.value.decode("ascii", "replace"))
        return _decimals(self._image.text(tag))

    def function(self) -> WindowFunction:
        """The VOI LUT function, LINEAR if none is named."""
        named = self._image.text(tags.VOI_FUNCTION)
        for group in self._groups:
            macro = group.get(_FRAME_VOI_LUT)
            for element in macro.items[0] if macro is not None and macro.items else ():
                if element.tag == tags.VOI_FUNCTION:
                    named = element.value.decode("ascii", "replace").strip(" \0")
        return _FUNCTIONS.get(named, WindowFunction.LINEAR)

    def lut(self, tag: int, *, is_signed: bool) -> _Lut | None:
        """The table in the first item of a sequence, if it is there."""
        items = self._image.items(tag)
        if not items:
            return None
        item = {element.tag: element for element in items[0]}
        descriptor, data = item.get(tags.LUT_DESCRIPTOR), item.get(tags.LUT_DATA)
        if descriptor is None or data is None or len(descriptor.value) < 6:
            raise MalformedDataset("a lookup table without descriptor or data", tag=tag)
        return _lut_of(descriptor.value, data.value, self.order, is_signed=is_signed)

    def presentation_inverts(self, form: Form) -> bool:
        """Whether low values are bright."""
        return form.photometric == "MONOCHROME1" or self._image.text(tags.PRESENTATION_LUT_SHAPE) == "INVERSE"

    def padding(self) -> tuple[int, int] | None:
        """The range of stored values that stand for nothing (PS3.3 C.7.5.1.1.2)."""
        if tags.PADDING_VALUE not in self._image.elements:
            return None
        first = self._image.number(tags.PADDING_VALUE)
        last = self._image.number(tags.PADDING_LIMIT, first)
        if self._image.form.is_signed:
            first, last = (value - (1 << 16) * (value >> 15) for value in (first, last))
        return min(first, last), max(first, last)


def _decimals(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split("\\") if part.strip()]
    except ValueError:
        raise MalformedDataset("a decimal string that is no number") from None
    if not all(map(np.isfinite, found)):
        raise MalformedDataset("a decimal string that is no number")
    return found


def _grey(array: Array, form: Form, frame: _Frame, window: Window | None) -> Bytes8:
    values = _bits_stored(array, form)
    modality = _modality(frame, form)
    voi = _voi(frame, form, values, modality, window)
    inverts = frame.presentation_inverts(form)

    def show(stored: Floats) -> Bytes8:
        level = np.clip(voi(modality(stored)), 0.0, 1.0)
        return np.rint((1.0 - level if inverts else level) * 255.0).astype(np.uint8)

    if form.bits_stored > _TABLE_BITS:
        return show(values.astype(np.float64))
    low = -(1 << form.bits_stored - 1) if form.is_signed else 0
    table = show(np.arange(low, low + (1 << form.bits_stored), dtype=np.float64))
    return np.take(np.roll(table, low), values.astype(np.intp) if form.is_signed else values)


def _bits_stored(array: Array, form: Form) -> Array:
    """The values proper: what stands above and below the bits stored is no part of them."""
    shift = form.high_bit + 1 - form.bits_stored
    spare = array.dtype.itemsize * 8 - form.bits_stored
    if not spare:
        return array
    values: Array
    if form.is_signed:
        values = (array << (spare - shift)) >> spare
    else:
        values = (array >> shift) & array.dtype.type((1 << form.bits_stored) - 1)
    return values


def _modality(frame: _Frame, form: Form) -> Callable[[Floats], Floats]:
    lut = frame.lut(tags.MODALITY_LUT_SEQUENCE, is_signed=form.is_signed)
    if lut is not None:
        return lut
    slope = (frame.numbers(tags.RESCALE_SLOPE, _PIXEL_VALUE_TRANSFORMATION) or [1.0])[0] or 1.0
    intercept = (frame.numbers(tags.RESCALE_INTERCEPT, _PIXEL_VALUE_TRANSFORMATION) or [0.0])[0]
    return lambda values: values * slope + intercept


def _voi(
    frame: _Frame, form: Form, values: Array, modality: Callable[[Floats], Floats], window: Window | None
) -> Callable[[Floats], Floats]:
    """The VOI transformation, to 0 to 1: as asked, or the object's table, or its window, or from least to greatest."""
    if window is not None:
        return _windowed(window)
    table = frame.lut(tags.VOI_LUT_SEQUENCE, is_signed=True)
    if table is not None:
        whole = float((1 << table.bits) - 1)
        return lambda levels: table(levels) / whole
    centers = frame.numbers(tags.WINDOW_CENTER, _FRAME_VOI_LUT)
    widths = frame.numbers(tags.WINDOW_WIDTH, _FRAME_VOI_LUT)
    if centers and widths and widths[0] > 0:
        function = frame.function()
        if function is not WindowFunction.LINEAR or widths[0] >= 1:
            return _windowed(Window(centers[0], widths[0], function))
    low, high = _extremes(frame, form, values)
    ends = modality(np.array([low, high], np.float64))
    least, span = float(ends.min()), float(ends.max() - ends.min())
    return lambda levels: (levels - least) / (span or 1.0)


def _extremes(frame: _Frame, form: Form, values: Array) -> tuple[int, int]:
    if form.bits_stored == 1:
        return 0, 1
    padding = frame.padding()
    if padding is not None:
        kept = values[(values < padding[0]) | (values > padding[1])]
        values = kept if kept.size else values
    return int(values.min()), int(values.max())


def _windowed(window: Window) -> Callable[[Floats], Floats]:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, for an output of 0 to 1."""
    center, width = window.center, window.width
    if window.function is WindowFunction.SIGMOID:
        return lambda levels: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (levels - center) / width, -500.0, 500.0)))
    if window.function is WindowFunction.LINEAR_EXACT:
        return lambda levels: (levels - center) / width + 0.5
    if width <= 1:
        return lambda levels: (levels > center - 0.5).astype(np.float64)
    return lambda levels: (levels - (center - 0.5)) / (width - 1.0) + 0.5


def _lut_of(descriptor: bytes, data: bytes, order: str, *, is_signed: bool) -> _Lut:
    entries, first, bits = unpack(f"{order}HHH", descriptor[:6])
    entries = entries or _MAX_LUT_ENTRIES
    if is_signed and first >= 1 << 15:
        first -= 1 << 16
    if bits == 8 and len(data) in (entries, entries + (entries & 1)):
        table = np.frombuffer(data, "u1")[:entries]
    elif len(data) >= 2 * entries:
        table = np.frombuffer(data[: 2 * entries], f"{order}u2")
    else:
        raise MalformedDataset("a lookup table shorter than its descriptor says")
    if not 8 <= bits <= 16:
        raise MalformedDataset("a lookup table of entries of no size")
    return _Lut(table, first, bits)


def _palette(array: Array, form: Form, image: StoredImage) -> Bytes8:
    order = "<" if image.syntax.little_endian else ">"
    indices = _bits_stored(array, form).astype(np.int64)
    planes = []
    for descriptor_tag, data_tag, segmented_tag in zip(
        tags.PALETTE_DESCRIPTORS, tags.PALETTE_DATA, tags.SEGMENTED_PALETTE_DATA, strict=True
    ):
        descriptor = image.elements.get(descriptor_tag)
        if descriptor is None or len(descriptor.value) < 6:
            raise MalformedDataset("a palette without descriptor", tag=descriptor_tag)
        if data_tag in image.elements:
            data = image.elements[data_tag].value
        elif segmented_tag in image.elements:
            data = _expanded(image.elements[segmented_tag].value, order)
        else:
            raise MalformedDataset("a palette without data", tag=data_tag)
        lut = _lut_of(descriptor.value, data, order, is_signed=form.is_signed)
        entries = lut.entries
        # 16 bits as said, though some write 8 in them: then nothing is above.
        if lut.bits > 8 and (entries.dtype.itemsize == 2 and int(entries.max()) > 255):
            entries = entries >> (lut.bits - 8)
        planes.append(entries.astype(np.uint8)[np.clip(indices - lut.first, 0, len(entries) - 1)])
    return np.stack(planes, axis=-1)


def _expanded(data: bytes, order: str) -> bytes:
    """A segmented palette as a plain one (PS3.3 C.7.9.2)."""
    words: Sequence[int] = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").tolist()
    out: list[int] = []
    _expand(words, 0, len(words), out)
    return np.array(out, f"{order}u2").tobytes()


def _expand(words: Sequence[int], position: int, most: int, out: list[int]) -> None:
    """Append what the segments from ``position`` stand for, ``most`` of them at most."""
    done = 0
    while position + 2 <= len(words) and done < most:
        code, length = words[position], words[position + 1]
        position += 2
        if len(out) + length > _MAX_LUT_ENTRIES:
            raise MalformedDataset("a segmented palette of too many entries")
        if code == 0:
            out.extend(words[position : position + length])
            position += length
        elif code == 1 and out and position < len(words):
            out.extend(_ramp(out[-1], words[position], length))
            position += 1
        elif code == 2 and most == len(words) and position + 2 <= len(words):
            start = (words[position] | words[position + 1] << 16) // 2
            if not 0 <= start < position - 2:
                raise MalformedDataset("a segment of a palette that is not before it")
            _expand(words[: position - 2], start, length, out)
            position += 2
        else:
            raise MalformedDataset("an unknown segment of a palette")
        done += 1


def _ramp(first: int, last: int, length: int) -> Iterable[int]:
    return (first + round((last - first) * step / length) for step in range(1, length + 1))


def _to_8_bits(array: Array, form: Form) -> Bytes8:
    if form.bits_stored <= 8:
        return array.astype(np.uint8)
    return (_bits_stored(array, form) >> (form.bits_stored - 8)).astype(np.uint8)


def _rgb_of_ybr(array: Bytes8) -> Bytes8:
    """PS3.3 C.7.6.3.1.2, solved for RGB."""
    ybr = array.astype(np.float32)
    luma, blue, red = ybr[..., 0], ybr[..., 1] - 128.0, ybr[..., 2] - 128.0
    rgb = np.stack((luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=-1)
    rounded: Bytes8 = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return rounded
