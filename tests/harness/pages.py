"""How each page is walked: a line for every page of the table of operations. An obligation test asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.archives import RunningArchive
from harness.opened import emergencies, proposals, shares
from harness.people import add_person, looked_into
from harness.walking import AT_CODE, NOBODY, SCOPED, SETTING_UP, Prepare
from harness.watching import watched
from strongroom.admin import groups
from strongroom.archive.access import parse_scope
from strongroom.archive.people import Passkey
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.store.passkeys import PasskeyTable
from strongroom.types import Right
from strongroom.web.operation import Operation
from strongroom.web.operations import OPERATIONS
from strongroom.web.ui.pages import asset

TO_SIGN_IN = 303
ROLES = tuple(role.value for role in Role)
EVERYBODY = (*ROLES, SCOPED, NOBODY, AT_CODE, SETTING_UP)


@dataclass(frozen=True)
class Case:
    """How a page is walked: ``paths`` are the states in which it is looked at, by name, the plain one first.

    ``by`` is who looks, if it is not the first role that may. ``answers`` are the statuses of those for whom it is not
    what the operation's right says. ``until`` is what shows that the page is there.
    """

    paths: Mapping[str, str]
    by: str = ""
    answers: Mapping[str, int] = field(default_factory=dict)
    until: str = "main"


def at(path: str, **states: str) -> Case:
    """A page at a path, and what else it looks like: ``empty="?q=nothing"``."""
    return Case({"": path} | {name: more if more.startswith("/") else path + more for name, more in states.items()})


def passkey_of_viewer(running: RunningArchive) -> Mapping[str, str]:
    """A passkey of the first role's person, and what paths call it."""
    passkey = Passkey("Y3JlZA", "viewer", "<b>Blue</b> \u202ekey", "localhost", b"", 0, is_synced=True, added_us=1)
    with looked_into(running) as archive:
        table = PasskeyTable(archive.backend.dialect)
        archive.index.database.write(lambda transaction: table.add(transaction.cursor, passkey))
    return {"passkey": passkey.number}


CASES: Mapping[str, Case] = {
    "page": Case({"": "/"}, answers=dict.fromkeys((*ROLES, SCOPED), 303)),
    "static": Case({"": asset("app.css")}),
    "pageSignIn": Case({"": "/sign-in"}, NOBODY),
    "pageCode": Case(
        {"": "/sign-in/code"}, AT_CODE, {**dict.fromkeys((*ROLES, SCOPED, SETTING_UP), 403), NOBODY: TO_SIGN_IN}
    ),
    "pageLink": Case({"": "/welcome/{link}"}, NOBODY),
    "leaveForProvider": Case({"": "/sign-in/with/nobody"}, NOBODY, dict.fromkeys(EVERYBODY, 404)),
    "comeBackFromProvider": Case({"": "/sign-in/with/nobody/back"}, NOBODY, dict.fromkeys(EVERYBODY, 404)),
    "pageSecondFactor": Case({"": "/second-factor"}, SETTING_UP, {NOBODY: TO_SIGN_IN, AT_CODE: TO_SIGN_IN}),
    "pageAccount": at("/account"),
    "pageProve": at("/account/prove"),
    "pageStudies": at("/studies", empty="?from=2099-01-01", rest="?older=2.25.4720"),
    "saveStudies": at("/studies.csv"),
    "pagePatient": Case({"": "/studies/{study}/patient"}, answers={SCOPED: 404}),
    "pageStudy": Case({"": "/studies/{study}"}, answers={SCOPED: 404}),
    "pageSeries": Case({"": "/studies/{study}/series/{series}"}, answers={SCOPED: 404}),
    "pageViewer": Case({"": "/studies/{study}/viewer"}, until="#frame[src]", answers={SCOPED: 404}),
    "pageUpload": at("/upload"),
    "pageInstance": Case(
        {
            "": "/studies/{study}/series/{series}/instances/{instance}",
            "empty": "/studies/{study}/series/{series}/instances/{instance}?q=nothing",
        },
        answers={SCOPED: 404},
    ),
    "saveInstance": Case({"": "/studies/{study}/series/{series}/instances/{instance}/file"}, answers={SCOPED: 404}),
    "saveStudy": Case({"": "/studies/{study}/zip"}, answers={SCOPED: 404}),
    "saveSeries": Case({"": "/studies/{study}/series/{series}/zip"}, answers={SCOPED: 404}),
    "pictureOfStudy": Case({"": "/studies/{study}/picture"}, answers={SCOPED: 404}),
    "pictureOfSeries": Case({"": "/studies/{study}/series/{series}/picture"}, answers={SCOPED: 404}),
    "pictureOfInstance": Case(
        {"": "/studies/{study}/series/{series}/instances/{instance}/picture"}, answers={SCOPED: 404}
    ),
    "pageAlerts": at("/alerts", all="?all=yes", done="?done=seen"),
    "pageAlertSeen": at("/alerts/{alert}"),
    "pageQuarantine": at("/quarantine", done="?done=destroyed"),
    "pageHeld": at("/quarantine/{held}", asked="/quarantine/{held_asked}"),
    "pageDecision": at("/quarantine/{held}/release", agree="/quarantine/{held_asked}/destroy"),
    "pageJobs": at("/jobs", stopped="?from=1"),
    "pageTrail": at(
        "/trail",
        empty="?action=backup",
        chosen="?user=physician&outcome=success&since=2026-01-01T00:00",
        wrong="?since=x",
    ),
    "downloadTrail": at("/trail/download"),
    "pageTrailRecord": at("/trail/logs/serve/0", proof="?proof=yes"),
    "downloadReceipt": at("/trail/logs/serve/0/receipt"),
    "pagePasscode": at("/account/passcode"),
    "pageRemoveApp": at("/account/app/remove"),
    "pageRecoveryCodes": at("/account/recovery-codes"),
    "pageAddPasskey": Case({"": "/second-factor/passkey"}, SETTING_UP, {NOBODY: TO_SIGN_IN, AT_CODE: TO_SIGN_IN}),
    "pageRemovePasskey": Case(
        {"": "/account/passkeys/{passkey}/remove"}, "viewer", dict.fromkeys((*ROLES[1:], SCOPED), 404)
    ),
    "pagePosture": at("/posture"),
    "pagePeers": at("/peers"),
    "pagePeer": at("/peers/peer?aet=CT_1", revoked="/peers/peer?aet=GONE"),
    "pageNewPeer": at("/peers/new"),
    "pageRevokePeer": at("/peers/revoke?aet=CT_1"),
    "pageIssue": at("/peers/certificate?aet=CT_1"),
    "pagePeople": at("/people"),
    "pagePerson": at("/people/person?name=physician", self="/people/person?name=administrator"),
    "pageNewPerson": at("/people/new"),
    "pageDisablePerson": at("/people/disable?name=physician"),
    "pageResetPerson": at("/people/reset?name=physician"),
    "pageGroups": at("/groups"),
    "pageGroup": at("/groups/group?name=Radiology+Nord", own="/groups/group?name=Everybody"),
    "pageNewGroup": at("/groups/new"),
    "pageRemoveGroup": at("/groups/remove?name=Radiology+Nord"),
    "pageSessions": at("/sessions"),
    "pageEndSessions": at("/sessions/end-all", one="?name=physician"),
    "pageTokens": at("/tokens"),
    "pageNewToken": at("/tokens/new"),
    "pageRevokeToken": at("/tokens/revoke?name=loader"),
    "pageDelete": Case({"": "/studies/{study}/delete"}, answers={SCOPED: 404}),
    "pageProposals": at("/review/proposals"),
    "pageProposal": at("/review/proposals/1", decided="/review/proposals/2"),
    "pageShare": at("/studies/{study}/share"),
    "pageShares": at("/shares"),
    "pageAllShares": at("/review/shares"),
    "pageShared": Case({"": "/shared/{share}"}, NOBODY),
    "pageBreakGlass": Case({"": "/break-glass"}, SCOPED),
    "pageReviewsBreakGlass": at("/review/break-glass"),
    "pageReviewBreakGlass": at("/review/break-glass/1", standing="/review/break-glass/2"),
    "pageOhif": at("/ohif/viewer?StudyInstanceUIDs={study}"),
    "ohifFile": Case(
        {"": "/ohif/files/none/app.js"},
        answers={role.value: 404 for role in Role if Right.GET in RIGHTS_OF[role]} | {SCOPED: 404},
    ),
}


