"""The command that is called is imported alone, and is what it is among all."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from harness.archives import clean_environment
from strongroom import __version__
from strongroom.cli.commands import COMMANDS, GROUPS, commands

ALONE = """
import sys
sys.argv = ["strongroom", {name!r}, "--help"]
from strongroom.cli import main
try:
    main()
except SystemExit:
    print("modules", *sorted(sys.modules))
"""


def help_of(called: str, name: str) -> str:
    """What its help says when only ``called`` is there."""
    shown = CliRunner().invoke(commands(called), [name, "--help"])
    assert shown.exit_code == 0
    return shown.output


def names_of(called: str) -> list[str]:
    return list(typer.main.get_command(commands(called)).commands)  # type: ignore[attr-defined]


def test_no_name_and_an_unknown_one_have_all_commands() -> None:
    for called in ("", "--help", "nonsense"):
        assert names_of(called) == [*COMMANDS, *GROUPS]


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_a_command_alone_is_what_it_is_among_all(name: str) -> None:
    assert names_of(name) == [name]
    assert help_of(name, name) == help_of("", name)


def test_the_version_is_printed_whatever_else_is_there() -> None:
    for called in ("", "--version", "serve"):
        shown = CliRunner().invoke(commands(called), ["--version"])
        assert (shown.exit_code, shown.output) == (0, f"strongroom {__version__}\n")


def imported_for(name: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(name=name)],
        env=clean_environment(),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return set(done.stdout.rpartition("modules ")[2].split())


def test_a_command_does_not_import_what_it_does_not_need() -> None:
    """The web pages, the codecs and the migrations are most of what there is, and no short command needs them."""
    imported = imported_for("serve")
    assert "strongroom.app" in imported
    assert not imported & {"strongroom.web.app", "starlette", "webauthn", "joserfc", "alembic", "numpy", "imagecodecs"}
    probing = imported_for("probe")
    assert "strongroom.probe.engine" in probing
    assert not probing & {"strongroom.app", "sqlalchemy", "strongroom.web.app"}
