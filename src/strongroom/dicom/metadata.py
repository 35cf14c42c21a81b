"""Metadata as instances of it are stored: DICOM JSON checked to the last value, then encoded (PS3.18 10.5.2, annex F).

``parse_json`` and ``checked`` let nothing through that an encoder would have to guess at: a member named twice, a
number that is none, an attribute with two values, a VR that is unknown. ``assemble`` encodes a data set in Explicit VR
Little Endian in pieces, with a gap where a value comes as bulk data: how long that is need not be known until then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from struct import Struct
from typing import Any, Final, NoReturn

from strongroom.dicom.convert import explicit_header
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.dicom.elements import LONG_VRS, PIXEL_DATA, SHORT_VRS, UNDEFINED_LENGTH
from strongroom.dicom.encode import encode_json
from strongroom.dicom.jsonmodel import JsonAttribute, JsonDataset
from strongroom.errors import LimitExceeded, MalformedDataset

SPECIFIC_CHARACTER_SET: Final = "00080005"
MAX_VALUE_BYTES: Final = UNDEFINED_LENGTH - 1

_TAG: Final = re.compile("[0-9A-Fa-f]{8}")
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")
_MAX_NUMBER_CHARS: Final = 32
_FILE_META_GROUP: Final = 0x0002
_FIRST_GROUP: Final = 0x0008
_DELIMITERS_GROUP: Final = 0xFFFE
_VR_NAMES: Final = frozenset(vr.decode() for vr in SHORT_VRS | LONG_VRS)
_BINARY_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_INTEGER_VRS: Final = frozenset(("SL", "SS", "SV", "UL", "US", "UV"))
_NUMBER_VRS: Final = frozenset(("DS", "FD", "FL", "IS"))
_WITH_BACKSLASH: Final = frozenset(("LT", "ST", "UR", "UT"))
"""VRs of one value, in which a backslash is a backslash (PS3.5 6.2)."""

_PN_GROUPS: Final = frozenset(("Alphabetic", "Ideographic", "Phonetic"))
_CONTENT: Final = ("Value", "InlineBinary", "BulkDataURI")

_ITEM: Final = Struct("<HHL")
_ITEM_OPEN: Final = _ITEM.pack(0xFFFE, 0xE000, UNDEFINED_LENGTH)
_ITEM_END: Final = _ITEM.pack(0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = _ITEM.pack(0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """Caps on metadata. ``max_metadata_values`` counts attributes and values, and commas and brackets in text with
    them; ``max_element_depth`` nested sequences."""

    max_metadata_values: int
    max_element_depth: int


def parse_json(raw: bytes, limits: MetadataLimits) -> list[Any]:
    """Return the members of a JSON array of data sets; a single data set may stand without the array.

    None of them is checked yet. Raises MalformedDataset, or LimitExceeded for ``max_metadata_values`` or
    ``max_element_depth``.
    """
    # Before a value is made of it: each costs some sixty bytes, and may be written in two.
    count = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if count > limits.max_metadata_values:
        raise LimitExceeded("max_metadata_values", limits.max_metadata_values, count)
    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_finite_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise LimitExceeded("max_element_depth", limits.max_element_depth) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise MalformedDataset("the metadata is not JSON in UTF-8") from None
    return found if isinstance(found, list) else [found]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedDataset("a JSON object names a member twice")
    return members


def _whole_number(text: str) -> int:
    if len(text) > _MAX_NUMBER_CHARS:
        _no_number(text)
    return int(text)


def _finite_number(text: str) -> float:
    number = float(text) if len(text) <= _MAX_NUMBER_CHARS else float("inf")
    return number if isfinite(number) else _no_number(text)


def _no_number(_text: str) -> NoReturn:
    raise MalformedDataset("a number in the metadata that no VR can have")


# -- checking


def checked(dataset: object, limits: MetadataLimits) -> JsonDataset:
    """Return a data set of the DICOM JSON model, checked, its tags in upper case and ascending.

    File meta information and group lengths are left out. Specific Character Set becomes ISO_IR 192, as text will be
    written, and is there if any text is not ASCII.

    Raises MalformedDataset, or LimitExceeded for ``max_element_depth``.
    """
    found = _checked_item(dataset, 0, limits)
    if SPECIFIC_CHARACTER_SET in found or not _is_ascii(found):
        found[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        return dict(sorted(found.items()))
    return found


def _checked_item(dataset: object, depth: int, limits: MetadataLimits) -> JsonDataset:
    if not isinstance(dataset, dict):
        raise MalformedDataset("a data set is a JSON object")
    result: JsonDataset = {}
    for name, attribute in dataset.items():
        if not isinstance(name, str) or not _TAG.fullmatch(name):
            raise MalformedDataset("an attribute is named by eight hexadecimal digits")
        tag, name = int(name, 16), name.upper()
        group = tag >> 16
        if group == _FILE_META_GROUP or (not tag & 0xFFFF and group >= _FIRST_GROUP):
            continue
        if group < _FIRST_GROUP or group == _DELIMITERS_GROUP:
            raise MalformedDataset("an attribute that no data set has", tag=tag)
        if name in result:
            raise MalformedDataset("an attribute stands there twice", tag=tag)
        if depth and name == SPECIFIC_CHARACTER_SET:
            continue
        result[name] = _checked_attribute(tag, attribute, depth, limits)
    return dict(sorted(result.items()))


def _checked_attribute(tag: int, attribute: object, depth: int, limits: MetadataLimits) -> JsonAttribute:
    vr = attribute.get("vr") if isinstance(attribute, dict) else None
    if not isinstance(attribute, dict) or not isinstance(vr, str) or vr not in _VR_NAMES:
        raise MalformedDataset("an attribute without a known VR", tag=tag)
    content = [name for name in attribute if name != "vr"]
    if not content:
        return {"vr": vr}
    (name, *more) = content
    if more or name not in _CONTENT:
        raise MalformedDataset("an attribute has a Value, an InlineBinary or a BulkDataURI", tag=tag)
    given = attribute[name]
    if name != "Value":
        is_fit = vr in _BINARY_VRS if name == "InlineBinary" else vr != "SQ" and bool(given)
        if not isinstance(given, str) or not is_fit:
            raise MalformedDataset(f"{name} that its VR cannot have", tag=tag)
        return {"vr": vr, name: given} if given else {"vr": vr}
    if not isinstance(given, list) or vr in _BINARY_VRS:
        raise MalformedDataset("a Value that its VR cannot have", tag=tag)
    if vr == "SQ":
        if depth >= limits.max_element_depth:
            raise LimitExceeded("max_element_depth", limits.max_element_depth)
        values: list[Any] = [_checked_item({} if item is None else item, depth + 1, limits) for item in given]
    else:
        values = [_checked_value(tag, vr, value) for value in given]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _checked_value(tag: int, vr: str, value: object) -> object:
    if vr in _INTEGER_VRS:
        is_fit = type(value) is int or (isinstance(value, str) and bool(_WHOLE_NUMBER.fullmatch(value)))
    elif value is None:
        is_fit = vr not in ("AT", "FD", "FL")
    elif vr == "PN":
        is_fit = isinstance(value, dict) and value.keys() <= _PN_GROUPS and all(map(_is_group, value.values()))
    elif vr == "AT":
        is_fit = isinstance(value, str) and bool(_TAG.fullmatch(value))
    elif isinstance(value, str):
        is_fit = _is_text(value) and (vr in _WITH_BACKSLASH or "\\" not in value)
    else:
        is_fit = vr in _NUMBER_VRS and type(value) in (int, float)
    if not is_fit:
        raise MalformedDataset("a value that its VR cannot have", tag=tag)
    return value


def _is_text(value: str) -> bool:
    """Whether text can be written: JSON can name halves of characters, UTF-8 has none."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_group(value: object) -> bool:
    """Whether a value is a component group of a person's name: it does not run over into another group or name."""
    return isinstance(value, str) and _is_text(value) and "=" not in value and "\\" not in value


