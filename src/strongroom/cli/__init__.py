"""The command line. One module per group of commands, no logic: each calls ``strongroom.app`` and prints."""

from __future__ import annotations

import sys

import typer

from strongroom.errors import StrongroomError
from strongroom.serving.logs import log_to_stderr

BAD_NEWS = 1
COULD_NOT_RUN = 2


def main() -> None:
    """Entry point of ``strongroom``: exit 0 = good, 1 = the answer is bad news, 2 = could not run."""
    log_to_stderr()
    try:
        _commands()(standalone_mode=True)
    except StrongroomError as error:
        print(f"strongroom: {error}", file=sys.stderr)
        sys.exit(COULD_NOT_RUN)
    except BrokenPipeError:
        sys.exit(COULD_NOT_RUN)


def _commands() -> typer.Typer:
    """All commands; only those of the probe if it is the one that is called, for it needs nothing of an archive."""
    if sys.argv[1:2] == ["probe"]:
        from strongroom.cli import probe

        alone = new_group("")
        alone.add_typer(probe.group, name="probe")
        return alone
    from strongroom.cli.commands import app

    return app


def new_group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
