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

MAX_COMPARED_SAMPLES: Final = 32 << 20
"""Of all frames together, some seconds; what has more is not compared."""
_PIECE_SAMPLES: Final = 64
_LOCAL_DB: Final = 10.0
"""What a piece may be further away than the whole: codecs spread their errors, and whoever draws does not."""

_COLOURS: Final = {"MONOCHROME1": "inverse", "MONOCHROME2": "grey", "PALETTE COLOR": "palette"}
_OF_CODECS: Final = frozenset({"YBR_RCT", "YBR_ICT"})
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
        """Return the peak signal to noise ratio, in dB, of the worst frame of two images, or of its worst piece and
        ``_LOCAL_DB``; 0 if their shapes differ or they are too large. The peak is the range of the first one's samples.
        Raises as ``picture``."""
        images = [self._image(*each) for each in (first, second)]
        shape, other = [_shape_of(image) for image in images]
        code = _TYPE_CODES.get((shape.allocated, shape.is_signed))
        if shape != other or code is None:
            return 0.0
        if shape.rows * shape.columns * shape.samples * shape.frames > MAX_COMPARED_SAMPLES:
            return 0.0
        numbers = range(1, shape.frames + 1)
        frames = [self._frames(image, each[0], numbers) for image, each in zip(images, (first, second), strict=True)]
        return min(_psnr_db(array(code, one), array(code, other)) for one, other in zip(*frames, strict=True))

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
    colour = _COLOURS.get(form.photometric) or _colours_of(form.photometric, image.syntax.uid)
    return _Shape(
        form.rows, form.columns, form.samples, form.bits_allocated, form.bits_stored, form.is_signed,
        image.frame_count, colour,
    )  # fmt: skip


def _colours_of(photometric: str, transfer_syntax: str) -> str:
    """What the samples of decoded pixels are: RGB where the codec has a transform of its own, else as they say."""
    codec = CODECS.get(transfer_syntax)
    has_own = transfer_syntax not in (*uid.NATIVE, uid.RLE) and (photometric in _OF_CODECS or codec is None)
    return "colour" if photometric == "RGB" or has_own or (codec is not None and codec.is_lossy) else photometric


def _psnr_db(first: Sequence[int], second: Sequence[int]) -> float:
    squares = [(a - b) * (a - b) for a, b in zip(first, second, strict=True)]
    if not any(squares):
        return inf
    peak = max(first) - min(first)
    size = _PIECE_SAMPLES
    worst = max([sum(squares[start : start + size]) for start in range(0, len(squares), size)])
    whole = _ratio_db(peak, sum(squares) / len(squares))
    return min(whole, _ratio_db(peak, worst / min(size, len(squares))) + _LOCAL_DB)


def _ratio_db(peak: int, mean_square: float) -> float:
    return 10 * log10(peak * peak / mean_square) if peak else 0.0
