"""DICOMDIR: which files a medium holds (DICOM PS3.3 annex F, PS3.10 8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, tag_of, vr_of
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.encode import encode_json
from strongroom.dicom.jsonmodel import JsonDataset
from strongroom.dicom.part10 import encode_file_meta, parse_file_header
from strongroom.dicom.tree import Element, parse_dataset
from strongroom.errors import MalformedDataset

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
MAX_PATH_COMPONENTS: Final = 8
MAX_COMPONENT_CHARS: Final = 64
"""The standard allows 8 (PS3.10 8.2); media in the field have longer ones."""

_SEQUENCE: Final = 0x00041220
_FILE_SET_ID: Final = 0x00041130
_RECORD_TYPE: Final = 0x00041430
_FILE_ID: Final = 0x00041500
_SOP_CLASS: Final = 0x00041510
_SOP_UID: Final = 0x00041511
_TRANSFER_SYNTAX: Final = 0x00041512

_COMPONENT: Final = re.compile(r"[A-Za-z0-9_.~!#$%&'()@^`{}+=, -]+")
_U32: Final = Struct("<L")
# (0004,1400) and (0004,1420) as this module writes them: the first and the third element of a record.
_NEXT_AT: Final = 8
_LOWER_AT: Final = 8 + 4 + 8 + 2 + 8
_ITEM: Final = Struct("<HHL")
_LIMITS: Final = ScanLimits(max_element_count=2_000_000)


@dataclass(frozen=True, slots=True)
class ReferencedFile:
    """A file that a DICOMDIR names. ``path`` is checked: relative, without anything that climbs or separates."""

    path: tuple[str, ...]
    record_type: str
    sop_class: str = ""
    sop_uid: str = ""
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """What a DICOMDIR says. ``refused_paths`` counts the records whose file is not one to be opened."""

    file_set_id: str
    files: tuple[ReferencedFile, ...]
    refused_paths: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file to be listed. ``attributes`` is DICOM JSON of the object, of which the records take what they hold."""

    path: tuple[str, ...]
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    attributes: JsonDataset


def parse_dicomdir(raw: bytes, limits: ScanLimits = _LIMITS) -> Directory:
    """Return the files that the DICOMDIR ``raw``, the whole file, names, in the order of its records.

    The offsets that link the records are not followed: the sequence holds them all, and an offset can point anywhere.

    Raises MalformedDataset, Refused or LimitExceeded if ``raw`` is no DICOM file that can be parsed.
    """
    header = parse_file_header(raw)
    transfer_syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
    if transfer_syntax is None:
        raise MalformedDataset("a DICOMDIR in an unknown transfer syntax")
    file_set_id = ""
    files: list[ReferencedFile] = []
    refused = 0
    for element in parse_dataset(memoryview(raw)[header.data_set_offset :], transfer_syntax, limits):
        if element.tag == _FILE_SET_ID:
            file_set_id = _text(element)
        elif element.tag == _SEQUENCE:
            for item in element.items or ():
                record = {part.tag: part for part in item}
                if not _value(record, _FILE_ID):
                    continue
                path = check_path(_value(record, _FILE_ID))
                if path is None:
                    refused += 1
                    continue
                files.append(
                    ReferencedFile(
                        path,
                        _value(record, _RECORD_TYPE),
                        _value(record, _SOP_CLASS),
                        _value(record, _SOP_UID),
                        _value(record, _TRANSFER_SYNTAX),
                    )
                )
    return Directory(file_set_id, tuple(files), refused)


def check_path(file_id: str) -> tuple[str, ...] | None:
    """Return the components of a Referenced File ID, or None if one of them is not a plain name."""
    path = tuple(file_id.split("\\"))
    return path if _is_plain(path) else None


def _is_plain(path: Sequence[str]) -> bool:
    return 0 < len(path) <= MAX_PATH_COMPONENTS and all(
        len(name) <= MAX_COMPONENT_CHARS and _COMPONENT.fullmatch(name) and name.strip(". ") for name in path
    )


def _text(element: Element) -> str:
    return element.value.decode("ascii", "replace").strip("\0 ")


def _value(record: Mapping[int, Element], tag: int) -> str:
    element = record.get(tag)
    return "" if element is None else _text(element)


