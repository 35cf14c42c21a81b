"""WADO-URI: one instance by a query, ``GET /dicomweb/wado?requestType=WADO&studyUID=...`` (DICOM PS3.18 9).

What a request asks for and is not done here is refused, never passed over: whoever asks for an anonymised instance must
not get one that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.responses import Response

from strongroom.archive.model import StoredObject
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.errors import MalformedDataset, MalformedRequest, NotAcceptable, NotRepresentable
from strongroom.pixels.rendering import GIF, JPEG, MP4, PNG
from strongroom.pixels.syntaxes import CODECS, can_render, can_transcode
from strongroom.types import Right, Uid
from strongroom.web.call import Call
from strongroom.web.image_parameters import parse_frames, parse_uri_rendering
from strongroom.web.negotiation import STORED, Choice, Offer, negotiate
from strongroom.web.operation import PREFIX, Operation, Parameter
from strongroom.web.rendered import ALL_FRAMES, REPRESENTATIVE, Plan, checked, draw_first, send_drawn
from strongroom.web.retrieving import CONDITIONS, begun, recorded, retrieve
from strongroom.web.streaming import Delivered, Delivery
from strongroom.web.wado import DICOM, deliver_file, part_of

_UIDS: Final = (("study", "studyUID"), ("series", "seriesUID"), ("instance", "objectUID"))
_NOT_SUPPORTED: Final = ("anonymize", "presentationUID", "presentationSeriesUID")
_OF_IMAGES: Final = frozenset(
    {"annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality", "frameNumber"}
)
_OFFERS: Final = tuple(map(Offer, (JPEG, PNG, GIF, DICOM, MP4)))


async def retrieve_by_uri(call: Call) -> Response:
    """One instance, as a file or rendered."""
    query = _query(call)
    call = replace(call, uids={name: _uid(query, parameter) for name, parameter in _UIDS})
    choice = _choice(call, query)
    if choice.media_type == DICOM:
        _require_none_of_images(query)
        return await begun(call, await call.services.run_blocking(_file, call, query))
    plan = await call.services.run_blocking(_plan, call, query, choice)
    return plan if isinstance(plan, Response) else await send_drawn(call, plan, draw_first)


def _query(call: Call) -> Mapping[str, str]:
    """The parameters, each at most once. Raises MalformedRequest for those that are not supported."""
    pairs = call.request.query_params.multi_items()
    query = dict(pairs)
    if len(query) != len(pairs):
        raise MalformedRequest("a parameter is there twice")
    if query.get("requestType") != "WADO":
        raise MalformedRequest("requestType has to be WADO")
    for name in _NOT_SUPPORTED:
        if name in query:
            raise MalformedRequest(f"{name} is not supported")
    return query


def _uid(query: Mapping[str, str], name: str) -> Uid:
    try:
        return Uid.parse(query.get(name, ""))
    except MalformedDataset:
        raise MalformedRequest(f"{name} has to be a UID") from None


def _choice(call: Call, query: Mapping[str, str]) -> Choice:
    """The media type, by contentType within what Accept allows (PS3.18 9.1.2.2.1, 8.7.8)."""
    lines = call.request.headers.getlist("accept")
    accept = ", ".join(lines) or None
    content_type = query.get("contentType")
    if content_type is None:
        return negotiate(accept, _OFFERS)[0]
    wanted = negotiate(content_type, _OFFERS)
    allowed = {each.media_type for each in negotiate(accept, _OFFERS)}
    chosen = next((each for each in wanted if each.media_type in allowed), None)
    if chosen is None:
        raise NotAcceptable(tuple(offer.media_type for offer in _OFFERS))
    return chosen


def _require_none_of_images(query: Mapping[str, str]) -> None:
    found = sorted(_OF_IMAGES & query.keys())
    if found:
        raise MalformedRequest(f"{', '.join(found)} go with rendered images only")


def _plan(call: Call, query: Mapping[str, str], choice: Choice) -> Plan | Delivered:
    if "transferSyntax" in query:
        raise MalformedRequest("transferSyntax goes with application/dicom only")
    if "frameNumber" in query:
        frames = parse_frames(query["frameNumber"], 1)
    else:
        frames = ALL_FRAMES if choice.media_type in (GIF, MP4) else REPRESENTATIVE
    rendering = parse_uri_rendering(query, choice.media_type, frames)
    retrieved = retrieve(call, "rendered", {"service": "wado-uri"})
    with recorded(retrieved.delivery):
        stored = retrieved.objects[0]
        if "contentType" not in query and not can_render(stored.transfer_syntax):
            return _sent(call, retrieved.delivery, stored, stored.transfer_syntax)
        return checked(call, Plan(retrieved.objects, retrieved.delivery, rendering, "", choice))


def _file(call: Call, query: Mapping[str, str]) -> Delivered:
    retrieved = retrieve(call, "instances", {"service": "wado-uri"})
    with recorded(retrieved.delivery):
        stored = retrieved.objects[0]
        return _sent(call, retrieved.delivery, stored, _transfer_syntax(stored, query.get("transferSyntax")))


def _transfer_syntax(stored: StoredObject, wanted: str | None) -> str:
    """What is sent: as asked, else Explicit VR Little Endian where that loses nothing (PS3.18 9.1.2.2.2, 8.7.3)."""
    if wanted == STORED:
        return stored.transfer_syntax
    if wanted is not None:
        if not can_transcode(stored.transfer_syntax, wanted):
            raise NotRepresentable("the object is not sent in this transfer syntax", (f"{DICOM}; transfer-syntax=*",))
        return wanted
    codec = CODECS.get(stored.transfer_syntax)
    keeps = codec is None or codec.is_lossy
    return stored.transfer_syntax if keeps else EXPLICIT_VR_LITTLE_ENDIAN.uid


def _sent(call: Call, delivery: Delivery, stored: StoredObject, transfer_syntax: str) -> Delivered:
    part = part_of(stored, transfer_syntax)
    return deliver_file(call, delivery, part, {} if part.size is None else {"Content-Length": str(part.size)})


_TEXT: Final = {"type": "string"}
_PARAMETERS: Final = (
    Parameter("requestType", "query", "WADO.", {"type": "string", "enum": ["WADO"]}, required=True),
    *(Parameter(name, "query", f"UID of the {level}.", _TEXT, required=True) for level, name in _UIDS),
    Parameter("contentType", "query", "image/jpeg, image/png, image/gif, video/mp4 or application/dicom."),
    Parameter("transferSyntax", "query", "Of application/dicom; without it Explicit VR Little Endian, * as stored."),
    Parameter(
        "frameNumber", "query", "The frame, from 1; without it the one that stands for all.", {"type": "integer"}
    ),
    Parameter("rows", "query", "Largest height of the image.", {"type": "integer"}),
    Parameter("columns", "query", "Largest width of the image.", {"type": "integer"}),
    Parameter("region", "query", "left,top,right,bottom of a region, each from 0 to 1."),
    Parameter("windowCenter", "query", "With windowWidth: the window to apply.", {"type": "number"}),
    Parameter("windowWidth", "query", "With windowCenter.", {"type": "number"}),
    Parameter("imageQuality", "query", "Of JPEG and video, 1 to 100.", {"type": "integer"}),
    Parameter("annotation", "query", "Burned in: patient, technique, or both."),
    *CONDITIONS,
)

OPERATIONS: Final = (
    Operation(
        "retrieveByUri", "GET", f"{PREFIX}/wado", retrieve_by_uri, "One instance, as a file or rendered (WADO-URI).",
        Right.GET, _PARAMETERS, produces=(JPEG, PNG, GIF, MP4, DICOM), statuses=(200, 304, 412),
    ),
)  # fmt: skip
