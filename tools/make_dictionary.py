"""Write ``tags.tsv`` and ``uids.tsv`` of the dicom room from the tables of the installed pydicom.

Run it after a pydicom upgrade and commit the result: ``python tools/make_dictionary.py [DIRECTORY]``. The package
itself never imports pydicom for its dictionary; these two files are DICOM PS3.6 as data.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary

TARGET = Path(__file__).resolve().parent.parent / "src" / "strongroom" / "dicom"

# Entries of the current PS3.6 table A-1 that the installed pydicom does not know yet.
NEWER_UIDS = {
    "1.2.840.10008.1.2.4.110": ("JPEG XL Lossless", "Transfer Syntax", "", "", ""),
    "1.2.840.10008.1.2.4.111": ("JPEG XL JPEG Recompression", "Transfer Syntax", "", "", ""),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "Transfer Syntax", "", "", ""),
    "1.2.840.10008.1.2.8.1": ("Deflated Image Frame Compression", "Transfer Syntax", "", "", ""),
    "1.2.840.10008.5.1.4.1.1.66.7": ("Label Map Segmentation Storage", "SOP Class", "", "", ""),
    "1.2.840.10008.5.1.4.1.1.66.8": ("Height Map Segmentation Storage", "SOP Class", "", "", ""),
}

# Named "Storage" without being objects that a storage service takes in.
NOT_STORED = {
    "1.2.840.10008.1.3.10",  # Media Storage Directory: a file of a medium, never an object of a study
    "1.2.840.10008.1.20.1",  # Storage Commitment
    "1.2.840.10008.1.20.2",
}

# Not encodings of a stored data set: MIME and XML wrappings, real-time video (PS3.22).
NOT_DATA_SETS = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")
IMPLICIT = {"1.2.840.10008.1.2", "1.2.840.10008.1.20"}
BIG_ENDIAN = {"1.2.840.10008.1.2.2"}
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
JPIP = {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"}
ENCAPSULATED = {"1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"}


def tag_lines() -> list[str]:
    """One line a tag: tag (x for a free digit), VRs, VM, keyword."""
    rows = {f"{tag:08X}": entry for tag, entry in DicomDictionary.items()}
    rows.update(RepeatersDictionary)
    lines = []
    for tag, (vr, vm, _name, _retired, keyword) in sorted(rows.items()):
        if vr != "NONE":
            lines.append(f"{tag}\t{vr.replace(' or ', '/')}\t{vm}\t{keyword}")
    return lines


def transfer_syntax_flags(uid: str) -> str:
    """E explicit, B big endian, D deflated, F fragments (encapsulated)."""
    encapsulated = uid in ENCAPSULATED or (uid.startswith("1.2.840.10008.1.2.4.") and uid not in JPIP)
    flags = {"E": uid not in IMPLICIT, "B": uid in BIG_ENDIAN, "D": uid in DEFLATED, "F": encapsulated}
    return "".join(letter for letter, is_set in flags.items() if is_set)


def uid_lines() -> list[str]:
    """One line a UID: uid, kind, flags (R retired; the letters above for a transfer syntax), name."""
    lines = []
    for uid, (name, kind, _info, retired, *_rest) in sorted((UID_dictionary | NEWER_UIDS).items()):
        flags = "R" if retired else ""
        if kind == "Transfer Syntax":
            code = "other" if uid.startswith(NOT_DATA_SETS) else "transfer-syntax"
            flags += transfer_syntax_flags(uid)
        elif kind == "SOP Class":
            code = "storage" if "Storage" in name and uid not in NOT_STORED else "sop-class"
        else:
            code = "other"
        lines.append(f"{uid}\t{code}\t{flags}\t{name}")
    return lines


def main() -> None:
    """Write both tables."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    for name, lines in (("tags.tsv", tag_lines()), ("uids.tsv", uid_lines())):
        (target / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
