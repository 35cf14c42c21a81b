"""The data dictionary and the registry of UIDs (DICOM PS3.6), loaded from ``tags.tsv`` and ``uids.tsv``.

The tag table is read at first use (about 4 ms), the UID table at import: it is small, and its sets are constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set is encoded (PS3.5 10 and annex A). ``deflated`` is of the whole data set."""

    uid: str
    name: str
    explicit: bool
    little_endian: bool = True
    deflated: bool = False
    encapsulated: bool = False
    retired: bool = False


class TagEntry(NamedTuple):
    """One line of PS3.6: the VRs that the standard allows, multiplicity and keyword."""

    vrs: tuple[bytes, ...]
    vm: str
    keyword: str


def _uid_rows() -> list[list[str]]:
    text = (files(__package__) / "uids.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


_ROWS: Final = _uid_rows()

TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType(
    {
        uid: TransferSyntax(
            uid=uid,
            name=name,
            explicit="E" in flags,
            little_endian="B" not in flags,
            deflated="D" in flags,
            encapsulated="F" in flags,
            retired="R" in flags,
        )
        for uid, kind, flags, name in _ROWS
        if kind == "transfer-syntax"
    }
)
"""Every standard transfer syntax that a stored data set can have, retired ones included, by UID."""

STORAGE_SOP_CLASSES: Final[frozenset[str]] = frozenset(row[0] for row in _ROWS if row[1] == "storage")
"""Every storage SOP class of the standard, the retired ones that the field still sends included (PS3.4 B.5)."""

UID_NAMES: Final[Mapping[str, str]] = MappingProxyType({row[0]: row[3] for row in _ROWS if row[3]})
"""The standard's name of every registered UID."""

IMPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2"]
EXPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1.99"]
EXPLICIT_VR_BIG_ENDIAN: Final = TRANSFER_SYNTAXES["1.2.840.10008.1.2.2"]

# Which VR an ambiguous attribute has where nothing else decides: pixel data is OW in implicit VR (PS3.5 A.1), and
# numbers are unsigned until Pixel Representation says otherwise.
_DEFAULT_VR: Final = MappingProxyType({"OB/OW": b"OW", "US/SS": b"US", "US/OW": b"OW", "US/SS/OW": b"OW"})

_HEX_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_UNKNOWN: Final = TagEntry((b"UN",), "1", "")
_PRIVATE_CREATOR: Final = TagEntry((b"LO",), "1", "PrivateCreator")
_GROUP_LENGTH: Final = TagEntry((b"UL",), "1", "GroupLength")


@cache
def _tables() -> tuple[dict[int, TagEntry], list[tuple[int, dict[int, TagEntry]]], dict[str, int]]:
    """Return entries by tag, the repeating groups as (mask, entries by masked tag), and tags by keyword."""
    exact: dict[int, TagEntry] = {}
    repeating: dict[int, dict[int, TagEntry]] = {}
    keywords: dict[str, int] = {}
    vr_sets: dict[str, tuple[bytes, ...]] = {}
    for line in (files(__package__) / "tags.tsv").read_text(encoding="utf-8").splitlines():
        tag, vr, vm, keyword = line.split("\t")
        vrs = vr_sets.get(vr)
        if vrs is None:
            names = [name.encode() for name in vr.split("/")]
            default = _DEFAULT_VR.get(vr, names[0])
            vrs = vr_sets[vr] = (default, *(name for name in names if name != default))
        entry = TagEntry(vrs, vm, keyword)
        if "x" in tag:
            mask = int("".join("0" if digit == "x" else "F" for digit in tag), 16)
            number = int(tag.replace("x", "0"), 16)
            repeating.setdefault(mask, {})[number] = entry
        else:
            number = int(tag, 16)
            exact[number] = entry
        if keyword:
            keywords.setdefault(keyword, number)
    return exact, list(repeating.items()), keywords


def entry_of(tag: int) -> TagEntry:
    """Return the dictionary entry of ``tag``; one with VR UN and no keyword if the standard does not know it.

    Covers repeating groups (50xx, 60xx and the retired ones), group lengths and private creators (PS3.5 7.2, 7.6,
    7.8.1).
    """
    exact, repeating, _ = _tables()
    found = exact.get(tag)
    if found is not None:
        return found
    if not tag & 0xFFFF:
        return _GROUP_LENGTH
    if tag & 0x10000:
        return _PRIVATE_CREATOR if 0x10 <= tag & 0xFFFF <= 0xFF else _UNKNOWN
    for mask, entries in repeating:
        found = entries.get(tag & mask)
        if found is not None:
            return found
    return _UNKNOWN


def vr_of(tag: int) -> bytes:
    """Return the VR of ``tag``: b"UN" if unknown, and for an ambiguous one US, or OW before OB and US."""
    return entry_of(tag).vrs[0]


def keyword_of(tag: int) -> str:
    """Return the keyword of ``tag``, "" if it has none."""
    return entry_of(tag).keyword


def tag_of(keyword: str) -> int | None:
    """Return the tag with that keyword (of a repeating group: its first), None if there is none."""
    return _tables()[2].get(keyword)


def parse_tag(text: str) -> int | None:
    """Return the tag that ``text`` names, as eight hex digits or as a keyword (PS3.18 8.3.4), None if neither."""
    return int(text, 16) if _HEX_TAG.fullmatch(text) else tag_of(text)