def _peers(running: RunningArchive) -> Mapping[str, str]:
    running.add_peer("CT_1", "echo,store,commit", scope=("modality=CT",))
    running.add_peer("WORK STATION/2", "echo,find,move", host="192.0.2.10", port=2762)
    running.add_peer("GONE", "echo")
    running.revoke_peer("GONE")
    return {}


def _groups(running: RunningArchive) -> Mapping[str, str]:
    """One of somebody, and one of the administrator who looks."""
    members = {"Radiology Nord": ("nurse", Role.VIEWER), "Everybody": (Role.ADMINISTRATOR.value, Role.ADMINISTRATOR)}
    for name, role in members.values():
        add_person(running, name, role, scope=("none",))
    with looked_into(running) as archive:
        for group, (name, _) in members.items():
            groups.add(archive, group, parse_scope(("institution=St. Mary's & Sons", "modality=CT,MR")))
            groups.join(archive, group, [name])
    return {}


PREPARED: tuple[Prepare, ...] = (_peers, _groups, shares, emergencies, proposals, watched, passkey_of_viewer)
"""What puts into the archive what a page shows, and says by which words paths name it."""

PAGES = {each.name: each for each in OPERATIONS if each.is_page and each.method == "GET"}
SEEN = {name for name, each in PAGES.items() if "text/html" in each.produces and name != "page"}
"""Those that are for the eye, and not sent on or saved."""


def may(operation: Operation, role: str) -> bool:
    return operation.right is None or operation.right in RIGHTS_OF[Role(role)]


def onlooker(operation: Operation) -> str:
    """Who looks at a page: whoever the case names, or the first role that may."""
    return CASES[operation.name].by or next(role for role in ROLES if may(operation, role))


def expected(operation: Operation, visitor: str) -> int:
    """What a visitor gets, by the operation's right and what its case says beyond that."""
    case = CASES[operation.name]
    if visitor in case.answers:
        return case.answers[visitor]
    if operation.public:
        return 200
    if visitor in (NOBODY, AT_CODE, SETTING_UP):
        return TO_SIGN_IN
    return 200 if may(operation, Role.PHYSICIAN if visitor == SCOPED else visitor) else 403
