"""What the service says of itself to whoever is known: OpenAPI, and the Capabilities Description (PS3.18 8.9)."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.web import wadl
from strongroom.web.call import Call
from strongroom.web.negotiation import Offer, negotiate
from strongroom.web.openapi import describe
from strongroom.web.operation import PREFIX, Handler, Operation

_OFFERS: Final = (Offer(wadl.XML), Offer(wadl.JSON))
MAX_DOCUMENTS: Final = 16
"""Kept as they were made: one for each name that the archive is called by, and each media type."""

_ALLOW: Final = {"allow": "OPTIONS"}


def with_descriptions(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the table with the operations that describe it, and so themselves too."""
    table: tuple[Operation, ...] = ()

    @cache
    def description() -> bytes:
        return msgspec.json.encode(describe(each for each in table if not each.is_page))

    @lru_cache(MAX_DOCUMENTS)
    def capabilities(base_url: str, media_type: str) -> bytes | str:
        document = wadl.capabilities(table, base_url)
        return msgspec.json.encode(wadl.as_json(document)) if media_type == wadl.JSON else wadl.as_xml(document)

    async def openapi(_call: Call) -> Response:
        return Response(description(), media_type="application/json")

    async def retrieve_capabilities(call: Call) -> Response:
        choice = negotiate(", ".join(call.request.headers.getlist("accept")) or None, _OFFERS)[0]
        content = capabilities(call.base_url, choice.media_type)
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
