"""Negotiation is pure: a request and an offer in, an answer out; a request and an answer in, what holds out."""

from dataclasses import replace

import pytest
from ul_wire import CT, EXPLICIT, IMPLICIT, REQUEST, VERIFICATION

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.types import Uid
from strongroom.ul import (
    AnsweredContext,
    AssociateAnswer,
    ContextOutcome,
    ProposedContext,
    RoleSelection,
    Supported,
    UlLimits,
    UserInformation,
    first_supported,
    negotiate,
)
from strongroom.ul.negotiation import conclude

JPEG = Uid("1.2.840.10008.1.2.4.50")
LIMITS = UlLimits()


def request(*contexts, roles=(), max_pdu_body_bytes=16384, window=None):
    proposed = tuple(ProposedContext(2 * at + 1, uid, syntaxes) for at, (uid, syntaxes) in enumerate(contexts))
    user = UserInformation(max_pdu_body_bytes, role_selections=tuple(roles), asynchronous_operations=window)
    return replace(REQUEST, contexts=proposed, user=user)


def outcomes(answer):
    return [int(context.outcome) for context in answer.contexts]


def test_each_context_gets_its_own_answer():
    answer = negotiate(
        request((VERIFICATION, (IMPLICIT,)), (CT, (JPEG,)), (Uid("1.2.3"), (IMPLICIT,)), (CT, (JPEG, EXPLICIT))),
        {VERIFICATION: Supported((EXPLICIT, IMPLICIT)), CT: Supported((EXPLICIT,))},
    )
    assert outcomes(answer) == [0, 4, 3, 0]
    assert [context.transfer_syntax for context in answer.contexts] == [IMPLICIT, None, None, EXPLICIT]
    assert [context.context_id for context in answer.contexts] == [1, 3, 5, 7]


def test_the_requestor_prefers_unless_the_acceptor_is_told_to():
    wish, offer = request((CT, (JPEG, EXPLICIT, IMPLICIT))), {CT: Supported((IMPLICIT, EXPLICIT))}
    assert negotiate(wish, offer).contexts[0].transfer_syntax == EXPLICIT
    assert negotiate(wish, offer, choose=first_supported).contexts[0].transfer_syntax == IMPLICIT


def test_without_a_right_a_context_is_rejected_by_the_user():
    answer = negotiate(
        request((CT, (IMPLICIT,)), roles=[RoleSelection(CT, True, True)]),
        {CT: Supported((IMPLICIT,), requestor_scp=True, permitted=False)},
    )
    assert outcomes(answer) == [1]
    assert answer.user.role_selections == ()


def test_an_empty_offer_accepts_nothing():
    assert outcomes(negotiate(REQUEST, {})) == [3, 3]


def test_the_asynchronous_window_is_answered_with_one_and_only_if_asked_for():
    assert negotiate(request((CT, (IMPLICIT,)), window=(0, 0)), {}).user.asynchronous_operations == (1, 1)
    assert negotiate(request((CT, (IMPLICIT,))), {}).user.asynchronous_operations is None


# Proposed roles (SCU, SCP), allowed roles, roles answered, roles that hold; None: no item, or no context.
ROLES = [
    (None, (True, False), None, (True, False)),
    (None, (True, True), None, (True, False)),
    (None, (False, True), None, None),
    ((True, True), (True, True), (True, True), (True, True)),
    ((True, True), (True, False), (True, False), (True, False)),
    ((True, True), (False, True), (False, True), (False, True)),
    ((False, True), (True, True), (False, True), (False, True)),
    ((True, False), (True, True), (True, False), (True, False)),
    ((False, True), (True, False), (False, False), None),
    ((False, False), (True, True), (False, False), None),
]


@pytest.mark.parametrize(("proposed", "allowed", "answered", "held"), ROLES)
def test_roles(proposed, allowed, answered, held):
    wish = request((CT, (IMPLICIT,)), roles=[] if proposed is None else [RoleSelection(CT, *proposed)])
    answer = negotiate(wish, {CT: Supported((IMPLICIT,), *allowed)})
    assert answer.user.role_selections == (() if answered is None else (RoleSelection(CT, *answered),))
    for is_requestor in (True, False):
        contexts = conclude(wish, answer, LIMITS, is_requestor=is_requestor).contexts
        if held is None:
            assert contexts == {}
        else:
            assert (contexts[1].requestor_scu, contexts[1].requestor_scp) == held


