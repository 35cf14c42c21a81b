"""Adding the viewer: with npm, without it, from a file; what is said when it does not work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import archives
from harness.packages import FILES, packed, pin_of
from strongroom.admin import viewer
from strongroom.cli.commands import commands
from strongroom.config import Home
from strongroom.errors import ConfigError, IntegrityError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return archives.new_home(tmp_path / "home")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small viewer, which is the pinned one."""
    made = packed(tmp_path / "viewer.tgz", FILES)
    monkeypatch.setattr(viewer, "read_pin", lambda: pin_of(made))
    return made


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, and nothing else but a shell's."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")


def test_it_comes_from_a_file_and_lies_in_the_home(home: Home, package: Path) -> None:
    assert not viewer.state(home).is_there
    found = viewer.add(home, package)
    assert found.is_there
    assert found.problems == ()
    assert found.folder.parent == home.root / "viewer"


def test_it_lies_where_the_configuration_says(home: Home, package: Path, tmp_path: Path) -> None:
    archives.change_config(home, {"https": {"viewer_dir": str(tmp_path / "elsewhere")}})
    assert viewer.add(home, package).folder.parent == tmp_path / "elsewhere"
    assert not (home.root / "viewer").exists()


def test_npm_packs_it_into_a_folder_that_goes(
    home: Home, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path / "bin", monkeypatch, f'echo "$@" > {tmp_path}/said; pwd > {tmp_path}/where; cp {package} here.tgz')
    assert viewer.add(home).is_there
    assert "pack @ohif/app@1.2.3 --ignore-scripts" in (tmp_path / "said").read_text()
    assert not Path((tmp_path / "where").read_text().strip()).exists()


def test_without_npm_it_is_said_how_else(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"npm is not installed.*strongroom viewer add FILE"):
        viewer.add(home)


def test_an_npm_that_fetches_nothing_is_told_of(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path / "bin", monkeypatch, "echo no way out >&2; exit 1")
    with pytest.raises(ConfigError, match="no way out"):
        viewer.add(home)


def test_an_npm_that_does_not_come_back_is_given_up(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tmp_path / "bin", monkeypatch, "exec sleep 600")
    monkeypatch.setattr(viewer, "FETCH_TIMEOUT_S", 0.2)
    with pytest.raises(ConfigError, match="within"):
        viewer.add(home)


def test_what_npm_brings_is_taken_if_it_is_the_pinned_package_only(
    home: Home, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = packed(tmp_path / "other.tgz", FILES | {"package/dist/1.bundle.abc.js": b"evil();"})
    npm(tmp_path / "bin", monkeypatch, f"cp {other} here.tgz")
    with pytest.raises(IntegrityError):
        viewer.add(home)
    assert not viewer.state(home).is_there


def test_the_command_says_what_is_there_and_what_is_wrong(home: Home, package: Path) -> None:
    run, at = CliRunner(), ["--home", str(home.root)]
    shown = run.invoke(commands(), ["viewer", "show", *at])
    assert (shown.exit_code, "strongroom viewer add" in shown.output) == (1, True)
    added = run.invoke(commands(), ["viewer", "add", str(package), *at])
    assert (added.exit_code, "1.2.3" in added.output) == (0, True)
    shown = run.invoke(commands(), ["viewer", "show", *at, "--format", "json"])
    assert shown.exit_code == 0
    said = json.loads(shown.output)
    assert (said["version"], said["is_there"], said["problems"]) == ("1.2.3", True, [])
    (Path(said["folder"]) / "2.css.gz").write_bytes(b"")
    shown = run.invoke(commands(), ["viewer", "show", *at])
    assert shown.exit_code == 1
    assert "WRONG 2.css" in shown.output
