"""``jobs``."""

from __future__ import annotations

import json
from dataclasses import asdict

from strongroom.admin.jobs import jobs as read_jobs
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.oversight import Job
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, minute_text
from strongroom.cli.progress import printable


def jobs(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show what runs and what ran: checks, digests, imports, exports, backups, key rotations, moves, reports owed."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        found = read_jobs(archive)
    finally:
        archive.close()
    if output is Format.JSON:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    for each in found:
        print(printable(_line(each)))


def _line(job: Job) -> str:
    far = f"{job.done} of {job.total} {job.unit}" if job.total else ""
    since = f"since {minute_text(job.started_us)} by {job.person or 'the archive'}" if job.started_us else ""
    words = [f"{job.kind:<20} {job.state:<8}", far, since, job.result, f"last: {job.last}" if job.last else ""]
    return "  ".join(filter(None, words))
