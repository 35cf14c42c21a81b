"""One association, sans-IO: bytes in, events out, bytes to send (DICOM PS3.8).

The shell's loop, for an acceptor and a requestor alike::

    association.receive_data(sock.recv_into(association.free_space()))
    while (event := association.next_event()) is not None:  # RemoteProtocolError: send what is queued, then close
        ...                                                 # accept, send_pdvs, answer_release
    for buffer in association.data_to_send():
        sock.sendall(buffer)

Each step is a cell of table 9-10 (``states``); what table 9-10 does not allow raises LocalProtocolError.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.ul import pdu
from strongroom.ul.effects import EFFECTS, OTHER_EFFECTS, Artim
from strongroom.ul.events import AssociateRefused, Event, Pdv
from strongroom.ul.fragments import Buffer, append_fragments, coalesce, max_fragment_bytes, stream_fragments
from strongroom.ul.inbox import Inbox
from strongroom.ul.items import malformed
from strongroom.ul.limits import UlLimits
from strongroom.ul.negotiation import LocalParameters, Negotiated, conclude
from strongroom.ul.pdu import (
    HEADER,
    HEADER_BYTES,
    P_DATA_WITH_ONE_PDV,
    PDV_HEADER_BYTES,
    AbortReason,
    AbortSource,
    AssociateAnswer,
    AssociateRequest,
    PduType,
)
from strongroom.ul.states import COLUMNS, Action, Evt, State, Transition

STREAM_BATCH_BYTES = 262_144
"""``stream_pdvs`` hands out about this much at a time: enough to amortise a system call, little enough to hold."""

_PDV_HEADER = struct.Struct(">IBB")
_P_DATA_TF = int(PduType.P_DATA_TF)
_BOTH_HEADERS_BYTES = P_DATA_WITH_ONE_PDV.size
_UNPACK_BOTH = P_DATA_WITH_ONE_PDV.unpack_from
_UNPACK_PDV = _PDV_HEADER.unpack_from

_PDU_EVENTS: Mapping[PduType, Evt] = {
    PduType.A_ASSOCIATE_RQ: Evt.A_ASSOCIATE_RQ_PDU,
    PduType.A_ASSOCIATE_AC: Evt.A_ASSOCIATE_AC_PDU,
    PduType.A_ASSOCIATE_RJ: Evt.A_ASSOCIATE_RJ_PDU,
    PduType.P_DATA_TF: Evt.P_DATA_TF_PDU,
    PduType.A_RELEASE_RQ: Evt.A_RELEASE_RQ_PDU,
    PduType.A_RELEASE_RP: Evt.A_RELEASE_RP_PDU,
    PduType.A_ABORT: Evt.A_ABORT_PDU,
}

# Answers to a PDU that comes at the wrong time: its header is enough to act on, and its body is never kept.
_NEEDS_NO_BODY = frozenset({Action.AA_1, Action.AA_6, Action.AA_7, Action.AA_8})
_DELIVERS_P_DATA = frozenset({Action.DT_2, Action.AR_6})


class Association:
    """One association and its buffers. Not thread-safe: it belongs to the connection that feeds it.

    ``artim_running`` asks the shell to keep the ARTIM timer and to call ``artim_expired``; ``artim_starts`` counts its
    starts, so that a restart is seen too. ``negotiated`` is None until the association is established.
    """

    __slots__ = (
        "_awaited_bytes",
        "_column",
        "_context_ids",
        "_deaf",
        "_delivers_p_data",
        "_echo",
        "_end_of_input",
        "_events",
        "_fragment_bytes",
        "_inbox",
        "_is_requestor",
        "_limits",
        "_local",
        "_max_body_bytes",
        "_may_send_p_data",
        "_out",
        "_pdu_left",
        "_queued_bytes",
        "_request",
        "_skip_bytes",
        "artim_running",
        "artim_starts",
        "negotiated",
        "state",
    )

    def __init__(self, limits: UlLimits, *, local: LocalParameters | None, request: AssociateRequest | None) -> None:
        """Use ``acceptor`` or ``requestor``."""
        self._limits = limits
        self._local = local
        self._request = request
        self._is_requestor = request is not None
        self._inbox = Inbox(limits.idle_buffer_bytes)
        self._events: deque[Event] = deque()
        self._out: list[Buffer] = []
        self._queued_bytes = 0
        self._echo = b""
        self._awaited_bytes = 0  # that the inbox has to hold before the PDU at its front, checked so far, is all there
        self._pdu_left = 0  # bytes of the P-DATA-TF being delivered that are still in the inbox
        self._skip_bytes = 0  # bytes of a PDU that is not wanted and still to come
        self._deaf = False  # framing is lost: whatever else comes is no PDU
        self._end_of_input = False
        self._context_ids: frozenset[int] = frozenset()
        self._fragment_bytes = 0
        self._max_body_bytes = limits.max_pdu_body_bytes
        self.artim_running = False
        self.artim_starts = 0
        self.negotiated: Negotiated | None = None
        self._enter(State.STA1)

    @classmethod
    def acceptor(cls, limits: UlLimits, local: LocalParameters) -> Association:
        """Return the association of a connection that a peer has just opened (Sta2, ARTIM running)."""
        association = cls(limits, local=local, request=None)
        association._step(Evt.TRANSPORT_INDICATION)
        return association

    @classmethod
    def requestor(cls, request: AssociateRequest, limits: UlLimits, *, connected: bool = True) -> Association:
        """Return the association of a connection that we open, its A-ASSOCIATE-RQ queued (Sta5).

        The maximum length in ``request`` is replaced by that of ``limits``, which is what we enforce. With
        ``connected`` false the connection is still being opened (Sta4) until ``transport_connected``.
        """
        user = replace(request.user, max_pdu_body_bytes=limits.max_pdu_body_bytes)
        association = cls(limits, local=None, request=replace(request, user=user))
        association._step(Evt.A_ASSOCIATE_REQUEST)
        if connected:
            association.transport_connected()
        return association

    def __repr__(self) -> str:
        return f"<Association {'requestor' if self._is_requestor else 'acceptor'} {self.state.name}>"

    # --- Input ---

    def free_space(self) -> memoryview:
        """Return the writable view that the next bytes go to; never empty. Views of earlier events end here.

        It is a few KiB until a PDU header of allowed size asks for more, so an idle peer costs no more than that.
        """
        return self._inbox.free_space()

    def receive_data(self, count: int) -> None:
        """Take in ``count`` bytes that were written into ``free_space()``; 0 means that the connection is closed.

        Raises:
            LocalProtocolError: more than there was room for, or the connection is not open yet (Sta4).
        """
        if count:
            inbox = self._inbox
            end = inbox.end + count
            if end > len(inbox.raw) or self.state is State.STA4:
                raise LocalProtocolError(f"{count} bytes received where there was no room or no connection")
            inbox.end = end
        else:
            self._end_of_input = True

    def next_event(self) -> Event | None:
        """Return the next event, or None if more bytes are needed.

        Raises:
            RemoteProtocolError: the peer broke the protocol. Raised once; the A-ABORT is queued, the state is Sta13.
        """
        inbox = self._inbox
        while not self._events:
            start = inbox.start
            left = self._pdu_left
            if left:
                try:
                    return self._next_pdv(left)
                except RemoteProtocolError as error:
                    self._violate(Evt.INVALID_PDU, error)
                    continue
            held = inbox.end - start
            if held < self._awaited_bytes and not self._end_of_input:
                break
            if held >= _BOTH_HEADERS_BYTES and self._delivers_p_data:
                # The hot path: a whole P-DATA-TF with one PDV, which is what nearly everybody sends.
                pdu_type, body, length, context_id, control = _UNPACK_BOTH(inbox.raw, start)
                if (
                    pdu_type == _P_DATA_TF
                    and length == body - 4
                    and length >= 2
                    and body <= self._max_body_bytes
                    and held >= body + 6
                    and context_id in self._context_ids
                ):
                    end = inbox.start = start + 6 + body
                    self._awaited_bytes = 0
                    return Pdv(context_id, control & 1 == 1, control & 2 == 2, inbox.view[start + 12 : end])
            if not self._take_pdu(held):
                break
        return self._events.popleft() if self._events else None

    def shrink(self) -> None:
        """Give back a grown receive buffer; for the shell to call when the connection has gone quiet."""
        self._inbox.shrink()
        self._awaited_bytes = 0  # the next look at the PDU asks for its room again

    def artim_expired(self) -> None:
        """Act on the expiry of the ARTIM timer; does nothing if it was stopped in the meantime (PS3.8 9.1.5)."""
        if self.artim_running:
            self._step(Evt.ARTIM_EXPIRED)

    def transport_connected(self) -> None:
        """Note that the connection we asked for is open: the A-ASSOCIATE-RQ is queued. Raises LocalProtocolError."""
        self._step(Evt.TRANSPORT_CONFIRMATION, self._request)

    @property
    def closed(self) -> bool:
        """True once the state machine is idle again: send what is queued, then close the connection."""
        return self.state is State.STA1

    # --- Output ---

    def data_to_send(self) -> list[Buffer]:
        """Return the queued bytes, in order, and clear the queue; small buffers come as one.

        Views are of what was given to ``send_pdvs``: that must not change before they are sent.
        """
        out, self._out = self._out, []
        self._queued_bytes = 0
        return coalesce(out)

    @property
    def has_output(self) -> bool:
        """Whether ``data_to_send`` has anything to return."""
        return bool(self._out)

    @property
    def queued_bytes(self) -> int:
        """Bytes of P-DATA in the queue: how a sender of many messages knows when to flush."""
        return self._queued_bytes

    def allows(self, primitive: Evt) -> bool:
        """Return whether table 9-10 has a cell for ``primitive`` in this state."""
        return primitive in self._column

    def accept(self, answer: AssociateAnswer) -> None:
        """Queue the A-ASSOCIATE-AC; maximum length and implementation names are filled in.

        Raises:
            LocalProtocolError: not in this state, or the answer does not fit the request.
        """
        self._require(Evt.A_ASSOCIATE_ACCEPT)
        assert self._local is not None  # only an acceptor gets to Sta3
        user = replace(
            answer.user,
            max_pdu_body_bytes=self._limits.max_pdu_body_bytes,
            implementation_class_uid=self._local.implementation_class_uid,
            implementation_version_name=self._local.implementation_version_name,
        )
        raw_answer = pdu.encode_associate_ac(replace(answer, user=user), self._echo)
        self._establish(answer)
        self._step(Evt.A_ASSOCIATE_ACCEPT, raw_answer)

    def reject(self, result: int, source: int, reason: int) -> None:
        """Queue an A-ASSOCIATE-RJ (PS3.8 table 9-21). Raises LocalProtocolError."""
        self._step(Evt.A_ASSOCIATE_REJECT, (result, source, reason))

    def send_pdvs(self, context_id: int, command: Buffer | None, data: Buffer | None = None) -> None:
        """Queue a whole command set, a whole data set, or both, fragmented to what the peer takes.

        Large buffers are queued as views, so neither may change until it is sent. Many small messages queued one after
        the other leave in one buffer; see ``queued_bytes``.

        Raises:
            LocalProtocolError: not in this state, or the presentation context was not accepted.
        """
        fragment_bytes = self._require_sendable(context_id)
        if command is not None:
            append_fragments(self._out, context_id, True, command, fragment_bytes)
            self._queued_bytes += len(command)
        if data is not None:
            append_fragments(self._out, context_id, False, data, fragment_bytes)
            self._queued_bytes += len(data)

    def stream_pdvs(self, context_id: int, command: Buffer, chunks: Iterable[Buffer]) -> Iterator[list[Buffer]]:
        """Return an iterator of what to send for a command and a data set whose size is not known beforehand.

        Each list is as from ``data_to_send`` and is to be sent before the next is asked for; it holds about
        STREAM_BATCH_BYTES. Nothing else may be sent on the association meanwhile, and a chunk must not change after
        it was given.

        Raises:
            LocalProtocolError: not in this state (also later, if the association ends), or no such context.
        """
        fragment_bytes = self._require_sendable(context_id)
        append_fragments(self._out, context_id, True, command, fragment_bytes)
        return self._stream(context_id, chunks, fragment_bytes)

    def request_release(self) -> None:
        """Queue an A-RELEASE-RQ. Raises LocalProtocolError."""
        self._step(Evt.A_RELEASE_REQUEST)

    def answer_release(self) -> None:
        """Queue an A-RELEASE-RP. Raises LocalProtocolError."""
        self._step(Evt.A_RELEASE_RESPONSE)

    def abort(self, source: int = AbortSource.SERVICE_USER, reason: int = AbortReason.NOT_SPECIFIED) -> None:
        """Queue an A-ABORT. Raises LocalProtocolError where there is nothing to abort (Sta1, Sta2, Sta13)."""
        self._step(Evt.A_ABORT_REQUEST, (int(source), int(reason)))

    # --- Machinery ---

    def _require(self, event: Evt) -> Transition:
        cell = self._column.get(event)
        if cell is None:
            raise LocalProtocolError(f"{event.name} is not possible in {self.state.name}")
        return cell

    def _step(self, event: Evt, detail: Any = None, *, takes_other: bool = False) -> None:
        """Take one cell of the table: its effects, made from ``detail``, then its state."""
        cell = self._require(event)
        effect = OTHER_EFFECTS[cell.action] if takes_other else EFFECTS[cell.action]
        if effect.sends is not None:
            self._out.append(effect.sends(detail))
        if effect.tells is not None:
            self._events.append(effect.tells(detail))
        if effect.artim is not Artim.UNTOUCHED:
            self.artim_running = effect.artim is Artim.START
            self.artim_starts += self.artim_running
        self._enter(cell.other_state if takes_other and cell.other_state else cell.next_state)

    def _enter(self, state: State) -> None:
        self.state = state
        self._awaited_bytes = 0
        column = self._column = COLUMNS[state]
        delivery = column.get(Evt.P_DATA_TF_PDU)
        self._delivers_p_data = delivery is not None and delivery.action in _DELIVERS_P_DATA
        self._may_send_p_data = Evt.P_DATA_REQUEST in column
        if state is State.STA13 or state is State.STA1:
            self._inbox.start += self._pdu_left  # what is left of a PDU after an abort is nobody's any more
            self._pdu_left = 0
            self._inbox.shrink()

    def _violate(self, event: Evt, error: RemoteProtocolError) -> None:
        """Answer a broken rule as the table says; raises ``error`` unless we have already given up on the peer."""
        action = self._column[event].action
        if action is Action.AA_1:  # before there is an association, table 9-9 has us abort as a user
            error.abort_source, error.abort_reason = AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED
        self._step(event, (error.abort_source, error.abort_reason))
        if action is Action.AA_1 or action is Action.AA_8:
            raise error

    def _next_pdv(self, left: int) -> Pdv:
        """Return the next PDV of the P-DATA-TF that has ``left`` bytes to deliver, all of them in the inbox.

        Raises:
            RemoteProtocolError: it is malformed (PS3.8 9.3.5.1). The state is still as before.
        """
        inbox = self._inbox
        start = inbox.start
        if left < PDV_HEADER_BYTES:
            raise malformed(f"{left} stray bytes after the last PDV")
        length, context_id, control = _UNPACK_PDV(inbox.raw, start)
        if not 2 <= length <= left - 4:
            raise malformed(f"PDV of {length} bytes in {left - 4}")
        if context_id not in self._context_ids:
            raise malformed(f"PDV for presentation context {context_id}, which was not accepted")
        end = inbox.start = start + 4 + length
        self._pdu_left = left - 4 - length
        return Pdv(context_id, control & 1 == 1, control & 2 == 2, inbox.view[start + 6 : end])

    def _take_pdu(self, held: int) -> bool:
        """Act on the PDU at the front of the inbox; False if it is not all there and nothing has changed."""
        inbox = self._inbox
        if self._skip_bytes:
            skipped = min(self._skip_bytes, held)
            inbox.start += skipped
            self._skip_bytes -= skipped
            held -= skipped
        if self._deaf or self.state is State.STA1 or (self.state is State.STA13 and not held):
            inbox.discard()
            held = 0
        if held < HEADER_BYTES:
            return self._take_end_of_input()
        raw_type, body_bytes = HEADER.unpack_from(inbox.raw, inbox.start)
        try:
            pdu_type = pdu.require_known_type(raw_type)
            pdu.require_body_length(pdu_type, body_bytes, self._limits, self._max_body_bytes)
        except RemoteProtocolError as error:
            self._deaf = True
            self._violate(Evt.INVALID_PDU, error)
            return True
        event = _PDU_EVENTS[pdu_type]
        if self._column[event].action in _NEEDS_NO_BODY:
            inbox.start += HEADER_BYTES
            self._skip_bytes = body_bytes
            message = f"{pdu_type.name} in {self.state.name}"
            self._violate(event, RemoteProtocolError(message, abort_reason=AbortReason.UNEXPECTED_PDU))
            return True
        if held < HEADER_BYTES + body_bytes:
            if pdu_type is PduType.P_DATA_TF:
                inbox.want_p_data(HEADER_BYTES + body_bytes, HEADER_BYTES + self._max_body_bytes)
            else:
                inbox.want(HEADER_BYTES + body_bytes)
            self._awaited_bytes = HEADER_BYTES + body_bytes
            return self._take_end_of_input()
        self._take_body(pdu_type, event, body_bytes)
        return True

    def _take_end_of_input(self) -> bool:
        if not self._end_of_input or self.state is State.STA1:
            return False
        self._deaf = True
        self._step(Evt.TRANSPORT_CLOSED)
        return True

    def _take_body(self, pdu_type: PduType, event: Evt, body_bytes: int) -> None:
        inbox = self._inbox
        self._awaited_bytes = 0
        start = inbox.start = inbox.start + HEADER_BYTES
        if pdu_type is PduType.P_DATA_TF:
            self._pdu_left = body_bytes
            self._step(event)
            return
        inbox.start += body_bytes
        try:
            detail, takes_other = self._parse_body(pdu_type, inbox.view[start : inbox.start])
        except RemoteProtocolError as error:
            self._violate(Evt.INVALID_PDU, error)
        else:
            self._step(event, detail, takes_other=takes_other)

    def _parse_body(self, pdu_type: PduType, body: memoryview) -> tuple[Any, bool]:
        """Return the detail of the step that the PDU causes, and whether that step takes the cell's other state."""
        if pdu_type is PduType.A_ASSOCIATE_RQ:
            request = self._request = pdu.parse_associate_rq(body, self._limits)
            self._echo = pdu.echo_of(body)
            rejection = self._unacceptable(request)
            return (request, False) if rejection is None else (AssociateRefused(request, *rejection), True)
        if pdu_type is PduType.A_ASSOCIATE_AC:
            answer = pdu.parse_associate_ac(body, self._limits)
            self._establish(answer)
            return answer, False
        if pdu_type is PduType.A_ASSOCIATE_RJ:
            return pdu.parse_associate_rj(body), False
        if pdu_type is PduType.A_ABORT:
            return pdu.parse_abort(body), False
        return None, pdu_type is PduType.A_RELEASE_RQ and self.state is State.STA7 and not self._is_requestor

    def _establish(self, answer: AssociateAnswer) -> None:
        assert self._request is not None  # it is there from the first byte until now
        negotiated = conclude(self._request, answer, self._limits, is_requestor=self._is_requestor)
        self.negotiated = negotiated
        self._request = None
        self._inbox.shrink()
        self._context_ids = frozenset(negotiated.contexts)
        self._fragment_bytes = max_fragment_bytes(negotiated.send_pdu_body_bytes)

    def _require_sendable(self, context_id: int) -> int:
        if not self._may_send_p_data:
            raise LocalProtocolError(f"{Evt.P_DATA_REQUEST.name} is not possible in {self.state.name}")
        if context_id not in self._context_ids:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")
        return self._fragment_bytes

    def _stream(self, context_id: int, chunks: Iterable[Buffer], fragment_bytes: int) -> Iterator[list[Buffer]]:
        for buffers in stream_fragments(context_id, chunks, fragment_bytes, STREAM_BATCH_BYTES):
            self._require_sendable(context_id)
            self._out += buffers
            yield self.data_to_send()

    def _unacceptable(self, request: AssociateRequest) -> tuple[int, int, int] | None:
        """Return the rejection of a request that the provider itself cannot serve, or None."""
        acse = pdu.RejectSource.PROVIDER_ACSE
        if not request.protocol_version & 1:
            return 1, acse, pdu.AcseRejectReason.PROTOCOL_VERSION_NOT_SUPPORTED
        if request.application_context != pdu.APPLICATION_CONTEXT:
            return 1, pdu.RejectSource.SERVICE_USER, pdu.UserRejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED
        if 0 < request.user.max_pdu_body_bytes < self._limits.min_peer_pdu_body_bytes:
            return 1, acse, pdu.AcseRejectReason.NO_REASON
        return None
