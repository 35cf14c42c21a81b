"""The verifier of the quarantine: every held object opens and is what was held, and the trail accounts for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.engine import Dialect

from strongroom.archive.ports import BlobStore
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store.check import PAGE_ROWS, Finding, Findings
from strongroom.store.database import Sql
from strongroom.store.examine import MAX_SMALL_BYTES, Paced, at_once, check_sealed
from strongroom.store.keys import KeyRing
from strongroom.store.schema.tables import DESTROYED_KEY, HELD, HELD_KEY, HELD_REQUEST

_ID_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


class _Row(NamedTuple):
    """A held object with its key, which is None where it is not there. Nothing is trusted."""

    number: int
    sop_uid: str
    series_uid: str
    study_uid: str
    object_id: bytes
    data_bytes: int
    sha256: bytes
    is_small: int
    sealed: bytes | None
    key_id: bytes | None
    wrapped: bytes | None
    master_id: str | None


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A trail record that says that an object was held, or ``is_over``: that it was released or destroyed."""

    where: str
    number: int
    sha256: str
    is_over: bool


class HeldCheck:
    """Checks what is held; what it finds goes to ``findings``."""

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Any]],
        dialect: Dialect,
        blobs: BlobStore,
        keys: KeyRing,
        findings: Findings,
    ) -> None:
        """``read`` gives a cursor in a read transaction."""
        row, key = HELD.c, HELD_KEY.c
        self._read, self._blobs, self._keys, self._findings = read, blobs, keys, findings
        self.objects = self.bytes = self.keys = 0
        some = func.substr(row.sealed, literal_column("1"), literal_column(str(MAX_SMALL_BYTES + 1)))
        whole = select(
            row.number, row.sop_uid, row.series_uid, row.study_uid, row.object_id, row.data_bytes, row.sha256,
            row.is_small, some, key.key_id, key.wrapped, key.master_id,
        ).join_from(HELD, HELD_KEY, key.held == row.number, isouter=True)  # fmt: skip
        page = whole.where(row.number > bindparam("after")).order_by(row.number).limit(bindparam("count"))
        self._page = Sql(page, dialect)
        self._again = Sql(whole.where(row.number == bindparam("a")), dialect)
        self._listed = Sql(select(row.number, row.sha256, row.sop_uid), dialect)
        self._all_keys = Sql(
            select(key.key_id, key.wrapped, key.held, row.number, DESTROYED_KEY.c.key_id)
            .join_from(HELD_KEY, HELD, key.held == row.number, isouter=True)
            .join(DESTROYED_KEY, DESTROYED_KEY.c.key_id == key.key_id, isouter=True),
            dialect,
        )
        is_there = select(row.number).where(row.number == HELD_REQUEST.c.held).exists()
        self._lost_requests = Sql(select(HELD_REQUEST.c.held).where(~is_there), dialect)

    def check_objects(self, paced: Paced = at_once) -> None:
        """Open every held object and read it to its end. Raises StorageUnavailable, and what ``paced`` raises."""
        for rows in self._pages():
            for row in rows:
                self.objects += 1
                self.bytes += row.data_bytes if isinstance(row.data_bytes, int) else 0
                if (problem := self._examine(row, paced)) is not None:
                    self._confirm(row, problem)

    def _pages(self) -> Iterator[list[_Row]]:
        after = -(2**63)
        while True:
            with self._read() as cursor:
                rows = [_Row(*row) for row in self._page.run(cursor, after=after, count=PAGE_ROWS).fetchall()]
            if not rows:
                return
            yield rows
            after = rows[-1].number

    def _examine(self, row: _Row, paced: Paced = at_once) -> tuple[str, str] | None:
        sizes = ((row.object_id, _ID_BYTES), (row.sha256, _DIGEST_BYTES))
        if any(not isinstance(value, bytes) or len(value) != size for value, size in sizes):
            return "row-malformed", "the row has no usable object id or digest"
        if not isinstance(row.data_bytes, int) or not isinstance(row.is_small, int):
            return "row-malformed", "the row has no usable size, or does not say where its object is"
        # A part of an empty value is no value to SQLite.
        if not isinstance(row.sealed, bytes | None) or bool(row.sealed) != bool(row.is_small):
            return "row-malformed", "the row does not say where its object is"
        if row.key_id is None or not isinstance(row.wrapped, bytes) or not isinstance(row.master_id, str):
            return "key-missing", "its data key is not there"
        try:
            key = self._keys.unwrap(row.key_id, row.wrapped, row.master_id)
        except (IntegrityError, ConfigError) as error:
            return "key-unusable", f"cannot be opened: {error}"
        return check_sealed(self._blobs, row, key, paced)

    def _confirm(self, row: _Row, problem: tuple[str, str]) -> None:
        """Report a problem unless the row has gone, or is another by now and all is well with it."""
        with self._read() as cursor:
            again = self._again.run(cursor, a=row.number).fetchone()
        if again is None:
            return
        now = _Row(*again)
        found = problem if now == row else self._examine(now)
        if found is not None:
            kind, what = found
            self._report(kind, now.number, what, now.sop_uid, now.object_id)

    def check_keys(self) -> None:
        """Hold keys and requests against what is held; of a destroyed key nothing may be left."""
        with self._read() as cursor:
            for key_id, wrapped, held, number, destroyed in self._all_keys.run(cursor).fetchall():
                name = key_id.hex()[:64] if isinstance(key_id, bytes) else "of the wrong type"
                if held is not None and destroyed is None:
                    self.keys += 1
                    if number is None:
                        self._findings.add(Finding("key-orphaned", f"data key {name} is of nothing that is held"))
                elif destroyed is None:
                    what = f"data key {name} is of nothing that is held, and was never destroyed"
                    self._findings.add(Finding("key-orphaned", what))
                elif held is not None or not isinstance(wrapped, bytes) or any(wrapped):
                    self._findings.add(Finding("key-revived", f"data key {name} was destroyed and is back"))
            for (number,) in self._lost_requests.run(cursor).fetchall():
                self._report("row-orphaned", number, "something was asked for that is not held")

    def check_recorded(self, cursor: Any, records: Iterable[HeldRecord]) -> None:
        """Hold what is held against the trail, in the cursor's read transaction."""
        began: dict[int, HeldRecord] = {}
        over: set[int] = set()
        for record in records:
            if record.is_over:
                over.add(record.number)
            else:
                began[record.number] = record
        listed = self._listed.run(cursor).fetchall()
        for number, digest, sop_uid in listed:
            told = began.get(number)
            if told is None:
                self._report("row-unrecorded", number, "no trail record says that this was held", sop_uid)
            elif number in over:
                self._report("row-unrecorded", number, "the trail says that it was released or destroyed", sop_uid)
            elif told.sha256 != (digest.hex() if isinstance(digest, bytes) else ""):
                self._report("row-altered", number, f"the row is not what {told.where} says was held", sop_uid)
        for number in sorted(began.keys() - over - {row[0] for row in listed}):
            what = f"the row was removed: {began[number].where} says that it was held"
            self._report("row-missing", number, what)

    def _report(self, kind: str, number: object, what: str, sop_uid: object = "", object_id: object = b"") -> None:
        hexadecimal = object_id.hex() if isinstance(object_id, bytes) else ""
        self._findings.add(Finding(kind, f"quarantine Q{number}: {what}", sop_uid=str(sop_uid), object_id=hexadecimal))
