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
    from strongroom.cli.commands import commands  # which needs what is below

    log_to_stderr()
    try:
        commands(*sys.argv[1:2])(standalone_mode=True)
    except StrongroomError as error:
        print(f"strongroom: {error}", file=sys.stderr)
        sys.exit(COULD_NOT_RUN)
    except BrokenPipeError:
        sys.exit(COULD_NOT_RUN)


def new_group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
