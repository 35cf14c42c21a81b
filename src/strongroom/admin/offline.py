"""A receipt held against what it is about, by somebody who has the archive's public key and nothing else of it.

Opens no archive and no database: this works on any machine, and after the archive is gone.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from strongroom.dicom.canonical import canonical_sha256
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, UID_NAMES
from strongroom.dicom.part10 import MAX_HEADER_BYTES, FileHeader, parse_file_header
from strongroom.errors import ConfigError, IntegrityError, StrongroomError
from strongroom.trail.receipt import MAX_RECEIPT_BYTES, Proven, check_with_key, parse_receipt
from strongroom.trail.record import Record
from strongroom.trail.stamp import Stamp, check_stamp, read_certificates

MAX_KEY_FILE_BYTES: Final = 65536
_CHUNK_BYTES: Final = 2**20
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Compared:
    """What a Part 10 file is to the object that a record names: the same, byte for byte or in content, or not."""

    sha256: str
    data_bytes: int
    is_same: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a receipt proves, the time stamp on it if it has one, and a file if one was given.

    ``stamp_is_trusted`` says whether the stamp's signature was verified too.
    """

    proven: Proven
    key_sha256: str
    stamp: Stamp | None
    stamp_is_trusted: bool
    compared: Compared | None


def verify_receipt(receipt: Path, key: Path, authority: Path | None = None, part10: Path | None = None) -> Verified:
    """Return what the receipt in a file proves to the holder of the archive's public key (PEM).

    ``authority`` has the certificates of a time stamp authority, ``part10`` the object. Raises IntegrityError if the
    receipt or its time stamp does not verify, ConfigError if a file cannot be read, or is not what it is named for.
    """
    pem = _read(key, MAX_KEY_FILE_BYTES)
    trusted = () if authority is None else read_certificates(authority)
    parsed = parse_receipt(_read(receipt, MAX_RECEIPT_BYTES))
    proven = check_with_key(parsed, pem)
    stamp = None
    if parsed.timestamp:
        stamp = check_stamp(parsed.timestamp, parsed.note.encode(), trusted)
    elif trusted:
        raise IntegrityError("the receipt has no time stamp to be verified with that certificate")
    compared = None if part10 is None else _compare(part10, proven.record)
    fingerprint = sha256(proven.verifier.to_pem()).hexdigest()
    return Verified(proven, fingerprint, stamp, bool(stamp and trusted), compared)


def class_name(uid: str) -> str:
    """What the standard calls a SOP class; the UID if it is private."""
    return UID_NAMES.get(uid, uid)


def _open(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, _READ), "rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _read(path: Path, limit: int) -> bytes:
    """The file's bytes, at most one more than the limit: whoever parses them sees that it was passed."""
    with closing(_open(path)) as file:
        try:
            return file.read(limit + 1) or b""
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _compare(path: Path, record: Record) -> Compared:
    told = record.event.details
    if not told.get("sha256"):
        raise IntegrityError("the record is not about an object that a file could be compared with")
    with closing(_open(path)) as file:
        try:
            header = parse_file_header(file.read(MAX_HEADER_BYTES))
            digest, size = _digest(file, header.data_set_offset)
            if digest == told["sha256"]:
                return Compared(digest, size, True, "holds the data set that was received, byte for byte")
            if _has_same_content(file, header, size, told.get("canonical_sha256")):
                words = "holds the content that was received, in another encoding: its bytes are not the same"
                return Compared(digest, size, True, words)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except IntegrityError:
            raise
        except StrongroomError as error:
            raise ConfigError(f"{path} cannot be compared: {error}") from None
    return Compared(digest, size, False, "is NOT what was received: its data set has another SHA-256")


def _digest(file: BinaryIO, offset: int) -> tuple[str, int]:
    digest, size = sha256(), 0
    file.seek(offset)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _has_same_content(file: BinaryIO, header: FileHeader, size: int, canonical: object) -> bool:
    """Whether the record has a digest of the content, and it is that of the file."""
    syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
    if not isinstance(canonical, str) or not canonical or syntax is None:
        return False

    def read(offset: int, length: int) -> bytes:
        file.seek(header.data_set_offset + offset)
        return file.read(length)

    return canonical_sha256(read, size, syntax).hex() == canonical
