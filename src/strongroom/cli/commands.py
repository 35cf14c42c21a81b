"""All commands, by name. What one of them needs is imported when it is called, and not what the others need."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from strongroom import __version__
from strongroom.cli import new_group

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("serving", "init"),
    "serve": ("serving", "serve"),
    "status": ("status", "status"),
    "import": ("media", "import_"),
    "export": ("media", "export"),
    "delete": ("deletion", "delete"),
    "check": ("check", "check"),
    "alerts": ("alerts", "alerts"),
    "jobs": ("jobs", "jobs"),
    "screen": ("screening", "screen"),
    "disarm": ("screening", "disarm"),
    "signatures": ("signatures", "signatures"),
}
"""Module of this room and function, by the name of the command; in the order of the help."""

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "peer": ("peers", "group"),
    "user": ("users", "group"),
    "group": ("groups", "group"),
    "token": ("tokens", "group"),
    "keys": ("keys", "group"),
    "trail": ("trail", "group"),
    "quarantine": ("quarantine", "group"),
    "probe": ("probe", "group"),
    "backup": ("backup", "group"),
    "share": ("sharing", "shares"),
    "break-glass": ("sharing", "emergencies"),
    "viewer": ("viewer", "group"),
    "unsafe": ("unsafe", "group"),
}
"""The same of groups of commands."""


def commands(called: str = "") -> typer.Typer:
    """All commands, or, if one of them or a group is ``called``, that alone."""
    app = new_group(f"Strongroom {__version__}: an archive for medical images that cannot be left open.")
    app.callback()(_options)  # else one command alone would have no name
    is_known = called in COMMANDS or called in GROUPS
    for name, (module, function) in COMMANDS.items():
        if name == called or not is_known:
            app.command(name)(_imported(module, function))
    for name, (module, group) in GROUPS.items():
        if name == called or not is_known:
            app.add_typer(_imported(module, group), name=name)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"strongroom {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command."""


def _imported(module: str, name: str) -> Any:
    return getattr(import_module(f"strongroom.cli.{module}"), name)
