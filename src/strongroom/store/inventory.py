"""What lies in the store against what the index knows, in memory that does not grow with the archive.

Both sides are reduced to a few thousand sums of keyed hashes, one for each bucket of object ids. Sums that agree prove
(the key is random and new each time, so nobody can aim at a sum) that every file has its row and every row its file.
Only ids in buckets that differ are then held in memory and compared one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from strongroom.errors import StorageUnavailable

ID_BYTES: Final = 16
BUCKETS: Final = 4096
MAX_HELD_IDS: Final = 500_000
"""Ids compared in one pass, about 100 bytes each: with more than that in buckets that differ there are more passes."""
_LEVELS: Final = (5, 3)
"""Hex digits of an object id in the name of a directory and of one in it; a file's name has all of them."""
_HEX: Final = frozenset("0123456789abcdef")
_UNUSED_MS_BITS: Final = 28
"""Low bits of the 48-bit time in an id that the five digits of a top directory leave out."""


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """Something in the store: its path below the root, and its object id if name, place and kind are an object's."""

    path: str
    object_id: bytes | None


def walk(root: str, from_ms: int = 0) -> Iterator[StoreEntry]:
    """Yield everything below ``root`` that is no directory of the store, in no order.

    ``from_ms`` leaves out objects whose id says that they came before that time (milliseconds since 1970). Links are
    not followed. Raises StorageUnavailable.
    """
    least = (from_ms >> _UNUSED_MS_BITS) << _UNUSED_MS_BITS
    first = from_ms.to_bytes(6, "big")
    levels = [("", "")]
    while levels:
        path, prefix = levels.pop()
        depth = path.count("/") + 1 if path else 0
        try:
            with os.scandir(f"{root}/{path}") as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}" if path else entry.name
                    if depth < len(_LEVELS):
                        if not _is_named(entry.name, _LEVELS[depth]) or not entry.is_dir(follow_symlinks=False):
                            yield StoreEntry(below, None)
                        elif depth or int(entry.name, 16) << _UNUSED_MS_BITS >= least:
                            levels.append((below, prefix + entry.name))
                        continue
                    object_id = _object_id(entry, prefix)
                    if object_id is None or object_id >= first:
                        yield StoreEntry(below, object_id)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageUnavailable(f"cannot list the store: {error.strerror}") from None


def _is_named(name: str, digits: int) -> bool:
    return len(name) == digits and _HEX.issuperset(name)


def _object_id(entry: os.DirEntry[str], prefix: str) -> bytes | None:
    name = entry.name
    named = _is_named(name, 2 * ID_BYTES) and name.startswith(prefix)
    return bytes.fromhex(name) if named and entry.is_file(follow_symlinks=False) else None


class _Buckets:
    """Sums of keyed hashes by bucket, of what is in the store less what is in the index."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sums = [0] * BUCKETS
        self.added = 0

    def of(self, object_id: bytes) -> tuple[int, int]:
        """The bucket of an id and the number that stands for it there."""
        digest = blake2b(object_id, digest_size=18, key=self._key).digest()
        return int.from_bytes(digest[:2], "big") % BUCKETS, int.from_bytes(digest[2:], "big")

    def add(self, object_ids: Iterable[bytes]) -> None:
        for object_id in object_ids:
            bucket, number = self.of(object_id)
            self._sums[bucket] += number
            self.added += 1

    def subtract(self, object_ids: Iterable[bytes]) -> None:
        for object_id in object_ids:
            bucket, number = self.of(object_id)
            self._sums[bucket] -= number

    def different(self) -> list[int]:
        return [bucket for bucket, number in enumerate(self._sums) if number]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An object id that is not once in the store and once in the index: a file without a row, or a second row."""

    object_id: bytes
    is_duplicate: bool


def compare(
    files: Callable[[], Iterable[bytes]], rows: Callable[[], Iterable[bytes]], random_key: bytes
) -> Iterator[Mismatch]:
    """Yield each file without a row, and each row whose object another row has already.

    Both are called again for each pass; each id is 16 bytes. A row without a file is the reader's to find. Files are
    listed before rows, so that what is stored meanwhile has its row.
    """
    buckets = _Buckets(random_key)
    buckets.add(files())
    buckets.subtract(rows())
    different = buckets.different()
    at_once = max(1, MAX_HELD_IDS * BUCKETS // max(1, buckets.added))
    for start in range(0, len(different), at_once):
        chosen = frozenset(different[start : start + at_once])
        without_row = {object_id for object_id in files() if buckets.of(object_id)[0] in chosen}
        with_row: set[bytes] = set()
        for object_id in rows():
            if object_id in without_row:
                without_row.remove(object_id)
                with_row.add(object_id)
            elif object_id in with_row:
                yield Mismatch(object_id, is_duplicate=True)
        for object_id in without_row:
            yield Mismatch(object_id, is_duplicate=False)