# PS3.3 F.4: which record an object is listed under; what is not named here is an IMAGE.
_BY_PREFIX: Final[tuple[tuple[str, str], ...]] = (
    ("1.2.840.10008.5.1.4.1.1.9.", "WAVEFORM"),
    ("1.2.840.10008.5.1.4.1.1.11.", "PRESENTATION"),
    ("1.2.840.10008.5.1.4.1.1.78.", "MEASUREMENT"),
    ("1.2.840.10008.5.1.4.1.1.88.", "SR DOCUMENT"),
    ("1.2.840.10008.5.1.4.1.1.104.", "ENCAP DOC"),
)
_BY_SOP_CLASS: Final[Mapping[str, str]] = {
    "1.2.840.10008.5.1.4.1.1.4.2": "SPECTROSCOPY",
    "1.2.840.10008.5.1.4.1.1.66": "RAW DATA",
    "1.2.840.10008.5.1.4.1.1.66.1": "REGISTRATION",
    "1.2.840.10008.5.1.4.1.1.66.2": "FIDUCIAL",
    "1.2.840.10008.5.1.4.1.1.66.3": "REGISTRATION",
    "1.2.840.10008.5.1.4.1.1.66.5": "SURFACE",
    "1.2.840.10008.5.1.4.1.1.66.6": "TRACT",
    "1.2.840.10008.5.1.4.1.1.67": "VALUE MAP",
    "1.2.840.10008.5.1.4.1.1.68.1": "SURFACE SCAN",
    "1.2.840.10008.5.1.4.1.1.68.2": "SURFACE SCAN",
    "1.2.840.10008.5.1.4.1.1.77.1.5.3": "STEREOMETRIC",
    "1.2.840.10008.5.1.4.1.1.79.1": "MEASUREMENT",
    "1.2.840.10008.5.1.4.1.1.80.1": "MEASUREMENT",
    "1.2.840.10008.5.1.4.1.1.88.59": "KEY OBJECT DOC",
    "1.2.840.10008.5.1.4.1.1.90.1": "ASSESSMENT",
    "1.2.840.10008.5.1.4.1.1.91.1": "ANNOTATION",
    "1.2.840.10008.5.1.4.1.1.131": "PRESENTATION",
    "1.2.840.10008.5.1.4.1.1.200.1": "PLAN",
    "1.2.840.10008.5.1.4.1.1.200.2": "PLAN",
    "1.2.840.10008.5.1.4.1.1.481.2": "RT DOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT STRUCTURE SET",
    "1.2.840.10008.5.1.4.1.1.481.4": "RT TREAT RECORD",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT PLAN",
    "1.2.840.10008.5.1.4.1.1.481.6": "RT TREAT RECORD",
    "1.2.840.10008.5.1.4.1.1.481.7": "RT TREAT RECORD",
    "1.2.840.10008.5.1.4.1.1.481.8": "RT PLAN",
    "1.2.840.10008.5.1.4.1.1.481.9": "RT TREAT RECORD",
}

# Keys of each record (PS3.3 F.5), by keyword. Those marked with a star are type 1 or 2: written even if empty.
_KEYS: Final[Mapping[str, str]] = {
    "PATIENT": "PatientName* PatientID* IssuerOfPatientID PatientBirthDate PatientSex",
    "STUDY": "StudyDate* StudyTime* AccessionNumber* StudyDescription* StudyInstanceUID* StudyID*",
    "SERIES": "Modality* SeriesInstanceUID* SeriesNumber* SeriesDescription",
    "IMAGE": "InstanceNumber* ImageType NumberOfFrames Rows Columns",
    "RT DOSE": "InstanceNumber* DoseSummationType*",
    "RT STRUCTURE SET": "InstanceNumber* StructureSetLabel* StructureSetDate* StructureSetTime*",
    "RT PLAN": "InstanceNumber* RTPlanLabel* RTPlanDate* RTPlanTime*",
    "RT TREAT RECORD": "InstanceNumber* TreatmentDate* TreatmentTime*",
    "PRESENTATION": "InstanceNumber* PresentationCreationDate* PresentationCreationTime* ContentLabel "
    "ContentDescription ContentCreatorName ReferencedSeriesSequence",
    "WAVEFORM": "InstanceNumber* ContentDate* ContentTime*",
    "SR DOCUMENT": "InstanceNumber* CompletionFlag* VerificationFlag* ContentDate* ContentTime* "
    "ConceptNameCodeSequence*",
    "KEY OBJECT DOC": "InstanceNumber* ContentDate* ContentTime* ConceptNameCodeSequence*",
    "SPECTROSCOPY": "InstanceNumber* ImageType* ContentDate* ContentTime* NumberOfFrames* Rows* Columns* "
    "DataPointRows* DataPointColumns*",
    "ENCAP DOC": "InstanceNumber* ContentDate ContentTime DocumentTitle* HL7InstanceIdentifier "
    "ConceptNameCodeSequence* MIMETypeOfEncapsulatedDocument*",
    "PLAN": "InstanceNumber*",
    "STEREOMETRIC": "InstanceNumber",
}
_OTHER_KEYS: Final = "InstanceNumber* ContentDate* ContentTime* ContentLabel ContentDescription ContentCreatorName"

RECORD_TAGS: Final = frozenset(
    tag for keys in (*_KEYS.values(), _OTHER_KEYS) for name in keys.split() if (tag := tag_of(name.rstrip("*")))
)
"""What directory records hold of an object, whatever it is: all that ``FileEntry.attributes`` needs."""


