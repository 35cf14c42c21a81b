"""The system calls that objects are stored with, and what a file system promises about them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

O_DIRECT: int = getattr(os, "O_DIRECT", 0)
"""The flag that bypasses the page cache; 0 where the platform has none."""
_NAME_SYNCING = frozenset({"ext4", "xfs"})


class Disk:
    """The system calls on the store's files, in one place so that a test can fail or stop at any of them."""

    def open(self, path: str, flags: int) -> int:
        """open(2), mode 0600."""
        return os.open(path, flags, 0o600)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """pwrite(2): bytes written."""
        return os.pwrite(fd, data, offset)

    def preadv(self, fd: int, into: memoryview, offset: int) -> int:
        """preadv(2) into one buffer: bytes read."""
        return os.preadv(fd, [into], offset)

    def clear_direct(self, fd: int) -> None:
        """Go on with ordinary writes on ``fd``: O_DIRECT takes whole blocks only."""
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~O_DIRECT)

    def fsync(self, fd: int) -> None:
        """fsync(2)."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """close(2)."""
        os.close(fd)

    def mkdir(self, path: str) -> None:
        """mkdir(2), mode 0700."""
        os.mkdir(path, 0o700)

    def unlink(self, path: str) -> None:
        """unlink(2)."""
        os.unlink(path)

    def fsync_dir(self, path: str) -> None:
        """fsync(2) of a directory: what is named in it stays so."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def fsync_keeps_names(root: Path, mounts: str | None = None) -> bool:
    """Whether fsync of a new file also makes its name durable on the file system of ``root``.

    POSIX does not promise it. ext4 and XFS put the inode and its name into one transaction of a log that fsync
    forces out whole (and ext4 without a journal syncs the directories above a new file itself), so a second fsync
    for the directory would only flush the disk's cache again: 0.1 to 0.2 ms, a third of storing a small object.
    On anything else, and when in doubt, the answer is no. ``mounts`` stands in for /proc/self/mountinfo.
    """
    try:
        device = os.stat(root).st_dev
        if mounts is None:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    # proc(5): id, parent, major:minor, root, mount point, options, [optional fields], "-", type, source, options
    lines = (line.partition(" - ") for line in mounts.splitlines())
    kinds = {kind.split(" ")[0] for mount, _, kind in lines if mount.split(" ")[2:3] == [wanted]}
    return bool(kinds) and kinds <= _NAME_SYNCING
