"""Data sets as XML: the Native DICOM Model (PS3.19 A.1), to and from the DICOM JSON model (PS3.18 annex F).

What XML could do beyond elements and text is refused before it does anything: a document type, entities, processing
instructions, another encoding than UTF-8. Characters that XML cannot hold are written as U+FFFD.
"""

from __future__ import annotations

import pyexpat  # xml.parsers.expat under its own name: of all of xml, only this may be touched
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NoReturn

from strongroom.dicom.dictionary import keyword_of
from strongroom.dicom.elements import DEFAULT_LIMITS, LONG_VRS, SHORT_VRS, ScanLimits
from strongroom.dicom.jsonmodel import JsonAttribute, JsonDataset
from strongroom.errors import LimitExceeded, MalformedDataset

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_VR_NAMES: Final = frozenset(vr.decode() for vr in SHORT_VRS | LONG_VRS)
_INTEGER_VRS: Final = frozenset(["SL", "SS", "SV", "UL", "US", "UV"])
_FLOAT_VRS: Final = frozenset(("FL", "FD"))
_MAX_NUMBER_CHARS: Final = 32
_PIECE_BYTES: Final = 65_536
MAX_TAG_BYTES: Final = 65_536
"""From "<" to ">": a million XML attributes in one element are all read before anybody is told of the first."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_FORBIDDEN: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)

# -- out


def to_xml(dataset: JsonDataset) -> bytes:
    """Return a data set of the DICOM JSON model as an XML document in UTF-8.

    Raises MalformedDataset if the data set is none of that model.
    """
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">']
    try:
        _write_item(parts, dataset)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise MalformedDataset("not a data set of the DICOM JSON model") from None
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode("utf-8")


def _write_item(parts: list[str], dataset: JsonDataset) -> None:
    for name, attribute in dataset.items():
        tag, vr = int(name, 16), attribute["vr"]
        head = f'<DicomAttribute tag="{name}" vr="{vr}"'
        if keyword := keyword_of(tag):
            head += f' keyword="{keyword}"'
        if creator := _creator(dataset, tag):
            head += f' privateCreator="{_escaped(creator)}"'
        body_at = len(parts)
        parts.append("")
        _write_values(parts, vr, attribute)
        is_empty = len(parts) == body_at + 1
        parts[body_at] = head + ("/>" if is_empty else ">")
        if not is_empty:
            parts.append("</DicomAttribute>")


def _creator(dataset: JsonDataset, tag: int) -> str:
    """Return the private creator whose block a private tag lies in, "" if none is named (PS3.5 7.8.1)."""
    if not tag & 0x10000 or tag & 0xFFFF < 0x1000:
        return ""
    named = dataset.get(f"{tag >> 16:04X}00{tag >> 8 & 0xFF:02X}", {}).get("Value") or [""]
    return named[0] if isinstance(named[0], str) else ""


def _write_values(parts: list[str], vr: str, attribute: JsonAttribute) -> None:
    if "BulkDataURI" in attribute:
        parts.append(f'<BulkData uri="{_escaped(attribute["BulkDataURI"])}"/>')
    elif "InlineBinary" in attribute:
        parts.append(f"<InlineBinary>{_escaped(attribute['InlineBinary'])}</InlineBinary>")
    for number, value in enumerate(attribute.get("Value") or (), 1):
        if vr == "SQ":
            parts.append(f'<Item number="{number}">')
            _write_item(parts, value or {})
            parts.append("</Item>")
        elif vr == "PN":
            _write_name(parts, number, value or {})
        elif value is None:
            parts.append(f'<Value number="{number}"/>')
        else:
            parts.append(f'<Value number="{number}">{_escaped(_text(value))}</Value>')


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError


def _write_name(parts: list[str], number: int, name: Mapping[str, str]) -> None:
    parts.append(f'<PersonName number="{number}">')
    for group in _GROUPS:
        if not name.get(group):
            continue
        parts.append(f"<{group}>")
        for component, text in zip(_COMPONENTS, name[group].split("^", len(_COMPONENTS) - 1), strict=False):
            if text:
                parts.append(f"<{component}>{_escaped(text)}</{component}>")
        parts.append(f"</{group}>")
    parts.append("</PersonName>")


def _escaped(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text).translate(_ESCAPES)


# -- in


def from_xml(raw: bytes, limits: ScanLimits = DEFAULT_LIMITS) -> JsonDataset:
    """Return the data set in an XML document as a DICOM JSON object, its keys ascending.

    IS and DS are numbers where they are valid. A private attribute given by block-free tag (gggg00ee) and creator is
    put into that creator's block.

    Raises MalformedDataset if this is no such document, LimitExceeded for ``max_element_depth`` or
    ``max_element_count``, which counts elements and values.
    """
    return _Reader(limits).read(raw)


@dataclass(slots=True)
class _Attribute:
    """An attribute that is open: its values so far."""

    name: str
    vr: str
    creator: str
    values: list[Any] = field(default_factory=list)
    other: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Follows one document: which elements are open, the items and the attributes in them."""

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self._open: list[str] = []
        self._items: list[dict[str, _Attribute]] = []
        self._attributes: list[_Attribute] = []
        self._text: list[str] = []
        self._name: dict[str, list[str]] = {}
        self._count = 0
        self._dataset: JsonDataset = {}
        parser = pyexpat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = _refuse("a document type")
        parser.EntityDeclHandler = _refuse("an entity")
        parser.UnparsedEntityDeclHandler = _refuse("an entity")
        parser.ExternalEntityRefHandler = _refuse("an entity")
        parser.SkippedEntityHandler = _refuse("an entity")
        parser.ProcessingInstructionHandler = _refuse("a processing instruction")
        if hasattr(parser, "SetReparseDeferralEnabled"):  # else what is taken cannot be told from what is put off
            parser.SetReparseDeferralEnabled(False)
        self._parser = parser

    def read(self, raw: bytes) -> JsonDataset:
        if b"\0" in raw:  # UTF-16 by its byte order mark, whatever the parser was told
            raise MalformedDataset("XML in another encoding than UTF-8")
        try:
            for at in range(0, len(raw), _PIECE_BYTES):
                self._parser.Parse(raw[at : at + _PIECE_BYTES], False)
                # The index is where what could not be taken yet begins; of text there is nothing of that kind.
                if at + _PIECE_BYTES - self._parser.CurrentByteIndex > _PIECE_BYTES + MAX_TAG_BYTES:
                    raise MalformedDataset(f"XML with a tag of more than {MAX_TAG_BYTES} bytes")
            self._parser.Parse(b"", True)
        except pyexpat.ExpatError as error:
            raise MalformedDataset(f"not well-formed XML: {pyexpat.ErrorString(error.code)}") from None
        return self._dataset

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() not in ("UTF-8", "US-ASCII"):
            raise MalformedDataset("XML in another encoding than UTF-8")

    def _start(self, qualified: str, given: dict[str, str]) -> None:
        namespace, _, name = qualified.rpartition(" ")
        parent = self._open[-1] if self._open else ""
        if namespace not in ("", NAMESPACE) or name not in _INSIDE.get(parent, ()):
            raise MalformedDataset("XML that is no Native DICOM Model")
        self._add(1)
        self._open.append(name)
        self._text.clear()
        if name == "DicomAttribute":
            self._start_attribute(given)
        elif name in ("Value", "PersonName", "Item"):
            self._start_value(name, given.get("number", ""))
        elif name == "BulkData":
            uri = given.get("uri", "")
            if not uri:
                raise MalformedDataset("BulkData without a uri")
            self._attributes[-1].other["BulkDataURI"] = uri
        elif name in _GROUPS:
            self._name[name] = [""] * len(_COMPONENTS)
        elif name == "NativeDicomModel":
            self._items.append({})

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > self._limits.max_element_count:
            raise LimitExceeded("max_element_count", self._limits.max_element_count)

    def _start_attribute(self, given: dict[str, str]) -> None:
        tag, vr = given.get("tag", ""), given.get("vr", "")
        if not _TAG.fullmatch(tag) or vr not in _VR_NAMES:
            raise MalformedDataset("a DicomAttribute without a tag and a known VR")
        self._attributes.append(_Attribute(tag.upper(), vr, given.get("privateCreator", "")))

    def _start_value(self, name: str, number: str) -> None:
        attribute = self._attributes[-1]
        if name != _VALUE_OF.get(attribute.vr, "Value"):
            raise MalformedDataset("a value of another kind than its VR has", tag=int(attribute.name, 16))
        if not number.isascii() or not number.isdigit() or len(number) > 9 or int(number) <= len(attribute.values):
            raise MalformedDataset("values are numbered from 1 upwards", tag=int(attribute.name, 16))
        missing = int(number) - len(attribute.values) - 1
        self._add(missing)
        attribute.values += [None] * missing
        self._name = {}
        if name == "Item":
            self._items.append({})
            if len(self._items) > self._limits.max_element_depth + 1:
                raise LimitExceeded("max_element_depth", self._limits.max_element_depth)

    def _characters(self, text: str) -> None:
        if self._open[-1] in _TEXT_ELEMENTS:
            self._text.append(text)
        elif not text.isspace():
            raise MalformedDataset("text where the Native DICOM Model has none")

    def _end(self, _qualified: str) -> None:
        name = self._open.pop()
        text = "".join(self._text)
        if name == "Value":
            attribute = self._attributes[-1]
            attribute.values.append(_parse_value(attribute, text))
        elif name == "InlineBinary":
            self._attributes[-1].other["InlineBinary"] = text.strip()
        elif name in _COMPONENTS:
            self._name[self._open[-1]][_COMPONENTS.index(name)] = text
        elif name == "PersonName":
            groups = {group: "^".join(parts).rstrip("^") for group, parts in self._name.items()}
            self._attributes[-1].values.append({group: each for group, each in groups.items() if each} or None)
        elif name == "Item":
            self._attributes[-1].values.append(_finished(self._items.pop()))
        elif name == "DicomAttribute":
            self._end_attribute(self._attributes.pop())
        elif name == "NativeDicomModel":
            self._dataset = _finished(self._items.pop())
        self._text.clear()

    def _end_attribute(self, attribute: _Attribute) -> None:
        item = self._items[-1]
        if attribute.creator and int(attribute.name[4:], 16) < 0x100:
            attribute.name = _in_block(item, attribute)
        if attribute.name in item:
            raise MalformedDataset("an attribute stands there twice", tag=int(attribute.name, 16))
        if len(attribute.other) + bool(attribute.values) > 1:
            raise MalformedDataset("an attribute with values of two kinds", tag=int(attribute.name, 16))
        item[attribute.name] = attribute


