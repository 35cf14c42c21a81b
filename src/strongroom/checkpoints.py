"""Checkpoint files: what an archive keeps outside its database, so that it knows when the database is not the last one.

A directory holds one numbered file for each checkpoint ever written there, and ``latest.txt``. No file is ever made to
say less than it did.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from strongroom.errors import IntegrityError, LimitExceeded, StorageUnavailable
from strongroom.store.files import PUBLIC_MODE, write_durably
from strongroom.trail.note import MAX_FILE_CHARS, Note, encode_notes, parse_notes

LATEST_NAME: Final = "latest.txt"
STAMP_SUFFIX: Final = ".tsr"
"""Of what a time stamp authority answered about the numbered file of the same name."""
_NUMBERED: Final = re.compile(r"checkpoint-[0-9a-f]{16}\.txt")
_MAX_FILE_BYTES: Final = 4 * MAX_FILE_CHARS
_STAMPED: Final = re.compile(r"checkpoint-[0-9a-f]{16}\.tsr")
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

IsOurs = Callable[[Note], bool]
"""Whether a note is of this archive, and has its signature."""


def read_notes(path: Path) -> list[Note]:
    """The notes of a checkpoint file, unverified. Raises OSError, IntegrityError, LimitExceeded, UnicodeDecodeError."""
    return parse_notes(_read_capped(path, _MAX_FILE_BYTES).decode())


def _read_capped(path: Path, limit: int) -> bytes:
    fd = os.open(path, _READ)
    with os.fdopen(fd, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise LimitExceeded("trail_max_checkpoint_file_chars", MAX_FILE_CHARS)
    return raw


def all_notes(folder: Path) -> Iterator[Note]:
    """Every note of every checkpoint file in ``folder``, unverified, file by file; what cannot be read is left out."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name == LATEST_NAME or _NUMBERED.fullmatch(name):
            yield from _readable_notes(folder / name)


def is_numbered(name: str) -> bool:
    """Whether a file of this name holds a checkpoint, and always the same one."""
    return _NUMBERED.fullmatch(name) is not None


def is_stamp(name: str) -> bool:
    """Whether a file of this name holds the time stamp of a checkpoint."""
    return _STAMPED.fullmatch(name) is not None


def name_of(text: str) -> str:
    """The name of the numbered file that holds ``text``."""
    return f"checkpoint-{sha256(text.encode()).hexdigest()[:16]}.txt"


def write_stamp(folder: Path, text: str, stamp: bytes) -> None:
    """Keep what an authority answered about the checkpoint file ``text`` beside it. Raises StorageUnavailable."""
    path = (folder / name_of(text)).with_suffix(STAMP_SUFFIX)
    try:
        write_durably(path, stamp, PUBLIC_MODE)
    except OSError as error:
        raise StorageUnavailable(f"the time stamp cannot be written to {folder}: {error.strerror}") from None


def stamped(folder: Path, max_stamp_bytes: int) -> Iterator[tuple[tuple[Note, ...], str, bytes]]:
    """Every checkpoint file in ``folder`` that has a time stamp: its notes, its text and the stamp, all unverified.

    What cannot be read, or is not what its name says, is left out.
    """
    try:
        names = sorted(filter(_STAMPED.fullmatch, os.listdir(folder)))
    except OSError:
        return
    for name in names:
        try:
            raw = _read_capped((folder / name).with_suffix(".txt"), _MAX_FILE_BYTES)
            stamp = _read_capped(folder / name, max_stamp_bytes)
            text = raw.decode()
            notes = tuple(parse_notes(text))
        except (OSError, IntegrityError, LimitExceeded, UnicodeDecodeError):
            continue
        if name_of(text) == Path(name).with_suffix(".txt").name:
            yield notes, text, stamp


def write_checkpoint(folder: Path, notes: Iterable[Note], is_ours: IsOurs) -> tuple[Note, ...]:
    """Keep notes as a new file named by their digest, and as the latest ones.

    A note in ``latest.txt`` that is ours and states a larger size of the same log than ``notes`` do stays there: it is
    what proves that the database is older than the archive. Returns these notes. Raises StorageUnavailable; ``folder``
    is never made, since a share that is not mounted would look healthy.
    """
    notes = tuple(notes)
    text = encode_notes(note.text for note in notes)
    path = folder / name_of(text)
    latest = folder / LATEST_NAME
    sizes = {note.checkpoint.origin: note.checkpoint.size for note in notes}
    kept = {
        note.checkpoint.origin: note
        for note in sorted(_readable_notes(latest), key=lambda note: note.checkpoint.size)
        if note.checkpoint.size > sizes.get(note.checkpoint.origin, -1) and is_ours(note)
    }
    others = [note for note in notes if note.checkpoint.origin not in kept]
    if kept:
        text_of_latest = encode_notes(note.text for note in (*kept.values(), *others))
    else:
        text_of_latest = text
    try:
        if not path.exists():
            write_durably(path, text.encode(), PUBLIC_MODE)
        write_durably(latest, text_of_latest.encode(), PUBLIC_MODE)
    except OSError as error:
        raise StorageUnavailable(f"the checkpoint cannot be written to {folder}: {error.strerror}") from None
    return tuple(kept.values())


def _readable_notes(path: Path) -> list[Note]:
    try:
        return read_notes(path)
    except (OSError, IntegrityError, LimitExceeded, UnicodeDecodeError):
        return []
