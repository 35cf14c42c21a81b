"""A DICOM client made of bytes: it can do what no implementation would let it do."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.archives import AET, Credentials

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = range(1, 8)
C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0FFF
NO_DATASET, DATASET = 0x0101, 0x0001
COMMAND, LAST = 1, 2


def pdu(pdu_type: int, body: bytes) -> bytes:
    """Any PDU (PS3.8 9.3.1)."""
    return struct.pack(">BBI", pdu_type, 0, len(body)) + body


def item(item_type: int, value: bytes) -> bytes:
    """Any item of an A-ASSOCIATE PDU."""
    return struct.pack(">BBH", item_type, 0, len(value)) + value


@dataclass(frozen=True)
class Asks:
    """What an A-ASSOCIATE-RQ asks for. ``user`` are further items of the user information."""

    calling: str
    called: str = AET
    contexts: Sequence[tuple[str, Sequence[str]]] = ((VERIFICATION, (IMPLICIT,)),)
    user: bytes = b""
    application_context: str = APPLICATION_CONTEXT
    version: int = 1

    def pdu(self) -> bytes:
        """The PDU; presentation context ids are 1, 3, 5 and so on, modulo 256."""
        items = item(0x10, self.application_context.encode())
        for number, (abstract, transfers) in enumerate(self.contexts):
            names = item(0x30, abstract.encode()) + b"".join(item(0x40, uid.encode()) for uid in transfers)
            items += item(0x20, bytes(((2 * number + 1) & 0xFF, 0, 0, 0)) + names)
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.9.1") + self.user
        titles = self.called.encode().ljust(16) + self.calling.encode().ljust(16)
        body = struct.pack(">HH", self.version, 0) + titles + bytes(32) + items + item(0x50, user)
        return pdu(A_ASSOCIATE_RQ, body)


def extended_negotiation(sop_class: str, information: bytes) -> bytes:
    """A SOP Class Extended Negotiation sub-item (PS3.7 D.3.3.5)."""
    return item(0x56, struct.pack(">H", len(sop_class)) + sop_class.encode() + information)


def role_selection(sop_class: str, scu: int, scp: int) -> bytes:
    """An SCP/SCU Role Selection sub-item (PS3.7 D.3.3.4)."""
    return item(0x54, struct.pack(">H", len(sop_class)) + sop_class.encode() + bytes((scu, scp)))


def user_identity(identity_type: int, primary: bytes, secondary: bytes = b"", *, wants_answer: bool = False) -> bytes:
    """A User Identity Negotiation sub-item (PS3.7 D.3.3.7)."""
    value = struct.pack(">BBH", identity_type, wants_answer, len(primary)) + primary
    return item(0x58, value + struct.pack(">H", len(secondary)) + secondary)


def pdv(context_id: int, control: int, value: bytes) -> bytes:
    """A presentation data value item (PS3.8 9.3.5.1)."""
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


def p_data(*values: bytes) -> bytes:
    """A P-DATA-TF PDU."""
    return pdu(P_DATA_TF, b"".join(values))


def element(tag: int, value: bytes) -> bytes:
    """An element in implicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    """An element in explicit VR little endian."""
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def command(command_field: int, message_id: int, sop_class: str, *, dataset: bool = False, more: bytes = b"") -> bytes:
    """The command set of a request; ``more`` are elements after (0000,0800)."""
    has = DATASET if dataset else NO_DATASET
    body = element(0x00000002, sop_class.encode()) + element(0x00000100, struct.pack("<H", command_field))
    body += element(0x00000110, struct.pack("<H", message_id))
    if dataset:
        body += element(0x00000700, struct.pack("<H", 0))
    body += element(0x00000800, struct.pack("<H", has)) + more
    return element(0x00000000, struct.pack("<I", len(body))) + body


