"""One outgoing association on its socket: connect, negotiate, send, receive, and never wait longer than was allowed.

This is the only part of the SCU that does I/O. Whatever goes wrong ends the connection here: with an A-ABORT if the
peer may still read one, and with one of two errors, PeerUnavailable (it is away, refuses, or is too slow) or
RemoteProtocolError (it does not speak the protocol).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

from strongroom.dimse import Channel, ChannelEvent, ChannelLimits, DatasetBuffer, DatasetChunk, Message, MessageStart
from strongroom.errors import LocalProtocolError, PeerUnavailable, RemoteProtocolError
from strongroom.net.tls import fingerprint_of
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    Aborted,
    AcseRejectReason,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequest,
    Association,
    Buffer,
    ConnectionClosed,
    Event,
    Evt,
    LocalParameters,
    Negotiated,
    Pdv,
    PresentationContext,
    PresentationRejectReason,
    ProposedContext,
    RejectResult,
    RejectSource,
    ReleaseConfirmed,
    ReleaseRequested,
    RoleSelection,
    UlLimits,
    UserIdentity,
    UserInformation,
    UserRejectReason,
)

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

ABORT_TIMEOUT_S: Final = 1.0
"""How long a last A-ABORT may take to leave: a courtesy to the peer, not a reason to hang."""

_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)

_REJECT_REASONS: Final[Mapping[int, type[IntEnum]]] = {
    RejectSource.SERVICE_USER: UserRejectReason,
    RejectSource.PROVIDER_ACSE: AcseRejectReason,
    RejectSource.PROVIDER_PRESENTATION: PresentationRejectReason,
}

AssociateOutcome = AssociateAccepted | AssociateRejected | Aborted | ConnectionClosed


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. ``tls`` None means plain TCP.

    ``fingerprints`` are the SHA-256 digests (lower-case hex) of the certificates that the peer is bound to: any other
    certificate is refused before a single DICOM byte is sent. Empty accepts whatever the TLS context trusts.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    fingerprints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Proposal:
    """The association to ask for: ``contexts`` are pairs of an abstract syntax and the transfer syntaxes for it.

    ``roles`` holds a role selection for each SOP class in which we want another role than that of an SCU
    (PS3.7 D.3.3.4).
    """

    called: AeTitle
    calling: AeTitle
    contexts: tuple[tuple[Uid, tuple[Uid, ...]], ...]
    implementation: LocalParameters
    roles: tuple[RoleSelection, ...] = ()
    user_identity: UserIdentity | None = None

    def request(self) -> AssociateRequest:
        """Return the A-ASSOCIATE-RQ; presentation context identifiers are 1, 3, 5 and so on."""
        user = UserInformation(
            implementation_class_uid=self.implementation.implementation_class_uid,
            implementation_version_name=self.implementation.implementation_version_name,
            role_selections=self.roles,
            user_identity=self.user_identity,
        )
        contexts = tuple(
            ProposedContext(2 * index + 1, abstract_syntax, transfer_syntaxes)
            for index, (abstract_syntax, transfer_syntaxes) in enumerate(self.contexts)
        )
        return AssociateRequest(self.called, self.calling, contexts, user)


@dataclass(frozen=True, slots=True)
class ScuTimeouts:
    """Four hard limits in seconds; whichever comes first ends the association with PeerUnavailable.

    ``connect_s`` covers TCP, TLS and negotiation together, ``idle_s`` the time without a single byte, ``operation_s``
    one operation from its request to its final response (however busy the peer looks), ``total_s`` the whole life of
    the connection.
    """

    connect_s: float = 10.0
    idle_s: float = 60.0
    operation_s: float = 3600.0
    total_s: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class ScuLimits:
    """Caps on what a peer may send. ``max_messages`` is per operation: responses and sub-operations together."""

    ul: UlLimits = field(default_factory=UlLimits)
    channel: ChannelLimits = field(default_factory=ChannelLimits)
    max_messages: int = 200_000


class ScuLink:
    """A connection, its association and its DIMSE channel. Not thread-safe."""

    __slots__ = (
        "_association",
        "_channel",
        "_deadline",
        "_limits",
        "_monotonic",
        "_socket",
        "_timeouts",
        "_total_deadline",
        "peer_certificate",
        "peer_fingerprint",
    )

    def __init__(
        self, connection: socket.socket, timeouts: ScuTimeouts, limits: ScuLimits, monotonic: Callable[[], float]
    ) -> None:
        """Use ``connect``. The time allowed for connecting is running."""
        now = monotonic()
        self._socket: socket.socket | None = connection
        self._association: Association | None = None
        self._channel = Channel(limits.channel)
        self._timeouts = timeouts
        self._limits = limits
        self._monotonic = monotonic
        self._total_deadline = now + timeouts.total_s
        self._deadline = min(now + timeouts.connect_s, self._total_deadline)
        self.peer_certificate = b""
        """DER, b"" without TLS."""
        self.peer_fingerprint = ""

    @classmethod
    def connect(
        cls,
        target: Target,
        timeouts: ScuTimeouts | None = None,
        limits: ScuLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> ScuLink:
        """Return an open connection, TLS done. Resolving a name is left to the system and not bounded: give addresses.

        Raises:
            PeerUnavailable: refused, unreachable, too slow, no TLS, or a certificate that is not trusted or not bound.
        """
        timeouts, limits = timeouts or ScuTimeouts(), limits or ScuLimits()
        until = monotonic() + min(timeouts.connect_s, timeouts.total_s)
        connection: socket.socket | None = None
        try:
            connection = _open_socket(target, until, monotonic)
            certificate, fingerprint = b"", ""
            if target.tls is not None:
                connection.settimeout(max(until - monotonic(), 0.001))
                secured = target.tls.wrap_socket(connection, server_hostname=target.host)
                connection = secured
                certificate, fingerprint = secured.getpeercert(binary_form=True) or b"", fingerprint_of(secured)
        except (OSError, ValueError, OverflowError) as error:
            if connection is not None:
                connection.close()
            raise PeerUnavailable(f"cannot connect to {target.host}:{target.port}: {_reason(error)}") from error
        if target.fingerprints and fingerprint not in target.fingerprints:
            connection.close()
            raise PeerUnavailable(f"{target.host}:{target.port} does not show the certificate it is bound to")
        link = cls(connection, timeouts, limits, monotonic)
        link._deadline = until
        link.peer_certificate, link.peer_fingerprint = certificate, fingerprint
        return link

    def associate(self, proposal: Proposal) -> AssociateOutcome:
        """Negotiate and return what came of it; only after AssociateAccepted is the link still open.

        Raises:
            PeerUnavailable: the connection failed, or no answer came in time.
            RemoteProtocolError: the answer is none of PS3.8.
        """
        if self._association is not None:
            raise LocalProtocolError("this connection has had its association")
        with self:
            self._association = Association.requestor(proposal.request(), self._limits.ul)
            event = self._next_event()
        if isinstance(event, AssociateAccepted):
            return event
        self.close()
        if isinstance(event, AssociateRejected | Aborted | ConnectionClosed):
            return event
        raise RemoteProtocolError(f"{type(event).__name__} in answer to an A-ASSOCIATE-RQ")

    @property
    def negotiated(self) -> Negotiated:
        """What the peer agreed to. Raises LocalProtocolError before it has."""
        if self._association is None or self._association.negotiated is None:
            raise LocalProtocolError("no association was established")
        return self._association.negotiated

    @property
    def contexts(self) -> Mapping[int, PresentationContext]:
        """The accepted presentation contexts by identifier."""
        return self.negotiated.contexts

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._socket is None

    @property
    def max_messages(self) -> int:
        """Cap on messages in one operation."""
        return self._limits.max_messages

    def next_message_id(self) -> int:
        """Return the message id for the next request."""
        return self._channel.next_message_id()

    # An operation is a ``with`` block on the link: it ends in time, or in an A-ABORT.

    def operation(self) -> Self:
        """Start the clock of an operation: ``with link.operation(): ...``. Raises LocalProtocolError if it is over."""
        if self._socket is None:
            raise LocalProtocolError("the association is over")
        self._deadline = min(self._monotonic() + self._timeouts.operation_s, self._total_deadline)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A generator that is closed early has ended its operation itself.
        if kind is not None and kind is not GeneratorExit:
            source, reason = (
                (error.abort_source, error.abort_reason) if isinstance(error, RemoteProtocolError) else (0, 0)
            )
            self.abort(source, reason)

    def send(self, context_id: int, message: Message, dataset: bytes | None = None) -> None:
        """Send a message and its small data set. Raises PeerUnavailable."""
        association = self._open_association()
        association.send_pdvs(context_id, self._channel.encode_message(message), dataset)
        self._flush(association)

    def stream(self, context_id: int, message: Message, chunks: Iterable[Buffer]) -> None:
        """Send a message and a data set of any size, a few hundred KiB in memory at a time. Raises PeerUnavailable."""
        command = self._channel.encode_message(message)
        for buffers in self._open_association().stream_pdvs(context_id, command, chunks):
            self._send_all(buffers)

    def receive(self) -> ChannelEvent:
        """Return the next event of the exchange; a DatasetChunk's view is valid until the next call.

        Raises:
            PeerUnavailable: nothing came in time, or the peer ended the association.
            RemoteProtocolError: it broke the protocol.
        """
        while True:
            event = self._next_event()
            if isinstance(event, Pdv):
                told = self._channel.feed(*event)
                if told is not None:
                    return told
            elif isinstance(event, ReleaseRequested):
                association = self._open_association()
                association.answer_release()
                self._flush(association)
                raise PeerUnavailable("the peer released the association", "released")
            else:
                raise PeerUnavailable(_end_of(event), "aborted" if isinstance(event, Aborted) else "closed")

    def receive_start(self) -> MessageStart:
        """Return the next message; the data set of the one before must have been taken. Raises as ``receive``."""
        event = self.receive()
        if isinstance(event, MessageStart):
            return event
        raise LocalProtocolError("a data set was not taken before the next message was asked for")

    def receive_dataset(self) -> bytes:
        """Return the whole small data set of the message just received.

        Raises:
            LimitExceeded: it is larger than ``max_identifier_bytes``.
        """
        gathered = DatasetBuffer(self._limits.channel.max_identifier_bytes)
        while True:
            event = self.receive()
            if not isinstance(event, DatasetChunk):
                raise LocalProtocolError("no data set was announced")
            whole = gathered.add(event)
            if whole is not None:
                return whole

    def dataset_chunks(self) -> Iterator[memoryview]:
        """Yield the data set of the message just received; each view is valid until the next is asked for."""
        while not self._channel.between_messages:
            event = self.receive()
            if isinstance(event, DatasetChunk):
                yield event.data

    def skip_dataset(self) -> None:
        """Receive and drop what is left of the current data set."""
        for _ in self.dataset_chunks():
            pass

    def release(self) -> None:
        """End the association in order and close.

        A peer that does not answer properly, or within ``connect_s``, is aborted without an error: what was asked of it
        is done.
        """
        with suppress(PeerUnavailable, RemoteProtocolError), self.operation():
            self._deadline = min(self._monotonic() + self._timeouts.connect_s, self._deadline)
            association = self._open_association()
            association.request_release()
            while not isinstance(event := self._next_event(), ReleaseConfirmed | Aborted | ConnectionClosed):
                if isinstance(event, ReleaseRequested):  # a collision: the requestor answers first (PS3.8 7.2.2)
                    association.answer_release()
        self.close()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """Send an A-ABORT if that is possible and close; never raises, may be called at any time (PS3.8 9.3.8)."""
        association, connection = self._association, self._socket
        if connection is None:
            return
        if association is not None:
            if association.allows(Evt.A_ABORT_REQUEST):
                association.abort(source, reason)
            self._deadline = min(self._monotonic() + ABORT_TIMEOUT_S, self._total_deadline)
            with suppress(PeerUnavailable):
                self._flush(association)
        self.close()

    def close(self) -> None:
        """Close the connection without a word."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open_association(self) -> Association:
        if self._association is None or self._socket is None:
            raise LocalProtocolError("the association is over, or has not begun")
        return self._association

    def _next_event(self) -> Event:
        association = self._open_association()
        while (event := association.next_event()) is None:
            self._flush(association)
            connection = self._armed()
            try:
                count = connection.recv_into(association.free_space())
                if count and _QUICKACK is not None:
                    # Stock receivers write a response in two parts and wait for the ACK in between: 40 ms an object.
                    connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError as error:
                raise PeerUnavailable(f"receiving failed: {_reason(error)}", _how(error)) from error
            association.receive_data(count)
        return event

    def _flush(self, association: Association) -> None:
        buffers = association.data_to_send()
        if buffers:
            self._send_all(buffers)

    def _send_all(self, buffers: list[Buffer]) -> None:
        # Not sendall: over TLS its timeout starts anew with each record, and a peer could read one byte at a time.
        try:
            for buffer in buffers:
                left = memoryview(buffer)
                while left:
                    left = left[self._armed().send(left) :]
        except OSError as error:
            raise PeerUnavailable(f"sending failed: {_reason(error)}", _how(error)) from error

    def _armed(self) -> socket.socket:
        """Return the socket, its timeout set to what is left. Raises PeerUnavailable if that is nothing."""
        if self._socket is None:
            raise LocalProtocolError("the association is over")
        left = self._deadline - self._monotonic()
        if left <= 0:
            raise PeerUnavailable("the peer was too slow: the time for this operation is over", "slow")
        self._socket.settimeout(min(left, self._timeouts.idle_s))
        return self._socket


