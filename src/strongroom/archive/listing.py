"""The list of studies as people go through it: newest first, a page at a time, both ways, narrowed as one types.

It is no query of PS3.4: words may stand anywhere in a name, in a Patient ID, an accession number or a description, and
no key says which. Each study keeps these as one text, without case and accents. The index decides alone. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from strongroom.archive.model import SearchRow
from strongroom.archive.values import fold, short_text

MAX_LISTED: Final = 1000
"""Studies in one page of the list, whoever asks."""
MAX_WORDS: Final = 6
MAX_TEXT_CHARS: Final = 64
UID_CHARS: Final = 12
"""Digits and dots from this length on are a Study Instance UID, and no part of a number."""

_BETWEEN: Final = re.compile(r"[\s,^=]+")
_UID: Final = re.compile(rf"[0-9]+(?:\.[0-9]+)+(?<=.{{{UID_CHARS}}})")
_SEARCHED_CHARS: Final = (200, 64, 64, 128)
"""Of name, Patient ID, accession number and description: what PostgreSQL keeps in one index fits a third of a page."""


def search_text(name: str, patient_id: str, accession: str, description: str) -> str:
    """What is searched of a study, from the texts of its columns; nothing that is typed reaches over two of them."""
    texts = (name, patient_id, accession, description)
    return "\n".join(fold(text)[:most] for text, most in zip(texts, _SEARCHED_CHARS, strict=True))


@dataclass(frozen=True, slots=True)
class StudyList:
    """One page of the list of studies: which, and from where on.

    All ``words`` occur; they are folded. Dates are YYYYMMDD and both included, "" is no limit. ``patient_of``: those of
    the patient whose study this is. ``older_than`` and ``newer_than`` are the study that another page ended with, or
    began; at most one is set. ``institution`` occurs in the name of that of
    a series, ``referring`` is what the name of the referring physician begins with, as ``parse_physician`` gives it.
    """

    words: tuple[str, ...] = field(default=(), repr=False)
    study_uid: str = field(default="", repr=False)
    modality: str = ""
    first_date: str = ""
    last_date: str = ""
    patient_of: str = ""
    older_than: str = ""
    newer_than: str = ""
    limit: int = 50
    institution: str = field(default="", repr=False)
    referring: str = field(default="", repr=False)

    @property
    def matched(self) -> tuple[str, ...]:
        """What the trail says of it: which attributes were matched, never with what."""
        named = (
            ("text", bool(self.words)), ("0020000D", bool(self.study_uid)), ("00080061", bool(self.modality)),
            ("00080020", bool(self.first_date or self.last_date)), ("patient", bool(self.patient_of)),
            ("00080080", bool(self.institution)), ("00080090", bool(self.referring)),
        )  # fmt: skip
        return tuple(name for name, is_matched in named if is_matched)


@dataclass(frozen=True, slots=True)
class StudyPage:
    """One page, newest first: by study date, and of one date what came last first. Studies without a date end it."""

    rows: Sequence[SearchRow]
    has_newer: bool = False
    has_older: bool = False


def parse_words(text: str) -> tuple[tuple[str, ...], str]:
    """What somebody typed: the words to look for, folded, or the Study Instance UID that it is."""
    text = short_text(text[:MAX_TEXT_CHARS])
    if _UID.fullmatch(text):
        return (), text
    return tuple(word for word in _BETWEEN.split(fold(text)[:MAX_TEXT_CHARS]) if word)[:MAX_WORDS], ""


def parse_physician(text: str) -> str:
    """What a typed name of a physician begins with as the index keeps names: ``Smith, Ann`` -> ``smith^ann``."""
    parts = fold(short_text(text[:MAX_TEXT_CHARS])).split(",")
    return "^".join(part.strip() for part in parts).rstrip("^")


def parse_date(text: str) -> str:
    """A date as browsers send it, ``2026-11-22``, as StudyList has it; "" for what is none."""
    try:
        is_date = date.fromisoformat(text).isoformat() == text
    except ValueError:
        return ""
    return text.replace("-", "") if is_date else ""
