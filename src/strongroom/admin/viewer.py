"""The viewer for people: fetched from npm or taken from a file, installed, looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroom.config import Home, load
from strongroom.errors import ConfigError
from strongroom.viewer.installed import InstalledViewer
from strongroom.viewer.installing import install
from strongroom.viewer.pin import PACKAGE, Pin, read_pin

FETCH_TIMEOUT_S: Final = 600.0
_SAID_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class ViewerState:
    """What is installed. ``problems`` are files that cannot be served, in words; ``stored_bytes`` what it takes."""

    version: str
    folder: Path
    is_there: bool
    files: int = 0
    stored_bytes: int = 0
    problems: tuple[str, ...] = ()


def add(home: Home, package: Path | None = None) -> ViewerState:
    """Install the viewer where the configuration of ``home`` says, from its packed package or, without one, by npm.

    A running archive serves it from then on. Raises ConfigError if there is no npm or it cannot fetch, IntegrityError
    for any other package than the one that goes with this version.
    """
    pin, folder = read_pin(), _folder_of(home)
    try:
        if package is not None:
            install(package, folder, pin)
        else:
            with fetched(pin) as fetched_package:
                install(fetched_package, folder, pin)
    except OSError as error:
        raise ConfigError(f"cannot install the viewer in {folder}: {error.strerror}") from None
    return state(home)


def state(home: Home) -> ViewerState:
    """What is installed for ``home``, with every file compared."""
    pin, folder = read_pin(), _folder_of(home)
    viewer = InstalledViewer(folder, pin)
    place = folder / pin.build
    if not viewer.is_there():
        return ViewerState(pin.version, place, is_there=False)
    stored = sum(entry.stat().st_size for entry in place.rglob("*") if entry.is_file())
    return ViewerState(pin.version, place, True, len(pin.files), stored, tuple(viewer.check()))


def _folder_of(home: Home) -> Path:
    return home.viewer_folder(load(home).https.viewer_dir)


@contextmanager
def fetched(pin: Pin) -> Iterator[Path]:
    """The packed package, as npm fetches it, while the block runs; ``install`` compares it. Raises ConfigError."""
    with tempfile.TemporaryDirectory(prefix="strongroom-viewer-") as scratch:
        yield _fetch(Path(scratch), pin)


def _fetch(scratch: Path, pin: Pin) -> Path:
    """The packed package, as npm fetches it from the registry that it is set to. Nothing of it runs."""
    wanted = f"{PACKAGE}@{pin.version}"
    by_hand = f"`npm pack {wanted}` on a machine that has it makes a file for `strongroom viewer add FILE`"
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(f"npm is not installed here; {by_hand}")
    command = [npm, "pack", wanted, "--ignore-scripts", "--pack-destination", os.fspath(scratch), "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, errors="replace", timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"npm did not fetch the viewer within {FETCH_TIMEOUT_S:.0f} s; {by_hand}") from None
    found = list(scratch.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        said = " ".join(done.stderr.split())[-_SAID_CHARS:]
        raise ConfigError(f"npm could not fetch the viewer ({said}); {by_hand}")
    return found[0]
