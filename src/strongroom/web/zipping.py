"""A ZIP archive made while it leaves, nothing in it compressed: pixel data hardly gets smaller."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable
from typing import Final, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

_NO_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest that ZIP knows: the same objects give the same bytes."""


class _Sink:
    """Takes what ``ZipFile`` writes, until somebody fetches it. It cannot seek: lengths follow the files."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep ``data``."""
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""

    def fetch(self) -> bytes:
        """What was written since the last call."""
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


def zip_chunks(
    files: Iterable[tuple[str, Iterable[bytes | memoryview]]], done: Callable[[], None]
) -> Generator[bytes, None, None]:
    """Yield a ZIP archive of ``files``, names and contents; says ``done`` behind each. Sizes are of 64 bits."""
    sink = _Sink()
    with ZipFile(cast("io.BytesIO", sink), "w", ZIP_STORED) as archive:
        for name, chunks in files:
            with archive.open(ZipInfo(name, _NO_DATE), "w", force_zip64=True) as file:
                for chunk in chunks:
                    file.write(chunk)
                    yield sink.fetch()
            yield sink.fetch()
            done()
    yield sink.fetch()
