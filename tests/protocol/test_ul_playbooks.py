"""Whole conversations as tables: what comes in or is called | what is told | what goes out.

All bytes are written out by hand from DICOM PS3.8 9.3.
"""

from dataclasses import dataclass

import pytest

from strongroom.errors import RemoteProtocolError
from strongroom.types import AeTitle, Uid
from strongroom.ul import (
    Aborted,
    AnsweredContext,
    AssociateAccepted,
    AssociateAnswer,
    AssociateRejected,
    AssociateRequest,
    AssociateRequested,
    Association,
    ConnectionClosed,
    ContextOutcome,
    LocalParameters,
    Pdv,
    ProposedContext,
    ReleaseConfirmed,
    ReleaseRequested,
    State,
    UlLimits,
    UserInformation,
)


def raw(text):
    """Return the bytes of ``text``: hex, with 'quoted' ASCII in between; # starts a comment."""
    out = bytearray()
    for line in text.splitlines():
        for number, part in enumerate(line.partition("#")[0].split("'")):
            out += part.encode() if number % 2 else bytes.fromhex(part)
    return bytes(out)


RQ = raw("""
    01 00 000000b9
    0001 0000 'ARCHIVE         ' 'MODALITY        '
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
    10 00 0015 '1.2.840.10008.3.1.1.1'                                   # application context
    20 00 002e 01 00 00 00                                               # presentation context 1
      30 00 0011 '1.2.840.10008.1.1'
      40 00 0011 '1.2.840.10008.1.2'
    50 00 0026                                                           # user information
      51 00 0004 00004000
      52 00 000c '1.2.276.0.99'
      55 00 000a 'MODALITY_1'
""")
AC = raw("""
    02 00 000000a3
    0001 0000 'ARCHIVE         ' 'MODALITY        '
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
    10 00 0015 '1.2.840.10008.3.1.1.1'
    21 00 0019 01 00 00 00
      40 00 0011 '1.2.840.10008.1.2'
    50 00 0025
      51 00 0004 00040000
      52 00 000c '1.2.276.0.42'
      55 00 0009 'ARCHIVE_1'
""")
RJ_CALLED_AE_TITLE = raw("03 00 00000004 00 01 01 07")
RELEASE_RQ = raw("05 00 00000004 00000000")
RELEASE_RP = raw("06 00 00000004 00000000")
ABORT_BY_USER = raw("07 00 00000004 0000 00 00")
COMMAND = raw("04 00 0000000b 00000007 01 03 'order'")
REPLY = raw("04 00 0000000b 00000007 01 03 'reply'")


def abort_by_provider(reason):
    return raw("07 00 00000004 0000 02") + bytes((reason,))


VERIFICATION, IMPLICIT = Uid("1.2.840.10008.1.1"), Uid("1.2.840.10008.1.2")
REQUEST = AssociateRequest(
    AeTitle("ARCHIVE"),
    AeTitle("MODALITY"),
    (ProposedContext(1, VERIFICATION, (IMPLICIT,)),),
    UserInformation(16384, Uid("1.2.276.0.99"), "MODALITY_1"),
)
ANSWER = AssociateAnswer((AnsweredContext(1, ContextOutcome.ACCEPTANCE, IMPLICIT),))
ANSWER_TOLD = AssociateAnswer(ANSWER.contexts, UserInformation(262_144, Uid("1.2.276.0.42"), "ARCHIVE_1"))
ORDER = Pdv(1, True, True, b"order")
EOF = object()


@dataclass(frozen=True)
class Violation:
    """Told by raising: the reason that the error carries."""

    reason: int
    source: int = 2


def accept(association):
    association.accept(ANSWER)


def reject(association):
    association.reject(1, 1, 7)


def reply(association):
    association.send_pdvs(1, b"reply")


def release(association):
    association.request_release()


def answer_release(association):
    association.answer_release()


def abort(association):
    association.abort()


def artim(association):
    association.artim_expired()


def acceptor():
    return Association.acceptor(UlLimits(), LocalParameters(Uid("1.2.276.0.42"), "ARCHIVE_1"))


def requestor():
    return Association.requestor(REQUEST, UlLimits(max_pdu_body_bytes=16_384))


ASKED = (RQ, [AssociateRequested(REQUEST)], b"")
OPENED = [ASKED, (accept, [], AC)]
ASKING = (b"", [], RQ)
OPEN_AS_REQUESTOR = [ASKING, (AC, [AssociateAccepted(ANSWER_TOLD)], b"")]

PRESENTATION_CONTEXTS_129 = b"".join(
    raw("20 00 002e")
    + bytes((number & 255, 0, 0, 0))
    + raw("""
        30 00 0011 '1.2.840.10008.1.1' 40 00 0011 '1.2.840.10008.1.2'""")
    for number in range(1, 259, 2)
)
RQ_129 = b"\1\0" + (len(RQ) - 6 - 50 + 129 * 50).to_bytes(4, "big") + RQ[6:99] + PRESENTATION_CONTEXTS_129 + RQ[149:]

