"""From scanned elements to what the index keeps of an instance, level by level.

The upper levels of neighbouring instances are the same bytes, so what they become is remembered with those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

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
INSTANCE_NUMBER = 0x00200013
MAX_REMEMBERED = 2048
MAX_REMEMBERED_BYTES = 16_384
"""Of one header: what is remembered of all of them together stays within some 30 MiB, whatever comes in."""

MAX_REMEMBERED_NUMBER_BYTES = 16

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


UpperLevels = tuple[LevelAttributes, LevelAttributes, LevelAttributes]
RawUpper = tuple[RawElement | None, ...]


class _Series(NamedTuple):
    """What the elements of the upper levels, and the character set, of an instance have become."""

    raw: RawUpper
    syntax_uid: str
    levels: UpperLevels
    series_uid: Uid
    study_uid: Uid


class _Slot:
    """What is remembered of one series: the elements of its last instance, and what they have become."""

    __slots__ = ("series",)

    def __init__(self) -> None:
        self.series: _Series | None = None


@lru_cache(MAX_REMEMBERED)
def _slot_of(_raw_series_uid: bytes) -> _Slot:
    """The slot of a series among those that arrived last. Safe with threads: a slot changes in one assignment."""
    return _Slot()


def describe(elements: Mapping[int, RawElement], transfer_syntax: TransferSyntax) -> Description:
    """What the index keeps of an instance whose ``WANTED`` elements are these.

    Raises Refused if it has no usable SOP Class, SOP Instance, Series or Study UID, or a Patient ID beyond any length
    that could be compared safely; MalformedDataset or LimitExceeded for the items of a sequence.
    """
    get, syntax_uid = elements.get, transfer_syntax.uid
    charset, raw_series_uid = get(keys.SPECIFIC_CHARACTER_SET), get(SERIES_INSTANCE_UID)
    raw = (charset, *map(get, _UPPER_TAGS))
    uid_bytes = b"" if raw_series_uid is None else raw_series_uid.value
    slot = _slot_of(uid_bytes) if len(uid_bytes) <= MAX_UID_BYTES else _Slot()
    series = slot.series
    if series is not None and (series.raw != raw or series.syntax_uid != syntax_uid):
        series = None
    levels = _upper(raw[1:], charset, transfer_syntax) if series is None else series.levels
    sop_class = parse_uid(get(SOP_CLASS_UID), "sop-class-uid")
    sop_uid = parse_uid(get(SOP_INSTANCE_UID), "sop-instance-uid")
    if series is None:
        series_uid = parse_uid(raw_series_uid, "series-instance-uid")
        series = _Series(raw, syntax_uid, levels, series_uid, parse_uid(get(STUDY_INSTANCE_UID), "study-instance-uid"))
        if sum([len(element.value) for element in raw if element is not None]) <= MAX_REMEMBERED_BYTES:
            slot.series = series
    return Description(
        sop_class=sop_class,
        sop_uid=sop_uid,
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        modality=levels[Level.SERIES].columns[1],
        levels=(*levels, _image(elements, charset, transfer_syntax, (sop_uid, sop_class))),
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


def _upper(raw: RawUpper, charset: RawElement | None, syntax: TransferSyntax) -> UpperLevels:
    present = {tag: element for tag, element in zip(_UPPER_TAGS, raw, strict=True) if element is not None}
    if any(len(present[tag].value) > MAX_KEPT_VALUE_BYTES for tag in _PATIENT_IDENTITY if tag in present):
        raise Refused("patient-id-too-long")
    charsets = parse_charsets(charset.value if charset else b"")
    patient, study, series = (
        _as_json(level, {tag: present[tag] for tag in _VRS[level] if tag in present}, charsets, syntax)
        for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
    )
    if max(map(len, patient.columns[:2])) > MAX_IDENTITY_CHARS:
        raise Refused("patient-id-too-long")
    return patient, study, series


def _as_json(
    level: Level, present: dict[int, RawElement], charsets: tuple[str, ...], syntax: TransferSyntax
) -> LevelAttributes:
    attributes = to_json(_as_kept(present), charsets, syntax)
    return LevelAttributes(keys.column_values(level, attributes), _encode_json(attributes))


def _image(
    elements: Mapping[int, RawElement], charset: RawElement | None, syntax: TransferSyntax, uids: tuple[Uid, Uid]
) -> LevelAttributes:
    """The level that differs in every object: kept as encoded, turned into JSON when somebody asks.

    Sequences are converted now: only they can be malformed, and then the object is refused, not the later query.
    ``uids`` are of SOP instance and SOP class: the columns that are known already.
    """
    present: dict[int, RawElement] = {}
    get = elements.get
    for tag, vr in _IMAGE_VRS:
        element = get(tag)
        if element is not None:
            written, value = element
            present[tag] = element if written == vr and len(value) <= MAX_KEPT_VALUE_BYTES else _of_kind(vr, element)
    raw_charset = charset.value if charset else b""
    if not present.keys().isdisjoint(_IMAGE_SEQUENCES):
        return _as_json(Level.IMAGE, present, parse_charsets(raw_charset), syntax)
    number = present.get(INSTANCE_NUMBER)
    if number is None:
        number_column = ""
    elif len(number.value) <= MAX_REMEMBERED_NUMBER_BYTES:
        number_column = _remembered_number(number, syntax.uid)
    else:
        number_column = _number_column(number, syntax.uid)
    return LevelAttributes((str(uids[0]), str(uids[1]), number_column), _encode_raw((syntax.uid, raw_charset, present)))


def _number_column(element: RawElement, syntax_uid: str) -> str:
    attributes = to_json({INSTANCE_NUMBER: element}, (), TRANSFER_SYNTAXES[syntax_uid])
    return keys.column_values(Level.IMAGE, attributes)[2]


_remembered_number = lru_cache(MAX_REMEMBERED)(_number_column)


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
