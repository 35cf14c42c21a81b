"""Which element a byte of a data set stands in, for what looks at bytes and knows no structure.

Bytes are shown window by window, each overlapping the one before; headers are read as they come into view, values are
passed over. Where a data set does not hold together, what follows belongs to nothing that has a name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.elements import ScanLimits, coding_of
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.dicom.stream import Kind, SeekableSource, Step, walk
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.screen.findings import DEFLATED, FILE, META, PREAMBLE, TRAILING
from strongroom.screen.walk import Node, path_of

_PREAMBLE_BYTES: Final = 128
_HEADER_BYTES: Final = 12
_ENDLESS: Final = 1 << 62
_LIMITS: Final = ScanLimits(max_element_count=200_000, max_element_depth=64)
_PASSED_OVER: Final = frozenset({Kind.VALUE, Kind.FRAGMENT})


class Places:
    """The places of one object, a file if there is no ``transfer_syntax``, else a bare data set. Not thread-safe."""

    def __init__(self, transfer_syntax: TransferSyntax | None) -> None:
        self._syntax = transfer_syntax
        self._begun = False
        self._data = b""
        self._base = 0
        self._steps: Iterator[Step] | None = None
        self._next = 0
        self._starts: list[int] = []
        self._paths: list[tuple[Node | None, int, str]] = []
        self._stack: list[tuple[Node | None, int, int]] = []

    def show(self, data: bytes, base: int, *, is_last: bool) -> None:
        """Read the headers in ``data``, whose first byte is at ``base``; what lies before it is forgotten."""
        self._data, self._base = data, base
        self._forget(base)
        if not self._begun:
            self._begun = True
            self._begin()
        while self._steps is not None and (is_last or self._next + _HEADER_BYTES <= base + len(data)):
            try:
                step = next(self._steps, None)
            except (MalformedDataset, LimitExceeded):
                self._note(self._next, None, 0, TRAILING)
                step = None
            if step is None:
                self._steps = None
            else:
                self._take(step)

    def path_at(self, offset: int) -> str:
        """Return the path of what the byte at ``offset`` is in, as ``findings.Place`` has it."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return FILE
        node, tag, label = self._paths[index]
        return label or path_of(node, tag)

    def _begin(self) -> None:
        syntax, start = self._syntax, 0
        if syntax is None:
            try:
                header = parse_file_header(self._data[:MAX_HEADER_BYTES])
            except (Refused, MalformedDataset):
                return
            start = header.data_set_offset
            syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
            if self._data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
                self._note(0, None, 0, PREAMBLE)
                self._note(_PREAMBLE_BYTES, None, 0, META)
        if syntax is None:
            return
        if syntax.deflated:
            self._note(start, None, 0, DEFLATED)
            return
        self._next = start
        self._steps = walk(SeekableSource(self._read, start, _ENDLESS), coding_of(syntax), _LIMITS)

    def _read(self, offset: int, length: int) -> bytes:
        start = offset - self._base
        return self._data[start : start + length] if start >= 0 else b""

    def _take(self, step: Step) -> None:
        kind, start = step.kind, self._next
        self._next = step.offset + (step.length if kind in _PASSED_OVER else 0)
        node, tag, number = self._stack[-1] if self._stack else (None, 0, 0)
        if kind is Kind.VALUE:
            self._note(start, node, step.tag)
        elif kind in (Kind.SEQUENCE, Kind.FRAGMENTS):
            self._note(start, node, step.tag)
            self._stack.append((node, step.tag, 0))
        elif kind in (Kind.ITEM, Kind.FRAGMENT):
            self._stack[-1] = (node, tag, number + 1)
            if kind is Kind.ITEM:
                self._stack.append(((node, tag, number + 1), 0, 0))
            else:
                self._note(start, None, 0, f"{path_of(node, tag)}[{number + 1}]")
        else:
            self._stack.pop()
            if kind is Kind.SEQUENCE_END:
                outer = self._stack[-1][0] if self._stack else None
                self._note(step.offset, outer, tag)

    def _note(self, start: int, node: Node | None, tag: int, label: str = "") -> None:
        self._starts.append(start)
        self._paths.append((node, tag, label))

    def _forget(self, before: int) -> None:
        gone = max(bisect_right(self._starts, before) - 1, 0)
        del self._starts[:gone]
        del self._paths[:gone]
