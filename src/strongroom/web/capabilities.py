"""What the service says of itself to whoever is known: OpenAPI, and the Capabilities Description (PS3.18 8.9)."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.web import wadl
from strongroom.web.call import Call
from strongroom.web.negotiation import Offer, negotiate
from strongroom.web.openapi import describe
from strongroom.web.operation import PREFIX, Handler, Operation

_OFFERS: Final = (Offer(wadl.XML), Offer(wadl.JSON))
_ALLOW: Final = {"allow": "OPTIONS"}


def with_descriptions(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the table with the operations that describe it, and so themselves too."""
    table: tuple[Operation, ...] = ()

    async def openapi(_call: Call) -> Response:
        return Response(msgspec.json.encode(describe(table)), media_type="application/json")

    async def retrieve_capabilities(call: Call) -> Response:
        choice = negotiate(", ".join(call.request.headers.getlist("accept")) or None, _OFFERS)[0]
        document = wadl.capabilities(table, call.base_url)
        if choice.media_type == wadl.JSON:
            content = msgspec.json.encode(wadl.as_json(document))
        else:
            content = wadl.as_xml(document)
        return Response(content, headers=_ALLOW, media_type=choice.media_type)

    def options(name: str, path: str, handler: Handler) -> Operation:
        return Operation(name, "OPTIONS", path, handler, "What the service can do.", produces=(wadl.XML, wadl.JSON))

    table = (
        *operations,
        Operation(
            "describe",
            "GET",
            f"{PREFIX}/openapi.json",
            openapi,
            "This service as OpenAPI 3.1.",
            produces=("application/json",),
        ),
        options("retrieveCapabilities", PREFIX, retrieve_capabilities),
        options("retrieveCapabilitiesOfRoot", f"{PREFIX}/", retrieve_capabilities),
    )
    return table
