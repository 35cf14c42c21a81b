"""Stored objects on their way out: in which presentation context, converted or not, to whom, and what became of each.

An object leaves as it is stored wherever the receiver takes that. If not, the uncompressed transfer syntaxes are
converted into one another while they flow past; nothing else is (PS3.4 C.4.2.2.1, PS3.5 10.1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.archive.model import Detail, Outcome, StoredObject
from strongroom.archive.outgoing import Chunks, opened
from strongroom.archive.peers import Peer, Presented, identify
from strongroom.archive.read import Reader
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.encode import encode_values
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from strongroom.dimse import Status, StatusKind, classify
from strongroom.errors import (
    ConfigError,
    Denied,
    IntegrityError,
    LimitExceeded,
    MalformedDataset,
    NotFound,
    PeerUnavailable,
    Refused,
    RemoteProtocolError,
    StorageUnavailable,
)
from strongroom.net.certificates import facts_of_der, is_issued_by
from strongroom.net.scu import Proposal, ScuConnection, ScuLimits, ScuLink, ScuTimeouts, Target, describe_outcome
from strongroom.net.services import UNCOMPRESSED
from strongroom.types import AeTitle, Uid
from strongroom.ul import AssociateAccepted, LocalParameters, PresentationContext, RoleSelection

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

MAX_CONTEXTS: Final = 128
"""Presentation contexts of one association: their identifiers are the odd numbers up to 255 (PS3.8 9.3.2.2)."""

MAX_REOPENED: Final = 16
"""Associations that one C-MOVE may lose to damaged objects before the rest of it is given up."""

MAX_FAILED_LIST_BYTES: Final = 65_534
"""The longest value of VR UI in Explicit VR: a list of failed instances is cut there; the counts stay right."""

MAX_REASONS: Final = 16

FAILED_SOP_INSTANCE_UID_LIST: Final = 0x00080058

OBJECT_ERRORS: Final = (IntegrityError, LimitExceeded, MalformedDataset, NotFound, Refused, StorageUnavailable)
"""What can be wrong with one stored object, or with its conversion, and leaves the others as they are."""

RECEIVER_ERRORS: Final = (Denied, LimitExceeded, PeerUnavailable, RemoteProtocolError)
"""What can be wrong with a receiver, and ends the matter."""


# -- which context, which transfer syntax

Accepted = Mapping[str, Mapping[str, int]]
"""By SOP class: transfer syntax -> the presentation context that objects can be sent in."""


def accepted_for_sending(contexts: Mapping[int, PresentationContext], *, we_requested: bool) -> Accepted:
    """The contexts in which we are SCU: as requestor by default, as acceptor where the peer took the SCP role."""
    accepted: dict[str, dict[str, int]] = {}
    for context in contexts.values():
        if context.requestor_scu if we_requested else context.requestor_scp:
            accepted.setdefault(context.abstract_syntax, {})[context.transfer_syntax] = context.context_id
    return accepted


def choose_transfer_syntax(stored: str, accepted: Collection[str]) -> str | None:
    """The transfer syntax to send an object in that is stored in ``stored``, None if there is no way."""
    if stored in accepted:
        return stored
    if TRANSFER_SYNTAXES[stored].encapsulated:
        return None
    return next((uid for uid in UNCOMPRESSED if uid in accepted), None)


@dataclass(frozen=True, slots=True)
class AssociationPlan:
    """One association of a C-MOVE: what it proposes, and the objects that go over it."""

    contexts: tuple[tuple[Uid, tuple[Uid, ...]], ...]
    objects: Sequence[StoredObject]


def plan_associations(objects: Sequence[StoredObject]) -> list[AssociationPlan]:
    """Split a set into as few associations as its presentation contexts need; within one, the order stays.

    Each transfer syntax in the set gets a context of its own for each SOP class, since the acceptor picks a single
    one out of a context. Uncompressed objects get another, for the uncompressed syntaxes that they can be converted to.
    """
    syntaxes: dict[str, dict[str, None]] = {}
    for stored in objects:
        syntaxes.setdefault(stored.sop_class, {})[stored.transfer_syntax] = None
    batches: list[list[tuple[Uid, tuple[Uid, ...]]]] = [[]]
    batch_of: dict[str, int] = {}
    for sop_class, stored_in in syntaxes.items():
        contexts: list[tuple[Uid, tuple[Uid, ...]]] = [(Uid(sop_class), (Uid(uid),)) for uid in stored_in]
        others = tuple(uid for uid in UNCOMPRESSED if uid not in stored_in)
        if others and not all(TRANSFER_SYNTAXES[uid].encapsulated for uid in stored_in):
            contexts.append((Uid(sop_class), others))
        if len(batches[-1]) + len(contexts) > MAX_CONTEXTS:
            batches.append([])
        batches[-1] += contexts
        batch_of[sop_class] = len(batches) - 1
    if len(batches) == 1:
        return [AssociationPlan(tuple(batches[0]), objects)]
    parts: list[list[StoredObject]] = [[] for _ in batches]
    for stored in objects:
        parts[batch_of[stored.sop_class]].append(stored)
    return [AssociationPlan(tuple(batch), part) for batch, part in zip(batches, parts, strict=True)]


# -- what became of it


class Sent(NamedTuple):
    """One sub-operation that is over: the receiver's status, or None and a reason why it got none."""

    stored: StoredObject
    status: int | None
    reason: str
    sent_bytes: int


