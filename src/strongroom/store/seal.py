"""Sealed objects: Tink's streaming AEAD (AES256-GCM-HKDF) as pure functions of bytes.

A sealed object is ``40 || salt[32] || nonce prefix[7]`` followed by segments, each AES-256-GCM with its tag behind it.
The segment key is HKDF-SHA256(data key, salt, associated data), the nonce ``prefix || number || last flag``, so a
segment opens only in its own object, at its own place, and an object only as a whole. Every segment is
``segment_bytes`` long but the last; the first holds the header too, so segments lie on page boundaries of the file.
docs/blob-format.md has the layout byte by byte; Google's Tink reads it, which the tests prove.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import IntegrityError, LimitExceeded

SEGMENT_BYTES = 64 * 1024
"""Length of a full segment in the file, tag (and, in the first one, header) included; docs/adr/0003 has the reason."""
KEY_BYTES = 32
ID_BYTES = 16
TAG_BYTES = 16
SALT_BYTES = KEY_BYTES  # Tink: as long as the derived key
PREFIX_BYTES = 7
RANDOM_BYTES = SALT_BYTES + PREFIX_BYTES
"""Fresh random bytes that sealing one object takes."""
HEADER_BYTES = 1 + RANDOM_BYTES
OBJECT_KIND = b"object"

_MAX_SEGMENTS = 1 << 32  # the segment number has four bytes
_POSITION = struct.Struct(">IB")
_HEADER_LENGTH = bytes([HEADER_BYTES])


def associated_data(kind: bytes, object_id: bytes) -> bytes:
    """Return what a sealed object is bound to: format version 1, its ``kind`` and its 16-byte id.

    ``kind`` has a fixed length per version and holds no NUL, so two different bindings never give the same bytes.
    """
    if len(object_id) != ID_BYTES or not kind or b"\0" in kind:
        raise ValueError("an object id has 16 bytes and a kind no NUL")
    return b"strongroom\0" + kind + b"\0\1" + object_id


def sealed_length(plain_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Return the sealed size in bytes of ``plain_bytes`` plain ones."""
    segments = max(1, -(-(plain_bytes + HEADER_BYTES) // (segment_bytes - TAG_BYTES)))
    return HEADER_BYTES + plain_bytes + segments * TAG_BYTES


def _segment_cipher(key: bytes, salt: bytes, bound_to: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("a data key has 32 bytes")
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, bound_to).derive(key))


class Sealer:
    """Seals one object, a piece at a time, at constant memory. Not thread-safe.

    Whether a segment is the last is part of its nonce, so a segment can be sealed only once more data, or the end, is
    known: up to one segment of plain bytes waits in ``plain`` (which costs a copy, 2 us here). Segments that lie
    whole inside the data of one ``write`` are sealed from there, uncopied. ``plain`` and ``out`` belong to the caller
    and must stay untouched until ``finish``; ``len(plain)`` is the segment size, ``len(out)`` a multiple of it.

    ``drain`` is called with all of ``out`` whenever it is full and returns the buffer to go on with (the same, or
    another of the same size). No plain byte is ever put into ``out``.
    """

    __slots__ = ("_at", "_cipher", "_drain", "_held", "_number", "_out", "_plain", "_prefix", "_room")

    def __init__(
        self,
        key: bytes,
        bound_to: bytes,
        random: bytes,
        plain: memoryview,
        out: memoryview,
        drain: Callable[[memoryview], memoryview],
    ) -> None:
        """Begin an object under the 32-byte ``key``, bound to ``bound_to`` (see `associated_data`).

        ``random`` is RANDOM_BYTES of fresh cryptographic randomness, never used before.
        """
        segment_bytes = len(plain)
        if len(random) != RANDOM_BYTES or segment_bytes <= HEADER_BYTES + TAG_BYTES or len(out) % segment_bytes:
            raise ValueError("random bytes or buffers of the wrong length")
        self._cipher = _segment_cipher(key, random[:SALT_BYTES], bound_to)
        self._prefix = random[SALT_BYTES:]
        self._plain, self._out, self._drain = plain, out, drain
        self._number = self._held = 0
        self._room = segment_bytes - HEADER_BYTES - TAG_BYTES
        out[:1] = _HEADER_LENGTH
        out[1:HEADER_BYTES] = random
        self._at = HEADER_BYTES

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take in ``data`` (any length); the caller may reuse its buffer afterwards. Raises what ``drain`` raises."""
        held = self._held
        end = held + len(data)
        if end <= self._room:
            self._plain[held:end] = data
            self._held = end
        else:
            self._write_across(memoryview(data))

    def _write_across(self, data: memoryview) -> None:
        taken = 0
        if self._held:
            taken = self._room - self._held
            self._plain[self._held : self._room] = data[:taken]
            self._seal_segment(self._plain[: self._room], 0)
        while len(data) - taken > self._room:
            room = self._room
            self._seal_segment(data[taken : taken + room], 0)
            taken += room
        self._held = len(data) - taken
        self._plain[: self._held] = data[taken:]

    def _seal_segment(self, plain: memoryview, last: int) -> None:
        number, at = self._number, self._at
        if number >= _MAX_SEGMENTS:
            raise LimitExceeded("segments", _MAX_SEGMENTS)
        if at == len(self._out):
            self._out, at = self._drain(self._out), 0
        end = at + len(plain) + TAG_BYTES
        nonce = self._prefix + _POSITION.pack(number, last)
        self._cipher.encrypt_into(nonce, plain, None, self._out[at:end])
        self._number, self._at, self._held = number + 1, end, 0
        self._room = len(self._plain) - TAG_BYTES

    def finish(self) -> memoryview:
        """Seal the last segment and return what of the sealed object has not been drained yet, a view into ``out``.

        Raises what ``drain`` raises.
        """
        self._seal_segment(self._plain[: self._held], 1)
        return self._out[: self._at]


class Opener:
    """Opens the segments of one sealed object in any order. Holds no data; not thread-safe.

    ``size`` is the plain size and ``segments`` the number of segments that the sealed size calls for. A changed byte,
    a segment moved within or between objects, and a cut at any place are found when a segment that they touch is
    opened; a cut always changes which segment is the last.
    """

    __slots__ = ("_cipher", "_prefix", "_sealed_bytes", "_segment_bytes", "segments", "size")

    def __init__(
        self, key: bytes, bound_to: bytes, header: bytes, sealed_bytes: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Prepare to open an object of ``sealed_bytes`` that starts with the HEADER_BYTES in ``header``.

        Raises:
            IntegrityError: no sealed object has such a header or such a size.
        """
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise IntegrityError("not the header of a sealed object")
        segments, tail = divmod(sealed_bytes, segment_bytes)
        if tail:
            segments += 1
        least = HEADER_BYTES + TAG_BYTES if segments <= 1 else TAG_BYTES + 1
        if not 0 < segments <= _MAX_SEGMENTS or 0 < tail < least:
            raise IntegrityError(f"no sealed object has {sealed_bytes} bytes")
        self._cipher = _segment_cipher(key, header[1 : 1 + SALT_BYTES], bound_to)
        self._prefix = header[1 + SALT_BYTES :]
        self._sealed_bytes, self._segment_bytes = sealed_bytes, segment_bytes
        self.segments = segments
        self.size = sealed_bytes - HEADER_BYTES - segments * TAG_BYTES

    def locate(self, offset: int) -> tuple[int, int]:
        """Return the number of the segment that holds plain byte ``offset``, and the place of that byte in it."""
        number, within = divmod(offset + HEADER_BYTES, self._segment_bytes - TAG_BYTES)
        return (number, within) if number else (0, within - HEADER_BYTES)

    def span(self, number: int) -> tuple[int, int]:
        """Return where segment ``number`` starts and ends in the file, header left out."""
        start = number * self._segment_bytes
        return start if number else HEADER_BYTES, min(start + self._segment_bytes, self._sealed_bytes)

    def open_segment(self, number: int, sealed: bytes | memoryview) -> bytes:
        """Return the plain bytes of segment ``number``; ``sealed`` is what the file holds in ``span(number)``.

        Raises:
            IntegrityError: these are not the bytes that were sealed there under this key.
        """
        nonce = self._prefix + _POSITION.pack(number, number == self.segments - 1)
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise IntegrityError(f"segment {number} of {self.segments} does not open") from None

    def open_into(self, number: int, sealed: memoryview, plain: memoryview) -> None:
        """Put the plain bytes of segment ``number`` into ``plain``, which is as long as they are.

        Raises:
            IntegrityError: as `open_segment`; what is in ``plain`` then must not be used.
        """
        nonce = self._prefix + _POSITION.pack(number, number == self.segments - 1)
        try:
            self._cipher.decrypt_into(nonce, sealed, None, plain)
        except InvalidTag:
            raise IntegrityError(f"segment {number} of {self.segments} does not open") from None


def seal(key: bytes, bound_to: bytes, random: bytes, plain: bytes, segment_bytes: int = SEGMENT_BYTES) -> bytes:
    """Return ``plain`` sealed in one call; see `Sealer` for the arguments."""
    pieces: list[bytes] = []
    out = memoryview(bytearray(segment_bytes))

    def drain(filled: memoryview) -> memoryview:
        pieces.append(bytes(filled))
        return filled

    sealer = Sealer(key, bound_to, random, memoryview(bytearray(segment_bytes)), out, drain)
    sealer.write(plain)
    pieces.append(bytes(sealer.finish()))
    return b"".join(pieces)


def unseal(key: bytes, bound_to: bytes, sealed: bytes, segment_bytes: int = SEGMENT_BYTES) -> bytes:
    """Return the plain bytes of the whole object ``sealed``. Raises IntegrityError."""
    opener = Opener(key, bound_to, sealed[:HEADER_BYTES], len(sealed), segment_bytes)
    view = memoryview(sealed)
    spans = (opener.span(number) for number in range(opener.segments))
    return b"".join(opener.open_segment(number, view[start:end]) for number, (start, end) in enumerate(spans))
