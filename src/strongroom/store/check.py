"""The verifier: opens everything that is stored and holds it against the index.

It shares no code with the way in but the sealed format, the key ring and the tables. It works beside a running server:
whatever looks wrong is read again before it is reported, since it may just have been deleted or re-keyed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, select

from strongroom.archive.ports import BlobStore
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store import inventory
from strongroom.store.database import Database, Sql
from strongroom.store.examine import LEAST_ID, Examiner, Problem, Row
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DATA_KEY, DESTROYED_KEY, HELD, INSTANCE, STUDY

PAGE_ROWS: Final = 256
"""Rows read at once; small objects come with their rows, so this bounds memory."""
READERS: Final = 2
"""Threads that read objects: one waits for the disk, or is in C (AES, SHA-256), while the other works."""
MAX_LISTED_FINDINGS: Final = 10_000

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


class StoreCheck:
    """Checks objects, keys and files of one archive; what it finds goes to ``findings``."""

    def __init__(
        self, database: Database, blobs: BlobStore, keys: KeyRing, findings: Findings, progress: Progress
    ) -> None:
        dialect = database.dialect
        self._database, self._blobs, self._keys = database, blobs, keys
        self._findings, self._progress = findings, progress
        self.objects = self.bytes = self.keys = self.files = self.pending = 0
        self._examiner = Examiner(database.read, dialect, blobs, keys)
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
        total, _ = self._examiner.totals()
        after = LEAST_ID
        with ThreadPoolExecutor(READERS, "check") as pool:
            while rows := self._examiner.rows(after, PAGE_ROWS):
                shares = [pool.submit(self._examine_all, rows[share::READERS]) for share in range(READERS)]
                for done in shares:
                    for row, problem in done.result():
                        self._confirm(row, problem)
                self.objects += len(rows)
                self.bytes += sum(row.data_bytes for row in rows if isinstance(row.data_bytes, int))
                self._progress("objects", self.objects, max(total, self.objects))
                after = rows[-1].id

    def _examine_all(self, rows: Sequence[Row]) -> list[tuple[Row, Problem]]:
        return [(row, problem) for row in rows if (problem := self._examiner.examine(row)) is not None]

    def _confirm(self, row: Row, problem: Problem) -> None:
        confirmed = self._examiner.confirmed(row, problem)
        if confirmed is not None:
            now, found = confirmed
            self._findings.add(Finding(*found, *now.names))

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
            for _, object_id, is_small in _paged(cursor, self._object_ids, LEAST_ID):
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


def _paged(cursor: Any, page: Sql, after: Any) -> Iterator[Any]:
    """Yield rows in order of their first column, a page at a time: a driver may fetch a whole result at once."""
    while rows := page.run(cursor, after=after, count=PAGE_ROWS).fetchall():
        yield from rows
        after = rows[-1][0]


def _hex(value: object) -> str:
    return value.hex()[:64] if isinstance(value, bytes) else "of the wrong type"
