"""Synthetic CT objects, encoded once; a timed run only overwrites digits in place.

Nothing in them comes from a person. The header has the elements, the order of magnitude and the two sequences of what a
CT scanner sends (about 90 elements, 3 KB); the pixels are 12-bit noise, which does not compress and so favours nobody.
"""

from __future__ import annotations

import datetime
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import wire

SOP_INSTANCE_UID = 0x00080018
STUDY_DATE = 0x00080020
ACCESSION_NUMBER = 0x00080050
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
INSTANCE_NUMBER = 0x00200013
FRAME_OF_REFERENCE_UID = 0x00200052
ROWS, COLUMNS, PIXEL_DATA = 0x00280010, 0x00280011, 0x7FE00010

STUDIES_PER_DATE = 100

_LONG_VRS = frozenset({"OB", "OW", "SQ", "UN", "UT"})
_BINARY = {"US": "<H", "SS": "<h", "UL": "<I", "FD": "<d"}

VARIES = None

Header = Sequence[tuple[int, str, object]]

_CT_HEADER: Header = (
    (0x00080005, "CS", "ISO_IR 100"),
    (0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI"),
    (0x00080012, "DA", "20260314"),
    (0x00080013, "TM", "101530.123000"),
    (0x00080016, "UI", wire.CT_IMAGE_STORAGE),
    (0x00080018, "UI", VARIES),
    (0x00080020, "DA", VARIES),
    (0x00080021, "DA", "20260314"),
    (0x00080022, "DA", "20260314"),
    (0x00080023, "DA", "20260314"),
    (0x00080030, "TM", "101200.000000"),
    (0x00080031, "TM", "101322.415000"),
    (0x00080032, "TM", "101529.800000"),
    (0x00080033, "TM", "101529.800000"),
    (0x00080050, "SH", VARIES),
    (0x00080060, "CS", "CT"),
    (0x00080070, "LO", "Synthetic Scanners"),
    (0x00080080, "LO", "Example Hospital"),
    (0x00080081, "ST", "1 Example Street, Exampletown"),
    (0x00080090, "PN", "Referrer^Example^^Dr."),
    (0x00081010, "SH", "CTBENCH1"),
    (0x00081030, "LO", "Abdomen^Routine with contrast (Adult)"),
    (0x0008103E, "LO", "Abdomen 5.0 B30f venous"),
    (0x00081040, "LO", "Radiology"),
    (0x00081050, "PN", "Performer^Example^^Dr."),
    (0x00081090, "LO", "Benchmark 64"),
    (0x00081110, "SQ", (((0x00081150, "UI", "1.2.840.10008.3.1.2.3.1"), (0x00081155, "UI", "2.25.7")),)),
    (0x00081140, "SQ", (((0x00081150, "UI", wire.CT_IMAGE_STORAGE), (0x00081155, "UI", "2.25.8")),)),
    (0x00082111, "ST", "Synthetic data for measurement"),
    (0x00100010, "PN", VARIES),
    (0x00100020, "LO", VARIES),
    (0x00100021, "LO", "EXAMPLE"),
    (0x00100030, "DA", "19600101"),
    (0x00100040, "CS", "O"),
    (0x00101010, "AS", "066Y"),
    (0x00101020, "DS", "1.75"),
    (0x00101030, "DS", "75"),
    (0x001021C0, "US", 4),
    (0x00180010, "LO", "APPLIED"),
    (0x00180015, "CS", "ABDOMEN"),
    (0x00180022, "CS", "HELIX"),
    (0x00180050, "DS", "5"),
    (0x00180060, "DS", "120"),
    (0x00180090, "DS", "500"),
    (0x00181000, "LO", "64001"),
    (0x00181020, "LO", "bench VA1"),
    (0x00181030, "LO", "AbdomenRoutine"),
    (0x00181040, "LO", "IV"),
    (0x00181100, "DS", "380"),
    (0x00181110, "DS", "1040"),
    (0x00181111, "DS", "570"),
    (0x00181120, "DS", "0"),
    (0x00181130, "DS", "151"),
    (0x00181140, "CS", "CW"),
    (0x00181150, "IS", "500"),
    (0x00181151, "IS", "189"),
    (0x00181152, "IS", "118"),
    (0x00181160, "SH", "FLAT"),
    (0x00181170, "IS", "22"),
    (0x00181190, "DS", "1.2"),
    (0x00181200, "DA", "20260301"),
    (0x00181201, "TM", "071500.000000"),
    (0x00181210, "SH", "B30f"),
    (0x00185100, "CS", "HFS"),
    (0x00189345, "FD", 11.25),
    (0x0020000D, "UI", VARIES),
    (0x0020000E, "UI", VARIES),
    (0x00200010, "SH", "1"),
    (0x00200011, "IS", "4"),
    (0x00200012, "IS", "5"),
    (0x00200013, "IS", VARIES),
    (0x00200032, "DS", "-189.62890625\\-372.62890625\\-241.5"),
    (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
    (0x00200052, "UI", VARIES),
    (0x00201040, "LO", ""),
    (0x00201041, "DS", "-241.5"),
    (0x00204000, "LT", "No comment; synthetic object for a measurement"),
    (0x00280002, "US", 1),
    (0x00280004, "CS", "MONOCHROME2"),
    (0x00280010, "US", VARIES),
    (0x00280011, "US", VARIES),
    (0x00280030, "DS", "0.7421875\\0.7421875"),
    (0x00280100, "US", 16),
    (0x00280101, "US", 12),
    (0x00280102, "US", 11),
    (0x00280103, "US", 0),
    (0x00280106, "US", 0),
    (0x00280107, "US", 4095),
    (0x00281050, "DS", "40\\40"),
    (0x00281051, "DS", "400\\400"),
    (0x00281052, "DS", "-1024"),
    (0x00281053, "DS", "1"),
    (0x00281055, "LO", "WINDOW1\\WINDOW2"),
    (0x00321060, "LO", "CT Abdomen"),
    (0x00400244, "DA", "20260314"),
    (0x00400245, "TM", "101200.000000"),
    (0x00400253, "SH", "PPS00000001"),
    (0x00400275, "SQ", (((0x00400007, "LO", "CT Abdomen"), (0x00400009, "SH", "SPS1"), (0x00401001, "SH", "RP1")),)),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one object stands: ``run`` and ``association`` keep two runs and two modalities apart."""

    run: int
    association: int
    study: int
    series: int
    instance: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How objects are spread, by default like a CT: one or two series a study, 150 instances a series."""

    instances_per_series: int = 150
    series_per_study: int = 2

    def places(self, run: int, association: int, start: int = 0) -> Iterator[Place]:
        """Yield the places of one association's objects in the order a scanner would send them."""
        number = start
        while True:
            series, instance = divmod(number, self.instances_per_series)
            study, series_in_study = divmod(series, self.series_per_study)
            yield Place(run, association, study, series_in_study + 1, instance + 1)
            number += 1


def uid(place: Place, series: int, instance: int) -> str:
    """Return a UID of 44 characters, whatever the numbers (PS3.5 annex B.2: 2.25 and an integer under 2**128)."""
    return f"2.25.1{place.run:010d}{place.association:04d}{place.study:08d}{series:04d}{instance:012d}"


def study_date(place: Place) -> str:
    """Return the date of a study: exactly 100 studies of an association share one, and no two associations do."""
    days = place.association % 8 * 1000 + place.study // STUDIES_PER_DATE % 1000
    return f"{datetime.date(1995, 1, 1) + datetime.timedelta(days):%Y%m%d}"


def instance_values(place: Place) -> dict[int, str]:
    """Return the values that differ between two objects of one series, by tag and each of fixed width."""
    return {SOP_INSTANCE_UID: uid(place, place.series, place.instance), INSTANCE_NUMBER: f"{place.instance:6d}"}


def values(place: Place) -> dict[int, str]:
    """Return the values that differ between objects, by tag; every tag's value has the same width in every object."""
    run, association, study = place.run, place.association, place.study
    return instance_values(place) | {
        STUDY_DATE: study_date(place),
        ACCESSION_NUMBER: f"A{association:04d}{study:08d}{run % 1000:03d}",
        PATIENT_NAME: f"SYNTHETIC{study:08d}^SUBJECT{association:04d}",
        PATIENT_ID: f"P{run:010d}{association:04d}{study:08d}X",
        STUDY_INSTANCE_UID: uid(place, 0, 0),
        SERIES_INSTANCE_UID: uid(place, place.series, 0),
        FRAME_OF_REFERENCE_UID: uid(place, 9000, 0),
    }


def encode_element(tag: int, vr: str, value: object) -> bytes:
    """Return one element in Explicit VR Little Endian (PS3.5 section 7.1.2); sequences have defined lengths."""
    if isinstance(value, bytes):
        raw = value
    elif vr in _BINARY:
        raw = struct.pack(_BINARY[vr], value)
    elif vr == "SQ":
        items = [b"".join(encode_element(*element) for element in item) for item in value]  # type: ignore[attr-defined]
        raw = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    else:
        text = str(value).encode("latin-1")
        raw = text + (b"\0" if vr == "UI" else b" ") * (len(text) & 1)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<xxI", len(raw)) if vr in _LONG_VRS else struct.pack("<H", len(raw))) + raw


def encode_header(rows: int, columns: int, place: Place, header: Header = _CT_HEADER) -> bytes:
    """Return everything in front of the pixel data."""
    varying: dict[int, object] = {**values(place), ROWS: rows, COLUMNS: columns}
    return b"".join(encode_element(tag, vr, varying[tag] if value is VARIES else value) for tag, vr, value in header)


def noise(pixels: int) -> bytes:
    """Return 12-bit noise in 16-bit words, the same on every machine."""
    raw = bytearray(random.Random(64).randbytes(2 * pixels))
    raw[1::2] = raw[1::2].translate(bytes(value & 0x0F for value in range(256)))
    return bytes(raw)


def encode_image(size: int, place: Place) -> bytes:
    """Return a whole ``size`` x ``size`` CT data set, without preamble and file meta information."""
    return encode_header(size, size, place) + encode_element(PIXEL_DATA, "OW", noise(size * size))


class Stream:
    """The bytes of one C-STORE-RQ with its data set, ready for one ``sendall``; ``patch`` turns it into the next."""

    def __init__(self, data_set: bytes, first: Place, context_id: int, max_pdu_bytes: int) -> None:
        """Fragment ``data_set`` and find the places that change.

        Raises:
            ValueError: a value that changes is not in the first fragment (the server announced a tiny PDU).
        """
        command = wire.store_command(1, wire.CT_IMAGE_STORAGE, values(first)[SOP_INSTANCE_UID])
        self.buffer = bytearray(wire.fragment(context_id, command, max_pdu_bytes, command=True))
        command_end = len(self.buffer)
        self.buffer += wire.fragment(context_id, data_set, max_pdu_bytes, command=False)
        self.data_set_bytes = len(data_set)
        self._place = first
        # The first fragment, past its PDU and PDV headers, is the beginning of the data set.
        in_first_fragment = min(len(data_set), max_pdu_bytes - 6)
        self._offsets: dict[int, tuple[int, ...]] = {}
        for tag, text in values(first).items():
            end = data_set.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 8 + len(text)
            if end > in_first_fragment:
                raise ValueError(f"({tag:08X}) does not lie in the first fragment of {in_first_fragment} bytes")
            self._offsets[tag] = (command_end + wire.FRAGMENT_HEADER_BYTES + end - len(text),)
        in_command = self.buffer.index(values(first)[SOP_INSTANCE_UID].encode())
        self._offsets[SOP_INSTANCE_UID] += (in_command,)

    def patch(self, place: Place) -> bytearray:
        """Overwrite what changes and return the buffer, which stays this object's own until the next call."""
        buffer, last = self.buffer, self._place
        same_series = (place.series, place.study) == (last.series, last.study)
        for tag, text in (instance_values(place) if same_series else values(place)).items():
            raw = text.encode()
            for offset in self._offsets[tag]:
                buffer[offset : offset + len(raw)] = raw
        self._place = place
        return buffer
