"""Servers that mean harm to whoever looks at them. Each is a handler of ``probe_listener.listening``."""

from __future__ import annotations

import gzip
import itertools
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial

from harness.probe_dicom import Conduct, parse_elements, parse_pdvs, parse_request, response
from harness.probe_http import Page, Site, read_request
from harness.probe_listener import Handler, Visit
from harness.wire import (
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    APPLICATION_CONTEXT,
    C_ECHO_RQ,
    C_FIND_RQ,
    COMMAND,
    IMPLICIT,
    LAST,
    P_DATA_TF,
    VERIFICATION,
    element,
    item,
    p_data,
    pdu,
    pdv,
)

ESCAPES = b"\x1b]0;owned\x07\x1b[2J\x1b[31mRED\x1b[8m"
"""Sets the title of a terminal, clears it, and hides what follows."""
BIDI = "\u202egnp.exe\u2066"
TRAVERSAL = b"../../../../tmp/strongroom-probe-was-here"
MARKUP = b"<script>alert(1)</script><img src=x onerror=alert(2)>"
FORMULA = b"=cmd|' /C calc'!A0"
DRIP_S = 1.0


def _drip(visit: Visit, data: Iterable[bytes], pause_s: float = DRIP_S) -> None:
    for each in data:
        if not visit.send(each) or visit.stopping.wait(pause_s):
            return


def _flood(visit: Visit, chunk: bytes) -> None:
    while visit.send(chunk) and not visit.stopping.is_set():
        pass


def _read_pdu(visit: Visit) -> tuple[int, bytes]:
    head = visit.read(6)
    if len(head) < 6:
        return 0, b""
    pdu_type, _, length = struct.unpack(">BBI", head)
    return pdu_type, visit.read(min(length, 1 << 20))


def _accept(body: bytes, *, titles: bytes = b"", version: bytes = b"HOSTILE", more: bytes = b"") -> bytes:
    """An A-ASSOCIATE-AC that accepts all that is proposed."""
    contexts, _ = parse_request(body)
    items = item(0x10, APPLICATION_CONTEXT.encode())
    for context_id, (_, syntaxes) in contexts.items():
        items += item(0x21, bytes((context_id, 0, 0, 0)) + item(0x40, (syntaxes or [IMPLICIT])[0].encode()))
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.9.66") + item(0x55, version)
    head = b"\0\1\0\0" + (titles.ljust(32)[:32] if titles else body[4:36]) + bytes(32)
    return pdu(A_ASSOCIATE_AC, head + items + more + item(0x50, user))


# --- instead of DICOM, or of an answer


def huge_pdu(visit: Visit) -> None:
    """Says that an A-ASSOCIATE-AC of 4 GiB - 1 follows, and sends what it can of it."""
    _read_pdu(visit)
    visit.send(struct.pack(">BBI", A_ASSOCIATE_AC, 0, 0xFFFFFFFF))
    _flood(visit, b"\0" * 65536)


def huge_pdu_and_silence(visit: Visit) -> None:
    """Says the same, and nothing more."""
    _read_pdu(visit)
    visit.send(struct.pack(">BBI", A_ASSOCIATE_AC, 0, 0xFFFFFFFF) + bytes(68))
    visit.wait_until_closed()


def endless_items(visit: Visit) -> None:
    """An A-ASSOCIATE-AC of 100 MB, all of it presentation contexts."""
    _read_pdu(visit)
    visit.send(struct.pack(">BBI", A_ASSOCIATE_AC, 0, 100_000_000) + b"\0\1\0\0" + b" " * 32 + bytes(32))
    _flood(visit, item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT.encode())) * 500)


def overlapping_items(visit: Visit) -> None:
    """Items whose lengths go past the end of the PDU."""
    _, body = _read_pdu(visit)
    good = _accept(body)
    visit.send(good[:78] + b"\x10\0\xff\xff" + good[82:])
    visit.wait_until_closed()


def one_byte_a_second(visit: Visit) -> None:
    """A correct A-ASSOCIATE-AC, a byte at a time."""
    _, body = _read_pdu(visit)
    _drip(visit, (bytes((each,)) for each in _accept(body)))


def slow_silence(visit: Visit) -> None:
    """Takes the connection and whatever comes, and says nothing."""
    visit.wait_until_closed()


def immediate_reset(visit: Visit) -> None:
    """RST at once."""
    visit.reset()


def immediate_close(visit: Visit) -> None:
    """FIN at once."""


def http_on_dicom(visit: Visit) -> None:
    """A web server on the DICOM port."""
    visit.read_some()
    visit.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nServer: " + ESCAPES + b"\r\n\r\n")


def ssh_banner(visit: Visit) -> None:
    """Speaks first, and another protocol."""
    visit.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    visit.wait_until_closed()


