"""Where the frames of objects lie, remembered: walking the fragments of a thousand frames is worth doing once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from strongroom.archive.model import StoredObject
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.frames import FragmentFrames, PixelData

_ENTRY_BYTES = 4096
"""About what an entry takes beside what was walked."""


@dataclass(slots=True)
class FrameTable:
    """The pixel data of one object, and where its frames lie if it is encapsulated. ``lock`` is held to locate any."""

    pixels: PixelData
    fragments: FragmentFrames | None
    lock: Lock = field(default_factory=Lock)

    @property
    def held_bytes(self) -> int:
        """Memory that it takes."""
        return _ENTRY_BYTES + (self.fragments.held_bytes if self.fragments else 0)


class FrameTables:
    """Tables by object, within ``max_bytes``: what was used least lately goes first. Thread-safe.

    An object never changes, and its id is never used again. Whoever asks has opened the object: a table tells nothing
    to who may not.
    """

    def __init__(self, max_bytes: int, max_fragments: int) -> None:
        self._max_bytes, self._max_fragments = max_bytes, max_fragments
        self._tables: OrderedDict[bytes, FrameTable] = OrderedDict()
        self._lock = Lock()

    def of(self, stored: StoredObject, describe: Callable[[], PixelData]) -> FrameTable:
        """The table of an object; ``describe`` finds its pixel data if that is not known. Raises what it raises."""
        with self._lock:
            table = self._tables.get(stored.object_id)
            if table is not None:
                self._tables.move_to_end(stored.object_id)
                return table
        pixels = describe()
        fragments = None
        if pixels.is_encapsulated:
            syntax = TRANSFER_SYNTAXES[stored.transfer_syntax]
            fragments = FragmentFrames.of(pixels, syntax, stored.data_bytes, self._max_fragments)
        table = FrameTable(pixels, fragments)
        with self._lock:
            table = self._tables.setdefault(stored.object_id, table)
            self._tables.move_to_end(stored.object_id)
            self._make_room()
        return table

    def _make_room(self) -> None:
        held = sum(table.held_bytes for table in self._tables.values())
        while held > self._max_bytes and len(self._tables) > 1:
            _, table = self._tables.popitem(last=False)
            held -= table.held_bytes
