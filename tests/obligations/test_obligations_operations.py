"""Every operation of the HTTPS service has a case for nobody, wrong right, wrong scope, and the right caller.

They run against a served archive that holds a study of CT and one of MR. A scope shows the CT: whatever is asked of the
MR through it must be answered as if the MR had never been stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

import pytest

from harness import archives, pages, web
from harness.archives import RunningArchive
from harness.people import signed_in
from harness.samples import sample
from harness.samples_archive import Sample, read_sample, store
from harness.web import DICOM_JSON, FORM, Answer, WebClient
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.archive.tokens import RIGHTS
from strongroom.types import Right
from strongroom.web.operation import Operation
from strongroom.web.operations import OPERATIONS
from strongroom.web.ui.pages import asset

NONCE = re.compile(' nonce="[^"]*"')
"""What is different in every page."""

NOWHERE = "2.25.4711"
"""A UID that nothing has."""

SCOPES = ("study", "patient", "modality", "institution", "date")


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
    LIST = auto()
    """A page without it."""
    NAMED = auto()
    """404 for a name that nothing has; there is nothing of the archive's content in it."""
    DOOR = auto()
    """Open to anybody, and says nothing of what is behind it."""


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
DOOR_FORM = Case(Kind.DOOR, headers={"Content-Type": FORM})
NAMED = Case(Kind.NAMED, headers={"Content-Type": FORM})
ADMINISTERING_FORM = Case(Kind.FREE, headers={"Content-Type": FORM})
OWN_FORM = Case(Kind.FREE, headers={"Content-Type": FORM})
PIXELS = Case(Kind.RESOURCE, more={"bulkdata": "7FE00010", "path": "7FE00010"})

