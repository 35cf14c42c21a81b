"""Export: one study as a medium, Part-10 files under a DICOMDIR, with the data sets exactly as they arrived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from strongroom.admin.manifest import manifest_sha256
from strongroom.admin.media import DICOMDIR
from strongroom.admin.telling import telling
from strongroom.app import Archive
from strongroom.archive.attributes import STUDY_INSTANCE_UID
from strongroom.archive.constraint import Key, Single
from strongroom.archive.keys import SPECIFIC_CHARACTER_SET
from strongroom.archive.model import Action, Detail, Level, Outcome, StoredObject
from strongroom.archive.query import Model, Retrieval
from strongroom.dicom.dicomdir import RECORD_TAGS, FileEntry, encode_dicomdir
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import HeaderScan, ScanLimits
from strongroom.dicom.jsonmodel import JsonDataset, to_json
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, encode_file_meta
from strongroom.dicom.text import parse_charsets
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.types import Uid

MAX_EXPORT_OBJECTS = 1_000_000
OBJECTS_FOLDER = "DICOM"
FILE_SET_ID = "STRONGROOM"
_WANTED = RECORD_TAGS | {SPECIFIC_CHARACTER_SET}
_IMPLEMENTATION = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
# What is stored has passed the limits of the day it came; those of today are no reason to leave it out.
_LIMITS = ScanLimits(
    max_element_depth=256, max_element_count=2**31, max_element_value_bytes=2**26, max_kept_bytes=2**28
)
_SYNCS = 8
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Damaged:
    """An object that could not be exported, because what is stored is not what was stored."""

    sop_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote. ``manifest`` is ``manifest_sha256`` of the objects in it."""

    study_uid: str
    objects: int
    data_bytes: int
    manifest: str
    damaged: tuple[Damaged, ...]


Watch = Callable[[int, int, int, int], None]
"""Told objects and bytes done, after each object, with the totals: done, of how many, bytes done, of how many."""


def export_study(archive: Archive, study_uid: str, out: Path, watch: Watch) -> Exported:
    """Write a study to the new or empty folder ``out``; a damaged object is left out and named in the answer.

    Raises NotFound, ConfigError (``out`` is not empty, or lies in the archive), StorageUnavailable; what was written
    is removed again then.
    """
    uid = Uid.parse(study_uid)
    retrieval = Retrieval(Level.STUDY, Model.STUDY_ROOT, (Key(STUDY_INSTANCE_UID, "UI", Single(uid)),))
    objects = archive.index.find_objects(retrieval, MAX_EXPORT_OBJECTS)
    if not objects:
        raise NotFound(f"no study {uid}")
    if out.resolve().is_relative_to(archive.home.root):
        raise ConfigError(f"{out} lies in the archive, where nothing is kept that is not sealed")
    medium = _Medium(archive, out)
    common: dict[str, Detail] = {"study": str(uid)}
    archive.record(Action.EXPORT, common | {"phase": "begin", "objects": len(objects)})
    try:
        with telling(archive, "export", "objects") as told:

            def say(done: int, total: int, done_bytes: int, total_bytes: int) -> None:
                watch(done, total, done_bytes, total_bytes)
                told.say(done, total)

            exported = _write(medium, uid, objects, say)
            told.result = f"{exported.objects} objects, {len(exported.damaged) or 'none'} damaged"
    except BaseException:
        medium.remove()
        archive.record(Action.EXPORT, common | {"phase": "end"}, Outcome.FAILED)
        raise
    details = common | {
        "phase": "end",
        "objects": exported.objects,
        "bytes": exported.data_bytes,
        "damaged": len(exported.damaged),
        "manifest_sha256": exported.manifest,
    }
    archive.record(Action.EXPORT, details, Outcome.WARNING if exported.damaged else Outcome.SUCCESS)
    return exported


def _write(medium: _Medium, uid: Uid, objects: Sequence[StoredObject], watch: Watch) -> Exported:
    total_bytes = sum(stored.data_bytes for stored in objects)
    done_bytes = 0
    written: list[StoredObject] = []
    damaged: list[Damaged] = []
    for number, stored in enumerate(objects, 1):
        try:
            medium.add(stored)
            written.append(stored)
        except (IntegrityError, NotFound) as error:
            damaged.append(Damaged(stored.sop_uid, str(error)))
        done_bytes += stored.data_bytes
        watch(number, len(objects), done_bytes, total_bytes)
    medium.finish()
    manifest = manifest_sha256((stored.sop_uid, stored.sha256) for stored in written)
    exported_bytes = sum(stored.data_bytes for stored in written)
    return Exported(uid, len(written), exported_bytes, manifest, tuple(damaged))


