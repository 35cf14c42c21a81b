"""Sealed objects in files: one object, one file, its content exactly the sealed object (see `seal`).

A file comes into being under its final name, and commit is write, fsync(file) and, where the file system needs it,
fsync(directory). There is no rename: the row in the index is what makes an object exist, so an unfinished or rowless
file is an orphan that start-up removes. Its name is the object id, which holds a time and random bits and nothing of
a patient.

Bigger objects are written with O_DIRECT from a page-aligned buffer: filling the page cache with ciphertext that
nobody will read soon costs more than sealing it. Reads go through the page cache.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from strongroom.errors import IntegrityError, LocalProtocolError, NotFound, StorageUnavailable
from strongroom.store import seal
from strongroom.store.disk import O_DIRECT, Disk, fsync_keeps_names
from strongroom.store.small import SmallObjectReader

PAGE_BYTES = 4096
DIRECT_FROM_BYTES = 64 * 1024
"""Objects from this sealed size on are written with O_DIRECT; below, the page cache is as fast."""
STAGING_BYTES = 1024 * 1024
"""Sealed bytes held back before they are written. One write per object measured better than handing pieces to a
writing thread: up to 5 MB the hand-over costs what the overlap gains."""
READ_SEGMENTS = 4
"""Segments fetched by one read of the file."""
PIECE_SEGMENTS = STAGING_BYTES // seal.SEGMENT_BYTES
"""The same for who reads the whole object."""
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO put there must not make us wait
_UNIQUE_BYTES = 10
_NAME_CHARS = (5, 3, 2 * seal.ID_BYTES)  # of a directory, one in it, a file in that
_ZEROS = memoryview(bytes(seal.SEGMENT_BYTES))


def new_object_id(now_ms: int, random: bytes) -> bytes:
    """Return a 16-byte object id: ``now_ms`` (milliseconds since 1970, 6 bytes) and 10 random bytes.

    Ids sort by time, so that objects received together lie together.
    """
    if len(random) != _UNIQUE_BYTES:
        raise ValueError("an object id takes 10 random bytes")
    return now_ms.to_bytes(seal.ID_BYTES - _UNIQUE_BYTES, "big") + random


class _Staging:
    """Buffers of one writer or reader: plain bytes of one segment, and page-aligned sealed bytes. Never mixed: no
    plain byte may reach the disk, whatever goes wrong with lengths."""

    __slots__ = ("out", "plain")

    def __init__(self) -> None:
        # Private: Python maps shared by default, and then a forked process would write into the same buffer.
        pages = mmap.mmap(-1, seal.SEGMENT_BYTES + STAGING_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_DONTDUMP)
        view = memoryview(pages)
        self.plain, self.out = view[: seal.SEGMENT_BYTES], view[seal.SEGMENT_BYTES :]

    def wipe(self, used: int) -> None:
        """Leave no plain byte, of which the first ``used`` may be some, in memory that waits for reuse."""
        self.plain[:used] = _ZEROS[:used]


def _unavailable(what: str, exc: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"{what}: {errno.errorcode.get(exc.errno or 0, 'unknown error')}")


class SealedBlobStore:
    """BlobStore (archive.ports) in a directory tree ``ab123/456/<id in hex>``. Thread-safe.

    The first directory level covers 3.1 days of ids and the second 65 s, so a directory holds at most 4096 others or
    what arrives in 65 s.
    """

    def __init__(
        self,
        root: Path,
        *,
        small_bytes: int = 0,
        disk: Disk | None = None,
        idle_buffers: int = 8,
        sync_names: bool | None = None,
    ) -> None:
        """Keep the objects below ``root``, which must exist. At most ``idle_buffers`` (1.1 MiB each) wait for reuse.

        An object of at most ``small_bytes`` sealed bytes becomes no file: ``commit`` hands it back, for its row.
        ``sync_names`` says whether commit syncs the directory too; None asks `fsync_keeps_names`.
        """
        self._root = os.fspath(root)
        self._disk = disk or Disk()
        self._small_bytes = min(small_bytes, STAGING_BYTES)
        self._idle: list[_Staging] = []
        self._idle_buffers = idle_buffers
        self._sync_names = not fsync_keeps_names(root) if sync_names is None else sync_names
        self._made = ""  # the directory made, or first met, last
        self._direct = O_DIRECT

    def create(self, object_id: bytes, key: bytes) -> SealedBlobWriter:
        """Begin a new object; nothing touches the disk before STAGING_BYTES are sealed or ``commit``."""
        return SealedBlobWriter(self, object_id, key)

    def open_small(self, object_id: bytes, key: bytes, sealed: bytes) -> SmallObjectReader:
        """Open a small object from its sealed bytes. Raises IntegrityError."""
        return SmallObjectReader(object_id, key, sealed)

    def open(self, object_id: bytes, key: bytes) -> SealedBlobReader:
        """Open an object. Raises NotFound, IntegrityError (impossible header or size), StorageUnavailable."""
        path = self.path(object_id)
        try:
            fd = self._disk.open(path, _READ)
        except FileNotFoundError:
            raise NotFound(f"no object {object_id.hex()}") from None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                raise IntegrityError(f"a link in the place of object {object_id.hex()}") from None
            raise _unavailable("cannot open an object", exc) from None
        reader = SealedBlobReader(self, fd)
        try:
            reader._begin(object_id, key)
        except BaseException:
            reader.close()
            raise
        return reader

    def delete(self, object_id: bytes) -> None:
        """Remove an object's file durably; does nothing if it is gone. Raises StorageUnavailable."""
        path = self.path(object_id)
        try:
            # A file that is gone may be gone only since a delete that failed to sync: the directory is synced anyway.
            with contextlib.suppress(FileNotFoundError):
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
        levels = [(self._root, "", 0)]
        while levels:
            directory, prefix, depth = levels.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        name = entry.name
                        named = len(name) == _NAME_CHARS[depth] and not name.strip("0123456789abcdef")
                        if named and depth < 2 and entry.is_dir(follow_symlinks=False):
                            levels.append((entry.path, prefix + name, depth + 1))
                        elif named and name.startswith(prefix) and depth == 2 and entry.is_file(follow_symlinks=False):
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

    __slots__ = ("_direct", "_failure", "_fd", "_made_file", "_offset", "_path", "_sealer", "_staging", "_store")

    def __init__(self, store: SealedBlobStore, object_id: bytes, key: bytes) -> None:
        self._store, self._path = store, store.path(object_id)
        self._fd, self._direct, self._offset, self._made_file = -1, 0, 0, False
        self._failure: StorageUnavailable | None = None
        self._staging: _Staging | None = store._take_staging()
        self._sealer: seal.Sealer | None = seal.Sealer(
            key,
            seal.associated_data(seal.OBJECT_KIND, object_id),
            secrets.token_bytes(seal.RANDOM_BYTES),
            self._staging.plain,
            self._staging.out,
            self._drain,
        )

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal ``data``; the caller may reuse its buffer afterwards. Raises StorageUnavailable."""
        if self._sealer is None:
            raise self._failure or LocalProtocolError("write to an object that is committed or aborted")
        self._sealer.write(data)

    def commit(self) -> bytes:
        """Make all bytes and the name durable and return b"", or return the whole sealed object if it is small.

        Raises StorageUnavailable.
        """
        if self._sealer is None:
            raise self._failure or LocalProtocolError("commit of an object that is committed or aborted")
        disk = self._store._disk
        rest = self._sealer.finish()
        if self._fd < 0 and len(rest) <= self._store._small_bytes:
            sealed = bytes(rest)
            self._release(len(sealed))
            return sealed
        self._put(rest, last=True)
        try:
            disk.fsync(self._fd)
            fd, self._fd = self._fd, -1  # close releases the descriptor even when it reports an error
            disk.close(fd)
            if self._store._sync_names:
                disk.fsync_dir(os.path.dirname(self._path))
        except OSError as exc:
            raise self._fail("cannot make an object durable", exc) from None
        self._release(min(self._offset, seal.SEGMENT_BYTES))
        return b""

    def abort(self) -> None:
        """Forget the object and remove what was written. Safe at any time.

        After ``commit`` it takes the object back (a duplicate, a refusal); who keeps the object just drops the writer.
        """
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

    def _fail(self, what: str, exc: OSError) -> StorageUnavailable:
        self.abort()
        self._failure = _unavailable(what, exc)
        return self._failure

    def _release(self, used: int = seal.SEGMENT_BYTES) -> None:
        self._sealer = None
        staging, self._staging = self._staging, None
        if staging is not None:
            staging.wipe(used)
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
            if self._direct and whole < len(data):
                self._write_all(data[:whole])
                self._store._disk.clear_direct(self._fd)
                data = data[whole:]
            self._write_all(data)
        except OSError as exc:
            raise self._fail("cannot write an object", exc) from None
        except LocalProtocolError:
            self.abort()
            raise

    def _open_file(self, *, direct: bool) -> None:
        store = self._store
        store._make_directory(self._path)
        self._direct = store._direct if direct else 0
        try:
            try:
                self._fd = store._disk.open(self._path, _CREATE | self._direct)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not self._direct:
                    raise
                store._direct = self._direct = 0  # this file system has no O_DIRECT
                self._fd = store._disk.open(self._path, _CREATE)
        except FileExistsError:
            raise LocalProtocolError("an object id was used twice") from None
        self._made_file = True

    def _write_all(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            try:
                put = self._store._disk.pwrite(self._fd, data[done:], self._offset)
            except OSError as exc:
                if exc.errno != errno.EINVAL or not self._direct:
                    raise
                # Refused only now, or a write ended within a block: O_DIRECT cannot go on, ordinary writes can.
                self._store._disk.clear_direct(self._fd)
                self._direct = 0
                continue
            done += put
            self._offset += put


class SealedBlobReader:
    """BlobReader (archive.ports): one sealed object, open for reading. Not thread-safe."""

    __slots__ = ("_fd", "_kept", "_kept_number", "_opener", "_staging", "_store", "size")

    size: int

    def __init__(self, store: SealedBlobStore, fd: int) -> None:
        """Own ``fd``; `SealedBlobStore.open` is the way to get a reader."""
        self._store, self._fd = store, fd
        self._staging: _Staging | None = None
        self._kept, self._kept_number = b"", -1

    def _begin(self, object_id: bytes, key: bytes) -> None:
        header = bytearray(seal.HEADER_BYTES)
        try:
            status = os.fstat(self._fd)
            sealed_bytes = status.st_size
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError(f"no file in the place of object {object_id.hex()}")
            if sealed_bytes >= seal.HEADER_BYTES:  # else the size alone is wrong
                self._fetch(memoryview(header), 0)
        except OSError as exc:
            raise _unavailable("cannot read an object", exc) from None
        bound_to = seal.associated_data(seal.OBJECT_KIND, object_id)
        self._opener = seal.Opener(key, bound_to, bytes(header), sealed_bytes)
        self.size = self._opener.size

    def _fetch(self, into: memoryview, offset: int) -> None:
        while into:
            if self._fd < 0:
                raise LocalProtocolError("read from a closed object")
            try:
                got = self._store._disk.preadv(self._fd, into, offset)
            except OSError as exc:
                raise _unavailable("cannot read an object", exc) from None
            if not got:
                raise IntegrityError("an object is shorter than it was when it was opened")
            into, offset = into[got:], offset + got

    def _segments(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the plain bytes of segments ``first`` to ``last``, READ_SEGMENTS of them fetched at once.

        The last one opened is kept: frames are read in order, and neighbours share a segment.
        """
        opener = self._opener
        number = first
        if number == self._kept_number:
            yield self._kept
            number += 1
        while number <= last:
            until = min(number + READ_SEGMENTS - 1, last)
            base, end = opener.span(number)[0], opener.span(until)[1]
            if self._staging is None:
                self._staging = self._store._take_staging()
            sealed = self._staging.out[: end - base]
            self._fetch(sealed, base)
            # All are opened before the first is handed out: the caller may use this reader in between.
            opened = []
            for at in range(number, until + 1):
                start, stop = opener.span(at)
                opened.append(opener.open_segment(at, sealed[start - base : stop - base]))
            self._kept, self._kept_number = opened[-1], until
            yield from opened
            number = until + 1

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` plain bytes from ``offset``, fewer at the end; only segments they lie in are read.

        Raises:
            IntegrityError, StorageUnavailable: no byte is returned that was not authenticated.
        """
        if offset < 0 or length < 0:
            raise ValueError("offset and length are not negative")
        opener = self._opener
        if not length or offset >= self.size:
            return b"".join(self._prove_end()) if length else b""
        first, within = opener.locate(offset)
        last = opener.locate(offset + length - 1)[0] if offset + length <= self.size else opener.segments - 1
        plain = b"".join(self._segments(first, last))
        return plain[within : within + length]

    def _prove_end(self) -> Iterator[bytes]:
        """Yield nothing, but open the last segment: "no bytes there" has to be as true as any byte."""
        for _ in self._segments(self._opener.segments - 1, self._opener.segments - 1):
            yield from ()

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the plain bytes from ``offset`` to the end, a segment at a time, each authenticated first."""
        if offset < 0:
            raise ValueError("an offset is not negative")
        if offset >= self.size:
            yield from self._prove_end()
            return
        number, within = self._opener.locate(offset)
        if self._opener.segments - number > READ_SEGMENTS:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for plain in self._segments(number, self._opener.segments - 1):
            yield plain[within:] if within else plain
            within = 0

    def pieces(self, before: bytes = b"") -> Iterator[memoryview]:
        """Yield ``before`` and all plain bytes, in pieces of up to STAGING_BYTES and what is before them.

        Each lies in memory of its own and was authenticated first; it takes one read of the file.
        """
        opener = self._opener
        if opener.segments > PIECE_SEGMENTS:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for first in range(0, opener.segments, PIECE_SEGMENTS):
            last = min(first + PIECE_SEGMENTS, opener.segments) - 1
            base, end = opener.span(first)[0], opener.span(last)[1]
            if self._staging is None:
                self._staging = self._store._take_staging()
            sealed = self._staging.out[: end - base]
            self._fetch(sealed, base)
            plain_bytes = len(sealed) - (last - first + 1) * seal.TAG_BYTES
            piece = memoryview(bytearray(len(before) + plain_bytes))
            at = len(before)
            piece[:at] = before
            for number in range(first, last + 1):
                start, stop = opener.span(number)
                until = at + stop - start - seal.TAG_BYTES
                opener.open_into(number, sealed[start - base : stop - base], piece[at:until])
                at = until
            yield piece
            before = b""

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        fd, self._fd = self._fd, -1
        self._kept, self._kept_number = b"", -1
        staging, self._staging = self._staging, None
        if staging is not None:
            self._store._return_staging(staging)
        if fd >= 0:
            with contextlib.suppress(OSError):
                self._store._disk.close(fd)
