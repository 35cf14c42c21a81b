"""Whether two objects under one SOP Instance UID are the same, and if not, what of them differs: digests and a table.

An object has four digests, each blind to more than the one before:

- raw: SHA-256 of the data set as it was received;
- canonical: of what the data set says, however it is encoded (``dicom.canonical``);
- clinical: of the canonical form without what an archive or a worklist may correct (``COERCIBLE``) and without what
  another encoding of the same pixels changes (``OF_PIXELS``);
- pixels: of the decoded pixels and their shape (``pixels.digest``), the same after any lossless recompression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Protocol

from strongroom.archive.model import Detail
from strongroom.archive.ports import BlobReader
from strongroom.dicom.canonical import canonical_parts
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import ScanLimits
from strongroom.errors import LimitExceeded, MalformedDataset, StrongroomError

COERCIBLE: Final = frozenset(
    {
        0x00080050, 0x00080051, 0x00080090, 0x00080092, 0x00080094, 0x00080096, 0x00081030, 0x00081032, 0x00100010,
        0x00100020, 0x00100021, 0x00100022, 0x00100024, 0x00100030, 0x00100032, 0x00100033, 0x00100034, 0x00100035,
        0x00100040, 0x00100050, 0x00101000, 0x00101001, 0x00101002, 0x00101005, 0x00101010,
        0x00101040, 0x00101060, 0x00101080, 0x00101081, 0x00101090, 0x00101100, 0x00102000,
        0x00102110, 0x00102150, 0x00102152, 0x00102154, 0x00102155, 0x00102160, 0x00102180, 0x001021A0, 0x001021B0,
        0x001021C0, 0x001021D0, 0x001021F0, 0x00102297, 0x00102298, 0x00102299, 0x00104000, 0x00200010, 0x00321032,
        0x00321033, 0x00321060, 0x00321064, 0x00324000, 0x00380010, 0x00380011, 0x00380014, 0x00380050, 0x00380060,
        0x00380062, 0x00380064, 0x00380300, 0x00380400, 0x00380500, 0x00384000, 0x00400275, 0x04000561,
    }
)  # fmt: skip
"""Who the patient is, how the study was requested, and what was coerced before (PS3.3 C.7.1.1, C.7.2.1, C.3.2): PS3.4
B.4.1.3 lets an SCP coerce these. Dates, laterality, geometry and all that is measured or computed with are not here."""

OF_PIXELS: Final = frozenset(
    {0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114, 0x7FE00001, 0x7FE00002, 0x7FE00010}
)
"""What another encoding of the same pixels changes (PS3.5 8.2): photometric interpretation, planar configuration,
the record of lossy compression, offset tables and the pixel data themselves."""

SAME_PICTURE_DB: Final = 30.0
"""Peak signal to noise ratio from which a lossy copy shows what the original does; diagnostic ones have 40 and more."""


class Severity(StrEnum):
    """How bad what was found is."""

    INFO = "info"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a copy is to the object that is stored. ``reason`` is the word for trail and status; ``is_taken`` says that
    its sender may forget it, for the archive has what it says."""

    reason: str
    severity: Severity
    is_taken: bool


VARIANT: Final = Judgement("variant", Severity.INFO, True)
COERCED: Final = Judgement("coerced", Severity.MEDIUM, True)
METADATA_ALTERED: Final = Judgement("sop-instance-metadata-altered", Severity.HIGH, False)
LOSSY_COPY: Final = Judgement("sop-instance-lossy-copy", Severity.MEDIUM, False)
ALTERED: Final = Judgement("sop-instance-altered", Severity.CRITICAL, False)

MOVED: Final = {
    reason: Judgement(reason, Severity.CRITICAL, False)
    for reason in ("sop-instance-in-another-series", "study-of-another-patient", "series-in-another-study")
}
"""An object that stands, or whose study or series stands, somewhere else."""


@dataclass(frozen=True, slots=True)
class Digests:
    """The four digests of one object. ``pixels`` is b"" where there are no pixels or none that could be decoded."""

    raw: bytes
    canonical: bytes
    clinical: bytes
    pixels: bytes

    def details(self) -> dict[str, Detail]:
        """As the trail has them."""
        return {
            "sha256": self.raw.hex(),
            "canonical_sha256": self.canonical.hex(),
            "clinical_sha256": self.clinical.hex(),
            "pixels_sha256": self.pixels.hex(),
        }


class Picture(Protocol):
    """What tells one picture from others."""

    @property
    def sha256(self) -> bytes:
        """Of decoded pixels and their shape; b"" if there are none."""

    @property
    def is_blank(self) -> bool:
        """Whether all its samples have one value, as those of many others do."""


