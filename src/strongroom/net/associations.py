"""Connections that were let in as far as the door: TLS first, one thread per association, a clean end."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Presented
from strongroom.archive.refusals import reason_of
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from strongroom.dimse import ChannelLimits
from strongroom.errors import LocalProtocolError, RemoteProtocolError, StrongroomError
from strongroom.net.acceptor import Admission, Caller, Gate, Rejection
from strongroom.net.certificates import facts_of_der, is_issued_by
from strongroom.net.connection import Connection, Drained, Timeouts
from strongroom.net.places import Place
from strongroom.net.scp import Services, Session
from strongroom.types import Principal
from strongroom.ul import (
    AssociateRefused,
    AssociateRequested,
    Association,
    LocalParameters,
    PresentationRejectReason,
    RejectResult,
    RejectSource,
    UlLimits,
)

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

log = logging.getLogger(__name__)

MAX_CALLING_CHARS = 16
MAX_NAMED_CLASSES = 16
"""SOP classes that one record says a peer lacks the right to."""
LAST_MOMENT_S = 5.0
"""For what was closed to say in the trail that it was."""
HANDSHAKE, ASSOCIATION = "dicom-handshake", "dicom-association"
"""Names of threads."""
_LOOK_AGAIN_S = 0.005

TOO_MANY = Rejection(
    RejectResult.TRANSIENT,
    RejectSource.PROVIDER_PRESENTATION,
    PresentationRejectReason.LOCAL_LIMIT_EXCEEDED,
    "over-max_associations_per_peer",
)


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """Caps of one association."""

    ul: UlLimits
    channel: ChannelLimits
    timeouts: Timeouts
    tls_handshake_timeout_s: float


@dataclass(frozen=True, slots=True)
class Visitor:
    """A connection that was accepted: its socket and address, and its place among the others.

    Without ``context`` it may only be ``plaintext_peer``.
    """

    raw: socket.socket
    host: str
    place: Place = field(repr=False)
    context: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    plaintext_peer: str = ""


class Associations:
    """All that one process serves, each on a thread of its own. Thread-safe."""

    def __init__(self, gate: Gate, services: Services, limits: AssociationLimits) -> None:
        self._gate = gate
        self._services = services
        self._limits = limits
        self._local = LocalParameters(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}
        self._open: dict[int, socket.socket | Connection] = {}
        self._stopping = threading.Event()

    def begin(self, visitor: Visitor) -> None:
        """Have a connection show who it is, and serve it; returns at once. Its place is left when it is over."""
        if self._stopping.is_set() or not self._start(HANDSHAKE, self._admit, visitor):
            visitor.raw.close()
            visitor.place.leave()

    def stop(self, grace_s: float) -> None:
        """Let requests that are being served finish for ``grace_s`` seconds, then close what is left.

        Associations without one, and who has none yet, are ended at once. Returns within LAST_MOMENT_S after that.
        """
        self._stopping.set()
        deadline = monotonic() + grace_s
        with self._lock:
            served = {session.connection for session in self._sessions.values()}
        for connection in served:
            connection.drain()
        self._close_all_but(served)
        _await_threads(deadline)
        self._close_all_but(set())
        _await_threads(deadline + LAST_MOMENT_S)

    def _close_all_but(self, spared: set[Connection]) -> None:
        with self._lock:
            for each in self._open.values():
                if each not in spared:
                    _end_wait(each)

    def end_sessions(self, why_over: Callable[[Principal], str]) -> None:
        """Close the association of every principal for which ``why_over`` gives a reason; the trail names it."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            why = why_over(session.principal)
            if why and not session.ended_because:
                session.ended_because = why
                session.connection.close()

    # -- one connection

    def _start(self, name: str, work: Callable[..., None], *args: object) -> bool:
        """Whether a thread is to be had for that; if not, the others must go on."""
        try:
            threading.Thread(target=work, args=args, name=name, daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _is_at(self, visitor: Visitor, where: socket.socket | Connection) -> None:
        """Remember what ends the wait of a connection's thread; whoever comes too late to be served does not wait."""
        with self._lock:
            self._open[id(visitor)] = where
            if self._stopping.is_set():
                _end_wait(where)

    def _leave(self, visitor: Visitor) -> None:
        with self._lock:
            self._open.pop(id(visitor), None)
        visitor.place.leave()

    def _admit(self, visitor: Visitor) -> None:
        """Have a connection show who it is, and start a thread for its association.

        Another thread, since what OpenSSL keeps for one that has done a handshake and looked at a certificate (random
        generators, 33 KiB) stays as long as the thread: an idle association is not to cost that.
        """
        sock: socket.socket = visitor.raw
        is_passed_on = False
        try:
            secured = self._secure(visitor)
            if secured is None:
                return
            sock, caller = secured
            if visitor.place.enter() and not self._stopping.is_set():
                is_passed_on = self._start(ASSOCIATION, self._work, visitor, sock, caller)
        except Exception:
            log.exception("a bug ended a connection before its association")
        finally:
            if not is_passed_on:
                sock.close()
                self._leave(visitor)

    def _work(self, visitor: Visitor, sock: socket.socket, caller: Caller) -> None:
        connection: Connection | None = None
        try:
            association = Association.acceptor(self._limits.ul, self._local)
            connection = Connection(sock, association, self._limits.timeouts)
            self._is_at(visitor, connection)
            self._associate(connection, caller, visitor.place)
        except StrongroomError as error:
            log.warning("association ended: %s", type(error).__name__)
        except Exception:
            log.exception("a bug ended an association")
        finally:
            if connection is not None:
                connection.close()
            else:
                sock.close()
            self._leave(visitor)

    def _secure(self, visitor: Visitor) -> tuple[socket.socket, Caller] | None:
        """The socket to speak DICOM on and who is at its other end, or None if TLS failed (recorded)."""
        raw, place = visitor.raw, visitor.place
        self._is_at(visitor, raw)
        if visitor.context is None:
            return raw, Caller(visitor.host, None, visitor.plaintext_peer)
        raw.settimeout(self._limits.tls_handshake_timeout_s)
        try:
            secured = visitor.context().wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        except OSError:  # it was cut off meanwhile
            return None
        self._is_at(visitor, secured)  # it has taken the descriptor over
        try:
            secured.do_handshake()
        except OSError as error:  # SSLError among them
            why = getattr(error, "reason", None) or type(error).__name__
            place.refuse("tls-handshake", {"tls": str(why)[:64]})
            secured.close()
            return None
        facts = facts_of_der(secured.getpeercert(binary_form=True) or b"")
        if facts.not_after.timestamp() < time():  # only a resumed session gets here with it
            place.refuse("certificate-expired", {"certificate": facts.fingerprint})
            secured.close()
            return None
        presented = Presented(facts.fingerprint, facts.subject, lambda authority: is_issued_by(facts.pem, authority))
        return secured, Caller(visitor.host, presented)

    # -- one association

    def _associate(self, connection: Connection, caller: Caller, place: Place) -> None:
        association = connection.association
        try:
            event = connection.next_event()
            if isinstance(event, AssociateRefused):
                by_user = event.source == RejectSource.SERVICE_USER
                why = "application-context" if by_user else "protocol-version"
                place.refuse(why, _claim(event, caller), _fingerprint(caller))
            elif isinstance(event, AssociateRequested):
                self._decide(connection, caller, place, event)
            else:
                place.refuse("closed-without-request", {}, _fingerprint(caller))
        except RemoteProtocolError as error:
            details: dict[str, Detail] = {"why": str(error)[:128], "state": association.state.name}
            place.refuse("protocol-error", details, _fingerprint(caller))
        finally:
            with contextlib.suppress(RemoteProtocolError):
                connection.flush()

    def _decide(self, connection: Connection, caller: Caller, place: Place, event: AssociateRequested) -> None:
        decision = self._gate.admit(event.request, caller)
        if isinstance(decision, Admission) and not place.take(decision.principal.aet):
            decision = TOO_MANY
        details = _claim(event, caller)
        if isinstance(decision, Rejection):
            place.refuse(decision.why, details, _fingerprint(caller))
            connection.association.reject(decision.result, decision.source, decision.reason)
            connection.flush()
            return
        session: Session | None = None
        try:
            principal = decision.principal
            if decision.no_right:
                details["no_right"] = decision.no_right[:MAX_NAMED_CLASSES]
                if not decision.is_of_use:
                    refused: dict[str, Detail] = {"reason": "no-right", **details}
                    self._services.record(Event(Action.ASSOCIATION, Outcome.REFUSED, principal, refused))
            self._services.record(Event(Action.ASSOCIATION, Outcome.SUCCESS, principal, {"phase": "begin", **details}))
            connection.association.accept(decision.answer)
            session = Session(connection, self._services, self._limits.channel, principal)
            session.extended = decision.extended
            with self._lock:
                self._sessions[id(session)] = session
            self._run(session)
        finally:
            with self._lock:
                self._sessions.pop(id(session), None)

    def _run(self, session: Session) -> None:
        outcome, end = Outcome.FAILED, "bug"
        try:
            end = session.run()
            outcome = Outcome.SUCCESS
        except Drained:
            outcome, end = Outcome.SUCCESS, "service-stop"
            _cut_off(session.connection)
        except RemoteProtocolError as error:
            end = str(error)[:128]
        except StrongroomError as error:
            end = reason_of(error)
        finally:
            if outcome is Outcome.FAILED:
                _cut_off(session.connection)
            details: dict[str, Detail] = {"phase": "end", "end": session.ended_because or end, **session.counts}
            self._services.record(Event(Action.ASSOCIATION, outcome, session.principal, details))


def _await_threads(deadline: float) -> None:
    """Return when no connection has a thread any more, or at ``deadline``."""
    while monotonic() < deadline:
        threads = [thread for thread in threading.enumerate() if thread.name in (HANDSHAKE, ASSOCIATION)]
        if not threads:
            return
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - monotonic()))
            else:  # about to begin, which nobody can wait for
                sleep(_LOOK_AGAIN_S)


def _claim(event: AssociateRequested | AssociateRefused, caller: Caller) -> dict[str, Detail]:
    """What the other side says of itself: AE titles of a stranger, capped."""
    request = event.request
    details: dict[str, Detail] = {
        "calling": request.calling_ae_title[:MAX_CALLING_CHARS],
        "called": request.called_ae_title[:MAX_CALLING_CHARS],
    }
    if caller.presented is None:
        details["unsafe_plaintext"] = True
    return details


def _fingerprint(caller: Caller) -> str:
    return "" if caller.presented is None else caller.presented.fingerprint


def _end_wait(where: socket.socket | Connection) -> None:
    """End a thread's wait for its peer. A handshake's thread closes its socket itself: the number may be in use."""
    if isinstance(where, Connection):
        where.close()
        return
    with contextlib.suppress(OSError):
        socket.socket.shutdown(where, socket.SHUT_RDWR)


def _cut_off(connection: Connection) -> None:
    """Send the peer an A-ABORT, unless one is queued already or it reads nothing any more."""
    with contextlib.suppress(LocalProtocolError):
        connection.association.abort()
    with contextlib.suppress(RemoteProtocolError):
        connection.flush()
