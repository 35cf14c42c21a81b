"""archive.integrity: what a copy is to the object that is stored under its UIDs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.ingesting import EXPLICIT_VR_LITTLE_ENDIAN, element
from strongroom.archive import integrity
from strongroom.archive.integrity import (
    ALTERED,
    COERCED,
    COERCIBLE,
    LOSSY_COPY,
    METADATA_ALTERED,
    OF_PIXELS,
    VARIANT,
    Copy,
    Judgement,
    judge,
)
from strongroom.dicom.elements import DEFAULT_LIMITS, ScanLimits
from strongroom.errors import CodecFailed, NotRepresentable

SOP, NAME, LATERALITY, PIXELS = 0x00080018, 0x00100010, 0x00200060, 0x7FE00010


@dataclass
class Bytes:
    """A data set, open for reading."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@dataclass
class Decoded:
    """Stands for a codec: what is shown is the last byte of a data set; below 100 it is a lossy one."""

    fails: Exception | None = None
    psnr: float = 50.0

    @dataclass
    class Picture:
        sha256: bytes
        is_blank: bool = False

    def picture(self, source: Bytes, transfer_syntax: str) -> Decoded.Picture:
        if self.fails is not None:
            raise self.fails
        return self.Picture(source.data[-1:])

    def is_lossy(self, source: Bytes, transfer_syntax: str) -> bool:
        return source.data[-1] < 100

    def psnr_db(self, first: tuple[Bytes, str], second: tuple[Bytes, str]) -> float:
        if self.fails is not None:
            raise self.fails
        return self.psnr


def copy(*more: bytes, name: str = "Doe^Jane", pixels: bytes = b"\1\2\3\xc8") -> Copy:
    parts = [element(SOP, "UI", "1.2.3"), element(NAME, "PN", name), *more, element(PIXELS, "OW", pixels)]
    data = b"".join(parts)
    return Copy(Bytes(data), EXPLICIT_VR_LITTLE_ENDIAN, data)  # type: ignore[arg-type]  # only read


FIRST = copy()
OTHER_ENCODING = b"\7\7\7\xc8"
OTHER_PICTURE = b"\1\2\3\xc9"
LOSSY_PICTURE = b"\1\2\3\x09"


@pytest.mark.parametrize(
    ("second", "judgement"),
    [
        (copy(), VARIANT),
        (copy(pixels=OTHER_ENCODING), VARIANT),
        (copy(name="Roe^Richard"), COERCED),
        (copy(name="Roe^Richard", pixels=OTHER_ENCODING), COERCED),
        (copy(element(LATERALITY, "CS", "L")), METADATA_ALTERED),
        (copy(element(LATERALITY, "CS", "L"), name="Roe^Richard"), METADATA_ALTERED),
        (copy(pixels=OTHER_PICTURE), ALTERED),
        (copy(pixels=OTHER_PICTURE, name="Roe^Richard"), ALTERED),
        (copy(pixels=LOSSY_PICTURE), LOSSY_COPY),
    ],
)
def test_the_table(second: Copy, judgement: Judgement) -> None:
    found, digests = judge(FIRST, second, Decoded(), DEFAULT_LIMITS)
    assert found == judgement
    assert digests.raw == second.raw
    assert len(digests.canonical) == len(digests.clinical) == 32


@pytest.mark.parametrize("fails", [NotRepresentable("no decoder"), CodecFailed("it crashed")])
def test_what_cannot_be_compared_counts_as_altered(fails: Exception) -> None:
    assert judge(FIRST, copy(pixels=OTHER_ENCODING), Decoded(fails), DEFAULT_LIMITS)[0] == ALTERED
    assert judge(FIRST, copy(pixels=LOSSY_PICTURE), Decoded(fails), DEFAULT_LIMITS)[0] == ALTERED
    assert judge(FIRST, copy(name="Roe^Richard"), Decoded(fails), DEFAULT_LIMITS)[0] == COERCED


def _nested(levels: int, *, undefined: bool) -> bytes:
    """Items within items, as a private element of any VR may hold them."""
    value = b""
    for _ in range(levels):
        if undefined:
            end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
            value = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x09\0\x01\x10\xff\xff\xff\xff" + value + end
        else:
            inner = b"\x09\0\x01\x10" + len(value).to_bytes(4, "little") + value
            value = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    end_of_value = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return value.removesuffix(end_of_value) + end_of_value[:8] if undefined else value


@pytest.mark.parametrize("undefined", [True, False])
def test_a_private_value_that_is_too_deep_to_follow_is_compared_as_bytes(undefined: bool) -> None:
    first = copy(element(0x00091001, "OB", _nested(2000, undefined=undefined)))
    again = copy(element(0x00091001, "UN", _nested(2000, undefined=undefined)))
    other = copy(element(0x00091001, "OB", _nested(1999, undefined=undefined)))
    assert judge(first, again, Decoded(), DEFAULT_LIMITS)[0] == VARIANT
    assert judge(first, other, Decoded(), DEFAULT_LIMITS)[0] == METADATA_ALTERED


def test_a_copy_that_cannot_be_walked_counts_as_altered() -> None:
    few = ScanLimits(max_element_count=3)
    assert judge(FIRST, copy(element(LATERALITY, "CS", "L")), Decoded(), few)[0] == ALTERED


def test_a_lossy_copy_of_something_else_is_altered() -> None:
    assert judge(FIRST, copy(pixels=LOSSY_PICTURE), Decoded(psnr=12.0), DEFAULT_LIMITS)[0] == ALTERED


def test_what_is_measured_with_is_not_coercible() -> None:
    clinical = {0x00080020, 0x00200060, 0x00200032, 0x00281052, 0x00281053, 0x00281050, 0x00280030, 0x0020000D}
    clinical |= {
        0x00101020,
        0x00101022,
        0x00101030,
    }  # size, body mass index, weight: uptake and dose are reckoned by them
    assert not clinical & (COERCIBLE | OF_PIXELS)
    assert all(judgement.severity in ("critical",) for judgement in integrity.MOVED.values())
