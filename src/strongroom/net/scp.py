"""The DICOM server's side of one association: requests in, services done, responses out (PS3.7, PS3.4 annexes A, B)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from strongroom.archive.access import require
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.ingest import Arrival, Ingest, Memory, Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.peers import Peer
from strongroom.archive.query import ExtendedNegotiation
from strongroom.archive.read import Reader
from strongroom.archive.refusals import comment_of, reason_of, store_status
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dimse import (
    CCancelRq,
    CEchoRq,
    CEchoRsp,
    CFindRq,
    CFindRsp,
    CGetRq,
    CGetRsp,
    Channel,
    ChannelEvent,
    ChannelLimits,
    CMoveRq,
    CMoveRsp,
    CStoreRq,
    CStoreRsp,
    DatasetBuffer,
    DatasetChunk,
    MessageStart,
    NActionRq,
    NActionRsp,
    Response,
    Status,
    UnsupportedRq,
    UnsupportedRsp,
)
from strongroom.errors import (
    Denied,
    LimitExceeded,
    Quarantined,
    Refused,
    RemoteProtocolError,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.net.connection import Connection
from strongroom.types import Principal, Right, Uid
from strongroom.ul import (
    Aborted,
    ConnectionClosed,
    Negotiated,
    Pdv,
    PresentationContext,
    ReleaseConfirmed,
    ReleaseRequested,
)

RESPONSE_BIT = 0x8000

log = logging.getLogger(__name__)

_TOO_LARGE: dict[type, tuple[type[CFindRsp | CGetRsp | CMoveRsp], Action, int]] = {
    CFindRq: (CFindRsp, Action.QUERY, Status.OUT_OF_RESOURCES),
    CGetRq: (CGetRsp, Action.RETRIEVE, Status.UNABLE_TO_PERFORM_SUB_OPERATIONS),
    CMoveRq: (CMoveRsp, Action.MOVE, Status.UNABLE_TO_PERFORM_SUB_OPERATIONS),
}
"""What answers a request whose identifier is over the limit (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4)."""


class Service(Protocol):
    """A service that takes a request with a small data set, and answers on the association."""

    def __call__(self, session: Session, context: PresentationContext, request: object, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What one archive does for an association."""

    reader: Reader
    new_ingest: Callable[[Arrival], Ingest]
    record: Callable[[Event], None]
    find_peer: Callable[[str], Peer | None]
    handlers: dict[type, Service] = field(default_factory=dict)
    """By request type, every service but Verification and Storage."""
    query_limits: QueryLimits = field(default_factory=QueryLimits)
    new_memory: Callable[[], Memory] = Memory


class AssociationOver(Exception):  # not an error: how a wait inside a service ends
    """The peer released, aborted or vanished while a service was waiting for it."""


