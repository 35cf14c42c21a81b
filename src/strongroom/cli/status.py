"""``status``."""

from __future__ import annotations

import json

import typer

from strongroom.admin.posture import posture
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.posture import State, worst_of
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import printable


def status(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Say whether the doors are shut: what listens, exceptions, certificates, trail, disks, keys, backups, processes.

    Exit 1 if something has to be done now.
    """
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        lines = posture(archive)
    finally:
        archive.close()
    worst = worst_of(lines)
    if output is Format.JSON:
        listed = [
            {"part": each.part, "about": each.about, "state": each.state, "says": each.says, "do": each.do}
            for each in lines
        ]
        print(json.dumps({"state": worst, "lines": listed}, indent=2))
    else:
        part = ""
        for each in lines:
            if each.part != part:
                part = each.part
                print(part)
            print(printable(f"  {each.state:<8} {each.about:<20} {each.says}"))
            if each.do:
                print(printable(f"  {'':<8} {'':<20} -> {each.do}"))
    if worst is State.ACT:
        raise typer.Exit(BAD_NEWS)
