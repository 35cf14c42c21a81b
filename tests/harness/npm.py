"""Packages of npm that tests run as they are: each in ``tests/peers/NAME``, pinned by hash, installed when needed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / "peers"
INSTALL_TIMEOUT_S = 180


def installed(name: str) -> Path:
    """The ``node_modules`` of ``tests/peers/NAME``. Skips where there is no npm, or it cannot reach a registry."""
    folder = PEERS / name
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    marker = modules / ".package-lock.json"
    with (folder / "package.json").open() as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # tests run in several processes
        if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("npm is not installed")
            # No package gets to run anything of its own while it is installed.
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
            if done.returncode != 0:
                pytest.skip(f"npm ci in tests/peers/{name}: {done.stderr[-300:]}")
            marker.touch()
    return modules
