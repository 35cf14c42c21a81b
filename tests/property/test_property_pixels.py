"""Transcoding keeps every pixel value: of all samples with pixel data, and of images that Hypothesis makes up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.pixels import Array, Held, decoded, held, native, reread
from harness.samples import sample_files
from strongroom.errors import NotRepresentable
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.pool import Pixels
from strongroom.pixels.wire import PixelLimits

LOSSLESS = [row.uid for row in uid.CODECS.values() if row.encodes and not row.is_lossy]
LOSSY = [row.uid for row in uid.CODECS.values() if row.encodes and row.is_lossy]
LEFT_OUT = {"JPEG-lossy.dcm", "JPGExtended.dcm", "SC_rgb_jpeg.dcm"}
"""12 bits of JPEG Extended, which pydicom has no decoder for here; and a data set that is not encoded as it says."""
RGB_OF_JPEG = {uid.JPEG_BASELINE}
"""Comes out as RGB: two roundings of the colour transform differ by little."""


@pytest.fixture(scope="module")
def pixels() -> Iterator[Pixels]:
    pool = Pixels(PixelLimits(max_pixel_workers=1))
    yield pool
    pool.close()


@cache
def images() -> dict[str, tuple[pydicom.Dataset, Array]]:
    """The samples whose pixels pydicom can decode."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sample_files():
            try:
                dataset = pydicom.dcmread(path)
                if "PixelData" in dataset and path.name not in LEFT_OUT:
                    found[str(path)] = (dataset, decoded(dataset))
            except Exception:
                continue
    return found


@pytest.mark.parametrize("to_uid", LOSSLESS)
def test_every_sample_keeps_its_pixels(pixels: Pixels, to_uid: str) -> None:
    kept, refused = 0, []
    for name, (dataset, wanted) in images().items():
        path = Path(name)
        source, from_uid = held(path)
        try:
            data_set = b"".join(pixels.transcode(source, from_uid, to_uid))
        except NotRepresentable:
            refused.append((path.name, dataset.BitsStored))
            continue
        again = reread(data_set, to_uid, dataset)
        # What a JPEG stream has in YBR is compared as it is stored: some decoders look at its markers only.
        raw = to_uid in (uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1) and "YBR" in dataset.PhotometricInterpretation
        found = decoded(again, raw=raw)
        if raw and from_uid not in RGB_OF_JPEG:
            wanted = decoded(dataset, raw=True)
        most = 3 if from_uid in RGB_OF_JPEG else 0
        difference = np.abs(found.astype(np.int64) - wanted.astype(np.int64)).max()
        assert found.shape == wanted.shape, path.name
        assert difference <= most, (path.name, difference)
        kept += 1
    least, most_bits = uid.CODECS[to_uid].sample_bits
    assert kept > 40
    assert all(not least <= bits <= most_bits or bits == 1 for _, bits in refused), refused


@pytest.mark.parametrize("to_uid", LOSSY)
def test_what_is_lossy_is_close_and_says_so(pixels: Pixels, to_uid: str) -> None:
    y, x = np.mgrid[0:96, 0:128]
    values = (128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)).astype("u1")
    source = native(96, 128, values.tobytes())
    data_set = b"".join(pixels.transcode(source, uid.EXPLICIT, to_uid))
    back = next(pixels.frames(Held(data_set), to_uid, uid.EXPLICIT, [1]))
    found = np.frombuffer(back, "u1").reshape(96, 128)
    assert np.abs(found.astype(int) - values).max() <= 12
    for said in (b"(!\x10!CS\x02\x0001", uid.CODECS[to_uid].compression_method.encode()):
        assert said.replace(b"(!\x10!", b"\x28\x00\x10\x21") in data_set


def test_a_lossless_stream_is_passed_on_as_it_is(pixels: Pixels) -> None:
    source = native(8, 8, bytes(range(64)))
    lossless = b"".join(pixels.transcode(source, uid.EXPLICIT, uid.JPEG_2000_LOSSLESS))
    assert b"".join(pixels.transcode(Held(lossless), uid.JPEG_2000_LOSSLESS, uid.JPEG_2000)) == lossless


@st.composite
def made_up(draw: st.DrawFn) -> tuple[Held, Array]:
    """An image of any size, bits, sign and colour, and its frames."""
    rows, columns, frames = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(1, 3))
    stored = draw(st.integers(2, 16))
    samples = draw(st.sampled_from((1, 1, 3))) if stored <= 8 else 1
    signed = draw(st.booleans()) and samples == 1
    allocated = 8 if stored <= 8 else 16
    low = -(1 << stored - 1) if signed else 0
    seed = draw(st.integers(0, 1 << 32))
    array = np.random.default_rng(seed).integers(low, low + (1 << stored), (frames, rows, columns, samples))
    array = array.astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    photometric = draw(st.sampled_from(("RGB", "YBR_FULL"))) if samples == 3 else "MONOCHROME2"
    more = {"allocated": allocated, "stored": stored, "signed": int(signed), "frames": frames, "samples": samples}
    raw = array.tobytes()
    return native(rows, columns, raw + b"\0" * (len(raw) & 1), photometric=photometric, **more), array


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=made_up(), to_uid=st.sampled_from(LOSSLESS), then_uid=st.sampled_from(LOSSLESS))
def test_there_and_elsewhere_and_back(pixels: Pixels, made: tuple[Held, Array], to_uid: str, then_uid: str) -> None:
    source, array = made
    there = Held(b"".join(pixels.transcode(source, uid.EXPLICIT, to_uid)))
    elsewhere = Held(b"".join(pixels.transcode(there, to_uid, then_uid))) if then_uid != to_uid else there
    numbers = list(range(len(array), 0, -1))
    back = list(pixels.frames(elsewhere, then_uid, uid.EXPLICIT, numbers))
    assert back == [array[number - 1].tobytes() for number in numbers]
