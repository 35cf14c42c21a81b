"""Walk a whole data set of any size, value by value, in bounded memory (DICOM PS3.5 7).

Other than ``elements.HeaderScan``, which is pushed bytes and skips what it can, ``walk`` pulls them and goes into every
sequence: it is for what rewrites or digests data sets, not for the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax, vr_of
from strongroom.dicom.elements import (
    DEFAULT_LIMITS,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
    ScanLimits,
)
from strongroom.dicom.inflate import Inflater
from strongroom.errors import LimitExceeded, MalformedDataset

_GROUP_FFFE: Final = 0xFFFE0000
_READ_AHEAD_BYTES: Final = 262144
_PIECE_BYTES: Final = 1 << 20

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` returns up to ``length`` bytes from ``offset``, fewer only at the end."""


class Source:
    """Bytes that arrive in chunks of any size, taken in order. ``position`` is that of the next byte."""

    def __init__(self, chunks: Iterable[bytes | memoryview]) -> None:
        self.position = 0
        self._chunks = iter(chunks)
        self._chunk: bytes | memoryview = b""
        self._start = 0

    def _refill(self) -> bool:
        """Get the next bytes when the chunk at hand is used up; False at the end."""
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._start = chunk, 0
                return True
        return False

    def at_end(self) -> bool:
        """Return whether all bytes have been taken."""
        return self._start >= len(self._chunk) and not self._refill()

    def take(self, length: int) -> bytes:
        """Return the next ``length`` bytes, a header's worth. Raises MalformedDataset if there are fewer."""
        stop = self._start + length
        if stop <= len(self._chunk):
            taken = bytes(self._chunk[self._start : stop])
            self._start = stop
            self.position += length
            return taken
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield the next ``length`` bytes, 1 MiB at most at a time. Raises MalformedDataset if there are fewer."""
        while length:
            if self.at_end():
                raise MalformedDataset("a value runs past the end", offset=self.position)
            piece = bytes(self._chunk[self._start : self._start + min(length, _PIECE_BYTES)])
            self._start += len(piece)
            self.position += len(piece)
            length -= len(piece)
            yield piece

    def skip(self, length: int) -> None:
        """Pass over ``length`` bytes. Raises MalformedDataset if there are fewer."""
        for _ in self.pieces(length):
            pass


class SeekableSource(Source):
    """The bytes from ``start`` to ``end`` behind a ``Read``: passing over a value reads nothing."""

    def __init__(self, read: Read, start: int, end: int) -> None:
        super().__init__(())
        self._read = read
        self._end = end
        self.position = start

    def _refill(self) -> bool:
        length = min(_READ_AHEAD_BYTES, self._end - self.position)
        self._chunk, self._start = (self._read(self.position, length) if length > 0 else b""), 0
        return bool(self._chunk)

    def skip(self, length: int) -> None:
        """Pass over ``length`` bytes. Raises MalformedDataset if there are fewer."""
        if length > self._end - self.position:
            raise MalformedDataset("a value runs past the end", offset=self.position)
        self.position += length
        self._start += length  # beyond the chunk if it does not hold so much: the next byte refills it


def inflated(chunks: Iterable[bytes | memoryview], limits: ScanLimits) -> Iterator[bytes]:
    """Yield what deflated ``chunks`` inflate to. Raises MalformedDataset or LimitExceeded."""
    inflater = Inflater(limits.max_inflated_bytes, limits.max_inflate_ratio)
    for chunk in chunks:
        yield from inflater.inflate(chunk)
    inflater.require_end()


def source_of(chunks: Iterable[bytes | memoryview], transfer_syntax: TransferSyntax, limits: ScanLimits) -> Source:
    """Return the source of a data set that arrives in ``chunks``, inflated if it is deflated."""
    return Source(inflated(chunks, limits) if transfer_syntax.deflated else chunks)


class Kind(Enum):
    """What the walk has come to."""

    VALUE = 1
    SEQUENCE = 2
    ITEM = 3
    ITEM_END = 4
    FRAGMENTS = 5
    FRAGMENT = 6
    SEQUENCE_END = 7


class Step(NamedTuple):
    """One step. For VALUE and FRAGMENT the source stands at ``offset``, and ``length`` bytes may be taken from it
    before the walk goes on; what is not taken is passed over."""

    kind: Kind
    tag: int
    vr: bytes
    """As encoded; in implicit VR the dictionary's, SQ for what has an undefined length. SQ for an item."""
    length: int
    offset: int
    coding: Coding


class _Frame(NamedTuple):
    kind: Kind
    coding: Coding
    end: int | None
    tag: int


