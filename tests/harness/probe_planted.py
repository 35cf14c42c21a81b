"""What must never come out of the probe: names and numbers planted wherever a server can say something.

The people are made up. The numbers have the shape of social security numbers that may be assigned (SSA POMS RM
10201.035); the sentinel names are in no other file of the tree.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from hashlib import md5, sha1, sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.probe_dicom import Conduct, Identifier
from harness.probe_http import Page, Site, json_page, qido

FAMILY, GIVEN = "PLANTEDSENTINEL", "ZEBEDIAH"
NAME = f"{FAMILY}^{GIVEN}"
SSN, PLAIN_SSN, DOTTED_SSN = "219-37-4581", "219374581", "219.37.4581"
BIRTH_DATE = "19310427"
ADDRESS = "77 SENTINELLANE"
ACCESSION = "ACCSENTINEL42"
PLANTED = (FAMILY, GIVEN, NAME, SSN, PLAIN_SSN, DOTTED_SSN, BIRTH_DATE, ADDRESS, ACCESSION)
"""Every string that was planted somewhere."""

STUDY_DATE, STUDY_TIME, ACCESSION_NUMBER, REFERRING = 0x00080020, 0x00080030, 0x00080050, 0x00080090
PATIENT_NAME, PATIENT_ID, PATIENT_BIRTH_DATE, PATIENT_ADDRESS = 0x00100010, 0x00100020, 0x00100030, 0x00101040
STUDY_UID, STUDY_ID, STUDY_DESCRIPTION = 0x0020000D, 0x00200010, 0x00081030
STUDY_SERIES, STUDY_INSTANCES, MODALITIES = 0x00201206, 0x00201208, 0x00080061


def forms(text: str) -> Iterator[bytes]:
    """How a string can lie in a file: cases, encodings, hex, base64 at each offset, URL, reversed, plain digests."""
    for cased in {text, text.lower(), text.title()}:
        for raw in (cased.encode(), cased.encode("utf-16-le"), cased.encode("utf-16-be")):
            yield raw
            yield raw.hex().encode()
            yield raw.hex().upper().encode()
            yield raw.hex(" ").encode()
            yield raw.hex(":").encode()
            for offset in range(3):
                # What surrounds it decides about the first and the last characters.
                encoded = base64.b64encode(bytes(offset) + raw)[4 if offset else 0 : -4]
                if len(encoded) >= 8:
                    yield encoded
        yield quote(cased).encode()
        yield cased[::-1].encode()
        for digest in (md5, sha1, sha256):
            # A digest without a key of so short a text is the text.
            yield digest(cased.encode(), usedforsecurity=False).hexdigest().encode()
            yield digest(cased.encode(), usedforsecurity=False).digest()


def needles() -> dict[bytes, str]:
    """Every form of every planted string, and which string it is of."""
    return {form: text for text in PLANTED for form in forms(text)}


def leaks(data: bytes) -> list[str]:
    """Which planted strings are in some bytes, and in what form."""
    return [f"{text} as {form!r}" for form, text in needles().items() if form in data]


def leaks_below(folders: Iterable[Path]) -> list[str]:
    """The same of all files below folders, and of their names; compressed ones are looked into as they are."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            found += [f"{path.name} is named after {each}" for each in leaks(path.name.encode())]
            if path.is_file() and not path.is_symlink():
                found += [f"{path}: {each}" for each in leaks(path.read_bytes())]
    return found


def study(number: int, *, root: str = "1.2.826.0.1.3680043.9.77", date: str = "20240115") -> Identifier:
    """An answer to C-FIND about a person who was never born. Each number is another study of another person."""
    tail = f"{number:04d}"
    return {
        STUDY_DATE: date.encode(),
        STUDY_TIME: b"101500",
        ACCESSION_NUMBER: ACCESSION.encode(),
        MODALITIES: b"CT",
        STUDY_DESCRIPTION: f"CT OF {FAMILY}".encode(),
        REFERRING: b"DR^" + FAMILY.encode(),
        PATIENT_NAME: f"{NAME}^{tail}".encode(),
        PATIENT_ID: (SSN if number == 0 else PLAIN_SSN[:5] + f"{4581 + number:04d}").encode(),
        PATIENT_BIRTH_DATE: BIRTH_DATE.encode(),
        PATIENT_ADDRESS: ADDRESS.encode(),
        STUDY_UID: f"{root}.{number + 1}".encode(),
        STUDY_ID: PLAIN_SSN.encode(),
        STUDY_SERIES: b"3",
        STUDY_INSTANCES: b"120",
    }


