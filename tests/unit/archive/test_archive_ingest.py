"""ingest: what becomes of a copy whose first is lost, and of a commit whose answer is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, stored_digest
from strongroom.admin.check import check
from strongroom.app import Archive
from strongroom.archive.ingest import Verdict
from strongroom.archive.model import Action
from strongroom.errors import NotFound, Refused, StorageUnavailable
from strongroom.store.database import Database
from strongroom.store.groups import Job
from strongroom.types import Part, Principal, Scope

SIZES = [SMALL_PIXELS, LARGE_PIXELS]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home")) as made:
        yield made


def lose(archive: Archive, sample: Sample) -> None:
    stored = archive.index.find_object(sample.sop_uid)
    assert stored is not None
    if stored.small_row:
        archive.index.database.write(lambda unit: unit.cursor.execute("DELETE FROM small_object"))
    else:
        Path(archive.blobs.path(stored.object_id)).unlink()


def damage(archive: Archive, sample: Sample) -> None:
    stored = archive.index.find_object(sample.sop_uid)
    assert stored is not None
    if stored.small_row:
        archive.index.database.write(
            lambda unit: unit.cursor.execute("UPDATE small_object SET sealed = zeroblob(length(sealed))")
        )
    else:
        path = Path(archive.blobs.path(stored.object_id))
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)


def findings(archive: Archive) -> list[Any]:
    return list(check(archive, lambda *_: None).findings)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("harm", [lose, damage])
def test_a_resend_heals_what_was_lost(archive: Archive, size: int, harm: Callable[[Archive, Sample], None]) -> None:
    sample, other = Sample(1, pixel_bytes=size), Sample(2, pixel_bytes=size)
    store(archive, sample)
    harm(archive, sample)
    store(archive, other)
    assert store(archive, sample) is Verdict.RESTORED
    assert stored_digest(archive, sample.sop_uid) == sample.sha256
    assert store(archive, sample) is Verdict.RESENT
    restored = [e for e in trail_events(archive) if e.details.get("verdict") == "restored"]
    assert [event.action for event in restored] == [Action.STORE]


@pytest.mark.parametrize("size", SIZES)
def test_a_healed_archive_checks_clean(archive: Archive, size: int) -> None:
    sample = Sample(1, pixel_bytes=size)
    store(archive, sample)
    lose(archive, sample)
    assert findings(archive)
    store(archive, sample)
    assert not findings(archive)


class Deaf:
    """A connection whose next commit succeeds without the caller hearing of it."""

    def __init__(self, connection: Any, error: type[Exception]) -> None:
        self._connection, self._error = connection, error
        self.is_deaf = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        self._connection.commit()
        if self.is_deaf:
            self.is_deaf = False
            raise self._error("the answer got lost")


@pytest.mark.parametrize("size", SIZES)
def test_a_commit_whose_answer_is_lost_loses_no_object(archive: Archive, size: int) -> None:
    """Run again, the job would find its own row, call it a resend and remove the bytes that the row points to."""
    sample = Sample(1, pixel_bytes=size)
    store(archive, Sample(0))
    database: Database = archive.index.database
    deaf = Deaf(database._writer, archive.backend.error)
    database._writer, deaf.is_deaf = deaf, True
    with contextlib.suppress(StorageUnavailable):
        store(archive, sample)
    store(archive, sample)
    assert stored_digest(archive, sample.sop_uid) == sample.sha256
    assert not findings(archive)


def test_the_jobs_of_a_failed_commit_are_not_run_again(archive: Archive) -> None:
    store(archive, Sample(0))
    database: Database = archive.index.database
    deaf = Deaf(database._writer, archive.backend.error)
    database._writer, deaf.is_deaf = deaf, True
    runs: list[int] = []
    jobs = [Job(lambda _, number=number: runs.append(number)) for number in range(2)]
    database._run(jobs)
    assert runs == [0, 1]
    assert all(isinstance(job.error, StorageUnavailable) for job in jobs)


# --- a sender that is limited to a part of the archive


def send(archive: Archive, sample: Sample, scope: Scope | None) -> str:
    """What a sender with this scope hears."""
    try:
        return store(archive, sample, Principal("LIMITED", scope=scope)).value
    except Refused as refused:
        return refused.reason


OF_PATIENT_1 = Scope((Part(patients=(("PID-1", None),)),))


def test_a_sender_stores_what_is_in_its_scope_and_nothing_else(archive: Archive) -> None:
    inside, outside = Sample(1, study=1), Sample(1, study=2)
    assert send(archive, inside, OF_PATIENT_1) == "stored"
    assert send(archive, inside, OF_PATIENT_1) == "resent"
    assert send(archive, outside, OF_PATIENT_1) == "outside-scope"
    assert stored_digest(archive, outside.sop_uid) is None
    assert findings(archive) == []


@pytest.mark.parametrize("size", SIZES)
def test_a_sender_cannot_find_out_what_is_stored_outside_its_scope(archive: Archive, size: int) -> None:
    there, not_there = Sample(1, study=2, pixel_bytes=size), Sample(2, study=3, pixel_bytes=size)
    store(archive, there)
    assert send(archive, there, OF_PATIENT_1) == send(archive, not_there, OF_PATIENT_1) == "outside-scope"
    # Nor does a resend that claims to be of its own patient tell a copy from another object, or heal what is lost.
    lose(archive, there)
    assert send(archive, replace(there, patient_id="PID-1"), OF_PATIENT_1) == "outside-scope"
    assert stored_digest_or_none(archive, there) is None


def stored_digest_or_none(archive: Archive, sample: Sample) -> bytes | None:
    try:
        return stored_digest(archive, sample.sop_uid)
    except NotFound:
        return None
