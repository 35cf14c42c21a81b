"""A running server against whoever reaches its port: it keeps its memory, goes on serving others, and tells the trail.

Every attack runs beside an honest client that stores and echoes the whole time. The name that the hostile data sets and
queries carry must never appear in what the server prints, nor in any file that it writes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness import archives, wire
from harness.archives import RunningArchive
from harness.wire import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    COMMAND,
    CT_IMAGE_STORAGE,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    LAST,
    P_DATA_TF,
    STUDY_ROOT_FIND,
    VERIFICATION,
    Asks,
    RawPeer,
    command,
    ct_image,
    explicit,
    extended_negotiation,
    identifier,
    p_data,
    pdu,
    pdv,
    store_command,
)
from strongroom.archive.model import Action, Event, Outcome
from strongroom.net import connection

PLANTED = "PLANTED^PATIENT"
MAX_GROWTH_BYTES = 16 * 2**20
CONTEXTS = [
    (VERIFICATION, (IMPLICIT,)),
    (CT_IMAGE_STORAGE, (EXPLICIT,)),
    (CT_IMAGE_STORAGE, (DEFLATED,)),
    (STUDY_ROOT_FIND, (IMPLICIT,)),
]
ECHO, STORE, STORE_DEFLATED, FIND = 1, 3, 5, 7
LIMITS = {
    "artim_timeout_s": 4.0,
    "tls_handshake_timeout_s": 2.0,
    "max_associations": 300,
    "max_associations_per_peer": 280,
    "max_associations_per_address": 290,
    "max_pdu_body_bytes": 65536,
    "max_message_bytes": 4 * 2**20,
    "max_identifier_bytes": 64 * 1024,
    "max_header_bytes": 128 * 1024,
    "max_element_depth": 16,
    "max_element_count": 5000,
    "max_element_value_bytes": 32 * 1024,
    "max_inflate_ratio": 50,
    "max_query_results": 5,
}
_numbers = count(1)


@pytest.fixture(scope="module", params=[0, 2], ids=["alone", "workers"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    exception = {"peer": "OLD", "addresses": "127.0.0.1/32", "expires": archives.SOON, "port": 0, "reason": "old"}
    home = archives.new_home(
        tmp_path_factory.mktemp("attack") / "home",
        {
            "dicom": {"workers": request.param},
            "limits": LIMITS,
            "index": {"cache_mib": 4},
            "unsafe_plaintext": [exception],
        },
    )
    with archives.opened(home) as opened:
        for aet in ("HONEST", "HOSTILE", "OLD"):
            archives.add_peer(opened, aet)
    with archives.serving(home) as running:
        with Honest(running) as warm_up:
            warm_up.wait_for_rounds(20)
        yield running


class Honest:
    """A client that echoes and stores all the time, on one association; what goes wrong is kept."""

    def __init__(self, archive: RunningArchive) -> None:
        self._archive = archive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.rounds = 0
        self.failures: list[object] = []
        self.most_bytes = 0

    def __enter__(self) -> Honest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _work(self) -> None:
        try:
            with RawPeer(self._archive.port, self._archive.credentials("HONEST")) as peer:
                assert peer.associate(Asks("HONEST", contexts=CONTEXTS))[0] == A_ASSOCIATE_AC
                while not self._stop.is_set():
                    self._round(peer)
                    self._stop.wait(0.005)
                peer.release()
        except Exception as error:
            self.failures.append(error)

    def _round(self, peer: RawPeer) -> None:
        sop, image = ct_image(next(_numbers))
        peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image, context_id=STORE)
        statuses = (peer.read_status(), peer.echo())
        if statuses != (0, 0):
            self.failures.append(statuses)
        self.most_bytes = max(self.most_bytes, self._archive.resident_bytes())
        self.rounds += 1

    def wait_for_rounds(self, more: int, timeout_s: float = 10.0) -> None:
        """Return when it was served so many times more."""
        wanted, deadline = self.rounds + more, time.monotonic() + timeout_s
        while self.rounds < wanted and not self.failures and time.monotonic() < deadline:
            self._stop.wait(0.002)
        assert (self.failures, self.rounds >= wanted) == ([], True), "others are not served any more"


class Attack:
    """One attack under way: where the trail stood before it, and whether others are served."""

    def __init__(self, archive: RunningArchive, honest: Honest) -> None:
        self.since = len(archive.served_events())
        self.honest = honest
        self._archive = archive

    def others_are_served(self) -> None:
        """Return if the honest client goes on, right now."""
        self.honest.wait_for_rounds(3)

    def is_recorded(self, wanted: Callable[[Event], bool]) -> Event:
        """The event that tells of it."""
        return self._archive.wait_for_event(wanted, self.since)

    def is_refused(self, action: Action, reason: str) -> Event:
        """The event that says that it was refused."""
        return self.is_recorded(
            lambda event: (
                (event.action, event.outcome, event.details.get("reason")) == (action, Outcome.REFUSED, reason)
            )
        )

    def ended_association(self, why: str) -> Event:
        """The end of the hostile peer's association, that says why."""
        return self.is_recorded(
            lambda event: (
                event.principal.aet == "HOSTILE"
                and event.outcome is Outcome.FAILED
                and why in str(event.details.get("end"))
            )
        )


