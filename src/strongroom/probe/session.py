"""One address of a target, and everything that a step may do to it.

A step function takes a ``Session`` and nothing else: it can open a line only when it is due, within the budget and the
window, and it can remember only what its row in ``steps`` keeps. It handles ``Unanswered`` itself, by observing it;
``BudgetSpent``, ``OutOfScope`` and ``RunStopped`` it lets through.
"""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strongroom import __version__
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID
from strongroom.errors import BudgetSpent, LocalProtocolError, OutOfScope, RunStopped, Unanswered
from strongroom.probe.line import Framing, Line, LineLimits, Passed, open_line
from strongroom.probe.model import Answer, Channel, Detail, Endpoint, Identity, Level, Observation
from strongroom.probe.permits.scope import Scope, ScopeTarget
from strongroom.probe.runlog import RunLog, Value
from strongroom.probe.steps import require_kept
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

IMPLEMENTATION: Final = LocalParameters(IMPLEMENTATION_CLASS_UID, f"STRONGROOM_{__version__}"[:16])
"""The same for every run, and truthful: whoever finds it in a log can ask who Strongroom is."""
MAX_NUMBER: Final = 99_999_999
"""Larger numbers are kept as this one: a server chooses what it announces, and nine digits could be somebody's."""
USER_AGENT: Final = f"strongroom-probe/{__version__} (authorised test)"

QUESTIONS_PER_INTERVAL: Final = 4
"""HTTP requests that go over one line in the time in which one line may be opened."""

_TITLE_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True)
class Titles:
    """The titles of an association: those of the scope, or of a stranger."""

    called: AeTitle
    calling: AeTitle


@dataclass(slots=True)
class Run:
    """What all sessions of a run share. ``stop`` is set when the operator ends it."""

    scope: Scope
    log: RunLog
    stop: threading.Event = field(default_factory=threading.Event)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)


