"""The header of a DICOM file (PS3.10 7.1): preamble, prefix and File Meta Information."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from strongroom.dicom.elements import LONG_VRS, SHORT_VRS
from strongroom.errors import MalformedDataset, Refused
from strongroom.types import Uid

IMPLEMENTATION_CLASS_UID: Final = Uid("2.25.273169522555273530275126710890409869925")
IMPLEMENTATION_VERSION_NAME: Final = "STRONGROOM_010"
"""Who wrote a file or speaks on an association: this software (PS3.7 D.3.3.2)."""

MAX_HEADER_BYTES: Final = 65536
"""How many first bytes of a file ``parse_file_header`` looks at: a File Meta Information beyond them is refused."""

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_SHORT: Final = Struct("<HH2sH")
_LONG: Final = Struct("<L")
_IMPLICIT: Final = Struct("<HHL")

_GROUP_LENGTH: Final = 0x00020000
_VERSION: Final = 0x00020001
_SOP_CLASS: Final = 0x00020002
_SOP_INSTANCE: Final = 0x00020003
_TRANSFER_SYNTAX: Final = 0x00020010
_IMPLEMENTATION_UID: Final = 0x00020012
_IMPLEMENTATION_VERSION: Final = 0x00020013
_SOURCE_AET: Final = 0x00020016

_USUAL: Final = frozenset({
    _GROUP_LENGTH, _VERSION, _SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX, _IMPLEMENTATION_UID, _IMPLEMENTATION_VERSION,
    _SOURCE_AET, 0x00020017, 0x00020018, 0x00020026, 0x00020027, 0x00020028,
})  # fmt: skip
_USUAL_BYTES: Final = 1024

# Without a header a data set is recognised by how it has to begin: in one of these groups, with a short value.
_FIRST_GROUPS: Final = frozenset({0x0008, 0x0010})
_MAX_FIRST_VALUE_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What the header of a file says. UIDs are as written, padding removed, "" if absent; ``irregularities`` names
    what is not as PS3.10 wants it, with "transfer syntax guessed" if the file does not say."""

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    data_set_offset: int
    """In bytes from the beginning of the file."""
    implementation_uid: str = ""
    implementation_version: str = ""
    source_aet: str = ""
    irregularities: tuple[str, ...] = ()
    unusual: bytes = field(default=b"", repr=False)
    """All of the header if more is in it than it is for: a preamble in use, elements that nobody has to read, or more
    than `_USUAL_BYTES`; else b""."""


