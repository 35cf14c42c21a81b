"""The texts that lists of studies search, once more in the memory of a process: which studies are worth a look.

A word that few studies have costs a look at all texts. In the index they lie in sealed pages, which each connection
opens anew after whatever any process commits; here they are a table of a private database. It decides nothing: the
index looks at the studies that are found here, by all the conditions that a list has.

So it may name a study too many, and never lacks one. Writers come one at a time and take ids in ascending order: what
is new has a higher id than all that is known. What a study is searched by never changes. What goes moves the generation
on, and is noted by its id; an id that SQLite gives again is higher than all that have stayed, and is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, tuple_
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

from strongroom.store.database import Sql, open_in_memory
from strongroom.store.registry import Registry
from strongroom.store.schema.tables import META, STUDY
from strongroom.store.transaction import GENERATION

MAX_BYTES: Final = 64 << 20
"""Of one process, some 450,000 studies. Lists of a larger archive are found in the index alone."""
STEP_STUDIES: Final = 500
"""Read together, by a search at most so many."""
PATIENCE_S: Final = 0.03
"""How long a search waits for others to have found theirs. The index alone takes as long."""
MAX_GONE: Final = 64
"""Deletions whose studies are noted: of whoever has seen fewer, all texts are read again."""

DIALECT: Final[Dialect] = sqlite.dialect()
"""Of the statements that `StudyTexts.find` runs, over ``study_date``, ``id`` and ``search_text`` of ``STUDY``."""

_GONE: Final = "gone_studies"
"""``meta`` value: generations, and the id of the study whose deletion began each, the last ``MAX_GONE`` of them."""
_TABLE: Final = (
    "CREATE TABLE study (study_date TEXT NOT NULL, id INTEGER NOT NULL, search_text TEXT NOT NULL,"
    " PRIMARY KEY (study_date, id)) WITHOUT ROWID"
)
_SIZE: Final = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def note_gone(cursor: Any, registry: Registry, study: int) -> None:
    """Move the generation on, in the transaction that deletes the study of that id."""
    registry.touch(cursor, GENERATION)
    noted = [*registry.get_meta(cursor, _GONE).split(), f"{registry.get_meta(cursor, GENERATION)}:{study}"]
    registry.set_meta(cursor, _GONE, " ".join(noted[-MAX_GONE:]))


class StudyTexts:
    """What this process has of them: nothing before `want` and then `catch_up` were called. Thread-safe."""

    def __init__(self, dialect: Dialect, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._table: Any = None
        self._generation = self._last = 0
        self._is_wanted = self._is_too_large = False
        meta = select(META.c.name, META.c.value).where(META.c.name.in_([bindparam("a"), bindparam("b")]))
        self._meta = Sql(meta, dialect)
        self._newest = Sql(select(func.max(STUDY.c.id)), dialect)
        some: Any = bindparam("row_limit")
        rows = select(STUDY.c.study_date, STUDY.c.id, STUDY.c.search_text)
        self._more = Sql(rows.where(STUDY.c.id > bindparam("after")).order_by(STUDY.c.id).limit(some), dialect)
        # In the order of the one index that has all of it, so that no record is read.
        place = tuple_(STUDY.c.study_date, STUDY.c.id)
        rows = rows.where(place > tuple_(bindparam("date"), bindparam("after")), STUDY.c.id <= bindparam("newest"))
        self._all = Sql(rows.order_by(STUDY.c.study_date, STUDY.c.id).limit(some), dialect)
        gone: list[Any] = [bindparam(f"gone_{number}") for number in range(MAX_GONE)]
        self._drop = Sql(delete(STUDY).where(STUDY.c.id.in_(gone)), DIALECT)

    def want(self) -> None:
        """Somebody looks at a list, and may be about to type: the next `catch_up` reads them."""
        self._is_wanted = True

    def find(self, cursor: Any, statement: Sql, values: dict[str, Any]) -> list[int] | None:
        """The ids that ``statement`` selects of what the cursor's transaction sees; None if they are not known here."""
        if not self._lock.acquire(timeout=PATIENCE_S):
            return None
        try:
            if not self._follow(cursor) or self._read_more(cursor) or self._table is None:
                return None
            return [row[0] for row in statement.run(self._table, **values).fetchall()]
        finally:
            self._lock.release()

    def catch_up(self, cursor: Any) -> None:
        """If anybody looks at lists, take in what has come and forget what has gone, as the transaction sees it."""
        if not self._is_wanted or self._is_too_large:
            return
        with self._lock:
            while self._follow(cursor) and self._read_more(cursor):
                pass
        if self._table is None and not self._is_too_large:  # which it may be since
            self._fill(cursor)

    def _fill(self, cursor: Any) -> None:
        """Read everything; searches ask the index meanwhile."""
        table, date, after = open_in_memory().cursor(), "", 0
        table.execute(_TABLE)
        generation, _ = self._state(cursor)
        newest = self._newest.run(cursor).fetchone()[0] or 0
        asked = {"newest": newest, "row_limit": STEP_STUDIES}
        while rows := self._all.run(cursor, date=date, after=after, **asked).fetchall():
            if not self._keep(table, rows):
                return
            date, after, _ = rows[-1]
        with self._lock:
            self._table, self._generation, self._last = table, generation, newest

    def _state(self, cursor: Any) -> tuple[int, str]:
        """The generation of the index, and which studies went with the last ones."""
        found = dict(self._meta.run(cursor, a=GENERATION, b=_GONE).fetchall())
        return int(found.get(GENERATION) or "0"), found.get(_GONE, "")

    def _follow(self, cursor: Any) -> bool:
        """Forget what has gone; False if nothing is here, or if the transaction is from before something went."""
        if self._table is None:
            return False
        generation, noted = self._state(cursor)
        if generation > self._generation:
            self._forget(range(self._generation + 1, generation + 1), noted)
            self._generation = generation
        return self._table is not None and generation == self._generation

    def _forget(self, generations: range, noted: str) -> None:
        """Forget the studies whose deletion began these generations, or all if it is not noted which those were."""
        by_generation = dict(entry.split(":") for entry in noted.split())
        gone = [by_generation.get(str(generation)) for generation in generations]
        if None in gone:
            self._table.execute("DELETE FROM study")
            self._table = None
            return
        named = [*gone, *[0] * MAX_GONE][:MAX_GONE]
        self._drop.run(self._table, **{f"gone_{number}": each for number, each in enumerate(named)})
        self._last = self._table.execute("SELECT coalesce(max(id), 0) FROM study").fetchone()[0]

    def _read_more(self, cursor: Any) -> bool:
        """Read some of what has come; whether there may be more."""
        rows = self._more.run(cursor, after=self._last, row_limit=STEP_STUDIES).fetchall()
        if not rows:
            return False
        if not self._keep(self._table, rows):
            self._table = None
            return False
        self._last = rows[-1][1]
        return len(rows) == STEP_STUDIES

    def _keep(self, table: Any, rows: Sequence[Any]) -> bool:
        """Add to a table; False, with nothing left in it, if it takes more memory than it may."""
        table.executemany("INSERT OR REPLACE INTO study VALUES (?, ?, ?)", rows)
        if table.execute(_SIZE).fetchone()[0] > self._max_bytes:
            table.execute("DELETE FROM study")
            self._is_too_large = True
        return not self._is_too_large
