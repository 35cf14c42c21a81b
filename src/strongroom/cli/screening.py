"""``screen`` and ``disarm``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from strongroom import __version__
from strongroom.admin.screening import Screened, Written, count_files, disarm_file, load_engines, screen_paths
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption
from strongroom.cli.progress import State, Work, counted, printable, size
from strongroom.config import Home
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.screen import sarif
from strongroom.screen.findings import Finding, Rule, Severity
from strongroom.screen.report_json import JsonObject, finding_json, removed_json, report_json


class ReportFormat(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


class Level(StrEnum):
    """A severity as an option has it."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(slots=True)
class _Sums:
    """What was screened so far."""

    screened: int = 0
    screened_bytes: int = 0
    passed_over: int = 0
    unreadable: int = 0
    engine_failures: int = 0
    by_severity: dict[Severity, int] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)

    def add(self, each: Screened) -> None:
        """Count one file."""
        if each.report is None:
            self.unreadable += bool(each.reason)
            self.passed_over += not each.reason
            return
        self.screened += 1
        self.screened_bytes += each.size_bytes
        self.engine_failures += bool(each.report.failures)
        for finding in each.report.findings:
            self.by_severity[finding.severity] = self.by_severity.get(finding.severity, 0) + 1
            self.rules.setdefault(finding.rule.id, finding.rule)

    def exit_code(self, fail_on: Severity) -> int:
        """0 if every file could be looked at, by every engine, and nothing as bad as ``fail_on`` was found."""
        worst = max(self.by_severity, default=None)
        is_bad = self.unreadable or self.engine_failures or (worst is not None and worst >= fail_on)
        return BAD_NEWS if is_bad else 0

    def as_json(self) -> dict[str, object]:
        """The counts, findings by severity."""
        return {
            "files": self.screened,
            "bytes": self.screened_bytes,
            "not_dicom": self.passed_over,
            "unreadable": self.unreadable,
            "engine_failures": self.engine_failures,
            "findings": {str(severity): self.by_severity.get(severity, 0) for severity in Severity},
        }


def screen(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, or media with a DICOMDIR.")],
    fail_on: Annotated[Level, typer.Option(help="Exit 1 from a finding of this severity on.")] = Level.HIGH,
    every_file: Annotated[
        bool, typer.Option("--all", help="Screen the files in folders that are not DICOM as well.")
    ] = False,
    yara: Annotated[
        list[Path] | None, typer.Option(help="File or folder of YARA rules, run by YARA-X; may be repeated.")
    ] = None,
    clamd: Annotated[
        str, typer.Option(metavar="ADDRESS", help="ClamAV's daemon: unix:/path or tcp:127.0.0.1:3310.")
    ] = "",
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TEXT,
) -> None:
    """Look for programs, archives and malformed structure in images; needs no archive, and changes nothing."""
    engines = load_engines(yara or [], clamd)
    sums = _Sums()
    total = count_files(paths)
    with Work("screen", "files") as work:
        files = _watched(screen_paths(paths, engines, every_file=every_file), work, sums, total)
        writer = {ReportFormat.TEXT: _as_text, ReportFormat.JSON: _as_json, ReportFormat.SARIF: _as_sarif}[output]
        for line in writer(files, sums, Severity.parse(fail_on.value)):
            print(line, flush=output is ReportFormat.TEXT)
    if sums.exit_code(Severity.parse(fail_on.value)):
        raise typer.Exit(BAD_NEWS)


def _watched(files: Iterator[Screened], work: Work, sums: _Sums, total: tuple[int, int]) -> Iterator[Screened]:
    """The same files, counted, and shown as they are done."""
    done = done_bytes = 0
    for each in files:
        sums.add(each)
        yield each
        done, done_bytes = done + 1, done_bytes + each.size_bytes
        work.show(State(done, max(done, total[0]), done_bytes, max(done_bytes, total[1])))


# -- text


def _as_text(files: Iterator[Screened], sums: _Sums, _: Severity) -> Iterator[str]:
    for each in files:
        name = printable(each.path)
        if each.report is None:
            if each.reason:
                yield f"unreadable {name}: {printable(each.reason)}"
            continue
        if each.report.findings or each.report.failures:
            yield name
        for finding in each.report.findings:
            yield _line(finding)
        if each.report.truncated:
            yield "  and more, which the report has no room for"
        for failure in each.report.failures:
            yield printable(f"  NOT SEEN by {failure.engine}: {failure.reason}")
    for rule in sorted(sums.rules.values(), key=lambda rule: (-rule.severity, rule.id)):
        clause = f" ({rule.clause})" if rule.clause else ""
        yield f"{rule.id} {rule.title}: {rule.why}{clause} {rule.remedy}"
    yield from _summary(sums)


