"""Puts the viewer into a directory: from the package as npm packs it, after its digest was compared.

Nothing of the package runs. What does not belong is left out, what is changed is changed, and what does not come out as
``files.tsv`` says is not put there.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from collections.abc import Iterator
from hashlib import sha256, sha512
from hmac import compare_digest
from pathlib import Path
from typing import Final

from strongroom.errors import ConfigError, IntegrityError
from strongroom.viewer.pin import MAX_PACKAGE_BYTES, Pin, own_files
from strongroom.viewer.rewriting import is_kept, rewritten

_DIST: Final = "package/dist/"
_PIECE_BYTES: Final = 2**20
MAX_FILE_BYTES: Final = 64 * 2**20
COMPRESSED: Final = ".gz"
"""Every file is kept compressed only: that is how browsers take it."""


def install(package: Path, folder: Path, pin: Pin) -> Path:
    """Make the viewer of a packed package (``.tgz``) in ``folder``, in a directory named by its build; return that.

    It is there whole or not at all; other builds go. Raises ConfigError if the package cannot be read, and
    IntegrityError if it is not the one that is pinned.
    """
    require_pinned(package, pin)
    target, making = folder / pin.build, folder / f".{pin.build}.{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(making, ignore_errors=True)
    try:
        missing = set(pin.files)
        for name, content in contents(package, pin.build):
            pinned = pin.files.get(name)
            if pinned is None or sha256(content).hexdigest() != pinned.sha256:
                raise IntegrityError(f"{name} of the viewer does not come out as it is known")
            _write(making / f"{name}{COMPRESSED}", content)
            missing.discard(name)
        if missing:
            raise IntegrityError(f"{min(missing)} of the viewer is not in its package")
        shutil.rmtree(target, ignore_errors=True)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for other in folder.iterdir():
        if other != target and other.is_dir() and (other / f"index.html{COMPRESSED}").exists():
            shutil.rmtree(other)
    return target


def require_pinned(package: Path, pin: Pin) -> None:
    """Return if a file is the package that is pinned. Raises ConfigError, IntegrityError."""
    digest = sha512()
    try:
        with package.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_PACKAGE_BYTES:
                raise IntegrityError(f"{package.name} is larger than the viewer's package can be")
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise ConfigError(f"cannot read {package}: {error.strerror}") from None
    if not compare_digest(digest.digest(), pin.sha512):
        raise IntegrityError(f"{package.name} is not the viewer's package, version {pin.version}: its SHA-512 differs")


def contents(package: Path, build: str) -> Iterator[tuple[str, bytes]]:
    """Every file that is served, by name, as it is served. Raises IntegrityError."""
    for name, content in own_files().items():
        yield name, rewritten(name, content, build)
    with tarfile.open(package, "r:gz") as packed:
        for member in packed:
            name = member.name.removeprefix(_DIST)
            if not member.isreg() or name == member.name or not is_kept(name):
                continue
            if member.size > MAX_FILE_BYTES:
                raise IntegrityError(f"a file of the viewer has {member.size} bytes")
            file = packed.extractfile(member)
            assert file is not None
            with file:
                yield name, rewritten(name, file.read(), build)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(gzip.compress(content, mtime=0))
