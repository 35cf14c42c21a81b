"""Which viewer this is: one version of one package, and the digest of every byte of it that may be served."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from strongroom.viewer.rewriting import OWN_FILES, ingredients

_FOLDER: Final = Path(__file__).parent
_LOCKED: Final = "node_modules/@ohif/app"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")

PACKAGE: Final = "@ohif/app"
"""Its name at the npm registry."""

MAX_PACKAGE_BYTES: Final = 128 * 2**20
"""Of the packed package that is looked at."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of the viewer as it is served, uncompressed."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pin:
    """One viewer. ``sha512`` is of its package as it comes from npm; ``build`` names what is made of that, and changes
    with the version and with everything that is changed in it."""

    version: str
    sha512: bytes
    build: str
    files: Mapping[str, PinnedFile]


def parse_files(text: str) -> Mapping[str, PinnedFile]:
    """The table of files: name, bytes and SHA-256, with tabs between. Raises ValueError."""
    found: dict[str, PinnedFile] = {}
    for line in text.splitlines():
        name, size, digest = line.split("\t")
        if not _NAME.fullmatch(name) or name in found or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError("the table of the viewer's files has a line that is none")
        found[name] = PinnedFile(int(size), digest)
    return found


def parse_lock(text: str) -> tuple[str, bytes]:
    """Version and SHA-512 of the package that a lock file of npm names. Raises ValueError, KeyError."""
    locked = json.loads(text)["packages"][_LOCKED]
    algorithm, _, digest = locked["integrity"].partition("-")
    if algorithm != "sha512":
        raise ValueError("the lock file has no SHA-512")
    return locked["version"], b64decode(digest, validate=True)


def own_files() -> Mapping[str, bytes]:
    """The files that are not OHIF's but ours, as they lie in this package."""
    return {name: (_FOLDER / name).read_bytes() for name in OWN_FILES}


def build_of(version: str, sha512: bytes, own: Mapping[str, bytes]) -> str:
    """What is made of a package with these files of ours, as a name."""
    digest = sha256(sha512)
    for each in ingredients(own):
        digest.update(sha256(each).digest())
    return f"{version}-{digest.hexdigest()[:12]}"


def read_pin() -> Pin:
    """The viewer that goes with this version of Strongroom."""
    version, sha512 = parse_lock((_FOLDER / "package-lock.json").read_text(encoding="utf-8"))
    files = parse_files((_FOLDER / "files.tsv").read_text(encoding="utf-8"))
    return Pin(version, sha512, build_of(version, sha512, own_files()), files)
