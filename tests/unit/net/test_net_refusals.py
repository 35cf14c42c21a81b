"""Refusals are written one by one until one address makes a flood of them, and none is lost from the count."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.archives import RunningArchive
from strongroom.archive.model import Action, Outcome
from strongroom.net import refusals
from strongroom.net.refusals import MAX_KEYS, MAX_RECORDS_PER_WINDOW, WINDOW_S, RefusalMeter

KNOCKS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0, 5)), max_size=600)


@given(KNOCKS)
def test_every_refusal_is_recorded_or_counted(knocks: list[tuple[str, float]]) -> None:
    meter, now, recorded, summed = RefusalMeter(), 0.0, 0, 0
    for address, pause in knocks:
        now += pause
        recorded += meter.is_to_be_recorded((address, "x"), now)
        summed += sum(count for _, count in meter.sums(now))
    summed += sum(count for _, count in meter.all_sums())
    assert recorded + summed == len(knocks)
    assert not list(meter.all_sums())


def test_a_flood_is_cut_and_another_address_is_not() -> None:
    meter = RefusalMeter()
    flood = [meter.is_to_be_recorded(("a", "x"), 0.0) for _ in range(1000)]
    assert sum(flood) == MAX_RECORDS_PER_WINDOW
    assert meter.is_to_be_recorded(("b", "x"), 0.0)
    assert not list(meter.sums(WINDOW_S - 0.1))
    assert list(meter.sums(WINDOW_S)) == [(("a", "x"), 1000 - MAX_RECORDS_PER_WINDOW)]
    assert meter.is_to_be_recorded(("a", "x"), WINDOW_S)


def test_many_addresses_cannot_fill_memory() -> None:
    meter = RefusalMeter()
    for number in range(3 * MAX_KEYS):
        meter.is_to_be_recorded((str(number), "x"), 0.0)
    list(meter.sums(0.0))
    assert len(meter._windows) <= MAX_KEYS


def test_the_trail_of_a_flooded_server_has_the_sum(
    local_archive: Callable[..., RunningArchive], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_RECORDS_PER_WINDOW", 3)
    monkeypatch.setattr(refusals, "WINDOW_S", 0.1)
    archive = local_archive(peers={})
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", archive.port)) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
    archive.wait_for_event(
        lambda event: (
            event.action is Action.ASSOCIATION
            and event.outcome is Outcome.REFUSED
            and int(event.details.get("associations", 0)) >= 1
        )  # type: ignore[arg-type]
    )
