"""One TCP connection with an association on it: the only place that moves bytes between a socket and ``ul``."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

from strongroom.errors import RemoteProtocolError
from strongroom.ul import Association, Buffer, Event, State

POLL_S = 1.0
"""How long a receive waits before the deadlines are looked at."""

RATE_GRACE_S = 10.0
"""How long a message may take before its rate is judged."""

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
# A reset without waiting for unsent data: what a peer that does not read deserves.
_NO_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, but for ``min_receive_bytes_per_s``, the slowest sender of a message that is waited for."""

    artim_s: float
    idle_s: float
    message_s: float
    min_receive_bytes_per_s: int


class PeerTooSlow(RemoteProtocolError):
    """The peer let a deadline pass; ``timeout_name`` is the configuration's name of it."""

    def __init__(self, timeout_name: str) -> None:
        super().__init__(f"the peer let {timeout_name} pass")
        self.timeout_name = timeout_name


class Drained(RemoteProtocolError):
    """The archive stops, and the association is between two messages: no fault of the peer's."""

    def __init__(self) -> None:
        super().__init__("the archive stops")


class Connection:
    """A socket and its association. Owned by one thread; only ``close`` may be called from another."""

    def __init__(self, sock: socket.socket, association: Association, timeouts: Timeouts) -> None:
        self.association = association
        self._sock = sock
        self._timeouts = timeouts
        self._closed = False
        self._stalled = False
        self.in_service = False
        """Whether a request is being served; set by who serves it."""
        self._draining = False
        self._message_started = 0.0
        self._message_bytes = 0
        now = time.monotonic()
        self._last_activity = now
        self._artim_start, self._artim_count = now, association.artim_starts
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(POLL_S)

    def next_event(self) -> Event:
        """Wait for the next event, sending first whatever is queued.

        Raises RemoteProtocolError (PeerTooSlow among them); the A-ABORT, where one is due, is then queued.
        """
        association = self.association
        while True:
            event = association.next_event()
            if event is not None:
                return event
            if association.has_output:
                self.flush()
            self._receive()

    def poll_event(self) -> Event | None:
        """An event if one can be had without waiting."""
        event = self.association.next_event()
        if event is not None:
            return event
        if self._closed:  # from another thread: the server stops
            self.association.receive_data(0)
        elif self.is_readable(0.0):
            self._receive()
        return self.association.next_event()

    def is_readable(self, wait_s: float) -> bool:
        """Whether something has come in that no event tells of yet, waiting for it at most so long."""
        pending = getattr(self._sock, "pending", None)
        poll = select.poll()  # not select(): that one ends at 1024 files
        try:
            poll.register(self._sock, select.POLLIN)
            return bool(pending and pending()) or bool(poll.poll(wait_s * 1000))
        except (OSError, ValueError):  # closed meanwhile
            return True

    def begin_message(self) -> None:
        """A request has begun to arrive: from now on its sender's rate counts."""
        self._message_started = time.monotonic()
        self._message_bytes = 0

    def end_message(self) -> None:
        """The request is here: what follows is our time, then idle time."""
        self._message_started = 0.0
        self._last_activity = time.monotonic()

    def flush(self) -> None:
        """Send what the association has queued."""
        self.send(self.association.data_to_send())

    def send(self, buffers: Iterable[Buffer]) -> None:
        """Send buffers in order. Raises PeerTooSlow if the peer does not read them; it is sent nothing more then."""
        if self._stalled:
            return
        for buffer in buffers:
            view = memoryview(buffer)
            stalled_since = 0.0
            while view:
                try:
                    view = view[self._sock.send(view) :]
                    stalled_since = 0.0
                except TimeoutError:
                    now = time.monotonic()
                    stalled_since = stalled_since or now
                    if now - stalled_since > self._timeouts.idle_s:
                        self._stalled = True
                        raise PeerTooSlow("idle_timeout_s") from None
                except OSError:
                    self.association.receive_data(0)
                    return

    def _receive(self) -> None:
        association = self.association
        try:
            count = self._sock.recv_into(association.free_space())
        except TimeoutError:
            self._check_deadlines(0)
            return
        except OSError:
            count = 0
        if count and _QUICKACK is not None:
            # Stock senders write a command and its data set in turns and wait for the ACK in between.
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        association.receive_data(count)
        if count:
            self._check_deadlines(count)

    def _check_deadlines(self, count: int) -> None:
        now = time.monotonic()
        association, timeouts = self.association, self._timeouts
        if self._draining and not self.in_service:
            raise Drained
        if association.artim_running:
            if association.artim_starts != self._artim_count:
                self._artim_start, self._artim_count = now, association.artim_starts
            if now - self._artim_start > timeouts.artim_s:
                was_awaited = association.state is State.STA2
                association.artim_expired()
                if was_awaited:  # later it only ends the wait for a peer to close
                    raise PeerTooSlow("artim_timeout_s")
        elif self._message_started:
            self._message_bytes += count
            elapsed = now - self._message_started
            if elapsed > timeouts.message_s:
                raise PeerTooSlow("message_timeout_s")
            if elapsed > RATE_GRACE_S and self._message_bytes < elapsed * timeouts.min_receive_bytes_per_s:
                raise PeerTooSlow("min_receive_bytes_per_s")
            if count:
                self._last_activity = now
            elif now - self._last_activity > timeouts.idle_s:
                raise PeerTooSlow("idle_timeout_s")
        elif count:
            self._last_activity = now
        elif now - self._last_activity > timeouts.idle_s:
            raise PeerTooSlow("idle_timeout_s")
        elif now - self._last_activity > POLL_S:
            association.shrink()

    def drain(self) -> None:
        """End with the request that is being served, or within POLL_S if none is. May be called from another thread."""
        self._draining = True

    def close(self) -> None:
        """Close the connection; safe to call twice, and from another thread to end a wait."""
        if not self._closed:
            self._closed = True
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._sock.close()
