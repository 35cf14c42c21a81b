"""Packages of npm as tests make them: a viewer in small, with a pin that goes with it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from hashlib import sha256, sha512
from pathlib import Path

from strongroom.viewer.installing import contents
from strongroom.viewer.pin import Pin, PinnedFile, build_of, own_files

VERSION = "1.2.3"
FILES = {
    "package/package.json": b"{}",
    "package/dist/index.html": b"<script>theirs()</script>",
    "package/dist/sw.js": b"keep()",
    "package/dist/ort/model.wasm": b"\0asm",
    "package/dist/1.bundle.abc.js": b"one();",
    "package/dist/assets/images/CT.png": b"\x89PNG",
    "package/dist/2.css": b"a {}",
}
"""Of which the first four are not served as they are."""


def packed(path: Path, files: Mapping[str, bytes], *more: tarfile.TarInfo) -> Path:
    """A package with these files, and entries without content."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in more:
            archive.addfile(entry)
    return path


def pin_of(package: Path, files: Mapping[str, bytes] | None = None) -> Pin:
    """The pin of a package: all that comes of it, or just what comes of ``files``."""
    digest = sha512(package.read_bytes()).digest()
    build = build_of(VERSION, digest, own_files())
    found = dict(contents(package, build)) if files is None else files
    return Pin(VERSION, digest, build, {name: PinnedFile(len(each), _hash(each)) for name, each in found.items()})


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()
