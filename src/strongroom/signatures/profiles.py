"""Digital signature profiles (DICOM PS3.15 annex C): which attributes each of them demands to be signed.

``profiles.tsv`` has, for the letters of its profiles, the attributes of each module by keyword, as of 2024. "Any
attributes whose values are verifiable by the technician or physician" (C.3) is for people to judge, and left out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from strongroom.dicom.dictionary import tag_of

CREATOR: Final = "creator"
AUTHORIZATION: Final = "authorization"
STRUCTURED_REPORT: Final = "sr"
BASE: Final = "base"
_LETTERS: Final = MappingProxyType({CREATOR: "C", AUTHORIZATION: "A", STRUCTURED_REPORT: "S"})
VERIFICATION_SIGNATURE: Final = "5"
"""Code Value of the purpose of a signature that verifies a report (PS3.16 CID 7007)."""

_CREATOR_VERSION_UID: Final = 0x00089123
_REPEATING_GROUPS: Final = (0x5000, 0x6000)
"""Curves and overlays."""


@cache
def _table() -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """Tags by module, and by the letter of the profile that wants every one that is present to be signed."""
    modules: dict[str, frozenset[int]] = {}
    demanded = {profile: frozenset[int]() for profile in _LETTERS}
    for line in files(__package__).joinpath("profiles.tsv").read_text(encoding="utf-8").splitlines():
        letters, module, keywords = line.split("\t")
        modules[module] = frozenset(tag for tag in map(tag_of, keywords.split()) if tag is not None)
        for profile, letter in _LETTERS.items():
            if letter in letters:
                demanded[profile] |= modules[module]
    return modules, demanded


def _is_demanded(tag: int, profile: str, present: Collection[int]) -> bool:
    if tag in _table()[1][profile]:
        return True
    if profile == STRUCTURED_REPORT:
        return False
    if tag & 0xFF000000 in (group << 16 for group in _REPEATING_GROUPS) and not tag & 0x10000:
        return bool(tag & 0xFFFF)
    # Raw data are in private attributes; only that module has Creator-Version UID.
    return bool(tag & 0x10000) and _CREATOR_VERSION_UID in present


def met_by(signed: Collection[int], present: Collection[int], *, purpose: str, is_verified: bool) -> Iterator[str]:
    """Yield the profiles beyond the base one that a signature of a whole data set meets.

    ``signed`` and ``present`` are top-level tags, ``is_verified`` says that the Verification Flag is VERIFIED.
    """
    modules, _ = _table()
    for profile in (CREATOR, AUTHORIZATION):
        if _has(signed, modules["identity"]) and not _left_out(profile, signed, present):
            yield profile
    if (
        is_verified
        and purpose == VERIFICATION_SIGNATURE
        and not _has(signed, modules["sr-verification"] & set(present))
    ):
        return
    if purpose and _has(signed, modules["sr-identity"]) and not _left_out(STRUCTURED_REPORT, signed, present):
        yield STRUCTURED_REPORT


def _has(signed: Collection[int], tags: Collection[int]) -> bool:
    return all(tag in signed for tag in tags)


def _left_out(profile: str, signed: Collection[int], present: Collection[int]) -> bool:
    return any(tag not in signed and _is_demanded(tag, profile, present) for tag in present)
