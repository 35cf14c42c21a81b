"""``probe diff`` and ``probe noticed``: what became of what was found, and whether the server saw who looked."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption
from strongroom.errors import ConfigError
from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.findings import RunFacts
from strongroom.probe.judging.judge import judge
from strongroom.probe.reporting.diff import MAX_REPORT_BYTES, compare, difference_json, difference_text, parse_report
from strongroom.probe.reporting.noticed import (
    Contact,
    contacts_of,
    match,
    near,
    noticed_json,
    noticed_text,
    sources,
    suggested,
    verdicts,
)
from strongroom.probe.reporting.report_json import parse_run
from strongroom.probe.reporting.reports import reports
from strongroom.probe.reporting.serverlogs import LogKind, Reading, Sighting, sightings, why_untellable
from strongroom.probe.run import write_report
from strongroom.probe.runlog import read_entries

REPORT = "report.json"


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The earlier run: its directory, or its report.json.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The later run.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Say what became of what was found: good (closed), bad (still there), ugly (new or worse).

    Exit status 1 if anything is bad or ugly.
    """
    difference = compare(parse_report(_read(old)), parse_report(_read(new)))
    print(difference_json(difference) if output is Format.JSON else difference_text(difference), end="")
    if difference.exit_status:
        raise typer.Exit(BAD_NEWS)


def noticed(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a run.")],
    log: Annotated[Path, typer.Option(help="The server's own log of that time.", show_default=False)],
    kind: Annotated[LogKind, typer.Option(help="Whose log it is.")] = LogKind.TEXT,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", help="An address that the probe came from, as the server sees it; may be repeated."),
    ] = None,
    zone: Annotated[str, typer.Option(help="Of times in the log that name no zone, as +01:00.")] = "+00:00",
    target: Annotated[str, typer.Option(help="The target whose log it is, where the scope has several.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Say of each association and request of a run whether the server's own log shows it, and how late.

    Writes noticed.json beside the reports and judges them again with it. Exit status 1 if anything was missed.
    """
    raw = _read(folder)
    facts, observations = parse_run(raw)
    addresses = _addresses(source or ())
    contacts, year = _contacts(folder, facts, target)
    titles = frozenset(each.title for each in contacts if each.title)
    reading = Reading(kind, titles, _zone(zone), year)
    if why := why_untellable(_lines(log), reading):
        raise ConfigError(f"{log}: {why}")
    seen = near(contacts, sightings(_lines(log), reading))
    found = match(contacts, seen, addresses or _known(contacts, seen))
    told = verdicts(found)
    write_report(folder, "noticed.json", json.dumps(noticed_json(found), indent=1) + "\n")
    for name, text in reports(judge(observations, replace(facts, noticed={**facts.noticed, **told}))).items():
        write_report(folder, name, text)
    print(json.dumps(noticed_json(found), indent=1) if output is Format.JSON else noticed_text(found).rstrip("\n"))
    if set(told.values()) != {"all"}:
        logs = catalogue().remedies["logs"]
        remedy = f"{logs.general} {logs.products.get(kind, '')}".rstrip()
        print(f"What was missed (SP-035) would be in the log with this: {remedy}", file=sys.stderr)
        raise typer.Exit(BAD_NEWS)


def _of_one_target(contacts: tuple[Contact, ...], folder: Path, target: str) -> tuple[Contact, ...]:
    """Raises ConfigError if there are none, or of several targets, which one log is not about."""
    chosen = tuple(each for each in contacts if target in ("", each.subject.split(" (")[0]))
    if not any(each.is_attempt for each in chosen):
        raise ConfigError(f"{folder} has no association and no request{f' of {target}' if target else ''}")
    names = sorted({each.subject.split(" (")[0] for each in chosen})
    if len(names) > 1:
        raise ConfigError(f"the run has several targets: say with --target whose log it is: {', '.join(names)}")
    return chosen


def _known(contacts: tuple[Contact, ...], seen: tuple[Sighting, ...]) -> frozenset[str]:
    """Return the addresses that the log names with the probe. Raises ConfigError if there are none, and others called
    while it was at work: one of them may be the probe's, and guessing would be as wrong as saying that it is not."""
    known = sources(seen)
    if not known and (others := suggested(contacts, seen)):
        raise ConfigError(
            f"no line names the probe, and at its times some have {', '.join(others)}: say with --from which address "
            f"it came from, for instance --from {others[0]}"
        )
    return known


def _addresses(texts: Iterable[str]) -> frozenset[str]:
    try:
        return frozenset(str(ip_address(text)) for text in texts)
    except ValueError as error:
        raise ConfigError(f"--from: {error}") from None


def _contacts(folder: Path, facts: RunFacts, target: str) -> tuple[tuple[Contact, ...], int]:
    """Return the contacts of a run with ``target``, or with the only one, and the year. Raises ConfigError."""
    try:
        found = contacts_of(read_entries(folder), facts)
        year = dt.datetime.fromtimestamp(found[0].begun_us // 1_000_000, dt.UTC).year if found else 0
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
        raise ConfigError(f"{folder}: its log holds what no run writes") from None
    return _of_one_target(found, folder, target), year


def _read(path: Path) -> bytes:
    file = path / REPORT if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_REPORT_BYTES:
            raise ConfigError(f"{file} is larger than any report")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(1 << 16):
                yield line
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _zone(text: str) -> dt.tzinfo:
    try:
        zone = dt.datetime.strptime(text, "%z").tzinfo
    except ValueError:
        raise ConfigError(f"--zone {text!r} is none, as +01:00 is") from None
    assert zone is not None
    return zone