class Session:
    """One address. Not thread-safe: a thread has it for itself, so that there is one connection to it at a time."""

    def __init__(
        self, run: Run, target: ScopeTarget, address: str, *, connections: int = 0, earlier: Session | None = None
    ) -> None:
        """``connections`` were opened before, if the run is a resumed one; ``earlier`` is another target's session with
        the same address, which has one pace and one budget for all of them."""
        rates = run.scope.rates
        self._run = run
        self._line: Line | None = None
        self._last: float = earlier._last if earlier else float("-inf")
        self._connections_as_others = earlier.connections_in_all if earlier else 0
        self._entries: list[int] = []
        self._interrupted = False
        self._told = False  # whether an observation has named these entries: those of a new line are others
        self.connections = connections
        self.target = target
        self.address = address
        self.level: Level = run.scope.level
        self.consents = run.scope.consents
        self.limits = LineLimits(rates.connect_s, rates.connection_s, rates.answer_s, rates.max_received_bytes)
        self.known: list[Observation] = []
        self.unanswered: dict[Detail, Observation] = {}
        """Objects that were going to be written, by UID, until it is observed what came of them."""
        self.titles = Titles(AeTitle.parse(target.called), AeTitle.parse(target.calling))
        self.implementation = IMPLEMENTATION
        self.user_agent = USER_AGENT

    @property
    def host(self) -> str:
        """What goes into SNI and the Host header: the target's name, or the address."""
        return self.target.host or self.address

    @property
    def connections_in_all(self) -> int:
        """How many connections have been opened to the address, as this target and as those before it."""
        return self._connections_as_others + self.connections

    def endpoint(self, port: int) -> Endpoint:
        """The port of this address."""
        return Endpoint(self.target.name, self.address, port)

    def line(
        self,
        port: int,
        *,
        framing: Framing = "pdu",
        tls: ssl.SSLContext | None = None,
        limits: LineLimits | None = None,
    ) -> Line:
        """Open a connection when it is due, with TLS if there is a context. One at a time: an older one is closed.

        Raises:
            Unanswered: unreachable; or what came of the handshake.
            BudgetSpent: as many connections as the scope allows have been opened.
            OutOfScope: the window is over.
            RunStopped: the operator ended the run.
        """
        self._require_allowed(port)
        if self._line is not None:
            self._line.close()
        left_s = self._wait(self._run.scope.rates.interval_s)
        if self._told:
            self._entries, self._told = [], False
        self.connections += 1
        self._note("connect", port, {"framing": framing, "tls": tls is not None})
        try:
            line = open_line(
                self.address,
                port,
                (limits or self.limits).within(left_s),
                framing,
                self._run.log.key,
                lambda passed: self._tap(port, passed),
            )
        except Unanswered as error:
            self._note("unreachable", port, {"reason": error.reason})
            raise
        self._line = line
        if tls is not None:
            line.start_tls(tls, self.host)
        return line

    def pace(self) -> None:
        """Wait until the next question on a line that stays open is due. Raises OutOfScope, RunStopped.

        That is sooner than a new line would be: servers close a line that is quiet for a second, and a new one costs
        them more than a question.
        """
        self._wait(self._run.scope.rates.interval_s / QUESTIONS_PER_INTERVAL)

    def observe(
        self, step: str, port: int, channel: Channel, identity: Identity, answer: Answer, **details: Detail
    ) -> Observation:
        """Keep a fact, in memory and in the log. Raises KeyError for a detail that the step does not keep.

        Facts that are kept before another line is opened have the same entries of the log: a step may ask several
        things over one connection, and tells what came of them when it is over.
        """
        require_kept(step, details)
        kept = {name: min(value, MAX_NUMBER) if type(value) is int else value for name, value in details.items()}
        if self._line is not None:
            self._line.close()
        if self._interrupted:
            raise RunStopped("the run was ended: what was seen last may be its end and no fact")
        entries: tuple[int, ...] = ()
        if answer is not Answer.NOT_ASKED:
            entries, self._told = tuple(self._entries), True
        seen = Observation(step, self.endpoint(port), channel, identity, answer, kept, time.time_ns() // 1000, entries)
        self._run.log.append("observation", as_json(seen))
        self.known.append(seen)
        self.unanswered.pop(details.get("sop_instance_uid", ""), None)
        return seen

    def will_write(
        self, step: str, port: int, channel: Channel, identity: Identity, uid: Uid, **details: Detail
    ) -> None:
        """Keep in the log, before it is sent, that an object with this UID is going to be written.

        Whatever ends the run before its answer is observed, the report says that the object may be there.
        """
        told = {**details, "sop_instance_uid": str(uid), "reason": "the run was ended before the answer"}
        require_kept(step, told)
        seen = Observation(step, self.endpoint(port), channel, identity, Answer.TIMEOUT, told, time.time_ns() // 1000)
        self._run.log.append("will-write", as_json(seen))
        self.unanswered[str(uid)] = seen

    def skip(
        self,
        step: str,
        port: int,
        reason: str,
        channel: Channel = Channel.PLAIN,
        identity: Identity = Identity.STRANGER,
    ) -> Observation:
        """Keep that a step was left out, and why."""
        return self.observe(step, port, channel, identity, Answer.NOT_ASKED, reason=reason)

    def all_found(
        self,
        step: str,
        port: int | None = None,
        channel: Channel | None = None,
        identity: Identity | None = None,
    ) -> Iterator[Observation]:
        """Yield what was observed of a step, oldest first; None stands for any."""
        for seen in self.known:
            if (
                seen.step == step
                and port in (None, seen.endpoint.port)
                and channel in (None, seen.channel)
                and identity in (None, seen.identity)
            ):
                yield seen

    def found(
        self,
        step: str,
        port: int | None = None,
        channel: Channel | None = None,
        identity: Identity | None = None,
    ) -> Observation | None:
        """Return the latest of ``all_found``, or None."""
        return next(reversed(list(self.all_found(step, port, channel, identity))), None)

    @property
    def today(self) -> dt.date:
        """The day, for queries by date."""
        return self._run.now().date()

    def new_uid(self) -> Uid:
        """A UID that nobody has (2.25, PS3.5 B.2)."""
        return Uid(f"2.25.{uuid.uuid4().int}")

    def new_title(self) -> AeTitle:
        """A title that nobody has."""
        return AeTitle("Z" + "".join(secrets.choice(_TITLE_LETTERS) for _ in range(9)))

    def interrupt(self) -> None:
        """Cut the line off, from another thread: whatever waits on it goes on, and nothing is observed any more."""
        self._interrupted = True
        if self._line is not None:
            self._line.cut_off()

    def close(self) -> None:
        """Close the line, if there is one."""
        if self._line is not None:
            self._line.close()

    def _require_allowed(self, port: int) -> None:
        if self._run.stop.is_set():
            raise RunStopped("the run was ended")
        if port not in (*self.target.ports, *self.target.neighbour_ports):
            raise LocalProtocolError(f"port {port} is none of the target's")
        if self.connections_in_all >= self._run.scope.rates.connections_per_target:
            raise BudgetSpent(f"{self.connections_in_all} connections to {self.address}")

    def _wait(self, pause_s: float) -> float:
        """Wait for the turn of this address, and return the seconds that are left of the window."""
        wait_s = self._last + pause_s - time.monotonic()
        if wait_s > 0 and self._run.stop.wait(wait_s):
            raise RunStopped("the run was ended")
        # The last thing before a packet leaves, for the wait may have been a long one.
        left_s = self._run.scope.window.left_s(self._run.now())
        if left_s <= 0:
            raise OutOfScope("the window of the scope is over")
        self._last = time.monotonic()
        return left_s

    def _tap(self, port: int, passed: Passed) -> None:
        self._note(
            "sent" if passed.sent else "received",
            port,
            {"message": passed.kind, "bytes": passed.size_bytes, "hmac": passed.digest, "whole": passed.whole},
        )

    def _note(self, kind: str, port: int, fields: dict[str, str | int | bool]) -> None:
        self._entries.append(
            self._run.log.append(kind, {"target": self.target.name, "address": self.address, "port": port, **fields})
        )


def as_json(seen: Observation) -> dict[str, Value]:
    """An observation as the log and the report have it."""
    return {
        "step": seen.step,
        "target": seen.endpoint.target,
        "address": seen.endpoint.address,
        "port": seen.endpoint.port,
        "channel": str(seen.channel),
        "identity": str(seen.identity),
        "answer": str(seen.answer),
        "details": {key: list(value) if isinstance(value, tuple) else value for key, value in seen.details.items()},
        "observed_us": seen.at_us,
        "entries": list(seen.entries),
    }