def test_a_role_for_a_class_that_is_not_offered_is_not_answered():
    wish = request((CT, (IMPLICIT,)), roles=[RoleSelection(VERIFICATION, True, True), RoleSelection(CT, True, True)])
    assert negotiate(wish, {VERIFICATION: Supported((IMPLICIT,))}).user.role_selections == ()


def test_the_same_class_twice_in_the_roles_counts_once_and_the_same_on_both_sides():
    wish = request(
        (CT, (IMPLICIT,)), (CT, (EXPLICIT,)), roles=[RoleSelection(CT, True, False), RoleSelection(CT, False, True)]
    )
    answer = negotiate(wish, {CT: Supported((IMPLICIT, EXPLICIT), True, True)})
    assert answer.user.role_selections == (RoleSelection(CT, False, True),)
    for is_requestor in (True, False):
        contexts = conclude(wish, answer, LIMITS, is_requestor=is_requestor).contexts
        assert {(context.requestor_scu, context.requestor_scp) for context in contexts.values()} == {(False, True)}


def test_a_role_that_was_granted_but_not_proposed_does_not_hold():
    granted = UserInformation(role_selections=(RoleSelection(CT, True, True),))
    answer = AssociateAnswer((AnsweredContext(1, ContextOutcome.ACCEPTANCE, IMPLICIT),), granted)
    for proposed in (None, (False, True), (True, False), (False, False)):
        roles, held = ((), (True, False)) if proposed is None else ([RoleSelection(CT, *proposed)], proposed)
        context = conclude(request((CT, (IMPLICIT,)), roles=roles), answer, LIMITS, is_requestor=True).contexts[1]
        assert (context.requestor_scu, context.requestor_scp) == held


def accepted(context_id, transfer_syntax):
    return AssociateAnswer((AnsweredContext(context_id, ContextOutcome.ACCEPTANCE, transfer_syntax),))


@pytest.mark.parametrize("answer", [accepted(3, IMPLICIT), accepted(1, EXPLICIT), accepted(1, None)])
def test_an_answer_that_does_not_fit_the_request_is_somebody_s_mistake(answer):
    wish = request((CT, (IMPLICIT,)))
    with pytest.raises(RemoteProtocolError) as refused:
        conclude(wish, answer, LIMITS, is_requestor=True)
    assert refused.value.abort_reason == 6
    with pytest.raises(LocalProtocolError):
        conclude(wish, answer, LIMITS, is_requestor=False)


def test_a_context_left_out_is_not_accepted_and_we_leave_none_out():
    wish = request((CT, (IMPLICIT,)), (VERIFICATION, (IMPLICIT,)))
    negotiated = conclude(wish, accepted(1, IMPLICIT), LIMITS, is_requestor=True)
    assert list(negotiated.contexts) == [1]
    assert negotiated.outcomes == {1: ContextOutcome.ACCEPTANCE, 3: ContextOutcome.NO_REASON}
    with pytest.raises(LocalProtocolError):
        conclude(wish, accepted(1, IMPLICIT), LIMITS, is_requestor=False)


@pytest.mark.parametrize(
    ("peer_max", "send"), [(0, 262144), (16384, 16384), (1024, 1024), (262144, 262144), (0xFFFFFFFF, 262144)]
)
def test_the_smaller_maximum_length_holds(peer_max, send):
    negotiated = conclude(
        request((CT, (IMPLICIT,)), max_pdu_body_bytes=peer_max), accepted(1, IMPLICIT), LIMITS, is_requestor=False
    )
    assert (negotiated.peer_max_pdu_bytes, negotiated.send_pdu_body_bytes) == (peer_max, send)


def test_an_acceptor_that_takes_crumbs_only_is_refused():
    answer = replace(accepted(1, IMPLICIT), user=UserInformation(1023))
    with pytest.raises(RemoteProtocolError, match="1023"):
        conclude(request((CT, (IMPLICIT,))), answer, LIMITS, is_requestor=True)
