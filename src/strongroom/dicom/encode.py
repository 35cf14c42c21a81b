"""Encode small data sets: query identifiers, answers, directory records (DICOM PS3.5 7, 6.2).

What comes out is in tag order, of even length throughout, with defined lengths, in Implicit or Explicit VR Little
Endian. Values are those of the DICOM JSON model (PS3.18 annex F), or plain Python values by tag.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from strongroom.dicom.dictionary import TransferSyntax, vr_of
from strongroom.dicom.elements import LONG_VRS, SHORT_VRS
from strongroom.dicom.jsonmodel import JsonDataset
from strongroom.dicom.text import CHARSET_VRS, UTF_8
from strongroom.dicom.text import encode as encode_text
from strongroom.errors import LimitExceeded, LocalProtocolError, MalformedDataset

_MAX_DEPTH: Final = 32
_MAX_SHORT_LENGTH: Final = 0xFFFE
_SPECIFIC_CHARACTER_SET: Final = 0x00080005

_IMPLICIT: Final = Struct("<HHL")
_SHORT: Final = Struct("<HH2sH")
_LONG: Final = Struct("<HH2sHL")
_ITEM_HEADER: Final = Struct("<HHL")
_TAG: Final = Struct("<HH")

_NUMBER_CODES: Final[Mapping[bytes, str]] = {
    b"FL": "f", b"FD": "d", b"SL": "l", b"SS": "h", b"SV": "q", b"UL": "L", b"US": "H", b"UV": "Q",
}  # fmt: skip
_BINARY_VRS: Final = frozenset(b"OB OD OF OL OV OW UN".split())
_VR_BYTES: Final[Mapping[str, bytes]] = {vr.decode(): vr for vr in SHORT_VRS | LONG_VRS}
# The padding byte by VR; what is not named is padded with a space (PS3.5 6.2).
_PADDING: Final[Mapping[bytes, bytes]] = {b"UI": b"\0", **dict.fromkeys(_BINARY_VRS, b"\0")}

PythonValue = str | int | float | bytes | Sequence[Any] | None


def encode_json(dataset: JsonDataset, transfer_syntax: TransferSyntax, charsets: tuple[str, ...] = UTF_8) -> bytes:
    """Return the data set that a DICOM JSON object describes, its text in ``charsets``.

    (0008,0005) is written as the object has it; ``encode_answer`` sets it.

    Raises MalformedDataset if the object does not hold together or has text that ``charsets`` cannot encode.
    """
    return _Encoder(transfer_syntax, charsets).json_item(dataset, 0)


def encode_answer(dataset: JsonDataset, transfer_syntax: TransferSyntax, requested: tuple[str, ...] = ()) -> bytes:
    """Return ``dataset`` for a peer that asked in the character sets ``requested``.

    Text that is all ASCII goes without (0008,0005); else it is written in ``requested`` if that can hold it, and in
    UTF-8 if not, and (0008,0005) says which. What no character set allows where it stands, such as an umlaut in a code
    string, becomes "?". Raises MalformedDataset if the object does not hold together.
    """
    bare = {key: attribute for key, attribute in dataset.items() if key != "00080005"}
    try:
        return _Encoder(transfer_syntax, ()).json_item(bare, 0)
    except _NotEncodable:
        pass
    for charsets in (requested, UTF_8):
        if charsets:
            named = {**bare, "00080005": {"vr": "CS", "Value": list(charsets)}}
            try:
                return _Encoder(transfer_syntax, charsets, is_answer=True).json_item(named, 0)
            except _NotEncodable:
                continue
    raise MalformedDataset("text that no character set has")


def encode_values(
    values: Mapping[int, PythonValue], transfer_syntax: TransferSyntax, charsets: tuple[str, ...] = UTF_8
) -> bytes:
    """Return a data set of plain values by tag: text, numbers, bytes, lists of them, or for a sequence a list of such
    mappings; None or an empty list is an empty value. VRs are the dictionary's. Raises as ``encode_json`` does."""
    return _Encoder(transfer_syntax, charsets).value_item(values, 0)


class _NotEncodable(MalformedDataset):
    """Text that the character sets do not have."""