def _line(finding: Finding) -> str:
    place = finding.place
    where = "inflated byte" if place.inflated else "byte"
    length = f", {counted(place.length, 'byte')}" if place.length else ""
    return printable(
        f"  {finding.severity!s:<8} {finding.rule.id:<13} {place.path} {where} {place.offset}{length}, "
        f"confidence {finding.confidence}: {finding.what or finding.rule.title}"
    )


def _summary(sums: _Sums) -> Iterator[str]:
    found = ", ".join(
        f"{sums.by_severity[severity]} {severity}" for severity in reversed(Severity) if severity in sums.by_severity
    )
    yield f"screened {counted(sums.screened, 'file')} ({size(sums.screened_bytes)}): {found or 'nothing found'}"
    if sums.passed_over:
        yield f"{sums.passed_over} not DICOM, passed over; --all screens them too"
    if sums.unreadable:
        yield f"{sums.unreadable} UNREADABLE"
    if sums.engine_failures:
        yield f"{sums.engine_failures} NOT SEEN by an engine"


# -- JSON, SARIF: written as it is found, so that millions of files need no memory


def _as_json(files: Iterator[Screened], sums: _Sums, _: Severity) -> Iterator[str]:
    yield '{"results": ['
    before = ""
    for each in files:
        if each.report is not None or each.reason:
            said = {"reason": each.reason} if each.report is None else report_json(each.report)
            yield before + json.dumps({"path": each.path} | said)
            before = ","
    yield f'], "summary": {json.dumps(sums.as_json())}}}'


def _as_sarif(files: Iterator[Screened], sums: _Sums, fail_on: Severity) -> Iterator[str]:
    yield f'{{"$schema": {json.dumps(sarif.SCHEMA)}, "version": "{sarif.VERSION}", "runs": [{{"results": ['
    before = ""
    notes: list[JsonObject] = []
    for each in files:
        uri = _uri(each.path)
        if each.reason:
            notes.append(sarif.notification(f"cannot be read: {each.reason}", uri))
        for failure in each.report.failures if each.report else ():
            notes.append(sarif.notification(f"not seen by {failure.engine}: {failure.reason}", uri))
        for finding in each.report.findings if each.report else ():
            yield before + json.dumps(sarif.result(finding, uri))
            before = ","
    invocation = sarif.invocation(sums.exit_code(fail_on), notes)
    yield f'], "invocations": [{json.dumps(invocation)}], "columnKind": "utf16CodeUnits", '
    yield f'"tool": {json.dumps(sarif.driver(__version__))}}}]}}'


def _uri(path: str) -> str:
    return "file://" + quote(os.fsencode(path))


# -- disarm


def disarm(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The file to make a clean copy of; it is not changed.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The copy, a file that is not there yet.")],
    home: Annotated[
        Path | None,
        typer.Option(help="Keep the original in the quarantine of this archive.", show_default=False),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make a clean copy of a file, its pixels and clinical attributes the same, and list what it lacks."""
    archive = Archive(Home(home), LOCAL_LOG) if home else None
    try:
        written = disarm_file(source, target, archive)
    except (Refused, MalformedDataset, LimitExceeded) as error:
        reason = error.reason if isinstance(error, Refused) else "malformed"
        if output is Format.JSON:
            print(json.dumps({"disarmed": False, "reason": reason, "words": str(error)}))
        else:
            print(f"not disarmed ({reason}): {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(BAD_NEWS) from None
    finally:
        if archive is not None:
            archive.close()
    if output is Format.JSON:
        print(json.dumps(_disarmed_json(written), indent=2))
        return
    for removed in written.disarmed.removed:
        where = "inflated byte" if removed.inflated else "byte"
        print(
            printable(f"removed {removed.path} {where} {removed.offset}, {removed.length} bytes: {removed.what}"),
            f"sha256 {removed.sha256}",
        )
    parts = counted(len(written.disarmed.removed), "part")
    what = f"{parts} removed" if written.disarmed.removed else "nothing had to be removed"
    print(f"{what}; {printable(str(target))}, {size(written.size_bytes)}")
    print(_where_the_original_is(written, printable(str(source))))
    print(f"sha256 of the original {written.disarmed.original_sha256}")
    print(f"sha256 of the copy     {written.sha256}")


def _where_the_original_is(written: Written, name: str) -> str:
    words = f"{name} is as it was" + (", with all that was found in it" if written.disarmed.removed else "")
    if written.kept is None:
        return words
    if not written.kept.quarantine_id:
        return f"{words}; its data set is stored in the archive already"
    return f"{words}; its data set is held in the quarantine as {written.kept.quarantine_id}"


def _disarmed_json(written: Written) -> dict[str, object]:
    return {
        "disarmed": True,
        "original_sha256": written.disarmed.original_sha256,
        "original_kept": written.kept is not None,
        "quarantine": written.kept.quarantine_id if written.kept else "",
        "sha256": written.sha256,
        "bytes": written.size_bytes,
        "removed": [removed_json(removed) for removed in written.disarmed.removed],
        "found": [finding_json(finding) for finding in written.disarmed.before.findings],
    }
