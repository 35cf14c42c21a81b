"""Protocol data units of the upper layer: values, strict parsing, encoding (DICOM PS3.8 9.3).

Parsing takes the body of one complete PDU (without its 6-byte header); nothing here waits for bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from strongroom.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul.items import (
    UserInformation,
    encode_item,
    encode_user_information,
    malformed,
    parse_uid,
    parse_user_information,
    walk_items,
)
from strongroom.ul.limits import UlLimits

HEADER = struct.Struct(">BxI")
"""PDU header: type, reserved, length of the body in bytes (PS3.8 9.3.1)."""

HEADER_BYTES = 6
PDV_HEADER_BYTES = 6
"""Item length, presentation context identifier and message control header (PS3.8 9.3.5.1, annex E.2)."""

P_DATA_WITH_ONE_PDV = struct.Struct(">BxIIBB")
"""Both headers of a P-DATA-TF that carries one presentation data value."""

APPLICATION_CONTEXT = Uid("1.2.840.10008.3.1.1.1")

_NOT_SIGNIFICANT = Uid("1.2.840.10008.1.2")

_ASSOCIATE_FIXED = struct.Struct(">Hxx16s16s32x")
_ASSOCIATE_FIXED_BYTES = 68
_ANSWER_FIXED = struct.Struct(">Hxx64s")
_FOUR = struct.Struct(">4B")
_PROTOCOL_VERSION = 1

_APPLICATION_CONTEXT_ITEM = 0x10
_PROPOSED_CONTEXT_ITEM = 0x20
_ANSWERED_CONTEXT_ITEM = 0x21
_ABSTRACT_SYNTAX_ITEM = 0x30
_TRANSFER_SYNTAX_ITEM = 0x40
_USER_INFORMATION_ITEM = 0x50

_SPARE_ITEMS = 16
"""Items of unknown type that a request may carry beside the known ones; they are skipped (PS3.8 9.3.1)."""


class PduType(IntEnum):
    """The first byte of a PDU."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


