"""Pixel data against what describes it: native lengths, offset tables, dimensions that no image has."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS = 0x00280010, 0x00280011, 0x00280100
WANTED: Final = frozenset({_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS})
_HALF_SAMPLES: Final[Mapping[str, int]] = {"YBR_FULL_422": 4, "YBR_PARTIAL_422": 4, "YBR_PARTIAL_420": 3}
_MAX_PLAUSIBLE_BYTES: Final = 1 << 44
_MAX_FRAMES: Final = (1 << 31) - 2
_FAR_MORE: Final = 4096


class Description:
    """What the attributes of an image say of its pixel data; 0 where they say nothing."""

    __slots__ = ("bits", "frames", "native_bytes")

    def __init__(self, values: Mapping[int, bytes], *, little_endian: bool) -> None:
        order = "little" if little_endian else "big"

        def number(tag: int) -> int:
            return int.from_bytes(values.get(tag, b"")[:4], "little" if order == "little" else "big")

        text = values.get(_FRAMES, b"").strip(b" \0")
        self.frames = int(text) if text.isdigit() and len(text) <= 12 else 1
        samples = number(_SAMPLES) or 1
        photometric = values.get(_PHOTOMETRIC, b"").decode("ascii", "replace").strip(" \0")
        half = _HALF_SAMPLES.get(photometric, 2 * samples) if samples == 3 else 2 * samples
        self.bits = number(_ROWS) * number(_COLUMNS) * half * number(_BITS) // 2
        self.native_bytes = (self.bits * max(1, self.frames) + 7) // 8

    @property
    def is_impossible(self) -> bool:
        """Whether no image has so many frames or bytes."""
        return self.frames > _MAX_FRAMES or self.native_bytes > _MAX_PLAUSIBLE_BYTES

    def is_far_more_than(self, length: int) -> bool:
        """Whether decoders that believe it take memory out of all proportion to the file."""
        return self.native_bytes > max(length, 1 << 18) * _FAR_MORE


class Fragments:
    """The items of one encapsulated pixel data, and what its Basic Offset Table says of them."""

    __slots__ = ("base", "items", "table")

    def __init__(self) -> None:
        self.table = b""
        self.base = 0
        self.items = array("Q")
        """Where the item headers of the fragments are, in the file."""

    def table_error(self, order: str) -> str:
        """Return in words how the table is wrong, "" if it leads to fragments, or is empty (PS3.5 A.4)."""
        if not self.table or not self.items:
            return ""
        if len(self.table) % 4:
            return f"a Basic Offset Table of {len(self.table)} bytes"
        count = len(self.table) // 4
        offsets = [
            int.from_bytes(self.table[place : place + 4], "little" if order == "<" else "big")
            for place in range(0, len(self.table), 4)
        ]
        return self._misled(offsets, "Basic Offset Table", count)

    def extended_error(self, raw: bytes) -> str:
        """Return in words how the Extended Offset Table is wrong, "" if it leads to fragments (PS3.3 C.7.6.3.1.8)."""
        if not raw or not self.items:
            return ""
        if len(raw) % 8:
            return f"an Extended Offset Table of {len(raw)} bytes"
        offsets = [int.from_bytes(raw[place : place + 8], "little") for place in range(0, len(raw), 8)]
        return self._misled(offsets, "Extended Offset Table", len(offsets))

    def _misled(self, offsets: list[int], name: str, count: int) -> str:
        first = self.items[0]
        starts = {item - first for item in self.items}
        wrong = sum(offset not in starts for offset in offsets)
        if wrong:
            return f"{wrong} of {count} entries of the {name} lead to no fragment"
        if offsets != sorted(offsets):
            return f"the {name} does not ascend"
        if offsets and offsets[0]:
            return f"the {name} leaves out the first fragment"
        return ""
