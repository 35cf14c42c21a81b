"""From scanned elements to what the index keeps of an instance, level by level.

The upper levels of neighbouring instances are the same bytes, so what they become is remembered by those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from strongroom.archive import keys
from strongroom.archive.model import Level, LevelAttributes
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.elements import RawElement
from strongroom.dicom.jsonmodel import to_json
from strongroom.dicom.text import parse_charsets
from strongroom.errors import MalformedDataset, Refused
from strongroom.types import Uid

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
MAX_REMEMBERED = 2048
MAX_REMEMBERED_BYTES = 16_384
"""Of one header: what is remembered of all of them together stays within some 30 MiB, whatever comes in."""

MAX_KEPT_VALUE_BYTES = 65_536
"""A longer value, a sequence with all its items too, is not kept in the index at all: the attribute is there, and
empty. The object has it, as it came."""

MAX_UID_BYTES = 64
MAX_IDENTITY_CHARS = 256

WANTED = keys.WANTED | {keys.SPECIFIC_CHARACTER_SET}
_VRS = {level: {a.tag: a.vr.encode() for a in keys.ATTRIBUTES[level]} for level in Level}
_UPPER_TAGS = (*_VRS[Level.PATIENT], *_VRS[Level.STUDY], *_VRS[Level.SERIES])
_IMAGE_VRS = tuple(_VRS[Level.IMAGE].items())
_KEPT_VRS = {tag: vr for vrs in _VRS.values() for tag, vr in vrs.items()}
_IMAGE_COLUMN_TAGS = tuple(column.tag for column in keys.COLUMNS[Level.IMAGE])
_PATIENT_IDENTITY = (0x00100020, 0x00100021)
_IMAGE_SEQUENCES = frozenset(tag for tag, vr in _IMAGE_VRS if vr == b"SQ")
_TEXT_VRS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_INTEGER_VRS = frozenset(b"SL SS SV UL US UV".split())
_READ_AS_TEXT = _TEXT_VRS | {b"UN"}

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_encode_raw = msgspec.msgpack.Encoder().encode
_decode_raw = msgspec.msgpack.Decoder(tuple[str, bytes, dict[int, RawElement]]).decode


@dataclass(frozen=True, slots=True)
class Description:
    """One instance as the index will know it."""

    sop_class: Uid
    sop_uid: Uid
    series_uid: Uid
    study_uid: Uid
    modality: str
    levels: tuple[LevelAttributes, LevelAttributes, LevelAttributes, LevelAttributes] = field(repr=False)


def describe(elements: Mapping[int, RawElement], transfer_syntax: TransferSyntax) -> Description:
    """What the index keeps of an instance whose ``WANTED`` elements are these.

    Raises Refused if it has no usable SOP Class, SOP Instance, Series or Study UID, or a Patient ID beyond any length
    that could be compared safely; MalformedDataset or LimitExceeded for the items of a sequence.
    """
    get = elements.get
    charset = get(keys.SPECIFIC_CHARACTER_SET)
    upper = tuple(map(get, _UPPER_TAGS))
    is_small = sum([len(element.value) for element in elements.values()]) <= MAX_REMEMBERED_BYTES
    upper_of = _remembered_upper if is_small else _upper
    patient, study, series = upper_of(upper, charset, transfer_syntax.uid)
    return Description(
        sop_class=parse_uid(get(SOP_CLASS_UID), "sop-class-uid"),
        sop_uid=parse_uid(get(SOP_INSTANCE_UID), "sop-instance-uid"),
        series_uid=parse_uid(get(SERIES_INSTANCE_UID), "series-instance-uid"),
        study_uid=parse_uid(get(STUDY_INSTANCE_UID), "study-instance-uid"),
        modality=series.columns[1],
        levels=(patient, study, series, _image(elements, charset, transfer_syntax)),
    )


def decode_attributes(encoded: bytes) -> dict[str, Any]:
    """The attributes of one level, from ``LevelAttributes.attributes``, in the DICOM JSON model."""
    if encoded[:1] == b"{":
        return _decode_json(encoded)
    uid, charset, elements = _decode_raw(encoded)
    return to_json(_as_kept(elements), parse_charsets(charset), TRANSFER_SYNTAXES[uid])


def parse_uid(element: RawElement | None, name: str) -> Uid:
    """The UID in an element. Raises Refused as ``<name>-missing`` or ``<name>-invalid``."""
    value = b"" if element is None else element.value.rstrip(b"\0 ")
    if element is None or not value:
        raise Refused(f"{name}-missing")
    if len(value) > MAX_UID_BYTES or (element.vr != b"UI" and element.vr not in _READ_AS_TEXT):
        raise Refused(f"{name}-invalid")  # nor would it be kept: the index must not know an object without its UIDs
    try:
        return _uid_of(value)
    except MalformedDataset:
        raise Refused(f"{name}-invalid") from None


@lru_cache(MAX_REMEMBERED)
def _uid_of(value: bytes) -> Uid:
    return Uid.parse(value.decode("ascii", "replace"))


def _upper(
    raw: tuple[RawElement | None, ...], charset: RawElement | None, syntax_uid: str
) -> tuple[LevelAttributes, LevelAttributes, LevelAttributes]:
    present = {tag: element for tag, element in zip(_UPPER_TAGS, raw, strict=True) if element is not None}
    if any(len(present[tag].value) > MAX_KEPT_VALUE_BYTES for tag in _PATIENT_IDENTITY if tag in present):
        raise Refused("patient-id-too-long")
    charsets = parse_charsets(charset.value if charset else b"")
    syntax = TRANSFER_SYNTAXES[syntax_uid]
    patient, study, series = (
        _as_json(level, {tag: present[tag] for tag in _VRS[level] if tag in present}, charsets, syntax)
        for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
    )
    if max(map(len, patient.columns[:2])) > MAX_IDENTITY_CHARS:
        raise Refused("patient-id-too-long")
    return patient, study, series


_remembered_upper = lru_cache(MAX_REMEMBERED)(_upper)


def _as_json(
    level: Level, present: dict[int, RawElement], charsets: tuple[str, ...], syntax: TransferSyntax
) -> LevelAttributes:
    attributes = to_json(_as_kept(present), charsets, syntax)
    return LevelAttributes(keys.column_values(level, attributes), _encode_json(attributes))


def _image(elements: Mapping[int, RawElement], charset: RawElement | None, syntax: TransferSyntax) -> LevelAttributes:
    """The level that differs in every object: kept as encoded, turned into JSON when somebody asks.

    Sequences are converted now: only they can be malformed, and then the object is refused, not the later query.
    """
    present = {
        tag: element
        if (element := elements[tag]).vr == vr and len(element.value) <= MAX_KEPT_VALUE_BYTES
        else _of_kind(vr, element)
        for tag, vr in _IMAGE_VRS
        if tag in elements
    }
    raw_charset = charset.value if charset else b""
    if not _IMAGE_SEQUENCES.isdisjoint(present):
        return _as_json(Level.IMAGE, present, parse_charsets(raw_charset), syntax)
    columns = to_json({tag: present[tag] for tag in _IMAGE_COLUMN_TAGS if tag in present}, (), syntax)
    packed = _encode_raw((syntax.uid, raw_charset, present))
    return LevelAttributes(keys.column_values(Level.IMAGE, columns), packed)


def _as_kept(elements: Mapping[int, RawElement]) -> dict[int, RawElement]:
    """The elements in the VRs that the archive keeps them in, whatever they were written in."""
    return {
        tag: element
        if element.vr == (vr := _KEPT_VRS[tag]) and len(element.value) <= MAX_KEPT_VALUE_BYTES
        else _of_kind(vr, element)
        for tag, element in elements.items()
    }


def _of_kind(vr: bytes, element: RawElement) -> RawElement:
    """An element that was written in another VR than ``vr``: read in ``vr`` if its bytes mean the same, else empty.

    Any longer than ``MAX_KEPT_VALUE_BYTES`` is empty as well.
    Text is text in every VR of text. What was written as UN is read by the dictionary (PS3.5 6.2.2), and an integer of
    another width is as good as one. A sequence where a value belongs, a value where a sequence does, and bytes where
    text does would break the answers to whoever asks for the attribute: nothing is kept of them. The object itself
    stays as it came.
    """
    written = element.vr
    if len(element.value) > MAX_KEPT_VALUE_BYTES:
        return RawElement(vr, b"")
    if written == vr or written == b"UN" or (written in _INTEGER_VRS and vr in _INTEGER_VRS):
        return element
    if written in _TEXT_VRS and vr in _TEXT_VRS:
        return RawElement(vr, element.value)
    return RawElement(vr, b"")
