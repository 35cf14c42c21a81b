"""OHIF as it is served: installed once for all tests, below the environment that runs them."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest

from strongroom.admin.viewer import fetched
from strongroom.errors import ConfigError
from strongroom.viewer.installed import InstalledViewer
from strongroom.viewer.installing import install
from strongroom.viewer.pin import read_pin


def installed_viewer() -> Path:
    """The directory for ``https.viewer_dir``. Skips where npm is absent or fetches nothing."""
    pin, folder = read_pin(), Path(sys.prefix) / "share" / "viewer"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        viewer = InstalledViewer(folder, pin)
        if not viewer.is_there() or viewer.check():
            try:
                with fetched(pin) as package:
                    install(package, folder, pin)
            except ConfigError as error:
                pytest.skip(f"OHIF cannot be installed: {error}")
    return folder
