"""Storage Commitment Push as SCP (PS3.4 annex J): requests in, reports out.

A report goes over the association that it was asked for on, if the peer is still there and waits; otherwise the
archive calls the peer, again and again for a while, also after a restart.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final
from weakref import WeakKeyDictionary

from strongroom.archive.access import require
from strongroom.archive.commitment import Commitment, Commitments, Reference, Report
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.encode import PythonValue, encode_values
from strongroom.dicom.tree import Element, parse_dataset
from strongroom.dimse import NActionRq, NActionRsp, NEventReportRq, NEventReportRsp, Status, StatusKind, classify
from strongroom.errors import Denied, LimitExceeded, MalformedDataset, Refused, StorageUnavailable, StrongroomError
from strongroom.net.forward import RECEIVER_ERRORS, PeerCaller
from strongroom.net.scp import Session
from strongroom.net.scu import ScuConnection, ScuTimeouts
from strongroom.net.services import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, UNCOMPRESSED
from strongroom.types import AeTitle, Principal, Right, Uid
from strongroom.ul import PresentationContext, RoleSelection

log = logging.getLogger(__name__)

REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 J.3.2.1)."""

ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 J.3.3.1)."""

SETTLE_S: Final = 0.2
"""How long the archive waits with a report for the peer to go on or to leave. Many release at once, and a request that
crosses their A-RELEASE-RQ gets them confused."""

MAX_DUE: Final = 64
"""Reports that are read from the ledger at a time."""

MAX_SLEEP_S: Final = 60.0

REPORT_TIMEOUTS: Final = ScuTimeouts(connect_s=10, idle_s=30, operation_s=60, total_s=600)
"""One thread calls all peers: none may keep the others waiting for long."""

TRANSACTION_UID: Final = 0x00081195
REFERENCED_SOP_SEQUENCE: Final = 0x00081199
FAILED_SOP_SEQUENCE: Final = 0x00081198
REFERENCED_SOP_CLASS_UID: Final = 0x00081150
REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
FAILURE_REASON: Final = 0x00081197
RETRIEVE_AE_TITLE: Final = 0x00080054

REFUSAL_STATUS: Final = {
    "no-such-sop-class": Status.NO_SUCH_SOP_CLASS,
    "no-such-sop-instance": Status.NO_SUCH_SOP_INSTANCE,
    "no-such-action": Status.NO_SUCH_ACTION,
    "duplicate-transaction-uid": Status.DUPLICATE_TRANSACTION_UID,
}
REFUSED = (Denied, LimitExceeded, MalformedDataset, Refused, StorageUnavailable)


def parse_request(data: bytes, transfer_syntax: TransferSyntax) -> tuple[Uid, list[Reference]]:
    """Transaction UID and references of an Action Information (PS3.4 table J.3-1).

    Raises MalformedDataset if one is missing or no UID, LimitExceeded as ``parse_dataset`` does.
    """
    elements = {element.tag: element for element in parse_dataset(data, transfer_syntax)}
    sequence = elements.get(REFERENCED_SOP_SEQUENCE)
    if sequence is None or not sequence.items:
        raise MalformedDataset("no references", tag=REFERENCED_SOP_SEQUENCE)
    references = []
    for item in sequence.items:
        named = {element.tag: element for element in item}
        sop_class, sop_uid = _uid(named, REFERENCED_SOP_CLASS_UID), _uid(named, REFERENCED_SOP_INSTANCE_UID)
        references.append(Reference(sop_class, sop_uid))
    return _uid(elements, TRANSACTION_UID), references


def _uid(elements: dict[int, Element], tag: int) -> Uid:
    element = elements.get(tag)
    if element is None:
        raise MalformedDataset("a UID is missing", tag=tag)
    return Uid.parse(element.value.decode("latin-1"))


def encode_report(commitment: Commitment, report: Report, aet: AeTitle, transfer_syntax: TransferSyntax) -> bytes:
    """The Event Information of a report (PS3.4 table J.3-2)."""
    values: dict[int, PythonValue] = {RETRIEVE_AE_TITLE: str(aet), TRANSACTION_UID: commitment.transaction_uid}
    if report.committed:
        values[REFERENCED_SOP_SEQUENCE] = [_item(reference) for reference in report.committed]
    if report.failed:
        values[FAILED_SOP_SEQUENCE] = [
            _item(reference) | {FAILURE_REASON: int(reason)} for reference, reason in report.failed
        ]
    return encode_values(values, transfer_syntax)


def _item(reference: Reference) -> dict[int, PythonValue]:
    return {REFERENCED_SOP_CLASS_UID: reference.sop_class, REFERENCED_SOP_INSTANCE_UID: reference.sop_uid}


def event_type_of(report: Report) -> int:
    """The Event Type ID that a report is told under."""
    return FAILURES_EXIST if report.failed else ALL_COMMITTED


def _is_taken(status: int) -> bool:
    return classify(status) in (StatusKind.SUCCESS, StatusKind.WARNING)


class _Owed:
    """The reports owed on one association. Belongs to its thread."""

    __slots__ = ("told", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[PresentationContext, Commitment]] = deque()
        self.told: tuple[Commitment, Report] | None = None


class CommitmentScp:
    """Serves N-ACTION, and hears the answers to the reports it sends on the same association. Thread-safe."""

    def __init__(self, commitments: Commitments, caller: PeerCaller, wake: Callable[[], None]) -> None:
        """``wake`` tells the `CommitmentSender`, which may be another process's, that something is due."""
        self._commitments = commitments
        self._caller = caller
        self._wake = wake
        self._lock = threading.Lock()
        self._owed: WeakKeyDictionary[Session, _Owed] = WeakKeyDictionary()

    def request(self, session: Session, context: PresentationContext, request: object, data: bytes) -> None:
        """Serve one N-ACTION-RQ."""
        assert isinstance(request, NActionRq)
        try:
            commitment = self._accept(session, context, request, data)
        except REFUSED as error:
            details: dict[str, Detail] = {"reason": reason_of(error)}
            session.services.record(Event(Action.COMMITMENT, Outcome.REFUSED, session.principal, details))
            session.respond(context, _response(request, _status_of(error), reason_of(error)[:64]))
            return
        session.respond(context, _response(request, Status.SUCCESS))
        session.connection.flush()
        if session.connection.is_readable(SETTLE_S) and self._can_be_called(commitment.peer):
            self._commitments.hasten(commitment)
            self._wake()
            return
        self._owed_on(session).waiting.append((context, commitment))
        self._tell_next(session)

    def answered(
        self,
        session: Session,
        context: PresentationContext,  # noqa: ARG002  # the signature of a Service
        request: object,
        data: bytes,  # noqa: ARG002  # the signature of a Service
    ) -> None:
        """Take the answer to a report that was sent on this association (N-EVENT-REPORT-RSP)."""
        assert isinstance(request, NEventReportRsp)
        owed = self._owed_on(session)
        told, owed.told = owed.told, None
        if told is not None and _is_taken(request.status):
            commitment, report = told
            self._commitments.delivered(commitment, session.principal, report, "same-association")
        self._tell_next(session)

    def _accept(self, session: Session, context: PresentationContext, request: NActionRq, data: bytes) -> Commitment:
        require(session.principal, Right.COMMIT)
        if context.abstract_syntax != STORAGE_COMMITMENT or request.requested_sop_class_uid != STORAGE_COMMITMENT:
            raise Refused("no-such-sop-class")
        if request.requested_sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
            raise Refused("no-such-sop-instance")
        if request.action_type_id != REQUEST_STORAGE_COMMITMENT:
            raise Refused("no-such-action")
        transaction_uid, references = parse_request(data, TRANSFER_SYNTAXES[context.transfer_syntax])
        return self._commitments.accept(session.principal, transaction_uid, references)

    def _can_be_called(self, aet: str) -> bool:
        try:
            return bool(self._caller.find(aet))
        except Denied:
            return False

    def _owed_on(self, session: Session) -> _Owed:
        with self._lock:
            return self._owed.setdefault(session, _Owed())

    def _tell_next(self, session: Session) -> None:
        """Send the next report, unless one is on its way: one operation at a time (PS3.7 D.3.3.3)."""
        owed = self._owed_on(session)
        if session.channel.awaiting is not None or not owed.waiting:
            return
        context, commitment = owed.waiting.popleft()
        report = self._commitments.report(commitment, session.principal.scope)
        event_type = event_type_of(report)
        told = NEventReportRq(
            session.channel.next_message_id(), STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event_type, True
        )
        command = session.channel.encode_message(told)
        data = encode_report(commitment, report, self._caller.aet, TRANSFER_SYNTAXES[context.transfer_syntax])
        session.connection.association.send_pdvs(context.context_id, command, data)
        owed.told = (commitment, report)


