"""``viewer add|show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import viewer as administration
from strongroom.admin.viewer import ViewerState
from strongroom.cli import BAD_NEWS, new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import counted, size

group = new_group("The viewer OHIF, in which people look at images: no part of Strongroom, added here.")


@group.command()
def add(
    package: Annotated[
        Path | None,
        typer.Argument(help="What `npm pack` made, for a machine without npm; default: npm fetches it now."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Install the version of OHIF that goes with this version of Strongroom; nothing else is taken. A running archive
    serves it at once."""
    typer.echo(_text(administration.add(home_of(home), package)))


@group.command()
def show(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Compare every file of the installed viewer; exit 1 if it is not there or not as it has to be."""
    found = administration.state(home_of(home))
    if output is Format.JSON:
        said = {"version": found.version, "folder": str(found.folder), "is_there": found.is_there}
        more = {"files": found.files, "stored_bytes": found.stored_bytes, "problems": list(found.problems)}
        print(json.dumps(said | more, indent=2))
    else:
        print(_text(found))
    if not found.is_there or found.problems:
        raise typer.Exit(BAD_NEWS)


def _text(found: ViewerState) -> str:
    if not found.is_there:
        return f"OHIF {found.version} is not installed: `strongroom viewer add` puts it into {found.folder.parent}"
    lines = [f"OHIF {found.version}, {counted(found.files, 'file')}, {size(found.stored_bytes)}, in {found.folder}"]
    lines += [f"WRONG {each}" for each in found.problems]
    lines.append("run `strongroom viewer add` again" if found.problems else "every file is as it has to be")
    return "\n".join(lines)
