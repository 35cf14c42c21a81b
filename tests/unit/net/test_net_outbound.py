"""One request out: whom it trusts, how long it waits, how much it takes, and that it goes nowhere else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from harness.oidc_hostile import Hostile, Said, hostile
from harness.oidc_provider import free_port
from strongroom.errors import ConfigError, PeerUnavailable
from strongroom.net.outbound import Question, Reply, ask
from strongroom.net.tls import public_context

ENOUGH_S = 20.0
"""Far more than a deadline of a second takes on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    with hostile(tmp_path_factory.mktemp("outbound") / "server", free_port()) as running:
        yield running


def asked(server: Hostile, said: Said, body: bytes | None = None, timeout_s: float = 10.0) -> Reply:
    server.answers["/x"] = lambda: said
    trust = public_context(server.files.authority.read_text())
    return ask(Question(f"{server.issuer}/x", "the server", 100, timeout_s, body, {"Accept": "a/b"}, trust))


def test_an_answer_is_what_was_said(server: Hostile) -> None:
    assert asked(server, Said(b"x" * 100, 418, {"Content-Type": "Text/Plain; a=b"})) == Reply(
        418, "text/plain", b"x" * 100
    )
    assert asked(server, Said(b""), b"a=b").body == b""
    assert server.asked[-1] == ("/x", {"a": ["b"]})


def test_a_redirection_is_an_answer_like_any_other(server: Hostile) -> None:
    server.asked.clear()
    assert asked(server, Said(b"", 302, {"Location": f"{server.issuer}/elsewhere"})).status == 302
    assert [path for path, _ in server.asked] == ["/x"]


NONE = {
    "too long": Said(b"x" * 101),
    "too short": Said(b"x", headers={"Content-Length": "50"}),
    "no chunk": Said(b"zz\r\n", headers={"Transfer-Encoding": "chunked"}),
    "many headers": Said(b"", headers={f"X-{number}": "y" for number in range(200)}),
    "long header": Said(b"", headers={"X": "y" * 70_000}),
}


@pytest.mark.parametrize("said", NONE.values(), ids=NONE.keys())
def test_an_answer_that_is_too_much_or_none_is_refused(server: Hostile, said: Said) -> None:
    with pytest.raises(PeerUnavailable):
        asked(server, said)


def test_an_answer_that_trickles_is_cut_at_the_deadline(server: Hostile) -> None:
    began = time.monotonic()
    with pytest.raises(PeerUnavailable):
        asked(server, Said(b"x" * 100, each_s=0.3), timeout_s=1.0)
    assert time.monotonic() - began < ENOUGH_S


def test_whoever_accepts_and_says_nothing_is_cut_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("https", "http"):
            with pytest.raises(PeerUnavailable, match=r"127\.0\.0\.1"):
                ask(Question(f"{scheme}://127.0.0.1:{port}/", "it", 100, 1.0))


def test_a_certificate_has_to_be_good_for_the_name_and_of_the_named_authority(server: Hostile) -> None:
    url = f"{server.issuer}/x"
    own = public_context(server.files.authority.read_text())
    for there, trust in ((url, None), (url.replace("127.0.0.1", "127.0.0.2"), own)):
        with pytest.raises(PeerUnavailable):
            ask(Question(there, "it", 100, 5.0, trust=trust))
    with pytest.raises(ConfigError):
        public_context("no certificate")


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/", "https://nowhere.invalid/", "https:///x", "https://a:b/"])
def test_nobody_there_is_nobody_there(url: str) -> None:
    with pytest.raises(PeerUnavailable):
        ask(Question(url, "it", 100, 5.0))