@pytest.fixture
def attack(archive: RunningArchive) -> Iterator[Attack]:
    """An attack beside an honest client; memory and output are looked at when it is over."""
    with Honest(archive) as honest:
        honest.wait_for_rounds(1)
        before = archive.resident_bytes()
        attack = Attack(archive, honest)
        yield attack
        attack.others_are_served()
    assert honest.most_bytes - before < MAX_GROWTH_BYTES
    assert honest.failures == []
    assert PLANTED not in archive.output
    assert "Traceback" not in archive.output


@contextlib.contextmanager
def hostile(archive: RunningArchive, contexts: Any = CONTEXTS) -> Iterator[RawPeer]:
    """An established association of a registered peer with bad intentions."""
    with RawPeer(archive.port, archive.credentials("HOSTILE")) as peer:
        assert peer.associate(Asks("HOSTILE", contexts=contexts))[0] == A_ASSOCIATE_AC
        yield peer


@contextlib.contextmanager
def connected(archive: RunningArchive) -> Iterator[RawPeer]:
    with RawPeer(archive.port, archive.credentials("HOSTILE")) as peer:
        yield peer


# --- the upper layer


@pytest.mark.parametrize("pdu_type", [1, 2, 3, 4, 5, 6, 7, 0x99])
def test_four_gigabytes_are_announced_instead_of_a_request(
    archive: RunningArchive, attack: Attack, pdu_type: int
) -> None:
    with connected(archive) as peer:
        peer.send(struct.pack(">BBI", pdu_type, 0, 2**32 - 1) + bytes(1024))
        attack.others_are_served()
        assert peer.ends()
    attack.is_refused(Action.ASSOCIATION, "protocol-error")


def test_four_gigabytes_are_announced_within_an_association(archive: RunningArchive, attack: Attack) -> None:
    with hostile(archive) as peer:
        peer.send(struct.pack(">BBI", P_DATA_TF, 0, 2**32 - 1) + bytes(60_000))
        assert peer.read_pdu()[0] == A_ABORT
        attack.others_are_served()
    attack.ended_association("")


@pytest.mark.parametrize("length", [2**32 - 1, 2**16, 3, 1, 0])
def test_a_pdv_is_longer_than_its_pdu_or_too_short(archive: RunningArchive, attack: Attack, length: int) -> None:
    with hostile(archive) as peer:
        peer.send(pdu(P_DATA_TF, struct.pack(">IBB", length, ECHO, COMMAND | LAST)))
        assert peer.read_pdu()[0] == A_ABORT
    attack.ended_association("")


def test_a_request_has_more_contexts_than_there_are_ids(archive: RunningArchive, attack: Attack) -> None:
    with connected(archive) as peer:
        asks = Asks("HOSTILE", contexts=[(VERIFICATION, (IMPLICIT,))] * 129)
        assert peer.associate(asks)[0] in (A_ABORT, A_ASSOCIATE_RJ)
    attack.is_refused(Action.ASSOCIATION, "protocol-error")