_ATTRIBUTES: Final = frozenset({"DicomAttribute"})
_INSIDE: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"NativeDicomModel"}),
    "NativeDicomModel": _ATTRIBUTES,
    "Item": _ATTRIBUTES,
    "DicomAttribute": frozenset({"Value", "PersonName", "Item", "BulkData", "InlineBinary"}),
    "PersonName": frozenset(_GROUPS),
    **dict.fromkeys(_GROUPS, frozenset(_COMPONENTS)),
}
"""Which elements may stand in which (PS3.19 A.1.5); all others hold none."""

_VALUE_OF: Final[Mapping[str, str]] = {"SQ": "Item", "PN": "PersonName"}
_TEXT_ELEMENTS: Final = frozenset(("Value", "InlineBinary", *_COMPONENTS))


def _refuse(what: str) -> Callable[..., NoReturn]:
    def refuse(*_given: object) -> NoReturn:
        raise MalformedDataset(f"XML with {what}")

    return refuse


def _finished(item: dict[str, _Attribute]) -> JsonDataset:
    dataset: JsonDataset = {}
    for name in sorted(item):
        attribute = item[name]
        dataset[name] = {"vr": attribute.vr, **attribute.other}
        if attribute.values:
            dataset[name]["Value"] = attribute.values
    return dataset


