"""What runs and how far it is: a page that asks again every few seconds, for as long as somebody may be looking."""

from __future__ import annotations

import time
from typing import Final

from starlette.responses import Response

from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation, Parameter
from strongroom.web.ui.pages import page
from strongroom.web.ui.trail import oversight_of

JOBS: Final = "/jobs"
REFRESHED_S: Final = 600
"""A page that was left open asks for so long: else whoever is away would never be signed out."""


async def show_jobs(call: Call) -> Response:
    """The page; only the jobs for the script that asks again."""
    now_s = int(time.time())
    given = call.request.query_params.get("from", "")
    began_s = int(given) if given.isascii() and given.isdecimal() and len(given) < 12 else now_s
    is_over = not now_s - REFRESHED_S <= began_s <= now_s
    found = await call.services.run_blocking(oversight_of(call).jobs, call.principal)
    is_part = bool(call.request.headers.get("hx-request"))
    template = "job_rows.html" if is_part else "jobs.html"
    now_us = now_s * 1_000_000
    return page(template, call, jobs=found, began_s=began_s, is_over=is_over, now_us=now_us)


OPERATIONS: Final = (
    Operation(
        "pageJobs", "GET", JOBS, show_jobs, "What runs, and how far it is.", Right.REVIEW,
        (Parameter("from", "query", "When somebody began to look, in seconds since 1970."),),
        produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
