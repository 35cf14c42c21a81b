"""A DICOM requestor reduced to bytes, so that every server is measured by the same few microseconds of client.

It shares no code with the package: a client built on it would make the package look better or worse than its peers.
Nagle is off and quick acknowledgement is re-armed after every receive (Linux forgets it), because a client that delays
its acknowledgements measures its own 40 ms timer instead of the server (DICOM PS3.8 section 9.3, PS3.7 section 9.3).
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTIFRAME_GRAYSCALE_WORD_STORAGE = "1.2.840.10008.5.1.4.1.1.7.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.166385221834276542337850915238164521803"

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_FIND_RQ, C_ECHO_RQ = 0x0010, 0x0020, 0x0030
NO_DATA_SET = 0x0101
SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)

# What the client itself is willing to receive and, when a server announces no limit, to send in one PDU.
MAX_PDU_BYTES = 131072
RECEIVE_BYTES = 262144

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_ITEM_HEADER = struct.Struct(">BxH")
_ELEMENT_HEADER = struct.Struct("<HHI")
FRAGMENT_HEADER_BYTES = _PDU_HEADER.size + _PDV_HEADER.size
_P_DATA_TF, _RELEASE_RQ, _RELEASE_RP, _ASSOCIATE_AC = 4, 5, 6, 2


class PeerError(Exception):
    """The server refused, aborted, or answered with something that is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens and how to get in; ``tls`` holds cert.pem, key.pem and ca.pem, None means plain TCP."""

    host: str
    port: int
    called: str
    calling: str
    tls: Path | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One received DIMSE message: its command elements by tag (group 0000 only), and its data set bytes."""

    context_id: int
    command: dict[int, bytes]
    data_set: bytes

    @property
    def status(self) -> int:
        return int.from_bytes(self.command.get(0x0900, b"\xff\xff"), "little")


