"""A-ASSOCIATE PDUs against hand-made bytes: what they mean, and that nothing crooked is read."""

import pytest
from ul_wire import (
    ANSWER,
    APPLICATION_CONTEXT,
    CONTEXTS,
    CT,
    EXPLICIT,
    IMPLICIT,
    REQUEST,
    USER_ITEMS,
    VERIFICATION,
    answered,
    associate_ac,
    associate_body,
    associate_rq,
    item,
    pdu,
    proposed,
)

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    AbortReason,
    AnsweredContext,
    AssociateRequest,
    ContextOutcome,
    PduType,
    ProposedContext,
    UlLimits,
)
from strongroom.ul.pdu import (
    echo_of,
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
    encode_associate_rq,
    encode_release_rp,
    encode_release_rq,
    parse_abort,
    parse_associate_ac,
    parse_associate_rj,
    parse_associate_rq,
    require_body_length,
    require_known_type,
)

LIMITS = UlLimits()


def parse_rq(whole, limits=LIMITS):
    return parse_associate_rq(memoryview(whole)[6:], limits)


def parse_ac(whole, limits=LIMITS):
    return parse_associate_ac(memoryview(whole)[6:], limits)


def test_a_request_is_read_and_written_byte_for_byte():
    assert parse_rq(associate_rq()) == REQUEST
    assert encode_associate_rq(REQUEST) == associate_rq()


def test_an_acceptance_is_read_and_written_byte_for_byte():
    answer = parse_ac(associate_ac())
    assert answer.contexts == ANSWER.contexts
    assert answer.user == REQUEST.user
    assert encode_associate_ac(answer, echo_of(memoryview(associate_rq())[6:])) == associate_ac()


def test_titles_and_reserved_bytes_come_back_unchanged():
    raw = bytearray(associate_rq(called=b"  STRONGROOM\0\0"))
    raw[42:74] = bytes(range(32))
    request = parse_rq(raw)
    assert request.called_ae_title == "STRONGROOM"
    assert encode_associate_ac(ANSWER, echo_of(memoryview(raw)[6:]))[10:74] == raw[10:74]


def test_the_value_keeps_nothing_of_the_buffer():
    raw = bytearray(associate_rq())
    request = parse_rq(raw)
    raw[:] = bytes(len(raw))
    assert request == REQUEST


def test_items_may_come_in_any_order_and_unknown_ones_are_skipped():
    items = item(0x50, USER_ITEMS) + item(0x99, b"later edition") + CONTEXTS + APPLICATION_CONTEXT
    assert parse_rq(pdu(1, associate_body(items))) == REQUEST


def test_a_rejected_context_may_leave_its_transfer_syntax_out():
    contexts = answered(1, 0, IMPLICIT) + item(0x21, bytes((3, 0, 4, 0)))
    assert parse_ac(associate_ac(contexts)).contexts[1] == AnsweredContext(
        3, ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED
    )


def sub(item_type, text):
    return item(item_type, text.encode())


