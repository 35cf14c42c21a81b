"""One stored object, examined: its row holds together, its key opens it, its bytes are those that were stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.engine import Dialect

from strongroom.archive.ports import BlobStore
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.store import inventory
from strongroom.store.database import Sql
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY, INSTANCE, SERIES, SMALL_OBJECT, STUDY

MAX_SMALL_BYTES: Final = 256 * 1024
"""No more of a small object is read: whoever can write to the index could put a gigabyte there."""
LEAST_ID: Final = -(2**63)
_DIGEST_BYTES: Final = 32

Problem = tuple[str, str]
"""What is wrong, as a kind and in words."""
Paced = Callable[[int], None]
"""Told how many bytes were read just now; it may wait."""


def at_once(_bytes: int) -> None:
    """No pause."""


class Row(NamedTuple):
    """An instance with its place and its key; None where the row that it names is not there. Nothing is trusted."""

    id: int
    sop_uid: str
    object_id: bytes
    data_bytes: int
    sha256: bytes
    key_id: bytes
    series_uid: str | None
    series_study: int | None
    study_uid: str | None
    key_study: int | None
    wrapped: bytes | None
    master_id: str | None
    is_small: int
    sealed: bytes | None

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Study, series and SOP Instance UID and the object id, as texts; "" where there is none."""
        object_id = self.object_id.hex() if isinstance(self.object_id, bytes) else ""
        return self.study_uid or "", self.series_uid or "", str(self.sop_uid), object_id


_ROW = (
    select(
        INSTANCE.c.id,
        INSTANCE.c.sop_uid,
        INSTANCE.c.object_id,
        INSTANCE.c.data_bytes,
        INSTANCE.c.sha256,
        INSTANCE.c.key_id,
        SERIES.c.series_uid,
        SERIES.c.study,
        STUDY.c.study_uid,
        DATA_KEY.c.study,
        DATA_KEY.c.wrapped,
        DATA_KEY.c.master_id,
        INSTANCE.c.is_small,
        func.substr(SMALL_OBJECT.c.sealed, literal_column("1"), literal_column(str(MAX_SMALL_BYTES + 1))),
    )
    .join_from(INSTANCE, SERIES, INSTANCE.c.series == SERIES.c.id, isouter=True)
    .join(STUDY, SERIES.c.study == STUDY.c.id, isouter=True)
    .join(DATA_KEY, INSTANCE.c.key_id == DATA_KEY.c.key_id, isouter=True)
    .join(SMALL_OBJECT, SMALL_OBJECT.c.id == INSTANCE.c.id, isouter=True)
)


class Examiner:
    """Examines rows of the index and their objects. Thread-safe as far as ``read`` is."""

    def __init__(
        self, read: Callable[[], AbstractContextManager[Any]], dialect: Dialect, blobs: BlobStore, keys: KeyRing
    ) -> None:
        """``read`` gives a cursor in a read transaction."""
        self._read, self._blobs, self._keys = read, blobs, keys
        page = _ROW.where(INSTANCE.c.id > bindparam("after")).order_by(INSTANCE.c.id).limit(bindparam("count"))
        self._page = Sql(page, dialect)
        self._again = Sql(_ROW.where(INSTANCE.c.id == bindparam("row")), dialect)
        # COALESCE, and not a sum of nothing, which is NULL.
        size = func.coalesce(func.sum(INSTANCE.c.data_bytes), 0)
        self._totals = Sql(select(func.count(), size).where(INSTANCE.c.id > bindparam("after")), dialect)

    def totals(self, after: int = LEAST_ID) -> tuple[int, int]:
        """How many rows there are beyond ``after``, and the bytes of their objects. Raises StorageUnavailable."""
        with self._read() as cursor:
            objects, size = self._totals.run(cursor, after=after).fetchone()
        return int(objects), int(size)

    def rows(self, after: int, count: int) -> list[Row]:
        """The next rows beyond ``after``, in order of their ids. Raises StorageUnavailable.

        A transaction of its own: a long one would keep the log of a running server from being cleared.
        """
        with self._read() as cursor:
            return [Row(*row) for row in self._page.run(cursor, after=after, count=count).fetchall()]

    def examine(self, row: Row, paced: Paced = at_once) -> Problem | None:
        """What is wrong with a row or its object, None if nothing is."""
        shape = _check_shape(row)
        if shape is not None:
            return shape
        assert row.wrapped is not None
        assert row.master_id is not None
        try:
            key = self._keys.unwrap(row.key_id, row.wrapped, row.master_id)
        except (IntegrityError, ConfigError) as error:
            return "key-unusable", f"cannot be opened: {error}"
        return check_sealed(self._blobs, row, key, paced)

    def confirmed(self, row: Row, problem: Problem) -> tuple[Row, Problem] | None:
        """The problem that is still there when the row is read again: it may have gone, or be another by now."""
        with self._read() as cursor:
            again = self._again.run(cursor, row=row.id).fetchone()
        if again is None:
            return None
        now = Row(*again)
        found = problem if now == row else self.examine(now)
        return None if found is None else (now, found)


