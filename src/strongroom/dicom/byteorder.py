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

BITS_ALLOCATED: Final = 0x00280100
_PIXEL_DATA: Final = 0x7FE00010


def word_bytes_of(tag: int, vr: bytes, bits_allocated: int) -> int:
    """Return how many bytes change places in a value; 0 where bytes have no order.

    ``bits_allocated`` is that of the image around it, 0 if it has none. OW is of 16-bit words (PS3.5 6.2), and only the
    bytes within each would change places in a sample of 32 bits too. The public samples have whole samples in big
    endian, and are read so by those who read them: so Pixel Data are read here.
    """
    word_bytes = WORD_BYTES.get(vr, 0)
    if tag == _PIXEL_DATA and vr == b"OW" and bits_allocated in (32, 64):
        return bits_allocated // 8
    return word_bytes


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
