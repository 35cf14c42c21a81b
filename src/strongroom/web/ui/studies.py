"""Studies as people look for them, and the small viewer: rendered frames, scrolled through and windowed.

Both ask the archive as DICOMweb does, with the right and the scope of who is signed in. The viewer works wherever pages
work; it shows what the server renders, and is not meant for diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from strongroom.archive.answers import JsonDataset
from strongroom.archive.keys import UNIQUE_KEYS
from strongroom.archive.model import Level
from strongroom.archive.qido import parse_search
from strongroom.errors import NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation, Parameter
from strongroom.web.ui.pages import page

PAGE_STUDIES: Final = 50
MAX_SERIES: Final = 500
MAX_INSTANCES: Final = 5000
MAX_TERM_CHARS: Final = 64
MODALITIES: Final = ("CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "RF", "US", "XA")
PERIODS: Final = {"1": "today", "7": "last 7 days", "30": "last 30 days", "365": "last year"}

_WILD: Final = str.maketrans("", "", "\\*?")
_UID: Final = UNIQUE_KEYS[Level.STUDY]


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study in the list."""

    uid: str
    name: str
    patient_id: str
    birth_date: str
    date: str
    description: str
    modalities: str
    accession: str
    series: str
    instances: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody looks for."""

    text: str = ""
    modality: str = ""
    days: str = ""
    offset: int = 0


async def show_studies(call: Call) -> Response:
    """The list; only its rows for the script that asks while one types."""
    query = call.request.query_params
    offset = query.get("offset", "")
    wanted = Wanted(
        query.get("q", "").translate(_WILD).strip()[:MAX_TERM_CHARS],
        query.get("modality", "") if query.get("modality") in MODALITIES else "",
        query.get("days", "") if query.get("days") in PERIODS else "",
        int(offset) if offset.isascii() and offset.isdecimal() and len(offset) < 9 else 0,
    )
    rows, has_more = await call.services.run_blocking(_search, call, wanted)
    template = "study_rows.html" if call.request.headers.get("hx-request") else "studies.html"
    return page(
        template, call.principal, rows=rows, wanted=wanted, following=wanted.offset + PAGE_STUDIES if has_more else 0,
        modalities=MODALITIES, periods=PERIODS,
    )  # fmt: skip


def _search(call: Call, wanted: Wanted) -> tuple[list[StudyRow], bool]:
    """The studies of one page, and whether there are more."""
    common = [("limit", str(PAGE_STUDIES)), ("offset", str(wanted.offset)), ("includefield", "StudyDescription")]
    if wanted.modality:
        common.append(("ModalitiesInStudy", wanted.modality))
    if wanted.days:
        first = datetime.now(UTC).date() - timedelta(days=int(wanted.days) - 1)
        common.append(("StudyDate", f"{first:%Y%m%d}-"))
    for terms in _terms(wanted.text):
        search = parse_search(Level.STUDY, {}, [*terms, *common], call.services.query_limits)
        found = call.services.reader.search(call.principal, search.query)
        if len(found):
            return [_row(each) for each in found], found.truncated
    return [], False


def _terms(text: str) -> Sequence[list[tuple[str, str]]]:
    """What a text may be, the likeliest first: names have no digits, and numbers do."""
    if not text:
        return ([],)
    if any(character.isdigit() for character in text):
        return [("PatientID", f"{text}*")], [("AccessionNumber", f"{text}*")]
    return ([("PatientName", text), ("fuzzymatching", "true")],)


async def show_study(call: Call) -> Response:
    """The viewer on one study."""
    series = await call.services.run_blocking(_series_of, call)
    return page("viewer.html", call.principal, **series)


def _series_of(call: Call) -> dict[str, Any]:
    services, study = call.services, str(call.uids["study"])

    def ask(level: Level, *parameters: tuple[str, str]) -> list[JsonDataset]:
        search = parse_search(level, {_UID: study}, parameters, services.query_limits)
        return list(services.reader.search(call.principal, search.query))

    rows = ask(Level.STUDY, ("includefield", "StudyDescription"))
    if not rows:
        raise NotFound("no such study")
    images: dict[str, list[tuple[int, str, int]]] = {}
    for each in ask(Level.IMAGE, ("limit", str(MAX_INSTANCES))):
        number = (_number(each, "00200013"), _text(each, "00080018"), max(1, _number(each, "00280008")))
        if "00280010" in each and _values(each, "00280010"):
            images.setdefault(_text(each, "0020000E"), []).append(number)
    found = sorted(ask(Level.SERIES, ("limit", str(MAX_SERIES))), key=lambda each: _number(each, "00200011"))
    series = [
        {
            "uid": uid,
            "modality": _text(each, "00080060"),
            "number": _text(each, "00200011"),
            "description": _text(each, "0008103E"),
            "images": [[sop, frames] for _, sop, frames in sorted(images.get(uid, []))],
        }
        for each in found
        if (uid := _text(each, "0020000E"))
    ]
    return {"study": _row(rows[0]), "series": series}


def _row(each: JsonDataset) -> StudyRow:
    return StudyRow(
        uid=_text(each, "0020000D"),
        name=_name(each, "00100010"),
        patient_id=_text(each, "00100020"),
        birth_date=_date(each, "00100030"),
        date=_date(each, "00080020"),
        description=_text(each, "00081030"),
        modalities=", ".join(map(str, _values(each, "00080061"))),
        accession=_text(each, "00080050"),
        series=_text(each, "00201206"),
        instances=_text(each, "00201208"),
    )


def _values(each: JsonDataset, tag: str) -> Sequence[Any]:
    return each.get(tag, {}).get("Value") or ()


def _text(each: JsonDataset, tag: str) -> str:
    values = _values(each, tag)
    return "" if not values or values[0] is None else str(values[0])


def _number(each: JsonDataset, tag: str) -> int:
    text = _text(each, tag)
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else 0


def _name(each: JsonDataset, tag: str) -> str:
    """A person's name as people write it: family name, given names (PS3.5 6.2.1)."""
    values = _values(each, tag)
    groups = values[0] if values and isinstance(values[0], dict) else {}
    shown = []
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        if text := str(groups.get(group, "")).strip("^ "):
            family, _, rest = text.partition("^")
            given = " ".join(rest.replace("^", " ").split())
            shown.append(f"{family}, {given}" if given else family)
    return " · ".join(shown)


def _date(each: JsonDataset, tag: str) -> str:
    text = _text(each, tag)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text


OPERATIONS: Final = (
    Operation(
        "pageStudies", "GET", "/studies", show_studies, "The list of studies.", Right.FIND,
        (
            Parameter("q", "query", "The beginning of words of a name, of a Patient ID or an accession number."),
            Parameter("modality", "query", "A modality that the study has."),
            Parameter("days", "query", "How far back."),
            Parameter("offset", "query", "Studies to leave out at the beginning."),
        ),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageStudy", "GET", "/studies/{study}", show_study, "The viewer on one study.", Right.GET,
        produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
