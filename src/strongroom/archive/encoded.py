"""Answers of a search as encoded JSON (DICOM PS3.18 F.2), put together from what the index keeps encoded already.

What is kept as JSON is cut at its top level only, and the pieces asked for are joined: no value is decoded or encoded
again, but for the levels that are kept as they came and for sequences, which lose the character sets of their items.
The answer is that of ``answers.compile_answer``, with the retrieve URL added, to the byte where it has all attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from strongroom.archive import keys as kept
from strongroom.archive.answers import AboutArchive, compile_answer
from strongroom.archive.attributes import decode_attributes
from strongroom.archive.model import Level, SearchRow
from strongroom.archive.qido import RETRIEVE_URL, Search
from strongroom.archive.query import Query, ReturnKey

_split: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_parse: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode

_URL_NAME: Final = f"{RETRIEVE_URL:08X}"
_CHARSET: Final = f'"{kept.SPECIFIC_CHARACTER_SET:08X}":'.encode("ascii")
_STUDY, _SERIES, _INSTANCE = (f"{kept.UNIQUE_KEYS[level]:08X}" for level in (Level.STUDY, Level.SERIES, Level.IMAGE))
_UID_PARTS: Final = {
    Level.STUDY: ((_STUDY, "/studies/"),),
    Level.SERIES: ((_STUDY, "/studies/"), (_SERIES, "/series/")),
    Level.IMAGE: ((_STUDY, "/studies/"), (_SERIES, "/series/"), (_INSTANCE, "/instances/")),
}

Piece = Callable[[dict[str, Any], SearchRow], bytes]


def compile_encoder(search: Search, about: AboutArchive, base_url: str) -> Callable[[SearchRow], bytes]:
    """Return a function that encodes the answer for a record. It is pure and may be shared by threads.

    ``base_url`` is the root of the service, without a slash at its end.
    """
    query = search.query
    plan = [
        (f"{key.tag:08X}", f'"{key.tag:08X}":'.encode("ascii"), key.tag in search.optional, _piece(key, query, about))
        for key in query.returned
    ]
    url_label = f'"{_URL_NAME}":'.encode("ascii")
    url_at = sum(key.tag < RETRIEVE_URL for key in query.returned)
    charset = _CHARSET + _encode({"vr": "CS", "Value": [about.charset]})
    uids = _UID_PARTS[query.level]

    def encode(row: SearchRow) -> bytes:
        pieces = _pieces(row)
        parts = []
        for name, label, is_optional, piece in plan:
            found = piece(pieces, row)
            if not is_optional or (name in pieces and b'"Value"' in found):
                parts.append(label + found)
            elif name < _URL_NAME:
                parts.append(b"")  # keeps the place of the retrieve URL
        url = base_url + "".join(between + _uid(pieces[name]) for name, between in uids)
        parts.insert(url_at, url_label + b'{"vr":"UR","Value":[' + _encode(url) + b"]}")
        body = b",".join(filter(None, parts))
        return b"{" + (body if body.isascii() else charset + b"," + body) + b"}"

    return encode


def _piece(key: ReturnKey, query: Query, about: AboutArchive) -> Piece:
    """What encodes one attribute of a record."""
    name, empty = f"{key.tag:08X}", _encode({"vr": key.vr})
    if key.tag in kept.ANSWERED_TAGS or key.vr == "SQ":
        one = Query(query.level, query.model, (), (key,))
        build = compile_answer(one, about)

        def rebuilt(pieces: dict[str, Any], _row: SearchRow) -> bytes:
            found = pieces.get(name)
            stored = {} if found is None else {name: _parse(found) if isinstance(found, msgspec.Raw) else found}
            return _encode(build(stored)[name])

        fixed = rebuilt({}, SearchRow((), {}))
        return (lambda _pieces, _row: fixed) if key.tag in kept.ANSWERED_TAGS else rebuilt
    if key.tag in kept.COMPUTED_TAGS:
        return lambda _pieces, row: _encode(row.computed[name]) if name in row.computed else empty

    def stored(pieces: dict[str, Any], _row: SearchRow) -> bytes:
        found = pieces.get(name)
        if found is None:
            return empty
        return bytes(found) if isinstance(found, msgspec.Raw) else _encode(found)

    return stored


def _pieces(row: SearchRow) -> dict[str, Any]:
    """The attributes of all levels of a record: encoded where they are kept so, decoded where they are not."""
    pieces: dict[str, Any] = {}
    for encoded in row.attributes:
        pieces.update(_split(encoded) if encoded[:1] == b"{" else decode_attributes(encoded))
    return pieces


def _uid(found: Any) -> str:
    element = _parse(found) if isinstance(found, msgspec.Raw) else found
    return str(element["Value"][0])
