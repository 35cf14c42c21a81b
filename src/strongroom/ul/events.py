"""What the upper layer tells its user: the indications and confirmations of PS3.8 7, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from strongroom.ul.pdu import AssociateAnswer, AssociateRequest


class Pdv(NamedTuple):
    """One presentation data value. A tuple, not a data class: one is made per fragment of every image.

    ``data`` is a view into the receive buffer, valid until the next ``free_space()``; it may be empty.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class AssociateRequested:
    """A-ASSOCIATE indication: answer with ``accept`` or ``reject``."""

    request: AssociateRequest


@dataclass(frozen=True, slots=True)
class AssociateRefused:
    """The provider rejected a request by itself (action AE-6); the A-ASSOCIATE-RJ is queued. For the trail."""

    request: AssociateRequest
    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class AssociateAccepted:
    """A-ASSOCIATE confirmation; what came of it is in ``Association.negotiated``."""

    answer: AssociateAnswer


@dataclass(frozen=True, slots=True)
class AssociateRejected:
    """A-ASSOCIATE confirmation of a rejection (PS3.8 9.3.4); the connection is to be closed."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """A-RELEASE indication: answer with ``answer_release``.

    In a ``collision`` both sides asked. The association requestor answers at once; the acceptor answers only
    after ReleaseConfirmed (PS3.8 7.2.2).
    """

    collision: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseConfirmed:
    """A-RELEASE confirmation. Close the connection if ``Association.closed`` says so."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """A-ABORT (``by_provider`` false) or A-P-ABORT indication, with the fields as received (PS3.8 9.3.8)."""

    source: int
    reason: int
    by_provider: bool


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The transport connection is gone, or is to be closed now.

    ``lost`` means that an association was open or being opened: the A-P-ABORT indication of action AA-4.
    """

    lost: bool


Event = (
    Pdv
    | AssociateRequested
    | AssociateRefused
    | AssociateAccepted
    | AssociateRejected
    | ReleaseRequested
    | ReleaseConfirmed
    | Aborted
    | ConnectionClosed
)
