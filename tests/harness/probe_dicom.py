"""A DICOM SCP made of bytes, for what no real one would do: it does as told, and notes who asked what and when."""

from __future__ import annotations

import select
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.probe_listener import Listener, Visit, listening
from harness.wire import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    APPLICATION_CONTEXT,
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    COMMAND,
    DATASET,
    IMPLICIT,
    LAST,
    NO_DATASET,
    P_DATA_TF,
    element,
    item,
    p_data,
    pdu,
    pdv,
)

N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ, N_ACTION_RQ, N_CREATE_RQ = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140
NAMES = {
    C_STORE_RQ: "C-STORE",
    C_GET_RQ: "C-GET",
    C_FIND_RQ: "C-FIND",
    C_MOVE_RQ: "C-MOVE",
    C_ECHO_RQ: "C-ECHO",
    N_GET_RQ: "N-GET",
    N_SET_RQ: "N-SET",
    N_ACTION_RQ: "N-ACTION",
    N_CREATE_RQ: "N-CREATE",
}
SUCCESS, PENDING, CANCELLED, MOVE_DESTINATION_UNKNOWN, REFUSED_SOP_CLASS = 0x0000, 0xFF00, 0xFE00, 0xA801, 0x0122
STUDY_DATE, LEVEL = 0x00080020, 0x00080052
CALLING_UNKNOWN, CALLED_UNKNOWN = (1, 1, 3), (1, 1, 7)
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

Identifier = Mapping[int, bytes]
"""Tag to value, of one answer to C-FIND, in implicit VR little endian."""


@dataclass(frozen=True)
class Conduct:
    """How an SCP behaves. An empty set of titles or classes stands for all."""

    called: frozenset[str] = frozenset()
    calling: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    user_required: bool = False
    """Whether it rejects who names no user; one that is named is believed, and told so."""
    answers: Sequence[Identifier] = ()
    """What it finds: those whose Study Date, if it is asked for, lies in the range, at the level STUDY or none."""
    endless: bool = False
    """Whether it answers a query for ever, whatever is asked and cancelled."""
    statuses: Mapping[int, int] = field(default_factory=lambda: {C_MOVE_RQ: MOVE_DESTINATION_UNKNOWN})
    """Request to the status of its response; Success where it is not named. A query that fails has no answers."""
    comment: bytes = b""
    """Error Comment of every response that is no success."""
    implementation: tuple[bytes, bytes] = (b"1.2.826.0.1.3680043.9.2", b"MOCK_1_0")
    """Implementation Class UID and Version Name."""
    titles: tuple[bytes, bytes] | None = None
    """What its A-ASSOCIATE-AC has where the titles were (PS3.8 9.3.3: not to be tested); they are sent back without."""
    most_pdu_bytes: int = 16384


@dataclass(frozen=True)
class Asked:
    """One request that came: an association, or a DIMSE message of one. Times are of the monotonic clock."""

    at_s: float
    what: str
    calling: str
    called: str
    sop_class: str = ""
    identifier: Mapping[int, bytes] = field(default_factory=dict)
    dataset: bytes = field(default=b"", repr=False)


@dataclass
class Scp:
    """A running SCP. ``asked`` is all that came, ``stored`` the data sets of C-STORE by their UID, each in order."""

    listener: Listener
    asked: list[Asked] = field(default_factory=list)
    stored: dict[str, list[bytes]] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    def requests(self, what: str) -> list[Asked]:
        """What came of one kind: "associate", "C-ECHO", "C-FIND", "release", "abort" and so on."""
        return [each for each in self.asked if each.what == what]


