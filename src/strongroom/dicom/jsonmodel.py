"""Data sets as DICOM JSON (PS3.18 annex F): from kept elements to plain dictionaries.

Padding is removed, and in AE, CS, DS, IS, LO and SH also leading spaces, which mean nothing (PS3.5 6.2). IS and DS are
numbers where they are valid and strings where they are not. Specific Character Set says ISO_IR 192 in the result, since
JSON is UTF-8. What is binary and larger than the caller allows has a "vr" and nothing else.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from struct import Struct, iter_unpack
from types import MappingProxyType
from typing import Any, Final

from strongroom.dicom.dictionary import TransferSyntax, entry_of
from strongroom.dicom.elements import DEFAULT_LIMITS, IMPLICIT_LITTLE, Coding, RawElement, ScanLimits, coding_of
from strongroom.dicom.outline import Bulk, Outlined
from strongroom.dicom.text import UTF_8, decode, parse_charsets
from strongroom.dicom.tree import Element, parse_items
from strongroom.errors import LimitExceeded, MalformedDataset

JsonAttribute = dict[str, Any]
JsonDataset = dict[str, JsonAttribute]

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103

_BINARY: Final[Mapping[bytes, int]] = MappingProxyType(
    {b"OB": 1, b"OD": 8, b"OF": 4, b"OL": 4, b"OV": 8, b"OW": 2, b"UN": 1}
)
"""VRs that become InlineBinary, with the width of a word in bytes."""

_NUMBERS: Final[Mapping[bytes, str]] = MappingProxyType(
    {b"FL": "f", b"FD": "d", b"SL": "l", b"SS": "h", b"SV": "q", b"UL": "L", b"US": "H", b"UV": "Q"}
)
_ONE_US: Final = Struct("<H")
_VR_NAMES: Final[Mapping[bytes, str]] = {
    vr: vr.decode()
    for vr in b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT "
    b"UV".split()
}
_ONLY_PADDING: Final = [None]
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class _Form:
    """How the values at hand are encoded, and what may be done with them."""

    charsets: tuple[str, ...]
    coding: Coding
    big_endian: bool
    signed: bool
    max_inline_bytes: int
    limits: ScanLimits
    bulk_uri: Callable[[str], object] | None = None


def to_json(
    elements: Mapping[int, RawElement],
    charsets: tuple[str, ...],
    transfer_syntax: TransferSyntax,
    max_inline_bytes: int = 4096,
    limits: ScanLimits = DEFAULT_LIMITS,
) -> JsonDataset:
    """Return ``elements`` as a DICOM JSON object, its keys in the order of ``elements``.

    ``charsets`` is ``text.parse_charsets`` of the data set's (0008,0005). Raises MalformedDataset or LimitExceeded for
    the items of a sequence.
    """
    representation = elements.get(_PIXEL_REPRESENTATION)
    form = _Form(
        charsets,
        coding_of(transfer_syntax),
        not transfer_syntax.little_endian,
        representation is not None and 1 in representation.value[:2],
        max_inline_bytes,
        limits,
    )
    table = _TEXT if form.big_endian else _TEXT_AND_LITTLE
    signed = form.signed and not form.coding.explicit
    result: JsonDataset = {}
    for tag, (vr, value) in elements.items():
        if signed and vr == b"US" and b"SS" in entry_of(tag).vrs:
            vr = b"SS"
        if not value:
            result[_key(tag)] = _empty(tag, vr)
            continue
        convert = table.get(vr)
        if convert is None:
            result[_key(tag)] = _other(tag, vr, value, form)
        else:
            values = convert(value, charsets)
            result[_key(tag)] = _valued(vr, values)
    _declare_utf_8(result)
    return result


def tree_to_json(
    elements: Iterable[Element],
    charsets: tuple[str, ...],
    transfer_syntax: TransferSyntax,
    max_inline_bytes: int = 4096,
    limits: ScanLimits = DEFAULT_LIMITS,
) -> JsonDataset:
    """Return a data set that ``tree.parse_dataset`` has read as a DICOM JSON object. Raises as ``to_json`` does."""
    big_endian = not transfer_syntax.little_endian
    form = _Form(charsets, coding_of(transfer_syntax), big_endian, False, max_inline_bytes, limits)
    return _item(elements, form)


def outline_to_json(
    elements: Sequence[Outlined], transfer_syntax: TransferSyntax, bulk_uri: Callable[[str], object]
) -> JsonDataset:
    """Return a data set that ``outline.outline`` has read as a DICOM JSON object with all of its attributes.

    A bulk value becomes what ``bulk_uri`` makes of its path; keys ascend, group lengths are left out, and of a tag that
    is there twice the first one counts (PS3.18 F.2.2). Raises as ``to_json`` does.
    """
    form = _Form(
        (), coding_of(transfer_syntax), not transfer_syntax.little_endian, False, 1 << 32, DEFAULT_LIMITS, bulk_uri
    )
    return _item(elements, form)


@lru_cache(maxsize=8192)
def _key(tag: int) -> str:
    return f"{tag:08X}"


def _empty(tag: int, vr: bytes) -> JsonAttribute:
    return {"vr": _VR_NAMES[entry_of(tag).vrs[0] if vr == b"UN" else vr]}


def _valued(vr: bytes, values: list[Any]) -> JsonAttribute:
    """Return an attribute; one whose single value was nothing but padding is empty."""
    return {"vr": _VR_NAMES[vr]} if values == _ONLY_PADDING else {"vr": _VR_NAMES[vr], "Value": values}


def _declare_utf_8(result: JsonDataset) -> None:
    if "00080005" in result:
        result["00080005"] = {"vr": "CS", "Value": list(UTF_8)}


def _item(elements: Iterable[Outlined], form: _Form) -> JsonDataset:
    """Return an item; its own Specific Character Set and Pixel Representation hold within it."""
    elements = tuple(elements)
    for element in elements:
        if element.tag == _SPECIFIC_CHARACTER_SET and isinstance(element, Element) and element.value:
            form = _with(form, charsets=parse_charsets(element.value))
        elif element.tag == _PIXEL_REPRESENTATION and isinstance(element, Element):
            form = _with(form, signed=1 in element.value[:2])
    result: JsonDataset = {}
    bulk_uri = form.bulk_uri
    for element in elements:
        vr = element.vr
        if bulk_uri is not None and (not element.tag & 0xFFFF or _key(element.tag) in result):
            continue
        if isinstance(element, Bulk):
            assert bulk_uri is not None
            result[_key(element.tag)] = {"vr": _VR_NAMES[vr], "BulkDataURI": bulk_uri(element.path)}
            continue
        if element.items is not None:
            inner = form
            if vr == b"UN":
                inner = _with(form, coding=IMPLICIT_LITTLE, big_endian=False)
            result[_key(element.tag)] = _sequence(element.items, inner)
            continue
        if form.signed and not form.coding.explicit and vr == b"US" and b"SS" in entry_of(element.tag).vrs:
            vr = b"SS"
        convert = _TEXT.get(vr)
        if not element.value:
            result[_key(element.tag)] = _empty(element.tag, vr)
        elif convert is None:
            result[_key(element.tag)] = _other(element.tag, vr, element.value, form)
        else:
            values = convert(element.value, form.charsets)
            result[_key(element.tag)] = _valued(vr, values)
    _declare_utf_8(result)
    if bulk_uri is not None and (tags := list(result)) != (ascending := sorted(tags)):
        return {tag: result[tag] for tag in ascending}
    return result


def _with(
    form: _Form,
    *,
    charsets: tuple[str, ...] | None = None,
    coding: Coding | None = None,
    big_endian: bool | None = None,
    signed: bool | None = None,
) -> _Form:
    return _Form(
        form.charsets if charsets is None else charsets,
        form.coding if coding is None else coding,
        form.big_endian if big_endian is None else big_endian,
        form.signed if signed is None else signed,
        form.max_inline_bytes,
        form.limits,
        form.bulk_uri,
    )


def _sequence(items: Iterable[tuple[Element, ...]], form: _Form) -> JsonAttribute:
    values = [_item(item, form) for item in items]
    return {"vr": "SQ", "Value": values} if values else {"vr": "SQ"}


def _other(tag: int, vr: bytes, value: bytes, form: _Form) -> JsonAttribute:
    """Return an attribute that is neither text nor a number in text: its bytes have an order or a structure."""
    number = _NUMBERS.get(vr)
    if number is not None:
        return {"vr": _VR_NAMES[vr], "Value": _numbers(value, number, form.big_endian)}
    if vr == b"AT":
        pairs = iter_unpack(">HH" if form.big_endian else "<HH", value[: len(value) & ~3])
        return {"vr": "AT", "Value": [f"{group:04X}{element:04X}" for group, element in pairs]}
    if vr == b"SQ":
        return _sequence(parse_items(value, form.coding, form.limits), form)
    if vr == b"UN":
        return _unknown(tag, value, form)
    width = _BINARY[vr]
    if len(value) > form.max_inline_bytes:
        return {"vr": _VR_NAMES[vr]}
    if form.big_endian and width > 1:
        value = b"".join(value[start : start + width][::-1] for start in range(0, len(value), width))
    return {"vr": _VR_NAMES[vr], "InlineBinary": b2a_base64(value, newline=False).decode("ascii")}


def _unknown(tag: int, value: bytes, form: _Form) -> JsonAttribute:
    """Return an attribute that was written as UN: read as the dictionary knows it, if it does (PS3.5 6.2.2)."""
    vr = entry_of(tag).vrs[0]
    if vr != b"UN":
        element = Element(tag, vr, value, None, 0)
        implicit = _with(form, coding=IMPLICIT_LITTLE, big_endian=False)
        try:
            return _item((element,), implicit)[_key(tag)]
        except (MalformedDataset, LimitExceeded):
            pass  # not what the dictionary says: the bytes themselves are the only truth
    if len(value) > form.max_inline_bytes:
        return {"vr": "UN"}
    return {"vr": "UN", "InlineBinary": b2a_base64(value, newline=False).decode("ascii")}


def _numbers(value: bytes, code: str, big_endian: bool) -> list[int | float | str]:
    layout = Struct((">" if big_endian else "<") + code)
    whole = value[: len(value) - len(value) % layout.size]
    numbers = [number for (number,) in layout.iter_unpack(whole)]
    if code in "fd":
        return [number if isfinite(number) else _name_of(number) for number in numbers]
    return numbers


def _unsigned_shorts(value: bytes, _charsets: tuple[str, ...]) -> list[Any]:
    return list(_ONE_US.unpack(value)) if len(value) == 2 else _numbers(value, "H", False)


def _name_of(number: float) -> str:
    """Return how PS3.18 F.2.3 writes what JSON has no number for."""
    return "NaN" if number != number else "inf" if number > 0 else "-inf"


def _strip_both(value: bytes, _charsets: tuple[str, ...]) -> list[str | None]:
    text = value.decode("ascii", "replace")
    if "\\" in text:
        return [part.strip(" \0") or None for part in text.split("\\")]
    return [text.strip(" \0") or None]


def _strip_both_charset(value: bytes, charsets: tuple[str, ...]) -> list[str | None]:
    text = decode(value, charsets, b"LO")
    if "\\" in text:
        return [part.strip(" \0") or None for part in text.split("\\")]
    return [text.strip(" \0") or None]


def _strip_end(value: bytes, _charsets: tuple[str, ...]) -> list[str | None]:
    text = value.decode("ascii", "replace")
    if "\\" in text:
        return [part.rstrip(" \0") or None for part in text.split("\\")]
    return [text.rstrip(" \0") or None]


def _strip_end_charset(value: bytes, charsets: tuple[str, ...]) -> list[str | None]:
    return [part.rstrip(" \0") or None for part in decode(value, charsets, b"UC").split("\\")]


def _one_text(value: bytes, charsets: tuple[str, ...]) -> list[str | None]:
    """ST, LT, UT: one value, in which a backslash is a backslash."""
    return [decode(value, charsets, b"LT").rstrip(" \0") or None]


def _one_uri(value: bytes, _charsets: tuple[str, ...]) -> list[str | None]:
    return [value.decode("ascii", "replace").rstrip(" \0") or None]


def _person_names(value: bytes, charsets: tuple[str, ...]) -> list[dict[str, str] | None]:
    text = decode(value, charsets, b"PN")
    names = text.split("\\") if "\\" in text else (text,)
    return [_person_name(name.rstrip(" \0")) for name in names]


def _person_name(name: str) -> dict[str, str] | None:
    if "=" not in name:
        return {"Alphabetic": name} if name else None
    groups = zip(_PN_GROUPS, name.split("=", 2), strict=False)
    return {key: group.rstrip(" ") for key, group in groups if group} or None


def _integers(value: bytes, _charsets: tuple[str, ...]) -> list[int | str | None]:
    return [_integer(part) for part in value.decode("ascii", "replace").split("\\")]


def _integer(text: str) -> int | str | None:
    try:
        # An IS has at most 12 characters: more is kept as text, and never a long conversion.
        if len(text) <= 16 and "_" not in text:
            return int(text.rstrip("\0"))
    except ValueError:
        pass
    return text.strip(" \0") or None


def _decimals(value: bytes, _charsets: tuple[str, ...]) -> list[float | str | None]:
    return [_decimal(part) for part in value.decode("ascii", "replace").split("\\")]


def _decimal(text: str) -> float | str | None:
    try:
        if "_" not in text:
            number = float(text.rstrip("\0"))
            if isfinite(number):
                return number
    except ValueError:
        pass
    return text.strip(" \0") or None


_Convert = Callable[[bytes, tuple[str, ...]], list[Any]]

# Plain dictionaries, since a mapping proxy costs as much again at each look-up; nothing writes to them.
_TEXT: Final[Mapping[bytes, _Convert]] = {
    b"AE": _strip_both,
    b"AS": _strip_end,
    b"CS": _strip_both,
    b"DA": _strip_end,
    b"DS": _decimals,
    b"DT": _strip_end,
    b"IS": _integers,
    b"LO": _strip_both_charset,
    b"LT": _one_text,
    b"PN": _person_names,
    b"SH": _strip_both_charset,
    b"ST": _one_text,
    b"TM": _strip_end,
    b"UC": _strip_end_charset,
    b"UI": _strip_end,
    b"UR": _one_uri,
    b"UT": _one_text,
}
"""From a value to what stands under "Value", for every VR whose bytes have no order."""

_TEXT_AND_LITTLE: Final[Mapping[bytes, _Convert]] = {**_TEXT, b"US": _unsigned_shorts}
