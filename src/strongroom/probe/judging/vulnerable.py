"""Which versions are known to be vulnerable: a dated table, and how version names are read and compared.

Pure, and no proof: a distribution may have patched a version without giving it another name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

SEVERITIES: Final = ("low", "medium", "high", "critical")

_VERSION: Final = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})(?:[-_.+~ ]?([a-z]{1,9}).*)?")
_UNRELEASED: Final = ("alpha", "beta", "dev", "pre", "preview", "rc", "snapshot")
_NAMES: Final = (
    ("dcmtk", re.compile(r"DCMTK_?([0-9])([0-9])([0-9]{1,2})(?![0-9])", re.IGNORECASE)),
    ("pynetdicom", re.compile(r"PYNETDICOM_?([0-9])([0-9])([0-9]{1,2})(?![0-9])", re.IGNORECASE)),
    ("dcm4chee", re.compile(r"dcm4che[a-z]*[-_ ]?([0-9]+(?:\.[0-9]+){1,3})", re.IGNORECASE)),
    ("conquest", re.compile(r"conquest[-_ ]?([0-9]+(?:\.[0-9]+){1,3}[a-z]?)", re.IGNORECASE)),
)

VersionKey = tuple[tuple[int, ...], int, str] | tuple[()]


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A row of the table. ``since`` is "" if all earlier versions are affected."""

    product: str
    below: str
    cve: tuple[str, ...]
    severity: str
    what: str
    source: str
    since: str = ""

    def affects(self, version: str) -> bool:
        """Whether it is known of this version. False for what is no version."""
        key = version_key(version)
        return bool(key) and version_key(self.since) <= key < version_key(self.below)


@dataclass(frozen=True, slots=True)
class KnownFaults:
    """The whole table; ``as_of`` is the day on which it was last looked through (ISO 8601)."""

    as_of: str
    faults: tuple[KnownFault, ...]


@cache
def known_faults() -> KnownFaults:
    """Return the table that comes with the program. Raises ValueError for a row that cannot be meant."""
    return parse_known_faults(tomllib.loads((files("strongroom.probe.judging") / "vulnerable.toml").read_text("utf-8")))


def parse_known_faults(raw: Mapping[str, Any]) -> KnownFaults:
    """Return the table as values. Raises ValueError: a key, CVE, severity or version that is none."""
    faults = []
    for row in raw["fault"]:
        try:
            fault = KnownFault(**{**row, "cve": tuple(row["cve"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"a row of known faults: {error}") from None
        if not fault.cve or not all(re.fullmatch(r"CVE-[0-9]{4}-[0-9]{4,7}", cve) for cve in fault.cve):
            raise ValueError(f"{fault.product}: {fault.cve} are no CVEs")
        if fault.severity not in SEVERITIES or not version_key(fault.below) or not fault.source:
            raise ValueError(f"{fault.product} below {fault.below}: severity, version or source are none")
        faults.append(fault)
    return KnownFaults(raw["as_of"].isoformat(), tuple(faults))


def faults_of(product: str, version: str) -> tuple[KnownFault, ...]:
    """Return what is known of a version of a product (its key), the worst first."""
    found = [each for each in known_faults().faults if each.product == product and each.affects(version)]
    return tuple(sorted(found, key=lambda each: -SEVERITIES.index(each.severity)))


def version_of_implementation(name: str) -> tuple[str, str] | None:
    """Return product and version that an implementation version name (PS3.7 D.3.3.2) tells of, None if it tells none.

    ``OFFIS_DCMTK_369`` is 3.6.9, ``PYNETDICOM_304`` is 3.0.4, ``dcm4che-5.29.0`` is 5.29.0.
    """
    for product, pattern in _NAMES:
        if found := pattern.search(name):
            parts = found.groups()
            return product, parts[0] if len(parts) == 1 else ".".join(str(int(part)) for part in parts)
    return None


def version_key(version: str) -> VersionKey:
    """Return what versions are compared by, () for what is none: numbers by value, "c" after none, "rc1" before it.

    1.5.0 < 1.5.0c < 1.5.1, 1.12.11-rc1 < 1.12.11, and 3.6 is 3.6.0.
    """
    found = _VERSION.fullmatch(version.strip().lower())
    if found is None:
        return ()
    numbers = [int(part) for part in found.group(1).split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    letters = found.group(2) or ""
    if letters in _UNRELEASED:
        return tuple(numbers), -1, letters
    return (tuple(numbers), 1, letters) if len(letters) == 1 else (tuple(numbers), 0, "")
