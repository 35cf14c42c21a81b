"""One instance: what it is, in what condition, and everything that it says; and images to take along.

Whoever looks at what an instance says has it retrieved, and whoever takes images along has them exported: both are in
the trail with their counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.responses import Response

from strongroom.archive.metadata import with_root
from strongroom.archive.model import Action, Condition, Outcome, StoredObject
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation, Parameter
from strongroom.web.retrieving import recorded, retrieve
from strongroom.web.streaming import Delivered
from strongroom.web.ui.attributes import AttributeRow, rows_of
from strongroom.web.ui.drill import SeriesRow, kind_of, series_of, study_of
from strongroom.web.ui.elements import text_of
from strongroom.web.ui.pages import page
from strongroom.web.ui.studies import StudyRow, may
from strongroom.web.wado import deliver_file, deliver_zip, part_of

MAX_SEARCH_CHARS: Final = 64
ZIP: Final = "application/zip"
DICOM: Final = "application/dicom"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the page of an instance shows."""

    study: StudyRow
    series: SeriesRow
    stored: StoredObject
    condition: Condition
    number: str
    is_image: bool
    rows: list[AttributeRow]
    is_cut: bool


async def show_instance(call: Call) -> Response:
    """The page; only its rows for the script that asks while one types."""
    text = call.request.query_params.get("q", "")[:MAX_SEARCH_CHARS]
    seen = await call.services.run_blocking(_seen, call, text)
    template = "attribute_rows.html" if call.request.headers.get("hx-request") else "instance.html"
    return page(
        template, call, seen=seen, text=text, may=may(call), kind=kind_of(seen.stored.sop_class),
        syntax=TRANSFER_SYNTAXES[seen.stored.transfer_syntax].name,
    )  # fmt: skip


def _seen(call: Call, text: str) -> Seen:
    study, series = study_of(call), series_of(call)
    objects, delivery = retrieve(call, "metadata")
    with recorded(delivery):
        ((made,),) = call.services.metadata.of(objects[:1])
        encoded = b"".join(with_root((made,), call.base_url))
        dataset: dict[str, Any] = msgspec.json.decode(encoded)
        rows, is_cut = rows_of(dataset, text)
        condition = call.services.reader.condition(objects[0])
    delivery.made(len(encoded))
    delivery.object_done()
    delivery.sent_bytes = len(encoded)
    delivery.end(Outcome.SUCCESS)
    is_image = "00280010" in dataset
    return Seen(study, series, objects[0], condition, text_of(dataset, "00200013"), is_image, rows, is_cut)


async def save_instance(call: Call) -> Response:
    """The instance as a file (PS3.10), as it is stored."""
    return await call.services.run_blocking(_file, call)


def _file(call: Call) -> Delivered:
    objects, delivery = retrieve(call, "file", action=Action.EXPORT)
    with recorded(delivery):
        part = part_of(objects[0], objects[0].transfer_syntax)
        said = {"Content-Disposition": f'attachment; filename="{objects[0].sop_uid}.dcm"'}
        return deliver_file(call, delivery, part, said)


async def save_zip(call: Call) -> Response:
    """The instances of a study or of a series, as files in a ZIP archive that is made while it leaves."""
    return await call.services.run_blocking(_zip, call)


def _zip(call: Call) -> Delivered:
    retrieved = retrieve(call, "zip", action=Action.EXPORT)
    study, delivery = str(call.uids["study"]), retrieved.delivery
    delivery.progress = call.services.reader.under_way(call.principal, "ZIP archive", delivery.objects)
    with recorded(delivery):
        return deliver_zip(call, retrieved, str(call.uids.get("series", study)), f"{study}/")


_SERIES: Final = "/studies/{study}/series/{series}"
_INSTANCE: Final = f"{_SERIES}/instances/{{instance}}"
_STATUSES: Final = (200, 304, 412)

OPERATIONS: Final = (
    Operation(
        "pageInstance", "GET", _INSTANCE, show_instance, "One instance and what it says.", Right.GET,
        (Parameter("q", "query", "What occurs in a tag, a keyword, a VR or a value."),),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "saveInstance", "GET", f"{_INSTANCE}/file", save_instance, "One instance as a file.", Right.GET,
        produces=(DICOM,), statuses=_STATUSES, is_page=True,
    ),
    Operation(
        "saveStudy", "GET", "/studies/{study}/zip", save_zip, "The instances of a study as a ZIP archive.", Right.GET,
        produces=(ZIP,), statuses=_STATUSES, is_page=True,
    ),
    Operation(
        "saveSeries", "GET", f"{_SERIES}/zip", save_zip, "The instances of a series as a ZIP archive.", Right.GET,
        produces=(ZIP,), statuses=_STATUSES, is_page=True,
    ),
)  # fmt: skip