def _in_block(item: dict[str, _Attribute], attribute: _Attribute) -> str:
    """Return the tag of a private attribute in its creator's block; one that is not there yet is reserved."""
    group, element, creator = attribute.name[:4], attribute.name[6:], attribute.creator
    for block in range(0x10, 0x100):
        reserved = item.get(f"{group}00{block:02X}")
        if reserved is None:
            item[f"{group}00{block:02X}"] = _Attribute(f"{group}00{block:02X}", "LO", "", [creator])
        elif reserved.values != [creator]:
            continue
        return f"{group}{block:02X}{element}"
    raise MalformedDataset("no block is free for a private attribute", tag=int(attribute.name, 16))


def _parse_value(attribute: _Attribute, text: str) -> object:
    """Return one value as the DICOM JSON model has it."""
    vr, bare = attribute.vr, text.strip()
    if not text or (vr in _NUMBER_VRS and not bare):
        return None
    if vr not in _NUMBER_VRS:
        return text
    if len(bare) <= _MAX_NUMBER_CHARS and bare.isascii() and "_" not in bare:
        try:
            number = int(bare) if vr in _INTEGER_VRS or vr == "IS" else float(bare)
        except ValueError:
            number = None
        if number is not None:
            return number if isfinite(number) else bare
    if vr in ("DS", "IS"):
        return text
    raise MalformedDataset("a value that its VR cannot have", tag=int(attribute.name, 16))


_NUMBER_VRS: Final = _INTEGER_VRS | _FLOAT_VRS | {"DS", "IS"}
