"""The small pictures of pages: thumbnails as DICOMweb has them, and a sign in the place of what cannot be drawn.

A page of many objects has some without pixels, or too many at once for who draws: that is nothing to complain of.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from strongroom.errors import Busy, CodecFailed, LimitExceeded, NotRepresentable
from strongroom.types import Right
from strongroom.web import rendered
from strongroom.web.call import Call
from strongroom.web.operation import Operation

_SVG: Final = "image/svg+xml"
_NONE: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#1a2221"/>'
    b'<path d="M20 16h18l8 8v24H20z M38 16v8h8" fill="none" stroke="#7d8a87" stroke-width="2"/></svg>'
)
"""A sheet of paper on black."""


async def show_picture(call: Call) -> Response:
    """A picture of what the path names. Raises NotFound for what is not there, or not for who asks."""
    try:
        return await rendered.picture(call)
    except (NotRepresentable, CodecFailed, LimitExceeded, Busy) as error:
        again = "private, no-store" if isinstance(error, Busy) else "private, max-age=3600"
        return Response(_NONE, headers={"cache-control": again}, media_type=_SVG)


def _operation(name: str, path: str, summary: str) -> Operation:
    produces = ("image/jpeg", _SVG)
    return Operation(
        name, "GET", f"/studies/{{study}}{path}/picture", show_picture, summary, Right.GET,
        produces=produces, statuses=(200, 304), is_page=True,
    )  # fmt: skip


OPERATIONS: Final = (
    _operation("pictureOfStudy", "", "A small picture of a study."),
    _operation("pictureOfSeries", "/series/{series}", "A small picture of a series."),
    _operation("pictureOfInstance", "/series/{series}/instances/{instance}", "A small picture of an instance."),
)
