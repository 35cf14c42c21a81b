"""The verifier: opens everything that is stored and holds it against the index.

It shares no code with the way in but the sealed format, the key ring and the tables. It works beside a running server:
whatever looks wrong is read again before it is reported, since it may just have been deleted or re-keyed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import bindparam, func, literal_column, select

from strongroom.archive.ports import BlobStore
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.store import inventory
from strongroom.store.database import Database, Sql
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY, DESTROYED_KEY, HELD, INSTANCE, SERIES, SMALL_OBJECT, STUDY

PAGE_ROWS: Final = 256
"""Rows read at once; small objects come with their rows, so this bounds memory."""
MAX_SMALL_BYTES: Final = 256 * 1024
"""No more of a small object is read: whoever can write to the index could put a gigabyte there."""
READERS: Final = 2
"""Threads that read objects: one waits for the disk, or is in C (AES, SHA-256), while the other works."""
MAX_LISTED_FINDINGS: Final = 10_000
_LEAST_ID: Final = -(2**63)
_DIGEST_BYTES: Final = 32

Progress = Callable[[str, int, int], None]
"""Called with (what is being checked, how many are done, how many there are or 0 if that is not known)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be: a word for its kind, what is wrong in words, and what it is about."""

    kind: str
    what: str
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    object_id: str = ""


@dataclass(slots=True)
class Findings:
    """Findings of one check: all are counted, the first MAX_LISTED_FINDINGS are kept."""

    listed: list[Finding] = field(default_factory=list)
    by_kind: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Take one in."""
        self.by_kind[finding.kind] += 1
        if len(self.listed) < MAX_LISTED_FINDINGS:
            self.listed.append(finding)

    @property
    def total(self) -> int:
        """How many there are."""
        return self.by_kind.total()


class _Row(NamedTuple):
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


