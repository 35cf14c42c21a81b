"""Every operation of the HTTPS service has a case for nobody, wrong right, wrong scope, and the right caller.

They run against a served archive that holds a study of CT and one of MR. A scope shows the CT: whatever is asked of the
MR through it must be answered as if the MR had never been stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

import pytest

from harness import archives, web
from harness.archives import RunningArchive
from harness.samples import sample
from harness.samples_archive import Sample, read_sample, store
from harness.web import DICOM_JSON, Answer, WebClient
from strongroom.archive.tokens import RIGHTS
from strongroom.types import Right
from strongroom.web.operation import Operation
from strongroom.web.operations import OPERATIONS

NOWHERE = "2.25.4711"
"""A UID that nothing has."""

SCOPES = ("study", "patient", "modality", "date")


class Kind(Enum):
    """How an operation has to answer for what is outside the caller's scope."""

    FREE = auto()
    """There is nothing of the archive's content in it."""
    RESOURCE = auto()
    """404, as for what is not stored."""
    SEARCH = auto()
    """No results, as for what is not stored."""
    STORE = auto()
    """Refused, whether it is stored or not."""


@dataclass(frozen=True)
class Case:
    """How an operation is called for an instance; ``more`` fills in the rest of its path from one."""

    kind: Kind
    query: Callable[[Sample], str] = lambda _: ""
    more: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    has_body: bool = False


def _uids(names: str) -> Callable[[Sample], str]:
    keys = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    return lambda each: "?" + "&".join(f"{keys[name]}={getattr(each, name)}" for name in names.split())


def _wado(each: Sample) -> str:
    return f"?requestType=WADO&studyUID={each.study}&seriesUID={each.series}&objectUID={each.instance}"


RESOURCE = Case(Kind.RESOURCE)
FRAME = Case(Kind.RESOURCE, more={"frames": "1"})
PIXELS = Case(Kind.RESOURCE, more={"bulkdata": "7FE00010", "path": "7FE00010"})

CASES: Mapping[str, Case] = {
    "health": Case(Kind.FREE),
    "ready": Case(Kind.FREE),
    "metrics": Case(Kind.FREE),
    "describe": Case(Kind.FREE),
    "retrieveCapabilities": Case(Kind.FREE),
    "retrieveCapabilitiesOfRoot": Case(Kind.FREE),
    "searchStudies": Case(Kind.SEARCH, _uids("study")),
    "searchSeries": Case(Kind.SEARCH, _uids("series")),
    "searchInstances": Case(Kind.SEARCH, _uids("instance")),
    "searchStudySeries": Case(Kind.SEARCH),
    "searchStudyInstances": Case(Kind.SEARCH),
    "searchSeriesInstances": Case(Kind.SEARCH),
    "retrieveStudy": RESOURCE,
    "retrieveSeries": RESOURCE,
    "retrieveInstance": RESOURCE,
    "retrieveStudyMetadata": RESOURCE,
    "retrieveSeriesMetadata": RESOURCE,
    "retrieveInstanceMetadata": RESOURCE,
    "retrieveFrames": FRAME,
    "retrievePixelData": PIXELS,
    "retrieveBulkdata": PIXELS,
    "retrieveInstanceBulkdata": PIXELS,
    "retrieveStudyBulkdata": RESOURCE,
    "retrieveSeriesBulkdata": RESOURCE,
    "retrieveRenderedStudy": RESOURCE,
    "retrieveRenderedSeries": RESOURCE,
    "retrieveRenderedInstance": RESOURCE,
    "retrieveRenderedFrames": FRAME,
    "retrieveStudyThumbnail": RESOURCE,
    "retrieveSeriesThumbnail": RESOURCE,
    "retrieveInstanceThumbnail": RESOURCE,
    "retrieveFrameThumbnail": FRAME,
    "retrieveByUri": Case(Kind.RESOURCE, _wado),
    "storeInstances": Case(Kind.STORE, headers={"Accept": DICOM_JSON}, has_body=True),
    "storeInstancesOfStudy": Case(Kind.STORE, headers={"Accept": DICOM_JSON}, has_body=True),
    "deleteStudy": RESOURCE,
}


@dataclass(frozen=True)
class Served:
    """The archive, and one caller of each kind."""

    running: RunningArchive
    shown: Sample
    hidden: Sample
    everything: WebClient
    scoped: Mapping[str, WebClient]
    without: Mapping[Right, WebClient]

    @property
    def nobody(self) -> WebClient:
        """Somebody with no credentials."""
        return web.client_of(self.running)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = archives.new_home(tmp_path_factory.mktemp("operations") / "home", {"https": {"workers": 1}})
    shown, hidden = read_sample(sample("CT_small.dcm")), read_sample(sample("MR_small.dcm"))
    ct = shown.read()
    assert ct.PatientID != hidden.read().PatientID
    assert ct.StudyDate != hidden.read().StudyDate
    terms = {
        "study": f"study={shown.study}",
        "patient": f"patient={ct.PatientID}",
        "modality": "modality=CT",
        "date": f"date={ct.StudyDate}",
    }
    words = {right: word for word, right in RIGHTS.items()}
    with archives.serving(home) as running:

        def caller(name: str, allow: set[str], scope: tuple[str, ...] = ()) -> WebClient:
            return web.client_of(running, running.add_token(name, ",".join(sorted(allow)), scope))

        yield Served(
            running,
            shown,
            hidden,
            caller("everything", set(RIGHTS)),
            {name: caller(f"scope-{name}", set(RIGHTS), (terms[name],)) for name in SCOPES},
            {right: caller(f"not-{word}", set(RIGHTS) - {word}) for right, word in words.items()},
        )


