"""What an association comes to: which contexts, transfer syntaxes and roles (PS3.8 7.1.1, annex B; PS3.7 D.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from strongroom.errors import LocalProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul.items import RoleSelection, UserInformation, malformed
from strongroom.ul.limits import UlLimits
from strongroom.ul.pdu import AnsweredContext, AssociateAnswer, AssociateRequest, ContextOutcome, ProposedContext


@dataclass(frozen=True, slots=True)
class LocalParameters:
    """What this side says of itself in user information (PS3.7 D.3.3.2)."""

    implementation_class_uid: Uid
    implementation_version_name: str


@dataclass(frozen=True, slots=True)
class Supported:
    """What the acceptor offers for one abstract syntax, in its own order of preference.

    ``requestor_scu`` and ``requestor_scp`` are the roles that the *requestor* may take. ``permitted`` false means that
    the service exists but this peer has no right to it: the context gets a user rejection.
    """

    transfer_syntaxes: tuple[Uid, ...]
    requestor_scu: bool = True
    requestor_scp: bool = False
    permitted: bool = True


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context; the roles are those that the association requestor may take in it."""

    context_id: int
    abstract_syntax: Uid
    transfer_syntax: Uid
    requestor_scu: bool = True
    requestor_scp: bool = False


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What holds for an established association. ``contexts`` has the accepted ones by identifier.

    ``peer_max_pdu_bytes`` is the peer's Maximum Length Received, in bytes of PDU body, 0 for no limit (PS3.8 D.1);
    ``send_pdu_body_bytes`` is what we keep to: the smaller of that and our own. The request itself is not kept: from a
    hostile peer it could hold a thousand times what an association needs.
    """

    contexts: Mapping[int, PresentationContext]
    outcomes: Mapping[int, ContextOutcome]
    called_ae_title: AeTitle
    calling_ae_title: AeTitle
    peer_max_pdu_bytes: int
    peer_implementation_class_uid: Uid | None
    peer_implementation_version_name: str
    send_pdu_body_bytes: int


TransferSyntaxChoice = Callable[[tuple[Uid, ...], tuple[Uid, ...]], Uid | None]
"""From what was proposed and what is supported, in the order of each side, the one to use, or None."""


def first_proposed(proposed: tuple[Uid, ...], supported: tuple[Uid, ...]) -> Uid | None:
    """Return the requestor's first that we support: an archive keeps objects as their maker encodes them."""
    return next((uid for uid in proposed if uid in supported), None)


def first_supported(proposed: tuple[Uid, ...], supported: tuple[Uid, ...]) -> Uid | None:
    """Return our own first that was proposed."""
    return next((uid for uid in supported if uid in proposed), None)