class StoreCheck:
    """Checks objects, keys and files of one archive; what it finds goes to ``findings``."""

    def __init__(
        self, database: Database, blobs: BlobStore, keys: KeyRing, findings: Findings, progress: Progress
    ) -> None:
        dialect = database.dialect
        self._database, self._blobs, self._keys = database, blobs, keys
        self._findings, self._progress = findings, progress
        self.objects = self.bytes = self.keys = self.files = self.pending = 0
        page = _ROW.where(INSTANCE.c.id > bindparam("after")).order_by(INSTANCE.c.id).limit(bindparam("count"))
        self._page = Sql(page, dialect)
        self._again = Sql(_ROW.where(INSTANCE.c.id == bindparam("row")), dialect)
        self._count = Sql(select(func.count()).select_from(INSTANCE), dialect)
        ids = select(INSTANCE.c.id, INSTANCE.c.object_id, INSTANCE.c.is_small)
        ids = ids.where(INSTANCE.c.id > bindparam("after"))
        self._object_ids = Sql(ids.order_by(INSTANCE.c.id).limit(bindparam("count")), dialect)
        stored = select(INSTANCE.c.sop_uid).where(INSTANCE.c.object_id == bindparam("a"))
        held = select(HELD.c.sop_uid).where(HELD.c.object_id == bindparam("a"))
        self._by_object = Sql(stored.union_all(held), dialect)
        self._held = Sql(select(HELD.c.object_id).where(HELD.c.is_small == 0), dialect)
        keys_of = (
            select(
                DATA_KEY.c.key_id,
                DATA_KEY.c.wrapped,
                DATA_KEY.c.master_id,
                DATA_KEY.c.study,
                STUDY.c.study_uid,
                DESTROYED_KEY.c.key_id,
            )
            .join_from(DATA_KEY, STUDY, DATA_KEY.c.study == STUDY.c.id, isouter=True)
            .join(DESTROYED_KEY, DATA_KEY.c.key_id == DESTROYED_KEY.c.key_id, isouter=True)
            .where(DATA_KEY.c.key_id > bindparam("after"))
        )
        self._data_keys = Sql(keys_of.order_by(DATA_KEY.c.key_id).limit(bindparam("count")), dialect)

    # -- every row has its object, and the object is what was stored

    def check_objects(self) -> None:
        """Open every object that the index names and read it to its end. Raises StorageUnavailable."""
        with self._database.read() as cursor:
            total = int(self._count.run(cursor).fetchone()[0])
        with ThreadPoolExecutor(READERS, "check") as pool:
            for rows in self._pages():
                shares = [pool.submit(self._examine_all, rows[share::READERS]) for share in range(READERS)]
                for done in shares:
                    for row, problem in done.result():
                        self._confirm(row, problem)
                self._progress("objects", self.objects, max(total, self.objects))

    def _pages(self) -> Iterator[list[_Row]]:
        # A short transaction for each page: a long one would keep the log of a running server from being cleared.
        after = _LEAST_ID
        while True:
            with self._database.read() as cursor:
                rows = [_Row(*row) for row in self._page.run(cursor, after=after, count=PAGE_ROWS).fetchall()]
            if not rows:
                return
            yield rows
            self.objects += len(rows)
            self.bytes += sum(row.data_bytes for row in rows if isinstance(row.data_bytes, int))
            after = rows[-1].id

    def _examine_all(self, rows: Sequence[_Row]) -> list[tuple[_Row, tuple[str, str]]]:
        return [(row, problem) for row in rows if (problem := self._examine(row)) is not None]

    def _examine(self, row: _Row) -> tuple[str, str] | None:
        """What is wrong with a row or its object, as a kind and in words."""
        shape = _check_shape(row)
        if shape is not None:
            return shape
        assert row.wrapped is not None
        assert row.master_id is not None
        try:
            key = self._keys.unwrap(row.key_id, row.wrapped, row.master_id)
        except (IntegrityError, ConfigError) as error:
            return "key-unusable", f"cannot be opened: {error}"
        return check_sealed(self._blobs, row, key)

    def _confirm(self, row: _Row, problem: tuple[str, str]) -> None:
        """Report a problem unless the row has gone, or is another by now and all is well with it."""
        with self._database.read() as cursor:
            again = self._again.run(cursor, row=row.id).fetchone()
        if again is None:
            return
        now = _Row(*again)
        found = problem if now == row else self._examine(now)
        if found is not None:
            object_id = now.object_id.hex() if isinstance(now.object_id, bytes) else ""
            places = (now.study_uid or "", now.series_uid or "", str(now.sop_uid), object_id)
            self._findings.add(Finding(*found, *places))

    # -- keys

    def check_keys(self) -> None:
        """Unwrap every data key; of one that was destroyed nothing may be left. Raises StorageUnavailable."""
        with self._database.read() as cursor:
            for row in _paged(cursor, self._data_keys, b""):
                key_id, wrapped, master_id, study, study_uid, destroyed = row
                if study is None or destroyed is not None:
                    self._check_destroyed(row)
                    continue
                self.keys += 1
                if study_uid is None:
                    self._findings.add(Finding("key-orphaned", f"data key {_hex(key_id)} is of no study"))
                try:
                    self._keys.unwrap(key_id, wrapped, master_id)
                except (IntegrityError, ConfigError, TypeError) as error:
                    what = f"data key {_hex(key_id)}: {error}"
                    self._findings.add(Finding("key-unusable", what, study_uid=study_uid or ""))

    def _check_destroyed(self, row: Sequence[Any]) -> None:
        """A destroyed key is listed as such, and its row is of no study and holds nothing but zeros."""
        key_id, wrapped, _, study, study_uid, destroyed = row
        if destroyed is None:
            what = f"data key {_hex(key_id)} is of no study, and was never destroyed"
            self._findings.add(Finding("key-orphaned", what))
        elif study is not None or not isinstance(wrapped, bytes) or any(wrapped):
            what = f"data key {_hex(key_id)} was destroyed and is back"
            self._findings.add(Finding("key-revived", what, study_uid=study_uid or ""))

    # -- every object has its row

    def check_files(self, root: Path, pending: tuple[float, float], random_key: bytes) -> None:
        """Find what is in the store and not in the index, and objects that two rows claim. Raises StorageUnavailable.

        Files without a row that were written in the span ``pending`` (seconds since 1970) are only counted: somebody
        may be storing them. ``random_key`` is 32 fresh random bytes.
        """

        def files() -> Iterator[bytes]:
            self.files = 0
            for entry in inventory.walk(str(root)):
                if entry.object_id is not None:
                    self.files += 1
                    if not self.files % PAGE_ROWS:
                        self._progress("files", self.files, 0)
                    yield entry.object_id

        for entry in inventory.walk(str(root)):
            if entry.object_id is None:
                self._findings.add(Finding("foreign-file", f"{entry.path} in the store is no object"))
        for mismatch in inventory.compare(files, self._rows, random_key):
            if mismatch.is_duplicate:
                self._report_duplicate(mismatch.object_id)
            else:
                self._report_orphan(root, mismatch.object_id, pending)

    def _rows(self) -> Iterator[bytes]:
        """The ids of all objects that have a file of their own, stored or held."""
        with self._database.read() as cursor:
            for (object_id,) in self._held.run(cursor).fetchall():
                if isinstance(object_id, bytes) and len(object_id) == inventory.ID_BYTES:
                    yield object_id
            for _, object_id, is_small in _paged(cursor, self._object_ids, _LEAST_ID):
                if not is_small and isinstance(object_id, bytes) and len(object_id) == inventory.ID_BYTES:
                    yield object_id

    def _report_orphan(self, root: Path, object_id: bytes, pending: tuple[float, float]) -> None:
        name = object_id.hex()
        try:
            written = (root / name[:5] / name[5:8] / name).stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return  # deleted meanwhile
        if pending[0] <= written <= pending[1]:
            self.pending += 1
            return
        what = "an object without a row: foreign, or left by an interrupted store, or its row was removed"
        self._findings.add(Finding("object-without-row", what, object_id=name))

    def _report_duplicate(self, object_id: bytes) -> None:
        with self._database.read() as cursor:
            uids = [str(row[0]) for row in self._by_object.run(cursor, a=object_id).fetchmany(3)]
        if len(uids) > 1:
            what = f"two rows claim one object: {uids[0]} and {uids[1]}"
            self._findings.add(Finding("object-claimed-twice", what, sop_uid=uids[1], object_id=object_id.hex()))


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


def check_sealed(blobs: BlobStore, row: Sealed, key: bytes) -> tuple[str, str] | None:
    """Read a sealed object to its end; what is wrong with it, as a kind and in words, None if nothing is."""
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


def _check_shape(row: _Row) -> tuple[str, str] | None:
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


def _paged(cursor: Any, page: Sql, after: Any) -> Iterator[Any]:
    """Yield rows in order of their first column, a page at a time: a driver may fetch a whole result at once."""
    while rows := page.run(cursor, after=after, count=PAGE_ROWS).fetchall():
        yield from rows
        after = rows[-1][0]


def _hex(value: object) -> str:
    return value.hex()[:64] if isinstance(value, bytes) else "of the wrong type"