CLIENT_HELLO = raw("16 03 01 0200 01 0001fc 0303") + bytes(range(64))
HTTP_GET = b"GET / HTTP/1.1\r\nHost: archive.example\r\nUser-Agent: Mozilla/5.0\r\n\r\n"

PLAYBOOKS = {
    "acceptor: one echo, released by the peer": (
        acceptor,
        [
            *OPENED,
            (COMMAND, [ORDER], b""),
            (reply, [], REPLY),
            (RELEASE_RQ, [ReleaseRequested()], b""),
            (answer_release, [], RELEASE_RP),
            (EOF, [ConnectionClosed(lost=False)], b""),
        ],
        State.STA1,
    ),
    "requestor: one echo, released by us": (
        requestor,
        [
            *OPEN_AS_REQUESTOR,
            (reply, [], REPLY),
            (COMMAND, [ORDER], b""),
            (release, [], RELEASE_RQ),
            (RELEASE_RP, [ReleaseConfirmed()], b""),
        ],
        State.STA1,
    ),
    "all of a conversation in one segment": (
        requestor,
        [
            ASKING,
            (
                AC + COMMAND + COMMAND + RELEASE_RQ,
                [AssociateAccepted(ANSWER_TOLD), ORDER, ORDER, ReleaseRequested()],
                b"",
            ),
            (answer_release, [], RELEASE_RP),
        ],
        State.STA13,
    ),
    "acceptor rejects, the peer closes": (
        acceptor,
        [ASKED, (reject, [], RJ_CALLED_AE_TITLE), (EOF, [ConnectionClosed(lost=False)], b"")],
        State.STA1,
    ),
    "acceptor rejects, the peer stays": (
        acceptor,
        [ASKED, (reject, [], RJ_CALLED_AE_TITLE), (artim, [ConnectionClosed(lost=False)], b"")],
        State.STA1,
    ),
    "requestor is rejected": (
        requestor,
        [ASKING, (RJ_CALLED_AE_TITLE, [AssociateRejected(1, 1, 7)], b"")],
        State.STA1,
    ),
    "a newer protocol version is rejected by the provider": (
        acceptor,
        [(RQ[:6] + b"\0\2" + RQ[8:], ["AssociateRefused"], raw("03 00 00000004 00 01 02 02"))],
        State.STA13,
    ),
    "data after our release request is still taken": (
        acceptor,
        [*OPENED, (release, [], RELEASE_RQ), (COMMAND + RELEASE_RP, [ORDER, ReleaseConfirmed()], b"")],
        State.STA1,
    ),
    "data may be sent until a release is answered": (
        acceptor,
        [*OPENED, (RELEASE_RQ, [ReleaseRequested()], b""), (reply, [], REPLY), (answer_release, [], RELEASE_RP)],
        State.STA13,
    ),
    "release collision, requestor": (
        requestor,
        [
            *OPEN_AS_REQUESTOR,
            (release, [], RELEASE_RQ),
            (RELEASE_RQ, [ReleaseRequested(collision=True)], b""),
            (answer_release, [], RELEASE_RP),
            (RELEASE_RP, [ReleaseConfirmed()], b""),
        ],
        State.STA1,
    ),
    "release collision, acceptor": (
        acceptor,
        [
            *OPENED,
            (release, [], RELEASE_RQ),
            (RELEASE_RQ, [ReleaseRequested(collision=True)], b""),
            (RELEASE_RP, [ReleaseConfirmed()], b""),
            (answer_release, [], RELEASE_RP),
            (EOF, [ConnectionClosed(lost=False)], b""),
        ],
        State.STA1,
    ),
    "the peer aborts": (acceptor, [*OPENED, (ABORT_BY_USER, [Aborted(0, 0, by_provider=False)], b"")], State.STA1),
    "the peer's provider aborts": (
        requestor,
        [*OPEN_AS_REQUESTOR, (abort_by_provider(6), [Aborted(2, 6, by_provider=True)], b"")],
        State.STA1,
    ),
    "we abort, what still comes is dropped": (
        acceptor,
        [*OPENED, (abort, [], ABORT_BY_USER), (COMMAND + RELEASE_RQ, [], b""), (EOF, [ConnectionClosed(False)], b"")],
        State.STA1,
    ),
    "both abort": (
        acceptor,
        [*OPENED, (abort, [], ABORT_BY_USER), (ABORT_BY_USER, [ConnectionClosed(lost=False)], b"")],
        State.STA1,
    ),
    "the connection is lost": (
        acceptor,
        [*OPENED, (COMMAND[:9], [], b""), (EOF, [ConnectionClosed(True)], b"")],
        State.STA1,
    ),
    "the connection is lost before anything came": (acceptor, [(EOF, [ConnectionClosed(lost=False)], b"")], State.STA1),
    "nothing comes": (acceptor, [(artim, [ConnectionClosed(lost=False)], b"")], State.STA1),
    "half a request comes": (acceptor, [(RQ[:60], [], b""), (artim, [ConnectionClosed(lost=False)], b"")], State.STA1),
    "a second request": (acceptor, [*OPENED, (RQ, [Violation(2)], abort_by_provider(2))], State.STA13),
    "a second request before the answer": (
        acceptor,
        [ASKED, (RQ, [Violation(2)], abort_by_provider(2))],
        State.STA13,
    ),
    "a request after the abort": (
        acceptor,
        [*OPENED, (abort, [], ABORT_BY_USER), (RQ, [], abort_by_provider(2)), (COMMAND, [], b"")],
        State.STA13,
    ),
    "an acceptance to an acceptor": (acceptor, [(AC, [Violation(0, 0)], ABORT_BY_USER)], State.STA13),
    "data before the request": (acceptor, [(COMMAND, [Violation(0, 0)], ABORT_BY_USER)], State.STA13),
    "data before the answer": (
        acceptor,
        [(RQ + COMMAND, ["AssociateRequested", Violation(2)], abort_by_provider(2))],
        State.STA13,
    ),
    "an acceptor that asks": (requestor, [ASKING, (RQ, [Violation(2)], abort_by_provider(2))], State.STA13),
    "a release that nobody asked for": (
        acceptor,
        [*OPENED, (RELEASE_RP, [Violation(2)], abort_by_provider(2))],
        State.STA13,
    ),
    "a PDU of no known type": (
        acceptor,
        [*OPENED, (raw("0a 00 00000004 00000000"), [Violation(1)], abort_by_provider(1))],
        State.STA13,
    ),
    "a release request of 5 bytes": (
        acceptor,
        [*OPENED, (raw("05 00 00000005 0000000000"), [Violation(6)], abort_by_provider(6))],
        State.STA13,
    ),
    "data of 4 GiB": (
        acceptor,
        [*OPENED, (raw("04 00 fffffffe"), [Violation(6)], abort_by_provider(6)), (bytes(100_000), [], b"")],
        State.STA13,
    ),
    "129 presentation contexts": (acceptor, [(RQ_129, [Violation(0, 0)], ABORT_BY_USER)], State.STA13),
    "a browser": (
        acceptor,
        [(HTTP_GET, [Violation(0, 0)], ABORT_BY_USER), (HTTP_GET, [], b""), (EOF, [ConnectionClosed(False)], b"")],
        State.STA1,
    ),
    "a TLS client": (acceptor, [(CLIENT_HELLO, [Violation(0, 0)], ABORT_BY_USER)], State.STA13),
    "a web server that we called": (
        requestor,
        [ASKING, (b"HTTP/1.1 400 Bad Request\r\n\r\n", [Violation(1)], abort_by_provider(1))],
        State.STA13,
    ),
}


