"""Turn values of Explicit VR Big Endian into little endian (DICOM PS3.5 7.3)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from strongroom.errors import MalformedDataset

WORD_BYTES: Final[Mapping[bytes, int]] = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US"), 2),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
"""How many bytes a word of the VR has, for the VRs that have an order of bytes. An AT is two words."""

_ARRAY_CODES: Final[Mapping[int, str]] = {array(code).itemsize: code for code in "HIQ"}


def swapped(pieces: Iterable[bytes], word_bytes: int) -> Iterator[bytes]:
    """Yield ``pieces`` with the bytes of each word reversed. Raises MalformedDataset if they are no whole words."""
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        whole = len(data) - len(data) % word_bytes
        words = array(_ARRAY_CODES[word_bytes], data[:whole])
        words.byteswap()
        yield words.tobytes()
        rest = data[whole:]
    if rest:
        raise MalformedDataset("a value that is no whole number of words")
