"""QIDO-RS: search for studies, series and instances (DICOM PS3.18 10.6)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from strongroom.archive import keys as kept
from strongroom.archive.encoded import compile_encoder
from strongroom.archive.model import Action, Level
from strongroom.archive.qido import parse_search
from strongroom.dicom.xmlmodel import to_xml
from strongroom.errors import InvalidQuery, LimitExceeded
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.exchange import Receive, Scope, Send
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import Choice, Offer, negotiate, require_utf_8
from strongroom.web.operation import PREFIX, Handler, Operation, Parameter
from strongroom.web.parameters import parse_query
from strongroom.web.room import Room
from strongroom.web.streaming import PIECE_BYTES

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
OFFERS: Final = (Offer(JSON), Offer(XML, is_multipart=True), Offer("application/json"))
_ABOVE: Final = {"study": kept.UNIQUE_KEYS[Level.STUDY], "series": kept.UNIQUE_KEYS[Level.SERIES]}

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def _search(level: Level) -> Handler:
    """The handler of a search for records at ``level``, below what the path names."""

    async def search(call: Call) -> Response:
        answer = await call.services.run_blocking(_answer, call, level)
        return Held(answer, call.services.room) if len(answer.body) > PIECE_BYTES else answer

    return search


def _answer(call: Call, level: Level) -> Response:
    """Search, and encode what was found. The first byte leaves when it is in the trail that it does."""
    services = call.services
    choice, pairs = _negotiated(call)
    above = {_ABOVE[name]: str(uid) for name, uid in call.uids.items()}
    try:
        search = parse_search(level, above, pairs, services.query_limits)
    except (InvalidQuery, LimitExceeded) as error:
        services.reader.refused(call.principal, Action.QUERY, error)
        raise
    found = services.reader.find(call.principal, search.query)
    encode = compile_encoder(search, services.reader.about, call.base_url)
    warnings = list(search.warnings)
    if found.truncated:
        count = "" if found.remaining is None else f"{found.remaining} "
        warnings.append(f"There are {count}additional results that can be requested")
    response = _encoded(choice, [encode(row) for row in found.rows])
    for warning in warnings:
        response.headers.append("warning", f"299 {call.base_url}: {warning}")
    return response


class Held(Response):
    """An answer that counts as held until its client has taken it, and leaves in pieces: a slow one fills no buffer."""

    def __init__(self, answer: Response, room: Room) -> None:
        """Raises Busy if too much is held already."""
        super().__init__(status_code=answer.status_code)
        self.body, self.raw_headers = answer.body, answer.raw_headers
        self._room = room
        room.take(len(self.body))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(0, len(self.body), PIECE_BYTES):
                piece = bytes(self.body[at : at + PIECE_BYTES])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if scope["method"] == "HEAD":  # which takes no more
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._room.give(len(self.body))


def _negotiated(call: Call) -> tuple[Choice, list[tuple[str, str]]]:
    """What to answer with, and the parameters of the query."""
    headers = call.request.headers
    pairs = parse_query(call.request.scope["query_string"], call.services.query_limits.max_query_keys)
    named: Mapping[str, str] = dict(pairs)
    require_utf_8(headers.get("accept-charset"), named.get("charset"))
    accept = ", ".join(headers.getlist("accept")) or None
    return negotiate(accept, OFFERS, named.get("accept"))[0], pairs


def _encoded(choice: Choice, records: list[bytes]) -> Response:
    if not records:
        return Response(status_code=204)  # PS3.18 8.3.4.4.1
    if not choice.is_multipart:
        return Response(b"[" + b",".join(records) + b"]", media_type=choice.media_type)
    boundary = boundary_of(secrets.token_bytes(16))
    writer = MultipartWriter(boundary)
    parts: list[bytes] = []
    for record in records:
        parts += (writer.part(XML), to_xml(_decode(record)))
    parts.append(writer.end())
    return Response(b"".join(parts), headers={"content-type": choice.content_type(boundary)})


_PARAMETERS: Final = (
    Parameter("includefield", "query", "Attributes to return beside the default ones, with commas, or all."),
    Parameter(
        "fuzzymatching", "query", "Match person names by the beginnings of their words.", {"type": "boolean"}
    ),
    Parameter("limit", "query", "The most results to return.", {"type": "integer", "minimum": 0}),
    Parameter("offset", "query", "Results to leave out at the beginning.", {"type": "integer", "minimum": 0}),
    Parameter(
        "emptyvaluematching", "query", 'A value of "" finds what has none (PS3.4 C.2.2.2.7).', {"type": "boolean"}
    ),
    Parameter(
        "multiplevaluematching", "query", "Several values of one attribute match any.", {"type": "boolean"}
    ),
)  # fmt: skip
_MATCHING: Final = (
    "Any attribute that the archive keeps may be a parameter, by keyword or by tag, of an item of a sequence with a "
    "point between: PatientName=DOE*, 00100020=4711, StudyDate=20260101-20260131, ModalitiesInStudy=CT,MR, "
    "RequestAttributesSequence.ScheduledProcedureStepID=7. Without a value it is returned and matches all. "
    "What can be matched is in the conformance statement; what is not kept is named in a Warning header."
)
_PRODUCES: Final = (JSON, f'multipart/related; type="{XML}"', "application/json")


def _operation(name: str, path: str, level: Level, summary: str) -> Operation:
    return Operation(
        name, "GET", PREFIX + path, _search(level), summary, Right.FIND, _PARAMETERS, (), _PRODUCES, (200, 204),
        more=_MATCHING,
    )  # fmt: skip


OPERATIONS: Final = (
    _operation("searchStudies", "/studies", Level.STUDY, "Search for studies."),
    _operation("searchSeries", "/series", Level.SERIES, "Search for series of all studies."),
    _operation("searchInstances", "/instances", Level.IMAGE, "Search for instances of all studies."),
    _operation("searchStudySeries", "/studies/{study}/series", Level.SERIES, "Search for series of a study."),
    _operation("searchStudyInstances", "/studies/{study}/instances", Level.IMAGE, "Search for instances of a study."),
    _operation(
        "searchSeriesInstances",
        "/studies/{study}/series/{series}/instances",
        Level.IMAGE,
        "Search for instances of a series.",
    ),
)
