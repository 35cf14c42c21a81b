"""A stored data set on its way out: as it is stored, or converted among the uncompressed transfer syntaxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from strongroom.archive.model import StoredObject
from strongroom.archive.ports import BlobReader
from strongroom.archive.read import Reader
from strongroom.dicom.convert import convert
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import IntegrityError

HELD_BYTES: Final = 2**20
"""An object up to this size is read as a whole before its first byte leaves, so that one which is damaged fails alone.

With a larger one that turns out to be damaged midway, the connection has to go: neither DIMSE nor HTTP can take back
what was sent.
"""


class Chunks:
    """The data set of one object as it leaves, and how many ``bytes`` of it have left."""

    __slots__ = ("_chunks", "bytes")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.bytes += len(chunk)
            yield chunk


def open_whole(reader: Reader, stored: StoredObject) -> BlobReader:
    """Open a stored object, whose size is what was stored. Raises as ``Reader.open`` does."""
    blob = reader.open(stored)
    if blob.size != stored.data_bytes:
        blob.close()
        raise IntegrityError(f"an object of {blob.size} bytes where {stored.data_bytes} were stored")
    return blob


@contextmanager
def opened(reader: Reader, stored: StoredObject, transfer_syntax: str) -> Iterator[Chunks]:
    """The data set of a stored object in ``transfer_syntax``, HELD_BYTES in memory at most.

    Raises what can be wrong with the object or with its conversion: of a small object, or one that is converted, before
    anything is handed out.
    """
    blob = open_whole(reader, stored)
    try:
        source = TRANSFER_SYNTAXES[stored.transfer_syntax]
        if stored.transfer_syntax == transfer_syntax:
            yield Chunks(list(blob.chunks()) if blob.size <= HELD_BYTES else blob.chunks())
        else:
            target = TRANSFER_SYNTAXES[transfer_syntax]
            if blob.size <= HELD_BYTES and not source.deflated:
                yield Chunks(list(convert(blob.chunks(), source, target)))
            else:
                for _ in convert(blob.chunks(), source, target):
                    pass  # To the end once: what cannot be converted must not be noticed when half of it has left.
                yield Chunks(convert(blob.chunks(), source, target))
    finally:
        blob.close()