class _Encoder:
    """A transfer syntax and the character sets of one data set; in an answer, "?" stands for what cannot be there."""

    __slots__ = ("charsets", "explicit", "is_answer")

    def __init__(self, transfer_syntax: TransferSyntax, charsets: tuple[str, ...], *, is_answer: bool = False) -> None:
        if transfer_syntax.deflated or not transfer_syntax.little_endian:
            raise LocalProtocolError("data sets are encoded in little endian and not deflated")
        self.explicit = transfer_syntax.explicit
        self.charsets = charsets
        self.is_answer = is_answer

    def json_item(self, dataset: JsonDataset, depth: int) -> bytes:
        """Return the elements of one JSON object."""
        parts: list[bytes] = []
        for key in sorted(dataset):
            attribute = dataset[key]
            try:
                tag = int(key, 16)
                vr = _VR_BYTES[attribute["vr"]]
                values = attribute.get("Value")
            except (KeyError, ValueError, TypeError, AttributeError):
                raise MalformedDataset("a DICOM JSON attribute without a known tag and VR") from None
            if values:
                raw = self.sequence(values, self.json_item, depth) if vr == b"SQ" else self.value(tag, vr, values)
            elif "InlineBinary" in attribute:
                raw = self.value(tag, vr, [_from_base64(tag, attribute["InlineBinary"])])
            else:
                raw = b""
            self.element(parts, tag, vr, raw)
        return b"".join(parts)

    def value_item(self, values: Mapping[int, PythonValue], depth: int) -> bytes:
        """Return the elements of one mapping of plain values."""
        parts: list[bytes] = []
        for tag in sorted(values):
            value, vr = values[tag], vr_of(tag)
            listed = [] if value is None else value if isinstance(value, (list, tuple)) else [value]
            if not listed:
                raw = b""
            elif vr == b"SQ":
                raw = self.sequence(listed, self.value_item, depth)
            else:
                raw = self.value(tag, vr, listed)
            self.element(parts, tag, vr, raw)
        return b"".join(parts)

    def element(self, parts: list[bytes], tag: int, vr: bytes, raw: bytes) -> None:
        """Append one element, padded to an even length."""
        length = len(raw)
        if length & 1:
            raw += _PADDING.get(vr, b" ")
            length += 1
        if not self.explicit:
            parts.append(_IMPLICIT.pack(tag >> 16, tag & 0xFFFF, length) + raw)
        elif vr in SHORT_VRS and length <= _MAX_SHORT_LENGTH:
            parts.append(_SHORT.pack(tag >> 16, tag & 0xFFFF, vr, length) + raw)
        else:
            # What does not fit a 16-bit length is UN, which has a 32-bit one (PS3.5 6.2.2 note 3).
            long_vr = vr if vr in LONG_VRS else b"UN"
            parts.append(_LONG.pack(tag >> 16, tag & 0xFFFF, long_vr, 0, length) + raw)

    def sequence(self, items: Sequence[Any], encode_item: Callable[[Any, int], bytes], depth: int) -> bytes:
        """Return the items of a sequence, headers included."""
        if depth >= _MAX_DEPTH:
            raise LimitExceeded("max_element_depth", _MAX_DEPTH)
        encoded = (encode_item(item or {}, depth + 1) for item in items)
        return b"".join(_ITEM_HEADER.pack(0xFFFE, 0xE000, len(item)) + item for item in encoded)

    def value(self, tag: int, vr: bytes, values: Sequence[Any]) -> bytes:
        """Return the value field of an element that is no sequence, not yet padded."""
        if len(values) == 1 and type(values[0]) is str and values[0].isascii() and vr not in _NOT_PLAIN_TEXT:
            return values[0].encode("ascii")
        try:
            if vr in _BINARY_VRS:
                return b"".join(values)
            code = _NUMBER_CODES.get(vr)
            if code is not None:
                return _pack_numbers(code, values)
            if vr == b"AT":
                return b"".join(_pack_tag(value) for value in values)
            text = "\\".join(_as_text(value, vr) for value in values)
        except (struct.error, ValueError, TypeError, OverflowError):
            raise MalformedDataset("a value that its VR cannot have", tag=tag) from None
        if self.is_answer and vr not in CHARSET_VRS:
            return text.encode("ascii", "replace")
        raw = encode_text(text, self.charsets if vr in CHARSET_VRS else ())
        if raw is None:
            raise _NotEncodable("text that the character set does not have", tag=tag)
        return raw


_NOT_PLAIN_TEXT: Final = frozenset({b"AT", b"PN", *_NUMBER_CODES, *_BINARY_VRS})


def _from_base64(tag: int, text: object) -> bytes:
    try:
        if isinstance(text, str):
            return a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    raise MalformedDataset("InlineBinary that is not base64", tag=tag)


def _pack_numbers(code: str, values: Iterable[Any]) -> bytes:
    convert: Callable[[Any], float] = float if code in "fd" else int
    numbers = [convert(value) for value in values]
    return struct.pack(f"<{len(numbers)}{code}", *numbers)


def _pack_tag(value: str | int) -> bytes:
    tag = int(value, 16) if isinstance(value, str) else value
    return _TAG.pack(tag >> 16, tag & 0xFFFF)


def _as_text(value: Any, vr: bytes) -> str:
    """Return one value as the text that stands in the data set. Raises TypeError if it is none."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if vr == b"PN" and isinstance(value, Mapping):
        groups = (value.get("Alphabetic", ""), value.get("Ideographic", ""), value.get("Phonetic", ""))
        return "=".join(groups).rstrip("=")
    if isinstance(value, float):
        return _decimal_string(value) if vr == b"DS" or not value.is_integer() else str(int(value))
    if isinstance(value, int):
        return str(value)
    raise TypeError


def _decimal_string(number: float) -> str:
    """Return ``number`` in at most the 16 characters of a DS, as exactly as they allow."""
    text = repr(number)
    digits = 16
    while len(text) > 16:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text
