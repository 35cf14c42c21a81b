"""The engine: each address by one thread, nothing twice, and an end in order whatever a step does."""

from __future__ import annotations

import datetime as dt
import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest

from harness.probe_listener import listening
from harness.probe_session import NOW, probed, target_with
from strongroom.errors import BudgetSpent, OutOfScope, RunStopped, StorageUnavailable, Unanswered
from strongroom.probe import engine as engine_module
from strongroom.probe.dimse.canary import cleanup
from strongroom.probe.engine import Before, Engine, Outcome, is_silent, observation_of
from strongroom.probe.model import Answer, Channel, Identity, Level
from strongroom.probe.permits.scope import Rates, ScopeTarget
from strongroom.probe.runlog import RunLog
from strongroom.probe.session import Run, Session

Step = Callable[[Session], None]
UID = "2.25.1"
WRITTEN = {"sop_instance_uid": UID, "study_instance_uid": "2.25.2"}


def note(session: Session, answer: Answer = Answer.DONE, step: str = "tcp.connect") -> None:
    session.observe(step, 104, Channel.PLAIN, Identity.STRANGER, answer)


def run_with(level: Level = Level.CANARY, rates: Rates | None = None, file: io.BytesIO | None = None) -> Run:
    made = probed(level=level).run
    scope = replace(made.scope, rates=rates or Rates(interval_s=0.0, targets_at_once=4))
    return Run(scope, RunLog(file or io.BytesIO(), b"k"), now=lambda: NOW)


