"""The small viewer: rendered frames of one study, scrolled through and windowed.

It asks the archive as DICOMweb does, with the right and the scope of who is signed in. It works wherever pages work; it
shows what the server renders, and is not meant for diagnosis.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from strongroom.archive.model import Level
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation
from strongroom.web.ui.drill import MAX_SERIES, ask, study_of
from strongroom.web.ui.elements import number_of, text_of, values_of
from strongroom.web.ui.ohif import has_ohif
from strongroom.web.ui.pages import page

MAX_INSTANCES: Final = 5000
"""Of one study, in the order in which they came."""


async def show_viewer(call: Call) -> Response:
    """The viewer on one study."""
    series = await call.services.run_blocking(_series_of, call)
    return page("viewer.html", call, has_ohif=has_ohif(call), **series)


def _series_of(call: Call) -> dict[str, Any]:
    study = study_of(call)
    images: dict[str, list[tuple[int, str, int]]] = {}
    instances = ask(call, Level.IMAGE, ("limit", str(MAX_INSTANCES)))
    for each in instances:
        number = (number_of(each, "00200013"), text_of(each, "00080018"), max(1, number_of(each, "00280008")))
        if values_of(each, "00280010"):
            images.setdefault(text_of(each, "0020000E"), []).append(number)
    found = sorted(ask(call, Level.SERIES, ("limit", str(MAX_SERIES))), key=lambda each: number_of(each, "00200011"))
    series = [
        {
            "uid": uid,
            "modality": text_of(each, "00080060"),
            "number": text_of(each, "00200011"),
            "description": text_of(each, "0008103E"),
            "images": [[sop, frames] for _, sop, frames in sorted(images.get(uid, []))],
        }
        for each in found
        if (uid := text_of(each, "0020000E"))
    ]
    return {"study": study, "series": series, "cut": MAX_INSTANCES if len(instances) == MAX_INSTANCES else 0}


OPERATIONS: Final = (
    Operation(
        "pageViewer", "GET", "/studies/{study}/viewer", show_viewer, "The small viewer on one study.", Right.GET,
        produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
