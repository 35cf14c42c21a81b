"""Which files a folder or a medium holds, in an order that is the same every time, without following a link.

What is named may be a file, a folder, a DICOMDIR, or a folder with a DICOMDIR at its root; of a DICOMDIR only the files
that it references are taken. Names on media are untrusted: a reference never leaves the folder of its DICOMDIR.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from strongroom.dicom.dicomdir import MEDIA_STORAGE_DIRECTORY, Directory, parse_dicomdir
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.errors import ConfigError, StrongroomError

DICOMDIR = "DICOMDIR"
MAX_DICOMDIR_BYTES = 256 * 2**20
MAX_FOLDER_DEPTH = 64
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not make us wait
_REMEMBERED_FOLDERS = 256


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its absolute path, and its state when it was found."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that was named and cannot be taken: its path, and why in a few words. ``kind`` is that of ``stat``."""

    path: str
    reason: str
    kind: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, in the place of a file."""
        return stat.S_ISDIR(self.kind)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link, which is not followed."""
        return stat.S_ISLNK(self.kind)


Found = FoundFile | Unusable


def open_regular(path: str) -> int:
    """A descriptor of the regular file ``path``, never through a link. Raises OSError."""
    fd = os.open(path, _OPEN)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(None, "not a regular file")
    return fd


def walk(paths: Sequence[Path]) -> Iterator[Found]:
    """Every file below ``paths``, each path in turn, names in order.

    Links below a named path are not followed: what they lead to is either found anyway, or was not named. Raises
    ConfigError before the first file if a path does not exist.
    """
    roots = list(dict.fromkeys(os.path.realpath(path) for path in paths))
    for root in roots:
        if not os.path.exists(root):
            raise ConfigError(f"there is no {root}")
    for root in roots:
        yield from _walk_root(root)


def walk_everything(paths: Sequence[Path]) -> Iterator[Found]:
    """Every file below ``paths``, also those that a DICOMDIR does not reference; of a DICOMDIR that is named itself, it
    and what it references. Raises as ``walk`` does."""
    roots = list(dict.fromkeys(os.path.realpath(path) for path in paths))
    for root in roots:
        if not os.path.exists(root):
            raise ConfigError(f"there is no {root}")
    for root in roots:
        if os.path.isdir(root):
            yield from _walk_folder(root)
        else:
            yield _entry(root)
            if _is_dicomdir(root):
                yield from _walk_root(root)


def _walk_root(root: str) -> Iterator[Found]:
    if os.path.isdir(root):
        listed = _entry(os.path.join(root, DICOMDIR))
        if not isinstance(listed, FoundFile):
            yield from _walk_folder(root)
            return
        whole_folder = root
    else:
        listed = _entry(root)
        if not isinstance(listed, FoundFile) or not _is_dicomdir(root):
            yield listed
            return
        whole_folder = ""
    try:
        directory = _read_dicomdir(listed)
    except (StrongroomError, OSError) as error:
        yield Unusable(listed.path, f"the DICOMDIR cannot be read: {_words(error)}")
        if whole_folder:
            yield from _walk_folder(whole_folder)
        return
    yield from _referenced(os.path.dirname(listed.path), listed.path, directory)


def _walk_folder(root: str) -> Iterator[Found]:
    levels = [_entries(root)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
        elif not isinstance(entry, str):
            yield entry
        elif len(levels) > MAX_FOLDER_DEPTH:
            yield Unusable(entry, "folders are nested too deep")
        else:
            levels.append(_entries(entry))


def _entries(folder: str) -> Iterator[Found | str]:
    """Files, and the paths of folders, in one folder, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        yield Unusable(folder, _words(error))
        return
    for name, is_folder in names:
        path = os.path.join(folder, name)
        yield path if is_folder else _entry(path)


def _entry(path: str) -> Found:
    try:
        status = os.lstat(path)
    except OSError as error:
        return Unusable(path, _words(error))
    if stat.S_ISLNK(status.st_mode):
        return Unusable(path, "a symbolic link, not followed", status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return Unusable(path, "not a regular file", status.st_mode)
    return FoundFile(path, status.st_size, status.st_mtime_ns)


def _is_dicomdir(path: str) -> bool:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return parse_file_header(file.read(MAX_HEADER_BYTES)).sop_class == MEDIA_STORAGE_DIRECTORY
    except (StrongroomError, OSError):
        return False


def _read_dicomdir(found: FoundFile) -> Directory:
    if found.size > MAX_DICOMDIR_BYTES:
        raise OSError(None, f"longer than {MAX_DICOMDIR_BYTES} bytes")
    with os.fdopen(open_regular(found.path), "rb") as file:
        return parse_dicomdir(file.read(MAX_DICOMDIR_BYTES))


def _referenced(root: str, dicomdir: str, directory: Directory) -> Iterator[Found]:
    if directory.refused_paths:
        yield Unusable(dicomdir, f"{directory.refused_paths} references are no path below the DICOMDIR")
    spelled = lru_cache(_REMEMBERED_FOLDERS)(_spellings)
    for path in dict.fromkeys(file.path for file in directory.files):
        yield _resolve(root, path, spelled)


def _resolve(root: str, path: tuple[str, ...], spelled: Callable[[str], dict[str, str]]) -> Found:
    folder = root
    for name in path[:-1]:
        folder = _within(folder, name, spelled(folder))
        found = _entry(folder)
        if isinstance(found, FoundFile) or not found.is_folder:
            return Unusable(folder, "no folder, though the DICOMDIR says so")
    return _entry(_within(folder, path[-1], spelled(folder)))


def _within(folder: str, name: str, spelled: dict[str, str]) -> str:
    """The path of ``name`` in ``folder``: mounted media often show names in lower case, or with ``;1`` behind."""
    return os.path.join(folder, spelled.get(name) or spelled.get(_plain(name)) or name)


def _spellings(folder: str) -> dict[str, str]:
    try:
        names = sorted(os.listdir(folder), reverse=True)
    except OSError:
        return {}
    return {_plain(name): name for name in names} | {name: name for name in names}


def _plain(name: str) -> str:
    return name.upper().removesuffix(";1").rstrip(".")


def _words(error: StrongroomError | OSError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
