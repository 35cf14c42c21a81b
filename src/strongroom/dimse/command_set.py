"""DIMSE command sets to and from bytes: always Implicit VR Little Endian, group 0000 (DICOM PS3.7 6.3 and annex E)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, Final

from strongroom.dimse.messages import RESPONSE_BIT, CStoreRq, Message, NSetRq, UnsupportedRq
from strongroom.errors import LocalProtocolError, MalformedDataset, RemoteProtocolError
from strongroom.types import Uid

MAX_COMMAND_ELEMENTS: Final = 64
"""A command set of the standard has at most 12 elements; the rest is room for retired ones."""

MAX_ERROR_COMMENT_CHARS: Final = 64
MAX_AE_TITLE_CHARS: Final = 16
MAX_UID_CHARS: Final = 64
MAX_REMEMBERED_UIDS: Final = 256

_COMMAND_FIELD_WORD: Final = 0x0100 << 16
_NO_DATASET: Final = b"\x01\x01"
_SOME_DATASET: Final = b"\x01\x00"

# Field name -> (element of group 0000, VR), PS3.7 tables E.1-1 and E.2-1.
_ELEMENTS: Final[dict[str, tuple[int, str]]] = {
    "affected_sop_class_uid": (0x0002, "SOP class"),
    "requested_sop_class_uid": (0x0003, "SOP class"),
    "command_field": (0x0100, "US"),
    "message_id": (0x0110, "US"),
    "message_id_being_responded_to": (0x0120, "US"),
    "move_destination": (0x0600, "AE"),
    "priority": (0x0700, "US"),
    "has_dataset": (0x0800, "Command Data Set Type"),
    "status": (0x0900, "US"),
    "offending_elements": (0x0901, "AT"),
    "error_comment": (0x0902, "LO"),
    "error_id": (0x0903, "US"),
    "affected_sop_instance_uid": (0x1000, "UI"),
    "requested_sop_instance_uid": (0x1001, "UI"),
    "event_type_id": (0x1002, "US"),
    "action_type_id": (0x1008, "US"),
    "remaining_sub_operations": (0x1020, "US"),
    "completed_sub_operations": (0x1021, "US"),
    "failed_sub_operations": (0x1022, "US"),
    "warning_sub_operations": (0x1023, "US"),
    "move_originator_ae_title": (0x1030, "AE"),
    "move_originator_message_id": (0x1031, "US"),
}

# These have a default for whoever builds a message, but no command set may lack them.
_ALWAYS_THERE: Final = frozenset({"has_dataset", "priority"})

# The whole tag is read as one little-endian word: element in the high half, group (always 0) in the low half, so that
# ascending order and group 0000 are two integer comparisons.
_HEADER = struct.Struct("<II")
_GROUP_LENGTH = struct.Struct("<III")
_US_ELEMENT = struct.Struct("<IIH")
_US = struct.Struct("<H")
_NOT_PRINTABLE: Final = {code: "?" for code in range(0x100) if not 0x20 <= code < 0x7F}


def _parse_us(raw: bytes) -> int:
    if len(raw) != 2:
        raise RemoteProtocolError(f"a command element of VR US with {len(raw)} bytes")
    return raw[0] | raw[1] << 8


def _parse_ui(raw: bytes) -> Uid:
    return Uid.parse(raw.decode("latin-1"))


@lru_cache(MAX_REMEMBERED_UIDS)
def _remembered_ui(raw: bytes) -> Uid:
    return _parse_ui(raw)


def _parse_class_ui(raw: bytes) -> Uid:
    """A SOP class UID: one of few, so what was read is remembered, unless padding makes it longer than any UID is."""
    return _remembered_ui(raw) if len(raw) <= MAX_UID_CHARS else _parse_ui(raw)


def _parse_ui_or_text(raw: bytes) -> Uid | str:
    try:
        return _parse_ui(raw)
    except MalformedDataset:
        return raw[:MAX_UID_CHARS].decode("latin-1").translate(_NOT_PRINTABLE)


def _parse_ae(raw: bytes) -> str:
    # No AeTitle: an unusual title is answered ("unknown destination"), it does not cost the peer its association.
    if len(raw) > MAX_AE_TITLE_CHARS:
        raise RemoteProtocolError(f"an AE title of {len(raw)} bytes in a command set")
    return raw.decode("latin-1").strip(" \0").translate(_NOT_PRINTABLE)


def _parse_lo(raw: bytes) -> str:
    return raw[:MAX_ERROR_COMMENT_CHARS].decode("latin-1").strip(" \0").translate(_NOT_PRINTABLE)


def _parse_at(raw: bytes) -> tuple[int, ...]:
    if len(raw) % 4:
        raise RemoteProtocolError(f"a command element of VR AT with {len(raw)} bytes")
    halves = struct.unpack(f"<{len(raw) // 2}H", raw)
    return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))


def _parse_dataset_type(raw: bytes) -> bool:
    if len(raw) != 2:
        raise RemoteProtocolError(f"Command Data Set Type with {len(raw)} bytes")
    return raw != _NO_DATASET


_PARSERS: Final[dict[str, Callable[[bytes], object]]] = {
    "US": _parse_us,
    "UI": _parse_ui,
    "SOP class": _parse_class_ui,
    "AE": _parse_ae,
    "LO": _parse_lo,
    "AT": _parse_at,
    "Command Data Set Type": _parse_dataset_type,
}


# What is read otherwise than its VR says, by message: an answer can name what is wrong with it.
_PARSER_OF: Final[dict[tuple[type[Any], str], Callable[[bytes], object]]] = {
    (CStoreRq, "affected_sop_instance_uid"): _parse_ui_or_text,
}


def _raw_ui(value: str) -> bytes:
    raw = value.encode("ascii")
    return raw + b"\0" if len(raw) & 1 else raw


def _raw_ae(value: str) -> bytes:
    raw = value.encode("ascii")
    if len(raw) > MAX_AE_TITLE_CHARS:
        raise LocalProtocolError(f"an AE title of {len(raw)} characters")
    return raw + b" " if len(raw) & 1 else raw


def _raw_lo(value: str) -> bytes:
    raw = value[:MAX_ERROR_COMMENT_CHARS].translate(_NOT_PRINTABLE).encode("ascii", "replace")
    return raw + b" " if len(raw) & 1 else raw


def _raw_at(value: tuple[int, ...]) -> bytes:
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)


def _raw_dataset_type(value: bool) -> bytes:
    return _SOME_DATASET if value else _NO_DATASET


_RAW: Final[dict[str, Callable[[Any], bytes]]] = {
    "UI": _raw_ui,
    "SOP class": _raw_ui,
    "AE": _raw_ae,
    "LO": _raw_lo,
    "AT": _raw_at,
    "Command Data Set Type": _raw_dataset_type,
}


def _encoder(element: int, vr: str) -> Callable[[Any], bytes]:
    """Return the function that encodes a value of command element (0000,``element``), header included."""
    word = element << 16
    if vr == "US":
        return lambda value: _US_ELEMENT.pack(word, 2, value)
    to_raw = _RAW[vr]

    def encode(value: object) -> bytes:
        raw = to_raw(value)
        return _HEADER.pack(word, len(raw)) + raw

    return encode


class _Absent:
    """Stands for the default of a mandatory field; equal to nothing a message can hold."""


_MANDATORY: Final = _Absent()


@dataclass(frozen=True, slots=True)
class _Shape:
    """What parsing and encoding one class of message need, worked out once from its declaration.

    ``to_parse``: (tag word, parser, default) in the order of the constructor. ``to_encode``: in the order of tags,
    either (bytes, "", ..) for a constant element or (b"", field name, encoder, default).
    """

    build: Callable[..., Message]
    to_parse: tuple[tuple[int, Callable[[bytes], object], object], ...]
    to_encode: tuple[tuple[bytes, str, Callable[[Any], bytes], object], ...]
    fixed_dataset: bool | None


def _shape(message_class: type[Any]) -> _Shape:
    declared = fields(message_class)
    names = {field.name for field in declared}
    to_parse = []
    rows: list[tuple[int, bytes, str, Callable[[Any], bytes], object]] = []
    for field in declared:
        element, vr = _ELEMENTS[field.name]
        mandatory = field.default is MISSING or field.name in _ALWAYS_THERE
        default = _MANDATORY if mandatory else field.default
        parse = _PARSER_OF.get((message_class, field.name), _PARSERS[vr])
        to_parse.append((element << 16, parse, default))
        rows.append((element, b"", field.name, _encoder(element, vr), default))
    constants = {"command_field": "COMMAND_FIELD", "has_dataset": "has_dataset"}
    for name, constant in constants.items():
        if name not in names:
            element, vr = _ELEMENTS[name]
            encode = _encoder(element, vr)
            rows.append((element, encode(getattr(message_class, constant)), "", encode, None))
    rows.sort(key=lambda row: row[0])
    return _Shape(
        build=message_class,
        to_parse=tuple(to_parse),
        to_encode=tuple(row[1:] for row in rows),
        fixed_dataset=None if "has_dataset" in names else message_class.has_dataset,
    )


_SHAPE_OF: Final[dict[type[Any], _Shape]] = {
    message_class: _shape(message_class) for message_class in (*Message.__args__,)
}
_SHAPE_OF_FIELD: Final[dict[int, _Shape]] = {
    message_class.COMMAND_FIELD: shape
    for message_class, shape in _SHAPE_OF.items()
    if hasattr(message_class, "COMMAND_FIELD") and message_class is not NSetRq
}
_DATASET_TYPE_WORD: Final = _ELEMENTS["has_dataset"][0] << 16


def parse_command(raw: bytes) -> Message:
    """Return the message whose whole command set is ``raw``; the caller has capped its length.

    Elements of group 0000 that the message does not have are skipped. Two elements out of order, an element twice or
    of another group, an odd length, a wrong group length, a missing or malformed mandatory element, and a Command Data
    Set Type that contradicts the message are refused.

    Raises:
        RemoteProtocolError: the command set is malformed, or is an unknown response.

    PS3.7 6.3, 9.3, 10.3 and annex E.
    """
    values = _split_elements(raw)
    command_field = _parse_us(values.get(_COMMAND_FIELD_WORD, b""))
    shape = _SHAPE_OF_FIELD.get(command_field)
    if shape is None:
        if command_field & RESPONSE_BIT:
            raise RemoteProtocolError(f"unknown response, command field {command_field:04X}")
        shape = _SHAPE_OF[UnsupportedRq]
    arguments = []
    value_of = values.get
    try:
        for word, parse, default in shape.to_parse:
            value = value_of(word)
            if value:
                arguments.append(parse(value))
            elif default is not _MANDATORY:
                arguments.append(default)
            else:
                raise RemoteProtocolError(f"(0000,{word >> 16:04X}) missing in command {command_field:04X}")
    except MalformedDataset as error:
        raise RemoteProtocolError(f"command {command_field:04X}: {error.what}") from error
    fixed = shape.fixed_dataset
    if fixed is not None and fixed is not _parse_dataset_type(value_of(_DATASET_TYPE_WORD, b"")):
        raise RemoteProtocolError(f"Command Data Set Type contradicts command {command_field:04X}")
    return shape.build(*arguments)


def _split_elements(raw: bytes) -> dict[int, bytes]:
    """Return the value bytes of each element by tag word, structure checked. Raises RemoteProtocolError."""
    end = len(raw)
    if end < 12:
        raise RemoteProtocolError(f"a command set of {end} bytes")
    first_word, first_length, group_length = _GROUP_LENGTH.unpack_from(raw)
    if first_word or first_length != 4 or group_length != end - 12:
        raise RemoteProtocolError(f"command group length does not describe the command set of {end} bytes")
    values: dict[int, bytes] = {}
    read_header = _HEADER.unpack_from
    position = 12
    previous = 0
    while position < end:
        if end - position < 8:
            raise RemoteProtocolError("command set ends inside an element header")
        word, length = read_header(raw, position)
        position += 8
        if word <= previous or word & 0xFFFF:
            raise RemoteProtocolError(f"command element out of order or not of group 0000 at byte {position - 8}")
        if length & 1 or length > end - position:
            raise RemoteProtocolError(f"(0000,{word >> 16:04X}) has a length of {length} bytes")
        values[word] = raw[position : position + length]
        if len(values) > MAX_COMMAND_ELEMENTS:
            raise RemoteProtocolError(f"more than {MAX_COMMAND_ELEMENTS} command elements")
        position += length
        previous = word
    return values


def encode_command(message: Message) -> bytes:
    """Return the whole command set of ``message``, group length included.

    An Error Comment is cut to 64 characters and put into ASCII: it is advice, and must never cost the answer.

    Raises:
        LocalProtocolError: a value does not fit its element.
    """
    parts = []
    try:
        for constant, name, encode, default in _SHAPE_OF[type(message)].to_encode:
            if constant:
                parts.append(constant)
            else:
                value = getattr(message, name)
                if value != default:
                    parts.append(encode(value))
    except (struct.error, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"{type(message).__name__}.{name} cannot be encoded") from error
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 4, len(body)) + body
