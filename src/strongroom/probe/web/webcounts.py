"""What a web archive gives away to who asks for studies: searches that count, retrievals of UIDs that nobody has.

Answers are counted and dropped, as ``counting`` does it: of a study's UID and a Patient ID only keyed hashes are held
until the count is over. What a server says to a path that does not exist is asked first, so that its 404 for a study
is told from its 404 for everything.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from strongroom.errors import Unanswered
from strongroom.probe.dimse.counting import Slice, Tally, counted, may_be_cut, week_slices
from strongroom.probe.model import NO_USE_ASKING_ON, Answer, Detail, Observation
from strongroom.probe.session import Session
from strongroom.probe.shapes import LOOKED_AT_TAGS, MAX_LOOKED_AT, Answered, looked_at
from strongroom.probe.web import products
from strongroom.probe.web.httpclient import HttpClient, Request, Response
from strongroom.probe.web.pages import answer_of, asks_for_login, body_kind, json_of
from strongroom.probe.web.site import Door, answering

PAGE: Final = 500
"""Answers that are asked for at once."""
MAX_ANSWERS: Final = 1000
MAX_BODY_BYTES: Final = 2 * 2**20
NO_STUDIES_ON: Final = "19010101"
"""Before any image: who answers to this date takes no notice of dates."""

_JSON: Final = (("Accept", "application/dicom+json"),)
_OBJECT: Final = (("Accept", 'multipart/related; type="application/dicom"'),)
_STUDY_UID, _PATIENT_ID, _STUDY_INSTANCES = 0x0020000D, 0x00100020, 0x00201208
_MOST_REFUSALS: Final = 4
MOST_ROOTS: Final = 10
"""Of those that are asked where each question costs a connection."""
_MISSING_STUDY: Final = (200, 204, 400, 404, 406, 410)
_MISSING_PART: Final = (200, 202, 204, 400, 409, 411, 415, 422)


@dataclass(slots=True)
class Search:
    """A search at one root, and what it has counted."""

    client: HttpClient
    root: str
    tally: Tally = field(default_factory=lambda: Tally(secrets.token_bytes(32)))
    slices: list[Slice] = field(default_factory=list)
    ignores_limit: bool = False

    def ask(self, query: str, limit: int, offset: int = 0) -> tuple[Response, list[object], bool]:
        """Return the answer, the studies in it, and whether there are more in it than were read. Raises Unanswered."""
        target = f"{self.root}/studies?limit={limit}{f'&offset={offset}' if offset else ''}{query}"
        response = self.client.ask(Request(target, headers=_JSON, max_body_bytes=MAX_BODY_BYTES))
        found, is_whole = studies_in(response.body) if is_search_result(response) else ([], True)
        self.ignores_limit |= len(found) > limit
        return response, found[:MAX_ANSWERS], not is_whole or len(found) > MAX_ANSWERS

    def count(self, first: str, last: str) -> Response:
        """Count the studies of the days from ``first`` to ``last`` (VR DA), or all. Raises Unanswered."""
        query = f"&includefield=00201208{f'&StudyDate={first}-{last}' if first else ''}"
        answers = new = images = 0
        canaries_before = self.tally.canaries
        is_capped = False
        while True:
            response, found, is_cut = self.ask(query, PAGE, answers)
            before = new
            for study in found:
                is_new, told = self.tally.add(values_of(study))
                new, images = new + is_new, images + told
            answers += len(found)
            is_capped = is_cut or answers >= MAX_ANSWERS
            # A page of nothing but what was seen before: the server takes no notice of the offset.
            if is_capped or len(found) < PAGE or new == before:
                break
        canaries = self.tally.canaries - canaries_before
        self.slices.append(Slice(first, last, answers, new, images, 0, is_capped, canaries))
        return response


def search(session: Session) -> None:
    """Ask each DICOMweb root for one study and one patient, and keep which of them answer."""
    for door in answering(session):
        with door.client(most=16) as client:
            _search(door, client)
        door.observe()


def _search(door: Door, client: HttpClient) -> None:
    refusals = 0
    refused: tuple[Answer, dict[str, Detail]] | None = None
    other: tuple[Answer, dict[str, Detail]] | None = None
    for number, root in enumerate(door.roots):
        if number >= MOST_ROOTS and not client.keeps_alive:
            break
        try:
            response = client.ask(Request(f"{root}/studies?limit=1", headers=_JSON, max_body_bytes=MAX_BODY_BYTES))
            if is_search_result(response):
                answers = _count_of(response) + _patients(client, root)
                door.keep("http.qido", Answer.DONE, **door.details(response), root=root, answers=answers)
                continue
        except Unanswered as error:
            other = other or (Answer(error.answer), {"reason": error.reason})
            if error.answer in NO_USE_ASKING_ON:
                break
            continue
        if answer_of(response) is Answer.REFUSED or asks_for_login(response):
            refused = refused or (Answer.REFUSED, {**door.details(response), "root": root})
            refusals += 1
            if refusals == _MOST_REFUSALS:
                break
        else:
            reason = "no DICOMweb search at the usual paths"
            other = other or (Answer.FAILED, {**door.details(response), "reason": reason})
    if not any(step == "http.qido" for step, _, _ in door.facts) and (told := refused or other):
        door.keep("http.qido", told[0], **told[1])


def _patients(client: HttpClient, root: str) -> int:
    response = client.ask(Request(f"{root}/patients?limit=1", headers=_JSON, max_body_bytes=MAX_BODY_BYTES))
    return _count_of(response) if is_search_result(response) else 0


def _count_of(response: Response) -> int:
    return len(studies_in(response.body)[0])


def count(session: Session) -> None:
    """Count at the first root of each door that answers searches: all, and weeks of past years if that is cut."""
    for door, root in _searchable(session):
        with door.client(most=12) as client:
            made = Search(client, root)
            try:
                response = made.count("", "")
            except Unanswered as error:
                door.keep("http.qido_count", Answer(error.answer), reason=error.reason, root=root)
            else:
                ignores_dates = _ignores_dates(made)
                if not ignores_dates and may_be_cut(made.slices[0]):
                    _count_weeks(made, session)
                details = counted(made.tally, made.slices, ignores_dates=ignores_dates)
                odd = details["keys"]
                if made.ignores_limit and isinstance(odd, tuple):
                    details["keys"] = (*odd, "limit ignored")
                door.keep("http.qido_count", Answer.DONE, **door.details(response), root=root, **details)
        door.observe()


def _count_weeks(made: Search, session: Session) -> None:
    for first, last in week_slices(session.today):
        try:
            made.count(first, last)
        except Unanswered:
            return


def _ignores_dates(made: Search) -> bool:
    try:
        _, found, _ = made.ask(f"&StudyDate={NO_STUDIES_ON}", 1)
    except Unanswered:
        return True
    return bool(found)


def shape(session: Session) -> None:
    """Look at a few answers of the first root that answers searches, and keep what they look like."""
    fields = "".join(f"&includefield={tag:08X}" for tag in LOOKED_AT_TAGS)
    for door, root in _searchable(session):
        with door.client(most=1) as client:
            try:
                response, found, _ = Search(client, root).ask(fields, MAX_LOOKED_AT)
            except Unanswered as error:
                door.keep("http.qido_shape", Answer(error.answer), reason=error.reason, root=root)
            else:
                seen = looked_at(Answered.of_json(study) for study in found[:MAX_LOOKED_AT])
                answer = Answer.DONE if is_search_result(response) else answer_of(response)
                door.keep("http.qido_shape", answer, **door.details(response), root=root, **seen)
        door.observe()


def retrieve_nothing(session: Session) -> None:
    """Ask each door for a study that nobody has, by WADO-RS and by WADO-URI (PS3.18 9, 10.4)."""
    for door in answering(session):
        roots, paths = roots_of(session, door)[: 2 if door.found else 1], products.wado_uris_for(door.found)[:2]
        uids = f"&studyUID={session.new_uid()}&seriesUID={session.new_uid()}&objectUID={session.new_uid()}"
        query = f"?requestType=WADO{uids}&contentType=application/dicom"
        with door.client(most=8) as client:
            _retrieve(door, client, "http.wado_rs", {root: f"{root}/studies/{session.new_uid()}" for root in roots})
            _retrieve(door, client, "http.wado_uri", {path: f"{path}{query}" for path in paths})
        door.observe()


def _retrieve(door: Door, client: HttpClient, step: str, targets: Mapping[str, str]) -> None:
    """Keep the worst of the answers: a handler that looks for the study is worse than one that asks who is there."""
    kept: list[tuple[int, Answer, Response, str]] = []
    try:
        nowhere = client.ask(Request(f"/{secrets.token_hex(8)}", headers=_OBJECT))
        for place, target in targets.items():
            response = client.ask(Request(target, headers=_OBJECT))
            is_search = any(seen.details["root"] == place for seen in _open_searches(door))
            answer = _of_missing(response, None if is_search else nowhere, _MISSING_STUDY)
            kept.append(({Answer.DONE: 0, Answer.REFUSED: 1}.get(answer, 2), answer, response, place))
    except Unanswered as error:
        if not kept:
            door.keep(step, Answer(error.answer), reason=error.reason)
            return
    _, answer, response, place = min(kept, key=lambda each: each[0])
    if answer is Answer.FAILED:
        door.keep(step, answer, **door.details(response), reason="no retrieval at the usual paths")
    elif step == "http.wado_rs":
        door.keep(step, answer, **door.details(response), root=place)
    else:
        door.keep(step, answer, **door.details(response), path=place)


def _of_missing(response: Response, nowhere: Response | None, handled: tuple[int, ...]) -> Answer:
    """Return DONE if a handler took the request without asking who is there, and only misses what it is about."""
    if answer_of(response) is Answer.REFUSED or asks_for_login(response):
        return Answer.REFUSED
    is_handled = response.status in handled and (nowhere is None or not _is_alike(response, nowhere))
    if 200 <= response.status < 300:  # a page that is there for every path is no handler
        is_handled = is_handled and body_kind(response) in ("dicom-json", "dicom", "multipart", "xml", "empty")
    return Answer.DONE if is_handled and body_kind(response) != "html" else Answer.FAILED


def _is_alike(response: Response, nowhere: Response) -> bool:
    """Whether two answers are the same but for what they repeat of the request."""
    return (response.status, body_kind(response), response.header("content-type")) == (
        nowhere.status, body_kind(nowhere), nowhere.header("content-type"),
    ) and set(_words(response)) ^ set(_words(nowhere)) <= set()  # fmt: skip


def _words(response: Response) -> Iterator[str]:
    """The words of a short text that are no numbers and no names of paths."""
    for word in response.body[:4096].decode("utf-8", "replace").split():
        if word.strip("\"'.,:;<>()[]{}").isalpha():
            yield word


def store_nothing(session: Session) -> None:
    """Post a multipart body without parts at the first root of each door (PS3.18 10.5)."""
    for door in answering(session):
        root = roots_of(session, door)[0]
        boundary = secrets.token_hex(12)
        headers = (("Content-Type", f'multipart/related; type="application/dicom"; boundary={boundary}'), *_JSON)
        request = Request(f"{root}/studies", "POST", headers, f"--{boundary}--\r\n".encode())
        try:
            with door.client(most=2) as client:
                response = client.ask(request)
        except Unanswered as error:
            door.keep("http.stow", Answer(error.answer), reason=error.reason)
        else:
            door.keep("http.stow", _of_missing(response, None, _MISSING_PART), **door.details(response), root=root)
        door.observe()


def rest(session: Session) -> None:
    """Ask the management interface of a product that was found how much it has, by its own count."""
    for door in answering(session):
        for row in products.products().counts:
            if row.product not in door.found:
                continue
            try:
                with door.client(most=1) as client:
                    response = client.ask(Request(row.path, headers=(("Accept", "application/json"),)))
            except Unanswered as error:
                door.keep("http.rest", Answer(error.answer), reason=error.reason, path=row.path, product=row.product)
                continue
            numbers = _numbers(response, row.keys)
            answer = Answer.DONE if numbers else answer_of(response)
            answer = Answer.FAILED if answer is Answer.DONE and not numbers else answer
            door.keep("http.rest", answer, **door.details(response), path=row.path, product=row.product, **numbers)
        door.observe()


def _numbers(response: Response, keys: Mapping[str, str]) -> dict[str, int]:
    told = json_of(response) if response.status == 200 else None
    if not isinstance(told, dict):
        return {}
    values = {what: told.get(key) for what, key in keys.items()}
    return {
        what: value
        for what, value in values.items()
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    }


def is_search_result(response: Response) -> bool:
    """Whether it is a result of a search (PS3.18 8.3.4): nothing found, or a JSON list of DICOM objects."""
    if response.status == 204:
        return True
    if response.status not in (200, 206) or body_kind(response) not in ("dicom-json", "json"):
        return False
    found, _ = studies_in(response.body)
    if not found:
        return body_kind(response) == "dicom-json" and response.body.lstrip()[:1] == b"["
    return isinstance(found[0], dict) and all(_is_tag(key) for key in found[0])


def _is_tag(key: object) -> bool:
    return isinstance(key, str) and len(key) == 8 and all(digit in "0123456789ABCDEFabcdef" for digit in key)


def studies_in(body: bytes) -> tuple[list[object], bool]:
    """Return the first ``MAX_ANSWERS`` and one items of a JSON list, and whether those are all: one that was cut gives
    those before the cut."""
    text = body.decode("utf-8", "replace").strip()
    if not text.startswith("["):
        return [], False
    decoder, found, at = json.JSONDecoder(), list[object](), 1
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at >= len(text):
            return found, False
        if text[at] == "]":
            return found, True
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return found, False
        found.append(item)
        if len(found) > MAX_ANSWERS:
            return found, False


def values_of(study: object) -> dict[int, str]:
    """Return what a count needs of one study in the DICOM JSON model, as text."""
    values: dict[int, str] = {}
    for tag in (_STUDY_UID, _PATIENT_ID, _STUDY_INSTANCES):
        attribute = study.get(f"{tag:08X}") if isinstance(study, dict) else None
        listed = attribute.get("Value") if isinstance(attribute, dict) else None
        if isinstance(listed, list) and listed and isinstance(listed[0], str | int):
            values[tag] = str(listed[0])[:256]
    return values


def _open_searches(door: Door) -> Iterator[Observation]:
    """Yield the searches that were answered at a door."""
    for seen in door.session.all_found("http.qido", door.port, door.channel, door.identity):
        if seen.answer is Answer.DONE:
            yield seen


def _searchable(session: Session) -> Iterator[tuple[Door, str]]:
    """Yield the doors at which a search was answered, each with the first root that did."""
    for door in answering(session):
        first = next(_open_searches(door), None)
        if first is not None:
            yield door, str(first.details["root"])


def roots_of(session: Session, door: Door) -> list[str]:
    """The roots of a door, those first that were found to be some."""
    known = [
        str(seen.details["root"])
        for seen in session.all_found("http.qido", door.port, door.channel, door.identity)
        if "root" in seen.details
    ]
    return list(dict.fromkeys((*known, *door.roots)))