def record_type_of(sop_class: str) -> str:
    """Return the directory record type that objects of a SOP class are listed under (PS3.3 F.4)."""
    found = _BY_SOP_CLASS.get(sop_class)
    if found is not None:
        return found
    return next((record_type for prefix, record_type in _BY_PREFIX if sop_class.startswith(prefix)), "IMAGE")


class _Record:
    """One directory record and those below it."""

    __slots__ = ("body", "lower", "offset")

    def __init__(self, body: bytearray) -> None:
        self.body = body
        self.lower: dict[str, _Record] = {}
        self.offset = 0


def encode_dicomdir(
    entries: Iterable[FileEntry], file_set_id: str, file_set_uid: str, implementation_uid: str, implementation: str
) -> bytes:
    """Return a DICOMDIR, the whole file, that lists ``entries`` under their patients, studies and series.

    Raises MalformedDataset if a path is not plain or an entry's attributes cannot be encoded.
    """
    root: dict[str, _Record] = {}
    for entry in entries:
        _insert(root, entry)
    meta = encode_file_meta(
        MEDIA_STORAGE_DIRECTORY, file_set_uid, EXPLICIT_VR_LITTLE_ENDIAN.uid, implementation_uid, implementation
    )
    head = _encode_head(file_set_id, 0, 0)
    records: list[_Record] = []
    # Behind the head comes the header of the sequence, and each record behind that of its item.
    _place(root, len(meta) + len(head) + 12, records)
    _link(root)
    top = list(root.values())
    if top:
        head = _encode_head(file_set_id, top[0].offset, top[-1].offset)
    items = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(record.body)) + record.body for record in records)
    return meta + head + Struct("<HH2sHL").pack(0x0004, 0x1220, b"SQ", 0, len(items)) + items


def _encode_head(file_set_id: str, first: int, last: int) -> bytes:
    return encode_json(
        {
            "00041130": {"vr": "CS", "Value": [file_set_id]} if file_set_id else {"vr": "CS"},
            "00041200": {"vr": "UL", "Value": [first]},
            "00041202": {"vr": "UL", "Value": [last]},
            "00041212": {"vr": "US", "Value": [0]},
        },
        EXPLICIT_VR_LITTLE_ENDIAN,
    )


def _insert(root: dict[str, _Record], entry: FileEntry) -> None:
    if not _is_plain(entry.path):
        raise MalformedDataset("a path that a DICOMDIR cannot have")
    attributes = entry.attributes
    level = root
    for record_type, *keys in (
        ("PATIENT", "00100020", "00100021"),
        ("STUDY", "0020000D"),
        ("SERIES", "0020000E"),
    ):
        name = "\0".join(str(attributes.get(key, {}).get("Value", "")) for key in keys)
        record = level.get(name)
        if record is None:
            record = level[name] = _Record(_encode_record(record_type, attributes, {}))
        level = record.lower
    reference: JsonDataset = {
        "00041500": {"vr": "CS", "Value": list(entry.path)},
        "00041510": {"vr": "UI", "Value": [entry.sop_class]},
        "00041511": {"vr": "UI", "Value": [entry.sop_uid]},
        "00041512": {"vr": "UI", "Value": [entry.transfer_syntax]},
    }
    level[entry.sop_uid] = _Record(_encode_record(record_type_of(entry.sop_class), attributes, reference))


def _encode_record(record_type: str, attributes: JsonDataset, reference: JsonDataset) -> bytearray:
    record: JsonDataset = {
        "00041400": {"vr": "UL", "Value": [0]},
        "00041410": {"vr": "US", "Value": [0xFFFF]},
        "00041420": {"vr": "UL", "Value": [0]},
        "00041430": {"vr": "CS", "Value": [record_type]},
        **reference,
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    }
    for keyword in _KEYS.get(record_type, _OTHER_KEYS).split():
        tag = tag_of(keyword.rstrip("*"))
        assert tag is not None
        attribute = attributes.get(f"{tag:08X}")
        if attribute is not None:
            record[f"{tag:08X}"] = attribute
        elif keyword.endswith("*"):
            record[f"{tag:08X}"] = {"vr": vr_of(tag).decode()}
    return bytearray(encode_json(record, EXPLICIT_VR_LITTLE_ENDIAN))


def _place(level: dict[str, _Record], offset: int, records: list[_Record]) -> int:
    """Give ``level`` and all below it their places from ``offset`` on, depth first; returns where they end."""
    for record in level.values():
        record.offset = offset
        records.append(record)
        offset = _place(record.lower, offset + 8 + len(record.body), records)
    return offset


def _link(level: dict[str, _Record]) -> None:
    """Write the offsets of the next record and of the first one below into every record."""
    following = 0
    for record in reversed(level.values()):
        _U32.pack_into(record.body, _NEXT_AT, following)
        following = record.offset
        if record.lower:
            _U32.pack_into(record.body, _LOWER_AT, next(iter(record.lower.values())).offset)
            _link(record.lower)
