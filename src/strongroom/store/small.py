"""Objects too small for a file of their own: sealed like any other, kept in a row of the index."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.store import seal


class SmallObjectReader:
    """BlobReader (archive.ports) of a small object, all of it in memory."""

    def __init__(self, object_id: bytes, key: bytes, sealed: bytes) -> None:
        """Open and authenticate ``sealed``. Raises IntegrityError."""
        self._plain = seal.unseal(key, seal.associated_data(seal.OBJECT_KIND, object_id), sealed)
        self.size = len(self._plain)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` plain bytes from ``offset``."""
        return self._plain[offset : offset + length]

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the plain bytes from ``offset`` on."""
        if offset < self.size:
            yield self._plain[offset:]

    def pieces(self, before: bytes = b"") -> Iterator[memoryview]:
        """Yield ``before`` and all plain bytes."""
        yield memoryview(before + self._plain)

    def close(self) -> None:
        """Forget the plain bytes."""
        self._plain = b""
