"""The SCU: asks another application entity to do something, one operation at a time (DICOM PS3.7 9.1, 10.1).

Used for the sub-operations of a C-MOVE, for commitment reports, and for looking at other archives from the outside.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeVar

from strongroom.dimse import (
    CCancelRq,
    CEchoRq,
    CEchoRsp,
    CFindRq,
    CFindRsp,
    CGetRq,
    CGetRsp,
    CMoveRq,
    CMoveRsp,
    CStoreRq,
    CStoreRsp,
    MessageStart,
    NActionRq,
    NActionRsp,
    NEventReportRq,
    NEventReportRsp,
    NSetRq,
    NSetRsp,
    Response,
    Status,
    is_pending,
)
from strongroom.errors import LimitExceeded, PeerUnavailable, Refused, RemoteProtocolError
from strongroom.net.scu_link import Proposal, ScuLimits, ScuLink, ScuTimeouts, Target, describe_outcome
from strongroom.types import Uid
from strongroom.ul import AssociateAccepted, Buffer, Negotiated, PresentationContext

__all__ = ["Proposal", "ScuConnection", "ScuLimits", "ScuLink", "ScuTimeouts", "Target", "describe_outcome"]

VERIFICATION: Final = Uid("1.2.840.10008.1.1")
STORAGE_COMMITMENT: Final = Uid("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_INSTANCE: Final = Uid("1.2.840.10008.1.20.1.1")
IMPLICIT_VR_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2")

MAX_HELD_REPORTS: Final = 16
"""Event reports that came in unasked and wait for ``receive_event_report``."""

R = TypeVar("R", bound=Response)

OnStore = Callable[[CStoreRq, Uid, Iterator[memoryview]], int]
"""Takes in one object of a C-GET: the request, the transfer syntax and the data set; returns the status to answer."""


class ScuConnection:
    """An established association in which we ask. Not thread-safe; a ``with`` block releases or aborts it.

    Any error but Refused ends the association. A method that waits for responses raises PeerUnavailable (the peer is
    too slow or has gone), RemoteProtocolError (it broke the protocol) or LimitExceeded (it sent too much).
    """

    __slots__ = ("_link", "_reports")

    def __init__(self, link: ScuLink) -> None:
        """Wrap a link whose ``associate`` returned AssociateAccepted; it belongs to the connection from now on."""
        self._link = link
        self._reports: deque[tuple[NEventReportRq, bytes]] = deque()

    @classmethod
    def open(
        cls,
        target: Target,
        proposal: Proposal,
        *,
        timeouts: ScuTimeouts | None = None,
        limits: ScuLimits | None = None,
    ) -> ScuConnection:
        """Connect and negotiate. To tell a rejection from other ends, use ``ScuLink.associate`` and wrap the link.

        Raises:
            PeerUnavailable: it could not be reached in time, its certificate is not right, or it refused; the
                message has the reason of an A-ASSOCIATE-RJ in words.
            RemoteProtocolError: its answer is none.
        """
        link = ScuLink.connect(target, timeouts, limits)
        outcome = link.associate(proposal)
        if not isinstance(outcome, AssociateAccepted):
            raise PeerUnavailable(f"{target.host}:{target.port}: {describe_outcome(outcome)}")
        return cls(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    @property
    def negotiated(self) -> Negotiated:
        """What the peer agreed to."""
        return self._link.negotiated

    @property
    def closed(self) -> bool:
        """Whether the association is over."""
        return self._link.closed

    @property
    def peer_fingerprint(self) -> str:
        """SHA-256 of the peer's certificate in lower-case hex, "" without TLS."""
        return self._link.peer_fingerprint

    def accepts(self, sop_class_uid: Uid, transfer_syntax: Uid | None = None) -> bool:
        """Return whether a presentation context for this was accepted, so that we may be SCU in it."""
        return self._find_context(sop_class_uid, transfer_syntax) is not None

    def echo(self) -> CEchoRsp:
        """Ask whether the peer is there (C-ECHO)."""
        context = self._require_context(VERIFICATION)
        with self._link.operation() as link:
            link.send(context.context_id, CEchoRq(link.next_message_id(), VERIFICATION))
            return self._receive_response(CEchoRsp)[0]

    def store(
        self,
        sop_class_uid: Uid,
        sop_instance_uid: Uid,
        transfer_syntax: Uid,
        chunks: Iterable[Buffer],
        *,
        move_originator: tuple[str, int] | None = None,
    ) -> CStoreRsp:
        """Send one object (C-STORE). ``chunks`` is its data set, of any size; a chunk must not change once it is given.

        ``move_originator`` is the AE title and the message id of the C-MOVE that this is a sub-operation of. An error
        from ``chunks`` aborts the association and comes through.

        Raises:
            Refused: "no-presentation-context" for this SOP class and transfer syntax; nothing was sent.
        """
        context = self._require_context(sop_class_uid, transfer_syntax)
        originator_title, originator_message_id = move_originator or (None, None)
        with self._link.operation() as link:
            request = CStoreRq(
                link.next_message_id(),
                sop_class_uid,
                sop_instance_uid,
                move_originator_ae_title=originator_title,
                move_originator_message_id=originator_message_id,
            )
            link.stream(context.context_id, request, chunks)
            return self._receive_response(CStoreRsp)[0]

    def find(self, sop_class_uid: Uid, identifier: bytes) -> Generator[tuple[CFindRsp, bytes], None, None]:
        """Query (C-FIND): yield each response with its identifier, the final one last, its identifier mostly b"".

        The identifiers are in the transfer syntax of the context. To close the iterator early cancels the query. The
        time spent between responses counts against the operation.

        Raises:
            Refused: "no-presentation-context".
        """
        return self._find(self._require_context(sop_class_uid), identifier)

    def move(self, sop_class_uid: Uid, identifier: bytes, destination: str) -> tuple[CMoveRsp, bytes]:
        """Have the peer send objects to the AE ``destination`` (C-MOVE); return the final response.

        With it comes the identifier of that response: the list of failed SOP Instance UIDs, or b"".

        Raises:
            Refused: "no-presentation-context".
        """
        context = self._require_context(sop_class_uid)
        with self._link.operation() as link:
            request = CMoveRq(link.next_message_id(), sop_class_uid, destination)
            link.send(context.context_id, request, identifier)
            for _ in range(link.max_messages):
                response, failed = self._receive_response(CMoveRsp)
                if not is_pending(response.status):
                    return response, failed
            raise LimitExceeded("max_messages", link.max_messages)

    def get(self, sop_class_uid: Uid, identifier: bytes, on_store: OnStore) -> tuple[CGetRsp, bytes]:
        """Fetch objects over this association (C-GET); return the final response, as ``move`` does.

        ``on_store`` is called for each object while it comes in; what it leaves of the data set is dropped. The SCP
        role must have been negotiated for the storage classes. An error from ``on_store`` aborts and comes through.

        Raises:
            Refused: "no-presentation-context".
        """
        context = self._require_context(sop_class_uid)
        with self._link.operation() as link:
            link.send(context.context_id, CGetRq(link.next_message_id(), sop_class_uid), identifier)
            for _ in range(link.max_messages):
                start = link.receive_start()
                if isinstance(start.message, CStoreRq):
                    self._take_object(start.context_id, start.message, on_store)
                    continue
                response, failed = self._expect_response(start, CGetRsp)
                if response is not None and not is_pending(response.status):
                    return response, failed
            raise LimitExceeded("max_messages", link.max_messages)

    def action(
        self, sop_class_uid: Uid, sop_instance_uid: Uid, action_type_id: int, information: bytes | None
    ) -> tuple[NActionRsp, bytes]:
        """Ask for an action on an instance (N-ACTION); return the response and its data set, or b"".

        ``information`` is in the transfer syntax of the context. Raises Refused: "no-presentation-context".
        """
        context = self._require_context(sop_class_uid)
        with self._link.operation() as link:
            request = NActionRq(
                link.next_message_id(), sop_class_uid, sop_instance_uid, action_type_id, information is not None
            )
            link.send(context.context_id, request, information)
            return self._receive_response(NActionRsp)

    def set(self, sop_class_uid: Uid, sop_instance_uid: Uid, modifications: bytes) -> NSetRsp:
        """Ask for attributes of an instance to be changed (N-SET), in the transfer syntax of the context.

        Raises Refused: "no-presentation-context".
        """
        context = self._require_context(sop_class_uid)
        with self._link.operation() as link:
            request = NSetRq(link.next_message_id(), sop_class_uid, sop_instance_uid)
            link.send(context.context_id, request, modifications)
            return self._receive_response(NSetRsp)[0]

    def request_commitment(self, transaction_uid: Uid, references: Sequence[tuple[Uid, Uid]]) -> NActionRsp:
        """Ask the peer to commit to keeping objects: pairs of SOP class and instance UID (PS3.4 J.3.2).

        Its report comes as an N-EVENT-REPORT, here (``receive_event_report``) or on another association.
        """
        context = self._require_context(STORAGE_COMMITMENT)
        is_implicit = context.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        information = _encode_commitment_request(transaction_uid, references, is_implicit=is_implicit)
        return self.action(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1, information)[0]

    def receive_event_report(self) -> tuple[NEventReportRq, bytes]:
        """Wait for a report and return it with its data set. It is answered with success: it has arrived."""
        if not self._reports:
            with self._link.operation():
                self._expect_response(self._link.receive_start(), None)
        return self._reports.popleft()

    def report_event(
        self, sop_class_uid: Uid, sop_instance_uid: Uid, event_type_id: int, information: bytes | None
    ) -> NEventReportRsp:
        """Tell the peer what came of something it asked for (N-EVENT-REPORT), such as a commitment.

        Properly the SCP role was negotiated for it. Peers that leave out the role but accept the class get it as well.

        Raises:
            Refused: "no-presentation-context".
        """
        context = self._require_context(sop_class_uid, is_scu=False)
        with self._link.operation() as link:
            request = NEventReportRq(
                link.next_message_id(), sop_class_uid, sop_instance_uid, event_type_id, information is not None
            )
            link.send(context.context_id, request, information)
            return self._receive_response(NEventReportRsp)[0]

    def release(self) -> None:
        """End the association in order; does nothing if it is over. A peer that does not answer is aborted."""
        if not self._link.closed:
            self._link.release()

    def abort(self) -> None:
        """End the association at once; never raises."""
        self._link.abort()

    def _find_context(
        self, sop_class_uid: Uid, transfer_syntax: Uid | None = None, *, is_scu: bool = True
    ) -> PresentationContext | None:
        for context in self._link.contexts.values():
            if (
                context.abstract_syntax == sop_class_uid
                and transfer_syntax in (None, context.transfer_syntax)
                and (context.requestor_scu or not is_scu)
            ):
                return context
        return None

    def _require_context(
        self, sop_class_uid: Uid, transfer_syntax: Uid | None = None, *, is_scu: bool = True
    ) -> PresentationContext:
        context = self._find_context(sop_class_uid, transfer_syntax, is_scu=is_scu)
        if context is None:
            wanted = sop_class_uid if transfer_syntax is None else f"{sop_class_uid} in {transfer_syntax}"
            raise Refused("no-presentation-context", f"the peer accepted no presentation context for {wanted}")
        return context

    def _receive_response(self, kind: type[R]) -> tuple[R, bytes]:
        """Return the next response to our request and its data set; event reports in between are kept."""
        while True:
            response, dataset = self._expect_response(self._link.receive_start(), kind)
            if response is not None:
                return response, dataset

    def _expect_response(self, start: MessageStart, kind: type[R] | None) -> tuple[R | None, bytes]:
        """Return the response that ``start`` begins and its data set, or None if it was an event report, now kept."""
        message = start.message
        dataset = self._link.receive_dataset() if message.has_dataset else b""
        if kind is not None and isinstance(message, kind):
            return message, dataset
        if not isinstance(message, NEventReportRq):
            raise RemoteProtocolError(f"{type(message).__name__} where a response was due")
        if len(self._reports) == MAX_HELD_REPORTS:
            raise RemoteProtocolError(f"more than {MAX_HELD_REPORTS} event reports that nobody waits for")
        self._reports.append((message, dataset))
        answer = NEventReportRsp(
            message.message_id,
            Status.SUCCESS,
            message.affected_sop_class_uid,
            message.affected_sop_instance_uid,
            message.event_type_id,
        )
        self._link.send(start.context_id, answer)
        return None, b""

    def _find(self, context: PresentationContext, identifier: bytes) -> Generator[tuple[CFindRsp, bytes], None, None]:
        with self._link.operation() as link:
            request = CFindRq(link.next_message_id(), context.abstract_syntax)
            link.send(context.context_id, request, identifier)
            for _ in range(link.max_messages):
                response, match = self._receive_response(CFindRsp)
                if not is_pending(response.status):
                    yield response, match
                    return
                try:
                    yield response, match
                except GeneratorExit:
                    self._cancel_find(context.context_id, request)
                    raise
            raise LimitExceeded("max_messages", link.max_messages)

    def _cancel_find(self, context_id: int, request: CFindRq) -> None:
        """Send a C-CANCEL and drop the matches that were already on their way; a peer that goes on is aborted."""
        with suppress(PeerUnavailable, RemoteProtocolError, LimitExceeded), self._link as link:
            link.send(context_id, CCancelRq(request.message_id))
            for _ in range(link.max_messages):
                if not is_pending(self._receive_response(CFindRsp)[0].status):
                    return
            raise LimitExceeded("max_messages", link.max_messages)

    def _take_object(self, context_id: int, request: CStoreRq, on_store: OnStore) -> None:
        context = self._link.contexts[context_id]
        if not context.requestor_scp or context.abstract_syntax != request.affected_sop_class_uid:
            raise RemoteProtocolError(
                f"C-STORE of {request.affected_sop_class_uid} on presentation context {context_id}, "
                f"which is not for that"
            )
        sop_uid = request.affected_sop_instance_uid
        if not isinstance(sop_uid, Uid):
            raise RemoteProtocolError("C-STORE sub-operation without a SOP Instance UID")
        status = on_store(request, context.transfer_syntax, self._link.dataset_chunks())
        self._link.skip_dataset()
        answer = CStoreRsp(request.message_id, status, request.affected_sop_class_uid, sop_uid)
        self._link.send(context_id, answer)


def _encode_commitment_request(
    transaction_uid: Uid, references: Sequence[tuple[Uid, Uid]], *, is_implicit: bool
) -> bytes:
    """Return the Action Information of a commitment request, little endian (PS3.4 table J.3-1)."""

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if is_implicit or not vr:
            return head + struct.pack("<I", len(value)) + value
        if vr == b"SQ":
            return head + vr + struct.pack("<HI", 0, len(value)) + value
        return head + vr + struct.pack("<H", len(value)) + value

    def uid(tag: int, value: Uid) -> bytes:
        raw = value.encode("ascii")
        return element(tag, b"UI", raw + b"\0" if len(raw) & 1 else raw)

    items = [
        element(0xFFFEE000, b"", uid(0x00081150, sop_class_uid) + uid(0x00081155, sop_instance_uid))
        for sop_class_uid, sop_instance_uid in references
    ]
    return uid(0x00081195, transaction_uid) + element(0x00081199, b"SQ", b"".join(items))
