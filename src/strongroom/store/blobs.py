"""Sealed objects in files: one object, one file, its content exactly the sealed object (see `seal`).

A file comes into being under its final name, and commit is write, fsync(file), fsync(directory). There is no rename:
the row in the index is what makes an object exist, so an unfinished or rowless file is an orphan that start-up
removes. Its name is the object id, which holds a time and random bits and nothing of a patient.

Bigger objects are written with O_DIRECT from a page-aligned buffer: filling the page cache with ciphertext that
nobody will read soon costs more than sealing it (525 KB with fsync: 3.2 ms buffered, 0.7 ms direct).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from strongroom.errors import IntegrityError, LocalProtocolError, NotFound, StorageUnavailable
from strongroom.store import seal

PAGE_BYTES = 4096
DIRECT_FROM_BYTES = 48 * 1024
"""Objects from this sealed size on are written with O_DIRECT; below, the page cache is as fast."""
STAGING_BYTES = 1024 * 1024
"""Sealed bytes held back before they are written."""
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_TIME_BYTES, _UNIQUE_BYTES = 6, 10


def new_object_id(now_ms: int, random: bytes) -> bytes:
    """Return a 16-byte object id: ``now_ms`` (milliseconds since 1970, 6 bytes) and 10 random bytes.

    Ids sort by time, so that objects received together lie together.
    """
    if len(random) != _UNIQUE_BYTES:
        raise ValueError("an object id takes 10 random bytes")
    return now_ms.to_bytes(_TIME_BYTES, "big") + random


class Disk:
    """The system calls that change the store, in one place so that a test can fail or stop at any of them."""

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def clear_direct(self, fd: int) -> None:
        """Go on with ordinary writes on ``fd``: O_DIRECT takes whole blocks only."""
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~_DIRECT)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def fsync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class _Staging:
    """Buffers of one writer: plain bytes of one segment, and page-aligned sealed bytes. Never mixed: no plain byte
    may reach the disk, not even in the slack of a padded write."""

    __slots__ = ("out", "plain")

    def __init__(self) -> None:
        pages = memoryview(mmap.mmap(-1, seal.SEGMENT_BYTES + STAGING_BYTES))
        self.plain, self.out = pages[: seal.SEGMENT_BYTES], pages[seal.SEGMENT_BYTES :]


def _unavailable(what: str, exc: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"{what}: {errno.errorcode.get(exc.errno or 0, 'unknown error')}")


class SealedBlobStore:
    """BlobStore (archive.ports) in a directory tree ``ab123/456/<id in hex>``. Thread-safe.

    The first directory level covers 3.1 days of ids and the second 65 s, so a directory holds at most 4096 others or
    what arrives in 65 s.
    """

    def __init__(self, root: Path, *, disk: Disk | None = None, idle_buffers: int = 8) -> None:
        """Keep the objects below ``root``, which must exist. At most ``idle_buffers`` of 1.25 MiB wait for reuse."""
        self._root = os.fspath(root)
        self._disk = disk or Disk()
        self._idle: list[_Staging] = []
        self._idle_buffers = idle_buffers
        self._made = ""  # the directory made, or seen, last
        self._direct = _DIRECT

    def create(self, object_id: bytes, key: bytes) -> SealedBlobWriter:
        """Begin a new object; nothing touches the disk before STAGING_BYTES are sealed or ``commit``."""
        return SealedBlobWriter(self, object_id, key)

    def open(self, object_id: bytes, key: bytes) -> SealedBlobReader:
        """Open an object. Raises NotFound, IntegrityError (impossible header or size), StorageUnavailable."""
        try:
            fd = os.open(self.path(object_id), _READ)
        except FileNotFoundError:
            raise NotFound(f"no object {object_id.hex()}") from None
        except OSError as exc:
            raise _unavailable("cannot open an object", exc) from None
        try:
            return SealedBlobReader(fd, object_id, key)
        except BaseException:
            os.close(fd)
            raise

    def delete(self, object_id: bytes) -> None:
        """Remove an object's file durably; does nothing if it is gone. Raises StorageUnavailable."""
        path = self.path(object_id)
        try:
            self._disk.unlink(path)
            self._disk.fsync_dir(os.path.dirname(path))
        except FileNotFoundError:
            return
        except OSError as exc:
            raise _unavailable("cannot remove an object", exc) from None

    def path(self, object_id: bytes) -> str:
        """Return the file that holds ``object_id``."""
        name = object_id.hex()
        if len(name) != 2 * seal.ID_BYTES:
            raise ValueError("an object id has 16 bytes")
        return f"{self._root}/{name[:5]}/{name[5:8]}/{name}"

    def ids(self) -> Iterator[tuple[bytes, float]]:
        """Yield every object's id and modification time, finished or not, in no order."""
        for entry, object_id in self._walk():
            if object_id is not None:
                try:
                    yield object_id, entry.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:
                    continue

    def foreign(self) -> Iterator[str]:
        """Yield the relative path of everything in the store that is no object."""
        for entry, object_id in self._walk():
            if object_id is None:
                yield os.path.relpath(entry.path, self._root)

    def _walk(self) -> Iterator[tuple[os.DirEntry[str], bytes | None]]:
        """Yield every entry that is no directory of ours, with its object id if name, place and kind are right."""
        levels: list[tuple[str, str]] = [(self._root, "")]
        while levels:
            directory, prefix = levels.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        name = entry.name
                        wanted = {0: 5, 5: 3}.get(len(prefix))
                        is_hex = not name.strip("0123456789abcdef")
                        if wanted and len(name) == wanted and is_hex and entry.is_dir(follow_symlinks=False):
                            levels.append((entry.path, prefix + name))
                        elif (
                            len(prefix) == 8
                            and len(name) == 2 * seal.ID_BYTES
                            and is_hex
                            and name.startswith(prefix)
                            and entry.is_file(follow_symlinks=False)
                        ):
                            yield entry, bytes.fromhex(name)
                        else:
                            yield entry, None
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise _unavailable("cannot list the store", exc) from None

    def _make_directory(self, path: str) -> None:
        """Make the directory of the file ``path`` and its parent, durably.

        A directory that exists may have been made by another process a moment ago, so its parent is synced all the
        same when this process first meets it.
        """
        directory = os.path.dirname(path)
        if directory == self._made:
            return
        parent = os.path.dirname(directory)
        for made, within in ((parent, self._root), (directory, parent)):
            with contextlib.suppress(FileExistsError):
                self._disk.mkdir(made)
            self._disk.fsync_dir(within)
        self._made = directory

    def _take_staging(self) -> _Staging:
        try:
            return self._idle.pop()
        except IndexError:
            return _Staging()

    def _return_staging(self, staging: _Staging) -> None:
        if len(self._idle) < self._idle_buffers:
            self._idle.append(staging)


