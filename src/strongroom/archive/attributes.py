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
MAX_IDENTITY_CHARS = 256

WANTED = keys.WANTED | {keys.SPECIFIC_CHARACTER_SET}
_TAGS = {level: tuple(attribute.tag for attribute in keys.ATTRIBUTES[level]) for level in Level}
_UPPER_TAGS = (*_TAGS[Level.PATIENT], *_TAGS[Level.STUDY], *_TAGS[Level.SERIES])
_IMAGE_COLUMN_TAGS = tuple(column.tag for column in keys.COLUMNS[Level.IMAGE])
_IMAGE_SEQUENCES = frozenset(attribute.tag for attribute in keys.ATTRIBUTES[Level.IMAGE] if attribute.vr == "SQ")

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
    patient, study, series = _remembered_upper(upper, charset, transfer_syntax.uid)
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
    return to_json(elements, parse_charsets(charset), TRANSFER_SYNTAXES[uid])


def parse_uid(element: RawElement | None, name: str) -> Uid:
    """The UID in an element. Raises Refused as ``<name>-missing`` or ``<name>-invalid``."""
    if element is None or not element.value.rstrip(b"\0 "):
        raise Refused(f"{name}-missing")
    try:
        return _uid_of(element.value)
    except MalformedDataset:
        raise Refused(f"{name}-invalid") from None


@lru_cache(MAX_REMEMBERED)
def _uid_of(value: bytes) -> Uid:
    return Uid.parse(value.decode("ascii", "replace"))


@lru_cache(MAX_REMEMBERED)
def _remembered_upper(
    raw: tuple[RawElement | None, ...], charset: RawElement | None, syntax_uid: str
) -> tuple[LevelAttributes, LevelAttributes, LevelAttributes]:
    present = {tag: element for tag, element in zip(_UPPER_TAGS, raw, strict=True) if element is not None}
    charsets = parse_charsets(charset.value if charset else b"")
    syntax = TRANSFER_SYNTAXES[syntax_uid]
    patient, study, series = (
        _as_json(level, {tag: present[tag] for tag in _TAGS[level] if tag in present}, charsets, syntax)
        for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
    )
    if max(map(len, patient.columns[:2])) > MAX_IDENTITY_CHARS:
        raise Refused("patient-id-too-long")
    return patient, study, series


def _as_json(
    level: Level, present: dict[int, RawElement], charsets: tuple[str, ...], syntax: TransferSyntax
) -> LevelAttributes:
    attributes = to_json(present, charsets, syntax)
    return LevelAttributes(keys.column_values(level, attributes), _encode_json(attributes))


def _image(elements: Mapping[int, RawElement], charset: RawElement | None, syntax: TransferSyntax) -> LevelAttributes:
    """The level that differs in every object: kept as encoded, turned into JSON when somebody asks.

    Sequences are converted now: only they can be malformed, and then the object is refused, not the later query.
    """
    present = {tag: elements[tag] for tag in _TAGS[Level.IMAGE] if tag in elements}
    raw_charset = charset.value if charset else b""
    if not _IMAGE_SEQUENCES.isdisjoint(present):
        return _as_json(Level.IMAGE, present, parse_charsets(raw_charset), syntax)
    columns = to_json({tag: present[tag] for tag in _IMAGE_COLUMN_TAGS if tag in present}, (), syntax)
    packed = _encode_raw((syntax.uid, raw_charset, present))
    return LevelAttributes(keys.column_values(Level.IMAGE, columns), packed)
