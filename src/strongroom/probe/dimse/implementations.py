"""Implementation class UIDs and version names (PS3.7 D.3.3.2) as they may be shown: what is known by name, and the
shape of everything else, for a server may write whatever it likes there."""

from __future__ import annotations

from typing import Final

from strongroom.probe.shown import shape_of, shown

_ROOTS: Final = (
    ("1.2.276.0.7230010.3.0.3", "DCMTK"),
    ("1.2.826.0.1.3680043.9.3811", "pynetdicom"),
    ("1.2.826.0.1.3680043.8.498", "pydicom"),
    ("1.2.40.0.13.1", "dcm4che"),
    ("1.2.826.0.1.3680043.2.135.1066", "Conquest"),
    ("1.3.6.1.4.1.30071", "fo-dicom"),
    ("1.3.6.1.4.1.25403", "ClearCanvas"),
    ("1.2.840.113619", "GE"),
    ("1.3.12.2.1107.5", "Siemens"),
    ("1.3.46.670589", "Philips"),
    ("1.2.392.200036.9125", "Fujifilm"),
    ("1.2.124.113532", "Agfa"),
    ("2.16.840.1.113669", "Merge"),
    ("1.2.840.114257", "LEADTOOLS"),
    ("2.25.273169522555273530275126710890409869925", "Strongroom"),
)
"""Prefixes of implementation class UIDs and whose they are."""


def _known(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS: Final = _known(
    "offis dcmtk orthanc pynetdicom pydicom dcm che conquest fo dicom dicoogle clearcanvas mergecom merge agfa impax "
    "fuji synapse ge centricity philips siemens syngo sectra carestream horos osirix leadtools dcmjs mirth medixant "
    "radiant weasis visage intelerad strongroom pacs scp scu qr server archive mwl worklist storescp v r rc beta "
    "release"
)


def shown_uid(uid: str) -> str:
    """Return the prefix of an implementation class UID that is known and whose it is, else the UID's shape."""
    for root, name in _ROOTS:
        if uid == root or uid.startswith(root + "."):
            return f"{root} ({name})"
    return shape_of(uid)


def shown_version(name: str) -> str:
    """Return an implementation version name: known words and short numbers as they are."""
    return shown(name, _WORDS)
