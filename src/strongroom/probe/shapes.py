"""What identifying values look like, told without telling them: values come in, booleans and counts come out.

Nothing here keeps, logs or returns a value. Counts of a handful of answers are no statement about an archive, only
about what a stranger would hold in hand after one query.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from strongroom.dicom.text import decode, parse_charsets
from strongroom.dicom.tree import Element
from strongroom.probe.model import Detail
from strongroom.probe.shown import shape_of

MAX_LOOKED_AT: Final = 25
"""Answers that are looked at; enough to tell whether Patient IDs are SSN-shaped, and no more than that needs."""

MAX_VALUE_CHARS: Final = 1024
"""Characters of one value that are looked at."""

MAX_SHAPES: Final = 8

CANARY: Final = "ZZ-AUDIT-CANARY"
"""How the Patient IDs begin that the probe itself writes (``canary``): of an earlier run some may be left."""

SPECIFIC_CHARACTER_SET: Final = 0x00080005
STUDY_INSTANCE_UID: Final = 0x0020000D
_NAME, _PATIENT_ID, _BIRTH_DATE, _PHYSICIAN = 0x00100010, 0x00100020, 0x00100030, 0x00080090
_IDENTIFIERS: Final = (_PATIENT_ID, 0x00101000)
_FREE_TEXT: Final = (_NAME, 0x00080050, 0x00081030, 0x00102154, 0x00104000)

LOOKED_AT_TAGS: Final = tuple(
    sorted({STUDY_INSTANCE_UID, _BIRTH_DATE, _PHYSICIAN, SPECIFIC_CHARACTER_SET, *_IDENTIFIERS, *_FREE_TEXT})
)
"""What the one query for shapes asks for: names of patient and physician, Patient ID and Other Patient IDs, birth date,
accession number, study description, telephone numbers, comments, and the study's UID."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The text of one answer by tag. Its values are a patient's: they have no repr and must be dropped at once."""

    values: Mapping[int, str] = field(repr=False)

    @classmethod
    def of_elements(cls, elements: Iterable[Element]) -> Answered:
        """Return what a C-FIND identifier holds of ``LOOKED_AT_TAGS``."""
        wanted = {element.tag: element for element in elements if element.tag in LOOKED_AT_TAGS}
        named = wanted.pop(SPECIFIC_CHARACTER_SET, None)
        charsets = parse_charsets(named.value[:MAX_VALUE_CHARS]) if named else ()
        return cls(
            {
                tag: decode(element.value[:MAX_VALUE_CHARS], charsets, element.vr).strip(" \0")
                for tag, element in wanted.items()
            }
        )

    @classmethod
    def of_json(cls, answer: object) -> Answered:
        """Return what an object of the DICOM JSON model holds of ``LOOKED_AT_TAGS`` (PS3.18 F.2); any JSON will do."""
        if not isinstance(answer, dict):
            return cls({})
        found = {tag: _json_text(answer.get(f"{tag:08X}")) for tag in LOOKED_AT_TAGS}
        return cls({tag: text for tag, text in found.items() if text})

    @property
    def is_canary(self) -> bool:
        """Whether it is an object of the probe's own."""
        return self.values.get(_PATIENT_ID, "").startswith(CANARY)

    def text_of(self, tag: int) -> str:
        """Return the value as it is compared: compatibility forms made plain, dashes and spaces of one kind."""
        return plain(self.values.get(tag, ""))


def _json_text(attribute: object) -> str:
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if not isinstance(values, list):
        return ""
    parts: list[str] = []
    for value in values[:8]:
        if isinstance(value, dict):
            value = "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).strip(
                "="
            )
        if isinstance(value, str | int):
            parts.append(str(value))
    return "\\".join(parts)[:MAX_VALUE_CHARS]


_SAME: Final = str.maketrans({0x2010: "-", 0x2011: "-", 0x2012: "-", 0x2013: "-", 0x2212: "-", 0x00AD: None})


