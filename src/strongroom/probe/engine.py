"""The run: one thread for each of a few addresses, one step after the other, and where it stands after a kill.

Everything that happened is in the run log; what a killed run had done is read from there, so that no step is taken and
no connection is counted twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from strongroom.errors import BudgetSpent, OutOfScope, RunStopped
from strongroom.probe.model import BUDGET, Answer, Channel, Detail, Endpoint, Identity, Level, Observation
from strongroom.probe.permits.scope import ScopeTarget
from strongroom.probe.plan import StepFunction, steps_for
from strongroom.probe.runlog import Entry
from strongroom.probe.session import Run, Session
from strongroom.probe.steps import STEPS

COMPLETE: Final = "complete"
STOPPED: Final = "stopped"
WINDOW: Final = "window"

Addressed = tuple[ScopeTarget, str]


@dataclass(slots=True)
class Address:
    """What the log says of one address of a target. Observations of an unfinished stage are not among them."""

    stages: set[str] = field(default_factory=set)
    connections: int = 0
    is_done: bool = False
    observations: list[Observation] = field(default_factory=list)
    unfinished: list[Observation] = field(default_factory=list)
    written: list[Observation] = field(default_factory=list)
    """Objects that were written, or may have been, in a stage that was not finished: to be removed all the same."""


@dataclass(slots=True)
class Before:
    """What a run has done so far, by name of the target and address."""

    addresses: dict[tuple[str, str], Address] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Take an entry of the log, in order."""
        if entry["kind"] == "resumed":
            for address in self.addresses.values():
                address.observations += address.written
                address.unfinished, address.written = [], []
        if "address" not in entry:
            return
        address = self.addresses.setdefault((entry["target"], entry["address"]), Address())
        match entry["kind"]:
            case "connect":
                address.connections += 1
            case "will-write":
                address.written.append(observation_of(entry))
            case "observation":
                address.unfinished.append(observation_of(entry))
            case "stage":
                address.stages.add(entry["stage"])
                address.observations += address.unfinished
                address.unfinished, address.written = [], []
            case "done":
                address.is_done = True
                address.observations = [] if entry["silent"] else address.observations + address.unfinished
                address.unfinished, address.written = [], []
                address.stages.clear()


@dataclass(slots=True)
class Outcome:
    """What came of a run. ``faults`` are addresses and step functions that broke by a fault of the probe's own."""

    observations: list[Observation] = field(default_factory=list)
    addresses: int = 0
    silent: int = 0
    """Addresses of ranges at which no port answered; nothing more is kept of them."""
    connections: int = 0
    stages: int = 0
    """Step functions done or left out, of ``stages_per_address`` for each address of each target."""
    how: str = COMPLETE
    faults: list[tuple[str, str]] = field(default_factory=list)


