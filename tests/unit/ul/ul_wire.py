"""PDUs for the tests, put together by hand: nothing here uses the code under test to make bytes."""

import struct

from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    AnsweredContext,
    AssociateAnswer,
    AssociateRequest,
    Association,
    ContextOutcome,
    LocalParameters,
    ProposedContext,
    UlLimits,
    UserInformation,
)

VERIFICATION = Uid("1.2.840.10008.1.1")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
IMPLICIT = Uid("1.2.840.10008.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")
LOCAL = LocalParameters(Uid("1.2.826.0.1.99"), "STRONGROOM_TEST")
ANSWER = AssociateAnswer(
    (
        AnsweredContext(1, ContextOutcome.ACCEPTANCE, IMPLICIT),
        AnsweredContext(3, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED),
    )
)
REQUEST = AssociateRequest(
    AeTitle("STRONGROOM"),
    AeTitle("STORESCU"),
    (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT, IMPLICIT))),
    UserInformation(16384, Uid("1.2.3.4"), "PEER"),
)


def pdu(pdu_type, body):
    return struct.pack(">BBI", pdu_type, 0, len(body)) + body


def item(item_type, value):
    return struct.pack(">BBH", item_type, 0, len(value)) + value


def proposed(context_id, abstract, *transfers):
    subs = item(0x30, abstract.encode()) + b"".join(item(0x40, uid.encode()) for uid in transfers)
    return item(0x20, bytes((context_id, 0, 0, 0)) + subs)


def answered(context_id, result, transfer):
    return item(0x21, bytes((context_id, 0, result, 0)) + item(0x40, transfer.encode()))


MAXIMUM_LENGTH = item(0x51, struct.pack(">I", 16384))
USER_ITEMS = MAXIMUM_LENGTH + item(0x52, b"1.2.3.4") + item(0x55, b"PEER")
CONTEXTS = proposed(1, VERIFICATION, IMPLICIT) + proposed(3, CT, EXPLICIT, IMPLICIT)
APPLICATION_CONTEXT = item(0x10, b"1.2.840.10008.3.1.1.1")


def associate_body(items, version=1, called=b"STRONGROOM", calling=b"STORESCU"):
    return struct.pack(">HH", version, 0) + called.ljust(16) + calling.ljust(16) + bytes(32) + items


def associate_rq(contexts=CONTEXTS, user=USER_ITEMS, application=APPLICATION_CONTEXT, **fixed):
    return pdu(1, associate_body(application + contexts + item(0x50, user), **fixed))


def associate_ac(contexts=None, user=USER_ITEMS):
    if contexts is None:
        contexts = answered(1, 0, IMPLICIT) + answered(3, 3, IMPLICIT)
    return pdu(2, associate_body(APPLICATION_CONTEXT + contexts + item(0x50, user)))


def associate_rj(result=1, source=1, reason=7):
    return pdu(3, bytes((0, result, source, reason)))


def pdv(context_id, control, value):
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


def p_data(*pdvs):
    return pdu(4, b"".join(pdvs))


RELEASE_RQ = pdu(5, bytes(4))
RELEASE_RP = pdu(6, bytes(4))


def abort(source=0, reason=0):
    return pdu(7, bytes((0, 0, source, reason)))


def receive(association, data):
    """Feed bytes as a socket would and return every event, payloads copied out."""
    events = []
    rest = memoryview(data)
    while True:
        if len(rest):
            space = association.free_space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            rest = rest[count:]
            association.receive_data(count)
        while (event := association.next_event()) is not None:
            events.append(event._replace(data=bytes(event.data)) if hasattr(event, "data") else event)
        if not len(rest):
            return events


def sent(association):
    return b"".join(association.data_to_send())


def established_acceptor(limits=None, **request):
    association = Association.acceptor(limits or UlLimits(), LOCAL)
    receive(association, associate_rq(**request))
    association.accept(ANSWER)
    sent(association)
    return association


def established_requestor(limits=None, **answer):
    association = Association.requestor(REQUEST, limits or UlLimits())
    sent(association)
    receive(association, associate_ac(**answer))
    return association
