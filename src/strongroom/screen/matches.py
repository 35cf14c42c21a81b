"""What the parser of a format gives: which rule it bears out, how surely, and what the structure proves."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from strongroom.screen.findings import Confidence

U16: Final = Struct("<H")
U32: Final = Struct("<L")
U64: Final = Struct("<Q")
U16_BIG: Final = Struct(">H")
U32_BIG: Final = Struct(">L")
U64_BIG: Final = Struct(">Q")


class Match(NamedTuple):
    """A format that was recognised. ``at`` is where it begins in the bytes looked at, ``size_bytes`` what its own
    header says of its size, 0 if it does not; ``what`` says what is proven."""

    rule: str
    confidence: Confidence
    what: str
    at: int = 0
    size_bytes: int = 0


LOW: Final = Confidence.LOW
MEDIUM: Final = Confidence.MEDIUM
HIGH: Final = Confidence.HIGH