def _is_ascii(dataset: JsonDataset) -> bool:
    for attribute in dataset.values():
        for value in attribute.get("Value", ()):
            if isinstance(value, dict):
                if not (_is_ascii(value) if attribute["vr"] == "SQ" else all(map(str.isascii, value.values()))):
                    return False
            elif isinstance(value, str) and not value.isascii():
                return False
    return True


# -- encoding


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A gap in an encoded data set: the element whose value is the bulk data at ``uri``, header and all."""

    tag: int
    vr: bytes
    uri: str
    is_nested: bool = False


Piece = bytes | BulkValue


def assemble(dataset: JsonDataset) -> list[Piece]:
    """Return a ``checked`` data set in Explicit VR Little Endian, in pieces. Raises MalformedDataset."""
    pieces: list[Piece] = []
    for piece in _pieces(dataset):
        if isinstance(piece, bytes) and pieces and isinstance(pieces[-1], bytes):
            pieces[-1] += piece
        elif piece:
            pieces.append(piece)
    return pieces


def _pieces(dataset: JsonDataset, is_nested: bool = False) -> Iterator[Piece]:
    plain: JsonDataset = {}
    for name, attribute in dataset.items():
        if not _has_bulk(attribute):
            plain[name] = attribute
            continue
        yield encode_json(plain, EXPLICIT_VR_LITTLE_ENDIAN)
        plain = {}
        tag, vr = int(name, 16), attribute["vr"].encode("ascii")
        if vr != b"SQ":
            yield BulkValue(tag, vr, attribute["BulkDataURI"], is_nested)
            continue
        yield explicit_header(tag, vr, UNDEFINED_LENGTH)
        for item in attribute["Value"]:
            yield _ITEM_OPEN
            yield from _pieces(item, is_nested=True)
            yield _ITEM_END
        yield _SEQUENCE_END
    yield encode_json(plain, EXPLICIT_VR_LITTLE_ENDIAN)


def _has_bulk(attribute: JsonAttribute) -> bool:
    if "BulkDataURI" in attribute:
        return True
    return attribute["vr"] == "SQ" and any(
        _has_bulk(inner) for item in attribute.get("Value", ()) for inner in item.values()
    )


def around_value(value: BulkValue, length: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind ``length`` bytes of bulk data. Raises MalformedDataset: too long."""
    if length > MAX_VALUE_BYTES - 1:
        raise MalformedDataset("a value longer than its length field can say", tag=value.tag)
    is_binary = value.vr.decode("ascii") in _BINARY_VRS or value.vr == b"UI"
    padding = (b"\0" if is_binary else b" ") * (length & 1)
    return explicit_header(value.tag, value.vr, length + len(padding)), padding


