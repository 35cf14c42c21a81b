"""The BlobStore port: what every adapter of it must do. Run on the store of files, in each way that it can write."""

from __future__ import annotations

import errno
import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.archive.ports import BlobReader, BlobStore, BlobWriter
from strongroom.errors import IntegrityError, LocalProtocolError, NotFound
from strongroom.store import blobs, seal
from strongroom.store.blobs import Disk, SealedBlobStore, fsync_keeps_names, new_object_id

KEY = bytes(range(32))
SIZES = [0, 1, 10_000, 65_480, 65_481, 100_000, 525_000, blobs.STAGING_BYTES - 300, 2 * blobs.STAGING_BYTES + 5]


class NoDirect(Disk):
    """A file system without O_DIRECT, such as tmpfs was."""

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return super().open(path, flags)


class RefusesDirectWrites(Disk):
    """A file system that opens with O_DIRECT and then will not write: some network ones."""

    def __init__(self) -> None:
        self.direct: set[int] = set()

    def open(self, path: str, flags: int) -> int:
        fd = super().open(path, flags & ~os.O_DIRECT)
        if flags & os.O_DIRECT:
            self.direct.add(fd)
        return fd

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        if fd in self.direct:
            raise OSError(errno.EINVAL, "no")
        return super().pwrite(fd, data, offset)

    def clear_direct(self, fd: int) -> None:
        self.direct.discard(fd)


class Dribbling(Disk):
    """Takes and gives a page at a time."""

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return super().pwrite(fd, data[:4096], offset)

    def preadv(self, fd: int, into: memoryview, offset: int) -> int:
        return super().preadv(fd, into[:4096], offset)


@pytest.fixture(params=[Disk, NoDirect, RefusesDirectWrites, Dribbling])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return SealedBlobStore(tmp_path, disk=request.param())


def new_id(number: int = 0) -> bytes:
    return new_object_id(1_700_000_000_000 + number, number.to_bytes(10, "big"))


def put(store: BlobStore, plain: bytes, object_id: bytes, step: int = 131_072) -> bytes:
    writer: BlobWriter = store.create(object_id, KEY)
    for at in range(0, len(plain), step):
        writer.write(memoryview(plain)[at : at + step])
    return writer.commit()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(store: BlobStore, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    assert put(store, plain, new_id()) == b""
    reader: BlobReader = store.open(new_id(), KEY)
    assert reader.size == size
    assert b"".join(reader.chunks()) == plain
    assert reader.read(0, size + 1) == plain
    assert b"".join(reader.chunks(size // 2)) == plain[size // 2 :]
    assert reader.read(size, 1) == b""
    assert reader.read(size + 7, 1) == b""
    assert list(reader.chunks(size + 7)) == []
    reader.close()
    reader.close()


@pytest.mark.parametrize("before", [b"", b"--boundary\r\n\r\n"])
@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_the_whole_of_it_behind_what_stands_before(store: BlobStore, size: int, before: bytes) -> None:
    plain = random.Random(size).randbytes(size)
    put(store, plain, new_id())
    reader = store.open(new_id(), KEY)
    pieces = list(reader.pieces(before))  # all are held: none may lie where the next one is put
    assert b"".join(pieces) == before + plain
    assert max(map(len, pieces)) <= blobs.STAGING_BYTES + len(before)
    reader.close()


def test_the_file_is_the_sealed_object_and_nothing_else(tmp_path: Path) -> None:
    store = SealedBlobStore(tmp_path)
    for number, size in enumerate(SIZES):
        plain = random.Random(size).randbytes(size)
        put(store, plain, new_id(number))
        sealed = Path(store.path(new_id(number))).read_bytes()
        assert seal.unseal(KEY, seal.associated_data(seal.OBJECT_KIND, new_id(number)), sealed) == plain
        assert os.stat(store.path(new_id(number))).st_mode & 0o777 == 0o600


PLAIN = random.Random(5).randbytes(400_000)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, 410_000), st.integers(0, 200_000)), min_size=1, max_size=6))
def test_any_ranges_in_any_order(tmp_path: Path, ranges: list[tuple[int, int]]) -> None:
    store = SealedBlobStore(tmp_path)
    if not list(store.ids()):
        put(store, PLAIN, new_id())
    reader = store.open(new_id(), KEY)
    for offset, length in ranges:
        assert reader.read(offset, length) == PLAIN[offset : offset + length]
    reader.close()


def test_a_range_touches_only_its_segments(tmp_path: Path) -> None:
    class Counting(Disk):
        fetched = 0

        def preadv(self, fd: int, into: memoryview, offset: int) -> int:
            self.fetched += len(into)
            return super().preadv(fd, into, offset)

    disk = Counting()
    store = SealedBlobStore(tmp_path, disk=disk)
    put(store, PLAIN, new_id())
    reader = store.open(new_id(), KEY)
    for offset in range(200_000, 210_000, 1000):
        reader.read(offset, 1000)
    assert disk.fetched <= seal.HEADER_BYTES + 2 * seal.SEGMENT_BYTES
    reader.close()