def test_a_second_request_comes_within_an_association(archive: RunningArchive, attack: Attack) -> None:
    with hostile(archive) as peer:
        assert peer.associate(Asks("HOSTILE"))[0] == A_ABORT
    attack.ended_association("")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x00" * 4096,
        b"\xff" * 4096,
        b"SSH-2.0-probe\r\n",
        b"",
    ],
    ids=["http", "tls", "zeros", "ones", "ssh", "nothing"],
)
@pytest.mark.parametrize("on_tls", [True, False])
def test_something_else_than_dicom_calls(archive: RunningArchive, attack: Attack, data: bytes, on_tls: bool) -> None:
    """On the TLS port nothing gets further than the handshake; without TLS no further than the first PDU."""
    with RawPeer(archive.port if on_tls else archive.plaintext_ports[0]) as peer:
        peer.send(data)
        with contextlib.suppress(OSError):  # it has closed already
            peer.sock.shutdown(socket.SHUT_WR)
        assert peer.ends()
    plain = "protocol-error" if len(data) > 6 else "closed-without-request"
    attack.is_refused(Action.ASSOCIATION, "tls-handshake" if on_tls else plain)


def test_two_hundred_connections_do_nothing(archive: RunningArchive, attack: Attack) -> None:
    """Strangers: whoever reaches the port can do this."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(RawPeer(archive.port))
        attack.others_are_served()


@pytest.mark.parametrize("go", ["handshake", "association"])
def test_two_hundred_connections_of_a_peer_do_nothing(archive: RunningArchive, attack: Attack, go: str) -> None:
    """A registered peer gets further, with a TLS session and a thread of its own: less than 82 KiB for each."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(archive) if go == "handshake" else hostile(archive))
        attack.others_are_served()


# --- messages


def test_a_command_set_has_no_end(archive: RunningArchive, attack: Attack) -> None:
    with hostile(archive) as peer:
        for _ in range(64):
            peer.send(p_data(pdv(ECHO, COMMAND, bytes(16000))))
        assert peer.read_pdu()[0] in (A_ABORT, 0)
    attack.ended_association("")


def test_a_data_set_has_no_end(archive: RunningArchive, attack: Attack) -> None:
    sop, image = ct_image(next(_numbers), name=PLANTED, pixels=0)
    with hostile(archive) as peer:
        peer.send(p_data(pdv(STORE, COMMAND | LAST, store_command(1, CT_IMAGE_STORAGE, sop))))
        peer.send(p_data(pdv(STORE, 0, image[:-12] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 2**32 - 2))))
        for _ in range(160):
            peer.send(p_data(pdv(STORE, 0, bytes(60_000))))
        attack.others_are_served()
        # Taken to its end and refused, or cut off: never kept.
        peer.send(p_data(pdv(STORE, LAST, bytes(2))))
        assert peer.read_status() in (-1, 0xC003, 0xA700)
    attack.is_recorded(lambda event: "max_message_bytes" in repr(dict(event.details)))


def test_the_study_is_not_named_for_a_long_time(archive: RunningArchive, attack: Attack) -> None:
    """Until the study is known the bytes are held in memory: that ends at max_header_bytes."""
    head = explicit(0x00080016, "UI", CT_IMAGE_STORAGE.encode()) + explicit(0x00080018, "UI", b"1.2.3")
    filler = b"".join(explicit(0x00090000 + 16 + number % 200, "LO", b"x" * 60) for number in range(4))
    fields = b"".join(explicit(0x00091000 + number, "UT", b"x" * 1000) for number in range(400))
    with hostile(archive) as peer:
        peer.ask(store_command(1, CT_IMAGE_STORAGE, "1.2.3"), head + filler + fields, context_id=STORE)
        assert peer.read_status() in (0xC003, 0xC002)
    attack.is_recorded(lambda event: event.action is Action.STORE and event.outcome is Outcome.REFUSED)


def nested(depth: int) -> bytes:
    """Sequences within sequences, none of which ends."""
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 2**32 - 1
    )
    return opened * depth


HOSTILE_ELEMENTS = {
    "over-max_element_depth": nested(100_000),
    "over-max_element_count": b"".join(explicit(0x00091000 + number, "LO", b"") for number in range(6000)),
    "over-max_element_value_bytes": explicit(0x00104000, "UT", b"x" * 40_000),
}


