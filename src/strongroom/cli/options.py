"""Options that many commands share."""

from __future__ import annotations

import datetime as dt
import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from strongroom.config import Home, environment
from strongroom.errors import ConfigError

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Directory of the archive (or STRONGROOM_HOME).", show_default=False)
]


class Format(StrEnum):
    """How a list or report is printed."""

    TEXT = "text"
    JSON = "json"


ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Limit to patient=ID, study=UID, modality=CT,MR, institution=NAME, referring=NAME or "
        "date=20240101-20241231; or between parts, all, none; may be repeated.",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]


ByOption = Annotated[
    str, typer.Option("--by", help="Your account; the passcode comes from STRONGROOM_PASSCODE or the terminal.")
]


WHO_MAY_NOT: Final = {
    "user-disabled": "your account is disabled",
    "role-may-not": "your role may not: this takes a security-officer or an administrator",
    "user-or-passcode-wrong": "no such account, or not its passcode: `strongroom user list` has the accounts",
}
"""Why somebody may do nothing in his own name, in words, by the reason of the refusal."""


def asked_passcode() -> str:
    """The passcode of whoever runs a command in his own name. Raises ConfigError if there is nobody to ask."""
    given = environment("STRONGROOM_PASSCODE")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for the passcode: set STRONGROOM_PASSCODE")
    return getpass.getpass("passcode: ")


def home_of(path: Path | None) -> Home:
    """The archive's home directory. Raises ConfigError if none is named."""
    chosen = path or (Path(text) if (text := environment("STRONGROOM_HOME")) else None)
    if chosen is None:
        raise ConfigError("name the archive with --home DIR, or set STRONGROOM_HOME")
    return Home(chosen)


def minute_text(microseconds: int) -> str:
    """A time (microseconds since 1970) to the minute, as every text for people has it: ``2026-11-22 15:22 UTC``."""
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def time_text(microseconds: int) -> str | None:
    """A time (microseconds since 1970) to the second as programs read it, ISO 8601 in UTC; None for 0, never."""
    time = dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC)
    return time.isoformat(timespec="seconds") if microseconds else None