def test_reading_while_iterating(store: BlobStore) -> None:
    put(store, PLAIN, new_id())
    reader = store.open(new_id(), KEY)
    pieces = []
    for piece in reader.chunks():
        pieces.append(piece)
        assert reader.read(3, 5) == PLAIN[3:8]
        assert reader.read(390_000, 99) == PLAIN[390_000:390_099]
    assert b"".join(pieces) == PLAIN
    reader.close()


@pytest.mark.parametrize("size", [0, 10, 65_480, 400_000])
def test_that_there_is_no_more_is_proved_like_any_byte(store: SealedBlobStore, size: int) -> None:
    put(store, bytes(size), new_id())
    with open(store.path(new_id()), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    for offset in (size, size + 7):
        reader = store.open(new_id(), KEY)
        with pytest.raises(IntegrityError):
            list(reader.chunks(offset))
        with pytest.raises(IntegrityError):
            reader.read(offset, 1)
        reader.close()


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
def test_negative_ranges_are_refused(store: BlobStore, offset: int, length: int) -> None:
    put(store, b"abc", new_id())
    reader = store.open(new_id(), KEY)
    with pytest.raises(ValueError):
        reader.read(offset, length)
    if offset < 0:
        with pytest.raises(ValueError):
            next(reader.chunks(offset))
    reader.close()


def test_a_closed_reader_and_a_finished_writer_say_so(store: BlobStore) -> None:
    put(store, b"abc", new_id())
    reader = store.open(new_id(), KEY)
    reader.close()
    with pytest.raises(LocalProtocolError):
        reader.read(0, 1)
    with pytest.raises(LocalProtocolError):
        list(reader.chunks())
    writer = store.create(new_id(1), KEY)
    writer.commit()
    with pytest.raises(LocalProtocolError):
        writer.write(b"x")
    with pytest.raises(LocalProtocolError):
        writer.commit()


@pytest.mark.parametrize("size", [0, 10, 300_000, 3_000_000])
def test_an_aborted_object_is_gone(store: BlobStore, size: int) -> None:
    writer = store.create(new_id(), KEY)
    writer.write(bytes(size))
    writer.abort()
    writer.abort()
    with pytest.raises(NotFound):
        store.open(new_id(), KEY)
    assert not list(store.ids())
    assert not list(store.foreign())


def test_abort_after_commit_takes_the_object_back(store: BlobStore) -> None:
    writer = store.create(new_id(), KEY)
    writer.write(b"abc")
    writer.commit()
    writer.abort()
    assert not list(store.ids())
    put(store, b"again", new_id())
    writer.abort()  # its object is gone: what has the id now is another's
    reader = store.open(new_id(), KEY)
    assert reader.read(0, 9) == b"again"
    reader.close()


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_an_id_used_twice_does_no_harm_to_the_first(store: BlobStore, size: int) -> None:
    put(store, b"first", new_id())
    writer = store.create(new_id(), KEY)

    def write_and_commit() -> None:
        writer.write(bytes(size))
        writer.commit()

    with pytest.raises(LocalProtocolError):
        write_and_commit()
    writer.abort()
    reader = store.open(new_id(), KEY)
    assert reader.read(0, 9) == b"first"
    reader.close()


def test_delete(store: BlobStore) -> None:
    put(store, b"abc", new_id())
    store.delete(new_id())
    store.delete(new_id())
    with pytest.raises(NotFound):
        store.open(new_id(), KEY)
    assert not list(store.ids())


def test_ids_and_foreign_tell_objects_from_the_rest(tmp_path: Path) -> None:
    store = SealedBlobStore(tmp_path)
    wanted = {new_id(number << 20) for number in range(5)}
    for one in wanted:
        put(store, b"abc", one)
    found = dict(store.ids())
    assert found.keys() == wanted
    assert not list(store.foreign())
    mtime = os.stat(store.path(new_id())).st_mtime
    assert found[new_id()] == mtime
    here = Path(store.path(new_id())).parent
    for path in (tmp_path / "notes.txt", tmp_path / "00000", here / "x.dcm", here / new_id(3 << 30).hex()):
        path.write_bytes(b"")
    (here / "sub").mkdir()
    assert dict(store.ids()).keys() == wanted
    assert len(list(store.foreign())) == 5


@pytest.mark.parametrize("object_id", [b"", b"short", bytes(17)])
def test_an_id_has_16_bytes(store: BlobStore, object_id: bytes) -> None:
    with pytest.raises(ValueError):
        store.create(object_id, KEY)
    with pytest.raises(ValueError):
        store.open(object_id, KEY)


def test_ids_sort_by_time_and_share_directories(tmp_path: Path) -> None:
    ids = [new_object_id(1_700_000_000_000 + 1000 * n, os.urandom(10)) for n in range(300)]
    assert ids == sorted(ids)
    store = SealedBlobStore(tmp_path)
    assert len({os.path.dirname(store.path(one)) for one in ids}) <= 6
    with pytest.raises(ValueError):
        new_object_id(0, b"")


def test_threads_share_the_store(store: BlobStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                one = new_id(number * 100 + turn)
                plain = random.Random(number * 100 + turn).randbytes(90_000 * (turn + 1))
                put(store, plain, one, step=50_000)
                reader = store.open(one, KEY)
                assert b"".join(reader.chunks()) == plain
                reader.close()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    class Nowhere(Disk):
        written = 0

        def open(self, path: str, flags: int) -> int:
            return os.open(os.devnull, os.O_WRONLY)

        def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
            assert len(data) <= blobs.STAGING_BYTES
            assert offset == self.written
            self.written += len(data)
            return len(data)

        def fsync(self, fd: int) -> None:
            pass

    disk = Nowhere()
    store = SealedBlobStore(tmp_path, disk=disk)
    piece = bytes(1 << 20)
    writer = store.create(new_id(), KEY)
    for _ in range(256):
        writer.write(piece)
    writer.commit()
    assert disk.written == seal.sealed_length(256 << 20)


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_no_plain_byte_waits_in_an_idle_buffer(tmp_path: Path, end: str) -> None:
    store = SealedBlobStore(tmp_path)
    writer = store.create(new_id(), KEY)
    writer.write(b"DOE^JANE" * 30_000)
    getattr(writer, end)()
    (idle,) = store._idle
    assert b"DOE^JANE" not in bytes(idle.plain) + bytes(idle.out)


MOUNT = "36 35 {major}:{minor} / /data rw,noatime shared:1 - {kind} /dev/vdb rw\n"


@pytest.mark.parametrize(("kinds", "answer"), [(["ext4"], True), (["xfs"], True), (["ext4", "overlay"], False)])
def test_a_name_is_synced_unless_the_file_system_is_known_to(tmp_path: Path, kinds: list[str], answer: bool) -> None:
    device = os.stat(tmp_path).st_dev
    numbers = {"major": os.major(device), "minor": os.minor(device)}
    mounts = "".join(MOUNT.format(kind=kind, **numbers) for kind in kinds)
    assert fsync_keeps_names(tmp_path, mounts + MOUNT.format(kind="nfs", major=0, minor=9999)) is answer


@pytest.mark.parametrize("mounts", ["", "nonsense\n", "1 2 3:4\n", MOUNT.format(kind="ext4", major=0, minor=9999)])
def test_a_name_is_synced_when_in_doubt(tmp_path: Path, mounts: str) -> None:
    assert fsync_keeps_names(tmp_path, mounts) is False
    assert fsync_keeps_names(tmp_path / "missing") is False


@pytest.mark.parametrize("sync_names", [True, False])
def test_sync_names_is_obeyed(tmp_path: Path, sync_names: bool) -> None:
    class Noting(Disk):
        def __init__(self) -> None:
            self.synced: list[str] = []

        def fsync_dir(self, path: str) -> None:
            self.synced.append(path)
            super().fsync_dir(path)

    disk = Noting()
    store = SealedBlobStore(tmp_path, disk=disk, sync_names=sync_names)
    put(store, b"abc", new_id())
    directory = os.path.dirname(store.path(new_id()))
    # The directories that were made are always synced into their parents.
    assert disk.synced == [str(tmp_path), os.path.dirname(directory), *([directory] if sync_names else [])]


def test_an_empty_store(store: BlobStore) -> None:
    assert not list(store.ids())
    assert not list(store.foreign())
    with pytest.raises(NotFound):
        store.open(new_id(), KEY)
    store.delete(new_id())


def test_a_small_object_is_handed_back_whole_and_leaves_no_file(tmp_path: Path) -> None:
    store = SealedBlobStore(tmp_path, small_bytes=4096)
    plain = random.Random(1).randbytes(4096 - seal.sealed_length(0))
    sealed = put(store, plain, new_id())
    assert len(sealed) == 4096
    assert list(store.ids()) == []
    assert list(store.foreign()) == []
    reader = store.open_small(new_id(), KEY, sealed)
    assert (reader.size, reader.read(10, 20)) == (len(plain), plain[10:30])
    assert b"".join(reader.chunks(7)) == plain[7:]
    with pytest.raises(IntegrityError):
        store.open_small(new_id(1), KEY, sealed)
    with pytest.raises(IntegrityError):
        store.open_small(new_id(), KEY, sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_one_byte_more_becomes_a_file(tmp_path: Path) -> None:
    store = SealedBlobStore(tmp_path, small_bytes=4096)
    plain = random.Random(1).randbytes(4097 - seal.sealed_length(0))
    assert put(store, plain, new_id()) == b""
    assert [found for found, _ in store.ids()] == [new_id()]
