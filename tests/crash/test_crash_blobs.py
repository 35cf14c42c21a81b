"""Storing an object while the disk fails, or the process dies, at each of its steps."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import IntegrityError, NotFound, StorageUnavailable
from strongroom.store import blobs
from strongroom.store.blobs import Disk, SealedBlobStore, new_object_id

KEY = bytes(range(32))
ID = new_object_id(1_700_000_000_000, b"0123456789")
STEPS = ("open", "pwrite", "clear_direct", "fsync", "close", "mkdir", "unlink", "fsync_dir")
SIZES = [10_000, 525_000, 2 * blobs.STAGING_BYTES + 1000]
MOST_STEPS = 30


class Killed(BaseException):
    """The process is gone: nothing that comes after runs."""


class FaultyDisk(Disk):
    """A disk that fails at step ``fail_at`` (1 is the first), and, if ``stays``, at every later one."""

    def __init__(self, fail_at: int, failure: BaseException, *, stays: bool = False, names: tuple[str, ...] = STEPS):
        self.step, self.fail_at, self.failure, self.stays, self.names = 0, fail_at, failure, stays, names
        self.open_fds: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._step(name, found) if name in STEPS else found

    def _step(self, name: str, call: Any) -> Any:
        def run(*args: Any) -> Any:
            if name in self.names:
                self.step += 1
                if self.step == self.fail_at or (self.stays and self.step > self.fail_at):
                    if name == "close":  # Linux frees the descriptor even when close reports an error
                        call(*args)
                    raise self.failure
            return call(*args)

        return run


def store_object(store: SealedBlobStore, plain: bytes) -> None:
    writer = store.create(ID, KEY)
    try:
        for at in range(0, len(plain), 262_144):
            writer.write(memoryview(plain)[at : at + 262_144])
        writer.commit()
    except StorageUnavailable:
        writer.abort()
        raise


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def read_back(root: Path) -> bytes | None:
    """Return the whole object if there is one that opens to its end."""
    store = SealedBlobStore(root)
    try:
        reader = store.open(ID, KEY)
    except (NotFound, IntegrityError):
        return None
    try:
        return b"".join(reader.chunks())
    except IntegrityError:
        return None
    finally:
        reader.close()


def steps_of(root: Path, plain: bytes) -> int:
    disk = FaultyDisk(0, OSError())
    store_object(SealedBlobStore(root, disk=disk, sync_names=True), plain)
    assert read_back(root) == plain
    return disk.step


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("stays", [False, True])
def test_a_disk_that_fails_at_each_step(tmp_path: Path, size: int, code: int, stays: bool) -> None:
    plain = random.Random(size).randbytes(size)
    (tmp_path / "all").mkdir()
    steps = steps_of(tmp_path / "all", plain)
    assert 5 <= steps <= MOST_STEPS
    for step in range(1, steps + 1):
        root = tmp_path / str(step)
        root.mkdir()
        disk = FaultyDisk(step, OSError(code, "planted"), stays=stays)
        store = SealedBlobStore(root, disk=disk, sync_names=True)
        before = open_descriptors()
        with pytest.raises(StorageUnavailable) as caught:
            store_object(store, plain)
        assert errno.errorcode[code] in str(caught.value)
        assert open_descriptors() == before
        assert len(store._idle) == 1, "the buffer went back"
        if not stays:  # else not even removing works, and the file is an orphan
            assert not list(store.ids())
            store_object(store, plain)
            assert read_back(root) == plain
        elif disk.step < steps - 3:
            assert read_back(root) is None


@pytest.mark.parametrize("size", SIZES)
def test_a_process_that_dies_at_each_step(tmp_path: Path, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    (tmp_path / "all").mkdir()
    steps = steps_of(tmp_path / "all", plain)
    whole = 0
    for step in range(1, steps + 1):
        root = tmp_path / str(step)
        root.mkdir()
        disk = FaultyDisk(step, Killed(), stays=True)
        store = SealedBlobStore(root, disk=disk, sync_names=True)
        before = set(open_descriptors())
        with pytest.raises(Killed):
            store_object(store, plain)
        for left in set(open_descriptors()) - before:
            with contextlib.suppress(OSError):  # the listing itself took one, long closed
                os.close(int(left))
        found = read_back(root)
        assert found in (None, plain), "never a part of an object"
        whole += found is not None
        # What start-up does: whatever is there and has no row is removed, and the object can be sent again.
        again = SealedBlobStore(root)
        assert not list(again.foreign())
        for orphan, _ in list(again.ids()):
            again.delete(orphan)
        store_object(again, plain)
        assert read_back(root) == plain
    assert whole <= 3, "only fsync, close and the directory come after the last byte"


def test_a_short_write_goes_on(tmp_path: Path) -> None:
    class Short(Disk):
        def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
            return super().pwrite(fd, data[: max(1, len(data) // 3)], offset)

    plain = random.Random(1).randbytes(525_000)
    store_object(SealedBlobStore(tmp_path, disk=Short()), plain)
    assert read_back(tmp_path) == plain


def test_a_disk_that_does_not_read(tmp_path: Path) -> None:
    class Unreadable(Disk):
        left = 1

        def preadv(self, fd: int, into: memoryview, offset: int) -> int:
            if not self.left:
                raise OSError(errno.EIO, "planted")
            self.left -= 1
            return super().preadv(fd, into, offset)

    disk = Unreadable()
    store = SealedBlobStore(tmp_path, disk=disk)
    store_object(store, bytes(300_000))
    before = open_descriptors()
    reader = store.open(ID, KEY)
    with pytest.raises(StorageUnavailable):
        reader.read(0, 10)
    with pytest.raises(StorageUnavailable):
        list(reader.chunks())
    reader.close()
    with pytest.raises(StorageUnavailable):
        store.open(ID, KEY)
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["unlink", "fsync_dir"])
def test_a_delete_that_fails_says_so_and_can_be_repeated(tmp_path: Path, name: str) -> None:
    disk = FaultyDisk(0, OSError(errno.EIO, "planted"), names=(name,))
    store = SealedBlobStore(tmp_path, disk=disk)
    store_object(store, b"abc")
    disk.fail_at = disk.step + 1
    with pytest.raises(StorageUnavailable):
        store.delete(ID)
    store.delete(ID)
    assert not list(store.ids())


def test_a_failed_object_takes_nothing_more(tmp_path: Path) -> None:
    disk = FaultyDisk(1, OSError(errno.ENOSPC, "planted"), stays=True)
    writer = SealedBlobStore(tmp_path, disk=disk).create(ID, KEY)
    with pytest.raises(StorageUnavailable):
        writer.write(bytes(2 * blobs.STAGING_BYTES))
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            writer.write(b"more")
    with pytest.raises(StorageUnavailable):
        writer.commit()
    writer.abort()
