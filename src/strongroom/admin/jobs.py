"""Jobs: what takes its time, and how far it is. Commands tell the index while they work (``telling``); the rest is
looked up where it stands already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from strongroom.admin.backup import LAST_BACKUP
from strongroom.admin.drill import LAST_DRILL
from strongroom.admin.keys import ROTATION
from strongroom.app import Archive
from strongroom.archive.model import Level
from strongroom.archive.oversight import Job
from strongroom.store.commitments import CommitmentLedger
from strongroom.store.jobs import SILENT_US, JobTable
from strongroom.store.rounds import Round, read_rounds

MAX_SHOWN: Final = 50
"""Of commands, and of what people take out."""


def jobs(archive: Archive) -> list[Job]:
    """What runs or waits by itself, then what commands do and did, then what people take out and took: of each what
    goes on first, then the newest. Raises StorageUnavailable."""
    table, now = JobTable(archive.backend.dialect), time.time_ns() // 1000
    with archive.index.database.reading() as cursor:
        told = table.newest(cursor, MAX_SHOWN, now)
    return [*_own(archive), *(_heard_of(job, now) for job in told)]


def _heard_of(job: Job, now_us: int) -> Job:
    is_silent = job.state == "running" and now_us - job.said_us > SILENT_US
    return replace(job, state="silent", result="it has said nothing since: was it killed?") if is_silent else job


def _own(archive: Archive) -> Iterator[Job]:
    """What the archive does by itself, or has to do."""
    total = archive.index.totals()[Level.IMAGE]
    yield _check(archive, total)
    if archive.config.screening.digests:
        done = archive.index.digested()
        state = "running" if done < total else "done"
        yield Job("digests", state, done=done, total=total, unit="objects", result="of what is stored")
    owed = CommitmentLedger(archive.index.database)
    if pending := owed.pending():
        yield Job("storage commitment", "waiting", done=0, total=pending, unit="reports", result="owed to peers")
    with archive.index.database.reading() as cursor:
        meta = {name: archive.index.registry.get_meta(cursor, name) for name in (ROTATION, LAST_BACKUP, LAST_DRILL)}
    if meta[ROTATION]:
        yield Job("key rotation", "waiting", result="begun and not finished: `strongroom keys rotate` goes on with it")
    yield _last("backup", meta[LAST_BACKUP].split()[1:2], "none was ever made: `strongroom backup create`")
    yield _last("drill", meta[LAST_DRILL].split()[:1], "no backup was ever tried: `strongroom backup drill`")


def _check(archive: Archive, total: int) -> Job:
    rounds = read_rounds(archive.index)
    last = _round_words(rounds.last) if rounds.last else "no round has ended yet"
    if not archive.config.check.every_days:
        return Job("background check", "waiting", result="it is switched off: check.every_days is 0", last=last)
    if (now := rounds.under_way) is None:
        return Job("background check", "waiting", result="the next round begins when it is due", last=last)
    found = f"{now.damaged} damaged" if now.damaged else "nothing found so far"
    started_us = round(now.started_s * 1e6)
    return Job(
        "background check", "running", started_us=started_us, done=now.objects, total=total, unit="objects",
        result=found, last=last,
    )  # fmt: skip


def _round_words(done: Round) -> str:
    found = f"{done.damaged} damaged" if done.damaged else "all as they were stored"
    return f"{done.objects} objects, {found}, {_day(done.ended_s)}"


def _last(kind: str, when: list[str], never: str) -> Job:
    if not when:
        return Job(f"last {kind}", "waiting", result=never)
    seconds = float(when[0])
    return Job(f"last {kind}", "done", ended_us=round(seconds * 1e6), result=_day(seconds))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