def store_command(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """The command set of a C-STORE-RQ."""
    return command(C_STORE_RQ, message_id, sop_class, dataset=True, more=element(0x00001000, sop_instance.encode()))


def identifier(level: str, keys: dict[int, bytes]) -> bytes:
    """A query identifier in implicit VR little endian."""
    elements = {0x00080052: level.encode(), **keys}
    return b"".join(element(tag, elements[tag]) for tag in sorted(elements))


def ct_image(number: int, *, name: str = "TEST^IMAGE", pixels: int = 512, more: bytes = b"") -> tuple[str, bytes]:
    """SOP Instance UID and data set (explicit VR little endian) of a CT image of its own patient."""
    sop = f"2.25.1000.{number}.3"
    body = explicit(0x00080016, "UI", CT_IMAGE_STORAGE.encode()) + explicit(0x00080018, "UI", sop.encode())
    body += explicit(0x00080060, "CS", b"CT") + explicit(0x00100010, "PN", name.encode())
    body += explicit(0x00100020, "LO", f"P{number}".encode())
    body += explicit(0x0020000D, "UI", f"2.25.1000.{number}.1".encode())
    body += explicit(0x0020000E, "UI", f"2.25.1000.{number}.2".encode())
    return sop, body + more + explicit(0x7FE00010, "OW", bytes(pixels))


def tls_context(credentials: Credentials | None, *, authority: Path | None = None) -> ssl.SSLContext:
    """A client's context that trusts the archive's CA; without credentials it presents no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if credentials is not None:
        context.load_cert_chain(credentials.certificate, credentials.key)
        authority = authority or credentials.authority
    if authority is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(authority)
    return context


class RawPeer:
    """A connection on which any bytes can be sent. Reads wait at most ``timeout_s`` seconds."""

    def __init__(
        self,
        port: int,
        credentials: Credentials | None = None,
        *,
        timeout_s: float = 20.0,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Connect to the loopback interface; with credentials or a context over TLS."""
        raw = socket.create_connection(("127.0.0.1", port), timeout_s)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if credentials is not None:
            context = tls_context(credentials)
        try:
            self.sock: socket.socket = context.wrap_socket(raw, session=session) if context else raw
        except BaseException:
            raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of ``data``; what the archive has closed takes nothing, which is no error here."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionError, ssl.SSLError):
            return

    def read_pdu(self) -> tuple[int, bytes]:
        """The next PDU's type and body; (0, b"") when the connection has ended."""
        try:
            head = self._read(6)
            if len(head) < 6:
                return 0, b""
            pdu_type, _, length = struct.unpack(">BBI", head)
            return pdu_type, self._read(length)
        except (ConnectionError, ssl.SSLError):
            return 0, b""

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            got = self.sock.recv(count - len(data))
            if not got:
                break
            data += got
        return bytes(data)

    def ends(self) -> bool:
        """Whether the archive ends the connection, after whatever else it says."""
        while True:
            pdu_type, _ = self.read_pdu()
            if pdu_type == 0:
                return True

    def associate(self, asks: Asks) -> tuple[int, bytes]:
        """Send an A-ASSOCIATE-RQ; the PDU that answers it."""
        self.send(asks.pdu())
        return self.read_pdu()

    def ask(self, request: bytes, dataset: bytes = b"", *, context_id: int = 1, chunk: int = 16000) -> None:
        """Send a command set and its data set, in as many PDUs as it takes."""
        data = p_data(pdv(context_id, COMMAND | LAST, request))
        for at in range(0, len(dataset), chunk):
            last = LAST if at + chunk >= len(dataset) else 0
            data += p_data(pdv(context_id, last, dataset[at : at + chunk]))
        self.send(data)

    def read_status(self) -> int:
        """The status of the next response; -1 if none comes."""
        pdu_type, body = self.read_pdu()
        if pdu_type != P_DATA_TF:
            return -1
        at = body.find(struct.pack("<HHI", 0, 0x0900, 2))
        return int(struct.unpack_from("<H", body, at + 8)[0]) if at >= 0 else -1

    def echo(self) -> int:
        """C-ECHO on presentation context 1; its status."""
        self.ask(command(C_ECHO_RQ, 1, VERIFICATION))
        return self.read_status()

    def release(self) -> None:
        """End the association in order."""
        self.send(pdu(A_RELEASE_RQ, bytes(4)))
        self.ends()


def parse_accept(body: bytes) -> tuple[dict[int, int], dict[int, bytes]]:
    """What an A-ASSOCIATE-AC says: results by presentation context id, and user information items by type."""
    contexts: dict[int, int] = {}
    user: dict[int, bytes] = {}
    at = 68
    while at < len(body):
        item_type, _, length = struct.unpack_from(">BBH", body, at)
        value = body[at + 4 : at + 4 + length]
        if item_type == 0x21:
            contexts[value[0]] = value[2]
        elif item_type == 0x50:
            inner = 0
            while inner < len(value):
                kind, _, size = struct.unpack_from(">BBH", value, inner)
                user[kind] = value[inner + 4 : inner + 4 + size]
                inner += 4 + size
        at += 4 + length
    return contexts, user
