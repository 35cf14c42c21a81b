"""Content coding of answers: gzip, for text of some length and nothing else (RFC 9110 8.4.1.3, 12.5.3).

Pixel data hardly gets smaller, and what is secret never stands beside what a stranger chose in one answer: a caller
reads what the caller may read, so that lengths tell nothing (BREACH).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator, Iterable
from typing import Final

GZIP: Final = "gzip"
_LEVEL: Final = 1
"""Metadata repeats itself so much that more effort gains little."""
_HEADER_AND_TRAILER: Final = 16 + zlib.MAX_WBITS
_MAX_HEADER_CHARS: Final = 1024
_CODING: Final = re.compile(
    r"\s*(gzip|x-gzip|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?\s*", re.IGNORECASE
)


def takes_gzip(accept_encoding: str | None) -> bool:
    """Return whether a client takes gzip: it has to say so."""
    weights = {}
    for element in (accept_encoding or "")[:_MAX_HEADER_CHARS].split(","):
        found = _CODING.fullmatch(element)
        if found:
            weights[found[1].lower().removeprefix("x-")] = float(found[2] or 1)
    return weights.get(GZIP, weights.get("*", 0.0)) > 0


def gzipped(body: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Yield ``body`` compressed."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _HEADER_AND_TRAILER)
    for chunk in body:
        yield compressor.compress(chunk)
    yield compressor.flush()