@dataclass(slots=True)
class SubOperations:
    """The sub-operations of one C-MOVE or C-GET, counted (PS3.4 C.4.2.1.6 to C.4.2.1.9).

    One that could not begin for want of a presentation context has failed: the receiver does not have the object.
    """

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    sent_bytes: int = 0
    failed_uids: list[str] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    _failed_list_bytes: int = 0

    def add(self, sent: Sent) -> None:
        """Count one more."""
        self.remaining -= 1
        self.sent_bytes += sent.sent_bytes
        kind = StatusKind.FAILURE if sent.status is None else classify(sent.status)
        if kind is StatusKind.SUCCESS:
            self.completed += 1
            return
        if kind is StatusKind.WARNING:
            self.warning += 1
        else:
            self.failed += 1
            self._list_failed(sent.stored.sop_uid)
        if len(self.reasons) < MAX_REASONS:
            self.reasons[sent.reason if sent.status is None else f"status-{sent.status:04X}"] = None

    def _list_failed(self, sop_uid: str) -> None:
        self._failed_list_bytes += len(sop_uid) + 1
        if self._failed_list_bytes <= MAX_FAILED_LIST_BYTES:
            self.failed_uids.append(sop_uid)

    def final_status(self, *, cancelled: bool) -> int:
        """The status of the final response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if cancelled:
            return Status.CANCEL
        if not self.failed and not self.warning:
            return Status.SUCCESS
        if not self.completed and not self.warning:
            return Status.UNABLE_TO_PERFORM_SUB_OPERATIONS
        return Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES

    def failed_list(self, transfer_syntax: TransferSyntax) -> bytes:
        """The identifier of a final response that is no success: the Failed SOP Instance UID List (0008,0058)."""
        return encode_values({FAILED_SOP_INSTANCE_UID_LIST: self.failed_uids}, transfer_syntax)

    @property
    def outcome(self) -> Outcome:
        """For the trail."""
        if not self.failed and not self.warning and not self.remaining:
            return Outcome.SUCCESS
        return Outcome.WARNING if self.completed or self.warning else Outcome.FAILED

    @property
    def details(self) -> dict[str, Detail]:
        """For the trail."""
        counts: dict[str, Detail] = {
            "completed": self.completed,
            "failed": self.failed,
            "warning": self.warning,
            "bytes": self.sent_bytes,
        }
        if self.remaining:
            counts["remaining"] = self.remaining
        if self.failed_uids:
            counts["failed_uids"] = tuple(self.failed_uids[:64])
        if self.reasons:
            counts["reasons"] = tuple(self.reasons)
        return counts


# -- calling a peer


@dataclass(frozen=True, slots=True)
class PeerCaller:
    """Opens associations to registered peers: over TLS, to their address, with the certificate that is theirs."""

    aet: AeTitle
    find_peer: Callable[[str], Peer | None] = field(repr=False)
    client_context: Callable[[], ssl.SSLContext] = field(repr=False)
    timeouts: ScuTimeouts = field(default_factory=ScuTimeouts)
    limits: ScuLimits = field(default_factory=ScuLimits)

    def find(self, aet: str) -> Peer:
        """The peer to call. Raises Denied: unknown-peer, peer-revoked or no-address."""
        peer = self.find_peer(aet)
        if peer is None:
            raise Denied("unknown-peer")
        if peer.revoked_us:
            raise Denied("peer-revoked")
        if not peer.host:
            raise Denied("no-address")
        return peer

    def call(
        self, peer: Peer, contexts: tuple[tuple[Uid, tuple[Uid, ...]], ...], roles: tuple[RoleSelection, ...] = ()
    ) -> ScuConnection:
        """An association with ``peer``, nothing of which is sent before its certificate is known to be its own.

        Raises PeerUnavailable, RemoteProtocolError, or Denied: certificate-not-of-peer.
        """
        target = Target(peer.host, peer.port, self.client_context())
        link = ScuLink.connect(target, self.timeouts, self.limits)
        try:
            facts = facts_of_der(link.peer_certificate)
            identify(peer, Presented(facts.fingerprint, facts.subject, lambda ca: is_issued_by(facts.pem, ca)), "")
        except (ConfigError, Denied):
            link.close()
            raise Denied("certificate-not-of-peer") from None
        local = LocalParameters(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        outcome = link.associate(Proposal(peer.aet, self.aet, contexts, local, roles))
        if not isinstance(outcome, AssociateAccepted):
            raise PeerUnavailable(describe_outcome(outcome))
        return ScuConnection(link)


class Destination:
    """Where a C-MOVE sends to. Owned by the thread that serves it."""

    def __init__(self, caller: PeerCaller, peer: Peer, reader: Reader, originator: tuple[str, int]) -> None:
        """``originator`` is the AE title of who asked for the move, and the message id of its request."""
        self._caller = caller
        self._peer = peer
        self._reader = reader
        self._originator = originator
        self._unavailable = ""
        self._reopened = 0

    def store_all(self, objects: Sequence[StoredObject]) -> Generator[Sent, None, None]:
        """Send the objects, over as many associations as they need; yields each as soon as it is over.

        A destination that cannot be reached, or is lost on the way, has all that is left fail. To close the iterator
        releases the association.
        """
        for plan in plan_associations(objects):
            connection: ScuConnection | None = None
            accepted: Accepted = {}
            try:
                for stored in plan.objects:
                    if not self._unavailable and (connection is None or connection.closed):
                        connection = self._open(plan, again=connection is not None)
                        accepted = {} if connection is None else _accepted_by(connection)
                    if connection is None or self._unavailable:
                        yield Sent(stored, None, self._unavailable, 0)
                    else:
                        yield self._store(connection, stored, accepted)
            finally:
                if connection is not None:
                    connection.release()

    def _open(self, plan: AssociationPlan, *, again: bool) -> ScuConnection | None:
        self._reopened += again
        if self._reopened > MAX_REOPENED:
            self._unavailable = "over-max_reopened"
            return None
        try:
            return self._caller.call(self._peer, plan.contexts)
        except RECEIVER_ERRORS as error:
            self._unavailable = _why(error)
            return None

    def _store(self, connection: ScuConnection, stored: StoredObject, accepted: Accepted) -> Sent:
        syntax = choose_transfer_syntax(stored.transfer_syntax, accepted.get(stored.sop_class, {}))
        if syntax is None:
            return Sent(stored, None, "no-presentation-context", 0)
        chunks: Chunks | None = None
        try:
            with opened(self._reader, stored, syntax) as chunks:
                response = connection.store(
                    Uid(stored.sop_class), Uid(stored.sop_uid), Uid(syntax), chunks, move_originator=self._originator
                )
        except OBJECT_ERRORS as error:
            return Sent(stored, None, reason_of(error), chunks.bytes if chunks else 0)
        except (PeerUnavailable, RemoteProtocolError) as error:
            self._unavailable = _why(error)
            return Sent(stored, None, self._unavailable, chunks.bytes if chunks else 0)
        return Sent(stored, response.status, "", chunks.bytes)


def _accepted_by(connection: ScuConnection) -> Accepted:
    return accepted_for_sending(connection.negotiated.contexts, we_requested=True)


def _why(error: Exception) -> str:
    """What the operator has to know of a receiver that fails: the words of the connection, no object's."""
    return str(error)[:128] if isinstance(error, PeerUnavailable | RemoteProtocolError) else reason_of(error)