def encode_command(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a command set in Implicit VR Little Endian with its group length (PS3.7 section 6.3.1)."""
    body = b"".join(_ELEMENT_HEADER.pack(0, tag, len(value)) + value for tag, value in elements)
    return _ELEMENT_HEADER.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def decode_command(raw: bytes) -> dict[int, bytes]:
    """Return the elements of a command set by their element number."""
    elements: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(raw):
        _, tag, length = _ELEMENT_HEADER.unpack_from(raw, position)
        position += 8
        elements[tag] = raw[position : position + length]
        position += length
    return elements


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def ui(value: str) -> bytes:
    raw = value.encode("ascii")
    return raw + b"\0" * (len(raw) & 1)


def store_command(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """Return the command set of a C-STORE-RQ (PS3.7 section 9.3.1.1)."""
    return encode_command(
        [
            (0x0002, ui(sop_class)),
            (0x0100, us(C_STORE_RQ)),
            (0x0110, us(message_id)),
            (0x0700, us(0)),
            (0x0800, us(0)),
            (0x1000, ui(sop_instance)),
        ]
    )


def store_response(message_id: int, sop_class: bytes, sop_instance: bytes) -> bytes:
    """Return the command set of a successful C-STORE-RSP, for the sub-operations of a C-GET."""
    return encode_command(
        [
            (0x0002, sop_class),
            (0x0100, us(C_STORE_RSP)),
            (0x0120, us(message_id)),
            (0x0800, us(NO_DATA_SET)),
            (0x0900, us(SUCCESS)),
            (0x1000, sop_instance),
        ]
    )


def query_command(field: int, message_id: int, sop_class: str) -> bytes:
    """Return the command set of a C-FIND-RQ or C-GET-RQ; an identifier follows (PS3.7 sections 9.3.2, 9.3.3)."""
    return encode_command(
        [
            (0x0002, ui(sop_class)),
            (0x0100, us(field)),
            (0x0110, us(message_id)),
            (0x0700, us(0)),
            (0x0800, us(0)),
        ]
    )


def echo_command(message_id: int) -> bytes:
    return encode_command(
        [
            (0x0002, ui(VERIFICATION)),
            (0x0100, us(C_ECHO_RQ)),
            (0x0110, us(message_id)),
            (0x0800, us(NO_DATA_SET)),
        ]
    )


def fragment_header(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """Return the 12 bytes in front of a fragment: one P-DATA-TF that holds one PDV (PS3.8 section 9.3.5)."""
    control = (1 if command else 0) | (2 if last else 0)
    return _PDU_HEADER.pack(_P_DATA_TF, length + 6) + _PDV_HEADER.pack(length + 2, context_id, control)


def fragment(context_id: int, raw: bytes, max_pdu_bytes: int, *, command: bool) -> bytes:
    """Return ``raw`` as P-DATA-TF PDUs whose bodies are at most ``max_pdu_bytes`` long."""
    room = max_pdu_bytes - 6
    pieces = []
    for start in range(0, len(raw), room):
        piece = raw[start : start + room]
        last = start + room >= len(raw)
        pieces += [fragment_header(context_id, len(piece), command=command, last=last), piece]
    return b"".join(pieces)


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM_HEADER.pack(kind, len(body)) + body


def associate_request(
    endpoint: Endpoint, contexts: Sequence[tuple[str, Sequence[str]]], scp_roles: Sequence[str] = ()
) -> bytes:
    """Return an A-ASSOCIATE-RQ; context ids are 1, 3, 5, ... in order (PS3.8 section 9.3.2, PS3.7 annex D.3.3)."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for number, (abstract, transfers) in enumerate(contexts):
        syntaxes = _item(0x30, abstract.encode()) + b"".join(_item(0x40, uid.encode()) for uid in transfers)
        items.append(_item(0x20, bytes([2 * number + 1, 0, 0, 0]) + syntaxes))
    user = [_item(0x51, struct.pack(">I", MAX_PDU_BYTES)), _item(0x52, IMPLEMENTATION_CLASS_UID.encode())]
    for uid in scp_roles:
        raw = uid.encode()
        user.append(_item(0x54, struct.pack(">H", len(raw)) + raw + b"\x00\x01"))
    user.append(_item(0x55, b"SR_BENCH"))
    items.append(_item(0x50, b"".join(user)))
    titles = endpoint.called.ljust(16).encode() + endpoint.calling.ljust(16).encode()
    body = b"\x00\x01\x00\x00" + titles + bytes(32) + b"".join(items)
    return _PDU_HEADER.pack(1, len(body)) + body


def tls_context(directory: Path) -> ssl.SSLContext:
    """Return a client context that shows ``cert.pem`` and accepts only servers under ``ca.pem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(directory / "ca.pem")
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


class Association:
    """One association as requestor: connects on construction, and is a context manager that releases it."""

    def __init__(
        self,
        endpoint: Endpoint,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        scp_roles: Sequence[str] = (),
        timeout_s: float = 120.0,
    ) -> None:
        """Open the connection and the association.

        Raises:
            PeerError: the server rejected or aborted it.
        """
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.socket: socket.socket = tls_context(endpoint.tls).wrap_socket(plain) if endpoint.tls else plain
        self._buffer = bytearray()
        self.fragments = self._fragments()
        try:
            self.socket.sendall(associate_request(endpoint, contexts, scp_roles))
            kind, body = self._read_pdu()
            if kind != _ASSOCIATE_AC:
                raise PeerError(f"association refused: PDU type {kind}, {body[:4].hex()}")
            self.accepted, self.max_pdu_bytes = _read_accept(body)
        except BaseException:
            self.socket.close()
            raise
        self.cipher = self.socket.cipher() if isinstance(self.socket, ssl.SSLSocket) else None

    def __enter__(self) -> Association:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.socket.sendall(_PDU_HEADER.pack(_RELEASE_RQ, 4) + bytes(4))
                self._read_pdu()
        finally:
            self.socket.close()

    def require_context(self, number: int = 0) -> int:
        """Return the id of the presentation context at this place of the request.

        Raises:
            PeerError: the server did not accept it.
        """
        context_id = 2 * number + 1
        if context_id not in self.accepted:
            raise PeerError(f"presentation context {context_id} was not accepted")
        return context_id

    def _fill(self, wanted: int) -> None:
        buffer, connection = self._buffer, self.socket
        while len(buffer) < wanted:
            piece = connection.recv(RECEIVE_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if not piece:
                raise PeerError("connection closed by the server")
            buffer += piece

    def _read_pdu(self) -> tuple[int, bytes]:
        self._fill(6)
        kind, length = _PDU_HEADER.unpack_from(self._buffer)
        self._fill(6 + length)
        body = bytes(memoryview(self._buffer)[6 : 6 + length])
        del self._buffer[: 6 + length]
        return kind, body

    def _fragments(self) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (context id, message control header, fragment) as they arrive; PeerError if it is no P-DATA-TF."""
        while True:
            kind, body = self._read_pdu()
            if kind != _P_DATA_TF:
                raise PeerError(f"PDU type {kind} instead of data: {body[:4].hex()}")
            position = 0
            while position < len(body):
                length, context_id, control = _PDV_HEADER.unpack_from(body, position)
                yield context_id, control, memoryview(body)[position + 6 : position + 4 + length]
                position += 4 + length

    def read_message(self) -> Message:
        """Return the next whole message; its data set is held in memory."""
        command: list[memoryview] = []
        data_set: list[memoryview] = []
        elements: dict[int, bytes] = {}
        for context_id, control, piece in self.fragments:
            (command if control & 1 else data_set).append(piece)
            if control == 3:
                elements = decode_command(b"".join(command))
            if control & 2 and (control == 2 or elements[0x0800] == b"\x01\x01"):
                return Message(context_id, elements, b"".join(data_set))
        raise AssertionError("fragments never end")

    def echo(self, context_id: int) -> int:
        """Send a C-ECHO-RQ and return the status of its response."""
        self.socket.sendall(fragment(context_id, echo_command(1), self.max_pdu_bytes, command=True))
        return self.read_message().status

    def find(self, request: bytes) -> list[bytes]:
        """Send an encoded C-FIND request and return the identifiers that match.

        Raises:
            PeerError: the last status is not success.
        """
        self.socket.sendall(request)
        found = []
        while True:
            message = self.read_message()
            if message.status not in PENDING:
                break
            found.append(message.data_set)
        if message.status != SUCCESS:
            raise PeerError(f"C-FIND answered 0x{message.status:04X}")
        return found


def _read_accept(body: bytes) -> tuple[dict[int, str], int]:
    """Return the accepted transfer syntax by context id, and the largest PDU body that may be sent."""
    accepted: dict[int, str] = {}
    announced = 0
    for kind, item in _items(body[68:]):
        if kind == 0x21 and item[2] == 0:
            accepted[item[0]] = next(_items(item[4:]))[1].decode("ascii").rstrip("\0 ")
        elif kind == 0x50:
            for sub_kind, sub_item in _items(item):
                if sub_kind == 0x51:
                    announced = int.from_bytes(sub_item, "big")
    return accepted, min(announced or MAX_PDU_BYTES, 4 * MAX_PDU_BYTES)


def _items(raw: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(raw):
        kind, length = _ITEM_HEADER.unpack_from(raw, position)
        yield kind, raw[position + 4 : position + 4 + length]
        position += 4 + length
