"""One association of the probe: as whom, over what, and what came of it in the words of the model.

Whatever a server does ends here as an ``Outcome``: a limit, a timeout or another protocol is a fact about it, and no
exception leaves but those that end the whole session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from strongroom.dicom.dictionary import IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dimse import ChannelLimits, Status, StatusKind, classify
from strongroom.errors import (
    LimitExceeded,
    LocalProtocolError,
    MalformedDataset,
    PeerUnavailable,
    Refused,
    RemoteProtocolError,
    Unanswered,
)
from strongroom.net.scu import Proposal, ScuConnection, ScuLimits, ScuLink, ScuTimeouts
from strongroom.net.tls import probing_context
from strongroom.probe.line import Line
from strongroom.probe.model import Answer, Channel, Detail, Identity
from strongroom.probe.session import Session, Titles
from strongroom.types import Uid
from strongroom.ul import (
    Aborted,
    AcseRejectReason,
    AssociateAccepted,
    AssociateAnswer,
    AssociateRejected,
    ConnectionClosed,
    Negotiated,
    PresentationRejectReason,
    RejectSource,
    RoleSelection,
    UlLimits,
    UserIdentity,
    UserRejectReason,
)

if TYPE_CHECKING:  # the types alone: sockets are opened in probe.line, and TLS in net.tls
    import socket
    import ssl

MAX_OPERATION_S: Final = 30.0
"""How long one operation may take, however busy the server looks."""

MAX_IDENTIFIER_BYTES: Final = 64 * 1024
MAX_ASSOCIATE_PDU_BYTES: Final = 65_536
_UL: Final = UlLimits(
    max_pdu_body_bytes=65_536, max_associate_pdu_bytes=MAX_ASSOCIATE_PDU_BYTES, min_peer_pdu_body_bytes=128
)
_CHANNEL: Final = ChannelLimits(max_message_bytes=2 << 20, max_identifier_bytes=MAX_IDENTIFIER_BYTES)

BOTH_PLAIN: Final = (Uid("1.2.840.10008.1.2"), Uid("1.2.840.10008.1.2.1"))
"""Implicit and Explicit VR Little Endian: what every service but storage is proposed with."""


@dataclass(frozen=True, slots=True)
class Caller:
    """As whom, and through what, the probe asks."""

    port: int
    channel: Channel
    identity: Identity
    titles: Titles
    user: UserIdentity | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking, as an observation has it."""

    answer: Answer
    details: Mapping[str, Detail] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether it was done."""
        return self.answer is Answer.DONE


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an association is for: presentation contexts, roles, and how many messages one operation may bring.

    ``patience_s`` is how long to wait for an answer, 0 for what the scope says.
    """

    contexts: tuple[tuple[Uid, tuple[Uid, ...]], ...]
    roles: tuple[RoleSelection, ...] = ()
    max_messages: int = 64
    patience_s: float = 0.0


VERIFICATION: Final = Uid("1.2.840.10008.1.1")
ECHO_ONLY: Final = Wanted(((VERIFICATION, BOTH_PLAIN),))

Operation = Callable[[ScuConnection], Outcome]