def take_events(association):
    """Return what is told, a violation as a value; it must be told once and be the end."""
    told = []
    while True:
        try:
            event = association.next_event()
        except RemoteProtocolError as error:
            told.append(Violation(error.abort_reason, error.abort_source))
            continue
        if event is None:
            return told
        told.append(event._replace(data=bytes(event.data)) if isinstance(event, Pdv) else event)


def play(association, stimulus, step_bytes):
    if stimulus is EOF:
        association.receive_data(0)
        return take_events(association)
    if callable(stimulus):
        stimulus(association)
        return take_events(association)
    told = []
    for at in range(0, len(stimulus), step_bytes):
        part = stimulus[at : at + step_bytes]
        while part:
            space = association.free_space()
            count = min(len(space), len(part))
            space[:count] = part[:count]
            association.receive_data(count)
            part = part[count:]
            told += take_events(association)
    return told


def matches(told, expected):
    return type(told).__name__ == expected if isinstance(expected, str) else told == expected


@pytest.mark.parametrize("step_bytes", [1, 7, 1 << 20], ids=["a byte at a time", "by sevens", "at once"])
@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbook(name, step_bytes):
    start, lines, end = PLAYBOOKS[name]
    association = start()
    for number, (stimulus, expected, out) in enumerate(lines):
        told = play(association, stimulus, step_bytes)
        assert len(told) == len(expected), f"line {number}: {told}"
        assert all(map(matches, told, expected)), f"line {number}: {told}"
        assert b"".join(association.data_to_send()) == out, f"line {number}"
    assert association.state is end
    assert association.artim_running == (end is State.STA13)
