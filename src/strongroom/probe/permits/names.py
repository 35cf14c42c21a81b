"""What DNS says: the addresses of a name, the name of an address, and texts that an owner laid under a name.

Addresses of a name are asked of the system, as every other program on the host would. The other two are asked of the
system's name servers with queries of our own (RFC 1035), since the standard library has none.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from strongroom.errors import Unanswered
from strongroom.probe.model import Answer

PTR: Final = 12
TXT: Final = 16
MAX_RECORDS: Final = 64
MAX_TEXT_BYTES: Final = 1024
_IN: Final = 1
_NO_ERROR: Final = 0
_NAME_ERROR: Final = 3
_TIMEOUT_S: Final = 3.0
_TRIES: Final = 2
_HEADER: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
RESOLV_CONF: Final = Path("/etc/resolv.conf")


def addresses_of(host: str, timeout_s: float = 15.0) -> frozenset[str]:
    """Return every address that the system has for ``host``. Raises Unanswered: none, or not in time."""
    found: list[frozenset[str]] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.append(frozenset(str(ip_address(str(info[4][0]).split("%")[0])) for info in infos))

    # The system's resolver knows no deadline; a thread that it holds up ends with the process.
    thread = threading.Thread(target=ask, name="probe-names", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise Unanswered(Answer.TIMEOUT, f"{host} was not resolved in time")
    if not found:
        raise Unanswered(Answer.FAILED, f"{host} has no address")
    return found[0]


@dataclass(frozen=True, slots=True)
class NameServers:
    """Whom to ask; each is an address and a port."""

    servers: tuple[tuple[str, int], ...]

    def names_of(self, address: str) -> frozenset[str]:
        """Return the names of ``address`` (PTR), lower case, without the last point. Raises Unanswered."""
        pointers = self._ask(ip_address(address).reverse_pointer, PTR)
        try:
            return frozenset(_name(message, offset)[0].lower() for message, offset, _ in pointers)
        except (ValueError, IndexError):
            raise Unanswered(Answer.OTHER, f"the name of {address} cannot be read") from None

    def texts_of(self, name: str) -> tuple[str, ...]:
        """Return the texts at ``name`` (TXT), the strings of each joined. Raises Unanswered."""
        return tuple(_text(message[offset : offset + size]) for message, offset, size in self._ask(name, TXT))

    def _ask(self, name: str, kind: int) -> list[tuple[bytes, int, int]]:
        question = _question(name, kind)
        for server in self.servers * _TRIES:
            identity = secrets.token_bytes(2)
            query = identity + _HEADER.pack(0, 0x0100, 1, 0, 0, 0)[2:] + question
            try:
                message = _by_udp(server, query)
                if message[2] & 0x02:
                    message = _by_tcp(server, query)
                return _records(message, query, kind)
            except (OSError, ValueError, IndexError, struct.error):
                continue
        raise Unanswered(Answer.FAILED, f"no name server answered for {name}")


def system_name_servers(path: Path = RESOLV_CONF) -> NameServers:
    """Return the name servers that the host is set up with; 127.0.0.1 if it names none (resolv.conf(5))."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = [line.split() for line in lines]
    found = tuple((words[1], 53) for words in named if len(words) > 1 and words[0] == "nameserver")
    return NameServers(found[:3] or (("127.0.0.1", 53),))


def _question(name: str, kind: int) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise Unanswered(Answer.FAILED, "no name that could be asked for")
    return b"".join(bytes([len(label)]) + label for label in labels) + struct.pack(">BHH", 0, kind, _IN)


def _by_udp(server: tuple[str, int], query: bytes) -> bytes:
    """Return the first message from ``server`` that answers ``query``. Raises OSError."""
    until = time.monotonic() + _TIMEOUT_S
    with socket.socket(_family(server), socket.SOCK_DGRAM) as connection:
        connection.connect(server)  # so that nobody else's answer is taken
        connection.send(query)
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            message = connection.recv(4096)
            if message[:2] == query[:2] and len(message) >= len(query):
                return message
    raise TimeoutError("timed out")


def _by_tcp(server: tuple[str, int], query: bytes) -> bytes:
    until = time.monotonic() + _TIMEOUT_S
    with socket.create_connection(server, timeout=_TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">H", len(query)) + query)
        raw = bytearray()
        while len(raw) < 2 or len(raw) < 2 + int.from_bytes(raw[:2]):
            connection.settimeout(max(until - time.monotonic(), 0.001))
            more = connection.recv(65536)
            if not more or time.monotonic() > until:
                raise OSError("no whole answer")
            raw += more
    return bytes(raw[2:])


def _family(server: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


def _records(message: bytes, query: bytes, kind: int) -> list[tuple[bytes, int, int]]:
    """Return where the data of the answers of ``kind`` lie: message, offset, size. Raises ValueError and the like."""
    identity, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if identity != int.from_bytes(query[:2]) or not flags & 0x8000 or questions != 1:
        raise ValueError("no answer to this question")
    if flags & 0x000F == _NAME_ERROR:
        return []
    if flags & 0x000F != _NO_ERROR or message[12 : len(query)].lower() != query[12:].lower():
        raise ValueError("no answer to this question")
    offset = len(query)
    found = []
    for _ in range(min(answers, MAX_RECORDS)):
        _, offset = _name(message, offset)
        of_kind, of_class, _, size = _RECORD.unpack_from(message, offset)
        offset += _RECORD.size
        if offset + size > len(message):
            raise ValueError("cut short")
        if (of_kind, of_class) == (kind, _IN):
            found.append((message, offset, size))
        offset += size
    return found


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """Return the name at ``offset`` and where what follows it begins (RFC 1035 4.1.4). Raises ValueError."""
    labels: list[str] = []
    end = 0
    for _ in range(128):  # more labels and pointers than a name can have
        size = message[offset]
        if size >= 0xC0:
            end = end or offset + 2
            offset = int.from_bytes(message[offset : offset + 2]) & 0x3FFF
            continue
        if size == 0:
            return ".".join(labels), end or offset + 1
        labels.append(message[offset + 1 : offset + 1 + size].decode("ascii"))
        offset += 1 + size
    raise ValueError("a name without an end")


def _text(raw: bytes) -> str:
    out = b""
    while raw and len(out) < MAX_TEXT_BYTES:
        out, raw = out + raw[1 : 1 + raw[0]], raw[1 + raw[0] :]
    return out.decode("ascii", "replace")