def walk(
    source: Source, coding: Coding, limits: ScanLimits = DEFAULT_LIMITS, within: Step | None = None
) -> Iterator[Step]:
    """Yield every element, item and fragment of the data set that ``source`` gives, in its order.

    With ``within``, a SEQUENCE step of defined length at whose value the source stands, those of its items only, and
    its SEQUENCE_END.

    Raises MalformedDataset, or LimitExceeded for ``max_element_depth`` or ``max_element_count``.
    """
    stack: list[_Frame] = []
    if within is not None:
        stack.append(_Frame(within.kind, within.coding, within.offset + within.length, within.tag))
    count = 0
    while True:
        while stack and stack[-1].end is not None and source.position >= stack[-1].end:
            yield _close(stack.pop(), source)
        if not stack and source.at_end():
            return
        frame = stack[-1] if stack else None
        if frame is None or frame.kind is not Kind.FRAGMENTS:  # a slide may have any number of those
            count += 1
            if count > limits.max_element_count:
                raise LimitExceeded("max_element_count", limits.max_element_count)
        if frame is None or frame.kind is Kind.ITEM:
            step = _element(source, frame, frame.coding if frame else coding)
        else:
            step = _item(source, frame)
        if step is None:
            yield _close(stack.pop(), source)
            continue
        end = None if step.length == UNDEFINED_LENGTH else step.offset + step.length
        if stack:
            _require_inside(stack, step, end)
        yield step
        if step.kind is Kind.VALUE or step.kind is Kind.FRAGMENT:
            source.skip(step.offset + step.length - source.position)
            continue
        stack.append(_Frame(step.kind, step.coding, end, step.tag))
        if len(stack) > 2 * limits.max_element_depth:
            raise LimitExceeded("max_element_depth", limits.max_element_depth)


def _require_inside(stack: list[_Frame], step: Step, end: int | None) -> None:
    for frame in reversed(stack):
        if frame.end is not None:
            if step.offset > frame.end or (end is not None and end > frame.end):
                raise MalformedDataset("an element runs past the end of its item", tag=step.tag, offset=step.offset)
            return


def _close(frame: _Frame, source: Source) -> Step:
    if frame.end is not None and source.position > frame.end:
        raise MalformedDataset("an item runs past its end", tag=frame.tag, offset=source.position)
    kind = Kind.ITEM_END if frame.kind is Kind.ITEM else Kind.SEQUENCE_END
    return Step(kind, frame.tag, b"SQ", 0, source.position, frame.coding)


def _element(source: Source, frame: _Frame | None, coding: Coding) -> Step | None:
    """Return the next element, None for the item delimiter that closes ``frame``."""
    position = source.position
    header = source.take(8)
    group, element, length = coding.long_header.unpack(header)
    tag = group << 16 | element
    if tag >= _GROUP_FFFE and group == 0xFFFE:
        if tag == ITEM_DELIMITER and frame is not None and frame.end is None:
            return None
        raise MalformedDataset("an item outside a sequence", tag=tag, offset=position)
    vr = vr_of(tag)
    if coding.explicit:
        vr = header[4:6]
        if vr in SHORT_VRS:
            length = coding.short_header.unpack(header)[3]
        elif vr in LONG_VRS:
            (length,) = coding.long_length.unpack(source.take(4))
        else:
            raise MalformedDataset("an unknown VR", tag=tag, offset=position)
    kind = Kind.SEQUENCE if vr == b"SQ" else Kind.VALUE
    if length == UNDEFINED_LENGTH:
        if tag == PIXEL_DATA or (coding.explicit and vr in (b"OB", b"OW")):
            kind = Kind.FRAGMENTS
        elif not coding.explicit:
            kind, vr = Kind.SEQUENCE, b"SQ"
        elif vr == b"UN":
            kind, coding = Kind.SEQUENCE, IMPLICIT_LITTLE
        elif vr != b"SQ":
            raise MalformedDataset("undefined length where the VR allows none", tag=tag, offset=position)
    return Step(kind, tag, vr, length, source.position, coding)


def _item(source: Source, frame: _Frame) -> Step | None:
    """Return the next item or fragment, None for the sequence delimiter that closes ``frame``."""
    position = source.position
    group, element, length = frame.coding.long_header.unpack(source.take(8))
    tag = group << 16 | element
    if tag == SEQUENCE_DELIMITER and frame.end is None:
        return None
    if tag != ITEM or (frame.kind is Kind.FRAGMENTS and length == UNDEFINED_LENGTH):
        raise MalformedDataset("neither an item nor the expected delimiter", tag=tag, offset=position)
    kind = Kind.FRAGMENT if frame.kind is Kind.FRAGMENTS else Kind.ITEM
    return Step(kind, tag, b"SQ", length, source.position, frame.coding)
