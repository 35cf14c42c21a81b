"""ClamAV through its daemon: an object is streamed to clamd as it arrives (INSTREAM), and clamd says what it is.

The daemon runs beside the archive, on this machine: what is streamed are images of patients in the clear. Every wait
has an end. The name of a signature is all that comes back.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from struct import pack
from typing import Final

from strongroom.errors import ConfigError, EngineFailed
from strongroom.screen.findings import FILE, Confidence, Finding, Place
from strongroom.screen.rules import RULES

ENGINE: Final = "clamd"
_RULE: Final = RULES["SR-CLAM-001"]
_PARTLY: Final = RULES["SR-CLAM-002"]
_CHUNK_BYTES: Final = 256 << 10
_MAX_REPLY_BYTES: Final = 4096
_FOUND: Final = re.compile(r"stream: (?P<name>[\x21-\x7e][\x20-\x7e]{0,199}?) FOUND")


@dataclass(frozen=True, slots=True)
class Clamd:
    """Where clamd listens, how long it may take, and how much of an object it is shown."""

    family: socket.AddressFamily
    address: str | tuple[str, int]
    timeout_s: float
    max_bytes: int

    @classmethod
    def parse(cls, text: str, timeout_s: float, max_bytes: int) -> Clamd:
        """Return the clamd at ``unix:/path`` or ``tcp:127.0.0.1:3310``.

        Raises ConfigError if it is neither, or on another machine: images of patients would cross the network in the
        clear.
        """
        scheme, _, rest = text.partition(":")
        if scheme == "unix" and rest.startswith("/"):
            return cls(socket.AF_UNIX, rest, timeout_s, max_bytes)
        host, _, port = rest.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            number = int(port)
        except ValueError:
            raise ConfigError("clamd is unix:/path/of/its/socket or tcp:127.0.0.1:3310") from None
        if scheme != "tcp" or not 0 < number < 65536:
            raise ConfigError("clamd is unix:/path/of/its/socket or tcp:127.0.0.1:3310")
        if not address.is_loopback:
            raise ConfigError("clamd has to run on this machine: what it is shown is not encrypted")
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return cls(family, (str(address), number), timeout_s, max_bytes)

    def ping(self) -> None:
        """Ask clamd whether it is there. Raises EngineFailed if it is not."""
        connection = _Connection(self)
        try:
            connection.send(b"zPING\0")
            if connection.reply() != "PONG":
                raise EngineFailed(ENGINE, "no clamd answers there")
        finally:
            connection.close()

    def begin(self, *, inflated: bool = False) -> ClamdScan:
        """Return the scan of one object, or of what a deflated one inflates to. Nothing is sent yet."""
        return ClamdScan(self, inflated=inflated)


class ClamdScan:
    """One object on its way to clamd. Not thread-safe."""

    def __init__(self, clamd: Clamd, *, inflated: bool = False) -> None:
        self._clamd = clamd
        self._inflated = inflated
        self._connection: _Connection | None = None
        self._pending = bytearray()
        self._size = 0

    def feed(self, data: memoryview) -> None:
        """Take the next bytes; what is beyond ``max_bytes`` is not sent. Raises EngineFailed."""
        room = max(0, self._clamd.max_bytes - self._size)
        self._size += len(data)
        self._pending += data[:room]
        if len(self._pending) >= _CHUNK_BYTES:
            self._flush()

    def finish(self) -> tuple[Finding, ...]:
        """Declare the end, and return what clamd says. Raises EngineFailed."""
        self._flush()
        connection = self._opened()
        connection.send(b"\0\0\0\0")
        said = connection.reply()
        self.close()
        findings = []
        found = _FOUND.fullmatch(said)
        if found is not None:
            place = Place(FILE, 0, self._size, self._inflated)
            findings.append(Finding(_RULE, _RULE.severity, Confidence.HIGH, place, f"signature {found['name']}"))
        elif said != "stream: OK":
            raise EngineFailed(ENGINE, _reason(said))
        if self._size > self._clamd.max_bytes:
            beyond = Place(FILE, self._clamd.max_bytes, self._size - self._clamd.max_bytes, self._inflated)
            what = f"it was shown {self._clamd.max_bytes} of {self._size} bytes"
            findings.append(Finding(_PARTLY, _PARTLY.severity, Confidence.HIGH, beyond, what))
        return tuple(findings)

    def close(self) -> None:
        """Hang up; without an end of the stream, clamd forgets what it was sent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._clamd)
            self._connection.send(b"zINSTREAM\0")
        return self._connection

    def _flush(self) -> None:
        if self._pending:
            chunk = bytes(self._pending)
            self._pending.clear()
            self._opened().send(pack(">L", len(chunk)) + chunk)


class _Connection:
    def __init__(self, clamd: Clamd) -> None:
        self._timeout_s = clamd.timeout_s
        self._socket = socket.socket(clamd.family, socket.SOCK_STREAM)
        self._socket.settimeout(clamd.timeout_s)
        try:
            self._socket.connect(clamd.address)
        except TimeoutError:
            self.close()
            raise EngineFailed(ENGINE, "timeout") from None
        except OSError as error:
            self.close()
            raise EngineFailed(ENGINE, f"not reachable: {error.strerror or type(error).__name__}") from None

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise EngineFailed(ENGINE, "timeout") from None
        except OSError:
            # It hangs up on what it does not take; what it said before says why.
            raise EngineFailed(ENGINE, _reason(self.reply())) from None

    def reply(self) -> str:
        """Return what clamd says, "" if it says nothing."""
        said = b""
        end = time.monotonic() + self._timeout_s
        try:
            while b"\0" not in said and len(said) < _MAX_REPLY_BYTES:
                self._socket.settimeout(max(0.001, end - time.monotonic()))
                piece = self._socket.recv(_MAX_REPLY_BYTES)
                if not piece:
                    break
                said += piece
        except TimeoutError:
            raise EngineFailed(ENGINE, "timeout") from None
        except OSError:
            return ""
        return said.partition(b"\0")[0].decode("ascii", "replace").strip()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def _reason(said: str) -> str:
    if "size limit exceeded" in said:
        return "more than its StreamMaxLength"
    printable = "".join(each for each in said if " " <= each <= "~")[:100]
    return f"it said {printable!r}" if printable else "it hung up"
