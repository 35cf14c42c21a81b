"""C-FIND as SCP (PS3.4 C.4.1): identifier in, one pending response per match, then the final one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from strongroom.archive.constraint import QueryLimits
from strongroom.archive.model import Action, Outcome
from strongroom.archive.query import ExtendedNegotiation, Identifier, Query, identifier_from_json
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.encode import encode_answer
from strongroom.dicom.jsonmodel import JsonDataset, tree_to_json
from strongroom.dicom.text import parse_charsets
from strongroom.dicom.tree import parse_dataset
from strongroom.dimse import CFindRq, CFindRsp, Status
from strongroom.errors import (
    ConfigError,
    Denied,
    IntegrityError,
    InvalidQuery,
    LimitExceeded,
    MalformedDataset,
    NotFound,
    Refused,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.net.scp import Session
from strongroom.net.services import QUERY_RETRIEVE, Service
from strongroom.ul import PresentationContext

SPECIFIC_CHARACTER_SET = 0x00080005
REFUSED = (
    ConfigError,
    Denied,
    IntegrityError,
    InvalidQuery,
    LimitExceeded,
    MalformedDataset,
    NotFound,
    Refused,
    StorageUnavailable,
)
SEND_BATCH_BYTES = 65_536
"""Answers are sent about so many bytes at a time; a C-CANCEL is looked for in between."""


@dataclass(frozen=True, slots=True)
class ReadIdentifier:
    """A request's identifier as text, and the character sets its sender reads."""

    keys: Identifier
    charsets: tuple[str, ...]


def read_identifier(data: bytes, transfer_syntax: TransferSyntax, limits: QueryLimits) -> ReadIdentifier:
    """Parse an identifier. Raises MalformedDataset, LimitExceeded or InvalidQuery."""
    elements = parse_dataset(data, transfer_syntax)
    charset = next((element.value for element in elements if element.tag == SPECIFIC_CHARACTER_SET), b"")
    charsets = parse_charsets(bytes(charset or b""))
    keys = identifier_from_json(tree_to_json(elements, charsets, transfer_syntax), limits)
    return ReadIdentifier(keys, charsets)


def refusal_status(error: Exception) -> int:
    """The C-FIND, C-MOVE or C-GET failure status for an error (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4)."""
    if isinstance(error, Denied):
        return Status.NOT_AUTHORIZED
    if isinstance(error, InvalidQuery | Refused):
        return Status.DATASET_DOES_NOT_MATCH_SOP_CLASS
    if isinstance(error, LimitExceeded | StorageUnavailable):
        return Status.OUT_OF_RESOURCES
    return Status.UNABLE_TO_PROCESS


def find(session: Session, context: PresentationContext, request: object, data: bytes) -> None:
    """Serve one C-FIND-RQ."""
    assert isinstance(request, CFindRq)
    syntax = TRANSFER_SYNTAXES[context.transfer_syntax]
    reader, limits = session.services.reader, session.services.query_limits
    try:
        service, model = QUERY_RETRIEVE.get(context.abstract_syntax, (None, None))
        if model is None or service is not Service.FIND or request.affected_sop_class_uid != context.abstract_syntax:
            raise Refused("sop-class-not-of-context")
        identifier = read_identifier(data, syntax, limits)
        negotiated = session.extended.get(context.abstract_syntax, ExtendedNegotiation())
        query = Query.from_identifier(identifier.keys, model=model, negotiated=negotiated, limits=limits)
        answers = reader.search(session.principal, query)
    except REFUSED as error:
        _refuse(session, context, request, error)
        return
    session.connection.end_message()
    pending = Status.PENDING_WARNING if query.unsupported else Status.PENDING
    command = CFindRsp(request.message_id, pending, request.affected_sop_class_uid, has_dataset=True)
    association = session.connection.association
    status = Status.RESPONSE_LIMIT_REACHED if answers.truncated else Status.SUCCESS
    encoded = session.channel.encode_message(command)
    for data_set in _encoded(session, answers, syntax, identifier.charsets):
        if data_set is None:
            status = Status.UNABLE_TO_PROCESS
            continue
        association.send_pdvs(context.context_id, encoded, data_set)
        if association.queued_bytes > SEND_BATCH_BYTES:
            session.connection.flush()
            if session.is_cancelled():
                status = Status.CANCEL
                break
    session.respond(context, CFindRsp(request.message_id, status, request.affected_sop_class_uid))


def _encoded(
    session: Session, answers: Iterable[JsonDataset], syntax: TransferSyntax, charsets: tuple[str, ...]
) -> Iterator[bytes | None]:
    """The answers as data sets; None for a record that cannot be answered, which is recorded, once for all of them.

    One record must never cost the others, nor the asker the association: an attribute that cannot be encoded is empty.
    """
    remaining, failed = iter(answers), False
    data_set: bytes | None
    while True:
        try:
            answer = next(remaining, None)
            if answer is None:
                return
            data_set = _encode_row(answer, syntax, charsets)
        except REFUSED as error:
            if not failed:
                session.services.reader.ended(
                    session.principal, Action.QUERY, Outcome.FAILED, {"end": reason_of(error)}
                )
            failed, data_set = True, None
        yield data_set


def _encode_row(answer: JsonDataset, syntax: TransferSyntax, charsets: tuple[str, ...]) -> bytes:
    try:
        return encode_answer(answer, syntax, charsets)
    except (MalformedDataset, LimitExceeded):
        return encode_answer(_without_broken(answer, syntax, charsets), syntax, charsets)


def _without_broken(answer: JsonDataset, syntax: TransferSyntax, charsets: tuple[str, ...]) -> JsonDataset:
    """The answer with an empty value in place of every attribute that cannot be encoded."""
    whole = {}
    for name, attribute in answer.items():
        try:
            encode_answer({name: attribute}, syntax, charsets)
            whole[name] = attribute
        except (MalformedDataset, LimitExceeded):
            whole[name] = {"vr": attribute["vr"]}
    return whole


def _refuse(session: Session, context: PresentationContext, request: CFindRq, error: StrongroomError) -> None:
    session.services.reader.refused(session.principal, Action.QUERY, error)
    # What the peer asked wrongly is said in full; a fault of the archive may name its paths and keys.
    ours = isinstance(error, ConfigError | IntegrityError | NotFound | StorageUnavailable)
    comment = (reason_of(error) if ours else str(error))[:64]
    status = refusal_status(error)
    session.respond(
        context, CFindRsp(request.message_id, status, request.affected_sop_class_uid, error_comment=comment)
    )