def planted_scp(count: int = 5) -> Conduct:
    """An open archive with planted people: in answers, comments, titles and version."""
    return Conduct(
        answers=tuple(study(number) for number in range(count)),
        statuses={0x0021: 0xA801, 0x0010: 0xA702, 0x0001: 0x0124},
        comment=f"no room for {NAME} {SSN}".encode(),
        implementation=(b"1.2.826.0.1.219374581", b"DCMTK_" + DOTTED_SSN.encode()[:10]),
        titles=(FAMILY.encode(), PLAIN_SSN.encode()),
    )


def dicom_json(identifier: Identifier) -> dict[str, Any]:
    """An identifier as DICOM JSON (PS3.18 F)."""
    vrs = {STUDY_DATE: "DA", PATIENT_NAME: "PN", REFERRING: "PN", STUDY_UID: "UI", PATIENT_BIRTH_DATE: "DA"}
    numbers = {STUDY_SERIES, STUDY_INSTANCES}
    made: dict[str, Any] = {}
    for tag, raw in identifier.items():
        text: Any = raw.decode()
        vr = "IS" if tag in numbers else vrs.get(tag, "LO")
        value = int(text) if tag in numbers else {"Alphabetic": text} if vr == "PN" else text
        made[f"{tag:08X}"] = {"vr": vr, "Value": [value]}
    return made


def planted_site(count: int = 5) -> Site:
    """An open web server with planted people: in DICOM JSON, pages, headers, cookies, Orthanc's lists."""
    studies = [dicom_json(study(number)) for number in range(count)]
    tags = {"PatientName": NAME, "PatientID": SSN, "PatientBirthDate": BIRTH_DATE}
    resource = {"ID": PLAIN_SSN, "MainDicomTags": tags, "PatientMainDicomTags": tags}
    pages: Mapping[str, Any] = {
        "/": Page(200, f"<html><head><title>Worklist of {NAME}</title></head><body>{SSN} {ADDRESS}</body></html>"),
        "/system": json_page({"ApiVersion": 17, "DicomAet": FAMILY, "Name": f"PACS of {GIVEN}", "Version": DOTTED_SSN}),
        "/statistics": json_page({"CountPatients": count, "CountStudies": count, "CountInstances": 120 * count}),
        "/patients": json_page([resource] * count),
        "/studies": json_page([resource] * count),
        "/instances": json_page([PLAIN_SSN]),
        "/modalities": json_page({FAMILY: {"AET": FAMILY, "Host": "127.0.0.1", "Port": 104}}),
        "/app/explorer.html": Page(200, f"<title>Orthanc Explorer</title><h1>{NAME}</h1>"),
        "/version": json_page({"version": DOTTED_SSN}),
        "/dcm4chee-arc/aets": json_page([{"dicomAETitle": FAMILY, "dicomDescription": NAME}]),
        "/dcm4chee-arc/ui2/": Page(302, "", headers={"Location": f"/patients/{PLAIN_SSN}/{FAMILY}"}),
        "/pacs/home.php": Page(200, f"<title>PacsOne Server {DOTTED_SSN}</title>{NAME}"),
        "/cgi-bin/dgate*": Page(200, f"<title>Conquest DICOM server</title>version: {DOTTED_SSN} {NAME}"),
        "/dicom/": Page(200, f'<title>Index of /dicom/</title><h1>Index of</h1><a href="{NAME}.dcm">{SSN}.dcm</a>'),
        "/images/": Page(401, "", headers={"WWW-Authenticate": f'Basic realm="images of {NAME} {SSN}"'}),
        "/dicom-web/studies": qido(studies),
        "/dicom-web/patients": json_page(studies, "application/dicom+json"),
        "/dicom-web/*": Page(404, json_page({"Message": f"unknown study of {NAME}", "Details": SSN}).body),
        "/wado": Page(404, f"no object of {NAME} ({SSN})"),
    }
    headers = {
        "Server": f"Mongoose/{GIVEN}",
        "X-Powered-By": FAMILY,
        "Set-Cookie": f"patient={NAME}; path=/",
        "X-Patient": SSN,
        "ETag": f'"{PLAIN_SSN}"',
    }
    return Site(pages, headers, cors="reflect")