class SealedBlobWriter:
    """BlobWriter (archive.ports): one object on its way in. Not thread-safe."""

    __slots__ = ("_fd", "_made_file", "_offset", "_path", "_sealer", "_staging", "_store")

    def __init__(self, store: SealedBlobStore, object_id: bytes, key: bytes) -> None:
        self._store, self._path = store, store.path(object_id)
        self._fd, self._offset, self._made_file = -1, 0, False
        self._staging: _Staging | None = None
        self._sealer: seal.Sealer | None = None
        staging = store._take_staging()
        self._sealer = seal.Sealer(
            key,
            seal.associated_data(seal.OBJECT_KIND, object_id),
            secrets.token_bytes(seal.RANDOM_BYTES),
            staging.plain,
            staging.out,
            self._drain,
        )
        self._staging = staging

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal ``data``; the caller may reuse its buffer afterwards. Raises StorageUnavailable."""
        if self._sealer is None:
            raise LocalProtocolError("write to an object that is committed, failed or aborted")
        self._sealer.write(data)

    def commit(self) -> int:
        """Make all bytes and the name durable; return the sealed size in bytes. Raises StorageUnavailable."""
        if self._sealer is None:
            raise LocalProtocolError("commit of an object that is committed, failed or aborted")
        disk = self._store._disk
        rest = self._sealer.finish()
        self._put(rest, last=True)
        try:
            disk.fsync(self._fd)
            fd, self._fd = self._fd, -1  # close releases the descriptor even when it reports an error
            disk.close(fd)
            disk.fsync_dir(os.path.dirname(self._path))
        except OSError as exc:
            self.abort()
            raise _unavailable("cannot make an object durable", exc) from None
        self._made_file = False  # from here on it is the store's
        self._release()
        return self._offset

    def abort(self) -> None:
        """Forget the object and remove what was written. Safe at any time; a committed object stays."""
        fd, self._fd = self._fd, -1
        made, self._made_file = self._made_file, False
        self._release()
        disk = self._store._disk
        # What cannot be removed now is an orphan, which start-up removes.
        if fd >= 0:
            with contextlib.suppress(OSError):
                disk.close(fd)
        if made:
            with contextlib.suppress(OSError):
                disk.unlink(self._path)

    def _release(self) -> None:
        self._sealer = None
        staging, self._staging = self._staging, None
        if staging is not None:
            self._store._return_staging(staging)

    def _drain(self, filled: memoryview) -> memoryview:
        self._put(filled, last=False)
        return filled

    def _put(self, data: memoryview, *, last: bool) -> None:
        """Write ``data`` behind what is there; a full staging buffer, or with ``last`` the rest."""
        try:
            if self._fd < 0:
                self._open_file(direct=not last or len(data) >= DIRECT_FROM_BYTES)
            whole = len(data) & -PAGE_BYTES
            if whole:
                self._write_all(data[:whole])
            if whole < len(data):
                self._store._disk.clear_direct(self._fd)
                self._write_all(data[whole:])
        except OSError as exc:
            self.abort()
            raise _unavailable("cannot write an object", exc) from None

    def _open_file(self, *, direct: bool) -> None:
        store = self._store
        store._make_directory(self._path)
        flags = _CREATE | (store._direct if direct else 0)
        try:
            self._fd = store._disk.open(self._path, flags)
        except FileExistsError:
            raise LocalProtocolError("an object id was used twice") from None
        except OSError as exc:
            if exc.errno != errno.EINVAL or flags == _CREATE:
                raise
            store._direct = 0  # this file system has no O_DIRECT
            self._fd = store._disk.open(self._path, _CREATE)
        self._made_file = True

    def _write_all(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            put = self._store._disk.pwrite(self._fd, data[done:], self._offset)
            done += put
            self._offset += put


class SealedBlobReader:
    """BlobReader (archive.ports): one sealed object, open for reading. Not thread-safe."""

    __slots__ = ("_fd", "_kept", "_kept_number", "_opener", "size")

    def __init__(self, fd: int, object_id: bytes, key: bytes) -> None:
        """Read from ``fd``, which is this reader's from here on. Raises IntegrityError, StorageUnavailable."""
        try:
            sealed_bytes = os.fstat(fd).st_size
            header = os.pread(fd, seal.HEADER_BYTES, 0)
        except OSError as exc:
            raise _unavailable("cannot read an object", exc) from None
        bound_to = seal.associated_data(seal.OBJECT_KIND, object_id)
        self._opener = seal.Opener(key, bound_to, header, sealed_bytes)
        self.size: int = self._opener.size
        self._fd, self._kept, self._kept_number = fd, b"", -1

    def _segment(self, number: int) -> bytes:
        """Return a segment's plain bytes; the last one opened is kept, since frames are read in order."""
        if number != self._kept_number:
            if self._fd < 0:
                raise LocalProtocolError("read from a closed object")
            start, end = self._opener.span(number)
            try:
                sealed = os.pread(self._fd, end - start, start)
            except OSError as exc:
                raise _unavailable("cannot read an object", exc) from None
            if len(sealed) != end - start:
                raise IntegrityError("an object is shorter than it was when it was opened")
            self._kept, self._kept_number = self._opener.open_segment(number, sealed), number
        return self._kept

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` plain bytes from ``offset``, fewer at the end; only segments they lie in are read.

        Raises:
            IntegrityError, StorageUnavailable: no byte is returned that was not authenticated.
        """
        end = min(offset + length, self.size)
        if offset < 0 or length < 0:
            raise ValueError("offset and length are not negative")
        pieces: list[bytes] = []
        while offset < end:
            number, within = self._opener.locate(offset)
            piece = self._segment(number)[within : within + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the plain bytes from ``offset`` to the end, a segment at a time, each authenticated first."""
        number, within = self._opener.locate(offset)
        for at in range(number, self._opener.segments):
            plain = self._segment(at)
            yield plain[within:] if within else plain
            within = 0

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        fd, self._fd = self._fd, -1
        self._kept, self._kept_number = b"", -1
        if fd >= 0:
            os.close(fd)
