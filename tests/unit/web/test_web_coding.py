"""gzip: for who says so, and nobody else."""

from __future__ import annotations

import gzip

import pytest

from strongroom.web.coding import gzipped, takes_gzip


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("GZIP;q=0.5", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=7", False),
        ("x" * 100_000 + ",gzip", False),
    ],
)
def test_who_takes_gzip(field: str | None, taken: bool) -> None:
    assert takes_gzip(field) is taken


def test_what_is_compressed_is_the_same() -> None:
    pieces = [b"[", b'{"a":1}' * 10_000, b"", b"]"]
    packed = b"".join(gzipped(pieces))
    assert gzip.decompress(packed) == b"".join(pieces)
    assert len(packed) < 1000