def negotiate(
    request: AssociateRequest,
    offered: Mapping[Uid, Supported],
    *,
    choose: TransferSyntaxChoice = first_proposed,
) -> AssociateAnswer:
    """Return the acceptance of ``request``: each context answered, each role selection of a supported class answered.

    The association adds what concerns only itself (maximum length, names). A caller that answers extended negotiation
    or user identity sets those fields with ``dataclasses.replace``.

    A role is granted only if it was proposed and is offered. A context whose requestor would be left without any
    role is rejected as by the user (PS3.7 D.3.3.4, PS3.8 9.3.3.2).
    """
    proposed_roles = {role.sop_class_uid: role for role in request.user.role_selections}
    granted_roles: dict[Uid, RoleSelection] = {}
    answered = []
    for context in request.contexts:
        supported = offered.get(context.abstract_syntax)
        if supported is None:
            answered.append(AnsweredContext(context.context_id, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        proposed_role = proposed_roles.get(context.abstract_syntax)
        role = _grant(context.abstract_syntax, proposed_role, supported)
        if proposed_role is not None and supported.permitted:
            granted_roles[context.abstract_syntax] = role
        answered.append(_answer(context, supported, role, choose))
    window = None if request.user.asynchronous_operations is None else (1, 1)
    user = UserInformation(asynchronous_operations=window, role_selections=tuple(granted_roles.values()))
    return AssociateAnswer(tuple(answered), user, request.application_context)


def _grant(uid: Uid, proposed: RoleSelection | None, supported: Supported) -> RoleSelection:
    if proposed is None:  # the default roles: the requestor uses, the acceptor provides
        return RoleSelection(uid, supported.requestor_scu, False)
    return RoleSelection(uid, proposed.scu and supported.requestor_scu, proposed.scp and supported.requestor_scp)


def _answer(
    context: ProposedContext, supported: Supported, role: RoleSelection, choose: TransferSyntaxChoice
) -> AnsweredContext:
    if not supported.permitted or not (role.scu or role.scp):
        return AnsweredContext(context.context_id, ContextOutcome.USER_REJECTION)
    transfer_syntax = choose(context.transfer_syntaxes, supported.transfer_syntaxes)
    if transfer_syntax is None:
        return AnsweredContext(context.context_id, ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return AnsweredContext(context.context_id, ContextOutcome.ACCEPTANCE, transfer_syntax)


def conclude(request: AssociateRequest, answer: AssociateAnswer, limits: UlLimits, *, is_requestor: bool) -> Negotiated:
    """Return what ``request`` and ``answer`` come to.

    Raises:
        RemoteProtocolError: (as requestor) the answer accepts what was not proposed, or its maximum length is under our
            minimum.
        LocalProtocolError: (as acceptor) our own answer does not fit the request.
    """
    proposed = {context.context_id: context for context in request.contexts}
    roles = _agreed_roles(request, answer)
    contexts: dict[int, PresentationContext] = {}
    for answered in answer.contexts:
        context = proposed.get(answered.context_id)
        if context is None:
            raise _misfit(f"presentation context {answered.context_id} was not proposed", is_requestor)
        if answered.outcome is not ContextOutcome.ACCEPTANCE:
            continue
        if answered.transfer_syntax is None or answered.transfer_syntax not in context.transfer_syntaxes:
            raise _misfit(f"presentation context {answered.context_id}: transfer syntax was not proposed", is_requestor)
        scu, scp = roles.get(context.abstract_syntax, (True, False))
        contexts[answered.context_id] = PresentationContext(
            answered.context_id, context.abstract_syntax, answered.transfer_syntax, scu, scp
        )
    if not is_requestor and len(answer.contexts) != len(proposed):
        raise LocalProtocolError(f"{len(proposed)} contexts were proposed, {len(answer.contexts)} answered")
    outcomes = dict.fromkeys(proposed, ContextOutcome.NO_REASON)  # left out by the peer: not accepted
    outcomes |= {answered.context_id: answered.outcome for answered in answer.contexts}
    peer = answer.user if is_requestor else request.user
    send_pdu_body_bytes = limits.max_pdu_body_bytes
    if peer.max_pdu_body_bytes:
        if peer.max_pdu_body_bytes < limits.min_peer_pdu_body_bytes:
            raise _misfit(f"maximum length {peer.max_pdu_body_bytes} is too small to work with", is_requestor)
        send_pdu_body_bytes = min(send_pdu_body_bytes, peer.max_pdu_body_bytes)
    return Negotiated(
        contexts,
        outcomes,
        request.called_ae_title,
        request.calling_ae_title,
        peer.max_pdu_body_bytes,
        peer.implementation_class_uid,
        peer.implementation_version_name,
        send_pdu_body_bytes,
    )


def _agreed_roles(request: AssociateRequest, answer: AssociateAnswer) -> dict[Uid, tuple[bool, bool]]:
    """Return the requestor's SCU and SCP role of each class in both lists; for all others the defaults hold.

    A class may come twice (some senders write an item for each context); the last one counts, as in ``negotiate``.
    """
    proposed = {role.sop_class_uid: role for role in request.user.role_selections}
    agreed = {}
    for granted in answer.user.role_selections:
        wanted = proposed.get(granted.sop_class_uid)
        if wanted is not None:
            agreed[granted.sop_class_uid] = (wanted.scu and granted.scu, wanted.scp and granted.scp)
    return agreed


def _misfit(message: str, is_requestor: bool) -> Exception:
    return malformed(message) if is_requestor else LocalProtocolError(message)