class Engine:
    """Takes every step of a scope's level on every address. ``on_progress`` is called by one thread at a time."""

    def __init__(self, run: Run, before: Before, on_progress: Callable[[Outcome], None]) -> None:
        self._run = run
        self._before = before
        self._on_progress = on_progress
        self._steps = steps_for(run.scope.level)
        self._lock = threading.Lock()
        self._outcome = Outcome()
        self._sessions: set[Session] = set()
        self._broken: Exception | None = None

    @property
    def stages_per_address(self) -> int:
        """How many step functions the level has."""
        return len(self._steps)

    def stop(self) -> None:
        """End the run: no connection is opened any more, and those that are open are cut off. From any thread."""
        self._run.stop.set()
        for session in list(self._sessions):
            session.interrupt()

    def probe(self, addresses: Iterable[Addressed], total: int) -> Outcome:
        """Probe ``total`` addresses and return what came of it. Raises StorageUnavailable if the log is not.

        Targets that share an address stand beside each other, and have it one after the other.
        """
        waiting = (list(sharing) for _, sharing in groupby(addresses, key=lambda addressed: addressed[1]))
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"probe-{number}", daemon=True)
            for number in range(min(self._run.scope.rates.targets_at_once, total))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._broken is not None:
            raise self._broken
        if self._run.stop.is_set() and self._outcome.how == COMPLETE:
            self._outcome.how = STOPPED
        return self._outcome

    def _work(self, waiting: Iterator[list[Addressed]]) -> None:
        try:
            while not self._run.stop.is_set():
                with self._lock:
                    sharing = next(waiting, None)
                if sharing is None:
                    return
                earlier: Session | None = None
                for target, address in sharing:
                    if not self._run.stop.is_set():
                        earlier = self._probe(target, address, earlier)
        except Exception as error:  # the log cannot be written, or a fault of the engine: nothing may go on unlogged
            self._broken = error
            self.stop()

    def _probe(self, target: ScopeTarget, address: str, earlier: Session | None = None) -> Session:
        before = self._before.addresses.pop((target.name, address), None) or Address()
        session = Session(self._run, target, address, connections=before.connections, earlier=earlier)
        session.known.extend((*before.observations, *before.written))
        self._sessions.add(session)
        taken = 0
        try:
            if not before.is_done:
                taken = self._take_steps(session, before.stages)
                self._log(session, "done", connections=session.connections, silent=is_silent(session))
        except RunStopped:
            pass
        except OutOfScope:
            self._outcome.how = WINDOW
            self.stop()
        finally:
            session.close()
            session.known.extend(session.unanswered.values())
            self._sessions.discard(session)
        silent = is_silent(session) or (before.is_done and not before.observations)
        with self._lock:
            self._outcome.addresses += earlier is None
            self._outcome.connections += session.connections
            self._outcome.stages += len(self._steps) - taken
            self._outcome.silent += silent
            self._outcome.observations.extend([] if silent else session.known)
            self._on_progress(self._outcome)
        return session

    def _take_steps(self, session: Session, done: set[str]) -> int:
        """Take all steps that are not ``done``, and return how many were counted."""
        for taken, step in enumerate(self._steps):
            if is_silent(session):
                return taken
            if (name := _name_of(step)) not in done:
                try:
                    self._take_step(session, step, name)
                except BudgetSpent:
                    _leave_out_rest(session)
                    return taken
            with self._lock:
                self._outcome.stages += 1
                self._on_progress(self._outcome)
        return len(self._steps)

    def _take_step(self, session: Session, step: StepFunction, name: str) -> None:
        try:
            step(session)
        except (BudgetSpent, OutOfScope, RunStopped):
            raise
        except Exception as error:  # a fault of ours costs one step, and the report says so
            # The words of an error may be a server's: its type is all that is kept.
            self._log(session, "fault", stage=name, error=type(error).__name__)
            with self._lock:
                self._outcome.faults.append((session.address, name))
        self._log(session, "stage", stage=name)

    def _log(self, session: Session, kind: str, **fields: str | int | bool) -> None:
        self._run.log.append(kind, {"target": session.target.name, "address": session.address, **fields})


def is_silent(session: Session) -> bool:
    """Whether it is an address of a range, and was found not to answer at any port: then nothing more is asked."""
    if session.target.is_single:
        return False
    tried = [seen.answer for seen in session.all_found("tcp.connect")]
    return bool(tried) and Answer.DONE not in tried


def observation_of(entry: Entry) -> Observation:
    """The observation in an entry of the log."""
    details: dict[str, Detail] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry["details"].items()
    }
    return Observation(
        entry["step"],
        Endpoint(entry["target"], entry["address"], entry["port"]),
        Channel(entry["channel"]),
        Identity(entry["identity"]),
        Answer(entry["answer"]),
        details,
        entry["observed_us"],
        tuple(entry["entries"]),
    )


def _name_of(step: StepFunction) -> str:
    return f"{step.__module__.rsplit('.', 1)[-1]}.{step.__name__}"


def _leave_out_rest(session: Session) -> None:
    """Say of every step that was not taken that the budget was spent."""
    target = session.target
    known = {(seen.step, seen.endpoint.port) for seen in session.known}
    is_open = {seen.endpoint.port for seen in session.all_found("tcp.connect") if seen.answer is Answer.DONE}
    if not known:  # another target of the same address has spent it all
        is_open = {target.ports[0]}
    ports = {"tcp": target.ports, "tls": target.ports, "dicom": target.dicom_ports, "http": target.http_ports}
    for step in STEPS.values():
        if not is_open or step.level > session.level:
            continue
        for port in ports.get(step.name.partition(".")[0], target.neighbour_ports):
            # Of a port that was never connected to, nothing is left out but that.
            is_due = port in is_open or (step.level is Level.CONNECT and step.name.endswith(".connect"))
            if is_due and (step.name, port) not in known:
                session.skip(step.name, port, BUDGET)