NO_ALERT = {"log": "serve", "seq": "0"}
NOT_HELD = {"held": "Q4711", "what": "release"}

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
    "page": Case(Kind.FREE),
    "static": Case(Kind.DOOR, more={"file": asset("app.css").rpartition("/")[2]}),
    "pageSignIn": Case(Kind.DOOR),
    "signIn": DOOR_FORM,
    "pageCode": Case(Kind.DOOR),
    "enterCode": DOOR_FORM,
    "pageLink": Case(Kind.DOOR, more={"link": "x"}),
    "useLink": Case(Kind.DOOR, more={"link": "x"}, headers={"Content-Type": FORM}),
    "pageSecondFactor": Case(Kind.DOOR),
    "setUpSecondFactor": DOOR_FORM,
    "leaveForProvider": Case(Kind.DOOR, more={"provider": "x"}),
    "comeBackFromProvider": Case(Kind.DOOR, more={"provider": "x"}),
    "signOut": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageAccount": Case(Kind.FREE),
    "pageProve": Case(Kind.FREE),
    "passkeyOptions": DOOR_FORM,
    "signInWithPasskey": DOOR_FORM,
    "enterPasskey": DOOR_FORM,
    "pageAddPasskey": Case(Kind.DOOR),
    "addPasskey": DOOR_FORM,
    "proveWithPasskey": OWN_FORM,
    "pageRemovePasskey": Case(Kind.NAMED, more={"passkey": "x"}),
    "removePasskey": Case(Kind.NAMED, more={"passkey": "x"}, headers={"Content-Type": FORM}),
    "pagePasscode": Case(Kind.FREE),
    "changePasscode": OWN_FORM,
    "pageRemoveApp": Case(Kind.FREE),
    "removeApp": OWN_FORM,
    "pageRecoveryCodes": Case(Kind.FREE),
    "makeRecoveryCodes": OWN_FORM,
    "prove": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageAlerts": Case(Kind.FREE),
    "pageAlertSeen": Case(Kind.FREE, more=NO_ALERT),
    "seeToAlert": Case(Kind.FREE, more=NO_ALERT, headers={"Content-Type": FORM}),
    "pageQuarantine": Case(Kind.FREE),
    "pageHeld": Case(Kind.NAMED, more=NOT_HELD),
    "pageDecision": Case(Kind.NAMED, more=NOT_HELD),
    "decide": Case(Kind.NAMED, more=NOT_HELD, headers={"Content-Type": FORM}),
    "pageJobs": Case(Kind.FREE),
    "pageTrail": Case(Kind.FREE),
    "downloadTrail": Case(Kind.FREE),
    "pageTrailRecord": Case(Kind.FREE, more={"log": "serve", "seq": "0"}),
    "downloadReceipt": Case(Kind.FREE, more={"log": "serve", "seq": "0"}),
    "endSession": NAMED,
    "pagePosture": Case(Kind.FREE),
    "pagePeers": Case(Kind.FREE),
    "pagePeer": Case(Kind.NAMED),
    "pageNewPeer": Case(Kind.FREE),
    "addPeer": ADMINISTERING_FORM,
    "changePeer": NAMED,
    "pageRevokePeer": Case(Kind.NAMED),
    "revokePeer": NAMED,
    "pageIssue": Case(Kind.NAMED),
    "issueCertificate": NAMED,
    "pagePeople": Case(Kind.FREE),
    "pagePerson": Case(Kind.NAMED),
    "pageNewPerson": Case(Kind.FREE),
    "addPerson": ADMINISTERING_FORM,
    "changePerson": NAMED,
    "pageDisablePerson": Case(Kind.NAMED),
    "disablePerson": NAMED,
    "enablePerson": NAMED,
    "pageResetPerson": Case(Kind.NAMED),
    "resetPerson": NAMED,
    "pageSessions": Case(Kind.FREE),
    "endAnySession": NAMED,
    "pageEndSessions": Case(Kind.FREE),
    "endSessions": ADMINISTERING_FORM,
    "pageGroups": Case(Kind.FREE),
    "pageGroup": Case(Kind.NAMED),
    "pageNewGroup": Case(Kind.FREE),
    "addGroup": ADMINISTERING_FORM,
    "changeGroup": NAMED,
    "joinGroup": NAMED,
    "leaveGroup": NAMED,
    "pageRemoveGroup": Case(Kind.NAMED),
    "removeGroup": NAMED,
    "pageTokens": Case(Kind.FREE),
    "pageNewToken": Case(Kind.FREE),
    "addToken": ADMINISTERING_FORM,
    "pageRevokeToken": Case(Kind.NAMED),
    "revokeToken": NAMED,
    "pageStudies": Case(Kind.LIST),
    "findStudies": Case(Kind.LIST, headers={"Content-Type": FORM}),
    "saveStudies": Case(Kind.LIST),
    "pagePatient": RESOURCE,
    "pageStudy": RESOURCE,
    "pageSeries": RESOURCE,
    "pictureOfStudy": RESOURCE,
    "pictureOfSeries": RESOURCE,
    "pictureOfInstance": RESOURCE,
    "pageUpload": Case(Kind.FREE),
    "pageViewer": RESOURCE,
    "pageDelete": Case(Kind.FREE),
    "proposeDeletion": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageProposals": Case(Kind.FREE),
    "pageProposal": Case(Kind.FREE, more={"proposal": "4711"}),
    "agreeToProposal": Case(Kind.FREE, more={"proposal": "4711"}, headers={"Content-Type": FORM}),
    "declineProposal": Case(Kind.FREE, more={"proposal": "4711"}, headers={"Content-Type": FORM}),
    "pageShare": Case(Kind.FREE),
    "share": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageShares": Case(Kind.FREE),
    "revokeShare": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageAllShares": Case(Kind.FREE),
    "revokeAnyShare": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageShared": Case(Kind.DOOR, more={"link": "x"}),
    "openShared": Case(Kind.DOOR, more={"link": "x"}, headers={"Content-Type": FORM}),
    "pageBreakGlass": Case(Kind.FREE),
    "lookBreakGlass": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "breakGlass": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "endBreakGlass": Case(Kind.FREE, headers={"Content-Type": FORM}),
    "pageReviewsBreakGlass": Case(Kind.FREE),
    "pageReviewBreakGlass": Case(Kind.FREE, more={"emergency": "4711"}),
    "reviewBreakGlass": Case(Kind.FREE, more={"emergency": "4711"}, headers={"Content-Type": FORM}),
    "pageOhif": Case(Kind.FREE, more={"page": "viewer"}),
    "ohifFile": Case(Kind.FREE, more={"file": "index.html"}),
    "pageInstance": RESOURCE,
    "saveInstance": RESOURCE,
    "saveStudy": RESOURCE,
    "saveSeries": RESOURCE,
}