@pytest.mark.parametrize("reason", HOSTILE_ELEMENTS)
def test_a_data_set_is_made_to_hurt(archive: RunningArchive, attack: Attack, reason: str) -> None:
    sop, image = ct_image(next(_numbers), name=PLANTED)
    position = image.index(struct.pack("<HH", 0x0010, 0x0010))
    with hostile(archive) as peer:
        data = image[:position] + HOSTILE_ELEMENTS[reason] + image[position:]
        peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), data, context_id=STORE)
        assert peer.read_status() == 0xC003
        assert peer.echo() == 0
    attack.is_refused(Action.STORE, reason)


def test_a_small_data_set_inflates_without_end(archive: RunningArchive, attack: Attack) -> None:
    sop, image = ct_image(next(_numbers), name=PLANTED, pixels=0)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(image[:-12] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 96 * 2**20))
    for _ in range(96):
        bomb += deflate.compress(bytes(2**20))
    bomb += deflate.flush()
    with hostile(archive) as peer:
        peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), bomb, context_id=STORE_DEFLATED)
        assert peer.read_status() == 0xC003
    attack.is_refused(Action.STORE, "over-max_inflate_ratio")


@pytest.mark.parametrize("at", [10, 100, 150, 200, 260, 300])
def test_a_data_set_ends_too_soon(archive: RunningArchive, attack: Attack, at: int) -> None:
    sop, image = ct_image(next(_numbers), name=PLANTED)
    with hostile(archive) as peer:
        peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image[:at], context_id=STORE)
        assert peer.read_status() >= 0xA700
        assert peer.echo() == 0
    attack.is_recorded(lambda event: event.action is Action.STORE and event.outcome is Outcome.REFUSED)


def test_the_sender_vanishes_in_the_middle_of_an_object(archive: RunningArchive, attack: Attack) -> None:
    sop, image = ct_image(next(_numbers), name=PLANTED)
    for _ in range(20):
        with hostile(archive) as peer:
            peer.send(p_data(pdv(STORE, COMMAND | LAST, store_command(1, CT_IMAGE_STORAGE, sop))))
            peer.send(p_data(pdv(STORE, 0, image)))
    attack.is_recorded(lambda event: "during a service" in str(event.details.get("end")))


# --- queries


def find(peer: RawPeer, keys: dict[int, bytes]) -> list[int]:
    """The statuses of a C-FIND at STUDY level."""
    peer.ask(command(wire.C_FIND_RQ, 1, STUDY_ROOT_FIND, dataset=True), identifier("STUDY", keys), context_id=FIND)
    statuses = [peer.read_status()]
    while statuses[-1] in (0xFF00, 0xFF01):
        kind, body = peer.read_pdu()
        if kind != P_DATA_TF:
            return [*statuses, -1]
        at = body.find(struct.pack("<HHI", 0, 0x0900, 2))
        if at >= 0:
            statuses.append(struct.unpack_from("<H", body, at + 8)[0])
    return statuses


def test_an_identifier_is_larger_than_any_query(archive: RunningArchive, attack: Attack) -> None:
    with hostile(archive) as peer:
        huge = identifier("STUDY", {0x00100010: PLANTED.encode() + b"*" * 2**20})
        peer.ask(command(wire.C_FIND_RQ, 1, STUDY_ROOT_FIND, dataset=True), huge, context_id=FIND)
        assert peer.read_status() == 0xA700
    attack.is_recorded(lambda event: "max_identifier_bytes" in repr(dict(event.details)))


def test_a_query_has_too_many_answers(archive: RunningArchive, attack: Attack) -> None:
    with hostile(archive) as peer:
        statuses = find(peer, {0x0020000D: b""})
    assert statuses[-1] == 0xB001
    assert statuses[:-1] == [0xFF00] * LIMITS["max_query_results"]
    asked = attack.is_recorded(lambda event: event.action is Action.QUERY)
    assert (asked.details["results"], asked.details["truncated"]) == (LIMITS["max_query_results"], True)


def test_a_pattern_is_made_of_stars(archive: RunningArchive, attack: Attack) -> None:
    """Runs of stars count once; what is left over the cap is refused, what is not takes no time."""
    started = time.monotonic()
    with hostile(archive) as peer:
        assert find(peer, {0x00100010: b"*" * 10_000 + b"nobody"}) == [0x0000]
        assert find(peer, {0x00100010: b"*a" * 5_000}) == [0xA700]
        assert find(peer, {0x00081030: b"*?" * 250 + b"z", 0x00100010: b"*T*E" * 100 + b"q"}) == [0x0000]
    attack.is_refused(Action.QUERY, "max_query_pattern_chars")
    assert time.monotonic() - started < 5


