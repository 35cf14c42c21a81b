"""What stands around a data set in a file, taken apart so that it can be written anew (PS3.10 7.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.elements import EXPLICIT_LITTLE, Coding, ScanLimits, coding_of
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.dicom.stream import Kind, Read, SeekableSource, inflated, walk
from strongroom.errors import MalformedDataset, Refused

MAX_INFLATED_BYTES: Final = 512 << 20
"""Of a deflated data set, which is held in memory while it is taken apart."""

TREE_LIMITS: Final = ScanLimits(max_element_depth=64, max_inflated_bytes=MAX_INFLATED_BYTES)

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_MAX_META_BYTES: Final = 64 << 20
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX, _SOURCE_AET = 0x00020002, 0x00020003, 0x00020010, 0x00020016
_WRITTEN_ANEW: Final = frozenset(
    {0x00020000, 0x00020001, _SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX, 0x00020012, 0x00020013, _SOURCE_AET}
)


@dataclass(slots=True)
class Opened:
    """A file taken apart. ``read`` reads the data set, inflated; ``raw_read`` the file.

    ``base`` is where the data set begins in the file, 0 if it is inflated; ``left_out`` are the elements of the File
    Meta Information that are not written again, as path, offset in the file, and value.
    """

    raw_read: Read
    size_bytes: int
    read: Read
    base: int
    end: int
    """Of the data set, from its first byte."""
    transfer_syntax: TransferSyntax
    sop_class: str
    sop_uid: str
    source_aet: str
    preamble: bytes
    left_out: list[tuple[str, int, bytes]] = field(default_factory=list)

    @property
    def is_inflated(self) -> bool:
        """Whether offsets count inflated bytes."""
        return self.transfer_syntax.deflated

    @property
    def coding(self) -> Coding:
        """How the data set is encoded."""
        return coding_of(self.transfer_syntax)


def open_file(read: Read, size_bytes: int) -> Opened:
    """Take a file apart. Raises Refused, MalformedDataset or LimitExceeded."""
    head = read(0, _PREAMBLE_BYTES + 4)
    values: dict[int, str] = {}
    left_out: list[tuple[str, int, bytes]] = []
    if head[_PREAMBLE_BYTES:] == _PREFIX:
        base = _parse_meta(read, size_bytes, values, left_out)
        uid = values.get(_TRANSFER_SYNTAX, "")
    else:
        uid = ""
        head = b""
    if not uid:
        header = parse_file_header(read(0, MAX_HEADER_BYTES))
        uid, base = header.transfer_syntax, header.data_set_offset
    transfer_syntax = TRANSFER_SYNTAXES.get(uid)
    if transfer_syntax is None:
        raise Refused("unknown-transfer-syntax", "a transfer syntax that the standard does not have")
    opened = Opened(
        read,
        size_bytes,
        lambda offset, length: read(base + offset, length),
        base,
        size_bytes - base,
        transfer_syntax,
        values.get(_SOP_CLASS, ""),
        values.get(_SOP_INSTANCE, ""),
        values.get(_SOURCE_AET, ""),
        head[:_PREAMBLE_BYTES],
        left_out,
    )
    if transfer_syntax.deflated:
        _inflate(opened)
    return opened


def _inflate(opened: Opened) -> None:
    source = SeekableSource(opened.raw_read, opened.base, opened.size_bytes)
    chunks = source.pieces(opened.size_bytes - opened.base)
    data = b"".join(inflated(chunks, TREE_LIMITS))
    opened.read = lambda offset, length: data[offset : offset + length]
    opened.base, opened.end = 0, len(data)


def _parse_meta(read: Read, size_bytes: int, values: dict[int, str], left_out: list[tuple[str, int, bytes]]) -> int:
    """Fill in what the File Meta Information says; returns where it ends."""
    end = _PREAMBLE_BYTES + 4
    try:
        for step in walk(SeekableSource(read, end, size_bytes), EXPLICIT_LITTLE, TREE_LIMITS):
            if step.tag >> 16 != 2:
                break
            if step.kind is not Kind.VALUE or step.length > _MAX_META_BYTES:
                raise MalformedDataset("an element that no file meta information has", tag=step.tag, offset=end)
            value = read(step.offset, step.length)
            if step.tag in _WRITTEN_ANEW:
                values.setdefault(step.tag, value.decode("ascii", "replace").strip(" \0"))
            elif value:
                path = f"(0002,{step.tag & 0xFFFF:04X})"
                left_out.append((path, step.offset, value))
            end = step.offset + step.length
    except MalformedDataset as error:
        if error.tag is None or error.tag >> 16 == 2:
            raise
    return end