def describe_outcome(outcome: AssociateRejected | Aborted | ConnectionClosed) -> str:
    """Return in words why there is no association."""
    if isinstance(outcome, AssociateRejected):
        try:
            reason = _words(_REJECT_REASONS[outcome.source](outcome.reason))
        except ValueError:
            reason = f"reason {outcome.reason}"
        result, source = _words(RejectResult(outcome.result)), _words(RejectSource(outcome.source))
        return f"association rejected, {result}, by {source}: {reason}"
    return _end_of(outcome)


def _words(member: IntEnum) -> str:
    return member.name.lower().replace("_", " ")


def _end_of(event: Event) -> str:
    if isinstance(event, Aborted):
        by = "provider" if event.by_provider else "user"
        return f"the peer aborted the association (by its {by}, reason {event.reason})"
    if isinstance(event, ConnectionClosed):
        return "the peer closed the connection"
    return f"the association ended with {type(event).__name__}"


def _open_socket(target: Target, until: float, monotonic: Callable[[], float]) -> socket.socket:
    """Return a connected TCP socket: each address of the host is tried, all within the same time. Raises OSError."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _how(error: OSError) -> str:
    """Return the word of PeerUnavailable for a failed system call."""
    if isinstance(error, TimeoutError):
        return "timeout"
    return "closed" if isinstance(error, ConnectionError) else "lost"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return cast(str, getattr(error, "strerror", None) or str(error) or type(error).__name__)