@dataclass
class Served:
    """The archive, and one caller of each kind."""

    running: RunningArchive
    shown: Sample
    hidden: Sample
    everything: WebClient
    scoped: Mapping[str, WebClient]
    without: Mapping[Right, WebClient]
    terms: Mapping[str, tuple[str, ...]]
    both_are_stored: bool = False
    """Whether nothing has been called that may have deleted either."""

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
        "institution": f"institution={ct.InstitutionName}",
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
            {name: (term,) for name, term in terms.items()},
        )


@pytest.fixture(autouse=True)
def _both_are_stored(served: Served, request: pytest.FixtureRequest) -> Iterator[None]:
    """An operation may have deleted what the next one asks for, unless it only reads."""
    both = [served.shown, served.hidden]
    if not served.both_are_stored:
        assert store(served.everything, both) == {each.instance for each in both}
    yield
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    operation = parameters.get("operation")
    served.both_are_stored = operation is not None and operation.method == "GET"


def call(
    client: WebClient, operation: Operation, target: Sample, body_of: Sample | None = None, *, browses: bool = False
) -> Answer:
    """Call an operation for an instance; a body holds the instance itself, or ``body_of``."""
    case = CASES[operation.name]
    values = {"study": target.study, "series": target.series, "instance": target.instance, **case.more}
    path = operation.path.replace(":path", "").format(**values) + case.query(target)
    headers, body = dict(case.headers), None
    if operation.is_page:
        headers |= {"Origin": f"https://127.0.0.1:{client.port}"}
    if browses:
        headers |= {"Accept": "text/html"}
    if case.has_body:
        more, body = web.multipart([("application/dicom", (body_of or target).raw)])
        headers |= more
    return client.request(operation.method, path, headers, body, is_page=operation.is_page)


def absent(like: Sample) -> Sample:
    """An instance that is not stored, in a series and study that are not either."""
    return Sample(like.path, like.raw, NOWHERE, f"{NOWHERE}.1", f"{NOWHERE}.1.1", like.sop_class)


def said(answer: Answer, target: Sample) -> tuple[int, str, str]:
    """What an answer tells, with the identifiers that the caller knew taken out."""
    text = NONCE.sub("", answer.content.decode("utf-8", "replace"))
    for uid in (target.instance, target.series, target.study):
        text = text.replace(uid, "UID").replace(f"…{uid[-8:]}", "UID")
    return answer.status, answer.media_type, text


def case_of(kinds: set[Kind]) -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.name in CASES and CASES[operation.name].kind in kinds]


SERVICE = tuple(operation for operation in OPERATIONS if not operation.is_page)
PAGES = tuple(operation for operation in OPERATIONS if operation.is_page)
ALL = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def test_every_operation_has_a_case() -> None:
    assert {operation.name for operation in OPERATIONS} == set(CASES)


def test_every_page_is_walked_with_a_browser() -> None:
    assert set(pages.PAGES) == set(pages.CASES), "tests/harness/pages.py takes a line for each page"


@ALL
def test_nobody_is_told_anything(served: Served, operation: Operation) -> None:
    answer = call(served.nobody, operation, served.shown)
    if operation.public:
        if not operation.is_page:
            word = {"health": b"ok\n", "ready": b"ready\n"}[operation.name]
            assert (answer.status, answer.content) == (200, word)
            return
        nowhere = absent(served.shown)
        assert said(answer, served.shown) == said(call(served.nobody, operation, nowhere), nowhere)
        assert served.shown.study not in answer.content.decode("utf-8", "replace")
        assert answer.status in (200, 401, 403, 404)
        return
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert said(answer, served.shown) == said(
        call(served.nobody, operation, absent(served.shown)), absent(served.shown)
    )


