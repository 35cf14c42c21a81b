"""WADO-RS metadata of a study, of a series, or of one instance (DICOM PS3.18 10.4.1.1.2), as JSON or XML."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.archive.metadata import with_root
from strongroom.dicom.xmlmodel import to_xml
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.coding import GZIP, gzipped, takes_gzip
from strongroom.web.conditional import strong_tag
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import MULTIPART, Offer, negotiate, require_utf_8
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.retrieving import ACCEPT, CONDITIONS, VARY, accepted, is_head, not_sent, recorded, retrieve
from strongroom.web.streaming import Body, Delivered, Delivery

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
_PLAIN_JSON: Final = "application/json"
_OFFERS: Final = (Offer(JSON), Offer(XML, is_multipart=True), Offer(_PLAIN_JSON))
_FORM: Final = "1"
"""Of the answers: part of their entity tags, to be changed when the same objects give other bytes."""

WHOLE_BYTES: Final = 4 * 2**20
"""An answer up to this size is made before it leaves, and says how long it is."""


async def retrieve_metadata(call: Call) -> Response:
    """What the instances say, but for their bulk data, which is named by URIs."""
    return await call.services.run_blocking(_retrieve, call)


def _retrieve(call: Call) -> Response:
    accept, query = accepted(call)
    choice = negotiate(accept, _OFFERS, query)[0]
    require_utf_8(call.request.headers.get("accept-charset"), call.request.query_params.get("charset"))
    objects, delivery = retrieve(call, "metadata")
    coded = takes_gzip(call.request.headers.get("accept-encoding"))
    with recorded(delivery):
        tag = strong_tag(
            _FORM, choice.media_type, call.base_url, GZIP if coded else "", *(each.object_id for each in objects)
        )
        unsent = not_sent(call, delivery, tag)
        if unsent is not None:
            return unsent.begin(is_head=True)
        some = (with_root(one, call.base_url) for one in call.services.metadata.of(objects))
        boundary = boundary_of(bytes.fromhex(tag[1:-1])) if choice.is_multipart else ""
        body = _xml(some, boundary, delivery) if choice.is_multipart else _json(some, delivery)
        said = {"Content-Type": choice.content_type(boundary), "ETag": tag, "Vary": f"{VARY}, Accept-Encoding"}
        if coded:
            said["Content-Encoding"] = GZIP
            body = gzipped(body)
        if not is_head(call):
            first, is_whole = _begun(body)
            if is_whole:
                said["Content-Length"] = str(len(first))
            body = _after(first, body)
        return Delivered(delivery, call.services.run_blocking, 200, said, body).begin(is_head=is_head(call))


def _begun(body: Body) -> tuple[bytes, bool]:
    """The first WHOLE_BYTES of a body and a little more, and whether that is all of it."""
    held, size = [], 0
    for chunk in body:
        held.append(chunk)
        size += len(chunk)
        if size > WHOLE_BYTES:
            return b"".join(held), False
    return b"".join(held), True


def _after(first: bytes, body: Body) -> Body:
    """``first`` in one piece, so that its objects count as sent with all of it, and what follows."""
    with closing(body):
        yield first
        yield from body


def _json(some: Iterable[Iterable[bytes]], delivery: Delivery) -> Body:
    lead = b"["
    for group in some:
        members = list(group)
        yield lead + b",".join(members)
        for _ in members:
            delivery.object_done()
        lead = b","
    yield b"]"


def _xml(some: Iterable[Iterable[bytes]], boundary: str, delivery: Delivery) -> Body:
    writer = MultipartWriter(boundary)
    for group in some:
        for one in group:
            yield writer.part(XML) + to_xml(msgspec.json.decode(one))
            delivery.object_done()
    yield writer.end()


_PATH: Final = f"{PREFIX}/studies/{{study}}"
_PRODUCES: Final = (JSON, f'{MULTIPART}; type="{XML}"', _PLAIN_JSON)
_STATUSES: Final = (200, 304, 412)


def _operation(name: str, path: str, summary: str) -> Operation:
    return Operation(
        name, "GET", f"{_PATH}{path}/metadata", retrieve_metadata, summary, Right.GET, ACCEPT + CONDITIONS,
        produces=_PRODUCES, statuses=_STATUSES,
    )  # fmt: skip


OPERATIONS: Final = (
    _operation("retrieveStudyMetadata", "", "What the instances of a study say."),
    _operation("retrieveSeriesMetadata", "/series/{series}", "What the instances of a series say."),
    _operation(
        "retrieveInstanceMetadata", "/series/{series}/instances/{instance}", "What one instance says, bulk data named."
    ),
)
