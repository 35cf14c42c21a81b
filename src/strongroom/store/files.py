"""Small files that have to be there after a power failure: whole, under their name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
"""For what others are meant to read: certificates, public keys, checkpoints. The umask still applies."""

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_CANNOT_SYNC_A_DIRECTORY = (errno.EINVAL, errno.ENOTSUP)
"""What some network file systems answer; their servers keep names by themselves."""


def write_durably(path: Path, content: bytes, mode: int = PRIVATE_MODE) -> None:
    """Make ``path`` with ``content``, replacing what is there; when this returns, content and name are on the disk.

    The file has its ``mode`` from its first byte on. Raises OSError; what was there before is then still there, unless
    only the sync of the directory failed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    fd = os.open(temporary, _NEW, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_A_DIRECTORY:
            raise
    finally:
        os.close(fd)
