"""Write pixel data again so that it holds its frames and nothing else; no byte that a decoder reads changes.

Native pixel data is cut to what its attributes declare (PS3.5 8.1.1). Fragments become one a frame, each without what
no decoder reads, behind an offset table that is true (PS3.5 A.4).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from struct import pack
from typing import Final

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import UNDEFINED_LENGTH
from strongroom.dicom.frames import PixelData, Span, pixel_data_of
from strongroom.dicom.outline import PIXEL_TAGS, Bulk, Outlined
from strongroom.dicom.stream import Read
from strongroom.dicom.tree import Element
from strongroom.errors import Refused
from strongroom.screen.rebuild import Content, Node, Tree, content_length, item_header
from strongroom.screen.stripping import Codec, codec_of

_DESCRIPTION_GROUP: Final = 0x0028
_MAX_DESCRIPTION_BYTES: Final = 256
_ROWS: Final = 0x00280010
_COLUMNS: Final = 0x00280011
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002
_MAX_OFFSET: Final = 0xFFFFFFFF
_MARKER_BYTES: Final = 8

Note = Callable[[str, str, int, bytes], None]
"""``note(path, what, offset, removed)`` is told of each part of the source that is left out."""


def rebuild_pixel_data(tree: Tree, transfer_syntax: TransferSyntax, note: Note) -> None:
    """Replace the content of Pixel Data in ``tree``; a data set without any stays as it is.

    Raises Refused ("frames") if the frames cannot be told, or are not all there.
    """
    nodes = [node for node in tree.elements if node.tag in PIXEL_TAGS and not node.is_gone]
    if not nodes:
        return
    node = max(nodes, key=lambda each: each.tag)
    pixels = pixel_data_of(_outlined(tree), transfer_syntax)
    if node.fragments is None:
        _trim(tree.read, node, pixels, note)
    else:
        codec = codec_of(transfer_syntax.uid, tree.number(_ROWS) * tree.number(_COLUMNS))
        _Frames(tree, node, pixels.frames, codec, note).rebuild()


def _outlined(tree: Tree) -> list[Outlined]:
    found: list[Outlined] = []
    for node in tree.elements:
        if node.is_gone:
            continue
        if node.tag in PIXEL_TAGS:
            length = node.length if node.fragments is None else UNDEFINED_LENGTH
            found.append(Bulk(node.tag, node.vr, node.offset, length, "", node.coding))
        elif node.tag >> 16 == _DESCRIPTION_GROUP and node.items is None and node.length <= _MAX_DESCRIPTION_BYTES:
            found.append(Element(node.tag, node.vr, tree.read(node.offset, node.length), None, node.offset))
    return found


def _trim(read: Read, node: Node, pixels: PixelData, note: Note) -> None:
    declared = (pixels.frame_bits * pixels.frames + 7) // 8
    declared += declared & 1  # a whole word: in big endian the last byte stands behind the padding
    if not declared or node.length <= declared:
        return
    behind = read(node.offset + declared, node.length - declared)
    if any(behind):
        note(node.path, "bytes behind the declared pixels", node.offset + declared, behind)
    node.content = (Span(node.offset, declared),)


class _Frames:
    """The fragments of one Pixel Data, to be made one a frame."""

    def __init__(self, tree: Tree, node: Node, declared: int, codec: Codec | None, note: Note) -> None:
        self._tree = tree
        self._node = node
        self._declared = declared
        self._codec = codec
        self._note = note

    def rebuild(self) -> None:
        """Replace the content of the node. Raises Refused."""
        if not self._node.fragments:
            raise Refused("frames", "the pixel data has no fragments")
        table, *fragments = self._node.fragments
        codec = self._codec
        if codec is None:
            self._write(table, [(fragment,) for fragment in fragments])
            return
        runs = [fragments] if codec.is_stream else self._runs(codec, fragments)
        if len(runs) != self._declared and not codec.is_stream:
            raise Refused("frames", f"{len(runs)} frames are there and {self._declared} are declared")
        self._write(table, [self._cut(codec, run) for run in runs])

    def _runs(self, codec: Codec, fragments: list[Span]) -> list[list[Span]]:
        """Return the fragments of each frame, and leave out those that belong to none."""
        runs: list[list[Span]] = []
        for fragment in fragments:
            if self._begins(codec, fragment):
                if len(runs) < self._declared:
                    runs.append([fragment])
                    continue
            elif runs and codec.beginnings:
                runs[-1].append(fragment)
                continue
            raw = self._read(fragment)
            if any(raw):
                self._note(self._node.path, "a fragment that belongs to no frame", fragment.offset, raw)
        return runs

    def _begins(self, codec: Codec, fragment: Span) -> bool:
        if codec.beginnings:
            head: bytes = self._tree.read(fragment.offset, min(_MARKER_BYTES, fragment.length))
            return head.startswith(codec.beginnings)
        return codec.strip(self._read(fragment)) is not None

    def _read(self, span: Span) -> bytes:
        return self._tree.read(span.offset, span.length)

    def _cut(self, codec: Codec, run: list[Span]) -> Content:
        """Return one frame without what no decoder reads; where nothing is to be taken out it stays in its place."""
        raw = b"".join(self._read(span) for span in run)
        stripped = codec.strip(raw)
        if stripped is None:
            raise Refused("frames", "a code stream in the pixel data does not hold together")
        for cut in stripped.cuts:
            self._note(self._node.path, cut.what, _place(run, cut.start), cut.data)
        if len(run) == 1 and raw.startswith(stripped.data):
            return (Span(run[0].offset, len(stripped.data)),)
        return (stripped.data,)

    def _write(self, table: Span, frames: list[Content]) -> None:
        tree, node = self._tree, self._node
        lengths = [content_length(frame) for frame in frames]
        lengths = [length + (length & 1) for length in lengths]
        offsets = [0, *accumulate(length + 8 for length in lengths)]
        total = offsets.pop()
        extended = tree.find(_EXTENDED_OFFSETS), tree.find(_EXTENDED_LENGTHS)
        is_told = len(frames) == self._declared and not any(extended) and total <= _MAX_OFFSET
        basic = pack(f"<{len(offsets)}L", *offsets) if table.length and is_told else b""
        old = self._read(table)
        if old != basic and old:
            self._note(node.path, "an offset table, written again", table.offset, old)
        parts: list[bytes | Span] = [item_header(node.coding, len(basic)) + basic]
        for frame, length in zip(frames, lengths, strict=True):
            parts += [item_header(node.coding, length), *frame, b"\0" * (length - content_length(frame))]
        node.content = parts
        for entry, numbers in zip(extended, (offsets, lengths), strict=True):
            if entry is not None:
                self._write_table(entry, pack(f"<{len(numbers)}Q", *numbers))

    def _write_table(self, entry: Node, table: bytes) -> None:
        old = self._tree.read(entry.offset, entry.length)
        if old != table:
            self._note(entry.path, "an offset table, written again", entry.offset, old)
        entry.content = (table,)


def _place(run: list[Span], start: int) -> int:
    """Return where byte ``start`` of the joined fragments stands in the source."""
    for span in run:
        if start < span.length:
            return span.offset + start
        start -= span.length
    return run[-1].offset + run[-1].length
