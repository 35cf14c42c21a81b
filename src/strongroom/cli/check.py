"""``check``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import typer

from strongroom.admin import check as administration
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import State, Work, counted, duration, printable, size
from strongroom.store.check import Finding, Progress


def check(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Open every object and hold objects, index, keys, files and trail against each other; exit 1 on any finding."""
    with _progress("checking") as progress:
        report = administration.check_home(home_of(home), progress)
    if output is Format.JSON:
        print(json.dumps({"clean": not report.total_findings} | dataclasses.asdict(report), indent=2))
    else:
        for finding in report.findings:
            print(_line(finding))
        for line in _summary(report):
            print(line)
    if report.total_findings:
        raise typer.Exit(BAD_NEWS)


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """Draws one piece of work after the other, each from its first report on."""
    with ExitStack() as stack:
        drawn: dict[str, Work] = {}

        def show(noun: str, done: int, total: int) -> None:
            if noun not in drawn:
                stack.pop_all().close()
                drawn.clear()
                drawn[noun] = stack.enter_context(Work(what, noun))
            drawn[noun].show(State(done, total or done))

        yield show


def _line(finding: Finding) -> str:
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
