"""Whole instances as bytes, and the one door of an archive without a network: for tests of what is stored."""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass

from strongroom.app import Archive
from strongroom.archive.ingest import Arrival, Verdict
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.types import Principal, Uid

CT_IMAGE_STORAGE = Uid("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT_VR_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2.1")
SMALL_PIXELS, LARGE_PIXELS = 600, 90_000
"""Bytes of pixel data that make an object small enough for a row of the index, or big enough for a file of segments."""

SENDER = Principal("CT1")

_LONG_LENGTH = frozenset({"OB", "OW", "UN", "SQ", "UT"})


def element(tag: int, vr: str, value: bytes | str) -> bytes:
    """One element in Explicit VR Little Endian (PS3.5 7.1.2)."""
    raw = value.encode() if isinstance(value, str) else value
    raw += (b"\0" if vr in ("UI", "OB") else b" ") * (len(raw) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    length = struct.pack("<HI", 0, len(raw)) if vr in _LONG_LENGTH else struct.pack("<H", len(raw))
    return head + length + raw


@dataclass(frozen=True)
class Sample:
    """One instance: a function of its number, so that another process can make the same."""

    number: int
    study: int = 0
    series: int = 0
    pixel_bytes: int = SMALL_PIXELS
    patient_name: str = "Doe^Jane"
    patient_id: str = ""
    """One of the study's own if it is not given."""

    @property
    def study_uid(self) -> str:
        """Its Study Instance UID."""
        return f"2.25.77.{self.study}"

    @property
    def series_uid(self) -> str:
        """Its Series Instance UID."""
        return f"{self.study_uid}.{self.series}"

    @property
    def sop_uid(self) -> Uid:
        """Its SOP Instance UID."""
        return Uid(f"{self.series_uid}.{self.number}")

    @property
    def dataset(self) -> bytes:
        """Its data set."""
        pixels = random.Random(self.number).randbytes(self.pixel_bytes)
        return b"".join(
            (
                element(0x00080016, "UI", CT_IMAGE_STORAGE),
                element(0x00080018, "UI", self.sop_uid),
                element(0x00080060, "CS", "CT"),
                element(0x00100010, "PN", self.patient_name),
                element(0x00100020, "LO", self.patient_id or f"PID-{self.study}"),
                element(0x0020000D, "UI", self.study_uid),
                element(0x0020000E, "UI", self.series_uid),
                element(0x00200013, "IS", str(self.number)),
                element(0x7FE00010, "OW", pixels),
            )
        )

    @property
    def sha256(self) -> bytes:
        """The digest of its data set."""
        return hashlib.sha256(self.dataset).digest()


def arrival_of(sample: Sample, sender: Principal = SENDER) -> Arrival:
    """What a sender says of an instance before its data set."""
    return Arrival(CT_IMAGE_STORAGE, sample.sop_uid, TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN], sender)


def store(archive: Archive, sample: Sample, sender: Principal = SENDER) -> Verdict:
    """Store an instance. Raises what ``Ingest`` raises."""
    ingest = archive.new_ingest(arrival_of(sample, sender))
    try:
        ingest.write(sample.dataset)
        return ingest.commit()
    finally:
        ingest.abort()


def stored_digest(archive: Archive, sop_uid: str) -> bytes | None:
    """The SHA-256 of what the archive gives back for an instance, None if it has none."""
    stored = archive.index.find_object(sop_uid)
    if stored is None:
        return None
    reader = archive.reader.open(stored)
    digest = hashlib.sha256()
    try:
        for chunk in reader.chunks():
            digest.update(chunk)
    finally:
        reader.close()
    return digest.digest()


def visible_sop_uids(archive: Archive) -> set[str]:
    """Every instance that the index shows."""
    with archive.index.database.read() as cursor:
        return {row[0] for row in cursor.execute("SELECT sop_uid FROM instance").fetchall()}