class Dialogue:
    """An association, or the attempt at one: ``outcome`` says which. A ``with`` block releases it."""

    def __init__(self, session: Session, caller: Caller, wanted: Wanted) -> None:
        """Connect and negotiate. Raises BudgetSpent, OutOfScope and RunStopped, and nothing else."""
        self._line: Line | None = None
        self._scu: ScuConnection | None = None
        self.answered: AssociateAnswer | None = None
        try:
            line = session.line(caller.port, tls=_tls(session, caller))
        except Unanswered as error:
            self.outcome = Outcome(Answer(error.answer), {"reason": error.reason})
            return
        self._line = line
        self.outcome = self._associate(session, caller, wanted, line)

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_open(self) -> bool:
        """Whether something can be asked."""
        return self._scu is not None and not self._scu.closed

    @property
    def scu(self) -> ScuConnection:
        """The connection. Raises LocalProtocolError unless the association was accepted."""
        if self._scu is None:
            raise LocalProtocolError("no association")
        return self._scu

    @property
    def negotiated(self) -> Negotiated:
        """What the server agreed to."""
        return self.scu.negotiated

    def ask(self, operation: Operation) -> Outcome:
        """Run one operation; whatever the server does instead is its outcome, and so is why there is no association."""
        if self._scu is None:
            return self.outcome
        try:
            return operation(self._scu)
        except _SERVER_FAULTS as error:
            return self._outcome_of(error)

    def end(self) -> None:
        """Release the association in order, or do nothing if it is over. Bounded in time."""
        if self._scu is not None:
            self._scu.release()

    def _associate(self, session: Session, caller: Caller, wanted: Wanted, line: Line) -> Outcome:
        limits = session.limits
        timeouts = ScuTimeouts(
            connect_s=limits.answer_s,
            idle_s=wanted.patience_s or limits.answer_s,
            operation_s=wanted.patience_s or MAX_OPERATION_S,
            total_s=limits.connection_s,
        )
        proposal = Proposal(
            caller.titles.called,
            caller.titles.calling,
            wanted.contexts,
            session.implementation,
            wanted.roles,
            caller.user,
        )
        connection = cast("socket.socket", line)  # it can stand where a connected socket does
        link = ScuLink(connection, timeouts, ScuLimits(_UL, _CHANNEL, wanted.max_messages), monotonic)
        try:
            told = link.associate(proposal)
        except _SERVER_FAULTS as error:
            return self._outcome_of(error)
        if isinstance(told, AssociateAccepted):
            self._scu, self.answered = ScuConnection(link), told.answer
            return Outcome(Answer.DONE)
        if isinstance(told, AssociateRejected):
            return rejection(told)
        if isinstance(told, Aborted):
            return Outcome(Answer.ABORTED, {"abort": "provider" if told.by_provider else "user"})
        assert isinstance(told, ConnectionClosed)
        failure = line.failure
        return _of_unanswered(failure) if failure else Outcome(Answer.CLOSED, {"reason": "connection closed"})

    def _outcome_of(self, error: Exception) -> Outcome:
        """Return what an error says of the server."""
        assert self._line is not None
        if isinstance(error, Unanswered):
            return _of_unanswered(error)
        if isinstance(error, LimitExceeded):
            return Outcome(Answer.HOSTILE, {"reason": error.limit_name})
        if isinstance(error, RemoteProtocolError):
            return _of_protocol_error(error, self._line.head)
        if isinstance(error, MalformedDataset):
            return Outcome(Answer.HOSTILE, {"reason": "malformed data set"})
        if isinstance(error, Refused):
            return Outcome(Answer.REFUSED, {"reason": "no presentation context"})
        if isinstance(error, PeerUnavailable):
            return _of_unavailable(error, self._line.failure)
        return Outcome(Answer.CLOSED, {"reason": "association over"})


_SERVER_FAULTS: Final = (
    Unanswered,
    LimitExceeded,
    RemoteProtocolError,
    MalformedDataset,
    Refused,
    PeerUnavailable,
    LocalProtocolError,
)


def _of_unanswered(failure: Unanswered) -> Outcome:
    return Outcome(Answer(failure.answer), {"reason": failure.reason})


def _of_unavailable(error: PeerUnavailable, failure: Unanswered | None) -> Outcome:
    if error.how == "aborted":
        return Outcome(Answer.ABORTED, {"abort": "instead of answering"})
    if error.how == "released":
        return Outcome(Answer.CLOSED, {"reason": "released instead of answering"})
    if failure is not None:
        return _of_unanswered(failure)
    if error.how == "slow":
        return Outcome(Answer.TIMEOUT, {"reason": "too slow"})
    return Outcome(Answer.CLOSED, {"reason": "connection closed"})


_PROTOCOLS: Final = (
    (b"HTTP/", "HTTP"),
    (b"<", "markup"),
    (b"\x15\x03", "TLS"),
    (b"\x16\x03", "TLS"),
    (b"SSH-", "SSH"),
    (b"220", "SMTP or FTP"),
    (b"\x0b", "HL7 MLLP"),
)
_FAULTS: Final = {1: "unknown PDU", 2: "PDU out of order", 4: "unexpected parameter", 5: "unexpected parameter"}


