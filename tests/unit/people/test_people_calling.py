"""calling: guesses at passcodes that come with associations are slowed down, and lock nobody out at other peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened, trail_events
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.people import Person, Where
from strongroom.errors import Throttled
from strongroom.people.calling import WRONG, CallingPeople
from strongroom.people.guessing import (
    ACCOUNT,
    ACCOUNT_FROM_ADDRESS,
    ADDRESS,
    KNOWN_DEVICE,
    KNOWN_US,
    passcode_buckets,
    wait_s,
)
from strongroom.people.sealing import people_key
from strongroom.store import accounts
from strongroom.store.accounts import hash_passcode
from strongroom.store.people import PeopleTable
from strongroom.types import Principal

PASSCODE = b"correct horse battery"
HASH = hash_passcode(PASSCODE.decode())
WORKSTATION, OTHER = (Principal(aet, "f" * 64, "", "192.0.2.1") for aet in ("WORKSTATION", "OTHER"))


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home"), "serve") as archive:

        def work(transaction: Any) -> None:
            for name in ("reader", "writer"):
                archive.index.registry.put_account(transaction.cursor, name, HASH, "technologist", 1)

        archive.index.database.write(work)
        yield archive


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(archive: Archive, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> CallingPeople:
    """With a hash that takes no time: it is the counts that are looked at here."""

    class Quick:
        def hash(self, passcode: str) -> str:
            return passcode

        def verify(self, stored: str, passcode: bytes) -> None:
            if stored != HASH or passcode != PASSCODE:
                raise accounts.InvalidHashError

    monkeypatch.setattr(accounts, "_HASHER", Quick())
    return CallingPeople(archive.index.database, clock)


def guesses(people: CallingPeople, caller: Principal, names: Callable[[int], str], most: int = 200) -> int:
    """How many are taken, one after the other, before no more is."""
    for number in range(most):
        try:
            assert people.verify(names(number), b"wrong", caller) is None
        except Throttled:
            return number
    return most


def refusals(archive: Archive) -> list[Event]:
    return [event for event in trail_events(archive, "serve") if event.outcome is Outcome.REFUSED]


def test_who_is_right_is_known(people: CallingPeople) -> None:
    person = people.verify("reader", PASSCODE, WORKSTATION)
    assert person is not None
    assert person.name == "reader"


def test_a_peer_has_few_guesses_at_an_account_and_gets_another_each_minute(people: CallingPeople, clock: Clock) -> None:
    assert guesses(people, WORKSTATION, lambda _: "reader") == ACCOUNT_FROM_ADDRESS.burst
    with pytest.raises(Throttled) as refused:
        people.verify("reader", PASSCODE, WORKSTATION)
    clock.now_s += refused.value.retry_after_s
    assert guesses(people, WORKSTATION, lambda _: "reader") == 1


def test_a_peer_has_few_guesses_at_all(people: CallingPeople) -> None:
    assert guesses(people, WORKSTATION, "nobody{}".format) == ADDRESS.burst


def test_guesses_from_everywhere_lock_nobody_out_where_he_calls_from(people: CallingPeople) -> None:
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None
    peers = [Principal(f"PEER{number}", "", "", "192.0.2.9") for number in range(20)]
    assert sum(guesses(people, peer, lambda _: "reader") for peer in peers) == ACCOUNT.burst
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None
    with pytest.raises(Throttled):  # from where he never was, he waits like everybody
        people.verify("reader", PASSCODE, OTHER)
    assert people.verify("writer", PASSCODE, OTHER) is not None


def test_guesses_at_one_peer_lock_nobody_out_who_is_known_there(people: CallingPeople) -> None:
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None
    assert guesses(people, WORKSTATION, "nobody{}".format) == ADDRESS.burst
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None
    with pytest.raises(Throttled):
        people.verify("writer", PASSCODE, WORKSTATION)


def test_who_is_known_has_a_count_of_his_own(people: CallingPeople) -> None:
    """Of each peer, for all who work there: nothing tells a colleague's guesses at a name from the person's own."""
    for peer in (WORKSTATION, OTHER):
        assert people.verify("reader", PASSCODE, peer) is not None
    assert guesses(people, WORKSTATION, lambda _: "reader") == KNOWN_DEVICE.burst
    with pytest.raises(Throttled):
        people.verify("reader", PASSCODE, WORKSTATION)
    assert people.verify("reader", PASSCODE, OTHER) is not None
    assert people.verify("writer", PASSCODE, WORKSTATION) is not None


def test_another_process_takes_one_guess_more_at_most(
    people: CallingPeople, archive: Archive, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so many at once: it has looked at what was counted before the other one counts, and counts what it took."""
    other = CallingPeople(archive.index.database, clock)
    guesses(people, WORKSTATION, lambda _: "reader", most=ACCOUNT_FROM_ADDRESS.burst - 1)
    count = other._count

    def late(name: str, person: Person | None, caller: Principal) -> None:
        guesses(people, WORKSTATION, lambda _: "reader")
        count(name, person, caller)

    monkeypatch.setattr(other, "_count", late)
    assert other.verify("reader", b"wrong", WORKSTATION) is None
    assert len(refusals(archive)) == ACCOUNT_FROM_ADDRESS.burst + 1
    with pytest.raises(Throttled) as refused:
        other.verify("reader", b"wrong", WORKSTATION)
    assert refused.value.retry_after_s == 2 * ACCOUNT_FROM_ADDRESS.refill_s


