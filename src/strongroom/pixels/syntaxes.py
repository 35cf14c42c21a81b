"""Which transfer syntaxes are decoded and encoded: the table behind negotiation, workers and conformance statement.

Pure data; no codec is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Codec:
    """What is done with one transfer syntax (PS3.5 8.2 and annex A).

    ``is_lossy``: encoding to it loses something, so it is done only when the syntax is asked for by name, and Lossy
    Image Compression says so. ``contains``: syntaxes whose code streams are valid in this one as they are, so that they
    are passed on and not encoded again. ``sample_bits``: Bits Stored that can be encoded.
    """

    uid: str
    family: str
    decodes: bool
    encodes: bool
    is_lossy: bool = False
    library: str = ""
    sample_bits: tuple[int, int] = (1, 64)
    contains: tuple[str, ...] = ()
    compression_method: str = ""
    """Term of Lossy Image Compression Method (0028,2114)."""


IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAME: Final = "1.2.840.10008.1.2.8.1"
RLE: Final = "1.2.840.10008.1.2.5"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_SPECTRAL: Final = "1.2.840.10008.1.2.4.53"
JPEG_PROGRESSIVE: Final = "1.2.840.10008.1.2.4.55"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"

_JPEG: Final = "libjpeg-turbo 3 (BSD-3-Clause, IJG, Zlib)"
_CHARLS: Final = "CharLS (BSD-3-Clause)"
_OPENJPEG: Final = "OpenJPEG (BSD-2-Clause)"
_OPENJPH: Final = "OpenJPH (BSD-2-Clause)"
_OWN: Final = "none needed"

_ROWS: Final = (
    # Implicit VR and big endian are read, and never sent: PS3.18 8.7.3 forbids both in web services.
    Codec(IMPLICIT, "uncompressed", decodes=True, encodes=False, library=_OWN),
    Codec(EXPLICIT, "uncompressed", decodes=True, encodes=True, library=_OWN),
    Codec(BIG_ENDIAN, "uncompressed", decodes=True, encodes=False, library=_OWN),
    Codec(DEFLATED, "deflated", decodes=True, encodes=True, library="zlib (Zlib)"),
    Codec(ENCAPSULATED_UNCOMPRESSED, "uncompressed", decodes=True, encodes=False, library=_OWN),
    Codec(DEFLATED_FRAME, "deflated", decodes=True, encodes=False, library="zlib (Zlib)"),
    Codec(RLE, "RLE", decodes=True, encodes=True, library="imagecodecs PackBits (BSD-3-Clause)", sample_bits=(2, 32)),
    Codec(
        JPEG_BASELINE, "JPEG", decodes=True, encodes=True, is_lossy=True, library=_JPEG, sample_bits=(8, 8),
        compression_method="ISO_10918_1",
    ),
    Codec(
        JPEG_EXTENDED, "JPEG", decodes=True, encodes=True, is_lossy=True, library=_JPEG, sample_bits=(8, 12),
        contains=(JPEG_BASELINE,), compression_method="ISO_10918_1",
    ),
    Codec(JPEG_SPECTRAL, "JPEG", decodes=True, encodes=False, is_lossy=True, library=_JPEG),
    Codec(JPEG_PROGRESSIVE, "JPEG", decodes=True, encodes=False, is_lossy=True, library=_JPEG),
    Codec(
        JPEG_LOSSLESS, "JPEG", decodes=True, encodes=True, library=_JPEG, sample_bits=(2, 16),
        contains=(JPEG_LOSSLESS_SV1,),
    ),
    Codec(JPEG_LOSSLESS_SV1, "JPEG", decodes=True, encodes=True, library=_JPEG, sample_bits=(2, 16)),
    Codec(JPEG_LS, "JPEG-LS", decodes=True, encodes=True, library=_CHARLS, sample_bits=(2, 16)),
    Codec(
        JPEG_LS_NEAR, "JPEG-LS", decodes=True, encodes=True, is_lossy=True, library=_CHARLS, sample_bits=(2, 16),
        contains=(JPEG_LS,), compression_method="ISO_14495_1",
    ),
    Codec(JPEG_2000_LOSSLESS, "JPEG 2000", decodes=True, encodes=True, library=_OPENJPEG, sample_bits=(2, 24)),
    Codec(
        JPEG_2000, "JPEG 2000", decodes=True, encodes=True, is_lossy=True, library=_OPENJPEG, sample_bits=(2, 16),
        contains=(JPEG_2000_LOSSLESS,), compression_method="ISO_15444_1",
    ),
    Codec(
        HTJ2K_LOSSLESS, "HTJ2K", decodes=True, encodes=True, library=_OPENJPH, sample_bits=(2, 16),
        contains=(HTJ2K_RPCL,),
    ),
    Codec(HTJ2K_RPCL, "HTJ2K", decodes=True, encodes=True, library=_OPENJPH, sample_bits=(2, 16)),
    Codec(
        HTJ2K, "HTJ2K", decodes=True, encodes=True, is_lossy=True, library=_OPENJPH, sample_bits=(2, 16),
        contains=(HTJ2K_LOSSLESS, HTJ2K_RPCL), compression_method="ISO_15444_15",
    ),
)  # fmt: skip

CODECS: Final[Mapping[str, Codec]] = {row.uid: row for row in _ROWS}
"""By UID of the transfer syntax. What is not here is stored and sent as it is, and neither decoded nor rendered."""

NATIVE: Final = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED})
"""Transfer syntaxes whose pixel data is not encapsulated."""


def can_transcode(from_uid: str, to_uid: str) -> bool:
    """Return whether objects of one transfer syntax can, as a rule, be sent as another.

    What the single object allows (its bits, its photometric interpretation) is known only when it is opened: then
    ``NotRepresentable`` says so.
    """
    if from_uid == to_uid:
        return True
    source, target = CODECS.get(from_uid), CODECS.get(to_uid)
    return source is not None and target is not None and source.decodes and target.encodes


def targets_of(from_uid: str) -> tuple[str, ...]:
    """Return the transfer syntaxes that objects stored as ``from_uid`` can be sent as: itself first, then lossless
    ones, then lossy ones."""
    others = [row for row in _ROWS if row.uid != from_uid and can_transcode(from_uid, row.uid)]
    return (from_uid, *(row.uid for row in sorted(others, key=lambda row: row.is_lossy)))


def can_render(from_uid: str) -> bool:
    """Return whether pixel data in this transfer syntax can be decoded."""
    codec = CODECS.get(from_uid)
    return codec is not None and codec.decodes
