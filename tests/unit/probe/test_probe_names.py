"""What is asked of name servers, and what is believed of their answers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import Unanswered
from strongroom.probe.permits import names
from strongroom.probe.permits.names import PTR, TXT, NameServers, addresses_of, system_name_servers

Answering = Callable[[bytes], list[bytes]]


@contextmanager
def name_server(answer: Answering, by_tcp: Answering | None = None) -> Iterator[NameServers]:
    """A name server on loopback that answers each query with these messages."""
    with (
        socket.create_server(("127.0.0.1", 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(stream.getsockname())

        def serve() -> None:
            while (got := datagrams.recvfrom(4096))[0] != b"end":
                for message in answer(got[0]):
                    datagrams.sendto(message, got[1])
                if by_tcp is not None:
                    connection, _ = stream.accept()
                    with connection:
                        query = connection.recv(4096)[2:]
                        for message in by_tcp(query):
                            connection.sendall(struct.pack(">H", len(message)) + message)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield NameServers((stream.getsockname(),))
        datagrams.sendto(b"end", datagrams.getsockname())
        thread.join(30)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_TIMEOUT_S", 0.3)


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer_to(query: bytes, *records: tuple[int, bytes], flags: int = 0x8180, owner: bytes = b"\xc0\x0c") -> bytes:
    """An answer to ``query`` with records of a type and its data."""
    head = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    body = b"".join(owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return head + query[12:] + body


def text(words: bytes) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in (words[i : i + 255] for i in range(0, len(words), 255)))


def test_texts_are_read_whole_and_other_records_passed_over() -> None:
    records = ((TXT, text(b"x" * 300)), (5, encoded("a.example")), (TXT, text(b"two")))
    with name_server(lambda query: [answer_to(query, *records)]) as servers:
        assert servers.texts_of("_strongroom-probe.pacs.example") == ("x" * 300, "two")


def test_what_is_asked_is_one_question_for_that_name() -> None:
    asked: list[bytes] = []
    with name_server(lambda query: [asked.append(query) or answer_to(query)]) as servers:  # type: ignore[func-returns-value]
        assert servers.texts_of("a.example.") == ()
        assert servers.names_of("192.0.2.5") == frozenset()
    assert asked[0][2:] == bytes.fromhex("01000001000000000000") + encoded("a.example") + struct.pack(">HH", TXT, 1)
    assert asked[1][12:] == encoded("5.2.0.192.in-addr.arpa") + struct.pack(">HH", PTR, 1)


def test_the_name_of_an_address_may_be_compressed() -> None:
    with name_server(lambda query: [answer_to(query, (PTR, b"\x04PACS\xc0\x16"))]) as servers:
        assert servers.names_of("192.0.2.5") == {"pacs.in-addr.arpa"}


@pytest.mark.parametrize("data", [b"\x04PACS\xc0\x17", b"\x04PACS\xff\xff", b"\x3fPACS", b"\xc0"])
def test_a_name_that_cannot_be_read_is_none(data: bytes) -> None:
    with (
        name_server(lambda query: [answer_to(query, (PTR, data))]) as servers,
        pytest.raises(Unanswered, match=r"the name of 192\.0\.2\.5 cannot be read"),
    ):
        servers.names_of("192.0.2.5")


def test_no_such_name_has_no_texts() -> None:
    with name_server(lambda query: [answer_to(query, flags=0x8183)]) as servers:
        assert servers.texts_of("a.example") == ()


def test_an_answer_that_was_cut_is_asked_for_again_over_tcp() -> None:
    whole = (TXT, text(b"all of it"))
    with name_server(
        lambda query: [answer_to(query, flags=0x8380)], lambda query: [answer_to(query, whole)]
    ) as servers:
        assert servers.texts_of("a.example") == ("all of it",)


def test_answers_to_other_questions_are_not_believed() -> None:
    forged = (TXT, text(b"forged"))

    def answer(query: bytes) -> list[bytes]:
        other_id = bytes([query[0] ^ 1, query[1]])
        return [other_id + answer_to(query, forged)[2:], answer_to(query, (TXT, text(b"true")))]

    with name_server(answer) as servers:
        assert servers.texts_of("a.example") == ("true",)
    with (
        name_server(lambda query: [answer_to(query[:12] + encoded("b.example") + query[-4:], forged)]) as servers,
        pytest.raises(Unanswered),
    ):
        servers.texts_of("a.example")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda answer: answer[:-3],
        lambda answer: answer[:14],
        lambda answer: answer[:2] + b"\x01\x80" + answer[4:],
        lambda answer: answer[:2] + b"\x81\x85" + answer[4:],
        lambda answer: b"",
    ],
)
def test_a_broken_answer_is_no_answer(break_it: Callable[[bytes], bytes]) -> None:
    with (
        name_server(lambda query: [break_it(answer_to(query, (TXT, text(b"abc"))))]) as servers,
        pytest.raises(Unanswered, match="no name server answered"),
    ):
        servers.texts_of("a.example")


def test_a_name_that_points_at_itself_ends() -> None:
    with name_server(lambda query: [answer_to(query, (PTR, b"\xc0\x0c"), owner=b"\xc0\x0c")]) as servers:
        assert servers.names_of("192.0.2.5") == {"5.2.0.192.in-addr.arpa"}
    loop = struct.pack(">H", 0xC000 | (12 + 24 + 4))
    with (
        name_server(lambda query: [answer_to(query, (PTR, loop), owner=loop)]) as servers,
        pytest.raises(Unanswered),
    ):
        servers.names_of("192.0.2.5")


@given(st.binary(max_size=120), st.sampled_from([0, 12, 40]))
@settings(max_examples=300, deadline=None)
def test_no_message_does_more_than_be_refused(junk: bytes, keep: int) -> None:
    query = b"\1\2" + bytes.fromhex("01000001000000000000") + encoded("a.example") + struct.pack(">HH", PTR, 1)
    message = answer_to(query, (PTR, b"\xc0\x0c"), (PTR, b"\x01a\xc0\x0c"))[:keep] + junk
    try:
        for whole, offset, _ in names._records(message, query, PTR):
            names._name(whole, offset)
    except (ValueError, IndexError, struct.error):
        pass


@pytest.mark.parametrize("name", ["a..example", "x" * 64 + ".example", ""])
def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    with name_server(lambda query: [answer_to(query)]) as servers, pytest.raises(Unanswered):
        servers.texts_of(name)


def test_the_systems_servers_are_those_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# nameserver 9.9.9.9\nsearch a\nnameserver 192.0.2.1\nnameserver ::1\n")
    assert system_name_servers(tmp_path / "resolv.conf").servers == (("192.0.2.1", 53), ("::1", 53))
    assert system_name_servers(tmp_path / "none").servers == (("127.0.0.1", 53),)


def test_a_name_without_addresses_and_one_that_takes_too_long_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "127.0.0.1" in addresses_of("localhost")
    with pytest.raises(Unanswered, match="has no address"):
        addresses_of("nobody.invalid")
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [] * ended.wait(30))
    with pytest.raises(Unanswered, match="not resolved in time"):
        addresses_of("slow.example", timeout_s=0.05)
    ended.set()