def around_fragment(length: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind the one fragment of encapsulated pixel data (PS3.5 A.4), which has
    ``length`` bytes. Raises MalformedDataset: too long."""
    if length > MAX_VALUE_BYTES - 1:
        raise MalformedDataset("a fragment longer than its length field can say", tag=PIXEL_DATA)
    padding = b"\0" * (length & 1)
    empty_offset_table = _ITEM.pack(0xFFFE, 0xE000, 0)
    before = explicit_header(PIXEL_DATA, b"OB", UNDEFINED_LENGTH) + empty_offset_table
    return before + _ITEM.pack(0xFFFE, 0xE000, length + len(padding)), padding + _SEQUENCE_END


_DIMENSIONS: Final = ("00280010", "00280011", "00280002", "00280008")


def native_pixel_bytes(dataset: JsonDataset) -> int | None:
    """Return how many bytes Pixel Data has that is not compressed, by the image's own attributes (PS3.3 C.7.6.3); None
    if they do not say."""
    product = _number(dataset, "00280100")
    for name in _DIMENSIONS:
        default = 1 if name in ("00280008", "00280002") else None
        number = _number(dataset, name, default)
        product = None if product is None or number is None else product * number
    return None if product is None else (product + 7) // 8


def _number(dataset: JsonDataset, name: str, default: int | None = None) -> int | None:
    values = dataset.get(name, {}).get("Value")
    if not values:
        return default
    value = values[0]
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    return value if type(value) is int and value > 0 else None
