"""The check that runs by itself: paced, resumed, in time, and what it finds is said at once."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.archives import new_home, opened, serving, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, store
from harness.shell import shell
from strongroom.admin.deletion import delete_study
from strongroom.admin.receipts import make_receipt, place_of_object
from strongroom.app import SERVE_LOG, Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import Home, parse
from strongroom.errors import ConfigError
from strongroom.serving.checkservice import MAX_RECORDED, START_DELAY_S, BackgroundCheck
from strongroom.serving.checkworker import (
    COST_BYTES,
    LEAST_BYTES_PER_S,
    PAGE_ROWS,
    Damaged,
    Done,
    Orders,
    Pace,
    Planned,
    Stopped,
    Walked,
    Word,
    plan,
    walk,
)
from strongroom.store.examine import LEAST_ID
from strongroom.store.rounds import (
    DAY_S,
    MAX_LISTED,
    META_NAME,
    Damage,
    Rounds,
    decode_rounds,
    encode_rounds,
    read_rounds,
)
from strongroom.trail.receipt import parse_receipt

SMALL, LARGE = Sample(1), Sample(2, pixel_bytes=LARGE_PIXELS)
DAMAGE = Damage("object-altered", "the object is not what was stored", "1.2", "1.2.3", "1.2.3.4", "ab" * 16)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.waited = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waited += seconds
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home", {"check": {"every_days": 30, "max_bytes_per_s": 10_000_000}})


@pytest.fixture
def archive(home: Home) -> Iterator[Archive]:
    with opened(home) as archive:
        yield archive


def flip(archive: Archive, sample: Sample) -> None:
    """Turn over one bit of an object on the disk."""
    stored = archive.index.find_object(sample.sop_uid)
    assert stored is not None
    path = archive.blobs.path(stored.object_id)
    with Path(path).open("r+b") as file:
        file.seek(50_000)
        byte = file.read(1)[0]
        file.seek(50_000)
        file.write(bytes([byte ^ 4]))


def walked(archive: Archive, after: int = LEAST_ID, pace: Callable[[float], Pace] | None = None) -> list[Word]:
    clock, said = Clock(), []
    orders = Orders(str(archive.home.root), SERVE_LOG, after, 1000.0, 10_000_000)
    walk(archive, orders, said.append, pace or (lambda rate: Pace(rate, clock, clock.wait)))
    return said


def damages(said: list[Word]) -> list[Damage]:
    return [word.damage for word in said if isinstance(word, Damaged)]


def checks(archive: Archive, action: Action = Action.CHECK) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is action]


# -- the pace


@given(st.lists(st.integers(0, 2**32), max_size=50), st.floats(1000, 1e9))
def test_reading_is_never_faster_than_its_rate(sizes: list[int], rate: float) -> None:
    clock = Clock()
    began, pace = clock.now, Pace(rate, clock, clock.wait)
    for size in sizes:
        pace(size)
    # Seconds since 1970 are exact to a quarter of a microsecond, and there are up to fifty of them to be summed.
    assert clock.now - began == pytest.approx(sum(sizes) / rate, rel=1e-6, abs=1e-4)


def test_a_pause_is_not_caught_up_with() -> None:
    clock = Clock()
    pace = Pace(1000, clock, clock.wait)
    clock.now += 3600
    pace(1000)
    assert clock.waited == pytest.approx(1)


def test_who_waits_is_told_to_stop() -> None:
    with pytest.raises(Stopped):
        Pace(1000, Clock(), lambda _: True)(1)


@given(st.integers(0, 10**8), st.integers(0, 10**14), st.floats(0, 10**7), st.integers(1, 10**9))
def test_the_rate_is_what_is_needed_within_what_is_allowed(objects: int, size: int, within_s: float, most: int) -> None:
    planned = plan(objects, size, Orders("", "serve", 0, within_s, most))
    assert 0 < planned.bytes_per_s <= most
    takes_s = (size + objects * COST_BYTES) / planned.bytes_per_s
    assert planned.is_late or takes_s <= max(within_s, 1.0) * 1.000001
    assert planned.is_late or planned.bytes_per_s >= min(most, LEAST_BYTES_PER_S)


# -- one walk


def test_every_object_is_read_and_nothing_is_found(archive: Archive) -> None:
    for sample in (SMALL, LARGE):
        store(archive, sample)
    said = walked(archive)
    assert damages(said) == []
    assert isinstance(said[0], Planned)
    assert isinstance(said[-1], Done)
    steps = [word for word in said if isinstance(word, Walked)]
    assert sum(step.objects for step in steps) == 2
    assert sum(step.data_bytes for step in steps) == len(SMALL.dataset) + len(LARGE.dataset)


def test_damage_of_each_kind_is_named(archive: Archive) -> None:
    samples = [Sample(number, pixel_bytes=LARGE_PIXELS if number < 3 else 600) for number in range(1, 6)]
    for sample in samples:
        store(archive, sample)
    flip(archive, samples[0])
    stored = archive.index.find_object(samples[1].sop_uid)
    assert stored is not None
    os.unlink(archive.blobs.path(stored.object_id))
    connection = archive.backend.connect()
    connection.execute("UPDATE instance SET sha256 = zeroblob(32) WHERE sop_uid = ?", (samples[2].sop_uid,))
    small = "(SELECT id FROM instance WHERE sop_uid = ?)"
    connection.execute(f"UPDATE small_object SET sealed = zeroblob(900) WHERE id = {small}", (samples[3].sop_uid,))
    connection.close()
    found = {each.sop_uid: each.kind for each in damages(walked(archive))}
    assert found == {
        samples[0].sop_uid: "object-altered",
        samples[1].sop_uid: "object-missing",
        samples[2].sop_uid: "digest-differs",
        samples[3].sop_uid: "object-altered",
    }


def test_a_walk_goes_on_where_the_last_one_was_stopped(archive: Archive) -> None:
    for number in range(3 * PAGE_ROWS):
        store(archive, Sample(number))
    stop_after, read = PAGE_ROWS + 5, 0

    class Stops(Pace):
        def __call__(self, size: int) -> None:
            nonlocal read
            read += size == COST_BYTES
            if read >= stop_after:
                raise Stopped

    said: list[Word] = []
    orders = Orders(str(archive.home.root), SERVE_LOG, LEAST_ID, 1000.0, 10_000_000)
    with pytest.raises(Stopped):
        walk(archive, orders, said.append, lambda rate: Stops(rate, Clock(), Clock().wait))
    last = [word for word in said if isinstance(word, Walked)][-1]
    assert last.objects == PAGE_ROWS
    rest = [word for word in walked(archive, last.after) if isinstance(word, Walked)]
    assert sum(step.objects for step in rest) == 2 * PAGE_ROWS


def test_what_is_deleted_meanwhile_is_no_damage(archive: Archive) -> None:
    for sample in (SMALL, LARGE):
        store(archive, sample)
    done = False

    class Deletes(Pace):
        def __call__(self, size: int) -> None:
            nonlocal done
            if not done:  # after the page was read, before its second object is opened
                done = True
                delete_study(archive, SMALL.study_uid, "test", lambda *_: None)

    assert damages(walked(archive, pace=lambda rate: Deletes(rate, Clock(), Clock().wait))) == []
    assert done


@pytest.mark.interop
def test_an_index_in_postgresql(tmp_path: Path, new_postgres_url: Callable[[], str]) -> None:
    with opened(new_home(tmp_path / "other", {"index": {"url": new_postgres_url()}})) as archive:
        assert isinstance(walked(archive)[-1], Done)  # of nothing
        for sample in (SMALL, LARGE):
            store(archive, sample)
        flip(archive, LARGE)
        assert [each.sop_uid for each in damages(walked(archive))] == [LARGE.sop_uid]
        assert BackgroundCheck(archive, Clock(), script(Walked(1, 1, 1), Done())).walk()
        assert read_rounds(archive.index).last is not None
        assert parse_receipt(make_receipt(archive, place_of_object(archive, LARGE.sop_uid))).seq >= 0


# -- the schedule


def script(*words: Word) -> Callable[[Orders], Iterator[Word]]:
    return lambda _: iter(words)


def test_a_round_is_reported_recorded_and_followed_by_the_next(archive: Archive) -> None:
    clock = Clock()
    check = BackgroundCheck(archive, clock, script(Planned(5, 50, 1.0, False), Walked(7, 5, 50), Done()))
    assert check.walk()
    last = read_rounds(archive.index).last
    assert last is not None
    assert (last.number, last.objects, last.data_bytes, last.damaged) == (1, 5, 50, 0)
    (event,) = checks(archive)
    assert (event.outcome, event.details["objects"], event.details["findings"]) == (Outcome.SUCCESS, 5, 0)
    # Half of the time after its beginning: with the other half for the round itself nothing waits for longer.
    assert check.due_s() == last.started_s + 15 * DAY_S
    clock.now = check.due_s()
    assert check.walk()
    last = read_rounds(archive.index).last
    assert last is not None
    assert last.number == 2


def test_damage_is_in_the_trail_before_the_round_goes_on(archive: Archive) -> None:
    def words(_: Orders) -> Iterator[Word]:
        yield Damaged(DAMAGE)
        (failed,) = checks(archive)
        (alert,) = checks(archive, Action.ALERT)
        for event in (failed, alert):
            assert event.outcome is Outcome.FAILED
            assert (event.details["reason"], event.details["sop_uid"]) == ("object-altered", "1.2.3.4")
        yield Walked(3, 1, 10)
        yield Done()

    assert BackgroundCheck(archive, Clock(), words).walk()
    end = checks(archive)[-1]
    assert (end.outcome, end.details["findings"], end.details["kinds"]) == (Outcome.FAILED, 1, ("object-altered",))


def test_a_lost_disk_does_not_flood_the_trail(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = 0
    real = archive.record

    def record(*arguments: Any) -> None:
        nonlocal recorded
        recorded += 1
        if recorded % 500 == 1 or arguments[1].get("findings"):
            real(*arguments)

    monkeypatch.setattr(archive, "record", record)
    assert BackgroundCheck(archive, Clock(), script(*[Damaged(DAMAGE)] * (MAX_RECORDED + 500), Done())).walk()
    assert recorded == 2 * MAX_RECORDED + 1
    last = read_rounds(archive.index).last
    assert last is not None
    assert (last.damaged, len(last.listed)) == (MAX_RECORDED + 500, MAX_LISTED)


def test_a_restart_goes_on_and_has_less_time_left(archive: Archive) -> None:
    clock, orders = Clock(), []

    def words(given: Orders) -> Iterator[Word]:
        orders.append(given)
        yield Walked(41 + len(orders), 10, 100)
        if len(orders) == 2:
            yield Done()

    assert not BackgroundCheck(archive, clock, words).walk()  # the process died
    clock.now += 86_400
    again = BackgroundCheck(archive, clock, words)  # as after a restart
    assert again.walk()
    assert [each.after for each in orders] == [LEAST_ID, 42]
    assert orders[0].within_s - orders[1].within_s == pytest.approx(86_400)
    last = read_rounds(archive.index).last
    assert last is not None
    assert (last.number, last.objects, last.after) == (1, 20, 43)


def test_nothing_begins_in_the_first_minutes(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    check = BackgroundCheck(archive, clock, script(Done()))
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    check.start()
    assert check.due_s() == clock.now + START_DELAY_S


def test_a_clock_that_was_set_back_is_not_waited_for(archive: Archive) -> None:
    clock = Clock()
    check = BackgroundCheck(archive, clock, script(Done()))
    assert check.walk()
    clock.now -= 365 * DAY_S
    assert check.due_s() <= clock.now


def test_too_low_a_rate_is_said(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    assert BackgroundCheck(archive, Clock(), script(Planned(1, 1, 1.0, True), Done())).walk()
    assert "check.max_bytes_per_s is too low" in caplog.text


def test_zero_days_are_never(tmp_path: Path) -> None:
    with opened(new_home(tmp_path / "other", {"check": {"every_days": 0}})) as archive:
        check = BackgroundCheck(archive, Clock(), script(Done()))
        check.start()
        check.stop()
        assert not check.is_wanted
        assert read_rounds(archive.index) == Rounds()


@pytest.mark.parametrize("text", ["every_days = -1", "every_days = nan", "max_bytes_per_s = 0", "every_days = 4000"])
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ConfigError, match=r"check\.every_days"):
        parse(f'[archive]\nid = "a1"\n[check]\n{text}\n')


@pytest.mark.parametrize("text", ["", "{", "[]", '{"last": 1}', "[" * 10_000])
def test_what_cannot_be_read_is_no_round(text: str) -> None:
    assert decode_rounds(text) == Rounds()


def test_rounds_are_kept_as_they_are() -> None:
    begun = Rounds().begun(5.0)
    assert begun.under_way is not None
    rounds = Rounds(begun.under_way.walked(3, 1, 2).with_damage(DAMAGE), None)
    assert decode_rounds(encode_rounds(rounds)) == rounds
    assert rounds.begun(9.0) == rounds
    assert rounds.ended(9.0).last is not None


# -- while serving


def test_a_flipped_bit_is_found_while_serving_and_said(tmp_path: Path, capsys, monkeypatch) -> None:
    home = new_home(tmp_path / "home", {"check": {"every_days": 0.00002}})
    with opened(home) as archive:
        for sample in (SMALL, LARGE):
            store(archive, sample)
        flip(archive, LARGE)
    with serving(home) as running:
        found = running.wait_for_event(lambda event: event.action is Action.ALERT, timeout_s=60)
        assert (found.details["reason"], found.details["sop_uid"]) == ("object-altered", LARGE.sop_uid)
        done = running.wait_for_event(
            lambda event: event.action is Action.CHECK and "objects" in event.details, timeout_s=60
        )
        assert (done.outcome, done.details["objects"], done.details["findings"]) == (Outcome.FAILED, 2, 1)
        run = shell(capsys, monkeypatch)
        ran = run("check", "--home", home.root, "--last")
        assert (ran.code, LARGE.sop_uid in ran.out, "DAMAGED" in ran.out) == (1, True, True)
        assert json.loads(run("check", "--home", home.root, "--last", "--format", "json").out)["last"]["damaged"] == 1
        assert running.stop() == 0
    assert "alert reason=object-altered" in running.output
    assert LARGE.sop_uid in running.output


def test_before_the_first_round_there_is_nothing_to_say(home: Home, capsys, monkeypatch) -> None:
    ran = shell(capsys, monkeypatch)("check", "--home", home.root, "--last")
    assert (ran.code, "no round of the background check has ended yet" in ran.out) == (0, True)


def test_a_server_that_stops_ends_its_walk(tmp_path: Path) -> None:
    """In the middle of an object that takes a day at this rate."""
    home = new_home(tmp_path / "home", {"check": {"every_days": 0.00002, "max_bytes_per_s": 1}})
    with opened(home) as archive:
        store(archive, LARGE)
    with serving(home) as running, opened(home) as archive:
        pause = threading.Event()
        for _ in range(3000):
            if read_rounds(archive.index).under_way is not None:
                break
            pause.wait(0.01)
        assert running.stop() == 0
        under_way = read_rounds(archive.index).under_way
        assert under_way is not None
        assert (under_way.after, under_way.objects) == (LEAST_ID, 0)
        with archive.index.database.read() as cursor:
            assert archive.index.registry.get_meta(cursor, META_NAME)