def random_bytes(visit: Visit) -> None:
    """Bytes of no protocol, without end."""
    block = bytes(itertools.islice(itertools.cycle((0x02, 0x13, 0x88, 0xFF, 0x00, 0x41, 0x7F)), 65536))
    _flood(visit, block)


def unfinished_tls(visit: Visit) -> None:
    """Begins the record of a ServerHello, and leaves it at that."""
    visit.read_some()
    visit.send(b"\x16\x03\x03\x40\x00\x02\x00\x00\x50")
    visit.wait_until_closed()


def dripping_tls(visit: Visit) -> None:
    """A handshake record of 16 KiB, a byte a second."""
    visit.read_some()
    _drip(visit, (bytes((each,)) for each in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(16000)))


def wrong_reject(visit: Visit) -> None:
    """An A-ASSOCIATE-RJ with values that the standard does not have."""
    _read_pdu(visit)
    visit.send(pdu(A_ASSOCIATE_RJ, bytes((0, 99, 98, 97))))
    visit.wait_until_closed()


# --- after an association that it accepts


def hostile_text(visit: Visit, text: bytes = ESCAPES) -> None:
    """Accepts, with ``text`` wherever a server says something: titles, version, comments of failures."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body, titles=text, version=text[:16]))
    while (got := _read_pdu(visit))[0] == P_DATA_TF:
        request = _request_of(got[1])
        if request:
            visit.send(response(got[1][4], request, 0xC001, comment=text[:64]))
    if got[0] == 5:
        visit.send(pdu(6, bytes(4)))


def endless_answers(visit: Visit) -> None:
    """Accepts, and answers every query for ever; an echo is answered as it should be."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body))
    while (got := _read_pdu(visit))[0] == P_DATA_TF:
        request = _request_of(got[1])
        if not request:
            continue
        if request[0x00000100] == struct.pack("<H", C_FIND_RQ):
            for number in itertools.count():
                uid = {0x0020000D: f"1.2.826.0.1.3680043.9.66.{number}".encode()}
                if not visit.send(response(got[1][4], request, 0xFF00, uid)) or visit.stopping.is_set():
                    return
        visit.send(response(got[1][4], request, 0))
    if got[0] == 5:
        visit.send(pdu(6, bytes(4)))


def endless_fragments(visit: Visit) -> None:
    """Accepts, and answers the first message with a command set that has no last fragment."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body))
    _read_pdu(visit)
    _flood(visit, p_data(pdv(body[74] if len(body) > 74 else 1, COMMAND, bytes(16000))))


def long_command(visit: Visit) -> None:
    """Accepts, and answers with a command set whose one element says it is 4 GiB long."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body))
    _read_pdu(visit)
    raw = struct.pack("<HHI", 0, 0x0902, 0xFFFFFFFE) + bytes(100)
    visit.send(p_data(pdv(1, COMMAND | LAST, raw)))
    visit.wait_until_closed()