@ALL
def test_a_caller_without_the_right_is_refused(served: Served, operation: Operation) -> None:
    if operation.right is None:
        assert CASES[operation.name].kind in (Kind.FREE, Kind.NAMED, Kind.DOOR), (
            "what holds anything of the archive takes a right"
        )
        return
    # What is for people only, no token has.
    caller = served.without.get(operation.right, served.everything)
    answer = call(caller, operation, served.shown)
    assert answer.status == 403
    assert answer.media_type == "application/problem+json"
    nowhere = absent(served.shown)
    assert said(answer, served.shown) == said(call(caller, operation, nowhere), nowhere)


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


@pytest.mark.parametrize("operation", SERVICE, ids=lambda operation: operation.name)
def test_the_right_caller_is_served(served: Served, operation: Operation) -> None:
    callers = [served.everything, *served.scoped.values()]
    if operation.name.startswith("delete"):  # it is there once
        callers = [served.everything]
    for client in callers:
        answer = call(client, operation, served.shown)
        assert answer.status in (200, 202, 206), answer.content
        assert answer.status in operation.statuses
        assert answer.content


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("operation", PAGES, ids=lambda operation: operation.name)
def test_a_page_is_for_those_whose_role_has_its_right(served: Served, operation: Operation, role: Role) -> None:
    answer = call(signed_in(served.running, "somebody", role), operation, served.shown)
    if operation.right is not None and operation.right not in RIGHTS_OF[role]:
        assert answer.status == 403
        return
    # Whoever is in is at the door what a stranger is; and there is no session "" that he could end.
    more = {Kind.DOOR: (401, 403, 404), Kind.NAMED: (404,)}.get(CASES[operation.name].kind, ())
    assert answer.status in (*operation.statuses, *more)


@pytest.mark.parametrize("operation", [each for each in PAGES if each.proof_for], ids=lambda operation: operation.name)
def test_what_matters_most_takes_a_fresh_proof_of_who_one_is(served: Served, operation: Operation) -> None:
    answer = call(
        signed_in(served.running, "somebody", *Role, proved_s_ago=700.0), operation, served.shown, browses=True
    )
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/account/prove?next=/")
    assert call(served.everything, operation, served.shown).status == 403


@pytest.mark.parametrize("role", Role)
def test_the_service_is_for_those_whose_role_has_its_right(served: Served, role: Role) -> None:
    person = signed_in(served.running, "somebody", role)
    for operation in SERVICE:
        if operation.right is not None and operation.method == "GET":
            answer = call(person, operation, served.shown)
            assert (answer.status == 403) is (operation.right not in RIGHTS_OF[role]), operation.name


@pytest.mark.parametrize("scope", SCOPES)
def test_people_see_what_is_in_their_scope_only(served: Served, scope: str) -> None:
    person = signed_in(served.running, "somebody", Role.PHYSICIAN, scope=served.terms[scope])
    listed = person.page("/studies").content.decode()
    assert served.shown.study in listed
    assert served.hidden.study not in listed
    for operation in (each for each in OPERATIONS if CASES[each.name].kind is Kind.RESOURCE and each.method == "GET"):
        assert call(person, operation, served.hidden).status == 404, operation.name
        assert call(person, operation, served.shown).status in (200, 206), operation.name


def test_a_scope_is_deleted_from_with_the_right(served: Served) -> None:
    """By the scope on the study; one of some modalities might leave the other half of a study behind."""
    deleting = [operation for operation in OPERATIONS if operation.name == "deleteStudy"]
    for operation in deleting:
        assert call(served.scoped["study"], operation, served.shown).status in operation.statuses
