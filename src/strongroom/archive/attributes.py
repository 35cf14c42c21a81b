"""From scanned elements to what the index keeps of an instance, level by level.

The upper levels of neighbouring instances are the same bytes, so what they become is remembered by those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from strongroom.archive import keys
from strongroom.archive.model import Level, LevelAttributes
from strongroom.dicom.dictionary import TransferSyntax
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
_encode = msgspec.json.Encoder().encode


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
    that could be compared safely.
    """
    charset = elements.get(keys.SPECIFIC_CHARACTER_SET)
    patient = _upper(Level.PATIENT, elements, charset, transfer_syntax)
    study = _upper(Level.STUDY, elements, charset, transfer_syntax)
    series = _upper(Level.SERIES, elements, charset, transfer_syntax)
    image = _level(Level.IMAGE, tuple(map(elements.get, _TAGS[Level.IMAGE])), charset, transfer_syntax)
    if max(map(len, patient.columns[:2])) > MAX_IDENTITY_CHARS:
        raise Refused("patient-id-too-long")
    return Description(
        sop_class=parse_uid(elements.get(SOP_CLASS_UID), "sop-class-uid"),
        sop_uid=parse_uid(elements.get(SOP_INSTANCE_UID), "sop-instance-uid"),
        series_uid=parse_uid(elements.get(SERIES_INSTANCE_UID), "series-instance-uid"),
        study_uid=parse_uid(elements.get(STUDY_INSTANCE_UID), "study-instance-uid"),
        modality=series.columns[1],
        levels=(patient, study, series, image),
    )


def parse_uid(element: RawElement | None, name: str) -> Uid:
    """The UID in an element. Raises Refused as ``<name>-missing`` or ``<name>-invalid``."""
    if element is None or not element.value.rstrip(b"\0 "):
        raise Refused(f"{name}-missing")
    try:
        return Uid.parse(element.value.decode("ascii", "replace"))
    except MalformedDataset:
        raise Refused(f"{name}-invalid") from None


def _upper(
    level: Level, elements: Mapping[int, RawElement], charset: RawElement | None, transfer_syntax: TransferSyntax
) -> LevelAttributes:
    return _remembered(level, tuple(map(elements.get, _TAGS[level])), charset, transfer_syntax)


def _level(
    level: Level, raw: tuple[RawElement | None, ...], charset: RawElement | None, transfer_syntax: TransferSyntax
) -> LevelAttributes:
    present = {tag: element for tag, element in zip(_TAGS[level], raw, strict=True) if element is not None}
    attributes = to_json(present, parse_charsets(charset.value if charset else b""), transfer_syntax)
    return LevelAttributes(keys.column_values(level, attributes), _encode(attributes))


_remembered = lru_cache(MAX_REMEMBERED)(_level)
