"""Restore: a backup put into a new home, and held against the trail before anybody hears that it is good.

While it is under way, and until nothing is wrong with it, the home is no archive: ``Home.unfinished`` is there, and
everything but a restore refuses it.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from strongroom.admin import check as checking
from strongroom.admin.backupsets import (
    INDEX_NAME,
    MASTERS_NAME,
    SECRETS_NAME,
    BackupMedium,
    Manifest,
    ObjectCopies,
    check_files,
    copy_durably,
    open_manifest,
    read_manifest,
)
from strongroom.admin.trail import verify_trail
from strongroom.app import AUTHORITY_NAME, INDEX_SECRET, LOCAL_LOG, PUBLIC_KEY_NAME, Archive, key_source
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.checkpoints import LATEST_NAME, is_numbered, read_notes
from strongroom.config import CONFIG_NAME, Config, Home, KeysSection, in_toml, parse
from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, StorageUnavailable
from strongroom.store.check import Finding, Findings, Progress
from strongroom.store.escrow import open_keys
from strongroom.store.files import PRIVATE_MODE, PUBLIC_MODE, sync_directory, write_durably
from strongroom.store.keys import FileKeySource, KeyRing, SecretFiles, secret_master_id
from strongroom.store.locks import HomeLock
from strongroom.store.postgresql import open_postgresql
from strongroom.store.schema.migrate import is_in_use
from strongroom.store.snapshot import Snapshot, load_snapshot, open_snapshot

BUILT_IN: Final = "file"
"""In place of a database's URL: the encrypted file in the data directory."""
_UNFINISHED_CONFIG: Final = "config.toml.unfinished"
_BEGUN: Final = ".restore.unfinished."
"""What is there of a restore that was killed at its first step."""
_OUR_DATABASE: Final = "restore.database"
_KEY_FILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What is to be put where. ``backup`` "" is the newest one; ``index`` a database's URL, BUILT_IN, or "" for what
    the archive had; ``key_folder`` where master keys are; ``passphrase`` opens those that are in the backup.
    ``against`` are checkpoint files from elsewhere. ``accepts_findings`` finishes whatever is wrong."""

    medium: Path
    home: Path
    backup: str = ""
    index: str = ""
    key_folder: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    against: tuple[Path, ...] = ()
    accepts_findings: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore put into place, and what is wrong with it; ``is_finished`` says that it is an archive now."""

    manifest: Manifest
    findings: tuple[Finding, ...]
    total_findings: int
    objects: int
    bytes_copied: int
    trail_records: int
    compared_with: tuple[str, ...]
    copy_s: float
    check_s: float
    is_finished: bool


def restore(order: RestoreOrder, progress: Progress) -> Restored:
    """Put a backup into a new home and check all of it; what was done is in the trail of the restored archive.

    Killed at any moment, or with something wrong, what is in the home is no archive, and the same call goes on with
    it. Raises ConfigError (the home is in use, a master key is missing), IntegrityError, NotFound, StorageUnavailable.
    """
    medium = BackupMedium(order.medium)
    medium.require_of()
    folder = medium.folder(order.backup)
    home = Home(order.home)
    _require_free(home, folder.name)
    config = _config_of(folder, order)
    if order.passphrase is not None:
        _write_masters(folder, _key_folder(home, config), order.passphrase)
    ring = _ring_of(home, folder, config)
    manifest = open_manifest(folder, ring)
    if damaged := check_files(folder, manifest):
        raise IntegrityError("; ".join(damaged))
    if manifest.database != "sqlite" and not order.index:
        raise ConfigError("the archive had its index in PostgreSQL: name an empty database with --index URL, or say "
                          f"--index {BUILT_IN} for the built-in encrypted file")  # fmt: skip
    require_room(home.root.parent, folder, manifest)
    lock = _begin(home, folder.name)
    try:
        return _Restoration(order, medium, folder, manifest, home, config).run(ring, progress)
    finally:
        lock.release()


def require_room(target: Path, folder: Path, manifest: Manifest) -> None:
    """Return if a directory has room for what a backup holds. Raises ConfigError."""
    needed = manifest.counts["data_bytes"] + manifest.files[INDEX_NAME].size
    with suppress(OSError):  # what cannot be asked shows when it is written
        disk = os.statvfs(target)
        if disk.f_bavail * disk.f_frsize < needed:
            raise ConfigError(f"{target} has less room than the {needed} bytes of backup {folder.name}")


def _require_free(home: Home, backup: str) -> None:
    if home.lock.exists() and HomeLock(home.lock).is_held():
        raise ConfigError(f"{home.root} is being served: nothing is ever restored into an archive in use")
    if not home.unfinished.exists():
        if home.root.exists() and any(not each.name.startswith(_BEGUN) for each in home.root.iterdir()):
            raise ConfigError(f"{home.root} is not empty: a backup is restored into a new home only")
        return
    begun = home.unfinished.read_text(encoding="utf-8", errors="replace").strip()
    if begun not in ("", backup):
        raise ConfigError(f"{home.root} is half of backup {begun}: go on with that (--set), or remove the directory")


