"""The server of one worker process: accepts within limits, watches over what is slow, and ends in order."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from strongroom.config import LimitsSection
from strongroom.web.exchange import App
from strongroom.web.http1 import Connection
from strongroom.web.transport import BUFFER_BYTES, TlsTransport, accept_tls

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

log = logging.getLogger(__name__)

CHECK_INTERVAL_S: Final = 1.0
ACCEPT_PAUSE_S: Final = 0.1
"""After the system had no descriptor left for another connection."""

ACCEPT_TURN_S: Final = 0.001
"""Waited before accepting, for each connection up to four that a worker has: so they spread over the workers."""

LAST_WORDS_S: Final = 3.0
"""For answers that were cut at the end of draining to say in the trail what they had sent."""

_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")


class WebServer:
    """Connections of one worker. Lives on one event loop; ``stop`` may be called from any thread."""

    def __init__(
        self,
        app: App,
        limits: LimitsSection,
        names: frozenset[str],
        tls: Callable[[], ssl.SSLContext],
        public_port: int = 0,
    ) -> None:
        """``names`` are the host names, in lower case, that clients may call; any address is one as well. ``tls()`` is
        asked anew for every connection. ``public_port`` is the port that clients call, 0 = the listener's."""
        self._app, self._limits, self._names, self._tls = app, limits, names, tls
        self._public_port = public_port
        self.connections: set[Connection] = set()
        self.answering: set[asyncio.Task[None]] = set()
        """One task per request, which may outlive its connection: it has to say how it ended."""
        self.is_draining = False
        self.date = b""
        self.address: tuple[str, int] = ("", 0)
        self._by_address: Counter[str] = Counter()
        self._handshakes: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def is_own_host(self, host: bytes) -> bool:
        """Whether a Host header names this archive.

        Any address does: a page of somebody else's, whose name was made to point here, still sends its own name.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].decode("ascii").lower().rstrip(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def left(self, address: str) -> None:
        """A connection from ``address`` is over."""
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

    async def serve(self, listener: socket.socket, stop: asyncio.Event, drain_s: float) -> None:
        """Accept until ``stop``; then finish what is under way, for at most ``drain_s``. Closes ``listener``."""
        address, port = listener.getsockname()[:2]
        self.address = (address, self._public_port or port)
        self._tick()
        accepting = asyncio.create_task(self._accept(listener))
        watching = asyncio.create_task(self._watch())
        await stop.wait()
        accepting.cancel()
        listener.close()
        await self._drain(drain_s)
        watching.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.connections:  # another worker has fewer, perhaps: it comes first
                await asyncio.sleep(ACCEPT_TURN_S * min(len(self.connections), 4))
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError as error:
                log.error("a connection could not be accepted: %s", error.strerror)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            address = str(peer[0])
            if not self._has_room(address):
                connection.close()
                continue
            if len(self._handshakes) >= self._limits.max_handshakes:
                next(iter(self._handshakes)).cancel()
            self._by_address[address] += 1
            task = asyncio.create_task(self._begin(connection, address))
            self._handshakes[task] = None
            task.add_done_callback(self._handshakes.pop)

    def _has_room(self, address: str) -> bool:
        limits = self._limits
        return (
            len(self.connections) < limits.max_http_connections
            and self._by_address[address] < limits.max_http_connections_per_address
        )

    async def _begin(self, connection: socket.socket, address: str) -> None:
        """Do the TLS handshake; what fails in it is the caller's."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            line = await accept_tls(connection, self._tls(), self._limits.tls_handshake_timeout_s)
        except BaseException as error:
            self.left(address)
            if not isinstance(error, Exception):  # cancelled, for a newer one or at the end
                raise
            log.debug("a handshake failed: %s", type(error).__name__)
            return
        TlsTransport(line, Connection(self._app, self, self._limits, address), self._buffer)

    def _tick(self) -> None:
        self.date = formatdate(time.time(), usegmt=True).encode("ascii")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self._tick()
            now = loop.time()
            for connection in tuple(self.connections):
                try:
                    connection.check(now)
                except Exception:  # whoever watches must not stop watching
                    log.exception("a connection could not be looked at, and was cut")
                    connection.broken()

    async def _drain(self, drain_s: float) -> None:
        self.is_draining = True
        for task in tuple(self._handshakes):
            task.cancel()
        for connection in tuple(self.connections):
            connection.drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        while self.connections and loop.time() < deadline:
            await asyncio.sleep(0.02)
        for connection in tuple(self.connections):
            connection.broken()
        await asyncio.sleep(0)
        if self.answering:
            await asyncio.wait(self.answering, timeout=LAST_WORDS_S)
