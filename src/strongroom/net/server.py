"""The DICOM listeners: sockets accepted within limits, TLS first, one thread per association, a clean end."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Presented
from strongroom.archive.refusals import reason_of
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from strongroom.dimse import ChannelLimits
from strongroom.errors import (
    ConfigError,
    LocalProtocolError,
    RemoteProtocolError,
    StrongroomError,
)
from strongroom.net.acceptor import Admission, Caller, Gate, Rejection
from strongroom.net.certificates import facts_of_der, is_issued_by
from strongroom.net.connection import Connection, Timeouts
from strongroom.net.refusals import RefusalMeter
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

BACKLOG = 128
ACCEPT_PAUSE_S = 0.05
MAX_CALLING_CHARS = 16
HANDSHAKE, ASSOCIATION = "dicom-handshake", "dicom-association"
"""Names of threads."""

TOO_MANY = Rejection(
    RejectResult.TRANSIENT,
    RejectSource.PROVIDER_PRESENTATION,
    PresentationRejectReason.LOCAL_LIMIT_EXCEEDED,
    "over-max_associations_per_peer",
)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Caps of one server."""

    ul: UlLimits
    channel: ChannelLimits
    timeouts: Timeouts
    max_handshakes: int
    max_handshakes_per_address: int
    max_associations: int
    max_associations_per_peer: int
    max_associations_per_address: int
    tls_handshake_timeout_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen. Without ``context`` it is a plaintext exception for one peer and one address range."""

    bind: str
    port: int
    context: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    plaintext_peer: str = ""
    network: str = ""
    is_expired: Callable[[], bool] = field(default=lambda: False, repr=False)


class DicomServer:
    """Accepts associations on its listeners until ``stop``."""

    def __init__(self, gate: Gate, services: Services, limits: ServerLimits) -> None:
        self._gate = gate
        self._services = services
        self._limits = limits
        self._local = LocalParameters(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
        self._lock = threading.Lock()
        self._refusals = RefusalMeter()
        self._sessions: dict[int, Session] = {}
        self._knocking: OrderedDict[int, tuple[socket.socket, str]] = OrderedDict()
        self._open: dict[int, tuple[socket.socket, Connection | None]] = {}
        self._per_address: Counter[str] = Counter()
        self._per_peer: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def listen(self, listener: Listener) -> int:
        """Start accepting; returns the port. Raises ConfigError if the address cannot be had."""
        if listener.context is None and not (listener.plaintext_peer and listener.network):
            raise ConfigError("a listener without TLS needs its one peer and its address range")
        family = socket.AF_INET6 if ":" in listener.bind else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((listener.bind, listener.port))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise ConfigError(f"cannot listen on {listener.bind}:{listener.port}: {error.strerror}") from None
        self._sockets.append(sock)
        thread = threading.Thread(target=self._accept, args=(sock, listener), name="dicom-accept", daemon=True)
        self._threads.append(thread)
        thread.start()
        return int(sock.getsockname()[1])

    def stop(self, grace_s: float) -> None:
        """Stop accepting, let what runs finish for ``grace_s`` seconds, then close it."""
        self._stopping.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        workers = [thread for thread in threading.enumerate() if thread.name in (HANDSHAKE, ASSOCIATION)]
        per_thread_s = grace_s / max(1, len(workers))
        for thread in workers:
            thread.join(per_thread_s)
        with self._lock:
            left = [*self._open.values(), *((knocking, None) for knocking, _ in self._knocking.values())]
        for sock, connection in left:
            if connection is not None:
                connection.close()
            else:
                sock.close()
        for thread in workers:
            thread.join(5)

    def end_sessions(self, why_over: Callable[[Principal], str]) -> None:
        """Close the association of every principal for which ``why_over`` gives a reason; the trail names it."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            why = why_over(session.principal)
            if why and not session.ended_because:
                session.ended_because = why
                session.connection.close()

    # -- accepting

    def _accept(self, sock: socket.socket, listener: Listener) -> None:
        while not self._stopping.is_set():
            try:
                self._accept_one(sock, listener)
            except OSError:
                # Out of descriptors, or a peer gone before it was accepted: wait a little, never spin.
                self._stopping.wait(ACCEPT_PAUSE_S)
            except Exception:
                log.exception("a bug ended a connection before its association")

    def _accept_one(self, sock: socket.socket, listener: Listener) -> None:
        raw, address = sock.accept()
        host = str(address[0])
        if not self._may_knock(raw, host, listener):
            raw.close()
            return
        if not self._start(HANDSHAKE, self._admit, raw, host, listener):
            self._forget(raw, host)
            raw.close()

    def _start(self, name: str, work: Callable[..., None], *args: object) -> bool:
        """Whether a thread is to be had for that; if not, the others must go on."""
        try:
            threading.Thread(target=work, args=args, name=name, daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _may_knock(self, raw: socket.socket, host: str, listener: Listener) -> bool:
        """Whether a connection may show who it is. Strangers' places are few, and apart from those of peers."""
        why = ""
        with self._lock:
            if listener.network and ipaddress.ip_address(host) not in ipaddress.ip_network(listener.network):
                why = "address-outside-plaintext-exception"
            elif listener.is_expired():
                why = "plaintext-exception-expired"
            elif sum(known == host for _, known in self._knocking.values()) >= self._limits.max_handshakes_per_address:
                why = "over-max_handshakes_per_address"
            else:
                if len(self._knocking) >= self._limits.max_handshakes:
                    # Honest handshakes take milliseconds: the oldest one is the least likely to be one.
                    oldest, _ = self._knocking.popitem(last=False)[1]
                    with contextlib.suppress(OSError):
                        oldest.shutdown(socket.SHUT_RDWR)
                self._knocking[id(raw)] = (raw, host)
        if why:
            self._record_refused(host, why, {})
        return not why

    def _may_enter(self, raw: socket.socket, host: str) -> bool:
        """Whether there is a place for a connection that has shown a trusted certificate, or needs none."""
        with self._lock:
            self._knocking.pop(id(raw), None)
            if len(self._open) >= self._limits.max_associations:
                why = "over-max_associations"
            elif self._per_address[host] >= self._limits.max_associations_per_address:
                why = "over-max_associations_per_address"
            else:
                self._open[id(raw)] = (raw, None)
                self._per_address[host] += 1
                return True
        self._record_refused(host, why, {})
        return False

    def _forget(self, raw: socket.socket, host: str) -> None:
        with self._lock:
            self._knocking.pop(id(raw), None)
            if self._open.pop(id(raw), None) is None:
                return
            self._per_address[host] -= 1
            if self._per_address[host] <= 0:
                del self._per_address[host]

    def _admit(self, raw: socket.socket, host: str, listener: Listener) -> None:
        """Have a connection show who it is, and start a thread for its association.

        Another thread, since what OpenSSL keeps for one that has done a handshake and looked at a certificate (random
        generators, 33 KiB) stays as long as the thread: an idle association is not to cost that.
        """
        sock: socket.socket = raw
        is_passed_on = False
        try:
            secured = self._secure(raw, host, listener)
            if secured is None:
                return
            sock, caller = secured
            if self._may_enter(raw, host) and not self._stopping.is_set():
                is_passed_on = self._start(ASSOCIATION, self._work, raw, sock, caller)
        except Exception:
            log.exception("a bug ended a connection before its association")
        finally:
            if not is_passed_on:
                self._forget(raw, host)
                sock.close()

    def _work(self, raw: socket.socket, sock: socket.socket, caller: Caller) -> None:
        connection: Connection | None = None
        try:
            association = Association.acceptor(self._limits.ul, self._local)
            connection = Connection(sock, association, self._limits.timeouts)
            with self._lock:
                self._open[id(raw)] = (raw, connection)
            self._associate(connection, caller)
        except StrongroomError as error:
            log.warning("association ended: %s", type(error).__name__)
        except Exception:
            log.exception("a bug ended an association")
        finally:
            self._forget(raw, caller.address)
            if connection is not None:
                connection.close()
            else:
                sock.close()

    def _secure(self, raw: socket.socket, host: str, listener: Listener) -> tuple[socket.socket, Caller] | None:
        """The socket to speak DICOM on and who is at its other end, or None if TLS failed (recorded)."""
        if listener.context is None:
            return raw, Caller(host, None, listener.plaintext_peer)
        raw.settimeout(self._limits.tls_handshake_timeout_s)
        secured = listener.context().wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            if id(raw) in self._knocking:  # the wrapped socket has taken the descriptor over
                self._knocking[id(raw)] = (secured, host)
        try:
            secured.do_handshake()
        except OSError as error:  # SSLError among them
            why = getattr(error, "reason", None) or type(error).__name__
            self._record_refused(host, "tls-handshake", {"tls": str(why)[:64]})
            secured.close()
            return None
        facts = facts_of_der(secured.getpeercert(binary_form=True) or b"")
        if facts.not_after.timestamp() < time():  # only a resumed session gets here with it
            self._record_refused(host, "certificate-expired", {"certificate": facts.fingerprint})
            secured.close()
            return None
        presented = Presented(facts.fingerprint, facts.subject, lambda authority: is_issued_by(facts.pem, authority))
        return secured, Caller(host, presented)

    # -- one association

    def _associate(self, connection: Connection, caller: Caller) -> None:
        association = connection.association
        try:
            event = connection.next_event()
            if isinstance(event, AssociateRefused):
                by_user = event.source == RejectSource.SERVICE_USER
                why = "application-context" if by_user else "protocol-version"
                self._record_refused(caller.address, why, self._claim(event, caller), caller)
            elif isinstance(event, AssociateRequested):
                self._decide(connection, caller, event)
            else:
                self._record_refused(caller.address, "closed-without-request", {}, caller)
        except RemoteProtocolError as error:
            details: dict[str, Detail] = {"why": str(error)[:128], "state": association.state.name}
            self._record_refused(caller.address, "protocol-error", details, caller)
        finally:
            with contextlib.suppress(RemoteProtocolError):
                connection.flush()

    def _decide(self, connection: Connection, caller: Caller, event: AssociateRequested) -> None:
        decision = self._gate.admit(event.request, caller)
        if isinstance(decision, Admission) and not self._take_place(decision.principal.aet):
            decision = TOO_MANY
        details = self._claim(event, caller)
        if isinstance(decision, Rejection):
            self._record_refused(caller.address, decision.why, details, caller)
            connection.association.reject(decision.result, decision.source, decision.reason)
            connection.flush()
            return
        session: Session | None = None
        try:
            principal = decision.principal
            self._services.record(Event(Action.ASSOCIATION, Outcome.SUCCESS, principal, {"phase": "begin", **details}))
            connection.association.accept(decision.answer)
            session = Session(connection, self._services, self._limits.channel, principal)
            session.extended = decision.extended
            with self._lock:
                self._sessions[id(session)] = session
            self._run(session)
        finally:
            with self._lock:
                self._per_peer[decision.principal.aet] -= 1
                self._sessions.pop(id(session), None)

    def _run(self, session: Session) -> None:
        outcome, end = Outcome.FAILED, "bug"
        try:
            end = session.run()
            outcome = Outcome.SUCCESS
        except RemoteProtocolError as error:
            end = str(error)[:128]
        except StrongroomError as error:
            end = reason_of(error)
        finally:
            if outcome is Outcome.FAILED:
                _cut_off(session.connection)
            details: dict[str, Detail] = {"phase": "end", "end": session.ended_because or end, **session.counts}
            self._services.record(Event(Action.ASSOCIATION, outcome, session.principal, details))

    def _take_place(self, aet: str) -> bool:
        with self._lock:
            if self._per_peer[aet] >= self._limits.max_associations_per_peer:
                return False
            self._per_peer[aet] += 1
            return True

    def _claim(self, event: AssociateRequested | AssociateRefused, caller: Caller) -> dict[str, Detail]:
        """What the other side says of itself: AE titles of a stranger, capped."""
        request = event.request
        details: dict[str, Detail] = {
            "calling": request.calling_ae_title[:MAX_CALLING_CHARS],
            "called": request.called_ae_title[:MAX_CALLING_CHARS],
        }
        if caller.presented is None:
            details["unsafe_plaintext"] = True
        return details

    def _record_refused(self, host: str, why: str, details: dict[str, Detail], caller: Caller | None = None) -> None:
        with self._lock:
            if not self._refusals.is_to_be_recorded((host, why), monotonic()):
                return
        fingerprint = caller.presented.fingerprint if caller and caller.presented else ""
        self._write_refusal(Principal("", fingerprint, "", host), {"reason": why, **details})

    def record_refusal_sums(self, *, at_end: bool = False) -> None:
        """Write how many refusals were too many to be written one by one; to be called every second or so."""
        with self._lock:
            sums = list(self._refusals.all_sums() if at_end else self._refusals.sums(monotonic()))
        for (host, why), count in sums:
            self._write_refusal(Principal("", "", "", host), {"reason": why, "associations": count})

    def _write_refusal(self, principal: Principal, details: dict[str, Detail]) -> None:
        try:
            self._services.record(Event(Action.ASSOCIATION, Outcome.REFUSED, principal, details))
        except StrongroomError as error:
            log.error("a refused association could not be recorded: %s", type(error).__name__)


def _cut_off(connection: Connection) -> None:
    """Send the peer an A-ABORT, unless one is queued already or it reads nothing any more."""
    with contextlib.suppress(LocalProtocolError):
        connection.association.abort()
    with contextlib.suppress(RemoteProtocolError):
        connection.flush()
