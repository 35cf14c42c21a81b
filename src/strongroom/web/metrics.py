"""What the archive counts of itself, for a Prometheus: numbers, words of ours and names that its operator has given.

It is here, behind TLS and a right of its own, and not on a port without either: how much a hospital examines, and when,
is nobody else's business.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(call: Call) -> Response:
    """Everything that is counted, by all processes."""
    return Response(call.services.metrics(), media_type=MEDIA_TYPE)


OPERATIONS = (
    Operation(
        "metrics", "GET", "/metrics", metrics, "Counters and gauges of the whole archive, in the format of Prometheus.",
        right=Right.METRICS, produces=("text/plain",),
    ),
)  # fmt: skip
