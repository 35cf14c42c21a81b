"""Backup: a copy of an archive while it is in use, whole as of one moment, incremental, and sealed like the archive.

The order is what makes it whole. Checkpoint files are copied first, for what they state is in the index by then; then
the index, as it is at one moment; then the objects that this copy names, which are there unless their study is deleted
meanwhile; last the manifest, and the name that makes it a backup.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from strongroom import __version__
from strongroom.admin.backupsets import (
    INDEX_NAME,
    MASTERS_NAME,
    SECRETS_NAME,
    BackupMedium,
    Manifest,
    ObjectCopies,
    copy_durably,
    facts_of,
    seal_manifest,
)
from strongroom.admin.telling import Say, telling
from strongroom.admin.trail import snapshot
from strongroom.app import AUTHORITY_NAME, INDEX_SECRET, PUBLIC_KEY_NAME, Archive, now_utc
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.checkpoints import LATEST_NAME, is_numbered, is_stamp
from strongroom.config import CONFIG_NAME, Config, in_toml
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.store.check import Progress
from strongroom.store.database import Backend
from strongroom.store.escrow import seal_keys
from strongroom.store.files import PRIVATE_MODE, PUBLIC_MODE, sync_directory, write_durably
from strongroom.store.keys import secret_master_id
from strongroom.store.snapshot import Snapshot, open_snapshot, write_snapshot
from strongroom.trail.log import TrailReader

LAST_BACKUP: Final = "last_backup"
LAST_KEY_COPY: Final = "last_key_copy"
"""``meta`` value: when a backup was last taken that has the master keys in it, sealed, in seconds since 1970."""
"""``meta`` value: name and time (seconds since 1970) of the last complete backup."""
MAX_MISSING: Final = 10_000
_TRIES: Final = 3
"""Copies of the index, if studies are deleted while their objects are copied."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A complete backup: what is in it, what of that was new on the medium, and what the archive did not have."""

    manifest: Manifest
    objects_copied: int
    bytes_copied: int
    elapsed_s: float


def create(archive: Archive, to: Path, progress: Progress, passphrase: str | None = None) -> BackedUp:
    """Make a backup of an open archive in the directory ``to``, where others of it may be; both acts are recorded.

    With ``passphrase`` its master keys are in it too, sealed under that. Killed at any moment, what was complete before
    is untouched, and the next call goes on with the objects that are there. Raises ConfigError (the directory is no
    place for it), StorageUnavailable.
    """
    started = time.monotonic()
    medium = BackupMedium(to)
    if medium.root.is_relative_to(archive.home.root) or archive.home.root.is_relative_to(medium.root):
        raise ConfigError(f"{medium.root} lies with the archive: a backup is for when that is gone")
    medium.prepare(archive.config.archive.id)
    with medium.alone():
        _record(archive, Outcome.SUCCESS, {"phase": "begin", "to": str(medium.root), "keys": passphrase is not None})
        try:
            with telling(archive, "backup", "objects") as told:
                done = _Creation(archive, medium, _both(progress, told.say)).run(passphrase)
                told.result = f"{done.copies.copied} objects copied into {done.manifest.name}"
        except BaseException as error:
            with suppress(StorageUnavailable):
                _record(archive, Outcome.FAILED, {"phase": "end", "reason": type(error).__name__})
            raise
        _tell(archive, done.manifest, done.copies)
        if passphrase is not None:
            archive.index.set_meta(LAST_KEY_COPY, f"{done.manifest.taken_s:.0f}")
    manifest, copies = done.manifest, done.copies
    return BackedUp(manifest, copies.copied, copies.copied_bytes, time.monotonic() - started)


def _both(progress: Progress, say: Say) -> Progress:
    def shown(noun: str, done: int, total: int) -> None:
        progress(noun, done, total)
        say(done, total, noun)

    return shown


def _tell(archive: Archive, manifest: Manifest, copies: ObjectCopies) -> None:
    archive.index.set_meta(LAST_BACKUP, f"{manifest.name} {manifest.taken_s:.0f}")
    details: dict[str, Detail] = {
        "phase": "end",
        "backup": manifest.name,
        "objects": manifest.counts["instances"],
        "bytes": manifest.counts["data_bytes"],
        "copied": copies.copied,
        "missing": len(manifest.missing),
    }
    _record(archive, Outcome.WARNING if manifest.missing else Outcome.SUCCESS, details)


def _record(archive: Archive, outcome: Outcome, details: dict[str, Detail]) -> None:
    archive.record(Action.BACKUP, {"what": "create", **details}, outcome)


