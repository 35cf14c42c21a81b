"""A ZIP archive that is made while it leaves."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator

from strongroom.web.zipping import zip_chunks


def test_what_is_in_it_is_what_went_in_and_the_same_each_time() -> None:
    files = {"a/1.dcm": [b"x" * 10, b"", b"y"], "a/2.dcm": [], "b/3.dcm": [bytes(100_000)]}
    done: list[int] = []

    def packed() -> bytes:
        return b"".join(zip_chunks(((name, chunks) for name, chunks in files.items()), lambda: done.append(1)))

    raw = packed()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: b"".join(chunks) for name, chunks in files.items()
        }
    assert len(done) == len(files)
    assert packed() == raw


def test_a_large_file_is_never_held() -> None:
    chunk = bytes(2**20)

    def chunks() -> Iterator[bytes]:
        for _ in range(256):
            yield chunk

    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in zip_chunks([("large.dcm", chunks())], lambda: None))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > 256 * 2**20
    assert peak < 16 * 2**20
