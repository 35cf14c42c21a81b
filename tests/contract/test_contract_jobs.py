"""Which jobs are kept and shown, on each kind of database: nobody's downloads push out what the archive is run by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.instances import Shelf
from strongroom.archive.oversight import Job
from strongroom.store.index import Index
from strongroom.store.jobs import KEPT_JOBS, SILENT_US, JobTable

NOW_US = 1_800_000_000_000_000


class Page:
    """The jobs of an index, and what somebody sees of them."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._table = JobTable(index.database.dialect)

    def begin(self, kind: str, ago_us: int, *numbers: int, is_over: bool = False) -> None:
        """One job for each number, begun so long ago and one us later each, all in one transaction."""
        began_us = NOW_US - ago_us

        def work(transaction: object) -> None:
            cursor = transaction.cursor  # type: ignore[attr-defined]
            for number in numbers:
                name, job = f"{kind}{ago_us}{number}", Job(kind, "running", f"p{number}", began_us + number)
                self._table.begin(cursor, name, job)
                if is_over:
                    self._table.end(cursor, name, Job(kind, "done", ended_us=NOW_US))

        self._index.database.write(work)

    def seen(self, kind: str, count: int = 10 * KEPT_JOBS) -> list[tuple[str, str]]:
        """State and person of each that is shown."""
        with self._index.database.read() as cursor:
            return [(job.state, job.person) for job in self._table.newest(cursor, count, NOW_US) if job.kind == kind]


@pytest.fixture(params=["sqlcipher", pytest.param("postgresql", marks=pytest.mark.interop)])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    if request.param == "postgresql":
        shelf = Shelf.postgresql(request.getfixturevalue("new_postgres_url")())
    else:
        shelf = Shelf.sqlcipher(tmp_path / "index.db")
    yield Page(shelf.index())
    shelf.close()


def test_downloads_push_no_command_out(page: Page) -> None:
    page.begin("backup", 9_000_000, 1)
    page.begin("key rotation", 8_000_000, 2, is_over=True)
    page.begin("ZIP archive", 1_000_000, *range(KEPT_JOBS + 5))
    assert page.seen("backup", 50) == [("running", "p1")]
    assert page.seen("key rotation", 50) == [("done", "p2")]
    assert len(page.seen("ZIP archive")) == KEPT_JOBS + 1
    page.begin("import", 1_000_000, *range(KEPT_JOBS + 5))
    assert len(page.seen("ZIP archive")) == KEPT_JOBS + 1, "nor does a command push one of them out"


@pytest.mark.parametrize("kind", ["check", "C-MOVE to CT_1"])
def test_what_goes_on_is_shown_first_and_outlasts_what_is_over(page: Page, kind: str) -> None:
    page.begin(kind, 9_000_000, 1)
    page.begin(kind, 1_000_000, *range(2, KEPT_JOBS + 7), is_over=True)
    assert page.seen(kind, 2) == [("running", "p1"), ("done", f"p{KEPT_JOBS + 6}")]
    assert len(page.seen(kind)) == KEPT_JOBS + 1


def test_what_was_killed_is_no_job_that_goes_on(page: Page) -> None:
    page.begin("check", SILENT_US + 9_000_000, *range(KEPT_JOBS))
    page.begin("check", 1_000_000, KEPT_JOBS + 1, KEPT_JOBS + 2, is_over=True)
    assert page.seen("check", 2) == [("done", f"p{KEPT_JOBS + 2}"), ("done", f"p{KEPT_JOBS + 1}")]
