"""Who may open an association, and with what: the gate that every DICOM connection passes (PS3.8 7.1, PS3.7 D.3.3).

Pure decisions on a parsed A-ASSOCIATE-RQ; the answer is an acceptance or a rejection with the standard's reason, and in
either case a line for the trail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from strongroom.archive.access import narrowed_to_person
from strongroom.archive.peers import OF_MACHINES, Peer, Presented, identify
from strongroom.archive.people import Person
from strongroom.archive.query import ExtendedNegotiation, Model
from strongroom.errors import Denied, Throttled
from strongroom.net.services import QUERY_RETRIEVE, Service, offered
from strongroom.types import AeTitle, Principal, Uid
from strongroom.ul import (
    APPLICATION_CONTEXT,
    AssociateAnswer,
    AssociateRequest,
    ContextOutcome,
    RejectResult,
    RejectSource,
    UserIdentityType,
    UserRejectReason,
    negotiate,
)
from strongroom.ul import ExtendedNegotiation as ExtendedItem

VerifyUser = Callable[[str, bytes, Principal], Person | None]
"""(user name, passcode, peer) -> the enabled account with that passcode, None if there is none. Raises Throttled."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ to send, and the word for the trail."""

    result: RejectResult
    source: RejectSource
    reason: int
    why: str


@dataclass(frozen=True, slots=True)
class Admission:
    """An association to accept: who the peer is, what was negotiated, and SOP classes that it was refused for it lacks
    the right."""

    principal: Principal
    answer: AssociateAnswer
    extended: dict[Uid, ExtendedNegotiation]
    no_right: tuple[Uid, ...] = ()

    @property
    def is_of_use(self) -> bool:
        """Whether a presentation context is accepted."""
        return any(each.outcome is ContextOutcome.ACCEPTANCE for each in self.answer.contexts)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a connection before it says anything. ``presented`` is None on a plaintext exception."""

    address: str
    presented: Presented | None
    plaintext_peer: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules of admission of one archive."""

    aet: AeTitle
    private_classes: tuple[Uid, ...]
    find_peer: Callable[[str], Peer | None] = field(repr=False)
    verify_user: VerifyUser = field(repr=False)

    def admit(self, request: AssociateRequest, caller: Caller) -> Admission | Rejection:
        """Decide on a request."""
        if request.application_context != APPLICATION_CONTEXT:
            return _rejected(UserRejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED, "application-context")
        if request.called_ae_title != self.aet:
            return _rejected(UserRejectReason.CALLED_AE_TITLE_NOT_RECOGNIZED, "wrong-called-ae")
        peer = self.find_peer(request.calling_ae_title)
        try:
            principal = self._identify(peer, request, caller)
        except Throttled as throttled:  # what is refused now may be accepted later
            nothing = UserRejectReason.NO_REASON
            return Rejection(RejectResult.TRANSIENT, RejectSource.SERVICE_USER, nothing, throttled.reason)
        except Denied as denied:
            reason = UserRejectReason.NO_REASON
            if not denied.reason.startswith("user-"):
                reason = UserRejectReason.CALLING_AE_TITLE_NOT_RECOGNIZED
            return _rejected(reason, denied.reason)
        answer = negotiate(request, offered(principal.rights, self.private_classes))
        extended, items = _extended(request)
        identity = request.user.user_identity
        response = b"" if principal.user and identity and identity.positive_response_requested else None
        user = replace(answer.user, extended=items, user_identity_response=response)
        refused = {each.context_id for each in answer.contexts if each.outcome is ContextOutcome.USER_REJECTION}
        no_right = {each.abstract_syntax for each in request.contexts if each.context_id in refused}
        return Admission(principal, replace(answer, user=user), extended, tuple(sorted(no_right)))

    def _identify(self, peer: Peer | None, request: AssociateRequest, caller: Caller) -> Principal:
        if caller.presented is not None:
            principal = identify(peer, caller.presented, caller.address)
        elif peer is None or peer.aet != caller.plaintext_peer or peer.revoked_us:
            raise Denied("not-the-plaintext-peer")
        else:
            principal = Principal(peer.aet, "", "", caller.address, peer.rights & OF_MACHINES, peer.scope)
        person = self._person(request, principal, encrypted=caller.presented is not None)
        if peer is not None and peer.require_user and person is None:
            raise Denied("user-required")
        return principal if person is None else narrowed_to_person(principal, person)

    def _person(self, request: AssociateRequest, peer: Principal, *, encrypted: bool) -> Person | None:
        """The verified user, None if none was offered that could be verified. Raises Denied (user-...), Throttled."""
        identity = request.user.user_identity
        if identity is None or identity.identity_type is not UserIdentityType.USERNAME_AND_PASSCODE:
            # A user name alone proves nothing, and tickets, assertions and tokens have no verifier here.
            return None
        if not encrypted:
            raise Denied("user-passcode-in-the-clear")
        try:
            name = str(identity.primary, "utf-8")
        except UnicodeDecodeError:
            raise Denied("user-name-not-utf-8") from None
        person = self.verify_user(name, identity.secondary, peer)
        if person is None:
            raise Denied("user-or-passcode-wrong")
        return person


def _rejected(reason: UserRejectReason, why: str) -> Rejection:
    return Rejection(RejectResult.PERMANENT, RejectSource.SERVICE_USER, reason, why)


def _extended(request: AssociateRequest) -> tuple[dict[Uid, ExtendedNegotiation], tuple[ExtendedItem, ...]]:
    """What we agree to of the Query/Retrieve extended negotiation (PS3.4 C.5.1.1.1), and the items that say so."""
    agreed: dict[Uid, ExtendedNegotiation] = {}
    items = []
    for item in request.user.extended:
        service, _ = QUERY_RETRIEVE.get(item.sop_class_uid, (Service.STORE, Model.STUDY_ROOT))
        wanted = [byte == 1 for byte in item.information[:4]] + [False] * 4
        if service is Service.FIND:
            relational, combined, fuzzy, timezone = wanted[:4]
            # The fifth byte, enhanced multi-frame conversion, is answered with 0.
            information = bytes((relational, combined, fuzzy, timezone, 0))[: max(1, len(item.information))]
            agreed[item.sop_class_uid] = ExtendedNegotiation(relational, combined, fuzzy, timezone)
        elif service in (Service.MOVE, Service.GET):
            information = bytes((wanted[0], 0))[: max(1, len(item.information))]
            agreed[item.sop_class_uid] = ExtendedNegotiation(relational=wanted[0])
        else:
            continue
        items.append(ExtendedItem(item.sop_class_uid, information))
    return agreed, tuple(items)