class Session:
    """One accepted association: its peer, its connection and its DIMSE channel. Owned by one thread."""

    def __init__(self, connection: Connection, services: Services, limits: ChannelLimits, principal: Principal) -> None:
        negotiated = connection.association.negotiated
        assert negotiated is not None
        self.connection = connection
        self.services = services
        self.principal = principal
        self.negotiated: Negotiated = negotiated
        self.channel = Channel(limits)
        self.extended: dict[Uid, ExtendedNegotiation] = {}
        self.counts = {"stored": 0, "refused": 0, "quarantined": 0}
        self.ended_because = ""
        self._limits = limits
        self._memory = services.new_memory()

    # -- the loop

    def run(self) -> str:
        """Serve until the association ends; returns how it did. Raises RemoteProtocolError."""
        try:
            return self._run()
        except AssociationOver:
            return "ended by the peer during a service"

    def _run(self) -> str:
        connection = self.connection
        while True:
            event = connection.next_event()
            if type(event) is Pdv:
                done = self.channel.feed(*event)
                if type(done) is MessageStart:
                    connection.in_service = True
                    self._serve(done)
                    connection.in_service = False
                elif done is not None:
                    raise RemoteProtocolError("data set without a request")
            elif isinstance(event, ReleaseRequested):
                connection.association.answer_release()
                connection.flush()
                return "released"
            elif isinstance(event, Aborted):
                return "aborted"
            elif isinstance(event, ConnectionClosed):
                return "connection lost" if event.lost else "closed"
            elif not isinstance(event, ReleaseConfirmed):
                raise RemoteProtocolError("unexpected event")

    def next_message(self) -> ChannelEvent:
        """Wait for the next message or data set fragment. Raises AssociationOver, RemoteProtocolError."""
        while True:
            event = self.connection.next_event()
            if type(event) is not Pdv:
                raise AssociationOver
            done = self.channel.feed(*event)
            if done is not None:
                return done

    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL of the request being served has come in. Does not wait. Raises AssociationOver."""
        cancelled = False
        while (event := self.connection.poll_event()) is not None:
            if type(event) is not Pdv:
                raise AssociationOver
            done = self.channel.feed(*event)
            if type(done) is MessageStart and isinstance(done.message, CCancelRq):
                cancelled = True
        return cancelled

    def respond(self, context: PresentationContext, response: Response, data: bytes | None = None) -> None:
        """Queue a response; it goes out before the next wait."""
        command = self.channel.encode_message(response)
        self.connection.association.send_pdvs(context.context_id, command, data)

    # -- requests

    def _serve(self, start: MessageStart) -> None:
        request = start.message
        context = self.negotiated.contexts[start.context_id]
        if type(request) is CStoreRq:
            self._store(context, request)
            return
        data = self._dataset() if request.has_dataset else b""
        if isinstance(data, LimitExceeded):
            self._refuse_dataset(context, request, data)
            return
        handler = self.services.handlers.get(type(request))
        if isinstance(request, CEchoRq):
            self._echo(context, request)
        elif handler is not None:
            handler(self, context, request, data)
        elif isinstance(request, UnsupportedRq):
            field_of_response = request.command_field | RESPONSE_BIT
            status = Status.UNRECOGNIZED_OPERATION
            self.respond(context, UnsupportedRsp(field_of_response, request.message_id, status))
        elif not isinstance(request, CCancelRq):
            raise RemoteProtocolError(f"{type(request).__name__} is not served")

    def _dataset(self) -> bytes | LimitExceeded:
        """The data set of a request. One over the limit is read to its end and dropped: the error is returned."""
        buffer = DatasetBuffer(self._limits.max_identifier_bytes)
        error: LimitExceeded | None = None
        self.connection.begin_message()
        while True:
            chunk = self.next_message()
            if type(chunk) is not DatasetChunk:
                raise RemoteProtocolError("a request inside a data set")
            data: bytes | None = None
            if error is None:
                try:
                    data = buffer.add(chunk)
                except LimitExceeded as over:
                    error, buffer = over, DatasetBuffer(0)
            if chunk.is_last:
                self.connection.end_message()
                return data or b"" if error is None else error

    def _refuse_dataset(self, context: PresentationContext, request: object, error: LimitExceeded) -> None:
        """Answer and record a request whose data set is over the limit."""
        if isinstance(request, CFindRq | CGetRq | CMoveRq):
            kind, action, status = _TOO_LARGE[type(request)]
            response: Response = kind(
                request.message_id, status, request.affected_sop_class_uid, error_comment=reason_of(error)[:64]
            )
        elif isinstance(request, NActionRq):
            action, status = Action.COMMITMENT, Status.RESOURCE_LIMITATION
            response = NActionRsp(request.message_id, status, error_comment=reason_of(error)[:64])
        else:
            raise error
        self.services.record(Event(action, Outcome.REFUSED, self.principal, {"reason": reason_of(error)}))
        self.respond(context, response)

    def _echo(self, context: PresentationContext, request: CEchoRq) -> None:
        status, outcome = Status.SUCCESS, Outcome.SUCCESS
        try:
            require(self.principal, Right.ECHO)
        except Denied:
            status, outcome = Status.NOT_AUTHORIZED, Outcome.REFUSED
        self.services.record(Event(Action.ECHO, outcome, self.principal))
        self.respond(context, CEchoRsp(request.message_id, status, request.affected_sop_class_uid))

    def _store(self, context: PresentationContext, request: CStoreRq) -> None:
        ingest: Ingest | None = None
        failure: Exception | None = None
        try:
            ingest = self._begin_store(context, request)
        except StrongroomError as error:
            failure = error
        connection, channel = self.connection, self.channel
        connection.begin_message()
        try:
            while True:
                event = connection.next_event()
                if type(event) is not Pdv:
                    raise AssociationOver
                chunk = channel.feed(*event)
                if chunk is None:
                    continue
                if type(chunk) is not DatasetChunk:
                    raise RemoteProtocolError("a request inside a data set")
                if ingest is not None and failure is None:
                    try:
                        ingest.write(chunk.data)
                    except StrongroomError as error:
                        failure = error
                        ingest.abort()
                if chunk.is_last:
                    break
            connection.end_message()
            self._answer_store(context, request, ingest, failure)
        finally:
            if ingest is not None:
                ingest.abort()

    def _begin_store(self, context: PresentationContext, request: CStoreRq) -> Ingest:
        if not context.requestor_scu:
            raise Denied("no-scu-role")
        require(self.principal, Right.STORE)
        if request.affected_sop_class_uid != context.abstract_syntax:
            raise Refused("sop-class-uid-differs")
        sop_uid = request.affected_sop_instance_uid
        if not isinstance(sop_uid, Uid):
            raise Refused("affected-sop-instance-uid-invalid")
        syntax = TRANSFER_SYNTAXES[context.transfer_syntax]
        arrival = Arrival(request.affected_sop_class_uid, sop_uid, syntax, self.principal, memory=self._memory)
        return self.services.new_ingest(arrival)

    def _answer_store(
        self, context: PresentationContext, request: CStoreRq, ingest: Ingest | None, failure: Exception | None
    ) -> None:
        status, comment = int(Status.SUCCESS), ""
        if failure is None and ingest is not None:
            try:
                if ingest.commit() is Verdict.COERCED:
                    status, comment = Status.COERCION_OF_DATA_ELEMENTS, Verdict.COERCED.value
            except StrongroomError as error:
                failure = error
        if failure is not None:
            status, comment = store_status(failure), comment_of(failure)
        if isinstance(failure, Quarantined):
            self.counts["quarantined"] += 1  # and recorded with what is held
        elif failure is not None:
            self._record_refusal(request, ingest, failure)
            self.counts["refused"] += 1
        else:
            self.counts["stored"] += 1
        sop_uid = request.affected_sop_instance_uid
        self.respond(
            context,
            CStoreRsp(
                request.message_id,
                status,
                request.affected_sop_class_uid,
                sop_uid if isinstance(sop_uid, Uid) else None,
                error_comment=comment,
            ),
        )

    def _record_refusal(self, request: CStoreRq, ingest: Ingest | None, failure: Exception) -> None:
        reason = reason_of(failure)
        try:
            if ingest is not None:
                ingest.refuse(reason)
            else:
                sop_uid = request.affected_sop_instance_uid  # as text it may be anything, and is not for the trail
                details = {"sop_uid": sop_uid if isinstance(sop_uid, Uid) else "", "reason": reason}
                self.services.record(Event(Action.STORE, Outcome.REFUSED, self.principal, details))
        except StorageUnavailable:
            # The answer is a failure in any case; without a trail there is nothing more that could be done.
            log.error("a refusal could not be recorded")
