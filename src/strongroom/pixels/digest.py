"""One digest for one picture, whichever lossless encoding its pixels are in, and how far two pictures are apart.

The digest is SHA-256 over a line that says the shape (rows, columns, samples, bits, sign, frames, what kind of colour)
and the SHA-256 of each frame as native pixels in little endian, samples interleaved (PS3.5 8.1). What is native already
is read as it lies; everything else is decoded by a worker, a frame at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from math import inf, log10
from typing import Final, Literal, NamedTuple

from strongroom.pixels import syntaxes as uid
from strongroom.pixels.image import LOSSY, StoredImage
from strongroom.pixels.pool import ObjectBytes, Pixels
from strongroom.pixels.syntaxes import CODECS

MAX_COMPARED_FRAMES: Final = 16
MAX_COMPARED_SAMPLES: Final = 65_536
"""Of each frame, evenly spread."""

_COLOURS: Final = {"MONOCHROME1": "inverse", "MONOCHROME2": "grey", "PALETTE COLOR": "palette"}
_NATIVE_LITTLE: Final = frozenset({uid.IMPLICIT, uid.EXPLICIT})
_FRAMES_PER_JOB: Final = 256
_TYPE_CODES: Final[dict[tuple[int, bool], Literal["B", "b", "H", "h", "I", "i"]]] = {
    (8, False): "B", (8, True): "b", (16, False): "H", (16, True): "h", (32, False): "I", (32, True): "i"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shape:
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    is_signed: bool
    frames: int
    colour: str


class Picture(NamedTuple):
    """What tells one picture from others. ``is_blank``: all its samples have one value, as those of many others do."""

    sha256: bytes
    is_blank: bool


NO_PICTURE: Final = Picture(b"", is_blank=True)


class PixelDigests:
    """Digests and distances of stored images, by a pool's workers where they have to be decoded. Thread-safe."""

    def __init__(self, pool: Pixels) -> None:
        self._pool = pool

    def picture(self, source: ObjectBytes, transfer_syntax: str) -> Picture:
        """Return the digest of an object's pixels, ``NO_PICTURE`` if it has none.

        Raises NotRepresentable where there is no decoder, MalformedDataset, LimitExceeded, CodecFailed or Busy.
        """
        image = self._image(source, transfer_syntax)
        if not image.has_pixels:
            return NO_PICTURE
        digest = sha256(repr(_shape_of(image)).encode())
        is_blank = True
        sample_bytes = max(1, image.form.bits_allocated // 8)
        for frame in self._frames(image, source, range(1, image.frame_count + 1)):
            is_blank = is_blank and frame == frame[:sample_bytes] * (len(frame) // sample_bytes)
            digest.update(sha256(frame).digest())
        return Picture(digest.digest(), is_blank)

    def is_lossy(self, source: ObjectBytes, transfer_syntax: str) -> bool:
        """Return whether the object is in a lossy transfer syntax, or says that it was compressed with loss."""
        codec = CODECS.get(transfer_syntax)
        return (codec is not None and codec.is_lossy) or self._image(source, transfer_syntax).text(LOSSY) == "01"

    def psnr_db(self, first: tuple[ObjectBytes, str], second: tuple[ObjectBytes, str]) -> float:
        """Return the peak signal to noise ratio, in dB, of the worst of some frames of two images; 0 if their shapes
        differ. The peak is the range of the first one's samples. Raises as ``picture``."""
        images = [self._image(*each) for each in (first, second)]
        shapes = [_shape_of(image) for image in images]
        code = _TYPE_CODES.get((shapes[0].allocated, shapes[0].is_signed))
        if shapes[0] != shapes[1] or code is None:
            return 0.0
        count = shapes[0].frames
        numbers = range(1, count + 1, -(-count // MAX_COMPARED_FRAMES))
        frames = [self._frames(image, each[0], numbers) for image, each in zip(images, (first, second), strict=True)]
        return min(_psnr_db(_samples(code, one), _samples(code, other)) for one, other in zip(*frames, strict=True))

    def _image(self, source: ObjectBytes, transfer_syntax: str) -> StoredImage:
        return StoredImage(source.read, source.size, transfer_syntax, self._pool.limits)

    def _frames(self, image: StoredImage, source: ObjectBytes, numbers: Sequence[int]) -> Iterator[bytes]:
        """Yield frames as native pixels in little endian, samples interleaved."""
        form = image.form
        if image.syntax.uid in _NATIVE_LITTLE and form.samples == 1 and form.bits_allocated > 1:
            for number in numbers:
                yield image.native_frame(number)[0]
            return
        for start in range(0, len(numbers), _FRAMES_PER_JOB):
            batch = numbers[start : start + _FRAMES_PER_JOB]
            with closing(self._pool.frames(source, image.syntax.uid, uid.EXPLICIT, batch)) as frames:
                yield from frames


def _shape_of(image: StoredImage) -> _Shape:
    form = image.form
    colour = _COLOURS.get(form.photometric, "colour")
    return _Shape(
        form.rows, form.columns, form.samples, form.bits_allocated, form.bits_stored, form.is_signed,
        image.frame_count, colour,
    )  # fmt: skip


def _samples(code: Literal["B", "b", "H", "h", "I", "i"], frame: bytes) -> Sequence[int]:
    """Return some of the samples of a frame, evenly spread."""
    samples = array(code, frame)
    return samples[:: max(1, len(samples) // MAX_COMPARED_SAMPLES)]


def _psnr_db(first: Sequence[int], second: Sequence[int]) -> float:
    squares = sum([(a - b) * (a - b) for a, b in zip(first, second, strict=True)])
    peak = max(first) - min(first)
    if not squares:
        return inf
    return 10 * log10(peak * peak * len(first) / squares) if peak else 0.0
