"""``keys rotate|status|renew-ca``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from strongroom.admin import keys as administration
from strongroom.app import AUTHORITY_NAME, LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS, new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import State, Work

group = new_group("The master keys that everything is wrapped under.")

_NEXT = {
    "file": "copy the new key to a safe place now: without it nothing opens",
    "passphrase": "copy the new salt to a safe place now: without it the passphrase opens nothing",
    "command": "keep the new key where the command finds it: without it nothing opens",
}
"""What is to be done after a rotation, by ``keys.source``."""


@group.command()
def rotate(
    home: HomeOption = None,
    new_key_id: Annotated[
        str, typer.Option(help="With keys.source = command: the id of the new key, which is there already.")
    ] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Go over to a new master key, while the server serves. Stopped and started again, it goes on where it was."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        with Work("rotate", "data keys") as work:
            rotation = administration.rotate(archive, new_key_id, lambda done, of: work.show(State(done, of)))
    finally:
        archive.close()
    print(
        _rotation_as_json(rotation)
        if output is Format.JSON
        else _rotation_as_text(rotation, archive.config.keys.source)
    )
    if rotation.unopened:
        raise typer.Exit(BAD_NEWS)


@group.command()
def status(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show which master keys are needed, and whether they are there."""
    found = administration.status(home_of(home))
    print(_status_as_json(found) if output is Format.JSON else _status_as_text(found))
    if not found.is_good:
        raise typer.Exit(BAD_NEWS)


@group.command("renew-ca")
def renew_ca(home: HomeOption = None) -> None:
    """Renew the certificate of the archive's CA, with its key: what it issued stays good."""
    place = home_of(home)
    archive = Archive(place, LOCAL_LOG)
    try:
        until = administration.renew_authority(archive)
    finally:
        archive.close()
    print(f"CA     good until {until}")
    print(f"next   restart the server, and give {place.root / AUTHORITY_NAME} to every peer before the old one ends")


def _rotation_as_text(rotation: administration.Rotation, source: str) -> str:
    lines = [
        f"active   {rotation.master_id}" + ("   (a rotation that had stopped was ended)" if rotation.resumed else ""),
        f"wrapped  {rotation.data_keys} data keys, {rotation.secrets} secrets",
    ]
    lines += [f"damaged  data key {key_id.hex()} does not open" for key_id in rotation.unopened]
    lines += [f"next     {_NEXT[source]}"]
    lines += [
        f"old      {old} is not needed by this archive any more; destroy it when no backup made before now is kept"
        for old in rotation.replaced
        if not rotation.unopened
    ]
    return "\n".join(lines)


def _rotation_as_json(rotation: administration.Rotation) -> str:
    report = {
        "active": rotation.master_id,
        "replaced": rotation.replaced,
        "resumed": rotation.resumed,
        "data_keys": rotation.data_keys,
        "secrets": rotation.secrets,
        "unopened": [key_id.hex() for key_id in rotation.unopened],
    }
    return json.dumps(report, indent=2)


def _status_as_text(found: administration.KeyStatus) -> str:
    lines = [f"{'master key':<24} {'data keys':>9} {'secrets':>7}  state"]
    for key in found.keys:
        count = "?" if key.data_keys is None else str(key.data_keys)
        state = key.state if key.state == administration.PRESENT else key.state.upper()
        active = ", active" if key.active else ""
        lines.append(f"{key.key_id:<24} {count:>9} {key.secrets:>7}  {state}{active}")
        if key.problem:
            lines.append(f"  {key.problem}")
    if found.rotation_unfinished:
        lines.append("a rotation has not ended: run `strongroom keys rotate` to go on")
    if not found.index_opened:
        lines.append("the index does not open without its key: what is in it cannot be counted")
    return "\n".join(lines)


def _status_as_json(found: administration.KeyStatus) -> str:
    report = {
        "keys": [
            {
                "id": key.key_id,
                "data_keys": key.data_keys,
                "secrets": key.secrets,
                "active": key.active,
                "state": key.state,
                "problem": key.problem,
            }
            for key in found.keys
        ],
        "index_opened": found.index_opened,
        "rotation_unfinished": found.rotation_unfinished,
    }
    return json.dumps(report, indent=2)
