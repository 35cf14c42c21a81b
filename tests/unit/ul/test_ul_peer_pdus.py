"""Our PDUs and those of pynetdicom, read by each other: two independent readings of PS3.8 9.3."""

import pytest
from pynetdicom import pdu as peer_pdu
from pynetdicom import pdu_primitives as primitives
from pynetdicom.presentation import build_context
from ul_wire import CT, EXPLICIT, IMPLICIT, LOCAL, VERIFICATION, receive, sent

from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    AssociateAccepted,
    AssociateRequest,
    AssociateRequested,
    Association,
    CommonExtendedNegotiation,
    ContextOutcome,
    ExtendedNegotiation,
    ProposedContext,
    ReleaseRequested,
    RoleSelection,
    Supported,
    UlLimits,
    UserIdentity,
    UserIdentityType,
    UserInformation,
    negotiate,
)


def peer_user_items():
    length = primitives.MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.9.3811.3.0.4"
    version = primitives.ImplementationVersionNameNotification()
    version.implementation_version_name = "PYNETDICOM_304"
    window = primitives.AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 3
    role = primitives.SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    extended = primitives.SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\1"
    common = primitives.SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.840.10008.5.1.4.1.1.7"]
    identity = primitives.UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"jdoe", b"pa55"
    return [length, implementation, version, window, role, extended, common, identity]


def peer_request():
    request = primitives.A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "PEER", "STRONGROOM"
    request.user_information = peer_user_items()
    contexts = [build_context(VERIFICATION, [IMPLICIT]), build_context(CT, [EXPLICIT, IMPLICIT])]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = contexts
    whole = peer_pdu.A_ASSOCIATE_RQ()
    whole.from_primitive(request)
    return whole.encode()


def test_we_read_what_pynetdicom_asks():
    (event,) = receive(Association.acceptor(UlLimits(), LOCAL), peer_request())
    assert isinstance(event, AssociateRequested)
    assert event.request == AssociateRequest(
        AeTitle("STRONGROOM"),
        AeTitle("PEER"),
        (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT, IMPLICIT))),
        UserInformation(
            16382,
            Uid("1.2.826.0.1.3680043.9.3811.3.0.4"),
            "PYNETDICOM_304",
            (5, 3),
            (RoleSelection(CT, True, True),),
            (ExtendedNegotiation(CT, b"\2\0\1"),),
            (CommonExtendedNegotiation(CT, Uid("1.2.840.10008.4.2"), (Uid("1.2.840.10008.5.1.4.1.1.7"),)),),
            UserIdentity(UserIdentityType.USERNAME_AND_PASSCODE, b"jdoe", b"pa55", True),
        ),
    )


def test_pynetdicom_reads_what_we_answer():
    association = Association.acceptor(UlLimits(), LOCAL)
    (event,) = receive(association, peer_request())
    association.accept(negotiate(event.request, {CT: Supported((IMPLICIT,), requestor_scp=True)}))
    whole = peer_pdu.A_ASSOCIATE_AC()
    raw = sent(association)
    whole.decode(raw)
    primitive = whole.to_primitive()
    results = {context.context_id: context for context in primitive.presentation_context_definition_results_list}
    assert [results[1].result, results[3].result] == [3, 0]
    assert results[3].transfer_syntax == [IMPLICIT]
    assert primitive.maximum_length_received == 262_144
    items = {type(item).__name__: item for item in primitive.user_information}
    window = items["AsynchronousOperationsWindowNegotiation"]
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (1, 1)
    role = items["SCP_SCU_RoleSelectionNegotiation"]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, True, True)
    assert whole.encode() == raw


def test_pynetdicom_reads_what_we_ask_and_we_read_what_it_answers():
    user = UserInformation(
        implementation_class_uid=Uid("1.2.3"),
        implementation_version_name="OURS",
        role_selections=(RoleSelection(CT, True, True),),
        user_identity=UserIdentity(UserIdentityType.JWT, b"header.claims.signature"),
    )
    contexts = (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT,)))
    association = Association.requestor(AssociateRequest(AeTitle("PEER"), AeTitle("US"), contexts, user), UlLimits())
    raw = sent(association)
    whole = peer_pdu.A_ASSOCIATE_RQ()
    whole.decode(raw)
    assert whole.encode() == raw
    primitive = whole.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("PEER", "US")

    primitive.result, primitive.result_source = 0x00, 0x01
    results = primitive.presentation_context_definition_list
    results[0].result, results[1].result = 0x00, 0x04
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = peer_user_items()[:3]
    answer = peer_pdu.A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    (event,) = receive(association, answer.encode())
    assert isinstance(event, AssociateAccepted)
    assert association.negotiated.outcomes == {
        1: ContextOutcome.ACCEPTANCE,
        3: ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED,
    }
    assert association.negotiated.send_pdu_body_bytes == 16382

    association.send_pdvs(1, b"command", b"data")
    raw = sent(association)
    first = peer_pdu.P_DATA_TF()
    first.decode(raw[: 12 + 7])
    (value,) = first.presentation_data_value_items
    assert (value.presentation_context_id, value.presentation_data_value) == (1, b"\3command")


@pytest.mark.parametrize(("result", "source", "reason"), [(1, 1, 3), (1, 1, 7), (2, 3, 2)])
def test_pynetdicom_reads_our_rejection(result, source, reason):
    association = Association.acceptor(UlLimits(), LOCAL)
    receive(association, peer_request())
    association.reject(result, source, reason)
    whole = peer_pdu.A_ASSOCIATE_RJ()
    whole.decode(sent(association))
    assert (whole.result, whole.source, whole.reason_diagnostic) == (result, source, reason)


def test_release_and_abort_are_the_same_bytes():
    association = Association.acceptor(UlLimits(), LOCAL)
    receive(association, peer_request())
    association.accept(negotiate(peer_request_value(), {VERIFICATION: Supported((IMPLICIT,))}))
    sent(association)
    assert receive(association, peer_pdu.A_RELEASE_RQ().encode()) == [ReleaseRequested()]
    association.answer_release()
    assert sent(association) == peer_pdu.A_RELEASE_RP().encode()


def peer_request_value():
    (event,) = receive(Association.acceptor(UlLimits(), LOCAL), peer_request())
    return event.request