def _of_protocol_error(error: RemoteProtocolError, head: bytes) -> Outcome:
    for start, name in _PROTOCOLS:
        if head.startswith(start):
            return Outcome(Answer.OTHER, {"reason": name})
    if head and not 1 <= head[0] <= 7:
        return Outcome(Answer.OTHER, {"reason": "another protocol"})
    if len(head) >= 6 and int.from_bytes(head[2:6]) > MAX_ASSOCIATE_PDU_BYTES:
        return Outcome(Answer.HOSTILE, {"reason": "PDU length"})
    word = "malformed PDU" if error.abort_reason == 6 else "malformed message"
    return Outcome(Answer.HOSTILE, {"reason": _FAULTS.get(error.abort_reason, word)})


_SOURCES: Final = {
    RejectSource.SERVICE_USER: "user",
    RejectSource.PROVIDER_ACSE: "acse",
    RejectSource.PROVIDER_PRESENTATION: "presentation",
}
_REJECTIONS: Final = {
    (RejectSource.SERVICE_USER, UserRejectReason.NO_REASON): "no reason",
    (RejectSource.SERVICE_USER, UserRejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED): "application context",
    (RejectSource.SERVICE_USER, UserRejectReason.CALLING_AE_TITLE_NOT_RECOGNIZED): "calling title",
    (RejectSource.SERVICE_USER, UserRejectReason.CALLED_AE_TITLE_NOT_RECOGNIZED): "called title",
    (RejectSource.PROVIDER_ACSE, AcseRejectReason.NO_REASON): "no reason",
    (RejectSource.PROVIDER_ACSE, AcseRejectReason.PROTOCOL_VERSION_NOT_SUPPORTED): "protocol version",
    (RejectSource.PROVIDER_PRESENTATION, PresentationRejectReason.TEMPORARY_CONGESTION): "congestion",
    (RejectSource.PROVIDER_PRESENTATION, PresentationRejectReason.LOCAL_LIMIT_EXCEEDED): "local limit",
}


_TOO_BUSY: Final = frozenset({"congestion", "local limit"})
"""Rejections that are about the server and not about who asked: nobody was turned away for who they are."""


def rejection(told: AssociateRejected) -> Outcome:
    """Return an A-ASSOCIATE-RJ in words (PS3.8 9.3.4): refused, or failed if the server was only too busy."""
    source = RejectSource(told.source)
    word = next(
        (word for (known, reason), word in _REJECTIONS.items() if (known, reason) == (source, told.reason)),
        "unknown reason",
    )
    return Outcome(
        Answer.FAILED if word in _TOO_BUSY else Answer.REFUSED,
        {
            "result": "permanent" if told.result == 1 else "transient",
            "source": _SOURCES[source],
            "rejection": word,
        },
    )


_REFUSALS: Final = frozenset({
    Status.SOP_CLASS_NOT_SUPPORTED,
    Status.NOT_AUTHORIZED,
    Status.UNRECOGNIZED_OPERATION,
    Status.OUT_OF_RESOURCES,
    Status.MOVE_DESTINATION_UNKNOWN,
})  # fmt: skip


def of_status(status: int, **details: Detail) -> Outcome:
    """Return what a final DIMSE status says: done (with or without a warning), refused, or failed (PS3.7 annex C).

    A700H is what servers answer who do not want to be asked (PS3.4 calls it "Refused: Out of Resources"); A801H is
    "Refused: Move Destination unknown" (PS3.4 C.4.2.1.5).
    """
    if classify(status) is not StatusKind.FAILURE:
        answer = Answer.DONE
    else:
        answer = Answer.REFUSED if status in _REFUSALS else Answer.FAILED
    return Outcome(answer, {"status": status, **details})


def _tls(session: Session, caller: Caller) -> ssl.SSLContext | None:
    if caller.channel is Channel.PLAIN:
        return None
    if caller.identity is Identity.CERTIFICATE:
        return probing_context((session.target.certificate, session.target.certificate_key))
    return probing_context()


def syntax_of(dialogue: Dialogue, sop_class_uid: Uid) -> TransferSyntax:
    """Return the transfer syntax that was agreed upon for a service, or the default one."""
    for context in dialogue.negotiated.contexts.values() if dialogue.outcome.is_done else ():
        if context.abstract_syntax == sop_class_uid:
            return TRANSFER_SYNTAXES[context.transfer_syntax]
    return IMPLICIT_VR_LITTLE_ENDIAN
