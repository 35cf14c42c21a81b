"""``import`` and ``export``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin.exporting import export_study
from strongroom.admin.importing import BAD_NEWS as BAD_FATES
from strongroom.admin.importing import Failure, Fate, Import, Tally
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import State, Work, counted, duration, printable, size

_FATES = {
    Fate.STORED: "stored",
    Fate.ALREADY_HERE: "already there",
    Fate.RESUMED: "imported before, skipped",
    Fate.REFUSED: "refused",
    Fate.QUARANTINED: "quarantined",
    Fate.UNREADABLE: "unreadable",
    Fate.NOT_DICOM: "not DICOM",
    Fate.LINK: "symbolic links, not followed",
}


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Folders, files, or media with a DICOMDIR.")],
    home: HomeOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name the files that are not DICOM as well.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Take in files from folders and media. Stopped and started again, it goes on where it was."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        with Work("import", "files") as work:

            def watch(tally: Tally, failure: Failure | None) -> None:
                is_named = failure is not None and (verbose or failure.fate in BAD_FATES)
                if failure is not None and is_named and output is Format.TEXT:
                    reason = f": {failure.reason}" if failure.reason else ""
                    print(f"{_FATES[failure.fate]} {printable(failure.path)}{reason}", flush=True)
                work.show(State(tally.done_files, tally.total_files, tally.done_bytes, tally.total_bytes))

            tally = Import(archive, watch).run(paths)
    finally:
        archive.close()
    print(_as_json(tally) if output is Format.JSON else _as_text(tally))
    if not tally.is_good:
        raise typer.Exit(BAD_NEWS)


def export(
    study: Annotated[str, typer.Option(help="Study Instance UID.")],
    out: Annotated[Path, typer.Option(help="A folder that is new or empty.")],
    home: HomeOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Write one study as files with a DICOMDIR, the data sets exactly as they arrived."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        with Work("export", "objects") as work:
            exported = export_study(archive, study, out, lambda *state: work.show(State(*state)))
    finally:
        archive.close()
    if output is Format.JSON:
        print(json.dumps(asdict(exported) | {"out": str(out)}, indent=2))
    else:
        for damaged in exported.damaged:
            print(f"damaged {damaged.sop_uid}: {damaged.reason}")
        print(f"{counted(exported.objects, 'object')}, {size(exported.data_bytes)}, in {out}")
        print(f"manifest SHA-256 {exported.manifest}")
    if exported.damaged:
        raise typer.Exit(BAD_NEWS)


def _as_text(tally: Tally) -> str:
    lines = [f"{tally.counts[fate]:>9} {words}" for fate, words in _FATES.items()]
    seconds = max(tally.seconds, 1e-9)
    rate = f"{_read(tally) / seconds:.0f} objects/s, {size(tally.data_bytes / seconds)}/s"
    return "\n".join([*lines, f"{size(tally.data_bytes)} read in {duration(tally.seconds)}: {rate}"])


def _read(tally: Tally) -> int:
    """How many objects were read, whatever became of them."""
    return sum(tally.counts[fate] for fate in (Fate.STORED, Fate.ALREADY_HERE, Fate.REFUSED, Fate.QUARANTINED))


def _as_json(tally: Tally) -> str:
    seconds = max(tally.seconds, 1e-9)
    report: dict[str, object] = {fate.value: tally.counts[fate] for fate in Fate}
    report |= {
        "files": tally.total_files,
        "bytes": tally.data_bytes,
        "seconds": round(tally.seconds, 3),
        "objects_per_s": round(_read(tally) / seconds, 1),
        "bytes_per_s": round(tally.data_bytes / seconds),
        "failures": [
            {"path": failure.path, "what": failure.fate.value, "reason": failure.reason} for failure in tally.failures
        ],
    }
    return json.dumps(report, indent=2)
