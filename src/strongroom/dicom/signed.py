"""Notice, as the bytes of a data set pass, that it may have digital signatures (DICOM PS3.3 C.12.1.1.3)."""

from __future__ import annotations

from typing import Final

from strongroom.dicom.dictionary import TransferSyntax

_MAC_PARAMETERS: Final = {True: b"\xfe\x4f\x01\x00", False: b"\x4f\xfe\x00\x01"}


class SignatureSpotter:
    """Looks for the tag of MAC Parameters Sequence (4FFE,0001), at any depth and whatever its encoding.

    Every signature needs one, and at every level it comes before pixel data: so what is behind their beginning, nearly
    all of an image, is not looked at. ``found`` may be true for a data set without signatures, never false for one with
    them; of a deflated one it is always true.
    """

    __slots__ = ("_is_done", "_needle", "_offset", "_tail", "found")

    def __init__(self, transfer_syntax: TransferSyntax) -> None:
        self.found = self._is_done = transfer_syntax.deflated
        self._needle = _MAC_PARAMETERS[transfer_syntax.little_endian]
        self._tail = b""
        self._offset = 0

    def feed(self, data: bytes | bytearray | memoryview, pixel_data_offset: int | None) -> None:
        """Take the next bytes; ``pixel_data_offset`` is where pixel data begin, if that is known with these bytes."""
        if self._is_done:
            return
        if pixel_data_offset is not None:
            self._is_done = pixel_data_offset <= self._offset + len(data)
            data = data[: max(pixel_data_offset - self._offset, 0)]
        seen = self._tail + bytes(data)
        if self._needle in seen:
            self.found = self._is_done = True
        self._tail = seen[1 - len(self._needle) :]
        self._offset += len(data)