def test_who_does_not_come_for_long_is_forgotten(people: CallingPeople, clock: Clock) -> None:
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None
    clock.now_s += KNOWN_US / 1e6 - 10
    assert guesses(people, WORKSTATION, "nobody{}".format) == ADDRESS.burst
    assert people.verify("reader", PASSCODE, WORKSTATION) is not None, "known, and from now on anew"
    clock.now_s += KNOWN_US / 1e6 + 10
    assert guesses(people, WORKSTATION, "nobody{}".format) == ADDRESS.burst
    with pytest.raises(Throttled):
        people.verify("reader", PASSCODE, WORKSTATION)


def test_guesses_over_dicom_count_where_people_sign_in_too(people: CallingPeople, archive: Archive) -> None:
    """And those of both together are no more than one of them has. No browser that is known is touched."""
    for number in range(20):
        guesses(people, Principal(f"PEER{number}"), lambda _: "reader")
    key, table = people_key(archive.ring, archive.secrets), PeopleTable(archive.backend.dialect)
    now_us = 1_000_000_000_000

    def wait(device: str) -> int:
        where = Where("198.51.100.7", "", "", device)
        with archive.index.database.reading() as cursor:
            return wait_s(table, cursor, passcode_buckets(key, "reader", where, "198.51.100.7"), now_us)

    assert wait("") > 0
    assert wait(key.new_device("reader")) == 0


def test_what_was_wrong_is_in_the_trail_with_the_account_if_there_is_one(
    people: CallingPeople, archive: Archive
) -> None:
    assert people.verify("reader", b"hunter2-hunter2", WORKSTATION) is None
    assert people.verify("hunter2-hunter2", b"reader", WORKSTATION) is None
    assert people.verify("rea\0der", PASSCODE, WORKSTATION) is None
    known, *unknown = refusals(archive)
    assert (known.action, known.details) == (Action.SIGN_IN, {"reason": WRONG, "user": "reader"})
    assert known.principal == WORKSTATION
    assert [event.details for event in unknown] == [{"reason": WRONG}] * 2
    assert "hunter2" not in repr(refusals(archive))


def test_a_disabled_account_is_not_told_from_none(people: CallingPeople, archive: Archive) -> None:
    registry = archive.index.registry
    archive.index.database.write(lambda transaction: registry.disable_account(transaction.cursor, "reader", 2))
    assert people.verify("reader", PASSCODE, WORKSTATION) is None


def test_many_guesses_at_once_are_as_many(people: CallingPeople, archive: Archive) -> None:
    ready = threading.Barrier(16)

    def guess() -> None:
        ready.wait(60)
        for _ in range(4):
            try:
                people.verify("reader", b"wrong", WORKSTATION)
            except Throttled:
                return

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals(archive)) == ACCOUNT_FROM_ADDRESS.burst
