"""The socket of the probe: its deadline, its cap, and what the run log is shown of it."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import Unanswered
from strongroom.probe.line import MAX_ENTRIES, Framing, Line, LineLimits, Passed, open_line
from strongroom.probe.model import Answer

KEY = b"key of a test"
LIMITS = LineLimits(connect_s=5.0, connection_s=20.0, answer_s=10.0, max_received_bytes=1 << 20)
ABORT = bytes.fromhex("07000000000400000000")
RELEASE = bytes.fromhex("05000000000400000000")


@contextmanager
def served(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server on loopback that does this with its one connection; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def line_to(port: int, framing: Framing, seen: list[Passed], limits: LineLimits = LIMITS) -> Line:
    return open_line("127.0.0.1", port, limits, framing, KEY, seen.append)


def keyed(data: bytes) -> str:
    return hmac.new(KEY, data, sha256).hexdigest()


def paired(framing: Framing, seen: list[Passed]) -> tuple[Line, socket.socket]:
    """A line, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    return Line(ours, LIMITS, framing, KEY, seen.append), theirs


@pytest.mark.parametrize(
    ("framing", "begun", "reason"),
    [
        ("pdu", b"", "timed out"),
        ("pdu", ABORT, "timed out"),
        ("pdu", ABORT[:4], "the answer does not end"),
        ("pdu", ABORT + RELEASE[:-1], "the answer does not end"),
        ("http", b"HTTP/1.1 200 OK\r\n", "the answer does not end"),
    ],
)
def test_an_answer_that_was_begun_is_told_from_none(framing: Framing, begun: bytes, reason: str) -> None:
    line, other = paired(framing, [])
    with line, other:
        line.settimeout(0.2)
        other.sendall(begun)
        with pytest.raises(Unanswered, match=reason) as raised:
            read_on(line)
        assert raised.value.answer == Answer.TIMEOUT


def read_on(line: Line) -> None:
    """Read until something is raised."""
    while True:
        line.receive()


def test_every_pdu_is_hashed_by_itself_in_both_directions() -> None:
    seen: list[Passed] = []
    line, theirs = paired("pdu", seen)
    with theirs, line:
        line.send_all(RELEASE + ABORT[:3])
        line.send_all(ABORT[3:])
        theirs.sendall(ABORT + RELEASE)
        while len(seen) < 4:
            line.receive()
    assert [(each.sent, each.kind, each.size_bytes, each.digest, each.whole) for each in seen] == [
        (True, "A-RELEASE-RQ", 10, keyed(RELEASE), True),
        (True, "A-ABORT", 10, keyed(ABORT), True),
        (False, "A-ABORT", 10, keyed(ABORT), True),
        (False, "A-RELEASE-RQ", 10, keyed(RELEASE), True),
    ]