CROOKED_REQUESTS = {
    "no presentation context": associate_rq(contexts=b""),
    "no application context": associate_rq(application=b""),
    "no user information": pdu(1, associate_body(APPLICATION_CONTEXT + CONTEXTS)),
    "two application contexts": associate_rq(application=APPLICATION_CONTEXT * 2),
    "two user informations": associate_rq(contexts=CONTEXTS + item(0x50, USER_ITEMS)),
    "even context identifier": associate_rq(contexts=proposed(2, VERIFICATION, IMPLICIT)),
    "context identifier 0": associate_rq(contexts=proposed(0, VERIFICATION, IMPLICIT)),
    "context identifier twice": associate_rq(contexts=proposed(1, VERIFICATION, IMPLICIT) * 2),
    "context of two bytes": associate_rq(contexts=item(0x20, b"\1\0")),
    "no abstract syntax": associate_rq(contexts=item(0x20, b"\1\0\0\0" + sub(0x40, IMPLICIT))),
    "two abstract syntaxes": associate_rq(contexts=item(0x20, b"\1\0\0\0" + sub(0x30, CT) * 2 + sub(0x40, IMPLICIT))),
    "no transfer syntax": associate_rq(contexts=proposed(1, VERIFICATION)),
    "empty transfer syntax": associate_rq(contexts=proposed(1, VERIFICATION, "")),
    "a UID of letters": associate_rq(contexts=proposed(1, "PatientName", IMPLICIT)),
    "a UID of 65 digits": associate_rq(contexts=proposed(1, "1" * 65, IMPLICIT)),
    "a UID of 400 digits": associate_rq(contexts=proposed(1, "1" * 400, IMPLICIT)),
    "a UID that is no ASCII": associate_rq(contexts=proposed(1, "1.2.\u0663", IMPLICIT)),
    "empty called title": associate_rq(called=b""),
    "backslash in the calling title": associate_rq(calling=b"A\\B"),
    "calling title that is no ASCII": associate_rq(calling=b"\xc4RZTE"),
    "an item over the end": associate_rq(contexts=CONTEXTS + b"\x20\0\xff\xff"),
    "stray bytes at the end": pdu(1, associate_rq()[6:] + b"\0\0\0"),
    "a sub-item over the end of its context": associate_rq(contexts=item(0x20, b"\1\0\0\0\x30\0\0\x20" + b"1.2")),
    "shorter than its fixed part": pdu(1, bytes(67)),
}


@pytest.mark.parametrize("name", CROOKED_REQUESTS)
def test_a_crooked_request_is_refused(name):
    with pytest.raises(RemoteProtocolError) as refused:
        parse_rq(CROOKED_REQUESTS[name])
    assert refused.value.abort_reason == AbortReason.INVALID_PDU_PARAMETER_VALUE


CROOKED_ACCEPTANCES = {
    "no context": associate_ac(contexts=b""),
    "context answered twice": associate_ac(answered(1, 0, IMPLICIT) * 2),
    "even context identifier": associate_ac(answered(2, 0, IMPLICIT)),
    "result 5": associate_ac(answered(1, 5, IMPLICIT)),
    "accepted without a transfer syntax": associate_ac(item(0x21, bytes(4).replace(b"\0", b"\1", 1))),
    "accepted with two": associate_ac(item(0x21, b"\1\0\0\0" + sub(0x40, IMPLICIT) + sub(0x40, EXPLICIT))),
    "two application contexts": associate_ac(APPLICATION_CONTEXT + answered(1, 0, IMPLICIT)),
    "two user informations": associate_ac(answered(1, 0, IMPLICIT) + item(0x50, USER_ITEMS)),
    "shorter than its fixed part": pdu(2, bytes(67)),
}


@pytest.mark.parametrize("name", CROOKED_ACCEPTANCES)
def test_a_crooked_acceptance_is_refused(name):
    with pytest.raises(RemoteProtocolError):
        parse_ac(CROOKED_ACCEPTANCES[name])


def test_every_cut_of_a_request_is_refused():
    whole = associate_rq()
    for length in range(6, len(whole)):
        with pytest.raises(RemoteProtocolError):
            parse_rq(whole[:length])


def test_128_contexts_are_taken_and_129_items_are_not():
    contexts = b"".join(proposed(number, VERIFICATION, IMPLICIT, EXPLICIT) for number in range(1, 256, 2))
    assert len(parse_rq(associate_rq(contexts=contexts)).contexts) == 128
    with pytest.raises(RemoteProtocolError, match="more than 128 presentation contexts"):
        parse_rq(associate_rq(contexts=contexts + proposed(1, VERIFICATION, IMPLICIT)))


def test_the_default_associate_cap_fits_the_largest_honest_request():
    contexts = tuple(
        ProposedContext(number, Uid("1.2.840.10008.5.1.4.1.1.88.34"), (Uid("1.2.840.10008.1.2.4.100"),) * 14)
        for number in range(1, 256, 2)
    )
    request = AssociateRequest(AeTitle("A"), AeTitle("B"), contexts, REQUEST.user)
    whole = encode_associate_rq(request)
    assert len(whole) - 6 <= LIMITS.max_associate_pdu_bytes
    assert parse_rq(whole) == request