def _response(request: NActionRq, status: int, comment: str = "") -> NActionRsp:
    return NActionRsp(
        request.message_id,
        status,
        request.requested_sop_class_uid,
        request.requested_sop_instance_uid,
        action_type_id=request.action_type_id,
        error_comment=comment,
    )


def _status_of(error: StrongroomError) -> int:
    """The N-ACTION status for an error (PS3.7 10.1.4.1.10)."""
    if isinstance(error, Refused):
        return REFUSAL_STATUS.get(error.reason, Status.PROCESSING_FAILURE)
    if isinstance(error, Denied):
        return Status.NOT_AUTHORIZED
    if isinstance(error, LimitExceeded):
        return Status.RESOURCE_LIMITATION
    if isinstance(error, MalformedDataset):
        return Status.INVALID_ARGUMENT_VALUE
    return Status.PROCESSING_FAILURE


class CommitmentSender:
    """Delivers reports to the addresses of peers, on a thread of its own."""

    def __init__(self, commitments: Commitments, caller: PeerCaller) -> None:
        self._commitments = commitments
        self._caller = caller
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="commitment-reports", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier run of the archive has left."""
        self._thread.start()

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()

    def stop(self, grace_s: float) -> None:
        """End after the report that is being delivered, waiting for that at most so long."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(grace_s)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:
                return
            wait_s: float | None = MAX_SLEEP_S
            try:
                self.send_due()
                wait_s = self._commitments.wait_s()
            except StrongroomError as error:
                log.error("commitment reports cannot be delivered: %s", type(error).__name__)
            except Exception:
                log.exception("a bug held up commitment reports")
            self._wake.wait(MAX_SLEEP_S if wait_s is None else min(wait_s, MAX_SLEEP_S))

    def send_due(self) -> None:
        """Try every report that is due once: one association for all of a peer. Raises StorageUnavailable."""
        due = sorted(self._commitments.due(MAX_DUE), key=lambda commitment: commitment.peer)
        for aet, group in groupby(due, key=lambda commitment: commitment.peer):
            if not self._stopping:
                self._send(aet, list(group))

    def _send(self, aet: str, due: Sequence[Commitment]) -> None:
        commitments = self._commitments
        try:
            peer = self._caller.find(aet)
            require(Principal(aet, rights=peer.rights), Right.COMMIT)
        except Denied as denied:
            for commitment in due:
                commitments.give_up(commitment, denied.reason)
            return
        left = deque(commitment for commitment in due if commitments.claim(commitment))
        roles = (RoleSelection(STORAGE_COMMITMENT, scu=False, scp=True),)
        try:
            with self._caller.call(peer, ((STORAGE_COMMITMENT, UNCOMPRESSED),), roles) as connection:
                while left and not self._stopping:
                    told = Principal(aet, connection.peer_fingerprint, "", peer.host, scope=peer.scope)
                    self._tell(connection, left[0], told)
                    left.popleft()
        except (*RECEIVER_ERRORS, Refused) as error:
            log.warning("no commitment report could be delivered to %s: %s", aet, reason_of(error))
            for commitment in left:
                commitments.undelivered(commitment, reason_of(error))

    def _tell(self, connection: ScuConnection, commitment: Commitment, principal: Principal) -> None:
        contexts = connection.negotiated.contexts.values()
        syntax = next((each.transfer_syntax for each in contexts if each.abstract_syntax == STORAGE_COMMITMENT), None)
        if syntax is None:
            raise Refused("no-presentation-context")
        report = self._commitments.report(commitment, principal.scope)
        data = encode_report(commitment, report, self._caller.aet, TRANSFER_SYNTAXES[syntax])
        event_type = event_type_of(report)
        answer = connection.report_event(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event_type, data)
        if _is_taken(answer.status):
            self._commitments.delivered(commitment, principal, report, "called")
        else:
            self._commitments.undelivered(commitment, f"status-{answer.status:04X}")
