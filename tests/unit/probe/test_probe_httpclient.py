"""Answers whole and in pieces, hostile ones, and what a connection is used for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_certificates import Issuer, Subject
from harness.probe_http import Page, Site, read_request, web
from harness.probe_listener import Visit, listening
from harness.probe_session import FAST, probed, target_with
from strongroom.errors import Unanswered
from strongroom.probe.model import Answer, Channel
from strongroom.probe.web.httpclient import MAX_HEAD_BYTES, HttpClient, Request, Response, ResponseReader

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\n"
    b"Set-Cookie: b=2\r\n\r\n4\r\nwiki\r\n6\r\npedia \r\n0\r\nTrailer: x\r\n\r\n"
)


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
def test_it_does_not_matter_how_an_answer_is_cut(cuts: list[int]) -> None:
    reader = ResponseReader()
    done = False
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(CHUNKED)], strict=True):
        if start != end and not done:
            done = reader.feed(CHUNKED[start:end])
    assert reader.response == Response(
        200,
        (("transfer-encoding", "chunked"), ("set-cookie", "a=1"), ("set-cookie", "b=2")),
        b"wikipedia ",
        False,
        True,
    )


def read(raw: bytes, max_body_bytes: int = 1000) -> Response:
    """The answer in ``raw``, after which the connection is closed."""
    reader = ResponseReader(max_body_bytes)
    reader.feed(raw)
    return reader.end()


def test_a_body_is_cut_at_its_cap() -> None:
    response = read(b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n" + bytes(5000))
    assert (len(response.body), response.cut, response.keeps_alive) == (1000, True, False)


def test_a_body_that_ends_before_its_length_is_marked() -> None:
    response = read(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
    assert (response.body, response.cut) == (b"short", True)


def test_a_body_may_end_with_the_connection() -> None:
    response = read(b"HTTP/1.0 200 OK\r\n\r\nall there is")
    assert (response.body, response.cut, response.keeps_alive) == (b"all there is", False, False)


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", Answer.OTHER),
        (b"\x15\x03\x01\0\x02\x02\x46", Answer.OTHER),
        (b"\x07\0\0\0\0\4\0\0\2\1", Answer.OTHER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", Answer.HOSTILE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Answer.HOSTILE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", Answer.HOSTILE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (4 * MAX_HEAD_BYTES), Answer.HOSTILE),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 20, Answer.HOSTILE),
        (b"HTTP/1.1 999999 ?\r\n\r\n", Answer.HOSTILE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10", Answer.CLOSED),
        (b"", Answer.CLOSED),
    ],
)
def test_what_is_no_answer_is_told_in_a_word(raw: bytes, answer: Answer) -> None:
    with pytest.raises(Unanswered) as caught:
        read(raw)
    assert caught.value.answer == answer


def test_trailers_without_an_end_are_cut() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    piece = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(500))
    with pytest.raises(Unanswered, match="hostile"):
        _feed_all(reader, [piece] * 10)


def _feed_all(reader: ResponseReader, pieces: list[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_no_answer(raw: bytes) -> None:
    assert refusal_of(b"HTTP/1.1 200 OK\r\n" + raw) in ("", *Answer)


def refusal_of(raw: bytes) -> str:
    try:
        read(raw)
    except Unanswered as error:
        return error.answer
    return ""


def keeping_alive(visit: Visit) -> None:
    """A server that answers on one connection for as long as it is asked."""
    while (asked := read_request(visit)) is not None:
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(asked.target), asked.target.encode()))


def ask_all(client: HttpClient, targets: list[str]) -> list[Response | Unanswered]:
    """The answers to one question after the other, up to one that ends it all."""
    found: list[Response | Unanswered] = []
    for target in targets:
        try:
            found.append(client.ask(Request(target)))
        except Unanswered as error:
            found.append(error)
            break
    return found


def test_questions_go_over_one_connection_while_it_is_kept() -> None:
    with listening(keeping_alive) as server:
        session = probed(target_with(http_ports=(server.port,))).session
        with HttpClient(session, server.port, Channel.PLAIN) as client:
            found = ask_all(client, [f"/{number}" for number in range(5)])
    assert [answer.body for answer in found if isinstance(answer, Response)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert (session.connections, client.requests) == (1, 5)


def test_each_question_of_a_connection_waits_for_its_turn() -> None:
    with listening(keeping_alive) as server:
        rates = replace(FAST, interval_s=0.05)
        session = probed(target_with(http_ports=(server.port,)), rates=rates).session
        paced: list[None] = []
        original = session.pace
        session.pace = lambda: paced.append(original())  # type: ignore[method-assign]
        with HttpClient(session, server.port, Channel.PLAIN) as client:
            ask_all(client, ["/"] * 4)
    assert len(paced) == 3


def test_a_server_that_closes_costs_connections_and_is_left_in_time() -> None:
    with web(Site({"/*": Page(200, "x")})) as site:
        session = probed(target_with(http_ports=(site.port,))).session
        with HttpClient(session, site.port, Channel.PLAIN, most=3) as client:
            found = ask_all(client, ["/"] * 5)
    assert [isinstance(answer, Response) for answer in found] == [True, True, True, False]
    assert session.connections == 3


def test_a_request_says_who_asks_and_asks_for_nothing_compressed(tmp_path: Path) -> None:
    pair = Issuer(tmp_path).issue("web", Subject("web"))
    with web(Site({"/a": Page(204)}), tls=pair.server_context()) as site:
        session = probed(target_with(http_ports=(site.port,))).session
        with HttpClient(session, site.port, Channel.TLS) as client:
            assert client.ask(Request("/a?b=c", headers=(("Origin", "https://x.invalid"),))).status == 204
        port = site.port
    asked = site.asked[0]
    assert (asked.method, asked.target) == ("GET", "/a?b=c")
    assert asked.headers["host"] == f"127.0.0.1:{port}"
    assert asked.headers["user-agent"].startswith("strongroom-probe/")
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["origin"] == "https://x.invalid"


def dripping(visit: Visit) -> None:
    visit.read_some()
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while visit.send(b"x") and not visit.stopping.wait(0.05):
        pass


def flooding(visit: Visit) -> None:
    visit.read_some()
    visit.send(b"HTTP/1.1 200 OK\r\n")
    while visit.send(b"X: y\r\n" * 1000):
        pass


def silent(visit: Visit) -> None:
    visit.wait_until_closed()


@pytest.mark.parametrize(
    ("handle", "answer"), [(dripping, Answer.TIMEOUT), (flooding, Answer.HOSTILE), (silent, Answer.TIMEOUT)]
)
def test_a_server_that_never_ends_costs_one_connection(handle: Callable[[Visit], None], answer: Answer) -> None:
    with listening(handle) as server:
        rates = replace(FAST, answer_s=0.5)
        session = probed(target_with(http_ports=(server.port,)), rates=rates).session
        with HttpClient(session, server.port, Channel.PLAIN) as client:
            found = ask_all(client, ["/"] * 5)
    assert len(found) == 1
    assert isinstance(found[0], Unanswered)
    assert found[0].answer == answer
    assert len(server.visits) == 1


def test_a_question_is_due_sooner_than_a_connection_and_not_at_once() -> None:
    with listening(keeping_alive) as server:
        rates = replace(FAST, interval_s=0.4)
        session = probed(target_with(http_ports=(server.port,)), rates=rates).session
        began = time.monotonic()
        with HttpClient(session, server.port, Channel.PLAIN) as client:
            ask_all(client, ["/"] * 5)
        with HttpClient(session, server.port, Channel.PLAIN) as client:
            client.ask(Request("/"))
        assert time.monotonic() - began >= 4 * 0.1 + 0.4
        assert server.visits[1].opened_s - server.visits[0].opened_s >= 0.4 + 4 * 0.1
