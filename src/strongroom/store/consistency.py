"""Rows against each other: each has the row above it, no level is empty, counters count; and the file's pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, func, literal, select
from sqlalchemy.engine import Dialect

from strongroom.store.check import Finding, Findings
from strongroom.store.database import Sql
from strongroom.store.schema.tables import INSTANCE, PATIENT, SERIES, SMALL_OBJECT, STUDY

MAX_ROWS_OF_A_KIND: Final = 10_000
MAX_WORDS_CHARS: Final = 300
_NOTHING: Final = literal("")
_INSTANCES_OF_STUDY = INSTANCE.join(SERIES, INSTANCE.c.series == SERIES.c.id)


@dataclass(frozen=True, slots=True)
class _Counter:
    """A counter column, and the rows that it counts."""

    table: Table
    column: str
    counted: Any
    belongs: ColumnElement[bool]

    @property
    def actual(self) -> Any:
        return select(func.count()).select_from(self.counted).where(self.belongs).scalar_subquery()


_COUNTERS: Final = (
    _Counter(SERIES, "num_instances", INSTANCE, INSTANCE.c.series == SERIES.c.id),
    _Counter(STUDY, "num_series", SERIES, SERIES.c.study == STUDY.c.id),
    _Counter(STUDY, "num_instances", _INSTANCES_OF_STUDY, SERIES.c.study == STUDY.c.id),
)


def _identity(table: Table) -> tuple[Any, Any, Any]:
    """Row id, study and series UID of a row: a patient is named by its row, since its values stay out of reports."""
    study = STUDY.c.study_uid if table is STUDY else _NOTHING
    return table.c.id, study, SERIES.c.series_uid if table is SERIES else _NOTHING


def _statements() -> Iterator[tuple[str, str, Select[Any]]]:
    """The kind of finding, its words, and the rows that are wrong."""
    for counter in _COUNTERS:
        stated = counter.table.c[counter.column]
        wrong = select(*_identity(counter.table), stated, counter.actual).where(stated != counter.actual)
        yield "counter-wrong", f"{counter.table.name} row {{row}}: {counter.column} is {{0}}, there are {{1}}", wrong
    for table, child in ((SERIES, INSTANCE.c.series), (STUDY, SERIES.c.study), (PATIENT, STUDY.c.patient)):
        below = select(child).where(child == table.c.id).exists()
        yield "level-empty", f"{table.name} row {{row}} holds nothing", select(*_identity(table)).where(~below)
    for table, above in ((SERIES, STUDY), (STUDY, PATIENT)):
        exists = select(above.c.id).where(above.c.id == table.c[above.name]).exists()
        words = f"{table.name} row {{row}} belongs to no {above.name}"
        yield "row-orphaned", words, select(*_identity(table)).where(~exists)
    yield _small_objects()


def _small_objects() -> tuple[str, str, Select[Any]]:
    exists = select(INSTANCE.c.id).where(INSTANCE.c.id == SMALL_OBJECT.c.id).exists()
    rows = select(SMALL_OBJECT.c.id, _NOTHING, _NOTHING).where(~exists)
    return "object-without-row", "object row {row} is of no instance", rows


def check_levels(cursor: Any, dialect: Dialect, findings: Findings) -> None:
    """Add what is wrong with rows above and beside the instances, at most MAX_ROWS_OF_A_KIND of each statement."""
    for kind, words, statement in _statements():
        for row, study_uid, series_uid, *values in Sql(statement.limit(MAX_ROWS_OF_A_KIND), dialect).run(cursor):
            findings.add(Finding(kind, words.format(*values, row=row), study_uid=study_uid, series_uid=series_uid))


def check_pages(cursor: Any, dialect: Dialect, findings: Findings) -> None:
    """Add damaged pages of an SQLCipher file; another database looks after its own."""
    if dialect.name != "sqlite":
        return
    # It reads every page in use the way a query does. What only the second one finds, which reads the file itself, is
    # a page that a running server is about to write, or that its log replaces.
    driver: Any = dialect.dbapi
    try:
        found = [str(what) for (what,) in cursor.execute("PRAGMA quick_check(100)").fetchall() if what != "ok"]
    except driver.Error as error:
        found = [str(error)]
    if found:
        pages = {str(row[0]) for row in cursor.execute("PRAGMA cipher_integrity_check").fetchall()}
        # What hangs on a page that cannot be read would only be said again.
        for what in sorted(pages) or found:
            findings.add(Finding("index-damaged", " ".join(what.splitlines())[:MAX_WORDS_CHARS]))
