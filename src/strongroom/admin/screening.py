"""Screen files as they lie in folders and on media, and disarm one. No archive is needed, and no file is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from strongroom.admin.media import FoundFile, open_regular, walk_everything
from strongroom.admin.originals import Kept, keep_original
from strongroom.app import Archive
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.errors import ConfigError, EngineFailed, MalformedDataset, Refused
from strongroom.screen.disarm import Disarmed, disarm
from strongroom.screen.engine import Engines
from strongroom.screen.findings import Report

_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Screened:
    """What became of one file: a report, or why there is none; neither if it is no DICOM file and was passed over."""

    path: str
    size_bytes: int
    report: Report | None = None
    reason: str = ""


def count_files(paths: Sequence[Path]) -> tuple[int, int]:
    """Return how many files lie below ``paths``, and their bytes. Raises ConfigError if a path does not exist."""
    files = size = 0
    for found in walk_everything(paths):
        if isinstance(found, FoundFile):
            files, size = files + 1, size + found.size
    return files, size


def load_engines(yara_rules: Sequence[Path], clamd: str) -> Engines:
    """Return these engines, asked whether they are there. Raises ConfigError if one is not."""
    engines = Engines.load([str(path) for path in yara_rules], clamd)
    try:
        engines.check()
    except EngineFailed as error:
        raise ConfigError(f"{clamd}: {error.reason}") from None
    return engines


def screen_paths(
    paths: Sequence[Path], engines: Engines | None = None, *, every_file: bool = False
) -> Iterator[Screened]:
    """Yield what screening, and ``engines``, say of each file below ``paths``, in their order, one at a time.

    Of folders the DICOM files are screened, with ``every_file`` all of them; a file that is named always is. Raises
    ConfigError if a path does not exist.
    """
    named = {os.path.realpath(path) for path in paths}
    engines = engines or Engines()
    for found in walk_everything(paths):
        if isinstance(found, FoundFile):
            yield _screen(found, engines, is_wanted=every_file or found.path in named)
        elif not found.is_link:
            yield Screened(found.path, 0, reason=found.reason)


def _screen(found: FoundFile, engines: Engines, *, is_wanted: bool) -> Screened:
    try:
        with os.fdopen(open_regular(found.path), "rb", buffering=0) as file:
            piece = file.read(_PIECE_BYTES)
            if not is_wanted and not _is_dicom(piece):
                return Screened(found.path, found.size)
            screening = engines.screening()
            while piece:
                screening.feed(piece)
                piece = file.read(_PIECE_BYTES)
            return Screened(found.path, found.size, screening.finish())
    except OSError as error:
        return Screened(found.path, found.size, reason=error.strerror or type(error).__name__)


def _is_dicom(head: bytes) -> bool:
    """Whether a reader would take the file for DICOM: also if its header does not hold together."""
    try:
        parse_file_header(head[:MAX_HEADER_BYTES])
    except Refused as error:
        return error.reason != "not-dicom"
    except MalformedDataset:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Written:
    """A clean copy that was written: its digest and size, what it lacks, and where the original is kept, if it is."""

    disarmed: Disarmed
    size_bytes: int
    sha256: str
    kept: Kept | None = None


def disarm_file(source: Path, target: Path, archive: Archive | None = None) -> Written:
    """Write a clean copy of ``source`` to ``target``, a new file that is durable when this returns.

    With ``archive``, the original is in its quarantine before the copy is written. ``source`` itself is only read.

    Raises:
        Refused, MalformedDataset, LimitExceeded: as ``screen.disarm.disarm``; nothing is written.
        ConfigError: ``source`` cannot be read, ``target`` exists or cannot be written.
        StorageUnavailable: the original could not be kept.
    """
    try:
        fd = open_regular(str(source))
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror or 'not a file'}") from None
    try:
        size_bytes = os.fstat(fd).st_size
        disarmed = disarm(lambda offset, length: os.pread(fd, length, offset), size_bytes, datetime.now(UTC))
        if target.exists():
            raise ConfigError(f"{target} cannot be written: it is there already")
        kept = keep_original(archive, source, disarmed.before) if archive is not None else None
        copied, digest = _write(disarmed, target)
        return Written(disarmed, copied, digest, kept)
    finally:
        os.close(fd)


def _write(disarmed: Disarmed, target: Path) -> tuple[int, str]:
    """Write the copy; returns its size and SHA-256. What was written by half is removed."""
    digest, size_bytes = sha256(), 0
    try:
        file = target.open("xb")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from None
    try:
        with file:
            for piece in disarmed.pieces():
                file.write(piece)
                digest.update(piece)
                size_bytes += len(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"{target} cannot be written: {error.strerror}") from None
        raise
    return size_bytes, digest.hexdigest()
