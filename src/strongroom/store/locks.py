"""Locks between the processes of one archive: flock on files of its home, gone with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from strongroom.errors import StorageUnavailable

_OPEN = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_TRIES, _BETWEEN_S = 5, 0.02


class HomeLock:
    """One lock file. Thread-safe; all raise StorageUnavailable if the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._lock = threading.Lock()

    def share(self) -> None:
        """Hold it together with others until `release`; waits for one who holds it alone. Free when held already."""
        if self._fd >= 0:
            return
        with self._lock:
            if self._fd < 0:
                fd = self._open()
                fcntl.flock(fd, fcntl.LOCK_SH)
                self._fd = fd

    def take(self) -> bool:
        """Hold it alone until `release`; False if anybody else holds it for longer than an `is_held` takes."""
        with self._lock:
            fd = self._open()
            for _ in range(_TRIES):
                if _is_locked(fd, fcntl.LOCK_EX):
                    self._fd = fd
                    return True
                time.sleep(_BETWEEN_S)
            os.close(fd)
            return False

    def is_held(self) -> bool:
        """Whether anybody holds it at this moment, this object included."""
        fd = self._open()
        try:
            return not _is_locked(fd, fcntl.LOCK_EX)
        finally:
            os.close(fd)

    def release(self) -> None:
        """Let go of it. Safe at any time."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, _OPEN, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"cannot open {self._path}: {error.strerror}") from None


def _is_locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
