"""The DICOM listeners: connections accepted within limits, and handed to whoever serves them."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import ConfigError
from strongroom.net.associations import Visitor
from strongroom.net.places import Places

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

log = logging.getLogger(__name__)

BACKLOG = 128
ACCEPT_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen. Without ``context`` it is a plaintext exception for one peer and one address range."""

    bind: str
    port: int
    context: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    plaintext_peer: str = ""
    network: str = ""
    is_expired: Callable[[], bool] = field(default=lambda: False, repr=False)

    def why_not(self, host: str) -> str:
        """Why nobody may connect from there, "" if one may."""
        if self.network and ipaddress.ip_address(host) not in ipaddress.ip_network(self.network):
            return "address-outside-plaintext-exception"
        return "plaintext-exception-expired" if self.is_expired() else ""


class DicomServer:
    """Accepts connections on its listeners until ``stop``."""

    def __init__(self, places: Places, serve: Callable[[Visitor], None]) -> None:
        """``serve`` takes a connection over, its place too, and returns at once."""
        self._places = places
        self._serve = serve
        self._sockets: list[socket.socket] = []
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
        threading.Thread(target=self._accept, args=(sock, listener), name="dicom-accept", daemon=True).start()
        return int(sock.getsockname()[1])

    def stop(self) -> None:
        """Accept nobody any more."""
        self._stopping.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

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
        try:
            why = listener.why_not(host)
            if why:
                self._places.refuse(host, why, {})
            elif (place := self._places.knock(raw, host)) is not None:
                self._serve(Visitor(raw, host, place, listener.context, listener.plaintext_peer))
                return
        except BaseException:
            raw.close()
            raise
        raw.close()
