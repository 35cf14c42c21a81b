"""Which attributes the archive keeps, at which Query/Retrieve level, and which of them are columns of the index.

Everything here is data. Required and optional keys are those of DICOM PS3.4 tables C.6-1 to C.6-4 and the attributes
that clients ask for beside them; every attribute here is captured at ingest, can be matched and can be returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from strongroom.archive.model import Level
from strongroom.archive.values import date_text, name_text, number_text, short_text, time_text

Attributes = Mapping[str, Any]
"""Attributes of a record in the DICOM JSON model (PS3.18 F.2): eight upper-case hex digits to ``{"vr":, "Value":}``."""


class Attribute(NamedTuple):
    """One attribute that the archive keeps or computes."""

    tag: int
    keyword: str
    vr: str


class Column(NamedTuple):
    """A column of the index that holds the first value of ``tag`` as canonical text, ``""`` when there is none.

    ``maintained`` columns are written by the index from the records below, not by ``column_values``.
    """

    level: Level
    name: str
    tag: int
    vr: str
    maintained: bool = False


PATIENT_ATTRIBUTES: Final = (
    Attribute(0x00081120, "ReferencedPatientSequence", "SQ"),
    Attribute(0x00100010, "PatientName", "PN"),
    Attribute(0x00100020, "PatientID", "LO"),
    Attribute(0x00100021, "IssuerOfPatientID", "LO"),
    Attribute(0x00100022, "TypeOfPatientID", "CS"),
    Attribute(0x00100024, "IssuerOfPatientIDQualifiersSequence", "SQ"),
    Attribute(0x00100030, "PatientBirthDate", "DA"),
    Attribute(0x00100032, "PatientBirthTime", "TM"),
    Attribute(0x00100040, "PatientSex", "CS"),
    Attribute(0x00100200, "QualityControlSubject", "CS"),
    Attribute(0x00101000, "OtherPatientIDs", "LO"),
    Attribute(0x00101001, "OtherPatientNames", "PN"),
    Attribute(0x00101002, "OtherPatientIDsSequence", "SQ"),
    Attribute(0x00102160, "EthnicGroup", "SH"),
    Attribute(0x00102201, "PatientSpeciesDescription", "LO"),
    Attribute(0x00102292, "PatientBreedDescription", "LO"),
    Attribute(0x00102297, "ResponsiblePerson", "PN"),
    Attribute(0x00104000, "PatientComments", "LT"),
    Attribute(0x00120062, "PatientIdentityRemoved", "CS"),
)

STUDY_ATTRIBUTES: Final = (
    Attribute(0x00080020, "StudyDate", "DA"),
    Attribute(0x00080030, "StudyTime", "TM"),
    Attribute(0x00080050, "AccessionNumber", "SH"),
    Attribute(0x00080051, "IssuerOfAccessionNumberSequence", "SQ"),
    Attribute(0x00080090, "ReferringPhysicianName", "PN"),
    Attribute(0x00080201, "TimezoneOffsetFromUTC", "SH"),
    Attribute(0x00081030, "StudyDescription", "LO"),
    Attribute(0x00081032, "ProcedureCodeSequence", "SQ"),
    Attribute(0x00081048, "PhysiciansOfRecord", "PN"),
    Attribute(0x00081060, "NameOfPhysiciansReadingStudy", "PN"),
    Attribute(0x00081080, "AdmittingDiagnosesDescription", "LO"),
    Attribute(0x00081084, "AdmittingDiagnosesCodeSequence", "SQ"),
    Attribute(0x00081110, "ReferencedStudySequence", "SQ"),
    Attribute(0x00101010, "PatientAge", "AS"),
    Attribute(0x00101020, "PatientSize", "DS"),
    Attribute(0x00101030, "PatientWeight", "DS"),
    Attribute(0x00102000, "MedicalAlerts", "LO"),
    Attribute(0x00102110, "Allergies", "LO"),
    Attribute(0x00102180, "Occupation", "SH"),
    Attribute(0x001021B0, "AdditionalPatientHistory", "LT"),
    Attribute(0x001021C0, "PregnancyStatus", "US"),
    Attribute(0x0020000D, "StudyInstanceUID", "UI"),
    Attribute(0x00200010, "StudyID", "SH"),
    Attribute(0x00201070, "OtherStudyNumbers", "IS"),
    Attribute(0x00321033, "RequestingService", "LO"),
    Attribute(0x00380010, "AdmissionID", "LO"),
    Attribute(0x00380060, "ServiceEpisodeID", "LO"),
    Attribute(0x00401012, "ReasonForPerformedProcedureCodeSequence", "SQ"),
)

SERIES_ATTRIBUTES: Final = (
    Attribute(0x00080021, "SeriesDate", "DA"),
    Attribute(0x00080031, "SeriesTime", "TM"),
    Attribute(0x00080060, "Modality", "CS"),
    Attribute(0x00080068, "PresentationIntentType", "CS"),
    Attribute(0x00080070, "Manufacturer", "LO"),
    Attribute(0x00080080, "InstitutionName", "LO"),
    Attribute(0x00081010, "StationName", "SH"),
    Attribute(0x0008103E, "SeriesDescription", "LO"),
    Attribute(0x0008103F, "SeriesDescriptionCodeSequence", "SQ"),
    Attribute(0x00081040, "InstitutionalDepartmentName", "LO"),
    Attribute(0x00081050, "PerformingPhysicianName", "PN"),
    Attribute(0x00081070, "OperatorsName", "PN"),
    Attribute(0x00081090, "ManufacturerModelName", "LO"),
    Attribute(0x00081111, "ReferencedPerformedProcedureStepSequence", "SQ"),
    Attribute(0x00082218, "AnatomicRegionSequence", "SQ"),
    Attribute(0x00180015, "BodyPartExamined", "CS"),
    Attribute(0x00181000, "DeviceSerialNumber", "LO"),
    Attribute(0x00181020, "SoftwareVersions", "LO"),
    Attribute(0x00181030, "ProtocolName", "LO"),
    Attribute(0x00185100, "PatientPosition", "CS"),
    Attribute(0x0020000E, "SeriesInstanceUID", "UI"),
    Attribute(0x00200011, "SeriesNumber", "IS"),
    Attribute(0x00200052, "FrameOfReferenceUID", "UI"),
    Attribute(0x00200060, "Laterality", "CS"),
    Attribute(0x00201040, "PositionReferenceIndicator", "LO"),
    Attribute(0x00400241, "PerformedStationAETitle", "AE"),
    Attribute(0x00400244, "PerformedProcedureStepStartDate", "DA"),
    Attribute(0x00400245, "PerformedProcedureStepStartTime", "TM"),
    Attribute(0x00400250, "PerformedProcedureStepEndDate", "DA"),
    Attribute(0x00400251, "PerformedProcedureStepEndTime", "TM"),
    Attribute(0x00400253, "PerformedProcedureStepID", "SH"),
    Attribute(0x00400254, "PerformedProcedureStepDescription", "LO"),
    Attribute(0x00400260, "PerformedProtocolCodeSequence", "SQ"),
    Attribute(0x00400275, "RequestAttributesSequence", "SQ"),
)

IMAGE_ATTRIBUTES: Final = (
    Attribute(0x00080008, "ImageType", "CS"),
    Attribute(0x00080012, "InstanceCreationDate", "DA"),
    Attribute(0x00080013, "InstanceCreationTime", "TM"),
    Attribute(0x00080016, "SOPClassUID", "UI"),
    Attribute(0x00080018, "SOPInstanceUID", "UI"),
    Attribute(0x0008001A, "RelatedGeneralSOPClassUID", "UI"),
    Attribute(0x00080022, "AcquisitionDate", "DA"),
    Attribute(0x00080023, "ContentDate", "DA"),
    Attribute(0x0008002A, "AcquisitionDateTime", "DT"),
    Attribute(0x00080032, "AcquisitionTime", "TM"),
    Attribute(0x00080033, "ContentTime", "TM"),
    Attribute(0x00082111, "DerivationDescription", "ST"),
    Attribute(0x00180010, "ContrastBolusAgent", "LO"),
    Attribute(0x00180050, "SliceThickness", "DS"),
    Attribute(0x00180081, "EchoTime", "DS"),
    Attribute(0x00185101, "ViewPosition", "CS"),
    Attribute(0x00200012, "AcquisitionNumber", "IS"),
    Attribute(0x00200013, "InstanceNumber", "IS"),
    Attribute(0x00200032, "ImagePositionPatient", "DS"),
    Attribute(0x00200037, "ImageOrientationPatient", "DS"),
    Attribute(0x00200062, "ImageLaterality", "CS"),
    Attribute(0x00200100, "TemporalPositionIdentifier", "IS"),
    Attribute(0x00201041, "SliceLocation", "DS"),
    Attribute(0x00204000, "ImageComments", "LT"),
    Attribute(0x00280002, "SamplesPerPixel", "US"),
    Attribute(0x00280004, "PhotometricInterpretation", "CS"),
    Attribute(0x00280008, "NumberOfFrames", "IS"),
    Attribute(0x00280010, "Rows", "US"),
    Attribute(0x00280011, "Columns", "US"),
    Attribute(0x00280030, "PixelSpacing", "DS"),
    Attribute(0x00280100, "BitsAllocated", "US"),
    Attribute(0x00280101, "BitsStored", "US"),
    Attribute(0x00280103, "PixelRepresentation", "US"),
    Attribute(0x00280301, "BurnedInAnnotation", "CS"),
    Attribute(0x00282110, "LossyImageCompression", "CS"),
    Attribute(0x00400512, "ContainerIdentifier", "LO"),
    Attribute(0x00400560, "SpecimenDescriptionSequence", "SQ"),
    Attribute(0x0040A032, "ObservationDateTime", "DT"),
    Attribute(0x0040A043, "ConceptNameCodeSequence", "SQ"),
    Attribute(0x0040A073, "VerifyingObserverSequence", "SQ"),
    Attribute(0x0040A370, "ReferencedRequestSequence", "SQ"),
    Attribute(0x0040A491, "CompletionFlag", "CS"),
    Attribute(0x0040A493, "VerificationFlag", "CS"),
    Attribute(0x0040A504, "ContentTemplateSequence", "SQ"),
    Attribute(0x00420010, "DocumentTitle", "ST"),
    Attribute(0x00420012, "MIMETypeOfEncapsulatedDocument", "LO"),
    Attribute(0x00480006, "TotalPixelMatrixColumns", "UL"),
    Attribute(0x00480007, "TotalPixelMatrixRows", "UL"),
    Attribute(0x00700080, "ContentLabel", "CS"),
    Attribute(0x00700081, "ContentDescription", "LO"),
    Attribute(0x00700082, "PresentationCreationDate", "DA"),
    Attribute(0x00700083, "PresentationCreationTime", "TM"),
    Attribute(0x00700084, "ContentCreatorName", "PN"),
)

ATTRIBUTES: Final[Mapping[Level, tuple[Attribute, ...]]] = MappingProxyType(
    {
        Level.PATIENT: PATIENT_ATTRIBUTES,
        Level.STUDY: STUDY_ATTRIBUTES,
        Level.SERIES: SERIES_ATTRIBUTES,
        Level.IMAGE: IMAGE_ATTRIBUTES,
    }
)
"""What is kept at each level, by ascending tag. The zone (0008,0201) is kept with the study, whose times it shifts."""

MODALITIES_IN_STUDY: Final = 0x00080061
SOP_CLASSES_IN_STUDY: Final = 0x00080062
AVAILABLE_TRANSFER_SYNTAX_UID: Final = 0x00083002

COMPUTED: Final[Mapping[Level, tuple[Attribute, ...]]] = MappingProxyType(
    {
        Level.PATIENT: (
            Attribute(0x00201200, "NumberOfPatientRelatedStudies", "IS"),
            Attribute(0x00201202, "NumberOfPatientRelatedSeries", "IS"),
            Attribute(0x00201204, "NumberOfPatientRelatedInstances", "IS"),
        ),
        Level.STUDY: (
            Attribute(MODALITIES_IN_STUDY, "ModalitiesInStudy", "CS"),
            Attribute(SOP_CLASSES_IN_STUDY, "SOPClassesInStudy", "UI"),
            Attribute(0x00201206, "NumberOfStudyRelatedSeries", "IS"),
            Attribute(0x00201208, "NumberOfStudyRelatedInstances", "IS"),
        ),
        Level.SERIES: (Attribute(0x00201209, "NumberOfSeriesRelatedInstances", "IS"),),
        Level.IMAGE: (Attribute(AVAILABLE_TRANSFER_SYNTAX_UID, "AvailableTransferSyntaxUID", "UI"),),
    }
)
"""What the index computes from its rows: matched and returned like any other attribute, never read from an object."""

SPECIFIC_CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201

ANSWERED: Final = (
    Attribute(SPECIFIC_CHARACTER_SET, "SpecificCharacterSet", "CS"),
    Attribute(QUERY_RETRIEVE_LEVEL, "QueryRetrieveLevel", "CS"),
    Attribute(RETRIEVE_AE_TITLE, "RetrieveAETitle", "AE"),
    Attribute(INSTANCE_AVAILABILITY, "InstanceAvailability", "CS"),
)
"""What the archive answers about itself: returned at every level, never matched."""

UNIQUE_KEYS: Final[Mapping[Level, int]] = MappingProxyType(
    {Level.PATIENT: 0x00100020, Level.STUDY: 0x0020000D, Level.SERIES: 0x0020000E, Level.IMAGE: 0x00080018}
)
"""The unique key attribute of each level (PS3.4 C.6.1.1)."""

DATE_TIME_PAIRS: Final[Mapping[int, int]] = MappingProxyType(
    {
        0x00080012: 0x00080013,
        0x00080020: 0x00080030,
        0x00080021: 0x00080031,
        0x00080022: 0x00080032,
        0x00080023: 0x00080033,
        0x00100030: 0x00100032,
        0x00400244: 0x00400245,
        0x00400250: 0x00400251,
        0x00700082: 0x00700083,
    }
)
"""Date to time, for the pairs that combined date-time matching takes as one (PS3.4 C.2.2.2.5)."""

WANTED: Final[frozenset[int]] = frozenset(a.tag for attributes in ATTRIBUTES.values() for a in attributes)
"""Every tag that ingest captures from an object."""

LEVEL_OF: Final[Mapping[int, Level]] = MappingProxyType(
    {a.tag: level for table in (ATTRIBUTES, COMPUTED) for level, attributes in table.items() for a in attributes}
)
"""The level of every attribute that is kept or computed."""

VR_OF: Final[Mapping[int, str]] = MappingProxyType(
    {a.tag: a.vr for table in (ATTRIBUTES, COMPUTED) for attributes in table.values() for a in attributes}
    | {a.tag: a.vr for a in ANSWERED}
)
"""The VR of every attribute that is kept, computed or answered."""

COMPUTED_TAGS: Final[frozenset[int]] = frozenset(a.tag for attributes in COMPUTED.values() for a in attributes)
PATIENT_TOTALS: Final[frozenset[int]] = frozenset(a.tag for a in COMPUTED[Level.PATIENT])
ANSWERED_TAGS: Final[frozenset[int]] = frozenset(a.tag for a in ANSWERED)

COLUMNS: Final[Mapping[Level, tuple[Column, ...]]] = MappingProxyType(
    {
        Level.PATIENT: (
            Column(Level.PATIENT, "patient_id", 0x00100020, "LO"),
            Column(Level.PATIENT, "issuer", 0x00100021, "LO"),
            Column(Level.PATIENT, "patient_name", 0x00100010, "PN"),
            Column(Level.PATIENT, "birth_date", 0x00100030, "DA"),
        ),
        Level.STUDY: (
            Column(Level.STUDY, "study_uid", 0x0020000D, "UI"),
            Column(Level.STUDY, "study_date", 0x00080020, "DA"),
            Column(Level.STUDY, "study_time", 0x00080030, "TM"),
            Column(Level.STUDY, "accession", 0x00080050, "SH"),
            Column(Level.STUDY, "study_id", 0x00200010, "SH"),
            Column(Level.STUDY, "referring", 0x00080090, "PN"),
            Column(Level.STUDY, "description", 0x00081030, "LO"),
            Column(Level.STUDY, "modalities", MODALITIES_IN_STUDY, "CS", maintained=True),
        ),
        Level.SERIES: (
            Column(Level.SERIES, "series_uid", 0x0020000E, "UI"),
            Column(Level.SERIES, "modality", 0x00080060, "CS"),
            Column(Level.SERIES, "series_number", 0x00200011, "IS"),
            Column(Level.SERIES, "body_part", 0x00180015, "CS"),
            Column(Level.SERIES, "pps_start_date", 0x00400244, "DA"),
            Column(Level.SERIES, "institution", 0x00080080, "LO"),
        ),
        Level.IMAGE: (
            Column(Level.IMAGE, "sop_uid", 0x00080018, "UI"),
            Column(Level.IMAGE, "sop_class", 0x00080016, "UI"),
            Column(Level.IMAGE, "instance_number", 0x00200013, "IS"),
        ),
    }
)
"""The index's columns: every required and unique key, and the few that people search by. All have one value by PS3.6;
of an object that holds more, the first is compared, by the index and by the exact matcher."""

COLUMN_OF: Final[Mapping[int, Column]] = MappingProxyType({c.tag: c for columns in COLUMNS.values() for c in columns})

_CANONICAL: Final[Mapping[str, Callable[[object], str]]] = MappingProxyType(
    {
        "CS": short_text,
        "DA": date_text,
        "IS": number_text,
        "LO": short_text,
        "PN": name_text,
        "SH": short_text,
        "TM": time_text,
        "UI": short_text,
    }
)

_PLAN: Final = tuple(
    tuple((f"{c.tag:08X}", _CANONICAL[c.vr]) for c in COLUMNS[level] if not c.maintained) for level in Level
)


def column_values(level: Level, attributes: Attributes) -> tuple[str, ...]:
    """Return the text of every column of ``level`` that is not maintained, in the order of ``COLUMNS``.

    A person name becomes its folded component groups, ``yamada^tarou=山田^太郎``; a date YYYYMMDD, a time
    HHMMSSFFFFFF, a number its shortest spelling; any other value loses its padding. No text is longer than
    ``MAX_COMPARED_CHARS``.
    """
    texts = []
    for name, canonical in _PLAN[level]:
        element = attributes.get(name)
        values = element.get("Value") if element else None
        texts.append(canonical(values[0]) if values else "")
    return tuple(texts)


def modalities_text(modalities: list[str] | tuple[str, ...]) -> str:
    r"""Return the text of the maintained column ``modalities``: every modality between backslashes, ``\CT\SR\``."""
    texts = [text for text in map(short_text, modalities) if text]
    return "\\" + "\\".join(texts) + "\\" if texts else ""
