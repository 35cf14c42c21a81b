"""From a study to its series to their instances: what is in each, as far as who is signed in may know of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from strongroom.archive.answers import JsonDataset
from strongroom.archive.keys import UNIQUE_KEYS
from strongroom.archive.listing import StudyList
from strongroom.archive.model import Level
from strongroom.archive.qido import parse_search
from strongroom.archive.read import merged
from strongroom.dicom.dictionary import UID_NAMES
from strongroom.errors import NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation, Parameter
from strongroom.web.ui.elements import date_of, number_of, text_of, time_of
from strongroom.web.ui.pages import page
from strongroom.web.ui.studies import StudyRow, may, row_of

MAX_SERIES: Final = 1000
PAGE_INSTANCES: Final = 96
RUN_PAGES: Final = 52
RUN_INSTANCES: Final = RUN_PAGES * PAGE_INSTANCES
"""Instances that are put in the order of their numbers; a longer series is shown in runs of so many, as they came."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series as it is listed."""

    uid: str
    number: str
    modality: str
    description: str
    body_part: str
    date: str
    time: str
    station: str
    instances: str


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance as it is listed. ``is_image``: it says that it has rows of pixels."""

    uid: str
    number: str
    kind: str
    frames: int
    is_image: bool


def study_of(call: Call) -> StudyRow:
    """The study of the path. Raises NotFound: it is not here, or nobody who asks may know of it."""
    wanted = StudyList(study_uid=str(call.uids["study"]), limit=1)
    found = call.services.reader.list_studies(call.principal, wanted).rows
    if not found:
        raise NotFound("no such study")
    return row_of(merged(found[0]))


def ask(call: Call, level: Level, *parameters: tuple[str, str]) -> list[JsonDataset]:
    """What lies below the UIDs of the path, by QIDO-RS's rules."""
    above = {UNIQUE_KEYS[Level.STUDY]: str(call.uids["study"])}
    if "series" in call.uids:
        above[UNIQUE_KEYS[Level.SERIES]] = str(call.uids["series"])
    search = parse_search(level, above, parameters, call.services.query_limits)
    return list(call.services.reader.search(call.principal, search.query))


_OF_SERIES: Final = "BodyPartExamined,SeriesDate,SeriesTime,StationName"


def series_rows(call: Call) -> list[SeriesRow]:
    """The series of the study of the path, by their numbers."""
    found = ask(call, Level.SERIES, ("limit", str(MAX_SERIES)), ("includefield", _OF_SERIES))
    return [_series_row(each) for each in sorted(found, key=lambda each: number_of(each, "00200011"))]


def series_of(call: Call) -> SeriesRow:
    """The series of the path. Raises NotFound."""
    # The UID is asked for, and not given with the path: records of a level lie below what a path names.
    above = {UNIQUE_KEYS[Level.STUDY]: str(call.uids["study"])}
    asked = (("SeriesInstanceUID", str(call.uids["series"])), ("includefield", _OF_SERIES))
    search = parse_search(Level.SERIES, above, asked, call.services.query_limits)
    found = list(call.services.reader.search(call.principal, search.query))
    if not found:
        raise NotFound("no such series")
    return _series_row(found[0])


def _series_row(each: JsonDataset) -> SeriesRow:
    return SeriesRow(
        uid=text_of(each, "0020000E"),
        number=text_of(each, "00200011"),
        modality=text_of(each, "00080060"),
        description=text_of(each, "0008103E"),
        body_part=text_of(each, "00180015"),
        date=date_of(each, "00080021"),
        time=time_of(each, "00080031"),
        station=text_of(each, "00081010"),
        instances=text_of(each, "00201209"),
    )


async def show_study(call: Call) -> Response:
    """One study: who it is of, and its series."""
    study, series = await call.services.run_blocking(lambda: (study_of(call), series_rows(call)))
    return page("study.html", call, study=study, series=series, may=may(call))


async def show_series(call: Call) -> Response:
    """One series: its instances, a page of them at a time."""
    study, series, number, found = await call.services.run_blocking(_page_of_series, call)
    total = int(series.instances or 0)
    return page(
        "series.html", call, study=study, series=series, instances=found, may=may(call), number=number,
        last=_pages(total), total=total, run=RUN_INSTANCES,
    )  # fmt: skip


def _page_of_series(call: Call) -> tuple[StudyRow, SeriesRow, int, list[InstanceRow]]:
    study, series = study_of(call), series_of(call)
    asked = call.request.query_params.get("page", "")
    number = int(asked) if asked.isascii() and asked.isdecimal() and 0 < len(asked) < 8 else 1
    number = max(1, min(number, _pages(int(series.instances or 0))))
    run, at = divmod(number - 1, RUN_PAGES)
    limits = (("limit", str(RUN_INSTANCES)), ("offset", str(run * RUN_INSTANCES)))
    found = _instances(ask(call, Level.IMAGE, *limits))
    return study, series, number, found[at * PAGE_INSTANCES : (at + 1) * PAGE_INSTANCES]


def _pages(instances: int) -> int:
    return max(1, -(-instances // PAGE_INSTANCES))


def _instances(found: Iterable[JsonDataset]) -> list[InstanceRow]:
    ordered = sorted(found, key=lambda each: number_of(each, "00200013"))
    return [
        InstanceRow(
            uid=text_of(each, "00080018"),
            number=text_of(each, "00200013"),
            kind=kind_of(text_of(each, "00080016")),
            frames=max(1, number_of(each, "00280008")),
            is_image=number_of(each, "00280010") > 0,
        )
        for each in ordered
    ]


def kind_of(sop_class: str) -> str:
    """What a SOP class is, in words."""
    return UID_NAMES.get(sop_class, sop_class).removesuffix(" Storage")


OPERATIONS: Final = (
    Operation(
        "pageStudy", "GET", "/studies/{study}", show_study, "One study and its series.", Right.FIND,
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageSeries", "GET", "/studies/{study}/series/{series}", show_series, "One series and its instances.",
        Right.FIND, (Parameter("page", "query", "Which page of instances, from 1."),),
        produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