def test_transfer_syntaxes_and_unknown_items_are_capped():
    limits = UlLimits(max_transfer_syntaxes_per_context=3)
    assert parse_rq(associate_rq(contexts=proposed(1, CT, *[IMPLICIT] * 3)), limits)
    with pytest.raises(RemoteProtocolError):
        parse_rq(associate_rq(contexts=proposed(1, CT, *[IMPLICIT] * 4)), limits)
    with pytest.raises(RemoteProtocolError, match="more than"):
        parse_rq(associate_rq(contexts=CONTEXTS + item(0x99, b"") * 1000))


def test_what_could_not_be_sent_is_not_encoded():
    for count in (0, 129):
        with pytest.raises(LocalProtocolError):
            encode_associate_rq(AssociateRequest(AeTitle("A"), AeTitle("B"), REQUEST.contexts[:1] * count))
    with pytest.raises(LocalProtocolError):
        encode_associate_rq(AssociateRequest(AeTitle("A"), AeTitle("B"), (ProposedContext(1, CT, (IMPLICIT,) * 4000),)))


def test_the_small_pdus():
    assert encode_release_rq() == b"\5\0\0\0\0\4\0\0\0\0"
    assert encode_release_rp() == b"\6\0\0\0\0\4\0\0\0\0"
    assert encode_abort(2, 6) == b"\7\0\0\0\0\4\0\0\2\6"
    assert encode_associate_rj(1, 2, 2) == b"\3\0\0\0\0\4\0\1\2\2"
    assert parse_abort(memoryview(b"\0\0\2\6")) == (2, 6)
    assert parse_associate_rj(memoryview(b"\0\1\3\2")) == (1, 3, 2)
    for raw in (b"\0\0\1\1", b"\0\3\1\1", b"\0\1\0\1", b"\0\1\4\1", b"\0\1\1"):
        with pytest.raises(RemoteProtocolError):
            parse_associate_rj(memoryview(raw))
    with pytest.raises(RemoteProtocolError):
        parse_abort(memoryview(b"\0\0\0"))


def test_pdu_types():
    assert [require_known_type(number) for number in range(1, 8)] == list(PduType)
    for number in (0, 8, 0x16, 0x47, 255):
        with pytest.raises(RemoteProtocolError) as refused:
            require_known_type(number)
        assert refused.value.abort_reason == AbortReason.UNRECOGNIZED_PDU


@pytest.mark.parametrize(
    ("pdu_type", "low", "high"),
    [
        (PduType.A_ASSOCIATE_RQ, 68, 65536),
        (PduType.A_ASSOCIATE_AC, 68, 65536),
        (PduType.A_ASSOCIATE_RJ, 4, 4),
        (PduType.P_DATA_TF, 6, 5000),
        (PduType.A_RELEASE_RQ, 4, 4),
        (PduType.A_RELEASE_RP, 4, 4),
        (PduType.A_ABORT, 4, 4),
    ],
)
def test_lengths_are_checked_from_the_header(pdu_type, low, high):
    for length in (low, high):
        require_body_length(pdu_type, length, LIMITS, 5000)
    for length in (0, low - 1, high + 1, 0xFFFFFFFF):
        with pytest.raises(RemoteProtocolError) as refused:
            require_body_length(pdu_type, length, LIMITS, 5000)
        assert refused.value.abort_reason == AbortReason.INVALID_PDU_PARAMETER_VALUE


def test_errors_do_not_repeat_what_the_peer_wrote():
    with pytest.raises(RemoteProtocolError) as refused:
        parse_rq(associate_rq(contexts=proposed(1, "DOE^JANE", IMPLICIT)))
    assert "DOE" not in str(refused.value)
