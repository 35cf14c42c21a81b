"""Small durable files: whole or not at all, synced with their name, and private from the first byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness.archives import new_home
from strongroom.store.files import PUBLIC_MODE, write_durably


class Synced:
    """What was synced, by path; a file is noted under the name that it had then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, fd: int) -> None:
        self.paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        self._fsync(fd)

    def times(self, path: Path) -> int:
        """How often a file of that name, under the name that it was written as, or that directory was synced."""
        temporary = f"{path.parent}/.{path.name}."
        return sum(each == str(path) or each.startswith(temporary) for each in self.paths)


def test_content_and_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = Synced(monkeypatch)
    path = tmp_path / "file"
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert synced.times(path) == 1
    assert synced.paths[-1] == str(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old", PUBLIC_MODE)

    def full(fd: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_whatever_init_writes_is_durable_before_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = Synced(monkeypatch)
    home = new_home(tmp_path / "new")
    for name in ("config.toml", "ca.pem", "trail-public-key.pem"):
        assert synced.times(home.root / name) == 1, name
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    # The last of them is config.toml, which makes the home an archive: its name too has to be there.
    written = max(number for number, each in enumerate(synced.paths) if ".config.toml." in each)
    assert synced.paths[written + 1] == str(home.root)
    assert str(tmp_path) in synced.paths