@given(
    st.lists(st.tuples(st.integers(1, 7), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_however_pdus_are_cut_the_log_shows_the_same(pdus: list[tuple[int, bytes]], cuts: list[int]) -> None:
    raw = [bytes([kind, 0]) + len(body).to_bytes(4) + body for kind, body in pdus]
    data, seen = b"".join(raw), []
    line, theirs = paired("pdu", seen)
    with theirs, line:
        at = 0
        for index in range(len(data)):
            size = cuts[index % len(cuts)]
            theirs.sendall(data[at : at + size])
            if at < len(data):
                line.receive()
            at += size
    assert [(each.digest, each.whole) for each in seen] == [(keyed(each), True) for each in raw]


def test_a_pdu_of_four_gib_is_an_entry_that_says_it_is_not_whole() -> None:
    seen: list[Passed] = []
    line, theirs = paired("pdu", seen)
    with theirs, line:
        theirs.sendall(b"\x04\x00\xff\xff\xff\xff" + b"x" * 100)
        line.receive()
    assert [(each.kind, each.size_bytes, each.whole) for each in seen] == [("P-DATA-TF", 106, False)]


def test_what_is_no_pdu_is_one_entry() -> None:
    seen: list[Passed] = []
    line, theirs = paired("pdu", seen)
    with theirs, line:
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        line.receive()
    assert [(each.kind, each.size_bytes) for each in seen] == [("no PDU", 28)]


def test_endless_small_pdus_cost_a_bounded_number_of_entries() -> None:
    seen: list[Passed] = []
    line, theirs = paired("pdu", seen)
    with theirs, line:
        for _ in range(MAX_ENTRIES + 500):
            theirs.sendall(ABORT)
            line.receive()
    assert len(seen) == MAX_ENTRIES + 1
    assert seen[-1].kind == "more PDUs"
    assert sum(each.size_bytes for each in seen) == (MAX_ENTRIES + 500) * len(ABORT)


def test_http_is_a_message_until_the_other_side_speaks() -> None:
    seen: list[Passed] = []
    line, theirs = paired("http", seen)
    with theirs, line:
        line.send_all(b"GET / HTTP/1.1\r\n")
        line.send_all(b"\r\n")
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        line.receive()
        line.send_all(b"more")
    assert [(each.sent, each.kind, each.digest) for each in seen] == [
        (True, "http", keyed(b"GET / HTTP/1.1\r\n\r\n")),
        (False, "http", keyed(b"HTTP/1.1 200 OK\r\n\r\n")),
        (True, "http", keyed(b"more")),
    ]


def test_more_than_the_cap_is_hostile_and_ends_it() -> None:
    def flood(connection: socket.socket) -> None:
        while True:
            connection.sendall(bytes(65536))

    with served(flood) as port, line_to(port, "raw", []) as line:
        with pytest.raises(Unanswered, match="max_received_bytes") as caught:
            read_on(line)
        assert caught.value.answer == Answer.HOSTILE
        assert line.received_bytes <= LIMITS.max_received_bytes + 65536


def test_a_byte_at_a_time_does_not_outlast_the_connections_time() -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not ended.wait(0.02):
            connection.sendall(b"x")

    limits = LineLimits(connect_s=5.0, connection_s=0.5, answer_s=60.0, max_received_bytes=1 << 20)
    with served(drip) as port:
        with line_to(port, "raw", [], limits) as line:
            line.settimeout(None)
            with pytest.raises(Unanswered) as caught:
                read_on(line)
        ended.set()
        assert caught.value.answer == Answer.TIMEOUT


def test_the_silent_the_closed_and_the_absent_are_told_apart() -> None:
    limits = LineLimits(connect_s=5.0, connection_s=20.0, answer_s=0.2, max_received_bytes=1 << 20)
    ended = threading.Event()
    with served(lambda _: ended.wait(30)) as port, line_to(port, "raw", [], limits) as line:
        with pytest.raises(Unanswered) as caught:
            line.receive()
        ended.set()
    assert caught.value.answer == Answer.TIMEOUT
    with served(lambda connection: connection.close()) as port, line_to(port, "raw", []) as line:
        assert line.receive() == b""
        assert line.failure is not None
        assert line.failure.answer == Answer.CLOSED
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unanswered) as caught:
        line_to(port, "raw", [])
    assert (caught.value.answer, caught.value.reason) == (Answer.UNREACHABLE, "connection refused")


def test_a_line_that_is_cut_off_from_another_thread_stops_waiting() -> None:
    ended = threading.Event()
    with served(lambda _: ended.wait(30)) as port, line_to(port, "raw", []) as line:
        threading.Timer(0.1, line.cut_off).start()
        assert line.receive() == b""
        ended.set()


def test_what_a_closed_line_is_asked_for_is_an_error_and_no_crash() -> None:
    line, theirs = paired("pdu", [])
    line.close()
    line.close()
    with theirs, pytest.raises(OSError, match="closed"):
        line.send(b"x")
    with pytest.raises(Unanswered):
        line.receive()