@dataclass
class _Association:
    """One association on one connection."""

    visit: Visit
    conduct: Conduct
    scp: Scp
    calling: str = ""
    called: str = ""
    contexts: dict[int, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def note(self, what: str, **more: Any) -> None:
        self.scp.asked.append(Asked(time.monotonic(), what, self.calling, self.called, **more))

    def run(self) -> None:
        message: dict[int, bytearray] = {}
        while True:
            pdu_type, body = self._read()
            if pdu_type == A_ASSOCIATE_RQ:
                if not self._associate(body):
                    return
            elif pdu_type == P_DATA_TF and self.contexts:
                for context_id, control, value in parse_pdvs(body):
                    message.setdefault(control & COMMAND, bytearray()).extend(value)
                    if control & LAST and self._is_whole(control, message):
                        self._answer(context_id, bytes(message[COMMAND]), bytes(message.get(0, b"")))
                        message.clear()
            elif pdu_type == A_RELEASE_RQ:
                self.note("release")
                self.visit.send(pdu(A_RELEASE_RP, bytes(4)))
                self.visit.wait_until_closed()
                return
            else:
                if pdu_type == A_ABORT:
                    self.note("abort")
                elif pdu_type:
                    self.visit.send(pdu(A_ABORT, b"\0\0\2\1"))
                return

    def _read(self) -> tuple[int, bytes]:
        head = self.visit.read(6)
        if len(head) < 6:
            return 0, b""
        pdu_type, _, length = struct.unpack(">BBI", head)
        if not 1 <= pdu_type <= 7 or length > 1 << 24:
            return 255, b""
        return pdu_type, self.visit.read(length)

    @staticmethod
    def _is_whole(control: int, message: Mapping[int, bytearray]) -> bool:
        if not control & COMMAND:
            return True
        return parse_elements(bytes(message[COMMAND])).get(0x00000800) == struct.pack("<H", NO_DATASET)

    def _associate(self, body: bytes) -> bool:
        conduct = self.conduct
        self.called, self.calling = body[4:20].decode("latin-1").strip(), body[20:36].decode("latin-1").strip()
        self.note("associate")
        contexts, user = parse_request(body)
        refusal = None
        if conduct.called and self.called not in conduct.called:
            refusal = CALLED_UNKNOWN
        elif conduct.calling and self.calling not in conduct.calling:
            refusal = CALLING_UNKNOWN
        elif conduct.user_required and 0x58 not in user:
            refusal = (1, 1, 1)
        if refusal:
            self.visit.send(pdu(A_ASSOCIATE_RJ, bytes((0, *refusal))))
            self.visit.wait_until_closed()
            return False
        self.visit.send(self._accepted(body, contexts, user))
        return True

    def _accepted(self, body: bytes, contexts: Mapping[int, tuple[str, list[str]]], user: Mapping[int, bytes]) -> bytes:
        conduct = self.conduct
        items = item(0x10, APPLICATION_CONTEXT.encode())
        for context_id, (abstract, syntaxes) in contexts.items():
            result = 3 if conduct.classes and abstract not in conduct.classes else 0 if IMPLICIT in syntaxes else 4
            if result == 0:
                self.contexts[context_id] = abstract
            items += item(0x21, bytes((context_id, 0, result, 0)) + item(0x40, IMPLICIT.encode()))
        uid, version = conduct.implementation
        about = item(0x51, struct.pack(">I", conduct.most_pdu_bytes)) + item(0x52, uid) + item(0x55, version)
        if conduct.user_required and user[0x58][1]:
            about += item(0x59, b"\0\0")
        titles = b"".join(each.ljust(16)[:16] for each in conduct.titles) if conduct.titles else body[4:36]
        return pdu(A_ASSOCIATE_AC, b"\0\1\0\0" + titles + bytes(32) + items + item(0x50, about))

    def _answer(self, context_id: int, raw_command: bytes, dataset: bytes) -> None:
        request = parse_elements(raw_command)
        (field_,) = struct.unpack("<H", request[0x00000100])
        identifier = parse_elements(dataset) if field_ in (C_FIND_RQ, C_GET_RQ, C_MOVE_RQ) else {}
        what = "C-CANCEL" if field_ == C_CANCEL_RQ else NAMES.get(field_, f"{field_:04X}")
        sop_class = self.contexts.get(context_id, "")
        self.note(what, sop_class=sop_class, identifier=identifier, dataset=dataset)
        if field_ == C_CANCEL_RQ:
            self.cancelled.set()
            return
        status = self.conduct.statuses.get(field_, SUCCESS)
        if field_ == C_FIND_RQ and status == SUCCESS:
            self._find(context_id, request, identifier)
            return
        if field_ == C_STORE_RQ and status == SUCCESS:
            uid = request[0x00001000].rstrip(b"\0").decode()
            self.scp.stored.setdefault(uid, []).append(dataset)
        self.visit.send(response(context_id, request, status, comment=self.conduct.comment))

    def _find(self, context_id: int, request: Mapping[int, bytes], identifier: Mapping[int, bytes]) -> None:
        found = [each for each in self.conduct.answers if _is_asked_for(each, identifier)]
        while found:
            for each in found:
                wanted = {tag: each.get(tag, b"") for tag in identifier} | {LEVEL: identifier.get(LEVEL, b"")}
                if not self.visit.send(response(context_id, request, PENDING, wanted)):
                    return
                if not self.conduct.endless and self._is_cancelled():
                    self.visit.send(response(context_id, request, CANCELLED))
                    return
            if not self.conduct.endless:
                break
        self.visit.send(response(context_id, request, SUCCESS))

    def _is_cancelled(self) -> bool:
        """Whether a C-CANCEL has come in the meantime; nothing else may come while a query is answered."""
        sock = self.visit.sock
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        if not pending and not select.select([sock], [], [], 0)[0]:
            return False
        pdu_type, body = self._read()
        if pdu_type == P_DATA_TF:
            self.note("C-CANCEL")
        return pdu_type != 0 or not body


def _is_asked_for(answer: Identifier, asked: Mapping[int, bytes]) -> bool:
    if asked.get(LEVEL, b"STUDY").strip(b" \0") != b"STUDY":
        return False
    wanted, date = asked.get(STUDY_DATE, b"").strip(b" \0"), answer.get(STUDY_DATE, b"").strip(b" \0")
    first, dash, last = wanted.partition(b"-")
    return (first or b"0") <= date <= (last or b"99999999") if dash else wanted in (b"", date)


def response(
    context_id: int,
    request: Mapping[int, bytes],
    status: int,
    identifier: Identifier | None = None,
    comment: bytes = b"",
) -> bytes:
    """The PDUs of a response to a request's command set (PS3.7 E)."""
    (field_,) = struct.unpack("<H", request[0x00000100])
    body = element(0x00000002, request.get(0x00000002, request.get(0x00000003, b"")))
    body += element(0x00000100, struct.pack("<H", field_ | 0x8000)) + element(0x00000120, request[0x00000110])
    body += element(0x00000800, struct.pack("<H", NO_DATASET if identifier is None else DATASET))
    body += element(0x00000900, struct.pack("<H", status))
    if comment and status not in (SUCCESS, PENDING):
        body += element(0x00000902, comment)
    if 0x00001000 in request:
        body += element(0x00001000, request[0x00001000])
    sent = p_data(pdv(context_id, COMMAND | LAST, element(0, struct.pack("<I", len(body))) + body))
    if identifier is not None:
        data = b"".join(element(tag, identifier[tag]) for tag in sorted(identifier))
        sent += p_data(pdv(context_id, LAST, data))
    return sent


def parse_pdvs(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Context id, message control header and value of each PDV of a P-DATA-TF."""
    at = 0
    while at + 6 <= len(body):
        length, context_id, control = struct.unpack_from(">IBB", body, at)
        yield context_id, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def parse_elements(data: bytes) -> dict[int, bytes]:
    """Top-level elements in implicit VR little endian; sequences of undefined length end it."""
    found, at = {}, 0
    while at + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHI", data, at)
        if length == 0xFFFFFFFF:
            found[group << 16 | number] = b""
            break
        found[group << 16 | number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def parse_request(body: bytes) -> tuple[dict[int, tuple[str, list[str]]], dict[int, bytes]]:
    """What an A-ASSOCIATE-RQ proposes, by presentation context id, and its user information items by type."""
    contexts: dict[int, tuple[str, list[str]]] = {}
    user: dict[int, bytes] = {}
    for kind, value in _items(body[68:]):
        if kind == 0x20:
            names = [(inner, uid.rstrip(b"\0").decode("latin-1")) for inner, uid in _items(value[4:])]
            abstract = next((uid for inner, uid in names if inner == 0x30), "")
            contexts[value[0]] = (abstract, [uid for inner, uid in names if inner == 0x40])
        elif kind == 0x50:
            user = dict(_items(value))
    return contexts, user


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, _, length = struct.unpack_from(">BBH", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


@contextmanager
def scp(conduct: Conduct | None = None, **where: Any) -> Iterator[Scp]:
    """An SCP that behaves so; ``where`` as ``probe_listener.listening`` takes it."""
    behaviour: Callable[[], Conduct] = lambda: conduct or Conduct()  # noqa: E731  # one value for every connection
    holder: list[Scp] = []

    def handle(visit: Visit) -> None:
        _Association(visit, behaviour(), holder[0]).run()

    with listening(handle, **where) as listener:
        holder.append(Scp(listener))
        yield holder[0]


@contextmanager
def playing(script: Sequence[bytes | Callable[[Visit], Any]], **where: Any) -> Iterator[Listener]:
    """A server that waits for one PDU, then plays a script: bytes are sent, functions called with the connection."""

    def handle(visit: Visit) -> None:
        head = visit.read(6)
        if len(head) == 6:
            visit.read(min(struct.unpack(">I", head[2:])[0], 1 << 20))
        for step in script:
            if isinstance(step, bytes):
                if not visit.send(step):
                    return
            else:
                step(visit)
        visit.wait_until_closed()

    with listening(handle, **where) as listener:
        yield listener