class _Creation:
    """One backup on its way."""

    def __init__(self, archive: Archive, medium: BackupMedium, progress: Progress) -> None:
        self._archive, self._medium, self._progress = archive, medium, progress
        self._key = archive.ring.open_secret(INDEX_SECRET, archive.secrets.get(INDEX_SECRET))
        self.copies = ObjectCopies(archive.home.objects, medium.objects)
        self.manifest: Manifest

    def run(self, passphrase: str | None) -> _Creation:
        """Make it; returns itself."""
        folder = self._medium.begin(now_utc())
        checkpoint = self._checkpoint()
        self._copy_checkpoints()
        taken_s, missing = self._copy_archive(folder)
        self._copy_files(folder)
        with_index = open_snapshot(folder / INDEX_NAME, self._key)
        masters = tuple(sorted(Snapshot(with_index).masters() | self._masters_of_secrets()))
        if passphrase is not None:
            keys = {master_id: self._archive.source.load(master_id) for master_id in masters}
            write_durably(folder / MASTERS_NAME, seal_keys(keys, passphrase), PRIVATE_MODE)
        self.manifest = Manifest(
            format=1,
            name=folder.name.removeprefix("."),
            archive_id=self._archive.config.archive.id,
            version=__version__,
            database=self._archive.backend.dialect.name,
            taken_s=taken_s,
            files={str(path.relative_to(folder)): facts_of(path) for path in _files_below(folder)},
            masters=masters,
            counts=asdict(Snapshot(with_index).counts()),
            records=_records(with_index),
            missing=tuple(each.hex() for each in missing[:MAX_MISSING]),
            checkpoint=checkpoint,
        )
        try:
            seal_manifest(folder, self.manifest, self._archive.ring)
            self._medium.complete(folder)
        except OSError as error:
            raise StorageUnavailable(f"the backup cannot be completed: {error.strerror}") from None
        return self

    def _checkpoint(self) -> str:
        """Sign the state of the trail; returns the text of the archive's own last checkpoint file."""
        try:
            return self._archive.checkpoint()
        except StorageUnavailable as error:  # a share that is away is no reason to have no backup
            log.warning("%s", error)
        try:
            return (self._archive.home.checkpoints / LATEST_NAME).read_text()
        except OSError as error:
            raise StorageUnavailable(f"the last checkpoint cannot be read: {error.strerror}") from None

    def _copy_archive(self, folder: Path) -> tuple[float, Sequence[bytes]]:
        """Copy the index and the objects that it names; when that was, and objects that are not in the archive."""
        missing: list[bytes] = []
        for attempt in range(_TRIES):
            before, taken_s = set(missing), time.time()
            self._snapshot(folder / INDEX_NAME)
            missing = self._copy_objects(folder / INDEX_NAME)
            if not missing or (attempt and before >= set(missing)):
                break  # still named, and still not there: it is not deleted but lost
        self.copies.finish()
        return taken_s, missing

    def _snapshot(self, path: Path) -> None:
        self._progress("copies of the index", 0, 1)
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()
        with self._archive.index.database.read():
            pass  # what was acknowledged until now is in the index: the copy will hold it
        write_snapshot(self._archive.backend, path, self._key)
        _sync(path)
        self._progress("copies of the index", 1, 1)

    def _copy_objects(self, index: Path) -> list[bytes]:
        named = Snapshot(open_snapshot(index, self._key))
        total, missing = named.counts().files, []
        for number, object_id in enumerate(named.files(), 1):
            if not self.copies.copy(object_id):
                missing.append(object_id)
            self._progress("objects", number, max(number, total))
        return missing

    def _copy_checkpoints(self) -> None:
        source, target = self._archive.home.checkpoints, self._medium.checkpoints
        names = [each for each in os.listdir(source) if is_numbered(each) or is_stamp(each)]
        try:
            for name in sorted(set(names) - set(os.listdir(target))):
                _copy(source / name, target / name)
            sync_directory(target)
        except OSError as error:
            raise StorageUnavailable(f"a checkpoint cannot be copied: {error.strerror}") from None

    def _copy_files(self, folder: Path) -> None:
        """Copy what is small, after the index: a rotation has then left every key that the index needs."""
        archive = self._archive
        try:
            (folder / SECRETS_NAME).mkdir(mode=0o700)
            for name in archive.secrets.names():
                write_durably(folder / SECRETS_NAME / f"{name}.sealed", archive.secrets.get(name), PRIVATE_MODE)
            for name in (AUTHORITY_NAME, PUBLIC_KEY_NAME):
                write_durably(folder / name, (archive.home.root / name).read_bytes(), PUBLIC_MODE)
            write_durably(folder / CONFIG_NAME, _config_text(archive).encode(), PRIVATE_MODE)
        except OSError as error:
            raise StorageUnavailable(f"{error.filename} cannot be copied: {error.strerror}") from None

    def _masters_of_secrets(self) -> set[str]:
        files = self._archive.secrets
        return {secret_master_id(files.get(name)) for name in files.names()}


def _config_text(archive: Archive) -> str:
    """The configuration as it is; without the URL of a database, which may hold a password."""
    config: Config = archive.config
    if not config.index.url:
        return archive.home.config.read_text(encoding="utf-8")
    return in_toml(msgspec.structs.replace(config, index=msgspec.structs.replace(config.index, url="")))


def _records(index: Backend) -> dict[str, int]:
    reader = TrailReader(index.dialect)
    connection: Any = index.connect()
    try:
        cursor = connection.cursor()
        heads = {log: reader.head(cursor, log) for log in reader.logs(cursor)}
    finally:
        connection.close()
    return {log: head.size for log, head in heads.items() if head is not None}


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        copy_durably(file.fileno(), target)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def last_backup(archive: Archive) -> tuple[str, float]:
    """Name and time (seconds since 1970) of the last complete backup; "" and 0 if there is none."""
    with snapshot(archive.index.database) as cursor:
        name, _, taken = archive.index.registry.get_meta(cursor, LAST_BACKUP).partition(" ")
    return (name, float(taken)) if taken.isdecimal() else ("", 0.0)
