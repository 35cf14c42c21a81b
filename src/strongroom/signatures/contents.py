"""Where everything in a data set stands, at every depth, and at which levels of it there are signatures.

Values stay where they are and are read when they are needed. What is kept is one entry for each element, as many as
the limits allow; fragments of pixel data, of which a slide may have any number, are counted as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import Coding, ScanLimits, coding_of
from strongroom.dicom.stream import Kind, Read, SeekableSource, inflated, walk
from strongroom.errors import LimitExceeded

DIGITAL_SIGNATURES: Final = 0xFFFAFFFA
MAC_PARAMETERS: Final = 0x4FFE0001


@dataclass(slots=True)
class Node:
    """One element: where its value stands, or the items it has. Fragments have ``is_encapsulated`` and no length."""

    tag: int
    vr: bytes
    coding: Coding
    offset: int
    length: int
    items: list[list[Node]] | None = None
    is_encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """A data set with random access to its bytes: as stored, or inflated if it was deflated."""

    read: Read
    size_bytes: int
    elements: list[Node]

    def value(self, node: Node, most_bytes: int) -> bytes:
        """The value as encoded. Raises LimitExceeded if it has more than ``most_bytes``."""
        if node.length > most_bytes:
            raise LimitExceeded("max_element_value_bytes", most_bytes, node.length)
        return self.read(node.offset, node.length)


@dataclass(frozen=True, slots=True)
class Level:
    """A data set or an item that has signatures; ``place`` is "" for the data set."""

    place: str
    elements: list[Node]


def contents_of(read: Read, size_bytes: int, transfer_syntax: TransferSyntax, limits: ScanLimits) -> Contents:
    """Index the data set behind ``read``. A deflated one is held in memory, up to ``max_inflated_bytes``.

    Raises MalformedDataset or LimitExceeded.
    """
    if transfer_syntax.deflated:
        chunks = SeekableSource(read, 0, size_bytes).pieces(size_bytes)
        data = b"".join(inflated(chunks, limits))
        read, size_bytes = (lambda offset, length: data[offset : offset + length]), len(data)
    top: list[Node] = []
    levels, sequences = [top], list[Node]()
    for step in walk(SeekableSource(read, 0, size_bytes), coding_of(transfer_syntax), limits):
        kind = step.kind
        if kind is Kind.ITEM:
            items = sequences[-1].items
            assert items is not None
            items.append([])
            levels.append(items[-1])
        elif kind is Kind.ITEM_END:
            levels.pop()
        elif kind is Kind.SEQUENCE_END:
            node = sequences.pop()
            if node.is_encapsulated:
                node.length = step.offset - 8 - node.offset
        elif kind is not Kind.FRAGMENT:
            node = Node(step.tag, step.vr, step.coding, step.offset, step.length)
            levels[-1].append(node)
            if kind is Kind.VALUE:
                continue
            sequences.append(node)
            if kind is Kind.SEQUENCE:
                node.items = []
            else:
                node.is_encapsulated = True
    return Contents(read, size_bytes, top)


def signed_levels(elements: list[Node], place: str = "") -> Iterator[Level]:
    """Yield the level itself and then those within it, wherever there is a Digital Signatures Sequence."""
    if any(node.tag == DIGITAL_SIGNATURES for node in elements):
        yield Level(place, elements)
    for node in elements:
        if node.items is None or node.tag in (DIGITAL_SIGNATURES, MAC_PARAMETERS):
            continue
        before = f"{place}." if place else ""
        for number, item in enumerate(node.items, 1):
            if any(each.items is not None for each in item):
                yield from signed_levels(item, f"{before}({node.tag >> 16:04X},{node.tag & 0xFFFF:04X})[{number}]")
