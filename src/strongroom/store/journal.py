"""The journal: what is stored and durable already, though the index does not hold it yet.

One file of a fixed size, overwritten in place: syncing blocks that the file has already costs a quarter of syncing
SQLite's log, and a frame holds only what is new, where a commit writes a dozen pages. `backlog` moves the frames into
the index behind the sender's back; after a crash, whoever opens the archive does.

The file is EPOCH (32 random bytes) and frames: LENGTH (4 bytes, big-endian) and so many bytes sealed with AES-256-GCM
under HKDF-SHA256(key, salt EPOCH), its nonce the number of the frame since the epoch began. The last that opens is the
end. With the epoch the key of its frames is gone: to write another one is to erase them all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import StorageUnavailable
from strongroom.store.files import sync_directory

JOURNAL_BYTES = 8 * 2**20
EPOCH_BYTES = 32
MAX_FRAME_BYTES = 2**20
"""Of one object: its row, its trail record and, if it is small, its sealed bytes. What is larger goes straight to the
index."""
_LENGTH_BYTES, _TAG_BYTES = 4, 16
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_ZEROS = bytes(2**20)


class Journal:
    """The journal's file. Not thread-safe but for `sync`: whoever has the turn to write the index (`turns`) uses it."""

    def __init__(self, path: Path, key: bytes, size: int = JOURNAL_BYTES) -> None:
        """Open the file, if it is there. ``key`` is 32 bytes. Raises StorageUnavailable."""
        self._path = path
        self._key = key
        self._size = size
        self._fd = -1
        self._syncing = threading.Lock()
        self._written = self._synced = 0
        self._is_broken = False
        self.lost = 0
        self._use(bytes(EPOCH_BYTES))
        self._open(_OPEN)

    @property
    def is_there(self) -> bool:
        """Whether there is a file."""
        return self._fd >= 0

    def make(self) -> None:
        """Make the file, unless it is there: all its blocks, for to sync a write to new ones takes three times as long.

        Raises StorageUnavailable.
        """
        self._open(_OPEN | os.O_CREAT)
        try:
            if os.fstat(self._fd).st_size < self._size:
                for at in range(0, self._size, len(_ZEROS)):
                    os.pwrite(self._fd, _ZEROS[: self._size - at], at)
                os.fsync(self._fd)
                sync_directory(self._path.parent)
        except OSError as error:
            raise _unavailable("made", error) from None
        self.begin()

    def _open(self, flags: int) -> None:
        if self._fd >= 0:
            return
        try:
            self._fd = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _unavailable("opened", error) from None

    @property
    def name(self) -> str:
        """What the index calls the present epoch: it says nothing of the epoch's key."""
        return hashlib.sha256(b"journal" + self._epoch).hexdigest()[:32]

    def refresh(self) -> bool:
        """Look whether another process began an epoch: then True, and the next frame is that epoch's first."""
        self._open(_OPEN)
        if not self.is_there:
            return False
        try:
            epoch = os.pread(self._fd, EPOCH_BYTES, 0)
        except OSError as error:
            raise _unavailable("read", error) from None
        if epoch == self._epoch:
            return False
        self._use(epoch)
        return True

    def begin(self) -> None:
        """Begin an epoch, which erases all frames; durable on return. Raises StorageUnavailable.

        Whoever reads the file before it is written again sees none.
        """
        epoch = secrets.token_bytes(EPOCH_BYTES)
        try:
            os.pwrite(self._fd, epoch, 0)
            os.fdatasync(self._fd)
        except OSError as error:
            raise _unavailable("written", error) from None
        self._use(epoch)

    def _use(self, epoch: bytes) -> None:
        self._epoch = epoch
        self._cipher = AESGCM(HKDF(SHA256(), 32, epoch, b"strongroom journal").derive(self._key))
        self.number = 0
        self._end = EPOCH_BYTES

    def has_room(self, payload: bytes) -> bool:
        """Whether a frame of it fits behind what is there."""
        return self._end + _LENGTH_BYTES + len(payload) + _TAG_BYTES <= self._size

    def write(self, payload: bytes) -> int:
        """Write a frame, durable after `sync`; returns its number. Raises StorageUnavailable."""
        self._require_sound()
        number = self.number
        sealed = self._cipher.encrypt(number.to_bytes(12, "big"), payload, None)
        data = len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed
        try:
            if os.pwrite(self._fd, data, self._end) != len(data):
                raise OSError(0, "a short write")
        except OSError as error:
            raise _unavailable("written", error) from None
        self._end += len(data)
        self.number += 1
        self._written += 1
        return number

    def sync(self) -> None:
        """Return when all frames written until now are durable. Thread-safe. Raises StorageUnavailable.

        After a failure nobody knows what the disk holds: nothing more is written. The kernel tells of it once for each
        open file, so there is one sync at a time, and whoever waits for it learns how it ended.
        """
        mine = self._written
        with self._syncing:
            self._require_sound()
            if mine <= self._synced:
                return
            until = self._written
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._is_broken = True
                raise _unavailable("made durable", error) from None
            self._synced = until

    def _require_sound(self) -> None:
        if self._is_broken:
            raise StorageUnavailable("the journal could not be made durable: restart the archive")

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and payload of every frame of the file's epoch, in order; the next frame goes behind them.

        A frame that does not open ends them only if none behind it does: `lost` counts those that are passed over.
        """
        self._epoch = b""
        self.lost = 0
        if not self.refresh():
            return
        number, at = 0, EPOCH_BYTES
        while sealed := self._read(at):
            payload = self._opened(number, sealed)
            number += 1
            at += _LENGTH_BYTES + len(sealed)
            if payload is not None:
                self.lost += number - 1 - self.number
                self.number, self._end = number, at
                yield number - 1, payload

    def _read(self, at: int) -> bytes:
        """What stands where a frame might; b"" if none fits there."""
        try:
            length = int.from_bytes(os.pread(self._fd, _LENGTH_BYTES, at), "big")
            if not _TAG_BYTES < length <= min(MAX_FRAME_BYTES + _TAG_BYTES, self._size - at - _LENGTH_BYTES):
                return b""
            sealed = os.pread(self._fd, length, at + _LENGTH_BYTES)
        except OSError as error:
            raise _unavailable("read", error) from None
        return sealed if len(sealed) == length else b""

    def _opened(self, number: int, sealed: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(number.to_bytes(12, "big"), sealed, None)
        except InvalidTag:
            return None

    def damage(self) -> str:
        """What is wrong with the file, as `frames` found it, in words; "" if nothing is."""
        if not self.is_there:
            return "the journal is missing"
        try:
            size = os.fstat(self._fd).st_size
        except OSError as error:
            raise _unavailable("read", error) from None
        if size < self._size:
            return f"the journal was cut to {size} bytes"
        return f"{self.lost} objects among those in the journal cannot be read" if self.lost else ""

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _unavailable(what: str, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"the journal cannot be {what}: {error.strerror}")
