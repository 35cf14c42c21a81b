"""What lies on a backup medium: sealed objects that all backups share, and one folder for each backup.

    MEDIUM/strongroom-backup.json    whose backups these are
    MEDIUM/objects/                  sealed objects, as the archive has them: never changed, never overwritten
    MEDIUM/checkpoints/              numbered checkpoint files and their time stamps
    MEDIUM/sets/NAME/                one backup: index, secrets, configuration, and what it consists of

A folder in ``sets`` is a backup once it has its name, which it gets last; until then the name begins with a dot.
``manifest.json`` says what belongs to a backup, with the SHA-256 of each file, and ``seal`` is the SHA-256 of the
manifest sealed under the master key. Everything is sealed as it is in the archive, so whoever finds a medium learns
what whoever finds the archive's disk does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.store.files import PRIVATE_MODE, sync_directory, write_durably
from strongroom.store.keys import KeyRing
from strongroom.store.locks import HomeLock

FORMAT: Final = 1
MARK_NAME: Final = "strongroom-backup.json"
MANIFEST_NAME: Final = "manifest.json"
SEAL_NAME: Final = "seal"
INDEX_NAME: Final = "index.db"
MASTERS_NAME: Final = "master-keys.sealed"
SECRETS_NAME: Final = "secrets"
MAX_MANIFEST_BYTES: Final = 16 * 2**20
_SEALED_AS: Final = "backup"
_SET_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
_FILE_NAME: Final = re.compile(r"(secrets/)?[a-z0-9][a-z0-9._-]{0,80}")
_CHUNK: Final = 2**20
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FileFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a backup: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of and what it consists of; nothing of a patient. Times are seconds since 1970.

    ``database`` is the archive's own, sqlite or postgresql; ``files`` are paths below the backup's folder; ``masters``
    the master keys that it needs; ``missing`` objects (ids) that the index names and the archive itself did not have;
    ``records`` how long each trail log is in it; ``checkpoint`` the text of the last checkpoint file before it.
    """

    format: int
    name: str
    archive_id: str
    version: str
    database: str
    taken_s: float
    files: dict[str, FileFacts]
    masters: tuple[str, ...]
    counts: dict[str, int]
    records: dict[str, int]
    missing: tuple[str, ...]
    checkpoint: str


class _Mark(msgspec.Struct, frozen=True):
    archive_id: str
    format: int


class BackupMedium:
    """One directory of backups of one archive."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.objects = self.root / "objects"
        self.checkpoints = self.root / "checkpoints"
        self._sets = self.root / "sets"

    def prepare(self, archive_id: str) -> None:
        """Make it ready for backups of an archive. Raises ConfigError if it is another's, or holds other things."""
        if not self.root.parent.is_dir():
            raise ConfigError(f"{self.root.parent} is not there: mount the backup medium, or make the directory")
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            if not (self.root / MARK_NAME).exists() and any(self.root.iterdir()):
                raise ConfigError(f"{self.root} holds other things than backups: name a new or empty directory")
            if not (self.root / MARK_NAME).exists():
                write_durably(self.root / MARK_NAME, msgspec.json.encode(_Mark(archive_id, FORMAT)), PRIVATE_MODE)
            for folder in (self.objects, self.checkpoints, self._sets):
                folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {self.root}: {error.strerror}") from None
        self.require_of(archive_id)

    def require_of(self, archive_id: str = "") -> None:
        """Return if backups are here, of the named archive if one is. Raises ConfigError."""
        try:
            mark = msgspec.json.decode((self.root / MARK_NAME).read_bytes(), type=_Mark)
        except (OSError, msgspec.DecodeError, ValueError):
            raise ConfigError(f"{self.root} holds no backups: there is no {MARK_NAME}") from None
        if mark.format != FORMAT:
            raise ConfigError(f"{self.root} was written by a newer Strongroom")
        if archive_id and mark.archive_id != archive_id:
            raise ConfigError(f"{self.root} holds backups of archive {mark.archive_id}: name another directory")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the medium's lock. Raises ConfigError if another process writes to it."""
        lock = HomeLock(self.root / "backup.lock")
        if not lock.take():
            raise ConfigError(f"another backup is being written to {self.root}")
        try:
            yield
        finally:
            lock.release()

    def names(self) -> list[str]:
        """The names of all complete backups, the oldest first."""
        with suppress(FileNotFoundError):
            return sorted(filter(_SET_NAME.fullmatch, os.listdir(self._sets)))
        return []

    def folder(self, name: str = "") -> Path:
        """The folder of a backup, of the newest one without a name. Raises NotFound."""
        names = self.names()
        if name and name not in names:
            raise NotFound(f"{self.root} holds no complete backup {name}")
        if not names:
            raise NotFound(f"{self.root} holds no complete backup yet")
        return self._sets / (name or names[-1])

    def begin(self, now: dt.datetime) -> Path:
        """A new folder that is no backup yet; what others left unfinished is removed. The lock is held."""
        try:
            for left in self._sets.glob(".*"):
                shutil.rmtree(left)
            folder = self._sets / f".{_name_after(self.names(), now)}"
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {self.root}: {error.strerror}") from None
        return folder

    def complete(self, folder: Path) -> Path:
        """Give a folder, all of whose files are durable, its name: from then on it is a backup. Raises OSError."""
        for each in (*filter(Path.is_dir, folder.iterdir()), folder):
            sync_directory(each)
        final = folder.with_name(folder.name.removeprefix("."))
        folder.rename(final)
        sync_directory(self._sets)
        return final


