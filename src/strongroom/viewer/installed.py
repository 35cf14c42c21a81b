"""The viewer that is installed: its files, each compared with what is known of it before any of it leaves."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from strongroom.errors import IntegrityError, NotFound
from strongroom.viewer.installing import COMPRESSED
from strongroom.viewer.pin import Pin, PinnedFile

_GZIP: Final = 16 + zlib.MAX_WBITS
_OVERHEAD_BYTES: Final = 1024
"""What compressing may add to a file that cannot be made smaller."""


class InstalledViewer:
    """The viewer in one directory, which anybody may have written into. Thread-safe.

    What was compared once is held as it was compared, compressed, some 10 MB if all of it is asked for: what is changed
    on the disk afterwards is not served either.
    """

    def __init__(self, folder: Path, pin: Pin) -> None:
        self._folder = folder / pin.build
        self._files: Mapping[str, PinnedFile] = pin.files
        self.build = pin.build
        self._held: dict[str, bytes] = {}

    def is_there(self) -> bool:
        """Whether it seems to be installed: one look at the directory."""
        return "index.html" in self._held or (self._folder / f"index.html{COMPRESSED}").exists()

    def names(self) -> Collection[str]:
        """Names of its files."""
        return self._files.keys()

    def read(self, name: str) -> bytes:
        """A file, gzip-compressed (RFC 1952). Blocks.

        Raises NotFound for a name that the viewer does not have, or if it is not installed, and IntegrityError for
        content that is not what it has to be.
        """
        held = self._held.get(name)
        if held is not None:
            return held
        pinned = self._files.get(name)
        if pinned is None:
            raise NotFound("the viewer has no such file")
        try:
            with (self._folder / f"{name}{COMPRESSED}").open("rb") as file:
                compressed = file.read(pinned.size_bytes + _OVERHEAD_BYTES)
        except FileNotFoundError:
            raise NotFound("the viewer is not installed") from None
        except OSError as error:
            raise IntegrityError(f"{name} of the viewer cannot be read: {os.strerror(error.errno or 0)}") from None
        if not _is(compressed, pinned):
            raise IntegrityError(f"{name} of the viewer is not what it has to be")
        return self._held.setdefault(name, compressed)

    def check(self) -> list[str]:
        """Read every file that is not held; return what is wrong, in words: nothing if all of it may be served."""
        found = []
        for name in self._files:
            try:
                self.read(name)
            except NotFound:
                found.append(f"{name} of the viewer is not there")
            except IntegrityError as error:
                found.append(str(error))
        return found


def inflated(compressed: bytes) -> bytes:
    """A file that ``InstalledViewer.read`` has returned, for who takes no compression."""
    return zlib.decompress(compressed, _GZIP)


def _is(compressed: bytes, pinned: PinnedFile) -> bool:
    """Whether a gzip stream is of this content, and of nothing else. No more of it is made than there should be."""
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(compressed, pinned.size_bytes + 1)
    except zlib.error:
        return False
    is_whole = stream.eof and not stream.unused_data and len(content) == pinned.size_bytes
    return is_whole and sha256(content).hexdigest() == pinned.sha256