def plain(text: str) -> str:
    """Return ``text`` with full-width digits, no-break spaces, other dashes and soft hyphens as what they stand for."""
    return unicodedata.normalize("NFKC", text[:MAX_VALUE_CHARS]).translate(_SAME)


_NINE_DIGITS: Final = re.compile(r"(?<![0-9.])([0-9]{3})([- .]?)([0-9]{2})\2([0-9]{4})(?![0-9]|\.[0-9])")
_NEVER_ISSUED: Final = frozenset({"078051120", "219099999", "123456789", "987654321"})
"""Numbers of advertisements and placeholders."""
_ITIN_GROUPS: Final = frozenset({*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)})


def is_ssn(digits: str) -> bool:
    """Return whether nine digits can be a Social Security number (SSA POMS RM 10201.035): there is no check digit."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
        return False
    return digits not in _NEVER_ISSUED and len(set(digits)) > 1


def is_itin(digits: str) -> bool:
    """Return whether nine digits can be a US taxpayer number of somebody who has no Social Security number."""
    return digits[0] == "9" and int(digits[3:5]) in _ITIN_GROUPS and digits not in _NEVER_ISSUED


def _holds(text: str, test: Callable[[str], bool], *, bare: bool) -> bool:
    """Return whether ``text`` has such a number. Nine digits in a row, which may be anything, count only with ``bare``
    and where they stand alone; a letter behind a written number is that of a Medicare claim."""
    for match in _NINE_DIGITS.finditer(text):
        area, separator, group, serial = match.groups()
        alone = not (text[match.start() - 1 : match.start()].isalnum() or text[match.end() : match.end() + 1].isalnum())
        if (separator or (bare and alone)) and test(area + group + serial):
            return True
    return False


def has_nine_digit_number(answer: Answered, test: Callable[[str], bool], *, bare: bool = True) -> bool:
    """Return whether ``answer`` has such a number: written with separators anywhere, or bare in an identifier or
    behind a name."""
    if any(_holds(answer.text_of(tag), test, bare=bare) for tag in (*_IDENTIFIERS, _NAME)):
        return True
    return any(_holds(answer.text_of(tag), test, bare=False) for tag in _FREE_TEXT)


_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}")
_PHONE: Final = re.compile(
    r"(?<![0-9])(?:\+[1-9][0-9]{0,2}[-. ]?[0-9(][-. ()0-9]{6,15}[0-9]"
    r"|(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-. ])[2-9][0-9]{2}[-. ][0-9]{4})(?![0-9])"
)
_TELEPHONE_NUMBERS: Final = 0x00102154


def _has_email(answer: Answered) -> bool:
    return any(_EMAIL.search(answer.text_of(tag)) for tag in (*_IDENTIFIERS, *_FREE_TEXT))


def _has_phone(answer: Answered) -> bool:
    told = sum(character.isdigit() for character in answer.text_of(_TELEPHONE_NUMBERS)) >= 7
    return told or any(_PHONE.search(answer.text_of(tag)) for tag in (*_IDENTIFIERS, *_FREE_TEXT))


def is_birth_date(text: str) -> bool:
    """Return whether ``text`` is a day on which a patient of our time can be born (VR DA, PS3.5 6.2)."""
    digits = text.replace(".", "").replace("-", "")
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit() or not "1880" <= digits[:4] <= "2100":
        return False
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PHANTOM_WORDS: Final = _words("PHANTOM PHANTOMS CATPHAN ACR QA QC CALIBRATION WATERPHANTOM DAILYQA")
_TEACHING_WORDS: Final = _words("TEACHING TEACHINGFILE TRAINING EDUCATION LECTURE")
_SYNTHETIC_WORDS: Final = _words(
    "TEST TESTING TESTPATIENT DEMO DEMONSTRATION SAMPLE SAMPLES COMPRESSEDSAMPLES DUMMY FAKE SYNTHETIC CANARY ANON "
    "ANONYMOUS ANONYMIZED ANONYMISED DEIDENTIFIED ZZZTEST ZZTEST BRAINIX PHENIX INCISIX OSIRIX RUBO"
)
_WHO: Final = (_NAME, _PATIENT_ID)
_KINDS: Final = (
    ("phantom", _PHANTOM_WORDS, (*_WHO, 0x00081030)),
    ("teaching", _TEACHING_WORDS, (*_WHO, 0x00081030)),
    ("synthetic", _SYNTHETIC_WORDS, _WHO),
)
"""Words by which whoever made the data says that it is of nobody, and where one of them says so: "TEST" in a study
description may be a stress test of somebody."""

_WORD: Final = re.compile(r"[A-Z]+")
_DEMO_ROOTS: Final = ("1.3.6.1.4.1.14519.", "1.3.6.1.4.1.9328.50.")
"""UID roots of the public collections of The Cancer Imaging Archive."""


def kind_of(answer: Answered) -> str:
    """Return "phantom", "teaching" or "synthetic" if the answer says so of itself, else ""."""
    for kind, known, tags in _KINDS:
        if any(known.intersection(_WORD.findall(answer.text_of(tag).upper())) for tag in tags):
            return kind
    return ""


def looked_at(answers: Iterable[Answered]) -> dict[str, Detail]:
    """Return what is seen in the first ``MAX_LOOKED_AT`` answers, as the details of an observation.

    Each number counts answers. ``ssn_bare`` are those of ``ssn_shaped`` whose only sign is a Patient ID of nine digits
    in a row, which may be a number of another kind; ``shapes`` are masked shapes of Patient IDs, commonest first. What
    the probe itself has written is left out.
    """
    counts: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    for answer, _ in zip(answers, range(MAX_LOOKED_AT), strict=False):
        if answer.is_canary:
            continue
        counts["looked_at"] += 1
        _count(answer, counts)
        patient_id = answer.text_of(_PATIENT_ID)
        if patient_id:
            shapes[shape_of(patient_id)] += 1
        seen.add(tuple(answer.text_of(tag) for tag in (_NAME, _PATIENT_ID, _BIRTH_DATE, _PHYSICIAN)))
    details: dict[str, Detail] = {name: counts[name] for name in _COUNTED}
    # Answers that name nobody are not of one patient.
    details["identical"] = counts["looked_at"] > 2 and len(seen) == 1 and any(seen.pop())
    details["shapes"] = tuple(shape for shape, _ in shapes.most_common(MAX_SHAPES))
    return details


_COUNTED: Final = (
    "looked_at",
    "has_name",
    "has_birth_date",
    "has_patient_id",
    "has_physician",
    "ssn_shaped",
    "ssn_bare",
    "itin_shaped",
    "email_shaped",
    "phone_shaped",
    "synthetic",
    "phantom",
    "teaching",
    "demo_uids",
)


def _count(answer: Answered, counts: Counter[str]) -> None:
    kind = kind_of(answer)
    written = has_nine_digit_number(answer, is_ssn, bare=False)
    bare = not written and has_nine_digit_number(answer, is_ssn)
    found = {
        "has_name": bool(answer.text_of(_NAME).strip("^= ")),
        "has_birth_date": is_birth_date(answer.text_of(_BIRTH_DATE)),
        "has_patient_id": bool(answer.text_of(_PATIENT_ID)),
        "has_physician": bool(answer.text_of(_PHYSICIAN).strip("^= ")),
        "ssn_shaped": written or bare,
        "ssn_bare": bare,
        "itin_shaped": has_nine_digit_number(answer, is_itin),
        "email_shaped": _has_email(answer),
        "phone_shaped": _has_phone(answer),
        "demo_uids": answer.text_of(STUDY_INSTANCE_UID).startswith(_DEMO_ROOTS),
    }
    counts.update(name for name, is_so in found.items() if is_so)
    if kind:
        counts[kind] += 1