def _name_after(names: list[str], now: dt.datetime) -> str:
    """A name for a backup of now that comes after all others, whatever became of the clock."""
    stamp, number = now.strftime("%Y%m%dT%H%M%SZ"), 0
    if names and names[-1] > stamp:
        stamp, _, last = names[-1].partition("-")
        number = int(last, 16) + 1
    return f"{stamp}-{number:04x}"


def object_path(object_id: bytes) -> Path:
    """Where an object lies below a folder of objects: the same in an archive and on a medium."""
    name = object_id.hex()
    return Path(name[:5], name[5:8], name)


class ObjectCopies:
    """Copies sealed objects into a folder, each whole under its name or not at all. ``finish`` makes them durable."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._folders: set[Path] = set()
        self.copied = self.copied_bytes = 0

    def copy(self, object_id: bytes) -> bool:
        """Copy one unless it is there already; False if its source is gone. Raises StorageUnavailable."""
        path = object_path(object_id)
        try:
            fd = os.open(self._source / path, _READ)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unavailable(path, error) from None
        try:
            size, target = os.fstat(fd).st_size, self._target / path
            with suppress(FileNotFoundError):
                if os.lstat(target).st_size == size:
                    return True
            self._make_folders(target.parent)
            copy_durably(fd, target)
        except OSError as error:
            raise _unavailable(path, error) from None
        finally:
            os.close(fd)
        self.copied += 1
        self.copied_bytes += size
        return True

    def _make_folders(self, folder: Path) -> None:
        if folder not in self._folders:
            for each in (folder.parent, folder):
                with suppress(FileExistsError):
                    each.mkdir(mode=0o700)
            self._folders |= {folder, folder.parent, self._target}

    def finish(self) -> None:
        """Make the names of all that was copied durable. Raises StorageUnavailable."""
        try:
            for folder in self._folders:
                sync_directory(folder)
        except OSError as error:
            raise StorageUnavailable(f"a copy cannot be made durable: {error.strerror}") from None
        self._folders.clear()


def copy_durably(fd: int, target: Path) -> None:
    """Copy an open file to ``target``: there is never a file of that name that is not whole. Raises OSError.

    The caller syncs the directory.
    """
    temporary = target.with_name(f".{target.name}.new")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    copy = os.open(temporary, _NEW, PRIVATE_MODE)
    try:
        while chunk := os.read(fd, _CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(copy, view) :]
        os.fsync(copy)
    finally:
        os.close(copy)
    os.replace(temporary, target)


def _unavailable(path: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"object {path.name} cannot be copied: {error.strerror}")


def facts_of(path: Path) -> FileFacts:
    """Size and SHA-256 of a file. Raises StorageUnavailable."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            return FileFacts(file.tell(), digest.hexdigest())
    except OSError as error:
        raise StorageUnavailable(f"cannot read {path}: {error.strerror}") from None


def seal_manifest(folder: Path, manifest: Manifest, ring: KeyRing) -> None:
    """Write a backup's manifest and its seal. Raises OSError."""
    raw = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_durably(folder / MANIFEST_NAME, raw, PRIVATE_MODE)
    write_durably(folder / SEAL_NAME, ring.seal_secret(_SEALED_AS, hashlib.sha256(raw).digest()), PRIVATE_MODE)


def read_manifest(folder: Path) -> Manifest:
    """A backup's manifest, as anybody may have written it. Raises IntegrityError."""
    return _parse(folder, _read(folder, MANIFEST_NAME))


def open_manifest(folder: Path, ring: KeyRing) -> Manifest:
    """A backup's manifest, sealed by this archive and by nobody else. Raises IntegrityError, ConfigError."""
    raw = _read(folder, MANIFEST_NAME)
    try:
        sealed = ring.open_secret(_SEALED_AS, _read(folder, SEAL_NAME))
    except IntegrityError:
        raise IntegrityError(f"the seal of backup {folder.name} is damaged, or another archive's") from None
    if sealed != hashlib.sha256(raw).digest():
        raise IntegrityError(f"the manifest of backup {folder.name} is not what was written")
    return _parse(folder, raw)


def _read(folder: Path, name: str) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise IntegrityError(f"{folder / name} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{folder / name} is too large")
    return raw


def _parse(folder: Path, raw: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, ValueError):
        raise IntegrityError(f"the manifest of backup {folder.name} cannot be read") from None
    is_within = all(_FILE_NAME.fullmatch(name) for name in manifest.files)
    if manifest.format != FORMAT or manifest.name != folder.name or not is_within:
        raise IntegrityError(f"the manifest of backup {folder.name} is another backup's")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of a backup, in words. Raises nothing."""
    found = []
    for name, facts in manifest.files.items():
        try:
            is_whole = facts_of(folder / name) == facts
        except StorageUnavailable as error:
            found.append(str(error))
            continue
        if not is_whole:
            found.append(f"{name} of backup {folder.name} is not what was written: it is damaged, or was changed")
    return found
