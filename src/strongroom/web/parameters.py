"""The query of a request's target: names and values, decoded as strictly as they were to be encoded (RFC 3986 2.1).

A plus sign is a space, as HTML forms have it and most clients write it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from strongroom.errors import LimitExceeded, MalformedRequest

_BREAKS: Final = "\r\n"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_query(raw: bytes, max_parameters: int, texts: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Return names and values in the order in which they come; the value of one of ``texts`` may have several lines.

    Raises MalformedRequest for what is not percent-encoded UTF-8 or holds control characters, LimitExceeded for more
    than ``max_parameters``.
    """
    if not raw:
        return []
    pieces = raw.split(b"&", max_parameters)
    if len(pieces) > max_parameters:
        raise LimitExceeded("max_query_keys", max_parameters)
    if _BAD_ESCAPE.search(raw):
        raise MalformedRequest("a percent sign in the query begins no escape")
    pairs = []
    for piece in filter(None, pieces):
        raw_name, _, value = piece.partition(b"=")
        name = _decoded(raw_name)
        pairs.append((name, _decoded(value, _BREAKS if name in texts else "")))
    return pairs


def _decoded(raw: bytes, breaks: str = "") -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("the query is not UTF-8") from None
    if any((ord(character) < 32 or ord(character) == 127) and character not in breaks for character in text):
        raise MalformedRequest("a control character in the query")
    return text