@pytest.fixture(autouse=True)
def _both_are_stored(served: Served) -> None:
    """An operation may have deleted what the next one asks for."""
    assert store(served.everything, [served.shown, served.hidden]) == {served.shown.instance, served.hidden.instance}


def call(client: WebClient, operation: Operation, target: Sample, body_of: Sample | None = None) -> Answer:
    """Call an operation for an instance; a body holds the instance itself, or ``body_of``."""
    case = CASES[operation.name]
    values = {"study": target.study, "series": target.series, "instance": target.instance, **case.more}
    path = operation.path.replace(":path", "").format(**values) + case.query(target)
    headers, body = dict(case.headers), None
    if case.has_body:
        more, body = web.multipart([("application/dicom", (body_of or target).raw)])
        headers |= more
    return client.request(operation.method, path, headers, body)


def absent(like: Sample) -> Sample:
    """An instance that is not stored, in a series and study that are not either."""
    return Sample(like.path, like.raw, NOWHERE, f"{NOWHERE}.1", f"{NOWHERE}.1.1", like.sop_class)


def said(answer: Answer, target: Sample) -> tuple[int, str, str]:
    """What an answer tells, with the identifiers that the caller knew taken out."""
    text = answer.content.decode("utf-8", "replace")
    for uid in (target.instance, target.series, target.study):
        text = text.replace(uid, "UID")
    return answer.status, answer.media_type, text


def case_of(kinds: set[Kind]) -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.name in CASES and CASES[operation.name].kind in kinds]


ALL = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def test_every_operation_has_a_case() -> None:
    assert {operation.name for operation in OPERATIONS} == set(CASES)


@ALL
def test_nobody_is_told_anything(served: Served, operation: Operation) -> None:
    answer = call(served.nobody, operation, served.shown)
    if operation.public:
        word = {"health": b"ok\n", "ready": b"ready\n"}[operation.name]
        assert (answer.status, answer.content) == (200, word)
        return
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert said(answer, served.shown) == said(
        call(served.nobody, operation, absent(served.shown)), absent(served.shown)
    )


@ALL
def test_a_caller_without_the_right_is_refused(served: Served, operation: Operation) -> None:
    if operation.right is None:
        assert CASES[operation.name].kind is Kind.FREE, "what holds anything of the archive takes a right"
        return
    answer = call(served.without[operation.right], operation, served.shown)
    assert answer.status == 403
    assert answer.media_type == "application/problem+json"
    nowhere = absent(served.shown)
    assert said(answer, served.shown) == said(call(served.without[operation.right], operation, nowhere), nowhere)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("operation", case_of({Kind.RESOURCE, Kind.SEARCH}), ids=lambda operation: operation.name)
def test_what_is_outside_a_scope_is_as_if_it_were_not_stored(served: Served, operation: Operation, scope: str) -> None:
    hidden, nowhere = served.hidden, absent(served.hidden)
    found = said(call(served.scoped[scope], operation, hidden), hidden)
    assert found == said(call(served.scoped[scope], operation, nowhere), nowhere)
    assert found[0] == (204 if CASES[operation.name].kind is Kind.SEARCH else 404)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("operation", case_of({Kind.STORE}), ids=lambda operation: operation.name)
def test_nothing_is_stored_outside_a_scope(served: Served, operation: Operation, scope: str) -> None:
    answer = call(served.scoped[scope], operation, served.hidden)
    assert answer.status in operation.statuses
    assert answer.status >= 400
    assert "outside-scope" in json.dumps(answer.json)


def test_no_search_shows_or_counts_what_is_outside_a_scope(served: Served) -> None:
    for client in served.scoped.values():
        for path in ("/studies", "/series", "/instances"):
            found = client.get(f"{path}?includefield=all", DICOM_JSON)
            assert {each["0020000D"]["Value"][0] for each in found.json} == {served.shown.study}


@ALL
def test_the_right_caller_is_served(served: Served, operation: Operation) -> None:
    callers = [served.everything, *served.scoped.values()]
    if operation.name.startswith("delete"):  # it is there once
        callers = [served.everything]
    for client in callers:
        answer = call(client, operation, served.shown)
        assert answer.status in (200, 206), answer.content
        assert answer.status in operation.statuses
        assert answer.content


def test_a_scope_is_deleted_from_with_the_right(served: Served) -> None:
    """By the scope on the study; one of some modalities might leave the other half of a study behind."""
    deleting = [operation for operation in OPERATIONS if operation.name == "deleteStudy"]
    for operation in deleting:
        assert call(served.scoped["study"], operation, served.shown).status in operation.statuses