def parse_file_header(head: bytes | memoryview) -> FileHeader:
    """Return what the first bytes of a file say; ``head`` is its first ``MAX_HEADER_BYTES``, or all if it is shorter.

    Files without preamble, or that begin with the data set itself, are taken where Implicit or Explicit VR Little
    Endian is evident from the first element.

    Raises:
        Refused: "not-dicom" if this is no DICOM file, "no-transfer-syntax" if none is given and none is evident.
        MalformedDataset: the File Meta Information does not hold together, or does not end within ``head``.
    """
    raw = bytes(head[:MAX_HEADER_BYTES])
    irregularities: list[str] = []
    if raw[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == _PREFIX:
        start = _PREAMBLE_BYTES + 4
    elif raw[:4] == _PREFIX:
        start = 4
        irregularities.append("no preamble")
    else:
        start = 0
        irregularities.append("no preamble and prefix")
    values, end = _parse_meta(raw, start)
    if not values:
        irregularities.append("no file meta information")
    elif _GROUP_LENGTH not in values:
        irregularities.append("no group length")
    elif len(values[_GROUP_LENGTH]) != 4 or _LONG.unpack(values[_GROUP_LENGTH])[0] != end - start - 12:
        irregularities.append("wrong group length")
    transfer_syntax = _text(values, _TRANSFER_SYNTAX)
    if not transfer_syntax:
        transfer_syntax = _guess_transfer_syntax(raw, end, has_meta=bool(values) or start > 0)
        irregularities.append("transfer syntax guessed")
    return FileHeader(
        sop_class=_text(values, _SOP_CLASS),
        sop_uid=_text(values, _SOP_INSTANCE),
        transfer_syntax=transfer_syntax,
        data_set_offset=end,
        implementation_uid=_text(values, _IMPLEMENTATION_UID),
        implementation_version=_text(values, _IMPLEMENTATION_VERSION),
        source_aet=_text(values, _SOURCE_AET),
        irregularities=tuple(irregularities),
        unusual=raw[:end] if _is_unusual(raw, start, end, values) else b"",
    )


def _is_unusual(raw: bytes, start: int, end: int, values: dict[int, bytes]) -> bool:
    return end > _USUAL_BYTES or not values.keys() <= _USUAL or bool(raw[: max(0, start - len(_PREFIX))].strip(b"\0"))


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("ascii", "replace").strip("\0 ")


def _parse_meta(raw: bytes, position: int) -> tuple[dict[int, bytes], int]:
    """Return the values of group 0002 that stand at ``position``, and where another group begins.

    The group length is not relied on: files with a wrong one are common, and what follows the group is evident.
    """
    values: dict[int, bytes] = {}
    while len(raw) - position >= 8:
        group, number, vr, length = _SHORT.unpack_from(raw, position)
        if group != 2:
            break
        tag = group << 16 | number
        value = position + 8
        if vr in LONG_VRS:
            value += 4
            if value > len(raw):
                raise MalformedDataset("the file meta information does not end", tag=tag, offset=position)
            (length,) = _LONG.unpack_from(raw, value - 4)
        elif vr not in SHORT_VRS:
            raise MalformedDataset("an unknown VR in the file meta information", tag=tag, offset=position)
        position = value + length
        if position > len(raw):
            raise MalformedDataset("the file meta information does not end", tag=tag, offset=value)
        values.setdefault(tag, raw[value : value + length])
    return values, position


def _guess_transfer_syntax(raw: bytes, position: int, *, has_meta: bool) -> str:
    """Return the UID that the first element of the data set makes evident. Raises Refused if none is."""
    if len(raw) - position >= 8:
        group, number, length = _IMPLICIT.unpack_from(raw, position)
        vr = raw[position + 4 : position + 6]
        if group in _FIRST_GROUPS and number < 0x0100:
            if vr in SHORT_VRS or vr in LONG_VRS:
                return EXPLICIT_VR_LITTLE_ENDIAN.uid
            if length <= _MAX_FIRST_VALUE_BYTES and not length & 1:
                return IMPLICIT_VR_LITTLE_ENDIAN.uid
    if has_meta:
        raise Refused("no-transfer-syntax", "the file names no transfer syntax, and none is evident")
    raise Refused("not-dicom", "not a DICOM file")


def encode_file_meta(
    sop_class: str,
    sop_uid: str,
    transfer_syntax: str,
    implementation_uid: str,
    implementation_version: str,
    source_aet: str = "",
) -> bytes:
    """Return preamble, prefix and File Meta Information: what stands before the data set in a file (PS3.10 7.1).

    All values are ASCII and have been checked by the caller; the version is cut to the 16 bytes it may have.
    """
    parts = [
        _encode(_VERSION, b"OB", b"\0\1"),
        _encode(_SOP_CLASS, b"UI", sop_class.encode("ascii")),
        _encode(_SOP_INSTANCE, b"UI", sop_uid.encode("ascii")),
        _encode(_TRANSFER_SYNTAX, b"UI", transfer_syntax.encode("ascii")),
        _encode(_IMPLEMENTATION_UID, b"UI", implementation_uid.encode("ascii")),
        _encode(_IMPLEMENTATION_VERSION, b"SH", implementation_version.encode("ascii")[:16]),
    ]
    if source_aet:
        parts.append(_encode(_SOURCE_AET, b"AE", source_aet.encode("ascii")))
    body = b"".join(parts)
    return bytes(_PREAMBLE_BYTES) + _PREFIX + _encode(_GROUP_LENGTH, b"UL", _LONG.pack(len(body))) + body


def _encode(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) & 1:
        value += b"\0" if vr == b"UI" else b" "
    if vr in LONG_VRS:
        return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr, 0) + _LONG.pack(len(value)) + value
    return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value