class Sealed(Protocol):
    """What a row states of a sealed object; ``sealed`` is the object itself where it is small."""

    @property
    def object_id(self) -> bytes: ...

    @property
    def data_bytes(self) -> int: ...

    @property
    def sha256(self) -> bytes: ...

    @property
    def is_small(self) -> int: ...

    @property
    def sealed(self) -> bytes | None: ...


def check_sealed(blobs: BlobStore, row: Sealed, key: bytes, paced: Paced = at_once) -> Problem | None:
    """Read a sealed object to its end; what is wrong with it, None if nothing is. ``paced`` hears of every chunk."""
    digest, size = sha256(), 0
    try:
        if row.is_small:
            if row.sealed is None:
                return "object-missing", "the object is not in the index, where it should be"
            reader = blobs.open_small(row.object_id, key, row.sealed)
        else:
            reader = blobs.open(row.object_id, key)
        try:
            if reader.size != row.data_bytes:
                return "object-size", f"the object has {reader.size} bytes, the index states {row.data_bytes}"
            for chunk in reader.chunks():
                digest.update(chunk)
                size += len(chunk)
                paced(len(chunk))
        finally:
            reader.close()
    except NotFound:
        return "object-missing", "the object is not in the store"
    except IntegrityError as error:
        return "object-altered", f"the object is not what was stored: {error}"
    except StorageUnavailable as error:
        return "object-unreadable", str(error)
    if size != row.data_bytes or digest.digest() != row.sha256:
        return "digest-differs", "the object's SHA-256 is not the one that the index states"
    return None


def _check_shape(row: Row) -> Problem | None:
    """What of a row cannot be, before its object is looked for: SQLite keeps any type in any column."""
    sizes = ((row.object_id, inventory.ID_BYTES), (row.sha256, _DIGEST_BYTES))
    if any(not isinstance(value, bytes) or len(value) != size for value, size in sizes):
        return "row-malformed", "the row has no usable object id or digest"
    if not isinstance(row.data_bytes, int) or not isinstance(row.sop_uid, str):
        return "row-malformed", "the row has no usable size or UID"
    if row.series_uid is None or row.study_uid is None:
        return "row-orphaned", "the row belongs to no series or no study"
    if not isinstance(row.wrapped, bytes) or not isinstance(row.master_id, str):
        return "key-missing", "its data key is not there"
    if not isinstance(row.is_small, int) or not isinstance(row.sealed, bytes | None):
        return "row-malformed", "the row does not say where its object is"
    if row.sealed is not None and not row.is_small:
        return "object-claimed-twice", "the object is to be a file, and there is one in the index as well"
    if row.key_study != row.series_study:
        return "key-of-another-study", "its data key belongs to another study"
    return None