def _begin(home: Home, backup: str) -> HomeLock:
    try:
        for folder in (home.root, home.data, home.objects, home.secrets, home.peers, home.checkpoints):
            folder.mkdir(mode=0o700, parents=folder == home.root, exist_ok=True)
            if folder == home.root and not home.unfinished.exists():  # before anything else is here
                write_durably(home.unfinished, f"{backup}\n".encode(), PRIVATE_MODE)
        sync_directory(home.root.parent)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {home.root}: {error.strerror}") from None
    lock = HomeLock(home.unfinished)
    if not lock.take():
        raise ConfigError(f"another restore into {home.root} is under way")
    return lock


def _config_of(folder: Path, order: RestoreOrder) -> Config:
    """The configuration that the restored archive gets."""
    try:
        text = (folder / CONFIG_NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{folder / CONFIG_NAME} cannot be read: {error}") from None
    config = parse(text, where=str(folder / CONFIG_NAME))
    url = "" if order.index == BUILT_IN else order.index
    keys = config.keys
    if order.passphrase is not None:
        keys = KeysSection(path=keys.path if keys.source == "file" else "")
    if order.key_folder is not None:
        keys = msgspec.structs.replace(keys, path=str(order.key_folder.resolve()))
    return msgspec.structs.replace(config, index=msgspec.structs.replace(config.index, url=url), keys=keys)


def _key_folder(home: Home, config: Config) -> Path:
    return Path(config.keys.path) if config.keys.path else home.default_keys


def _write_masters(folder: Path, target: Path, passphrase: str) -> None:
    try:
        raw = (folder / MASTERS_NAME).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"backup {folder.name} was made without its master keys") from None
    source = FileKeySource(target)
    for key_id, key in open_keys(raw, passphrase).items():
        if not _KEY_FILE.fullmatch(key_id) or source.is_there(key_id):
            continue
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(target / f"{key_id}.key", key.hex().encode() + b"\n", PRIVATE_MODE)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {target}: {error.strerror}") from None


def _ring_of(home: Home, folder: Path, config: Config) -> KeyRing:
    """The keys of the archive, all of them there. Raises ConfigError that says which one is missing, and where."""
    source = key_source(home, config)
    secret = SecretFiles(folder / SECRETS_NAME).get(INDEX_SECRET)
    try:
        for master_id in read_manifest(folder).masters:
            source.load(master_id)
        return KeyRing(source, secret_master_id(secret))
    except ConfigError as error:
        raise ConfigError(f"{error}: put it there, name its directory with --key-dir, or say --with-master-key if it "
                          "is in the backup") from None  # fmt: skip


