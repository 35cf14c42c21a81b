"""What a service manager is told (sd_notify(3)): ready, stopping, and in a few words what goes on.

One datagram to the socket that ``NOTIFY_SOCKET`` names; without a manager nothing is sent, and one that does not read
keeps nobody waiting.
"""

from __future__ import annotations

import logging
import socket

from strongroom.config import environment

log = logging.getLogger(__name__)


class Supervisor:
    """The service manager that has started this process, if one has."""

    def __init__(self) -> None:
        self._address = environment("NOTIFY_SOCKET") or ""

    def ready(self, status: str) -> None:
        """Everything is served now."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self, within_s: float) -> None:
        """What is under way is being ended, which takes no longer than that."""
        self._tell(f"STOPPING=1\nSTATUS=finishing what is under way\nEXTEND_TIMEOUT_USEC={int(within_s * 1e6)}")

    def _tell(self, text: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as line:
                line.sendto(text.encode(), address)
        except OSError as error:
            log.warning("the service manager could not be told: %s", error.strerror)
