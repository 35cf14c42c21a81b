"""The sealed cache of metadata: nothing of it is needed, and nothing of it opens without its study's key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.instances import new_ring
from strongroom.archive.model import DataKey
from strongroom.store.metadata import SWEPT_EVERY, SealedMetadata

ROOM = 2**20


@pytest.fixture
def key() -> DataKey:
    return new_ring().new_data_key()


def entries(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_is_put_is_got_by_every_process(tmp_path: Path, key: DataKey) -> None:
    SealedMetadata(tmp_path, ROOM).put(key, "1.2.3/0", b"metadata of Doe^Jane")
    assert SealedMetadata(tmp_path, ROOM).get(key, "1.2.3/0") == b"metadata of Doe^Jane"
    (path,) = entries(tmp_path)
    assert b"Doe" not in path.read_bytes()
    assert "1.2.3" not in str(path)
    assert path.stat().st_mode & 0o077 == 0


def test_nothing_opens_under_another_key_or_another_name(tmp_path: Path, key: DataKey) -> None:
    cache, other = SealedMetadata(tmp_path, ROOM), new_ring().new_data_key()
    cache.put(key, "a", b"mine")
    assert cache.get(other, "a") is None
    assert cache.get(key, "b") is None
    (path,) = entries(tmp_path)
    # Moved to where another is looked for, by whoever has the disk.
    cache.put(key, "b", b"yours")
    (moved,) = [each for each in entries(tmp_path) if each != path]
    path.replace(moved)
    assert cache.get(key, "b") is None
    destroyed = DataKey(key.key_id, bytes(32), b"")
    cache.put(key, "a", b"mine")
    assert cache.get(destroyed, "a") is None


@pytest.mark.parametrize("change", ["cut", "flip", "empty", "longer"])
def test_an_entry_that_was_changed_is_made_anew(tmp_path: Path, key: DataKey, change: str) -> None:
    cache = SealedMetadata(tmp_path, ROOM)
    cache.put(key, "a", bytes(200_000))
    (path,) = entries(tmp_path)
    raw = path.read_bytes()
    flipped = raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:]
    path.write_bytes({"cut": raw[:-1], "flip": flipped, "empty": b"", "longer": raw + b"\0"}[change])
    assert cache.get(key, "a") is None
    assert not entries(tmp_path)
    cache.put(key, "a", b"again")
    assert cache.get(key, "a") == b"again"


def test_what_is_forgotten_is_gone(tmp_path: Path, key: DataKey) -> None:
    cache, other = SealedMetadata(tmp_path, ROOM), new_ring().new_data_key()
    for name in ("a", "b"):
        cache.put(key, name, b"mine")
    cache.put(other, "a", b"theirs")
    cache.forget([key.key_id, bytes(16)])
    assert cache.get(key, "a") is None
    assert cache.get(other, "a") == b"theirs"
    assert len(entries(tmp_path)) == 1


def test_the_oldest_make_room(tmp_path: Path, key: DataKey) -> None:
    cache = SealedMetadata(tmp_path, 10_000)
    for number in range(SWEPT_EVERY):
        cache.put(key, str(number), bytes(100))
        for path in entries(tmp_path / key.key_id.hex()):
            status = path.stat()
            if status.st_mtime > 1e9:
                os.utime(path, (number + 1, number + 1))
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10_000
    assert cache.get(key, str(SWEPT_EVERY - 1)) is not None
    assert cache.get(key, "0") is None


def test_what_is_too_large_or_has_no_room_is_not_kept(tmp_path: Path, key: DataKey) -> None:
    SealedMetadata(tmp_path, 100).put(key, "a", bytes(101))
    none = SealedMetadata(tmp_path, 0)
    none.put(key, "a", b"")
    none.put(key, "a", b"x")
    assert none.get(key, "a") is None
    assert not entries(tmp_path)


def test_a_disk_that_takes_nothing_is_no_error(tmp_path: Path, key: DataKey) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cache = SealedMetadata(blocked, ROOM)
    cache.put(key, "a", b"x")
    assert cache.get(key, "a") is None
    cache.forget([key.key_id])
