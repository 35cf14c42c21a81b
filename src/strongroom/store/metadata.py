"""Sealed metadata of series, so that it is made once: files that may go at any time.

One file is one sealed object (see ``seal``) of a kind of its own, under the data key of its study, in a directory named
by that key's id: ``metadata/<key id>/<name>``. Nothing is synced. A file that a crash left torn does not open, and is
made anew; so is one that somebody has changed. Deleting a study destroys its key, and removes the directory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from strongroom.archive.model import DataKey
from strongroom.errors import IntegrityError
from strongroom.store import seal

log = logging.getLogger(__name__)

METADATA_KIND: Final = b"metadata"
MAX_ENTRY_BYTES: Final = 64 * 2**20
SWEPT_EVERY: Final = 256
"""Entries written by this process between two looks at what all of them take."""

_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class SealedMetadata:
    """MetadataCache (archive.metadata) in a directory. Thread-safe, and shared by processes."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Keep entries below ``root``, ``max_bytes`` of them or a little more; none at all for 0."""
        self._root = root
        self._max_bytes = max_bytes
        self._until_sweep = SWEPT_EVERY

    def get(self, key: DataKey, name: str) -> bytes | None:
        """The entry of that name under a study's key, None if there is none that opens."""
        if not self._max_bytes:
            return None
        path, entry_id = self._place(key, name)
        try:
            sealed = path.read_bytes()
            return seal.unseal(key.key, seal.associated_data(METADATA_KIND, entry_id), sealed)
        except OSError:
            return None
        except IntegrityError:
            log.warning("an entry of the metadata cache does not open, and is made anew")
            with suppress(OSError):
                path.unlink()
            return None

    def put(self, key: DataKey, name: str, plain: bytes) -> None:
        """Keep an entry, or do not."""
        if len(plain) > min(MAX_ENTRY_BYTES, self._max_bytes):
            return
        path, entry_id = self._place(key, name)
        random = secrets.token_bytes(seal.RANDOM_BYTES)
        sealed = seal.seal(key.key, seal.associated_data(METADATA_KIND, entry_id), random, plain)
        unfinished = path.with_name(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(unfinished, _CREATE, 0o600)
            with open(descriptor, "wb") as file:
                file.write(sealed)
            unfinished.replace(path)
        except OSError as error:
            log.warning("the metadata cache takes nothing: %s", error.strerror)
            with suppress(OSError):
                unfinished.unlink()
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = SWEPT_EVERY
            self.sweep()

    def forget(self, key_ids: Iterable[bytes]) -> None:
        """Remove what is sealed under keys that were destroyed. What is left of it opens for nobody."""
        for key_id in key_ids:
            shutil.rmtree(self._root / key_id.hex(), ignore_errors=True)

    def sweep(self) -> None:
        """Remove the entries that were written first until three quarters of the room are taken."""
        entries = []
        for path in self._root.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        taken = sum(size for _, size, _ in entries)
        if taken <= self._max_bytes:
            return
        for _, size, path in sorted(entries):
            with suppress(OSError):
                path.unlink()
            taken -= size
            if taken <= self._max_bytes * 3 // 4:
                return

    def _place(self, key: DataKey, name: str) -> tuple[Path, bytes]:
        entry_id = hashlib.sha256(name.encode()).digest()[: seal.ID_BYTES]
        return self._root / key.key_id.hex() / entry_id.hex(), entry_id