class Steps:
    """Step functions that the engine takes in place of the plan's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def use(self, *steps: Step) -> None:
        self._monkeypatch.setattr(engine_module, "steps_for", lambda _level: steps)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


RANGE = target_with(networks=(ip_network("127.0.0.0/24"),), dicom_ports=(104,))
ONE = target_with(dicom_ports=(104,))


def addressed(target: ScopeTarget) -> list[tuple[ScopeTarget, str]]:
    return [(target, str(address)) for address in target.addresses()]


def probe(run: Run, targets: list[tuple[ScopeTarget, str]], before: Before | None = None) -> Outcome:
    return Engine(run, before or Before(), lambda _: None).probe(targets, len(targets))


def test_every_address_is_probed_once_and_by_no_more_threads_than_allowed(steps: Steps) -> None:
    lock, at_once, most, seen = threading.Lock(), 0, 0, []
    together = threading.Barrier(4)

    def step(session: Session) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            seen.append(session.address)
            is_early = len(seen) <= 4
        if is_early:
            together.wait(30)
        with lock:
            at_once -= 1
        note(session)

    steps.use(step)
    outcome = probe(run_with(), addressed(RANGE))
    assert sorted(seen) == sorted(str(address) for address in RANGE.addresses())
    assert most == 4
    assert (outcome.addresses, outcome.how, outcome.silent, len(outcome.observations)) == (254, "complete", 0, 254)


def test_of_addresses_that_are_silent_in_a_range_only_their_number_is_kept(steps: Steps) -> None:
    later: list[str] = []
    steps.use(
        lambda session: note(session, Answer.DONE if session.address.endswith(".7") else Answer.UNREACHABLE),
        lambda session: later.append(session.address),
    )
    outcome = probe(run_with(), addressed(RANGE))
    assert later == ["127.0.0.7"]
    assert (outcome.silent, [seen.endpoint.address for seen in outcome.observations]) == (253, ["127.0.0.7"])
    assert outcome.stages == 2 * 254


def test_a_silent_address_that_the_scope_names_is_told_of(steps: Steps) -> None:
    steps.use(lambda session: note(session, Answer.UNREACHABLE))
    outcome = probe(run_with(), addressed(ONE))
    assert (outcome.silent, len(outcome.observations)) == (0, 1)


def test_a_fault_of_ours_costs_one_step_and_none_of_its_words_are_kept(steps: Steps) -> None:
    def broken(_: Session) -> None:
        raise ValueError("DOE^JANE 123-45-6789")

    file = io.BytesIO()
    steps.use(broken, note)
    outcome = probe(run_with(file=file), addressed(ONE))
    assert [step for _, step in outcome.faults] == ["test_probe_engine.broken"]
    assert len(outcome.observations) == 1
    assert b"ValueError" in file.getvalue()
    assert b"DOE" not in file.getvalue()


def test_when_the_budget_is_spent_the_rest_is_said_to_be_left_out(steps: Steps) -> None:
    def spent(_: Session) -> None:
        raise BudgetSpent("100 connections")

    never: list[Session] = []
    steps.use(note, spent, never.append)
    outcome = probe(run_with(Level.ASSOCIATE), addressed(ONE))
    assert not never
    left_out = {seen.step for seen in outcome.observations if seen.details.get("reason") == "budget"}
    assert {"dicom.echo", "tls.handshake"} <= left_out
    assert "http.root" not in left_out, "the target has no port for it"
    assert not left_out & {"tcp.connect", "dicom.find_empty", "dicom.store_canary"}
    assert outcome.how == "complete"


def test_the_end_of_the_window_ends_the_run_for_all_addresses(steps: Steps) -> None:
    def over(session: Session) -> None:
        if session.address.endswith(".3"):
            raise OutOfScope("the window is over")
        note(session)

    file = io.BytesIO()
    steps.use(over)
    outcome = probe(run_with(file=file, rates=Rates(interval_s=0, targets_at_once=1)), addressed(RANGE))
    assert (outcome.how, outcome.addresses) == ("window", 3)
    done = [json.loads(line) for line in file.getvalue().splitlines() if b'"done"' in line]
    assert [entry["address"] for entry in done if entry["kind"] == "done"] == ["127.0.0.1", "127.0.0.2"]


def test_no_line_is_opened_after_the_window_however_long_a_run_waits() -> None:
    made = probed(ONE)
    times = iter([NOW, NOW + dt.timedelta(hours=2)])
    made.run.now = lambda: next(times)
    with pytest.raises(Unanswered):
        made.session.line(104)
    with pytest.raises(OutOfScope, match="window"):
        made.session.line(104)
    assert made.session.connections == 1


def test_a_connection_is_over_when_the_window_is() -> None:
    with listening(lambda visit: visit.read(1)) as silent:
        made = probed(target_with(dicom_ports=(silent.port,)))
        made.run.now = lambda: NOW + dt.timedelta(hours=1, seconds=-0.3)
        with made.session.line(silent.port) as line:
            line.settimeout(60.0)
            with pytest.raises(Unanswered, match="timed out"):
                line.receive()


def test_a_stopped_run_keeps_what_was_seen_and_takes_no_fact_from_its_own_end(steps: Steps) -> None:
    run = run_with()
    made: list[Engine] = []

    def waits(session: Session) -> None:
        note(session)
        made[0].stop()
        note(session, Answer.CLOSED, "dicom.echo")

    steps.use(waits, note)
    made.append(Engine(run, Before(), lambda _: None))
    outcome = made[0].probe(addressed(ONE), 1)
    assert (outcome.how, [seen.step for seen in outcome.observations]) == ("stopped", ["tcp.connect"])
    with pytest.raises(RunStopped):
        Session(run, ONE, "127.0.0.1").line(104)


def test_a_log_that_cannot_be_written_ends_the_run(steps: Steps) -> None:
    class Full(io.BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(28, "No space left on device")

    steps.use(note)
    with pytest.raises(StorageUnavailable, match="the run log cannot be written: No space left"):
        probe(run_with(file=Full()), addressed(RANGE))


def resumed(file: io.BytesIO) -> Run:
    """A run that goes on in the same log."""
    run = run_with(file=file)
    run.log.append("resumed", {})
    return run


def before_of(file: io.BytesIO) -> Before:
    before = Before()
    for line in file.getvalue().splitlines():
        before.take(json.loads(line))
    return before


def test_a_run_that_goes_on_takes_no_finished_step_again_and_counts_every_connection(steps: Steps) -> None:
    taken: list[str] = []

    def first(session: Session) -> None:
        taken.append("first")
        session.connections += 3
        session._note("connect", 104, {})
        note(session)

    def second(session: Session) -> None:
        taken.append("second")
        note(session, step="dicom.echo")
        if taken.count("second") == 1:
            raise KeyboardInterrupt  # as good as a kill: nothing is written after it

    file = io.BytesIO()
    steps.use(first, second)
    run = run_with(file=file, rates=Rates(interval_s=0, targets_at_once=1))
    engine = Engine(run, Before(), lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        engine._probe(ONE, "127.0.0.1")
    outcome = probe(resumed(file), addressed(ONE), before_of(file))
    assert taken == ["first", "second", "second"]
    assert [seen.step for seen in outcome.observations] == ["tcp.connect", "dicom.echo"]
    assert outcome.connections == 1
    taken.clear()
    again = probe(run_with(), addressed(ONE), before_of(file))
    assert (taken, again.observations) == ([], outcome.observations)


def test_silent_addresses_are_silent_after_a_kill_too(steps: Steps) -> None:
    file = io.BytesIO()
    steps.use(lambda session: note(session, Answer.UNREACHABLE))
    probe(run_with(file=file), addressed(RANGE))
    before = before_of(file)
    assert all(address.is_done and not address.observations for address in before.addresses.values())
    outcome = probe(run_with(), addressed(RANGE), before)
    assert (outcome.silent, outcome.addresses, outcome.observations) == (254, 254, [])


@pytest.mark.parametrize("answered", [False, True])
def test_an_object_that_may_have_been_written_is_told_of_after_a_kill(steps: Steps, answered: bool) -> None:
    def writes(session: Session) -> None:
        session.will_write(
            "dicom.store_canary", 104, Channel.PLAIN, Identity.STRANGER, UID, study_instance_uid="2.25.2"
        )  # type: ignore[arg-type]
        if answered:
            session.observe("dicom.store_canary", 104, Channel.PLAIN, Identity.STRANGER, Answer.DONE, **WRITTEN)
        raise KeyboardInterrupt

    file = io.BytesIO()
    steps.use(writes)
    with pytest.raises(KeyboardInterrupt):
        Engine(run_with(file=file), Before(), lambda _: None)._probe(ONE, "127.0.0.1")
    steps.use(note)
    before = before_of(file)
    outcome = probe(resumed(file), addressed(ONE), before)
    assert any(UID in line for line in cleanup(outcome.observations))
    outcome = probe(resumed(file), addressed(ONE), before_of(file))
    assert any(UID in line for line in cleanup(outcome.observations)), "and after the next one"


def test_an_object_is_told_of_once_when_its_answer_came_and_when_the_run_was_stopped_before(steps: Steps) -> None:
    def writes(session: Session) -> None:
        session.will_write(
            "dicom.store_canary", 104, Channel.PLAIN, Identity.STRANGER, UID, study_instance_uid="2.25.2"
        )  # type: ignore[arg-type]
        if session.address == "127.0.0.1":
            session.observe("dicom.store_canary", 104, Channel.PLAIN, Identity.STRANGER, Answer.DONE, **WRITTEN)
        else:
            raise RunStopped("the run was ended")

    steps.use(writes)
    outcome = probe(run_with(), [(ONE, "127.0.0.1"), (ONE, "127.0.0.2")])
    assert len([line for line in cleanup(outcome.observations) if UID in line]) == 2


def test_an_observation_is_the_same_when_it_is_read_again() -> None:
    made = probed(ONE)
    seen = made.session.observe(
        "dicom.services", 104, Channel.TLS, Identity.NAMED, Answer.DONE, accepted=("echo",), storage_classes=3
    )
    assert observation_of(json.loads(made.log.splitlines()[-1])) == seen


def test_targets_that_share_an_address_have_it_one_after_the_other_and_its_budget_together(steps: Steps) -> None:
    lock, inside, seen = threading.Lock(), [], []

    def step(session: Session) -> None:
        with lock:
            assert session.address not in inside
            inside.append(session.address)
        with suppress(Unanswered):
            for port in session.target.ports:
                session.line(port)
        with lock:
            seen.append((session.target.name, session.address))
            inside.remove(session.address)
        note(session)

    steps.use(step)
    one, two = target_with(dicom_ports=(104, 105)), target_with(name="other", dicom_ports=(106,))
    shared = [(target, f"127.0.0.{number}") for number in range(2, 9) for target in (one, two)]
    run = run_with(rates=Rates(interval_s=0.0, connections_per_target=1, targets_at_once=4))
    outcome = probe(run, shared)
    assert (outcome.addresses, outcome.connections) == (7, 7)
    assert sorted(seen) == [("test", f"127.0.0.{number}") for number in range(2, 9)]
    left_out = {each.endpoint for each in outcome.observations if each.details.get("reason") == "budget"}
    assert {(each.target, each.port) for each in left_out} == {("other", 106)}
    assert len(left_out) == 7


def test_each_of_two_targets_on_one_address_goes_on_where_it_stopped(steps: Steps) -> None:
    taken: list[str] = []

    def step(session: Session) -> None:
        taken.append(session.target.name)
        session.connections += 1
        session._note("connect", 104, {})
        note(session)
        if taken == ["test", "other"]:
            raise KeyboardInterrupt

    file = io.BytesIO()
    steps.use(step)
    both = [(ONE, "127.0.0.1"), (replace(ONE, name="other"), "127.0.0.1")]
    engine = Engine(run_with(file=file), Before(), lambda _: None)
    earlier = engine._probe(*both[0])
    with pytest.raises(KeyboardInterrupt):
        engine._probe(*both[1], earlier)
    outcome = probe(resumed(file), both, before_of(file))
    assert taken == ["test", "other", "other"]
    assert (outcome.addresses, outcome.connections) == (1, 3)
    assert [seen.endpoint.target for seen in outcome.observations] == ["test", "other"]


def test_silence_is_a_matter_of_ranges_and_of_what_was_tried() -> None:
    single, ranged = probed(ONE).session, probed(RANGE).session
    assert not is_silent(ranged)
    note(single, Answer.UNREACHABLE)
    note(ranged, Answer.UNREACHABLE)
    assert (is_silent(single), is_silent(ranged)) == (False, True)
    note(ranged)
    assert not is_silent(ranged)
