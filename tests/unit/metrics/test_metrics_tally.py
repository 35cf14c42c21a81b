"""tally: numbers of several threads and processes add up, never go back, and never grow without bound."""

from __future__ import annotations

import threading

import pytest

from strongroom.metrics.families import FAMILIES
from strongroom.metrics.tally import MAX_SERIES, OTHER, Tally, together


def values(tally: Tally) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(name, labels): value for name, labels, value in tally.report("serve", 1.0).series}


def test_threads_lose_no_count() -> None:
    tally = Tally()
    threads = [
        threading.Thread(target=lambda: [tally.add("alerts_total", "screening", "high") for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(tally) == {("alerts_total", ("screening", "high")): 8000}


def test_a_stranger_cannot_make_it_grow() -> None:
    tally = Tally()
    for number in range(3 * MAX_SERIES):
        tally.add("refusals_total", "store", f"word{number}")
    found = values(tally)
    assert len(found) == MAX_SERIES + 1
    assert found["refusals_total", (OTHER, OTHER)] == 2 * MAX_SERIES


def test_what_takes_the_place_of_a_process_counts_on() -> None:
    first = Tally()
    first.add("sent_bytes_total", by=100)
    first.add("cpu_seconds_total", "https-1", by=9)
    first.set("https_connections", to=7)
    second = Tally()
    second.go_on(first.report("https-1", 5.0))
    second.add("sent_bytes_total", by=11)
    assert values(second) == {("sent_bytes_total", ()): 111}


def test_reports_add_up_and_the_dead_have_no_connections() -> None:
    dead, alive = Tally(), Tally()
    for tally in (dead, alive):
        tally.add("queries_total", by=2)
        tally.set("https_connections", to=3)
    sums = together([dead.report("https-1", 10.0), alive.report("https-2", 100.0)], alive_since_s=70.0)
    assert sums == {("queries_total", ()): 4, ("https_connections", ()): 3}


def test_series_that_are_gone_are_replaced() -> None:
    tally = Tally()
    tally.replace("certificate_end_time_seconds", {("peer", "CT1"): 1.0, ("peer", "CT2"): 2.0})
    tally.replace("certificate_end_time_seconds", {("peer", "CT2"): 3.0})
    assert values(tally) == {("certificate_end_time_seconds", ("peer", "CT2")): 3.0}


def test_a_family_has_its_labels_and_no_others() -> None:
    with pytest.raises(AssertionError):
        Tally().add("alerts_total", "screening")


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES.values():
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.says.endswith("."), family.name
        assert not family.name.startswith("strongroom"), family.name