class ContextOutcome(IntEnum):
    """Result of one presentation context (PS3.8 9.3.3.2)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class AbortSource(IntEnum):
    """Who ends the association (PS3.8 9.3.8)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 table 9-26); not significant from a service user."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class RejectResult(IntEnum):
    """How final a rejection is (PS3.8 9.3.4)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """Which part of the acceptor rejects; it says how to read the reason (PS3.8 table 9-21)."""

    SERVICE_USER = 1
    PROVIDER_ACSE = 2
    PROVIDER_PRESENTATION = 3


class UserRejectReason(IntEnum):
    """Reasons of RejectSource.SERVICE_USER."""

    NO_REASON = 1
    APPLICATION_CONTEXT_NOT_SUPPORTED = 2
    CALLING_AE_TITLE_NOT_RECOGNIZED = 3
    CALLED_AE_TITLE_NOT_RECOGNIZED = 7


class AcseRejectReason(IntEnum):
    """Reasons of RejectSource.PROVIDER_ACSE."""

    NO_REASON = 1
    PROTOCOL_VERSION_NOT_SUPPORTED = 2


class PresentationRejectReason(IntEnum):
    """Reasons of RejectSource.PROVIDER_PRESENTATION."""

    TEMPORARY_CONGESTION = 1
    LOCAL_LIMIT_EXCEEDED = 2


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed: an odd ``context_id`` and at least one transfer syntax (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: Uid
    transfer_syntaxes: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """A presentation context as answered; ``transfer_syntax`` is None unless it was accepted (PS3.8 9.3.3.2)."""

    context_id: int
    outcome: ContextOutcome
    transfer_syntax: Uid | None = None


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). ``protocol_version`` is the received bit field; bit 0 is version 1."""

    called_ae_title: AeTitle
    calling_ae_title: AeTitle
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: Uid = APPLICATION_CONTEXT
    protocol_version: int = _PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AssociateAnswer:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The titles it echoes are reserved fields, so they are no part of the value."""

    contexts: tuple[AnsweredContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: Uid = APPLICATION_CONTEXT
    protocol_version: int = _PROTOCOL_VERSION


def require_known_type(pdu_type: int) -> PduType:
    """Return the type. Raises RemoteProtocolError if the standard has no such PDU."""
    if not 1 <= pdu_type <= 7:
        raise RemoteProtocolError(f"PDU type {pdu_type:02X}H does not exist", abort_reason=AbortReason.UNRECOGNIZED_PDU)
    return PduType(pdu_type)


def require_body_length(pdu_type: PduType, body_bytes: int, limits: UlLimits, max_p_data_body_bytes: int) -> None:
    """Check a PDU header before any byte of the body is awaited, so that a peer cannot make us reserve memory.

    Raises:
        RemoteProtocolError: no PDU of this type has that length, or we did not advertise to take it.
    """
    if pdu_type is PduType.P_DATA_TF:
        low, high = PDV_HEADER_BYTES, max_p_data_body_bytes
    elif pdu_type is PduType.A_ASSOCIATE_RQ or pdu_type is PduType.A_ASSOCIATE_AC:
        low, high = _ASSOCIATE_FIXED_BYTES, limits.max_associate_pdu_bytes
    else:
        low = high = 4
    if not low <= body_bytes <= high:
        raise malformed(f"{pdu_type.name} of {body_bytes} bytes; {low} to {high} are taken")


def _parse_title(raw: bytes, what: str) -> AeTitle:
    try:
        return AeTitle.parse(str(raw, "ascii").rstrip("\0 "))
    except (UnicodeDecodeError, ConfigError):
        raise malformed(f"{what} AE title: not an AE title") from None


def _parse_fixed(body: memoryview, what: str) -> tuple[int, bytes, bytes]:
    if len(body) < _ASSOCIATE_FIXED_BYTES:
        raise malformed(f"{what}: {len(body)} bytes are too few")
    version, called, calling = _ASSOCIATE_FIXED.unpack_from(body)
    return version, called, calling


def parse_associate_rq(body: memoryview, limits: UlLimits) -> AssociateRequest:
    """Return the request in ``body``; nothing in it refers to the buffer.

    Raises:
        RemoteProtocolError: a mandatory item is missing or repeated, a length does not add up, an identifier is even or
            used twice, a UID or title is none, or a cap of ``limits`` is passed.
    """
    version, raw_called, raw_calling = _parse_fixed(body, "A-ASSOCIATE-RQ")
    contexts: dict[int, ProposedContext] = {}
    application_context: Uid | None = None
    user: UserInformation | None = None
    items = walk_items(body[_ASSOCIATE_FIXED_BYTES:], limits.max_contexts + 2 + _SPARE_ITEMS, "A-ASSOCIATE-RQ")
    for item_type, value in items:
        if item_type == _PROPOSED_CONTEXT_ITEM:
            if len(contexts) == limits.max_contexts:
                raise malformed(f"more than {limits.max_contexts} presentation contexts")
            proposed = _parse_proposed_context(value, limits)
            if proposed.context_id in contexts:
                raise malformed(f"presentation context {proposed.context_id} is proposed twice")
            contexts[proposed.context_id] = proposed
        elif item_type == _APPLICATION_CONTEXT_ITEM:
            if application_context is not None:
                raise malformed("two application contexts")
            application_context = parse_uid(value, "application context")
        elif item_type == _USER_INFORMATION_ITEM:
            if user is not None:
                raise malformed("two user information items")
            user = parse_user_information(value, limits, is_request=True)
    if not contexts or application_context is None or user is None:
        raise malformed("A-ASSOCIATE-RQ: application context, presentation context or user information is missing")
    called, calling = _parse_title(raw_called, "called"), _parse_title(raw_calling, "calling")
    return AssociateRequest(called, calling, tuple(contexts.values()), user, application_context, version)


def _parse_proposed_context(value: memoryview, limits: UlLimits) -> ProposedContext:
    if len(value) < 4 or not value[0] & 1:
        raise malformed("presentation context: cut off, or its identifier is even")
    abstract_syntax: Uid | None = None
    transfer_syntaxes: list[Uid] = []
    max_items = limits.max_transfer_syntaxes_per_context + 1
    for item_type, sub_value in walk_items(value[4:], max_items, "presentation context"):
        if item_type == _ABSTRACT_SYNTAX_ITEM:
            if abstract_syntax is not None:
                raise malformed("presentation context: two abstract syntaxes")
            abstract_syntax = parse_uid(sub_value, "abstract syntax")
        elif item_type == _TRANSFER_SYNTAX_ITEM:
            transfer_syntaxes.append(parse_uid(sub_value, "transfer syntax"))
    if abstract_syntax is None or not transfer_syntaxes:
        raise malformed(f"presentation context {value[0]}: abstract or transfer syntax is missing")
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def parse_associate_ac(body: memoryview, limits: UlLimits) -> AssociateAnswer:
    """Return the acceptance in ``body``; whether it answers what was proposed is for the negotiation to say.

    Raises:
        RemoteProtocolError: as parse_associate_rq.
    """
    version, _, _ = _parse_fixed(body, "A-ASSOCIATE-AC")
    contexts: dict[int, AnsweredContext] = {}
    application_context: Uid | None = None
    user: UserInformation | None = None
    items = walk_items(body[_ASSOCIATE_FIXED_BYTES:], limits.max_contexts + 2 + _SPARE_ITEMS, "A-ASSOCIATE-AC")
    for item_type, value in items:
        if item_type == _ANSWERED_CONTEXT_ITEM:
            answered = _parse_answered_context(value)
            if answered.context_id in contexts:
                raise malformed(f"presentation context {answered.context_id} is answered twice")
            contexts[answered.context_id] = answered
        elif item_type == _APPLICATION_CONTEXT_ITEM:
            if application_context is not None:
                raise malformed("two application contexts")
            application_context = parse_uid(value, "application context")
        elif item_type == _USER_INFORMATION_ITEM:
            if user is not None:
                raise malformed("two user information items")
            user = parse_user_information(value, limits, is_request=False)
    if not contexts or application_context is None or user is None:
        raise malformed("A-ASSOCIATE-AC: application context, presentation context or user information is missing")
    return AssociateAnswer(tuple(contexts.values()), user, application_context, version)


def _parse_answered_context(value: memoryview) -> AnsweredContext:
    if len(value) < 4 or not value[0] & 1 or value[2] > ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED:
        raise malformed("presentation context: cut off, an even identifier, or an unknown result")
    if value[2] != ContextOutcome.ACCEPTANCE:
        return AnsweredContext(value[0], ContextOutcome(value[2]))  # its transfer syntax is not significant
    transfer_syntaxes = [
        parse_uid(sub_value, "transfer syntax")
        for item_type, sub_value in walk_items(value[4:], 4, "presentation context")
        if item_type == _TRANSFER_SYNTAX_ITEM
    ]
    if len(transfer_syntaxes) != 1:
        raise malformed(f"presentation context {value[0]}: {len(transfer_syntaxes)} transfer syntaxes in an acceptance")
    return AnsweredContext(value[0], ContextOutcome.ACCEPTANCE, transfer_syntaxes[0])


def parse_associate_rj(body: memoryview) -> tuple[int, int, int]:
    """Return result, source and reason (PS3.8 9.3.4). Raises RemoteProtocolError if result or source is none."""
    if len(body) != 4:
        raise malformed("A-ASSOCIATE-RJ: body length is not 4")
    _, result, source, reason = _FOUR.unpack(body)
    if result not in (1, 2) or source not in (1, 2, 3):
        raise malformed("A-ASSOCIATE-RJ: unknown result or source")
    return result, source, reason


def parse_abort(body: memoryview) -> tuple[int, int]:
    """Return source and reason as received: an A-ABORT ends the association whatever it says (PS3.8 9.3.8)."""
    if len(body) != 4:
        raise malformed("A-ABORT: body length is not 4")
    _, _, source, reason = _FOUR.unpack(body)
    return source, reason


def _encode_pdu(pdu_type: PduType, body: bytes) -> bytes:
    return HEADER.pack(pdu_type, len(body)) + body


def _padded_title(title: AeTitle) -> bytes:
    return title.encode("ascii").ljust(16)


def encode_associate_rq(request: AssociateRequest) -> bytes:
    """Return the whole PDU. Raises LocalProtocolError if the request could not be sent at all."""
    if not 1 <= len(request.contexts) <= 128:
        raise LocalProtocolError(f"{len(request.contexts)} presentation contexts; 1 to 128 can be proposed")
    body = [
        _ASSOCIATE_FIXED.pack(
            request.protocol_version, _padded_title(request.called_ae_title), _padded_title(request.calling_ae_title)
        ),
        encode_item(_APPLICATION_CONTEXT_ITEM, request.application_context.encode("ascii")),
    ]
    for context in request.contexts:
        syntaxes = [encode_item(_ABSTRACT_SYNTAX_ITEM, context.abstract_syntax.encode("ascii"))]
        syntaxes += [encode_item(_TRANSFER_SYNTAX_ITEM, uid.encode("ascii")) for uid in context.transfer_syntaxes]
        head = _FOUR.pack(context.context_id, 0, 0, 0)
        body.append(encode_item(_PROPOSED_CONTEXT_ITEM, head + b"".join(syntaxes)))
    body.append(encode_item(_USER_INFORMATION_ITEM, encode_user_information(request.user)))
    return _encode_pdu(PduType.A_ASSOCIATE_RQ, b"".join(body))


def echo_of(request_body: memoryview) -> bytes:
    """Return the 64 bytes of a request that its acceptance sends back unchanged: both titles and what is reserved."""
    return bytes(request_body[4:_ASSOCIATE_FIXED_BYTES])


def encode_associate_ac(answer: AssociateAnswer, echo: bytes) -> bytes:
    """Return the whole PDU; ``echo`` is from ``echo_of`` the request (PS3.8 9.3.3)."""
    body = [
        _ANSWER_FIXED.pack(answer.protocol_version, echo),
        encode_item(_APPLICATION_CONTEXT_ITEM, answer.application_context.encode("ascii")),
    ]
    for context in answer.contexts:
        # A refused context has one too, not significant; real readers choke on an absent or empty one.
        named = context.transfer_syntax or _NOT_SIGNIFICANT
        transfer_syntax = encode_item(_TRANSFER_SYNTAX_ITEM, named.encode("ascii"))
        head = _FOUR.pack(context.context_id, 0, context.outcome, 0)
        body.append(encode_item(_ANSWERED_CONTEXT_ITEM, head + transfer_syntax))
    body.append(encode_item(_USER_INFORMATION_ITEM, encode_user_information(answer.user)))
    return _encode_pdu(PduType.A_ASSOCIATE_AC, b"".join(body))


def encode_associate_rj(result: int, source: int, reason: int) -> bytes:
    """Return the whole PDU."""
    return _encode_pdu(PduType.A_ASSOCIATE_RJ, _FOUR.pack(0, result, source, reason))


def encode_release_rq() -> bytes:
    """Return the whole PDU."""
    return _encode_pdu(PduType.A_RELEASE_RQ, bytes(4))


def encode_release_rp() -> bytes:
    """Return the whole PDU."""
    return _encode_pdu(PduType.A_RELEASE_RP, bytes(4))


def encode_abort(source: int, reason: int) -> bytes:
    """Return the whole PDU."""
    return _encode_pdu(PduType.A_ABORT, _FOUR.pack(0, 0, source, reason))