def test_extended_negotiation_of_any_length_is_survived(archive: RunningArchive, attack: Attack) -> None:
    with connected(archive) as peer:
        user = extended_negotiation(STUDY_ROOT_FIND, b"\1" * 30_000)
        assert peer.associate(Asks("HOSTILE", contexts=CONTEXTS, user=user))[0] == A_ASSOCIATE_AC
        assert peer.echo() == 0


# --- nothing of it is kept


def test_no_file_holds_the_planted_name(archive: RunningArchive, attack: Attack) -> None:
    """Neither an object that was cut off, nor the index, nor a file beside them. The trail's own text is encrypted."""
    with hostile(archive) as peer:
        sop, image = ct_image(next(_numbers), name=PLANTED)
        peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image, context_id=STORE)
        assert peer.read_status() == 0
        assert find(peer, {0x00100010: PLANTED.encode()}) == [0xFF00, 0x0000]
    files = [path for path in archive.home.root.parent.rglob("*") if path.is_file()]
    assert len(files) > 20
    planted = [PLANTED, PLANTED.lower(), PLANTED.encode("utf-16-le").decode("latin-1")]
    for path in files:
        content = path.read_bytes().decode("latin-1")
        assert not any(text in content for text in planted), path
    for event in archive.events():
        assert PLANTED not in repr(event)


# --- limits of connections and time, on servers that have small ones


WORKERS = pytest.mark.parametrize("workers", [0, 2])


def local(tmp_path: Path, workers: int = 0, **limits: float) -> contextlib.AbstractContextManager[RunningArchive]:
    home = archives.new_home(tmp_path / "home", {"dicom": {"workers": workers}, "limits": limits})
    with archives.opened(home) as opened:
        archives.add_peer(opened, "HOSTILE")
        archives.add_peer(opened, "HONEST")
    return archives.serving_in_process(home)


def is_served(archive: RunningArchive, aet: str = "HONEST") -> bool:
    """Whether a client gets an association and an echo now."""
    with contextlib.suppress(OSError), RawPeer(archive.port, archive.credentials(aet)) as peer:
        return peer.associate(Asks(aet))[0] == A_ASSOCIATE_AC and peer.echo() == 0
    return False


def becomes_served(archive: RunningArchive, aet: str = "HONEST") -> bool:
    """Whether it is served soon: a place is free a moment after the one who had it has gone."""
    deadline = time.monotonic() + 10
    while not (served := is_served(archive, aet)) and time.monotonic() < deadline:
        pass
    return served


@WORKERS
def test_one_peer_cannot_take_the_places_of_others(tmp_path: Path, workers: int) -> None:
    with local(tmp_path, workers, max_associations_per_peer=3) as archive:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(hostile(archive))
            with connected(archive) as peer:
                kind, body = peer.associate(Asks("HOSTILE"))
            assert (kind, tuple(body[1:])) == (A_ASSOCIATE_RJ, (2, 3, 2))
            archive.wait_for_refusal("over-max_associations_per_peer")
            assert is_served(archive)
        assert becomes_served(archive, "HOSTILE")


@pytest.mark.parametrize("name", ["max_associations", "max_associations_per_address"])
@WORKERS
def test_connections_over_the_limit_are_closed(tmp_path: Path, name: str, workers: int) -> None:
    with local(tmp_path, workers, **{name: 3}) as archive:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(connected(archive))
            assert not is_served(archive)
            archive.wait_for_refusal(f"over-{name}")
        assert becomes_served(archive)


@WORKERS
def test_strangers_of_one_address_have_few_places(tmp_path: Path, workers: int) -> None:
    with local(tmp_path, workers, max_handshakes_per_address=3) as archive:
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(RawPeer(archive.port))
            archive.wait_for_refusal("over-max_handshakes_per_address")
        assert becomes_served(archive)


@WORKERS
def test_strangers_cannot_take_the_places_of_peers(tmp_path: Path, workers: int) -> None:
    with local(tmp_path, workers, max_handshakes=4) as archive, contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(RawPeer(archive.port))
        assert all(is_served(archive) for _ in range(5))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at more often, and a sender's rate is judged sooner."""
    monkeypatch.setattr(connection, "POLL_S", 0.02)
    monkeypatch.setattr(connection, "RATE_GRACE_S", 0.3)