class Pixels(Protocol):
    """What is needed of pixel data. Thread-safe."""

    def picture(self, source: BlobReader, transfer_syntax: str) -> Picture:
        """The digest of decoded pixels and their shape.

        Raises NotRepresentable where there is no decoder, MalformedDataset, LimitExceeded, CodecFailed or Busy.
        """

    def is_lossy(self, source: BlobReader, transfer_syntax: str) -> bool:
        """Whether the object is, or says of itself that it is, the result of lossy compression."""

    def psnr_db(self, first: tuple[BlobReader, str], second: tuple[BlobReader, str]) -> float:
        """Peak signal to noise ratio of two images of the same shape; 0 if the shapes differ. Raises as ``picture``."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One of two objects that are compared: its plain bytes, their transfer syntax and their SHA-256."""

    reader: BlobReader
    transfer_syntax: str
    raw: bytes


class Presence(StrEnum):
    """Which of two objects have an element that differs."""

    BOTH = "both"
    ONLY_FIRST = "only-first"
    ONLY_SECOND = "only-second"

    @classmethod
    def of(cls, in_first: bool, in_second: bool) -> Presence:
        """Of an element that at least one of them has."""
        return cls.BOTH if in_first and in_second else cls.ONLY_FIRST if in_first else cls.ONLY_SECOND


class _Part(IntEnum):
    """What an element is part of."""

    CLINICAL = 0
    COERCIBLE = 1
    PIXELS = 2


def _part_of(tag: int) -> int:
    return _Part.PIXELS if tag in OF_PIXELS else _Part.COERCIBLE if tag in COERCIBLE else _Part.CLINICAL


def _clinical_only(tag: int) -> int | None:
    return _Part.CLINICAL if _part_of(tag) is _Part.CLINICAL else None


def judge(first: Copy, second: Copy, pixels: Pixels, limits: ScanLimits) -> tuple[Judgement, Digests]:
    """What ``second`` is to ``first``, which is stored under the same UIDs, and its digests.

    Whatever keeps the two from being compared counts against the copy: nothing is taken for the same unless it is.
    """
    try:
        of_stored, stored = _parts(first, limits)
        of_copy, copy = _parts(second, limits)
    except (MalformedDataset, LimitExceeded):
        return ALTERED, Digests(second.raw, b"", b"", b"")
    clinical = copy.get(_Part.CLINICAL, b"")
    if of_stored == of_copy:
        return VARIANT, Digests(second.raw, of_copy, clinical, b"")
    decoded = b""
    is_same_picture = stored.get(_Part.PIXELS) == copy.get(_Part.PIXELS)
    if not is_same_picture:
        decoded = _pixels_or_none(second, pixels)
        is_same_picture = decoded != b"" and decoded == _pixels_or_none(first, pixels)
    digests = Digests(second.raw, of_copy, clinical, decoded)
    if not is_same_picture:
        return (LOSSY_COPY if _is_lossy_copy(first, second, pixels) else ALTERED), digests
    if stored.get(_Part.CLINICAL) != copy.get(_Part.CLINICAL):
        return METADATA_ALTERED, digests
    return (VARIANT if stored.get(_Part.COERCIBLE) == copy.get(_Part.COERCIBLE) else COERCED), digests


def parts_of(copy: Copy, limits: ScanLimits) -> tuple[bytes, bytes]:
    """Return the canonical and the clinical digest. Raises MalformedDataset, LimitExceeded, and what reading raises."""
    canonical, parts = _parts(copy, limits, _clinical_only)
    return canonical, parts.get(_Part.CLINICAL, b"")


def differing_tags(first: Copy, second: Copy, limits: ScanLimits) -> dict[int, Presence]:
    """Which top-level elements differ, in the order of their tags. Raises as ``parts_of``."""
    _, in_first = _parts(first, limits, lambda tag: tag)
    _, in_second = _parts(second, limits, lambda tag: tag)
    return {
        tag: Presence.of(tag in in_first, tag in in_second)
        for tag in sorted(in_first.keys() | in_second.keys())
        if in_first.get(tag) != in_second.get(tag)
    }


def _parts(
    copy: Copy, limits: ScanLimits, part_of: Callable[[int], int | None] = _part_of
) -> tuple[bytes, dict[int, bytes]]:
    syntax = TRANSFER_SYNTAXES[copy.transfer_syntax]
    return canonical_parts(copy.reader.read, copy.reader.size, syntax, part_of, limits)


def _pixels_or_none(copy: Copy, pixels: Pixels) -> bytes:
    """The digest, or b"" for whatever reason there is none."""
    try:
        return pixels.picture(copy.reader, copy.transfer_syntax).sha256
    except StrongroomError:
        return b""


def _is_lossy_copy(first: Copy, second: Copy, pixels: Pixels) -> bool:
    of_first, of_second = (first.reader, first.transfer_syntax), (second.reader, second.transfer_syntax)
    try:
        return pixels.is_lossy(*of_second) and pixels.psnr_db(of_first, of_second) >= SAME_PICTURE_DB
    except StrongroomError:
        return False
