"""Whether a run may begin: when, whither, and for a public address, with whose leave."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from harness.probe_session import scope_text
from strongroom.errors import OutOfScope, Unanswered
from strongroom.probe.permits.permit import (
    TOKEN_PATH,
    Proof,
    Sources,
    proof_text,
    require_inside,
    require_permitted,
    token_at,
)
from strongroom.probe.permits.scope import Ownership, ScopeTarget
from strongroom.probe.permits.scopefile import parse_scope
from strongroom.probe.permits.signing import SignedScope, Signer

SIGNER = Signer(b"k" * 32, "test")
NOW = dt.datetime(2026, 11, 22, 22, 0, tzinfo=dt.UTC)
LINE = proof_text(SIGNER)
PUBLIC = "addresses = ['203.0.113.5']\nhttp_ports = [80]\n"


@dataclass
class World:
    """What name servers and public addresses say, and whom they were asked about."""

    addresses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def sources(self) -> Sources:
        def of(known: Mapping[str, object], default: object) -> Callable[..., object]:
            def ask(*what: object) -> object:
                self.asked.append(str(what[-1]))
                if what[-1] not in known and default is None:
                    raise Unanswered("failed", f"{what[-1]} has no address")
                return known.get(str(what[-1]), default)

            return ask

        return Sources(of(self.addresses, None), of(self.names, frozenset()), of(self.texts, ()), of(self.tokens, ""))  # type: ignore[arg-type]


def signed(raw: bytes) -> SignedScope:
    return SignedScope(raw, "d", SIGNER, "2026-11-22T12:00:00+00:00")


def permitted(raw: bytes, world: World | None = None, only: tuple[str, ...] = (), now: dt.datetime = NOW) -> list[str]:
    """The addresses that may be probed."""
    permit = require_permitted(signed(raw), now, only, (world or World()).sources())
    return [address for _, address in permit.addresses()]


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ("2026-11-22T19:59:59+01:00", r"not valid yet: its window begins at 2026-11-22T20:00:00\+01:00"),
        ("2026-11-23T06:00:00+01:00", "has expired: its window ended at .* sign again"),
    ],
)
def test_before_and_after_the_window_nobody_is_asked_anything(now: str, says: str) -> None:
    world = World()
    raw = scope_text("addresses = ['127.0.0.1']\nhost = 'pacs.example'")
    with pytest.raises(OutOfScope, match=says):
        permitted(raw, world, now=dt.datetime.fromisoformat(now))
    assert world.asked == []


def test_outside_the_hours_of_the_day_nobody_is_asked_anything() -> None:
    world = World()
    window = "start = 2026-11-01T00:00:00Z\nend = 2026-12-01T00:00:00Z\ndaily_from = 01:00:00\ndaily_until = 05:00:00"
    raw = scope_text("addresses = ['127.0.0.1']\nhost = 'pacs.example'", window=window)
    with pytest.raises(OutOfScope, match=r"allows 01:00:00 to 05:00:00 \(UTC"):
        permitted(raw, world)
    assert world.asked == []


def test_loopback_needs_nothing_but_the_file() -> None:
    assert permitted(scope_text()) == ["127.0.0.1"]


@pytest.mark.parametrize("only", ["10.0.0.9", "elsewhere", "pacs.example.org", "10.0.0.0/8", "", "::1"])
def test_a_target_that_is_not_in_the_scope_is_refused_before_anybody_is_asked(only: str) -> None:
    world = World()
    raw = scope_text("addresses = ['127.0.0.1']\nhost = 'pacs.example'")
    with pytest.raises(OutOfScope, match="is not in the scope: add it to a target"):
        permitted(raw, world, (only,))
    assert world.asked == []


def test_a_part_of_the_scope_is_probed_alone() -> None:
    raw = scope_text("addresses = ['127.0.0.1', '127.0.0.2']\n[[target]]\nname = 'ct'\naddresses = ['127.0.0.3']")
    assert permitted(raw, only=("127.0.0.2",)) == ["127.0.0.2"]
    assert permitted(raw, only=("ct", "127.0.0.1")) == ["127.0.0.1", "127.0.0.3"]
    assert [target.name for target in require_inside(parse_scope(raw), ())] == ["pacs", "ct"]


def test_an_excluded_address_is_not_in_the_scope() -> None:
    raw = scope_text("addresses = ['127.0.0.0/29']\nexclude = ['127.0.0.4']\nno_modalities = true")
    assert "127.0.0.4" not in permitted(raw)
    with pytest.raises(OutOfScope):
        permitted(raw, only=("127.0.0.4",))


NAMED = scope_text("addresses = ['127.0.0.1', '127.0.0.2']\nhost = 'pacs.example'")


def test_of_a_name_only_the_addresses_it_leads_to_are_probed() -> None:
    assert permitted(NAMED, World({"pacs.example": frozenset({"127.0.0.2"})})) == ["127.0.0.2"]


def test_an_address_that_the_name_does_not_lead_to_now_is_no_empty_run() -> None:
    world = World({"pacs.example": frozenset({"127.0.0.2"})})
    with pytest.raises(OutOfScope, match="nothing of what was asked for can be probed"):
        permitted(NAMED, world, ("127.0.0.1",))


@pytest.mark.parametrize("elsewhere", [{"127.0.0.3"}, {"127.0.0.1", "10.0.0.5"}, {"::1"}, {"203.0.113.5"}])
def test_a_name_that_leads_elsewhere_ends_the_run(elsewhere: set[str]) -> None:
    with pytest.raises(OutOfScope, match=r"pacs\.example resolves to .*, which the scope does not list"):
        permitted(NAMED, World({"pacs.example": frozenset(elsewhere)}))


def test_a_name_that_leads_nowhere_ends_the_run() -> None:
    with pytest.raises(OutOfScope, match=r"target pacs: pacs\.example has no address"):
        permitted(NAMED, World())


def test_a_name_is_asked_for_once() -> None:
    world = World({"pacs.example": frozenset({"127.0.0.2"})})
    permit = require_permitted(signed(NAMED), NOW, (), world.sources())
    assert list(permit.addresses()) == list(permit.addresses())
    assert world.asked == ["pacs.example"]


def test_a_public_address_needs_the_token_of_this_very_key() -> None:
    raw = scope_text(PUBLIC + "ownership = 'token'")
    permit = require_permitted(signed(raw), NOW, (), World(tokens={"203.0.113.5": f"# proof\n{LINE}\n"}).sources())
    assert permit.proofs == (Proof("pacs", "203.0.113.5", Ownership.TOKEN),)
    for token in ("", LINE[:-1], LINE.lower(), proof_text(Signer(b"j" * 32)), f"x{LINE}"):
        with pytest.raises(OutOfScope, match=f"nothing proves that it is yours: serve the line .*{TOKEN_PATH}"):
            permitted(raw, World(tokens={"203.0.113.5": token}))


def test_a_record_in_dns_counts_if_the_address_has_that_name_itself() -> None:
    raw = scope_text(PUBLIC + "ownership = 'dns'\nhost = 'pacs.example'")
    there = {"pacs.example": frozenset({"203.0.113.5"})}
    texts = {"_strongroom-probe.pacs.example": ("other", LINE)}
    mine = {"203.0.113.5": frozenset({"pacs.example"})}
    assert permitted(raw, World(there, mine, texts)) == ["203.0.113.5"]
    with pytest.raises(OutOfScope, match=r"add the record _strongroom-probe\.pacs\.example TXT"):
        permitted(raw, World(there, mine, {}))


def test_a_name_of_mine_that_leads_to_an_address_of_somebody_elses_proves_nothing() -> None:
    raw = scope_text(PUBLIC + "ownership = 'dns'\nhost = 'attacker.example'")
    there = {"attacker.example": frozenset({"203.0.113.5"})}
    texts = {"_strongroom-probe.attacker.example": (LINE,)}
    victim = {"203.0.113.5": frozenset({"pacs.victim.example"})}
    with pytest.raises(OutOfScope, match=r"its own name \(PTR\) is not attacker\.example"):
        permitted(raw, World(there, victim, texts))


def test_only_the_public_addresses_that_are_meant_are_asked_for_proof() -> None:
    raw = scope_text("addresses = ['203.0.113.5']\nownership = 'token'\n[[target]]\nname='me'\naddresses=['127.0.0.1']")
    world = World()
    assert permitted(raw, world, ("me",)) == ["127.0.0.1"]
    assert world.asked == []


@contextmanager
def web_server(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives everybody this answer; its port and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        asked.append(connection.recv(4096))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], asked
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def target_at(port: int) -> ScopeTarget:
    return ScopeTarget("t", (), http_ports=(port,), host="pacs.example")


def test_the_token_is_asked_of_the_address_whatever_names_it_has() -> None:
    with web_server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc") as (port, asked):
        assert token_at(target_at(port), "127.0.0.1") == "abc"
    head = asked[0].decode()
    assert head.startswith(f"GET {TOKEN_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert "User-Agent: strongroom-probe/" in head


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n" + LINE.encode(),
        b"HTTP/1.1 404 Not Found\r\n\r\n" + LINE.encode(),
        LINE.encode(),
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 20),
    ],
)
def test_a_redirect_an_error_and_a_flood_are_no_token(answer: bytes) -> None:
    with web_server(answer) as (port, _):
        assert LINE not in token_at(target_at(port), "127.0.0.1")
