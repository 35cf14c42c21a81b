"""Whose turn it is to change the index: of all processes of an archive one at a time, in the order in which they ask.

SQLite has such a lock of its own, but whoever waits for it only looks again and again, and a busy server would keep it
for ever. Here are two locks: who wants the second waits with the first in hand, so that whoever has the second, and
wants it again, comes after.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from strongroom.errors import StorageUnavailable

WAIT_S = 30.0
"""The longest wait for another process's turn to end."""
STUCK_WAIT_S = 3.0
"""The longest wait for one that cannot end, since its holder cannot write; it tries again every second."""
_LOOK_AGAIN_S = 0.0002
_OPEN = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_UNFINISHED, _STUCK, _FINISHED = b"U", b"S", b"F"
_LEFT = (_UNFINISHED, _STUCK)


class Turns:
    """The turn, as one process sees it. Not thread-safe but for `wait`."""

    def __init__(self, queue: Path, turn: Path) -> None:
        """Open both lock files, or make them. Raises StorageUnavailable."""
        try:
            self._queue = os.open(queue, _OPEN, 0o600)
            self._turn = os.open(turn, _OPEN, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"cannot open {error.filename}: {error.strerror}") from None
        self._paths = (queue, turn)
        self.is_ours = False
        self._is_unfinished = False

    def take(self) -> bool:
        """Wait for the turn; False if the one before died in it. Raises StorageUnavailable after WAIT_S, or sooner."""
        deadline = time.monotonic() + WAIT_S
        _lock(self._queue, fcntl.LOCK_EX, deadline)
        try:
            self._lock_turn(deadline)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        self.is_ours = True
        return os.pread(self._turn, 1, 0) not in _LEFT

    def _lock_turn(self, deadline: float) -> None:
        stuck_since = 0.0
        while not _is_locked(self._turn, fcntl.LOCK_EX):
            if os.pread(self._turn, 1, 0) != _STUCK:
                stuck_since = 0.0
            elif not stuck_since:
                stuck_since = time.monotonic()
            elif time.monotonic() - stuck_since > STUCK_WAIT_S:
                raise StorageUnavailable("the server cannot write its index: see its log, and whether the disk is full")
            _pause(deadline)

    def mark_unfinished(self) -> None:
        """Say that the index would not be complete if this process died now. Raises StorageUnavailable."""
        if not self._is_unfinished:
            try:
                os.pwrite(self._turn, _UNFINISHED, 0)
            except OSError as error:
                raise StorageUnavailable(f"the index's lock cannot be written: {error.strerror}") from None
            self._is_unfinished = True

    def mark_stuck(self) -> None:
        """Say that this turn cannot end for now: who only reads need not wait for it."""
        self._is_unfinished = False
        with contextlib.suppress(OSError):  # then they wait, and are told so
            os.pwrite(self._turn, _STUCK, 0)

    def mark_finished(self) -> None:
        """Say that the index is complete, whatever was left of the turn before. Raises nothing."""
        self._is_unfinished = False
        with contextlib.suppress(OSError):  # then the next one looks for itself
            os.pwrite(self._turn, _FINISHED, 0)

    def leave(self) -> None:
        """End the turn. Everything that was begun in it is done."""
        if self._is_unfinished:
            self.mark_finished()
        self.is_ours = False
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def is_wanted(self) -> bool:
        """Whether another process waits for the turn to end."""
        try:
            fcntl.flock(self._queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # if locks fail altogether, who takes the next turn says so
            return True
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        return False

    def wait(self) -> bool:
        """Return when the turn that is another process's now, if one is, has ended or is stuck; False if it died in it.

        Raises StorageUnavailable after WAIT_S.
        """
        with contextlib.ExitStack() as opened:
            try:  # with descriptors of its own: a lock belongs to the descriptor
                queue, turn = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in self._paths)
            except OSError as error:
                raise StorageUnavailable(f"cannot open {error.filename}: {error.strerror}") from None
            opened.callback(os.close, queue)
            opened.callback(os.close, turn)
            deadline = time.monotonic() + WAIT_S
            while not (_is_locked(queue, fcntl.LOCK_EX) and _is_locked(turn, fcntl.LOCK_SH)):
                if os.pread(turn, 1, 0) == _STUCK:
                    return not _is_locked(turn, fcntl.LOCK_SH)  # else it died
                _pause(deadline)
            return os.pread(turn, 1, 0) not in _LEFT

    def close(self) -> None:
        """Close the files, which ends the turn. Safe to call twice."""
        for fd in (self._queue, self._turn):
            if fd >= 0:
                os.close(fd)
        self._queue = self._turn = -1


def _lock(fd: int, how: int, deadline: float) -> None:
    while not _is_locked(fd, how):
        _pause(deadline)


def _is_locked(fd: int, how: int) -> bool:
    """Lock it, unless another holds it; also if it is locked by this descriptor already."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageUnavailable(f"the index cannot be locked: {error.strerror}") from None
    return True


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise StorageUnavailable("another process holds the index: see `ps` for strongroom commands")
    time.sleep(_LOOK_AGAIN_S)
