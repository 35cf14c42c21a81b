"""``check``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from strongroom.admin import check as administration
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, minute_text, time_text
from strongroom.cli.progress import counted, duration, phases, printable, size
from strongroom.store.check import Finding
from strongroom.store.rounds import Round


def check(
    home: HomeOption = None,
    last: Annotated[
        bool, typer.Option("--last", help="Open nothing: say what the check that `serve` runs by itself has found.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Open every object and hold objects, index, keys, files and trail against each other; exit 1 on any finding."""
    if last:
        _say_last(administration.last_rounds(home_of(home)), output)
        return
    with phases("checking") as progress:
        report = administration.check_home(home_of(home), progress)
    if output is Format.JSON:
        print(json.dumps({"clean": not report.total_findings} | dataclasses.asdict(report), indent=2))
    else:
        for finding in report.findings:
            print(finding_line(finding))
        for line in _summary(report):
            print(line)
    if report.total_findings:
        raise typer.Exit(BAD_NEWS)


def _say_last(found: administration.LastRounds, output: Format) -> None:
    rounds = found.rounds
    damaged = sum(each.damaged for each in (rounds.last, rounds.under_way) if each is not None)
    if output is Format.JSON:
        said = {"clean": not damaged, "every_days": found.every_days, "next": _when(found.next_s)}
        print(
            json.dumps(said | {"last": _round_json(rounds.last), "under_way": _round_json(rounds.under_way)}, indent=2)
        )
    else:
        for each in (rounds.last, rounds.under_way):
            for line in _round_words(each) if each is not None else ():
                print(line)
        if rounds.last is None:
            print("no round of the background check has ended yet")
        print(f"next round not before {_minute(found.next_s)}" if found.next_s else "check.every_days is 0: never")
    if damaged:
        raise typer.Exit(BAD_NEWS)


def _when(time_s: float) -> str | None:
    return time_text(round(time_s * 1e6))


def _minute(time_s: float) -> str:
    return minute_text(round(time_s * 1e6))


def _round_json(done: Round | None) -> dict[str, object] | None:
    if done is None:
        return None
    times = {"started": _when(done.started_s), "ended": _when(done.ended_s)}
    counts = {"round": done.number, "objects": done.objects, "bytes": done.data_bytes, "damaged": done.damaged}
    return counts | times | {"kinds": done.kinds, "findings": [msgspec.structs.asdict(each) for each in done.listed]}


def _round_words(done: Round) -> Iterator[str]:
    for each in done.listed:
        yield finding_line(Finding(each.kind, each.what, each.study_uid, each.series_uid, each.sop_uid, each.object_id))
    if done.damaged > len(done.listed):
        yield f"and {done.damaged - len(done.listed)} more findings"
    state = f"ended {_minute(done.ended_s)}" if done.ended_s else "is under way"
    yield (
        f"round {done.number} of the background check, begun {_minute(done.started_s)}, {state}: "
        f"{counted(done.objects, 'object')} ({size(done.data_bytes)}) read, "
        + (f"{done.damaged} DAMAGED" if done.damaged else "none damaged")
    )


def finding_line(finding: Finding) -> str:
    """One finding: its kind, what is wrong, and the identity of what it is about, the narrowest first."""
    named = (
        ("SOP instance", finding.sop_uid),
        ("series", finding.series_uid),
        ("study", finding.study_uid),
        ("object", finding.object_id),
    )
    about = "".join(f"  {name} {value}" for name, value in named if value)
    return printable(f"{finding.kind:<22} {finding.what}{about}")


def _summary(report: administration.Report) -> Iterator[str]:
    if report.total_findings > len(report.findings):
        yield f"and {report.total_findings - len(report.findings)} more findings"
    checked = (
        f"checked {counted(report.objects, 'object')} ({size(report.object_bytes)}), {report.held} in quarantine, "
        f"{report.data_keys} data keys and "
        f"{report.trail_records} trail records in {duration(report.elapsed_s)}"
    )
    yield checked + (f": {report.total_findings} FINDINGS" if report.total_findings else ": clean")
    if report.pending_files:
        yield f"{report.pending_files} files have no row yet; somebody is storing"
    if report.trail_records and not report.compared_with:
        yield "no checkpoint outside the index was there to compare the trail with"