class _Medium:
    """A folder that becomes a file-set (PS3.10 8): ``add`` objects, then ``finish``."""

    def __init__(self, archive: Archive, out: Path) -> None:
        self._archive = archive
        self._root = out
        self._folder = out / OBJECTS_FOLDER
        self._entries: list[FileEntry] = []
        self._made: list[Path] = []
        try:
            if not out.exists():
                out.mkdir(mode=0o700)  # never its parents: a mistyped path is to be noticed
                self._made.append(out)
            elif next(out.iterdir(), None) is not None:
                raise ConfigError(f"{out} is not empty: an export never overwrites")
            self._folder.mkdir(mode=0o700)
            self._made.append(self._folder)
        except OSError as error:
            raise ConfigError(f"cannot write to {out}: {error.strerror}") from None

    def add(self, stored: StoredObject) -> None:
        """Write one object. Raises IntegrityError or NotFound, without a trace of it; StorageUnavailable."""
        name = f"{len(self._entries) + 1:08}"
        syntax = TRANSFER_SYNTAXES[stored.transfer_syntax]
        scan = HeaderScan(syntax, _WANTED, _LIMITS)
        digest = sha256()
        with _NewFile(self._folder / name) as file:
            file.write(
                encode_file_meta(
                    stored.sop_class, stored.sop_uid, stored.transfer_syntax, *_IMPLEMENTATION, self._archive.aet
                )
            )
            for chunk in self._chunks(stored):
                digest.update(chunk)
                scan.feed(chunk)
                file.write(chunk)
            if digest.digest() != stored.sha256:
                raise IntegrityError(f"object {stored.sop_uid} is not what was stored")
            scan.finish()
            charset = scan.elements.get(SPECIFIC_CHARACTER_SET)
            attributes: JsonDataset = to_json(scan.elements, parse_charsets(charset.value if charset else b""), syntax)
            file.keep()
        self._made.append(self._folder / name)
        self._entries.append(
            FileEntry((OBJECTS_FOLDER, name), stored.sop_class, stored.sop_uid, stored.transfer_syntax, attributes)
        )

    def _chunks(self, stored: StoredObject) -> Iterator[bytes]:
        """The data set as it is stored. What cannot be read is damaged: the rest of the study can still leave."""
        try:
            with closing(self._archive.reader.open(stored)) as reader:
                yield from reader.chunks()
        except StorageUnavailable as error:
            raise IntegrityError(str(error)) from error

    def finish(self) -> None:
        """Write the DICOMDIR, which makes the folder a file-set, and make all of it durable."""
        raw = encode_dicomdir(self._entries, FILE_SET_ID, f"2.25.{uuid4().int}", *_IMPLEMENTATION)
        with _NewFile(self._root / DICOMDIR) as file:
            file.write(raw)
            file.keep()
        self._made.append(self._root / DICOMDIR)
        # One after the other each would wait for the disk; together they wait once for many.
        with ThreadPoolExecutor(_SYNCS) as pool:
            for _ in pool.map(_sync, reversed(self._made)):
                pass
        _sync(self._root.resolve().parent)

    def remove(self) -> None:
        """Take away what was written, as far as that is possible."""
        for path in reversed(self._made):
            with suppress(OSError):
                path.rmdir() if path in (self._root, self._folder) else path.unlink()


class _NewFile:
    """A file that was not there before, mode 0600. It is removed when the block ends, unless ``keep`` was called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._kept = False

    def __enter__(self) -> _NewFile:
        try:
            self._fd = os.open(self._path, _NEW_FILE, 0o600)
        except OSError as error:
            raise self._failed(error) from None
        return self

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises StorageUnavailable."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from None

    def keep(self) -> None:
        """Let it stay."""
        self._kept = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.close(self._fd)
        if not self._kept:
            with suppress(OSError):
                os.unlink(self._path)

    def _failed(self, error: OSError) -> StorageUnavailable:
        return StorageUnavailable(f"cannot write {self._path}: {error.strerror}")


def _sync(path: Path) -> None:
    """Make a file or folder durable. Raises StorageUnavailable, also for what failed when it was written out before."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from None
