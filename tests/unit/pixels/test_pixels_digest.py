"""pixels.digest: one digest for one picture, whatever it is encoded as."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import pytest

from harness.pixels import Held, held, native
from harness.samples import sample
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.digest import NO_PICTURE, PixelDigests
from strongroom.pixels.pool import Pixels


@pytest.fixture(scope="module")
def pool() -> Iterator[Pixels]:
    made = Pixels()
    yield made
    made.close()


@pytest.fixture(scope="module")
def digests(pool: Pixels) -> PixelDigests:
    return PixelDigests(pool)


LOSSLESS = [uid.EXPLICIT, uid.DEFLATED, uid.RLE, uid.JPEG_LOSSLESS_SV1, uid.JPEG_LS, uid.JPEG_2000_LOSSLESS]


@pytest.mark.parametrize("to_uid", LOSSLESS)
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "ExplVR_BigEnd.dcm", "examples_rgb_color.dcm"]
)
def test_a_lossless_encoding_shows_the_same(pool: Pixels, digests: PixelDigests, name: str, to_uid: str) -> None:
    source, from_uid = held(sample(name))
    before = digests.picture(source, from_uid)
    recoded = Held(b"".join(pool.transcode(source, from_uid, to_uid)))
    assert before.sha256
    assert digests.picture(recoded, to_uid) == before


def test_one_bit_of_one_pixel_is_another_picture(digests: PixelDigests) -> None:
    pixels = bytes(range(256))
    found = {digests.picture(native(16, 16, pixels[:at] + bytes([pixels[at] ^ 1]) + pixels[at + 1 :]), uid.EXPLICIT)
             for at in range(256)}  # fmt: skip
    assert len(found) == 256
    assert digests.picture(native(16, 16, pixels), uid.EXPLICIT) not in found


def test_the_same_bytes_in_another_shape_are_another_picture(digests: PixelDigests) -> None:
    pixels = bytes(range(64))
    assert digests.picture(native(8, 8, pixels), uid.EXPLICIT) != digests.picture(native(4, 16, pixels), uid.EXPLICIT)


def test_the_same_bytes_as_other_colours_are_another_picture(digests: PixelDigests) -> None:
    source, from_uid = held(sample("examples_rgb_color.dcm"))
    data = source.read(0, source.size)
    said = b"\x28\0\4\0CS\4\0RGB "
    for other in (b"YBR_FULL", b"YBR_RCT "):
        relabelled = Held(data.replace(said, b"\x28\0\4\0CS\x08\0" + other))
        assert digests.picture(relabelled, from_uid).sha256
        assert digests.picture(relabelled, from_uid) != digests.picture(source, from_uid)


def test_blank_pictures_and_none(digests: PixelDigests) -> None:
    assert digests.picture(native(8, 8, b"\5" * 64), uid.EXPLICIT).is_blank
    assert not digests.picture(native(8, 8, b"\5" * 63 + b"\6"), uid.EXPLICIT).is_blank
    source, from_uid = held(sample("reportsi.dcm"))
    assert digests.picture(source, from_uid) == NO_PICTURE


def test_how_far_a_lossy_copy_is_away(pool: Pixels, digests: PixelDigests) -> None:
    source, from_uid = held(sample("examples_rgb_color.dcm"))
    copy = Held(b"".join(pool.transcode(source, from_uid, uid.JPEG_BASELINE)))
    assert digests.is_lossy(copy, uid.JPEG_BASELINE)
    assert not digests.is_lossy(source, from_uid)
    assert digests.psnr_db((source, from_uid), (source, from_uid)) == inf
    assert 20 < digests.psnr_db((source, from_uid), (copy, uid.JPEG_BASELINE)) < 60
    other, other_uid = held(sample("CT_small.dcm"))
    assert digests.psnr_db((source, from_uid), (other, other_uid)) == 0


def test_what_is_drawn_into_one_place_is_far_away(digests: PixelDigests) -> None:
    """However large the image is: a spot between the samples of a sparse comparison, or of no weight in the whole."""
    side = 512
    clean = bytes([(column * 5 + row * 3) % 251 for row in range(side) for column in range(side)])
    noisy = bytes([value ^ 1 for value in clean])
    drawn = bytearray(noisy)
    for row in range(200, 216):
        for column in range(100, 116):
            drawn[row * side + column] = 250 if clean[row * side + column] < 126 else 0
    source = native(side, side, clean)
    assert digests.psnr_db((source, uid.EXPLICIT), (native(side, side, noisy), uid.EXPLICIT)) > 40
    assert digests.psnr_db((source, uid.EXPLICIT), (native(side, side, bytes(drawn)), uid.EXPLICIT)) < 30


def test_what_is_too_large_to_compare_is_far_away(digests: PixelDigests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.pixels.digest.MAX_COMPARED_SAMPLES", 100)
    image = (native(16, 16, bytes(range(256))), uid.EXPLICIT)
    assert digests.psnr_db(image, image) == 0
