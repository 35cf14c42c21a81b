"""The list of studies: newest first, searched as one types, as pages and as CSV; and all studies of one patient.

It asks the archive with the right and the scope of who is signed in, like everything that people see.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.responses import Response

from strongroom.archive.listing import MAX_LISTED, StudyList, StudyPage
from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.read import merged
from strongroom.errors import NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Operation, Parameter
from strongroom.web.ui.downloads import csv_row
from strongroom.web.ui.elements import JsonDataset, date_of, name_of, text_of, time_of, values_of
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.ohif import has_ohif
from strongroom.web.ui.pages import page, see_other, shown
from strongroom.web.ui.wanted import MODALITIES, PERIODS, SEALED, Wanted, wanted_of_address, wanted_of_form

STUDIES: Final = "/studies"
MAX_CSV_STUDIES: Final = 10_000

_COLUMNS: Final = (
    "Patient name", "Patient ID", "Birth date", "Study date", "Study time", "Modalities", "Description",
    "Accession number", "Series", "Instances", "Study Instance UID",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study as it is listed."""

    uid: str
    name: str
    patient_id: str
    birth_date: str
    sex: str
    date: str
    time: str
    description: str
    modalities: str
    accession: str
    referring: str
    series: str
    instances: str


async def show_studies(call: Call) -> Response:
    """The list."""
    return await _studies(call, wanted_of_address(call), "studies.html")


async def find_studies(call: Call) -> Response:
    """The list that a form asks for; only its rows, and where they are, for the script that asks while one types."""
    wanted = wanted_of_form(call, await read_form(call.request))
    place = wanted.address(STUDIES)
    if not call.request.headers.get("hx-request"):
        return see_other(place)
    answer = await _studies(call, wanted, "study_rows.html")
    answer.headers["hx-replace-url"] = place
    return answer


async def _studies(call: Call, wanted: Wanted, template: str) -> Response:
    found = await call.services.run_blocking(_one_page, call, wanted.as_list())
    return page(
        template, call, wanted=wanted, modalities=MODALITIES, periods=PERIODS, may=may(call),
        **_listed(found, STUDIES, wanted),
    )  # fmt: skip


async def show_patient(call: Call) -> Response:
    """All studies of the patient that a study is of: no value of his stands in an address."""
    asked = wanted_of_address(call)
    wanted = Wanted(older=asked.older, newer=asked.newer)
    study = str(call.uids["study"])
    found = await call.services.run_blocking(_of_patient, call, wanted)
    return page(
        "patient.html", call, wanted=wanted, study=study, may=may(call),
        **_listed(found, f"{STUDIES}/{study}/patient", wanted),
    )  # fmt: skip


def _of_patient(call: Call, wanted: Wanted) -> StudyPage:
    uid = str(call.uids["study"])
    reader, principal = call.services.reader, call.principal
    if not reader.list_studies(principal, StudyList(study_uid=uid, limit=1)).rows:
        raise NotFound("no such study")
    return _one_page(call, replace(wanted.as_list(), patient_of=uid))


def _one_page(call: Call, wanted: StudyList) -> StudyPage:
    found = call.services.reader.list_studies(call.principal, wanted)
    if wanted.newer_than and not found.has_newer:
        # What is left of the beginning is no page: the first one is shown whole.
        return call.services.reader.list_studies(call.principal, replace(wanted, newer_than=""))
    return found


def _listed(found: StudyPage, path: str, wanted: Wanted) -> Mapping[str, Any]:
    rows = [row_of(merged(each)) for each in found.rows]
    return {
        "rows": rows,
        "path": path,
        "newer": wanted.query(newer=rows[0].uid) if rows and found.has_newer else None,
        "older": wanted.query(older=rows[-1].uid) if rows and found.has_older else None,
    }


def may(call: Call) -> frozenset[str]:
    """What somebody may do, for pages to offer no more than that; ``ohif`` is to open studies in it."""
    found = frozenset(right.value for right in call.principal.rights)
    return found | {"ohif"} if has_ohif(call) else found


def row_of(each: JsonDataset) -> StudyRow:
    """One study of its attributes and of those of its patient."""
    return StudyRow(
        uid=text_of(each, "0020000D"),
        name=name_of(each, "00100010"),
        patient_id=text_of(each, "00100020"),
        birth_date=date_of(each, "00100030"),
        sex=text_of(each, "00100040"),
        date=date_of(each, "00080020"),
        time=time_of(each, "00080030"),
        description=text_of(each, "00081030"),
        modalities=", ".join(map(str, values_of(each, "00080061"))),
        accession=text_of(each, "00080050"),
        referring=name_of(each, "00080090"),
        series=text_of(each, "00201206"),
        instances=text_of(each, "00201208"),
    )


async def save_studies(call: Call) -> Response:
    """The list as it is searched, for a spreadsheet."""
    content = await call.services.run_blocking(_csv, call)
    headers = {"content-disposition": 'attachment; filename="studies.csv"', "cache-control": "private, no-store"}
    return Response(content, headers=headers, media_type="text/csv")


def _csv(call: Call) -> bytes:
    wanted = replace(wanted_of_address(call), older="", newer="").as_list(MAX_LISTED)
    rows = list(_all(call, wanted))
    details: Mapping[str, Detail] = {"what": "study-list", "studies": len(rows)}
    call.services.reader.ended(call.principal, Action.EXPORT, Outcome.SUCCESS, details)
    lines = [csv_row(_COLUMNS), *(csv_row(map(shown, _cells(each))) for each in rows)]
    return BOM_UTF8 + b"".join(lines)


def _all(call: Call, wanted: StudyList) -> Iterator[StudyRow]:
    left = MAX_CSV_STUDIES
    while left:
        found = call.services.reader.list_studies(call.principal, replace(wanted, limit=min(wanted.limit, left)))
        rows = [row_of(merged(each)) for each in found.rows]
        yield from rows
        left -= len(rows)
        if not rows or not found.has_older:
            return
        wanted = replace(wanted, older_than=rows[-1].uid)


def _cells(each: StudyRow) -> Iterator[str]:
    yield from (each.name, each.patient_id, each.birth_date, each.date, each.time, each.modalities, each.description)
    yield from (each.accession, each.series, each.instances, each.uid)


_NARROWING: Final = (
    Parameter(SEALED, "query", "What was typed, sealed."),
    Parameter("modality", "query", "A modality that the study has."),
    Parameter("days", "query", "How far back."),
    Parameter("from", "query", "The first study date."),
    Parameter("to", "query", "The last study date."),
)
_PAGING: Final = (
    Parameter("older", "query", "The study that the page before ended with."),
    Parameter("newer", "query", "The study that the page after began with."),
)

OPERATIONS: Final = (
    Operation(
        "pageStudies", "GET", STUDIES, show_studies, "The list of studies.", Right.FIND,
        (*_NARROWING, *_PAGING), produces=("text/html",), is_page=True,
    ),
    Operation(
        "findStudies", "POST", STUDIES, find_studies, "Search the list of studies.", Right.FIND, consumes=(FORM,),
        produces=("text/html",), statuses=(200, 303), is_page=True,
    ),
    Operation(
        "saveStudies", "GET", "/studies.csv", save_studies, "The list of studies for a spreadsheet.", Right.FIND,
        _NARROWING, produces=("text/csv",), is_page=True,
    ),
    Operation(
        "pagePatient", "GET", f"{STUDIES}/{{study}}/patient", show_patient, "All studies of a patient.", Right.FIND,
        _PAGING, produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
