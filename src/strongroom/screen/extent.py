"""How far what was found reaches, where its own header does not say: to the end of the value that it stands in."""

from __future__ import annotations

from typing import Final, Literal

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import SHORT_VRS, UNDEFINED_LENGTH
from strongroom.screen.findings import PREAMBLE, TRAILING
from strongroom.screen.walk import Located

_PREAMBLE_BYTES: Final = 128
_HEADER_BYTES: Final = 8
_META_GROUP: Final = 2


def value_end(at: Located, data: bytes, base: int, syntax: TransferSyntax | None) -> int:
    """Return where the value at ``at`` ends, by the header before it; 0 if that is not within ``data``, which begins at
    ``base``, or does not say."""
    if at.label == PREAMBLE:
        return _PREAMBLE_BYTES
    if at.label == TRAILING:
        return base + len(data)  # as far as is at hand, which is all but for megabytes of it
    start = at.offset - base
    if at.label not in ("", "fragment") or not _HEADER_BYTES <= start <= len(data):
        return 0
    header = data[start - _HEADER_BYTES : start]
    is_big = syntax is not None and not syntax.little_endian and at.tag >> 16 != _META_GROUP
    order: Literal["big", "little"] = "big" if is_big else "little"
    is_short = at.label == "" and at.vr in SHORT_VRS and header[4:6] == at.vr
    length = int.from_bytes(header[6:8] if is_short else header[4:8], order)
    return 0 if length == UNDEFINED_LENGTH else at.offset + length
