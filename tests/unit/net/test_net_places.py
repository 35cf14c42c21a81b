"""Places are counted in one process, and are the same whoever has one: that process, or another over a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from strongroom.archive.model import Event, Outcome
from strongroom.errors import StorageUnavailable
from strongroom.net.farplace import FarPlace, keep_place, new_link
from strongroom.net.places import OwnPlace, Place, PlaceLimits, Places

HOST = "192.0.2.1"
LIMITS = PlaceLimits(
    max_handshakes=2,
    max_handshakes_per_address=2,
    max_associations=2,
    max_associations_per_peer=1,
    max_associations_per_address=2,
)
TIMEOUT_S = 10.0


class Counted:
    """Places and what they have recorded; hands out one after the other, as the process sees it that serves it."""

    def __init__(self, stack: ExitStack, *, is_far: bool) -> None:
        self.events: list[Event] = []
        self.places = Places(LIMITS, self.events.append)
        self._stack, self._is_far = stack, is_far
        self.keepers: dict[Place, threading.Thread] = {}

    def knock(self, host: str = HOST) -> Place | None:
        """A place, and a connection for it."""
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        with theirs:
            place = self.places.knock(theirs, host)
        if place is not None:
            self._stack.callback(place.leave)
        return self.seen(place) if place is not None and self._is_far else place

    def seen(self, place: OwnPlace) -> Place:
        """As another process sees it."""
        mine, theirs = new_link()
        far, keeper = FarPlace(theirs), threading.Thread(target=keep_place, args=(mine, place), daemon=True)
        keeper.start()
        self.keepers[far] = keeper
        self._stack.callback(keeper.join, TIMEOUT_S)
        self._stack.callback(far.leave)
        return far

    def left(self, place: Place) -> None:
        """Leave, and return when that is counted."""
        place.leave()
        place.leave()
        if place in self.keepers:
            self.keepers[place].join(TIMEOUT_S)

    @property
    def reasons(self) -> list[object]:
        """Why somebody was refused."""
        return [event.details["reason"] for event in self.events if event.outcome is Outcome.REFUSED]


@pytest.fixture(params=[False, True], ids=["own", "far"])
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    with ExitStack() as stack:
        yield Counted(stack, is_far=request.param)


def test_strangers_of_one_address_and_all_strangers_have_few_places(counted: Counted) -> None:
    first, second = counted.knock(), counted.knock()
    assert first is not None
    assert second is not None
    assert counted.knock() is None
    assert counted.reasons == ["over-max_handshakes_per_address"]
    assert first.enter()
    assert counted.knock() is not None


def test_one_stranger_too_many_ends_the_handshake_of_the_oldest() -> None:
    places = Places(LIMITS, lambda _: None)
    with ExitStack() as stack:
        peers, held = [], []
        for number in range(3):
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)  # whoever does the handshake still has it
            ours.settimeout(0.05)
            held.append(places.knock(theirs, f"192.0.2.{number}"))
            peers.append(ours)
        assert peers[0].recv(1) == b""
        with pytest.raises(TimeoutError):
            peers[1].recv(1)
        for place in held:
            assert place is not None
            place.leave()


def test_a_place_that_is_left_is_free(counted: Counted) -> None:
    entered = []
    for _ in range(2):
        place = counted.knock()
        assert place is not None
        assert place.enter()
        entered.append(place)
    third = counted.knock()
    assert third is not None
    assert not third.enter()
    counted.left(third)
    assert counted.reasons == ["over-max_associations"]
    assert entered[0].take("CT1")
    assert not entered[1].take("CT1")
    assert entered[1].take("CT2")
    counted.left(entered[0])
    fourth = counted.knock()
    assert fourth is not None
    assert fourth.enter()
    assert fourth.take("CT1")


def test_a_refusal_is_recorded_where_places_are_counted(counted: Counted) -> None:
    place = counted.knock()
    assert place is not None
    place.refuse("protocol-error", {"why": "a word", "unsafe_plaintext": True}, "ab" * 32)
    (event,) = counted.events
    assert event.details == {"reason": "protocol-error", "why": "a word", "unsafe_plaintext": True}
    assert (event.principal.address, event.principal.fingerprint) == (HOST, "ab" * 32)


def test_a_flood_of_refusals_is_counted(counted: Counted) -> None:
    place = counted.knock()
    assert place is not None
    for _ in range(150):
        place.refuse("protocol-error", {})
    assert len(counted.events) == 100
    counted.places.record_refusal_sums(at_end=True)
    assert counted.events[-1].details == {"reason": "protocol-error", "associations": 50}


def test_a_refusal_that_cannot_be_recorded_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def full(_: Event) -> None:
        raise StorageUnavailable("no space")

    Places(LIMITS, full).refuse(HOST, "protocol-error", {})
    assert "could not be recorded" in caplog.text


def broken(link: socket.socket) -> None:
    link.send(b"\xc1 no question")


@pytest.mark.parametrize("end", [socket.socket.close, broken])
def test_the_place_of_a_process_that_dies_is_free_and_its_connection_ends(
    end: Callable[[socket.socket], None],
) -> None:
    places = Places(LIMITS, lambda _: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        place = places.knock(theirs, HOST)
        assert place is not None
        mine, other = new_link()
        keeper = threading.Thread(target=keep_place, args=(mine, place))
        keeper.start()
        end(other)
        keeper.join(TIMEOUT_S)
        assert not keeper.is_alive()
        assert ours.recv(1) == b""
        other.close()
    assert not places._knocking


def test_nobody_gets_in_once_the_process_that_counts_is_gone() -> None:
    mine, theirs = new_link()
    mine.close()
    place = FarPlace(theirs)
    assert not place.enter()
    place.refuse("protocol-error", {})
    place.leave()
