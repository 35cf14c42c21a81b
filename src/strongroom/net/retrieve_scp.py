"""C-GET and C-MOVE as SCP (PS3.4 C.4.2, C.4.3): objects out, one C-STORE sub-operation each, counted to the end.

What leaves is in the trail before its first byte, and how it ended before the final response: also when the peer goes
away in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing

from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome, StoredObject
from strongroom.archive.outgoing import Chunks, opened
from strongroom.archive.peers import Peer
from strongroom.archive.ports import Progress
from strongroom.archive.query import ExtendedNegotiation, Retrieval
from strongroom.archive.read import Reader
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dimse import (
    CCancelRq,
    CGetRq,
    CGetRsp,
    ChannelEvent,
    CMoveRq,
    CMoveRsp,
    CStoreRq,
    CStoreRsp,
    MessageStart,
    Status,
)
from strongroom.errors import (
    Denied,
    LimitExceeded,
    Refused,
    RemoteProtocolError,
    StorageUnavailable,
    StrongroomError,
)
from strongroom.net.find_scp import REFUSED, read_identifier, refusal_status
from strongroom.net.forward import (
    OBJECT_ERRORS,
    Destination,
    PeerCaller,
    Sent,
    SubOperations,
    accepted_for_sending,
    choose_transfer_syntax,
)
from strongroom.net.scp import AssociationOver, Session
from strongroom.net.services import QUERY_RETRIEVE, Service
from strongroom.types import Right, Uid
from strongroom.ul import Pdv, PresentationContext

MAX_AE_TITLE_CHARS = 16


def get(session: Session, context: PresentationContext, request: object, data: bytes) -> None:
    """Serve one C-GET-RQ: the objects come back on the same association."""
    assert isinstance(request, CGetRq)
    reader, principal = session.services.reader, session.principal
    try:
        require(principal, Right.GET)
        retrieval = _read_retrieval(session, context, request, data)
        if session.channel.awaiting is not None:
            raise Refused("event-report-unanswered")
        objects = reader.retrieve(principal, Right.GET, retrieval, {})
    except REFUSED as error:
        _refuse(session, context, request, error, {})
        return
    sender = _SameAssociation(session)
    exchange = _Exchange(session, context, request, len(objects))
    exchange.run(sender.store_all(objects), lambda: sender.is_cancelled or session.is_cancelled(), {})


class MoveScp:
    """Serves C-MOVE: the objects go to another registered peer. Thread-safe."""

    def __init__(self, caller: PeerCaller) -> None:
        self._caller = caller

    def __call__(self, session: Session, context: PresentationContext, request: object, data: bytes) -> None:
        """Serve one C-MOVE-RQ."""
        assert isinstance(request, CMoveRq)
        reader, principal = session.services.reader, session.principal
        more: dict[str, Detail] = {"destination": request.move_destination[:MAX_AE_TITLE_CHARS]}
        try:
            require(principal, Right.MOVE)
            retrieval = _read_retrieval(session, context, request, data)
            peer = self._destination(request.move_destination)
            more["address"] = peer.address
            objects = reader.retrieve(principal, Right.MOVE, retrieval, more)
        except REFUSED as error:
            _refuse(session, context, request, error, more)
            return
        destination = Destination(self._caller, peer, reader, (principal.aet, request.message_id))
        exchange = _Exchange(session, context, request, len(objects))
        exchange.run(destination.store_all(objects), session.is_cancelled, more)

    def _destination(self, title: str) -> Peer:
        try:
            return self._caller.find(title.strip(" "))
        except Denied as denied:
            raise Refused(f"destination-{denied.reason}") from None


def _read_retrieval(
    session: Session, context: PresentationContext, request: CGetRq | CMoveRq, data: bytes
) -> Retrieval:
    """What is asked for. Raises Refused, InvalidQuery, MalformedDataset or LimitExceeded."""
    service, model = QUERY_RETRIEVE.get(context.abstract_syntax, (None, None))
    wanted = Service.GET if isinstance(request, CGetRq) else Service.MOVE
    if model is None or service is not wanted or request.affected_sop_class_uid != context.abstract_syntax:
        raise Refused("sop-class-not-of-context")
    limits = session.services.query_limits
    identifier = read_identifier(data, TRANSFER_SYNTAXES[context.transfer_syntax], limits)
    negotiated = session.extended.get(context.abstract_syntax, ExtendedNegotiation())
    return Retrieval.from_identifier(identifier.keys, model=model, negotiated=negotiated, limits=limits)


def _status_of(error: Exception) -> int:
    if isinstance(error, Refused):
        if error.reason.startswith("destination-"):
            return Status.MOVE_DESTINATION_UNKNOWN
        if error.reason == "sop-class-not-of-context":
            return Status.SOP_CLASS_NOT_SUPPORTED
    if isinstance(error, Refused | LimitExceeded | StorageUnavailable):
        return Status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    return refusal_status(error)


def _refuse(
    session: Session,
    context: PresentationContext,
    request: CGetRq | CMoveRq,
    error: StrongroomError,
    more: Mapping[str, Detail],
) -> None:
    details: dict[str, Detail] = {"reason": reason_of(error), **more}
    session.services.record(Event(_action_of(request), Outcome.REFUSED, session.principal, details))
    kind = CGetRsp if isinstance(request, CGetRq) else CMoveRsp
    sop_class, comment = request.affected_sop_class_uid, reason_of(error)[:64]
    session.respond(context, kind(request.message_id, _status_of(error), sop_class, error_comment=comment))


def _action_of(request: CGetRq | CMoveRq) -> Action:
    return Action.RETRIEVE if isinstance(request, CGetRq) else Action.MOVE


class _Exchange:
    """The responses to one request, while its sub-operations run."""

    def __init__(self, session: Session, context: PresentationContext, request: CGetRq | CMoveRq, objects: int) -> None:
        self._session = session
        self._context = context
        self._request = request
        self._counts = SubOperations(objects)

    def run(
        self, results: Generator[Sent, None, None], is_cancelled: Callable[[], bool], more: Mapping[str, Detail]
    ) -> None:
        """Take the results as they come, until the last one or a C-CANCEL; then record the end and respond.

        Raises AssociationOver or RemoteProtocolError when the peer is gone: the end is in the trail by then.
        """
        session, counts = self._session, self._counts
        progress = self._progress(more)
        cancelled, end = False, "bug"
        try:
            with closing(results):
                for sent in results:
                    counts.add(sent)
                    progress.say(counts.completed + counts.failed + counts.warning)
                    if sent.sent_bytes:
                        self._respond(Status.PENDING)
                        session.connection.flush()
                        cancelled = is_cancelled()
                    if cancelled:
                        break
            end = "cancelled" if cancelled else "complete"
        except _Broken as broken:
            counts.add(broken.sent)
            end = "association aborted"
            raise
        except AssociationOver:
            end = "association over"
            raise
        except StrongroomError as error:
            end = str(error)[:128] if isinstance(error, RemoteProtocolError) else reason_of(error)
            raise
        finally:
            outcome = {"complete": counts.outcome, "cancelled": Outcome.WARNING}.get(end, Outcome.FAILED)
            details = counts.details | {"end": end} | dict(more)
            progress.end(end, is_good=outcome is Outcome.SUCCESS)
            session.services.reader.ended(session.principal, _action_of(self._request), outcome, details)
        self._respond(counts.final_status(cancelled=cancelled))
        session.connection.end_message()

    def _progress(self, more: Mapping[str, Detail]) -> Progress:
        """What others see of it if it takes its time."""
        kind = f"C-MOVE to {more['destination']}" if "destination" in more else "C-GET"
        return self._session.services.reader.under_way(self._session.principal, kind, self._counts.remaining)

    def _respond(self, status: int) -> None:
        counts, request = self._counts, self._request
        is_pending = status == Status.PENDING
        syntax = TRANSFER_SYNTAXES[self._context.transfer_syntax]
        failed_list = None if is_pending or status == Status.SUCCESS else counts.failed_list(syntax)
        kind = CGetRsp if isinstance(request, CGetRq) else CMoveRsp
        response = kind(
            request.message_id,
            status,
            request.affected_sop_class_uid,
            has_dataset=failed_list is not None,
            # Final responses go without it, but for a cancelled one (PS3.4 C.4.2.1.6).
            remaining_sub_operations=counts.remaining if is_pending or status == Status.CANCEL else None,
            completed_sub_operations=counts.completed,
            failed_sub_operations=counts.failed,
            warning_sub_operations=counts.warning,
        )
        self._session.respond(self._context, response, failed_list)


class _Broken(AssociationOver):
    """An object proved damaged when a part of it had left: there is no way to take that back but an A-ABORT."""

    def __init__(self, sent: Sent) -> None:
        super().__init__(sent.reason)
        self.sent = sent


class _SameAssociation:
    """Where a C-GET sends to: the association that it came on."""

    def __init__(self, session: Session) -> None:
        self.is_cancelled = False
        self._session = session
        self._accepted = accepted_for_sending(session.negotiated.contexts, we_requested=False)
        self._response: CStoreRsp | None = None

    def store_all(self, objects: Sequence[StoredObject]) -> Generator[Sent, None, None]:
        """Send the objects; yields each as soon as it is answered. Raises AssociationOver, RemoteProtocolError.

        An object that proves damaged when a part of it has left ends the association.
        """
        reader = self._session.services.reader
        for stored in objects:
            contexts = self._accepted.get(stored.sop_class, {})
            syntax = choose_transfer_syntax(stored.transfer_syntax, contexts)
            if syntax is None:
                yield Sent(stored, None, "no-presentation-context", 0)
            else:
                yield self._store(reader, stored, (contexts[syntax], syntax))

    def _store(self, reader: Reader, stored: StoredObject, chosen: tuple[int, str]) -> Sent:
        context_id, syntax = chosen
        chunks: Chunks | None = None
        try:
            with opened(reader, stored, syntax) as chunks:
                status = self._send(context_id, stored, chunks)
        except OBJECT_ERRORS as error:
            sent = Sent(stored, None, reason_of(error), chunks.bytes if chunks else 0)
            if chunks is None:
                return sent
            self._session.connection.association.abort()
            self._session.connection.flush()
            raise _Broken(sent) from error
        return Sent(stored, status, "", chunks.bytes)

    def _send(self, context_id: int, stored: StoredObject, chunks: Chunks) -> int:
        session = self._session
        connection, channel = session.connection, session.channel
        request = CStoreRq(channel.next_message_id(), Uid(stored.sop_class), Uid(stored.sop_uid))
        self._response = None
        batches = connection.association.stream_pdvs(context_id, channel.encode_message(request), chunks)
        for number, buffers in enumerate(batches):
            if number:  # a large object: the peer may say something meanwhile, or be gone
                self._listen()
            connection.send(buffers)
        connection.end_message()  # from now on it is the peer's time
        while self._response is None:
            self._hear(session.next_message())
        return self._response.status

    def _listen(self) -> None:
        connection, channel = self._session.connection, self._session.channel
        while (event := connection.poll_event()) is not None:
            if type(event) is not Pdv:
                raise AssociationOver
            heard = channel.feed(*event)
            if heard is not None:
                self._hear(heard)

    def _hear(self, heard: ChannelEvent) -> None:
        message = heard.message if isinstance(heard, MessageStart) else None
        if isinstance(message, CCancelRq):
            self.is_cancelled = True
        elif isinstance(message, CStoreRsp):
            self._response = message
        else:
            raise RemoteProtocolError("something else where the response to a sub-operation was due")