def drip(peer: RawPeer, data: bytes, every_s: float, until: threading.Event) -> None:
    """Send a byte at a time."""
    for at in range(len(data)):
        if until.wait(every_s):
            return
        peer.send(data[at : at + 1])


@contextlib.contextmanager
def dripping(peer: RawPeer, data: bytes, every_s: float = 0.05) -> Iterator[None]:
    until = threading.Event()
    thread = threading.Thread(target=drip, args=(peer, data, every_s, until), daemon=True)
    thread.start()
    yield
    until.set()
    thread.join(10)


def test_a_handshake_that_takes_for_ever(tmp_path: Path) -> None:
    """The time is for the whole of it: a byte now and then does not buy more."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    with local(tmp_path, tls_handshake_timeout_s=0.5) as archive, RawPeer(archive.port) as peer:
        started = time.monotonic()
        with dripping(peer, hello):
            assert peer.ends()
            assert is_served(archive)
        assert time.monotonic() - started < 3
        archive.wait_for_refusal("tls-handshake")


@pytest.mark.parametrize("bytes_sent", [0, 1, 74])
def test_a_request_to_associate_that_takes_for_ever(tmp_path: Path, quick: None, bytes_sent: int) -> None:
    with local(tmp_path, artim_timeout_s=0.5) as archive, connected(archive) as peer:
        started = time.monotonic()
        with dripping(peer, Asks("HOSTILE").pdu()[:bytes_sent]):
            assert peer.ends()
            assert is_served(archive)
        assert time.monotonic() - started < 3
        archive.wait_for_event(lambda event: event.action is Action.ASSOCIATION and event.outcome is Outcome.REFUSED)


@pytest.mark.parametrize(
    ("limits", "every_s"),
    [
        ({"min_receive_bytes_per_s": 4096}, 0.05),
        ({"message_timeout_s": 0.5, "min_receive_bytes_per_s": 1}, 0.05),
        ({"idle_timeout_s": 0.2}, 30.0),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_an_object_that_takes_for_ever(tmp_path: Path, quick: None, limits: dict[str, float], every_s: float) -> None:
    sop, image = ct_image(1)
    with local(tmp_path, **limits) as archive, hostile(archive) as peer:
        peer.send(p_data(pdv(STORE, COMMAND | LAST, store_command(1, CT_IMAGE_STORAGE, sop))))
        with dripping(peer, p_data(pdv(STORE, LAST, image)), every_s):
            assert peer.ends()
            assert is_served(archive)
        name = next(iter(limits))
        archive.wait_for_event(lambda event: name in str(event.details.get("end")) and event.outcome is Outcome.FAILED)


def test_an_association_on_which_nothing_happens(tmp_path: Path, quick: None) -> None:
    with local(tmp_path, idle_timeout_s=0.5) as archive, hostile(archive) as peer:
        assert peer.read_pdu()[0] == A_ABORT
        archive.wait_for_event(lambda event: "idle_timeout_s" in str(event.details.get("end")))


def test_answers_that_nobody_reads(tmp_path: Path, quick: None) -> None:
    """A peer that asks and asks and never reads is cut off, instead of keeping a thread that waits for it for ever."""
    comments = explicit(0x001021B0, "LT", b"x" * 10_000) + explicit(0x00104000, "LT", b"x" * 10_000)
    keys = identifier("STUDY", {0x0020000D: b"", 0x001021B0: b"", 0x00104000: b""})
    with local(tmp_path, idle_timeout_s=0.5) as archive, hostile(archive) as peer:
        for number in range(400):
            sop, image = ct_image(number)
            position = image.index(struct.pack("<HH", 0x0020, 0x000D))
            image = image[:position] + comments + image[position:]
            peer.ask(store_command(1, CT_IMAGE_STORAGE, sop), image, context_id=STORE)
            assert peer.read_status() == 0
        peer.ask(command(wire.C_FIND_RQ, 1, STUDY_ROOT_FIND, dataset=True), keys, context_id=FIND)
        archive.wait_for_event(lambda event: "idle_timeout_s" in str(event.details.get("end")), timeout_s=20)
        assert is_served(archive)
