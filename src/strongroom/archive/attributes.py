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
from strongroom.dicom import jsonmodel, text
from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import RawElement
from strongroom.errors import MalformedDataset, Refused
from strongroom.types import Uid

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
MAX_REMEMBERED = 2048

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