class _Restoration:
    """One restore on its way, into a home that is this process's own."""

    def __init__(
        self, order: RestoreOrder, medium: BackupMedium, folder: Path, manifest: Manifest, home: Home, config: Config
    ) -> None:
        self._order, self._medium, self._folder = order, medium, folder
        self._manifest, self._home, self._config = manifest, home, config
        self._findings = Findings()
        self._copies = ObjectCopies(medium.objects, home.objects)

    def run(self, ring: KeyRing, progress: Progress) -> Restored:
        """Copy, check, and finish it if nothing is wrong."""
        started = time.monotonic()
        key = ring.open_secret(INDEX_SECRET, SecretFiles(self._folder / SECRETS_NAME).get(INDEX_SECRET))
        self._copy_files()
        self._copy_index()
        self._copy_objects(key, progress)
        self._load_index(key)
        copied = time.monotonic()
        report, compared = self._check(progress)
        checked = time.monotonic()
        is_finished = not self._findings.total or self._order.accepts_findings
        if is_finished:
            self._finish()
        return Restored(
            self._manifest,
            tuple(self._findings.listed),
            self._findings.total,
            report.objects,
            self._copies.copied_bytes,
            report.trail_records,
            compared,
            copied - started,
            checked - copied,
            is_finished,
        )

    def _copy_files(self) -> None:
        home, folder = self._home, self._folder
        try:
            for path in sorted((folder / SECRETS_NAME).glob("*.sealed")):
                write_durably(home.secrets / path.name, path.read_bytes(), PRIVATE_MODE)
            for name in (AUTHORITY_NAME, PUBLIC_KEY_NAME):
                write_durably(home.root / name, (folder / name).read_bytes(), PUBLIC_MODE)
            for path in self._checkpoints():
                write_durably(home.checkpoints / path.name, path.read_bytes(), PUBLIC_MODE)
            write_durably(home.checkpoints / LATEST_NAME, self._manifest.checkpoint.encode(), PUBLIC_MODE)
        except OSError as error:
            raise StorageUnavailable(f"cannot copy to {home.root}: {error.strerror}") from None

    def _checkpoints(self) -> list[Path]:
        """Checkpoint files of the medium, with their time stamps, that state no more than this backup holds."""
        chosen: list[Path] = []
        for path in sorted(self._medium.checkpoints.iterdir()):
            with suppress(OSError, IntegrityError, LimitExceeded, UnicodeDecodeError):
                stated = [note.checkpoint for note in read_notes(path)] if is_numbered(path.name) else []
                if stated and all(each.size <= self._manifest.records.get(each.log, 0) for each in stated):
                    stamp = path.with_suffix(".tsr")
                    chosen += [path, stamp] if stamp.exists() else [path]
        return chosen

    def _copy_index(self) -> None:
        """Copy the index, also over one of an earlier try: that one has been opened, and has another trail by now."""
        target = self._home.index
        try:
            for left in self._home.data.glob(f"{target.name}*"):
                left.unlink()
            with (self._folder / INDEX_NAME).open("rb") as file:
                copy_durably(file.fileno(), target)
            sync_directory(self._home.data)
        except OSError as error:
            raise StorageUnavailable(f"the index cannot be copied: {error.strerror}") from None

    def _copy_objects(self, key: bytes, progress: Progress) -> None:
        named = Snapshot(open_snapshot(self._home.index, key))
        total = self._manifest.counts["files"]
        for number, object_id in enumerate(named.files(), 1):
            self._copies.copy(object_id)  # one that is not on the medium is the check's to find
            progress("objects copied", number, max(number, total))
        self._copies.finish()

    def _load_index(self, key: bytes) -> None:
        if not self._config.index.url:
            return
        url = self._config.index.url
        target, mark = open_postgresql(url), sha256(url.encode()).hexdigest().encode()
        ours = self._home.root / _OUR_DATABASE
        if not (ours.exists() and ours.read_bytes() == mark):
            if is_in_use(target.engine):
                raise ConfigError("the database of --index already holds an archive: name an empty one")
            write_durably(ours, mark, PRIVATE_MODE)  # from here on a restore that goes on may write over it
        load_snapshot(self._home.index, key, target)

    def _check(self, progress: Progress) -> tuple[checking.Report, tuple[str, ...]]:
        """Check everything; into ``_findings`` goes whatever is wrong, and what is not as the backup says."""
        with closing(self._open()) as archive:
            compared: tuple[str, ...] = ()
            if self._order.against:  # first: the check adds to the trail
                verified = verify_trail(archive, self._order.against)
                compared = verified.compared_with
                for found in verified.findings:
                    self._add("trail", f"log {found.log}: {found.what}" if found.log else found.what)
            report = checking.check(archive, progress)
            for finding in report.findings:
                self._findings.add(finding)
            compared = compared or report.compared_with
            counts = asdict(Snapshot(archive.backend).counts())
            for name, count in self._manifest.counts.items():
                if counts[name] != count:
                    self._add("backup", f"the backup was of {count} {name}, and {counts[name]} are here")
            self._record(archive, report)
            archive.checkpoint()
        return report, compared

    def _add(self, kind: str, what: str) -> None:
        self._findings.add(Finding(kind, what))

    def _record(self, archive: Archive, report: checking.Report) -> None:
        details: dict[str, Detail] = {
            "what": "restore",
            "backup": self._manifest.name,
            "objects": report.objects,
            "findings": self._findings.total,
            "kinds": tuple(sorted(self._findings.by_kind)),
            "accepted": self._order.accepts_findings,
        }
        archive.record(Action.BACKUP, details, Outcome.FAILED if self._findings.total else Outcome.SUCCESS)

    def _open(self) -> Archive:
        """The archive that is here so far, for the check alone: it writes to no place of the archive that was."""
        home = Home(self._home.root)
        home.config = home.root / _UNFINISHED_CONFIG
        config = self._config
        alone = Config(archive=config.archive, keys=config.keys, index=config.index)
        _write_config(home.config, alone)
        return Archive(home, LOCAL_LOG)

    def _finish(self) -> None:
        """Make it an archive."""
        home, original = self._home, self._folder / CONFIG_NAME
        try:
            if home.index.exists() and self._config.index.url:
                for path in home.data.glob(f"{home.index.name}*"):
                    path.unlink()
            text = original.read_text(encoding="utf-8")
            if parse(text) == self._config:  # with its comments
                write_durably(home.config, text.encode(), PRIVATE_MODE)
            else:
                _write_config(home.config, self._config)
            for name in (_UNFINISHED_CONFIG, _OUR_DATABASE):
                (home.root / name).unlink(missing_ok=True)
            home.unfinished.unlink()
            sync_directory(home.root)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {home.root}: {error.strerror}") from None


def _write_config(path: Path, config: Config) -> None:
    try:
        write_durably(path, in_toml(config).encode(), PRIVATE_MODE)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from None
