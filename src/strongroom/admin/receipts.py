"""Receipts: one record of the trail with its proof, in a file that is there before anything depends on it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from strongroom.app import Archive
from strongroom.errors import ConfigError, NotFound, StorageUnavailable
from strongroom.trail.receipt import encode_receipt
from strongroom.trail.verify import prove

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class ReservedFile:
    """A new, empty file (mode 0600), made at once: what cannot be undone is not begun without a place for its proof.

    ``write`` it, else ``discard`` it.
    """

    def __init__(self, path: Path) -> None:
        """Make the file. Raises ConfigError if it is there, or cannot be made."""
        self._path = path
        try:
            self._fd = os.open(path, _NEW_FILE, 0o600)
        except FileExistsError:
            raise ConfigError(f"{path} is there already and is not overwritten") from None
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror}") from None

    def write(self, data: bytes) -> None:
        """Write all of ``data`` durably, and close the file. Raises StorageUnavailable; the file is gone then."""
        try:
            with os.fdopen(self._fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(self._path.parent)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise StorageUnavailable(f"cannot write {self._path}: {error.strerror}") from None

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError):
            os.close(self._fd)
        self._path.unlink(missing_ok=True)


def write_receipt(archive: Archive, log: str, seq: int, out: Path) -> int:
    """Write the receipt of a record to the new file ``out`` (mode 0600); returns its size in bytes.

    Signs a checkpoint first, so that the newest record has one too. Raises NotFound (no such record), ConfigError
    (``out``), IntegrityError (the trail contradicts itself: verify it) or StorageUnavailable; ``out`` is then not
    there.
    """
    reserved = ReservedFile(out)
    try:
        archive.checkpoint()
        with archive.index.database.read() as cursor:
            try:
                receipt = encode_receipt(prove(archive.trail_reader, cursor, log, seq))
            except NotFound:
                raise NotFound(f"there is no record {seq} in a log {log} of the trail") from None
    except BaseException:
        reserved.discard()
        raise
    reserved.write(receipt)
    return len(receipt)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
