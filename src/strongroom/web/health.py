"""The one line that anybody may read: that the worker answers. Nothing about what is here, or of which version."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from strongroom.web.call import Call
from strongroom.web.operation import Operation


async def health(_call: Call) -> Response:
    """``ok``."""
    return PlainTextResponse("ok\n")


OPERATIONS = (
    Operation("health", "GET", "/health", health, "Whether it answers.", produces=("text/plain",), public=True),
)
