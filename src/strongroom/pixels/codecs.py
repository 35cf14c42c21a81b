"""From code streams to arrays and back (PS3.5 8.2 and annexes A and G). Imported by workers only.

An array is rows x columns, or rows x columns x samples, of the integers that Bits Allocated and Pixel Representation
say: what is stored, untouched. What a code stream claims of its size is held against the header before it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from struct import pack, unpack_from
from typing import Any, Final

import imagecodecs
import jpeg_ls
import numpy as np
from numpy.typing import NDArray

from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.inflate import Inflater
from strongroom.errors import MalformedDataset, NotFound, NotRepresentable
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.image import Form, StoredImage

Array = NDArray[Any]

LOSSY_JPEG_QUALITY: Final = 90
JPEG_LS_NEAR: Final = 2
"""Greatest difference of a sample after near-lossless compression."""
JPEG_2000_PSNR_DB: Final = 65
HTJ2K_STEP: Final = 0.0001
_SPARE_BYTES: Final = 65_536
"""Room for what a code stream has beside its pixels."""

_YBR: Final = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")


def dtype_of(form: Form) -> np.dtype[Any]:
    """The type of one sample as an array has it."""
    return np.dtype(f"{'i' if form.is_signed else 'u'}{max(8, form.bits_allocated) // 8}")


def decode_frame(image: StoredImage, number: int) -> tuple[Array, Form]:
    """Return frame ``number``, from 1, and its form as decoded: photometric interpretation after the codec's own
    colour transform, never planar. Raises MalformedDataset, NotRepresentable, LimitExceeded."""
    form = image.form
    if not 0 < number <= image.frame_count:
        raise NotFound("the object has no such frame")
    if image.is_encapsulated != image.syntax.encapsulated:
        raise MalformedDataset("pixel data is not as its transfer syntax says")
    if not image.is_encapsulated:
        array, photometric = _native(image, number)
    else:
        code_stream = image.encapsulated_frame(number)
        try:
            array, photometric = _DECODERS[image.syntax.uid](code_stream, form)
        except KeyError:
            raise NotRepresentable("there is no decoder for this transfer syntax") from None
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise MalformedDataset(f"a frame does not decode: {type(error).__name__}") from None
    wanted = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, form.samples)
    if array.shape != wanted:
        raise MalformedDataset("a frame is of another size than its header says")
    return array, replace(form, photometric=photometric, is_planar=False)


def _native(image: StoredImage, number: int) -> tuple[Array, str]:
    form = image.form
    raw, first_bit = image.native_frame(number)
    pixels = form.rows * form.columns
    if form.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(raw, "u1"), bitorder="little")[first_bit : first_bit + pixels * form.samples]
        return _shaped(bits, form), form.photometric
    sample = dtype_of(form).newbyteorder("<" if image.syntax.little_endian else ">")
    flat = np.frombuffer(raw, sample).astype(dtype_of(form), copy=False)
    if form.photometric == "YBR_FULL_422" and form.samples == 3:
        return _upsampled(flat, form), "YBR_FULL"
    return _shaped(flat, form), form.photometric


def _shaped(flat: Array, form: Form) -> Array:
    if form.samples == 1:
        return flat.reshape(form.rows, form.columns)
    if form.is_planar:
        planes = flat.reshape(form.samples, form.rows, form.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return flat.reshape(form.rows, form.columns, form.samples)


def _upsampled(flat: Array, form: Form) -> Array:
    """Y Y Cb Cr for each two pixels of a row become Y Cb Cr for each (PS3.3 C.7.6.3.1.2)."""
    pairs = flat.reshape(-1, 4)
    pixels = np.empty((pairs.shape[0], 2, 3), flat.dtype)
    pixels[:, 0, 0], pixels[:, 1, 0] = pairs[:, 0], pairs[:, 1]
    pixels[:, :, 1:] = pairs[:, None, 2:]
    return pixels.reshape(form.rows, form.columns, 3)


def _rle(raw: bytes, form: Form) -> tuple[Array, str]:
    """RLE Lossless: a segment for each byte of each sample, the most significant first (PS3.5 G)."""
    sample_bytes = form.bits_allocated // 8
    (count,) = unpack_from("<L", raw)
    if len(raw) < 64 or not sample_bytes or count != sample_bytes * form.samples:
        raise MalformedDataset("an RLE frame with another number of segments than its samples take")
    starts = [*unpack_from(f"<{count}L", raw, 4), len(raw)]
    pixels = form.rows * form.columns
    planes = np.empty((form.samples, sample_bytes, pixels), "u1")
    for index in range(count):
        start, end = starts[index], starts[index + 1]
        if not 64 <= start <= end <= len(raw):
            raise MalformedDataset("an RLE segment lies outside its frame")
        segment = imagecodecs.packbits_decode(raw[start:end], out=pixels)
        if len(segment) != pixels:
            raise MalformedDataset("an RLE segment of another size than a plane")
        planes[divmod(index, sample_bytes)] = np.frombuffer(segment, "u1")
    words = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">u{sample_bytes}").reshape(form.samples, pixels)
    array = words.astype(f"u{sample_bytes}").view(dtype_of(form))
    shaped = array.reshape(form.samples, form.rows, form.columns)
    photometric = "YBR_FULL" if form.photometric == "YBR_FULL_422" else form.photometric
    if form.samples == 1:
        return shaped[0], photometric
    return np.ascontiguousarray(shaped.transpose(1, 2, 0)), photometric


def _jpeg(raw: bytes, form: Form) -> tuple[Array, str]:
    """JPEG that loses: three samples come out as RGB, whatever they were (PS3.5 8.2.1)."""
    precision, adobe = _require_jpeg_size(raw, form)
    if form.samples == 1:
        return _as_stored(imagecodecs.jpeg8_decode(raw), form, precision), form.photometric
    # The Adobe marker knows what the encoder did; else the header does. JFIF says nothing here.
    is_ybr = adobe != 0 if adobe is not None else form.photometric in _YBR
    array = imagecodecs.jpeg8_decode(raw, colorspace="ycbcr" if is_ybr else "rgb", outcolorspace="rgb")
    return _as_stored(array, form, precision), "RGB"


def _jpeg_lossless(raw: bytes, form: Form) -> tuple[Array, str]:
    precision, _ = _require_jpeg_size(raw, form)
    if form.samples == 1:
        array = imagecodecs.jpeg8_decode(raw)
    else:
        array = imagecodecs.jpeg8_decode(raw, colorspace="rgb", outcolorspace="rgb")
    return _as_stored(array, form, precision), _full(form)


def _jpeg_ls(raw: bytes, form: Form) -> tuple[Array, str]:
    precision, _ = _require_jpeg_size(raw, form)
    return _as_stored(imagecodecs.jpegls_decode(raw), form, precision), _full(form)


def _jpeg_2000(raw: bytes, form: Form) -> tuple[Array, str]:
    precision = _require_jpeg_2000_size(raw, form)
    array = imagecodecs.jpeg2k_decode(raw, numthreads=1)
    return _as_stored(array, form, precision), _after_transform(form)


def _htj2k(raw: bytes, form: Form) -> tuple[Array, str]:
    precision = _require_jpeg_2000_size(raw, form)
    return _as_stored(imagecodecs.htj2k_decode(raw), form, precision), _after_transform(form)


def _encapsulated_native(raw: bytes, form: Form) -> tuple[Array, str]:
    if form.bits_allocated == 1 or len(raw) < form.native_bits // 8:
        raise MalformedDataset("an uncompressed frame of another size than its header says")
    flat = np.frombuffer(raw[: form.native_bits // 8], dtype_of(form).newbyteorder("<")).astype(dtype_of(form))
    if form.photometric == "YBR_FULL_422" and form.samples == 3:
        return _upsampled(flat, form), "YBR_FULL"
    return _shaped(flat, form), form.photometric


def _deflated_frame(raw: bytes, form: Form) -> tuple[Array, str]:
    size = form.native_bits // 8
    inflater = Inflater(size + 65_536, ScanLimits().max_inflate_ratio)
    return _encapsulated_native(b"".join(inflater.inflate(raw)), form)


def _full(form: Form) -> str:
    return "YBR_FULL" if form.photometric == "YBR_FULL_422" else form.photometric


def _after_transform(form: Form) -> str:
    return "RGB" if form.photometric in ("YBR_RCT", "YBR_ICT") else _full(form)


def _as_stored(array: Array, form: Form, precision: int) -> Array:
    """Samples of ``precision`` bits as the object's type; two's complement in unsigned code streams is undone."""
    wanted = dtype_of(form)
    if array.dtype == wanted:
        return array
    if precision > max(8, form.bits_allocated):
        raise MalformedDataset("samples of more bits than are allocated")
    if form.is_signed and array.dtype.kind == "u":
        spare = wanted.itemsize * 8 - precision
        return (array.astype(f"u{wanted.itemsize}") << spare).view(wanted) >> spare
    if not form.is_signed and array.dtype.kind == "i":
        return array.astype(f"i{wanted.itemsize}").view(wanted) & ((1 << precision) - 1)
    return array.astype(wanted)


_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def _require_jpeg_size(raw: bytes, form: Form) -> tuple[int, int | None]:
    """Return sample precision, and the transform that an Adobe marker names (None: there is no marker)."""
    position, adobe = 2, None
    if raw[:2] != b"\xff\xd8":
        raise MalformedDataset("not a JPEG code stream")
    while position + 10 <= len(raw):
        if raw[position] != 0xFF:
            raise MalformedDataset("a JPEG code stream without a frame header")
        marker = raw[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        (length,) = unpack_from(">H", raw, position + 2)
        if marker in _START_OF_FRAME:
            precision, rows, columns, samples = unpack_from(">BHHB", raw, position + 4)
            _require_size(form, rows, columns, samples)
            return int(precision), adobe
        if marker == 0xEE and length >= 14 and raw[position + 4 : position + 9] == b"Adobe":
            adobe = raw[position + 15]
        position += 2 + length
    raise MalformedDataset("a JPEG code stream without a frame header")


def _require_jpeg_2000_size(raw: bytes, form: Form) -> int:
    """Return sample precision. A code stream may be wrapped in a JP2 file, though PS3.5 8.2.4 forbids it."""
    start = 0 if raw[:4] == b"\xff\x4f\xff\x51" else raw[:65_536].find(b"\xff\x4f\xff\x51")
    if start < 0 or len(raw) < start + 43:
        raise MalformedDataset("not a JPEG 2000 code stream")
    right, bottom, left, top = unpack_from(">4L", raw, start + 8)
    samples, precision = unpack_from(">HB", raw, start + 40)
    _require_size(form, bottom - top, right - left, samples)
    return int(precision & 0x7F) + 1


def _require_size(form: Form, rows: int, columns: int, samples: int) -> None:
    if (rows, columns, samples) != (form.rows, form.columns, form.samples):
        raise MalformedDataset("a code stream of another size than its header says")


_DECODERS: Final[dict[str, Callable[[bytes, Form], tuple[Array, str]]]] = {
    uid.RLE: _rle,
    uid.JPEG_BASELINE: _jpeg,
    uid.JPEG_EXTENDED: _jpeg,
    uid.JPEG_SPECTRAL: _jpeg,
    uid.JPEG_PROGRESSIVE: _jpeg,
    uid.JPEG_LOSSLESS: _jpeg_lossless,
    uid.JPEG_LOSSLESS_SV1: _jpeg_lossless,
    uid.JPEG_LS: _jpeg_ls,
    uid.JPEG_LS_NEAR: _jpeg_ls,
    uid.JPEG_2000_LOSSLESS: _jpeg_2000,
    uid.JPEG_2000: _jpeg_2000,
    uid.HTJ2K_LOSSLESS: _htj2k,
    uid.HTJ2K_RPCL: _htj2k,
    uid.HTJ2K: _htj2k,
    uid.ENCAPSULATED_UNCOMPRESSED: _encapsulated_native,
    uid.DEFLATED_FRAME: _deflated_frame,
}


def encode_frame(array: Array, form: Form, to_uid: str) -> tuple[bytes, str]:
    """Return a frame as ``to_uid``, which is encapsulated, and its photometric interpretation then.

    Raises NotRepresentable if the transfer syntax cannot hold these pixels.
    """
    if to_uid == uid.RLE:
        return _encode_rle(array, form), form.photometric
    least, most = uid.CODECS[to_uid].sample_bits
    bits = form.bits_stored
    if not least <= bits <= most:
        raise NotRepresentable(f"{bits} bits stored do not go into this transfer syntax")
    if form.photometric == "PALETTE COLOR" and uid.CODECS[to_uid].is_lossy:
        raise NotRepresentable("palette indices do not survive lossy compression")
    _require_unused_bits(array, form)
    return _ENCODERS[to_uid](array, form)


def _require_unused_bits(array: Array, form: Form) -> None:
    """A codec keeps Bits Stored; what stands in the bits above (overlays of old) would be lost."""
    low, high = (
        (-(1 << form.bits_stored - 1), (1 << form.bits_stored - 1)) if form.is_signed else (0, 1 << form.bits_stored)
    )
    if form.high_bit != form.bits_stored - 1 or int(array.min()) < low or int(array.max()) >= high:
        raise NotRepresentable("bits above Bits Stored are in use")


def _unsigned(array: Array, form: Form) -> Array:
    """The bits stored, as the smallest unsigned type."""
    size = 1 if form.bits_stored <= 8 else 2
    return (array.view(f"u{array.itemsize}") & ((1 << form.bits_stored) - 1)).astype(f"u{size}")


def _smallest(array: Array, form: Form) -> Array:
    size = 1 if form.bits_stored <= 8 else 2 if form.bits_stored <= 16 else 4
    return array.astype(f"{array.dtype.kind}{size}")


def _encode_rle(array: Array, form: Form) -> bytes:
    sample_bytes = form.bits_allocated // 8
    if not sample_bytes:
        raise NotRepresentable("single bits do not go into this transfer syntax")
    planes = array[..., None] if array.ndim == 2 else array
    segments = []
    for sample in range(planes.shape[2]):
        plane = np.ascontiguousarray(planes[:, :, sample])
        words = plane.astype(plane.dtype.newbyteorder(">")).view("u1").reshape(*plane.shape, sample_bytes)
        for byte in range(sample_bytes):
            packed = imagecodecs.packbits_encode(np.ascontiguousarray(words[:, :, byte]))
            segments.append(packed + b"\0" * (len(packed) & 1))
    offsets, position = [], 64
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    header = pack("<16L", len(segments), *offsets, *([0] * (15 - len(offsets))))
    return header + b"".join(segments)


def _encode_jpeg(array: Array, form: Form) -> tuple[bytes, str]:
    if form.is_signed:
        raise NotRepresentable("signed pixels do not survive lossy JPEG")
    small = _unsigned(array, form)
    if array.ndim == 2:
        bits = 8 if form.bits_stored <= 8 else 12
        return bytes(imagecodecs.jpeg8_encode(small, LOSSY_JPEG_QUALITY, bitspersample=bits)), form.photometric
    if form.bits_stored > 8:
        raise NotRepresentable("colour of more than 8 bits does not go into this transfer syntax")
    source = "ycbcr" if form.photometric == "YBR_FULL" else "rgb"
    stream = imagecodecs.jpeg8_encode(
        small, LOSSY_JPEG_QUALITY, colorspace=source, outcolorspace="ycbcr", subsampling="422"
    )
    return bytes(stream), "YBR_FULL_422"


def _encode_jpeg_lossless(array: Array, form: Form) -> tuple[bytes, str]:
    small = _unsigned(array, form)
    space = None if array.ndim == 2 else "rgb"  # whatever it is: nothing is transformed then
    stream = imagecodecs.jpeg8_encode(
        small, lossless=True, predictor=1, bitspersample=form.bits_stored, colorspace=space, outcolorspace=space
    )
    return _without_adobe(bytes(stream)) if form.photometric == "YBR_FULL" else bytes(stream), form.photometric


def _without_adobe(stream: bytes) -> bytes:
    """A code stream without the marker that calls its components RGB, which they are not."""
    start = stream.find(b"\xff\xee\x00\x0eAdobe")
    return stream if start < 0 else stream[:start] + stream[start + 16 :]


def _jpeg_ls_encoder(near: int) -> Callable[[Array, Form], tuple[bytes, str]]:
    def encode(array: Array, form: Form) -> tuple[bytes, str]:
        small = _unsigned(array, form)
        if form.bits_stored in (8, 16):
            most = 2 * small.nbytes + _SPARE_BYTES
            return bytes(imagecodecs.jpegls_encode(small, near, out=most)), form.photometric
        stream = jpeg_ls.encode_pixel_data(  # which can be told of other bits stored
            small.tobytes(),
            lossy_error=near,
            interleave_mode=0 if array.ndim == 2 else 2,
            rows=form.rows,
            columns=form.columns,
            samples_per_pixel=form.samples,
            bits_allocated=8 if form.bits_stored <= 8 else 16,
            bits_stored=form.bits_stored,
            pixel_representation=0,
            photometric_interpretation=form.photometric,
            planar_configuration=0,
        )
        return bytes(stream), form.photometric

    return encode


def _jpeg_2000_encoder(*, is_lossy: bool) -> Callable[[Array, Form], tuple[bytes, str]]:
    def encode(array: Array, form: Form) -> tuple[bytes, str]:
        stream = imagecodecs.jpeg2k_encode(
            _smallest(array, form),
            JPEG_2000_PSNR_DB if is_lossy else 0,
            codecformat="j2k",
            bitspersample=form.bits_stored,
            reversible=not is_lossy,
            mct=form.photometric == "RGB",
            numthreads=1,
        )
        return bytes(stream), _transformed(form, is_lossy=is_lossy)

    return encode


def _transformed(form: Form, *, is_lossy: bool) -> str:
    if form.photometric != "RGB":
        return form.photometric
    return "YBR_ICT" if is_lossy else "YBR_RCT"


def _htj2k_encoder(*, is_lossy: bool) -> Callable[[Array, Form], tuple[bytes, str]]:
    def encode(array: Array, form: Form) -> tuple[bytes, str]:
        stream = imagecodecs.htj2k_encode(
            _smallest(array, form),
            HTJ2K_STEP if is_lossy else None,
            rgb=form.photometric == "RGB",
            reversible=not is_lossy,
            tlm=True,
        )
        return bytes(stream), _transformed(form, is_lossy=is_lossy)

    return encode


_ENCODERS: Final[dict[str, Callable[[Array, Form], tuple[bytes, str]]]] = {
    uid.JPEG_BASELINE: _encode_jpeg,
    uid.JPEG_EXTENDED: _encode_jpeg,
    uid.JPEG_LOSSLESS: _encode_jpeg_lossless,
    uid.JPEG_LOSSLESS_SV1: _encode_jpeg_lossless,
    uid.JPEG_LS: _jpeg_ls_encoder(0),
    uid.JPEG_LS_NEAR: _jpeg_ls_encoder(JPEG_LS_NEAR),
    uid.JPEG_2000_LOSSLESS: _jpeg_2000_encoder(is_lossy=False),
    uid.JPEG_2000: _jpeg_2000_encoder(is_lossy=True),
    uid.HTJ2K_LOSSLESS: _htj2k_encoder(is_lossy=False),
    uid.HTJ2K_RPCL: _htj2k_encoder(is_lossy=False),
    uid.HTJ2K: _htj2k_encoder(is_lossy=True),
}


def warm_up() -> None:
    """Use every codec once: some load what they need only then, from files that a worker soon cannot open."""
    for samples, photometric in ((1, "MONOCHROME2"), (3, "RGB")):
        form = Form(8, 8, samples, photometric, False, 8, 8, 7, False)
        array = np.zeros((8, 8) if samples == 1 else (8, 8, 3), "u1")
        for to_uid, decode in _DECODERS.items():
            if uid.CODECS[to_uid].encodes:
                decode(encode_frame(array, form, to_uid)[0], form)