def never_releases(visit: Visit) -> None:
    """Accepts and answers echoes, and takes no notice of a release."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body))
    while (got := _read_pdu(visit))[0]:
        request = _request_of(got[1]) if got[0] == P_DATA_TF else {}
        if request:
            visit.send(response(got[1][4], request, 0))


def asks_back(visit: Visit) -> None:
    """Accepts, and asks the probe instead of answering: C-ECHO, and an object to store."""
    _, body = _read_pdu(visit)
    visit.send(_accept(body))
    _read_pdu(visit)
    for number in itertools.count(1):
        command = element(0x00000002, VERIFICATION.encode()) + element(0x00000100, struct.pack("<H", C_ECHO_RQ))
        command += element(0x00000110, struct.pack("<H", number & 0xFFFF)) + element(0x00000800, b"\1\1")
        whole = element(0, struct.pack("<I", len(command))) + command
        if not visit.send(p_data(pdv(1, COMMAND | LAST, whole))) or visit.stopping.is_set():
            return


def _request_of(body: bytes) -> Mapping[int, bytes]:
    for _, control, value in parse_pdvs(body):
        if control & COMMAND:
            return parse_elements(value)
    return {}


def hostile_answers(text: bytes = ESCAPES + TRAVERSAL) -> Conduct:
    """For ``probe_dicom.scp``: answers whose UIDs, dates and counts are no such thing."""
    odd = {0x00080020: text, 0x0020000D: text, 0x00100010: text, 0x00100020: text, 0x00201208: b"-99999999999999999999"}
    sane = {0x00080020: b"20240101", 0x0020000D: b"1.2.826.0.1.3680043.9.66.1"}
    return Conduct(answers=(odd, sane | {0x00201208: b"9" * 64}, sane | {0x0020000D: b"A" * 4000}))


DICOM: Mapping[str, Handler] = {
    each.__name__: each
    for each in (
        huge_pdu, huge_pdu_and_silence, endless_items, overlapping_items, one_byte_a_second, slow_silence,
        immediate_reset, immediate_close, http_on_dicom, ssh_banner, random_bytes, unfinished_tls, dripping_tls,
        wrong_reject, endless_answers, endless_fragments, long_command, never_releases, asks_back,
    )
} | {
    "escapes": hostile_text,
    "bidi": partial(hostile_text, text=BIDI.encode()),
    "traversal": partial(hostile_text, text=TRAVERSAL),
    "markup": partial(hostile_text, text=MARKUP),
    "formula": partial(hostile_text, text=FORMULA),
}  # fmt: skip
"""Hostile DICOM servers by name."""


# --- HTTP


@cache
def bomb() -> bytes:
    """100 MB of zeros, compressed."""
    return gzip.compress(bytes(100_000_000), 1)


def _answering(answer: Callable[[Visit], None]) -> Handler:
    def handle(visit: Visit) -> None:
        if read_request(visit) is not None:
            answer(visit)

    return handle


def _redirect_loop(visit: Visit) -> None:
    visit.send(Page(302, "", headers={"Location": f"/{len(bytes(visit.raw)) % 7}"}).raw())


def _endless_headers(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\n")
    _flood(visit, b"X-More: " + b"a" * 8000 + b"\r\n")


def _one_endless_header(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nServer: ")
    _flood(visit, b"a" * 65536)


def _endless_body(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nConnection: close\r\n\r\n[")
    _flood(visit, b'{"0020000D":{"vr":"UI","Value":["1.2.3"]}},' * 1500)


def _endless_chunks(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    _flood(visit, b"10000\r\n" + b"a" * 65536 + b"\r\n")


def _gzip_bomb(visit: Visit) -> None:
    more = {"Content-Encoding": "gzip"}
    visit.send(Page(200, bomb(), "application/dicom+json", more).raw())


def _too_short(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99999999999999999999\r\n\r\nshort")


def _too_long(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)


def _negative_length(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + b"x" * 5000)


def _dripping(visit: Visit) -> None:
    whole = Page(200, "<html><title>slow</title></html>" * 100).raw()
    _drip(visit, (bytes((each,)) for each in whole))


def _no_http(visit: Visit) -> None:
    visit.send(b"220 smtp.example ESMTP\r\n")


def _deep_json(visit: Visit) -> None:
    visit.send(Page(200, b"[" * 400_000, "application/dicom+json").raw())


def _interim_for_ever(visit: Visit) -> None:
    _flood(visit, b"HTTP/1.1 100 Continue\r\n\r\n" * 500)


def _hostile_headers(visit: Visit) -> None:
    headers = b"HTTP/1.1 200 " + ESCAPES + b"\r\nServer: " + ESCAPES + TRAVERSAL + b"\r\nX-Powered-By: " + MARKUP
    headers += b"\r\nContent-Type: text/html\r\nSet-Cookie: a=" + FORMULA + b"\r\nConnection: close\r\n\r\n"
    body = b"<html><head><title>Orthanc Explorer " + ESCAPES + MARKUP + b"</title></head><body>" + TRAVERSAL
    visit.send(headers + body + b"</body></html>")


def _hostile_versions(visit: Visit) -> None:
    text = (ESCAPES + TRAVERSAL + BIDI.encode()).decode().replace("\x1b", "\\u001b").replace("\x07", "\\u0007")
    body = f'{{"Name": "{text}", "Version": "{text}", "DicomAet": "{text}", "ApiVersion": 1e999}}'
    visit.send(Page(200, body, "application/json").raw())


HTTP: dict[str, Handler] = {
    "redirect loop": _answering(_redirect_loop),
    "endless headers": _answering(_endless_headers),
    "one endless header": _answering(_one_endless_header),
    "endless body": _answering(_endless_body),
    "endless chunks": _answering(_endless_chunks),
    "gzip bomb": _answering(_gzip_bomb),
    "body shorter than it says": _answering(_too_short),
    "two lengths": _answering(_too_long),
    "negative length": _answering(_negative_length),
    "one byte a second": _answering(_dripping),
    "another protocol": _answering(_no_http),
    "deep JSON": _answering(_deep_json),
    "interim answers for ever": _answering(_interim_for_ever),
    "hostile headers": _answering(_hostile_headers),
    "hostile versions": _answering(_hostile_versions),
    "no answer": _answering(Visit.wait_until_closed),
    "immediate reset": immediate_reset,
}
"""Hostile HTTP servers by name; each may be put behind TLS."""


def redirecting_site(location: str) -> Site:
    """A site that sends everybody to ``location``: another host, that is out of scope."""
    return Site({"/*": Page(302, "", headers={"Location": location})})
