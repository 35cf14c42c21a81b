"""The two words that anybody may read: that a worker answers, and whether it can do its work. Nothing about what is
here, of which version, or why not: that is in the log and in the metrics."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from strongroom.web.call import Call
from strongroom.web.operation import Operation


async def health(_call: Call) -> Response:
    """``ok``."""
    return PlainTextResponse("ok\n")


async def ready(call: Call) -> Response:
    """``ready``, or ``not ready`` with status 503; looked up once a second, however often it is asked."""
    if call.services.is_ready():
        return PlainTextResponse("ready\n")
    return PlainTextResponse("not ready\n", status_code=503)


_TEXT = ("text/plain",)

OPERATIONS = (
    Operation("health", "GET", "/health", health, "Whether it answers.", produces=_TEXT, public=True),
    Operation("ready", "GET", "/health/ready", ready, "Whether it can do its work.", produces=_TEXT, public=True),
)
